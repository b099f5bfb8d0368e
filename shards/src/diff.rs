//! What differs between two datasets: settings, then rows by dataset, video, track and frame, wherever they lie.

use crate::reader::{Dataset, Index, ReadError, Row};
use schemas::shard::split_sample_id;
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

/// Examples named of each kind.
const EXAMPLES: usize = 10;

/// How two datasets differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// True when files and rows are the same, bit for bit.
    pub identical: bool,
    /// Settings that differ, with both values.
    pub config: Vec<String>,
    /// Rows in both.
    pub common: u64,
    /// Rows of the first that the second lacks.
    pub only_first: u64,
    /// Rows of the second that the first lacks.
    pub only_second: u64,
    /// Common rows whose columns or pictures differ.
    pub changed: u64,
    /// Common rows whose pictures differ.
    pub pictures_changed: u64,
    /// Some rows of each kind.
    pub examples: Vec<String>,
}

impl Difference {
    /// Do both hold the same rows?
    #[must_use]
    pub fn same_rows(&self) -> bool {
        self.only_first == 0 && self.only_second == 0 && self.changed == 0
    }

    fn example(&mut self, count: u64, what: &str, row: &Row) {
        if count <= EXAMPLES as u64 {
            let line = format!("{what}: {} {} track {} frame {}", row.dataset(), row.video(), row.track(), row.frame());
            self.examples.push(line);
        }
    }
}

/// Compares two datasets. Rows are paired through the indexes; values and checksums come from the shards.
///
/// # Errors
/// When one of them cannot be read.
pub fn diff(first: &Path, second: &Path) -> Result<Difference, ReadError> {
    let (a, b) = (Dataset::open(first)?, Dataset::open(second)?);
    let (ma, mb) = (a.manifest(), b.manifest());
    let mut found = Difference { config: settings(&a, &b), ..Difference::default() };
    if ma.dataset_hash == mb.dataset_hash && ma.index_blake3 == mb.index_blake3 {
        found.common = ma.totals.rows;
        found.identical = true;
        return Ok(found);
    }
    let mut places: HashMap<u128, u64> =
        HashMap::with_capacity(usize::try_from(mb.totals.rows).unwrap_or(0).min(1 << 24));
    let mut seen: HashMap<u128, u32> = HashMap::new();
    Index::read(second)?.for_each(|row| {
        places.insert(numbered(&mut seen, row), row.sample_id());
    });
    seen.clear();
    let row_at = |dataset: &Dataset, id: u64| {
        let (shard, row) = split_sample_id(id);
        dataset.row(shard, row)
    };
    let mut failed = None;
    Index::read(first)?.for_each(|line| {
        if failed.is_some() {
            return;
        }
        let other = places.remove(&numbered(&mut seen, line));
        let mut compare = || -> Result<(), ReadError> {
            let row = row_at(&a, line.sample_id())?;
            let Some(other) = other else {
                found.only_first += 1;
                found.example(found.only_first, "only in the first", &row);
                return Ok(());
            };
            found.common += 1;
            let other = row_at(&b, other)?;
            let columns = values(&row) == values(&other);
            let pictures = row.crc() == other.crc();
            found.pictures_changed += u64::from(!pictures);
            if !(columns && pictures) {
                found.changed += 1;
                let what = match (columns, pictures) {
                    (true, _) => "other pictures",
                    (_, true) => "other values",
                    _ => "other values and pictures",
                };
                found.example(found.changed, what, &row);
            }
            Ok(())
        };
        failed = compare().err();
    });
    if let Some(e) = failed {
        return Err(e);
    }
    let mut left: Vec<u64> = places.into_values().collect();
    left.sort_unstable();
    for id in left {
        found.only_second += 1;
        if found.only_second <= EXAMPLES as u64 {
            let row = row_at(&b, id)?;
            found.example(found.only_second, "only in the second", &row);
        }
    }
    Ok(found)
}

/// The row's name; a frame that a track has twice is told apart by its turn.
fn numbered(seen: &mut HashMap<u128, u32>, row: crate::reader::IndexRow<'_>) -> u128 {
    let names = ["dataset", "video", "track"].map(|column| row.name(column)).join("\0");
    let base = xxh3_128(format!("{names}\0{}", row.word("frame")).as_bytes());
    // Only the first row of a track, and rows of the same frame, need a turn: others follow a smaller frame.
    let turn = seen.entry(base).or_default();
    *turn += 1;
    if *turn == 1 { base } else { xxh3_128(format!("{base}\0{turn}").as_bytes()) }
}

/// Everything of a row but its place and its pictures. Floats by their bits.
fn values(row: &Row) -> (String, i64, u8, [u32; 2], [u32; 6], [u16; 2]) {
    let [x, y, w, h] = row.bbox().map(f32::to_bits);
    let floats = [x, y, w, h, row.scale().to_bits(), row.pad().to_bits()];
    let place = [row.row_in_track(), row.track_len()];
    (row.class().to_owned(), row.time_ms(), row.flags(), place, floats, row.frame_size())
}

fn settings(a: &Dataset, b: &Dataset) -> Vec<String> {
    let (ma, mb) = (a.manifest(), b.manifest());
    let mut lines = Vec::new();
    if let (Ok(serde_json::Value::Object(x)), Ok(serde_json::Value::Object(y))) =
        (serde_json::to_value(&ma.config), serde_json::to_value(&mb.config))
    {
        for (key, value) in &x {
            if let Some(other) = y.get(key).filter(|other| *other != value) {
                lines.push(format!("{key}: {value} and {other}"));
            }
        }
    }
    for (what, x, y) in [
        ("format", ma.format.to_string(), mb.format.to_string()),
        ("shards", ma.shards.len().to_string(), mb.shards.len().to_string()),
    ] {
        if x != y {
            lines.push(format!("{what}: {x} and {y}"));
        }
    }
    lines
}
