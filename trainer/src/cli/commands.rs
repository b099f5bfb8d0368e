//! `trainer report`, `trainer eval` and `trainer tune`.

use super::{Failure, INTERRUPT, catch_interrupts, print};
use crate::evaluate::{
    Axis, Epochs, EvalOptions, Evaluation, Objective, Protocol, Search, TuneOptions, Tuned, Workers, evaluate, tune,
};
use crate::metrics::talk;
use crate::report;
use clap::{Args, ValueEnum};
use schemas::exit::{DONE, USAGE};
use shards::writer::write_atomic;
use std::path::{Path, PathBuf};
use vot::Dialect;

/// Arguments of `trainer report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Run folders
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "FILE.html", required_unless_present = "svg")]
    out: Option<PathBuf>,
    /// A drawing of the loss alone
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
}

pub(super) fn reported(args: &ReportArgs) -> Result<u8, Failure> {
    let made = [(&args.out, report::page as fn(&[PathBuf]) -> _), (&args.svg, report::loss_svg)];
    for (path, make) in made {
        if let Some(path) = path {
            write_atomic(path, make(&args.runs)?.as_bytes())?;
        }
    }
    Ok(DONE)
}

#[derive(Debug, Clone, Args)]
struct WorkerArgs {
    /// cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Sequences tracked at a time [default: all cores]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// No progress on standard error
    #[arg(long, short)]
    quiet: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl WorkerArgs {
    fn workers(&self) -> Workers {
        Workers { device: self.device.clone(), threads: self.threads }
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            talk(text);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    /// Started again after failures: accuracy, robustness, EAO
    Supervised,
    /// Started once: overlap, success, precision
    Ope,
}

/// Arguments of `trainer eval`.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// Run folder, or one model file
    run: PathBuf,
    /// Data set, in any layout that `trackd eval` reads
    #[arg(long, value_name = "VOT_DATASET")]
    dataset: PathBuf,
    /// Epochs: 40, 35..50 (both ends counted), last, all
    #[arg(long, value_name = "EPOCHS", default_value = "all")]
    epochs: Epochs,
    /// How the tracker is run
    #[arg(long, value_enum, default_value = "supervised")]
    protocol: ProtocolName,
    /// Whose definitions: vot-python, vot-matlab, vot-matlab-2015, pysot, mindspore
    #[arg(long, default_value = "vot-matlab")]
    dialect: Dialect,
    /// Folder for the results [default: RUN/eval; beside a model file, its name with -eval]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only every N-th epoch, beginning with the I-th (from 0), for job arrays; call once more without it for the summary
    #[arg(long, value_name = "I/N", value_parser = part)]
    part: Option<(usize, usize)>,
    #[command(flatten)]
    workers: WorkerArgs,
}

fn part(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
    parsed.filter(|(i, n)| i < n).ok_or_else(|| format!("{text:?} is not I/N with I from 0 to N - 1, for example 0/4"))
}

/// `RUN/eval`, or beside a model file a folder named after it.
fn folder(run: &Path, named: Option<PathBuf>, what: &str) -> PathBuf {
    named.unwrap_or_else(|| {
        if run.is_file() {
            let stem = run.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            run.with_file_name(format!("{stem}-{what}"))
        } else {
            run.join(what)
        }
    })
}

pub(super) fn evaluated(args: EvalArgs) -> Result<u8, Failure> {
    catch_interrupts("interrupted: finished epochs are kept (once more to stop at once)");
    let options = EvalOptions {
        out: folder(&args.run, args.out, "eval"),
        run: args.run,
        dataset: args.dataset,
        epochs: args.epochs,
        protocol: match args.protocol {
            ProtocolName::Supervised => Protocol::Supervised,
            ProtocolName::Ope => Protocol::Ope,
        },
        dialect: args.dialect,
        part: args.part,
        workers: args.workers.workers(),
    };
    let found = evaluate(&options, &INTERRUPT, &|text| args.workers.say(text))?;
    print(args.workers.json, &found, table)?;
    Ok(DONE)
}

fn table(found: &Evaluation) -> String {
    let value = |v: Option<f64>, digits: usize| v.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
    let supervised = found.protocol == Protocol::Supervised;
    let head = if supervised {
        "epoch  accuracy  failures  per 100 frames     EAO"
    } else {
        "epoch  mean overlap  success  precision"
    };
    let rows = found.epochs.iter().map(|row| {
        let mark = if Some(row.epoch) == found.best && found.epochs.len() > 1 { "  best" } else { "" };
        if supervised {
            let (a, f) = (value(row.accuracy, 4), value(row.failures, 1));
            let (r, e) = (value(row.robustness_per_100, 3), value(row.eao, 4));
            format!("{:5} {a:>9} {f:>9} {r:>15} {e:>7}{mark}", row.epoch)
        } else {
            let (a, s, p) = (value(row.accuracy, 4), value(row.success_auc, 4), value(row.precision_20, 4));
            format!("{:5} {a:>13} {s:>8} {p:>10}{mark}", row.epoch)
        }
    });
    let rows: Vec<String> = rows.collect();
    format!("{}, {}\n{head}\n{}\n{}", found.dataset, found.dialect, rows.join("\n"), found.out.display())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ObjectiveName {
    /// Expected average overlap of the supervised protocol
    Eao,
    /// Mean overlap of one pass
    MeanOverlap,
}

/// Arguments of `trainer tune`.
#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    /// Run folder, or one model file
    run: PathBuf,
    /// Annotated data set to tune on: a validation set, never the one whose score will be published
    #[arg(long, value_name = "VOT_DATASET")]
    dataset: PathBuf,
    /// Only these sequences of it
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    sequences: Vec<String>,
    /// Which of the run's weights: an epoch, or last
    #[arg(long, value_name = "EPOCH", default_value = "last")]
    epoch: Epochs,
    /// What is to be large
    #[arg(long, value_enum, default_value = "eao")]
    objective: ObjectiveName,
    /// Whose definitions
    #[arg(long, default_value = "vot-matlab")]
    dialect: Dialect,
    /// Settings to try, the model's own included
    #[arg(long, value_name = "N", default_value_t = 60)]
    trials: usize,
    /// Try every combination of --penalty, --window and --lr instead
    #[arg(long, conflicts_with = "trials")]
    grid: bool,
    /// Values of penalty_k in a grid
    #[arg(long, value_name = "FROM:TO:STEP", default_value = "0.05:0.5:0.05", requires = "grid")]
    penalty: Axis,
    /// Values of window_influence in a grid
    #[arg(long, value_name = "FROM:TO:STEP", default_value = "0.1:0.8:0.05", requires = "grid")]
    window: Axis,
    /// Values of lr in a grid
    #[arg(long, value_name = "FROM:TO:STEP", default_value = "0.35:0.5:0.05", requires = "grid")]
    lr: Axis,
    /// Seed of the search
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for trials.jsonl, best.json and tuned.safetensors [default: RUN/tune; beside a model file, its name with -tune]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    workers: WorkerArgs,
}

pub(super) fn tuned(args: TuneArgs) -> Result<u8, Failure> {
    if args.trials == 0 {
        let error = anyhow::anyhow!("--trials 0: at least the model's own setting is tried");
        return Err(Failure { code: USAGE, error });
    }
    catch_interrupts("interrupted: finished trials are kept (once more to stop at once)");
    let search = if args.grid {
        Search::Grid { penalty: args.penalty, window: args.window, lr: args.lr }
    } else {
        Search::Random { trials: args.trials }
    };
    let options = TuneOptions {
        out: folder(&args.run, args.out, "tune"),
        run: args.run,
        epoch: args.epoch,
        dataset: args.dataset,
        sequences: args.sequences,
        objective: match args.objective {
            ObjectiveName::Eao => Objective::Eao,
            ObjectiveName::MeanOverlap => Objective::MeanOverlap,
        },
        dialect: args.dialect,
        search,
        seed: args.seed,
        workers: args.workers.workers(),
    };
    let found = tune(&options, &INTERRUPT, &|text| args.workers.say(text))?;
    print(args.workers.json, &found, |found: &Tuned| {
        let mut text = "trial  penalty_k  window_influence     lr    value".to_owned();
        for (mark, t) in found.top.iter().map(|t| ("", t)).chain([("  untuned", &found.best.untuned)]) {
            let (p, w) = (t.penalty_k, t.window_influence);
            text += &format!("\n{:5} {p:10.3} {w:17.3} {:6.3} {:8.4}{mark}", t.trial, t.lr, t.value);
        }
        let (dataset, path) = (&found.best.dataset, found.tuned.display());
        format!("{text}\n{path}: tuned on {dataset}, so its score there says little; judge it by other sequences")
    })?;
    Ok(DONE)
}
