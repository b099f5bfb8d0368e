//! What is remembered between runs, in `DATASET/.ingest/`: what is being built, and which shards are finished.

use crate::config;
use crate::error::IngestError;
use crate::plan::Plan;
use crate::source::{Dropped, Label};
use crate::target::Target;
use schemas::build::BuildConfig;
use schemas::format::{DATASET_FORMAT, FormatVersion, writer_stamp};
use schemas::manifest::{Reject, SHARD_DIR, ShardEntry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shards::disk::Disk;
use std::fs::File;

/// Folder of these records inside a dataset.
pub const WORK_DIR: &str = ".ingest";
const BUILD_FILE: &str = "build.json";
const PARTS_FILE: &str = "parts.json";

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

/// Into how many parts the work was last divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Parts {
    count: u32,
}

/// The records of one dataset.
#[derive(Debug)]
pub struct Records<'a, D: Disk> {
    target: &'a Target<D>,
}

impl<'a, D: Disk> Records<'a, D> {
    /// Records of the dataset in `target`.
    #[must_use]
    pub fn new(target: &'a Target<D>) -> Self {
        Self { target }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, IngestError> {
        let bytes = self.target.read(&format!("{WORK_DIR}/{name}"))?;
        // A record that is not one (another version, a damaged disk) means the work is done again.
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), IngestError> {
        self.target.write(&format!("{WORK_DIR}/{name}"), &text(value))
    }

    /// What is being built here, if anything.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn build(&self) -> Result<Option<BuildRecord>, IngestError> {
        self.read(BUILD_FILE)
    }

    /// Remembers what is being built; returns what another machine began to build here at the same moment.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_build(&self, record: &BuildRecord) -> Result<Option<BuildRecord>, IngestError> {
        let there = self.target.create(&format!("{WORK_DIR}/{BUILD_FILE}"), &text(record))?;
        Ok(there.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Into how many parts the work was last divided, if it ever was.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn parts(&self) -> Result<Option<u32>, IngestError> {
        Ok(self.read::<Parts>(PARTS_FILE)?.map(|parts| parts.count))
    }

    /// Remembers into how many parts the work is divided: so that what is missing can be named by its part.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_parts(&self, count: u32) -> Result<(), IngestError> {
        self.write(PARTS_FILE, &Parts { count })
    }

    /// The record of a shard, if it was finished.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn shard(&self, shard: u32) -> Result<Option<ShardRecord>, IngestError> {
        self.read(&format!("shard-{shard:05}.json"))
    }

    /// Remembers a finished shard.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_shard(&self, shard: u32, record: &ShardRecord) -> Result<(), IngestError> {
        self.write(&format!("shard-{shard:05}.json"), record)
    }

    /// Whether the file of a finished shard is there with its size.
    ///
    /// # Errors
    /// When the object storage cannot be asked.
    pub fn has_size(&self, entry: &ShardEntry) -> Result<bool, IngestError> {
        Ok(self.target.size(&name_of(entry))? == Some(entry.bytes))
    }

    /// Whether the file of a finished shard is there with its size and, in a folder, its hash. An object is there whole
    /// or not at all and its record is written after it, so there its size is enough.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_intact(&self, entry: &ShardEntry) -> Result<bool, IngestError> {
        if !self.has_size(entry)? {
            return Ok(false);
        }
        if self.target.is_remote() {
            return Ok(true);
        }
        let path = self.target.local().join(name_of(entry));
        let mut hasher = blake3::Hasher::new();
        let file = File::open(&path).map_err(IngestError::io("read", &path))?;
        hasher.update_reader(file).map_err(IngestError::io("read", &path))?;
        Ok(hasher.finalize().to_hex().as_str() == entry.blake3)
    }
}

fn name_of(entry: &ShardEntry) -> String {
    format!("{SHARD_DIR}/{}", entry.file)
}

/// Where the index rows of a shard wait for the merge, in object storage.
#[must_use]
pub fn piece_name(shard: u32) -> String {
    format!("{WORK_DIR}/shard-{shard:05}.index.arrow")
}

fn text<T: Serialize>(value: &T) -> Vec<u8> {
    // Records are structs of numbers and strings, which always serialise; an empty record would be made again.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}
