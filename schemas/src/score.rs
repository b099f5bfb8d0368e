//! VOT measures as documents: the score of one dialect, and `eval.json` in the reference's shape.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Scores of one tracker over one data set in one dialect. Numbers of different dialects do not compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoreDoc {
    /// Whose definitions these numbers follow: `vot-python`, `vot-matlab-2015`, `vot-matlab`, `pysot` or `mindspore`.
    pub dialect: String,
    /// Accuracy, averaged the dialect's way.
    pub accuracy: f64,
    /// Mean over the valid frames of all sequences, where the dialect has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_pooled: Option<f64>,
    /// Sum over sequences of the mean number of failures over repetitions (PySOT's "lost number").
    pub failures: f64,
    /// 100 * failures / frames; lower is better. The unit of VOT2016 to VOT2019, PySOT and MindSpore.
    pub robustness_per_100: f64,
    /// failures / sequences; lower is better. The unit of the VOT2013 to VOT2015 tables.
    pub robustness_mean_failures: f64,
    /// Failures per sequence weighted by its frames: the Python toolkit's "Robustness".
    pub robustness_weighted_failures: f64,
    /// exp(-30 F / N), higher is better: the horizontal axis of AR plots. F / N is failures / frames; in
    /// `vot-python` the weighted failures over the mean length.
    pub reliability: f64,
    /// Expected average overlap; null where no run is long enough for the interval.
    pub eao: Option<f64>,
    /// Lengths that EAO averages over, low and high.
    pub eao_interval: [usize; 2],
    /// The EAO curve if asked for: by length from 1 (in `vot-python` by frame index from 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eao_curve: Option<Vec<Option<f64>>>,
    /// Per sequence.
    pub sequences: BTreeMap<String, SequenceScore>,
    /// Per tag, in `vot-matlab`, `vot-matlab-2015` and `pysot`, where the sequences have tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, TagScore>,
    /// Things to know when reading these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Scores of one sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SequenceScore {
    /// Mean overlap, the dialect's way; null where no frame counts.
    pub accuracy: Option<f64>,
    /// Mean number of failures over repetitions.
    pub failures: f64,
    /// Frames.
    pub frames: u64,
    /// exp(-30 failures / frames).
    pub reliability: f64,
}

/// Scores of the frames with one tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TagScore {
    /// Mean overlap over tagged frames of all sequences; null where no frame counts.
    pub accuracy: Option<f64>,
    /// Failures on tagged frames: sum over sequences of the mean over repetitions.
    pub failures: f64,
    /// Tagged frames.
    pub frames: u64,
    /// Expected average overlap with fragments weighted by their share of tagged frames.
    pub eao: Option<f64>,
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

/// Scores of the multi-start protocol (VOT2020 to VOT2022), as the official Python toolkit has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MultiStartScore {
    /// Always `multistart`.
    pub protocol: String,
    /// Mean overlap before failures; sequences weighted by those frames.
    pub accuracy: f64,
    /// Frames before failures / frames of all runs; sequences weighted by their lengths. Higher is better.
    pub robustness: f64,
    /// Expected average overlap.
    pub eao: f64,
    /// Frames that EAO averages over: from the first up to, and not including, the second.
    pub eao_interval: [usize; 2],
    /// The EAO curve if asked for, by frame from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eao_curve: Option<Vec<f64>>,
    /// Per sequence.
    pub sequences: BTreeMap<String, MultiStartSequence>,
    /// Things to know when reading these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One sequence of [`MultiStartScore`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MultiStartSequence {
    /// Mean overlap before failures.
    pub accuracy: f64,
    /// Frames before failures / frames of all runs.
    pub robustness: f64,
    /// Runs, one per anchor.
    pub anchors: u64,
    /// Runs that failed.
    pub failures: u64,
    /// Frames of the sequence.
    pub frames: u64,
}

/// Long-term scores of unsupervised runs with confidences, as the official Python toolkit has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LongTermScore {
    /// Always `longterm`.
    pub protocol: String,
    /// Tracking precision at the threshold with the best F.
    pub precision: f64,
    /// Tracking recall there.
    pub recall: f64,
    /// The best F.
    pub f_score: f64,
    /// The confidence threshold there; null when it is infinite.
    pub threshold: Option<f64>,
    /// Mean overlap over tracked frames.
    pub accuracy: f64,
    /// Tracked frames / frames with a target; null where there are none.
    pub robustness: Option<f64>,
    /// Frames with a target on which nothing was reported / frames with a target.
    pub not_reported_error: Option<f64>,
    /// Frames with a target on which the reported region misses it / frames with a target.
    pub drift_rate_error: Option<f64>,
    /// Frames without a target on which nothing was reported / those frames; over sequences with more than ten.
    pub absence_detection_quality: Option<f64>,
    /// Per sequence.
    pub sequences: BTreeMap<String, LongTermSequence>,
    /// Things to know when reading these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One sequence of [`LongTermScore`], at the threshold that is best for the data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LongTermSequence {
    /// Tracking precision.
    pub precision: f64,
    /// Tracking recall.
    pub recall: f64,
    /// Their harmonic mean.
    pub f_score: f64,
    /// Mean overlap over tracked frames.
    pub accuracy: f64,
    /// Tracked frames / frames with a target.
    pub robustness: Option<f64>,
    /// Frames of the sequence.
    pub frames: u64,
}

/// One-pass scores: OTB, LaSOT, TrackingNet and GOT-10k.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnePassScore {
    /// Always `ope`.
    pub protocol: String,
    /// Area under the success curve (OTB, LaSOT, TrackingNet).
    pub success_auc: f64,
    /// Share of frames with overlap above 0.5.
    pub success_50: f64,
    /// Share of frames with the centres at most 20 px apart (OTB).
    pub precision_20: f64,
    /// Area under the normalised precision curve, 0 to 0.5 (LaSOT).
    pub normalised_precision_auc: f64,
    /// Normalised precision at 0.2 (TrackingNet).
    pub normalised_precision_20: f64,
    /// GOT-10k's AO; null where no frame counts.
    pub average_overlap: Option<f64>,
    /// GOT-10k's SR50.
    pub success_rate_50: Option<f64>,
    /// GOT-10k's SR75.
    pub success_rate_75: Option<f64>,
    /// Success at overlaps 0, 0.05 to 1, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_curve: Option<Vec<f64>>,
    /// Precision at 0, 1 to 50 px, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_curve: Option<Vec<f64>>,
    /// Normalised precision at 0, 0.01 to 0.5, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalised_precision_curve: Option<Vec<f64>>,
    /// Per sequence.
    pub sequences: BTreeMap<String, OnePassSequence>,
    /// Things to know when reading these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One sequence of [`OnePassScore`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnePassSequence {
    /// Area under the success curve.
    pub success_auc: f64,
    /// Share of frames with overlap above 0.5.
    pub success_50: f64,
    /// Share of frames with the centres at most 20 px apart.
    pub precision_20: f64,
    /// Area under the normalised precision curve, 0 to 0.5.
    pub normalised_precision_auc: f64,
    /// Normalised precision at 0.2.
    pub normalised_precision_20: f64,
    /// GOT-10k's average overlap; null where no frame counts.
    pub average_overlap: Option<f64>,
    /// Frames of the sequence.
    pub frames: u64,
}
