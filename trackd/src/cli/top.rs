//! `trackd top`: the jobs of a daemon in the terminal, once a second.

use super::{CliError, args, jobs, print};
use crate::daemon::is_alive;
use crate::job::State;
use crate::journal::{Entry, Journal};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Table};
use schemas::exit::DONE;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Results and failures that are shown.
const LATEST: u32 = 100;
/// Size of the picture that `--once` prints, in letters.
const ONCE: (u16, u16) = (100, 30);

/// What is shown.
struct View {
    alive: bool,
    counts: BTreeMap<&'static str, u64>,
    open: Vec<Entry>,
    latest: Vec<Entry>,
}

impl View {
    fn of(journal: &Journal, state: &Path) -> Result<Self, CliError> {
        Ok(Self {
            alive: is_alive(state),
            counts: journal.counts()?,
            open: journal.open_jobs()?,
            latest: journal.latest(LATEST)?,
        })
    }
}

/// `trackd top`.
pub fn top(args: &args::Top) -> Result<u8, CliError> {
    let (journal, state) = jobs::open(&args.outbox)?;
    if args.once {
        print(&once(&View::of(&journal, &state)?))?;
        return Ok(DONE);
    }
    let mut terminal = ratatui::try_init().map_err(CliError::Stdout)?;
    let outcome = (|| loop {
        let view = View::of(&journal, &state)?;
        terminal.draw(|frame| draw(frame, &view)).map_err(CliError::Stdout)?;
        if asked_to_end().map_err(CliError::Stdout)? {
            return Ok(DONE);
        }
    })();
    ratatui::restore();
    outcome
}

/// Waits a second for a key.
fn asked_to_end() -> io::Result<bool> {
    if !event::poll(Duration::from_secs(1))? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else { return Ok(false) };
    let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    Ok(interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

/// One picture as text.
fn once(view: &View) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(ONCE.0, ONCE.1));
    let Ok(done) = terminal.draw(|frame| draw(frame, view));
    let rows = done.buffer.content().chunks(usize::from(ONCE.0));
    let lines = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

fn colour(state: State) -> Style {
    let colour = match state {
        State::Running => Color::Blue,
        State::Done => Color::Green,
        State::Failed | State::Failing => Color::Red,
        State::NeedsInit => Color::Yellow,
        _ => Color::Reset,
    };
    Style::new().fg(colour)
}

/// Text from outside, with control characters made visible.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn row(entry: &Entry) -> Row<'static> {
    let note = match (&entry.error, &entry.result) {
        (Some(e), _) if entry.job.state != State::Done => format!("{}: {}", e.code, e.message),
        (_, Some(result)) => result.clone(),
        _ => String::new(),
    };
    let state = entry.job.state;
    Row::new([entry.id.clone(), state.as_str().to_owned(), shown(&entry.name), shown(&note)]).style(colour(state))
}

fn draw(frame: &mut ratatui::Frame<'_>, view: &View) {
    let [head, open, latest, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    let counts: Vec<String> =
        view.counts.iter().filter(|(_, n)| **n > 0).map(|(state, n)| format!("{n} {state}")).collect();
    let daemon = if view.alive { "daemon running" } else { "daemon not running" };
    frame.render_widget(Line::raw(format!("{daemon}   {}", counts.join(", "))), head);
    let widths = [Constraint::Length(12), Constraint::Length(10), Constraint::Fill(1), Constraint::Fill(2)];
    for (title, entries, area) in [("waiting and running", &view.open, open), ("latest", &view.latest, latest)] {
        let table = Table::new(entries.iter().map(row), widths).block(Block::bordered().title(title));
        frame.render_widget(table, area);
    }
    frame.render_widget(Paragraph::new("q ends"), foot);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Job;
    use std::ffi::OsStr;

    #[test]
    fn the_picture_shows_every_job() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        for (id, name, state) in
            [("a1", "clip\u{1b}[31m", State::Running), ("a2", "later", State::NeedsInit), ("a3", "old", State::Done)]
        {
            let mut entry = journal.add(id, OsStr::new("f"), name, Job::new()).unwrap();
            entry.job.state = state;
            entry.result = (state == State::Done).then(|| "done/old".to_owned());
            journal.store(&entry).unwrap();
        }
        insta::assert_snapshot!(once(&View::of(&journal, folder.path()).unwrap()));
    }
}
