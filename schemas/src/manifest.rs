//! `dataset.json`, the commit point of a dataset, and the lines of `rejects.jsonl`.

use crate::build::BuildConfig;
use crate::format::FormatVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the manifest inside a dataset folder.
pub const MANIFEST_FILE: &str = "dataset.json";
/// Name of the index inside a dataset folder.
pub const INDEX_FILE: &str = "index.arrow";
/// Name of the folder of shards.
pub const SHARD_DIR: &str = "shards";
/// Name of the list of rejected inputs.
pub const REJECTS_FILE: &str = "rejects.jsonl";

/// Name of the list of augmentation keys of a dataset of pairs.
pub const PAIRS_FILE: &str = "pairs.arrow";

/// File name of shard number `shard`, inside [`SHARD_DIR`].
#[must_use]
pub fn shard_file(shard: u32) -> String {
    format!("shard-{shard:05}.arrow")
}

/// `dataset.json`: written last, so a folder that has it is a complete dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Format version of the dataset.
    pub format: FormatVersion,
    /// Program and version that wrote it.
    pub writer: String,
    /// blake3 over format, config hash and every shard's file name, rows and blake3: the dataset's identity.
    pub dataset_hash: String,
    /// blake3 of the effective configuration.
    pub config_hash: String,
    /// The effective configuration.
    pub config: BuildConfig,
    /// What was read.
    pub sources: Vec<SourceEntry>,
    /// Sums over all shards.
    pub totals: Totals,
    /// Every shard in order.
    pub shards: Vec<ShardEntry>,
    /// blake3 of `index.arrow`.
    pub index_blake3: String,
}

/// One source of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceEntry {
    /// The `dataset` label of its rows.
    pub dataset: String,
    /// Kind of source (`crops`, `sequences`, ...).
    pub kind: String,
    /// Last component of the path it was read from (full paths would make equal datasets differ).
    pub name: String,
    /// Side of its search crops in pixels.
    pub search_px: u32,
    /// True when the search column holds the source's own JPEG bytes.
    pub source_bytes: bool,
    /// Videos read.
    pub videos: u64,
    /// Tracks read.
    pub tracks: u64,
    /// Rows written.
    pub rows: u64,
}

/// Sums over a dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Videos with at least one row.
    pub videos: u64,
    /// Tracks with at least one row.
    pub tracks: u64,
    /// Rows (annotated frames of tracks).
    pub rows: u64,
    /// Bytes of all shard files.
    pub bytes: u64,
    /// Inputs rejected while building.
    pub rejects: u64,
}

/// One shard of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShardEntry {
    /// File name inside `shards/`.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Videos in it.
    pub videos: u64,
    /// Tracks in it.
    pub tracks: u64,
    /// Size of the file.
    pub bytes: u64,
    /// blake3 of the file, hexadecimal.
    pub blake3: String,
}

/// One line of `rejects.jsonl`: an input that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Reject {
    /// The `dataset` label of the source.
    pub dataset: String,
    /// Video it belongs to, empty when unknown.
    pub video: String,
    /// Track it belongs to, empty when unknown.
    pub track: String,
    /// Path of the input inside its source.
    pub path: String,
    /// Short machine-readable reason, for example `truncated-jpeg`.
    pub reason: String,
    /// What exactly was wrong.
    pub detail: String,
}
