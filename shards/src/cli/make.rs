//! Commands that write files: pictures, pages, new datasets.

use super::Target;
use crate::derive::{self, Layout};
use crate::query::Table;
use crate::reader::Dataset;
use crate::summary::human;
use schemas::manifest::Manifest;
use schemas::shard::split_sample_id;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    crate::writer::write_atomic(path, bytes).map_err(|e| anyhow::anyhow!("could not write {}: {e}", path.display()))
}

pub(super) fn extract(
    out: &mut impl Write,
    path: &Path,
    rows: Vec<u64>,
    filter: Option<&str>,
    limit: usize,
    folder: &Path,
) -> anyhow::Result<()> {
    let dataset = Dataset::open(path)?;
    let ids = match filter {
        Some(filter) => {
            let mut ids = Table::read(path)?.ids(filter)?;
            if ids.len() > limit {
                eprintln!("shards: the first {limit} of {} rows are written; see --limit", ids.len());
                ids.truncate(limit);
            }
            ids
        }
        None => rows,
    };
    std::fs::create_dir_all(folder).map_err(|e| anyhow::anyhow!("could not create {}: {e}", folder.display()))?;
    for id in ids {
        let (shard, row) = split_sample_id(id);
        let row = dataset.row(shard, row)?;
        row.check()?;
        for (name, bytes) in [("template", row.template()), ("search", row.search())] {
            let file = folder.join(format!("{id}-{name}.jpg"));
            write_file(&file, bytes)?;
            writeln!(out, "{}", file.display())?;
        }
    }
    Ok(())
}

pub(super) fn sheet(out: &mut impl Write, path: &Path, file: &Path, pairs: usize, seed: u64) -> anyhow::Result<()> {
    let picture = crate::sheet::sheet(&Dataset::open(path)?, pairs, seed)?;
    crate::sheet::write_png(file, &picture)?;
    writeln!(out, "{}", file.display())?;
    Ok(())
}

pub(super) fn card(out: &mut impl Write, path: &Path, file: &Path, pairs: usize, seed: u64) -> anyhow::Result<()> {
    write_file(file, crate::card::card(path, pairs, seed)?.as_bytes())?;
    writeln!(out, "{}", file.display())?;
    Ok(())
}

fn told(done: usize, all: usize) {
    eprintln!("shard {done} of {all} written");
}

fn made(out: &mut impl Write, folder: &Path, manifest: &Manifest, json: bool) -> anyhow::Result<()> {
    let totals = &manifest.totals;
    if json {
        let line = json!({
            "out": folder, "dataset_hash": manifest.dataset_hash, "totals": totals,
            "shards": manifest.shards.len(), "derived": manifest.derived,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}: {} rows, {} tracks, {} videos in {} shards, {}, hash {}",
        folder.display(),
        totals.rows,
        totals.tracks,
        totals.videos,
        manifest.shards.len(),
        human(totals.bytes),
        manifest.dataset_hash.get(..16).unwrap_or_default()
    )?;
    Ok(())
}

pub(super) fn reshard(out: &mut impl Write, target: &Target, folder: &Path, layout: Layout) -> anyhow::Result<()> {
    made(out, folder, &derive::reshard(&target.dataset, folder, layout, &mut told)?, target.json)
}

pub(super) fn filter(out: &mut impl Write, target: &Target, condition: &str, folder: &Path) -> anyhow::Result<()> {
    made(out, folder, &derive::filter(&target.dataset, folder, condition, &mut told)?, target.json)
}

pub(super) fn merge(out: &mut impl Write, datasets: &[PathBuf], folder: &Path, json: bool) -> anyhow::Result<()> {
    made(out, folder, &derive::merge(datasets, folder, &mut told)?, json)
}

pub(super) fn split(
    out: &mut impl Write,
    target: &Target,
    folders: [&Path; 2],
    share: f64,
    seed: u64,
) -> anyhow::Result<()> {
    let manifests = derive::split(&target.dataset, folders, share, seed, &mut told)?;
    for (folder, manifest) in folders.into_iter().zip(&manifests) {
        made(out, folder, manifest, target.json)?;
    }
    Ok(())
}
