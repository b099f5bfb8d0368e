//! Configuration of `trackd watch`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How the inbox is watched. A rescan always decides; events only wake it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WatchMode {
    /// Kernel events where they work, otherwise polling.
    #[default]
    Auto,
    /// Kernel events.
    Inotify,
    /// Polling only.
    Poll,
}

/// What becomes of an input whose content, boxes, model and configuration are those of a result that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// It is tracked again.
    #[default]
    Reprocess,
    /// It fails with the code `duplicate`, which names the result.
    Skip,
}

/// Everything `trackd watch` can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchConfig {
    /// How the inbox is watched.
    pub watch: WatchMode,
    /// Seconds a file must keep its size and time before it counts as complete.
    pub settle_s: f64,
    /// Seconds between full rescans.
    pub rescan_s: f64,
    /// Jobs tracked at the same time; 0 means half the cores, at least one.
    pub workers: usize,
    /// Attempts before a job with a passing fault counts as failed.
    pub attempts: u32,
    /// Seconds before the first retry; doubled each time.
    pub retry_s: f64,
    /// Seconds without a new frame after which a job is stopped.
    pub stall_s: f64,
    /// Largest number of pixels of a frame.
    pub max_pixels: u64,
    /// Largest number of frames of a job.
    pub max_frames: u64,
    /// Largest input, megabytes, with everything in its folder; 0 = any.
    pub max_input_mb: u64,
    /// Seconds after which the tracking of one video is given up; 0 = never.
    pub max_job_s: f64,
    /// Share of frames a damaged video may lack before its job fails.
    pub missing_frames: f64,
    /// Write annotated frames (or a video, where ffmpeg is installed) for every job.
    pub overlay: bool,
    /// Seconds to finish running jobs after SIGTERM.
    pub grace_s: f64,
    /// Megabytes that must be free on the outbox's disk before a job is started.
    pub min_free_mb: u64,
    /// Folders that the frames of a job folder of the official toolkit may lie in, besides that folder itself.
    pub frame_roots: Vec<PathBuf>,
    /// What becomes of an input that was tracked before.
    pub duplicates: Duplicates,
    /// Program and arguments that are run when a job is done; the job as JSON on its standard input.
    pub on_done: Vec<String>,
    /// The same when a job has failed for good.
    pub on_failed: Vec<String>,
    /// Address that the job is posted to as JSON when it is done or has failed; empty = nowhere.
    pub webhook: String,
    /// Days after which results are removed from the outbox; 0 = never.
    pub keep_done_days: f64,
    /// Days after which failures are removed from the outbox; 0 = never.
    pub keep_failed_days: f64,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            watch: WatchMode::Auto,
            settle_s: 2.0,
            rescan_s: 30.0,
            workers: 0,
            attempts: 3,
            retry_s: 2.0,
            stall_s: 60.0,
            max_pixels: 8192 * 4320,
            max_frames: 1_000_000,
            max_input_mb: 0,
            max_job_s: 0.0,
            missing_frames: 0.01,
            overlay: false,
            grace_s: 30.0,
            min_free_mb: 200,
            frame_roots: Vec::new(),
            duplicates: Duplicates::Reprocess,
            on_done: Vec::new(),
            on_failed: Vec::new(),
            webhook: String::new(),
            keep_done_days: 0.0,
            keep_failed_days: 0.0,
        }
    }
}
