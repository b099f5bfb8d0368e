//! The whole path on real video, with one command:
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! It ingests the bundled sequences into Arrow shards, inspects and verifies them, draws a contact sheet, trains a
//! short run, starts the drop-folder daemon, drops a clip that was not trained on, and prints where the results are
//! and what the VOT measures say. Everything is written under `quickstart-out/` (or the folder given as the only
//! argument), which must not exist yet.
//!
//! Each step runs one of the project's programs with the same arguments you would type: this example is all four
//! programs in one and starts itself again for each step.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

/// The clip that is dropped into the inbox; no frame of it is in the training data.
const CLIP: &str = "bird";
/// Pairs drawn from each of the two bundled sequences.
const PAIRS_PER_VIDEO: usize = 480;
/// Pairs per step.
const BATCH: usize = 8;
/// Longest time the daemon may take for the clip.
const PATIENCE: Duration = Duration::from_secs(600);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    if let Some(code) = trackd::child_main_if_asked() {
        return code;
    }
    let mut args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let program = args.get(1).and_then(|a| a.to_str()).and_then(|a| a.strip_prefix('@')).map(str::to_owned);
    if let Some(program) = program {
        args.remove(0);
        args[0] = program.as_str().into();
        return match program.as_str() {
            "ingest" => ingest::cli::run(args),
            "shards" => shards::cli::run(args),
            "trainer" => trainer::cli::run(args),
            _ => trackd::cli::run(args),
        };
    }
    let out = args.get(1).map_or_else(|| root().join("quickstart-out"), PathBuf::from);
    match quickstart(&out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("quickstart failed: {e}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn quickstart(out: &Path) -> Result<()> {
    if out.exists() {
        return Err(format!("{} exists: remove it, or name another folder", out.display()).into());
    }
    std::fs::create_dir_all(out)?;
    let started = Instant::now();
    let path = |name: &str| out.join(name).display().to_string();
    let bundled = |name: &str| root().join(name).display().to_string();
    let dataset = path("dataset");

    heading("1. Annotated video becomes a dataset of crop pairs");
    run(
        "ingest",
        &["build", "--source", &format!("sequences={}", bundled("examples/data/sequences")), "--out", &dataset],
    )?;

    heading("2. Look inside");
    run("shards", &["inspect", &dataset])?;
    run("shards", &["verify", &dataset])?;
    run("shards", &["sheet", &dataset, "--out", &path("pairs.png"), "--pairs", "24"])?;

    heading("3. Train a short run from ImageNet weights");
    let weights = path("imagenet.safetensors");
    let from = bundled("siamrpn/weights/alexnet-imagenet-f16.safetensors");
    run("trainer", &["import", "--from", &from, "--kind", "imagenet-alexnet", "--out", &weights])?;
    #[rustfmt::skip]
    run("trainer", &["run", "--data", &dataset, "--out", &path("run"), "--preset", "recommended",
        &format!("run.init_from={weights}"), &format!("run.batch={BATCH}"), "run.epochs=1", "run.log_every=1",
        &format!("data.pairs_per_unit={PAIRS_PER_VIDEO}"), "optim.lr_start=0.005", "optim.warmup_epochs=0"])?;
    let ratio = loss_ratio(&out.join("run/metrics.jsonl"))?;
    println!("mean loss of the last tenth of the steps: {ratio:.2} of the first tenth's");
    if ratio > 0.7 {
        return Err("training did not bring the loss down to 0.7 of its start".into());
    }

    heading("4. Drop a video into a watched folder");
    let (inbox, outbox) = (out.join("inbox"), out.join("outbox"));
    std::fs::create_dir_all(&inbox)?;
    #[rustfmt::skip]
    let mut daemon = start("trackd", &["watch", "--inbox", &path("inbox"), "--outbox", &path("outbox"),
        "--model", &path("run/model.safetensors"), "--overlay"])?;
    for ending in ["txt", "mp4"] {
        let name = format!("{CLIP}.{ending}");
        std::fs::copy(root().join("examples/data/videos").join(&name), inbox.join(&name))?;
    }
    let done = wait_for(&outbox, &mut daemon);
    stop(daemon)?;
    let done = done?;

    heading("5. What came out");
    for entry in std::fs::read_dir(&done)? {
        println!("  {}", entry?.path().display());
    }
    report(&done)?;
    println!("  {}\n  {}", path("pairs.png"), path("run/metrics.csv"));
    println!(
        "\nThe model saw {} pairs from two sequences: enough to show that every part works, far too little to track\n\
         well. These scores say nothing about SiamRPN trained on a real corpus.",
        2 * PAIRS_PER_VIDEO
    );
    println!("Done in {:.0} s.", started.elapsed().as_secs_f64());
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

/// The command line of one of the project's programs, run by this same executable.
fn command(program: &str, args: &[&str]) -> Result<Command> {
    println!("$ {program} {}", args.join(" "));
    std::io::stdout().flush()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(format!("@{program}")).args(args);
    Ok(command)
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let status = command(program, args)?.status()?;
    if status.success() { Ok(()) } else { Err(format!("{program} ended with {status}").into()) }
}

fn start(program: &str, args: &[&str]) -> Result<Child> {
    Ok(command(program, args)?.spawn()?)
}

/// Waits until the clip's result is published and returns its folder.
fn wait_for(outbox: &Path, daemon: &mut Child) -> Result<PathBuf> {
    let (done, failed) = (outbox.join("done").join(CLIP), outbox.join("failed").join(CLIP));
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if done.join("result.json").exists() {
            return Ok(done);
        }
        if failed.exists() {
            return Err(format!("the clip failed: see {}", failed.join("error.json").display()).into());
        }
        if let Some(status) = daemon.try_wait()? {
            return Err(format!("the daemon ended with {status}").into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Err(format!("no result after {} s", PATIENCE.as_secs()).into())
}

/// Asks the daemon to finish (SIGTERM) and waits for it.
fn stop(mut daemon: Child) -> Result<()> {
    let asked = Command::new("sh").args(["-c", &format!("kill {}", daemon.id())]).status();
    if !matches!(asked, Ok(status) if status.success()) {
        daemon.kill()?;
    }
    daemon.wait()?;
    Ok(())
}

/// Mean loss of the last tenth of the logged steps over that of the first tenth.
fn loss_ratio(metrics: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(metrics)?;
    let losses: Vec<f64> = text
        .lines()
        .map(|line| {
            Ok(serde_json::from_str::<serde_json::Value>(line)?["loss"].as_f64().ok_or("a step without a loss")?)
        })
        .collect::<Result<_>>()?;
    let tenth = (losses.len() / 10).max(1);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (losses.get(..tenth), losses.get(losses.len().saturating_sub(tenth)..));
    match (first, last) {
        (Some(first), Some(last)) if losses.len() >= 100 => Ok(mean(last) / mean(first)),
        _ => Err(format!("{} steps were logged, at least 100 were expected", losses.len()).into()),
    }
}

/// Prints the measures of the tracked clip.
fn report(done: &Path) -> Result<()> {
    let read = |name: &str| -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&std::fs::read_to_string(done.join(name))?)?)
    };
    let (result, eval) = (read("result.json")?, read("eval.json")?);
    println!(
        "one run without resets: {} frames, mean overlap {}",
        result["frames"], result["targets"][0]["mean_overlap"]
    );
    println!("VOT supervised protocol (dialect {}):", eval["all_videos"]["dialect"]);
    for measure in ["accuracy", "robustness", "eao"] {
        println!("  {measure:<12} {}", eval["all_videos"][measure]);
    }
    Ok(())
}
