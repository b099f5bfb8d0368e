//! Annotated sequences in the layouts of VOT, OTB, GOT-10k and LaSOT, read by the crate `vot`.
//!
//! One folder is one video; an OTB folder with several ground-truth files is one video with several tracks.

use super::limits::{Dropped, Unwanted, flags, pieces, shape};
use super::spool::ShardFiles;
use super::{Bytes, Catalog, Frame, Origin, SourceSpec, Target, Track, Tracks, Video, source_name};
use crate::error::IngestError;
use schemas::build::BuildConfig;
use schemas::manifest::Reject;
use schemas::shard::FLAG_OCCLUDED;
use std::collections::BTreeMap;
use std::path::Path;
use vot::region::siamrpn_init_box;
use vot::sequence::{Sequence, detect_layout, list_sequences, read_dataset};

/// `cover.label` of a target that is entirely visible.
const COVER_FULL: f64 = 8.0;

/// A data set of sequences, read but for its pictures.
#[derive(Debug)]
pub struct SequenceSet {
    catalog: Catalog,
    /// Per video its sequences, one per target.
    sequences: Vec<Vec<Sequence>>,
    config: BuildConfig,
}

impl SequenceSet {
    /// Reads every sequence's ground truth and lists its frames.
    ///
    /// # Errors
    /// When the folder does not exist or holds no sequence of a known layout.
    pub fn open(spec: &SourceSpec, config: &BuildConfig) -> Result<Self, IngestError> {
        let name = source_name(&spec.path)?;
        let dataset = spec.label.clone().unwrap_or_else(|| name.clone());
        let wrong = |error: vot::Error| spec.wrong(format!("failed to {error}"));
        let layout = detect_layout(&spec.path).map_err(wrong)?;
        let mut by_name: BTreeMap<String, Vec<Sequence>> = BTreeMap::new();
        let mut rejects = Vec::new();
        for folder in list_sequences(&spec.path, layout).map_err(wrong)? {
            let video = folder_name(&folder);
            let reject = |reason: &str, detail: String| Reject {
                dataset: dataset.clone(),
                video: video.clone(),
                track: String::new(),
                path: inside(&spec.path, &folder),
                reason: reason.to_owned(),
                detail,
            };
            match read_dataset(&folder, Some(layout)) {
                Ok(sequences) if sequences.iter().all(|s| s.frames.is_empty()) => {
                    rejects.push(reject("no-frames", "the sequence has ground truth but no pictures".to_owned()));
                }
                Ok(sequences) => match by_name.entry(video.clone()) {
                    std::collections::btree_map::Entry::Vacant(free) => {
                        free.insert(sequences);
                    }
                    std::collections::btree_map::Entry::Occupied(_) => {
                        rejects.push(reject(
                            "duplicate-video",
                            "another folder of this data set has this name".to_owned(),
                        ));
                    }
                },
                Err(error) => {
                    let detail = error.to_string().replace(&format!("{}/", spec.path.display()), "");
                    rejects.push(reject("bad-sequence", detail));
                }
            }
        }
        let catalog = Catalog {
            path: spec.path.clone(),
            labels: vec![spec.frames_label(dataset.clone(), &name, config)],
            rejects,
            ..Catalog::default()
        };
        let mut set = Self { catalog, sequences: Vec::new(), config: config.clone() };
        for (name, sequences) in by_name {
            set.sequences.push(sequences);
            let all = set.list(set.sequences.len() - 1);
            let rows = all.tracks.iter().map(|track| track.frames.len() as u64).sum();
            if rows == 0 {
                set.catalog.dropped.add(all.dropped);
            }
            set.catalog.videos.push(Video { dataset: dataset.clone(), name, tracks: all.tracks.len() as u64, rows });
        }
        Ok(set)
    }

    fn list(&self, video: usize) -> Tracks {
        let mut all = Tracks::default();
        for (index, sequence) in self.sequences.get(video).into_iter().flatten().enumerate() {
            let frames = self.frames(sequence, &mut all.dropped);
            let name = (index + 1).to_string();
            for (name, frames) in pieces(&name, frames, |f: &Frame| f.number, &self.config, &mut all.dropped) {
                all.tracks.push(Track { name, class: sequence.class.clone(), frames });
            }
        }
        all
    }

    /// The frames of a sequence that show an annotated target.
    fn frames(&self, sequence: &Sequence, dropped: &mut Dropped) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(sequence.len());
        let size = sequence.size().map(|(w, h)| [f64::from(w), f64::from(h)]);
        for (index, (region, path)) in sequence.groundtruth.iter().zip(&sequence.frames).enumerate() {
            // The box's x + (w - 1) / 2 is the centre counted in pixel centres; edges lie half a pixel further.
            let Some(rect) = siamrpn_init_box(region).filter(|r| r.width > 0.0 && r.height > 0.0) else {
                dropped.count(Unwanted::Absent);
                continue;
            };
            let set = |tag: &str| sequence.tags.get(tag).and_then(|t| t.get(index)).copied().unwrap_or(false);
            if set("full_occlusion") {
                dropped.count(Unwanted::Absent);
                continue;
            }
            let (w, h) = (rect.width, rect.height);
            let target = [rect.x + w / 2.0, rect.y + h / 2.0, w, h];
            let cover = sequence.values.get("cover").and_then(|c| c.get(index)).copied().unwrap_or(COVER_FULL);
            let occluded = set("occlusion") || cover < COVER_FULL;
            let marks = if occluded { FLAG_OCCLUDED } else { 0 };
            if let Some(why) = flags(marks, &self.config).or_else(|| shape(w, h, size, &self.config)) {
                dropped.count(why);
                continue;
            }
            frames.push(Frame {
                number: u32::try_from(index).unwrap_or(u32::MAX),
                time_ms: sequence.fps.map_or(-1, |fps| (index as f64 * 1000.0 / fps).round() as i64),
                flags: marks,
                path: inside(&self.catalog.path, path),
                bytes: Bytes::Path(path.clone()),
                target: Target::InFrame(target),
            });
        }
        frames
    }
}

impl Origin for SequenceSet {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn tracks(&self, video: usize, _shard: &ShardFiles) -> Tracks {
        self.list(video)
    }
}

/// A path inside the source, for people and for equal rejects wherever the source lies.
fn inside(root: &Path, path: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(inner) if !inner.as_os_str().is_empty() => inner.display().to_string(),
        _ => folder_name(path),
    }
}

fn folder_name(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.file_name().or(full.file_name()).unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
