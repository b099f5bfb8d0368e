//! The last step: every shard is checked, then `rejects.jsonl`, `index.arrow` and, as the commit point,
//! `dataset.json` are written.

use crate::config;
use crate::error::IngestError;
use crate::record::{BuildRecord, Counts, Records, ShardRecord};
use crate::report::BuildReport;
use schemas::manifest::{MANIFEST_FILE, Manifest, REJECTS_FILE, Reject, SHARD_DIR, SourceEntry, Totals};
use shards::writer::{TEMP_PREFIX, dataset_hash, write_atomic, write_index};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Checks every shard of a dataset built in parts and commits it.
///
/// # Errors
/// When shards are missing or damaged, naming them and the command that builds them.
pub fn merge(out: &Path) -> Result<BuildReport, IngestError> {
    let start = Instant::now();
    let records = Records::new(out);
    let wrong = |reason: &str| IngestError::Merge { path: out.to_owned(), reason: reason.to_owned() };
    let build = records
        .build()?
        .ok_or_else(|| wrong("nothing was built here; run `ingest build --source KIND=PATH --out DATASET` first"))?;
    let mut report = commit(out, &build, &BTreeSet::new())?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// Commits a dataset; the shards in `trusted` were written by this very process and are not read again.
pub(crate) fn commit(out: &Path, build: &BuildRecord, trusted: &BTreeSet<u32>) -> Result<BuildReport, IngestError> {
    let records = Records::new(out);
    let config_hash = config::hash(&build.config);
    let mut finished: Vec<ShardRecord> = Vec::with_capacity(build.shards as usize);
    let mut missing = Vec::new();
    for shard in 0..build.shards {
        let record = records.shard(shard)?;
        match record.filter(|record| record.plan == build.plan && record.config_hash == config_hash) {
            Some(record) if trusted.contains(&shard) || records.is_intact(&record.entry)? => finished.push(record),
            _ => missing.push(shard),
        }
    }
    if !missing.is_empty() {
        let first: Vec<String> = missing.iter().take(8).map(u32::to_string).collect();
        let more = if missing.len() > 8 { ", ..." } else { "" };
        let reason = format!(
            "{} of {} shards are missing or damaged ({}{more}); run `ingest build` with the same sources again, \
             with --part I/N for shards I modulo N, then merge",
            missing.len(),
            build.shards,
            first.join(", ")
        );
        return Err(IngestError::Merge { path: out.to_owned(), reason });
    }
    let mut rejects: Vec<Reject> = finished.iter().flat_map(|record| record.rejects.iter().cloned()).collect();
    rejects.sort();
    write(&out.join(REJECTS_FILE), &lines(&rejects))?;
    if rejects.len() as u64 > build.config.max_rejects {
        let first = rejects.first().map(|r| format!("{} ({})", r.path, r.reason)).unwrap_or_default();
        let (found, limit) = (rejects.len() as u64, build.config.max_rejects);
        return Err(IngestError::TooManyRejects { found, limit, first });
    }
    let manifest = manifest(out, build, config_hash, &finished, rejects.len() as u64)?;
    let mut text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| IngestError::Merge { path: out.to_owned(), reason: error.to_string() })?;
    text.push('\n');
    write(&out.join(MANIFEST_FILE), text.as_bytes())?;
    remove_leftovers(out);
    Ok(report(out, &manifest, &finished))
}

fn manifest(
    out: &Path,
    build: &BuildRecord,
    config_hash: String,
    finished: &[ShardRecord],
    rejects: u64,
) -> Result<Manifest, IngestError> {
    let mut sums = vec![Counts::default(); build.labels.len()];
    for (sum, counts) in finished.iter().flat_map(|record| sums_of(record, build.labels.len())) {
        if let Some(sum) = sums.get_mut(sum) {
            sum.videos += counts.videos;
            sum.tracks += counts.tracks;
            sum.rows += counts.rows;
        }
    }
    let sources: Vec<SourceEntry> = build
        .labels
        .iter()
        .zip(&sums)
        .map(|(label, sum)| SourceEntry {
            dataset: label.dataset.clone(),
            kind: label.kind.clone(),
            name: label.name.clone(),
            search_px: label.search_px,
            source_bytes: label.source_bytes,
            videos: sum.videos,
            tracks: sum.tracks,
            rows: sum.rows,
        })
        .collect();
    let totals = Totals {
        videos: sums.iter().map(|sum| sum.videos).sum(),
        tracks: sums.iter().map(|sum| sum.tracks).sum(),
        rows: sums.iter().map(|sum| sum.rows).sum(),
        bytes: finished.iter().map(|record| record.entry.bytes).sum(),
        rejects,
    };
    if totals.rows == 0 {
        let reason = format!("no row is left, all {rejects} inputs were rejected; see {REJECTS_FILE} there");
        return Err(IngestError::Merge { path: out.to_owned(), reason });
    }
    let shards: Vec<_> = finished.iter().map(|record| record.entry.clone()).collect();
    let index_blake3 = write_index(out, &shards)?;
    let mut manifest = Manifest {
        format: build.format,
        writer: build.writer.clone(),
        dataset_hash: String::new(),
        config_hash,
        config: build.config.clone(),
        sources,
        totals,
        shards,
        index_blake3,
        derived: None,
    };
    manifest.dataset_hash = dataset_hash(&manifest);
    Ok(manifest)
}

fn sums_of(record: &ShardRecord, labels: usize) -> impl Iterator<Item = (usize, &Counts)> {
    record.counts.iter().enumerate().take(labels)
}

/// What the manifest of a complete dataset says, as a report.
pub(crate) fn report(out: &Path, manifest: &Manifest, finished: &[ShardRecord]) -> BuildReport {
    let mut report = BuildReport {
        out: out.to_owned(),
        complete: true,
        dataset_hash: Some(manifest.dataset_hash.clone()),
        shards: manifest.shards.len() as u64,
        shards_kept: manifest.shards.len() as u64,
        videos: manifest.totals.videos,
        tracks: manifest.totals.tracks,
        rows: manifest.totals.rows,
        bytes: manifest.totals.bytes,
        rejects: manifest.totals.rejects,
        ..BuildReport::default()
    };
    finished.iter().for_each(|record| report.count(record));
    report
}

/// One JSON object per line.
fn lines(rejects: &[Reject]) -> Vec<u8> {
    let mut text = Vec::new();
    for reject in rejects {
        // Plain strings always serialise.
        text.extend(serde_json::to_vec(reject).unwrap_or_default());
        text.push(b'\n');
    }
    text
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), IngestError> {
    write_atomic(path, bytes).map_err(IngestError::io("write", path))
}

/// Removes what killed runs left behind. Nothing depends on it, so failures are not errors.
fn remove_leftovers(out: &Path) {
    for dir in [out.to_owned(), out.join(SHARD_DIR), Records::new(out).dir()] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TEMP_PREFIX) {
                drop(fs::remove_file(entry.path()));
            } else if name.starts_with("spool-") {
                drop(fs::remove_dir_all(entry.path()));
            }
        }
    }
}
