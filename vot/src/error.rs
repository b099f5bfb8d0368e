//! The one error type of this crate's readers and measures.

use std::io;
use std::path::PathBuf;

use crate::region::RegionError;

/// What went wrong, where, and what to do. The text reads after "failed to ...".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("access {path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line does not hold a region.
    #[error("read a region from {path}:{line}: {source}", path = path.display())]
    Region {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with the line.
        source: RegionError,
    },
    /// A region that a tracker cannot start from.
    #[error("start from {path}:{line}: {reason}; write x,y,width,height in px or the corners of a polygon", path = path.display())]
    InitBox {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with the region.
        reason: String,
    },
    /// A line does not hold what the format says.
    #[error("read {path}:{line}: expected {expected}, found `{found}`", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What the format asks for.
        expected: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// A file that is not text where text is due, or a broken binary file.
    #[error("read {path}: {reason}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and, where known, at which byte.
        reason: String,
    },
    /// Two things that belong together have different lengths.
    #[error(
        "match {path} with {other}: {path} has {found} entries, {other} has {expected}; \
         both must describe the same frames",
        path = path.display()
    )]
    Length {
        /// The file whose length does not fit.
        path: PathBuf,
        /// What it is compared with.
        other: String,
        /// Length of the other.
        expected: usize,
        /// Length of the file.
        found: usize,
    },
    /// A folder is none of the known layouts.
    #[error(
        "recognise {path} as a sequence or data set: it has neither a list.txt or groundtruth.txt (VOT, GOT-10k) \
         nor a groundtruth_rect.txt beside img/ (OTB); name the folder that holds the sequences, or give the layout",
        path = path.display()
    )]
    UnknownLayout {
        /// The folder.
        path: PathBuf,
    },
    /// A data set without a single sequence.
    #[error("find sequences in {path}: it lists none", path = path.display())]
    NoSequences {
        /// The data set.
        path: PathBuf,
    },
    /// A sequence of the data set has no results.
    #[error(
        "find results of sequence `{sequence}` under {path}: expected {sequence}_001.txt or .bin in \
         EXPERIMENT/{sequence}; run the tracker on it or name another results folder",
        path = path.display()
    )]
    NoResults {
        /// Where was looked.
        path: PathBuf,
        /// The sequence.
        sequence: String,
    },
    /// A result file does not have one line per frame.
    #[error(
        "read {path}: it ends after line {found}, the sequence has {expected} frames; the run was cut off or belongs to \
         another version of the data set",
        path = path.display()
    )]
    ResultLength {
        /// The result file.
        path: PathBuf,
        /// Frames of the sequence.
        expected: usize,
        /// Its lines, or regions in a binary file.
        found: usize,
    },
    /// A trajectory and its sequence have different lengths.
    #[error(
        "score sequence `{sequence}`: repetition {repetition} has {found} frames, the sequence {expected}; \
         the result is incomplete or belongs to another version of the data set"
    )]
    TrajectoryLength {
        /// The sequence.
        sequence: String,
        /// The repetition, counted from 1.
        repetition: usize,
        /// Frames of the sequence.
        expected: usize,
        /// Frames of the trajectory.
        found: usize,
    },
    /// The frame size of a sequence is needed and not known.
    #[error(
        "score sequence `{sequence}`: its frame size is not known; write width= and height= into its \
         `sequence` file or provide its frames"
    )]
    UnknownSize {
        /// The sequence.
        sequence: String,
    },
    /// A frame size of zero.
    #[error("use frame size {width}x{height} of sequence `{sequence}`: both sides must be positive")]
    ZeroSize {
        /// The sequence.
        sequence: String,
        /// Width in px.
        width: u32,
        /// Height in px.
        height: u32,
    },
    /// Nothing to score.
    #[error("score the results: there are no sequences with trajectories")]
    NothingToScore,
    /// An EAO interval that is empty or starts below 1.
    #[error("use EAO interval {low},{high}: it must satisfy 1 <= low <= high")]
    Interval {
        /// Lower end.
        low: usize,
        /// Upper end.
        high: usize,
    },
    /// A sequence of a multi-start evaluation has no anchors.
    #[error(
        "find the anchors of sequence `{sequence}`: multi-start needs anchor.value beside its ground truth, one number \
         per frame, above 0 where a run forward starts and below 0 where one backward starts"
    )]
    NoAnchors {
        /// The sequence.
        sequence: String,
    },
    /// Two sequences share a name, so their results cannot be told apart.
    #[error("score sequence `{sequence}`: the name occurs twice")]
    DuplicateSequence {
        /// The name.
        sequence: String,
    },
}

impl Error {
    /// Wraps an IO error with its path.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

/// At most 40 characters of a line, with control characters escaped, for messages.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        short.push_str("...");
    }
    short
}
