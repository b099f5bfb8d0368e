//! What a run did, or would do.

use crate::plan::Plan;
use crate::record::ShardRecord;
use crate::source::Dropped;
use schemas::build::BuildConfig;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What a run did. `ingest build --json` prints it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BuildReport {
    /// The dataset folder.
    pub out: PathBuf,
    /// Whether the dataset is complete, with its manifest.
    pub complete: bool,
    /// Its hash, once complete.
    pub dataset_hash: Option<String>,
    /// Shards of the dataset.
    pub shards: u64,
    /// Shards built by this run.
    pub shards_built: u64,
    /// Finished shards that this run found.
    pub shards_kept: u64,
    /// Videos with rows, in the shards this run was responsible for.
    pub videos: u64,
    /// Tracks with rows there.
    pub tracks: u64,
    /// Rows there.
    pub rows: u64,
    /// Bytes of shards there.
    pub bytes: u64,
    /// Inputs rejected there.
    pub rejects: u64,
    /// The same by reason.
    pub rejects_by_reason: BTreeMap<String, u64>,
    /// Annotations left out on purpose there.
    pub dropped: Dropped,
    /// Seconds this run took.
    pub seconds: f64,
    /// Worker threads.
    pub threads: usize,
    /// Pictures turned into rows per second of this run.
    pub frames_per_s: f64,
    /// Crops written per second of this run: two per row.
    pub crops_per_s: f64,
}

impl BuildReport {
    /// Adds what a shard left out.
    pub(crate) fn count(&mut self, record: &ShardRecord) {
        self.dropped.add(record.dropped);
        for reject in &record.rejects {
            *self.rejects_by_reason.entry(reject.reason.clone()).or_default() += 1;
        }
    }
}

/// `3 small, 1 large`, without what is zero.
fn by_reason<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let all: Vec<String> =
        counts.filter(|(_, count)| *count > 0).map(|(reason, count)| format!("{count} {reason}")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

impl fmt::Display for BuildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.complete { "complete" } else { "not complete yet" };
        writeln!(f, "{}: {state}", self.out.display())?;
        writeln!(f, "  shards   {} ({} built now, {} kept)", self.shards, self.shards_built, self.shards_kept)?;
        writeln!(f, "  rows     {} in {} tracks of {} videos", self.rows, self.tracks, self.videos)?;
        writeln!(f, "  bytes    {}", self.bytes)?;
        writeln!(f, "  left out {}", by_reason(self.dropped.named().into_iter()))?;
        let reasons = self.rejects_by_reason.iter().map(|(reason, count)| (reason.as_str(), *count));
        writeln!(f, "  rejects  {}", by_reason(reasons))?;
        write!(f, "  speed    {:.0} frames/s, {:.1} s, {} threads", self.frames_per_s, self.seconds, self.threads)?;
        match &self.dataset_hash {
            Some(hash) => write!(f, "\n  hash     {hash}"),
            None => Ok(()),
        }
    }
}

/// What a run would do. `ingest build --dry-run --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanReport {
    /// Always true: nothing was written.
    pub dry_run: bool,
    /// The dataset folder.
    pub out: PathBuf,
    /// Videos with rows.
    pub videos: u64,
    /// Tracks with rows.
    pub tracks: u64,
    /// Rows.
    pub rows: u64,
    /// Shards.
    pub shards: u64,
    /// Estimated bytes of all shards.
    pub bytes: u64,
    /// Further bytes needed while building from compressed archives, given back afterwards.
    pub spool_bytes: u64,
    /// Bytes free where the dataset would lie; nothing when the system does not say.
    pub free_bytes: Option<u64>,
    /// Parts of sources that cannot be read, found while planning.
    pub rejects: u64,
    /// Per label: kind, name of the source, videos and rows.
    pub sources: Vec<PlannedSource>,
    /// The effective configuration.
    pub config: BuildConfig,
}

/// One label of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedSource {
    /// The label.
    pub dataset: String,
    /// Kind of source.
    pub kind: String,
    /// Name of the source.
    pub name: String,
    /// Videos with rows.
    pub videos: u64,
    /// Rows.
    pub rows: u64,
}

impl PlannedSource {
    /// The labels of a plan with their sizes.
    #[must_use]
    pub fn of(plan: &Plan) -> Vec<Self> {
        let planned = || plan.shards.iter().flatten();
        let one = |(number, label): (usize, &crate::source::Label)| {
            let own = || planned().filter(move |video| video.label == number);
            Self {
                dataset: label.dataset.clone(),
                kind: label.kind.clone(),
                name: label.name.clone(),
                videos: own().count() as u64,
                rows: own().map(|video| video.rows).sum(),
            }
        };
        plan.labels.iter().enumerate().map(one).collect()
    }
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan for {} (nothing was written)", self.out.display())?;
        for source in &self.sources {
            let PlannedSource { dataset, kind, name, videos, rows } = source;
            writeln!(f, "  {dataset}: {kind} {name}, {videos} videos, {rows} rows")?;
        }
        writeln!(f, "  videos   {}", self.videos)?;
        writeln!(f, "  tracks   {}", self.tracks)?;
        writeln!(f, "  rows     {}", self.rows)?;
        writeln!(f, "  shards   {}", self.shards)?;
        writeln!(f, "  bytes    about {}", self.bytes)?;
        if self.spool_bytes > 0 {
            writeln!(f, "  spool    about {} more while building", self.spool_bytes)?;
        }
        match self.free_bytes {
            Some(free) => writeln!(f, "  free     {free}")?,
            None => writeln!(f, "  free     unknown")?,
        }
        if self.rejects > 0 {
            writeln!(f, "  rejects  {} so far", self.rejects)?;
        }
        writeln!(f, "\n# effective configuration")?;
        f.write_str(toml::to_string(&self.config).unwrap_or_default().trim_end())
    }
}
