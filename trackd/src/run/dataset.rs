//! Runs and scores a whole data set that was dropped into the inbox.

use super::{JobError, RunOptions};
use crate::engine::Engines;
use crate::evaluate::{EvalError, EvalOptions, evaluate};
use crate::publish::{pretty, sync_tree, write_synced};
use schemas::format::writer_stamp;
use schemas::result::DatasetDoc;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vot::Dialect;

/// Runs every sequence of the data set `path` by the supervised protocol, one after the other, and writes official
/// result files, `eval.json`, `score-mindspore.json` and `result.json` into the existing folder `out`, flushed to disk.
/// `told` hears of every sequence as it begins: its index, and how many there are.
///
/// # Errors
/// [`JobError`] when not one sequence can be run; `out` then holds nothing worth keeping.
pub fn run(
    path: &Path,
    name: &str,
    engines: &dyn Engines,
    options: &RunOptions,
    out: &Path,
    cancel: &Arc<AtomicBool>,
    told: &(dyn Fn(usize, usize) + Sync),
) -> Result<DatasetDoc, JobError> {
    let dialect = Dialect::Mindspore;
    let eval = EvalOptions {
        dialect,
        repetitions: None,
        tracker: "trackd".to_owned(),
        interval: None,
        jobs: 1,
        binary: false,
        run: options.clone(),
        cancel: Arc::clone(cancel),
    };
    let done = evaluate(path, engines, &eval, out, &|_, index, count| told(index, count));
    if cancel.load(Ordering::Relaxed) {
        return Err(JobError::Cancelled);
    }
    let done = done.map_err(|e| match e {
        EvalError::Output { path, source } => JobError::Output { path, source },
        other => JobError::Evaluate(other.to_string()),
    })?;
    let about = engines.about();
    let doc = DatasetDoc {
        name: name.to_owned(),
        job: options.job.clone(),
        sequences: done.score.sequences.len() as u64,
        failed: done.failed.into_iter().collect(),
        runs: done.made as u64,
        dialect: dialect.as_str().to_owned(),
        accuracy: done.score.accuracy,
        robustness_per_100: done.score.robustness_per_100,
        eao: done.score.eao,
        files: ["eval.json", "result.json", &format!("score-{dialect}.json"), "results/"].map(str::to_owned).into(),
        writer: writer_stamp("trackd"),
        model_blake3: about.model_blake3.clone(),
        config_hash: about.config_hash.clone(),
        engine: about.engine.clone(),
    };
    let result = out.join("result.json");
    write_synced(&result, &pretty(&doc)).map_err(JobError::output(&result))?;
    sync_tree(out).map_err(JobError::output(out))?;
    Ok(doc)
}
