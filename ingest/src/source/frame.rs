//! What a source offers: videos, tracks and annotated frames, and where their pictures lie.

use super::limits::Dropped;
use schemas::manifest::Reject;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Largest picture file accepted, in bytes.
pub const MAX_IMAGE_BYTES: u64 = 64 << 20;

/// One dataset label of one source, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Label {
    /// The label.
    pub dataset: String,
    /// Kind of source.
    pub kind: String,
    /// Last component of the source's path, without the endings of archives.
    pub name: String,
    /// Side of its search crops, px.
    pub search_px: u32,
    /// Whether its search column holds the source's own bytes.
    pub source_bytes: bool,
}

/// A video as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// Its dataset label.
    pub dataset: String,
    /// Its name, unique within the label.
    pub name: String,
    /// Tracks with at least one row.
    pub tracks: u64,
    /// Rows it should give.
    pub rows: u64,
}

/// One target of one video with its frames in order.
#[derive(Debug, Clone)]
pub struct Track {
    /// Name of the track.
    pub name: String,
    /// Class of the target, empty when unknown.
    pub class: String,
    /// Its annotated frames in order.
    pub frames: Vec<Frame>,
}

/// One annotated frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Frame number in the source.
    pub number: u32,
    /// Time in the source, ms; -1 unknown.
    pub time_ms: i64,
    /// `schemas::shard::FLAG_*`.
    pub flags: u8,
    /// Path inside the source, for rejects.
    pub path: String,
    /// Where the picture's bytes are.
    pub bytes: Bytes,
    /// Where the target is.
    pub target: Target,
}

/// Where the target of a frame is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// The picture is a frame: cx, cy, w, h in frame px, origin at the left/top edge of pixel 0.
    InFrame([f64; 4]),
    /// The same as shares of the frame's width and height.
    Normalised([f64; 4]),
    /// The picture is a crop with the target in its centre.
    Centred {
        /// Side of the crop, px.
        side: u16,
        /// Width of the target, crop px.
        w: f32,
        /// Height of the target, crop px.
        h: f32,
        /// Width of the frame that the crop was cut from, px.
        frame_w: u16,
        /// Height of that frame, px.
        frame_h: u16,
    },
}

impl Target {
    /// cx, cy, w, h in the pixels of a frame of this size, px; of a crop, in its own pixels.
    #[must_use]
    pub fn in_frame(self, [frame_w, frame_h]: [f64; 2]) -> [f64; 4] {
        match self {
            Self::InFrame(target) => target,
            Self::Normalised([cx, cy, w, h]) => [cx * frame_w, cy * frame_h, w * frame_w, h * frame_h],
            Self::Centred { side, w, h, .. } => [f64::from(side) / 2.0, f64::from(side) / 2.0, w.into(), h.into()],
        }
    }
}

/// Where the bytes of a picture lie.
#[derive(Debug, Clone)]
pub enum Bytes {
    /// A file of its own.
    Path(PathBuf),
    /// A part of a larger file: an archive or a spool.
    Range {
        /// The file.
        file: Arc<File>,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u32,
    },
}

impl Bytes {
    /// Reads them all.
    ///
    /// # Errors
    /// When the file cannot be read, is not a regular file, or is larger than [`MAX_IMAGE_BYTES`].
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Path(path) => {
                let file = File::open(path)?;
                let meta = file.metadata()?;
                if !meta.is_file() {
                    return Err(io::Error::other("not a regular file"));
                }
                if meta.len() > MAX_IMAGE_BYTES {
                    return Err(io::Error::other(format!("{} bytes are too many for one picture", meta.len())));
                }
                let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1);
                file.take(MAX_IMAGE_BYTES).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Self::Range { file, offset, len } => {
                let mut bytes = vec![0; *len as usize];
                file.read_exact_at(&mut bytes, *offset)?;
                Ok(bytes)
            }
        }
    }
}

/// The tracks of a video, and what was wrong with the rest.
#[derive(Debug, Clone, Default)]
pub struct Tracks {
    /// Tracks with at least one frame, in order.
    pub tracks: Vec<Track>,
    /// Inputs that had to be left out.
    pub rejects: Vec<Reject>,
    /// Annotations left out on purpose.
    pub dropped: Dropped,
}
