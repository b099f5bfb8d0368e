//! What a run writes about itself: one line of JSONL and of CSV per logging interval, and progress for a person.

use crate::tensorboard::{self, Events};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Name of the JSONL file in a run folder.
pub const JSONL: &str = "metrics.jsonl";
/// Name of the CSV file in a run folder.
pub const CSV: &str = "metrics.csv";
/// Name of the file of validations in a run folder.
pub const VALIDATION: &str = "validation.jsonl";

/// One line: the steps since the line before, up to and including `step`. Losses and norms are means over the steps
/// that were taken; `null` when there was none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Steps done.
    pub step: u64,
    /// Epoch of the last of them, from 1.
    pub epoch: u32,
    /// Learning rate of the last of them.
    pub lr: f64,
    /// Weighted total loss.
    pub loss: Option<f64>,
    /// Classification loss.
    pub cls: Option<f64>,
    /// Regression loss.
    pub reg: Option<f64>,
    /// Norm of the gradient before clipping.
    pub grad_norm: Option<f64>,
    /// Milliseconds per step that the device waited for the loader.
    pub data_wait_ms: f64,
    /// Milliseconds per step altogether.
    pub step_ms: f64,
    /// Pairs per second.
    pub pairs_per_s: f64,
    /// Steps of the run so far that were skipped because they were not finite.
    pub bad_steps: u64,
    /// Rows of the run so far that were replaced because they could not be read.
    pub substituted: u64,
    /// Steps this line covers.
    pub steps: u64,
}

impl Line {
    const HEADER: &str =
        "step,epoch,lr,loss,cls,reg,grad_norm,data_wait_ms,step_ms,pairs_per_s,bad_steps,substituted,steps";

    fn csv(&self) -> String {
        let number = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
        format!(
            "{},{},{},{},{},{},{},{:.3},{:.3},{:.3},{},{},{}",
            self.step,
            self.epoch,
            self.lr,
            number(self.loss),
            number(self.cls),
            number(self.reg),
            number(self.grad_norm),
            self.data_wait_ms,
            self.step_ms,
            self.pairs_per_s,
            self.bad_steps,
            self.substituted,
            self.steps
        )
    }
}

/// Why metrics cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("writing metrics to {path} failed: {source}")]
pub struct MetricsError {
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// The open metric files of a run.
#[derive(Debug)]
pub struct Writer {
    jsonl: (PathBuf, File),
    csv: (PathBuf, File),
    validation: (PathBuf, File),
    events: Option<Events>,
}

impl Writer {
    /// Opens the files in `run`, one for TensorBoard among them if asked for. Lines of steps after `step` (and a line cut
    /// off in its middle) are removed: those steps are about to be done again.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn open(run: &Path, step: u64, tensorboard: bool) -> Result<Self, MetricsError> {
        let open = |name: &str, header: Option<&str>, step_of: &dyn Fn(&str) -> Option<u64>| {
            let path = run.join(name);
            keep(&path, header, |line| step_of(line).is_some_and(|s| s <= step))
                .map(|file| (path.clone(), file))
                .map_err(|source| MetricsError { path, source })
        };
        let events = tensorboard.then(|| Events::create(run, step)).transpose();
        let events = events.map_err(|source| MetricsError { path: run.join(tensorboard::FOLDER), source })?;
        Ok(Self {
            jsonl: open(JSONL, None, &|l| serde_json::from_str::<Line>(l).ok().map(|l| l.step))?,
            csv: open(CSV, Some(Line::HEADER), &|l| l.split(',').next().and_then(|s| s.parse().ok()))?,
            validation: open(VALIDATION, None, &|l| serde_json::from_str::<Validation>(l).ok().map(|v| v.step))?,
            events,
        })
    }

    /// Appends a line to all files.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn write(&mut self, line: &Line) -> Result<(), MetricsError> {
        append(&mut self.jsonl, serde_json::to_string(line).unwrap_or_default())?;
        append(&mut self.csv, line.csv())?;
        self.show(
            line.step,
            &[
                ("train/loss", line.loss),
                ("train/cls", line.cls),
                ("train/reg", line.reg),
                ("train/grad_norm", line.grad_norm),
                ("train/lr", Some(line.lr)),
                ("speed/pairs_per_s", Some(line.pairs_per_s)),
                ("speed/step_ms", Some(line.step_ms)),
                ("speed/data_wait_ms", Some(line.data_wait_ms)),
            ],
        )
    }

    /// Appends a validation.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn validation(&mut self, found: &Validation) -> Result<(), MetricsError> {
        append(&mut self.validation, serde_json::to_string(found).unwrap_or_default())?;
        let values = [("valid/loss", found.loss), ("valid/cls", found.cls), ("valid/reg", found.reg)];
        self.show(found.step, &values.map(|(tag, value)| (tag, Some(value))))
    }

    fn show(&mut self, step: u64, values: &[(&str, Option<f64>)]) -> Result<(), MetricsError> {
        let Some(events) = &mut self.events else { return Ok(()) };
        let shown = events.scalars(step, values);
        shown.map_err(|source| MetricsError { path: events.path().to_path_buf(), source })
    }
}

/// Appends a line, whole or not at all.
fn append((path, file): &mut (PathBuf, File), text: String) -> Result<(), MetricsError> {
    let before = file.metadata().map(|m| m.len());
    if let Err(source) = file.write_all(format!("{text}\n").as_bytes()) {
        // A full disk may have taken half a line; the next one must not be joined to it.
        if let Ok(before) = before {
            let _still_full = file.set_len(before);
        }
        return Err(MetricsError { path: path.clone(), source });
    }
    Ok(())
}

/// Opens `path` for appending after dropping the whole lines that `wanted` refuses and any unfinished last line.
fn keep(path: &Path, header: Option<&str>, wanted: impl Fn(&str) -> bool) -> io::Result<File> {
    let mut text = String::new();
    if let Some(header) = header {
        text = format!("{header}\n");
    }
    if let Ok(old) = File::open(path) {
        let mut reader = BufReader::new(old);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            if line.ends_with('\n') && wanted(line.trim_end()) {
                text.push_str(&line);
            }
            line.clear();
        }
    }
    shards::writer::write_atomic(path, text.as_bytes())?;
    OpenOptions::new().append(true).open(path)
}

/// The loss on pairs that are not trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Steps done.
    pub step: u64,
    /// Epoch of the last of them, from 1.
    pub epoch: u32,
    /// Weighted total loss.
    pub loss: f64,
    /// Classification loss.
    pub cls: f64,
    /// Regression loss.
    pub reg: f64,
    /// Pairs it is the mean of.
    pub pairs: usize,
}

/// Progress on standard error: a bar on a terminal, plain lines elsewhere, nothing when quiet.
#[derive(Debug)]
pub enum Progress {
    /// A bar that is redrawn.
    Bar(ProgressBar),
    /// One line per logging interval.
    Lines {
        /// Steps of the whole run.
        total: u64,
    },
    /// Nothing.
    Quiet,
}

impl Progress {
    /// Progress over `total` steps of which `done` are done.
    #[must_use]
    pub fn new(total: u64, done: u64, quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines { total };
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_position(done);
        let template = "{bar:30} {pos}/{len} steps, {eta} left  {msg}";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.reset_eta();
        Self::Bar(bar)
    }

    /// Shows a line of metrics.
    pub fn show(&self, line: &Line) {
        let number = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.4}"));
        let text = format!(
            "epoch {} loss {} (cls {}, reg {}) norm {} lr {:.2e}  {:.0} ms/step, waiting {:.0} ms, {:.1} pairs/s",
            line.epoch,
            number(line.loss),
            number(line.cls),
            number(line.reg),
            number(line.grad_norm),
            line.lr,
            line.step_ms,
            line.data_wait_ms,
            line.pairs_per_s
        );
        match self {
            Self::Bar(bar) => {
                bar.set_position(line.step);
                bar.set_message(text);
            }
            Self::Lines { total } => self.say(&format!("step {}/{total} {text}", line.step)),
            Self::Quiet => {}
        }
    }

    /// Says one sentence.
    pub fn say(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| talk(text)),
            Self::Lines { .. } => talk(text),
            Self::Quiet => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// A line on standard error; a closed one is no failure.
pub fn talk(text: &str) {
    let _closed = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Line {
        Line {
            step,
            epoch: 1,
            lr: 0.01,
            loss: (step != 2).then_some(1.5),
            cls: None,
            reg: None,
            grad_norm: None,
            data_wait_ms: 0.0,
            step_ms: 1.0,
            pairs_per_s: 8.0,
            bad_steps: 0,
            substituted: 0,
            steps: 1,
        }
    }

    #[test]
    fn resuming_drops_steps_that_are_done_again_and_cut_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), 0, false).unwrap();
        for step in 1..=4 {
            writer.write(&line(step)).unwrap();
            if step.is_multiple_of(2) {
                let found = Validation { step, epoch: 1, loss: 2.0, cls: 1.0, reg: 0.2, pairs: 4 };
                writer.validation(&found).unwrap();
            }
        }
        drop(writer);
        for file in [JSONL, CSV] {
            let mut f = OpenOptions::new().append(true).open(dir.path().join(file)).unwrap();
            f.write_all(b"1,{\"ste").unwrap();
        }
        let mut writer = Writer::open(dir.path(), 2, true).unwrap();
        writer.write(&line(3)).unwrap();
        let validation = |step| Validation { step, epoch: 1, loss: 2.0, cls: 1.0, reg: 0.2, pairs: 4 };
        writer.validation(&validation(3)).unwrap();
        let kept = std::fs::read_to_string(dir.path().join(VALIDATION)).unwrap();
        let kept: Vec<Validation> = kept.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(kept, [validation(2), validation(3)]);
        assert_eq!(std::fs::read_dir(dir.path().join(tensorboard::FOLDER)).unwrap().count(), 1);
        let json = std::fs::read_to_string(dir.path().join(JSONL)).unwrap();
        let steps: Vec<Line> = json.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(steps, [line(1), line(2), line(3)]);
        let csv = std::fs::read_to_string(dir.path().join(CSV)).unwrap();
        let rows: Vec<&str> = csv.lines().collect();
        assert_eq!(rows.len(), 4);
        assert_eq!((rows[0], rows[2]), (Line::HEADER, "2,1,0.01,,,,,0.000,1.000,8.000,0,0,1"));
    }
}
