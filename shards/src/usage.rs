//! Where a dataset's bytes are: files, pictures by column and `dataset` label.

use crate::reader::{Dataset, ReadError};
use schemas::manifest::{INDEX_FILE, MANIFEST_FILE, REJECTS_FILE};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of the rows of one `dataset` label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LabelUsage {
    /// Rows.
    pub rows: u64,
    /// Bytes of their templates.
    pub template: u64,
    /// Bytes of their search crops.
    pub search: u64,
}

/// Bytes of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Bytes of all files.
    pub total: u64,
    /// Bytes of the shard files.
    pub shards: u64,
    /// Bytes of the index.
    pub index: u64,
    /// Bytes of manifest and rejects.
    pub other: u64,
    /// Bytes of all pictures, unpacked.
    pub pictures: u64,
    /// By `dataset` label.
    pub datasets: BTreeMap<String, LabelUsage>,
}

/// Adds up a dataset's bytes; pictures are not read, only their lengths.
///
/// # Errors
/// When a shard cannot be read.
pub fn usage(path: &Path) -> Result<Usage, ReadError> {
    let dataset = Dataset::open(path)?;
    let size = |name: &str| std::fs::metadata(path.join(name)).map_or(0, |meta| meta.len());
    let mut usage = Usage {
        index: size(INDEX_FILE),
        other: size(MANIFEST_FILE) + size(REJECTS_FILE),
        shards: dataset.manifest().shards.iter().map(|entry| entry.bytes).sum(),
        ..Usage::default()
    };
    usage.total = usage.index + usage.other + usage.shards;
    for number in 0..dataset.manifest().shards.len() {
        let shard = dataset.shard(number)?;
        for at in 0..shard.rows() {
            let row = shard.row(at)?;
            let (template, search) = (row.template().len() as u64, row.search().len() as u64);
            usage.pictures += template + search;
            if !usage.datasets.contains_key(row.dataset()) {
                usage.datasets.insert(row.dataset().to_owned(), LabelUsage::default());
            }
            if let Some(label) = usage.datasets.get_mut(row.dataset()) {
                label.rows += 1;
                label.template += template;
                label.search += search;
            }
        }
    }
    Ok(usage)
}
