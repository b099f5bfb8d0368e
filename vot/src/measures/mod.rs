//! Accuracy, robustness and expected average overlap of trajectories, in each [`Dialect`]; and the measures of the other
//! protocols: [`multistart`], [`longterm`], [`onepass`].
//!
//! | | accuracy of a sequence | accuracy of a data set |
//! |---|---|---|
//! | `vot-python` | mean over repetitions of the run's mean overlap (0 where no frame counts) | weighted by frames |
//! | `vot-matlab`, `vot-matlab-2015` | per frame the mean over repetitions, then over frames | weighted by frames (the report's `weighted_mean`), pooled frames beside it |
//! | `pysot` | as MATLAB | pooled frames |
//! | `mindspore` | mean over frames, no burn-in, first repetition only | mean of the sequences |
//!
//! Failures of a sequence are its mean number over repetitions, those of a data set their sum.

mod accuracy;
mod eao;
mod eval;
mod interval;
mod longterm;
mod multistart;
mod onepass;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub use eao::{Cut, EaoRun, average_entries, average_lengths, every_frame, fragment_curve, python_curve};
pub use eval::eval_json;
pub use interval::{AutoInterval, automatic_interval, named_interval};
pub use longterm::longterm;
pub use multistart::{AnchoredRuns, multistart};
pub use onepass::{Counted, OnePassMeasures, OnePassParts, onepass, onepass_frames};
pub use parts::{Measures, Parts, counted_frames};
pub use schemas::score::{LongTermScore, MultiStartScore, OnePassScore, ScoreDoc as Score, SequenceScore, TagScore};

use crate::dialect::Dialect;
use crate::error::Error;
use crate::protocol::Trajectory;
use crate::sequence::Sequence;
use accuracy::{Overlaps, mean_over_repetitions, nan_mean};
use parts::Part;
use rayon::prelude::*;

/// Frames from a failure to the next initialisation.
const SKIP: usize = 5;
/// S in the reliability exp(-S F / N), both toolkits' default for AR plots.
const SENSITIVITY: f64 = 30.0;

/// A sequence with the trajectories of all repetitions over it.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    /// The sequence; its width and height must be known.
    pub sequence: &'a Sequence,
    /// One trajectory per repetition, at least one, each as long as the sequence.
    pub trajectories: &'a [Trajectory],
}

/// What a score depends on besides the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreOptions {
    /// Lengths over which EAO averages, low and high; overrides everything else.
    pub interval: Option<(usize, usize)>,
    /// Name of the data set, to find the interval of a VOT challenge by ([`named_interval`]).
    pub dataset: Option<String>,
    /// Whether to keep the EAO curve.
    pub curve: bool,
}

/// A checked sequence with its numbers.
struct Prepared<'a> {
    sequence: &'a Sequence,
    trajectories: &'a [Trajectory],
    /// Of each trajectory.
    overlaps: Vec<Overlaps>,
}

/// Scores trajectories in a dialect.
///
/// The EAO interval is the one given, else that of the named VOT challenge, else 108-371 in
/// `mindspore` where the longest sequence reaches 108 frames (the reference knows no other), else the
/// [`automatic_interval`] of the sequences' lengths. A warning says where it does not fit the data.
pub fn score(dialect: Dialect, runs: &[Runs<'_>], options: &ScoreOptions) -> Result<Score, Error> {
    let prepared = prepare(dialect, runs)?;
    let mut warnings = Vec::new();
    let (low, high) = choose_interval(dialect, &prepared, options, &mut warnings)?;

    let parts = Parts::of(dialect, &prepared, (low, high));
    let all = parts.measures(&vec![1; prepared.len()]);
    let entry = |(run, part): (&Prepared<'_>, &Part)| (run.sequence.name.clone(), part.score());
    let sequences = prepared.iter().zip(parts.each()).map(entry).collect();

    if all.eao.is_none() {
        warnings.push(format!(
            "no stretch without failure is long enough for the EAO interval {low}-{high}: there is no EAO"
        ));
    }
    let tags = if matches!(dialect, Dialect::VotPython | Dialect::Mindspore) {
        BTreeMap::new()
    } else {
        tag_scores(dialect, &prepared, &eao_runs(&prepared), (low, high))
    };
    for sequence in prepared.iter().map(|run| run.sequence) {
        warnings.extend(sequence.warnings.iter().cloned());
    }
    Ok(Score {
        dialect: dialect.to_string(),
        accuracy: all.accuracy,
        accuracy_pooled: (dialect != Dialect::VotPython).then_some(all.accuracy_pooled),
        failures: all.failures,
        robustness_per_100: all.robustness_per_100,
        robustness_mean_failures: all.robustness_mean_failures,
        robustness_weighted_failures: all.robustness_weighted_failures,
        reliability: all.reliability,
        eao: all.eao,
        eao_interval: [low, high],
        eao_curve: options.curve.then(|| all.curve.iter().map(|value| Some(*value).filter(|v| !v.is_nan())).collect()),
        sequences,
        tags,
        warnings,
    })
}

fn prepare<'a>(dialect: Dialect, runs: &[Runs<'a>]) -> Result<Vec<Prepared<'a>>, Error> {
    let mut names = BTreeSet::new();
    let mut prepared = Vec::with_capacity(runs.len());
    for Runs { sequence, trajectories } in runs {
        let name = || sequence.name.clone();
        if !names.insert(sequence.name.as_str()) {
            return Err(Error::DuplicateSequence { sequence: name() });
        }
        fits(sequence, trajectories)?;
        let (width, height) = sequence.size().ok_or_else(|| Error::UnknownSize { sequence: name() })?;
        if width == 0 || height == 0 {
            return Err(Error::ZeroSize { sequence: name(), width, height });
        }
        // MindSpore runs once; further repetitions do not count.
        let used = if dialect == Dialect::Mindspore { 1 } else { trajectories.len() };
        let trajectories = trajectories.split_at(used).0;
        let overlaps = trajectories
            .par_iter()
            .map(|trajectory| Overlaps::of(dialect, &sequence.groundtruth, (width, height), trajectory))
            .collect();
        prepared.push(Prepared { sequence, trajectories, overlaps });
    }
    if prepared.is_empty() { Err(Error::NothingToScore) } else { Ok(prepared) }
}

/// That there are trajectories, each as long as the sequence.
fn fits(sequence: &Sequence, trajectories: &[Trajectory]) -> Result<(), Error> {
    let name = || sequence.name.clone();
    if trajectories.is_empty() || sequence.is_empty() {
        return Err(Error::NoResults { path: sequence.root.clone(), sequence: name() });
    }
    let wrong = trajectories.iter().enumerate().find(|(_, trajectory)| trajectory.len() != sequence.len());
    match wrong {
        None => Ok(()),
        Some((index, trajectory)) => Err(Error::TrajectoryLength {
            sequence: name(),
            repetition: index + 1,
            expected: sequence.len(),
            found: trajectory.len(),
        }),
    }
}

impl Prepared<'_> {
    /// Overlaps for accuracy, per repetition.
    fn overlaps(&self, dialect: Dialect, tag: Option<&str>) -> Vec<Vec<f64>> {
        let runs = self.trajectories.iter().zip(&self.overlaps);
        runs.map(|(run, overlaps)| accuracy::counted(dialect, self.sequence, run, &overlaps.accuracy, tag)).collect()
    }

    /// Mean number of failures over repetitions, on frames with the tag.
    fn failures(&self, tag: Option<&str>) -> f64 {
        let tagged = |frame: &usize| tag.is_none_or(|tag| self.sequence.has_tag(tag, *frame));
        let count: usize =
            self.trajectories.iter().map(|trajectory| trajectory.failures().iter().filter(|f| tagged(f)).count()).sum();
        count as f64 / self.trajectories.len() as f64
    }
}

fn choose_interval(
    dialect: Dialect,
    prepared: &[Prepared<'_>],
    options: &ScoreOptions,
    warnings: &mut Vec<String>,
) -> Result<(usize, usize), Error> {
    let lengths: Vec<usize> = prepared.iter().map(|run| run.sequence.len()).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let reference = Some((108, 371)).filter(|(low, _)| dialect == Dialect::Mindspore && longest >= *low);
    let fixed = options.interval.or_else(|| options.dataset.as_deref().and_then(named_interval)).or(reference);
    let (low, high) = match fixed {
        Some(interval) => interval,
        None => {
            let auto = automatic_interval(&lengths).ok_or(Error::NothingToScore)?;
            if dialect == Dialect::Mindspore {
                warnings.push(format!(
                    "no sequence reaches the 108 frames of the reference's EAO interval; {}-{} was found from the \
                     lengths instead",
                    auto.low, auto.high
                ));
            }
            (auto.low, auto.high)
        }
    };
    if low < 1 || low > high {
        return Err(Error::Interval { low, high });
    }
    if longest < low {
        warnings.push(format!(
            "the longest sequence has {longest} frames, fewer than the lower end {low} of the EAO interval"
        ));
    }
    Ok((low, high))
}

/// Every run as EAO sees it, sequence by sequence.
fn eao_runs(prepared: &[Prepared<'_>]) -> Vec<EaoRun> {
    let mut runs = Vec::new();
    for run in prepared {
        for (trajectory, overlaps) in run.trajectories.iter().zip(&run.overlaps) {
            runs.push(EaoRun {
                overlaps: overlaps.eao.clone(),
                failures: trajectory.failures(),
                initializations: trajectory.initializations(),
                weight: 1.0 / run.trajectories.len() as f64,
            });
        }
    }
    runs
}

fn curve(dialect: Dialect, runs: &[EaoRun], tagged: &dyn Fn(usize, Range<usize>) -> usize) -> Vec<f64> {
    match dialect {
        Dialect::VotPython => python_curve(runs),
        Dialect::VotMatlab | Dialect::VotMatlab2015 => fragment_curve(runs, SKIP, Cut::BeforeEnd, tagged),
        Dialect::Pysot | Dialect::Mindspore => fragment_curve(runs, SKIP, Cut::AtEnd, tagged),
    }
}

fn average(dialect: Dialect, curve: &[f64], low: usize, high: usize) -> Option<f64> {
    match dialect {
        Dialect::VotPython => average_entries(curve, low, high),
        _ => average_lengths(curve, low, high),
    }
}

/// Scores per tag: pooled accuracy over the tagged frames of all sequences, failures on tagged frames,
/// EAO with fragments weighted by their share of tagged frames. Tags are those of the sequences, and
/// `empty` = frames without any.
fn tag_scores(
    dialect: Dialect,
    prepared: &[Prepared<'_>],
    runs: &[EaoRun],
    (low, high): (usize, usize),
) -> BTreeMap<String, TagScore> {
    let mut names: BTreeSet<&str> =
        prepared.iter().flat_map(|run| run.sequence.tags.keys()).map(String::as_str).collect();
    if names.is_empty() {
        return BTreeMap::new();
    }
    names.insert("empty");
    // Which sequence each run belongs to.
    let owners: Vec<&Sequence> =
        prepared.iter().flat_map(|run| run.trajectories.iter().map(|_| run.sequence)).collect();
    let mut scores = BTreeMap::new();
    for tag in names {
        let mut pooled = Vec::new();
        let (mut failures, mut frames) = (0.0, 0usize);
        for run in prepared {
            pooled.extend(mean_over_repetitions(&run.overlaps(dialect, Some(tag))));
            failures += run.failures(Some(tag));
            frames += (0..run.sequence.len()).filter(|frame| run.sequence.has_tag(tag, *frame)).count();
        }
        // The MATLAB toolkit counts `empty` frames over the whole sequence, whatever the fragment.
        let whole = tag == "empty" && dialect != Dialect::Pysot;
        let tagged = |run: usize, frames: Range<usize>| {
            let Some(owner) = owners.get(run) else { return 0 };
            let frames = if whole { 0..owner.len() } else { frames };
            frames.filter(|frame| owner.has_tag(tag, *frame)).count()
        };
        let eao = average(dialect, &curve(dialect, runs, &tagged), low, high);
        let accuracy = nan_mean(pooled);
        scores.insert(tag.to_owned(), TagScore { accuracy, failures, frames: frames as u64, eao });
    }
    scores
}

#[cfg(test)]
mod protocol_tests;
#[cfg(test)]
mod tests;
