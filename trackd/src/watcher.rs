//! Wakes the daemon when something happens in the inbox. Events are hints only: losing them costs time, never a job.

use crate::daemon::live::Live;
use notify_debouncer_full::notify::event::{AccessKind, AccessMode};
use notify_debouncer_full::notify::{EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use schemas::watch::WatchMode;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Events that come within this time are one.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// File systems whose events do not arrive: NFS, SMB, CIFS, FUSE, 9P, overlay (Linux `statfs` numbers).
const SILENT: [i64; 7] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x794c_7630];

/// Keeps the watch alive; dropping it ends the watch.
pub struct Watcher {
    debouncer: Option<Debouncer<RecommendedWatcher, RecommendedCache>>,
    /// The other folder is watched.
    followed: bool,
}

impl Watcher {
    /// Watches `inbox` and sends a wake-up per burst of events. Without kernel events (asked for, a file system that
    /// has none, or no watches left) it only says so in the log: the caller polls.
    #[must_use]
    pub fn start(inbox: &Path, mode: WatchMode, wake: Sender<()>, live: Arc<Live>) -> Self {
        let silent = mode == WatchMode::Auto && is_silent(inbox);
        if mode == WatchMode::Poll || silent {
            tracing::info!(inbox = %inbox.display(), silent, "polling the inbox");
            return Self { debouncer: None, followed: false };
        }
        let handler = move |events: DebounceEventResult| {
            // Our own looks open files, and must not wake us again. Errors (lost events) do.
            let matters = |kind: &EventKind| {
                !kind.is_access() || *kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
            };
            if events.as_ref().map_or(true, |events| events.iter().any(|e| e.need_rescan())) {
                live.overflows.fetch_add(1, Ordering::Relaxed);
            } else if events.is_ok_and(|events| !events.iter().any(|e| matters(&e.kind))) {
                return;
            }
            // A full channel means that a wake-up is waiting already.
            _ = wake.try_send(());
        };
        let started = new_debouncer(DEBOUNCE, None, handler)
            .and_then(|mut debouncer| debouncer.watch(inbox, RecursiveMode::NonRecursive).map(|()| debouncer));
        match started {
            Ok(debouncer) => Self { debouncer: Some(debouncer), followed: false },
            Err(e) => {
                tracing::warn!(inbox = %inbox.display(), error = %e, "no kernel events; polling the inbox");
                Self { debouncer: None, followed: false }
            }
        }
    }

    /// Watches another folder too, once it is there. Without kernel events the caller polls as before.
    pub fn follow(&mut self, folder: &Path) {
        let there = folder.is_dir();
        if let Some(debouncer) = self.debouncer.as_mut().filter(|_| there != self.followed) {
            self.followed = there && debouncer.watch(folder, RecursiveMode::NonRecursive).is_ok();
        }
    }

    /// Whether kernel events arrive.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.debouncer.is_some()
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
        let polling = Watcher::start(folder.path(), WatchMode::Poll, send.clone(), Arc::default());
        assert!(!polling.has_events());
        let mut watcher = Watcher::start(folder.path(), WatchMode::Inotify, send, Arc::default());
        assert!(watcher.has_events());
        for i in 0..20 {
            std::fs::write(folder.path().join(format!("{i}.mp4")), "x").unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let woken = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), wakes.recv()).await });
        assert_eq!(woken.unwrap(), Some(()));
        let urgent = folder.path().join("urgent");
        watcher.follow(&urgent);
        assert!(!watcher.followed);
        std::fs::create_dir(&urgent).unwrap();
        watcher.follow(&urgent);
        assert!(watcher.followed);
        // What the new folder itself caused is over before the next event is waited for.
        std::thread::sleep(3 * DEBOUNCE);
        while wakes.try_recv().is_ok() {}
        std::fs::write(urgent.join("a.mp4"), "x").unwrap();
        let woken = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), wakes.recv()).await });
        assert_eq!(woken.unwrap(), Some(()));
        let missing = Watcher::start(
            &folder.path().join("none"),
            WatchMode::Inotify,
            tokio::sync::mpsc::channel(1).0,
            Arc::default(),
        );
        assert!(!missing.has_events());
    }
}
