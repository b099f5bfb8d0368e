//! Command line of the program `shards`. Data goes to standard output, talk to standard error.

mod make;
mod show;

use clap::{Args, Parser, Subcommand, ValueEnum};
use schemas::build::BufferCompression;
use schemas::exit;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Looks inside datasets of crop pairs, checks them, and makes new ones from them.
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

/// `--buffer-compression`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Compression {
    None,
    Zstd,
    Lz4,
}

impl From<Compression> for BufferCompression {
    fn from(value: Compression) -> Self {
        match value {
            Compression::None => Self::None,
            Compression::Zstd => Self::Zstd,
            Compression::Lz4 => Self::Lz4,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Summary: sources, counts, sizes, histograms.
    Inspect {
        #[command(flatten)]
        target: Target,
        /// Draw the histograms into this SVG file too.
        #[arg(long)]
        svg: Option<PathBuf>,
    },
    /// Least, mean, median and largest value of every column.
    Stats(Target),
    /// Columns, types and metadata of the shards.
    Schema(Target),
    /// The shards: rows, tracks, bytes, hash.
    Ls(Target),
    /// Where the bytes are: files, templates, search crops, per dataset label.
    Du(Target),
    /// The first rows as JSON lines.
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
    /// All rows as JSON lines, or those for which a condition holds.
    Cat {
        /// Dataset folder.
        dataset: PathBuf,
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
    /// Compare two datasets row by row, wherever the rows lie; exit code 3 when rows differ.
    Diff {
        /// Dataset folder.
        first: PathBuf,
        /// Dataset folder.
        second: PathBuf,
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Rows and pairs per second from this disk, on one thread.
    Bench {
        #[command(flatten)]
        target: Target,
        /// Seconds for each way of reading.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// Write the pictures of rows as JPEG files.
    Extract {
        /// Dataset folder.
        dataset: PathBuf,
        /// A row's sample_id; may be repeated.
        #[arg(long, required_unless_present = "filter")]
        row: Vec<u64>,
        /// SQL condition that chooses rows.
        #[arg(long, conflicts_with = "row")]
        filter: Option<String>,
        /// Most rows that --filter may choose.
        #[arg(short = 'n', long, default_value_t = 100)]
        limit: usize,
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
    /// Describe a dataset on one self-contained HTML page with pictures.
    Card {
        /// Dataset folder.
        dataset: PathBuf,
        /// HTML file to write.
        #[arg(long)]
        out: PathBuf,
        /// Number of pairs shown.
        #[arg(long, default_value_t = 24)]
        pairs: usize,
        /// Seed of the choice.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Lay a dataset out anew: another shard size, other buffer compression; pictures are copied as they are.
    Reshard {
        #[command(flatten)]
        target: Target,
        /// Folder of the new dataset.
        #[arg(long)]
        out: PathBuf,
        /// Bytes a shard should have, about; stays as it is by default.
        #[arg(long)]
        shard_bytes: Option<u64>,
        /// Compression of shard buffers; stays as it is by default.
        #[arg(long, value_enum)]
        buffer_compression: Option<Compression>,
    },
    /// Split a dataset by video into one for training and one for validation.
    Split {
        #[command(flatten)]
        target: Target,
        /// Folder of the training dataset.
        #[arg(long)]
        train: PathBuf,
        /// Folder of the validation dataset.
        #[arg(long)]
        validation: PathBuf,
        /// Share of each label's videos that goes to validation.
        #[arg(long, default_value_t = 0.1)]
        share: f64,
        /// Seed of the choice.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Keep the rows for which a condition holds.
    Filter {
        #[command(flatten)]
        target: Target,
        /// SQL condition over the index's columns, for example "box_w > 40 AND dataset = 'vid'".
        #[arg(long = "where", value_name = "EXPR")]
        condition: String,
        /// Folder of the new dataset.
        #[arg(long)]
        out: PathBuf,
    },
    /// Merge datasets of one crop geometry into one.
    Merge {
        /// Dataset folders, two or more.
        #[arg(required = true, num_args = 2..)]
        datasets: Vec<PathBuf>,
        /// Folder of the new dataset.
        #[arg(long)]
        out: PathBuf,
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
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
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut code = exit::DONE;
    match command {
        Command::Inspect { target, svg } => show::inspect(&mut out, &target, svg.as_deref())?,
        Command::Stats(target) => show::stats(&mut out, &target)?,
        Command::Schema(target) => show::schema(&mut out, &target)?,
        Command::Ls(target) => show::ls(&mut out, &target)?,
        Command::Du(target) => show::du(&mut out, &target)?,
        Command::Head { dataset, rows, filter } => show::head(&mut out, &dataset, filter.as_deref(), rows)?,
        Command::Cat { dataset, filter } => show::cat(&mut out, &dataset, filter.as_deref())?,
        Command::Verify { target, decode } => code = show::verify(&mut out, &target, decode)?,
        Command::Diff { first, second, json } => code = show::diff(&mut out, [&first, &second], json)?,
        Command::Bench { target, seconds } => show::bench(&mut out, &target, seconds)?,
        Command::Extract { dataset, row, filter, limit, out: folder } => {
            make::extract(&mut out, &dataset, row, filter.as_deref(), limit, &folder)?;
        }
        Command::Sheet { dataset, out: file, pairs, seed } => make::sheet(&mut out, &dataset, &file, pairs, seed)?,
        Command::Card { dataset, out: file, pairs, seed } => make::card(&mut out, &dataset, &file, pairs, seed)?,
        Command::Reshard { target, out: folder, shard_bytes, buffer_compression } => {
            let buffer_compression = buffer_compression.map(Into::into);
            let layout = crate::derive::Layout { shard_bytes, buffer_compression };
            make::reshard(&mut out, &target, &folder, layout)?;
        }
        Command::Split { target, train, validation, share, seed } => {
            make::split(&mut out, &target, [&train, &validation], share, seed)?;
        }
        Command::Filter { target, condition, out: folder } => make::filter(&mut out, &target, &condition, &folder)?,
        Command::Merge { datasets, out: folder, json } => make::merge(&mut out, &datasets, &folder, json)?,
    }
    out.flush()?;
    Ok(code)
}
