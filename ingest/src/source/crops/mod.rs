//! The corpus of ready-made crops: `<video>/<frame>.<track>.x_<w>_<h>_<W>_<H>.jpg` and `meta_data.pkl`.
//!
//! Crops are 500x500 px with the target in the centre. `meta_data.pkl` decides which files belong to the corpus and
//! in which order; the sizes stand in the file names.

pub mod archive;
pub mod meta;
pub mod name;
pub mod spool;

use super::remote;
use super::{Bytes, Dropped, Frame, Label, SourceKind, SourceSpec, Target, Track, Tracks, Video, source_name};
use crate::error::IngestError;
use archive::{Index, Odd, Packing};
use meta::{MAX_META_BYTES, META_FILE, MetaVideo};
use schemas::build::BuildConfig;
use schemas::manifest::Reject;
use shards::store::is_url;
use spool::{Spool, SpooledFiles};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Side of the corpus' crops, px.
pub const CROP_PX: u32 = 500;

/// Where the files are.
#[derive(Debug)]
enum Form {
    Folder,
    Tar(Index),
    Stream { packing: Packing, root: String, spool: Option<Spool> },
}

/// A file of a video: its bytes, unless it is not a regular file.
type Found = (String, Option<Bytes>);

/// What is needed to list the videos of one shard.
#[derive(Debug, Default)]
pub struct ShardFiles {
    spooled: Option<(Arc<File>, HashMap<u32, SpooledFiles>)>,
}

/// The corpus, with its videos and tracks known.
#[derive(Debug)]
pub struct Corpus {
    path: PathBuf,
    label: Option<String>,
    labels: Vec<Label>,
    videos: Vec<Video>,
    meta: Vec<MetaVideo>,
    form: Form,
    rejects: Vec<Reject>,
    min_aspect: f64,
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
        let (form, bytes) = if spec.path.is_dir() {
            (Form::Folder, read_meta(&spec.path)?)
        } else {
            match Packing::of(&spec.path)? {
                // In object storage even a plain archive is read once, from its beginning.
                Packing::Tar if !is_url(&spec.path) => {
                    let mut index = archive::index(&spec.path)?;
                    let bytes = std::mem::take(&mut index.meta);
                    (Form::Tar(index), bytes)
                }
                packing => {
                    let (root, bytes) = archive::find_meta(&spec.path, packing)?;
                    (Form::Stream { packing, root, spool: None }, bytes)
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
        let path = spec.path.clone();
        let (label, min_aspect) = (spec.label.clone(), config.min_aspect);
        let mut corpus = Self { path, label, labels, videos, meta, form, rejects: Vec::new(), min_aspect };
        if let Form::Tar(index) = &mut corpus.form {
            let (odd, root) = (std::mem::take(&mut index.odd), index.root.clone());
            corpus.rejects = corpus.refused(odd, &root);
        }
        Ok(corpus)
    }

    /// Its labels in order.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Its videos by name.
    #[must_use]
    pub fn videos(&self) -> &[Video] {
        &self.videos
    }

    /// Entries of the archive that were refused.
    #[must_use]
    pub fn rejects(&self) -> &[Reject] {
        &self.rejects
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it must be spooled before shards can be built, and how many bytes are then read.
    #[must_use]
    pub fn streams(&self) -> Option<u64> {
        matches!(self.form, Form::Stream { .. }).then(|| remote::size(&self.path))
    }

    /// Reads a compressed archive into spool files, if it is one. `shard_of` gives the shard of each video.
    ///
    /// # Errors
    /// When the archive is damaged or the spool cannot be written.
    pub fn spool(
        &mut self,
        dir: &Path,
        plan: &str,
        wanted: &[u32],
        shard_of: &[Option<u32>],
        passed: &Arc<AtomicU64>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), IngestError> {
        let Form::Stream { packing, root, spool } = &mut self.form else { return Ok(()) };
        let (packing, root) = (*packing, root.clone());
        let here = spool.insert(Spool::new(dir.to_owned())).clone();
        let numbers: HashMap<&str, usize> = self.meta.iter().zip(0..).map(|(v, i)| (v.name.as_str(), i)).collect();
        let place = |path: &str| {
            let (video, name) = path.strip_prefix(root.as_str())?.split_once('/')?;
            let number = *numbers.get(video)?;
            let shard = shard_of.get(number).copied().flatten()?;
            // Only crops are kept: other files beside them are not asked for.
            name::parse(name)?;
            Some((shard, u32::try_from(number).ok()?, name.to_owned()))
        };
        let odd = here.fill(&self.path, packing, plan, wanted, passed, stopped, &place)?;
        self.rejects = self.refused(odd, &root);
        Ok(())
    }

    /// Prepares the listing of the videos of one shard.
    ///
    /// # Errors
    /// When its spool cannot be read.
    pub fn open_shard(&self, shard: u32) -> Result<ShardFiles, IngestError> {
        match &self.form {
            Form::Stream { spool: Some(spool), .. } => Ok(ShardFiles { spooled: Some(spool.open(shard)?) }),
            _ => Ok(ShardFiles::default()),
        }
    }

    /// Gives back what [`Corpus::open_shard`] needed, once the shard is finished.
    pub fn close_shard(&self, shard: u32) {
        if let Form::Stream { spool: Some(spool), .. } = &self.form {
            spool.remove(shard);
        }
    }

    /// The tracks of video number `video`: what `meta_data.pkl` lists, matched with the files that exist.
    #[must_use]
    pub fn tracks(&self, video: usize, shard: &ShardFiles) -> Tracks {
        let mut all = Tracks::default();
        let (Some(meta), Some(known)) = (self.meta.get(video), self.videos.get(video)) else { return all };
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
            if !frames.is_empty() {
                all.tracks.push(Track { name: track.name.clone(), class: String::new(), frames });
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
        if f64::from((w / h).min(h / w)) < self.min_aspect {
            dropped.filtered += 1;
            return Ok(None);
        }
        Ok(Some(Frame {
            number: name::frame_number(frame).unwrap_or(u32::try_from(place).unwrap_or(u32::MAX)),
            time_ms: -1,
            flags: 0,
            path: format!("{video}/{}", found.file),
            bytes,
            target: Target::Centred { w, h, frame_w: sizes.frame_w, frame_h: sizes.frame_h },
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
                let entries = match fs::read_dir(self.path.join(video)) {
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
            Form::Tar(index) => {
                let listing = index.folders.get(&format!("{}{video}", index.root));
                let files = listing.into_iter().flat_map(archive::Listing::iter);
                Ok(files.map(|(name, place)| (name.to_owned(), part(&index.file, place))).collect())
            }
            Form::Stream { .. } => {
                let Some((file, videos)) = &shard.spooled else { return Ok(Vec::new()) };
                let number = u32::try_from(number).map_err(std::io::Error::other)?;
                let files = videos.get(&number).into_iter().flatten();
                Ok(files.map(|(name, place)| (name.clone(), part(file, *place))).collect())
            }
        }
    }

    /// Refused entries of the archive as rejects.
    fn refused(&self, odd: Vec<Odd>, root: &str) -> Vec<Reject> {
        let reject = |odd: Odd| {
            let path = odd.path.strip_prefix(root).unwrap_or(&odd.path).to_owned();
            let dataset = self.label.as_deref().unwrap_or_else(|| label_of(&path));
            meta::reject(dataset, "", "", path, odd.reason, odd.detail)
        };
        odd.into_iter().map(reject).collect()
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
            return Err(archive::wrong(folder, reason));
        }
        Err(source) => return Err(IngestError::Io { action: "read", path, source }),
    };
    if len > MAX_META_BYTES {
        let reason = format!("its {META_FILE} has {len} bytes, at most {MAX_META_BYTES} are accepted");
        return Err(archive::wrong(folder, reason));
    }
    fs::read(&path).map_err(IngestError::io("read", &path))
}
