//! JPEG in and out, in pure Rust: zune-jpeg decodes, jpeg-encoder encodes. PNG is read too (frames of some data sets).
//! With the feature `turbo`, libjpeg-turbo does both; [`decoder`] says which of the two this program has.
//!
//! Headers are checked against [`Limits`] before any pixel is allocated. A truncated JPEG is an error, never a picture
//! with a gray lower half.

#[cfg(not(feature = "turbo"))]
mod encode;

use crate::image::{ImageError, Part, Rgb, Rows};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// What is accepted before pixels are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of pixels.
    pub max_pixels: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 8192 * 4320 }
    }
}

impl Limits {
    pub(crate) fn check(self, width: usize, height: usize) -> Result<(), ImageError> {
        match width.checked_mul(height) {
            Some(pixels) if pixels <= self.max_pixels && pixels > 0 => Ok(()),
            _ => Err(ImageError::TooLarge { width, height, limit: self.max_pixels }),
        }
    }
}

const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8, 0xff])
}

/// Where the end-of-image marker lies that follows the last scan. Nearly every file ends with it; some cameras write more
/// behind it.
fn end_of_image(bytes: &[u8]) -> Result<usize, ImageError> {
    let last = |bytes: &[u8], marker: u8| bytes.windows(2).rposition(|w| w == [0xff, marker]);
    let tail = bytes.len().saturating_sub(64);
    let near = last(bytes.get(tail..).unwrap_or_default(), 0xd9).map(|end| tail + end);
    near.or_else(|| last(bytes, 0xd9).filter(|end| last(bytes, 0xda).is_some_and(|scan| scan < *end)))
        .ok_or_else(|| ImageError::Damaged("the end-of-image marker is missing: the file is cut off".to_owned()))
}

fn jpeg_decoder(bytes: &[u8]) -> Zune<'_> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(65_535)
        .set_max_height(65_535)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    JpegDecoder::new_with_options(ZCursor::new(bytes), options)
}

fn unknown(bytes: &[u8]) -> ImageError {
    ImageError::UnknownFormat(bytes.iter().take(4).copied().collect())
}

/// Width and height from the header, without decoding.
///
/// # Errors
/// When the bytes are neither JPEG nor PNG, or the header is damaged.
pub fn dimensions(bytes: &[u8]) -> Result<(usize, usize), ImageError> {
    if is_jpeg(bytes) {
        let mut decoder = jpeg_decoder(bytes);
        decoder.decode_headers().map_err(|e| ImageError::Damaged(e.to_string()))?;
        return decoder.dimensions().ok_or_else(|| ImageError::Damaged("no frame header".to_owned()));
    }
    if bytes.starts_with(PNG_MAGIC) {
        let reader = image::ImageReader::with_format(std::io::Cursor::new(bytes), image::ImageFormat::Png);
        let (w, h) = reader.into_dimensions().map_err(|e| ImageError::Damaged(e.to_string()))?;
        return Ok((w as usize, h as usize));
    }
    Err(unknown(bytes))
}

/// Decodes pictures one after another and keeps a part of each. Its buffers serve picture after picture, so that a worker
/// should own one decoder. Always in pure Rust, also with the feature `turbo`, which is no faster here.
#[derive(Debug, Default)]
pub struct Decoder {
    scan: Vec<u8>,
    top: Vec<u8>,
}

impl Decoder {
    /// Decodes a part of a JPEG or PNG: `choose` answers which, given the picture's width and height. The pixels are those
    /// that the default build's [`decode_image`] gives. What lies below the part is not decoded where the format allows that,
    /// and damage there is not seen.
    ///
    /// # Errors
    /// As [`decode_image`], when the part does not lie in the picture, and what `choose` answers.
    pub fn part<E: From<ImageError>>(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        choose: impl FnOnce(usize, usize) -> Result<Part, E>,
    ) -> Result<Rows<'_>, E> {
        let frame = OneScan::of(bytes);
        let (width, height) = frame.map_or_else(|| dimensions(bytes), |frame| Ok((frame.width, frame.height)))?;
        limits.check(width, height)?;
        let part = choose(width, height)?;
        if !part.is_inside(width, height) {
            let bytes = 3 * width * height;
            return Err(ImageError::Shape { width: part.width, height: part.height, bytes }.into());
        }
        self.decode_down_to(part.y + part.height, frame, bytes, limits)?;
        Ok(Rows::new(&self.top, width, part))
    }

    /// Decodes at least the rows above `bottom` into the buffer.
    fn decode_down_to(
        &mut self,
        bottom: usize,
        frame: Option<OneScan>,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<(), ImageError> {
        if bytes.starts_with(PNG_MAGIC) {
            self.top = decode_png(bytes, limits)?.data;
            return Ok(());
        }
        let cut = match frame {
            Some(frame) => frame.cut_below(bottom, bytes, &mut self.scan)?,
            None => false,
        };
        let (mut decoder, width, height) =
            if cut { open_scan(&self.scan, limits)? } else { open_with_zune(bytes, limits, &mut self.scan)? };
        let bytes = 3 * width * height;
        // It is never made shorter, which would mean to clear what is added again for the next large picture.
        self.top.resize(bytes.max(self.top.len()), 0);
        let into = self.top.get_mut(..bytes).unwrap_or_default();
        decoder.decode_into(into).map_err(|e| ImageError::Damaged(e.to_string()))
    }
}

/// A baseline JPEG with all colours in one scan: its rows come one after another, so that the first of them can be had
/// without the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OneScan {
    /// Where the height stands, two bytes.
    height_at: usize,
    width: usize,
    height: usize,
    /// Rows of pixels that are coded together.
    block_rows: usize,
}

impl OneScan {
    /// Reads the segments up to the first scan (ITU-T T.81, B.2); `None` for every other kind of file.
    fn of(bytes: &[u8]) -> Option<Self> {
        let byte = |at: usize| bytes.get(at).copied().map(usize::from);
        let word = |at: usize| Some(byte(at)? << 8 | byte(at + 1)?);
        let (mut at, mut found) = (2, None);
        loop {
            let (0xff, marker, length) = (byte(at)?, byte(at + 1)?, word(at + 2)?) else { return None };
            match marker {
                // Baseline and extended sequential frames with Huffman coding.
                0xc0 | 0xc1 => {
                    let colours = byte(at + 9)?;
                    let mut block_rows = 0;
                    for colour in 0..colours {
                        block_rows = block_rows.max(8 * (byte(at + 11 + 3 * colour)? & 15));
                    }
                    let (height, width) = (word(at + 5)?, word(at + 7)?);
                    found = Some((Self { height_at: at + 5, width, height, block_rows }, colours));
                }
                0xda => {
                    let (frame, colours) = found?;
                    return (byte(at + 4)? == colours && frame.block_rows > 0).then_some(frame);
                }
                // Fill bytes, and markers without a length, which have no place here.
                0x00..=0x01 | 0xd0..=0xd9 | 0xff => return None,
                _ => {}
            }
            at += 2 + length;
        }
    }

    /// Copies the file for [`open_scan`] with its height changed to the fewest rows of blocks that hold the rows above
    /// `bottom`, and one row of pixels more: the colour of the row above an edge is mixed with that of the row below it.
    /// `false` where that is all of the picture.
    fn cut_below(self, bottom: usize, bytes: &[u8], into: &mut Vec<u8>) -> Result<bool, ImageError> {
        let rows = (bottom + 1).next_multiple_of(self.block_rows);
        let Some(height) = u16::try_from(rows).ok().filter(|_| rows < self.height) else { return Ok(false) };
        without_end(bytes, into)?;
        if let Some(place) = into.get_mut(self.height_at..self.height_at + 2) {
            place.copy_from_slice(&height.to_be_bytes());
        }
        Ok(true)
    }
}

/// Decodes a JPEG (colour, gray or CMYK) to RGB.
///
/// # Errors
/// When the bytes are not a JPEG, are damaged or truncated, or the picture is above the limits.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Rgb, ImageError> {
    if !is_jpeg(bytes) {
        return Err(unknown(bytes));
    }
    decode_image(bytes, limits)
}

/// A decoder of bytes in memory.
type Zune<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

/// Zeros that stand for the end-of-image marker: more than the decoder reads ahead, 8 bytes.
const READ_AHEAD: [u8; 12] = [0; 12];

/// Reads the headers of a whole JPEG: the decoder, width and height. `scan` is filled with what the decoder is given.
///
/// The decoder takes a scan that ends too early for one that goes on with zeros, if the end-of-image marker follows it. It is
/// therefore given a sequential picture without that marker: where data are missing, it then runs out of them.
fn open_with_zune<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    scan: &'a mut Vec<u8>,
) -> Result<(Zune<'a>, usize, usize), ImageError> {
    if !is_jpeg(bytes) {
        return Err(unknown(bytes));
    }
    without_end(bytes, scan)?;
    let opened = open_scan(scan, limits)?;
    if opened.0.info().is_some_and(|info| info.sof.is_sequential_dct()) { Ok(opened) } else { open_scan(bytes, limits) }
}

/// Copies a JPEG without its end-of-image marker.
fn without_end(bytes: &[u8], into: &mut Vec<u8>) -> Result<(), ImageError> {
    into.clear();
    into.extend_from_slice(bytes.get(..end_of_image(bytes)?).unwrap_or_default());
    into.extend_from_slice(&READ_AHEAD);
    Ok(())
}

/// Reads the headers: the decoder, width and height.
fn open_scan<'a>(bytes: &'a [u8], limits: &Limits) -> Result<(Zune<'a>, usize, usize), ImageError> {
    let mut decoder = jpeg_decoder(bytes);
    decoder.decode_headers().map_err(|e| ImageError::Damaged(e.to_string()))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| ImageError::Damaged("no frame header".to_owned()))?;
    limits.check(width, height)?;
    Ok((decoder, width, height))
}

/// Decodes any JPEG in pure Rust.
pub(crate) fn decode_with_zune(bytes: &[u8], limits: &Limits) -> Result<Rgb, ImageError> {
    let mut scan = Vec::new();
    let (mut decoder, width, height) = open_with_zune(bytes, limits, &mut scan)?;
    let data = decoder.decode().map_err(|e| ImageError::Damaged(e.to_string()))?;
    Rgb::new(width, height, data)
}

fn decode_png(bytes: &[u8], limits: &Limits) -> Result<Rgb, ImageError> {
    let (width, height) = dimensions(bytes)?;
    limits.check(width, height)?;
    let picture = image::load_from_memory_with_format(bytes, image::ImageFormat::Png)
        .map_err(|e| ImageError::Damaged(e.to_string()))?;
    Rgb::new(width, height, picture.into_rgb8().into_raw())
}

/// Name and version of what decodes whole pictures and encodes here: part of the hash of a dataset's configuration, since
/// another decoder may differ by a level or two.
#[must_use]
pub fn decoder() -> &'static str {
    #[cfg(feature = "turbo")]
    return crate::turbo::NAME;
    #[cfg(not(feature = "turbo"))]
    "zune-jpeg 0.5.15, jpeg-encoder 0.7.1"
}

/// Can [`decode_shrunk`] shrink?
#[must_use]
pub const fn can_shrink() -> bool {
    cfg!(feature = "turbo")
}

/// Decodes a JPEG or a PNG, by its first bytes.
///
/// # Errors
/// As [`decode`].
pub fn decode_image(bytes: &[u8], limits: &Limits) -> Result<Rgb, ImageError> {
    decode_shrunk(bytes, limits, 1)
}

/// Decodes a JPEG with both sides divided by `shrink` (1, 2 or 4), rounded up: much faster, and smoother than shrinking
/// afterwards. Other pictures, and all where [`can_shrink`] is false, keep their size.
///
/// # Errors
/// As [`decode`].
#[cfg_attr(not(feature = "turbo"), expect(unused_variables, reason = "only libjpeg-turbo shrinks"))]
pub fn decode_shrunk(bytes: &[u8], limits: &Limits, shrink: usize) -> Result<Rgb, ImageError> {
    #[cfg(feature = "turbo")]
    if is_jpeg(bytes) {
        end_of_image(bytes)?;
        if let Some(picture) = crate::turbo::decode(bytes, limits, shrink)? {
            return Ok(picture);
        }
    }
    if bytes.starts_with(PNG_MAGIC) { decode_png(bytes, limits) } else { decode_with_zune(bytes, limits) }
}

/// Encodes as baseline JPEG, 4:2:0. Equal pixels give equal bytes.
///
/// # Errors
/// When a side is above 65,535 pixels.
pub fn encode(picture: &Rgb, quality: u8) -> Result<Vec<u8>, ImageError> {
    #[cfg(feature = "turbo")]
    return crate::turbo::encode(picture, quality);
    #[cfg(not(feature = "turbo"))]
    encode::encode(picture, quality)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jpeg_encoder::{ColorType, Encoder};

    fn ramp(width: usize, height: usize) -> Rgb {
        let data = (0..width * height)
            .flat_map(|i| {
                let (x, y) = (i % width, i / width);
                [(x * 255 / width) as u8, (y * 255 / height) as u8, ((x + y) * 127 / (width + height)) as u8]
            })
            .collect();
        Rgb::new(width, height, data).unwrap()
    }

    #[test]
    fn pictures_survive_within_a_few_levels_and_bytes_repeat() {
        let picture = ramp(144, 97);
        let bytes = encode(&picture, 95).unwrap();
        assert_eq!(bytes, encode(&picture, 95).unwrap());
        assert_eq!(dimensions(&bytes).unwrap(), (144, 97));
        let back = decode(&bytes, &Limits::default()).unwrap();
        let worst = back.data.iter().zip(&picture.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 12, "{worst}");
    }

    #[test]
    fn gray_cmyk_and_trailing_bytes_are_read() {
        let mut bytes = Vec::new();
        Encoder::new(&mut bytes, 95).encode(&[200; 40 * 30], 40, 30, ColorType::Luma).unwrap();
        let gray = decode(&bytes, &Limits::default()).unwrap();
        assert!(gray.data.iter().all(|&v| v.abs_diff(200) <= 2), "{:?}", gray.pixel(3, 3));
        let mut bytes = Vec::new();
        Encoder::new(&mut bytes, 95).encode(&[0; 4 * 40 * 30], 40, 30, ColorType::Cmyk).unwrap();
        let cmyk = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!((cmyk.width, cmyk.height, cmyk.data.len()), (40, 30, 3600));
        let picture = ramp(40, 30);
        let mut bytes = encode(&picture, 95).unwrap();
        let plain = decode(&bytes, &Limits::default()).unwrap();
        bytes.extend_from_slice(&[7; 500]);
        assert_eq!(decode(&bytes, &Limits::default()).unwrap(), plain);
    }

    #[test]
    fn cut_off_foreign_and_huge_pictures_are_errors() {
        let bytes = encode(&ramp(144, 97), 95).unwrap();
        for cut in [3, 100, bytes.len() / 2, bytes.len() - 2] {
            assert!(decode(&bytes[..cut], &Limits::default()).is_err(), "{cut}");
        }
        assert!(matches!(decode_image(b"GIF89a", &Limits::default()), Err(ImageError::UnknownFormat(_))));
        assert!(matches!(decode_image(b"", &Limits::default()), Err(ImageError::UnknownFormat(_))));
        let small = Limits { max_pixels: 100 };
        assert!(matches!(decode(&bytes, &small), Err(ImageError::TooLarge { .. })));
    }

    #[test]
    fn parts_are_those_of_the_whole_picture() {
        let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] / 4;
        let mut picture = ramp(71, 90);
        picture.data.iter_mut().enumerate().for_each(|(i, v)| *v = v.saturating_add(noise(i)));
        type Set = fn(&mut Encoder<&mut Vec<u8>>);
        let kinds: [(&str, bool, Set); 6] = [
            ("4:2:0", true, |e| e.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2)),
            ("4:2:2", true, |e| e.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_1)),
            ("4:4:4", true, |e| e.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1)),
            ("restarts", true, |e| e.set_restart_interval(3)),
            ("a scan for each colour", false, |e| e.set_optimized_huffman_tables(true)),
            ("progressive", false, |e| e.set_progressive(true)),
        ];
        let mut decoder = Decoder::default();
        for (kind, short, set) in kinds {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(&mut bytes, 95);
            set(&mut encoder);
            encoder.encode(&picture.data, 71, 90, ColorType::Rgb).unwrap();
            let frame = OneScan::of(&bytes);
            assert_eq!(frame.is_some(), short, "{kind}");
            let whole = decode_with_zune(&bytes, &Limits::default()).unwrap();
            for bottom in 1..=90 {
                let part = Part { x: 5, y: bottom / 2, width: 60, height: bottom - bottom / 2 };
                let choose = |width: usize, height: usize| {
                    assert_eq!((width, height), (71, 90));
                    Ok::<_, ImageError>(part)
                };
                let rows = decoder.part(&bytes, &Limits::default(), choose).unwrap();
                let expected = whole.part(part.x, part.y, part.width, part.height).unwrap();
                let found: Vec<u8> = (0..).map_while(|y| rows.get(y)).flatten().copied().collect();
                assert!(found == expected.data, "{kind}, rows above {bottom}");
                if let Some(frame) = frame.filter(|_| bottom < 60) {
                    let mut cut = Vec::new();
                    assert!(frame.cut_below(bottom, &bytes, &mut cut).unwrap());
                    assert!(dimensions(&cut).unwrap().1 <= 72, "{kind}, rows above {bottom}");
                }
            }
        }
    }

    #[test]
    fn a_picture_cut_inside_its_scan_and_closed_again_is_an_error() {
        let picture = ramp(208, 160);
        type Set = fn(&mut Encoder<&mut Vec<u8>>);
        let kinds: [(&str, Set); 5] = [
            ("4:2:0", |e| e.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2)),
            ("4:4:4", |e| e.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1)),
            ("restarts", |e| e.set_restart_interval(13)),
            ("a scan for each colour", |e| e.set_optimized_huffman_tables(true)),
            ("progressive", |e| e.set_progressive(true)),
        ];
        for (kind, set) in kinds {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(&mut bytes, 95);
            set(&mut encoder);
            encoder.encode(&picture.data, 208, 160, ColorType::Rgb).unwrap();
            let whole = decode(&bytes, &Limits::default()).unwrap();
            assert!(whole.data.iter().zip(&picture.data).all(|(a, b)| a.abs_diff(*b) <= 24), "{kind}");
            let scan = bytes.windows(2).position(|w| w == [0xff, 0xda]).unwrap();
            let length = (bytes.len() - scan) as f64;
            // A progressive picture that ends between two scans is a coarser one, and legal.
            for cut in [0.2, 0.5, 0.8, 0.95].map(|part| scan + (part * length) as usize) {
                let mut closed = bytes[..cut - usize::from(bytes[cut - 1] == 0xff)].to_vec();
                closed.extend_from_slice(&[0xff, 0xd9]);
                let refused = decode(&closed, &Limits::default()).is_err();
                assert!(refused || kind == "progressive", "{kind}: {cut} of {}", bytes.len());
            }
        }
    }
}
