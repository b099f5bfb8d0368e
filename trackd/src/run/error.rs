//! Why a job failed, in words for people, codes for programs, and with what to do about it.

use crate::frames::FrameError;
use crate::input::InputError;
use siamrpn::tracker::TrackError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The input or its box.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The frames.
    #[error(transparent)]
    Frames(#[from] FrameError),
    /// The video is shorter than the frame to start on.
    #[error("{path} has {frames} frames, the initial box is for frame {wanted} (counted from 0)", path = path.display())]
    TooShort {
        /// The input.
        path: PathBuf,
        /// Its frames.
        frames: u64,
        /// The frame to start on.
        wanted: u32,
    },
    /// The initial box does not fit.
    #[error("{origin}: {source}")]
    Init {
        /// Where the box comes from.
        origin: String,
        /// What is wrong.
        source: TrackError,
    },
    /// The tracker gave up.
    #[error("frame {frame}: {source}")]
    Track {
        /// The frame, from 0.
        frame: u64,
        /// What is wrong.
        source: TrackError,
    },
    /// A result cannot be written.
    #[error("{path} cannot be written: {source}", path = path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The evaluation failed.
    #[error("evaluation: {0}")]
    Evaluate(String),
    /// It took longer than allowed.
    #[error("{path} was not done after {seconds} s (max_job_s): {frames} frames were tracked", path = path.display())]
    TooLong {
        /// The input.
        path: PathBuf,
        /// Seconds allowed.
        seconds: f64,
        /// Frames tracked until then.
        frames: u64,
    },
    /// It was tracked before, and duplicates are to be skipped.
    #[error("{path} is the same as what was tracked before: its result is {of}", path = path.display())]
    Duplicate {
        /// The input.
        path: PathBuf,
        /// The result's folder in the outbox.
        of: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// The worker crashed.
    #[error("the worker crashed: {0}")]
    Crashed(String),
}

impl JobError {
    /// Wraps a write error with its path.
    pub(crate) fn output(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Output { path: path.clone(), source }
    }

    /// Where it failed: `probe`, `decode`, `init`, `track` or `publish`.
    #[must_use]
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Input(
                InputError::Io { .. }
                | InputError::Kind { .. }
                | InputError::DataSet { .. }
                | InputError::Odd { .. }
                | InputError::TooLarge { .. },
            ) => "probe",
            Self::Frames(e) | Self::Input(InputError::Frames(e)) => match e {
                FrameError::NotVideo { .. }
                | FrameError::Archive { .. }
                | FrameError::Empty { .. }
                | FrameError::NeedsFfmpeg { .. } => "probe",
                _ => "decode",
            },
            Self::Input(_) | Self::Init { .. } | Self::TooShort { .. } => "init",
            Self::Output { .. } => "publish",
            Self::Duplicate { .. } => "probe",
            Self::Track { .. } | Self::TooLong { .. } | Self::Evaluate(_) | Self::Cancelled | Self::Crashed(_) => {
                "track"
            }
        }
    }

    /// Short machine-readable reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Input(e) => match e {
                InputError::Io { .. } => "unreadable-input",
                InputError::Kind { .. } => "not-a-file",
                InputError::DataSet { .. } => "several-sequences",
                InputError::Odd { what: "a link", .. } => "link-inside",
                InputError::Odd { .. } => "not-a-file",
                InputError::TooLarge { .. } => "input-too-large",
                InputError::NoBox { .. } => "no-box",
                InputError::Frames(e) => e.code(),
                InputError::Vot(vot::Error::InitBox { .. }) | InputError::Box { .. } => "bad-box",
                InputError::Vot(_) => "bad-annotation",
                InputError::InitDoc { .. } => "bad-init-json",
                InputError::Query { .. } => "bad-query",
                InputError::Outside { .. } => "frames-outside",
            },
            Self::Frames(e) => e.code(),
            Self::TooShort { .. } => "video-too-short",
            Self::Init { .. } => "bad-box",
            Self::Track { .. } => "tracker",
            Self::Output { source, .. } if is_full(source) => "disk-full",
            Self::Output { .. } => "unwritable-output",
            Self::Evaluate(_) => "evaluation",
            Self::Duplicate { .. } => "duplicate",
            Self::TooLong { .. } => "took-too-long",
            Self::Cancelled => "cancelled",
            Self::Crashed(_) => "crashed",
        }
    }

    /// Whether the same job may succeed when it is tried again.
    #[must_use]
    pub fn passing(&self) -> bool {
        let io = |e: &io::Error| e.kind() != io::ErrorKind::NotFound && e.kind() != io::ErrorKind::PermissionDenied;
        match self {
            Self::Input(InputError::Io { source, .. }) => io(source),
            Self::Frames(e) | Self::Input(InputError::Frames(e)) => match e {
                FrameError::Io { source, .. } => io(source),
                FrameError::Stalled { .. } | FrameError::NoDecoder(_) => true,
                _ => false,
            },
            Self::Output { .. } | Self::Crashed(_) | Self::Cancelled => true,
            _ => false,
        }
    }

    /// Whether the disk is full: waiting helps, trying does not.
    #[must_use]
    pub fn disk_full(&self) -> bool {
        matches!(self, Self::Output { source, .. } if is_full(source))
    }

    /// The decoder's last messages.
    #[must_use]
    pub fn decoder_log(&self) -> &str {
        match self {
            Self::Frames(e) => e.log(),
            _ => "",
        }
    }
}

/// Whether a full disk or quota is the reason.
pub(crate) fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
