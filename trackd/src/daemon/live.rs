//! What the daemon is doing at this moment, for those who ask: counters, progress, signs of life.

use crate::run::Step;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The main loop turns several times a second; after this long without a turn it hangs.
const HUNG: Duration = Duration::from_secs(60);

/// Upper ends of the buckets of [`Histogram`], seconds.
pub const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    /// By bucket, the last for all that took longer.
    pub counts: [AtomicU64; BUCKETS.len() + 1],
    /// Microseconds in all.
    pub total_us: AtomicU64,
}

impl Histogram {
    fn note(&self, seconds: f64) {
        let bucket = BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(BUCKETS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.total_us.fetch_add((seconds * 1e6) as u64, Ordering::Relaxed);
    }
}

/// How far one job is.
#[derive(Debug)]
pub struct Progress {
    /// Frames tracked.
    pub frames: AtomicU64,
    /// Frames expected; 0 = unknown.
    pub expected: AtomicU64,
    /// The sequence of a data set that runs, from 1; 0 = no data set.
    pub sequence: AtomicU64,
    /// Sequences of the data set.
    pub sequences: AtomicU64,
    began: Instant,
    times: Arc<Times>,
}

/// Seconds per frame of all runs.
#[derive(Debug, Default)]
pub struct Times {
    /// Waiting for the frame.
    pub decode: Histogram,
    /// Finding the targets in it.
    pub track: Histogram,
}

impl Progress {
    /// Notes a frame.
    pub fn at(&self, step: &Step) {
        self.frames.store(step.frames, Ordering::Relaxed);
        self.expected.store(step.expected.unwrap_or(0), Ordering::Relaxed);
        self.times.decode.note(step.decode_s);
        self.times.track.note(step.track_s);
    }

    /// Notes that a sequence of a data set begins.
    pub fn sequence(&self, index: usize, count: usize) {
        self.sequence.store(index as u64 + 1, Ordering::Relaxed);
        self.sequences.store(count as u64, Ordering::Relaxed);
    }

    /// Frames per second since the job began.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.frames.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64().max(0.001)
    }
}

/// Counters since the daemon started, and its condition.
#[derive(Debug)]
pub struct Live {
    /// Jobs published.
    pub done: AtomicU64,
    /// Jobs that failed for good.
    pub failed: AtomicU64,
    /// Runs that failed and are to be repeated.
    pub retries: AtomicU64,
    /// Looks at the whole inbox.
    pub rescans: AtomicU64,
    /// Times events of the inbox were lost.
    pub overflows: AtomicU64,
    /// Seconds per frame.
    pub times: Arc<Times>,
    /// Frames tracked by runs that have ended.
    pub frames: AtomicU64,
    /// Milliseconds of runs that have ended.
    pub busy_ms: AtomicU64,
    /// Seconds since 1970 of the last published result; 0 = none.
    pub last_success: AtomicI64,
    /// Free bytes on the outbox's file system.
    pub free: AtomicU64,
    /// Nothing new is started because the disk is nearly full.
    pub paused: AtomicBool,
    /// It is about to end.
    pub stopping: AtomicBool,
    running: Mutex<BTreeMap<String, Arc<Progress>>>,
    began: Instant,
    turned_ms: AtomicU64,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            rescans: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            times: Arc::default(),
            frames: AtomicU64::new(0),
            busy_ms: AtomicU64::new(0),
            last_success: AtomicI64::new(0),
            free: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            running: Mutex::new(BTreeMap::new()),
            began: Instant::now(),
            turned_ms: AtomicU64::new(0),
        }
    }
}

impl Live {
    /// A job begins.
    pub fn start(&self, id: &str) -> Arc<Progress> {
        let progress = Arc::new(Progress {
            frames: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            sequences: AtomicU64::new(0),
            began: Instant::now(),
            times: Arc::clone(&self.times),
        });
        self.lock().insert(id.to_owned(), Arc::clone(&progress));
        progress
    }

    /// Its run has ended, well or not.
    pub fn end(&self, id: &str) {
        if let Some(progress) = self.lock().remove(id) {
            self.frames.fetch_add(progress.frames.load(Ordering::Relaxed), Ordering::Relaxed);
            let ms = progress.began.elapsed().as_millis() as u64;
            self.busy_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }

    /// A result was published.
    pub fn published(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        self.last_success.store(now, Ordering::Relaxed);
    }

    /// Jobs that have ended since the start.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.done.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    /// What runs, by the job's identity.
    #[must_use]
    pub fn running(&self) -> BTreeMap<String, Arc<Progress>> {
        self.lock().clone()
    }

    /// The main loop has turned.
    pub fn turn(&self) {
        self.turned_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether the main loop still turns.
    #[must_use]
    pub fn alive(&self) -> bool {
        let since = self.began.elapsed().as_millis() as u64 - self.turned_ms.load(Ordering::Relaxed);
        Duration::from_millis(since) < HUNG
    }

    /// Time since the start.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Progress>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that may still be written to the file system of `path`, for this user; `None` where the system does not say.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: all-zero bytes are a valid statvfs.
    let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string and a place for the answer, both alive during the call.
    let code = unsafe { libc::statvfs(path.as_ptr(), &raw mut answer) };
    (code == 0).then(|| answer.f_bavail.saturating_mul(answer.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_when_they_end() {
        let live = Live::default();
        let step = Step { frames: 7, expected: Some(9), decode_s: 0.0004, track_s: 7.0, write_s: 0.0 };
        live.start("a").at(&step);
        assert_eq!(live.times.decode.counts[0].load(Ordering::Relaxed), 1);
        assert_eq!(live.times.track.counts[BUCKETS.len()].load(Ordering::Relaxed), 1);
        assert_eq!(live.times.track.total_us.load(Ordering::Relaxed), 7_000_000);
        assert_eq!(live.running()["a"].expected.load(Ordering::Relaxed), 9);
        live.end("a");
        live.end("a");
        assert!(live.running().is_empty());
        assert_eq!(live.frames.load(Ordering::Relaxed), 7);
        live.turn();
        assert!(live.alive());
    }

    #[test]
    fn the_disk_says_what_is_free() {
        assert!(free_bytes(&std::env::temp_dir()).unwrap() > 0);
        assert_eq!(free_bytes(Path::new("/no/such/place")), None);
    }
}
