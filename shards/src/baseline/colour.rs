//! From the three planes to rows of RGB: colour at half resolution is blown up with weights 3/4 and 1/4, first down, then
//! across; YCbCr becomes RGB with 14-bit factors.

use super::Plane;
use crate::image::Part;

/// Buffers for one row.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Chroma between two rows, one sample more on either side.
    blended: [Vec<i16>; 2],
    /// The same at full width.
    wide: [Vec<i16>; 2],
    /// R, G, B and a spare byte per pixel.
    packed: Vec<u32>,
}

const HALF: i32 = (1 << 13) - 1;

#[inline(always)]
fn pixel(y: u8, cb: i16, cr: i16) -> u32 {
    let (cb, cr) = (i32::from(cb - 128), i32::from(cr - 128));
    let y = i32::from(y) * 16384 + HALF;
    let byte = |v: i32| (v >> 14).clamp(0, 255) as u32;
    byte(y + cr * 22970) | byte(y - cr * 11700 - cb * 5638) << 8 | byte(y + cb * 29032) << 16
}

impl Rows {
    /// Converts `part` of planes of `macroblocks` (across, down) into `out`.
    #[inline(always)]
    pub(super) fn convert<const AVX2: bool>(
        &mut self,
        planes: &[Plane; 3],
        part: Part,
        macroblocks: (usize, usize),
        out: &mut [u8],
    ) {
        let [luma, chroma @ ..] = planes;
        let (last_x, last_y) = (8 * macroblocks.0 - 1, 8 * macroblocks.1 - 1);
        // Chroma samples of the part's columns.
        let (first, last) = (part.x / 2, (part.x + part.width - 1) / 2);
        let count = last - first + 1;
        for (blended, wide) in self.blended.iter_mut().zip(&mut self.wide) {
            blended.resize(count + 2, 0);
            wide.resize(2 * count, 0);
        }
        self.packed.resize(part.width, 0);
        for (row, line) in out.chunks_exact_mut(3 * part.width).enumerate() {
            let y = part.y + row;
            let (near, far) = (y / 2, if y % 2 == 0 { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(last_y) });
            for ((plane, blended), wide) in chroma.iter().zip(&mut self.blended).zip(&mut self.wide) {
                let (near, far) = (plane.row(near), plane.row(far));
                let blend = |near: u8, far: u8| (3 * i16::from(near) + i16::from(far) + 2) >> 2;
                let span = first..=last;
                let (inner_near, inner_far) =
                    (near.get(span.clone()).unwrap_or_default(), far.get(span).unwrap_or_default());
                let [before, inner @ .., behind] = blended.as_mut_slice() else { return };
                for ((slot, near), far) in inner.iter_mut().zip(inner_near).zip(inner_far) {
                    *slot = blend(*near, *far);
                }
                let at =
                    |x: usize| blend(near.get(x).copied().unwrap_or_default(), far.get(x).copied().unwrap_or_default());
                *before = at(first.saturating_sub(1));
                *behind = at((last + 1).min(last_x));
                let (left, rest) = (blended.as_slice(), wide.as_chunks_mut::<2>().0);
                let (middle, right) = (left.get(1..).unwrap_or_default(), left.get(2..).unwrap_or_default());
                for (((slot, left), middle), right) in rest.iter_mut().zip(left).zip(middle).zip(right) {
                    let own = 3 * middle + 2;
                    *slot = [(own + left) >> 2, (own + right) >> 2];
                }
            }
            let skip = part.x % 2;
            let [cb, cr] = &self.wide;
            let luma = luma.row(y).get(part.x..part.x + part.width).unwrap_or_default();
            let (cb, cr) = (cb.get(skip..).unwrap_or_default(), cr.get(skip..).unwrap_or_default());
            for (((slot, y), cb), cr) in self.packed.iter_mut().zip(luma).zip(cb).zip(cr) {
                *slot = pixel(*y, *cb, *cr);
            }
            pack::<AVX2>(&self.packed, line);
        }
    }
}

/// Drops the spare bytes.
#[inline(always)]
fn pack<const AVX2: bool>(pixels: &[u32], out: &mut [u8]) {
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if AVX2 {
        // SAFETY: this variant is only called where the processor has AVX2.
        done = unsafe { pack_avx2(pixels, out) };
    }
    let rest = pixels.get(done..).unwrap_or_default();
    for (slot, pixel) in out.get_mut(3 * done..).unwrap_or_default().as_chunks_mut::<3>().0.iter_mut().zip(rest) {
        let [r, g, b, _] = pixel.to_le_bytes();
        *slot = [r, g, b];
    }
}

/// Packs four pixels at a time while there is room for the four bytes that are written too many; answers how many.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pack_avx2(pixels: &[u32], out: &mut [u8]) -> usize {
    use std::arch::x86_64::{_mm_loadu_si128, _mm_setr_epi8, _mm_shuffle_epi8, _mm_storeu_si128};
    let order = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    let groups = pixels.as_chunks::<4>().0;
    let mut done = 0;
    for group in groups {
        let Some(slot) = out.get_mut(3 * done..3 * done + 16) else { break };
        // SAFETY: both places are 16 bytes long; the instructions need no alignment.
        unsafe {
            let four = _mm_loadu_si128(group.as_ptr().cast());
            _mm_storeu_si128(slot.as_mut_ptr().cast(), _mm_shuffle_epi8(four, order));
        }
        done += 4;
    }
    done
}
