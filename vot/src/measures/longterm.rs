//! Long-term measures (VOT2018-LT and later, VOTS): precision, recall and F over confidence thresholds, and the counts
//! of tracked, drifted and missed frames, as the official Python toolkit has them.

use std::collections::{BTreeMap, BTreeSet};

use schemas::score::{LongTermScore, LongTermSequence};

use super::Runs;
use super::eao::mean;
use crate::error::Error;
use crate::overlap::python_overlap;
use crate::protocol::Trajectory;
use crate::region::{INITIALIZATION, UNKNOWN};
use crate::sequence::Sequence;

/// Thresholds between the two infinite ones, and these.
const RESOLUTION: usize = 100;
/// Frames without a target that a sequence must have more of for its absence-detection quality to count.
const ABSENCE: f64 = 10.0;

/// Mean precision and recall of a sequence per threshold, and its frame counts.
struct Measured {
    precision: Vec<f64>,
    recall: Vec<f64>,
    accuracy: f64,
    counts: Counts,
}

/// Kinds of frames, means over the runs of a sequence. Frames with unknown ground truth are in none.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Overlap above 0.
    tracked: f64,
    /// A region without overlap.
    drifted: f64,
    /// Nothing reported where the target is.
    missed: f64,
    /// A region where no target is.
    hallucinated: f64,
    /// Nothing reported where no target is.
    noticed: f64,
}

/// Scores unsupervised runs with confidences, several repetitions per sequence allowed.
///
/// The thresholds come from the confidences of all runs: sorted downwards, 98 of them evenly spread, and the two
/// infinities. For threshold t: Pr = mean overlap over frames with confidence >= t (1 where there are none), Re = sum
/// of the same overlaps / frames with a target; both are means over runs, then over sequences;
/// F = 2 Pr Re / (Pr + Re). Reported are Pr and Re where F is best. A frame without a confidence has 0.
///
/// Accuracy is the mean overlap over frames with a target that are tracked (overlap above 0; the initialisation counts
/// with 0), robustness
/// tracked / (tracked + drifted + missed), NRE missed / that sum, DRE drifted / that sum, ADQ noticed / (noticed +
/// hallucinated) over sequences with more than ten frames without a target; all unweighted means over sequences.
///
/// # Errors
/// [`Error`] when runs do not fit their sequences or there is nothing to score.
pub fn longterm(runs: &[Runs<'_>]) -> Result<LongTermScore, Error> {
    let mut names = BTreeSet::new();
    for Runs { sequence, trajectories } in runs {
        if !names.insert(sequence.name.as_str()) {
            return Err(Error::DuplicateSequence { sequence: sequence.name.clone() });
        }
        super::fits(sequence, trajectories)?;
    }
    if runs.is_empty() {
        return Err(Error::NothingToScore);
    }
    let thresholds = thresholds(runs);
    let measured = runs
        .iter()
        .map(|run| Ok((run.sequence, measure(run.sequence, run.trajectories, &thresholds)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let average = |pick: fn(&Measured) -> &Vec<f64>| -> Vec<f64> {
        (0..thresholds.len())
            .map(|at| mean(measured.iter().filter_map(|(_, m)| pick(m).get(at).copied())).unwrap_or(0.0))
            .collect()
    };
    let (precision, recall) = (average(|m| &m.precision), average(|m| &m.recall));
    let f_curve: Vec<f64> = precision.iter().zip(&recall).map(|(p, r)| f_score(*p, *r)).collect();
    // The first of equals, as the toolkit takes it.
    let best = (0..f_curve.len()).rev().max_by(|a, b| at(&f_curve, *a).total_cmp(&at(&f_curve, *b))).unwrap_or(0);
    let safe = |value: fn(&Counts) -> Option<f64>| mean(measured.iter().filter_map(|(_, m)| value(&m.counts)));
    let sequences: BTreeMap<String, LongTermSequence> = measured
        .iter()
        .map(|(sequence, m)| {
            let (precision, recall) = (at(&m.precision, best), at(&m.recall, best));
            let entry = LongTermSequence {
                precision,
                recall,
                f_score: f_score(precision, recall),
                accuracy: m.accuracy,
                robustness: m.counts.robustness(),
                frames: sequence.len() as u64,
            };
            (sequence.name.clone(), entry)
        })
        .collect();
    let mut warnings: Vec<String> = runs.iter().flat_map(|run| run.sequence.warnings.iter().cloned()).collect();
    if runs.iter().flat_map(|run| run.trajectories).all(|t| t.confidences.iter().all(Option::is_none)) {
        warnings.push("there are no confidences: precision and recall are those of one threshold".to_owned());
    }
    Ok(LongTermScore {
        protocol: "longterm".to_owned(),
        precision: at(&precision, best),
        recall: at(&recall, best),
        f_score: at(&f_curve, best),
        threshold: thresholds.get(best).copied().filter(|t| t.is_finite()),
        accuracy: mean(measured.iter().map(|(_, m)| m.accuracy)).unwrap_or(0.0),
        robustness: safe(Counts::robustness),
        not_reported_error: safe(|c| c.share(c.missed)),
        drift_rate_error: safe(|c| c.share(c.drifted)),
        absence_detection_quality: safe(Counts::absence),
        sequences,
        warnings,
    })
}

fn at(values: &[f64], index: usize) -> f64 {
    values.get(index).copied().unwrap_or(0.0)
}

fn f_score(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// The confidence thresholds over all runs, descending, between plus and minus infinity.
fn thresholds(runs: &[Runs<'_>]) -> Vec<f64> {
    let mut scores: Vec<f64> = runs
        .iter()
        .flat_map(|run| run.trajectories)
        .flat_map(|t| t.confidences.iter().map(|c| c.unwrap_or(0.0)))
        .filter(|score| !score.is_nan())
        .collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let wanted = RESOLUTION - 2;
    let picked: Vec<f64> = if scores.len() > wanted {
        // Whole steps from delta to n - delta, rounded half to even.
        let delta = (scores.len() / wanted) as f64;
        let step = (scores.len() as f64 - 2.0 * delta) / (wanted - 1) as f64;
        let index = |i: usize| (delta + step * i as f64).round_ties_even() as usize;
        (0..wanted).filter_map(|i| scores.get(index(i)).copied()).collect()
    } else {
        scores
    };
    [f64::INFINITY].into_iter().chain(picked).chain([f64::NEG_INFINITY]).collect()
}

fn measure(sequence: &Sequence, trajectories: &[Trajectory], thresholds: &[f64]) -> Result<Measured, Error> {
    let size = sequence.size().ok_or_else(|| Error::UnknownSize { sequence: sequence.name.clone() })?;
    let visible = sequence.groundtruth.iter().filter(|truth| truth.is_shape()).count() as f64;
    let runs = trajectories.len() as f64;
    let (mut precision, mut recall) = (vec![0.0; thresholds.len()], vec![0.0; thresholds.len()]);
    let (mut counts, mut accuracy) = (Counts::default(), 0.0);
    for trajectory in trajectories {
        let overlaps: Vec<f64> = trajectory
            .regions
            .iter()
            .zip(&sequence.groundtruth)
            .map(|(result, truth)| python_overlap(result, truth, Some(size)))
            .collect();
        for (at, threshold) in thresholds.iter().enumerate() {
            let (mut sum, mut n) = (0.0, 0usize);
            for (overlap, confidence) in overlaps.iter().zip(&trajectory.confidences) {
                if confidence.unwrap_or(0.0) >= *threshold {
                    sum += overlap;
                    n += 1;
                }
            }
            let (p, r) = match n {
                0 => (1.0, 0.0),
                n => (sum / n as f64, if visible > 0.0 { sum / visible } else { 0.0 }),
            };
            if let (Some(precision), Some(recall)) = (precision.get_mut(at), recall.get_mut(at)) {
                *precision += p / runs;
                *recall += r / runs;
            }
        }
        let (mut sum, mut n) = (0.0, 0usize);
        for ((result, truth), overlap) in trajectory.regions.iter().zip(&sequence.groundtruth).zip(&overlaps) {
            if truth.is_code(UNKNOWN) {
                continue;
            }
            let slot = match (truth.is_empty(), result.is_empty()) {
                (true, true) => &mut counts.noticed,
                (true, false) => &mut counts.hallucinated,
                (false, _) if *overlap > 0.0 => &mut counts.tracked,
                (false, true) => &mut counts.missed,
                (false, false) => &mut counts.drifted,
            };
            *slot += 1.0 / runs;
            // The toolkit keeps the initialisation in, with overlap 0.
            if !truth.is_empty() && (*overlap > 0.0 || result.is_code(INITIALIZATION)) {
                sum += overlap;
                n += 1;
            }
        }
        accuracy += if n > 0 { sum / n as f64 / runs } else { 0.0 };
    }
    Ok(Measured { precision, recall, accuracy, counts })
}

impl Counts {
    /// `part` of the frames with a target.
    fn share(&self, part: f64) -> Option<f64> {
        let all = self.tracked + self.drifted + self.missed;
        (all > 0.0).then(|| part / all)
    }

    fn robustness(&self) -> Option<f64> {
        self.share(self.tracked)
    }

    fn absence(&self) -> Option<f64> {
        let all = self.noticed + self.hallucinated;
        (all > ABSENCE).then(|| self.noticed / all)
    }
}
