//! YouTube-BoundingBoxes: the detection lists, and frames that the user extracted.
//!
//! A segment is (video, class, object): it becomes one track, named by class and object with three digits each, as in
//! the corpus of crops. Boxes are shares of the frame, whose size is known when its picture is read. One frame a
//! second is annotated; the frame number is the whole second, `time_ms` is exact.

pub mod csv;
pub mod pattern;

use super::limits::{Dropped, Unwanted, checked_box, pieces};
use super::spool::ShardFiles;
use super::{Bytes, Catalog, Frame, Origin, SourceSpec, Target, Track, Tracks, Video, source_name};
use crate::error::IngestError;
use csv::Row;
use pattern::Pattern;
use rayon::prelude::*;
use schemas::build::BuildConfig;
use schemas::manifest::Reject;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// A line of the lists, 32 bytes each, for millions of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Mark {
    video: u32,
    ms: u32,
    class: u16,
    object: u16,
    split: u8,
    present: bool,
    /// As shares of the frame: xmin, ymin, xmax, ymax as listed; cx, cy, w, h once judged.
    target: [f32; 4],
}

/// The lists, read, with the frames that exist.
#[derive(Debug)]
pub struct Ytbb {
    catalog: Catalog,
    pattern: Pattern,
    splits: Vec<String>,
    classes: BTreeMap<u16, String>,
    /// Marks of each video, by track and time.
    marks: Vec<Vec<Mark>>,
    faults: Vec<(Vec<Reject>, Dropped)>,
    config: BuildConfig,
}

impl Ytbb {
    /// Reads every list and looks for the frames.
    ///
    /// # Errors
    /// When there is no list, or it is not one.
    pub fn open(spec: &SourceSpec, config: &BuildConfig) -> Result<Self, IngestError> {
        let pattern = Pattern::parse(&config.frame_pattern)
            .map_err(|reason| IngestError::Config { path: None, reason: format!("frame_pattern: {reason}") })?;
        let name = source_name(&spec.path)?;
        let (root, lists) = lists(spec)?;
        let dataset = spec.label.clone().unwrap_or_else(|| "ytbb".to_owned());
        let mut read = Lists::default();
        let mut catalog = Catalog { path: root, ..Catalog::default() };
        for (number, (split, path)) in (0u8..).zip(&lists) {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            csv::read(spec, path, &mut |line| match line {
                Ok(row) => read.take(&row, number),
                Err(bad) => {
                    let path = format!("{file}:{}", bad.line);
                    catalog.rejects.push(reject(&dataset, "", "", path, "bad-line", bad.detail));
                }
            })?;
            read.splits.push(split.clone());
        }
        let videos = read.by_video();
        let found = existing(&catalog.path, &pattern, &read.splits, &videos);
        let mut set = Self {
            catalog,
            pattern,
            splits: read.splits,
            classes: read.classes,
            marks: Vec::new(),
            faults: Vec::new(),
            config: config.clone(),
        };
        let judged: Vec<_> =
            videos.into_par_iter().map(|(id, lines)| set.judge(&dataset, &id, lines, &found)).collect();
        for (video, marks, mut rejects, dropped) in judged {
            if video.rows == 0 {
                set.catalog.rejects.append(&mut rejects);
                set.catalog.dropped.add(dropped);
            }
            set.catalog.videos.push(video);
            set.marks.push(marks);
            set.faults.push((rejects, dropped));
        }
        set.catalog.labels.push(spec.frames_label(dataset, &name, config));
        Ok(set)
    }

    /// Which lines of a video become rows.
    fn judge(
        &self,
        dataset: &str,
        id: &str,
        lines: Vec<Mark>,
        found: &Existing,
    ) -> (Video, Vec<Mark>, Vec<Reject>, Dropped) {
        let (mut rejects, mut dropped, mut marks) = (Vec::new(), Dropped::default(), Vec::<Mark>::new());
        let (mut wanted, mut missing) = (0u64, Vec::new());
        for mark in lines {
            if !mark.present {
                dropped.count(Unwanted::Absent);
                continue;
            }
            wanted += 1;
            let path = self.path(id, &mark);
            let mut refuse = |reason: &str, detail: String| {
                rejects.push(reject(dataset, id, &track_name(&mark), path.clone(), reason, detail));
            };
            let target = match checked_box(mark.target.map(f64::from), Some([1.0, 1.0]), true) {
                Ok(target) => target.map(|v| v as f32),
                Err((reason, detail)) => {
                    refuse(reason, detail);
                    continue;
                }
            };
            if marks.last().is_some_and(|last| segment(last) == segment(&mark) && last.ms == mark.ms) {
                refuse("duplicate-frame", "the list has this object at this time twice".to_owned());
            } else if !found.has(&path) {
                missing.push(reject(
                    dataset,
                    id,
                    &track_name(&mark),
                    path,
                    "missing-file",
                    "there is no such file".to_owned(),
                ));
            } else {
                marks.push(Mark { target, ..mark });
            }
        }
        if missing.len() as u64 == wanted && missing.len() > 1 {
            // Videos vanish as a whole, by the ten thousand: one line each.
            let path = missing.first().map(|first| first.path.clone()).unwrap_or_default();
            let detail = format!("none of its {wanted} frames is there");
            rejects.push(reject(dataset, id, "", path, "missing-video", detail));
        } else {
            rejects.append(&mut missing);
        }
        let mut kept = Vec::with_capacity(marks.len());
        let mut tracks = 0;
        for (_, run) in self.tracks_of(&marks, &mut dropped) {
            tracks += 1;
            kept.extend(run);
        }
        let video = Video { dataset: dataset.to_owned(), name: id.to_owned(), tracks, rows: kept.len() as u64 };
        (video, marks, rejects, dropped)
    }

    fn path(&self, id: &str, mark: &Mark) -> String {
        self.pattern.fill(self.splits.get(usize::from(mark.split)).map_or("", String::as_str), id, mark)
    }

    /// Marks grouped by segment and cut at gaps.
    fn tracks_of(&self, marks: &[Mark], dropped: &mut Dropped) -> Vec<(String, Vec<Mark>)> {
        let mut all = Vec::new();
        for run in marks.chunk_by(|a, b| segment(a) == segment(b)) {
            let Some(first) = run.first() else { continue };
            all.extend(pieces(&track_name(first), run.to_vec(), |mark| mark.ms / 1000, &self.config, dropped));
        }
        all
    }
}

/// What is collected while lists are read.
#[derive(Default)]
struct Lists {
    splits: Vec<String>,
    classes: BTreeMap<u16, String>,
    ids: HashMap<String, u32>,
    names: Vec<String>,
    lines: Vec<Mark>,
}

impl Lists {
    fn take(&mut self, row: &Row<'_>, split: u8) {
        let video = match self.ids.get(row.id) {
            Some(video) => *video,
            None => {
                let video = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
                self.ids.insert(row.id.to_owned(), video);
                self.names.push(row.id.to_owned());
                video
            }
        };
        let class_name = || row.class_name.chars().filter(|c| !c.is_control()).take(64).collect();
        self.classes.entry(row.class).or_insert_with(class_name);
        let Row { ms, class, object, present, .. } = *row;
        self.lines.push(Mark { video, ms, class, object, split, present, target: row.bounds.map(|v| v as f32) });
    }

    /// The lines of each video by segment and time, videos by name. Lines that are equal in this keep their order.
    fn by_video(&mut self) -> Vec<(String, Vec<Mark>)> {
        self.ids.clear();
        let mut lines = std::mem::take(&mut self.lines);
        lines.par_sort_by_key(|mark| (mark.video, mark.class, mark.object, mark.ms));
        let mut videos: Vec<_> = lines
            .chunk_by(|a, b| a.video == b.video)
            .filter_map(|run| {
                let name = self.names.get(run.first()?.video as usize)?;
                Some((name.clone(), run.to_vec()))
            })
            .collect();
        videos.par_sort_by(|a, b| a.0.cmp(&b.0));
        videos
    }
}

fn segment(mark: &Mark) -> (u16, u16) {
    (mark.class, mark.object)
}

fn track_name(mark: &Mark) -> String {
    format!("{:03}{:03}", mark.class, mark.object)
}

fn reject(dataset: &str, video: &str, track: &str, path: String, reason: &str, detail: String) -> Reject {
    let [dataset, video, track, reason] = [dataset, video, track, reason].map(str::to_owned);
    Reject { dataset, video, track, path, reason, detail }
}

/// The folder of the frames, and every list with the name of its part.
fn lists(spec: &SourceSpec) -> Result<(PathBuf, Vec<(String, PathBuf)>), IngestError> {
    let part = |name: &str| {
        let stem = [".csv", ".csv.gz", ".csv.zst"].iter().find_map(|ending| name.strip_suffix(ending))?;
        let starts = ["yt_bb_detection_", "youtube_boundingboxes_detection_"];
        starts
            .iter()
            .find_map(|start| stem.strip_prefix(start))
            .filter(|part| super::plain_path(part))
            .map(str::to_owned)
    };
    if spec.path.is_file() {
        let name = spec.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let split = part(&name).ok_or_else(|| spec.wrong("its name is not yt_bb_detection_PART.csv"))?;
        let root = spec.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Ok((root.to_owned(), vec![(split, spec.path.clone())]));
    }
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&spec.path).map_err(IngestError::io("read", &spec.path))? {
        let entry = entry.map_err(IngestError::io("read", &spec.path))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(split) = part(&name).filter(|_| entry.path().is_file()) else { continue };
        if let Some(other) = found.insert(split.clone(), entry.path()) {
            let reason = format!("it has the list of {split} twice: {} and {name}; remove one", other.display());
            return Err(spec.wrong(reason));
        }
    }
    if found.is_empty() {
        return Err(spec.wrong(
            "it has no list named yt_bb_detection_PART.csv or youtube_boundingboxes_detection_PART.csv (.csv.gz, \
             .csv.zst); put it beside the frames' folders",
        ));
    }
    if found.len() > usize::from(u8::MAX) {
        return Err(spec.wrong(format!("it has {} lists", found.len())));
    }
    Ok((spec.path.clone(), found.into_iter().collect()))
}

/// Names of the files in the folders that may hold frames: hashes only, for there may be millions.
struct Existing(HashMap<String, HashSet<u64>>);

impl Existing {
    fn has(&self, path: &str) -> bool {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.0.get(folder).is_some_and(|names| names.contains(&xxh3_64(name.as_bytes())))
    }
}

/// Lists each folder once: asking for each frame would take as long as reading them.
fn existing(root: &Path, pattern: &Pattern, splits: &[String], videos: &[(String, Vec<Mark>)]) -> Existing {
    let folder = |id: &str, mark: &Mark| {
        let path = pattern.fill(splits.get(usize::from(mark.split)).map_or("", String::as_str), id, mark);
        path.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned())
    };
    let folders: BTreeSet<String> = videos
        .par_iter()
        .map(|(id, lines)| lines.iter().map(|mark| folder(id, mark)).collect::<BTreeSet<_>>())
        .reduce(BTreeSet::new, |mut a, mut b| {
            if a.len() < b.len() {
                std::mem::swap(&mut a, &mut b);
            }
            a.append(&mut b);
            a
        });
    let list = |folder: String| {
        let entries = fs::read_dir(root.join(&folder)).into_iter().flatten().flatten();
        let names = entries.map(|entry| xxh3_64(entry.file_name().as_encoded_bytes())).collect();
        (folder, names)
    };
    Existing(folders.into_par_iter().map(list).collect())
}

impl Origin for Ytbb {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn tracks(&self, video: usize, _shard: &ShardFiles) -> Tracks {
        let (Some(known), Some(marks)) = (self.catalog.videos.get(video), self.marks.get(video)) else {
            return Tracks::default();
        };
        let (rejects, dropped) = self.faults.get(video).cloned().unwrap_or_default();
        // Short pieces were counted when the video was judged.
        let cut = self.tracks_of(marks, &mut Dropped::default());
        let track = |(name, run): (String, Vec<Mark>)| {
            let class = run.first().and_then(|mark| self.classes.get(&mark.class)).cloned().unwrap_or_default();
            let frame = |mark: Mark| {
                let path = self.path(&known.name, &mark);
                Frame {
                    number: mark.ms / 1000,
                    time_ms: i64::from(mark.ms),
                    flags: 0,
                    bytes: Bytes::Path(self.catalog.path.join(&path)),
                    path,
                    target: Target::Normalised(mark.target.map(f64::from)),
                }
            };
            Track { name, class, frames: run.into_iter().map(frame).collect() }
        };
        Tracks { tracks: cut.into_iter().map(track).collect(), rejects, dropped }
    }
}
