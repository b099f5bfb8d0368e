//! Why an input or its initial box cannot be used.

use crate::frames::FrameError;
use std::io;
use std::path::PathBuf;

/// Why an input or its initial box cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// There is no such file or folder, or it cannot be looked at.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Neither a file nor a folder.
    #[error("{path} is neither a regular file nor a folder", path = path.display())]
    Kind {
        /// What was named.
        path: PathBuf,
    },
    /// Something in a folder that is neither file nor folder.
    #[error(
        "{path} is refused: {entry} is {what}; put the files themselves there",
        path = path.display(), entry = entry.display()
    )]
    Odd {
        /// The folder.
        path: PathBuf,
        /// What lies in it.
        entry: PathBuf,
        /// What that is.
        what: &'static str,
    },
    /// Larger than allowed.
    #[error("{path} has {bytes} bytes, more than max_input_mb allows ({limit})", path = path.display())]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
        /// Most bytes.
        limit: u64,
    },
    /// Several sequences.
    #[error("{path} is a data set of several sequences: name one of them, or use `trackd eval`", path = path.display())]
    DataSet {
        /// The folder.
        path: PathBuf,
    },
    /// A folder's images cannot be listed.
    #[error(transparent)]
    Frames(#[from] FrameError),
    /// Ground truth or box file that cannot be read.
    #[error("failed to {0}")]
    Vot(#[from] vot::Error),
    /// An `init.json` that does not parse.
    #[error("{path} is not an init.json ({reason}); write {{\"targets\":[{{\"id\":\"1\",\"frame\":0,\"region\":[x,y,w,h]}}]}}", path = path.display())]
    InitDoc {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A job folder of the official toolkit that cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Query {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A job folder names frames where it may not.
    #[error(
        "{path} names the frame {frame}, which lies neither in it nor in one of the daemon's frame_roots",
        path = path.display(), frame = frame.display()
    )]
    Outside {
        /// The job folder.
        path: PathBuf,
        /// The frame.
        frame: PathBuf,
    },
    /// No box can be made of it.
    #[error("initial box {rect:?} from {origin}: it must be finite and larger than zero in both directions")]
    Box {
        /// `[x, y, w, h]`.
        rect: [f64; 4],
        /// Where it comes from.
        origin: String,
    },
    /// No box anywhere.
    #[error(
        "no initial box for {path}: give --init X,Y,W,H, or put it into {name}.txt (a line x,y,w,h) or \
         {name}.init.json beside it",
        path = path.display()
    )]
    NoBox {
        /// The input.
        path: PathBuf,
        /// Its name.
        name: String,
    },
}
