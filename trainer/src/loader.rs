//! From a dataset to batches: worker threads read, decode, augment and label ahead of the training loop.
//!
//! ```text
//! step s  ->  worker s mod W  ->  bounded queue of that worker  ->  next() takes the queues in turn
//! ```
//!
//! Which pairs make up a step, and every random number in it, are pure functions of seed and step, so batches are the
//! same whatever the number of threads, and they arrive in the order of the steps. A full queue stops its worker; a
//! dropped loader closes the queues and joins all workers.

use crate::augment::{self, AugmentError, Sides};
use crate::fit::{self, FitError};
use crossbeam_channel::{Receiver, Sender, bounded};
use schemas::train::TrainConfig;
use shards::image::{ImageError, Rgb};
use shards::jpeg::{Limits, decode_image};
use shards::order::{Rng, key};
use shards::plan::{PairRef, Plan, PlanError, RowId, Tracks};
use shards::reader::{Dataset, ReadError, Row};
use siamrpn::anchors::Anchors;
use siamrpn::labels::label;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Pairs of the plan that are tried in place of an unreadable one.
const SUBSTITUTES: usize = 32;
/// Rows of the same track that are tried in place of an unreadable one.
const SUBSTITUTE_ROWS: u32 = 16;

/// Why batches cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dataset cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No pairs can be drawn.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Dataset and configuration do not fit.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// Too many rows in a row are damaged.
    #[error(
        "no readable pair among {tried} tried for step {step}; the last one failed with: {last}; run `shards verify` on \
         the dataset, it names the damaged shards"
    )]
    Damaged {
        /// The step.
        step: u64,
        /// Pairs tried.
        tried: usize,
        /// Why the last one failed.
        last: String,
    },
    /// A worker thread could not be started.
    #[error("starting a loader thread failed: {0}; lower run.workers")]
    Thread(std::io::Error),
    /// A worker ended although its steps are not done.
    #[error("a loader thread ended before its work was done; this is a defect, please report it")]
    WorkerGone,
}

/// Why one pair cannot be made; another takes its place.
#[derive(Debug, thiserror::Error)]
enum PairError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Augment(#[from] AugmentError),
}

/// The images and labels of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Step of the run, from 0.
    pub step: u64,
    /// Pairs.
    pub pairs: usize,
    /// Template images, `[B, 127, 127, 3]`, RGB.
    pub template: Vec<u8>,
    /// Search images, `[B, S, S, 3]`, RGB.
    pub search: Vec<u8>,
    /// Labels, `[B, N]`: 1 target, 0 background, -1 ignored.
    pub labels: Vec<i8>,
    /// Deltas, `[B, 4, N]`.
    pub deltas: Vec<f32>,
    /// Targets in the search images: centre form, pixels from the image's centre.
    pub targets: Vec<[f32; 4]>,
    /// Which pairs show two different targets.
    pub negative: Vec<bool>,
    /// Pairs that another row or pair stands in for.
    pub substituted: u64,
}

/// Everything a worker needs to make the batch of any step.
#[derive(Debug)]
pub struct Recipe {
    dataset: Dataset,
    plan: Plan,
    cfg: TrainConfig,
    anchors: Anchors,
    sides: Sides,
    steps_per_epoch: u64,
    limits: Limits,
}

impl Recipe {
    /// Opens the dataset at `path` and checks that it fits the configuration.
    ///
    /// # Errors
    /// [`LoadError`] when the dataset cannot be read, does not fit, or has nothing to draw.
    pub fn open(path: &Path, cfg: &TrainConfig) -> Result<Self, LoadError> {
        let dataset = Dataset::open(path)?;
        let tracks = Tracks::read(dataset.path(), cfg.data.skip_flags)?;
        if !dataset.manifest().shards.is_empty() {
            fit::check(&dataset, dataset.shard(0)?.meta(), cfg)?;
        }
        let plan = Plan::new(&tracks, cfg.run.seed, &cfg.data, cfg.run.batch)?;
        let steps_per_epoch =
            if cfg.run.steps_per_epoch == 0 { plan.steps_per_epoch() } else { cfg.run.steps_per_epoch };
        Ok(Self {
            anchors: Anchors::new(&cfg.model.anchors, cfg.model.response(cfg.model.train_search_px)),
            sides: Sides { template: cfg.model.exemplar_px as usize, search: cfg.model.train_search_px as usize },
            steps_per_epoch: steps_per_epoch.max(1),
            dataset,
            plan,
            cfg: cfg.clone(),
            limits: Limits::default(),
        })
    }

    /// The dataset.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Anchors of the search image.
    #[must_use]
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// Sides of the images.
    #[must_use]
    pub fn sides(&self) -> Sides {
        self.sides
    }

    /// Steps of one epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Epoch (from 1) of a step (from 0).
    #[must_use]
    pub fn epoch(&self, step: u64) -> u32 {
        u32::try_from(step / self.steps_per_epoch).unwrap_or(u32::MAX - 1) + 1
    }

    /// The batch of a step (from 0): a pure function of dataset, configuration and step.
    ///
    /// A row that cannot be read is replaced by the next readable row of its track, a pair without one by the next
    /// pair of the plan; both are counted.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] when there is no substitute either.
    pub fn batch(&self, step: u64) -> Result<Batch, LoadError> {
        let pairs = self.cfg.run.batch;
        let n = self.anchors.len();
        let bytes = |side: usize| Vec::with_capacity(pairs * side * side * 3);
        let mut batch = Batch {
            step,
            pairs,
            template: bytes(self.sides.template),
            search: bytes(self.sides.search),
            labels: Vec::with_capacity(pairs * n),
            deltas: Vec::with_capacity(pairs * 4 * n),
            targets: Vec::with_capacity(pairs),
            negative: Vec::with_capacity(pairs),
            substituted: 0,
        };
        for i in 0..pairs {
            self.add(step, i, &mut batch)?;
        }
        Ok(batch)
    }

    /// The pair at place `i` of a step.
    #[must_use]
    pub fn pair_at(&self, step: u64, i: usize) -> PairRef {
        self.plan.pair(self.epoch(step) - 1, step % self.steps_per_epoch, i)
    }

    fn add(&self, step: u64, i: usize, batch: &mut Batch) -> Result<(), LoadError> {
        let mut last = String::new();
        for attempt in 0..SUBSTITUTES {
            let pair = self.pair_at(step, i + attempt);
            match self.make(pair) {
                Ok((made, replaced)) => {
                    #[expect(clippy::cast_possible_truncation, reason = "labels are made in f32")]
                    let target = made.target.map(|v| v as f32);
                    let mut rng = Rng::new(key(&[pair.aug_key, 0x6c_6162]));
                    let labels = label(&self.anchors, target, &self.cfg.labels, pair.negative, &mut rng);
                    batch.template.extend_from_slice(&made.template.data);
                    batch.search.extend_from_slice(&made.search.data);
                    batch.labels.extend(labels.cls);
                    batch.deltas.extend(labels.reg);
                    batch.targets.push(target);
                    batch.negative.push(pair.negative);
                    batch.substituted += u64::from(replaced || attempt > 0);
                    return Ok(());
                }
                // What is whole but out of reach must not change which pairs are trained on.
                Err(PairError::Read(e @ ReadError::Unavailable { .. })) => return Err(e.into()),
                Err(e) => last = e.to_string(),
            }
        }
        Err(LoadError::Damaged { step, tried: SUBSTITUTES, last })
    }

    /// Reads, decodes and augments a pair; true when a neighbouring row stands in.
    fn make(&self, pair: PairRef) -> Result<(augment::Pair, bool), PairError> {
        let (_, template, a) = self.image(pair.template, Row::template)?;
        let (row, search, b) = self.image(pair.search, Row::search)?;
        let target = row.bbox().map(f64::from);
        let made = augment::pair(&template, &search, target, self.sides, &self.cfg.augment, pair.aug_key)?;
        Ok((made, a || b))
    }

    /// One image of a row, or of the next readable row of its track; true when another row stands in.
    fn image(&self, id: RowId, column: impl Fn(&Row) -> &[u8]) -> Result<(Row, Rgb, bool), PairError> {
        let first = self.read(id, &column);
        let error = match first {
            Ok((row, image)) => return Ok((row, image, false)),
            Err(e @ PairError::Read(ReadError::Unavailable { .. })) => return Err(e),
            Err(e) => e,
        };
        // Where the row lies in its track is known from the row itself; without that there is no neighbour.
        let row = self.dataset.row(id.shard, id.row).map_err(|_| error)?;
        let (place, length) = (row.row_in_track(), row.track_len());
        let first = id.row.saturating_sub(place);
        let mut last = PairError::Image(ImageError::Damaged("no other row in the track".to_owned()));
        for k in 1..length.min(SUBSTITUTE_ROWS + 1) {
            let next = RowId { shard: id.shard, row: first + (place + k) % length };
            match self.read(next, &column) {
                Ok((other, image)) if other.video() == row.video() && other.track() == row.track() => {
                    return Ok((other, image, true));
                }
                Ok(_) => {}
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn read(&self, id: RowId, column: &impl Fn(&Row) -> &[u8]) -> Result<(Row, Rgb), PairError> {
        let row = self.dataset.row(id.shard, id.row)?;
        row.check()?;
        let image = decode_image(column(&row), &self.limits)?;
        Ok((row, image))
    }
}

/// Worker threads that are ahead of the training loop.
#[derive(Debug)]
pub struct Loader {
    /// Queue of each worker. Emptied first when the loader is dropped: a worker that waits to send then ends.
    queues: Vec<Receiver<Result<Batch, LoadError>>>,
    /// Joined when the loader is dropped.
    workers: Vec<JoinHandle<()>>,
    steps: Range<u64>,
    start: u64,
}

/// Threads of a loader: `run.workers`, or all cores but one.
#[must_use]
pub fn threads(workers: usize) -> usize {
    match workers {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1)).max(1),
        n => n,
    }
}

impl Loader {
    /// Starts making the batches of `steps` (from 0) with the configuration's threads and queue length.
    ///
    /// # Errors
    /// [`LoadError::Thread`]; [`LoadError::Read`] when the cache of a dataset in object storage is too small.
    pub fn start(recipe: &Arc<Recipe>, steps: Range<u64>) -> Result<Self, LoadError> {
        let count = threads(recipe.cfg.run.workers);
        let ahead = recipe.cfg.run.prefetch.div_ceil(count).max(1);
        let epoch = steps.start..steps.end.min(steps.start.saturating_add(recipe.steps_per_epoch));
        recipe.dataset.prefetch(epoch, (count * (ahead + 1)) as u64, |step| {
            let pairs = (0..recipe.cfg.run.batch).map(move |i| recipe.pair_at(step, i));
            pairs.flat_map(|pair| [pair.template.shard, pair.search.shard])
        })?;
        let mut loader =
            Self { queues: Vec::with_capacity(count), workers: Vec::with_capacity(count), start: steps.start, steps };
        for number in 0..count {
            let (to, queue) = bounded(ahead);
            let recipe = Arc::clone(recipe);
            let own = (loader.steps.start + number as u64..loader.steps.end).step_by(count);
            let worker = std::thread::Builder::new()
                .name(format!("loader-{number}"))
                .spawn(move || work(&recipe, own, &to))
                .map_err(LoadError::Thread)?;
            loader.queues.push(queue);
            loader.workers.push(worker);
        }
        Ok(loader)
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, LoadError>;

    /// The batch of the next step, or what its worker met; `None` after the last step.
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.steps.next()?;
        let count = self.queues.len().max(1) as u64;
        let turn = usize::try_from((step - self.start) % count).unwrap_or_default();
        let received = self.queues.get(turn).map(Receiver::recv);
        Some(match received {
            Some(Ok(batch)) => batch,
            _ => Err(LoadError::WorkerGone),
        })
    }
}

fn work(recipe: &Recipe, steps: impl Iterator<Item = u64>, to: &Sender<Result<Batch, LoadError>>) {
    for step in steps {
        let batch = recipe.batch(step);
        let failed = batch.is_err();
        // A closed queue means that nobody waits any more.
        if to.send(batch).is_err() || failed {
            return;
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.queues.clear();
        for worker in self.workers.drain(..) {
            // A worker that panicked has been reported by next() already.
            let _panicked = worker.join();
        }
    }
}
