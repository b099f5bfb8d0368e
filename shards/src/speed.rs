//! How fast this disk and this processor give rows and pairs, on one thread.

use crate::jpeg::{self, Limits};
use crate::order::Rng;
use crate::plan::{Plan, PlanError, Tracks};
use crate::reader::{Dataset, ReadError, Row};
use schemas::train::{DataConfig, EpochUnit};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// One way of reading and its speed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    /// What was read.
    pub what: &'static str,
    /// Rows or pairs read.
    pub count: u64,
    /// Rows or pairs per second of wall time.
    pub per_s: f64,
    /// Bytes of pictures per second, in 10^6.
    pub mb_per_s: f64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum SpeedError {
    /// A row cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There are no pairs.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A picture is damaged.
    #[error("a picture cannot be decoded: {0}; run `shards verify --decode`")]
    Image(#[from] crate::image::ImageError),
}

/// Measures for about `seconds` each: rows in order, the same again (from memory, if it is large enough), rows at
/// random, pairs in the trainer's order, and the same pairs decoded. Every row read is tested against its checksum.
///
/// # Errors
/// When a row is damaged or the dataset has no pairs.
pub fn measure(path: &Path, seconds: f64) -> Result<Vec<Speed>, SpeedError> {
    let dataset = Dataset::open(path)?;
    let rows = dataset.rows();
    let mut starts = Vec::new();
    let mut sum = 0;
    for entry in &dataset.manifest().shards {
        starts.push(sum);
        sum += entry.rows;
    }
    let row_at = |number: u64| -> Result<Row, ReadError> {
        let shard = starts.partition_point(|&start| start <= number).saturating_sub(1);
        let first = starts.get(shard).copied().unwrap_or_default();
        let row =
            dataset.row(u32::try_from(shard).unwrap_or(u32::MAX), u32::try_from(number - first).unwrap_or(u32::MAX))?;
        row.check()?;
        Ok(row)
    };
    let bytes = |row: &Row| (row.template().len() + row.search().len()) as u64;
    let limit = Duration::from_secs_f64(seconds.clamp(0.01, 3600.0));
    let mut lines = Vec::new();
    for what in ["rows in order, first pass", "rows in order, again"] {
        lines.push(timed(what, limit, Some(rows), |i| Ok(bytes(&row_at(i)?)))?);
    }
    let mut rng = Rng::new(1);
    lines.push(timed("rows at random", limit, None, |_| Ok(bytes(&row_at(rng.below(rows))?)))?);
    let tracks = Tracks::read(&dataset, 0)?;
    let config = DataConfig { epoch_unit: EpochUnit::Track, same_frame: true, ..DataConfig::default() };
    let plan = Plan::new(&tracks, 0, &config, 1)?;
    let pair = |i: u64| -> Result<[Row; 2], ReadError> {
        let pair = plan.pair(0, i, 0);
        Ok([dataset.row(pair.template.shard, pair.template.row)?, dataset.row(pair.search.shard, pair.search.row)?])
    };
    lines.push(timed("pairs", limit, None, |i| {
        let [a, b] = pair(i)?;
        a.check()?;
        b.check()?;
        Ok((a.template().len() + b.search().len()) as u64)
    })?);
    lines.push(timed("pairs, decoded", limit, None, |i| {
        let [a, b] = pair(i)?;
        for bytes in [a.template(), b.search()] {
            std::hint::black_box(jpeg::decode(bytes, &Limits::default())?);
        }
        Ok((a.template().len() + b.search().len()) as u64)
    })?);
    Ok(lines)
}

/// Calls `work` with 0, 1, ... until the time is over or `most` is reached; it returns bytes.
fn timed(
    what: &'static str,
    limit: Duration,
    most: Option<u64>,
    mut work: impl FnMut(u64) -> Result<u64, SpeedError>,
) -> Result<Speed, SpeedError> {
    let start = Instant::now();
    let (mut count, mut bytes) = (0, 0);
    while most.is_none_or(|most| count < most) && (count % 16 != 0 || start.elapsed() < limit) {
        bytes += work(count)?;
        count += 1;
    }
    let seconds = start.elapsed().as_secs_f64().max(1e-9);
    Ok(Speed { what, count, per_s: count as f64 / seconds, mb_per_s: bytes as f64 / 1e6 / seconds })
}
