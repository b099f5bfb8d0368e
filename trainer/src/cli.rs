//! The command line of `trainer`.
//!
//! Results on standard output, talk on standard error; exit codes as in [`schemas::exit`].

mod commands;

use crate::bench::{self, Figures, Subject};
use crate::check;
use crate::config::Layers;
use crate::evaluate::EvaluateError;
use crate::export::{self, ExportError, Exported, Format};
use crate::init;
use crate::metrics::talk;
use crate::report::ReportError;
use crate::train::{self, Options, Summary, TrainError};
use clap::{Args, Parser, Subcommand, ValueEnum};
use commands::{EvalArgs, ReportArgs, TuneArgs};
use schemas::exit::{DONE, FAILED, INTERRUPTED, LOSSY, USAGE};
use schemas::model::ModelConfig;
use schemas::train::{PRESETS, TrainConfig};
use serde::Serialize;
use shards::store::cache::{Settings, parse_size};
use siamrpn::device::device;
use siamrpn::import::{Family, Foreign, ImportError, from_imagenet_alexnet};
use siamrpn::model::Stored;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Trains SiamRPN from a dataset of shards.
#[derive(Debug, Parser)]
#[command(name = "trainer", version = schemas::format::VERSION, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 bad arguments or configuration, 3 done but rows were \
                          substituted, steps skipped or checkpoints not written in between, 130 interrupted after a checkpoint.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Draw the first batch to a picture and do one step with it
    Check(CheckArgs),
    /// Train
    Run(RunArgs),
    /// Measure the loader, the model, or both
    Bench(BenchArgs),
    /// Draw runs as curves on one page
    Report(ReportArgs),
    /// Track a VOT data set with the weights of a run's epochs and compare them
    Eval(EvalArgs),
    /// Search the tracker's constants for a model on a data set that is not the one it will be judged by
    Tune(TuneArgs),
    /// Convert other weights to a model file to start from
    Import(ImportArgs),
    /// Write a model for other programs: ONNX graphs, or a model file of half the size
    Export(ExportArgs),
}

/// Configuration: preset, then file, then overrides.
#[derive(Debug, Clone, Args)]
struct ConfigArgs {
    /// TOML file over the preset
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Configuration to start from [default: recommended]
    #[arg(long, value_name = "NAME", value_parser = PRESETS)]
    preset: Option<String>,
    /// Single values over all else, for example optim.lr_start=0.01 run.batch=8
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl From<ConfigArgs> for Layers {
    fn from(args: ConfigArgs) -> Self {
        Self { preset: args.preset, file: args.config, overrides: args.overrides }
    }
}

/// Where shards from object storage are kept.
#[derive(Debug, Clone, Args)]
struct CacheArgs {
    /// Folder for shards of a dataset in object storage [default: siamrpn-shards in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Bytes this folder may hold, for example 200G [default: 50G]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    cache_size: Option<u64>,
}

impl CacheArgs {
    fn install(self) {
        let standard = Settings::default();
        let bytes = self.cache_size.unwrap_or(standard.bytes);
        Settings { dir: self.cache.unwrap_or(standard.dir), bytes }.install();
    }
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Dataset folder, or s3://BUCKET/PREFIX; several are trained on together
    #[arg(long, value_name = "DATASET", required = true)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
    /// Folder for the picture
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// cpu, cuda:N, or several as in cuda:0,1
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Dataset folder, or s3://BUCKET/PREFIX; several are trained on together
    #[arg(long, value_name = "DATASET", required = true)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
    /// Run folder; must be empty or absent without --resume
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// cpu, cuda:N, or several as in cuda:0,1
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Dataset whose pairs give the validation loss (also several) [default: the videos held out by data.validation_share]
    #[arg(long, value_name = "DATASET")]
    validation: Vec<PathBuf>,
    /// Go on from the newest checkpoint in the run folder
    #[arg(long)]
    resume: bool,
    /// Shards that are read at a time, for disks and object stores that need local reads: data.shuffle_window
    #[arg(long, value_name = "SHARDS")]
    shuffle_window: Option<u32>,
    /// No progress on standard error
    #[arg(long, short)]
    quiet: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    subject: Subject,
    /// Dataset folder, also several; not needed for `model`
    #[arg(long, value_name = "DATASET", required_if_eq_any = [("subject", "loader"), ("subject", "train")])]
    data: Vec<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
    /// Loader threads [default: all cores but one]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Pairs of a step [default: the preset's]
    #[arg(long, value_name = "B")]
    batch: Option<usize>,
    /// Arithmetic: fp32, bf16, f16
    #[arg(long, value_name = "P", value_parser = ["fp32", "bf16", "f16"])]
    precision: Option<String>,
    /// cpu, cuda:N, or several as in cuda:0,1
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Seconds to measure, after the warm-up
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Where imported weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// torchvision's AlexNet convolutions as safetensors (conv1 to conv5), for the narrow trunk
    ImagenetAlexnet,
    /// Any safetensors file with this project's tensor names; the trunk must be whole
    Safetensors,
    /// PySOT's siamrpn_alex_dwxcorr, whole
    Pysot,
    /// The trunk PySOT starts from, alexnet-bn.pth
    PysotAlexnet,
    /// HelloRicky123's Siamese-RPN, whole
    SiamrpnPytorch,
    /// The trunk it starts from, alexnet.pth
    SiamrpnPytorchAlexnet,
    /// DaSiamRPN's SiamRPNVOT.model or SiamRPNBIG.model
    Dasiamrpn,
    /// DaSiamRPN's SiamRPNOTB.model
    DasiamrpnOtb,
}

impl Kind {
    /// The family whose file brings its own model configuration.
    fn family(self) -> Option<Family> {
        Some(match self {
            Self::ImagenetAlexnet | Self::Safetensors => return None,
            Self::Pysot => Family::Pysot,
            Self::PysotAlexnet => Family::PysotAlexnet,
            Self::SiamrpnPytorch => Family::SiamrpnPytorch,
            Self::SiamrpnPytorchAlexnet => Family::SiamrpnPytorchAlexnet,
            Self::Dasiamrpn => Family::Dasiamrpn,
            Self::DasiamrpnOtb => Family::DasiamrpnOtb,
        })
    }
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// The weights
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// What they are
    #[arg(long, value_enum)]
    kind: Kind,
    /// The model file to write
    #[arg(long, value_name = "MODEL.safetensors")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// Model file (.safetensors)
    model: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    format: Format,
    /// The model file to write, or for onnx the folder, which must be empty or absent
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Bits in which the weights of convolutions are stored: fp32, f16; the arithmetic stays fp32
    #[arg(long, value_name = "P", default_value = "fp32", value_parser = ["fp32", "f16"])]
    precision: String,
    /// Side in pixels of the search pictures, for example 255, 271 or 287 [default: the model's]
    #[arg(long, value_name = "N")]
    search_px: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What went wrong, and the exit code for it.
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        Self { code: error.exit(), error: error.into() }
    }
}

macro_rules! train_errors {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Failure {
            fn from(error: $kind) -> Self {
                TrainError::from(error).into()
            }
        }
    )*};
}
train_errors!(crate::config::ConfigError, crate::init::InitError, siamrpn::device::DeviceError);

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let usage = matches!(error, ImportError::Widths { .. } | ImportError::Config(_) | ImportError::Fixed { .. });
        let code = if usage { USAGE } else { FAILED };
        Self { code, error: error.into() }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let code = if matches!(error, ExportError::Exists { .. } | ExportError::Config(_)) { USAGE } else { FAILED };
        Self { code, error: error.into() }
    }
}

impl From<siamrpn::model::ModelError> for Failure {
    fn from(error: siamrpn::model::ModelError) -> Self {
        Self { code: FAILED, error: error.into() }
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        Self { code: FAILED, error: error.into() }
    }
}

impl From<EvaluateError> for Failure {
    fn from(error: EvaluateError) -> Self {
        Self { code: error.exit(), error: error.into() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { code: FAILED, error: error.into() }
    }
}

/// Set by Ctrl-C or SIGTERM.
static INTERRUPT: AtomicBool = AtomicBool::new(false);

/// The first Ctrl-C or SIGTERM sets [`INTERRUPT`] and says `text`, the second ends the program at once.
fn catch_interrupts(text: &'static str) {
    INTERRUPT.store(false, Ordering::Relaxed);
    // A handler that is there already (a second run in one process) stays.
    let _present = ctrlc::set_handler(move || {
        if INTERRUPT.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        talk(text);
    });
}

/// Runs the command line `args` (the first one is the program's name) and answers the exit code.
pub fn run<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    shards::memory::keep_freed(shards::memory::Keep::Tensors);
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help on a closed pipe is no failure.
            let _closed = e.print();
            return ExitCode::from(if e.use_stderr() { USAGE } else { DONE });
        }
    };
    let (name, done) = match cli.command {
        Command::Check(args) => ("check", checked(args)),
        Command::Run(args) => ("run", trained(args)),
        Command::Bench(args) => ("bench", benched(args)),
        Command::Report(args) => ("report", commands::reported(&args)),
        Command::Eval(args) => ("eval", commands::evaluated(args)),
        Command::Tune(args) => ("tune", commands::tuned(args)),
        Command::Import(args) => ("import", imported(args)),
        Command::Export(args) => ("export", exported(&args)),
    };
    ExitCode::from(match done {
        Ok(code) => code,
        Err(Failure { error, .. }) if closed_pipe(&error) => DONE,
        Err(Failure { code, error }) => {
            talk(&format!("trainer {name}: {error}"));
            code
        }
    })
}

fn closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints a result: as one JSON object, or as text.
fn print<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    let text = if json { serde_json::to_string(value).map_err(io::Error::other)? } else { text(value) };
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn checked(args: CheckArgs) -> Result<u8, Failure> {
    args.cache.install();
    let cfg = Layers::from(args.config).resolve()?;
    let report = check::check(&args.data, &cfg, &args.device, &args.out)?;
    print(args.json, &report, |r| {
        format!(
            "picture    {}\ntemplate   {:?}\nsearch     {:?}\ncls        {:?}\nreg        {:?}\nparameters {}\n\
             positives  {:?}\nnegatives  {:?}\nepoch      {} steps of {} pairs, {} rows never drawn\nloss       {:.4} (cls {:.4}, reg {:.4})\n\
             grad norm  {:.4}\nfirst step {:.0} ms",
            r.picture.display(),
            r.template,
            r.search,
            r.cls,
            r.reg,
            r.parameters,
            r.positives,
            r.negatives,
            r.steps_per_epoch,
            r.batch,
            r.left_out,
            r.loss,
            r.loss_cls,
            r.loss_reg,
            r.grad_norm,
            r.step_ms
        )
    })?;
    if !report.finite {
        talk("trainer check: the loss or its gradient is not finite: lower optim.lr_start or check the start weights");
        return Ok(FAILED);
    }
    Ok(if report.substituted > 0 { LOSSY } else { DONE })
}

fn trained(args: RunArgs) -> Result<u8, Failure> {
    args.cache.clone().install();
    catch_interrupts("interrupted: finishing the step and writing a checkpoint (once more to stop at once)");
    let mut layers = Layers::from(args.config);
    layers.overrides.extend(args.shuffle_window.map(|n| format!("data.shuffle_window={n}")));
    let options = Options {
        data: args.data,
        validation: args.validation,
        out: args.out,
        layers,
        device: args.device,
        resume: args.resume,
        quiet: args.quiet,
    };
    let summary = train::run(&options, &INTERRUPT)?;
    print(args.json, &summary, |s: &Summary| {
        let loss = s.last.as_ref().and_then(|l| l.loss).map_or("-".to_owned(), |l| format!("{l:.4}"));
        format!(
            "{} of {} steps, epoch {}, loss {loss}, {} steps skipped, {} pairs substituted\n{}",
            s.step,
            s.steps,
            s.epoch,
            s.bad_steps,
            s.substituted,
            s.model.display()
        )
    })?;
    Ok(if summary.interrupted {
        INTERRUPTED
    } else if summary.substituted > 0 || summary.bad_steps > 0 || summary.unwritten > 0 {
        LOSSY
    } else {
        DONE
    })
}

fn benched(args: BenchArgs) -> Result<u8, Failure> {
    args.cache.install();
    let mut layers = Layers::from(args.config);
    let flags = [
        args.threads.map(|n| format!("run.workers={n}")),
        args.batch.map(|n| format!("run.batch={n}")),
        args.precision.map(|p| format!("run.precision={p}")),
    ];
    layers.overrides.extend(flags.into_iter().flatten());
    let cfg = layers.resolve()?;
    if !(args.seconds.is_finite() && (0.0..=86_400.0).contains(&args.seconds)) {
        let error = anyhow::anyhow!("--seconds {}: expected 0 to 86400", args.seconds);
        return Err(Failure { code: USAGE, error });
    }
    let figures = bench::bench(args.subject, &args.data, &cfg, &args.device, Duration::from_secs_f64(args.seconds))?;
    print(args.json, &figures, |f: &Figures| {
        let per_thread = f.pairs_per_s_per_thread.map_or(String::new(), |v| format!(", {v:.1} per thread"));
        let stages = f.stage_shares.iter().flatten().map(|(name, share)| format!(" {name} {:.1} %", 100.0 * share));
        let stages = f.decode_ceiling_pairs_per_cpu_s.map_or(String::new(), |ceiling| {
            let stages: Vec<String> = stages.collect();
            format!(
                "\nof it{}\ndecoding alone would give {ceiling:.1} pairs per second of processor time",
                stages.join(",")
            )
        });
        format!(
            "{:.1} pairs/s{per_thread} ({:.1} per second of processor time), {:.1} ms per step of {} pairs ({:.1} ms waiting \
             for data), {} steps in {:.1} s, {} MB of memory{stages}{}",
            f.pairs_per_s,
            f.pairs_per_cpu_s,
            f.step_ms,
            f.batch,
            f.data_wait_ms,
            f.steps,
            f.seconds,
            f.memory_bytes / 1_000_000,
            profiled(f)
        )
    })?;
    Ok(DONE)
}

/// Speed of the arithmetic, and a table of the layers.
fn profiled(f: &Figures) -> String {
    let mut text = String::new();
    if let (Some(tflops), Some(gmac)) = (f.tflops, f.gmac_per_pair) {
        text += &format!("\n{tflops:.3} TFLOP/s at {gmac:.2} GMAC per pair");
    }
    let (Some(profile), Some(share)) = (&f.profile, f.share_of_matmul) else { return text };
    text += &format!(", {:.0} % of {:.3} TFLOP/s of a matrix product\n", 100.0 * share, profile.matmul_tflops);
    text += "layer           branch     forward ms  backward ms     GMAC";
    for layer in &profile.layers {
        let backward = layer.backward_ms.map_or("frozen".to_owned(), |ms| format!("{ms:.1}"));
        let (name, branch) = (layer.name, layer.branch);
        text += &format!("\n{name:15} {branch:8} {:12.1} {backward:>12} {:8.2}", layer.forward_ms, layer.forward_gmac);
    }
    text
}

/// What an import did.
#[derive(Debug, Serialize)]
struct Imported {
    model: PathBuf,
    blake3: String,
    parameters: usize,
    taken: String,
    /// Tensors of the file that are known to be of no use here.
    ignored: Vec<String>,
    config: ModelConfig,
}

fn imported(args: ImportArgs) -> Result<u8, Failure> {
    let device = device("cpu")?;
    let layers = Layers::from(args.config);
    let mut ignored = Vec::new();
    let (cfg, net, taken) = if let Some(family) = args.kind.family() {
        if layers.preset.is_some() {
            let error =
                anyhow::anyhow!("--preset: the weights of this kind bring their model configuration; leave it out");
            return Err(Failure { code: USAGE, error });
        }
        let foreign = Foreign::open(&args.from, family)?;
        let cfg = layers.over(TrainConfig { model: foreign.config().clone(), ..TrainConfig::default() })?;
        let net = foreign.network(&cfg.model, cfg.run.seed, &device)?;
        let what = if family.has_head() { "trunk and head" } else { "trunk only, the head starts fresh" };
        ignored = foreign.ignored().to_vec();
        (cfg, net, format!("{} tensors, {what}; {} not needed", foreign.tensors(), ignored.len()))
    } else {
        let cfg = layers.resolve()?;
        let (net, taken) = if args.kind == Kind::ImagenetAlexnet {
            let taken =
                "five convolutions of the trunk, input normalisation folded into the first; the head starts fresh";
            (from_imagenet_alexnet(&args.from, &cfg.model, cfg.run.seed, &device)?, taken.to_owned())
        } else {
            let (net, taken) = init::from_file(&args.from, &cfg.model, cfg.run.seed, &device)?;
            (net, taken.to_string())
        };
        (cfg, net, taken)
    };
    let name = args.from.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kind = args.kind.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
    let extra =
        BTreeMap::from([("trainer.imported_from".to_owned(), name), ("trainer.imported_kind".to_owned(), kind)]);
    if let Some(folder) = args.out.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let blake3 = siamrpn::model::save(&args.out, &cfg.model, &net, &extra)?;
    let parameters = siamrpn::params::count(&net);
    let done = Imported { model: args.out, blake3, parameters, taken, ignored, config: cfg.model };
    print(args.json, &done, |d| {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let (c, t) = (&d.config, &d.config.tracker);
        format!(
            "{}: {} parameters; {}\ntrunk {:?}, head {}, search {} px, crops {}, channels {}, penalty_k {}, \
             window_influence {}, lr {}",
            d.model.display(),
            d.parameters,
            d.taken,
            c.trunk.widths,
            word(serde_json::json!(c.head)),
            c.search_px,
            word(serde_json::json!(c.semantics)),
            word(serde_json::json!(c.channels)),
            t.penalty_k,
            t.window_influence,
            t.lr
        )
    })?;
    Ok(DONE)
}

fn exported(args: &ExportArgs) -> Result<u8, Failure> {
    let stored = if args.precision == "f16" { Stored::F16 } else { Stored::F32 };
    let done = export::export(&args.model, args.format, &args.out, stored, args.search_px)?;
    print(args.json, &done, |d: &Exported| {
        let lines = d.files.iter().map(|f| format!("{}: {:.1} MB", f.path.display(), f.bytes as f64 / 1e6));
        lines.collect::<Vec<_>>().join("\n")
    })?;
    Ok(DONE)
}
