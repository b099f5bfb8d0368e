//! How far measures can be trusted: bootstrap over sequences.
//!
//! A data set of n sequences is taken for a sample of all sequences there could be. A *resample* draws n of them with
//! replacement; over many resamples a measure spreads as it would over other data sets of this kind. The interval of a
//! measure runs from the (1 - c) / 2 to the (1 + c) / 2 quantile of its values (percentile interval, Efron 1979), c =
//! [`CONFIDENCE`]. Two trackers are compared *paired*: in each resample both get the same sequences, and the interval
//! is that of the difference of their measures.
//!
//! All resamples follow from the seed and the number of sequences alone.

use std::ops::RangeInclusive;

use schemas::report::Verdict;

/// Share of the resamples within an interval.
pub const CONFIDENCE: f64 = 0.95;
/// With fewer sequences than this nothing is called a difference: the intervals are too narrow to mean anything.
pub const LEAST_SEQUENCES: usize = 5;

/// Which sequences each resample has, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resamples {
    counts: Vec<Vec<u32>>,
}

impl Resamples {
    /// `number` draws of `sequences` out of `sequences`, with replacement.
    #[must_use]
    pub fn new(sequences: usize, number: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let draw = |_| {
            let mut counts = vec![0; sequences];
            for _ in 0..sequences {
                if let Some(count) = counts.get_mut(random.below(sequences)) {
                    *count += 1;
                }
            }
            counts
        };
        Resamples { counts: (0..number).map(draw).collect() }
    }

    /// How often each resample has each sequence; every resample's counts add up to the number of sequences.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.counts.iter().map(Vec::as_slice)
    }

    /// A list of measures over every resample. NaN stands for a measure that is not defined.
    #[must_use]
    pub fn values(&self, measures: impl FnMut(&[u32]) -> Vec<f64>) -> Values {
        Values { rows: self.iter().map(measures).collect() }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound` - 1. With at most thousands of sequences the unevenness is below 2^-50.
    fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }
}

/// The measures over every resample.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    rows: Vec<Vec<f64>>,
}

/// Where a measure lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Lower and upper end of the interval; `None` where the measure is defined in no resample.
    pub interval: Option<[f64; 2]>,
    /// Resamples in which the measure is not defined; the interval leaves them out.
    pub undefined: usize,
}

impl Values {
    /// These less the others, resample by resample and measure by measure.
    #[must_use]
    pub fn minus(&self, other: &Values) -> Values {
        let row = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
        Values { rows: self.rows.iter().zip(&other.rows).map(row).collect() }
    }

    /// The spread of each measure. A resample's row may be shorter than another's; what it lacks is not defined.
    #[must_use]
    pub fn spreads(&self) -> Vec<Spread> {
        let width = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let column = |at: usize| {
            let mut values: Vec<f64> =
                self.rows.iter().filter_map(|row| row.get(at).copied()).filter(|value| !value.is_nan()).collect();
            values.sort_unstable_by(f64::total_cmp);
            let interval = quantile(&values, (1.0 - CONFIDENCE) / 2.0).zip(quantile(&values, (1.0 + CONFIDENCE) / 2.0));
            Spread { interval: interval.map(<[f64; 2]>::from), undefined: self.rows.len() - values.len() }
        };
        (0..width).map(column).collect()
    }
}

/// The quantile `q` (0 to 1) of ascending values, between two of them in proportion: with h = q (n - 1), v[floor h] +
/// (h - floor h) (v[floor h + 1] - v[floor h]), as NumPy has it. `None` of nothing.
#[must_use]
pub fn quantile(ascending: &[f64], q: f64) -> Option<f64> {
    let place = q * ascending.len().checked_sub(1)? as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the number of values")]
    let below = place.floor() as usize;
    let low = *ascending.get(below)?;
    let high = ascending.get(below + 1).copied().unwrap_or(low);
    // Between equal values nothing is rounded.
    Some(if low == high { low } else { low + (place - place.floor()) * (high - low) })
}

/// What the interval of a difference (tracker less reference) means, of a measure that is better when `higher`.
#[must_use]
pub fn verdict(interval: Option<[f64; 2]>, higher: bool, sequences: usize) -> Verdict {
    let Some([low, high]) = interval else { return Verdict::Undefined };
    if RangeInclusive::new(low, high).contains(&0.0) {
        return Verdict::Noise;
    }
    match (sequences < LEAST_SEQUENCES, (low > 0.0) == higher) {
        (true, _) => Verdict::TooFew,
        (false, true) => Verdict::Better,
        (false, false) => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests;
