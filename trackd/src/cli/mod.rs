//! The command line of `trackd`. Data goes to standard output, talk to standard error.

pub mod args;
mod jobs;
mod scores;
mod top;

use crate::daemon::{Ended, Settings, state_of, watch};
use crate::engine::{EngineError, Engines};
use crate::evaluate::{EvalError, EvalOptions, Evaluation, evaluate, evaluate_once, score_once, score_results};
use crate::frames::Limits;
use crate::frames::video::{Choice, Decoders};
use crate::input::{Input, InputError, Start};
use crate::publish::{TEMPORARY, move_into, remove, sync_folder};
use crate::report::{self, ReportError, ReportOptions, ResultsOf};
use crate::run::bench::Peer;
use crate::run::{self, JobError, RunOptions, Step, run as run_job};
use crate::trax::{self, Transport};
use args::{Cli, Command};
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use schemas::exit::{DONE, FAILED, INTERRUPTED, LOSSY, USAGE};
use schemas::watch::WatchConfig;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use vot::protocol::Protocol;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The model or its device.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// One job.
    #[error(transparent)]
    Job(#[from] JobError),
    /// An evaluation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A TraX session.
    #[error(transparent)]
    Trax(#[from] trax::TraxError),
    /// The daemon.
    #[error(transparent)]
    Watch(#[from] crate::daemon::WatchError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    /// A configuration that does not fit.
    #[error("configuration {path}: {reason}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Results are there already.
    #[error("{path} holds results already: name another --out, or add --force to replace them", path = path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A folder cannot be written.
    #[error("{path} cannot be written: {source}", path = path.display())]
    Output {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No job folder of the official toolkit.
    #[error("{path} is no job folder: frames_color.txt and at least one query_ID.txt must be in it", path = path.display())]
    NoQueries {
        /// The folder named.
        path: PathBuf,
    },
    /// A peer's times cannot be had.
    #[error("--peer: {0}")]
    Peer(String),
    /// There is no daemon's outbox.
    #[error("{path} is no outbox of `trackd watch` (there is no journal in {state})", path = path.display(), state = state.display())]
    NoOutbox {
        /// The folder named.
        path: PathBuf,
        /// Where the journal should be.
        state: PathBuf,
    },
    /// No such job.
    #[error("there is no job {job:?}: `trackd list` shows all")]
    NoJob {
        /// What was asked for.
        job: String,
    },
    /// The job is in a state in which this means nothing.
    #[error("job {job} is {state}: only {wanted}")]
    State {
        /// The job.
        job: String,
        /// Its state.
        state: &'static str,
        /// Which states this is for.
        wanted: &'static str,
    },
    /// Standard output is closed or full.
    #[error("standard output: {0}")]
    Stdout(io::Error),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            Self::Config { .. } | Self::Exists { .. } | Self::State { .. } => USAGE,
            Self::Eval(EvalError::Other { .. }) | Self::Engine(EngineError::Unused { .. }) => USAGE,
            Self::Report(ReportError::SameName { .. } | ReportError::NoReference { .. } | ReportError::Protocol(_)) => {
                USAGE
            }
            // Whoever reads our output has seen enough.
            Self::Stdout(e) if e.kind() == io::ErrorKind::BrokenPipe => DONE,
            _ => FAILED,
        }
    }
}

/// Runs `trackd` with these arguments, the program's name first, and answers its exit code.
pub fn run<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors; a closed standard output is none either.
            drop(e.print());
            return ExitCode::from(if e.use_stderr() { USAGE } else { DONE });
        }
    };
    start_log(matches!(&cli.command, Command::Watch(args) if args.log_json));
    let code = dispatch(cli.command).unwrap_or_else(|e| {
        let code = e.code();
        if code != DONE {
            eprintln!("trackd: {e}");
        }
        code
    });
    ExitCode::from(code)
}

fn dispatch(command: Command) -> Result<u8, CliError> {
    match command {
        Command::Track(args) => track(args),
        Command::Eval(args) => eval(&args),
        Command::Score(args) => score(&args),
        Command::Report(args) => compare(args),
        Command::Trax(args) => {
            let engines = args.model.load()?;
            let Transport { input, output } = trax::connect(|name| std::env::var(name).ok())?;
            trax::serve(input, output, &engines, args.protocol, &Limits::default())?;
            Ok(DONE)
        }
        Command::Bench(args) => bench(&args),
        Command::Folder(args) => folder(&args),
        Command::Watch(args) => daemon(args),
        Command::Init(args) => jobs::init(&args),
        Command::Status(args) => jobs::status(&args),
        Command::List(args) => jobs::list(&args),
        Command::Retry(args) => jobs::retry(&args),
        Command::Cancel(args) => jobs::cancel(&args),
        Command::Top(args) => top::top(&args),
    }
}

/// Prints to standard output; a closed pipe is reported as such.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CliError::Stdout)
}

fn print_json(document: &impl serde::Serialize) -> Result<(), CliError> {
    print(&String::from_utf8_lossy(&crate::publish::pretty(document)))
}

fn start_log(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,trackd=info"));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour);
    // A log is there already when several commands run in one process.
    // A log that cannot be written, as on a full disk, is no reason to end.
    let log = log.with_target(false).log_internal_errors(false);
    drop(if json { log.json().flatten_event(true).try_init() } else { log.try_init() });
}

fn bar(length: Option<u64>) -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(length, target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn decoders(choice: Choice) -> Result<Decoders, CliError> {
    Ok(Decoders::detect(choice).map_err(JobError::from)?)
}

fn track(args: args::Track) -> Result<u8, CliError> {
    let taken = args.out.join("result.json").exists();
    if taken && !args.force {
        return Err(CliError::Exists { path: args.out });
    }
    let options =
        RunOptions { decoders: decoders(args.decoder)?, limits: Limits::default(), overlay: args.overlay, job: None };
    let input = Input::open(&args.input, &options.decoders).map_err(JobError::from)?;
    let starts = find_starts(&input, &args.init, &options)?;
    let engines = args.model.load()?;
    let output = |source| CliError::Output { path: args.out.clone(), source };
    fs::create_dir_all(&args.out).map_err(output)?;
    let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&args.out).map_err(output)?;
    let bar = bar(None);
    let progress = |step: &Step| {
        if let Some(of) = step.expected {
            bar.set_length(of);
        }
        bar.set_position(step.frames);
    };
    let never = AtomicBool::new(false);
    let doc = run_job(&input, &starts, &engines, &options, temporary.path(), &never, &progress)?;
    bar.finish_and_clear();
    for name in doc.files.iter().filter(|n| *n != "result.json").chain([&"result.json".to_owned()]) {
        let target = args.out.join(name.trim_end_matches('/'));
        if target.is_dir() {
            remove(&target).map_err(output)?;
        }
        move_into(&temporary.path().join(name.trim_end_matches('/')), &args.out).map_err(output)?;
    }
    drop(temporary);
    sync_folder(&args.out).map_err(output)?;
    for warning in &doc.warnings {
        eprintln!("warning: {warning}");
    }
    let lost: Vec<String> = doc.targets.iter().map(|t| t.lost_frames.to_string()).collect();
    eprintln!(
        "{}: {} frames, {} lost, {:.1} frames/s tracking, {:.1} frames/s in all; results in {}",
        doc.name,
        doc.frames,
        lost.join(" and "),
        doc.tracker_frames_per_s,
        doc.frames_per_s,
        args.out.display()
    );
    if args.json {
        print_json(&doc)?;
    }
    Ok(if doc.warnings.iter().any(|w| w.contains("could be decoded")) { LOSSY } else { DONE })
}

/// The boxes of the command line, or those that belong to the input.
fn find_starts(input: &Input, boxes: &[[f64; 4]], options: &RunOptions) -> Result<Vec<Start>, CliError> {
    if !boxes.is_empty() {
        let start = |(i, rect): (usize, &[f64; 4])| {
            Ok(Start { id: (i + 1).to_string(), ..Start::new(0, *rect, "--init").map_err(JobError::from)? })
        };
        return boxes.iter().enumerate().map(start).collect();
    }
    let starts = input.starts().map_err(JobError::from)?;
    if !starts.is_empty() {
        return Ok(starts);
    }
    // Says what is wrong with the file, if anything is, rather than that the box is missing.
    let opened = crate::frames::Frames::open(input, &options.decoders, &options.limits);
    opened.map_err(JobError::from)?;
    let error = InputError::NoBox { path: input.path.clone(), name: input.name.clone() };
    Err(JobError::from(error).into())
}

fn bench(args: &args::Bench) -> Result<u8, CliError> {
    let options =
        RunOptions { decoders: decoders(args.decoder)?, limits: Limits::default(), overlay: args.overlay, job: None };
    let input = Input::open(&args.input, &options.decoders).map_err(JobError::from)?;
    let starts = find_starts(&input, &args.init, &options)?;
    let engines = args.model.load()?;
    let output = |source| CliError::Output { path: std::env::temp_dir(), source };
    let place = tempfile::tempdir().map_err(output)?;
    let side_by_side = args.streams.map_or_else(crate::daemon::half_the_cores, usize::from);
    let counts = if side_by_side > 1 { vec![1, side_by_side] } else { vec![1] };
    let mut network_ms = None;
    for streams in counts {
        let speed =
            run::bench::bench(&input, &starts, &engines, &options, streams, &place.path().join(streams.to_string()))?;
        // Peers run alone.
        network_ms.get_or_insert(speed.network_ms);
        if args.json {
            print(&format!("{}\n", serde_json::json!(speed)))?;
            continue;
        }
        let all: f64 = speed.stages().iter().map(|(_, ms)| ms).sum();
        let stages = speed.stages().map(|(name, ms)| format!("  {name:16} {ms:8.2} ms {:4.0} %\n", 100.0 * ms / all));
        let plural = if streams == 1 { "" } else { "s" };
        print(&format!(
            "{streams} stream{plural}: {:.1} frames/s ({} frames, {}); per frame:\n{}",
            speed.frames_per_s,
            speed.frames,
            speed.engine,
            stages.concat()
        ))?;
    }
    if let (Some(command), Some(ours)) = (&args.peer, network_ms) {
        let side = engines.config().search_px;
        for Peer { peer, median_ms } in run::bench::peers(command, side).map_err(CliError::Peer)? {
            let ratio = ours / median_ms;
            if args.json {
                let line = serde_json::json!({"network_ms": ours, "peer": peer, "peer_ms": median_ms, "ratio": ratio});
                print(&format!("{line}\n"))?;
            } else {
                print(&format!("network {ours:.1} ms; {peer}: {median_ms:.1} ms, ratio {ratio:.2}\n"))?;
            }
        }
    }
    Ok(DONE)
}

fn folder(args: &args::Folder) -> Result<u8, CliError> {
    let options =
        RunOptions { decoders: decoders(Choice::Builtin)?, limits: Limits::default(), overlay: false, job: None };
    let input = Input::open(&args.folder, &options.decoders).map_err(JobError::from)?;
    if input.queries.is_empty() {
        return Err(CliError::NoQueries { path: args.folder.clone() });
    }
    let engines = args.model.load()?;
    let output = |source| CliError::Output { path: args.folder.clone(), source };
    let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&args.folder).map_err(output)?;
    let never = AtomicBool::new(false);
    let doc = run_job(&input, &input.queries, &engines, &options, temporary.path(), &never, &|_| {})?;
    for name in doc.files.iter().filter(|name| name.starts_with("output_")) {
        move_into(&temporary.path().join(name), &args.folder).map_err(output)?;
    }
    Ok(DONE)
}

fn eval(args: &args::Eval) -> Result<u8, CliError> {
    let options = EvalOptions {
        dialect: args.dialect,
        repetitions: args.repetitions.map(usize::from),
        tracker: args.tracker.clone(),
        interval: args.eao_interval,
        jobs: args.jobs.map_or_else(crate::daemon::half_the_cores, usize::from),
        binary: args.binary,
        run: RunOptions { decoders: decoders(Choice::Builtin)?, limits: Limits::default(), overlay: false, job: None },
        cancel: Arc::default(),
    };
    let engines = args.model.load()?;
    let bar = bar(None);
    let progress = |name: &str, index: usize, count: usize| {
        bar.set_length(count as u64);
        bar.set_position(index as u64);
        bar.set_message(name.to_owned());
        if bar.is_hidden() {
            eprintln!("sequence {} of {count}: {name}", index + 1);
        }
    };
    if args.protocol == Protocol::Supervised {
        let done = evaluate(&args.dataset, &engines, &options, &args.out, &progress)?;
        bar.finish_and_clear();
        scores::print(&done.score, args.json)?;
        return Ok(told(&done, &args.out));
    }
    let done = evaluate_once(&args.dataset, &engines, args.protocol, &options, &args.out, &progress)?;
    bar.finish_and_clear();
    scores::print_once(&done.score, args.json)?;
    Ok(told(&done, &args.out))
}

/// Says what an evaluation did, and answers the exit code.
fn told<S>(done: &Evaluation<S>, out: &Path) -> u8 {
    for (name, why) in &done.failed {
        eprintln!("warning: sequence {name} was left out: {why}");
    }
    eprintln!("{} runs made, {} complete ones kept; results in {}", done.made, done.kept, out.display());
    if done.failed.is_empty() { DONE } else { LOSSY }
}

fn score(args: &args::Score) -> Result<u8, CliError> {
    let experiment = args.experiment.as_deref().unwrap_or(args.protocol.experiment());
    if args.protocol == Protocol::Supervised {
        let score = score_results(&args.dataset, &args.results, experiment, args.dialect, args.eao_interval)?;
        scores::print(&score, args.json)?;
    } else {
        let score = score_once(&args.dataset, &args.results, experiment, args.protocol, args.eao_interval)?;
        scores::print_once(&score, args.json)?;
    }
    Ok(DONE)
}

fn compare(args: args::Report) -> Result<u8, CliError> {
    let options = ReportOptions {
        dataset: args.dataset,
        results: args.results.iter().map(|text| ResultsOf::parse(text)).collect(),
        experiment: args.experiment,
        protocol: args.protocol,
        dialect: args.dialect,
        interval: args.eao_interval,
        reference: args.reference,
        resamples: args.resamples as usize,
        seed: args.seed,
        thumbnails: usize::from(args.thumbnails),
    };
    let doc = report::report(&options, &args.out)?;
    for warning in &doc.warnings {
        eprintln!("warning: {warning}");
    }
    eprintln!("report in {}", args.out.join("report.html").display());
    if args.json {
        print_json(&doc)?
    } else {
        print(&report::as_text(&doc))?
    }
    Ok(DONE)
}

/// The configuration as file and command line have it.
fn effective(
    file: Option<&Path>,
    workers: Option<usize>,
    settle: Option<f64>,
    overlay: bool,
) -> Result<WatchConfig, CliError> {
    let mut config = match file {
        Some(path) => read_config(path)?,
        None => WatchConfig::default(),
    };
    config.workers = workers.unwrap_or(config.workers);
    config.settle_s = settle.unwrap_or(config.settle_s);
    config.overlay |= overlay;
    Ok(config)
}

fn daemon(args: args::Watch) -> Result<u8, CliError> {
    let (workers, settle, overlay) = (args.workers, args.settle, args.overlay);
    let config = effective(args.config.as_deref(), workers, settle, overlay)?;
    // Found again by its whole name, wherever the daemon goes.
    let file = args.config.map(|path| path.canonicalize().unwrap_or(path));
    let reload = move || effective(file.as_deref(), workers, settle, overlay).map_err(|e| e.to_string());
    let decoders = decoders(args.decoder)?;
    let engines: Arc<dyn Engines> = Arc::new(args.model.load()?);
    let state = args.state.unwrap_or_else(|| args.outbox.join(crate::scan::WORK));
    let http = args.http.map(|address| (address, std::env::var(crate::http::TOKEN).ok()));
    let reload = Arc::new(reload);
    let settings = Settings { inbox: args.inbox, outbox: args.outbox, state, config, decoders, http, reload };
    Ok(match watch(settings, engines)? {
        Ended::Asked => DONE,
        Ended::Interrupted => INTERRUPTED,
    })
}

fn read_config(path: &Path) -> Result<WatchConfig, CliError> {
    let bad = |reason: String| CliError::Config { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    let config: WatchConfig = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
    let times = [
        ("settle_s", config.settle_s),
        ("rescan_s", config.rescan_s),
        ("retry_s", config.retry_s),
        ("stall_s", config.stall_s),
        ("max_job_s", config.max_job_s),
        ("grace_s", config.grace_s),
        ("keep_done_days", config.keep_done_days),
        ("keep_failed_days", config.keep_failed_days),
    ];
    for (key, value) in times {
        if !(0.0..=1e7).contains(&value) {
            return Err(bad(format!("{key} = {value}: must be zero or more")));
        }
    }
    if !(0.0..=1.0).contains(&config.missing_frames) {
        return Err(bad(format!("missing_frames = {}: must be a share, 0 to 1", config.missing_frames)));
    }
    let web = ["http://", "https://"].iter().any(|start| config.webhook.starts_with(start));
    if !web && !config.webhook.is_empty() {
        return Err(bad(format!("webhook = {:?}: must begin with http:// or https://", config.webhook)));
    }
    Ok(config)
}
