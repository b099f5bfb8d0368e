//! From one picture and its target to one crop pair.

use crate::source::{Frame, Target, Unwanted, limits};
use schemas::build::BuildConfig;
use schemas::shard::FLAG_TRUNCATED;
use shards::crop::{CropSpec, context_side, crop_target};
use shards::image::{ImageError, Rgb};
use shards::jpeg::{self, Limits};

/// The pixels of a row and what was learned while making them.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    /// Target in search-crop px: cx, cy, w, h, origin at the left/top edge of pixel 0.
    pub bbox: [f32; 4],
    /// Crop px per frame px, 0 when unknown.
    pub scale: f32,
    /// Share of the search crop that is border fill.
    pub pad: f32,
    /// Frame width, px.
    pub frame_w: u16,
    /// Frame height, px.
    pub frame_h: u16,
    /// Flags of the annotation and of the picture.
    pub flags: u8,
    /// Template JPEG.
    pub template: Vec<u8>,
    /// Search JPEG.
    pub search: Vec<u8>,
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A row.
    Row(Box<Pixels>),
    /// Nothing: the target is outside the configured limits.
    Filtered(Unwanted),
    /// Nothing: the input is bad. A machine-readable reason and what exactly was wrong.
    Reject(&'static str, String),
}

type Refusal = (&'static str, String);

/// Reads a frame's picture and cuts its crop pair.
#[must_use]
pub fn make(frame: &Frame, config: &BuildConfig) -> Outcome {
    let made = match frame.target {
        Target::InFrame(_) | Target::Normalised(_) => from_frame(frame, config),
        Target::Centred { side, w, h, frame_w, frame_h } => {
            from_crop(frame, usize::from(side), [w, h], [frame_w, frame_h], config).map(Ok)
        }
    };
    match made {
        Ok(Ok(pixels)) => Outcome::Row(Box::new(pixels)),
        Ok(Err(why)) => Outcome::Filtered(why),
        Err((reason, detail)) => Outcome::Reject(reason, detail),
    }
}

fn read(frame: &Frame) -> Result<Vec<u8>, Refusal> {
    frame.bytes.read().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ("missing-file", "there is no such file".to_owned()),
        _ => ("unreadable", error.to_string()),
    })
}

fn image_refusal(bytes: &[u8], error: ImageError) -> Refusal {
    let reason = match &error {
        ImageError::UnknownFormat(_) => "not-an-image",
        ImageError::TooLarge { .. } => "too-large",
        // A JPEG ends with its end-of-image marker.
        _ if bytes.starts_with(&[0xff, 0xd8]) && !bytes.windows(2).rev().take(64).any(|w| w == [0xff, 0xd9]) => {
            "truncated-jpeg"
        }
        _ => "damaged-image",
    };
    (reason, error.to_string())
}

fn encode(picture: &Rgb, quality: u8) -> Result<Vec<u8>, Refusal> {
    jpeg::encode(picture, quality).map_err(|error| ("encode", error.to_string()))
}

/// How far a frame may be shrunk before its crops would have to be blown up.
fn shrink(target: [f64; 4], config: &BuildConfig) -> usize {
    let [.., w, h] = target;
    let side = context_side(w, h, config.context_amount) / f64::from(config.exemplar_px);
    [4, 2].into_iter().find(|n| side >= *n as f64).unwrap_or(1)
}

/// Both crops from a frame, unless the target is outside the limits.
fn from_frame(frame: &Frame, config: &BuildConfig) -> Result<Result<Pixels, Unwanted>, Refusal> {
    let bytes = read(frame)?;
    let refusal = |error| image_refusal(&bytes, error);
    let (width, height) = jpeg::dimensions(&bytes).map_err(refusal)?;
    let side =
        |n: usize| u16::try_from(n).map_err(|_| ("too-large", format!("a frame side of {n} px is more than 65535")));
    let (frame_w, frame_h) = (side(width)?, side(height)?);
    let size = [frame_w, frame_h].map(f64::from);
    let target = frame.target.in_frame(size);
    let shrink = if config.fast_decode { shrink(target, config) } else { 1 };
    let picture = jpeg::decode_shrunk(&bytes, &Limits::default(), shrink).map_err(refusal)?;
    let [cx, cy, w, h] = target;
    if let Some(why) = limits::shape(w, h, Some(size), config) {
        return Ok(Err(why));
    }
    let cut = cx - w / 2.0 < 0.0
        || cy - h / 2.0 < 0.0
        || cx + w / 2.0 > f64::from(frame_w)
        || cy + h / 2.0 > f64::from(frame_h);
    let spec = CropSpec {
        semantics: config.semantics,
        exemplar_px: config.exemplar_px,
        context_amount: config.context_amount,
    };
    let mean = picture.channel_mean();
    // In pixels of the picture as it was decoded.
    let times = picture.width as f64 / size[0];
    let target = target.map(|v| v * times);
    let crop = |px: u32| crop_target(&picture, mean, target, px, &spec).map_err(|error| ("bad-box", error.to_string()));
    let (template, search) = (crop(config.template_px)?, crop(config.search_px)?);
    Ok(Ok(Pixels {
        bbox: search.target.map(|v| v as f32),
        scale: (search.scale * times) as f32,
        pad: search.pad as f32,
        frame_w,
        frame_h,
        flags: frame.flags | if cut { FLAG_TRUNCATED } else { 0 },
        template: encode(&template.image, config.jpeg_quality)?,
        search: encode(&search.image, config.jpeg_quality)?,
    }))
}

/// The template from a ready-made crop, which itself is the search crop unless it is to be encoded anew.
fn from_crop(
    frame: &Frame,
    side: usize,
    target: [f32; 2],
    size: [u16; 2],
    config: &BuildConfig,
) -> Result<Pixels, Refusal> {
    let bytes = read(frame)?;
    let picture = jpeg::decode(&bytes, &Limits::default()).map_err(|error| image_refusal(&bytes, error))?;
    if (picture.width, picture.height) != (side, side) {
        let found = format!("the picture is {}x{} px, not {side}x{side}", picture.width, picture.height);
        return Err(("crop-size", found));
    }
    // The middle `px` of the crop, and where its centre then lies.
    let middle = |px: u32| {
        let offset = (side - (px as usize).min(side)) / 2;
        let part = picture.part(offset, offset, px as usize, px as usize);
        part.map(|part| (part, (side as f32) / 2.0 - offset as f32)).map_err(|error| ("crop-size", error.to_string()))
    };
    let template = encode(&middle(config.template_px)?.0, config.jpeg_quality)?;
    let (search, centre) = if config.reencode_crops {
        let (part, centre) = middle(config.search_px)?;
        (encode(&part, config.jpeg_quality)?, centre)
    } else {
        (bytes, side as f32 / 2.0)
    };
    let ([w, h], [frame_w, frame_h]) = (target, size);
    Ok(Pixels {
        bbox: [centre, centre, w, h],
        scale: 0.0,
        pad: 0.0,
        frame_w,
        frame_h,
        flags: frame.flags,
        template,
        search,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Bytes;

    fn frame(dir: &std::path::Path, bytes: &[u8], target: Target) -> Frame {
        let path = dir.join("picture");
        std::fs::write(&path, bytes).unwrap();
        Frame { number: 0, time_ms: -1, flags: 0, path: "picture".into(), bytes: Bytes::Path(path), target }
    }

    fn square(side: usize) -> Vec<u8> {
        let mut picture = Rgb::filled(side, side, [30, 60, 90]);
        let middle = 3 * (side / 2 * side + side / 2);
        picture.data[middle..middle + 3].fill(255);
        jpeg::encode(&picture, 95).unwrap()
    }

    const CENTRED: Target = Target::Centred { side: 500, w: 50.0, h: 80.0, frame_w: 1280, frame_h: 720 };

    #[test]
    fn a_ready_made_crop_keeps_its_bytes_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = square(500);
        let frame = frame(dir.path(), &bytes, CENTRED);
        let keep = BuildConfig::default();
        let Outcome::Row(row) = make(&frame, &keep) else { panic!("no row") };
        assert_eq!((&row.search, row.bbox, row.scale), (&bytes, [250.0, 250.0, 50.0, 80.0], 0.0));
        assert_eq!((row.frame_w, row.frame_h), (1280, 720));
        let template = jpeg::decode(&row.template, &Limits::default()).unwrap();
        assert_eq!((template.width, template.height), (144, 144));
        let lit = template.pixel(72, 72);
        assert!(lit[0] > 120, "the middle of the crop is the middle of the template: {lit:?}");
        let anew = BuildConfig { reencode_crops: true, ..keep };
        let Outcome::Row(row) = make(&frame, &anew) else { panic!("no row") };
        assert_eq!(row.bbox, [176.0, 176.0, 50.0, 80.0]);
        assert_eq!(jpeg::dimensions(&row.search).unwrap(), (352, 352));
    }

    #[test]
    fn crops_from_a_frame_have_the_exemplar_scale() {
        let dir = tempfile::tempdir().unwrap();
        let frame = frame(dir.path(), &square(640), Target::InFrame([320.0, 300.0, 40.0, 40.0]));
        let Outcome::Row(row) = make(&frame, &BuildConfig::default()) else { panic!("no row") };
        // A square target of 40 px has a context window of 80 px, which becomes 127.
        assert!((row.scale - 127.0 / 80.0).abs() < 0.02, "{}", row.scale);
        assert!((row.bbox[0] - 176.0).abs() < 1.5 && (row.bbox[1] - 176.0).abs() < 1.5, "{:?}", row.bbox);
        assert!((row.bbox[2] - 63.5).abs() < 0.7, "{:?}", row.bbox);
        assert_eq!((row.pad, row.flags, row.frame_w), (0.0, 0, 640));
        assert_eq!(jpeg::dimensions(&row.template).unwrap(), (144, 144));
        assert_eq!(jpeg::dimensions(&row.search).unwrap(), (352, 352));
        let edge = Frame { target: Target::InFrame([10.0, 300.0, 40.0, 40.0]), ..frame.clone() };
        let Outcome::Row(row) = make(&edge, &BuildConfig::default()) else { panic!("no row") };
        assert!(row.flags == FLAG_TRUNCATED && row.pad > 0.2, "{} {}", row.flags, row.pad);
        let strict = BuildConfig { min_area: 0.5, ..BuildConfig::default() };
        assert_eq!(make(&frame, &strict), Outcome::Filtered(Unwanted::Area));
    }

    #[test]
    fn frames_are_shrunk_only_as_far_as_the_crops_allow() {
        let config = BuildConfig::default();
        // The window of a square target is twice its side; at 127 px it is the exemplar.
        for (side, times) in [(10.0, 1), (126.9, 1), (127.1, 2), (253.0, 2), (255.0, 4), (900.0, 4)] {
            assert_eq!(shrink([300.0, 300.0, side, side], &config), times, "{side}");
        }
        if jpeg::can_shrink() {
            let dir = tempfile::tempdir().unwrap();
            let frame = frame(dir.path(), &square(640), Target::InFrame([320.0, 300.0, 130.0, 130.0]));
            let exact = make(&frame, &config);
            let Outcome::Row(exact) = exact else { panic!("no row") };
            let fast = make(&frame, &BuildConfig { fast_decode: true, ..config });
            let Outcome::Row(fast) = fast else { panic!("no row") };
            assert!((exact.scale - fast.scale).abs() < 0.01 && fast.frame_w == 640, "{} {}", exact.scale, fast.scale);
            for (a, b) in exact.bbox.iter().zip(fast.bbox) {
                assert!((a - b).abs() < 1.0, "{:?} {:?}", exact.bbox, fast.bbox);
            }
        }
    }

    #[test]
    fn bad_pictures_are_refused_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let whole = square(500);
        let config = BuildConfig::default();
        for (bytes, reason) in [
            (&whole[..whole.len() / 2], "truncated-jpeg"),
            (&b"<html>not found</html>"[..], "not-an-image"),
            (&[][..], "not-an-image"),
            (&square(400)[..], "crop-size"),
        ] {
            let Outcome::Reject(found, detail) = make(&frame(dir.path(), bytes, CENTRED), &config) else {
                panic!("{reason} was accepted")
            };
            assert_eq!(found, reason, "{detail}");
        }
        let mut gone = frame(dir.path(), b"", CENTRED);
        gone.bytes = Bytes::Path(dir.path().join("gone"));
        assert!(matches!(make(&gone, &config), Outcome::Reject("missing-file", _)));
        let nan = frame(dir.path(), &whole, Target::InFrame([f64::NAN, 1.0, 2.0, 3.0]));
        assert!(matches!(make(&nan, &config), Outcome::Reject("bad-box", _)));
    }
}
