//! What made the results in a folder, so that they are kept only where making them again would give the same.

use super::EvalError;
use crate::engine::Engines;
use crate::publish::{pretty, replace_file};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use vot::Sequence;
use vot::region::format_regions;

/// The file in an experiment's folder, and the one in a sequence's.
const NAMES: [&str; 2] = ["run.json", "input.json"];

/// Notes in the folder of an experiment what its results are made with, or refuses to add them to those of something
/// else. `rules` is the dialect of the supervised protocol, or the name of another protocol.
pub(super) fn stamp_run(folder: &Path, engines: &dyn Engines, rules: &str) -> Result<(), EvalError> {
    let about = engines.about();
    let now = json!({
        "model_blake3": about.model_blake3,
        "config_hash": about.config_hash,
        "engine": about.engine,
        "dialect": rules,
        "writer": schemas::format::writer_stamp("trackd"),
    });
    let keys = [
        ("model_blake3", "model"),
        ("config_hash", "configuration of the model"),
        ("engine", "engine"),
        ("dialect", "dialect"),
        ("writer", "version of this program"),
    ];
    check(folder, NAMES[0], &now, &keys)
}

/// The same in the folder of a sequence: its annotation, its frames by name and bytes on disk with the contents of the
/// first, the middle and the last, and their size in pixels.
pub(super) fn stamp_input(folder: &Path, sequence: &Sequence) -> Result<(), EvalError> {
    let mut frames = blake3::Hasher::new();
    for frame in &sequence.frames {
        let bytes = fs::metadata(frame).map_or(0, |data| data.len());
        let name = frame.file_name().unwrap_or_default();
        frames.update(format!("{} {bytes}\n", name.to_string_lossy()).as_bytes());
    }
    let last = sequence.frames.len().saturating_sub(1);
    for frame in [0, last / 2, last].into_iter().filter_map(|i| sequence.frames.get(i)) {
        // A frame that cannot be read is the tracker's to complain about.
        let contents = fs::read(frame).unwrap_or_default();
        frames.update(blake3::hash(&contents).as_bytes());
    }
    let truth = blake3::hash(format_regions(&sequence.groundtruth).as_bytes());
    let size = sequence.size().map_or_else(String::new, |(width, height)| format!("{width}x{height}"));
    let now = json!({
        "groundtruth_blake3": truth.to_hex().to_string(),
        "frames_blake3": frames.finalize().to_hex().to_string(),
        "frame_size": size,
    });
    let keys =
        [("groundtruth_blake3", "ground truth"), ("frames_blake3", "set of frames"), ("frame_size", "frame size")];
    check(folder, NAMES[1], &now, &keys)
}

fn check(folder: &Path, name: &str, now: &Value, keys: &[(&'static str, &'static str)]) -> Result<(), EvalError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| EvalError::Output { path, source }
    };
    let text = |doc: &Value, key: &str| doc.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let path = folder.join(name);
    let then: Value = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        // Nothing is there, or results of unknown origin.
        Err(_) if is_empty(folder).map_err(failed(folder))? => {
            return replace_file(&path, &pretty(now)).map_err(failed(&path));
        }
        Err(_) => Value::Null,
    };
    for (key, what) in keys.iter().copied() {
        let (found, expected) = (text(&then, key), text(now, key));
        if found != expected {
            return Err(EvalError::Other { path: folder.to_owned(), what, found, expected });
        }
    }
    Ok(())
}

/// Whether there are no files and folders, other than hidden ones.
fn is_empty(folder: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if !entry?.file_name().to_string_lossy().starts_with('.') {
            return Ok(false);
        }
    }
    Ok(true)
}
