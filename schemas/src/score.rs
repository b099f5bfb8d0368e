//! VOT measures as documents: the score of one dialect, and `eval.json` in the reference's shape.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Scores of one tracker over one data set in one dialect. Numbers of different dialects do not compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoreDoc {
    /// `vot-python`, `vot-matlab-2015`, `vot-matlab`, `pysot` or `mindspore`.
    pub dialect: String,
    /// Accuracy, averaged the dialect's way.
    pub accuracy: f64,
    /// Mean overlap over all valid frames of all sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_pooled: Option<f64>,
    /// Sum over sequences of the mean number of failures over repetitions.
    pub failures: f64,
    /// Failures per 100 frames.
    pub robustness_per_100: f64,
    /// Failures per sequence.
    pub robustness_mean_failures: f64,
    /// exp(-S * failures / frames), S = 30: the AR plot's horizontal axis.
    pub reliability: f64,
    /// Expected average overlap; absent when no sequence is as long as the interval's low end.
    pub eao: Option<f64>,
    /// Sequence lengths over which the curve was averaged, low and high.
    pub eao_interval: [u32; 2],
    /// Per sequence.
    pub sequences: BTreeMap<String, SequenceScore>,
    /// Things to know when reading these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Scores of one sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SequenceScore {
    /// Mean overlap, the dialect's way; absent when no frame is left.
    pub accuracy: Option<f64>,
    /// Mean number of failures over repetitions.
    pub failures: f64,
    /// Frames.
    pub frames: u64,
}

/// `eval.json` in the reference's shape: one entry per sequence, and `all_videos`. Always dialect `mindspore`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvalDoc {
    /// Sums over the data set.
    pub all_videos: EvalTotals,
    /// Per sequence.
    #[serde(flatten)]
    pub sequences: BTreeMap<String, EvalSequence>,
}

/// One sequence of [`EvalDoc`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvalSequence {
    /// Mean overlap, without burn-in.
    pub acc: f64,
    /// Failures.
    pub num_failures: u64,
    /// Frames per second.
    pub fps: f64,
}

/// `all_videos` of [`EvalDoc`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvalTotals {
    /// Always `mindspore`: numbers of other dialects do not compare.
    pub dialect: String,
    /// Mean over sequences of the sequences' mean overlaps.
    pub accuracy: f64,
    /// Failures per 100 frames.
    pub robustness: f64,
    /// Expected average overlap; absent when no sequence is long enough.
    pub eao: Option<f64>,
}
