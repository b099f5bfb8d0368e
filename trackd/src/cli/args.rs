//! The arguments of `trackd`.

use crate::engine::{EngineError, ModelEngines, Runs};
use crate::frames::video::Choice;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use vot::Dialect;
use vot::protocol::Protocol;

/// Tracks objects in video: one file, a VOT data set, or every video dropped into a folder.
#[derive(Debug, Parser)]
#[command(name = "trackd", version = schemas::format::VERSION, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Track one video file, folder of frames, or sequence
    Track(Track),
    /// Run a VOT protocol over a data set: result files, scores, eval.json
    Eval(Eval),
    /// Score official result files; needs no model
    Score(Score),
    /// Compare trackers by their result files: one HTML page, tables, plots, intervals; needs no model
    Report(Report),
    /// Serve the TraX protocol, by which the official VOT toolkit drives a tracker
    Trax(Trax),
    /// Measure how fast a video is tracked here, alone and side by side, and where the time goes
    Bench(Bench),
    /// Answer a job folder of the official VOT toolkit, its `folder` protocol
    Folder(Folder),
    /// Watch a drop folder and track everything that is put there
    Watch(Watch),
    /// Give a waiting job its box
    Init(Init),
    /// How many jobs are in which state, and whether the daemon runs
    Status(Journal),
    /// All jobs
    List(Journal),
    /// Try a failed job again
    Retry(Retry),
    /// End a job that is not over; it fails with the code `cancelled`, its input beside it
    Cancel(Retry),
    /// All jobs in the terminal, anew every second
    Top(Top),
}

/// The model and where it runs.
#[derive(Debug, Clone, Args)]
pub struct Model {
    /// Model file (.safetensors)
    #[arg(long)]
    pub model: PathBuf,
    /// Where the network runs: cpu, or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// What runs the network; said in every result
    #[arg(long, value_enum, default_value_t)]
    pub engine: Runs,
    /// Shared library of ONNX Runtime, for --engine ort [default: ORT_DYLIB_PATH, else the system's libonnxruntime.so]
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
}

impl Model {
    /// Loads it.
    ///
    /// # Errors
    /// As [`ModelEngines::load`].
    pub fn load(&self) -> Result<ModelEngines, EngineError> {
        ModelEngines::load(&self.model, &self.device, self.engine, self.onnxruntime.as_deref())
    }
}

/// Arguments of `track`.
#[derive(Debug, Args)]
pub struct Track {
    /// Video file, folder or archive of frames, or sequence folder
    pub input: PathBuf,
    /// Initial box in pixels of the first frame, once per target; without it the annotation beside the input is used
    #[arg(long, value_name = "X,Y,W,H", value_parser = rect, allow_hyphen_values = true)]
    pub init: Vec<[f64; 4]>,
    /// Model and device.
    #[command(flatten)]
    pub model: Model,
    /// Folder for the results; must not hold any yet
    #[arg(long)]
    pub out: PathBuf,
    /// Replace results that are there
    #[arg(long)]
    pub force: bool,
    /// Also write an annotated video (annotated frames where ffmpeg is not installed)
    #[arg(long)]
    pub overlay: bool,
    /// What decodes video files
    #[arg(long, value_enum, default_value_t)]
    pub decoder: Choice,
    /// Print result.json on standard output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// Data set folder (VOT, OTB, GOT-10k or LaSOT layout, or a workspace of the official toolkit), or one sequence
    pub dataset: PathBuf,
    /// Model and device.
    #[command(flatten)]
    pub model: Model,
    /// Folder for results/TRACKER/EXPERIMENT/SEQUENCE/, eval.json and the scores; complete results in it are kept
    #[arg(long)]
    pub out: PathBuf,
    /// How the tracker is run: supervised (started again after failures), multistart, longterm, ope (one pass)
    #[arg(long, default_value_t)]
    pub protocol: Protocol,
    /// Of the supervised protocol, whose rules and measures: vot-python, vot-matlab-2015, vot-matlab, pysot, mindspore
    #[arg(long, default_value_t)]
    pub dialect: Dialect,
    /// Runs per sequence [default: supervised 15 in the VOT dialects, of which a deterministic tracker needs 3; else 1]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub repetitions: Option<u16>,
    /// Sequence lengths over which EAO averages [default: those of the VOT challenge, or computed; multistart: 115,755]
    #[arg(long, value_name = "LOW,HIGH", value_parser = interval)]
    pub eao_interval: Option<(usize, usize)>,
    /// Name of the tracker's folder
    #[arg(long, default_value = "siamrpn")]
    pub tracker: String,
    /// Sequences tracked at the same time; measure speed with 1 [default: half the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Write the regions as .bin files instead of text
    #[arg(long)]
    pub binary: bool,
    /// Print the scores as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `score`.
#[derive(Debug, Args)]
pub struct Score {
    /// Data set folder; needs no frames where `sequence` files give width, height and length
    #[arg(long)]
    pub dataset: PathBuf,
    /// Results: a folder of experiments, of sequences, or one that holds results/TRACKER/
    #[arg(long)]
    pub results: PathBuf,
    /// Experiment whose results are scored [default: baseline; longterm; for ope unsupervised]
    #[arg(long)]
    pub experiment: Option<String>,
    /// How the results were made: supervised, multistart, longterm, ope (one pass)
    #[arg(long, default_value_t)]
    pub protocol: Protocol,
    /// Of the supervised protocol, whose measures: vot-python, vot-matlab-2015, vot-matlab, pysot, mindspore
    #[arg(long, default_value_t)]
    pub dialect: Dialect,
    /// Sequence lengths over which EAO averages [default: those of the VOT challenge, or computed; multistart: 115,755]
    #[arg(long, value_name = "LOW,HIGH", value_parser = interval)]
    pub eao_interval: Option<(usize, usize)>,
    /// Print the scores as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Data set folder; needs no frames where `sequence` files give width, height and length
    #[arg(long)]
    pub dataset: PathBuf,
    /// A tracker's results, as `score` takes them; NAME=DIR names it, else its folder does. Once per tracker
    #[arg(long, value_name = "[NAME=]DIR", required = true)]
    pub results: Vec<String>,
    /// Folder for report.html, report.md, report.tex, report.json and the plots; what is there is replaced
    #[arg(long)]
    pub out: PathBuf,
    /// Experiment whose results are read [default: baseline; for ope unsupervised]
    #[arg(long)]
    pub experiment: Option<String>,
    /// How the results were made: supervised, ope (one pass)
    #[arg(long, default_value_t)]
    pub protocol: Protocol,
    /// Of the supervised protocol, whose measures: vot-python, vot-matlab-2015, vot-matlab, pysot, mindspore
    #[arg(long, default_value_t)]
    pub dialect: Dialect,
    /// Sequence lengths over which EAO averages [default: those of the VOT challenge, or computed]
    #[arg(long, value_name = "LOW,HIGH", value_parser = interval)]
    pub eao_interval: Option<(usize, usize)>,
    /// Tracker the others are compared with [default: the first]
    #[arg(long, value_name = "NAME")]
    pub reference: Option<String>,
    /// Resamples of the bootstrap over sequences
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub resamples: u32,
    /// Seed of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Pictures per tracker of failures, and as many of worst frames
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub thumbnails: u8,
    /// Print report.json on standard output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `trax`.
///
/// The client is reached as its environment says: TRAX_SOCKET, TRAX_IN and TRAX_OUT, else standard input and output.
#[derive(Debug, Args)]
pub struct Trax {
    /// Model and device.
    #[command(flatten)]
    pub model: Model,
    /// Version of the protocol to speak, 1 to 4; several targets need 4
    #[arg(long, value_name = "N", default_value_t = crate::trax::NEWEST, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub protocol: u8,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Video file, folder or archive of frames, or sequence folder
    pub input: PathBuf,
    /// Initial box in pixels of the first frame; without it the annotation beside the input is used
    #[arg(long, value_name = "X,Y,W,H", value_parser = rect, allow_hyphen_values = true)]
    pub init: Vec<[f64; 4]>,
    /// Model and device.
    #[command(flatten)]
    pub model: Model,
    /// Videos side by side in the second measurement; by default half the cores
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub streams: Option<u16>,
    /// Annotated video or frames too
    #[arg(long)]
    pub overlay: bool,
    /// What decodes videos
    #[arg(long, value_enum, default_value_t)]
    pub decoder: Choice,
    /// Command that prints times of other programs for the same network, one JSON line each with `peer`, `search_px` and
    /// `median_ms` (`benches/peers/network_torch.py --search-only`); the ratio to them is printed
    #[arg(long, value_name = "COMMAND")]
    pub peer: Option<String>,
    /// One JSON line per measurement instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `folder`.
#[derive(Debug, Args)]
pub struct Folder {
    /// The job folder; `output_ID.txt` appear in it
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Model and device.
    #[command(flatten)]
    pub model: Model,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The drop folder
    #[arg(long)]
    pub inbox: PathBuf,
    /// Where results and failures go
    #[arg(long)]
    pub outbox: PathBuf,
    /// Model and device.
    #[command(flatten)]
    pub model: Model,
    /// Configuration (TOML); its keys are in schemas/json/watch-config.schema.json
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Folder of the journal, on a local disk [default: OUTBOX/.trackd]
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// Jobs tracked at the same time [default: half the cores]
    #[arg(long)]
    pub workers: Option<usize>,
    /// Seconds an input must stay unchanged before it counts as complete [default: 2]
    #[arg(long, value_parser = settle)]
    pub settle: Option<f64>,
    /// Also write annotated videos (annotated frames where ffmpeg is not installed)
    #[arg(long)]
    pub overlay: bool,
    /// Serve a status page, /healthz, /readyz and /metrics here, for example 127.0.0.1:8780; any address but a loopback
    /// one needs a token in TRACKD_TOKEN
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http: Option<std::net::SocketAddr>,
    /// Log as lines of JSON instead of text
    #[arg(long)]
    pub log_json: bool,
    /// What decodes video files
    #[arg(long, value_enum, default_value_t)]
    pub decoder: Choice,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The job: its identity, or the name of its input
    pub job: String,
    /// The box in pixels of the first frame
    #[arg(value_name = "X,Y,W,H", value_parser = rect, allow_hyphen_values = true)]
    pub rect: [f64; 4],
    /// Which journal.
    #[command(flatten)]
    pub journal: Journal,
}

/// Arguments of `retry` and `cancel`.
#[derive(Debug, Args)]
pub struct Retry {
    /// The job: its identity, or the name of its input
    pub job: String,
    /// Which journal.
    #[command(flatten)]
    pub journal: Journal,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct Top {
    /// The daemon's outbox
    #[arg(long)]
    pub outbox: PathBuf,
    /// Print one picture as text and end
    #[arg(long)]
    pub once: bool,
}

/// Which journal to look at.
#[derive(Debug, Args)]
pub struct Journal {
    /// The daemon's outbox
    #[arg(long)]
    pub outbox: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn rect(text: &str) -> Result<[f64; 4], String> {
    let numbers: Vec<f64> = text
        .split(',')
        .map(|n| n.trim().parse().map_err(|_| format!("`{n}` is not a number; write X,Y,W,H in pixels")))
        .collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        &[x, y, w, h] if [x, y, w, h].iter().all(|v| v.is_finite()) && w > 0.0 && h > 0.0 => Ok([x, y, w, h]),
        [_, _, _, _] => Err("all four numbers must be finite, width and height larger than zero".to_owned()),
        other => Err(format!("{} numbers instead of 4; write X,Y,W,H in pixels", other.len())),
    }
}

fn interval(text: &str) -> Result<(usize, usize), String> {
    let parse = |t: &str| t.trim().parse::<usize>().ok();
    text.split_once(',')
        .and_then(|(low, high)| Some((parse(low)?, parse(high)?)))
        .filter(|(low, high)| 1 <= *low && low <= high)
        .ok_or_else(|| "write LOW,HIGH with 1 <= LOW <= HIGH, for example 108,371".to_owned())
}

fn settle(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s: &f64| (0.0..=86400.0).contains(s)).ok_or_else(|| "seconds, 0 to 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_reads_well() {
        let mut text = String::new();
        let mut command = Cli::command().term_width(100);
        command.build();
        for page in std::iter::once(&mut command.clone()).chain(command.get_subcommands_mut()) {
            if !page.is_hide_set() {
                text.push_str(&format!("{}\n", page.render_long_help()));
            }
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn boxes_and_intervals_are_checked() {
        assert_eq!(rect("1, 2.5,3,4"), Ok([1.0, 2.5, 3.0, 4.0]));
        for (bad, why) in [
            ("1,2,3", "3 numbers"),
            ("1,2,3,x", "`x`"),
            ("1,2,0,4", "larger than zero"),
            ("nan,2,3,4", "finite"),
            ("1,2,3,inf", "finite"),
            ("", "``"),
        ] {
            assert!(rect(bad).unwrap_err().contains(why), "{bad}");
        }
        assert_eq!(interval("108,371"), Ok((108, 371)));
        for bad in ["", "1", "0,5", "9,5", "a,b"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
