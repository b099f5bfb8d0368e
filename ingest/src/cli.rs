//! The command line of `ingest`.

use crate::build::{BuildOptions, Part, build, dry_run};
use crate::commit::merge_on;
use crate::config::{self, Overrides};
use crate::error::IngestError;
use crate::pairs;
use crate::progress::Progress;
use crate::source::SourceSpec;
use crate::target::Target;
use clap::{Args, Parser, Subcommand, ValueEnum};
use schemas::build::BufferCompression;
use schemas::exit;
use schemas::manifest::REJECTS_FILE;
use schemas::train::PRESETS;
use serde::Serialize;
use shards::disk::Real;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Turns corpora of annotated video into datasets of crop pairs.
#[derive(Debug, Parser)]
#[command(name = "ingest", version = schemas::format::VERSION, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration, 3 done but inputs were \
                        rejected, 130 interrupted (run again to go on).")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds a dataset, or goes on with one that was interrupted.
    Build(BuildArgs),
    /// Checks the shards built by all parts and completes the dataset.
    Merge(MergeArgs),
    /// Lays out the pairs that a training run draws, in the order in which it reads them.
    Pairs(PairsArgs),
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// What to read: crops, vid (folder, .tar, .tar.gz or .tar.zst each), ytbb, crop511, stills (COCO, ImageNet DET)
    /// or sequences (VOT, OTB, GOT-10k, LaSOT), with its path; KIND:LABEL=PATH chooses the dataset label. May be given
    /// several times. docs/sources.md describes every layout.
    #[arg(long = "source", value_name = "KIND=PATH", required = true)]
    sources: Vec<SourceSpec>,
    /// Folder of the dataset, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "DATASET")]
    out: PathBuf,
    /// Where a dataset in object storage is prepared, one shard at a time; the system's temporary folder by default.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Build only the shards I, I+N, I+2N, ...; `ingest merge` completes the dataset.
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    part: Part,
    /// Print the plan and the effective configuration; write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Configuration in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop with an error above this many rejected inputs.
    #[arg(long, value_name = "N")]
    max_rejects: Option<u64>,
    /// Side of search crops, px. Ready-made crops are then encoded anew; 0 keeps them as they are.
    #[arg(long, value_name = "PX")]
    search_px: Option<u32>,
    /// Worker threads; one per core by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Decode frames at a half or a quarter of their size where the crops need no more: faster, but not bit-identical to
    /// OpenCV's pixels (feature turbo).
    #[arg(long)]
    fast_decode: bool,
    /// Compress the buffers of shards, for archives.
    #[arg(long, value_name = "CODEC")]
    buffer_compression: Option<Codec>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MergeArgs {
    /// Folder of the dataset, or s3://BUCKET/PREFIX.
    dataset: PathBuf,
    /// Where a dataset in object storage is prepared; the system's temporary folder by default.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PairsArgs {
    /// Folder of the dataset to draw from.
    dataset: PathBuf,
    /// First and last epoch, counted from 1, both included.
    #[arg(long, value_name = "A..B", value_parser = pairs::epochs)]
    epochs: RangeInclusive<u32>,
    /// Folder of the new dataset.
    #[arg(long, value_name = "DATASET")]
    out: PathBuf,
    /// Training configuration in TOML, for example config.toml of a run: run.seed, run.batch and data.* decide the order.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Preset below the configuration.
    #[arg(long, value_name = "NAME", value_parser = PRESETS, default_value = "recommended")]
    preset: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Codec {
    None,
    Zstd,
    Lz4,
}

/// Runs the program with its arguments (the first is its name) and returns its exit code.
pub fn run<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no failure. A closed pipe is none either.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::DONE });
        }
    };
    shards::memory::keep_freed(shards::memory::Keep::Pictures);
    let outcome = match cli.command {
        Command::Build(args) => run_build(&args),
        Command::Merge(args) => run_merge(&args),
        Command::Pairs(args) => run_pairs(&args),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("error: failed to {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run_build(args: &BuildArgs) -> Result<u8, IngestError> {
    let overrides = Overrides {
        max_rejects: args.max_rejects,
        search_px: args.search_px,
        fast_decode: args.fast_decode,
        buffer_compression: args.buffer_compression.map(|codec| match codec {
            Codec::None => BufferCompression::None,
            Codec::Zstd => BufferCompression::Zstd,
            Codec::Lz4 => BufferCompression::Lz4,
        }),
    };
    let config = config::load(args.config.as_deref(), &overrides)?;
    if args.dry_run {
        return print(args.json, &dry_run(&args.sources, &config, &args.out)?, exit::DONE);
    }
    let options = BuildOptions {
        part: args.part,
        threads: args.threads.map_or(0, usize::from),
        progress: true,
        stop: stop_on_signal(),
        scratch: args.scratch.clone(),
    };
    let report = build(&args.sources, &config, &args.out, &options)?;
    if report.rejects > 0 {
        let place = if report.complete { args.out.join(REJECTS_FILE) } else { args.out.join(crate::record::WORK_DIR) };
        say(&format!("{} inputs were rejected; see {}", report.rejects, place.display()));
    }
    if !report.complete {
        let Part { index, count } = args.part;
        say(&format!("part {index} of {count} is done; when all parts are: ingest merge {}", args.out.display()));
    }
    let code = if report.rejects > 0 { exit::LOSSY } else { exit::DONE };
    print(args.json, &report, code)
}

fn run_merge(args: &MergeArgs) -> Result<u8, IngestError> {
    let report = merge_on(&Target::open(&args.dataset, args.scratch.as_deref(), Real)?)?;
    let code = if report.rejects > 0 { exit::LOSSY } else { exit::DONE };
    print(args.json, &report, code)
}

fn run_pairs(args: &PairsArgs) -> Result<u8, IngestError> {
    let cfg = pairs::config(&args.preset, args.config.as_deref())?;
    let stop = stop_on_signal();
    let mut progress = None;
    let report = pairs::pairs(&args.dataset, &cfg, args.epochs.clone(), &args.out, |done, all| {
        progress.get_or_insert_with(|| Progress::new(true, "shards", u64::from(all))).set(u64::from(done));
        !stop.load(Ordering::Relaxed)
    })?;
    if let Some(progress) = progress {
        progress.finish();
    }
    print(args.json, &report, exit::DONE)
}

/// A flag that the first Ctrl-C or SIGTERM sets; the second ends the process at once.
fn stop_on_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let set = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    });
    // A caller in this process may have its own handler; it then decides.
    drop(set);
    stop
}

fn print(json: bool, value: &(impl Serialize + Display), code: u8) -> Result<u8, IngestError> {
    let text = if json { serde_json::to_string(value).unwrap_or_default() } else { value.to_string() };
    match writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(IngestError::Io { action: "write", path: "standard output".into(), source: error })
        }
        _ => Ok(code),
    }
}

fn say(text: &str) {
    // Nobody listening on standard error is no reason to fail.
    drop(writeln!(io::stderr(), "{text}"));
}
