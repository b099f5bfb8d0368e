//! `report.json`: several trackers over one data set, with intervals and paired comparisons.

use crate::score::{OnePassScore, ScoreDoc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `trackd report` found: the numbers behind `report.html`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportDoc {
    /// Program and version that wrote this.
    pub writer: String,
    /// Name of the data set's folder.
    pub dataset: String,
    /// `supervised` or `ope`.
    pub protocol: String,
    /// Whose definitions the measures follow; absent in `ope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// Name of the experiment whose results were read.
    pub experiment: String,
    /// Sequences.
    pub sequences: u64,
    /// Frames of all sequences.
    pub frames: u64,
    /// How the intervals were made.
    pub bootstrap: BootstrapDoc,
    /// The trackers, as named on the command line.
    pub trackers: Vec<TrackerReport>,
    /// Name of the tracker the others are compared with.
    pub reference: String,
    /// Every other tracker against the reference.
    pub comparisons: Vec<Comparison>,
    /// Things to know when reading these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Bootstrap over sequences: percentile intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BootstrapDoc {
    /// Number of resamples.
    pub resamples: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Share of resamples within an interval.
    pub confidence: f64,
    /// With fewer sequences than this an interval means little, and nothing is called a difference.
    pub least_sequences: u64,
}

/// One tracker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackerReport {
    /// Name in this report.
    pub name: String,
    /// What `run.json` beside the results says of their origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Runs over each sequence, smallest and largest number.
    pub repetitions: [u64; 2],
    /// Mean speed of the runs whose times are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames_per_s: Option<f64>,
    /// The measures with their intervals.
    pub measures: Vec<Measure>,
    /// The plotted curves.
    pub curves: Vec<Curve>,
    /// All scores, supervised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervised: Option<ScoreDoc>,
    /// All scores, one pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_pass: Option<OnePassScore>,
    /// Every failure of every run.
    pub failures: Vec<FrameOf>,
    /// Frames with the lowest overlap in the first runs, lowest first.
    pub worst: Vec<FrameOf>,
}

/// What made a tracker's results.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// Program and version that wrote the results.
    #[serde(default)]
    pub writer: Option<String>,
    /// Hash of the model file.
    #[serde(default)]
    pub model_blake3: Option<String>,
    /// Dialect (supervised) or protocol the tracker was run by.
    #[serde(default)]
    pub dialect: Option<String>,
}

/// A measure with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measure {
    /// Key, as in the score documents.
    pub key: String,
    /// Its value over all sequences; null where it is not defined.
    pub value: Option<f64>,
    /// Its interval; null where no resample has a value.
    pub interval: Option<[f64; 2]>,
    /// Resamples in which the measure is not defined and which the interval leaves out.
    #[serde(default)]
    pub undefined: u64,
}

/// A curve and the interval of each of its points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Curve {
    /// `eao`, `success` or `precision`.
    pub key: String,
    /// Points: place, value, low and high end of the interval. Place is frames (eao), an overlap or px.
    pub points: Vec<[Option<f64>; 4]>,
}

/// A frame of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FrameOf {
    /// Name of the sequence.
    pub sequence: String,
    /// Run, counted from 1.
    pub repetition: u64,
    /// Frame, counted from 0.
    pub frame: u64,
    /// Overlap with the ground truth; absent for failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<f64>,
}

/// A tracker against the reference, over the same resamples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Name of the tracker.
    pub tracker: String,
    /// Name of the reference.
    pub reference: String,
    /// Tracker less reference, measure by measure.
    pub differences: Vec<Difference>,
}

/// One measure of a tracker less that of the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Key of the measure.
    pub key: String,
    /// Difference over all sequences; null where one of them is not defined.
    pub value: Option<f64>,
    /// Interval of the difference; null where no resample has one.
    pub interval: Option<[f64; 2]>,
    /// What it means.
    pub verdict: Verdict,
}

/// What a difference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval lies on the good side of 0.
    Better,
    /// The interval lies on the bad side of 0.
    Worse,
    /// The interval contains 0.
    Noise,
    /// Too few sequences to tell.
    TooFew,
    /// There is no difference to judge: the measure is not defined.
    Undefined,
}
