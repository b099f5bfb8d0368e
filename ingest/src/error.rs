//! What can stop a build. Inputs that are merely bad do not: they become lines of `rejects.jsonl`.

use schemas::exit;
use std::io;
use std::path::{Path, PathBuf};

/// What went wrong, where, and what to do. The text reads after "failed to ...".
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A file or folder could not be read or written.
    #[error("{action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried, for example `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The configuration is wrong.
    #[error("use the configuration{}: {reason}", in_file(path.as_deref()))]
    Config {
        /// The file it came from, if it came from one.
        path: Option<PathBuf>,
        /// The key, its value and what is allowed.
        reason: String,
    },
    /// The sources given on the command line do not fit together.
    #[error("use the sources: {0}")]
    Sources(String),
    /// A source is not what it is said to be.
    #[error("read {kind} source {}: {reason}", path.display())]
    Source {
        /// Kind of source.
        kind: &'static str,
        /// Where it lies.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// `meta_data.pkl` is not the list of videos and tracks it should be.
    #[error(
        "read {path}: {reason}; expected a pickled list of (video, {{track: [frame, ...]}}) as the corpus has it; \
         fetch the file again or rebuild it from the file names"
    )]
    Pickle {
        /// The file, or archive and entry.
        path: String,
        /// What was found instead.
        reason: String,
    },
    /// The output folder holds something else.
    #[error("build into {}: {reason}; choose another --out, or delete that folder to start over", path.display())]
    Occupied {
        /// The output folder.
        path: PathBuf,
        /// The difference, naming what is there and what was asked for.
        reason: String,
    },
    /// Another process is building the same part.
    #[error("build {}: another process is building this part; wait for it, or end it and run again", path.display())]
    Locked {
        /// The output folder.
        path: PathBuf,
    },
    /// Too many inputs were rejected.
    #[error(
        "finish the build: {found} inputs were rejected, more than --max-rejects {limit} allows; the first: {first}; \
         repair the source or raise the limit; finished shards are kept"
    )]
    TooManyRejects {
        /// Rejects so far.
        found: u64,
        /// The limit.
        limit: u64,
        /// The first reject, for people.
        first: String,
    },
    /// A shard or the index could not be written.
    #[error("build the dataset: {0}")]
    Write(#[from] shards::writer::WriteError),
    /// A dataset cannot be put together yet.
    #[error("merge {}: {reason}", path.display())]
    Merge {
        /// The dataset folder.
        path: PathBuf,
        /// What is missing or wrong and the command that repairs it.
        reason: String,
    },
    /// Pairs could not be laid out.
    #[error("lay out the pairs of {}: {source}", path.display())]
    Pairs {
        /// The dataset they are drawn from.
        path: PathBuf,
        /// The cause.
        source: Box<shards::pairs::PairsError>,
    },
    /// The user asked to stop.
    #[error("finish: interrupted; finished shards are kept: run the same command again to go on")]
    Interrupted,
}

impl IngestError {
    /// Wraps an IO error with what was tried and where.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// The exit code for this error, see [`schemas::exit`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config { .. } | Self::Sources(_) => exit::USAGE,
            Self::Interrupted => exit::INTERRUPTED,
            _ => exit::FAILED,
        }
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space there and run the same command again: finished shards are kept"
        }
        io::ErrorKind::PermissionDenied => "; check the permissions",
        io::ErrorKind::NotFound => "; check the path",
        _ => "",
    }
}

fn in_file(path: Option<&Path>) -> String {
    path.map(|path| format!(" in {}", path.display())).unwrap_or_default()
}
