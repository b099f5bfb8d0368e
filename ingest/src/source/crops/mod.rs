//! The corpus of ready-made crops: `<video>/<frame>.<track>.x_<w>_<h>_<W>_<H>.jpg` and `meta_data.pkl`.
//!
//! Crops are 500x500 px with the target in the centre. `meta_data.pkl` decides which files belong to the corpus and
//! in which order; the sizes stand in the file names.

pub mod meta;
pub mod name;
mod nesting;

use super::archive::{self, Index, Item, Odd, Packing};
use super::limits::{Dropped, Unwanted, pieces};
use super::spool::{self, ShardFiles, SpoolJob, Stream};
use super::{Bytes, Catalog, Frame, Label, Origin, SourceKind, SourceSpec, Target, Track, Tracks, Video, source_name};
use crate::error::IngestError;
use meta::{MAX_META_BYTES, META_FILE, MetaVideo};
use schemas::build::{BuildConfig, CropSemantics};
use shards::store::is_url;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Side of the corpus' crops, px.
pub const CROP_PX: u32 = 500;

/// Where the files are; `root` is the corpus' folder inside an archive, with a final slash, or empty.
#[derive(Debug)]
enum Form {
    Folder,
    Tar { index: Index, root: String },
    Stream { stream: Stream, root: String },
}

/// A file of a video: its bytes, unless it is not a regular file.
type Found = (String, Option<Bytes>);

/// The corpus, with its videos and tracks known.
#[derive(Debug)]
pub struct Corpus {
    catalog: Catalog,
    label: Option<String>,
    meta: Vec<MetaVideo>,
    form: Form,
    config: BuildConfig,
}

impl Corpus {
    /// Opens a corpus and reads its `meta_data.pkl`; a plain archive is listed too.
    ///
    /// # Errors
    /// When it cannot be read or `meta_data.pkl` is missing or wrong.
    pub fn open(spec: &SourceSpec, config: &BuildConfig) -> Result<Self, IngestError> {
        let name = source_name(&spec.path)?;
        for (key, px) in [("search_px", config.search_px), ("template_px", config.template_px)] {
            if px > CROP_PX && (key == "template_px" || config.reencode_crops) {
                let reason = format!("{key} = {px} is larger than the corpus' crops of {CROP_PX} px");
                return Err(IngestError::Config { path: None, reason });
            }
        }
        if config.semantics != CropSemantics::Siamfc {
            let reason = "semantics = \"pysot\", but the corpus' crops were cut as \"siamfc\"".to_owned();
            return Err(IngestError::Config { path: None, reason });
        }
        let (form, bytes) = if spec.path.is_dir() {
            (Form::Folder, read_meta(&spec.path)?)
        } else {
            match Packing::of(&spec.path, SourceKind::Crops)? {
                // In object storage even a plain archive is read once, from its beginning.
                Packing::Tar if !is_url(&spec.path) => {
                    let mut found = None;
                    let index = archive::index(&spec.path, SourceKind::Crops, &mut |path, len, entry| {
                        let root = root_of(path).filter(|_| found.is_none());
                        let taken = root.is_some();
                        if let Some(root) = root {
                            found = Some((root, packed_meta(&spec.path, len, entry)?));
                        }
                        Ok(taken)
                    })?;
                    let (root, bytes) = found.ok_or_else(|| no_meta(&spec.path))?;
                    (Form::Tar { index, root }, bytes)
                }
                packing => {
                    let (root, bytes) = find_meta(&spec.path, packing)?;
                    (Form::Stream { stream: Stream::new(SourceKind::Crops, &spec.path, packing), root }, bytes)
                }
            }
        };
        let pickle = spec.path.join(META_FILE).display().to_string();
        let meta = meta::parse(&bytes).map_err(|reason| IngestError::Pickle { path: pickle, reason })?;
        let label = |video: &str| spec.label.clone().unwrap_or_else(|| label_of(video).to_owned());
        let videos: Vec<Video> = meta
            .iter()
            .map(|video| Video {
                dataset: label(&video.name),
                name: video.name.clone(),
                tracks: video.tracks.iter().filter(|track| track.len > 0).count() as u64,
                rows: video.tracks.iter().map(|track| track.len).sum(),
            })
            .collect();
        let datasets: std::collections::BTreeSet<&str> =
            videos.iter().filter(|video| video.rows > 0).map(|video| video.dataset.as_str()).collect();
        let labels = datasets
            .into_iter()
            .map(|dataset| Label {
                dataset: dataset.to_owned(),
                kind: SourceKind::Crops.as_str().to_owned(),
                name: name.clone(),
                search_px: if config.reencode_crops { config.search_px } else { CROP_PX },
                source_bytes: !config.reencode_crops,
            })
            .collect();
        let catalog = Catalog { path: spec.path.clone(), labels, videos, ..Catalog::default() };
        let mut corpus = Self { catalog, label: spec.label.clone(), meta, form, config: config.clone() };
        if let Form::Tar { index, root } = &mut corpus.form {
            let (odd, root) = (std::mem::take(&mut index.odd), root.clone());
            corpus.catalog.rejects = corpus.refused(odd, &root);
        }
        Ok(corpus)
    }

    /// The tracks of video number `video`: what `meta_data.pkl` lists, matched with the files that exist.
    fn list(&self, video: usize, shard: &ShardFiles) -> Tracks {
        let mut all = Tracks::default();
        let (Some(meta), Some(known)) = (self.meta.get(video), self.catalog.videos.get(video)) else { return all };
        if known.rows == 0 {
            return all;
        }
        let reject = |track: &str, file: &str, reason: &str, detail: String| {
            let path = format!("{}/{file}", meta.name);
            meta::reject(&known.dataset, &meta.name, track, path, reason, detail)
        };
        let files = match self.files(video, &meta.name, shard) {
            Ok(files) => files,
            Err(error) => {
                all.rejects.push(reject("", "", "unreadable-video", format!("its folder cannot be read: {error}")));
                return all;
            }
        };
        // A name that occurs twice in an archive stands for its last entry, as when unpacking.
        let by_name: BTreeMap<&str, &Option<Bytes>> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes)).collect();
        let mut by_frame: HashMap<(&str, &str), Vec<Candidate<'_>>> = HashMap::new();
        for (file, bytes) in by_name {
            if let Some(parsed) = name::parse(file) {
                let found = Candidate { file, sizes: parsed.sizes, bytes };
                by_frame.entry((parsed.track, parsed.frame)).or_default().push(found);
            }
        }
        for track in &meta.tracks {
            let mut frames = Vec::with_capacity(usize::try_from(track.len).unwrap_or(0));
            let mut seen = HashSet::new();
            for (place, frame) in track.frames().enumerate() {
                let pattern = format!("{frame}.{}.x_*.jpg", track.name);
                if !seen.insert(frame) {
                    let detail = format!("{META_FILE} lists frame {frame} of this track twice");
                    all.rejects.push(reject(&track.name, &pattern, "duplicate-frame", detail));
                    continue;
                }
                let Some(found) = by_frame.get(&(track.name.as_str(), frame)) else {
                    let detail = format!("{META_FILE} lists this frame, but there is no such file");
                    all.rejects.push(reject(&track.name, &pattern, "missing-file", detail));
                    continue;
                };
                for (rank, candidate) in found.iter().enumerate() {
                    if rank > 0 {
                        let detail = "another file is already used for this frame of this track".to_owned();
                        all.rejects.push(reject(&track.name, candidate.file, "duplicate-file", detail));
                        continue;
                    }
                    match self.frame(candidate, frame, place, &meta.name, &mut all.dropped) {
                        Ok(Some(frame)) => frames.push(frame),
                        Ok(None) => {}
                        Err((reason, detail)) => {
                            all.rejects.push(reject(&track.name, candidate.file, reason, detail.to_owned()));
                        }
                    }
                }
            }
            for (name, frames) in pieces(&track.name, frames, |f: &Frame| f.number, &self.config, &mut all.dropped) {
                all.tracks.push(Track { name, class: String::new(), frames });
            }
        }
        all
    }

    /// The frame of a file; nothing if its target is filtered out.
    fn frame(
        &self,
        found: &Candidate<'_>,
        frame: &str,
        place: usize,
        video: &str,
        dropped: &mut Dropped,
    ) -> Result<Option<Frame>, (&'static str, &'static str)> {
        let sizes = found.sizes.map_err(|detail| ("bad-name", detail))?;
        let bytes = found.bytes.clone().ok_or((spool::SPECIAL, "it is a link, a device or far too large"))?;
        let (w, h) = (sizes.w, sizes.h);
        if w.max(h) > CROP_PX as f32 {
            return Err(("bad-box", "the target in its name is larger than the crop"));
        }
        // The frame's own pixels are gone: only the shape can be judged.
        if f64::from((w / h).min(h / w)) < self.config.min_aspect {
            dropped.count(Unwanted::Aspect);
            return Ok(None);
        }
        Ok(Some(Frame {
            number: name::frame_number(frame).unwrap_or(u32::try_from(place).unwrap_or(u32::MAX)),
            time_ms: -1,
            flags: 0,
            path: format!("{video}/{}", found.file),
            bytes,
            target: Target::Centred { side: CROP_PX as u16, w, h, frame_w: sizes.frame_w, frame_h: sizes.frame_h },
        }))
    }

    /// The files of a video's folder, in any order.
    fn files(&self, number: usize, video: &str, shard: &ShardFiles) -> std::io::Result<Vec<Found>> {
        let part = |file: &Arc<File>, place: Option<(u64, u32)>| {
            place.map(|(offset, len)| Bytes::Range { file: Arc::clone(file), offset, len })
        };
        // A folder that does not exist has no files: each of its frames is then reported as missing.
        match &self.form {
            Form::Folder => {
                let mut files = Vec::new();
                let entries = match fs::read_dir(self.catalog.path.join(video)) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
                    entries => entries?,
                };
                for entry in entries {
                    let entry = entry?;
                    // Names that are not UTF-8 are none of the corpus'.
                    let Ok(name) = entry.file_name().into_string() else { continue };
                    let regular = entry.file_type()?.is_file();
                    files.push((name, regular.then(|| Bytes::Path(entry.path()))));
                }
                Ok(files)
            }
            Form::Tar { index, root } => {
                let listing = index.folders.get(&format!("{root}{video}"));
                let files = listing.into_iter().flat_map(archive::Listing::iter);
                Ok(files.map(|(name, place)| (name.to_owned(), part(&index.file, place))).collect())
            }
            Form::Stream { .. } => Ok(shard.of(number).map(|(name, bytes)| (name.to_owned(), bytes)).collect()),
        }
    }

    /// Refused entries of the archive as rejects.
    fn refused(&self, odd: Vec<Odd>, root: &str) -> Vec<schemas::manifest::Reject> {
        let reject = |odd: Odd| {
            let path = odd.path.strip_prefix(root).unwrap_or(&odd.path).to_owned();
            let dataset = self.label.as_deref().unwrap_or_else(|| label_of(&path));
            meta::reject(dataset, "", "", path, odd.reason, odd.detail)
        };
        odd.into_iter().map(reject).collect()
    }
}

impl Origin for Corpus {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn tracks(&self, video: usize, shard: &ShardFiles) -> Tracks {
        self.list(video, shard)
    }

    fn stream(&self) -> Option<&Stream> {
        match &self.form {
            Form::Stream { stream, .. } => Some(stream),
            _ => None,
        }
    }

    fn spool(&mut self, job: &SpoolJob<'_>) -> Result<(), IngestError> {
        let Form::Stream { stream, root } = &mut self.form else { return Ok(()) };
        let root = root.clone();
        let numbers: HashMap<&str, usize> = self.meta.iter().zip(0..).map(|(v, i)| (v.name.as_str(), i)).collect();
        let place = |path: &str| {
            let (video, name) = path.strip_prefix(root.as_str())?.split_once('/')?;
            let number = *numbers.get(video)?;
            let shard = job.shard_of.get(number).copied().flatten()?;
            // Only crops are kept: other files beside them are not asked for.
            name::parse(name)?;
            Some((shard, u32::try_from(number).ok()?, name.to_owned()))
        };
        let odd = stream.fill(job, &place)?;
        self.catalog.rejects = self.refused(odd, &root);
        Ok(())
    }
}

/// A file that may be the crop of a frame.
struct Candidate<'a> {
    file: &'a str,
    sizes: Result<name::Sizes, &'static str>,
    bytes: &'a Option<Bytes>,
}

/// The two parts of the corpus have different frame rates, so they are kept apart.
fn label_of(video: &str) -> &'static str {
    if video.starts_with("ILSVRC") { "vid" } else { "ytbb" }
}

fn read_meta(folder: &Path) -> Result<Vec<u8>, IngestError> {
    let path = folder.join(META_FILE);
    let len = match fs::metadata(&path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let reason = format!(
                "it has no {META_FILE}; that file lists the videos and tracks: name the folder that holds it \
                 beside the video folders, or the corpus' archive"
            );
            return Err(archive::wrong(SourceKind::Crops, folder, reason));
        }
        Err(source) => return Err(IngestError::Io { action: "read", path, source }),
    };
    if len > MAX_META_BYTES {
        let reason = format!("its {META_FILE} has {len} bytes, at most {MAX_META_BYTES} are accepted");
        return Err(archive::wrong(SourceKind::Crops, folder, reason));
    }
    fs::read(&path).map_err(IngestError::io("read", &path))
}

/// The folder of `meta_data.pkl` with a final slash (or nothing), if `path` is that file at most one folder deep.
fn root_of(path: &str) -> Option<String> {
    let folder = path.strip_suffix(META_FILE)?;
    let plain = folder.is_empty() || (folder.ends_with('/') && folder.matches('/').count() == 1);
    plain.then(|| folder.to_owned())
}

/// Reads a compressed archive up to its `meta_data.pkl`: the corpus' folder inside it, and the file's bytes.
fn find_meta(path: &Path, packing: Packing) -> Result<(String, Vec<u8>), IngestError> {
    let mut found = None;
    archive::walk(path, SourceKind::Crops, packing, &Arc::new(AtomicU64::new(0)), |item, len, entry| {
        if let Item::File(full) = &item
            && let Some(root) = root_of(full)
        {
            found = Some((root, packed_meta(path, len, entry)?));
        }
        Ok(found.is_none())
    })?;
    found.ok_or_else(|| no_meta(path))
}

fn packed_meta(path: &Path, len: u64, entry: &mut dyn Read) -> Result<Vec<u8>, IngestError> {
    if len > MAX_META_BYTES {
        let reason = format!("its {META_FILE} has {len} bytes, at most {MAX_META_BYTES} are accepted");
        return Err(archive::wrong(SourceKind::Crops, path, reason));
    }
    let mut bytes = Vec::new();
    let read = entry.read_to_end(&mut bytes);
    read.map_err(|error| archive::damaged(SourceKind::Crops, path, META_FILE, &error.to_string()))?;
    Ok(bytes)
}

fn no_meta(path: &Path) -> IngestError {
    let reason = format!(
        "it has no {META_FILE} at its top or one folder below; that file lists the videos and tracks, put it beside the video folders"
    );
    archive::wrong(SourceKind::Crops, path, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_may_lie_one_folder_deep() {
        assert_eq!(root_of("meta_data.pkl").as_deref(), Some(""));
        assert_eq!(root_of("ytb_vid_filter/meta_data.pkl").as_deref(), Some("ytb_vid_filter/"));
        assert_eq!(root_of("a/b/meta_data.pkl"), None);
        assert_eq!(root_of("not_meta_data.pkl"), None);
    }
}
