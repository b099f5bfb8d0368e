//! What crosses a boundary in this project: Arrow schemas, the dataset manifest, configurations, result and
//! score documents, and exit codes.
//!
//! This crate is data only. It does no IO, starts no threads and never sees Burn; every other crate stands on it.
//! The JSON documents have JSON Schemas, generated from these types and checked in under `schemas/json/`.
//!
//! | module | what it describes |
//! |---|---|
//! | [`exit`] | exit codes of all programs |
//! | [`format`](mod@format) | format versions and the writer stamp |
//! | [`shard`] | columns and metadata of shards and of the index |
//! | [`manifest`] | `dataset.json` and `rejects.jsonl` |
//! | [`build`] | what `ingest build` is configured with |
//! | [`model`] | a SiamRPN model: trunk, head, anchors, tracker constants |
//! | [`train`] | one training run |
//! | [`result`] | what tracking a video leaves behind |
//! | [`score`] | VOT measures and `eval.json` |
//! | [`report`] | several trackers compared: `report.json` |
//! | [`watch`] | the daemon's configuration |

pub mod build;
pub mod exit;
pub mod format;
pub mod manifest;
pub mod model;
pub mod report;
pub mod result;
pub mod score;
pub mod shard;
pub mod train;
pub mod watch;

use schemars::{Schema, schema_for};

/// Every JSON document of the project with its JSON Schema: `(file stem, schema)`, in a fixed order.
///
/// The files under `schemas/json/` are these, and a test keeps them equal.
#[must_use]
pub fn json_schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("dataset", schema_for!(manifest::Manifest)),
        ("reject", schema_for!(manifest::Reject)),
        ("build-config", schema_for!(build::BuildConfig)),
        ("model-config", schema_for!(model::ModelConfig)),
        ("train-config", schema_for!(train::TrainConfig)),
        ("watch-config", schema_for!(watch::WatchConfig)),
        ("dataset-result", schema_for!(result::DatasetDoc)),
        ("init", schema_for!(result::InitDoc)),
        ("result", schema_for!(result::ResultDoc)),
        ("error", schema_for!(result::ErrorDoc)),
        ("score", schema_for!(score::ScoreDoc)),
        ("score-longterm", schema_for!(score::LongTermScore)),
        ("score-multistart", schema_for!(score::MultiStartScore)),
        ("score-ope", schema_for!(score::OnePassScore)),
        ("eval", schema_for!(score::EvalDoc)),
        ("report", schema_for!(report::ReportDoc)),
    ]
}
