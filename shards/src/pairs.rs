//! A sampler's pairs laid out in the order in which they are read: template and search crop side by side, epoch after
//! epoch, for disks and object stores where random reads are dear.
//!
//! ```text
//! DATASET/
//!   dataset.json   its config.pairs says what was drawn: source, seed, epochs, batch, data.*
//!   pairs.arrow    per pair, in order: aug_key u64, negative bool
//!   shards/        one row per pair: the template of one frame, search crop and box of the other
//! ```
//!
//! Every row is a track of its own; its track name says which pair it is and what its search crop shows. Batches made
//! from it are the bytes that the source dataset gives with the same configuration. A pair whose rows are damaged cannot
//! be laid out: the source must be whole.

use crate::plan::{PairRef, Plan, PlanError, RowId, Tracks};
use crate::reader::{Dataset, ReadError, Row, Shard};
use crate::writer::{Dictionaries, RowData, ShardWriter, WriteError, dataset_hash, write_atomic, write_index};
use arrow::array::{Array, BooleanArray, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use schemas::build::{BufferCompression, BuildConfig, PairsConfig};
use schemas::format::DATASET_FORMAT;
use schemas::manifest::{
    MANIFEST_FILE, Manifest, PAIRS_FILE, REJECTS_FILE, SHARD_DIR, ShardEntry, SourceEntry, Totals, shard_file,
};
use schemas::shard::{ROWS_PER_BATCH, ShardMeta};
use schemas::train::TrainConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a shard: about half a gigabyte.
const ROWS_PER_SHARD: u32 = 20_000;

/// Why pairs cannot be laid out or read.
#[derive(Debug, thiserror::Error)]
pub enum PairsError {
    /// The source cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No pairs can be drawn.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The target cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file beside the shards cannot be written or read.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The target folder is in use.
    #[error("{path} {reason}; choose another --out, or delete that folder to start over")]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// What is there.
        reason: String,
    },
    /// The source is itself a dataset of pairs.
    #[error("{0} is a dataset of pairs already: draw from the dataset it came from")]
    Nested(PathBuf),
    /// The epochs asked for make no sense.
    #[error("epochs {first}..{last}: expected first and last epoch, counted from 1, both included")]
    Epochs {
        /// First.
        first: u32,
        /// Last.
        last: u32,
    },
    /// The user asked to stop.
    #[error("interrupted; finished shards are kept: run the same command again to go on")]
    Interrupted,
}

fn file_error(path: &Path) -> impl Fn(String) -> PairsError {
    let path = path.to_owned();
    move |message| PairsError::File { path: path.clone(), message }
}

fn keys_schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("aug_key", DataType::UInt64, false),
        Field::new("negative", DataType::Boolean, false),
    ]))
}

/// Lays out the pairs of `epochs` (from 1) that a run with `cfg` would draw from `source`, into the folder `out`.
/// `proceed` is told the finished and all shards; when it answers false, the work stops.
///
/// An interrupted run goes on: shards that are there and whole are kept.
///
/// # Errors
/// [`PairsError`].
pub fn write(
    source: &Path,
    cfg: &TrainConfig,
    epochs: RangeInclusive<u32>,
    out: &Path,
    mut proceed: impl FnMut(u32, u32) -> bool,
) -> Result<Manifest, PairsError> {
    let (first, last) = (*epochs.start(), *epochs.end());
    if first == 0 || last < first {
        return Err(PairsError::Epochs { first, last });
    }
    let dataset = Dataset::open(source)?;
    if dataset.manifest().config.pairs.is_some() {
        return Err(PairsError::Nested(source.to_owned()));
    }
    let (tracks, _) = Tracks::drawn(&dataset, &cfg.data)?.split(cfg.data.validation_share);
    let plan = Plan::new(&tracks, cfg.run.seed, &cfg.data, cfg.run.batch)?.with_steps(cfg.run.steps_per_epoch)?;
    drop(tracks);
    let steps = if cfg.run.steps_per_epoch == 0 { plan.full_steps()? } else { cfg.run.steps_per_epoch };
    let order = Order { plan, first, pairs: steps * cfg.run.batch as u64, epochs: u64::from(last - first) + 1 };
    let io = |path: &Path, e: std::io::Error| file_error(path)(e.to_string());
    let shard_dir = out.join(SHARD_DIR);
    std::fs::create_dir_all(&shard_dir).map_err(|e| io(&shard_dir, e))?;
    let keys = order.keys()?;
    let mut config = dataset.manifest().config.clone();
    config.buffer_compression = BufferCompression::None;
    config.pairs = Some(PairsConfig {
        source_hash: dataset.manifest().dataset_hash.clone(),
        first_epoch: first,
        last_epoch: last,
        batch: cfg.run.batch as u64,
        steps_per_epoch: steps,
        seed: cfg.run.seed,
        data: cfg.data.clone(),
        rows_per_shard: ROWS_PER_SHARD,
        keys_blake3: blake3::hash(&keys).to_hex().to_string(),
    });
    let config_hash = hash(&config);
    occupied(out, &config_hash)?;
    let path = out.join(PAIRS_FILE);
    write_atomic(&path, &keys).map_err(|e| io(&path, e))?;
    let meta = ShardMeta {
        format: DATASET_FORMAT,
        shard: 0,
        shards: order.shards(),
        config_hash: config_hash.clone(),
        writer: dataset.manifest().writer.clone(),
        ..dataset.shard(0)?.meta().clone()
    };
    let mut shards = Vec::new();
    for shard in 0..order.shards() {
        if !proceed(shard, order.shards()) {
            return Err(PairsError::Interrupted);
        }
        let meta = ShardMeta { shard, ..meta.clone() };
        shards.push(match kept(out, &order, &meta) {
            Some(entry) => entry,
            None => order.shard(&dataset, &meta, out)?,
        });
    }
    let _done = proceed(order.shards(), order.shards());
    let index_blake3 = write_index(out, &shards)?;
    let path = out.join(REJECTS_FILE);
    write_atomic(&path, b"").map_err(|e| io(&path, e))?;
    let mut manifest = Manifest {
        format: DATASET_FORMAT,
        writer: meta.writer,
        dataset_hash: String::new(),
        config_hash,
        config,
        sources: sources(out, &dataset, &shards)?,
        totals: Totals {
            videos: shards.iter().map(|s| s.videos).sum(),
            tracks: shards.iter().map(|s| s.tracks).sum(),
            rows: shards.iter().map(|s| s.rows).sum(),
            bytes: shards.iter().map(|s| s.bytes).sum(),
            rejects: 0,
        },
        shards,
        index_blake3,
        derived: None,
    };
    manifest.dataset_hash = dataset_hash(&manifest);
    let path = out.join(MANIFEST_FILE);
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| file_error(&path)(e.to_string()))?;
    write_atomic(&path, &text).map_err(|e| io(&path, e))?;
    Ok(manifest)
}

fn hash(config: &BuildConfig) -> String {
    blake3::hash(serde_json::to_string(config).unwrap_or_default().as_bytes()).to_hex().to_string()
}

/// Refuses a folder that holds a finished dataset, or another one in the making.
fn occupied(out: &Path, config_hash: &str) -> Result<(), PairsError> {
    let refuse = |reason: &str| Err(PairsError::Occupied { path: out.to_owned(), reason: reason.to_owned() });
    if out.join(MANIFEST_FILE).exists() {
        return refuse("holds a complete dataset");
    }
    match Shard::open(&out.join(SHARD_DIR).join(shard_file(0))) {
        Ok(shard) if shard.meta().config_hash != config_hash => refuse("holds shards of another dataset"),
        _ => Ok(()),
    }
}

/// A shard that an earlier run has finished. It was renamed into place when whole, so its name vouches for it.
fn kept(out: &Path, order: &Order, meta: &ShardMeta) -> Option<ShardEntry> {
    let file = shard_file(meta.shard);
    let path = out.join(SHARD_DIR).join(&file);
    let shard = Shard::open(&path).ok()?;
    let rows = shard.rows() as u64;
    if shard.meta() != meta || rows != order.rows(meta.shard).count() as u64 {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap(&path).ok()?;
    let bytes = std::fs::metadata(&path).ok()?.len();
    Some(ShardEntry { file, rows, videos: 1, tracks: rows, bytes, blake3: hasher.finalize().to_hex().to_string() })
}

/// The source's labels with the rows that each has among the pairs.
fn sources(out: &Path, dataset: &Dataset, shards: &[ShardEntry]) -> Result<Vec<SourceEntry>, PairsError> {
    let mut rows: BTreeMap<String, (u64, BTreeSet<usize>)> = BTreeMap::new();
    for (number, entry) in shards.iter().enumerate() {
        let shard = Shard::open(&out.join(SHARD_DIR).join(&entry.file))?;
        for row in 0..shard.rows() {
            let (count, videos) = rows.entry(shard.row(row)?.dataset().to_owned()).or_default();
            *count += 1;
            videos.insert(number);
        }
    }
    let entry = |source: &SourceEntry| {
        let (count, videos) = rows.get(&source.dataset).cloned().unwrap_or_default();
        SourceEntry { rows: count, tracks: count, videos: videos.len() as u64, ..source.clone() }
    };
    Ok(dataset.manifest().sources.iter().map(entry).collect())
}

/// All pairs in order.
struct Order {
    plan: Plan,
    /// First epoch, from 1.
    first: u32,
    /// Pairs per epoch.
    pairs: u64,
    epochs: u64,
}

impl Order {
    /// Pair number `n` of the whole layout.
    fn pair(&self, n: u64) -> PairRef {
        let (step, i) = (n % self.pairs / self.plan.batch(), n % self.pairs % self.plan.batch());
        self.plan.pair(self.epoch(n) - 1, step, i as usize)
    }

    /// Its epoch, from 1.
    fn epoch(&self, n: u64) -> u32 {
        self.first + u32::try_from(n / self.pairs).unwrap_or(u32::MAX - self.first)
    }

    fn shards(&self) -> u32 {
        u32::try_from((self.epochs * self.pairs).div_ceil(u64::from(ROWS_PER_SHARD))).unwrap_or(u32::MAX)
    }

    /// Pair numbers of a shard.
    fn rows(&self, shard: u32) -> std::ops::Range<u64> {
        let first = u64::from(shard) * u64::from(ROWS_PER_SHARD);
        first..(first + u64::from(ROWS_PER_SHARD)).min(self.epochs * self.pairs)
    }

    /// The bytes of `pairs.arrow`.
    fn keys(&self) -> Result<Vec<u8>, PairsError> {
        let failed = |e: ArrowError| file_error(Path::new(PAIRS_FILE))(e.to_string());
        let schema = keys_schema();
        let mut file = FileWriter::try_new(Vec::new(), &schema).map_err(failed)?;
        for epoch in 0..self.epochs {
            let pairs = || (epoch * self.pairs..(epoch + 1) * self.pairs).map(|n| self.pair(n));
            let keys = UInt64Array::from_iter_values(pairs().map(|p| p.aug_key));
            let negative: BooleanArray = pairs().map(|p| Some(p.negative)).collect();
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(keys), Arc::new(negative)]);
            batch.and_then(|batch| file.write(&batch)).map_err(failed)?;
        }
        file.into_inner().map_err(failed)
    }

    /// Writes one shard.
    fn shard(&self, dataset: &Dataset, meta: &ShardMeta, out: &Path) -> Result<ShardEntry, PairsError> {
        let read = |id: RowId| -> Result<Row, ReadError> {
            let row = dataset.row(id.shard, id.row)?;
            row.check()?;
            Ok(row)
        };
        let video = format!("pairs-{:05}", meta.shard);
        let track = |n: u64, row: &Row| {
            format!("epoch-{:03} pair-{:07} {}/{}", self.epoch(n), n % self.pairs, row.video(), row.track())
        };
        let mut names = Dictionaries { video: [video.clone()].into(), ..Dictionaries::default() };
        for n in self.rows(meta.shard) {
            let search = self.pair(n).search;
            let row = dataset.row(search.shard, search.row)?;
            names.dataset.insert(row.dataset().to_owned());
            names.class.insert(row.class().to_owned());
            names.track.insert(track(n, &row));
        }
        let mut writer = ShardWriter::create(out, meta, &names, ROWS_PER_BATCH, BufferCompression::None)?;
        for n in self.rows(meta.shard) {
            let pair = self.pair(n);
            let (z, x) = (read(pair.template)?, read(pair.search)?);
            let [frame_w, frame_h] = x.frame_size();
            writer.push(RowData {
                dataset: x.dataset().to_owned(),
                video: video.clone(),
                track: track(n, &x),
                class: x.class().to_owned(),
                time_ms: x.time_ms(),
                flags: x.flags(),
                frame: x.frame(),
                row_in_track: 0,
                track_len: 1,
                bbox: x.bbox(),
                scale: x.scale(),
                frame_w,
                frame_h,
                pad: x.pad(),
                template: z.template().to_vec(),
                search: x.search().to_vec(),
            })?;
        }
        Ok(writer.finish()?)
    }
}

/// The pairs of a dataset that was laid out.
#[derive(Debug)]
pub struct Stored {
    config: PairsConfig,
    keys: Vec<u64>,
    negative: Vec<bool>,
}

impl Stored {
    /// The pairs of a dataset; nothing if it is an ordinary one.
    ///
    /// # Errors
    /// When the list of keys is missing or damaged.
    pub fn open(dataset: &Dataset) -> Result<Option<Self>, PairsError> {
        let Some(config) = dataset.manifest().config.pairs.clone() else { return Ok(None) };
        let path = dataset.path().join(PAIRS_FILE);
        let failed = file_error(&path);
        let bytes = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
        if blake3::hash(&bytes).to_hex().as_str() != config.keys_blake3 {
            return Err(failed("it is damaged: its blake3 is not what the manifest says".to_owned()));
        }
        let (mut keys, mut negative) = (Vec::new(), Vec::new());
        for batch in FileReader::try_new(std::io::Cursor::new(bytes), None).map_err(|e| failed(e.to_string()))? {
            let batch = batch.map_err(|e| failed(e.to_string()))?;
            let column = |n: usize| batch.columns().get(n).map(|c| c.as_any());
            let a = column(0).and_then(|c| c.downcast_ref::<UInt64Array>());
            let b = column(1).and_then(|c| c.downcast_ref::<BooleanArray>());
            let (Some(a), Some(b)) = (a, b) else { return Err(failed("its columns are not keys".to_owned())) };
            keys.extend_from_slice(a.values());
            negative.extend((0..b.len()).map(|i| b.value(i)));
        }
        if keys.len() as u64 != dataset.rows()
            || config.batch * config.steps_per_epoch == 0
            || config.rows_per_shard == 0
        {
            return Err(failed(format!("it has {} keys, the dataset has {} pairs", keys.len(), dataset.rows())));
        }
        Ok(Some(Self { config, keys, negative }))
    }

    /// What was laid out.
    #[must_use]
    pub fn config(&self) -> &PairsConfig {
        &self.config
    }

    /// Pair `i` of the batch at `step` of `epoch` (all from 0), as [`Plan::pair`]; behind the epoch's last pair comes its
    /// first one. `None` for an epoch that was not laid out.
    #[must_use]
    pub fn pair(&self, epoch: u32, step: u64, i: usize) -> Option<PairRef> {
        let pairs = self.config.batch * self.config.steps_per_epoch;
        let epoch = (epoch + 1).checked_sub(self.config.first_epoch)?;
        let n = u64::from(epoch) * pairs + (step * self.config.batch + i as u64) % pairs;
        let place = usize::try_from(n).ok()?;
        let per_shard = u64::from(self.config.rows_per_shard);
        let row = RowId { shard: u32::try_from(n / per_shard).ok()?, row: u32::try_from(n % per_shard).ok()? };
        let negative = *self.negative.get(place)?;
        Some(PairRef { template: row, search: row, negative, aug_key: *self.keys.get(place)? })
    }
}
