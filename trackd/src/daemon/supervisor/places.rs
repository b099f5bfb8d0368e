//! What the supervisor does in the work folder and the outbox.

use super::super::WatchError;
use super::{Supervisor, reason, shown};
use crate::job::State;
use crate::journal::Entry;
use crate::publish::{move_into, pretty, publish, published, remove, write_synced};
use crate::scan::claimed;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;

impl Supervisor {
    /// Publishes `error.json` with the input; `None` when that failed and will be tried again.
    pub(super) fn publish_failure(&self, entry: &Entry) -> Option<Option<String>> {
        let publish_all = || -> io::Result<PathBuf> {
            // It may be there already, only not noted.
            if let Some(folder) = published(&self.failed(), OsStr::new(&entry.name), "error.json", &entry.id) {
                return Ok(folder);
            }
            let temporary = self.temporary(&entry.id);
            fs::create_dir_all(&temporary)?;
            write_synced(&temporary.join("error.json"), &pretty(&reason(entry)))?;
            let work = self.work(&entry.id);
            for item in fs::read_dir(&work).into_iter().flatten() {
                move_into(&item?.path(), &temporary)?;
            }
            let folder = publish(&temporary, &self.failed(), OsStr::new(&entry.name))?;
            drop(fs::remove_dir(&work));
            Ok(folder)
        };
        match publish_all() {
            Ok(folder) => Some(self.relative(&folder)),
            Err(e) => {
                tracing::error!(job = %entry.id, error = %e, "the failure cannot be published; trying again");
                None
            }
        }
    }

    /// Moves the input of a finished job beside its result. Tried again at every start until it works.
    pub(super) fn deliver_input(&self, entry: &Entry) {
        let work = self.work(&entry.id);
        let deliver = || -> io::Result<()> {
            let items: Vec<_> = match fs::read_dir(&work) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                items => items?.collect::<io::Result<_>>()?,
            };
            if let Some(result) = &entry.result {
                let into = self.settings.outbox.join(result).join("input");
                fs::create_dir_all(&into)?;
                for item in items {
                    move_into(&item.path(), &into)?;
                }
            }
            fs::remove_dir(&work)
        };
        if let Err(e) = deliver() {
            tracing::warn!(job = %entry.id, error = %e, "the input stays in {}", work.display());
        }
    }

    /// Moves everything but `error.json` from the failure's folder back into the work folder.
    pub(super) fn take_back(&self, entry: &Entry, result: Option<&str>) -> io::Result<()> {
        let work = self.work(&entry.id);
        let noted = result.map(|relative| self.settings.outbox.join(relative)).filter(|f| f.is_dir());
        let found = noted.or_else(|| published(&self.failed(), OsStr::new(&entry.name), "error.json", &entry.id));
        let Some(folder) = found else {
            // After a crash in here everything may be back already.
            let back = claimed(&self.settings.inbox, &entry.file, &entry.id).symlink_metadata().is_ok();
            return if back { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) };
        };
        fs::create_dir_all(&work)?;
        for item in fs::read_dir(&folder)? {
            let item = item?;
            if item.file_name() != "error.json" {
                move_into(&item.path(), &work)?;
            }
        }
        remove(&folder)
    }

    /// Removes results and failures, with the inputs beside them, that are older than the configuration keeps them.
    pub fn sweep(&self) -> Result<(), WatchError> {
        let config = &self.settings.config;
        for (state, days) in [(State::Done, config.keep_done_days), (State::Failed, config.keep_failed_days)] {
            if days <= 0.0 {
                continue;
            }
            for entry in self.journal.older(state, (days * 86_400.0) as i64)? {
                let ours = |result: &&String| ["done/", "failed/"].iter().any(|place| result.starts_with(place));
                let Some(result) = entry.result.as_ref().filter(ours) else { continue };
                match remove(&self.settings.outbox.join(result)) {
                    Ok(()) => {
                        tracing::info!(job = %entry.id, folder = %shown(result), "old enough to be removed");
                        self.journal.removed(&entry.id)?;
                    }
                    Err(e) => tracing::warn!(job = %entry.id, error = %e, "cannot be removed"),
                }
            }
        }
        Ok(())
    }
}
