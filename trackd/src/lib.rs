//! From a video to boxes: one-shot tracking, VOT evaluation, and the drop-folder daemon.
//!
//! Flow of data: [`input`] says what there is and where the box comes from, [`frames`] decodes it (video files in a
//! child process), [`engine`] is the tracker, [`run`] writes the results of one job, [`evaluate`] runs the VOT
//! protocol over a data set, [`report`] compares trackers,
//! [`trax`] lets the official toolkit drive the tracker. The daemon adds [`scan`] (what lies in the inbox), [`watcher`] (when to look), [`job`] (the
//! states of a job, a pure function), [`journal`] (what survives a crash), [`publish`] (results appear at once and
//! complete), [`http`] (the status page) and [`daemon`] (what drives all of them). [`cli`] is the command line.

pub mod cli;
pub mod daemon;
pub mod engine;
pub mod evaluate;
pub mod frames;
pub mod http;
pub mod input;
pub mod job;
pub mod journal;
pub mod publish;
pub mod report;
pub mod run;
pub mod scan;
pub mod trax;
pub mod watcher;

use std::process::ExitCode;

/// Does a decoder child's work if this process was started as one, and answers its exit code.
///
/// Videos and archives are decoded by the running program's own file, started again with a hidden first argument. Every
/// program that tracks videos through this library therefore calls this first in `main`.
#[must_use]
pub fn child_main_if_asked() -> Option<ExitCode> {
    frames::task::run_if_asked(std::env::args_os().skip(1)).map(ExitCode::from)
}
