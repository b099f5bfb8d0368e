//! Which part of a stored crop becomes the network's image, and the one pass over the pixels that makes it: stretch,
//! shift, cut and mirror at once, bilinear, 16-bit integers.

use super::AugmentError;
use shards::image::{Part, Rows};

/// How one image is cut from its crop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub what: &'static str,
    /// Side of the image.
    pub side: usize,
    /// Side of the crop that the augmentation needs at most.
    pub needed: usize,
    /// Largest shift.
    pub reach: usize,
    pub stretch: [f64; 2],
    pub shift: [i64; 2],
    /// Mirror left to right.
    pub flip: bool,
}

/// Crop coordinates to image coordinates along one axis: `scale * x + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub scale: f64,
    pub offset: f64,
}

impl Axis {
    pub(super) fn apply(self, x: f64) -> f64 {
        self.scale * x + self.offset
    }
}

/// One axis of a cut: pixel `i` of the image lies at `(start + i + 0.5) * middle / stretched - 0.5` of the crop's middle.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Pixels of the crop before its middle.
    before: usize,
    /// Pixels of the middle that is stretched.
    middle: usize,
    /// Pixels of the middle after that.
    stretched: usize,
    /// First pixel of the image in the stretched middle.
    start: usize,
}

impl Line {
    /// Source pixel of the middle and share of the one behind it, for pixel `i`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the middle")]
    fn place(&self, i: usize) -> (usize, f64) {
        let last = (self.middle - 1) as f64;
        let step = self.middle as f64 / self.stretched as f64;
        let at = (((self.start + i) as f64 + 0.5) * step - 0.5).clamp(0.0, last);
        (at as usize, at.fract())
    }

    /// First pixel of the crop that is needed, and how many.
    fn span(&self, side: usize) -> (usize, usize) {
        let (first, (last, share)) = (self.place(0).0, self.place(side - 1));
        let last = if share > 0.0 { last + 1 } else { last };
        (self.before + first, last.min(self.middle - 1) - first + 1)
    }
}

/// A window laid into a crop of known size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    side: usize,
    flip: bool,
    lines: [Line; 2],
    /// The pixels of the crop that are needed.
    pub part: Part,
}

impl Window {
    /// Lays the window into a crop: the middle of the crop is stretched to whole pixels (the realised scale is what
    /// counts, as in the reference), then the image is cut from it, shifted from its middle.
    pub(super) fn lay(&self, width: usize, height: usize) -> Result<Cut, AugmentError> {
        if width.min(height) < self.needed {
            return Err(AugmentError::Small { what: self.what, width, height, needed: self.needed });
        }
        let still = self.stretch == [1.0, 1.0];
        let least = (self.side + 2 * self.reach) as f64;
        let line = |n: usize, axis: usize| {
            // Only the middle that can be seen is stretched; its offset is whole, so no pixel moves.
            let middle = if still { n } else { self.needed + (n - self.needed) % 2 };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides are small and positive")]
            let stretched = if still { n } else { (middle as f64 * self.stretch[axis]).round().max(least) as usize };
            let room = (stretched - self.side).cast_signed() as i64;
            let start = (room / 2 + self.shift[axis]).clamp(0, room).unsigned_abs() as usize;
            Line { before: (n - middle) / 2, middle, stretched, start }
        };
        let lines = [line(width, 0), line(height, 1)];
        let [(x, width), (y, height)] = lines.map(|line| line.span(self.side));
        Ok(Cut { side: self.side, flip: self.flip, lines, part: Part { x, y, width, height } })
    }
}

impl Cut {
    /// Side of the image.
    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// From the crop's pixels to the image's, along x and y; without the mirroring.
    pub(super) fn axes(&self) -> [Axis; 2] {
        self.lines.map(|line| {
            let scale = line.stretched as f64 / line.middle as f64;
            Axis { scale, offset: -scale * line.before as f64 - line.start as f64 }
        })
    }
}

/// Buffers for one row.
#[derive(Debug, Default)]
pub(super) struct Resampler {
    /// Two rows of the part mixed, times 128, and zeros behind.
    row: Vec<i16>,
    /// For each pixel of the image: where its left neighbour begins in `row`.
    places: Vec<u32>,
    /// And the share of the right one, in 1/32768, once per channel.
    shares: Vec<[i16; 4]>,
}

/// Numbers behind the last pixel of a row that are read but do not count.
const SLACK: usize = 8;

/// `a + (b - a) * share`, rounded; `share` in 1/32768.
#[inline(always)]
fn mix(a: i16, b: i16, share: i16) -> i16 {
    let step = (i32::from(b - a) * i32::from(share) + (1 << 14)) >> 15;
    a + step as i16
}

impl Resampler {
    /// Makes the image (`3 * side * side` bytes of RGB) from the pixels of `cut.part`.
    pub(super) fn draw(&mut self, cut: &Cut, pixels: Rows<'_>, out: &mut [u8]) {
        let (width, side) = (cut.part.width, cut.side);
        let [across, _] = cut.lines;
        let first = across.place(0).0;
        self.places.clear();
        self.shares.clear();
        for i in 0..side {
            let (x, share) = across.place(if cut.flip { side - 1 - i } else { i });
            // What is left of the crop's last pixel has no right neighbour, and a share of zero.
            self.places.push(3 * (x - first).min(width - 1) as u32);
            self.shares.push([fixed(share); 4]);
        }
        self.row.clear();
        self.row.resize(3 * width + SLACK, 0);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { self.rows_avx2(cut, pixels, out) };
        }
        self.rows(cut, pixels, out, mix_rows, Self::across);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn rows_avx2(&mut self, cut: &Cut, pixels: Rows<'_>, out: &mut [u8]) {
        self.rows(
            cut,
            pixels,
            out,
            |upper, lower, share, row| mix_rows_avx2(upper, lower, share, row),
            |row, places, shares, line| across_avx2(row, places, shares, line),
        );
    }

    /// Row by row: `down` mixes two rows of the part, then `across` mixes neighbours in the mixed row.
    #[inline(always)]
    fn rows(
        &mut self,
        cut: &Cut,
        pixels: Rows<'_>,
        out: &mut [u8],
        down: impl Fn(&[u8], &[u8], i16, &mut [i16]),
        across: impl Fn(&[i16], &[u32], &[[i16; 4]], &mut [u8]),
    ) {
        let [_, places] = cut.lines;
        let first = places.place(0).0;
        for (i, line) in out.chunks_exact_mut(3 * cut.side).enumerate() {
            let (y, share) = places.place(i);
            let upper = pixels.get(y - first).unwrap_or_default();
            let lower = pixels.get(y - first + 1).unwrap_or(upper);
            down(upper, lower, fixed(share), &mut self.row);
            across(&self.row, &self.places, &self.shares, line);
        }
    }

    /// Mixes neighbours of one row.
    #[inline(always)]
    fn across(row: &[i16], places: &[u32], shares: &[[i16; 4]], line: &mut [u8]) {
        for ((slot, place), share) in line.as_chunks_mut::<3>().0.iter_mut().zip(places).zip(shares) {
            let from = *place as usize;
            let Some(&[r, g, b, r2, g2, b2]) = row.get(from..from + 6).and_then(|six| six.first_chunk::<6>()) else {
                return;
            };
            let byte = |left: i16, right: i16| ((mix(left, right, share[0]) + 64) >> 7) as u8;
            *slot = [byte(r, r2), byte(g, g2), byte(b, b2)];
        }
    }
}

/// Mixes two rows, times 128.
fn mix_rows(upper: &[u8], lower: &[u8], share: i16, row: &mut [i16]) {
    for ((slot, a), b) in row.iter_mut().zip(upper).zip(lower) {
        *slot = mix(i16::from(*a) << 7, i16::from(*b) << 7, share);
    }
}

/// [`mix_rows`] with vector instructions, 16 numbers at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn mix_rows_avx2(upper: &[u8], lower: &[u8], share: i16, row: &mut [i16]) {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm256_add_epi16, _mm256_cvtepu8_epi16, _mm256_mulhrs_epi16, _mm256_set1_epi16,
        _mm256_slli_epi16, _mm256_storeu_si256, _mm256_sub_epi16,
    };
    let (uppers, upper_rest) = upper.as_chunks::<16>();
    let (lowers, lower_rest) = lower.as_chunks::<16>();
    let shares = _mm256_set1_epi16(share);
    for ((a, b), slot) in uppers.iter().zip(lowers).zip(row.as_chunks_mut::<16>().0) {
        // SAFETY: each place is as long as what is read or written there; the instructions need no alignment.
        unsafe {
            let a = _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(_mm_loadu_si128(a.as_ptr().cast())));
            let b = _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(_mm_loadu_si128(b.as_ptr().cast())));
            let mixed = _mm256_add_epi16(a, _mm256_mulhrs_epi16(_mm256_sub_epi16(b, a), shares));
            _mm256_storeu_si256(slot.as_mut_ptr().cast(), mixed);
        }
    }
    mix_rows(upper_rest, lower_rest, share, row.get_mut(16 * uppers.len()..).unwrap_or_default());
}

/// A share in 1/32768. One is not a share: it would be the next pixel's zero.
#[expect(clippy::cast_possible_truncation, reason = "between 0 and 32767")]
fn fixed(share: f64) -> i16 {
    (share * 32768.0).round().clamp(0.0, 32767.0) as i16
}

/// [`Resampler::across`] with vector instructions, four pixels at a time: the same numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn across_avx2(row: &[i16], places: &[u32], shares: &[[i16; 4]], line: &mut [u8]) {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi16, _mm_loadl_epi64, _mm_loadu_si128, _mm_mulhrs_epi16, _mm_packus_epi16, _mm_set1_epi16,
        _mm_setr_epi8, _mm_shuffle_epi8, _mm_srai_epi16, _mm_storeu_si128, _mm_sub_epi16, _mm_unpacklo_epi64,
    };
    let order = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    let half = _mm_set1_epi16(64);
    let last = places.iter().copied().max().unwrap_or_default() as usize;
    let mut done = 0;
    if last + 7 <= row.len() {
        let two = |places: [u32; 2], shares: &[[i16; 4]; 2]| -> __m128i {
            // SAFETY: four numbers from each place, and from three behind it, lie in the row, as was tested above; the
            // two shares are 16 bytes. No instruction needs alignment.
            let (left, right, share) = unsafe {
                let at = |place: u32| row.as_ptr().add(place as usize);
                let load = |place: u32, more: usize| _mm_loadl_epi64(at(place).add(more).cast());
                let both = |more: usize| _mm_unpacklo_epi64(load(places[0], more), load(places[1], more));
                (both(0), both(3), _mm_loadu_si128(shares.as_ptr().cast()))
            };
            let mixed = _mm_add_epi16(left, _mm_mulhrs_epi16(_mm_sub_epi16(right, left), share));
            _mm_srai_epi16::<7>(_mm_add_epi16(mixed, half))
        };
        for (places, shares) in places.as_chunks::<4>().0.iter().zip(shares.as_chunks::<4>().0) {
            let Some(slot) = line.get_mut(3 * done..3 * done + 16) else { break };
            let (&[a, b, c, d], &[e, f, g, h]) = (places, shares);
            let four = _mm_packus_epi16(two([a, b], &[e, f]), two([c, d], &[g, h]));
            // SAFETY: the slot is 16 bytes long; the last four are written over by the next pixels.
            unsafe { _mm_storeu_si128(slot.as_mut_ptr().cast(), _mm_shuffle_epi8(four, order)) };
            done += 4;
        }
    }
    let rest = (places.get(done..).unwrap_or_default(), shares.get(done..).unwrap_or_default());
    Resampler::across(row, rest.0, rest.1, line.get_mut(3 * done..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shards::image::Rgb;
    use shards::order::Rng;

    /// The same image in floating point, straight from the whole crop.
    fn exact(cut: &Cut, crop: &Rgb) -> Vec<f64> {
        let mut out = Vec::new();
        for y in 0..cut.side {
            for x in 0..cut.side {
                let x = if cut.flip { cut.side - 1 - x } else { x };
                let [(x0, fx), (y0, fy)] = [cut.lines[0].place(x), cut.lines[1].place(y)];
                let at = |dx: usize, dy: usize| {
                    let x = cut.lines[0].before + (x0 + dx).min(cut.lines[0].middle - 1);
                    let y = cut.lines[1].before + (y0 + dy).min(cut.lines[1].middle - 1);
                    crop.pixel(x, y).map(f64::from)
                };
                let [a, b, c, d] = [at(0, 0), at(1, 0), at(0, 1), at(1, 1)];
                for channel in 0..3 {
                    let top = a[channel] + (b[channel] - a[channel]) * fx;
                    let bottom = c[channel] + (d[channel] - c[channel]) * fx;
                    out.push(top + (bottom - top) * fy);
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_one_pass_is_bilinear_on_every_path(
            seed: u64, side in 5usize..40, extra in 0usize..9, sx in 0.85f64..1.15, sy in 0.85f64..1.15,
            dx in -4i64..=4, dy in -4i64..=4, flip: bool, still: bool,
        ) {
            let needed = (((side + 8) as f64) / 0.85).ceil() as usize;
            let mut rng = Rng::new(seed);
            let n = needed + extra;
            let crop = Rgb::new(n, n + 1, (0..3 * n * (n + 1)).map(|_| rng.next_u64() as u8).collect()).unwrap();
            let stretch = if still { [1.0; 2] } else { [sx, sy] };
            let window = Window { what: "search", side, needed, reach: 4, stretch, shift: [dx, dy], flip };
            let cut = window.lay(crop.width, crop.height).unwrap();
            let pixels = Rows::new(&crop.data, crop.width, cut.part);
            let mut resampler = Resampler::default();
            let mut found = vec![0; 3 * side * side];
            resampler.draw(&cut, pixels, &mut found);
            for (found, exact) in found.iter().zip(exact(&cut, &crop)) {
                prop_assert!((f64::from(*found) - exact).abs() < 0.53, "{found} for {exact}");
            }
            let mut plain = vec![0; found.len()];
            resampler.rows(&cut, pixels, &mut plain, mix_rows, Resampler::across);
            prop_assert!(plain == found);
            if still {
                let [x, y] = [0, 1].map(|i| cut.lines[i].start);
                let mut copy = crop.part(x, y, side, side).unwrap();
                if flip {
                    for row in copy.data.chunks_exact_mut(3 * side) {
                        row.as_chunks_mut::<3>().0.reverse();
                    }
                }
                prop_assert!(copy.data == found);
            }
        }
    }
}
