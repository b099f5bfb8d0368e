//! The single operations on pixels. All keep the image's size.

/// A cross-shaped motion blur: a mix of a vertical and a horizontal mean over `side` pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Blur {
    /// Pixels averaged, odd.
    pub side: usize,
    /// Share of the vertical mean, 0 to 1.
    pub vertical: f64,
}

/// A Gaussian blur.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gaussian {
    /// Side of its window, odd.
    pub side: usize,
    /// Standard deviation in pixels.
    pub sigma: f64,
}

impl Gaussian {
    /// Weights along one axis, multiples of 2^-16 that are 1 together.
    fn weights(self) -> Vec<u32> {
        let reach = (self.side / 2) as f64;
        let spread = 2.0 * self.sigma.max(1e-3).powi(2);
        let raw: Vec<f64> = (0..self.side).map(|i| (-(i as f64 - reach).powi(2) / spread).exp()).collect();
        let unit = 65536.0 / raw.iter().sum::<f64>();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^16")]
        let mut weights: Vec<u32> = raw.into_iter().map(|w| (w * unit).round() as u32).collect();
        let others: u32 = weights.iter().enumerate().filter(|(i, _)| *i != self.side / 2).map(|(_, w)| w).sum();
        if let Some(middle) = weights.get_mut(self.side / 2) {
            *middle = 65536_u32.saturating_sub(others);
        }
        weights
    }
}

/// Blurs a square image, columns first, then rows; borders are mirrored.
pub(super) fn gaussian(image: &mut [u8], side: usize, kernel: Gaussian) {
    let (weights, stride) = (kernel.weights(), 3 * side);
    let reach = (kernel.side / 2).cast_signed();
    let source = image.to_vec();
    let (mut sums, mut down) = (vec![0_u32; stride], vec![0_u32; stride]);
    for (y, line) in (0_isize..).zip(image.chunks_exact_mut(stride.max(1))) {
        sums.fill(0);
        for (k, weight) in (-reach..).zip(&weights) {
            let start = mirror(y + k, side) * stride;
            for (sum, value) in sums.iter_mut().zip(source.get(start..start + stride).unwrap_or_default()) {
                *sum += u32::from(*value) * weight;
            }
        }
        // 1/256 of a level are kept, so that the second sum still fits.
        for (value, sum) in down.iter_mut().zip(&sums) {
            *value = (sum + 128) >> 8;
        }
        let column = |x: isize| down.as_chunks::<3>().0.get(mirror(x, side)).copied().unwrap_or_default();
        for (x, pixel) in (0_isize..).zip(line.as_chunks_mut::<3>().0) {
            let mut sum = [1_u32 << 23; 3];
            for (k, weight) in (-reach..).zip(&weights) {
                for (sum, value) in sum.iter_mut().zip(column(x + k)) {
                    *sum += value * weight;
                }
            }
            *pixel = sum.map(|sum| (sum >> 24) as u8);
        }
    }
}

/// Replaces colour by luma, 0.299 R + 0.587 G + 0.114 B, rounded.
pub(super) fn gray(image: &mut [u8]) {
    for [r, g, b] in image.as_chunks_mut::<3>().0 {
        let luma = (299 * u32::from(*r) + 587 * u32::from(*g) + 114 * u32::from(*b) + 500) / 1000;
        let luma = u8::try_from(luma).unwrap_or(u8::MAX);
        (*r, *g, *b) = (luma, luma, luma);
    }
}

/// Adds `by` to the channels R, G, B, rounded, limited to 0 to 255.
pub(super) fn shift_colour(image: &mut [u8], by: [f64; 3]) {
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
    for [r, g, b] in image.as_chunks_mut::<3>().0 {
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

/// Adds (or takes away) a row of samples to running sums.
fn add(sums: &mut [u32], row: &[u8]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += u32::from(*value);
    }
}

fn subtract(sums: &mut [u32], row: &[u8]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum -= u32::from(*value);
    }
}

/// Sums of `side` neighbouring pixels of an RGB row, per channel; borders are mirrored.
fn across(row: &[u8], side: usize, sums: &mut [u32]) {
    let (pixels, (outputs, _)) = (row.as_chunks::<3>().0, sums.as_chunks_mut::<3>());
    let reach = (side / 2).cast_signed();
    let n = pixels.len();
    let at = |i: isize| pixels.get(mirror(i, n)).map_or([0; 3], |p| p.map(u32::from));
    let mut sum = [0_u32; 3];
    for i in -reach..=reach {
        let new = at(i);
        sum = [sum[0] + new[0], sum[1] + new[1], sum[2] + new[2]];
    }
    for (output, i) in outputs.iter_mut().zip(0_isize..) {
        *output = sum;
        let (new, old) = (at(i + reach + 1), at(i - reach));
        sum = [sum[0] + new[0] - old[0], sum[1] + new[1] - old[1], sum[2] + new[2] - old[2]];
    }
}

/// Blurs a square image; borders are mirrored. Weights are multiples of 2^-16.
pub(super) fn blur(image: &mut [u8], side: usize, kernel: Blur) {
    let (stride, h) = (3 * side, side);
    let reach = (kernel.side / 2).cast_signed();
    let source = image.to_vec();
    let row = |y: isize| {
        let start = mirror(y, h) * stride;
        source.get(start..start + stride).unwrap_or_default()
    };
    let unit = 65536.0 / kernel.side as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^16")]
    let [down, over] = [kernel.vertical, 1.0 - kernel.vertical].map(|share| (share * unit).round() as u32);
    let (mut columns, mut rows) = (vec![0_u32; stride], vec![0_u32; stride]);
    for y in -reach..=reach {
        add(&mut columns, row(y));
    }
    for (y, line) in (0_isize..).zip(image.chunks_exact_mut(stride.max(1))) {
        across(row(y), kernel.side, &mut rows);
        for ((slot, v), h) in line.iter_mut().zip(&columns).zip(&rows) {
            *slot = ((v * down + h * over + 32768) >> 16).min(255) as u8;
        }
        add(&mut columns, row(y + reach + 1));
        subtract(&mut columns, row(y - reach));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::image::Rgb;

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
        blur(&mut image.data, 9, Blur { side: 5, vertical: 0.5 });
        // 250 / 5 / 2 on each arm, both together in the middle.
        assert_eq!([(4, 4), (4, 2), (6, 4), (3, 3), (4, 1)].map(|(x, y)| image.pixel(x, y)[0]), [50, 25, 25, 0, 0]);
    }

    #[test]
    fn a_point_becomes_a_gaussian() {
        let mut image = Rgb::filled(9, 9, [0; 3]);
        image.data[3 * (4 * 9 + 4)] = 255;
        gaussian(&mut image.data, 9, Gaussian { side: 3, sigma: 1.0 });
        // Weights 0.2741, 0.4519, 0.2741.
        let seen = [(4, 4), (5, 4), (4, 3), (3, 3), (6, 4)].map(|(x, y)| image.pixel(x, y)[0]);
        assert_eq!(seen, [52, 32, 32, 19, 0]);
        for sigma in [0.0, 0.3, 5.0] {
            for side in [3, 5, 7] {
                assert_eq!(Gaussian { side, sigma }.weights().iter().sum::<u32>(), 65536);
                let mut white = vec![255; 3 * 81];
                gaussian(&mut white, 9, Gaussian { side, sigma });
                assert!(white.iter().all(|v| *v == 255), "{side} {sigma}");
            }
        }
    }

    #[test]
    fn colours_saturate() {
        let mut image = [250, 5, 6, 1, 2, 3];
        shift_colour(&mut image, [10.4, -5.6, 0.0]);
        assert_eq!(image, [255, 0, 6, 11, 0, 3]);
    }
}
