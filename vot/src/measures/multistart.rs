//! Accuracy, robustness and EAO of the multi-start protocol (VOT2020 and later), as the official Python toolkit has them.
//!
//! The tracker starts on every anchor frame and runs to the end (forward anchors) or to the beginning (backward
//! anchors), never started again. It has failed where the overlap stays at or below 0.1 for ten frames in a row on
//! which the target is there; its *progress* is the first of those ten, or the whole run.

use std::collections::{BTreeMap, BTreeSet};

use schemas::score::{MultiStartScore, MultiStartSequence};

use crate::error::Error;
use crate::overlap::python_overlap;
use crate::protocol::{Anchor, Trajectory};
use crate::sequence::Sequence;

/// Overlap at or below which a frame counts towards a failure.
const THRESHOLD: f64 = 0.1;
/// Such frames in a row that make a failure.
const GRACE: usize = 10;
/// The interval of every multi-start challenge, VOT2020 to VOT2022.
const INTERVAL: (usize, usize) = (115, 755);

/// A sequence with one run per anchor.
#[derive(Clone, Copy, Debug)]
pub struct AnchoredRuns<'a> {
    /// The sequence; its width and height must be known.
    pub sequence: &'a Sequence,
    /// Each anchor with the run from it, as long as [`Anchor::frames`] says, in the order of the run.
    pub runs: &'a [(Anchor, Trajectory)],
}

/// One run, up to its failure.
struct Measured {
    /// Overlap per frame of the run, 0 from the failure on.
    overlaps: Vec<f64>,
    /// Frames before the failure.
    progress: usize,
}

impl Measured {
    fn failed(&self) -> bool {
        self.progress < self.overlaps.len()
    }
}

/// Scores multi-start runs. `interval` is low and high of the EAO average (115 and 755 if not given); `curve` keeps the
/// EAO curve.
///
/// With progress p, run length n and overlaps o: A of a sequence = sum of o[0..p] / sum of p (o[0], the
/// initialisation, is 0), R = sum of p / sum of n. A of the data set weights by the progress, R by the sequences'
/// lengths. The curve at j is the mean over runs of mean(o[1..=j]); a run that failed before j counts with
/// sum(o) / (j - 1), one that ended well before j does not count. EAO is the mean of the curve from low up to, and
/// not including, high, with 0 where no run reaches: so the official toolkit computes it (its slice goes to high, its
/// curve ends before).
///
/// # Errors
/// [`Error`] when a run's length is not that of its anchor, sizes are unknown, or there is nothing to score.
pub fn multistart(
    runs: &[AnchoredRuns<'_>],
    interval: Option<(usize, usize)>,
    curve: bool,
) -> Result<MultiStartScore, Error> {
    let (low, high) = interval.unwrap_or(INTERVAL);
    if low < 1 || low >= high {
        return Err(Error::Interval { low, high });
    }
    let mut names = BTreeSet::new();
    let mut sequences = BTreeMap::new();
    let mut curves = CurveSum::new(high);
    let (mut overlap, mut progress, mut weighted, mut frames) = (0.0, 0usize, 0.0, 0usize);
    for AnchoredRuns { sequence, runs } in runs {
        if !names.insert(sequence.name.as_str()) {
            return Err(Error::DuplicateSequence { sequence: sequence.name.clone() });
        }
        let measured = measure(sequence, runs)?;
        let covered: f64 = measured.iter().map(|run| run.overlaps.iter().take(run.progress).sum::<f64>()).sum();
        let survived: usize = measured.iter().map(|run| run.progress).sum();
        let length: usize = measured.iter().map(|run| run.overlaps.len()).sum();
        let robustness = survived as f64 / length as f64;
        let accuracy = if survived > 0 { covered / survived as f64 } else { 0.0 };
        measured.iter().for_each(|run| curves.add(run));
        overlap += covered;
        progress += survived;
        weighted += robustness * sequence.len() as f64;
        frames += sequence.len();
        let entry = MultiStartSequence {
            accuracy,
            robustness,
            anchors: measured.len() as u64,
            failures: measured.iter().filter(|run| run.failed()).count() as u64,
            frames: sequence.len() as u64,
        };
        sequences.insert(sequence.name.clone(), entry);
    }
    if sequences.is_empty() {
        return Err(Error::NothingToScore);
    }
    let values = curves.values();
    let piece = values.get(low..).unwrap_or_default();
    let mut warnings: Vec<String> = runs.iter().flat_map(|run| run.sequence.warnings.iter().cloned()).collect();
    if curves.active.get(low).is_none_or(|active| *active == 0) {
        warnings.push(format!("no run reaches the lower end {low} of the EAO interval: its curve is 0 there"));
    }
    Ok(MultiStartScore {
        protocol: "multistart".to_owned(),
        accuracy: if progress > 0 { overlap / progress as f64 } else { 0.0 },
        robustness: weighted / frames as f64,
        eao: piece.iter().sum::<f64>() / piece.len() as f64,
        eao_interval: [low, high],
        eao_curve: curve.then_some(values),
        sequences,
        warnings,
    })
}

fn measure(sequence: &Sequence, runs: &[(Anchor, Trajectory)]) -> Result<Vec<Measured>, Error> {
    let name = || sequence.name.clone();
    let size = sequence.size().ok_or_else(|| Error::UnknownSize { sequence: name() })?;
    if runs.is_empty() {
        return Err(Error::NoAnchors { sequence: name() });
    }
    runs.iter()
        .map(|(anchor, trajectory)| {
            let order = anchor.frames(sequence.len());
            if trajectory.len() != order.len() {
                return Err(Error::TrajectoryLength {
                    sequence: name(),
                    repetition: anchor.frame,
                    expected: order.len(),
                    found: trajectory.len(),
                });
            }
            let (mut overlaps, mut low, mut progress) = (Vec::with_capacity(order.len()), 0, order.len());
            for (at, (frame, result)) in order.into_iter().zip(&trajectory.regions).enumerate() {
                let Some(truth) = sequence.groundtruth.get(frame) else { continue };
                let overlap = python_overlap(result, truth, Some(size));
                overlaps.push(overlap);
                low = if overlap <= THRESHOLD && !truth.is_empty() { low + 1 } else { 0 };
                if low == GRACE {
                    progress = at + 1 - GRACE;
                    break;
                }
            }
            overlaps.truncate(progress);
            overlaps.resize(trajectory.len(), 0.0);
            Ok(Measured { overlaps, progress })
        })
        .collect()
}

/// Sums of the curve over all runs; entries 0 to high - 1.
struct CurveSum {
    sum: Vec<f64>,
    active: Vec<usize>,
}

impl CurveSum {
    fn new(high: usize) -> Self {
        CurveSum { sum: vec![0.0; high], active: vec![0; high] }
    }

    fn add(&mut self, run: &Measured) {
        let mut total = 0.0;
        for (at, (sum, active)) in self.sum.iter_mut().zip(&mut self.active).enumerate().skip(1) {
            let value = match run.overlaps.get(at) {
                Some(overlap) => {
                    total += overlap;
                    total / at as f64
                }
                // A failure needs ten frames, so that at > 1 here.
                None if run.failed() => total / (at - 1) as f64,
                None => break,
            };
            *sum += value;
            *active += 1;
        }
    }

    fn values(&self) -> Vec<f64> {
        self.sum.iter().zip(&self.active).map(|(sum, n)| if *n > 0 { sum / *n as f64 } else { 0.0 }).collect()
    }
}
