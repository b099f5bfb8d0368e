//! Single pictures with boxes: COCO (`annotations/instances_*.json`) and ImageNet DET (`Annotations/DET`).
//!
//! Every picture is a video and every object a track of one row. The pair sampler pairs such a row with itself; see
//! `shards::plan`.

mod coco;
mod det;

use super::limits::{self, Dropped, Unwanted, checked_box};
use super::spool::ShardFiles;
use super::{Bytes, Catalog, Frame, Origin, SourceSpec, Target, Track, Tracks, Video, source_name};
use crate::error::IngestError;
use schemas::build::BuildConfig;
use schemas::manifest::Reject;
use std::path::PathBuf;

/// A picture and its objects.
#[derive(Debug, Default)]
struct Picture {
    /// Its name as a video.
    name: String,
    /// Its file, below the source's folder.
    path: String,
    /// Its size, px, where the annotation says so.
    size: Option<[f64; 2]>,
    objects: Vec<Object>,
    rejects: Vec<Reject>,
    dropped: Dropped,
}

/// An object that becomes a row.
#[derive(Debug, Clone)]
struct Object {
    track: String,
    class: u32,
    flags: u8,
    /// cx, cy, w, h in picture px.
    target: [f32; 4],
}

/// An object as annotated.
struct Annotated {
    track: String,
    class: u32,
    flags: u8,
    crowd: bool,
    /// Left, top, right and bottom edge, px.
    edges: [f64; 4],
}

/// What a layout gives.
struct Layout {
    /// The folder that pictures' paths begin at.
    root: PathBuf,
    classes: Vec<String>,
    pictures: Vec<Picture>,
    /// What was wrong with the annotations as a whole.
    rejects: Vec<Reject>,
}

/// Pictures with their boxes.
#[derive(Debug)]
pub struct Stills {
    catalog: Catalog,
    root: PathBuf,
    classes: Vec<String>,
    pictures: Vec<Picture>,
}

impl Stills {
    /// Reads every annotation.
    ///
    /// # Errors
    /// When it is of neither layout, or a list cannot be read.
    pub fn open(spec: &SourceSpec, config: &BuildConfig) -> Result<Self, IngestError> {
        let name = source_name(&spec.path)?;
        let name = name.strip_suffix(".json").unwrap_or(&name).to_owned();
        let dataset = spec.label.clone().unwrap_or_else(|| name.clone());
        let mut layout = match coco::open(spec, &dataset, config)? {
            Some(layout) => layout,
            None => det::open(spec, &dataset, config).ok_or_else(|| {
                spec.wrong(
                    "it is neither COCO (annotations/instances_*.json) nor ImageNet DET (Annotations/DET); name the \
                     folder that holds pictures and annotations",
                )
            })?,
        };
        layout.pictures.sort_by(|a, b| a.name.cmp(&b.name));
        let mut catalog = Catalog { path: spec.path.clone(), rejects: layout.rejects, ..Catalog::default() };
        let mut pictures: Vec<Picture> = Vec::with_capacity(layout.pictures.len());
        for mut picture in layout.pictures {
            if pictures.last().is_some_and(|last| last.name == picture.name) {
                let detail = "another picture has this name".to_owned();
                catalog.rejects.push(reject(&dataset, &picture.name, "", &picture.path, "duplicate-video", detail));
                continue;
            }
            let rows = picture.objects.len() as u64;
            if rows == 0 {
                catalog.rejects.append(&mut picture.rejects);
                catalog.dropped.add(picture.dropped);
            }
            let name = picture.name.clone();
            catalog.videos.push(Video { dataset: dataset.clone(), name, tracks: rows, rows });
            pictures.push(picture);
        }
        catalog.labels.push(spec.frames_label(dataset, &name, config));
        Ok(Self { catalog, root: layout.root, classes: layout.classes, pictures })
    }
}

impl Picture {
    /// Judges an object and keeps it if it is wanted.
    fn take(&mut self, dataset: &str, object: Annotated, config: &BuildConfig) {
        let target = match checked_box(object.edges, self.size, false) {
            Ok(target) => target,
            Err((reason, detail)) => {
                self.rejects.push(reject(dataset, &self.name, &object.track, &self.path, reason, detail));
                return;
            }
        };
        let unwanted = object
            .crowd
            .then_some(Unwanted::Crowd)
            .or_else(|| limits::flags(object.flags, config))
            .or_else(|| limits::shape(target[2], target[3], self.size, config));
        if let Some(why) = unwanted {
            self.dropped.count(why);
        } else if self.objects.iter().any(|other| other.track == object.track) {
            let detail = "another object of this picture has this number".to_owned();
            self.rejects.push(reject(dataset, &self.name, &object.track, &self.path, "duplicate-object", detail));
        } else {
            let Annotated { track, class, flags, .. } = object;
            self.objects.push(Object { track, class, flags, target: target.map(|v| v as f32) });
        }
    }
}

fn reject(dataset: &str, video: &str, track: &str, path: &str, reason: &str, detail: String) -> Reject {
    let [dataset, video, track, path, reason] = [dataset, video, track, path, reason].map(str::to_owned);
    Reject { dataset, video, track, path, reason, detail }
}

impl Origin for Stills {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn tracks(&self, video: usize, _shard: &ShardFiles) -> Tracks {
        let Some(picture) = self.pictures.get(video) else { return Tracks::default() };
        let track = |object: &Object| Track {
            name: object.track.clone(),
            class: self.classes.get(object.class as usize).cloned().unwrap_or_default(),
            frames: vec![Frame {
                number: 0,
                time_ms: -1,
                flags: object.flags,
                path: picture.path.clone(),
                bytes: Bytes::Path(self.root.join(&picture.path)),
                target: Target::InFrame(object.target.map(f64::from)),
            }],
        };
        let tracks = picture.objects.iter().map(track).collect();
        Tracks { tracks, rejects: picture.rejects.clone(), dropped: picture.dropped }
    }
}
