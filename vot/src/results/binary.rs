//! The binary region file of the official Python toolkit, little endian:
//!
//! | bytes | what |
//! |---|---|
//! | i16 | 1, the version |
//! | u32 | number of regions |
//! | per region u8 | 0 code: u32; 1 rectangle: 4 f32; 2 polygon: u16 n, 2n f32; 3 mask: i16 x, i16 y, u16 w, u16 h, u16 n, n u16 runs; 4 point: 2 f32 |

use std::path::Path;

use crate::error::Error;
use crate::region::{Mask, Rect, Region, mask_from_numbers};

/// The first bytes of a binary file.
pub(super) const VERSION: [u8; 2] = 1i16.to_le_bytes();

/// Longest run that is written in one piece; longer ones are continued after an empty run of the other
/// kind, as the toolkit does.
const LONGEST_RUN: u32 = 255 * 255;

/// The binary form of regions. Coordinates are narrowed to f32, mask offsets and sizes to 16 bit;
/// negative codes wrap, as in the toolkit's u32.
pub fn encode_regions(regions: &[Region]) -> Vec<u8> {
    let mut out = VERSION.to_vec();
    out.extend((regions.len() as u32).to_le_bytes());
    for region in regions {
        match region {
            Region::Special(code) => {
                out.push(0);
                out.extend((*code as u32).to_le_bytes());
            }
            Region::Rectangle(rect) => {
                out.push(1);
                floats(&mut out, [rect.x, rect.y, rect.width, rect.height]);
            }
            Region::Polygon(points) => {
                out.push(2);
                let count = points.len().min(usize::from(u16::MAX));
                out.extend((count as u16).to_le_bytes());
                floats(&mut out, points.iter().take(count).flatten().copied());
            }
            Region::Mask(mask) => {
                out.push(3);
                encode_mask(&mut out, mask);
            }
            Region::Point(point) => {
                out.push(4);
                floats(&mut out, *point);
            }
        }
    }
    out
}

fn floats(out: &mut Vec<u8>, values: impl IntoIterator<Item = f64>) {
    for value in values {
        out.extend((value as f32).to_le_bytes());
    }
}

fn encode_mask(out: &mut Vec<u8>, mask: &Mask) {
    let mut runs: Vec<u16> = Vec::new();
    for run in &mask.rle {
        let mut rest = *run;
        while rest > LONGEST_RUN {
            runs.extend([LONGEST_RUN as u16, 0]);
            rest -= LONGEST_RUN;
        }
        runs.push(rest as u16);
    }
    runs.truncate(usize::from(u16::MAX));
    for value in [mask.x as i16 as u16, mask.y as i16 as u16, mask.width as u16, mask.height as u16, runs.len() as u16]
    {
        out.extend(value.to_le_bytes());
    }
    for run in runs {
        out.extend(run.to_le_bytes());
    }
}

/// Reads the binary form; `path` is only named in errors. Every count is checked against the bytes
/// that are there.
pub fn decode_regions(path: &Path, bytes: &[u8]) -> Result<Vec<Region>, Error> {
    let mut reader = Reader { bytes, at: 0, path };
    if reader.take::<2>()? != VERSION {
        return Err(reader.error("it does not begin with version 1".to_owned()));
    }
    let count = u32::from_le_bytes(reader.take()?);
    let mut regions = Vec::new();
    for _ in 0..count {
        regions.push(reader.region()?);
    }
    if reader.at != bytes.len() {
        let rest = bytes.len() - reader.at;
        return Err(reader.error(format!("{rest} bytes follow the last of {count} regions")));
    }
    Ok(regions)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    path: &'a Path,
}

impl Reader<'_> {
    fn error(&self, what: String) -> Error {
        Error::Format { path: self.path.to_owned(), reason: format!("{what} (byte {})", self.at) }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let piece = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let piece = *piece.ok_or_else(|| self.error(format!("the file ends where {N} more bytes are due")))?;
        self.at += N;
        Ok(piece)
    }

    fn float(&mut self) -> Result<f64, Error> {
        Ok(f64::from(f32::from_le_bytes(self.take()?)))
    }

    fn point(&mut self) -> Result<[f64; 2], Error> {
        Ok([self.float()?, self.float()?])
    }

    fn short(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    fn region(&mut self) -> Result<Region, Error> {
        let [kind] = self.take()?;
        Ok(match kind {
            0 => Region::Special(u32::from_le_bytes(self.take()?) as i32),
            1 => {
                let ([x, y], [width, height]) = (self.point()?, self.point()?);
                Region::Rectangle(Rect::new(x, y, width, height))
            }
            2 => {
                let count = self.short()?;
                Region::Polygon((0..count).map(|_| self.point()).collect::<Result<_, _>>()?)
            }
            3 => {
                let (x, y) = (i16::from_le_bytes(self.take()?), i16::from_le_bytes(self.take()?));
                let (width, height, count) = (self.short()?, self.short()?, self.short()?);
                let runs = (0..count).map(|_| self.short()).collect::<Result<Vec<_>, _>>()?;
                mask_from_numbers([x.into(), y.into(), width.into(), height.into()], runs.into_iter().map(i64::from))
                    .map(Region::Mask)
                    .map_err(|error| self.error(error.to_string()))?
            }
            4 => Region::Point(self.point()?),
            other => return Err(self.error(format!("region type {other} is unknown"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout_is_the_toolkits() {
        let bytes = encode_regions(&[Region::Special(2), Region::rect(1.0, 2.0, 3.0, 4.0)]);
        let mut expected = vec![1, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 1];
        for value in [1f32, 2.0, 3.0, 4.0] {
            expected.extend(value.to_le_bytes());
        }
        assert_eq!(bytes, expected);
    }

    #[test]
    fn every_kind_reads_back() {
        let regions = vec![
            Region::Special(0),
            Region::Special(-3),
            Region::rect(0.5, -2.25, 3.0, 4.0),
            Region::Polygon(vec![[0.0, 1.0], [2.0, 3.5], [-4.0, 5.0]]),
            Region::Mask(Mask { x: -3, y: 4, width: 500, height: 400, rle: vec![0, 150_000, 7, 3] }),
            Region::Point([1.0, 2.0]),
        ];
        let read = decode_regions(Path::new("a.bin"), &encode_regions(&regions)).unwrap();
        assert_eq!(read[..4], regions[..4]);
        assert_eq!(read[5], regions[5]);
        let (Region::Mask(before), Region::Mask(after)) = (&regions[4], &read[4]) else { panic!("no mask") };
        assert_eq!(before.spans(), after.spans());
    }

    #[test]
    fn broken_files_are_refused_by_byte() {
        let whole = encode_regions(&[Region::rect(1.0, 2.0, 3.0, 4.0)]);
        let message = |bytes: &[u8]| decode_regions(Path::new("a.bin"), bytes).unwrap_err().to_string();
        assert!(message(&whole[..10]).contains("a.bin") && message(&whole[..10]).contains("byte"));
        let mut longer = whole.clone();
        longer.push(0);
        assert!(message(&longer).contains("1 bytes follow"));
        let mut unknown = whole.clone();
        unknown[6] = 9;
        assert!(message(&unknown).contains("type 9"));
        let huge = [1, 0, 255, 255, 255, 255];
        assert!(message(&huge).contains("the file ends"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), plain in any::<bool>()) {
            if plain {
                bytes.splice(0..0, [1, 0, 3, 0, 0, 0]);
            }
            let _ = decode_regions(Path::new("a.bin"), &bytes);
        }
    }
}
