//! What decoder children do. The program starts itself with a hidden first argument, then the task, then a file.
//!
//! | task | what it writes to standard output |
//! |---|---|
//! | `h264` | the frames of an H.264 mp4 as PPM |
//! | `count-h264` | how many the file's index states |
//! | `archive` | the frames of an archive as PPM; the second argument is the largest number of pixels |
//! | `list-archive` | what the archive holds, as JSON |
//!
//! A child ends with 0, or with a message on standard error and another code.

use super::archive::{self, ArchiveError, Listing};
use super::h264::{self, H264Error};
use schemas::exit::{DONE, FAILED, USAGE};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// First argument of a decoder child.
const ARGUMENT: &str = "decoder";

/// Something a child decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Frames of an H.264 mp4.
    H264,
    /// Number of frames its index states.
    CountH264,
    /// Frames of an archive, none of more pixels than this.
    Archive(u64),
    /// What an archive holds.
    ListArchive,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::CountH264 => "count-h264",
            Self::Archive(_) => "archive",
            Self::ListArchive => "list-archive",
        }
    }

    /// The command that starts `program` as a child with this task.
    #[must_use]
    pub fn command(self, program: &Path, file: &Path) -> Command {
        let mut command = Command::new(program);
        command.args([ARGUMENT, self.name()]).arg(file);
        if let Self::Archive(max_pixels) = self {
            command.arg(max_pixels.to_string());
        }
        command
    }
}

/// Does a child's work if the arguments (without the program's name) are those of one, and answers its exit code.
pub fn run_if_asked(mut args: impl Iterator<Item = OsString>) -> Option<u8> {
    if args.next()? != ARGUMENT {
        return None;
    }
    let (task, file) = (args.next()?, PathBuf::from(args.next()?));
    let number = args.next().and_then(|n| n.to_str()?.parse().ok());
    let task = match (task.to_str()?, number) {
        ("h264", None) => Task::H264,
        ("count-h264", None) => Task::CountH264,
        ("archive", Some(max_pixels)) => Task::Archive(max_pixels),
        ("list-archive", None) => Task::ListArchive,
        _ => return Some(USAGE),
    };
    Some(run(task, &file))
}

/// Nobody wants more frames.
fn unwanted(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::BrokenPipe
}

fn run(task: Task, path: &Path) -> u8 {
    let mut out = io::stdout().lock();
    let done: Result<(), Box<dyn std::error::Error>> = match task {
        Task::H264 => match h264::decode(path, out) {
            Err(H264Error::Io(e)) if unwanted(&e) => Ok(()),
            other => other.map_err(Into::into),
        },
        Task::CountH264 => match h264::probe(path) {
            Ok(frames) => writeln!(out, "{frames}").map_err(Into::into),
            Err(e) => Err(e.into()),
        },
        Task::Archive(max_pixels) => match archive::decode(path, max_pixels, out) {
            Err(ArchiveError::Io(e)) if unwanted(&e) => Ok(()),
            other => other.map_err(Into::into),
        },
        Task::ListArchive => match Listing::read(path) {
            Ok(listing) => serde_json::to_writer(out, &listing).map_err(Into::into),
            Err(e) => Err(e.into()),
        },
    };
    match done {
        Ok(()) => DONE,
        Err(e) => {
            eprintln!("{e}");
            FAILED
        }
    }
}
