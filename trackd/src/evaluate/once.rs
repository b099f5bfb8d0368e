//! Protocols in which a tracker is not started again after a failure: multi-start, long-term, one-pass.

use super::{
    Counts, EvalError, EvalJobError, EvalOptions, Evaluation, Progress, each_sequence, kept_or_made, results_dir,
    write_document,
};
use crate::engine::{Engines, TrackEngine};
use crate::frames::folder;
use crate::run::JobError;
use serde::Serialize;
use std::path::{Path, PathBuf};
use vot::measures::{AnchoredRuns, LongTermScore, MultiStartScore, OnePassScore, Runs, longterm, multistart, onepass};
use vot::protocol::{self, Anchor, Protocol, ProtocolError, Trajectory, run_once};
use vot::region::siamrpn_init_box;
use vot::results::{Run, read_complete, read_complete_trajectories};
use vot::sequence::read_dataset;
use vot::{Region, Sequence};

/// Scores of one of these protocols.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OnceScore {
    /// Multi-start.
    MultiStart(MultiStartScore),
    /// Long-term.
    LongTerm(LongTermScore),
    /// One-pass.
    OnePass(OnePassScore),
}

impl OnceScore {
    /// Things to know when reading the numbers.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::MultiStart(score) => &score.warnings,
            Self::LongTerm(score) => &score.warnings,
            Self::OnePass(score) => &score.warnings,
        }
    }
}

/// A tracker that reads the images of a sequence in any order.
struct Indexed<'a> {
    tracker: Box<dyn TrackEngine>,
    sequence: &'a Sequence,
    max_pixels: u64,
}

impl Indexed<'_> {
    fn picture(&self, frame: usize) -> Result<shards::image::Rgb, JobError> {
        let missing = || JobError::Evaluate(format!("sequence {} has no frame {frame}", self.sequence.name));
        Ok(folder::read(self.sequence.frames.get(frame).ok_or_else(missing)?, self.max_pixels)?)
    }
}

impl protocol::Tracker for Indexed<'_> {
    type Error = JobError;

    fn init(&mut self, frame: usize, region: &Region) -> Result<(), JobError> {
        let picture = self.picture(frame)?;
        let origin = format!("ground truth of frame {frame}");
        let Some(rect) = siamrpn_init_box(region) else {
            return Err(JobError::Evaluate(format!("{origin}: {region} has no area to start from")));
        };
        let rect = [rect.x, rect.y, rect.width, rect.height];
        self.tracker.init(&picture, rect).map_err(|source| JobError::Init { origin, source })
    }

    fn update(&mut self, frame: usize) -> Result<protocol::Output, JobError> {
        let picture = self.picture(frame)?;
        let output = self.tracker.update(&picture).map_err(|source| JobError::Track { frame: frame as u64, source })?;
        let [x, y, w, h] = output.rect;
        Ok(protocol::Output { region: Region::rect(x, y, w, h), confidence: Some(output.score) })
    }
}

/// The runs a protocol asks for: where each begins and what its result is called. Long-term and one-pass runs are one
/// run over all frames.
fn wanted(protocol: Protocol, sequence: &Sequence, repetitions: usize) -> Result<Vec<(Anchor, Run)>, vot::Error> {
    if protocol != Protocol::MultiStart {
        let whole = Anchor { frame: 0, backward: false };
        return Ok((1..=repetitions.max(1)).map(|number| (whole, Run::Repetition(number))).collect());
    }
    let anchors = Anchor::of(sequence);
    if anchors.is_empty() {
        return Err(vot::Error::NoAnchors { sequence: sequence.name.clone() });
    }
    Ok(anchors.into_iter().map(|anchor| (anchor, Run::Anchor(anchor.frame))).collect())
}

/// Evaluates a data set by a protocol without restarts: official result files under `out/results/TRACKER/EXPERIMENT/`
/// and `out/score-PROTOCOL.json`. Result files are kept as by [`super::evaluate`].
///
/// # Errors
/// [`EvalError`]; a single failing sequence is no error but listed in the answer.
pub fn evaluate_once(
    dataset: &Path,
    engines: &dyn Engines,
    protocol: Protocol,
    options: &EvalOptions,
    out: &Path,
    progress: Progress<'_>,
) -> Result<Evaluation<OnceScore>, EvalError> {
    let rules = (protocol.as_str(), protocol.experiment());
    let all = each_sequence(dataset, engines, rules, options, out, progress, &|sequence, place, counts| {
        runs_of(sequence, engines, protocol, options, place, counts)
    })?;
    let score = score(protocol, &all.done, options.interval)?;
    write_document(&out.join(format!("score-{protocol}.json")), &score)?;
    let Counts { made, kept } = all.counts;
    Ok(Evaluation { score, failed: all.failed, made, kept })
}

fn runs_of(
    sequence: &Sequence,
    engines: &dyn Engines,
    protocol: Protocol,
    options: &EvalOptions,
    dir: &Path,
    counts: &mut Counts,
) -> Result<Vec<(Anchor, Trajectory)>, EvalJobError> {
    let max_pixels = options.run.limits.max_pixels;
    let mut done = Vec::new();
    for (anchor, run) in wanted(protocol, sequence, options.repetitions.unwrap_or(1))? {
        let order = anchor.frames(sequence.len());
        let trajectory = kept_or_made(dir, sequence, (run, order.len()), options.binary, counts, &|| {
            let mut tracker = Indexed { tracker: engines.start(), sequence, max_pixels };
            run_once(&mut tracker, &sequence.groundtruth, &order).map_err(|e| match e {
                ProtocolError::Tracker { source, .. } => source,
                other => JobError::Evaluate(other.to_string()),
            })
        })?;
        done.push((anchor, trajectory));
    }
    Ok(done)
}

fn score(
    protocol: Protocol,
    runs: &[(Sequence, Vec<(Anchor, Trajectory)>)],
    interval: Option<(usize, usize)>,
) -> Result<OnceScore, vot::Error> {
    if protocol == Protocol::MultiStart {
        let all: Vec<AnchoredRuns<'_>> = runs.iter().map(|(sequence, runs)| AnchoredRuns { sequence, runs }).collect();
        return multistart(&all, interval, false).map(OnceScore::MultiStart);
    }
    let plain: Vec<Vec<Trajectory>> =
        runs.iter().map(|(_, runs)| runs.iter().map(|(_, trajectory)| trajectory.clone()).collect()).collect();
    let all: Vec<Runs<'_>> =
        runs.iter().zip(&plain).map(|((sequence, _), trajectories)| Runs { sequence, trajectories }).collect();
    match protocol {
        Protocol::LongTerm => longterm(&all).map(OnceScore::LongTerm),
        _ => onepass(&all, false).map(OnceScore::OnePass),
    }
}

/// Scores official result files of a protocol without restarts.
///
/// # Errors
/// [`EvalError::Vot`] when a sequence has no results, or they do not fit it.
pub fn score_once(
    dataset: &Path,
    results: &Path,
    experiment: &str,
    protocol: Protocol,
    interval: Option<(usize, usize)>,
) -> Result<OnceScore, EvalError> {
    let mut sequences = read_dataset(dataset, None)?;
    let mut all = Vec::with_capacity(sequences.len());
    for sequence in &mut sequences {
        let dir: PathBuf = results_dir(sequence, results, experiment)?;
        let runs: Vec<(Anchor, Trajectory)> = match protocol {
            Protocol::MultiStart => wanted(protocol, sequence, 1)?
                .into_iter()
                .map(|(anchor, run)| {
                    let length = anchor.frames(sequence.len()).len();
                    Ok((anchor, read_complete(&dir, &sequence.name, run, length)?))
                })
                .collect::<Result<_, vot::Error>>()?,
            _ => {
                let whole = Anchor { frame: 0, backward: false };
                read_complete_trajectories(&dir, &sequence.name, sequence.len())?
                    .into_iter()
                    .map(|t| (whole, t))
                    .collect()
            }
        };
        all.push(runs);
    }
    let runs: Vec<(Sequence, Vec<(Anchor, Trajectory)>)> = sequences.into_iter().zip(all).collect();
    Ok(score(protocol, &runs, interval)?)
}
