//! What is remembered between runs, in `DATASET/.ingest/`: what is being built, and which shards are finished.

use crate::config;
use crate::error::IngestError;
use crate::plan::Plan;
use crate::source::{Dropped, Label};
use schemas::build::BuildConfig;
use schemas::format::{DATASET_FORMAT, FormatVersion, writer_stamp};
use schemas::manifest::{Reject, SHARD_DIR, ShardEntry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shards::writer::write_atomic;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Folder of these records inside a dataset.
pub const WORK_DIR: &str = ".ingest";
const BUILD_FILE: &str = "build.json";

/// What is being built: written before the first shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// Format version of the dataset.
    pub format: FormatVersion,
    /// Program and version.
    pub writer: String,
    /// The effective configuration.
    pub config: BuildConfig,
    /// Labels of all sources, sorted.
    pub labels: Vec<Label>,
    /// Hash of the plan.
    pub plan: String,
    /// Number of shards.
    pub shards: u32,
    /// Videos planned.
    pub videos: u64,
    /// Rows planned.
    pub rows: u64,
}

impl BuildRecord {
    /// The record of a plan.
    #[must_use]
    pub fn new(plan: &Plan, config: &BuildConfig) -> Self {
        Self {
            format: DATASET_FORMAT,
            writer: writer_stamp("ingest"),
            config: config.clone(),
            labels: plan.labels.clone(),
            plan: plan.hash.clone(),
            shards: u32::try_from(plan.shards.len()).unwrap_or(u32::MAX),
            videos: plan.videos,
            rows: plan.rows,
        }
    }

    /// How `asked` differs from what is there, as a sentence; `None` if the two build the same dataset.
    #[must_use]
    pub fn difference(&self, asked: &Self) -> Option<String> {
        if (self.format, &self.writer) != (asked.format, &asked.writer) {
            let of = |r: &Self| format!("{} (format {})", r.writer, r.format);
            return Some(format!("it was begun by {}, this is {}", of(self), of(asked)));
        }
        let keys = config::differences(&self.config, &asked.config);
        if !keys.is_empty() {
            return Some(format!("it has another configuration: {}", keys.join("; ")));
        }
        if self.labels != asked.labels {
            let names = |r: &Self| {
                let all: Vec<String> =
                    r.labels.iter().map(|l| format!("{} ({} {})", l.dataset, l.kind, l.name)).collect();
                all.join(", ")
            };
            return Some(format!("it has the sources {}, asked for are {}", names(self), names(asked)));
        }
        let size = |r: &Self| format!("{} videos with {} rows", r.videos, r.rows);
        (self.plan != asked.plan).then(|| {
            format!("its sources have changed: it was begun with {}, they now offer {}", size(self), size(asked))
        })
    }
}

/// Rows of one label in one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Videos with at least one row.
    pub videos: u64,
    /// Tracks with at least one row.
    pub tracks: u64,
    /// Rows.
    pub rows: u64,
}

/// A finished shard: written after the shard itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Hash of the plan it belongs to.
    pub plan: String,
    /// Hash of the configuration it was built with.
    pub config_hash: String,
    /// Its manifest entry.
    pub entry: ShardEntry,
    /// Rows per label, in the order of [`BuildRecord::labels`].
    pub counts: Vec<Counts>,
    /// Annotations left out on purpose.
    pub dropped: Dropped,
    /// Inputs left out because they are bad, sorted.
    pub rejects: Vec<Reject>,
}

/// The records of one dataset folder.
#[derive(Debug, Clone)]
pub struct Records {
    out: PathBuf,
}

impl Records {
    /// Records of the dataset in `out`.
    #[must_use]
    pub fn new(out: &Path) -> Self {
        Self { out: out.to_owned() }
    }

    /// The folder they are in.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.out.join(WORK_DIR)
    }

    fn shard_file(&self, shard: u32) -> PathBuf {
        self.dir().join(format!("shard-{shard:05}.json"))
    }

    /// What is being built here, if anything.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn build(&self) -> Result<Option<BuildRecord>, IngestError> {
        read(&self.dir().join(BUILD_FILE))
    }

    /// Remembers what is being built.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_build(&self, record: &BuildRecord) -> Result<(), IngestError> {
        write(&self.dir().join(BUILD_FILE), record)
    }

    /// The record of a shard, if it was finished.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn shard(&self, shard: u32) -> Result<Option<ShardRecord>, IngestError> {
        read(&self.shard_file(shard))
    }

    /// Remembers a finished shard.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_shard(&self, shard: u32, record: &ShardRecord) -> Result<(), IngestError> {
        write(&self.shard_file(shard), record)
    }

    /// Whether the file of a finished shard is there with its size.
    #[must_use]
    pub fn has_size(&self, entry: &ShardEntry) -> bool {
        fs::metadata(self.path_of(entry)).is_ok_and(|meta| meta.is_file() && meta.len() == entry.bytes)
    }

    /// Whether the file of a finished shard is there with its size and hash.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_intact(&self, entry: &ShardEntry) -> Result<bool, IngestError> {
        if !self.has_size(entry) {
            return Ok(false);
        }
        let path = self.path_of(entry);
        let mut hasher = blake3::Hasher::new();
        let file = File::open(&path).map_err(IngestError::io("read", &path))?;
        hasher.update_reader(file).map_err(IngestError::io("read", &path))?;
        Ok(hasher.finalize().to_hex().as_str() == entry.blake3)
    }

    fn path_of(&self, entry: &ShardEntry) -> PathBuf {
        self.out.join(SHARD_DIR).join(&entry.file)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, IngestError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(IngestError::Io { action: "read", path: path.to_owned(), source }),
    };
    // A record that is not one (another version, a damaged disk) means the work is done again.
    Ok(serde_json::from_slice(&bytes).ok())
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), IngestError> {
    let fail = IngestError::io("write", path);
    let mut text = match serde_json::to_vec_pretty(value) {
        Ok(text) => text,
        Err(error) => return Err(fail(error.into())),
    };
    text.push(b'\n');
    write_atomic(path, &text).map_err(fail)
}
