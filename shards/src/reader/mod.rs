//! Reading a dataset: memory map, no copies, everything checked before a slice is handed out.
//!
//! Shards are opened when first used and their batches decoded when first touched; with plain buffers a decoded batch is
//! only pointers into the map, so random access costs no anonymous memory. Hostile bytes give errors, never a panic: block
//! offsets and lengths are checked against the file, Arrow validates the arrays, and a panic inside Arrow's decoder is
//! turned into an error too.

mod dataset;
mod index;
mod ipc;
mod row;
mod shard;

pub use dataset::{Dataset, parse_manifest};
pub use index::{Index, IndexPiece, IndexRow};
pub use row::Row;
pub use shard::{Batch, Shard};

use schemas::format::FormatError;
use std::path::PathBuf;

/// Why a dataset or shard could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The file system refused.
    #[error("could not read {path}: {message}")]
    Io {
        /// File.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The folder is no dataset.
    #[error(
        "{0} is not a complete dataset: it has no dataset.json (an interrupted `ingest build` goes on when it is run again)"
    )]
    NoManifest(PathBuf),
    /// The manifest cannot be understood.
    #[error("{path} is damaged: {message}")]
    Manifest {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Written by a newer release.
    #[error("{path}: {source}")]
    Format {
        /// File.
        path: PathBuf,
        /// Which version.
        source: FormatError,
    },
    /// The file is not a shard, or is damaged.
    #[error("{path} is damaged: {message}; delete it and run the same `ingest build` again to rebuild it")]
    Damaged {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// There is no such row.
    #[error("{path} has no row {row}: it has {rows}")]
    NoRow {
        /// File.
        path: PathBuf,
        /// Row asked for.
        row: u64,
        /// Rows there are.
        rows: u64,
    },
    /// A shard is whole where it lies, but cannot be brought here: no other row may take the place of its rows.
    #[error("could not fetch {path}: {message}")]
    Unavailable {
        /// Where the shard lies.
        path: PathBuf,
        /// What is in the way, and what to do.
        message: String,
    },
    /// A row's pictures do not match their checksum.
    #[error(
        "row {row} of {path} ({video}, track {track}, frame {frame}) is damaged: crc32c {found:08x}, expected {expected:08x}"
    )]
    Crc {
        /// File.
        path: PathBuf,
        /// Row in shard.
        row: u64,
        /// Video of the row.
        video: String,
        /// Track of the row.
        track: String,
        /// Frame of the row.
        frame: u32,
        /// Checksum of the bytes found.
        found: u32,
        /// Checksum stored.
        expected: u32,
    },
}
