//! A model over a data set: sequences side by side, one thread each.

use super::EvaluateError;
use super::dataset::{TestSet, picture};
use schemas::model::ModelConfig;
use schemas::score::{OnePassScore, ScoreDoc};
use serde::{Deserialize, Serialize};
use siamrpn::device::{device, is_cpu};
use siamrpn::engine::{BurnEngine, Engine, Native};
use siamrpn::model::{Model, ModelError};
use siamrpn::tracker::Tracker;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use vot::measures::{Runs, ScoreOptions, onepass, score};
use vot::protocol::{self, ProtocolError, Supervised, Trajectory, run_once};
use vot::region::siamrpn_init_box;
use vot::{Dialect, Region, Sequence};

/// How a tracker is run and measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Started again after failures; accuracy, robustness, EAO.
    Supervised,
    /// Started once; overlap, success, precision.
    Ope,
}

/// What a model reached on a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// Supervised protocol.
    Supervised(Box<ScoreDoc>),
    /// One pass.
    Ope(Box<OnePassScore>),
}

/// Where the tracking is done.
#[derive(Debug, Clone)]
pub struct Workers {
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Sequences at a time; 0 means one per core.
    pub threads: usize,
}

impl Workers {
    /// Sequences at a time.
    pub(super) fn count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// A model file, and the engine that runs it: our own on the processor, Burn elsewhere.
    ///
    /// # Errors
    /// [`EvaluateError`] when device or file cannot be used.
    pub fn load(&self, path: &Path) -> Result<(Model, Arc<dyn Engine>), EvaluateError> {
        let device = device(&self.device)?;
        let model = Model::load(path, &device)?;
        let burn = BurnEngine::new(&model.config, &model.net);
        let engine: Arc<dyn Engine> = if is_cpu(&device) {
            let damaged = |e| ModelError::Damaged { path: path.display().to_string(), reason: format!("{e:?}") };
            Arc::new(Native::new(burn).map_err(damaged)?)
        } else {
            Arc::new(burn)
        };
        Ok((model, engine))
    }

    /// Does `work` for every number below `count`, several at a time, each on one thread; answers in order, or with the
    /// first error.
    ///
    /// # Errors
    /// The error of the lowest number that failed; [`EvaluateError::Interrupted`] when `stop` was set before the end.
    pub(super) fn each<R: Send>(
        &self,
        count: usize,
        stop: &AtomicBool,
        work: &(dyn Fn(usize) -> Result<R, EvaluateError> + Sync),
    ) -> Result<Vec<R>, EvaluateError> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Result<R, EvaluateError>)>> = Mutex::new(Vec::new());
        let one = || {
            // The engine's own threads would only be in each other's way.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let found = if stop.load(Ordering::Relaxed) {
                    Err(EvaluateError::Interrupted)
                } else {
                    match &pool {
                        Ok(pool) => pool.install(|| work(number)),
                        Err(_) => work(number),
                    }
                };
                let failed = found.is_err();
                done.lock().unwrap_or_else(PoisonError::into_inner).push((number, found));
                if failed {
                    next.store(count, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.count().clamp(1, count.max(1))).map(|_| scope.spawn(one)).collect();
            threads.into_iter().for_each(|t| t.join().unwrap_or_else(|panic| resume_unwind(panic)));
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, found)| found).collect()
    }
}

/// A tracker that is fed a sequence's pictures.
struct Follower<'a> {
    tracker: Tracker,
    sequence: &'a Sequence,
    stop: &'a AtomicBool,
}

impl Follower<'_> {
    fn failed(&self, frame: usize, reason: &dyn std::fmt::Display) -> EvaluateError {
        EvaluateError::Sequence { sequence: self.sequence.name.clone(), reason: format!("frame {frame}: {reason}") }
    }
}

impl protocol::Tracker for Follower<'_> {
    type Error = EvaluateError;

    fn init(&mut self, frame: usize, region: &Region) -> Result<(), EvaluateError> {
        let rect = siamrpn_init_box(region).ok_or_else(|| self.failed(frame, &"a region without an area"))?;
        let rect = [rect.x, rect.y, rect.width, rect.height];
        self.tracker.init(&picture(self.sequence, frame)?, rect).map_err(|e| self.failed(frame, &e))
    }

    fn update(&mut self, frame: usize) -> Result<protocol::Output, EvaluateError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(EvaluateError::Interrupted);
        }
        let output = self.tracker.update(&picture(self.sequence, frame)?).map_err(|e| self.failed(frame, &e))?;
        let [x, y, w, h] = output.rect;
        Ok(protocol::Output { region: Region::rect(x, y, w, h), confidence: Some(output.score) })
    }
}

/// One run of `engine`, with the tracker's settings of `config`, over a sequence. Trackers here are deterministic: once is
/// as good as fifteen times.
pub(super) fn track(
    engine: &Arc<dyn Engine>,
    config: &ModelConfig,
    sequence: &Sequence,
    (protocol, dialect): (Protocol, Dialect),
    stop: &AtomicBool,
) -> Result<Trajectory, EvaluateError> {
    let tracker = Tracker::with_engine(config.clone(), Arc::clone(engine));
    let mut follower = Follower { tracker, sequence, stop };
    let size = sequence.size().unwrap_or_default();
    let run = match protocol {
        Protocol::Supervised => Supervised::new(dialect).run(&mut follower, &sequence.groundtruth, size),
        Protocol::Ope => {
            let order: Vec<usize> = (0..sequence.len()).collect();
            run_once(&mut follower, &sequence.groundtruth, &order)
        }
    };
    run.map_err(|e| match e {
        ProtocolError::Tracker { source, .. } => source,
        other => EvaluateError::Sequence { sequence: sequence.name.clone(), reason: other.to_string() },
    })
}

/// The measures of one run per sequence.
pub(super) fn measure(
    set: &TestSet,
    runs: &[Trajectory],
    (protocol, dialect): (Protocol, Dialect),
) -> Result<Measured, EvaluateError> {
    let runs: Vec<Runs<'_>> = set
        .sequences
        .iter()
        .zip(runs)
        .map(|(sequence, run)| Runs { sequence, trajectories: std::slice::from_ref(run) })
        .collect();
    Ok(match protocol {
        Protocol::Supervised => {
            let options = ScoreOptions { dataset: Some(set.name.clone()), ..ScoreOptions::default() };
            Measured::Supervised(Box::new(score(dialect, &runs, &options)?))
        }
        Protocol::Ope => Measured::Ope(Box::new(onepass(&runs, false)?)),
    })
}
