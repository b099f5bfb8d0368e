//! A decoder for the JPEGs that training reads: baseline, YCbCr 4:2:0, no restart markers. It decodes a rectangle and
//! skips what does not touch it, reuses its tables and buffers from picture to picture, and gives exactly the pixels
//! that zune-jpeg gives (a test compares them). Everything else, damaged files included, is left to zune-jpeg.
//!
//! ```text
//! header -> entropy-coded bits -> coefficients -> samples of three planes -> rows of RGB
//!           (down to the rectangle's last row)    (only blocks that the rectangle touches)
//! ```

mod colour;
mod header;
mod huffman;
mod idct;

use crate::image::Part;
use colour::Rows;
use header::Header;
use huffman::{AcTable, Bits, DcTable};

/// Blocks of 8 x 8 samples per macroblock, each way, of the luma plane.
const LUMA: usize = 2;

/// The picture is not of the kind this decoder knows, or it is damaged: another decoder must look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreign;

/// Samples of one colour component, padded to whole macroblocks. Only the parts that were asked for are fresh.
#[derive(Debug, Default)]
struct Plane {
    samples: Vec<u8>,
    stride: usize,
}

impl Plane {
    fn size(&mut self, stride: usize, rows: usize) {
        self.stride = stride;
        // Old samples may stay: every one that is read later is written before.
        if self.samples.len() < stride * rows {
            self.samples.resize(stride * rows, 0);
        }
    }

    fn row(&self, y: usize) -> &[u8] {
        self.samples.get(y * self.stride..(y + 1) * self.stride).unwrap_or_default()
    }
}

/// The decoder with its tables and buffers.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    dc: [DcTable; 2],
    ac: [AcTable; 2],
    planes: [Plane; 3],
    /// The entropy-coded bytes without stuffing, zeros behind.
    bits: Vec<u8>,
    rows: Rows,
}

/// Which blocks of a plane are wanted, in samples.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    x: [usize; 2],
    y: [usize; 2],
}

impl Wanted {
    /// The blocks that samples `from .. to` of each axis lie in.
    fn new(x: [usize; 2], y: [usize; 2]) -> Self {
        let blocks = |[from, to]: [usize; 2]| [from / 8, to.div_ceil(8)];
        Self { x: blocks(x), y: blocks(y) }
    }

    fn has(&self, x: usize, y: usize) -> bool {
        (self.x[0]..self.x[1]).contains(&x) && (self.y[0]..self.y[1]).contains(&y)
    }
}

/// A picture whose header was understood.
pub(crate) struct Opened<'a> {
    header: Header<'a>,
}

impl Opened<'_> {
    /// Width and height in pixels.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.header.width, self.header.height)
    }
}

/// Reads a header.
pub(crate) fn open(bytes: &[u8]) -> Result<Opened<'_>, Foreign> {
    header::parse(bytes).map(|header| Opened { header })
}

impl Baseline {
    /// Decodes `part`, which must lie in the picture, to RGB: `out` becomes `3 * width * height` bytes long.
    pub(crate) fn decode(&mut self, picture: &Opened<'_>, part: Part, out: &mut Vec<u8>) -> Result<(), Foreign> {
        let header = &picture.header;
        huffman::unstuff(header.scan, &mut self.bits)?;
        for (table, bytes) in self.dc.iter_mut().zip(header.dc) {
            table.set(bytes)?;
        }
        for (table, bytes) in self.ac.iter_mut().zip(header.ac) {
            table.set(bytes)?;
        }
        let (wide, high) = header.macroblocks();
        let [y, cb, cr] = &mut self.planes;
        y.size(wide * 16, high * 16);
        cb.size(wide * 8, high * 8);
        cr.size(wide * 8, high * 8);
        let bytes = 3 * part.width * part.height;
        if out.len() != bytes {
            out.resize(bytes, 0);
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { self.decode_avx2(header, part, out) };
        }
        self.work(header, part, out)
    }

    /// [`Baseline::work`], compiled for AVX2: the same arithmetic, so the same pixels.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn decode_avx2(&mut self, header: &Header<'_>, part: Part, out: &mut [u8]) -> Result<(), Foreign> {
        self.scan(header, part)?;
        self.rows.convert::<true>(&self.planes, part, header.macroblocks(), out);
        Ok(())
    }

    fn work(&mut self, header: &Header<'_>, part: Part, out: &mut [u8]) -> Result<(), Foreign> {
        self.scan(header, part)?;
        self.rows.convert::<false>(&self.planes, part, header.macroblocks(), out);
        Ok(())
    }

    /// Decodes coefficients down to the last macroblock row that `part` needs, and samples where it needs them.
    #[inline(always)]
    fn scan(&mut self, header: &Header<'_>, part: Part) -> Result<(), Foreign> {
        let (wide, high) = header.macroblocks();
        let [(x0, x1), (y0, y1)] = [(part.x, part.x + part.width), (part.y, part.y + part.height)];
        let luma = Wanted::new([x0, x1], [y0, y1]);
        // A pixel takes its colour from its own chroma sample and the ones beside it.
        let near = |from: usize, to: usize, n: usize| [(from / 2).saturating_sub(1), (to.div_ceil(2) + 1).min(n)];
        let chroma = Wanted::new(near(x0, x1, 8 * wide), near(y0, y1, 8 * high));
        let rows = luma.y[1].div_ceil(LUMA).max(chroma.y[1]).min(high);
        let mut bits = Bits::new(&self.bits);
        let mut before = [0_i32; 3];
        let mut block = [0_i32; 64];
        for row in 0..rows {
            for column in 0..wide {
                for (c, plane) in self.planes.iter_mut().enumerate() {
                    let side = if c == 0 { LUMA } else { 1 };
                    let wanted = if c == 0 { &luma } else { &chroma };
                    let table = header.tables[c];
                    let (dc, ac) = (&self.dc[table.dc], &self.ac[table.ac]);
                    for by in 0..side {
                        for bx in 0..side {
                            let (x, y) = (column * side + bx, row * side + by);
                            if !wanted.has(x, y) {
                                huffman::skip(&mut bits, dc, ac, &mut before[c])?;
                                continue;
                            }
                            huffman::block(&mut bits, dc, ac, &header.quant[table.quant], &mut before[c], &mut block)?;
                            let at = 8 * (y * plane.stride + x);
                            let stride = plane.stride;
                            idct::idct(&block, plane.samples.get_mut(at..).unwrap_or_default(), stride);
                        }
                    }
                }
            }
            bits.check()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Rgb;
    use crate::jpeg::{Limits, decode_with_zune, encode};
    use crate::order::Rng;
    use proptest::prelude::*;

    /// Blobs of colour, edges and noise: all kinds of blocks.
    fn picture(width: usize, height: usize, seed: u64) -> Rgb {
        let mut rng = Rng::new(seed);
        let waves: Vec<[f64; 4]> = (0..9).map(|_| [(); 4].map(|()| rng.range(-0.4, 0.4))).collect();
        let noise = rng.below(80);
        let mut data = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for channel in 0..3 {
                    let wave: f64 = waves[3 * channel..3 * channel + 3]
                        .iter()
                        .map(|[a, b, c, d]| (a * x as f64 + b * y as f64 + 9.0 * c).sin() * 100.0 * d)
                        .sum();
                    let edge = if (x / 23 + y / 17) % 3 == channel { 60.0 } else { 0.0 };
                    data.push((90.0 + wave + edge + rng.below(noise + 1) as f64).clamp(0.0, 255.0) as u8);
                }
            }
        }
        Rgb::new(width, height, data).unwrap()
    }

    fn both(bytes: &[u8], part: Part) -> [Vec<u8>; 2] {
        let opened = open(bytes).unwrap();
        let (mut fast, mut plain) = (Baseline::default(), Baseline::default());
        let (mut a, mut b) = (Vec::new(), vec![0; 3 * part.width * part.height]);
        fast.decode(&opened, part, &mut a).unwrap();
        // The other one takes the path without vector instructions, over buffers that `decode` has prepared.
        plain.decode(&opened, part, &mut Vec::new()).unwrap();
        plain.planes.iter_mut().for_each(|plane| plane.samples.fill(7));
        plain.work(&opened.header, part, &mut b).unwrap();
        [a, b]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_part_has_the_pixels_of_zune_jpeg(
            width in 8usize..130, height in 8usize..130, quality in 30u8..=100, seed: u64, cut: [u16; 4],
        ) {
            let bytes = encode(&picture(width, height, seed), quality).unwrap();
            let whole = decode_with_zune(&bytes, &Limits::default()).unwrap();
            let [x, y] = [usize::from(cut[0]) % width, usize::from(cut[1]) % height];
            let part = Part { x, y, width: 1 + usize::from(cut[2]) % (width - x), height: 1 + usize::from(cut[3]) % (height - y) };
            for part in [part, Part { x: 0, y: 0, width, height }] {
                let expected = whole.part(part.x, part.y, part.width, part.height).unwrap().data;
                for found in both(&bytes, part) {
                    prop_assert!(found == expected, "{part:?} of {width}x{height} at quality {quality}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn altered_bytes_give_an_answer_and_no_panic(
            seed: u64, changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..12), kept in 0.3..1.0_f64,
        ) {
            let mut bytes = encode(&picture(60, 44, seed), 85).unwrap();
            let end = ((bytes.len() as f64 * kept) as usize).min(bytes.len() - 2);
            bytes.drain(end..bytes.len() - 2);
            for (at, value) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = value;
            }
            if let Ok(opened) = open(&bytes) {
                let (width, height) = opened.size();
                if width * height <= 1 << 20 {
                    let mut out = Vec::new();
                    let part = Part { x: width / 3, y: height / 3, width: width / 2, height: height / 2 };
                    if Baseline::default().decode(&opened, part, &mut out).is_ok() {
                        prop_assert_eq!(out.len(), 3 * part.width * part.height);
                    }
                }
            }
        }
    }

    #[test]
    fn one_decoder_serves_pictures_with_other_tables_and_sizes() {
        let mut decoder = Baseline::default();
        for (n, (size, quality)) in [((40, 30), 95), ((120, 99), 50), ((17, 70), 80), ((40, 30), 95)].iter().enumerate()
        {
            let bytes = encode(&picture(size.0, size.1, n as u64), *quality).unwrap();
            let whole = decode_with_zune(&bytes, &Limits::default()).unwrap();
            let mut out = Vec::new();
            let part = Part { x: 0, y: 0, width: size.0, height: size.1 };
            decoder.decode(&open(&bytes).unwrap(), part, &mut out).unwrap();
            assert!(out == whole.data, "{n}");
        }
    }

    #[test]
    fn other_kinds_and_damage_are_left_to_others() {
        let bytes = encode(&picture(64, 64, 1), 90).unwrap();
        let part = Part { x: 0, y: 0, width: 64, height: 64 };
        let decode =
            |bytes: &[u8]| -> Result<(), Foreign> { Baseline::default().decode(&open(bytes)?, part, &mut Vec::new()) };
        assert_eq!(decode(&bytes), Ok(()));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Err(Foreign), "{cut}");
        }
        let mut gray = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut gray, 90);
        encoder.set_restart_interval(4);
        encoder.encode(&[99; 64 * 64], 64, 64, jpeg_encoder::ColorType::Luma).unwrap();
        assert_eq!(decode(&gray), Err(Foreign));
        // Any byte may be wrong: an answer, never a panic.
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x55;
            if let Ok(opened) = open(&wrong) {
                let (width, height) = opened.size();
                if width * height <= 1 << 20 {
                    let part = Part { x: 0, y: 0, width, height };
                    let _either = Baseline::default().decode(&opened, part, &mut Vec::new());
                }
            }
        }
    }
}
