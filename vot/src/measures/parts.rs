//! The supervised measures as sums over sequences: a data set is scored, and resampled, by adding up what each sequence
//! contributes.

use super::accuracy::{mean_over_repetitions, nan_mean};
use super::eao::{CurveSums, average_entries, average_lengths, every_frame, fragment_sums, python_reach, python_sums};
use super::{Cut, EaoRun, Prepared, Runs, SENSITIVITY, SKIP, SequenceScore, eao_runs, prepare};
use crate::dialect::Dialect;
use crate::error::Error;

/// What every sequence of a data set contributes to its score.
#[derive(Clone, Debug)]
pub struct Parts {
    dialect: Dialect,
    interval: (usize, usize),
    each: Vec<Part>,
}

/// What one sequence contributes.
#[derive(Clone, Debug)]
pub(super) struct Part {
    accuracy: Option<f64>,
    failures: f64,
    frames: usize,
    /// Sum and number of the frames' overlaps, averaged over repetitions.
    pooled: (f64, usize),
    curve: CurveSums,
}

/// The measures of a choice of sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct Measures {
    /// Accuracy, averaged the dialect's way.
    pub accuracy: f64,
    /// Mean over the counted frames of all sequences.
    pub accuracy_pooled: f64,
    /// Sum of the sequences' failures.
    pub failures: f64,
    /// Failures per 100 frames.
    pub robustness_per_100: f64,
    /// Failures per sequence.
    pub robustness_mean_failures: f64,
    /// Failures per sequence, weighted by its frames.
    pub robustness_weighted_failures: f64,
    /// exp(-30 F / N).
    pub reliability: f64,
    /// Expected average overlap; `None` where no run is long enough for the interval.
    pub eao: Option<f64>,
    /// The EAO curve, as in [`fragment_curve`](super::fragment_curve) or [`python_curve`](super::python_curve).
    pub curve: Vec<f64>,
}

impl Parts {
    /// What the sequences of `runs` contribute, in their order. `interval` is that of EAO, low and high; it stays the
    /// same for every choice of sequences.
    ///
    /// # Errors
    /// [`Error`] as [`score`](super::score) has them.
    pub fn new(dialect: Dialect, runs: &[Runs<'_>], interval: (usize, usize)) -> Result<Self, Error> {
        Ok(Self::of(dialect, &prepare(dialect, runs)?, interval))
    }

    pub(super) fn of(dialect: Dialect, prepared: &[Prepared<'_>], interval: (usize, usize)) -> Self {
        let runs: Vec<Vec<EaoRun>> = prepared.iter().map(|run| eao_runs(std::slice::from_ref(run))).collect();
        let longest = runs
            .iter()
            .map(|runs| match dialect {
                Dialect::VotPython => python_reach(runs),
                _ => runs.iter().map(|run| run.overlaps.len()).max().unwrap_or(0),
            })
            .max()
            .unwrap_or(0);
        let sums = |runs: &[EaoRun]| match dialect {
            Dialect::VotPython => python_sums(runs, longest),
            Dialect::VotMatlab | Dialect::VotMatlab2015 => {
                fragment_sums(runs, SKIP, Cut::BeforeEnd, &every_frame, longest)
            }
            Dialect::Pysot | Dialect::Mindspore => fragment_sums(runs, SKIP, Cut::AtEnd, &every_frame, longest),
        };
        let each = prepared.iter().zip(&runs).map(|(run, runs)| Part::of(dialect, run, sums(runs))).collect();
        Parts { dialect, interval, each }
    }

    pub(super) fn each(&self) -> &[Part] {
        &self.each
    }

    /// Number of sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether there are no sequences.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// The measures of the data set that has sequence i `counts[i]` times; at least one count must be above 0.
    #[must_use]
    pub fn measures(&self, counts: &[u32]) -> Measures {
        let (mut weighted, mut weighted_failures, mut failures) = (0.0, 0.0, 0.0);
        let (mut total, mut count, mut pooled, mut pooled_frames) = (0.0, 0.0, 0.0, 0.0);
        let (mut plain, mut defined) = (0.0, 0.0);
        let drawn = self.each.iter().zip(counts.iter().copied());
        for (part, times) in drawn.clone() {
            let (times, length) = (f64::from(times), part.frames as f64);
            weighted += times * part.accuracy.unwrap_or(0.0) * length;
            weighted_failures += times * part.failures * length;
            failures += times * part.failures;
            total += times * length;
            count += times;
            pooled += times * part.pooled.0;
            pooled_frames += times * part.pooled.1 as f64;
            if let Some(accuracy) = part.accuracy {
                plain += times * accuracy;
                defined += times;
            }
        }
        let ratio = |sum: f64, over: f64| if over > 0.0 { sum / over } else { 0.0 };
        let accuracy_pooled = ratio(pooled, pooled_frames);
        let curve = CurveSums::combine(drawn.map(|(part, times)| (&part.curve, times)));
        let (low, high) = self.interval;
        let (curve, eao) = if self.dialect == Dialect::VotPython {
            let curve = curve.python_curve();
            let eao = average_entries(&curve, low, high);
            (curve, eao)
        } else {
            let curve = curve.fragment_curve();
            let eao = average_lengths(&curve, low, high);
            (curve, eao)
        };
        Measures {
            accuracy: match self.dialect {
                Dialect::VotPython | Dialect::VotMatlab | Dialect::VotMatlab2015 => weighted / total,
                Dialect::Pysot => accuracy_pooled,
                Dialect::Mindspore => ratio(plain, defined),
            },
            accuracy_pooled,
            failures,
            robustness_per_100: 100.0 * failures / total,
            robustness_mean_failures: failures / count,
            robustness_weighted_failures: weighted_failures / total,
            reliability: match self.dialect {
                // Length-weighted failures over the mean length.
                Dialect::VotPython => (-SENSITIVITY * (weighted_failures / total) / (total / count)).exp(),
                _ => (-SENSITIVITY * failures / total).exp(),
            },
            eao,
            curve,
        }
    }
}

impl Part {
    fn of(dialect: Dialect, run: &Prepared<'_>, curve: CurveSums) -> Self {
        let repetitions = run.overlaps(dialect, None);
        let averaged = mean_over_repetitions(&repetitions);
        let counted = averaged.iter().filter(|value| !value.is_nan());
        let pooled = (counted.clone().sum(), counted.count());
        let accuracy = match dialect {
            Dialect::VotPython => {
                let means = repetitions.iter().map(|overlaps| nan_mean(overlaps.iter().copied()));
                (pooled.1 > 0).then(|| means.map(Option::unwrap_or_default).sum::<f64>() / repetitions.len() as f64)
            }
            _ => (pooled.1 > 0).then(|| pooled.0 / pooled.1 as f64),
        };
        Part { accuracy, failures: run.failures(None), frames: run.sequence.len(), pooled, curve }
    }

    pub(super) fn score(&self) -> SequenceScore {
        SequenceScore {
            accuracy: self.accuracy,
            failures: self.failures,
            frames: self.frames as u64,
            reliability: (-SENSITIVITY * self.failures / self.frames as f64).exp(),
        }
    }
}

/// The frames of each run that count for accuracy, with their overlaps; frames from 0.
///
/// # Errors
/// [`Error`] as [`score`](super::score) has them.
pub fn counted_frames(dialect: Dialect, run: Runs<'_>) -> Result<Vec<Vec<(usize, f64)>>, Error> {
    let prepared = prepare(dialect, &[run])?;
    let frames = |overlaps: Vec<f64>| overlaps.into_iter().enumerate().filter(|(_, value)| !value.is_nan()).collect();
    Ok(prepared.iter().flat_map(|run| run.overlaps(dialect, None)).map(frames).collect())
}
