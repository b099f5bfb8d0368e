//! The single operations on pixels. All keep the image's size.

use shards::image::Rgb;

/// A cross-shaped motion blur: a mix of a vertical and a horizontal mean over `side` pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Blur {
    /// Pixels averaged, odd.
    pub side: usize,
    /// Share of the vertical mean, 0 to 1.
    pub vertical: f64,
}

/// Mirrors left to right.
pub(super) fn flip(image: &mut Rgb) {
    for row in image.data.chunks_exact_mut((3 * image.width).max(1)) {
        let (pixels, _) = row.as_chunks_mut::<3>();
        pixels.reverse();
    }
}

/// Replaces colour by luma, 0.299 R + 0.587 G + 0.114 B, rounded.
pub(super) fn gray(image: &mut Rgb) {
    for [r, g, b] in image.data.as_chunks_mut::<3>().0 {
        let luma = (299 * u32::from(*r) + 587 * u32::from(*g) + 114 * u32::from(*b) + 500) / 1000;
        let luma = u8::try_from(luma).unwrap_or(u8::MAX);
        (*r, *g, *b) = (luma, luma, luma);
    }
}

/// Adds `by` to the channels R, G, B, rounded, limited to 0 to 255.
pub(super) fn shift_colour(image: &mut Rgb, by: [f64; 3]) {
    let tables = by.map(|d| {
        let mut table = [0_u8; 256];
        for (v, slot) in table.iter_mut().enumerate() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "limited to 0..=255 before")]
            {
                *slot = (v as f64 + d).round().clamp(0.0, 255.0) as u8;
            }
        }
        table
    });
    let [red, green, blue] = &tables;
    for [r, g, b] in image.data.as_chunks_mut::<3>().0 {
        for (value, table) in [(r, red), (g, green), (b, blue)] {
            // A table of 256 holds every u8.
            *value = table.get(usize::from(*value)).copied().unwrap_or(*value);
        }
    }
}

/// Index of a sample beyond the border, mirrored without repeating the border pixel.
fn mirror(i: isize, n: usize) -> usize {
    if n <= 1 {
        return 0;
    }
    let period = 2 * (n - 1);
    let i = i.rem_euclid(period.cast_signed()).unsigned_abs();
    if i < n { i } else { period - i }
}

/// Sums over `side` neighbours along lines of `n` samples; `at` answers a sample, `put` takes a sum.
fn running(n: usize, side: usize, at: impl Fn(usize) -> u32, mut put: impl FnMut(usize, u32)) {
    let reach = (side / 2).cast_signed();
    let mut sum: u32 = (-reach..=reach).map(|i| at(mirror(i, n))).sum();
    for i in 0..n {
        put(i, sum);
        let here = i.cast_signed();
        sum = sum + at(mirror(here + reach + 1, n)) - at(mirror(here - reach, n));
    }
}

/// Blurs; borders are mirrored.
pub(super) fn blur(image: &mut Rgb, kernel: Blur) {
    let (w, h) = (image.width, image.height);
    let source = std::mem::take(&mut image.data);
    let at = |i: usize| u32::from(source.get(i).copied().unwrap_or(0));
    let mut horizontal = vec![0_u32; source.len()];
    let mut vertical = vec![0_u32; source.len()];
    let store = |to: &mut Vec<u32>, i: usize, v: u32| {
        if let Some(slot) = to.get_mut(i) {
            *slot = v;
        }
    };
    for c in 0..3 {
        for y in 0..h {
            running(w, kernel.side, |x| at(3 * (y * w + x) + c), |x, v| store(&mut horizontal, 3 * (y * w + x) + c, v));
        }
        for x in 0..w {
            running(h, kernel.side, |y| at(3 * (y * w + x) + c), |y, v| store(&mut vertical, 3 * (y * w + x) + c, v));
        }
    }
    let side = kernel.side as f64;
    let (down, across) = (kernel.vertical / side, (1.0 - kernel.vertical) / side);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of u8 values")]
    let mixed =
        vertical.iter().zip(&horizontal).map(|(v, h)| (f64::from(*v) * down + f64::from(*h) * across).round() as u8);
    image.data = mixed.collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrored_borders() {
        let seen: Vec<usize> = (-3..7).map(|i| mirror(i, 4)).collect();
        assert_eq!(seen, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(mirror(5, 1), 0);
    }

    #[test]
    fn a_point_becomes_a_cross() {
        let mut image = Rgb::filled(9, 9, [0; 3]);
        image.data[3 * (4 * 9 + 4)] = 250;
        blur(&mut image, Blur { side: 5, vertical: 0.5 });
        // 250 / 5 / 2 on each arm, both together in the middle.
        assert_eq!([(4, 4), (4, 2), (6, 4), (3, 3), (4, 1)].map(|(x, y)| image.pixel(x, y)[0]), [50, 25, 25, 0, 0]);
    }

    #[test]
    fn mirroring_twice_is_nothing_and_colours_saturate() {
        let mut image = Rgb { width: 2, height: 1, data: vec![1, 2, 3, 250, 5, 6] };
        flip(&mut image);
        assert_eq!(image.data, [250, 5, 6, 1, 2, 3]);
        shift_colour(&mut image, [10.4, -5.6, 0.0]);
        assert_eq!(image.data, [255, 0, 6, 11, 0, 3]);
    }
}
