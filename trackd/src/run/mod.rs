//! Tracks one or several targets of an input from its first to its last frame and writes everything known about it into a folder.
//!
//! ```text
//! NAME_001.txt               VOT text: 1 on the initial frame, a box per later frame, 0 before
//! NAME_001_confidence.value  score per frame, blank where there is none
//! NAME_001_time.value        seconds of the tracker per frame
//! NAME_001_lost.value        1 where the target is reported lost
//! result.json, result.arrow  the same with provenance, and as a table
//! strip.jpg, plot.svg        eight annotated frames; confidence, overlap and lost spans over time
//! eval.json                  VOT measures, where there is ground truth for every frame
//! overlay.mp4 or overlay/    annotated video or frames, on request
//! ```
//!
//! For a job folder of the official toolkit also `output_ID.txt`, `output_ID_confidence.txt`, `output_ID_lost.txt`. For
//! several targets the first four are called `NAME_ID_001.txt` and so on, and there is no evaluation: ground truth
//! has one target.

pub mod bench;
pub mod dataset;
mod error;
mod overlay;
mod picture;
mod table;

pub use error::JobError;
pub(crate) use error::is_full;

use crate::engine::{Engines, TrackEngine};
use crate::evaluate::supervised;
use crate::frames::video::Decoders;
use crate::frames::{FrameError, Frames, Limits};
use crate::input::queries::answers;
use crate::input::{Input, Source, Start};
use overlay::Overlay;
use picture::Strip;
use schemas::format::writer_stamp;
use schemas::result::{Provenance, ResultDoc, TargetDoc};
use shards::image::Rgb;
use siamrpn::tracker::Output;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use vot::protocol::Trajectory;
use vot::region::INITIALIZATION;
use vot::results::{Run, result_files};
use vot::{Dialect, Rect, Region};

/// How to track.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What decodes videos.
    pub decoders: Decoders,
    /// What an input may cost.
    pub limits: Limits,
    /// Annotated video or frames.
    pub overlay: bool,
    /// Identity of the daemon's job; written into the result.
    pub job: Option<String>,
}

/// One tracked frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracked {
    /// Box, score, lost; `None` before the initial frame.
    pub output: Option<Output>,
    /// Seconds of the tracker.
    pub seconds: Option<f64>,
}

/// A frame is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Frames done.
    pub frames: u64,
    /// Frames in all, where it is known.
    pub expected: Option<u64>,
    /// Seconds waited for the frame.
    pub decode_s: f64,
    /// Seconds the targets were looked for in it.
    pub track_s: f64,
    /// Seconds its pictures took.
    pub write_s: f64,
}

/// Told after every frame.
pub type Told<'a> = &'a dyn Fn(&Step);

/// Everything known when the last frame is tracked.
struct Pass {
    /// By target, then by frame.
    targets: Vec<Vec<Tracked>>,
    size: (u32, u32),
    decoder: &'static str,
    warnings: Vec<String>,
    overlay: Vec<String>,
    strip: Option<Vec<u8>>,
}

/// Tracks every target of `input` from its start and writes the results into the existing folder `out`; every file is flushed to disk
/// before this returns. `told` hears of every frame; `cancel` stops the run between two frames.
///
/// # Errors
/// [`JobError`]; `out` then holds nothing worth keeping.
pub fn run(
    input: &Input,
    starts: &[Start],
    engines: &dyn Engines,
    options: &RunOptions,
    out: &Path,
    cancel: &AtomicBool,
    told: Told<'_>,
) -> Result<ResultDoc, JobError> {
    let began = Instant::now();
    let pass = track(input, starts, engines, options, out, cancel, told)?;
    let count = pass.targets.first().map_or(0, |frames| frames.len() as u64);
    let seconds = began.elapsed().as_secs_f64();
    let mut targets: Vec<TargetDoc> = starts.iter().zip(&pass.targets).map(|(s, frames)| summary(s, frames)).collect();
    let trajectories: Vec<Trajectory> = starts.iter().zip(&pass.targets).map(|(s, f)| trajectory(f, s)).collect();
    let truth = if starts.len() == 1 { input.groundtruth(count)? } else { None };
    let mut warnings = [input.warnings.clone(), pass.warnings].concat();
    if truth.is_none() && has_text_beside(input) {
        warnings.push(match starts {
            [_] => format!("the annotation does not have {count} lines, one per frame: it is no ground truth"),
            _ => "the annotation is not evaluated: it does not say which of the targets it is about".to_owned(),
        });
    }

    let mut files = vec!["result.json".to_owned(), "result.arrow".to_owned()];
    let mut write = |name: String, bytes: Vec<u8>| {
        let path = out.join(&name);
        files.push(name);
        crate::publish::write_synced(&path, &bytes).map_err(|source| JobError::Output { path, source })
    };
    for ((start, frames), trajectory) in starts.iter().zip(&pass.targets).zip(&trajectories) {
        let name = match starts {
            [_] => input.name.clone(),
            _ => format!("{}_{}", input.name, start.id),
        };
        for (name, bytes) in result_files(&name, Run::Repetition(1), trajectory, false) {
            write(name, bytes)?;
        }
        write(format!("{name}_001_lost.value"), table::lost(frames))?;
        if !input.queries.is_empty() {
            for (name, bytes) in answers(start, frames) {
                write(name, bytes)?;
            }
        }
    }
    if let Some(strip) = pass.strip {
        write(STRIP.to_owned(), strip)?;
    }
    let judged = truth.as_ref().zip(starts.first()).zip(trajectories.into_iter().next());
    let overlaps = judged.as_ref().map_or_else(Vec::new, |((truth, _), trajectory)| overlaps(trajectory, truth));
    let plot = picture::plot(starts, &pass.targets, &overlaps).map_err(drawing(out, "plot.svg"))?;
    write("plot.svg".to_owned(), plot.into_bytes())?;
    if let Some(((truth, start), trajectory)) = judged {
        let later: Vec<f64> =
            overlaps.iter().skip(start.frame as usize + 1).copied().filter(|o| o.is_finite()).collect();
        if let Some(target) = targets.first_mut().filter(|_| !later.is_empty()) {
            target.mean_overlap = Some(later.iter().sum::<f64>() / later.len() as f64);
        }
        let run = match undisturbed(&trajectory, truth, start, pass.size) {
            true => Ok(trajectory),
            false => supervised(input, truth, engines, options, Dialect::Mindspore, pass.size, cancel),
        };
        match run.and_then(|t| crate::evaluate::eval_document(&input.name, truth, pass.size, &t)) {
            Ok(eval) => write("eval.json".to_owned(), crate::publish::pretty(&eval))?,
            Err(JobError::Cancelled) => return Err(JobError::Cancelled),
            // The track itself is good; the ground truth is not.
            Err(e) => warnings.push(format!("no eval.json: {e}")),
        }
    }
    files.extend(pass.overlay);
    let arrow = out.join("result.arrow");
    table::write_arrow(&arrow, starts, &pass.targets).map_err(JobError::output(&arrow))?;

    let busy: f64 = pass.targets.iter().flatten().filter_map(|f| f.seconds).sum();
    let tracked: u64 = targets.iter().map(|t| t.frames).sum();
    let rate = |n: u64, seconds: f64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
    files.sort();
    let about = engines.about();
    let doc = ResultDoc {
        name: input.name.clone(),
        job: options.job.clone(),
        frames: count,
        width: pass.size.0,
        height: pass.size.1,
        targets,
        tracker_frames_per_s: rate(tracked, busy),
        frames_per_s: rate(count, seconds),
        files,
        warnings,
        provenance: Provenance {
            writer: writer_stamp("trackd"),
            model_blake3: about.model_blake3.clone(),
            config_hash: about.config_hash.clone(),
            input_blake3: hash(input)?,
            engine: about.engine.clone(),
            decoder: pass.decoder.to_owned(),
        },
    };
    let path = out.join("result.json");
    crate::publish::write_synced(&path, &crate::publish::pretty(&doc)).map_err(JobError::output(&path))?;
    Ok(doc)
}

fn summary(start: &Start, frames: &[Tracked]) -> TargetDoc {
    let tracked: Vec<&Output> = frames.iter().filter_map(|f| f.output.as_ref()).collect();
    let later = tracked.get(1..).unwrap_or_default();
    TargetDoc {
        id: start.id.clone(),
        init_frame: start.frame,
        init: start.rect,
        init_source: start.origin.clone(),
        frames: tracked.len() as u64,
        lost_frames: later.iter().filter(|o| o.lost).count() as u64,
        mean_confidence: later.iter().map(|o| o.score).sum::<f64>() / later.len().max(1) as f64,
        mean_overlap: None,
    }
}

const STRIP: &str = "strip.jpg";

/// A picture of the result could not be made.
fn drawing<E: std::fmt::Display>(out: &Path, name: &str) -> impl FnOnce(E) -> JobError + use<E> {
    let path = out.join(name);
    move |e| JobError::Output { path, source: io::Error::other(e.to_string()) }
}

/// One pass over the frames without resets.
fn track(
    input: &Input,
    starts: &[Start],
    engines: &dyn Engines,
    options: &RunOptions,
    out: &Path,
    cancel: &AtomicBool,
    told: Told<'_>,
) -> Result<Pass, JobError> {
    let mut frames = Frames::open(input, &options.decoders, &options.limits)?;
    let truth = if options.overlay { input.groundtruth_lines()? } else { Vec::new() };
    let mut overlay = if options.overlay { Some(Overlay::new(out, options.decoders.ffmpeg.as_deref())) } else { None };
    let mut trackers: Vec<_> = starts.iter().map(|_| engines.start()).collect();
    let mut targets = vec![Vec::new(); starts.len()];
    let mut strip = Strip::new();
    let (mut size, mut count) = ((0, 0), 0);
    let began = Instant::now();
    let mut watch = began;
    let mut lap = || std::mem::replace(&mut watch, Instant::now()).elapsed().as_secs_f64();
    while let Some(frame) = frames.next() {
        let frame = frame?;
        let decode_s = lap();
        if cancel.load(Ordering::Relaxed) {
            return Err(JobError::Cancelled);
        }
        if options.limits.job.is_some_and(|limit| began.elapsed() > limit) {
            let seconds = options.limits.job.unwrap_or_default().as_secs_f64();
            return Err(JobError::TooLong { path: input.path.clone(), seconds, frames: count });
        }
        size = (frame.width as u32, frame.height as u32);
        let mut found = Vec::new();
        for ((start, tracker), target) in starts.iter().zip(&mut trackers).zip(&mut targets) {
            let tracked = step(tracker.as_mut(), &frame, count, start)?;
            found.extend(tracked.output);
            target.push(tracked);
        }
        let track_s = lap();
        strip.add(&frame, &found).map_err(drawing(out, STRIP))?;
        if let Some(overlay) = &mut overlay {
            let truth = truth.get(count as usize).and_then(Region::bounding_rect);
            overlay.add(frame, &found, truth)?;
        }
        count += 1;
        told(&Step { frames: count, expected: frames.expected(), decode_s, track_s, write_s: lap() });
    }
    if let Some(late) = starts.iter().find(|start| count <= u64::from(start.frame)) {
        return Err(JobError::TooShort { path: input.path.clone(), frames: count, wanted: late.frame });
    }
    let (decoder, mut warnings) = (frames.decoder(), frames.warnings().to_vec());
    let overlay = match overlay {
        Some(overlay) => overlay.finish(&mut warnings)?,
        None => Vec::new(),
    };
    let strip = strip.finish().map_err(drawing(out, STRIP))?;
    Ok(Pass { targets, size, decoder, warnings, overlay, strip })
}

fn step(tracker: &mut dyn TrackEngine, frame: &Rgb, index: u64, start: &Start) -> Result<Tracked, JobError> {
    let watch = Instant::now();
    let output = match index.cmp(&u64::from(start.frame)) {
        std::cmp::Ordering::Less => return Ok(Tracked { output: None, seconds: None }),
        std::cmp::Ordering::Equal => {
            let init = tracker.init(frame, start.rect);
            init.map_err(|source| JobError::Init { origin: start.origin.clone(), source })?;
            Output { rect: start.rect, score: 1.0, lost: false }
        }
        std::cmp::Ordering::Greater => {
            tracker.update(frame).map_err(|source| JobError::Track { frame: index, source })?
        }
    };
    Ok(Tracked { output: Some(output), seconds: Some(watch.elapsed().as_secs_f64()) })
}

/// The run as VOT knows it: code 0 before the initial frame, 1 on it, boxes after it.
fn trajectory(frames: &[Tracked], start: &Start) -> Trajectory {
    let mut trajectory = Trajectory::new(frames.len());
    let slots = trajectory.regions.iter_mut().zip(&mut trajectory.times).zip(&mut trajectory.confidences);
    for (i, (tracked, ((region, time), confidence))) in frames.iter().zip(slots).enumerate() {
        *time = tracked.seconds;
        if i == start.frame as usize {
            *region = Region::Special(INITIALIZATION);
        } else if let Some(Output { rect: [x, y, w, h], score, .. }) = tracked.output {
            *region = Region::rect(x, y, w, h);
            *confidence = Some(score);
        }
    }
    trajectory
}

/// Overlap of each frame with its ground truth; `NaN` where one of them has no box.
fn overlaps(trajectory: &Trajectory, truth: &[Region]) -> Vec<f64> {
    let iou = |r: &Region, t: &Region| Some(vot::overlap::iou(&r.bounding_rect()?, &t.bounding_rect()?));
    trajectory.regions.iter().zip(truth).map(|(r, t)| iou(r, t).unwrap_or(f64::NAN)).collect()
}

/// Whether the supervised protocol would have made exactly this run: started on the first ground truth and never
/// failed.
fn undisturbed(trajectory: &Trajectory, truth: &[Region], start: &Start, size: (u32, u32)) -> bool {
    let first = truth.first().and_then(vot::region::siamrpn_init_box);
    let same = first.is_some_and(|Rect { x, y, width, height }| [x, y, width, height] == start.rect);
    start.frame == 0
        && same
        && trajectory.regions.iter().zip(truth).skip(1).all(|(r, t)| {
            let overlap = Dialect::Mindspore.failure_overlap(r, t, size);
            overlap.is_nan() || overlap > 0.0
        })
}

fn has_text_beside(input: &Input) -> bool {
    input.groundtruth_lines().is_ok_and(|lines| lines.len() > 1)
}

/// blake3 of the file, or of all frames in order.
///
/// # Errors
/// [`JobError::Frames`] when a file cannot be read.
pub fn hash(input: &Input) -> Result<String, JobError> {
    let files = match &input.source {
        Source::Video | Source::Archive(_) => std::slice::from_ref(&input.path),
        Source::Files(files) => files,
    };
    let mut hasher = blake3::Hasher::new();
    for path in files {
        let io = |source| FrameError::Io { path: path.clone(), source };
        hasher.update_reader(std::fs::File::open(path).map_err(io)?).map_err(io)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests;
