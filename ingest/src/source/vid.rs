//! ImageNet VID: `Data/VID/<split>/.../<video>/%06d.JPEG` and as many XML files under `Annotations/VID`.
//!
//! The last folder is the video, `trackid` the track, the WordNet id the class. Boxes count whole pixels, both ends
//! included. A folder is read in place, a `.tar` by offset; `.tar.gz` and `.tar.zst` are read twice, once for the
//! annotations and once to spool the pictures.

use super::archive::{self, Index, Item, Odd, Packing};
use super::limits::{self, Dropped, checked_box, pieces};
use super::spool::{ShardFiles, SpoolJob, Stream};
use super::xml::{self, Annotation, MAX_XML_BYTES};
use super::{Bytes, Catalog, Frame, Origin, SourceKind, SourceSpec, Target, Track, Tracks, Video, source_name};
use crate::error::IngestError;
use rayon::prelude::*;
use schemas::build::BuildConfig;
use schemas::manifest::Reject;
use schemas::shard::{FLAG_GENERATED, FLAG_OCCLUDED};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use walkdir::WalkDir;

const ANNOTATIONS: &str = "Annotations/VID/";
const DATA: &str = "Data/VID/";

/// Where the pictures are; `root` is the folder that holds `Data`, with a final slash, or empty.
#[derive(Debug)]
enum Form {
    Folder(PathBuf),
    Tar { index: Index, root: String },
    Stream { stream: Stream, root: String },
}

/// An annotated frame of a track: 24 bytes each, for a million of them.
#[derive(Debug, Clone, Copy)]
struct Shot {
    frame: u32,
    flags: u8,
    /// cx, cy, w, h in frame px.
    target: [f32; 4],
}

#[derive(Debug)]
struct Clip {
    /// Its folder below `Data/VID/`.
    folder: String,
    tracks: Vec<(String, String, Vec<Shot>)>,
    rejects: Vec<Reject>,
    dropped: Dropped,
}

/// Annotations of a folder by the stem of their file.
type Listed = Vec<(String, Result<Annotation, String>)>;

/// ImageNet VID with its annotations read.
#[derive(Debug)]
pub struct Vid {
    catalog: Catalog,
    clips: Vec<Clip>,
    form: Form,
}

impl Vid {
    /// Reads every annotation.
    ///
    /// # Errors
    /// When there is no `Annotations/VID`, or the archive is damaged.
    pub fn open(spec: &SourceSpec, config: &BuildConfig) -> Result<Self, IngestError> {
        let name = source_name(&spec.path)?;
        let dataset = spec.label.clone().unwrap_or_else(|| "vid".to_owned());
        let mut odd = Vec::new();
        let (form, folders) = if spec.path.is_dir() {
            from_folder(spec)?
        } else {
            match Packing::of(&spec.path, SourceKind::Vid)? {
                Packing::Tar => from_tar(spec, &mut odd)?,
                packing => from_stream(spec, packing)?,
            }
        };
        if folders.is_empty() {
            return Err(spec.wrong(format!(
                "there is no {ANNOTATIONS} with XML files in it; name the folder (or archive) that holds Annotations \
                 and Data"
            )));
        }
        let mut clips: Vec<(String, Clip)> = folders
            .into_par_iter()
            .map(|(folder, listed)| {
                let video = folder.rsplit('/').next().unwrap_or(&folder).to_owned();
                let clip = clip(&dataset, &video, folder, listed, config);
                (video, clip)
            })
            .collect();
        clips.sort_by(|a, b| (&a.0, &a.1.folder).cmp(&(&b.0, &b.1.folder)));
        let mut catalog = Catalog { path: spec.path.clone(), ..Catalog::default() };
        catalog.labels.push(spec.frames_label(dataset.clone(), &name, config));
        catalog.rejects = refused(odd, &dataset);
        let mut kept: Vec<Clip> = Vec::with_capacity(clips.len());
        for (video, mut clip) in clips {
            if catalog.videos.last().is_some_and(|last| last.name == video) {
                let detail = "another folder has a video of this name".to_owned();
                catalog.rejects.push(reject(&dataset, &video, "", clip.folder, "duplicate-video", detail));
                continue;
            }
            let rows = clip.tracks.iter().map(|(_, _, shots)| shots.len() as u64).sum();
            if rows == 0 {
                catalog.rejects.append(&mut clip.rejects);
                catalog.dropped.add(clip.dropped);
            }
            let tracks = clip.tracks.len() as u64;
            catalog.videos.push(Video { dataset: dataset.clone(), name: video, tracks, rows });
            kept.push(clip);
        }
        Ok(Self { catalog, clips: kept, form })
    }
}

/// The tracks of one video, from the annotations of its frames.
fn clip(dataset: &str, video: &str, folder: String, mut listed: Listed, config: &BuildConfig) -> Clip {
    listed.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut rejects, mut dropped) = (Vec::new(), Dropped::default());
    let mut all: BTreeMap<(String, String), Vec<Shot>> = BTreeMap::new();
    for (stem, read) in listed {
        let mut refuse = |track: &str, reason: &str, detail: String| {
            rejects.push(reject(dataset, video, track, format!("{ANNOTATIONS}{folder}/{stem}.xml"), reason, detail));
        };
        let number = stem.parse::<u32>().ok().filter(|n| format!("{n:06}") == stem);
        let Some(frame) = number else {
            refuse("", "bad-name", "the name is not a frame number of six digits".to_owned());
            continue;
        };
        let annotation = match read {
            Ok(annotation) => annotation,
            Err(detail) => {
                refuse("", "bad-xml", detail);
                continue;
            }
        };
        for object in annotation.objects {
            let Some(track) = object.track.parse::<u32>().ok().map(|n| format!("{n:02}")) else {
                refuse("", "bad-track", format!("the trackid {:?} is no number", short(&object.track)));
                continue;
            };
            let [x0, y0, x1, y1] = object.bounds;
            // Both ends are pixels of the target, so its right edge lies one further.
            let target = match checked_box([x0, y0, x1 + 1.0, y1 + 1.0], annotation.size, false) {
                Ok(target) => target,
                Err((reason, detail)) => {
                    refuse(&track, reason, detail);
                    continue;
                }
            };
            let flags =
                if object.occluded { FLAG_OCCLUDED } else { 0 } | if object.generated { FLAG_GENERATED } else { 0 };
            let unwanted =
                limits::flags(flags, config).or_else(|| limits::shape(target[2], target[3], annotation.size, config));
            if let Some(why) = unwanted {
                dropped.count(why);
                continue;
            }
            let shots = all.entry((track.clone(), short(&object.class))).or_default();
            if shots.last().is_some_and(|last| last.frame == frame) {
                refuse(&track, "duplicate-frame", "this file has the track twice".to_owned());
                continue;
            }
            shots.push(Shot { frame, flags, target: target.map(|v| v as f32) });
        }
    }
    let mut tracks = Vec::with_capacity(all.len());
    let mut last = String::new();
    for ((track, class), shots) in all {
        // A track whose class changes is two targets; the first, by class, keeps the name.
        let name = if track == last { format!("{track}-{class}") } else { track.clone() };
        last = track;
        for (name, shots) in pieces(&name, shots, |shot| shot.frame, config, &mut dropped) {
            tracks.push((name, class.clone(), shots));
        }
    }
    Clip { folder, tracks, rejects, dropped }
}

/// Text from outside that goes into names and messages.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn reject(dataset: &str, video: &str, track: &str, path: String, reason: &str, detail: String) -> Reject {
    let [dataset, video, track, reason] = [dataset, video, track, reason].map(str::to_owned);
    Reject { dataset, video, track, path, reason, detail }
}

fn refused(odd: Vec<Odd>, dataset: &str) -> Vec<Reject> {
    odd.into_iter().map(|odd| reject(dataset, "", "", odd.path, odd.reason, odd.detail)).collect()
}

fn read(bytes: &Bytes, len: u64) -> Result<Annotation, String> {
    if len > MAX_XML_BYTES {
        return Err(format!("{len} bytes are too many for an annotation"));
    }
    xml::parse(&bytes.read().map_err(|error| format!("it cannot be read: {error}"))?)
}

/// Folder below `Annotations/VID/` and stem of an annotation's path.
fn place(inner: &str) -> Option<(&str, &str)> {
    inner.strip_suffix(".xml")?.rsplit_once('/')
}

fn from_folder(spec: &SourceSpec) -> Result<(Form, BTreeMap<String, Listed>), IngestError> {
    let roots = ["", "ILSVRC2015", "ILSVRC"].map(|folder| spec.path.join(folder));
    let root = roots.into_iter().find(|root| root.join(ANNOTATIONS).is_dir()).unwrap_or_else(|| spec.path.clone());
    let top = root.join(ANNOTATIONS);
    let mut files = Vec::new();
    for entry in WalkDir::new(&top).follow_links(true).into_iter().flatten() {
        let Some(inner) = entry.path().strip_prefix(&top).ok().and_then(|inner| inner.to_str()) else { continue };
        if let Some((folder, stem)) = place(inner).filter(|_| entry.file_type().is_file()) {
            files.push((folder.to_owned(), stem.to_owned(), entry.path().to_owned()));
        }
    }
    let parsed: Vec<(String, String, Result<Annotation, String>)> = files
        .into_par_iter()
        .map(|(folder, stem, path)| {
            let len = path.metadata().map_or(0, |meta| meta.len());
            let annotation = read(&Bytes::Path(path), len);
            (folder, stem, annotation)
        })
        .collect();
    Ok((Form::Folder(root.join(DATA)), by_folder(parsed)))
}

fn by_folder(
    parsed: impl IntoIterator<Item = (String, String, Result<Annotation, String>)>,
) -> BTreeMap<String, Listed> {
    let mut folders: BTreeMap<String, Listed> = BTreeMap::new();
    for (folder, stem, annotation) in parsed {
        folders.entry(folder).or_default().push((stem, annotation));
    }
    // A name that occurs twice in an archive stands for its last entry, as when unpacking.
    for listed in folders.values_mut() {
        listed.reverse();
        listed.sort_by(|a, b| a.0.cmp(&b.0));
        listed.dedup_by(|a, b| a.0 == b.0);
    }
    folders
}

/// Where `Annotations/VID/` begins in an archive's path: what stands before it, and what behind.
fn split_root(path: &str) -> Option<(&str, &str)> {
    let at = path.find(ANNOTATIONS).filter(|at| *at == 0 || path.as_bytes().get(at - 1) == Some(&b'/'))?;
    Some((path.get(..at)?, path.get(at + ANNOTATIONS.len()..)?))
}

fn from_tar(spec: &SourceSpec, odd: &mut Vec<Odd>) -> Result<(Form, BTreeMap<String, Listed>), IngestError> {
    let mut index = archive::index(&spec.path, SourceKind::Vid, &mut |_, _, _| Ok(false))?;
    *odd = std::mem::take(&mut index.odd);
    let prefixed = index.folders.keys().filter_map(|folder| split_root(folder).map(|(root, _)| root));
    let root = prefixed.min().unwrap_or_default().to_owned();
    let start = format!("{root}{ANNOTATIONS}");
    let mut files = Vec::new();
    for (folder, listing) in &index.folders {
        let Some(folder) = folder.strip_prefix(&start) else { continue };
        files.extend(listing.iter().filter_map(|(name, at)| Some((folder, name.strip_suffix(".xml")?, at))));
    }
    let parsed: Vec<_> = files
        .into_par_iter()
        .map(|(folder, stem, at)| {
            let annotation = match at {
                Some((offset, len)) => {
                    read(&Bytes::Range { file: Arc::clone(&index.file), offset, len }, u64::from(len))
                }
                None => Err("it is not a regular file".to_owned()),
            };
            (folder.to_owned(), stem.to_owned(), annotation)
        })
        .collect();
    let folders = by_folder(parsed);
    Ok((Form::Tar { index, root }, folders))
}

fn from_stream(spec: &SourceSpec, packing: Packing) -> Result<(Form, BTreeMap<String, Listed>), IngestError> {
    let mut parsed = Vec::new();
    let passed = Arc::new(AtomicU64::new(0));
    archive::walk(&spec.path, SourceKind::Vid, packing, &passed, |item, len, entry| {
        let (Item::File(path) | Item::Special(path, _)) = &item else { return Ok(true) };
        let Some((root, inner)) = split_root(path) else { return Ok(true) };
        let Some((folder, stem)) = place(inner) else { return Ok(true) };
        let annotation = if matches!(item, Item::Special(..)) {
            Err("it is not a regular file".to_owned())
        } else if len > MAX_XML_BYTES {
            Err(format!("{len} bytes are too many for an annotation"))
        } else {
            let mut bytes = Vec::new();
            let copied = entry.read_to_end(&mut bytes);
            copied.map_err(|error| archive::damaged(SourceKind::Vid, &spec.path, path, &error.to_string()))?;
            xml::parse(&bytes)
        };
        parsed.push((root.to_owned(), folder.to_owned(), stem.to_owned(), annotation));
        Ok(true)
    })?;
    let root = parsed.iter().map(|(root, ..)| root.clone()).min().unwrap_or_default();
    let own = parsed.into_iter().filter(|(other, ..)| *other == root);
    let folders = by_folder(own.map(|(_, folder, stem, annotation)| (folder, stem, annotation)));
    Ok((Form::Stream { stream: Stream::new(SourceKind::Vid, &spec.path, packing), root }, folders))
}

impl Origin for Vid {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn tracks(&self, video: usize, shard: &ShardFiles) -> Tracks {
        let (Some(clip), Some(known)) = (self.clips.get(video), self.catalog.videos.get(video)) else {
            return Tracks::default();
        };
        let mut all = Tracks { rejects: clip.rejects.clone(), dropped: clip.dropped, tracks: Vec::new() };
        let files: HashMap<&str, Option<Bytes>> = match &self.form {
            Form::Folder(_) => HashMap::new(),
            Form::Tar { index, root } => {
                let listing = index.folders.get(&format!("{root}{DATA}{}", clip.folder));
                let bytes = |(offset, len)| Bytes::Range { file: Arc::clone(&index.file), offset, len };
                listing.into_iter().flat_map(archive::Listing::iter).map(|(n, at)| (n, at.map(bytes))).collect()
            }
            Form::Stream { .. } => shard.of(video).collect(),
        };
        for (name, class, shots) in &clip.tracks {
            let mut frames = Vec::with_capacity(shots.len());
            for shot in shots {
                let file = format!("{:06}.JPEG", shot.frame);
                let path = format!("{DATA}{}/{file}", clip.folder);
                let bytes = match &self.form {
                    Form::Folder(root) => Some(Some(Bytes::Path(root.join(&clip.folder).join(&file)))),
                    _ => files.get(file.as_str()).cloned(),
                };
                let bytes = match bytes {
                    Some(Some(bytes)) => bytes,
                    missing => {
                        let (reason, detail) = match missing {
                            None => ("missing-file", "there is no such file"),
                            Some(_) => ("not-a-regular-file", "it is a link, a device or far too large"),
                        };
                        all.rejects.push(reject(&known.dataset, &known.name, name, path, reason, detail.to_owned()));
                        continue;
                    }
                };
                let target = Target::InFrame(shot.target.map(f64::from));
                frames.push(Frame { number: shot.frame, time_ms: -1, flags: shot.flags, path, bytes, target });
            }
            if !frames.is_empty() {
                all.tracks.push(Track { name: name.clone(), class: class.clone(), frames });
            }
        }
        all
    }

    fn stream(&self) -> Option<&Stream> {
        match &self.form {
            Form::Stream { stream, .. } => Some(stream),
            _ => None,
        }
    }

    fn spool(&mut self, job: &SpoolJob<'_>) -> Result<(), IngestError> {
        let Form::Stream { stream, root } = &mut self.form else { return Ok(()) };
        let numbers: HashMap<&str, usize> = self.clips.iter().zip(0..).map(|(c, i)| (c.folder.as_str(), i)).collect();
        let start = format!("{root}{DATA}");
        let place = |path: &str| {
            let (folder, name) = path.strip_prefix(start.as_str())?.rsplit_once('/')?;
            let number = *numbers.get(folder)?;
            let shard = job.shard_of.get(number).copied().flatten()?;
            name.ends_with(".JPEG").then_some(())?;
            Some((shard, u32::try_from(number).ok()?, name.to_owned()))
        };
        let odd = stream.fill(job, &place)?;
        let dataset = self.catalog.labels.first().map_or("", |label| label.dataset.as_str());
        let odd = refused(odd, dataset);
        // Told once, however often the archive is spooled.
        self.catalog.rejects.retain(|own| !odd.contains(own));
        self.catalog.rejects.extend(odd);
        Ok(())
    }
}
