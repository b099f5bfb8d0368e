//! The last step: every shard is checked, then `rejects.jsonl`, `index.arrow` and, as the commit point,
//! `dataset.json` are written.

use crate::config;
use crate::error::IngestError;
use crate::record::{BuildRecord, Counts, Records, ShardRecord, piece_name};
use crate::report::BuildReport;
use crate::target::Target;
use schemas::manifest::{INDEX_FILE, MANIFEST_FILE, Manifest, REJECTS_FILE, Reject, SHARD_DIR, SourceEntry, Totals};
use shards::disk::{Disk, Real, remove_abandoned};
use shards::writer::{dataset_hash, merge_pieces, write_index_on};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Checks every shard of a dataset built in parts and commits it.
///
/// # Errors
/// When shards are missing or damaged, naming them and the command that builds them.
pub fn merge(out: &Path) -> Result<BuildReport, IngestError> {
    merge_on(&Target::open(out, None, Real)?)
}

/// As [`merge`], for any place.
///
/// # Errors
/// As [`merge`].
pub fn merge_on<D: Disk>(target: &Target<D>) -> Result<BuildReport, IngestError> {
    let start = Instant::now();
    let build = Records::new(target).build()?.ok_or_else(|| IngestError::Merge {
        path: target.shown().to_owned(),
        reason: "nothing was built here; run `ingest build --source KIND=PATH --out DATASET` first".to_owned(),
    })?;
    target.prepare()?;
    let mut report = commit(target, &build, &BTreeSet::new())?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// Commits a dataset; the shards in `trusted` were written by this very process and are not read again.
pub(crate) fn commit<D: Disk>(
    target: &Target<D>,
    build: &BuildRecord,
    trusted: &BTreeSet<u32>,
) -> Result<BuildReport, IngestError> {
    let records = Records::new(target);
    let wrong = |reason: String| IngestError::Merge { path: target.shown().to_owned(), reason };
    let config_hash = config::hash(&build.config);
    let mut finished: Vec<ShardRecord> = Vec::with_capacity(build.shards as usize);
    let (mut missing, mut damaged) = (Vec::new(), Vec::new());
    for shard in 0..build.shards {
        let record = records.shard(shard)?;
        match record.filter(|record| record.plan == build.plan && record.config_hash == config_hash) {
            None => missing.push(shard),
            Some(record) if trusted.contains(&shard) || records.is_intact(&record.entry)? => finished.push(record),
            Some(_) => damaged.push(shard),
        }
    }
    if !missing.is_empty() || !damaged.is_empty() {
        let parts = records.parts()?.unwrap_or(1).max(1);
        return Err(wrong(incomplete(build.shards, parts, &missing, &damaged)));
    }
    let mut rejects: Vec<Reject> = finished.iter().flat_map(|record| record.rejects.iter().cloned()).collect();
    rejects.sort();
    target.write(REJECTS_FILE, &lines(&rejects))?;
    if rejects.len() as u64 > build.config.max_rejects {
        let first = rejects.first().map(|r| format!("{} ({})", r.path, r.reason)).unwrap_or_default();
        let (found, limit) = (rejects.len() as u64, build.config.max_rejects);
        return Err(IngestError::TooManyRejects { found, limit, first });
    }
    let manifest = manifest(target, build, config_hash, &finished, rejects.len() as u64)?;
    let mut text = serde_json::to_string_pretty(&manifest).map_err(|error| wrong(error.to_string()))?;
    text.push('\n');
    if let Some(there) = target.create(MANIFEST_FILE, text.as_bytes())? {
        // Another machine was first. Its dataset is this one, unless somebody builds two things in one place.
        let same =
            serde_json::from_slice(&there).is_ok_and(|other: Manifest| other.dataset_hash == manifest.dataset_hash);
        if !same {
            return Err(wrong(format!(
                "{MANIFEST_FILE} there belongs to another dataset; delete what is there, or choose another place"
            )));
        }
    }
    remove_leftovers(target);
    Ok(report(target.shown(), &manifest, &finished))
}

/// Says which shards are not there, and which parts must be run again.
fn incomplete(shards: u32, parts: u32, missing: &[u32], damaged: &[u32]) -> String {
    let list = |shards: &[u32]| {
        let first: Vec<String> = shards.iter().take(8).map(u32::to_string).collect();
        format!("{}{}", first.join(", "), if shards.len() > 8 { ", ..." } else { "" })
    };
    let mut all: Vec<u32> = missing.iter().chain(damaged).copied().collect();
    all.sort_unstable();
    let mut text = format!("{} of {shards} shards are missing or damaged ({})", all.len(), list(&all));
    if !damaged.is_empty() && !missing.is_empty() {
        text.push_str(&format!("; damaged are {}", list(damaged)));
    }
    let mut by_part: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    all.iter().for_each(|shard| by_part.entry(shard % parts).or_default().push(*shard));
    if parts > 1 {
        let named: Vec<String> =
            by_part.iter().map(|(part, shards)| format!("part {part}/{parts} (shards {})", list(shards))).collect();
        let verb = if named.len() == 1 { "has" } else { "have" };
        text.push_str(&format!("; {} {verb} not finished", named.join(", ")));
        let commands: Vec<String> = by_part.keys().map(|part| format!("--part {part}/{parts}")).collect();
        text.push_str(&format!(
            "; run `ingest build` with the same sources and {} again, then merge",
            commands.join(" and with ")
        ));
    } else {
        text.push_str("; run `ingest build` with the same sources again");
    }
    text
}

fn manifest<D: Disk>(
    target: &Target<D>,
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
        return Err(IngestError::Merge { path: target.shown().to_owned(), reason });
    }
    let shards: Vec<_> = finished.iter().map(|record| record.entry.clone()).collect();
    let index_blake3 = if target.is_remote() {
        let pieces: Vec<_> =
            (0..build.shards).map(|shard| target.local_copy(&piece_name(shard))).collect::<Result<_, _>>()?;
        let hash = merge_pieces(target.disk(), &pieces, &target.local().join(INDEX_FILE))?;
        target.upload(INDEX_FILE)?;
        hash
    } else {
        write_index_on(target.disk(), target.local(), &shards)?
    };
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

/// Removes the temporary files of killed runs, never those another process is writing.
pub(crate) fn remove_temporary<D: Disk>(target: &Target<D>) {
    for dir in [target.local().to_owned(), target.local().join(SHARD_DIR), target.work()] {
        remove_abandoned(&dir);
    }
}

/// Removes all that killed runs left behind, except what another process is writing at this moment.
fn remove_leftovers<D: Disk>(target: &Target<D>) {
    if target.is_remote() {
        return;
    }
    remove_temporary(target);
    for entry in fs::read_dir(target.work()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("spool-") {
            // Nothing depends on it, so failures are not errors.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_shard_and_part() {
        let one = incomplete(9, 3, &[1, 4, 7], &[]);
        assert!(one.contains("3 of 9") && one.contains("part 1/3 (shards 1, 4, 7) has not finished"), "{one}");
        assert!(one.contains("--part 1/3 again") && !one.contains("0/3"), "{one}");
        let two = incomplete(4, 2, &[0], &[3]);
        for needle in ["(0, 3)", "damaged are 3", "part 0/2", "part 1/2", "--part 0/2 and with --part 1/2"] {
            assert!(two.contains(needle), "{needle}: {two}");
        }
        let alone = incomplete(20, 1, &(0..20).collect::<Vec<_>>(), &[]);
        assert!(alone.contains("0, 1, 2, 3, 4, 5, 6, 7, ...") && !alone.contains("--part"), "{alone}");
    }
}
