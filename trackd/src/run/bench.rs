//! How fast videos are tracked here, and where the time goes: the same pass as a job's, with its pictures, once alone and
//! once side by side.

use super::{JobError, RunOptions, Step, track};
use crate::engine::{About, Engines, ModelEngines, TrackEngine};
use crate::input::{Input, Start};
use serde::{Deserialize, Serialize};
use shards::image::Rgb;
use siamrpn::decode::Response;
use siamrpn::engine::{Engine, EngineError, Session};
use siamrpn::tracker::Tracker;
use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// What `trackd bench` prints: one per number of streams.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    /// Videos tracked side by side.
    pub streams: usize,
    /// Frames of all of them.
    pub frames: u64,
    /// Frames per second of all of them together.
    pub frames_per_s: f64,
    /// Milliseconds a stream waits for a frame.
    pub decode_ms: f64,
    /// Milliseconds to cut the search window and to choose the box, per frame.
    pub crop_ms: f64,
    /// Milliseconds of the network per frame.
    pub network_ms: f64,
    /// Milliseconds of pictures per frame.
    pub write_ms: f64,
    /// Engine and device.
    pub engine: String,
}

impl Speed {
    /// The stages, and their milliseconds per frame.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, f64); 4] {
        [
            ("decode", self.decode_ms),
            ("crop and choice", self.crop_ms),
            ("network", self.network_ms),
            ("pictures", self.write_ms),
        ]
    }
}

/// Tracks `input` in `streams` threads at once and takes the time. `out` is an empty folder that is filled.
///
/// # Errors
/// [`JobError`] of the first stream that fails.
pub fn bench(
    input: &Input,
    starts: &[Start],
    engines: &ModelEngines,
    options: &RunOptions,
    streams: usize,
    out: &Path,
) -> Result<Speed, JobError> {
    let spent = Arc::new(AtomicU64::new(0));
    let timed = Arc::new(Timed { inner: Arc::clone(engines.engine()), spent: Arc::clone(&spent) });
    let engines = TimedEngines { engines, timed };
    let one = |stream: usize| -> Result<[f64; 4], JobError> {
        let place = out.join(stream.to_string());
        std::fs::create_dir_all(&place).map_err(JobError::output(&place))?;
        let sums = Cell::new([0.0; 4]);
        let told = |step: &Step| {
            let [frames, decode, track, write] = sums.get();
            sums.set([frames + 1.0, decode + step.decode_s, track + step.track_s, write + step.write_s]);
        };
        track(input, starts, &engines, options, &place, &AtomicBool::new(false), &told)?;
        Ok(sums.get())
    };
    let began = Instant::now();
    let ended: Vec<Result<[f64; 4], JobError>> = thread::scope(|scope| {
        let running: Vec<_> = (0..streams.max(1)).map(|i| scope.spawn(move || one(i))).collect();
        running.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let mut sums = [0.0; 4];
    for stream in ended {
        for (sum, value) in sums.iter_mut().zip(stream?) {
            *sum += value;
        }
    }
    let [frames, decode, track, write] = sums;
    let network = spent.load(Ordering::Relaxed) as f64 / 1e9;
    let per_frame = |seconds: f64| 1000.0 * seconds / frames.max(1.0);
    Ok(Speed {
        streams: streams.max(1),
        frames: frames as u64,
        frames_per_s: frames / seconds,
        decode_ms: per_frame(decode),
        crop_ms: per_frame((track - network).max(0.0)),
        network_ms: per_frame(network),
        write_ms: per_frame(write),
        engine: engines.about().engine.clone(),
    })
}

/// What another program needs for the same network.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Peer {
    /// Its name.
    pub peer: String,
    /// Milliseconds of a search frame.
    pub median_ms: f64,
}

/// Runs a shell command that prints JSON lines, and reads those about search pictures of `side` px.
///
/// # Errors
/// Why there is none, in words.
pub fn peers(command: &str, side: u32) -> Result<Vec<Peer>, String> {
    let ran = Command::new("sh").args(["-c", command]).stderr(Stdio::inherit()).output().map_err(|e| e.to_string())?;
    if !ran.status.success() {
        return Err(format!("the command ended with {}", ran.status));
    }
    let lines = String::from_utf8_lossy(&ran.stdout);
    let values = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let fitting =
        values.filter(|value| value.get("search_px").and_then(serde_json::Value::as_u64) == Some(side.into()));
    let found: Vec<Peer> = fitting.filter_map(|value| serde_json::from_value(value).ok()).collect();
    if found.is_empty() {
        Err(format!("the command printed no time for search pictures of {side} px"))
    } else {
        Ok(found)
    }
}

struct TimedEngines<'a> {
    engines: &'a ModelEngines,
    timed: Arc<Timed>,
}

impl Engines for TimedEngines<'_> {
    fn start(&self) -> Box<dyn TrackEngine> {
        Box::new(Tracker::with_engine(self.engines.config().clone(), self.timed.clone()))
    }

    fn about(&self) -> &About {
        self.engines.about()
    }
}

/// An engine that adds up the nanoseconds it takes.
#[derive(Debug)]
struct Timed {
    inner: Arc<dyn Engine>,
    spent: Arc<AtomicU64>,
}

#[derive(Debug)]
struct TimedSession {
    inner: Box<dyn Session>,
    spent: Arc<AtomicU64>,
}

fn timed<T>(spent: &AtomicU64, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    spent.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
    done
}

impl Engine for Timed {
    fn start(&self, template: &Rgb) -> Result<Box<dyn Session>, EngineError> {
        let inner = timed(&self.spent, || self.inner.start(template))?;
        Ok(Box::new(TimedSession { inner, spent: Arc::clone(&self.spent) }))
    }
}

impl Session for TimedSession {
    fn search(&mut self, search: &Rgb) -> Result<Response, EngineError> {
        timed(&self.spent, || self.inner.search(search))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_from_what_a_command_prints() {
        let line = r#"{"peer": "other", "search_px": 271, "median_ms": 12.5, "cpu_ms": 1}"#;
        let found = peers(&format!("echo talk; echo '{line}'"), 271).unwrap();
        assert_eq!(found, [Peer { peer: "other".into(), median_ms: 12.5 }]);
        assert!(peers(&format!("echo '{line}'"), 255).unwrap_err().contains("255 px"));
        assert!(peers("exit 3", 271).unwrap_err().contains("3"));
    }
}
