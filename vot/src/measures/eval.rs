//! `eval.json` in the shape of MindSpore's SiamRPN.

use serde_json::{Map, Value, json};

use super::{Runs, ScoreOptions, score};
use crate::dialect::Dialect;
use crate::error::Error;

/// The document `{"<sequence>": {acc, num_failures, fps}, ..., "all_videos": {accuracy, robustness, eao}}`.
/// Always in dialect `mindspore`, which `all_videos` also names; `fps` is frames per second of the
/// tracker, 0 where no times were kept; numbers that are not defined are null (`acc`: 0).
pub fn eval_json(runs: &[Runs<'_>], options: &ScoreOptions) -> Result<Value, Error> {
    let score = score(Dialect::Mindspore, runs, options)?;
    let mut document = Map::new();
    for run in runs {
        let Some(sequence) = score.sequences.get(&run.sequence.name) else { continue };
        let fps = run.trajectories.first().and_then(|trajectory| trajectory.fps()).unwrap_or(0.0);
        document.insert(
            run.sequence.name.clone(),
            json!({
                "acc": sequence.accuracy.unwrap_or(0.0),
                "num_failures": sequence.failures as u64,
                "fps": fps,
            }),
        );
    }
    document.insert(
        "all_videos".to_owned(),
        json!({
            "dialect": Dialect::Mindspore.as_str(),
            "accuracy": score.accuracy,
            "robustness": score.robustness_per_100,
            "eao": score.eao,
        }),
    );
    Ok(Value::Object(document))
}
