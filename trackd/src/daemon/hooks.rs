//! Telling others that a job has ended: a command, a web address, or both. The journal remembers what was not told yet, so
//! that each end is told at least once, whatever stops in between. A slow listener never holds up a job.

use crate::job::State;
use crate::journal::{Entry, Journal, JournalError};
use schemas::watch::WatchConfig;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::watch::Receiver;

/// Longest time for a command or an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before the second attempt; doubled each time.
const PAUSE: Duration = Duration::from_secs(2);
/// Attempts for one end of a job.
const ATTEMPTS: u32 = 6;

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    done: Vec<String>,
    failed: Vec<String>,
    webhook: String,
}

impl Hooks {
    /// What the configuration asks for; `None` = nothing.
    pub fn new(config: &WatchConfig) -> Option<Self> {
        let hooks =
            Self { done: config.on_done.clone(), failed: config.on_failed.clone(), webhook: config.webhook.clone() };
        (hooks != Self { done: Vec::new(), failed: Vec::new(), webhook: String::new() }).then_some(hooks)
    }

    /// Tells every end that was not told, now and whenever `ended` changes, until it is closed.
    pub async fn serve(self, state: PathBuf, outbox: PathBuf, mut ended: Receiver<u64>) {
        loop {
            if let Err(e) = self.tell_all(&state, &outbox).await {
                tracing::warn!(error = %e, "ends of jobs cannot be told now");
            }
            if ended.changed().await.is_err() {
                return;
            }
        }
    }

    async fn tell_all(&self, state: &std::path::Path, outbox: &std::path::Path) -> Result<(), JournalError> {
        let waiting = tokio::task::block_in_place(|| Journal::existing(state)?.untold())?;
        for entry in waiting {
            let mut document = entry.document();
            if let (Some(fields), Some(result)) = (document.as_object_mut(), &entry.result) {
                fields.insert("folder".to_owned(), outbox.join(result).to_string_lossy().into());
            }
            let text = document.to_string();
            let mut pause = PAUSE;
            for attempt in 1..=ATTEMPTS {
                match self.tell(&entry, &text).await {
                    Ok(()) => break,
                    Err(e) if attempt == ATTEMPTS => {
                        tracing::error!(job = %entry.id, error = %e, attempt, "a hook failed; it is not tried again");
                    }
                    Err(e) => {
                        tracing::warn!(job = %entry.id, error = %e, attempt, "a hook failed");
                        tokio::time::sleep(pause).await;
                        pause *= 2;
                    }
                }
            }
            tokio::task::block_in_place(|| Journal::existing(state)?.told(&entry.id))?;
        }
        Ok(())
    }

    async fn tell(&self, entry: &Entry, text: &str) -> Result<(), String> {
        let argv = if entry.job.state == State::Done { &self.done } else { &self.failed };
        if let Some((program, args)) = argv.split_first() {
            run(program, args, text).await?;
        }
        if !self.webhook.is_empty() {
            let (address, text) = (self.webhook.clone(), text.to_owned());
            let post = move || {
                let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
                let request = agent.post(&address).header("Content-Type", "application/json");
                request.send(text.as_str()).map(|_| ()).map_err(|e| format!("{address}: {e}"))
            };
            tokio::task::spawn_blocking(post).await.map_err(|e| e.to_string())??;
        }
        Ok(())
    }
}

/// Runs a command in a process group of its own, with the document on its standard input.
async fn run(program: &str, args: &[String], text: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{program}: {e}");
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
    let group = child.id();
    if let Some(mut input) = child.stdin.take() {
        // A command that does not read it is none the worse.
        drop(input.write_all(text.as_bytes()).await);
    }
    let Ok(output) = tokio::time::timeout(PATIENCE, child.wait_with_output()).await else {
        if let Some(group) = group.and_then(|id| i32::try_from(id).ok()) {
            // SAFETY: a signal to the group that was made for the command; its leader was not waited for.
            unsafe {
                libc::kill(-group, libc::SIGKILL);
            }
        }
        return Err(format!("{program}: no end after {} s", PATIENCE.as_secs()));
    };
    let output = output.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}; {}", output.status, said.trim().lines().last().unwrap_or("it said nothing")))
}
