//! Which video goes into which shard: known before any picture is read, and the same on every machine.
//! [`shards::derive::deal`] has the rule.

use crate::error::IngestError;
use crate::source::{Label, Source};
use schemas::build::BuildConfig;
use shards::derive::{Item, deal, row_bytes};
use std::collections::BTreeMap;

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
    let mut items = Vec::with_capacity(named.len());
    for ((dataset, video), (planned, video_tracks)) in &named {
        hasher.update(format!("{dataset}\n{video}\n{video_tracks} {}\n", planned.rows).as_bytes());
        let row = |label: &Label| row_bytes(label.source_bytes, label.search_px, config.template_px);
        let size = labels.get(planned.label).map_or(0, row) * planned.rows;
        tracks += video_tracks;
        rows += planned.rows;
        bytes += size;
        items.push(Item { dataset, video, bytes: size });
    }
    if items.is_empty() {
        let paths: Vec<String> = sources.iter().map(|source| source.path().display().to_string()).collect();
        return Err(IngestError::Sources(format!("there is no annotated frame in {}", paths.join(", "))));
    }
    let dealt = deal(&items, config.shard_bytes, config.seed);
    let videos = items.len() as u64;
    let all: Vec<&Planned> = named.values().map(|(planned, _)| planned).collect();
    let chosen = |list: Vec<usize>| list.into_iter().filter_map(|i| all.get(i).map(|&p| p.clone())).collect();
    let shards = dealt.into_iter().map(chosen).collect();
    Ok(Plan { labels, shards, videos, tracks, rows, bytes, hash: hasher.finalize().to_hex().to_string() })
}
