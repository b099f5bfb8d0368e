//! Sources: what a corpus offers, before any pixel is touched.
//!
//! A source lists its videos with their numbers of tracks and rows, cheaply, so that a plan can be made; it lists
//! the frames of a video only when the shard that holds the video is built. docs/sources.md describes every layout.

pub mod archive;
pub mod crop511;
pub mod crops;
pub mod frame;
mod json;
pub mod limits;
pub mod remote;
pub mod sequences;
pub mod spool;
pub mod stills;
pub mod vid;
pub(crate) mod xml;
pub mod ytbb;

pub use frame::{Bytes, Frame, Label, MAX_IMAGE_BYTES, Target, Track, Tracks, Video};
pub use limits::{Dropped, Unwanted};

use crate::error::IngestError;
use schemas::build::BuildConfig;
use schemas::manifest::Reject;
use spool::{ShardFiles, SpoolJob, Stream};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Kinds of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The corpus of ready-made crops with `meta_data.pkl`: folder, `.tar`, `.tar.gz` or `.tar.zst`.
    Crops,
    /// Annotated sequences in the layouts of VOT, OTB, GOT-10k and LaSOT.
    Sequences,
    /// ImageNet VID: folder, `.tar`, `.tar.gz` or `.tar.zst`.
    Vid,
    /// The detection lists of YouTube-BoundingBoxes with extracted frames.
    Ytbb,
    /// PySOT's folders of 511 px crops with their list.
    Crop511,
    /// Single pictures with boxes: COCO or ImageNet DET.
    Stills,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Crops, Self::Sequences, Self::Vid, Self::Ytbb, Self::Crop511, Self::Stills];

    /// The name used on the command line and in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crops => "crops",
            Self::Sequences => "sequences",
            Self::Vid => "vid",
            Self::Ytbb => "ytbb",
            Self::Crop511 => "crop511",
            Self::Stills => "stills",
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
        let known = SourceKind::ALL.into_iter().find(|known| known.as_str() == kind);
        let kind = known.ok_or_else(|| {
            let names = SourceKind::ALL.map(SourceKind::as_str).join(", ");
            format!("unknown kind of source {kind:?}: use one of {names}")
        })?;
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

impl SourceSpec {
    /// An error about this source as a whole.
    pub(crate) fn wrong(&self, reason: impl Into<String>) -> IngestError {
        IngestError::Source { kind: self.kind.as_str(), path: self.path.clone(), reason: reason.into() }
    }

    /// The label of a source whose pictures are frames.
    pub(crate) fn frames_label(&self, dataset: String, name: &str, config: &BuildConfig) -> Label {
        let kind = self.kind.as_str().to_owned();
        Label { dataset, kind, name: name.to_owned(), search_px: config.search_px, source_bytes: false }
    }
}

/// What is known of a source once it is opened.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Where it was opened.
    pub path: PathBuf,
    /// Its dataset labels in order.
    pub labels: Vec<Label>,
    /// Its videos by name, those without a row included.
    pub videos: Vec<Video>,
    /// What was wrong with the source as a whole, and with videos that give no row.
    pub rejects: Vec<Reject>,
    /// What was left out on purpose of videos that give no row.
    pub dropped: Dropped,
}

/// A corpus of one kind.
pub trait Origin: fmt::Debug + Send + Sync {
    /// What is known of it.
    fn catalog(&self) -> &Catalog;

    /// The tracks of video number `video`.
    fn tracks(&self, video: usize, shard: &ShardFiles) -> Tracks;

    /// The compressed archive that must be spooled before shards can be built, if it is one.
    fn stream(&self) -> Option<&Stream> {
        None
    }

    /// Reads the compressed archive into spool files.
    ///
    /// # Errors
    /// When the archive is damaged or the spool cannot be written.
    fn spool(&mut self, _job: &SpoolJob<'_>) -> Result<(), IngestError> {
        Ok(())
    }
}

/// An opened source.
#[derive(Debug)]
pub struct Source(Box<dyn Origin>);

impl Source {
    /// Opens and lists a source.
    ///
    /// # Errors
    /// When it does not exist or is not what it is said to be.
    pub fn open(spec: &SourceSpec, config: &BuildConfig) -> Result<Self, IngestError> {
        Ok(Self(match spec.kind {
            SourceKind::Crops => Box::new(crops::Corpus::open(spec, config)?),
            SourceKind::Sequences => Box::new(sequences::SequenceSet::open(spec, config)?),
            SourceKind::Vid => Box::new(vid::Vid::open(spec, config)?),
            SourceKind::Ytbb => Box::new(ytbb::Ytbb::open(spec, config)?),
            SourceKind::Crop511 => Box::new(crop511::Crop511::open(spec, config)?),
            SourceKind::Stills => Box::new(stills::Stills::open(spec, config)?),
        }))
    }

    /// Its dataset labels in order.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.0.catalog().labels
    }

    /// Its videos, those without a row included.
    #[must_use]
    pub fn videos(&self) -> &[Video] {
        &self.0.catalog().videos
    }

    /// What was wrong with the source as a whole (not with a single video's frames).
    #[must_use]
    pub fn rejects(&self) -> &[Reject] {
        &self.0.catalog().rejects
    }

    /// What was left out on purpose of videos that give no row.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.0.catalog().dropped
    }

    /// The path it was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.catalog().path
    }

    /// The tracks of video number `video`; `shard` is what [`Source::open_shard`] gave.
    #[must_use]
    pub fn tracks(&self, video: usize, shard: &ShardFiles) -> Tracks {
        self.0.tracks(video, shard)
    }

    /// Whether it must be spooled before shards can be built, and how many bytes are then read.
    #[must_use]
    pub fn streams(&self) -> Option<u64> {
        self.0.stream().map(Stream::bytes)
    }

    /// Reads a compressed archive into spool files, if it is one.
    ///
    /// # Errors
    /// When the archive is damaged or the spool cannot be written.
    pub fn spool(&mut self, job: &SpoolJob<'_>) -> Result<(), IngestError> {
        self.0.spool(job)
    }

    /// Prepares the listing of the videos of one shard.
    ///
    /// # Errors
    /// When its spool cannot be read.
    pub fn open_shard(&self, shard: u32) -> Result<ShardFiles, IngestError> {
        self.0.stream().map_or_else(|| Ok(ShardFiles::default()), |stream| stream.open_shard(shard))
    }

    /// Gives back what [`Source::open_shard`] needed, once the shard is finished.
    pub fn close_shard(&self, shard: u32) {
        if let Some(stream) = self.0.stream() {
            stream.close_shard(shard);
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

/// Whether text from outside may become a part of a path: relative, below its folder, without control characters.
pub(crate) fn plain_path(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    text.len() <= 1024 && !text.contains(|c: char| c.is_control() || c == '\\') && text.split('/').all(part)
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
        for wrong in ["crops", "crops=", "pixels=x", "vidd=x", "crops:=x", "crops:a b=x", "=x"] {
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
