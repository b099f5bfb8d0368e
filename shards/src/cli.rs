//! Command line of the program `shards`. Data goes to standard output, talk to standard error.

use crate::query::{Histogram, Table, histogram};
use crate::reader::{Dataset, Row};
use crate::sheet;
use crate::verify::{Options, Report, verify_with};
use clap::{Args, Parser, Subcommand};
use schemas::exit;
use schemas::shard::split_sample_id;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Looks inside datasets of crop pairs: summaries, rows, pictures, verification.
#[derive(Debug, Parser)]
#[command(name = "shards", version = schemas::format::VERSION, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Target {
    /// Dataset folder (the one with dataset.json).
    dataset: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Summary: sources, counts, sizes, histograms.
    Inspect(Target),
    /// Columns, types and metadata of the shards.
    Schema(Target),
    /// The shards: rows, tracks, bytes, hash.
    Ls(Target),
    /// The first rows as JSON lines.
    #[command(visible_alias = "cat")]
    Head {
        /// Dataset folder.
        dataset: PathBuf,
        /// Number of rows.
        #[arg(short = 'n', default_value_t = 10)]
        rows: usize,
        /// SQL condition over the index's columns, for example "box_w > 40 AND dataset = 'vid'".
        #[arg(long)]
        filter: Option<String>,
    },
    /// Check every hash, checksum, picture header and box; exit code 3 when anything is wrong.
    Verify {
        #[command(flatten)]
        target: Target,
        /// Decode every picture in full, not only its header.
        #[arg(long)]
        decode: bool,
    },
    /// Write the pictures of one row as JPEG files.
    Extract {
        /// Dataset folder.
        dataset: PathBuf,
        /// The row's sample_id.
        #[arg(long)]
        row: u64,
        /// Folder to write to.
        #[arg(long)]
        out: PathBuf,
    },
    /// Draw random pairs with their boxes as one PNG.
    Sheet {
        /// Dataset folder.
        dataset: PathBuf,
        /// PNG to write.
        #[arg(long)]
        out: PathBuf,
        /// Number of pairs.
        #[arg(long, default_value_t = 24)]
        pairs: usize,
        /// Seed of the choice.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// Runs the program with the given arguments (the first is the program's name).
pub fn run<I>(args: I) -> ExitCode
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are answers, not errors.
            let code = if e.use_stderr() { exit::USAGE } else { exit::DONE };
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    match dispatch(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(e) if is_broken_pipe(&e) => ExitCode::from(exit::DONE),
        Err(e) => {
            eprintln!("shards: {e:#}");
            ExitCode::from(exit::FAILED)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

fn dispatch(command: Command) -> anyhow::Result<u8> {
    let mut out = io::stdout().lock();
    match command {
        Command::Inspect(target) => inspect(&mut out, &target)?,
        Command::Schema(target) => schema(&mut out, &target)?,
        Command::Ls(target) => ls(&mut out, &target)?,
        Command::Head { dataset, rows, filter } => {
            Dataset::open(&dataset)?;
            for row in Table::read(&dataset)?.rows(filter.as_deref(), rows)? {
                writeln!(out, "{row}")?;
            }
        }
        Command::Verify { target, decode } => return check(&mut out, &target, Options { decode }),
        Command::Extract { dataset, row, out: folder } => extract(&mut out, &dataset, row, &folder)?,
        Command::Sheet { dataset, out: file, pairs, seed } => {
            let picture = sheet::sheet(&Dataset::open(&dataset)?, pairs, seed)?;
            sheet::write_png(&file, &picture)?;
            writeln!(out, "{}", file.display())?;
        }
    }
    out.flush()?;
    Ok(exit::DONE)
}

/// Bytes for people.
fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

fn inspect(out: &mut impl Write, target: &Target) -> anyhow::Result<()> {
    let dataset = Dataset::open(&target.dataset)?;
    let manifest = dataset.manifest();
    let table = Table::read(&target.dataset)?;
    let per_dataset = table.per_dataset()?;
    let kinds = [
        ("box size, px of the search crop", "box_size_px", Histogram::BoxSize),
        ("aspect, height / width", "aspect", Histogram::Aspect),
        ("rows per track", "track_len", Histogram::TrackLength),
    ];
    let mut bars = Vec::new();
    for (title, key, kind) in kinds {
        bars.push((title, key, histogram(&table.values(kind)?, 8)));
    }
    if target.json {
        let histograms: serde_json::Map<String, Value> = bars
            .iter()
            .map(|(_, key, bars)| {
                let bars = bars.iter().map(|(low, high, n)| json!({"from": low, "to": high, "count": n})).collect();
                ((*key).to_owned(), Value::Array(bars))
            })
            .collect();
        let document = json!({
            "format": manifest.format, "writer": manifest.writer, "dataset_hash": manifest.dataset_hash,
            "config_hash": manifest.config_hash, "totals": manifest.totals, "sources": manifest.sources,
            "shards": manifest.shards.len(), "datasets": per_dataset, "histograms": histograms,
        });
        writeln!(out, "{document}")?;
        return Ok(());
    }
    let totals = &manifest.totals;
    writeln!(out, "{}  (format {}, written by {})", target.dataset.display(), manifest.format, manifest.writer)?;
    writeln!(out, "hash      {}", manifest.dataset_hash)?;
    writeln!(
        out,
        "total     {} rows, {} tracks, {} videos in {} shards, {}, {} rejected inputs",
        totals.rows,
        totals.tracks,
        totals.videos,
        manifest.shards.len(),
        human(totals.bytes),
        totals.rejects
    )?;
    let config = &manifest.config;
    writeln!(
        out,
        "crops     exemplar {} px, template {} px, {:?} geometry, JPEG quality {}",
        config.exemplar_px, config.template_px, config.semantics, config.jpeg_quality
    )?;
    for source in &manifest.sources {
        writeln!(
            out,
            "source    {} ({}, from {}): {} rows, {} tracks, {} videos, search crops of {} px",
            source.dataset, source.kind, source.name, source.rows, source.tracks, source.videos, source.search_px
        )?;
    }
    for line in &per_dataset {
        let number = |key: &str| line.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        writeln!(
            out,
            "dataset   {}: mean box {:.1} px, median aspect {:.2}, mean border fill {:.1} %",
            line.get("dataset").and_then(Value::as_str).unwrap_or_default(),
            number("box_size_mean_px"),
            number("aspect_median"),
            100.0 * number("pad_mean")
        )?;
    }
    for (title, _, bars) in &bars {
        let most = bars.iter().map(|b| b.2).max().unwrap_or(1).max(1);
        writeln!(out, "\n{title}")?;
        for (low, high, n) in bars {
            writeln!(out, "{low:>9.2} .. {high:<9.2} {n:>8} {}", "#".repeat((n * 40).div_ceil(most)))?;
        }
    }
    Ok(())
}

fn schema(out: &mut impl Write, target: &Target) -> anyhow::Result<()> {
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

fn ls(out: &mut impl Write, target: &Target) -> anyhow::Result<()> {
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

fn check(out: &mut impl Write, target: &Target, options: Options) -> anyhow::Result<u8> {
    let total = Dataset::open(&target.dataset)?.manifest().shards.len();
    let told = |done| eprintln!("shard {} of {total} checked", done + 1);
    let report: Report = verify_with(&target.dataset, options, told)?;
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
    out.flush()?;
    Ok(if report.findings.is_empty() { exit::DONE } else { exit::LOSSY })
}

fn extract(out: &mut impl Write, path: &Path, id: u64, folder: &Path) -> anyhow::Result<()> {
    let (shard, row) = split_sample_id(id);
    let row: Row = Dataset::open(path)?.row(shard, row)?;
    row.check()?;
    std::fs::create_dir_all(folder).map_err(|e| anyhow::anyhow!("could not create {}: {e}", folder.display()))?;
    for (name, bytes) in [("template", row.template()), ("search", row.search())] {
        let file = folder.join(format!("{id}-{name}.jpg"));
        crate::writer::write_atomic(&file, bytes)
            .map_err(|e| anyhow::anyhow!("could not write {}: {e}", file.display()))?;
        writeln!(out, "{}", file.display())?;
    }
    Ok(())
}
