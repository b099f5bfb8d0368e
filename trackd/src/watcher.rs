//! Wakes the daemon when something happens in the inbox. Events are hints only: losing them costs time, never a job.

use notify_debouncer_full::notify::event::{AccessKind, AccessMode};
use notify_debouncer_full::notify::{EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use schemas::watch::WatchMode;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Events that come within this time are one.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// File systems whose events do not arrive: NFS, SMB, CIFS, FUSE, 9P, overlay (Linux `statfs` numbers).
const SILENT: [i64; 7] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x794c_7630];

/// Keeps the watch alive; dropping it ends the watch.
pub struct Watcher {
    _debouncer: Option<Debouncer<RecommendedWatcher, RecommendedCache>>,
}

impl Watcher {
    /// Watches `inbox` and sends a wake-up per burst of events. Without kernel events (asked for, a file system that
    /// has none, or no watches left) it only says so in the log: the caller polls.
    #[must_use]
    pub fn start(inbox: &Path, mode: WatchMode, wake: Sender<()>) -> Self {
        let silent = mode == WatchMode::Auto && is_silent(inbox);
        if mode == WatchMode::Poll || silent {
            tracing::info!(inbox = %inbox.display(), silent, "polling the inbox");
            return Self { _debouncer: None };
        }
        let handler = move |events: DebounceEventResult| {
            // Our own looks open files, and must not wake us again. Errors (lost events) do.
            let matters = |kind: &EventKind| {
                !kind.is_access() || *kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
            };
            if events.is_ok_and(|events| !events.iter().any(|e| matters(&e.kind))) {
                return;
            }
            // A full channel means that a wake-up is waiting already.
            _ = wake.try_send(());
        };
        let started = new_debouncer(DEBOUNCE, None, handler)
            .and_then(|mut debouncer| debouncer.watch(inbox, RecursiveMode::NonRecursive).map(|()| debouncer));
        match started {
            Ok(debouncer) => Self { _debouncer: Some(debouncer) },
            Err(e) => {
                tracing::warn!(inbox = %inbox.display(), error = %e, "no kernel events; polling the inbox");
                Self { _debouncer: None }
            }
        }
    }

    /// Whether kernel events arrive.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self._debouncer.is_some()
    }
}

fn is_silent(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: statfs is plain data for which all zeroes is a value; the call gets a NUL-terminated path and room for
    // its answer, which is read only when the call succeeded.
    let kind = unsafe {
        let mut answer: libc::statfs = std::mem::zeroed();
        (libc::statfs(path.as_ptr(), &raw mut answer) == 0).then_some(answer.f_type)
    };
    kind.is_some_and(|k| SILENT.contains(&(k & 0xffff_ffff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_wake_and_polling_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (send, mut wakes) = tokio::sync::mpsc::channel(1);
        let polling = Watcher::start(folder.path(), WatchMode::Poll, send.clone());
        assert!(!polling.has_events());
        let watcher = Watcher::start(folder.path(), WatchMode::Inotify, send);
        assert!(watcher.has_events());
        for i in 0..20 {
            std::fs::write(folder.path().join(format!("{i}.mp4")), "x").unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let woken = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), wakes.recv()).await });
        assert_eq!(woken.unwrap(), Some(()));
        let missing = Watcher::start(&folder.path().join("none"), WatchMode::Inotify, tokio::sync::mpsc::channel(1).0);
        assert!(!missing.has_events());
    }
}
