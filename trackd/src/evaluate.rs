//! The protocols of crate `vot` with a real tracker on real frames: one sequence, or a data set with result
//! files that are kept when the evaluation is started again.

mod once;
mod pool;
mod stamp;

use crate::engine::{Engines, TrackEngine};
use crate::frames::{FrameError, Frames, folder};
use crate::input::Input;
use crate::publish::{pretty, replace_file};
use crate::run::{JobError, RunOptions, is_full};
use serde_json::Value;
use shards::image::Rgb;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vot::measures::{Runs, Score, ScoreOptions, eval_json, score};
use vot::protocol::{self, Protocol, ProtocolError, Supervised, Trajectory};
use vot::region::siamrpn_init_box;
use vot::results::{Run, read_complete, read_complete_trajectories, sequence_dir, write_trajectory};
use vot::sequence::{dataset_name, read_dataset};
use vot::{Dialect, Region, Sequence};

pub use once::{OnceScore, evaluate_once, score_once};

/// A tracker fed from frames that only run forward, which is all the protocol needs.
struct Streamed<'a> {
    tracker: Box<dyn TrackEngine>,
    frames: Frames,
    /// Index of the next frame.
    next: usize,
    path: &'a Path,
    cancel: &'a AtomicBool,
}

impl Streamed<'_> {
    /// Reads on until `frame`.
    fn picture(&mut self, frame: usize) -> Result<Rgb, JobError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(JobError::Cancelled);
        }
        loop {
            let Some(picture) = self.frames.next().transpose()? else {
                let path = self.path.to_owned();
                let (expected, found) = (frame as u64 + 1, self.next as u64);
                return Err(FrameError::Truncated { path, expected, found, log: String::new() }.into());
            };
            self.next += 1;
            if self.next > frame {
                return Ok(picture);
            }
        }
    }
}

impl protocol::Tracker for Streamed<'_> {
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

/// Runs the supervised protocol once over an input with one ground-truth region per frame; frames of `size` px.
///
/// # Errors
/// [`JobError`] when frames are missing or the tracker fails.
pub fn supervised(
    input: &Input,
    truth: &[Region],
    engines: &dyn Engines,
    options: &RunOptions,
    dialect: Dialect,
    size: (u32, u32),
    cancel: &AtomicBool,
) -> Result<Trajectory, JobError> {
    let frames = Frames::open(input, &options.decoders, &options.limits)?;
    let mut tracker = Streamed { tracker: engines.start(), frames, next: 0, path: &input.path, cancel };
    Supervised::new(dialect).run(&mut tracker, truth, size).map_err(|e| match e {
        ProtocolError::Tracker { source, .. } => source,
        other => JobError::Evaluate(other.to_string()),
    })
}

/// `eval.json` of a single run.
///
/// # Errors
/// [`JobError::Evaluate`] when the run does not fit the ground truth.
pub fn eval_document(
    name: &str,
    truth: &[Region],
    size: (u32, u32),
    trajectory: &Trajectory,
) -> Result<Value, JobError> {
    let sequence = Sequence::new(name, truth.to_vec(), Some(size));
    let runs = [Runs { sequence: &sequence, trajectories: std::slice::from_ref(trajectory) }];
    eval_json(&runs, &ScoreOptions::default()).map_err(|e| JobError::Evaluate(e.to_string()))
}

/// Why a data set cannot be evaluated or scored.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The data set or result files.
    #[error("failed to {0}")]
    Vot(#[from] vot::Error),
    /// Results of another run lie there.
    #[error(
        "{path} holds results of another {what} ({found}; now {expected}): name another --out or --tracker, or delete \
         that folder",
        path = path.display()
    )]
    Other {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What was used then.
        found: String,
        /// What is used now.
        expected: String,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}", path = path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Not one sequence could be evaluated.
    #[error("none of the {count} sequences could be evaluated; the first: {first}")]
    Nothing {
        /// Sequences tried.
        count: usize,
        /// Why the first failed.
        first: String,
    },
}

/// How to evaluate.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Protocol and measures.
    pub dialect: Dialect,
    /// Runs per sequence; `None` = as the dialect has it (15, no more than 3 for a deterministic tracker).
    pub repetitions: Option<usize>,
    /// Name of the results folder.
    pub tracker: String,
    /// EAO interval, low and high; `None` = that of the challenge, or computed.
    pub interval: Option<(usize, usize)>,
    /// Sequences at the same time; the results do not depend on it, the times in them do.
    pub jobs: usize,
    /// Regions in binary result files instead of text.
    pub binary: bool,
    /// Decoding and limits.
    pub run: RunOptions,
    /// Set to stop: what is not complete fails.
    pub cancel: Arc<AtomicBool>,
}

/// What an evaluation gave.
#[derive(Debug)]
pub struct Evaluation<S = Score> {
    /// The measures.
    pub score: S,
    /// Sequences that failed, with the reason.
    pub failed: Vec<(String, String)>,
    /// Runs made now.
    pub made: usize,
    /// Runs found complete and kept.
    pub kept: usize,
}

/// Called as a sequence begins: its name, its index, and how many there are.
pub type Progress<'a> = &'a (dyn Fn(&str, usize, usize) + Sync);

/// The sequences of a data set with what was made of each, those that failed, and the counts of runs.
struct Evaluated<R> {
    done: Vec<(Sequence, Vec<R>)>,
    failed: Vec<(String, String)>,
    counts: Counts,
}

/// Runs made now, and runs found complete and kept.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    made: usize,
    kept: usize,
}

/// Makes or finds the runs of a sequence, given the folder of its results and where to count.
type MakeRuns<'a, R> = &'a (dyn Fn(&Sequence, &Path, &mut Counts) -> Result<Vec<R>, EvalJobError> + Sync);

/// Makes the runs of every sequence, several sequences at a time.
fn each_sequence<R: Send>(
    dataset: &Path,
    engines: &dyn Engines,
    (rules, experiment): (&str, &str),
    options: &EvalOptions,
    out: &Path,
    progress: Progress<'_>,
    runs_of: MakeRuns<'_, R>,
) -> Result<Evaluated<R>, EvalError> {
    let mut sequences = read_dataset(dataset, None)?;
    let folder = out.join("results").join(&options.tracker).join(experiment);
    stamp::stamp_run(&folder, engines, rules)?;
    let count = sequences.len();
    let results = pool::each(&mut sequences, options.jobs, &|index, sequence| {
        progress(&sequence.name, index, count);
        let (place, mut counts) = (folder.join(&sequence.name), Counts::default());
        let runs = measure(sequence, options.run.limits.max_pixels).map_err(EvalJobError::from);
        let runs = runs.and_then(|_| Ok(stamp::stamp_input(&place, sequence)?));
        (runs.and_then(|()| runs_of(sequence, &place, &mut counts)), counts)
    });
    let mut all = Evaluated { done: Vec::new(), failed: Vec::new(), counts: Counts::default() };
    for (sequence, (runs, counts)) in sequences.into_iter().zip(results) {
        all.counts.made += counts.made;
        all.counts.kept += counts.kept;
        match runs {
            Ok(runs) => all.done.push((sequence, runs)),
            Err(e) => match full(&e) {
                // No fault of the sequence: the others end there too.
                Some(kind) => return Err(EvalError::Output { path: folder, source: kind.into() }),
                None => all.failed.push((sequence.name, e.to_string())),
            },
        }
    }
    if all.done.is_empty() {
        let first = all.failed.first().map_or_else(String::new, |(name, e)| format!("{name}: {e}"));
        return Err(EvalError::Nothing { count, first });
    }
    Ok(all)
}

/// Whether a full disk is behind an error.
fn full(e: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let chain = std::iter::successors(Some(e), |e| e.source());
    chain.filter_map(|e| e.downcast_ref::<io::Error>()).find(|e| is_full(e)).map(io::Error::kind)
}

/// Evaluates a data set: official result files under `out/results/TRACKER/baseline/SEQUENCE/`, `out/eval.json`, and
/// `out/score-DIALECT.json`. Complete result files are kept if the same program made them with the same model and rules
/// of the same sequence.
///
/// # Errors
/// [`EvalError`]; a single failing sequence is no error but listed in the answer.
pub fn evaluate(
    dataset: &Path,
    engines: &dyn Engines,
    options: &EvalOptions,
    out: &Path,
    progress: Progress<'_>,
) -> Result<Evaluation, EvalError> {
    let rules = (options.dialect.as_str(), Protocol::Supervised.experiment());
    let all = each_sequence(dataset, engines, rules, options, out, progress, &|sequence, place, counts| {
        runs_of(sequence, engines, options, place, counts)
    })?;
    let runs: Vec<Runs<'_>> = all.done.iter().map(|(sequence, trajectories)| Runs { sequence, trajectories }).collect();
    let score_options = score_options(dataset, options.interval)?;
    let score = score(options.dialect, &runs, &score_options)?;
    let eval = eval_json(&runs, &score_options)?;
    write_document(&out.join("eval.json"), &eval)?;
    write_document(&out.join(format!("score-{}.json", options.dialect)), &score)?;
    let Counts { made, kept } = all.counts;
    Ok(Evaluation { score, failed: all.failed, made, kept })
}

fn write_document(path: &Path, document: &impl serde::Serialize) -> Result<(), EvalError> {
    replace_file(path, &pretty(document)).map_err(|source| EvalError::Output { path: path.to_owned(), source })
}

pub(crate) fn score_options(dataset: &Path, interval: Option<(usize, usize)>) -> Result<ScoreOptions, vot::Error> {
    Ok(ScoreOptions { interval, dataset: Some(dataset_name(dataset)?), curve: false })
}

/// All runs of one sequence: those found complete, and those still to make.
fn runs_of(
    sequence: &Sequence,
    engines: &dyn Engines,
    options: &EvalOptions,
    dir: &Path,
    counts: &mut Counts,
) -> Result<Vec<Trajectory>, EvalJobError> {
    let size = sequence.size().ok_or_else(|| vot::Error::UnknownSize { sequence: sequence.name.clone() })?;
    let mut protocol = Supervised::new(options.dialect);
    protocol.repetitions = options.repetitions.unwrap_or(protocol.repetitions).max(1);
    let input = Input::of_sequence(sequence);
    let mut done: Vec<Trajectory> = Vec::new();
    while done.len() < protocol.repetitions && !protocol.can_stop(&done, size) {
        let name = Run::Repetition(done.len() + 1);
        done.push(kept_or_made(dir, sequence, (name, sequence.len()), options.binary, counts, &|| {
            supervised(&input, &sequence.groundtruth, engines, &options.run, options.dialect, size, &options.cancel)
        })?);
    }
    Ok(done)
}

/// A run of so many frames: the one that lies in `dir` complete, or a new one, which is stored there.
fn kept_or_made(
    dir: &Path,
    sequence: &Sequence,
    (name, length): (Run, usize),
    binary: bool,
    counts: &mut Counts,
    make: &dyn Fn() -> Result<Trajectory, JobError>,
) -> Result<Trajectory, EvalJobError> {
    if let Ok(found) = read_complete(dir, &sequence.name, name, length) {
        counts.kept += 1;
        return Ok(found);
    }
    let run = make()?;
    write_trajectory(dir, &sequence.name, name, &run, binary)?;
    counts.made += 1;
    Ok(run)
}

/// Why one sequence failed.
#[derive(Debug, thiserror::Error)]
enum EvalJobError {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("failed to {0}")]
    Vot(#[from] vot::Error),
    #[error(transparent)]
    Stamp(#[from] EvalError),
}

impl From<FrameError> for EvalJobError {
    fn from(e: FrameError) -> Self {
        Self::Job(e.into())
    }
}

/// The frame size of a sequence, from its description or its first frame, noted in it.
fn measure(sequence: &mut Sequence, max_pixels: u64) -> Result<(u32, u32), FrameError> {
    if let Some(size) = sequence.size() {
        return Ok(size);
    }
    let reason = "there is no image in it, and its size is not described";
    let first = sequence.frames.first().ok_or_else(|| FrameError::Empty { path: sequence.root.clone(), reason })?;
    let frame = folder::read(first, max_pixels)?;
    let size = (frame.width as u32, frame.height as u32);
    (sequence.width, sequence.height) = (Some(size.0), Some(size.1));
    Ok(size)
}

/// Scores official result files without a model.
///
/// # Errors
/// [`EvalError::Vot`] when a sequence has no results, or they do not fit it.
pub fn score_results(
    dataset: &Path,
    results: &Path,
    experiment: &str,
    dialect: Dialect,
    interval: Option<(usize, usize)>,
) -> Result<Score, EvalError> {
    let mut sequences = read_dataset(dataset, None)?;
    let read = |_, sequence: &mut Sequence| -> Result<Vec<Trajectory>, vot::Error> {
        let dir = results_dir(sequence, results, experiment)?;
        read_complete_trajectories(&dir, &sequence.name, sequence.len())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let trajectories: Vec<Vec<Trajectory>> =
        pool::each(&mut sequences, threads, &read).into_iter().collect::<Result<_, _>>()?;
    let runs: Vec<Runs<'_>> =
        sequences.iter().zip(&trajectories).map(|(sequence, trajectories)| Runs { sequence, trajectories }).collect();
    Ok(score(dialect, &runs, &score_options(dataset, interval)?)?)
}

/// The folder with a sequence's results; the size of its frames is noted in it where it can be found.
pub(crate) fn results_dir(sequence: &mut Sequence, results: &Path, experiment: &str) -> Result<PathBuf, vot::Error> {
    if sequence.size().is_none() && !sequence.frames.is_empty() {
        let limits = crate::frames::Limits::default();
        if let Err(e) = measure(sequence, limits.max_pixels) {
            sequence.warnings.push(e.to_string());
        }
    }
    sequence_dir(results, experiment, &sequence.name)
}

#[cfg(test)]
mod tests;
