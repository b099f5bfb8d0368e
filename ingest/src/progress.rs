//! How far a build is: a bar on a terminal, a line now and then elsewhere, always on standard error.

use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two lines off a terminal.
const EVERY: Duration = Duration::from_secs(10);

/// Progress of one phase.
#[derive(Debug)]
pub struct Progress {
    kind: Kind,
    what: &'static str,
    total: u64,
    start: Cell<Instant>,
    done: Cell<u64>,
    first: Cell<Option<u64>>,
    spoken: Cell<Instant>,
}

#[derive(Debug)]
enum Kind {
    Off,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// Progress towards `total` of `what`; silent unless `on`.
    #[must_use]
    pub fn new(on: bool, what: &'static str, total: u64) -> Self {
        let kind = if !on {
            Kind::Off
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {per_sec} ETA {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what);
            Kind::Bar(bar)
        } else {
            Kind::Lines
        };
        let start = Instant::now();
        Self {
            kind,
            what,
            total,
            start: Cell::new(start),
            done: Cell::new(0),
            first: Cell::new(None),
            spoken: Cell::new(start),
        }
    }

    /// Sets how far it is.
    pub fn set(&self, done: u64) {
        self.done.set(done);
        if self.first.get().is_none() {
            self.first.set(Some(done));
        }
        match &self.kind {
            Kind::Off => {}
            Kind::Bar(bar) => bar.set_position(done),
            Kind::Lines => {
                if self.spoken.get().elapsed() >= EVERY {
                    self.spoken.set(Instant::now());
                    self.say(&self.line());
                }
            }
        }
    }

    /// Moves it on.
    pub fn add(&self, more: u64) {
        self.set(self.done.get() + more);
    }

    /// Says something between two steps.
    pub fn note(&self, text: &str) {
        match &self.kind {
            Kind::Off => {}
            Kind::Bar(bar) => bar.println(text),
            Kind::Lines => self.say(text),
        }
    }

    /// Measures the rate from now on.
    pub fn restart(&self) {
        self.start.set(Instant::now());
        if let Kind::Bar(bar) = &self.kind {
            bar.reset();
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }

    fn line(&self) -> String {
        let (done, seconds) = (self.done.get(), self.start.get().elapsed().as_secs_f64());
        let rate = (done - self.first.get().unwrap_or(0).min(done)) as f64 / seconds.max(1e-9);
        let left = self.total.saturating_sub(done) as f64;
        let eta = if rate > 0.0 { format!("{:.0} s", left / rate) } else { "unknown".to_owned() };
        format!("{}: {done} of {} ({rate:.0}/s, {eta} left)", self.what, self.total)
    }

    fn say(&self, text: &str) {
        // Nobody listening on standard error is no reason to stop.
        drop(writeln!(std::io::stderr(), "{text}"));
    }
}
