//! Commands that talk to a daemon through its journal.

use super::{CliError, args, print, print_json};
use crate::daemon::is_alive;
use crate::job::State;
use crate::journal::{Entry, Journal};
use schemas::exit::DONE;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(super) fn open(outbox: &Path) -> Result<(Journal, PathBuf), CliError> {
    let state = super::state_of(outbox);
    if !state.join("journal.sqlite").is_file() {
        return Err(CliError::NoOutbox { path: outbox.to_owned(), state });
    }
    Ok((Journal::existing(&state)?, state))
}

fn find(journal: &Journal, job: &str) -> Result<Entry, CliError> {
    journal.find(job)?.ok_or_else(|| CliError::NoJob { job: job.to_owned() })
}

/// `trackd init`.
pub fn init(args: &args::Init) -> Result<u8, CliError> {
    let (journal, state) = open(&args.journal.outbox)?;
    let entry = find(&journal, &args.job)?;
    if !entry.job.state.in_inbox() {
        let wanted = "jobs that are seen, ready or need an initial box can be given one";
        return Err(CliError::State { job: entry.name, state: entry.job.state.as_str(), wanted });
    }
    journal.give_box(&entry.id, args.rect)?;
    answer(&args.journal, &journal, &state, &entry, "has its box now")
}

/// `trackd retry`.
pub fn retry(args: &args::Retry) -> Result<u8, CliError> {
    let (journal, state) = open(&args.journal.outbox)?;
    let entry = find(&journal, &args.job)?;
    if !matches!(entry.job.state, State::Failed | State::Waiting) {
        let wanted = "failed and waiting jobs can be tried again";
        return Err(CliError::State { job: entry.name, state: entry.job.state.as_str(), wanted });
    }
    journal.ask_retry(&entry.id)?;
    answer(&args.journal, &journal, &state, &entry, "will be tried again")
}

/// `trackd cancel`.
pub fn cancel(args: &args::Retry) -> Result<u8, CliError> {
    let (journal, state) = open(&args.journal.outbox)?;
    let entry = find(&journal, &args.job)?;
    if entry.job.state.over() || entry.job.state == State::Failing {
        let wanted = "jobs that are not over can be cancelled";
        return Err(CliError::State { job: entry.name, state: entry.job.state.as_str(), wanted });
    }
    journal.ask_cancel(&entry.id)?;
    answer(&args.journal, &journal, &state, &entry, "will end")
}

fn answer(args: &args::Journal, journal: &Journal, state: &Path, entry: &Entry, what: &str) -> Result<u8, CliError> {
    let when = if is_alive(state) { "" } else { " when `trackd watch` runs again" };
    eprintln!("job {} ({}) {what}{when}", entry.id, entry.name);
    if args.json {
        print_json(&find(journal, &entry.id)?.document())?;
    }
    Ok(DONE)
}

/// `trackd list`.
pub fn list(args: &args::Journal) -> Result<u8, CliError> {
    let (journal, _) = open(&args.outbox)?;
    let all = journal.all()?;
    if args.json {
        print_json(&json!({ "jobs": all.iter().map(Entry::document).collect::<Vec<_>>() }))?;
        return Ok(DONE);
    }
    let mut text = String::new();
    for entry in &all {
        let note = match (&entry.error, &entry.result) {
            (Some(e), _) if entry.job.state != State::Done => format!("{}: {}", e.code, e.message),
            (_, Some(result)) => result.clone(),
            _ => String::new(),
        };
        let name: String = entry.name.chars().flat_map(char::escape_debug).collect();
        // Writing into a String cannot fail.
        _ = writeln!(text, "{}  {:<10}  {name}  {note}", entry.id, entry.job.state.as_str());
    }
    print(&text)?;
    Ok(DONE)
}

/// `trackd status`.
pub fn status(args: &args::Journal) -> Result<u8, CliError> {
    let (journal, state) = open(&args.outbox)?;
    let mut counts: BTreeMap<&str, u64> = State::ALL.iter().map(|s| (s.as_str(), 0)).collect();
    let all = journal.all()?;
    for entry in &all {
        *counts.entry(entry.job.state.as_str()).or_default() += 1;
    }
    let alive = is_alive(&state);
    if args.json {
        print_json(&json!({ "running": alive, "state": state, "jobs": counts }))?;
        return Ok(DONE);
    }
    let mut text = format!("daemon {}\n", if alive { "running" } else { "not running" });
    for state in State::ALL {
        let count = counts.get(state.as_str()).copied().unwrap_or(0);
        if count > 0 {
            _ = writeln!(text, "{:<10} {count}", state.as_str());
        }
    }
    for entry in all.iter().filter(|e| e.job.state == State::NeedsInit) {
        let (name, id, outbox) = (&entry.name, &entry.id, args.outbox.display());
        _ = writeln!(text, "{name} needs a box: trackd init {id} X,Y,W,H --outbox {outbox}");
    }
    print(&text)?;
    Ok(DONE)
}
