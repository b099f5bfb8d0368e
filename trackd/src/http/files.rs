//! The few files of a job that can be seen.

use super::{App, Refusal};
use crate::frames::Frames;
use crate::input::Input;
use crate::input::survey::survey;
use crate::job::State;
use crate::journal::Entry;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Names in links, and what they are.
const FILES: [(&str, &str); 9] = [
    ("strip.jpg", "image/jpeg"),
    ("plot.svg", "image/svg+xml"),
    ("overlay.mp4", "video/mp4"),
    ("result.json", "application/json"),
    ("eval.json", "application/json"),
    ("error.json", "application/json"),
    ("boxes.txt", "text/plain; charset=utf-8"),
    ("confidence.value", "text/plain; charset=utf-8"),
    ("lost.value", "text/plain; charset=utf-8"),
];
/// Largest file that is sent.
const LARGEST: u64 = 256 << 20;

/// The file on disk that a name in a link stands for.
fn on_disk(entry: &Entry, file: &str) -> String {
    match file {
        "boxes.txt" => format!("{}_001.txt", entry.name),
        "confidence.value" | "lost.value" => format!("{}_001_{file}", entry.name),
        other => other.to_owned(),
    }
}

/// The folder of a job's result or failure; never one outside the outbox.
fn folder(app: &App, entry: &Entry) -> Option<PathBuf> {
    let outbox = app.outbox.canonicalize().ok()?;
    let folder = outbox.join(entry.result.as_ref()?).canonicalize().ok()?;
    (folder.starts_with(&outbox) && folder != outbox).then_some(folder)
}

/// Names of the files a job has.
pub fn there(app: &App, entry: &Entry) -> Vec<&'static str> {
    let Some(folder) = folder(app, entry) else { return Vec::new() };
    let is_file = |name: &str| folder.join(on_disk(entry, name)).symlink_metadata().is_ok_and(|m| m.is_file());
    FILES.iter().map(|(name, _)| *name).filter(|name| is_file(name)).collect()
}

/// A file of a job and its type.
pub fn read(app: &App, entry: &Entry, file: &str) -> Result<(&'static str, Vec<u8>), Refusal> {
    let (name, kind) = FILES.iter().find(|(name, _)| *name == file).ok_or(Refusal::NoFile)?;
    let path = folder(app, entry).ok_or(Refusal::NoFile)?.join(on_disk(entry, name));
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let open = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|_| Refusal::NoFile)?;
    let size = open.metadata().ok().filter(std::fs::Metadata::is_file).ok_or(Refusal::NoFile)?.len();
    if size > LARGEST {
        return Err(Refusal::Conflict("this file is too large to be shown here: open it in the outbox"));
    }
    let mut bytes = Vec::new();
    open.take(LARGEST).read_to_end(&mut bytes).map_err(|e| Refusal::Internal(e.to_string()))?;
    Ok((kind, bytes))
}

/// The first frame of a job that waits for a box, as JPEG.
pub fn first_frame(app: &App, entry: &Entry) -> Result<Vec<u8>, Refusal> {
    if entry.job.state != State::NeedsInit {
        return Err(Refusal::Conflict("this job does not wait for a box"));
    }
    let bad = |e: &dyn std::fmt::Display| Refusal::Bad(format!("there is no first frame: {e}"));
    survey(&app.inbox.join(&entry.file)).map_err(|e| bad(&e))?;
    let input = Input::open(&app.inbox.join(&entry.file), &app.decoders).map_err(|e| bad(&e))?;
    let mut frames = Frames::open(&input, &app.decoders, &app.limits).map_err(|e| bad(&e))?;
    let frame = frames.next().ok_or_else(|| bad(&"it is empty"))?.map_err(|e| bad(&e))?;
    shards::jpeg::encode(&frame, 90).map_err(|e| bad(&e))
}
