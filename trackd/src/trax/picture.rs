//! The pictures of TraX messages: paths, raw pixels, JPEG and PNG.

use crate::frames::{FrameError, folder};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use shards::image::Rgb;
use shards::jpeg::{Limits, decode_image};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Padding or none: the official client writes it, others may not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a picture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// A file that is no picture, or not there.
    #[error(transparent)]
    File(#[from] FrameError),
    /// Something else than a path, pixels, a JPEG or a PNG.
    #[error("picture `{0}...` is no file path, image:, data:image/jpeg or data:image/png")]
    Kind(String),
    /// The message does not hold what it says.
    #[error("the picture in the message is damaged: {0}")]
    Damaged(String),
}

/// Reads the picture an argument names or holds: a path, `file://PATH` (bytes as they are, nothing is unescaped),
/// `image:WIDTH;HEIGHT;rgb|gray8|gray16;BASE64` or `data:image/jpeg|image/png;BASE64`. Larger pictures than
/// `max_pixels` are refused.
///
/// # Errors
/// [`PictureError`].
pub fn read(argument: &[u8], max_pixels: u64) -> Result<Rgb, PictureError> {
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..bytes.len().min(40)).unwrap_or_default()).into_owned();
    let damaged = |reason: &str| PictureError::Damaged(reason.to_owned());
    let file = |path: &[u8]| Ok(folder::read(Path::new(OsStr::from_bytes(path)), max_pixels)?);
    let unpack = |body: &[u8]| BASE64.decode(body).map_err(|e| PictureError::Damaged(e.to_string()));
    if let Some(path) = argument.strip_prefix(b"file://").or_else(|| argument.strip_prefix(b"file:")) {
        return file(path);
    }
    if let Some(rest) = argument.strip_prefix(b"image:") {
        let mut parts = rest.splitn(4, |byte| *byte == b';');
        let mut part = || parts.next().ok_or_else(|| damaged("expected image:WIDTH;HEIGHT;FORMAT;BASE64"));
        let (width, height, format, body) = (number(part()?)?, number(part()?)?, part()?, part()?);
        if (width as u64).saturating_mul(height as u64) > max_pixels {
            return Err(PictureError::Damaged(format!("{width}x{height} px are more than {max_pixels} px")));
        }
        return pixels(width, height, format, unpack(body)?);
    }
    if let Some(rest) = argument.strip_prefix(b"data:") {
        let body = [&b"image/jpeg;"[..], b"image/png;"].iter().find_map(|kind| rest.strip_prefix(*kind));
        let body = body.ok_or_else(|| PictureError::Kind(text(argument)))?;
        // The form of data URLs, which the official client does not write.
        let bytes = unpack(body.strip_prefix(b"base64,").unwrap_or(body))?;
        let limits = Limits { max_pixels: usize::try_from(max_pixels).unwrap_or(usize::MAX) };
        return decode_image(&bytes, &limits).map_err(|e| PictureError::Damaged(e.to_string()));
    }
    match argument.windows(3).any(|bytes| bytes == b"://") {
        true => Err(PictureError::Kind(text(argument))),
        false => file(argument),
    }
}

fn number(bytes: &[u8]) -> Result<usize, PictureError> {
    let value = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    value.filter(|v| (1..=1 << 16).contains(v)).ok_or_else(|| {
        PictureError::Damaged(format!("`{}` is no width or height", String::from_utf8_lossy(bytes).escape_debug()))
    })
}

/// RGB from raw pixels; of 16 bits (little endian) the upper eight are kept.
fn pixels(width: usize, height: usize, format: &[u8], data: Vec<u8>) -> Result<Rgb, PictureError> {
    let depth = match format {
        b"rgb" => 3,
        b"gray8" => 1,
        b"gray16" => 2,
        other => return Err(PictureError::Kind(format!("image:{}", String::from_utf8_lossy(other).escape_debug()))),
    };
    let (expected, found) = (width * height * depth, data.len());
    if expected != found {
        let reason = format!("{width}x{height} px need {expected} bytes, there are {found}");
        return Err(PictureError::Damaged(reason));
    }
    let rgb = match depth {
        3 => data,
        1 => data.into_iter().flat_map(|v| [v; 3]).collect(),
        _ => data.into_iter().skip(1).step_by(2).flat_map(|v| [v; 3]).collect(),
    };
    Rgb::new(width, height, rgb).map_err(|e| PictureError::Damaged(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(argument: &str, why: &str) {
        let said = read(argument.as_bytes(), 1 << 20).unwrap_err().to_string();
        assert!(said.contains(why), "{argument}: {said}");
    }

    #[test]
    fn every_form_gives_the_same_picture() {
        let folder = tempfile::tempdir().unwrap();
        let picture = Rgb::new(2, 1, vec![10, 20, 30, 40, 50, 60]).unwrap();
        let mut png = std::io::Cursor::new(Vec::new());
        let image = image::RgbImage::from_raw(2, 1, picture.data.clone()).unwrap();
        image.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let png = png.into_inner();
        let path = folder.path().join("a b%20c.png");
        std::fs::write(&path, &png).unwrap();
        let path = path.display();
        let body = BASE64.encode(&png);
        for argument in [
            format!("file://{path}"),
            format!("{path}"),
            format!("data:image/png;{body}"),
            format!("data:image/png;base64,{}", body.trim_end_matches('=')),
            format!("image:2;1;rgb;{}", BASE64.encode([10, 20, 30, 40, 50, 60])),
        ] {
            assert_eq!(read(argument.as_bytes(), 1 << 20).unwrap(), picture, "{argument}");
        }
        let grey = Rgb::new(2, 1, vec![7, 7, 7, 9, 9, 9]).unwrap();
        assert_eq!(read(format!("image:2;1;gray8;{}", BASE64.encode([7, 9])).as_bytes(), 9).unwrap(), grey);
        let wide = BASE64.encode([200, 7, 1, 9]);
        assert_eq!(read(format!("image:2;1;gray16;{wide}").as_bytes(), 9).unwrap(), grey);
    }

    #[test]
    fn what_is_no_picture_is_said() {
        fails("file:///nowhere/a.jpg", "/nowhere/a.jpg");
        fails("http://example.com/a.jpg", "no file path");
        fails("data:image/gif;AAAA", "no file path");
        fails("data:image/jpeg;AAAA", "damaged");
        fails("data:image/jpeg;%%%", "damaged");
        fails("image:2;1;rgb;AAAA", "need 6 bytes, there are 3");
        fails("image:0;1;rgb;AAAA", "no width");
        fails("image:2;1", "WIDTH;HEIGHT");
        fails("image:60000;60000;gray8;AAAA", "more than");
        fails("image:1;1;yuv;AAAA", "yuv");
    }
}
