//! What tracking a video leaves behind: `result.json`, `result.arrow`, `error.json`; and `init.json`, which says
//! what to track.
//!
//! Boxes are `[x, y, w, h]` in pixels of the displayed frame, origin at the left/top edge of pixel 0. Frames count
//! from 0.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `init.json`: which targets to track from which frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitDoc {
    /// The targets; at least one.
    pub targets: Vec<InitTarget>,
    /// Inputs of a higher number are started first by the daemon; 0 without it.
    #[serde(default)]
    pub priority: i32,
}

/// One target of [`InitDoc`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitTarget {
    /// Name of the target, unlike any other's: letters, digits, `.`, `_`, `-`; `"1"` if there is only one.
    #[serde(default = "first_target")]
    pub id: String,
    /// Frame the box belongs to, from 0.
    #[serde(default)]
    pub frame: u32,
    /// `[x, y, w, h]` in pixels.
    pub region: [f64; 4],
}

fn first_target() -> String {
    "1".to_owned()
}

/// What made a result: enough to make it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// Program and version.
    pub writer: String,
    /// blake3 of the model file.
    pub model_blake3: String,
    /// blake3 of the effective configuration.
    pub config_hash: String,
    /// blake3 of the input (of the file, or of all frames in order).
    pub input_blake3: String,
    /// Inference engine and device.
    pub engine: String,
    /// What decoded the frames.
    pub decoder: String,
}

/// `result.json`: one tracked video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultDoc {
    /// Name of the video or sequence.
    pub name: String,
    /// Identity of the daemon's job that made it; absent when it was tracked by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Frames of the video.
    pub frames: u64,
    /// Frame width in pixels.
    pub width: u32,
    /// Frame height in pixels.
    pub height: u32,
    /// What was tracked; one element unless `init.json` names several targets.
    pub targets: Vec<TargetDoc>,
    /// Frames per second of the tracker alone, all targets together.
    pub tracker_frames_per_s: f64,
    /// Frames per second of the whole job, decoding and writing included.
    pub frames_per_s: f64,
    /// Files written beside this one.
    pub files: Vec<String>,
    /// Things worth knowing that did not make the job fail.
    pub warnings: Vec<String>,
    /// What made it.
    pub provenance: Provenance,
}

/// One target of a [`ResultDoc`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetDoc {
    /// Its name in `init.json`; `"1"` without one.
    pub id: String,
    /// Frame the tracker was initialised on, from 0.
    pub init_frame: u32,
    /// The initial box `[x, y, w, h]`.
    pub init: [f64; 4],
    /// Where the initial box came from, for example `clip.txt`.
    pub init_source: String,
    /// Frames tracked, the initial one included.
    pub frames: u64,
    /// Frames reported lost.
    pub lost_frames: u64,
    /// Mean score over the tracked frames after the initial one.
    pub mean_confidence: f64,
    /// Mean overlap with the ground truth, when there is one, without resets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_overlap: Option<f64>,
}

/// `result.json` of a data set that was dropped: every sequence was run and scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetDoc {
    /// Name of the data set.
    pub name: String,
    /// Identity of the daemon's job that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Sequences that were run.
    pub sequences: u64,
    /// Sequences that could not be run, with the reason.
    pub failed: BTreeMap<String, String>,
    /// Runs made; 15 per sequence, no more than 3 where they are equal.
    pub runs: u64,
    /// Whose definitions the numbers follow; all of them are in `score-DIALECT.json`.
    pub dialect: String,
    /// Mean accuracy.
    pub accuracy: f64,
    /// 100 * failures / frames.
    pub robustness_per_100: f64,
    /// Expected average overlap; null where no run is long enough.
    pub eao: Option<f64>,
    /// Files and folders beside this one.
    pub files: Vec<String>,
    /// Program and version.
    pub writer: String,
    /// blake3 of the model file.
    pub model_blake3: String,
    /// blake3 of the effective configuration.
    pub config_hash: String,
    /// Inference engine and device.
    pub engine: String,
}

/// `error.json`: why a job failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDoc {
    /// Name of the job.
    pub name: String,
    /// Identity of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Where it failed: `probe`, `decode`, `init`, `track`, `publish`.
    pub stage: String,
    /// Short machine-readable reason, for example `truncated-video`.
    pub code: String,
    /// What happened, where, and what to do.
    pub message: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Last lines of the decoder's messages.
    pub decoder_log: String,
}

/// Schema of `result.arrow`: one row per target and frame, target by target.
#[must_use]
pub fn result_schema() -> SchemaRef {
    let f = |name: &str, t: DataType| Field::new(name, t, false);
    Arc::new(Schema::new(vec![
        f("target", DataType::Utf8),
        f("frame", DataType::UInt32),
        f("x", DataType::Float32),
        f("y", DataType::Float32),
        f("w", DataType::Float32),
        f("h", DataType::Float32),
        f("confidence", DataType::Float32),
        f("lost", DataType::Boolean),
        f("time_s", DataType::Float32),
    ]))
}
