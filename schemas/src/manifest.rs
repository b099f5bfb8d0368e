//! `dataset.json`, the commit point of a dataset, and the lines of `rejects.jsonl`.

use crate::build::BuildConfig;
use crate::format::FormatVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

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
    #[serde(deserialize_with = "known_keys")]
    pub config: BuildConfig,
    /// What was read.
    pub sources: Vec<SourceEntry>,
    /// Sums over all shards.
    pub totals: Totals,
    /// Every shard in order.
    pub shards: Vec<ShardEntry>,
    /// blake3 of `index.arrow`.
    pub index_blake3: String,
    /// How it was made from other datasets; absent when it was built from sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<Derived>,
}

/// How a dataset was made from others: the pictures are theirs, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Derived {
    /// What was done: `reshard`, `split`, `filter` or `merge`.
    pub operation: String,
    /// With which settings.
    pub settings: BTreeMap<String, String>,
    /// Program and version that did it.
    pub writer: String,
    /// The datasets it was made from.
    pub parents: Vec<Parent>,
}

/// A dataset that another was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parent {
    /// Last component of its path.
    pub name: String,
    /// Its identity.
    pub dataset_hash: String,
    /// Hash of the configuration it was built with.
    pub config_hash: String,
    /// Its rows.
    pub rows: u64,
    /// How it was made itself, if from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<Box<Derived>>,
}

/// Reads the configuration of a manifest without the keys that a later minor version may have added: a configuration
/// file with an unknown key is a mistake, a manifest with one is only newer.
fn known_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BuildConfig, D::Error> {
    use serde::de::Error as _;
    let mut found = serde_json::Map::deserialize(deserializer)?;
    if let Ok(serde_json::Value::Object(known)) = serde_json::to_value(BuildConfig::default()) {
        // Keys that are left out where they say nothing.
        const OPTIONAL: [&str; 2] = ["fast_decode", "pairs"];
        found.retain(|key, _| known.contains_key(key) || OPTIONAL.contains(&key.as_str()));
    }
    serde_json::from_value(found.into()).map_err(D::Error::custom)
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
