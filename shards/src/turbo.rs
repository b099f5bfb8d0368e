//! libjpeg-turbo (bundled, 3.1) for whole pictures: feature `turbo`.

use crate::image::{ImageError, Rgb};
use crate::jpeg::Limits;
use turbojpeg::{Colorspace, Compressor, Decompressor, Image, PixelFormat, ScalingFactor, Subsamp};

/// Name and version, for configuration hashes. The version is that of the pinned `turbojpeg-sys`.
pub(crate) const NAME: &str = "libjpeg-turbo 3.1";

fn damaged(error: &turbojpeg::Error) -> ImageError {
    ImageError::Damaged(error.to_string())
}

/// Decodes to RGB with both sides divided by `shrink` (1, 2, 4 or 8), rounded up; `None` for colours that it does not
/// convert.
pub(crate) fn decode(bytes: &[u8], limits: &Limits, shrink: usize) -> Result<Option<Rgb>, ImageError> {
    let mut decoder = Decompressor::new().map_err(|e| damaged(&e))?;
    let header = decoder.read_header(bytes).map_err(|e| damaged(&e))?;
    limits.check(header.width, header.height)?;
    if matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK) {
        return Ok(None);
    }
    let factor = ScalingFactor::new(1, shrink);
    decoder.set_scaling_factor(factor).map_err(|e| damaged(&e))?;
    let (width, height) = (factor.scale(header.width), factor.scale(header.height));
    let mut data = vec![0; 3 * width * height];
    let image = Image { pixels: &mut data[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
    decoder.decompress(bytes, image).map_err(|e| damaged(&e))?;
    Rgb::new(width, height, data).map(Some)
}

/// Encodes as baseline JPEG, 4:2:0.
pub(crate) fn encode(picture: &Rgb, quality: u8) -> Result<Vec<u8>, ImageError> {
    let failed = |e: turbojpeg::Error| ImageError::Encode(e.to_string());
    let mut encoder = Compressor::new().map_err(failed)?;
    encoder.set_quality(i32::from(quality)).map_err(failed)?;
    encoder.set_subsamp(Subsamp::Sub2x2).map_err(failed)?;
    let (width, height) = (picture.width, picture.height);
    let image = Image { pixels: &picture.data[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
    encoder.compress_to_vec(image).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Rng;

    #[test]
    fn pixels_stay_near_those_of_the_default_decoder_and_halves_are_half() {
        let mut rng = Rng::new(3);
        let (width, height) = (211, 160);
        let tones: Vec<u8> = (0..64).map(|_| rng.below(256) as u8).collect();
        let data = (0..3 * width * height).map(|i| tones[i / 3 % width / 30 + 8 * (i / 3 / width / 30)]).collect();
        let picture = Rgb::new(width, height, data).unwrap();
        let bytes = encode(&picture, 95).unwrap();
        assert_eq!(bytes, encode(&picture, 95).unwrap());
        let whole = decode(&bytes, &Limits::default(), 1).unwrap().unwrap();
        let other = crate::jpeg::decode_with_zune(&bytes, &Limits::default()).unwrap();
        let worst = whole.data.iter().zip(&other.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 4, "{worst}");
        let half = decode(&bytes, &Limits::default(), 2).unwrap().unwrap();
        assert_eq!((half.width, half.height), (106, 80));
        let (a, b) = (half.channel_mean(), whole.channel_mean());
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2.0), "{a:?} {b:?}");
        for cut in [3, 100, bytes.len() / 2, bytes.len() - 2] {
            assert!(crate::jpeg::decode(&bytes[..cut], &Limits::default()).is_err(), "{cut}");
        }
    }
}
