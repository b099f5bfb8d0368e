//! Going on after a stop at any moment.

use super::super::WatchError;
use super::{Supervisor, shown};
use crate::job::{Found, Job, State, recovered};
use crate::publish::{published, remove};
use crate::scan::{WORK, claim, claimed};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

impl Supervisor {
    /// Brings journal, work folder and outbox together after a stop at any moment.
    pub(super) fn recover(&mut self) -> Result<(), WatchError> {
        for mut entry in self.journal.all()? {
            if entry.job.state.over() {
                if entry.job.state == State::Done {
                    self.deliver_input(&entry);
                }
                if entry.retry {
                    self.keep(entry);
                }
                continue;
            }
            let name = OsString::from(&entry.name);
            let failure = published(&self.failed(), &name, "error.json", &entry.id);
            let result = published(&self.done(), &name, "result.json", &entry.id);
            let found = Found {
                result: result.is_some(),
                failure: failure.is_some(),
                in_work: claimed(&self.settings.inbox, &entry.file, &entry.id).symlink_metadata().is_ok(),
                in_inbox: self.settings.inbox.join(&entry.file).symlink_metadata().is_ok(),
            };
            let before = entry.job.state;
            entry.job = recovered(entry.job, found);
            if entry.job.state != before {
                tracing::info!(job = %entry.id, name = %shown(&entry.name), before = before.as_str(), now = entry.job.state.as_str(), "taken up again");
                if let Some(folder) = result.or(failure) {
                    entry.result = self.relative(&folder);
                }
                self.journal.store(&entry)?;
            }
            match entry.job.state {
                State::Done => self.deliver_input(&entry),
                State::Failing => {}
                _ => drop(remove(&self.temporary(&entry.id))),
            }
            if entry.job.state == State::Claimed {
                // A crash between the moves of an input and its companions leaves companions behind.
                let stale = claim(&self.settings.inbox, &entry.file, &entry.id);
                if let Err(e) = stale {
                    tracing::warn!(job = %entry.id, error = %e, "companions could not be moved");
                }
            }
            if !entry.job.state.over() {
                self.keep(entry);
            }
        }
        Ok(())
    }

    /// Takes up work folders that the journal does not know, as after the loss of the state folder. Only for a daemon
    /// that is alone with its inbox: they may be another's.
    pub fn adopt(&mut self) -> Result<(), WatchError> {
        let known: BTreeSet<OsString> = self.journal.all()?.into_iter().map(|e| e.id.into()).collect();
        let folder = self.settings.inbox.join(WORK);
        let list = |path: &Path| fs::read_dir(path).map(|d| d.flatten().map(|e| e.file_name()).collect::<Vec<_>>());
        for id in list(&folder).unwrap_or_default() {
            let Some(text) = id.to_str().filter(|_| !known.contains(&id)) else { continue };
            let files = list(&folder.join(&id)).unwrap_or_default();
            let file = files.iter().find(|f| {
                let ending = Path::new(f).extension().map(|e| e.to_string_lossy().into_owned());
                !matches!(ending.as_deref(), Some("txt" | "json"))
            });
            let Some(file) = file else {
                // Empty, or not ours.
                drop(fs::remove_dir(folder.join(&id)));
                continue;
            };
            let name = self.result_name(&folder.join(&id), file);
            tracing::warn!(job = text, name = %shown(&name), "the journal does not know this claimed input; taking it up");
            let job = Job { state: State::Claimed, ..Job::new() };
            let mut entry = self.journal.add(text, file, &name, job)?;
            if let Some(result) = published(&self.done(), OsStr::new(&name), "result.json", text) {
                entry.job.state = State::Done;
                entry.result = self.relative(&result);
                self.journal.store(&entry)?;
                self.deliver_input(&entry);
            } else {
                self.keep(entry);
            }
        }
        Ok(())
    }
}
