//! PySOT's folders of 511 px crops: `crop511/<video>/<frame>.<track>.x.jpg` and `train.json` with
//! `{video: {track: {frame: [x1, y1, x2, y2]}}}`.
//!
//! The target lies in the middle of its crop, at exemplar scale. Its size there follows from the shape of its box
//! alone, since the scale cancels it out; so the boxes of YouTube-BB, which are shares of the frame, need the frame's
//! shape, not its size. Taken as pixels they would be wrong by the frame's aspect ratio.

use super::json::{self, FourNumbers};
use super::limits::{self, Dropped, checked_box, pieces};
use super::spool::ShardFiles;
use super::{Bytes, Catalog, Frame, Label, Origin, SourceSpec, Target, Track, Tracks, Video, plain_path, source_name};
use crate::error::IngestError;
use schemas::build::{BuildConfig, CropSemantics};
use schemas::manifest::Reject;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Side of the crops, px.
pub const CROP_PX: u16 = 511;
/// The crops' exemplar, px, and their context: PySOT's scripts fix both.
const EXEMPLAR_PX: u32 = 127;
const CONTEXT: f64 = 0.5;
const LIST: &str = "train.json";
const SIZES: &str = "sizes.json";
/// Boxes whose far corner is no further than this are shares of the frame.
const SHARE: f64 = 1.01;

/// A track as listed: frames in the order of the file, boxes as written.
#[derive(Debug, Clone)]
struct Listed(Vec<(String, FourNumbers)>);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Frames;
        impl<'de> Visitor<'de> for Frames {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("frames with their boxes, {\"000000\": [x1, y1, x2, y2], ...}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Listed(all))
            }
        }
        deserializer.deserialize_map(Frames)
    }
}

/// A listed frame that may become a row.
#[derive(Debug, Clone, Copy)]
struct Shot {
    frame: u32,
    /// Width and height in the crop, px.
    size: [f32; 2],
    /// Width and height of the source frame, 0 when unknown.
    frame_size: [u16; 2],
}

#[derive(Debug, Default)]
struct Clip {
    tracks: Vec<(String, Vec<Shot>)>,
    rejects: Vec<Reject>,
    dropped: Dropped,
}

/// The crops, with their list read.
#[derive(Debug)]
pub struct Crop511 {
    catalog: Catalog,
    crops: PathBuf,
    clips: Vec<Clip>,
}

impl Crop511 {
    /// Reads the list.
    ///
    /// # Errors
    /// When it is missing or not of this form, or the configuration does not fit these crops.
    pub fn open(spec: &SourceSpec, config: &BuildConfig) -> Result<Self, IngestError> {
        fits(config)?;
        let name = source_name(&spec.path)?;
        let base = [spec.path.clone(), spec.path.join("..")].into_iter().find(|base| base.join(LIST).is_file());
        let base = base.ok_or_else(|| spec.wrong(format!("there is no {LIST} in it or beside it")))?;
        let nested = spec.path.join("crop511");
        let crops = if nested.is_dir() { nested } else { spec.path.clone() };
        let list: BTreeMap<String, BTreeMap<String, Listed>> = json::read(spec, &base.join(LIST))?;
        let sizes: BTreeMap<String, [u16; 2]> = match base.join(SIZES) {
            path if path.is_file() => json::read(spec, &path)?,
            _ => BTreeMap::new(),
        };
        let mut catalog = Catalog { path: spec.path.clone(), ..Catalog::default() };
        let mut clips = Vec::with_capacity(list.len());
        for (key, tracks) in list {
            let video = key.strip_prefix("./").unwrap_or(&key);
            let dataset = spec.label.clone().unwrap_or_else(|| label_of(video, &name).to_owned());
            if !plain_path(video) {
                let video = short(video);
                catalog.rejects.push(Refusal { dataset: &dataset, video: "", track: "" }.about(
                    video,
                    "unsafe-path",
                    format!("{LIST} names a video that is no path below the crops"),
                ));
                continue;
            }
            let size = sizes.get(&key).or_else(|| sizes.get(video)).copied().filter(|[w, h]| *w > 0 && *h > 0);
            let mut clip = Clip::default();
            for (track, listed) in tracks {
                clip.take(&dataset, video, &track, listed, size, config);
            }
            let rows = clip.tracks.iter().map(|(_, shots)| shots.len() as u64).sum();
            if rows == 0 {
                catalog.rejects.append(&mut clip.rejects);
                catalog.dropped.add(clip.dropped);
            }
            let tracks = clip.tracks.len() as u64;
            catalog.videos.push(Video { dataset, name: video.to_owned(), tracks, rows });
            clips.push(clip);
        }
        let labels: std::collections::BTreeSet<&str> =
            catalog.videos.iter().filter(|video| video.rows > 0).map(|video| video.dataset.as_str()).collect();
        let label = |dataset: &str| Label {
            dataset: dataset.to_owned(),
            kind: spec.kind.as_str().to_owned(),
            name: name.clone(),
            search_px: if config.reencode_crops { config.search_px } else { CROP_PX.into() },
            source_bytes: !config.reencode_crops,
        };
        catalog.labels = labels.into_iter().map(label).collect();
        Ok(Self { catalog, crops, clips })
    }
}

/// Crops can only be used for what they were cut for.
fn fits(config: &BuildConfig) -> Result<(), IngestError> {
    let refuse = |reason: String| Err(IngestError::Config { path: None, reason });
    if config.semantics != CropSemantics::Pysot {
        return refuse(
            "semantics = \"siamfc\", but crops of 511 px are cut as \"pysot\": set semantics = \"pysot\"".into(),
        );
    }
    if config.exemplar_px != EXEMPLAR_PX || (config.context_amount - CONTEXT).abs() > 1e-9 {
        return refuse(format!(
            "exemplar_px = {} and context_amount = {}, but crops of 511 px have {EXEMPLAR_PX} and {CONTEXT}",
            config.exemplar_px, config.context_amount
        ));
    }
    for (key, px) in [("search_px", config.search_px), ("template_px", config.template_px)] {
        if px > u32::from(CROP_PX) && (key == "template_px" || config.reencode_crops) {
            return refuse(format!("{key} = {px} is larger than the crops of {CROP_PX} px"));
        }
    }
    Ok(())
}

/// The parts of the corpus have different frame rates, so they are kept apart.
fn label_of<'a>(video: &str, name: &'a str) -> &'a str {
    if video.starts_with("yt_bb") {
        "ytbb"
    } else if video.rsplit('/').next().is_some_and(|last| last.starts_with("ILSVRC2015_")) {
        "vid"
    } else {
        name
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

struct Refusal<'a> {
    dataset: &'a str,
    video: &'a str,
    track: &'a str,
}

impl Refusal<'_> {
    fn about(&self, path: String, reason: &str, detail: String) -> Reject {
        let [dataset, video, track, reason] = [self.dataset, self.video, self.track, reason].map(str::to_owned);
        Reject { dataset, video, track, path, reason, detail }
    }
}

impl Clip {
    fn take(
        &mut self,
        dataset: &str,
        video: &str,
        track: &str,
        listed: Listed,
        size: Option<[u16; 2]>,
        config: &BuildConfig,
    ) {
        let shown = short(track);
        let refusal = Refusal { dataset, video, track: &shown };
        if !plain_path(track) || track.contains(['/', '.', '-']) {
            let detail = format!("{LIST} names a track that is no part of a file name");
            self.rejects.push(refusal.about(format!("{video}/*.{shown}.x.jpg"), "unsafe-path", detail));
            return;
        }
        let mut shots: Vec<Shot> = Vec::with_capacity(listed.0.len());
        for (frame, bounds) in listed.0 {
            let path = format!("{video}/{}.{track}.x.jpg", short(&frame));
            let Some(number) = frame.parse::<u32>().ok().filter(|n| format!("{n:06}") == frame) else {
                let detail = format!("{:?} is not a frame number of six digits", short(&frame));
                self.rejects.push(refusal.about(path, "bad-name", detail));
                continue;
            };
            match judge(bounds, size, config) {
                Ok(Ok((size, frame_size))) => shots.push(Shot { frame: number, size, frame_size }),
                Ok(Err(why)) => self.dropped.count(why),
                Err((reason, detail)) => self.rejects.push(refusal.about(path, reason, detail)),
            }
        }
        shots.sort_by_key(|shot| shot.frame);
        let mut before = None;
        shots.retain(|shot| {
            let twice = before.replace(shot.frame) == Some(shot.frame);
            if twice {
                let path = format!("{video}/{:06}.{track}.x.jpg", shot.frame);
                let detail = format!("{LIST} lists this frame twice");
                self.rejects.push(refusal.about(path, "duplicate-frame", detail));
            }
            !twice
        });
        self.tracks.extend(pieces(track, shots, |shot| shot.frame, config, &mut self.dropped));
    }
}

type Sizes = ([f32; 2], [u16; 2]);

/// Width and height of a target in its crop, with the size of its frame where known.
fn judge(
    bounds: FourNumbers,
    size: Option<[u16; 2]>,
    config: &BuildConfig,
) -> Result<Result<Sizes, limits::Unwanted>, limits::BadBox> {
    let edges = bounds.0.ok_or_else(|| ("bad-box", "its box is not four numbers".to_owned()))?;
    let known = size.map(|side| side.map(f64::from));
    let (w, h, frame) = if edges.iter().all(|v| v.abs() <= SHARE) {
        let [_, _, w, h] = checked_box(edges, Some([1.0, 1.0]), true)?;
        // Without the frame's size only its shape matters; area and aspect are then judged in a frame one unit high.
        let [frame_w, frame_h] = known.unwrap_or([config.frame_aspect, 1.0]);
        (w * frame_w, h * frame_h, Some([frame_w, frame_h]))
    } else {
        let [_, _, w, h] = checked_box(edges, known, false)?;
        (w, h, known)
    };
    // A side in pixels is only known with the frame's size, or from a box in pixels.
    let unitless = known.is_none() && frame.is_some();
    let without_side = BuildConfig { min_side: 0.0, ..config.clone() };
    if let Some(why) = limits::shape(w, h, frame, if unitless { &without_side } else { config }) {
        return Ok(Err(why));
    }
    // The crop spans s_z * 511 / 127 frame px in 510 steps.
    let context = CONTEXT * (w + h);
    let window = ((w + context) * (h + context)).sqrt() * f64::from(CROP_PX) / f64::from(EXEMPLAR_PX);
    let scale = f64::from(CROP_PX - 1) / window;
    Ok(Ok(([(w * scale) as f32, (h * scale) as f32], size.unwrap_or([0, 0]))))
}

impl Origin for Crop511 {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn tracks(&self, video: usize, _shard: &ShardFiles) -> Tracks {
        let (Some(known), Some(clip)) = (self.catalog.videos.get(video), self.clips.get(video)) else {
            return Tracks::default();
        };
        let frame = |track: &str, shot: &Shot| {
            // A track that was cut has its files under the name it had.
            let file = Path::new(&known.name).join(format!("{:06}.{track}.x.jpg", shot.frame));
            let ([w, h], [frame_w, frame_h]) = (shot.size, shot.frame_size);
            Frame {
                number: shot.frame,
                time_ms: -1,
                flags: 0,
                path: file.display().to_string(),
                bytes: Bytes::Path(self.crops.join(file)),
                target: Target::Centred { side: CROP_PX, w, h, frame_w, frame_h },
            }
        };
        let track = |(name, shots): &(String, Vec<Shot>)| {
            let own = name.split('-').next().unwrap_or(name);
            let frames = shots.iter().map(|shot| frame(own, shot)).collect();
            Track { name: name.clone(), class: String::new(), frames }
        };
        let tracks = clip.tracks.iter().map(track).collect();
        Tracks { tracks, rejects: clip.rejects.clone(), dropped: clip.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(edges: [f64; 4], frame: Option<[u16; 2]>) -> [f32; 2] {
        judge(FourNumbers(Some(edges)), frame, &BuildConfig::default()).unwrap().unwrap().0
    }

    #[test]
    fn shares_of_a_wide_frame_give_the_size_of_the_same_box_in_pixels() {
        let pixels = size([320.0, 180.0, 640.0, 540.0], None);
        let known = size([0.25, 0.25, 0.5, 0.75], Some([1280, 720]));
        let assumed = size([0.25, 0.25, 0.5, 0.75], None);
        for found in [known, assumed] {
            assert!((found[0] - pixels[0]).abs() < 1e-3 && (found[1] - pixels[1]).abs() < 1e-3, "{found:?} {pixels:?}");
        }
        // 320 x 360 px; taken as pixels the shares would look twice as high as wide.
        assert!((pixels[0] / pixels[1] - 320.0 / 360.0).abs() < 1e-4, "{pixels:?}");
        let tall = size([0.25, 0.25, 0.5, 0.75], Some([720, 1280]));
        assert!((tall[0] / tall[1] - 180.0 / 640.0).abs() < 1e-4, "{tall:?}");
        // A square of any size has half the exemplar's side.
        let square = size([10.0, 10.0, 74.0, 74.0], None);
        assert!((square[0] - 63.5 * 510.0 / 511.0).abs() < 1e-3, "{square:?}");
    }

    #[test]
    fn bad_boxes_have_a_reason() {
        let reason = |edges, frame| judge(FourNumbers(edges), frame, &BuildConfig::default()).unwrap_err().0;
        assert_eq!(reason(None, None), "bad-box");
        assert_eq!(reason(Some([10.0, 10.0, 10.0, 20.0]), None), "zero-size");
        assert_eq!(reason(Some([-0.5, 0.0, 0.5, 1.0]), None), "outside-frame");
        assert_eq!(reason(Some([10.0, 10.0, 200.0, 20.0]), Some([100, 50])), "outside-frame");
    }
}
