//! `trackd watch`: the drop folder. One task decides, worker threads track, the journal remembers.
//!
//! ```text
//! INBOX/clip.mp4, clip.txt     dropped by somebody
//! INBOX/.trackd/ID/            claimed inputs
//! OUTBOX/.tmp-ID/              results being written
//! OUTBOX/done/clip/            results, complete at once; the input lies in input/
//! OUTBOX/failed/clip/          error.json and the input
//! STATE/journal.sqlite         every job and its state (STATE is OUTBOX/.trackd unless said otherwise)
//! ```

mod hooks;
pub mod live;
mod service;
mod supervisor;
mod worker;

use crate::engine::Engines;
use crate::frames::Limits;
use crate::frames::video::Decoders;
use crate::http::{App, Door, HttpError};
use crate::journal::JournalError;
use crate::publish::{pretty, replace_file};
use crate::scan::{URGENT, WORK};
use crate::watcher::Watcher;
use hooks::Hooks;
use live::Live;
use schemas::watch::WatchConfig;
use serde::{Deserialize, Serialize};
use service::Service;
use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use supervisor::Supervisor;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Why the daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A folder cannot be used.
    #[error("{what} {path}: {source}; make the folder writable for this user, or name another", path = path.display())]
    Folder {
        /// Which folder.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Inbox and outbox are the same, or one would swallow the other.
    #[error("inbox and outbox are both {path}: name two folders", path = path.display())]
    Same {
        /// The folder.
        path: PathBuf,
    },
    /// Another daemon runs.
    #[error("another trackd uses the state folder {path}: stop it, or name another outbox", path = path.display())]
    Busy {
        /// The state folder.
        path: PathBuf,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The HTTP side.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The system refused a service that the daemon needs.
    #[error("the daemon cannot start: {0}")]
    System(io::Error),
}

/// Reads the configuration again; an error says what is wrong with it.
pub type Reload = Arc<dyn Fn() -> Result<WatchConfig, String> + Send + Sync>;

/// Where and how to watch.
#[derive(Clone)]
pub struct Settings {
    /// The drop folder.
    pub inbox: PathBuf,
    /// Where results go.
    pub outbox: PathBuf,
    /// Where the journal lies; on a local disk.
    pub state: PathBuf,
    /// Everything else.
    pub config: WatchConfig,
    /// What decodes videos.
    pub decoders: Decoders,
    /// Where the HTTP side listens, and the token visitors must show.
    pub http: Option<(SocketAddr, Option<String>)>,
    /// Asked at SIGHUP.
    pub reload: Reload,
}

/// Why the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// SIGTERM.
    Asked,
    /// SIGINT.
    Interrupted,
}

/// `OUTBOX/.trackd/where.json`: where to find the journal of an outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Whereabouts {
    state: PathBuf,
    inbox: PathBuf,
}

/// The state folder of an outbox.
#[must_use]
pub fn state_of(outbox: &Path) -> PathBuf {
    let usual = outbox.join(WORK);
    let noted = fs::read(usual.join("where.json")).ok();
    let noted = noted.and_then(|b| serde_json::from_slice::<Whereabouts>(&b).ok()).map(|w| w.state);
    // The note is stale when the outbox was moved together with its journal.
    noted.filter(|state| state.join("journal.sqlite").is_file()).unwrap_or(usual)
}

/// Whether a daemon holds the state folder.
#[must_use]
pub fn is_alive(state: &Path) -> bool {
    File::open(state.join("lock")).is_ok_and(|f| matches!(f.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

impl Settings {
    /// Makes the folders, checks that they can be written, and takes the locks.
    fn prepare(&mut self) -> Result<Locks, WatchError> {
        let folder = |what, path: &Path| {
            let path = path.to_owned();
            move |source| WatchError::Folder { what, path, source }
        };
        let make = |what, path: &Path| -> Result<PathBuf, WatchError> {
            fs::create_dir_all(path).map_err(folder(what, path))?;
            let path = fs::canonicalize(path).map_err(folder(what, path))?;
            tempfile::Builder::new().prefix(".probe-").tempfile_in(&path).map_err(folder(what, &path))?;
            Ok(path)
        };
        self.inbox = make("inbox", &self.inbox)?;
        self.outbox = make("outbox", &self.outbox)?;
        if self.inbox == self.outbox {
            return Err(WatchError::Same { path: self.inbox.clone() });
        }
        let work = make("work folder", &self.inbox.join(WORK))?;
        for name in ["done", "failed"] {
            make("outbox", &self.outbox.join(name))?;
        }
        self.state = make("state folder", &self.state)?;
        let usual = make("state folder", &self.outbox.join(WORK))?;
        let lock_path = self.state.join("lock");
        let lock = File::create(&lock_path).map_err(folder("state folder", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WatchError::Busy { path: self.state.clone() }),
            Err(TryLockError::Error(source)) => return Err(folder("state folder", &lock_path)(source)),
        }
        let noted = usual.join("where.json");
        let doc = Whereabouts { state: self.state.clone(), inbox: self.inbox.clone() };
        replace_file(&noted, &pretty(&doc)).map_err(folder("state folder", &noted))?;
        let inbox_path = work.join(INBOX_LOCK);
        let inbox = File::create(&inbox_path).map_err(folder("work folder", &inbox_path))?;
        let alone = inbox.try_lock().is_ok();
        inbox.lock_shared().map_err(folder("work folder", &inbox_path))?;
        Ok(Locks { _state: lock, _inbox: inbox, alone })
    }
}

/// Time between two looks for results that are old enough to be removed.
const SWEEP: Duration = Duration::from_secs(3600);
/// Name of the lock file in the inbox's work folder.
const INBOX_LOCK: &str = ".lock";

/// Held while the daemon runs: its state folder alone, its inbox together with other daemons.
struct Locks {
    _state: File,
    _inbox: File,
    /// No other daemon shared the inbox when this one started.
    alone: bool,
}

/// Watches until SIGTERM or SIGINT.
///
/// # Errors
/// [`WatchError`] when the daemon cannot start, or its journal fails.
pub fn watch(mut settings: Settings, engines: Arc<dyn Engines>) -> Result<Ended, WatchError> {
    let locks = settings.prepare()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(WatchError::System)?;
    let ended = runtime.block_on(serve(settings, engines, locks.alone));
    // Workers that did not stop in time are left; their jobs run again when the daemon starts again.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

/// How many videos are tracked at the same time if nobody says.
#[must_use]
pub fn half_the_cores() -> usize {
    (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1)
}

fn workers(config: &WatchConfig) -> usize {
    match config.workers {
        0 => half_the_cores(),
        n => n,
    }
}

async fn serve(settings: Settings, engines: Arc<dyn Engines>, alone: bool) -> Result<Ended, WatchError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(WatchError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WatchError::System)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(WatchError::System)?;
    let config = &settings.config;
    let workers = workers(config);
    let grace = seconds(config.grace_s);
    let settle = seconds(config.settle_s);
    let (wake, mut woken) = mpsc::channel(1);
    let live = Arc::new(Live::default());
    let mut watcher = Watcher::start(&settings.inbox, config.watch, wake, Arc::clone(&live));
    let urgent = settings.inbox.join(URGENT);
    let rescan = if watcher.has_events() { seconds(config.rescan_s) } else { seconds(config.rescan_s).min(settle) };
    let (ends, mut ended) = mpsc::channel(workers);
    let mut tick = tokio::time::interval((settle / 4).clamp(Duration::from_millis(50), Duration::from_millis(500)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tracing::info!(inbox = %settings.inbox.display(), outbox = %settings.outbox.display(), workers, "watching");
    if let Some((address, token)) = settings.http.clone() {
        let door = Door::open(address, token).await?;
        let address = door.address().unwrap_or(address);
        tracing::info!(%address, "status page at http://{address}/");
        tokio::spawn(door.serve(App {
            live: Arc::clone(&live),
            state: settings.state.clone(),
            inbox: settings.inbox.clone(),
            outbox: settings.outbox.clone(),
            decoders: settings.decoders.clone(),
            limits: Limits::from(&settings.config),
            engine: engines.about().engine.clone(),
            model: engines.about().model_blake3.clone(),
        }));
    }
    let reload = Arc::clone(&settings.reload);
    let (tell, ends_told) = tokio::sync::watch::channel(0);
    if let Some(hooks) = Hooks::new(&settings.config) {
        let (state, outbox) = (settings.state.clone(), settings.outbox.clone());
        tokio::task::block_in_place(|| crate::journal::Journal::open(&state).map(drop))?;
        tokio::spawn(hooks.serve(state, outbox, ends_told));
    }
    let mut supervisor =
        tokio::task::block_in_place(|| Supervisor::new(settings, engines, workers, ends, Arc::clone(&live)))?;
    if alone {
        tokio::task::block_in_place(|| supervisor.adopt())?;
    }
    let service = Service::start();
    let mut trouble = false;
    endure(&mut trouble, || supervisor.sweep())?;
    let mut swept = Instant::now();
    let mut scanned: Option<Instant> = None;
    let reason = loop {
        let mut scan = false;
        live.turn();
        service.alive(supervisor.running());
        tokio::select! {
            _ = woken.recv() => scan = true,
            _ = tick.tick() => {}
            Some(end) = ended.recv() => endure(&mut trouble, || supervisor.finished(end))?,
            _ = hangup.recv() => match reload() {
                Ok(config) => {
                    let workers = self::workers(&config);
                    tracing::info!(workers, "the configuration was read again");
                    supervisor.reconfigure(config, workers);
                }
                Err(e) => tracing::error!(error = %e, "the configuration is kept as it was"),
            },
            _ = terminate.recv() => break Ended::Asked,
            _ = interrupt.recv() => break Ended::Interrupted,
        }
        scan |= supervisor.unsettled() || scanned.is_none_or(|at| at.elapsed() >= rescan);
        endure(&mut trouble, || {
            supervisor.note_ends()?;
            if supervisor.requested()? || scan {
                watcher.follow(&urgent);
                supervisor.scan()?;
                scanned = Some(Instant::now());
            }
            supervisor.dispatch()
        })?;
        tell.send_if_modified(|told| std::mem::replace(told, live.ended()) != live.ended());
        if swept.elapsed() >= SWEEP {
            endure(&mut trouble, || supervisor.sweep())?;
            swept = Instant::now();
        }
    };
    tracing::info!(running = supervisor.running(), "stopping: finishing what runs");
    live.stopping.store(true, Ordering::Relaxed);
    service.stopping();
    let mut deadline = tokio::time::Instant::now() + grace;
    let mut cancelled = false;
    while supervisor.running() > 0 {
        live.turn();
        service.alive(supervisor.running());
        tokio::select! {
            _ = tick.tick() => endure(&mut trouble, || supervisor.note_ends())?,
            Some(end) = ended.recv() => endure(&mut trouble, || supervisor.finished(end))?,
            _ = tokio::time::sleep_until(deadline) => {
                if cancelled {
                    break;
                }
                supervisor.cancel();
                (cancelled, deadline) = (true, tokio::time::Instant::now() + Duration::from_secs(5));
            }
            _ = terminate.recv() => deadline = tokio::time::Instant::now(),
            _ = interrupt.recv() => deadline = tokio::time::Instant::now(),
        }
    }
    Ok(reason)
}

/// Does `work`, which may wait for the disk. When the journal cannot be written for a passing reason, such as a full disk,
/// that is said once, and the work is left for the next turn.
fn endure(trouble: &mut bool, work: impl FnOnce() -> Result<(), WatchError>) -> Result<(), WatchError> {
    match tokio::task::block_in_place(work) {
        Err(WatchError::Journal(e)) if e.passing() => {
            if !std::mem::replace(trouble, true) {
                tracing::error!(error = %e, "the journal cannot be written now; trying again");
            }
            Ok(())
        }
        Ok(()) => {
            if std::mem::take(trouble) {
                tracing::info!("the journal can be written again");
            }
            Ok(())
        }
        other => other,
    }
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::from_secs(3600))
}
