//! Datasets made from datasets: laid out anew, split, filtered, merged.
//!
//! Each operation reads whole, complete datasets and writes a new one with the writer's promises: temporary names, sync,
//! rename, the manifest last. Pictures are copied byte for byte after their checksums were tested. The manifest says how
//! it was made and from what. An interrupted run is run again; a finished one does nothing the second time.

mod deal;
mod pool;
mod write;

pub use deal::{Item, deal, row_bytes};
pub use pool::{Key, Pool, Run, Video, Videos};

use crate::order::name_key;
use crate::query::{QueryError, Table};
use crate::reader::{Dataset, ReadError};
use crate::writer::WriteError;
use schemas::build::{BufferCompression, BuildConfig};
use schemas::format::writer_stamp;
use schemas::manifest::{Derived, Manifest, Parent, REJECTS_FILE, SourceEntry};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use write::{Job, recount, write};

/// Why no dataset was made.
#[derive(Debug, thiserror::Error)]
pub enum DeriveError {
    /// A dataset cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new dataset cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The filter cannot be answered.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The file system refused.
    #[error("could not {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The datasets do not fit the operation.
    #[error("{0}")]
    Parent(String),
    /// The folder cannot be written to.
    #[error("{path} cannot take the new dataset: {reason}; name an empty or new folder")]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// What is in the way.
        reason: String,
    },
    /// No row would be left.
    #[error("{path} would have no row: nothing was written")]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

impl DeriveError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// blake3 of a build configuration, hexadecimal: the configuration's identity. `max_rejects` decides only when to give
/// up, never the bytes, and is left out.
#[must_use]
pub fn config_hash(config: &BuildConfig) -> String {
    let neutral = BuildConfig { max_rejects: 0, ..config.clone() };
    // A struct of numbers and strings cannot fail to serialise; an error text would still be a stable hash input.
    let text = serde_json::to_string(&neutral).unwrap_or_else(|error| error.to_string());
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// How a dataset is to be laid out anew; what is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    /// Bytes a shard should have, about.
    pub shard_bytes: Option<u64>,
    /// Compression of shard buffers.
    pub buffer_compression: Option<BufferCompression>,
}

/// Who hears about progress: shards done, shards in all.
pub type Told<'a> = &'a mut dyn FnMut(usize, usize);

fn derived(operation: &str, settings: &[(&str, String)], parents: &[Dataset]) -> Derived {
    let parent = |dataset: &Dataset| {
        let manifest = dataset.manifest();
        let name = dataset.path().canonicalize().unwrap_or_else(|_| dataset.path().to_owned());
        Parent {
            name: name.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            dataset_hash: manifest.dataset_hash.clone(),
            config_hash: manifest.config_hash.clone(),
            rows: manifest.totals.rows,
            derived: manifest.derived.clone().map(Box::new),
        }
    };
    Derived {
        operation: operation.to_owned(),
        settings: settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        writer: writer_stamp("shards"),
        parents: parents.iter().map(parent).collect(),
    }
}

/// `rejects.jsonl` of all parents, sorted.
fn rejects(parents: &[Dataset]) -> Result<(Vec<u8>, u64), DeriveError> {
    let mut lines = Vec::new();
    for parent in parents {
        let file = parent.path().join(REJECTS_FILE);
        match std::fs::read_to_string(&file) {
            Ok(text) => lines.extend(text.lines().map(str::to_owned)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(DeriveError::io("read", &file)(e)),
        }
    }
    // One dataset's lines stay as they are: their order is the builder's.
    if parents.len() > 1 {
        lines.sort();
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Ok((text.into_bytes(), lines.len() as u64))
}

fn only(pool: &Pool) -> Result<&Dataset, DeriveError> {
    pool.parents.first().ok_or_else(|| DeriveError::Parent("no dataset is given".to_owned()))
}

/// Lays a dataset out anew: another shard size, other buffer compression. Laid out back, it has its first bytes.
///
/// # Errors
/// When the dataset is damaged or `out` cannot be written.
pub fn reshard(dataset: &Path, out: &Path, layout: Layout, told: Told<'_>) -> Result<Manifest, DeriveError> {
    let pool = Pool::open(&[dataset.to_owned()], |_, _| true)?;
    let manifest = only(&pool)?.manifest();
    let mut config = manifest.config.clone();
    config.shard_bytes = layout.shard_bytes.unwrap_or(config.shard_bytes).max(1);
    config.buffer_compression = layout.buffer_compression.unwrap_or(config.buffer_compression);
    let compression = format!("{:?}", config.buffer_compression).to_lowercase();
    let settings = [("shard_bytes", config.shard_bytes.to_string()), ("buffer_compression", compression)];
    let job = Job {
        derived: derived("reshard", &settings, &pool.parents),
        rejects: rejects(&pool.parents)?,
        sources: manifest.sources.clone(),
        config,
        parents: &pool.parents,
        videos: pool.videos,
    };
    write(&job, out, told)
}

/// Keeps the rows for which an SQL condition over the index's columns holds. Tracks are numbered anew.
///
/// # Errors
/// When the filter is no condition, no row is left, the dataset is damaged or `out` cannot be written.
pub fn filter(dataset: &Path, out: &Path, condition: &str, told: Told<'_>) -> Result<Manifest, DeriveError> {
    let kept = Table::read(dataset)?.ids(condition)?;
    let pool = Pool::open(&[dataset.to_owned()], |_, id| kept.binary_search(&id).is_ok())?;
    let job = Job {
        derived: derived("filter", &[("filter", condition.to_owned())], &pool.parents),
        rejects: (Vec::new(), 0),
        sources: recount(&pool, &pool.videos),
        config: only(&pool)?.manifest().config.clone(),
        parents: &pool.parents,
        videos: pool.videos,
    };
    write(&job, out, told)
}

/// Which videos of a dataset are for validation: of every `dataset` label the given share, rounded, chosen by a seeded
/// hash of their names, so that the choice for one video does not depend on the order of others.
fn validation(videos: &Videos, share: f64, seed: u64) -> Vec<Key> {
    let mut by_label: BTreeMap<&str, Vec<(u64, &Key)>> = BTreeMap::new();
    for key in videos.keys() {
        let place = name_key(&format!("split\0{}\0{}", key.0, key.1), seed);
        by_label.entry(&key.0).or_default().push((place, key));
    }
    let mut chosen = Vec::new();
    for (_, mut list) in by_label {
        list.sort();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the list's length")]
        let count = (list.len() as f64 * share).round() as usize;
        chosen.extend(list.into_iter().take(count).map(|(_, key)| key.clone()));
    }
    chosen
}

/// Splits a dataset by video into one for training and one for validation; returns their manifests.
///
/// # Errors
/// When the share leaves one side empty, the dataset is damaged or a folder cannot be written.
pub fn split(
    dataset: &Path,
    [train_out, validation_out]: [&Path; 2],
    share: f64,
    seed: u64,
    told: Told<'_>,
) -> Result<[Manifest; 2], DeriveError> {
    if !(share > 0.0 && share < 1.0) {
        return Err(DeriveError::Parent(format!("a share of {share} for validation is not between 0 and 1")));
    }
    if train_out == validation_out {
        return Err(DeriveError::Parent("training and validation need two folders".to_owned()));
    }
    let mut pool = Pool::open(&[dataset.to_owned()], |_, _| true)?;
    let mut held = Videos::new();
    for key in validation(&pool.videos, share, seed) {
        held.extend(pool.videos.remove_entry(&key));
    }
    if held.is_empty() || pool.videos.is_empty() {
        return Err(DeriveError::Parent(format!(
            "a share of {share} of {} videos leaves one side empty: choose another",
            held.len() + pool.videos.len()
        )));
    }
    let config = only(&pool)?.manifest().config.clone();
    let mut make = |side: &str, videos: Videos, out: &Path| {
        let settings = [("share", share.to_string()), ("seed", seed.to_string()), ("side", side.to_owned())];
        let job = Job {
            derived: derived("split", &settings, &pool.parents),
            rejects: (Vec::new(), 0),
            sources: recount(&pool, &videos),
            config: config.clone(),
            parents: &pool.parents,
            videos,
        };
        write(&job, out, &mut *told)
    };
    let train = make("train", pool.videos.clone(), train_out)?;
    Ok([train, make("validation", held, validation_out)?])
}

/// Merges datasets of one crop geometry whose videos differ. Layout and seed are the first one's; the lowest JPEG
/// quality is recorded.
///
/// # Errors
/// When they do not fit together, are damaged, or `out` cannot be written.
pub fn merge(datasets: &[PathBuf], out: &Path, told: Told<'_>) -> Result<Manifest, DeriveError> {
    let pool = Pool::open(datasets, |_, _| true)?;
    let mut config = only(&pool)?.manifest().config.clone();
    let mut sources: Vec<SourceEntry> = Vec::new();
    for parent in &pool.parents {
        config.jpeg_quality = config.jpeg_quality.min(parent.manifest().config.jpeg_quality);
        for source in &parent.manifest().sources {
            let same =
                |s: &&mut SourceEntry| (&s.dataset, &s.kind, &s.name) == (&source.dataset, &source.kind, &source.name);
            match sources.iter_mut().find(same) {
                Some(there) => {
                    there.videos += source.videos;
                    there.tracks += source.tracks;
                    there.rows += source.rows;
                }
                None => sources.push(source.clone()),
            }
        }
    }
    sources.sort_by(|a, b| (&a.dataset, &a.kind, &a.name).cmp(&(&b.dataset, &b.kind, &b.name)));
    let job = Job {
        derived: derived("merge", &[], &pool.parents),
        rejects: rejects(&pool.parents)?,
        sources,
        config,
        parents: &pool.parents,
        videos: pool.videos,
    };
    write(&job, out, told)
}
