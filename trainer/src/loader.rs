//! From a dataset to batches: worker threads read, decode, augment and label ahead of the training loop.
//!
//! ```text
//! step s  ->  worker s mod W  ->  bounded queue of that worker  ->  next() takes the queues in turn
//! ```
//!
//! Which pairs make up a step, and every random number in it, are pure functions of seed and step, so batches are the
//! same whatever the number of threads, and they arrive in the order of the steps. A full queue stops its worker; a
//! dropped loader closes the queues and joins all workers.

use crate::augment::{Augment, AugmentError, Sides, Workspace};
use crate::fit::{self, FitError};
use crossbeam_channel::{Receiver, Sender, bounded};
use schemas::train::{DataConfig, TrainConfig};
use shards::image::ImageError;
use shards::jpeg::{Decoder, Limits};
use shards::order::{Rng, key};
use shards::pairs::{PairsError, Stored};
use shards::plan::{PairRef, Plan, PlanError, RowId};
use shards::reader::{ReadError, Row};
use shards::union::{Union, UnionError};
use siamrpn::anchors::Anchors;
use siamrpn::labels::Labeller;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

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
    /// Several datasets do not go together.
    #[error(transparent)]
    Union(UnionError),
    /// No pairs can be drawn.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Dataset and configuration do not fit.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// Pairs that were laid out cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairsError),
    /// The dataset has no pairs for this epoch.
    #[error(
        "the pairs of epoch {epoch} were not laid out, those of {first}..{last} were: run `ingest pairs` for more epochs, or \
         train on the dataset they were drawn from"
    )]
    Epoch {
        /// The epoch, from 1.
        epoch: u32,
        /// First epoch there is.
        first: u32,
        /// Last epoch there is.
        last: u32,
    },
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
    /// Nothing is held out.
    #[error(
        "no video of {path} with two usable rows is held out for validation at data.validation_share = {share}: raise it, \
         set it to 0, or name another dataset with --validation", path = path.display()
    )]
    Nothing {
        /// The dataset.
        path: PathBuf,
        /// The share.
        share: f64,
    },
    /// A worker thread could not be started.
    #[error("starting a loader thread failed: {0}; lower run.workers")]
    Thread(std::io::Error),
    /// A worker ended although its steps are not done.
    #[error("a loader thread ended before its work was done; this is a defect, please report it")]
    WorkerGone,
}

impl From<UnionError> for LoadError {
    fn from(error: UnionError) -> Self {
        match error {
            UnionError::Read(error) => Self::Read(error),
            error => Self::Union(error),
        }
    }
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

/// What a worker's time goes to; the numbers of [`Recipe::times`] are in this order.
pub const STAGES: [&str; 5] = ["read", "decode", "resample", "label", "other"];

/// A clock that is read between stages.
#[derive(Debug)]
struct Laps {
    last: Instant,
    nanos: [u64; STAGES.len()],
}

impl Laps {
    fn new() -> Self {
        Self { last: Instant::now(), nanos: [0; STAGES.len()] }
    }

    /// The time since the last call belongs to stage `number` of [`STAGES`].
    fn end(&mut self, number: usize) {
        let now = Instant::now();
        if let Some(slot) = self.nanos.get_mut(number) {
            *slot += u64::try_from((now - self.last).as_nanos()).unwrap_or(u64::MAX);
        }
        self.last = now;
    }
}

/// What a worker keeps from pair to pair, so that nothing is allocated for one.
#[derive(Debug)]
pub struct Hands {
    decoder: Decoder,
    workspace: Workspace,
    labeller: Labeller,
    laps: Laps,
}

/// The images and labels of one step.
#[derive(Debug, Clone, PartialEq, Default)]
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

/// Where the order of pairs comes from.
#[derive(Debug)]
enum Order {
    /// Drawn from a dataset of tracks.
    Drawn(Plan),
    /// Laid out by `ingest pairs`.
    Stored(Stored),
}

/// Everything a worker needs to make the batch of any step.
#[derive(Debug)]
pub struct Recipe {
    data: Union,
    order: Order,
    left_out: u64,
    cfg: TrainConfig,
    anchors: Anchors,
    sides: Sides,
    steps_per_epoch: u64,
    limits: Limits,
    /// Nanoseconds per stage, all workers together.
    times: [AtomicU64; STAGES.len()],
}

/// Seed of the pairs of validations: the same for all runs.
const VALIDATION: u64 = 0x7661_6c69;

/// The datasets at `paths` as one, if they fit the configuration.
fn opened<P: AsRef<Path>>(paths: &[P], cfg: &TrainConfig) -> Result<Union, LoadError> {
    let data = Union::open(paths)?;
    for dataset in data.datasets().filter(|dataset| !dataset.manifest().shards.is_empty()) {
        fit::check(dataset, dataset.shard(0)?.meta(), cfg)?;
    }
    Ok(data)
}

impl Recipe {
    /// Opens the dataset at `path` and checks that it fits the configuration. Videos that are held out are not drawn.
    ///
    /// # Errors
    /// [`LoadError`] when the dataset cannot be read, does not fit, or has nothing to draw.
    pub fn open(path: &Path, cfg: &TrainConfig) -> Result<Self, LoadError> {
        Self::open_all(&[path], cfg)
    }

    /// As [`Recipe::open`], of several datasets that are read as one.
    ///
    /// # Errors
    /// As [`Recipe::open`], and [`LoadError::Union`] when they do not go together.
    pub fn open_all<P: AsRef<Path>>(paths: &[P], cfg: &TrainConfig) -> Result<Self, LoadError> {
        let data = opened(paths, cfg)?;
        let stored = match data.only() {
            Some(dataset) => Stored::open(dataset)?.map(|stored| (dataset, stored)),
            None => None,
        };
        let (order, full_steps, left_out) = match stored {
            Some((dataset, stored)) => {
                fit::check_order(dataset, stored.config(), cfg)?;
                let steps = stored.config().steps_per_epoch;
                (Order::Stored(stored), steps, 0)
            }
            None => {
                let (tracks, _) = data.tracks(&cfg.data)?.split(cfg.data.validation_share);
                let plan = Plan::new(&tracks, cfg.run.seed, &cfg.data, cfg.run.batch)?;
                let plan = plan.with_steps(cfg.run.steps_per_epoch)?;
                let steps = plan.steps_per_epoch();
                (Order::Drawn(plan), steps, tracks.left_out())
            }
        };
        let steps_per_epoch = match cfg.run.steps_per_epoch {
            0 => full_steps,
            given => given,
        };
        Ok(Self::new(data, order, steps_per_epoch, left_out, cfg))
    }

    /// The pairs of a validation: of the videos that [`Recipe::open_all`] leaves out, or of all videos where `whole` says
    /// so. Its steps are those of one long epoch.
    ///
    /// # Errors
    /// As [`Recipe::open_all`]; [`LoadError::Nothing`] when there is no such video.
    pub fn validation<P: AsRef<Path>>(paths: &[P], cfg: &TrainConfig, whole: bool) -> Result<Self, LoadError> {
        let data = opened(paths, cfg)?;
        // An epoch may be asked to have any length in training; here it has as many pairs as there are.
        let drawn = DataConfig { pairs_per_epoch: 0, share_by_dataset: BTreeMap::new(), ..cfg.data.clone() };
        let tracks = data.tracks(&drawn)?;
        let share = cfg.data.validation_share;
        let tracks = if whole { tracks } else { tracks.split(share).1 };
        let plan = Plan::new(&tracks, VALIDATION, &drawn, cfg.run.batch).map_err(|_| LoadError::Nothing {
            path: paths.first().map(|p| p.as_ref().to_path_buf()).unwrap_or_default(),
            share,
        })?;
        Ok(Self::new(data, Order::Drawn(plan), u64::MAX, tracks.left_out(), cfg))
    }

    fn new(data: Union, order: Order, steps_per_epoch: u64, left_out: u64, cfg: &TrainConfig) -> Self {
        Self {
            anchors: Anchors::new(&cfg.model.anchors, cfg.model.response(cfg.model.train_search_px)),
            sides: Sides { template: cfg.model.exemplar_px as usize, search: cfg.model.train_search_px as usize },
            steps_per_epoch,
            data,
            order,
            left_out,
            cfg: cfg.clone(),
            limits: Limits::default(),
            times: [const { AtomicU64::new(0) }; STAGES.len()],
        }
    }

    /// The dataset, or several as one.
    #[must_use]
    pub fn dataset(&self) -> &Union {
        &self.data
    }

    /// Are the pairs drawn from all rows, and not laid out already?
    #[must_use]
    pub fn draws(&self) -> bool {
        matches!(self.order, Order::Drawn(_))
    }

    /// Rows that are not drawn because of their flags, or their target's shape or size.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
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
        let mut batch = Batch::default();
        self.fill(step, &mut self.hands(), &mut batch)?;
        Ok(batch)
    }

    /// What one worker needs.
    #[must_use]
    pub fn hands(&self) -> Hands {
        Hands {
            decoder: Decoder::default(),
            workspace: Workspace::default(),
            labeller: Labeller::new(&self.anchors),
            laps: Laps::new(),
        }
    }

    /// As [`Recipe::batch`], into the buffers of an old batch.
    ///
    /// # Errors
    /// As [`Recipe::batch`].
    pub fn fill(&self, step: u64, hands: &mut Hands, batch: &mut Batch) -> Result<(), LoadError> {
        hands.laps = Laps::new();
        let (pairs, n) = (self.cfg.run.batch, self.anchors.len());
        let image = |side: usize| side * side * 3;
        (batch.step, batch.pairs, batch.substituted) = (step, pairs, 0);
        // Every byte is written anew; an old batch of the same run has the lengths already.
        batch.template.resize(pairs * image(self.sides.template), 0);
        batch.search.resize(pairs * image(self.sides.search), 0);
        batch.labels.resize(pairs * n, 0);
        batch.deltas.resize(pairs * 4 * n, 0.0);
        batch.targets.clear();
        batch.negative.clear();
        let images = batch
            .template
            .chunks_exact_mut(image(self.sides.template))
            .zip(batch.search.chunks_exact_mut(image(self.sides.search)));
        let labels = batch.labels.chunks_exact_mut(n).zip(batch.deltas.chunks_exact_mut(4 * n));
        for (i, (images, labels)) in images.zip(labels).enumerate() {
            let (pair, target, replaced) = self.add(step, i, hands, images)?;
            let mut rng = Rng::new(key(&[pair.aug_key, 0x6c_6162]));
            hands.laps.end(4);
            hands.labeller.label(&self.anchors, target, &self.cfg.labels, pair.negative, &mut rng, labels);
            hands.laps.end(3);
            batch.targets.push(target);
            batch.negative.push(pair.negative);
            batch.substituted += u64::from(replaced);
        }
        hands.laps.end(4);
        for (total, nanos) in self.times.iter().zip(hands.laps.nanos) {
            total.fetch_add(nanos, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Nanoseconds that all workers have spent so far on each of [`STAGES`].
    #[must_use]
    pub fn times(&self) -> [u64; STAGES.len()] {
        std::array::from_fn(|i| self.times.get(i).map_or(0, |t| t.load(Ordering::Relaxed)))
    }

    /// The pair at place `i` of a step.
    ///
    /// # Errors
    /// [`LoadError::Epoch`] when the dataset holds the pairs of other epochs only.
    pub fn pair_at(&self, step: u64, i: usize) -> Result<PairRef, LoadError> {
        let (epoch, in_epoch) = (self.epoch(step), step % self.steps_per_epoch);
        match &self.order {
            Order::Drawn(plan) => Ok(plan.pair(epoch - 1, in_epoch, i)),
            Order::Stored(stored) => stored.pair(epoch - 1, in_epoch, i).ok_or_else(|| {
                let (first, last) = (stored.config().first_epoch, stored.config().last_epoch);
                LoadError::Epoch { epoch, first, last }
            }),
        }
    }

    /// Makes the images of the pair at place `i`, or of a substitute; answers the pair, its target in the search image,
    /// and whether anything stands in for it.
    fn add(
        &self,
        step: u64,
        i: usize,
        hands: &mut Hands,
        (template, search): (&mut [u8], &mut [u8]),
    ) -> Result<(PairRef, [f32; 4], bool), LoadError> {
        let mut last = String::new();
        for attempt in 0..SUBSTITUTES {
            let pair = self.pair_at(step, i + attempt)?;
            let augment = Augment::new(self.sides, &self.cfg.augment, pair.aug_key);
            let mut make = || -> Result<([f64; 4], bool), PairError> {
                let (_, a) = self.draw(pair.template, Side::Template, &augment, hands, template)?;
                let (target, b) = self.draw(pair.search, Side::Search, &augment, hands, search)?;
                Ok((target, a || b))
            };
            match make() {
                #[expect(clippy::cast_possible_truncation, reason = "labels are made in f32")]
                Ok((target, replaced)) => return Ok((pair, target.map(|v| v as f32), replaced || attempt > 0)),
                // What is whole but out of reach must not change which pairs are trained on.
                Err(PairError::Read(e @ ReadError::Unavailable { .. })) => return Err(e.into()),
                Err(e) => last = e.to_string(),
            }
        }
        Err(LoadError::Damaged { step, tried: SUBSTITUTES, last })
    }

    /// One image of a row, or of the next readable row of its track; answers the target in it, and whether another row
    /// stands in.
    fn draw(
        &self,
        id: RowId,
        side: Side,
        augment: &Augment,
        hands: &mut Hands,
        out: &mut [u8],
    ) -> Result<([f64; 4], bool), PairError> {
        let error = match self.draw_row(id, None, side, augment, hands, out) {
            Ok(target) => return Ok((target, false)),
            Err(e @ PairError::Read(ReadError::Unavailable { .. })) => return Err(e),
            Err(e) => e,
        };
        // Where the row lies in its track is known from the row itself; without that there is no neighbour.
        let row = self.data.row(id.shard, id.row).map_err(|_| error)?;
        let (place, length) = (row.row_in_track(), row.track_len());
        let first = id.row.saturating_sub(place);
        let mut last = PairError::Image(ImageError::Damaged("no other row in the track".to_owned()));
        for k in 1..length.min(SUBSTITUTE_ROWS + 1) {
            let next = RowId { shard: id.shard, row: first + (place + k) % length };
            match self.draw_row(next, Some(&row), side, augment, hands, out) {
                Ok(target) => return Ok((target, true)),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Reads, decodes and augments one image; `track` is a row whose track the row must be of.
    fn draw_row(
        &self,
        id: RowId,
        track: Option<&Row>,
        side: Side,
        augment: &Augment,
        hands: &mut Hands,
        out: &mut [u8],
    ) -> Result<[f64; 4], PairError> {
        hands.laps.end(4);
        let row = self.data.row(id.shard, id.row)?;
        if track.is_some_and(|other| other.video() != row.video() || other.track() != row.track()) {
            return Err(PairError::Image(ImageError::Damaged("the next row is of another track".to_owned())));
        }
        row.check()?;
        hands.laps.end(0);
        let bytes = match side {
            Side::Template => row.template(),
            Side::Search => row.search(),
        };
        let mut image = None;
        let choose = |width: usize, height: usize| -> Result<_, PairError> {
            let laid = match side {
                Side::Template => augment.template(width, height),
                Side::Search => augment.search(width, height),
            }?;
            image = Some(laid);
            Ok(laid.part())
        };
        let pixels = hands.decoder.part(bytes, &self.limits, choose)?;
        hands.laps.end(1);
        let image = image.ok_or_else(|| ImageError::Damaged("no size".to_owned()))?;
        let target = match side {
            Side::Template => [0.0; 4],
            Side::Search => image.target(row.bbox().map(f64::from))?,
        };
        image.draw(pixels, &mut hands.workspace, out);
        hands.laps.end(2);
        Ok(target)
    }
}

/// Which image of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Template,
    Search,
}

/// Worker threads that are ahead of the training loop.
#[derive(Debug)]
pub struct Loader {
    /// Queue of each worker. Emptied first when the loader is dropped: a worker that waits to send then ends.
    queues: Vec<Receiver<Result<Batch, LoadError>>>,
    /// Batches that have done their service; the workers fill them again.
    spent: (Sender<Batch>, Receiver<Batch>),
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
        let mut loader = Self {
            queues: Vec::with_capacity(count),
            spent: bounded(count * (ahead + 1)),
            workers: Vec::with_capacity(count),
            start: steps.start,
            steps,
        };
        let from = loader.steps.start;
        let epoch = from..loader.steps.end.min(from.saturating_add(recipe.steps_per_epoch));
        recipe.data.prefetch(epoch, (count * (ahead + 1)) as u64, |step| {
            // A step that has no pairs says so when it is its turn.
            let pairs = (0..recipe.cfg.run.batch).filter_map(move |i| recipe.pair_at(step, i).ok());
            pairs.flat_map(|pair| [pair.template.shard, pair.search.shard])
        })?;
        for number in 0..count {
            let (to, queue) = bounded(ahead);
            let (recipe, spent) = (Arc::clone(recipe), loader.spent.1.clone());
            let own = (loader.steps.start + number as u64..loader.steps.end).step_by(count);
            let worker = std::thread::Builder::new()
                .name(format!("loader-{number}"))
                .spawn(move || work(&recipe, own, &spent, &to))
                .map_err(LoadError::Thread)?;
            loader.queues.push(queue);
            loader.workers.push(worker);
        }
        Ok(loader)
    }

    /// Takes a batch back whose service is done: the next one is made in its memory.
    pub fn give_back(&self, batch: Batch) {
        // With more batches under way than the workers can use, the rest is freed.
        let _freed = self.spent.0.try_send(batch);
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

fn work(
    recipe: &Recipe,
    steps: impl Iterator<Item = u64>,
    spent: &Receiver<Batch>,
    to: &Sender<Result<Batch, LoadError>>,
) {
    let mut hands = recipe.hands();
    for step in steps {
        let mut batch = spent.try_recv().unwrap_or_default();
        let batch = recipe.fill(step, &mut hands, &mut batch).map(|()| batch);
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
