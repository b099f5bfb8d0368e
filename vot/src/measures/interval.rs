//! The interval of sequence lengths over which EAO averages.

/// The interval of a named data set of the VOT challenges, found by its name: 108-371 for VOT2015 and
/// VOT2016, 100-356 for VOT2017 and VOT2018, 46-291 for VOT2019. Source: the official stacks; those of the infrared
/// challenges (VOT-TIR2015 and 2016: none, RGB-T 2019: 115-755) are told apart by the toolkit's names for them.
pub fn named_interval(name: &str) -> Option<(usize, usize)> {
    let name: String = name.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    if name.contains("vot2015tir") || name.contains("vot2016tir") {
        return None;
    }
    [
        ("vot2019rgbt", (115, 755)),
        ("vot2015", (108, 371)),
        ("vot2016", (108, 371)),
        ("vot2017", (100, 356)),
        ("vot2018", (100, 356)),
        ("vot2019", (46, 291)),
    ]
    .into_iter()
    .find(|(known, _)| name.contains(known))
    .map(|(_, interval)| interval)
}

/// The interval of the MATLAB toolkit for any data set, from the lengths of its sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AutoInterval {
    /// Lower end, frames.
    pub low: usize,
    /// Upper end, frames.
    pub high: usize,
    /// The most likely length, frames.
    pub peak: usize,
    /// Variance of the kernel, frames^2.
    pub variance: f64,
}

/// Estimates the interval: a density over lengths from Gaussian kernels, tabulated at 1 to the longest
/// length; starting at its maximum the interval grows to the side of larger density until it holds half
/// of the mass. `None` without lengths. Lengths that are all the same have no spread to estimate: then
/// the interval is that length.
///
/// The kernel's variance has a closed form in one dimension: with z the lengths less their mean over
/// their (population) deviation s and A = (4 / (3n))^(-2/5), R = (1/n^2) sum_ij N(z_i - z_j; 1/A) A^2
/// (3 - 6m + m^2), m = A (z_i - z_j)^2, it is s^2 (1 / (n sqrt(4 pi) R))^(2/5).
pub fn automatic_interval(lengths: &[usize]) -> Option<AutoInterval> {
    let longest = *lengths.iter().max()?;
    let variance = kernel_variance(lengths);
    if !(variance > 0.0 && variance.is_finite()) {
        return Some(AutoInterval { low: longest, high: longest, peak: longest, variance: 0.0 });
    }
    let mut density: Vec<f64> = (1..=longest)
        .map(|x| lengths.iter().map(|length| (-(x as f64 - *length as f64).powi(2) / (2.0 * variance)).exp()).sum())
        .collect();
    let total: f64 = density.iter().sum();
    density.iter_mut().for_each(|value| *value /= total);
    let peak = density.iter().enumerate().fold(0, |best, (at, value)| if *value > density[best] { at } else { best });
    let (low, high) = widen(&density, peak);
    Some(AutoInterval { low: low + 1, high: high + 1, peak: peak + 1, variance })
}

fn kernel_variance(lengths: &[usize]) -> f64 {
    let n = lengths.len() as f64;
    let mean = lengths.iter().map(|length| *length as f64).sum::<f64>() / n;
    let spread = lengths.iter().map(|length| (*length as f64 - mean).powi(2)).sum::<f64>() / n;
    let precision = (4.0 / (3.0 * n)).powf(-0.4);
    let mut roughness = 0.0;
    for a in lengths {
        for b in lengths {
            let m = precision * (*a as f64 - *b as f64).powi(2) / spread;
            let normal = (precision / std::f64::consts::TAU).sqrt() * (-m / 2.0).exp();
            roughness += normal * precision * precision * (3.0 - 6.0 * m + m * m);
        }
    }
    roughness /= n * n;
    spread * (1.0 / (n * (4.0 * std::f64::consts::PI).sqrt() * roughness)).powf(0.4)
}

/// Grows from the peak (indices from 0). The last entry is only reached together with the first, as in
/// the original.
fn widen(density: &[f64], peak: usize) -> (usize, usize) {
    let last = density.len() - 1;
    let (mut low, mut high) = (peak, peak);
    loop {
        let down = low.checked_sub(1);
        let up = Some(high + 1).filter(|up| *up < last);
        match (down, up) {
            (None, None) => return (0, last),
            (Some(down), Some(up)) if density[down] > density[up] => low = down,
            (_, Some(up)) => high = up,
            (Some(down), None) => low = down,
        }
        if density[low..=high].iter().sum::<f64>() >= 0.5 {
            return (low, high);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn official_intervals() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/cases/expected_eao_interval.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let lengths: Vec<usize> = serde_json::from_value(case["lengths"].clone()).unwrap();
            let found = automatic_interval(&lengths).unwrap();
            let expected = ["low", "high", "peak"].map(|key| case[key].as_u64().unwrap() as usize);
            assert_eq!([found.low, found.high, found.peak], expected, "{lengths:?}");
            let variance = case["bandwidth_variance"].as_f64().unwrap();
            assert!((found.variance / variance - 1.0).abs() < 1e-9, "{lengths:?}");
        }
    }

    #[test]
    fn names_of_the_challenges() {
        assert_eq!(named_interval("VOT2016"), Some((108, 371)));
        assert_eq!(named_interval("data-vot2015/rgb"), Some((108, 371)));
        assert_eq!(named_interval("vot-2018"), Some((100, 356)));
        assert_eq!(named_interval("vot2019"), Some((46, 291)));
        assert_eq!(named_interval("vot2019/rgbtir"), Some((115, 755)));
        for other in ["clips", "vot2015/tir", "vot2016/tir", "sequences"] {
            assert_eq!(named_interval(other), None);
        }
    }

    #[test]
    fn lengths_without_spread() {
        assert_eq!(automatic_interval(&[]), None);
        let found = automatic_interval(&[80, 80]).unwrap();
        assert_eq!((found.low, found.high), (80, 80));
        assert_eq!(automatic_interval(&[1]).unwrap().low, 1);
    }

    proptest! {
        #[test]
        fn the_interval_lies_within_the_lengths(lengths in prop::collection::vec(1usize..600, 1..20)) {
            let found = automatic_interval(&lengths).unwrap();
            prop_assert!(1 <= found.low && found.low <= found.peak && found.peak <= found.high);
            prop_assert!(found.high <= *lengths.iter().max().unwrap());
        }
    }
}
