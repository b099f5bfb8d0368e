//! One job, on a thread of its own: track, write, publish.

use super::live::Progress;
use crate::engine::Engines;
use crate::frames::Limits;
use crate::frames::video::Decoders;
use crate::input::survey::survey;
use crate::input::{Input, InputError, Start};
use crate::job::Fault;
use crate::journal::Journal;
use crate::publish::{TEMPORARY, publish, remove};
use crate::run::{JobError, RunOptions, Step, dataset, hash, run};
use schemas::result::ErrorDoc;
use std::ffi::OsStr;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a worker needs to know.
pub struct Task {
    /// The job's identity.
    pub id: String,
    /// Name of its results.
    pub name: String,
    /// The input in the work folder.
    pub path: PathBuf,
    /// A box given by hand.
    pub given: Option<[f64; 4]>,
    /// Where results go.
    pub outbox: PathBuf,
    /// The state folder, where an input whose result is there already is not tracked again.
    pub skip: Option<PathBuf>,
    /// Where the frames of job folders may lie.
    pub frame_roots: Vec<PathBuf>,
    /// What decodes videos.
    pub decoders: Decoders,
    /// What an input may cost.
    pub limits: Limits,
    /// Annotated pictures.
    pub overlay: bool,
    /// Set to stop between two frames.
    pub cancel: Arc<AtomicBool>,
    /// Told about every frame.
    pub progress: Arc<Progress>,
}

/// How a worker ended.
pub struct End {
    /// The job's identity.
    pub id: String,
    /// What was published, or what went wrong.
    pub outcome: Result<Published, Failure>,
}

/// A result in its place.
pub struct Published {
    /// Its folder.
    pub folder: PathBuf,
    /// Hash of all it depends on; none of a data set.
    pub content: Option<String>,
}

/// What went wrong.
pub struct Failure {
    /// What to do about it; `None` = stopped on request.
    pub fault: Option<Fault>,
    /// For `error.json`.
    pub document: ErrorDoc,
}

/// Does the job; never panics.
pub fn work(task: &Task, engines: &dyn Engines) -> End {
    let outcome = catch_unwind(AssertUnwindSafe(|| track(task, engines))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Err(JobError::Crashed(text.unwrap_or("no message").to_owned()))
    });
    End { id: task.id.clone(), outcome: outcome.map_err(|e| failure(task, &e)) }
}

fn track(task: &Task, engines: &dyn Engines) -> Result<Published, JobError> {
    let temporary = task.outbox.join(format!("{TEMPORARY}{}", task.id));
    let output = JobError::output;
    remove(&temporary).map_err(output(&temporary))?;
    fs::create_dir(&temporary).map_err(output(&temporary))?;
    let made = fill(task, engines, &temporary);
    if made.is_err() {
        // What is left is removed before the next attempt too.
        drop(remove(&temporary));
    }
    let content = made?;
    let done = task.outbox.join("done");
    let folder = publish(&temporary, &done, OsStr::new(&task.name)).map_err(output(&done))?;
    Ok(Published { folder, content })
}

/// Hash of all that a result depends on.
fn content(input: &str, starts: &[Start], engines: &dyn Engines) -> String {
    let boxes: Vec<_> = starts.iter().map(|s| (&s.id, s.frame, s.rect)).collect();
    let about = engines.about();
    let all = serde_json::json!([input, boxes, about.model_blake3, about.config_hash]).to_string();
    blake3::hash(all.as_bytes()).to_hex().to_string()
}

/// Refuses an input whose result is there already.
fn refuse_duplicate(task: &Task, content: &str) -> Result<(), JobError> {
    let Some(state) = &task.skip else { return Ok(()) };
    let bad = |e: crate::journal::JournalError| JobError::Crashed(e.to_string());
    let same = Journal::existing(state).and_then(|journal| journal.same(content)).map_err(bad)?;
    let there = same.into_iter().filter_map(|entry| entry.result).find(|of| task.outbox.join(of).is_dir());
    there.map_or(Ok(()), |of| Err(JobError::Duplicate { path: task.path.clone(), of }))
}

/// Writes the results and answers the hash of all they depend on, if that can be had.
fn fill(task: &Task, engines: &dyn Engines, temporary: &Path) -> Result<Option<String>, JobError> {
    let options = RunOptions {
        decoders: task.decoders.clone(),
        limits: task.limits,
        overlay: task.overlay,
        job: Some(task.id.clone()),
    };
    let bytes = survey(&task.path)?;
    if let Some(limit) = task.limits.bytes.filter(|limit| bytes > *limit) {
        return Err(InputError::TooLarge { path: task.path.clone(), bytes, limit }.into());
    }
    let mut input = match Input::open(&task.path, &task.decoders) {
        Err(InputError::DataSet { path }) => {
            let told = |index, count| task.progress.sequence(index, count);
            dataset::run(&path, &task.name, engines, &options, temporary, &task.cancel, &told)?;
            return Ok(None);
        }
        input => input?,
    };
    input.stay_within(&task.frame_roots)?;
    input.name.clone_from(&task.name);
    let starts = match task.given {
        Some(rect) => vec![Start::new(0, rect, "trackd init")?],
        None => input.starts()?,
    };
    if starts.is_empty() {
        // Says what is wrong with the file, if anything is, rather than that the box is missing.
        crate::frames::Frames::open(&input, &task.decoders, &task.limits)?;
        return Err(InputError::NoBox { path: task.path.clone(), name: task.name.clone() }.into());
    }
    if task.skip.is_some() {
        refuse_duplicate(task, &content(&hash(&input)?, &starts, engines))?;
    }
    let told = |step: &Step| task.progress.at(step);
    let doc = run(&input, &starts, engines, &options, temporary, &task.cancel, &told)?;
    Ok(Some(content(&doc.provenance.input_blake3, &starts, engines)))
}

fn failure(task: &Task, e: &JobError) -> Failure {
    let fault = match e {
        JobError::Cancelled if task.cancel.load(Ordering::Relaxed) => None,
        e if e.disk_full() => Some(Fault::DiskFull),
        e if e.passing() => Some(Fault::Passing),
        _ => Some(Fault::Permanent),
    };
    let document = ErrorDoc {
        name: task.name.clone(),
        job: Some(task.id.clone()),
        stage: e.stage().to_owned(),
        code: e.code().to_owned(),
        message: e.to_string(),
        attempts: 0,
        decoder_log: e.decoder_log().to_owned(),
    };
    Failure { fault, document }
}
