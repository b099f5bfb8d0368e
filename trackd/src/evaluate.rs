//! The protocols of crate `vot` with a real tracker on real frames: one sequence, or a data set with result
//! files that are kept when the evaluation is started again.

mod once;

use crate::engine::{Engines, TrackEngine};
use crate::frames::{FrameError, Frames, folder};
use crate::input::Input;
use crate::publish::{pretty, replace_file};
use crate::run::{JobError, RunOptions};
use serde_json::{Value, json};
use shards::image::Rgb;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use vot::measures::{Runs, Score, ScoreOptions, eval_json, score};
use vot::protocol::{self, ProtocolError, Supervised, Trajectory};
use vot::region::siamrpn_init_box;
use vot::results::{Run, read_trajectories, read_trajectory, sequence_dir, write_trajectory};
use vot::sequence::read_dataset;
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
    /// Decoding and limits.
    pub run: RunOptions,
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

/// Evaluates a data set: official result files under `out/results/TRACKER/baseline/SEQUENCE/`, `out/eval.json`, and
/// `out/score-DIALECT.json`. Complete result files of the same model are kept.
///
/// # Errors
/// [`EvalError`]; a single failing sequence is no error but listed in the answer.
pub fn evaluate(
    dataset: &Path,
    engines: &dyn Engines,
    options: &EvalOptions,
    out: &Path,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Evaluation, EvalError> {
    let mut sequences = read_dataset(dataset, None)?;
    let results = out.join("results").join(&options.tracker);
    stamp(&results, engines, options.dialect.as_str())?;
    let (mut made, mut kept, mut failed) = (0, 0, Vec::new());
    let mut done: Vec<(usize, Vec<Trajectory>)> = Vec::new();
    let count = sequences.len();
    for (index, sequence) in sequences.iter_mut().enumerate() {
        progress(&sequence.name, index, count);
        let dir = results.join("baseline").join(&sequence.name);
        match runs_of(sequence, engines, options, &dir, (&mut made, &mut kept)) {
            Ok(runs) => done.push((index, runs)),
            Err(e) => failed.push((sequence.name.clone(), e.to_string())),
        }
    }
    if done.is_empty() {
        let first = failed.first().map_or_else(String::new, |(name, e)| format!("{name}: {e}"));
        return Err(EvalError::Nothing { count, first });
    }
    let runs: Vec<Runs<'_>> = done
        .iter()
        .filter_map(|(index, trajectories)| Some(Runs { sequence: sequences.get(*index)?, trajectories }))
        .collect();
    let score_options = score_options(dataset, options.interval);
    let score = score(options.dialect, &runs, &score_options)?;
    let eval = eval_json(&runs, &score_options)?;
    write_document(&out.join("eval.json"), &eval)?;
    write_document(&out.join(format!("score-{}.json", options.dialect)), &score)?;
    Ok(Evaluation { score, failed, made, kept })
}

fn write_document(path: &Path, document: &impl serde::Serialize) -> Result<(), EvalError> {
    replace_file(path, &pretty(document)).map_err(|source| EvalError::Output { path: path.to_owned(), source })
}

pub(crate) fn score_options(dataset: &Path, interval: Option<(usize, usize)>) -> ScoreOptions {
    let name = dataset.file_name().map(|n| n.to_string_lossy().into_owned());
    ScoreOptions { interval, dataset: name, curve: false }
}

/// Notes what made the results, or refuses to mix them with those of something else. `dialect` is that of the supervised
/// protocol, or the name of another protocol.
fn stamp(results: &Path, engines: &dyn Engines, dialect: &str) -> Result<(), EvalError> {
    let output = |path: &Path| {
        let path = path.to_owned();
        move |source| EvalError::Output { path, source }
    };
    std::fs::create_dir_all(results).map_err(output(results))?;
    let path = results.join("run.json");
    let now = json!({
        "model_blake3": engines.about().model_blake3,
        "dialect": dialect,
        "writer": schemas::format::writer_stamp("trackd"),
    });
    let then: Option<Value> = std::fs::read(&path).ok().and_then(|b| serde_json::from_slice(&b).ok());
    let text = |doc: &Value, key: &str| doc.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    if let Some(then) = then {
        for (key, what) in [("model_blake3", "model"), ("dialect", "dialect")] {
            let (found, expected) = (text(&then, key), text(&now, key));
            if found != expected {
                return Err(EvalError::Other { path: results.to_owned(), what, found, expected });
            }
        }
        return Ok(());
    }
    replace_file(&path, &pretty(&now)).map_err(output(&path))
}

/// All runs of one sequence: those found complete, and those still to make.
fn runs_of(
    sequence: &mut Sequence,
    engines: &dyn Engines,
    options: &EvalOptions,
    dir: &Path,
    (made, kept): (&mut usize, &mut usize),
) -> Result<Vec<Trajectory>, EvalJobError> {
    let size = measure(sequence, options.run.limits.max_pixels)?;
    let mut protocol = Supervised::new(options.dialect);
    protocol.repetitions = options.repetitions.unwrap_or(protocol.repetitions).max(1);
    let input = Input::of_sequence(sequence);
    let never = AtomicBool::new(false);
    let mut done: Vec<Trajectory> = Vec::new();
    while done.len() < protocol.repetitions && !protocol.can_stop(&done, size) {
        let name = Run::Repetition(done.len() + 1);
        let found = read_trajectory(dir, &sequence.name, name).ok().filter(|t| t.len() == sequence.len());
        let run = match found {
            Some(run) => {
                *kept += 1;
                run
            }
            None => {
                let truth = &sequence.groundtruth;
                let run = supervised(&input, truth, engines, &options.run, options.dialect, size, &never)?;
                write_trajectory(dir, &sequence.name, name, &run)?;
                *made += 1;
                run
            }
        };
        done.push(run);
    }
    Ok(done)
}

/// Why one sequence failed.
#[derive(Debug, thiserror::Error)]
enum EvalJobError {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("failed to {0}")]
    Vot(#[from] vot::Error),
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
    let mut trajectories = Vec::with_capacity(sequences.len());
    for sequence in &mut sequences {
        let dir = results_dir(sequence, results, experiment)?;
        trajectories.push(read_trajectories(&dir, &sequence.name)?);
    }
    let runs: Vec<Runs<'_>> =
        sequences.iter().zip(&trajectories).map(|(sequence, trajectories)| Runs { sequence, trajectories }).collect();
    Ok(score(dialect, &runs, &score_options(dataset, interval))?)
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
