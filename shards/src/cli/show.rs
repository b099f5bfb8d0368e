//! Commands that print what is in a dataset.

use super::Target;
use crate::query::Table;
use crate::reader::Dataset;
use crate::summary::{Summary, human};
use crate::verify::{Options, Report, verify_with};
use crate::{chart, speed, usage};
use schemas::exit;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

pub(super) fn inspect(out: &mut impl Write, target: &Target, svg: Option<&Path>) -> anyhow::Result<()> {
    let summary = Summary::read(&target.dataset)?;
    if let Some(file) = svg {
        crate::writer::write_atomic(file, chart::svg(&summary)?.as_bytes())
            .map_err(|e| anyhow::anyhow!("could not write {}: {e}", file.display()))?;
    }
    if target.json {
        writeln!(out, "{}", summary.json())?;
    } else {
        summary.text(out)?;
    }
    Ok(())
}

pub(super) fn stats(out: &mut impl Write, target: &Target) -> anyhow::Result<()> {
    Dataset::open(&target.dataset)?;
    let columns = Table::read(&target.dataset)?.columns()?;
    if target.json {
        writeln!(out, "{}", json!({"columns": columns}))?;
        return Ok(());
    }
    let head = ["least", "mean", "median", "95 %", "largest"].map(|name| format!("{name:>14}")).concat();
    writeln!(out, "{:<14}{:>10}{head}", "column", "distinct")?;
    for line in &columns {
        let values = line.numbers.map_or_else(String::new, |n| {
            [n.min, n.mean, n.median, n.p95, n.max].map(|v| format!("{:>14}", shown(v))).concat()
        });
        writeln!(out, "{:<14}{:>10}{values}", line.column, line.distinct)?;
    }
    Ok(())
}

/// Whole numbers without a fraction, others with three places.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

pub(super) fn schema(out: &mut impl Write, target: &Target) -> anyhow::Result<()> {
    let dataset = Dataset::open(&target.dataset)?;
    let shard = dataset.shard(0)?;
    if target.json {
        let columns: Vec<Value> = shard
            .schema()
            .fields()
            .iter()
            .map(|f| json!({"name": f.name(), "type": f.data_type().to_string(), "nullable": f.is_nullable()}))
            .collect();
        writeln!(out, "{}", json!({"columns": columns, "metadata": shard.meta()}))?;
        return Ok(());
    }
    for field in shard.schema().fields() {
        writeln!(out, "{:<14} {}", field.name(), field.data_type())?;
    }
    writeln!(out, "\n{}", serde_json::to_string_pretty(shard.meta())?)?;
    Ok(())
}

pub(super) fn ls(out: &mut impl Write, target: &Target) -> anyhow::Result<()> {
    let dataset = Dataset::open(&target.dataset)?;
    if target.json {
        writeln!(out, "{}", json!({"shards": dataset.manifest().shards}))?;
        return Ok(());
    }
    writeln!(out, "{:<22} {:>9} {:>8} {:>8} {:>10}  blake3", "shard", "rows", "tracks", "videos", "size")?;
    for s in &dataset.manifest().shards {
        let hash = s.blake3.get(..16).unwrap_or(&s.blake3);
        writeln!(out, "{:<22} {:>9} {:>8} {:>8} {:>10}  {hash}", s.file, s.rows, s.tracks, s.videos, human(s.bytes))?;
    }
    Ok(())
}

pub(super) fn du(out: &mut impl Write, target: &Target) -> anyhow::Result<()> {
    let usage = usage::usage(&target.dataset)?;
    if target.json {
        writeln!(out, "{}", serde_json::to_string(&usage)?)?;
        return Ok(());
    }
    for (what, bytes) in [("shards", usage.shards), ("index", usage.index), ("other files", usage.other)] {
        writeln!(out, "{what:<12} {:>12}", human(bytes))?;
    }
    writeln!(out, "{:<12} {:>12}\n", "total", human(usage.total))?;
    writeln!(out, "{:<20} {:>9} {:>12} {:>12} {:>14}", "dataset", "rows", "templates", "search", "bytes per row")?;
    for (name, label) in &usage.datasets {
        let per_row = (label.template + label.search) / label.rows.max(1);
        let (template, search) = (human(label.template), human(label.search));
        writeln!(out, "{name:<20} {:>9} {template:>12} {search:>12} {per_row:>14}", label.rows)?;
    }
    Ok(())
}

pub(super) fn head(out: &mut impl Write, path: &Path, filter: Option<&str>, rows: usize) -> anyhow::Result<()> {
    Dataset::open(path)?;
    for row in Table::read(path)?.rows(filter, rows)? {
        writeln!(out, "{row}")?;
    }
    Ok(())
}

pub(super) fn cat(out: &mut impl Write, path: &Path, filter: Option<&str>) -> anyhow::Result<()> {
    Dataset::open(path)?;
    Table::read(path)?.each(filter, |row| Ok(writeln!(out, "{row}")?))
}

pub(super) fn verify(out: &mut impl Write, target: &Target, decode: bool) -> anyhow::Result<u8> {
    let total = Dataset::open(&target.dataset)?.manifest().shards.len();
    let told = |done| eprintln!("shard {} of {total} checked", done + 1);
    let report: Report = verify_with(&target.dataset, Options { decode }, told)?;
    if target.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        for f in &report.findings {
            match f.row {
                Some(row) => writeln!(out, "{} row {row}: {}", f.file, f.message)?,
                None => writeln!(out, "{}: {}", f.file, f.message)?,
            }
        }
        let verdict = if report.findings.is_empty() {
            "all is well".to_owned()
        } else {
            format!("{} findings", report.findings.len())
        };
        writeln!(out, "{} shards, {} rows, {}: {verdict}", report.shards, report.rows, human(report.bytes))?;
    }
    Ok(if report.findings.is_empty() { exit::DONE } else { exit::LOSSY })
}

pub(super) fn diff(out: &mut impl Write, [first, second]: [&Path; 2], json: bool) -> anyhow::Result<u8> {
    let found = crate::diff::diff(first, second)?;
    let code = if found.same_rows() { exit::DONE } else { exit::LOSSY };
    if json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
        return Ok(code);
    }
    for line in &found.config {
        writeln!(out, "setting {line}")?;
    }
    for line in &found.examples {
        writeln!(out, "{line}")?;
    }
    let verdict = if found.identical {
        "the same files"
    } else if found.same_rows() {
        "the same rows, laid out differently"
    } else {
        "the rows differ"
    };
    writeln!(
        out,
        "{} rows in both ({} changed, {} with other pictures), {} only in the first, {} only in the second: {verdict}",
        found.common, found.changed, found.pictures_changed, found.only_first, found.only_second
    )?;
    Ok(code)
}

pub(super) fn bench(out: &mut impl Write, target: &Target, seconds: f64) -> anyhow::Result<()> {
    let speeds = speed::measure(&target.dataset, seconds)?;
    if target.json {
        writeln!(out, "{}", json!({"threads": 1, "speeds": speeds}))?;
        return Ok(());
    }
    writeln!(out, "{:<28} {:>10} {:>12} {:>10}", "one thread", "read", "per second", "MB/s")?;
    for line in &speeds {
        writeln!(out, "{:<28} {:>10} {:>12.0} {:>10.1}", line.what, line.count, line.per_s, line.mb_per_s)?;
    }
    Ok(())
}
