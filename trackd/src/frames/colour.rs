//! From the YUV of a decoder to RGB: which matrix and range an H.264 stream names, and the conversion.

/// Luma weights of red and blue, and whether all 256 levels are used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colour {
    kr: f64,
    kb: f64,
    full: bool,
}

impl Default for Colour {
    /// BT.601 with limited range: what players take where a stream says nothing.
    fn default() -> Self {
        Self { kr: 0.299, kb: 0.114, full: false }
    }
}

/// Three planes of a picture with half-size chroma; a plane's stride is the distance of its rows in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// Luma, and its stride.
    pub y: (&'a [u8], usize),
    /// Blue difference, and its stride.
    pub u: (&'a [u8], usize),
    /// Red difference, and its stride.
    pub v: (&'a [u8], usize),
}

impl Colour {
    /// The colour description in a sequence parameter set (H.264 7.3.2.1.1 and E.1.1; one unit with its header byte),
    /// or the default where it has none.
    #[must_use]
    pub fn of_sps(unit: &[u8]) -> Self {
        let default = Self::default();
        let Some((matrix, full)) = description(&mut Bits::new(unit)) else { return default };
        let (kr, kb) = match matrix {
            1 => (0.2126, 0.0722),
            7 => (0.212, 0.087),
            9 | 10 => (0.2627, 0.0593),
            _ => (default.kr, default.kb),
        };
        Self { kr, kb, full }
    }

    /// Converts a picture of `width` x `height` px; each chroma sample colours four pixels. Rows that the planes do
    /// not hold stay black.
    #[must_use]
    pub fn rgb(&self, planes: &Planes<'_>, width: usize, height: usize) -> Vec<u8> {
        // Fixed point with 16 bits behind the point.
        let fixed = |v: f64| (v * 65536.0).round() as i32;
        let (luma, chroma, black) = if self.full { (1.0, 1.0, 0) } else { (255.0 / 219.0, 255.0 / 224.0, 16) };
        let kg = 1.0 - self.kr - self.kb;
        let scale = fixed(luma);
        let red = fixed(chroma * 2.0 * (1.0 - self.kr));
        let blue = fixed(chroma * 2.0 * (1.0 - self.kb));
        let green_v = fixed(chroma * 2.0 * (1.0 - self.kr) * self.kr / kg);
        let green_u = fixed(chroma * 2.0 * (1.0 - self.kb) * self.kb / kg);
        let byte = |v: i32| (v >> 16).clamp(0, 255) as u8;
        let mut out = vec![0; width * height * 3];
        for (row, pixels) in out.chunks_exact_mut(3 * width.max(1)).enumerate() {
            let line = |(plane, stride): (_, usize), row: usize, length: usize| -> Option<&[u8]> {
                let plane: &[u8] = plane;
                plane.get(row * stride..)?.get(..length)
            };
            let half = width.div_ceil(2);
            let found = (line(planes.y, row, width), line(planes.u, row / 2, half), line(planes.v, row / 2, half));
            let (Some(y), Some(u), Some(v)) = found else { continue };
            let pairs = pixels.chunks_mut(6).zip(y.chunks(2)).zip(u.iter().zip(v));
            for ((pixels, y), (u, v)) in pairs {
                let (u, v) = (i32::from(*u) - 128, i32::from(*v) - 128);
                let (r, g, b) = (red * v, -(green_u * u + green_v * v), blue * u);
                for (pixel, y) in pixels.chunks_exact_mut(3).zip(y) {
                    let y = scale * (i32::from(*y) - black) + 32768;
                    pixel.copy_from_slice(&[byte(y + r), byte(y + g), byte(y + b)]);
                }
            }
        }
        out
    }
}

/// Matrix number and full range of a sequence parameter set, if it has them.
fn description(bits: &mut Bits) -> Option<(u32, bool)> {
    let header = bits.take(8)?;
    if header & 31 != 7 {
        return None;
    }
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.unsigned()?;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        let chroma = bits.unsigned()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.unsigned()?;
        bits.unsigned()?;
        bits.take(1)?;
        if bits.flag()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.unsigned()?;
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?;
        }
        1 => {
            bits.take(1)?;
            bits.unsigned()?;
            bits.unsigned()?;
            for _ in 0..bits.unsigned()?.min(255) {
                bits.unsigned()?;
            }
        }
        _ => {}
    }
    bits.unsigned()?;
    bits.take(1)?;
    bits.unsigned()?;
    bits.unsigned()?;
    if !bits.flag()? {
        bits.take(1)?;
    }
    bits.take(1)?;
    if bits.flag()? {
        for _ in 0..4 {
            bits.unsigned()?;
        }
    }
    if !bits.flag()? {
        return None;
    }
    if bits.flag()? && bits.take(8)? == 255 {
        bits.take(32)?;
    }
    if bits.flag()? {
        bits.take(1)?;
    }
    if !bits.flag()? {
        return None;
    }
    bits.take(3)?;
    let full = bits.flag()?;
    let matrix = if bits.flag()? { bits.take(24)? & 255 } else { 2 };
    Some((matrix, full))
}

/// Skips a scaling list (H.264 7.3.2.1.1.1).
fn scaling_list(bits: &mut Bits, size: usize) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            let code = i64::from(bits.unsigned()?);
            let delta = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
            next = (last + delta).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// The bits of a unit, without the bytes that keep start codes out of it.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn new(unit: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(unit.len());
        let mut zeros = 0;
        for &byte in unit {
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            bytes.push(byte);
        }
        Self { bytes, at: 0 }
    }

    fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0u32, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    /// An Exp-Golomb number.
    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BT709: Colour = Colour { kr: 0.2126, kb: 0.0722, full: false };

    /// Writes bits the way [`Bits`] reads them.
    #[derive(Default)]
    struct Writer(Vec<bool>);

    impl Writer {
        fn bits(mut self, count: u32, value: u32) -> Self {
            self.0.extend((0..count).rev().map(|i| value >> i & 1 == 1));
            self
        }

        fn number(self, value: u32) -> Self {
            let length = (value + 1).ilog2();
            self.bits(length, 0).bits(length + 1, value + 1)
        }

        fn unit(self) -> Vec<u8> {
            let mut out = Vec::new();
            for byte in self.0.chunks(8) {
                let byte = (0..8).fold(0, |sum, i| sum << 1 | u8::from(byte.get(i).copied().unwrap_or(true)));
                if byte < 4 && out.ends_with(&[0, 0]) {
                    out.push(3);
                }
                out.push(byte);
            }
            out
        }
    }

    fn sps(profile: u32, matrix: Option<u32>, full: bool) -> Vec<u8> {
        let mut w = Writer::default().bits(8, 0x67).bits(8, profile).bits(16, 30).number(0);
        if profile == 100 {
            w = w.number(1).number(0).number(0).bits(1, 0).bits(1, 0);
        }
        // Frame numbers, order, references, size in blocks, frames only, cropped.
        w = w.number(4).number(0).number(4).number(4).bits(1, 0).number(39).number(22).bits(1, 1).bits(1, 1);
        w = w.bits(1, 1).number(0).number(0).number(0).number(4);
        let Some(matrix) = matrix else { return w.bits(1, 0).unit() };
        let w = w.bits(1, 1).bits(1, 1).bits(8, 255).bits(32, 0x0001_0001).bits(1, 0);
        let w = w.bits(1, 1).bits(3, 5).bits(1, u32::from(full));
        w.bits(1, 1).bits(8, 1).bits(8, 1).bits(8, matrix).unit()
    }

    #[test]
    fn the_stream_says_how_its_colours_are_meant() {
        for profile in [66, 77, 100] {
            assert_eq!(Colour::of_sps(&sps(profile, Some(1), false)), BT709);
            assert_eq!(Colour::of_sps(&sps(profile, Some(6), true)), Colour { full: true, ..Colour::default() });
            assert_eq!(Colour::of_sps(&sps(profile, None, false)), Colour::default());
        }
        assert_eq!(Colour::of_sps(&[]), Colour::default());
        assert_eq!(Colour::of_sps(&[0x68, 1, 2, 3]), Colour::default());
    }

    #[test]
    fn known_colours_come_out() {
        let one = |colour: Colour, y: u8, u: u8, v: u8| {
            let (y, u, v) = ([y; 4], [u], [v]);
            let planes = Planes { y: (&y, 2), u: (&u, 1), v: (&v, 1) };
            let rgb = colour.rgb(&planes, 2, 2);
            assert!(rgb.chunks(3).all(|p| p == &rgb[..3]));
            [rgb[0], rgb[1], rgb[2]]
        };
        for colour in [Colour::default(), BT709] {
            assert_eq!(one(colour, 16, 128, 128), [0, 0, 0]);
            assert_eq!(one(colour, 235, 128, 128), [255, 255, 255]);
            assert_eq!(one(colour, 126, 128, 128), [128, 128, 128]);
        }
        assert_eq!(one(Colour { full: true, ..BT709 }, 77, 128, 128), [77, 77, 77]);
        // Pure red as the two standards write it.
        let close = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 2);
        assert!(close(one(Colour::default(), 81, 90, 240), [255, 0, 0]));
        assert!(close(one(BT709, 63, 102, 240), [255, 0, 0]));
        assert!(!close(one(BT709, 81, 90, 240), [255, 0, 0]));
    }

    #[test]
    fn odd_sizes_and_short_planes_are_fine() {
        let planes = Planes { y: (&[235; 15], 5), u: (&[128; 6], 3), v: (&[128; 6], 3) };
        assert!(Colour::default().rgb(&planes, 5, 3).iter().all(|v| *v == 255));
        let short = Planes { y: (&[235; 7], 5), ..planes };
        let rgb = Colour::default().rgb(&short, 5, 3);
        assert_eq!((rgb[0], rgb[15]), (255, 0));
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..60)) {
            let unit = [&[0x67][..], &noise].concat();
            let _ = Colour::of_sps(&unit);
        }
    }
}
