//! `trainer run`: the loop over steps, with metrics, checkpoints, resume and interruption.

use crate::checkpoint::{self, Best, CheckpointError, MODEL, State};
use crate::config::{self, ConfigError, Layers};
use crate::engine::{Engine, Measured, StepError, Values};
use crate::init::{self, InitError};
use crate::loader::{LoadError, Loader, Recipe};
use crate::metrics::{Line, MetricsError, Progress, Writer};
use crate::optim::Sgd;
use crate::report;
use crate::schedule::learning_rate;
use crate::validate::Validator;
use schemas::train::TrainConfig;
use serde::Serialize;
use siamrpn::device::{Device, DeviceError, devices};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Name of the effective configuration in a run folder.
pub const CONFIG: &str = "config.toml";
/// Name of the page with the run's curves in a run folder.
pub const REPORT: &str = "report.html";
const LOCK: &str = ".lock";

/// Why training ended early or did not start.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Batches cannot be made.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Start weights cannot be used.
    #[error(transparent)]
    Init(#[from] InitError),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Metrics cannot be written.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The run folder holds something already.
    #[error("run folder {0} is not empty: go on with --resume, or choose another --out")]
    Exists(PathBuf),
    /// Another process trains in this folder.
    #[error("run folder {0} is in use by another trainer: wait for it, or choose another --out")]
    Busy(PathBuf),
    /// The run folder cannot be written.
    #[error("run folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The device has too little memory for a step.
    #[error(
        "out of memory on {device} in a step of {batch} pairs{}: {reason}; try {}, then --resume or a new run (the last \
         checkpoint is whole)", parts(*accumulate), advice(*batch, *accumulate)
    )]
    Memory {
        /// The device or devices.
        device: String,
        /// Pairs of a step.
        batch: usize,
        /// Parts of a step on each device.
        accumulate: usize,
        /// What the device said.
        reason: String,
    },
    /// Too many steps in a row were not finite.
    #[error(
        "loss or gradients were not finite (or the loss above optim.max_loss) for {in_a_row} steps in a row, up to step {step}: \
         no such step was taken; lower \
         optim.lr_start, lengthen optim.warmup_epochs or lower optim.clip_norm, then start a new run (the last \
         checkpoint is whole)"
    )]
    Diverged {
        /// Steps in a row.
        in_a_row: u64,
        /// Steps done.
        step: u64,
    },
}

fn parts(accumulate: usize) -> String {
    if accumulate > 1 { format!(" in {accumulate} parts") } else { String::new() }
}

/// What needs half the memory.
fn advice(batch: usize, accumulate: usize) -> String {
    match batch / accumulate.max(1) {
        0 | 1 => "model.train_search_px or model.trunk.widths smaller".to_owned(),
        _ => format!(
            "run.accumulate={} (the same batch in more parts) or run.batch={}",
            2 * accumulate.max(1),
            batch / 2
        ),
    }
}

impl TrainError {
    /// The documented exit code.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Exists(_)
            | Self::Load(LoadError::Fit(_) | LoadError::Plan(_) | LoadError::Union(_))
            | Self::Init(InitError::Config(_) | InitError::Trunk { .. })
            | Self::Step(StepError::Share { .. } | StepError::NoNccl)
            | Self::Checkpoint(CheckpointError::Other { .. }) => schemas::exit::USAGE,
            _ => schemas::exit::FAILED,
        }
    }
}

/// What to train, and where.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The dataset, or several that are trained on together.
    pub data: Vec<PathBuf>,
    /// The run folder.
    pub out: PathBuf,
    /// The configuration's layers.
    pub layers: Layers,
    /// Datasets whose pairs give the validation loss; without one, the videos that the configuration holds out.
    pub validation: Vec<PathBuf>,
    /// `cpu`, `cuda:0`, or several as in `cuda:0,1`.
    pub device: String,
    /// Go on with what is in the run folder.
    pub resume: bool,
    /// No progress on standard error.
    pub quiet: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Steps done, those before a resume included.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Epoch of the last step.
    pub epoch: u32,
    /// The last line of metrics.
    pub last: Option<Line>,
    /// Steps skipped because they were not finite.
    pub bad_steps: u64,
    /// Pairs that others stood in for.
    pub substituted: u64,
    /// Checkpoints and lines of metrics that could not be written; later ones could.
    pub unwritten: u64,
    /// The best validation, if there was one.
    pub best: Option<Best>,
    /// Was the run interrupted?
    pub interrupted: bool,
    /// The newest weights.
    pub model: PathBuf,
}

/// Trains. `interrupt` may be set from elsewhere (Ctrl-C): the step is finished, a checkpoint is written, and the
/// summary says so.
///
/// # Errors
/// [`TrainError`]; checkpoints already written stay whole.
pub fn run(options: &Options, interrupt: &AtomicBool) -> Result<Summary, TrainError> {
    let out = options.out.as_path();
    let folder = |source| TrainError::Folder { path: out.to_path_buf(), source };
    let used = std::fs::read_dir(out).is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| e.file_name() != LOCK)));
    if used && !options.resume {
        return Err(TrainError::Exists(out.to_path_buf()));
    }
    let cfg = configuration(options)?;
    let config_hash = config::hash(&cfg)?;
    let devices: Vec<Device> = devices(&options.device)?.into_iter().map(Device::autodiff).collect();
    let recipe = Arc::new(Recipe::open_all(&options.data, &cfg)?);
    std::fs::create_dir_all(out).map_err(folder)?;
    let _lock = lock(out)?;
    checkpoint::clean(out)?;
    let start = Start {
        out,
        cfg: &cfg,
        state: State::start(config_hash, recipe.dataset().hash().to_owned(), cfg.run.seed),
        devices: &devices,
    };
    let (engine, state, said) = start.begin()?;
    let text = config::to_toml(&cfg)?;
    shards::writer::write_atomic(&out.join(CONFIG), text.as_bytes()).map_err(folder)?;
    let total = u64::from(cfg.run.epochs) * recipe.steps_per_epoch();
    let end = if cfg.run.max_steps == 0 { total } else { total.min(cfg.run.max_steps) };
    let progress = Progress::new(end, state.step, options.quiet);
    progress.say(&said);
    progress.say(&format!(
        "{} steps per epoch, {} epochs, batch {}, device {}, seed {}",
        recipe.steps_per_epoch(),
        cfg.run.epochs,
        cfg.run.batch,
        options.device,
        cfg.run.seed
    ));
    let validator = if recipe.draws() || !options.validation.is_empty() {
        match Validator::open(&options.data, &options.validation, &cfg) {
            // Few videos, and a small share of them: no reason not to train.
            Err(error @ LoadError::Nothing { .. }) if options.validation.is_empty() => {
                progress.say(&format!("no validation: {error}"));
                None
            }
            found => found?,
        }
    } else {
        if cfg.data.validation_share > 0.0 {
            progress
                .say("no validation: the pairs were laid out without the held-out videos; --validation names others");
        }
        None
    };
    if recipe.left_out() > 0 {
        let (left_out, rows) = (recipe.left_out(), recipe.dataset().rows());
        progress
            .say(&format!("{left_out} of {rows} rows are not drawn, by their flags or their target's shape or size"));
    }
    let mut training = Training {
        out,
        metrics: Writer::open(out, state.step, cfg.run.tensorboard)?,
        since: state.step,
        saved: state.step,
        cfg: &cfg,
        recipe: &recipe,
        engine,
        state,
        progress: &progress,
        pending: Vec::new(),
        clock: Instant::now(),
        wait: Duration::ZERO,
        last: None,
        validator,
        unwritten: 0,
        device: &options.device,
        end,
    };
    let interrupted = training.steps(interrupt);
    progress.finish();
    let interrupted = interrupted?;
    // A page that cannot be made costs nothing that `trainer report` could not make later.
    if let Ok(page) = report::page(&[out.to_path_buf()])
        && let Err(error) = shards::writer::write_atomic(&out.join(REPORT), page.as_bytes())
    {
        progress.say(&format!("{}: {error}", out.join(REPORT).display()));
    }
    let Training { state, last, unwritten, .. } = training;
    Ok(Summary {
        step: state.step,
        steps: end,
        epoch: state.epoch,
        last,
        bad_steps: state.bad_steps,
        substituted: state.substituted,
        unwritten,
        best: state.best,
        interrupted,
        model: out.join(MODEL),
    })
}

/// The effective configuration: on resume the saved one lies below the overrides, unless a preset or file is named.
fn configuration(options: &Options) -> Result<TrainConfig, TrainError> {
    let saved = options.out.join(CONFIG);
    let layers = &options.layers;
    if options.resume && layers.preset.is_none() && layers.file.is_none() && saved.exists() {
        return Ok(layers.over(config::read_saved(&saved)?)?);
    }
    Ok(layers.resolve()?)
}

/// Takes the run folder for this process; given back when the file is dropped.
fn lock(out: &Path) -> Result<File, TrainError> {
    let folder = |source| TrainError::Folder { path: out.to_path_buf(), source };
    let file = File::create(out.join(LOCK)).map_err(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::Busy(out.to_path_buf())),
        Err(TryLockError::Error(source)) => Err(folder(source)),
    }
}

/// What decides where a run begins.
struct Start<'a> {
    out: &'a Path,
    cfg: &'a TrainConfig,
    state: State,
    devices: &'a [Device],
}

impl Start<'_> {
    /// Network and optimiser: of the newest checkpoint, else of the start weights, else random.
    fn begin(self) -> Result<(Engine, State, String), TrainError> {
        let Self { out, cfg, state, devices } = self;
        let device = devices.first().ok_or(StepError::NoDevice)?;
        if let Some((_, path)) = checkpoint::list(out).pop() {
            let found = checkpoint::load(&path, &state.config_hash, &state.dataset_hash, device)?;
            let said = format!("resumed from {} after {} steps", path.display(), found.state.step);
            return Ok((Engine::on(found.net, found.sgd, devices, cfg)?, found.state, said));
        }
        let (model, seed) = (&cfg.model, cfg.run.seed);
        let (net, said) = if cfg.run.init_from.is_empty() {
            (init::random(model, seed, device)?, "started from random weights".to_owned())
        } else {
            let (net, taken) = init::from_file(Path::new(&cfg.run.init_from), model, seed, device)?;
            (net, taken.to_string())
        };
        Ok((Engine::on(net, Sgd::default(), devices, cfg)?, state, said))
    }
}

/// A run between its first and last step.
struct Training<'a> {
    out: &'a Path,
    cfg: &'a TrainConfig,
    recipe: &'a Arc<Recipe>,
    engine: Engine,
    state: State,
    metrics: Writer,
    progress: &'a Progress,
    /// Measurements that are still on the device.
    pending: Vec<Measured>,
    /// Step of the last line of metrics.
    since: u64,
    /// Step of the last checkpoint.
    saved: u64,
    /// Start of the current line's interval.
    clock: Instant,
    /// Time spent waiting for the loader in it.
    wait: Duration,
    last: Option<Line>,
    validator: Option<Validator>,
    /// What could not be written.
    unwritten: u64,
    /// The devices' names, for messages.
    device: &'a str,
    end: u64,
}

impl Training<'_> {
    /// All steps that are left; true when interrupted.
    fn steps(&mut self, interrupt: &AtomicBool) -> Result<bool, TrainError> {
        let mut loader = Loader::start(self.recipe, self.state.step..self.end)?;
        self.clock = Instant::now();
        loop {
            if interrupt.load(Ordering::Relaxed) {
                self.flush()?;
                self.save()?;
                return Ok(true);
            }
            let asked = Instant::now();
            let mut batch = match loader.next() {
                None => break,
                Some(Ok(batch)) => batch,
                Some(Err(error)) => {
                    // What has been learned so far is kept.
                    self.flush()?;
                    self.save()?;
                    return Err(error.into());
                }
            };
            self.wait += asked.elapsed();
            let epoch = self.recipe.epoch(batch.step);
            let lr = learning_rate(&self.cfg.optim, self.cfg.run.epochs, epoch);
            let measured = self.engine.step(&mut batch, self.cfg, epoch, lr);
            self.pending.push(measured.map_err(|e| self.failed(e))?);
            self.state.step = batch.step + 1;
            self.state.epoch = epoch;
            self.state.substituted += batch.substituted;
            loader.give_back(batch);
            let due = |every: u64| every > 0 && self.state.step.is_multiple_of(every);
            let epoch_ends = due(self.recipe.steps_per_epoch());
            let save = due(self.cfg.run.checkpoint_every) || epoch_ends;
            let validate = self.validator.is_some() && (due(self.cfg.run.validate_every) || epoch_ends);
            if save || validate || due(self.cfg.run.log_every) {
                self.flush()?;
            }
            if validate {
                self.validate()?;
            }
            if epoch_ends {
                let keep = self.cfg.run.keep_epochs;
                let saved = checkpoint::save_epoch(self.out, &self.state, &self.cfg.model, self.engine.net(), keep);
                self.attempt(saved)?;
            }
            if save && self.state.step < self.end {
                let saved = self.save();
                self.attempt(saved)?;
            }
        }
        self.flush()?;
        self.save()?;
        Ok(false)
    }

    /// Reads the measurements since the last line and writes the next one.
    fn flush(&mut self) -> Result<(), TrainError> {
        let values = Measured::read(std::mem::take(&mut self.pending)).map_err(|e| self.failed(e))?;
        if values.is_empty() {
            return Ok(());
        }
        let seconds = self.clock.elapsed().as_secs_f64();
        let mut worst = 0;
        for value in &values {
            if value.taken {
                self.state.bad_in_a_row = 0;
            } else {
                self.state.bad_steps += 1;
                self.state.bad_in_a_row += 1;
                worst = worst.max(self.state.bad_in_a_row);
            }
        }
        let steps = self.state.step - self.since;
        let taken: Vec<&Values> = values.iter().filter(|v| v.taken).collect();
        let mean = |of: fn(&Values) -> f64| {
            (!taken.is_empty()).then(|| taken.iter().map(|v| of(v)).sum::<f64>() / taken.len() as f64)
        };
        let line = Line {
            step: self.state.step,
            epoch: self.state.epoch,
            lr: learning_rate(&self.cfg.optim, self.cfg.run.epochs, self.state.epoch),
            loss: mean(|v| v.loss),
            cls: mean(|v| v.cls),
            reg: mean(|v| v.reg),
            grad_norm: mean(|v| v.grad_norm),
            data_wait_ms: self.wait.as_secs_f64() * 1e3 / steps as f64,
            step_ms: seconds * 1e3 / steps as f64,
            pairs_per_s: steps as f64 * self.cfg.run.batch as f64 / seconds.max(1e-9),
            bad_steps: self.state.bad_steps,
            substituted: self.state.substituted,
            steps,
        };
        let written = self.metrics.write(&line);
        self.noted(written);
        self.progress.show(&line);
        self.last = Some(line);
        self.since = self.state.step;
        self.wait = Duration::ZERO;
        self.clock = Instant::now();
        if worst >= self.cfg.run.max_bad_steps {
            return Err(TrainError::Diverged { in_a_row: worst, step: self.state.step });
        }
        Ok(())
    }

    /// Says why a step failed.
    fn failed(&self, error: StepError) -> TrainError {
        if !error.is_memory() {
            return error.into();
        }
        let run = &self.cfg.run;
        let (device, batch, accumulate) = (self.device.to_owned(), run.batch, run.accumulate.max(1));
        TrainError::Memory { device, batch, accumulate, reason: error.to_string() }
    }

    /// The loss on what is not trained on; the weights are kept if there were none better.
    fn validate(&mut self) -> Result<(), TrainError> {
        let Some(validator) = &self.validator else { return Ok(()) };
        let at = (self.state.step, self.state.epoch);
        let found = validator.run(self.engine.net(), self.engine.device(), self.cfg, at)?;
        self.progress.say(&format!(
            "epoch {} step {}: validation loss {:.4} (cls {:.4}, reg {:.4})",
            found.epoch, found.step, found.loss, found.cls, found.reg
        ));
        let written = self.metrics.validation(&found);
        self.noted(written);
        if found.loss.is_finite() && self.state.best.as_ref().is_none_or(|best| found.loss < best.loss) {
            self.state.best = Some(Best { step: found.step, epoch: found.epoch, loss: found.loss });
            let saved = checkpoint::save_best(self.out, &self.state, &self.cfg.model, self.engine.net());
            self.attempt(saved)?;
        }
        // Steps are not slower for it.
        self.clock = Instant::now();
        Ok(())
    }

    /// Metrics that cannot be written are no reason to end.
    fn noted(&mut self, written: Result<(), MetricsError>) {
        if let Err(error) = written {
            self.unwritten += 1;
            self.progress.say(&format!("{error}; training goes on"));
        }
    }

    /// What cannot be written now (a full disk) may be written later: training goes on, and says so.
    fn attempt(&mut self, written: Result<(), CheckpointError>) -> Result<(), TrainError> {
        match written {
            Err(error @ CheckpointError::Write { .. }) => {
                self.unwritten += 1;
                self.progress.say(&format!("{error}; training goes on, the next checkpoint is tried again"));
                Ok(())
            }
            written => Ok(written?),
        }
    }

    /// Writes a checkpoint, unless this step has one.
    fn save(&mut self) -> Result<(), CheckpointError> {
        if self.saved == self.state.step && self.out.join(MODEL).exists() {
            return Ok(());
        }
        let keep = self.cfg.run.keep_last;
        checkpoint::save(self.out, &self.state, &self.cfg.model, self.engine.net(), self.engine.sgd(), keep)?;
        self.saved = self.state.step;
        self.clock = Instant::now();
        Ok(())
    }
}
