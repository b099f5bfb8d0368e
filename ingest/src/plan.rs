//! Which video goes into which shard: known before any picture is read, and the same on every machine.
//!
//! Videos are taken in the order of a seeded hash of their names and dealt to the shard with the fewest bytes so far,
//! so each shard is a fair sample of the corpus. Sizes are estimated from the number of rows alone: the same corpus
//! must give the same plan as a folder and as an archive.

use crate::error::IngestError;
use crate::source::{Label, Source};
use schemas::build::BuildConfig;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One video and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Number of the source.
    pub source: usize,
    /// Number of the video in its source.
    pub video: usize,
    /// Position of its label in [`Plan::labels`].
    pub label: usize,
    /// Rows it should give.
    pub rows: u64,
}

/// The plan of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every label of every source, sorted.
    pub labels: Vec<Label>,
    /// Per shard its videos in the order of its rows.
    pub shards: Vec<Vec<Planned>>,
    /// Videos with rows.
    pub videos: u64,
    /// Tracks with rows.
    pub tracks: u64,
    /// Rows.
    pub rows: u64,
    /// Estimated bytes of all shards.
    pub bytes: u64,
    /// blake3 over labels, videos, tracks and rows, hexadecimal: what was to be read.
    pub hash: String,
}

/// Estimated bytes of a row: JPEG of ordinary pictures at quality 95 takes about 0.17 byte per pixel for crops cut
/// here; the corpus' own crops average 23.5 kB.
fn row_bytes(label: &Label, config: &BuildConfig) -> u64 {
    let square = |px: u32| u64::from(px) * u64::from(px) * 17 / 100 + 700;
    let search = if label.source_bytes { 23_500 } else { square(label.search_px) };
    search + square(config.template_px)
}

/// Makes the plan.
///
/// # Errors
/// When there is nothing to build or two sources offer the same video.
pub fn plan(sources: &[Source], config: &BuildConfig) -> Result<Plan, IngestError> {
    let mut labels: Vec<Label> = sources.iter().flat_map(|source| source.labels().iter().cloned()).collect();
    labels.sort();
    labels.dedup();
    for pair in labels.windows(2) {
        let [a, b] = pair else { continue };
        if a.dataset == b.dataset && a.kind != b.kind {
            return Err(IngestError::Sources(format!(
                "dataset label {:?} would hold both {} and {}; name one of them with KIND:LABEL=PATH",
                a.dataset, a.kind, b.kind
            )));
        }
    }
    let mut named: BTreeMap<(&str, &str), (Planned, u64)> = BTreeMap::new();
    for (source, opened) in sources.iter().enumerate() {
        for (video, known) in opened.videos().iter().enumerate().filter(|(_, video)| video.rows > 0) {
            let own = |label: &Label| label.dataset == known.dataset && opened.labels().contains(label);
            let label = labels.iter().position(own).unwrap_or_default();
            let planned = Planned { source, video, label, rows: known.rows };
            let key = (known.dataset.as_str(), known.name.as_str());
            if named.insert(key, (planned, known.tracks)).is_some() {
                return Err(IngestError::Sources(format!(
                    "video {:?} of dataset {:?} is in two sources; leave one out, or name one with KIND:LABEL=PATH",
                    known.name, known.dataset
                )));
            }
        }
    }
    let mut hasher = blake3::Hasher::new();
    for label in &labels {
        hasher.update(format!("{label:?}\n").as_bytes());
    }
    let (mut tracks, mut rows, mut bytes) = (0, 0, 0u64);
    let mut order = Vec::with_capacity(named.len());
    for ((dataset, name), (planned, video_tracks)) in named {
        hasher.update(format!("{dataset}\n{name}\n{video_tracks} {}\n", planned.rows).as_bytes());
        let size = labels.get(planned.label).map_or(0, |label| row_bytes(label, config)) * planned.rows;
        tracks += video_tracks;
        rows += planned.rows;
        bytes += size;
        let place = xxh3_64_with_seed(format!("{dataset}\0{name}").as_bytes(), config.seed);
        order.push((place, dataset, name, size, planned));
    }
    if order.is_empty() {
        let paths: Vec<String> = sources.iter().map(|source| source.path().display().to_string()).collect();
        return Err(IngestError::Sources(format!("there is no annotated frame in {}", paths.join(", "))));
    }
    order.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
    let count = bytes.div_ceil(config.shard_bytes).clamp(1, (order.len() as u64).min(100_000));
    let count = usize::try_from(count).unwrap_or(1);
    let mut shards: Vec<Vec<Planned>> = vec![Vec::new(); count];
    // Smallest first; equal ones by number.
    let mut heap: BinaryHeap<Reverse<(u64, usize)>> = (0..count).map(|shard| Reverse((0, shard))).collect();
    let videos = order.len() as u64;
    for (_, _, _, size, planned) in order {
        let Some(Reverse((filled, shard))) = heap.pop() else { break };
        heap.push(Reverse((filled + size.max(1), shard)));
        if let Some(list) = shards.get_mut(shard) {
            list.push(planned);
        }
    }
    Ok(Plan { labels, shards, videos, tracks, rows, bytes, hash: hasher.finalize().to_hex().to_string() })
}
