//! What systemd wants to hear (`Type=notify`, `WatchdogSec=`). Without systemd nothing happens.

use sd_notify::NotifyState;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Tells the service manager how the daemon is.
pub struct Service {
    /// How often it wants to hear of us, and when it last did.
    watchdog: Option<(Duration, Mutex<Instant>)>,
}

impl Service {
    /// The daemon is ready.
    pub fn start() -> Self {
        say(&[NotifyState::Ready]);
        let watchdog = sd_notify::watchdog_enabled().map(|limit| (limit / 3, Mutex::new(Instant::now())));
        Self { watchdog }
    }

    /// The main loop has turned; this many jobs run.
    pub fn alive(&self, running: usize) {
        let Some((every, last)) = &self.watchdog else { return };
        let Ok(mut last) = last.lock() else { return };
        if last.elapsed() >= *every {
            *last = Instant::now();
            say(&[NotifyState::Watchdog, NotifyState::Status(&format!("{running} running"))]);
        }
    }

    /// The daemon is about to end.
    pub fn stopping(&self) {
        say(&[NotifyState::Stopping]);
    }
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(what) {
        tracing::warn!(error = %e, "the service manager cannot be told");
    }
}
