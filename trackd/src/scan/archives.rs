//! What the archives in the inbox hold. Reading through one may take minutes: a thread does it, once, while the daemon
//! goes on.

use super::startable;
use crate::frames::video::Decoders;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Answers that are remembered.
const MEMORY: usize = 10_000;

/// Whether archives can be started, by the fingerprint of the input and its companions.
#[derive(Debug)]
pub struct Archives {
    decoders: Decoders,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    answers: HashMap<u64, bool>,
    reading: bool,
}

impl Archives {
    /// Nothing is known yet. `decoders` list archives.
    #[must_use]
    pub fn new(decoders: Decoders) -> Self {
        Self { decoders, known: Arc::default() }
    }

    /// What lists archives.
    #[must_use]
    pub fn decoders(&self) -> &Decoders {
        &self.decoders
    }

    /// Whether an archive can be started; `None` while it is being read, or waits for another to be read.
    #[must_use]
    pub fn startable(&self, fingerprint: u64, path: &Path) -> Option<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = known.answers.get(&fingerprint) {
            return Some(*answer);
        }
        if known.reading {
            return None;
        }
        known.reading = true;
        let (path, decoders, shared): (PathBuf, _, _) =
            (path.to_owned(), self.decoders.clone(), Arc::clone(&self.known));
        std::thread::spawn(move || {
            let answer = startable(&path, &decoders);
            let mut known = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if known.answers.len() >= MEMORY {
                known.answers.clear();
            }
            known.answers.insert(fingerprint, answer);
            known.reading = false;
        });
        None
    }
}
