//! The one place that changes jobs: applies [`crate::job`], stores every new state, then acts.

mod places;
mod recover;

use super::hooks::Hooks;
use super::live::{Live, free_bytes};
use super::worker::{End, Published, Task, work};
use super::{Settings, WatchError};
use crate::engine::Engines;
use crate::frames::Limits;
use crate::input::stem;
use crate::job::{Action, Event, Job, Policy, State, next};
use crate::journal::{Entry, Journal};
use crate::publish::TEMPORARY;
use crate::scan::{Archives, WORK, claim, claimed, inputs, look};
use schemas::result::ErrorDoc;
use schemas::watch::{Duplicates, WatchConfig};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Sender;

/// An input that looks cut off inside is given this many times the settling time.
const PATIENCE: u64 = 15;
/// Longest name of a result, bytes; file names made of it are a little longer.
const MAX_NAME: usize = 200;

/// Every job that is not over, and what runs.
pub struct Supervisor {
    settings: Settings,
    engines: Arc<dyn Engines>,
    journal: Journal,
    policy: Policy,
    jobs: BTreeMap<u64, Entry>,
    added: u64,
    running: BTreeMap<String, Arc<AtomicBool>>,
    /// Ends of workers that are not noted yet.
    ended: VecDeque<End>,
    workers: usize,
    ends: Sender<End>,
    version: i64,
    live: Arc<Live>,
    archives: Archives,
}

fn policy(config: &WatchConfig) -> Policy {
    let ms = |s: f64| (s.max(0.0) * 1000.0) as u64;
    Policy {
        settle: ms(config.settle_s),
        patience: ms(config.settle_s).saturating_mul(PATIENCE),
        attempts: config.attempts.max(1),
        retry: ms(config.retry_s),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

impl Supervisor {
    /// Opens the journal and takes up what an earlier run left.
    pub fn new(
        settings: Settings,
        engines: Arc<dyn Engines>,
        workers: usize,
        ends: Sender<End>,
        live: Arc<Live>,
    ) -> Result<Self, WatchError> {
        let mut journal = Journal::open(&settings.state)?;
        if Hooks::new(&settings.config).is_some() {
            journal.tell_ends();
        }
        let policy = policy(&settings.config);
        // No version the journal can have: requests that were left while nothing ran are looked for first.
        let version = -1;
        let (jobs, running) = (BTreeMap::new(), BTreeMap::new());
        let archives = Archives::new(settings.decoders.clone());
        let mut new = Self {
            settings,
            engines,
            journal,
            policy,
            jobs,
            added: 0,
            running,
            ended: VecDeque::new(),
            workers,
            ends,
            version,
            live,
            archives,
        };
        new.recover()?;
        Ok(new)
    }

    fn work(&self, id: &str) -> PathBuf {
        self.settings.inbox.join(WORK).join(id)
    }

    fn temporary(&self, id: &str) -> PathBuf {
        self.settings.outbox.join(format!("{TEMPORARY}{id}"))
    }

    fn done(&self) -> PathBuf {
        self.settings.outbox.join("done")
    }

    fn failed(&self) -> PathBuf {
        self.settings.outbox.join("failed")
    }

    fn keep(&mut self, entry: Entry) -> u64 {
        self.added += 1;
        self.jobs.insert(self.added, entry);
        self.added
    }

    fn result_name(&self, place: &Path, file: &OsStr) -> String {
        let path = place.join(file);
        let name = stem(&path, path.is_dir()).to_string_lossy().into_owned();
        let mut end = name.len().min(MAX_NAME);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.get(..end).unwrap_or("input").to_owned()
    }

    fn relative(&self, folder: &Path) -> Option<String> {
        folder.strip_prefix(&self.settings.outbox).ok().map(|p| p.to_string_lossy().into_owned())
    }

    /// Whether something in the inbox is not settled yet, so that it must be looked at again soon.
    pub fn unsettled(&self) -> bool {
        self.jobs.values().any(|e| e.job.state == State::Seen)
    }

    /// Jobs that run now, or whose end is not noted.
    pub fn running(&self) -> usize {
        self.running.len() + self.ended.len()
    }

    /// Asks everything that runs to stop between two frames.
    pub fn cancel(&self) {
        for flag in self.running.values() {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// Looks for requests of other processes; `true` when there may be some, and a scan is due.
    pub fn requested(&mut self) -> Result<bool, WatchError> {
        let version = self.journal.data_version()?;
        if version == self.version {
            return Ok(false);
        }
        for stored in self.journal.open_jobs()? {
            let key = self.jobs.iter().find(|(_, e)| e.id == stored.id).map(|(key, _)| *key);
            let key = match key {
                Some(key) => key,
                None => self.keep(stored.clone()),
            };
            if let Some(entry) = self.jobs.get_mut(&key) {
                entry.given = stored.given;
                entry.retry = stored.retry;
            }
            if stored.retry {
                self.retry(key)?;
            }
            if stored.job.cancelled && self.jobs.get(&key).is_some_and(|e| !e.job.cancelled) {
                self.apply(key, Event::CancelAsked)?;
            }
        }
        self.version = version;
        Ok(true)
    }

    fn retry(&mut self, key: u64) -> Result<(), WatchError> {
        let Some(entry) = self.jobs.get_mut(&key) else { return Ok(()) };
        let (job, action) = next(entry.job, Event::RetryAsked, now(), &self.policy);
        let mut entry = entry.clone();
        let old = entry.result.clone();
        entry.job = job;
        entry.retry = false;
        if action == Some(Action::TakeBack) {
            entry.error = None;
            entry.result = None;
            if let Err(e) = self.take_back(&entry, old.as_deref()) {
                tracing::error!(job = %entry.id, error = %e, "the input of the failed job cannot be taken back");
                entry.job.state = State::Failed;
                entry.result = old;
            }
        }
        self.journal.answer_retry(&entry)?;
        if entry.job.state.over() {
            self.jobs.remove(&key);
        } else {
            self.jobs.insert(key, entry);
        }
        Ok(())
    }

    /// From now on works by another configuration; what runs keeps the one it was started with.
    pub fn reconfigure(&mut self, config: WatchConfig, workers: usize) {
        self.policy = policy(&config);
        self.settings.config = config;
        self.workers = workers;
    }

    /// Whether the outbox's disk has room for more results. Says so in the log when that changes.
    fn has_room(&self) -> bool {
        let Some(free) = free_bytes(&self.settings.outbox) else { return true };
        self.live.free.store(free, Ordering::Relaxed);
        let full = free < self.settings.config.min_free_mb.saturating_mul(1 << 20);
        if self.live.paused.swap(full, Ordering::Relaxed) != full {
            let (free, wanted) = (free >> 20, self.settings.config.min_free_mb);
            if full {
                tracing::warn!(free_mb = free, min_free_mb = wanted, "the disk is nearly full; nothing new is started");
            } else {
                tracing::info!(free_mb = free, "the disk has room again");
            }
        }
        !full
    }

    /// Looks at everything in the inbox.
    pub fn scan(&mut self) -> Result<(), WatchError> {
        self.live.rescans.fetch_add(1, Ordering::Relaxed);
        let inbox = self.settings.inbox.clone();
        let avoid = [self.settings.outbox.clone(), self.settings.state.clone()];
        let names = match inputs(&inbox, &avoid) {
            Ok(names) => names,
            Err(e) => {
                tracing::error!(inbox = %inbox.display(), error = %e, "the inbox cannot be read");
                return Ok(());
            }
        };
        for name in &names {
            if !self.jobs.values().any(|e| e.job.state.in_inbox() && &e.file == name) {
                let id = self.identity(name);
                let result = self.result_name(&inbox, name);
                tracing::info!(job = %id, file = %shown(&name.to_string_lossy()), "seen");
                let entry = self.journal.add(&id, name, &result, Job::new())?;
                self.keep(entry);
            }
        }
        let keys: Vec<u64> = self.jobs.iter().filter(|(_, e)| e.job.state.in_inbox()).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(entry) = self.jobs.get(&key) else { continue };
            let event = if names.contains(&entry.file) {
                match look(&inbox, &entry.file, entry.given.is_some(), &self.archives) {
                    Ok(Some(look)) => Event::Looked(look),
                    Ok(None) => Event::Vanished,
                    Err(e) => {
                        tracing::warn!(job = %entry.id, error = %e, "cannot be looked at");
                        continue;
                    }
                }
            } else {
                Event::Vanished
            };
            self.apply(key, event)?;
        }
        Ok(())
    }

    /// A new identity: unlike any other, also after the journal was lost.
    fn identity(&self, name: &OsStr) -> String {
        let text = format!("{name:?} {:?} {} {}", SystemTime::now(), std::process::id(), self.added);
        blake3::hash(text.as_bytes()).to_hex().chars().take(12).collect()
    }

    /// Gives free workers something to do.
    pub fn dispatch(&mut self) -> Result<(), WatchError> {
        let time = now();
        let room = self.has_room();
        let waits = |e: &Entry| match e.job.state {
            // A cancelled job and a failure take no room: their input is moved.
            State::Ready | State::Claimed | State::Waiting if !room && !e.job.cancelled => false,
            State::Ready | State::Claimed | State::Failing => true,
            State::Waiting => e.job.not_before <= time,
            _ => false,
        };
        let mut keys: Vec<_> =
            self.jobs.iter().filter(|(_, e)| waits(e)).map(|(key, e)| (Reverse(e.job.priority), *key)).collect();
        keys.sort_unstable();
        for (_, key) in keys {
            if self.running.len() >= self.workers {
                break;
            }
            self.apply(key, Event::WorkerFree)?;
        }
        Ok(())
    }

    /// A worker has ended.
    pub fn finished(&mut self, end: End) -> Result<(), WatchError> {
        self.running.remove(&end.id);
        self.live.end(&end.id);
        self.ended.push_back(end);
        self.note_ends()
    }

    /// Notes what workers have ended with. What cannot be stored now is kept for the next time.
    pub fn note_ends(&mut self) -> Result<(), WatchError> {
        while let Some(end) = self.ended.pop_front() {
            if let Err(e) = self.note_end(&end) {
                self.ended.push_front(end);
                return Err(e);
            }
        }
        Ok(())
    }

    fn note_end(&mut self, end: &End) -> Result<(), WatchError> {
        let Some((key, entry)) = self.jobs.iter_mut().find(|(_, e)| e.id == end.id) else { return Ok(()) };
        let key = *key;
        let event = match &end.outcome {
            Ok(Published { folder, content }) => {
                entry.result =
                    folder.strip_prefix(&self.settings.outbox).ok().map(|p| p.to_string_lossy().into_owned());
                entry.error = None;
                entry.content.clone_from(content);
                Event::Published
            }
            Err(failure) => {
                let mut document = failure.document.clone();
                document.attempts = entry.job.attempts + 1;
                if entry.error.as_ref() != Some(&document) {
                    tracing::warn!(job = %end.id, name = %shown(&entry.name), code = %document.code, "{}", shown(&document.message));
                }
                entry.error = Some(document);
                failure.fault.map_or(Event::Cancelled, Event::Fault)
            }
        };
        self.apply(key, event)
    }

    /// One step of one job: the new state is stored, then its action is done, which may lead to further steps. Where it
    /// cannot be stored, nothing has happened.
    fn apply(&mut self, key: u64, event: Event) -> Result<(), WatchError> {
        let mut event = Some(event);
        while let Some(current) = event.take() {
            let Some(before) = self.jobs.get(&key) else { return Ok(()) };
            let (job, action) = next(before.job, current, now(), &self.policy);
            let changed =
                (job.state, job.attempts, job.starts) != (before.job.state, before.job.attempts, before.job.starts);
            let mut entry = Entry { job, ..before.clone() };
            if job.state == State::Failing {
                entry.error = Some(reason(&entry));
            }
            if changed {
                self.journal.store(&entry)?;
            }
            self.jobs.insert(key, entry.clone());
            if changed {
                match job.state {
                    State::Done => self.live.published(),
                    State::Failed => _ = self.live.failed.fetch_add(1, Ordering::Relaxed),
                    State::Waiting => _ = self.live.retries.fetch_add(1, Ordering::Relaxed),
                    _ => {}
                }
                tracing::info!(job = %entry.id, name = %shown(&entry.name), state = job.state.as_str(), "job");
            }
            event = match action {
                Some(Action::Move) => self.move_in(&entry),
                Some(Action::Run) => {
                    self.start(&entry);
                    None
                }
                Some(Action::PublishFailure) => self.publish_failure(&entry).map(|folder| {
                    if let Some(entry) = self.jobs.get_mut(&key) {
                        entry.result = folder;
                    }
                    Event::FailurePublished
                }),
                Some(Action::Stop) => {
                    if let Some(flag) = self.running.get(&entry.id) {
                        flag.store(true, Ordering::Relaxed);
                    }
                    None
                }
                Some(Action::TakeBack) | None => None,
            };
            if job.state == State::Done {
                self.deliver_input(&entry);
            }
            if job.state == State::Claimed && matches!(current, Event::Moved) {
                event = Some(Event::WorkerFree);
            }
            if job.state.over() {
                self.jobs.remove(&key);
            }
        }
        Ok(())
    }

    fn move_in(&self, entry: &Entry) -> Option<Event> {
        match claim(&self.settings.inbox, &entry.file, &entry.id) {
            Ok(true) => Some(Event::Moved),
            Ok(false) => Some(Event::LostRace),
            Err(e) => {
                tracing::error!(job = %entry.id, error = %e, "cannot be moved out of the inbox; trying again");
                None
            }
        }
    }

    fn start(&mut self, entry: &Entry) {
        let cancel = Arc::new(AtomicBool::new(false));
        self.running.insert(entry.id.clone(), Arc::clone(&cancel));
        let task = Task {
            id: entry.id.clone(),
            name: entry.name.clone(),
            path: claimed(&self.settings.inbox, &entry.file, &entry.id),
            given: entry.given,
            outbox: self.settings.outbox.clone(),
            skip: (self.settings.config.duplicates == Duplicates::Skip).then(|| self.settings.state.clone()),
            frame_roots: self.settings.config.frame_roots.clone(),
            decoders: self.settings.decoders.clone(),
            limits: Limits::from(&self.settings.config),
            overlay: self.settings.config.overlay,
            cancel,
            progress: self.live.start(&entry.id),
        };
        let (engines, ends) = (Arc::clone(&self.engines), self.ends.clone());
        tokio::task::spawn_blocking(move || {
            let end = work(&task, engines.as_ref());
            // The receiver is gone only when the program ends; the journal then says that the job still runs.
            drop(ends.blocking_send(end));
        });
    }
}

/// Why a job fails.
fn reason(entry: &Entry) -> ErrorDoc {
    let says = |code: &str, message: String| ErrorDoc {
        name: entry.name.clone(),
        job: Some(entry.id.clone()),
        stage: "track".to_owned(),
        code: code.to_owned(),
        message,
        attempts: entry.job.starts,
        decoder_log: String::new(),
    };
    match &entry.error {
        _ if entry.job.cancelled => says("cancelled", "somebody asked to end this job".to_owned()),
        Some(error) => error.clone(),
        None => says("crashed", format!("the program ended {} times while it tracked this input", entry.job.starts)),
    }
}

/// Text from outside, with control characters made visible.
fn shown(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
