//! Sources: what a corpus offers, before any pixel is touched.
//!
//! A source lists its videos with their numbers of tracks and rows, cheaply, so that a plan can be made; it lists
//! the frames of a video only when the shard that holds the video is built.

pub mod crops;
pub mod remote;
pub mod sequences;

use crate::error::IngestError;
use crops::Corpus;
use schemas::build::BuildConfig;
use schemas::manifest::Reject;
use sequences::SequenceSet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Largest picture file accepted, in bytes.
pub const MAX_IMAGE_BYTES: u64 = 64 << 20;

/// Kinds of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The corpus of ready-made crops with `meta_data.pkl`: folder, `.tar`, `.tar.gz` or `.tar.zst`.
    Crops,
    /// Annotated sequences in the layouts of VOT, OTB and GOT-10k.
    Sequences,
}

impl SourceKind {
    /// The name used on the command line and in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crops => "crops",
            Self::Sequences => "sequences",
        }
    }
}

/// One `--source`: `KIND=PATH`, or `KIND:LABEL=PATH` to choose the dataset label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// What it is.
    pub kind: SourceKind,
    /// The dataset label of its rows, where the user chose one.
    pub label: Option<String>,
    /// Where it lies.
    pub path: PathBuf,
}

impl FromStr for SourceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((kind, path)) = text.split_once('=').filter(|(_, path)| !path.is_empty()) else {
            return Err(format!("{text:?} is not of the form KIND=PATH, for example sequences=vot2016"));
        };
        let (kind, label) = match kind.split_once(':') {
            Some((kind, label)) => (kind, Some(label)),
            None => (kind, None),
        };
        let kind = match kind {
            "crops" => SourceKind::Crops,
            "sequences" => SourceKind::Sequences,
            other => return Err(format!("unknown kind of source {other:?}: use crops or sequences")),
        };
        if let Some(label) = label
            && (label.is_empty() || !label.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)))
        {
            return Err(format!("label {label:?} must consist of letters, digits, '.', '_' and '-'"));
        }
        Ok(Self { kind, label: label.map(str::to_owned), path: path.into() })
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "{}:{label}={}", self.kind.as_str(), self.path.display()),
            None => write!(f, "{}={}", self.kind.as_str(), self.path.display()),
        }
    }
}

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
    /// The picture is a crop with the target in its centre.
    Centred {
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

/// Annotations that were left out on purpose, because they are not what a row is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Frames on which the target is absent or not annotated.
    pub absent: u64,
    /// Targets outside the configured aspect and area limits.
    pub filtered: u64,
}

impl Dropped {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.absent += other.absent;
        self.filtered += other.filtered;
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

/// An opened source.
#[derive(Debug)]
pub enum Source {
    /// Ready-made crops.
    Crops(Corpus),
    /// Annotated sequences.
    Sequences(SequenceSet),
}

impl Source {
    /// Opens and lists a source.
    ///
    /// # Errors
    /// When it does not exist or is not what it is said to be.
    pub fn open(spec: &SourceSpec, config: &BuildConfig) -> Result<Self, IngestError> {
        Ok(match spec.kind {
            SourceKind::Crops => Self::Crops(Corpus::open(spec, config)?),
            SourceKind::Sequences => Self::Sequences(SequenceSet::open(spec, config)?),
        })
    }

    /// Its dataset labels in order.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        match self {
            Self::Crops(corpus) => corpus.labels(),
            Self::Sequences(set) => set.labels(),
        }
    }

    /// Its videos, those without a row included.
    #[must_use]
    pub fn videos(&self) -> &[Video] {
        match self {
            Self::Crops(corpus) => corpus.videos(),
            Self::Sequences(set) => set.videos(),
        }
    }

    /// What was wrong with the source as a whole (not with a single video's frames).
    #[must_use]
    pub fn rejects(&self) -> &[Reject] {
        match self {
            Self::Crops(corpus) => corpus.rejects(),
            Self::Sequences(set) => set.rejects(),
        }
    }

    /// The path it was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Crops(corpus) => corpus.path(),
            Self::Sequences(set) => set.path(),
        }
    }
}

/// Last component of a path without the endings of archives, so that a corpus has the same name in every form.
///
/// # Errors
/// When the path does not exist.
pub(crate) fn source_name(path: &Path) -> Result<String, IngestError> {
    if shards::store::is_url(path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return Ok(without_ending(&name).to_owned());
    }
    let full = path.canonicalize().map_err(IngestError::io("open source", path))?;
    // The link's own name counts, where the path has one.
    let name = path.file_name().or(full.file_name()).unwrap_or(full.as_os_str());
    let name = name.to_string_lossy();
    if path.is_dir() {
        return Ok(name.into_owned());
    }
    Ok(without_ending(&name).to_owned())
}

/// A file name without the ending of an archive.
fn without_ending(name: &str) -> &str {
    let endings = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst"];
    let stem = endings.iter().find_map(|ending| name.strip_suffix(ending));
    stem.filter(|stem| !stem.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_kind_label_and_path() {
        let spec: SourceSpec = "crops=a=b/c.tar".parse().unwrap();
        assert_eq!((spec.kind, spec.label, spec.path), (SourceKind::Crops, None, "a=b/c.tar".into()));
        let spec: SourceSpec = "sequences:got-10k=/data".parse().unwrap();
        assert_eq!(spec.label.as_deref(), Some("got-10k"));
        assert_eq!(spec.to_string(), "sequences:got-10k=/data");
        for wrong in ["crops", "crops=", "pixels=x", "crops:=x", "crops:a b=x", "=x"] {
            assert!(wrong.parse::<SourceSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_archive_has_the_name_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["corpus.tar", "corpus.tar.gz", "corpus.tgz", "corpus.tar.zst"] {
            std::fs::write(dir.path().join(file), "").unwrap();
            assert_eq!(source_name(&dir.path().join(file)).unwrap(), "corpus");
        }
        std::fs::create_dir(dir.path().join("folder.tar")).unwrap();
        assert_eq!(source_name(&dir.path().join("folder.tar")).unwrap(), "folder.tar");
        assert!(source_name(&dir.path().join("missing")).is_err());
    }
}
