//! Sequences on disk: frames, ground truth, tags, in the layouts of VOT, OTB, GOT-10k and LaSOT.
//!
//! | layout | frames | ground truth | beside it |
//! |---|---|---|---|
//! | VOT | `color/%08d.jpg` (or where `sequence` says), or directly in the folder | `groundtruth.txt` | `sequence` (key=value), `*.tag`, `*.label`, `*.value` |
//! | OTB | `img/%04d.jpg` | `groundtruth_rect.txt`, 1-based, comma, tab or space | |
//! | GOT-10k | `%08d.jpg` in the folder | `groundtruth.txt` | `absence.label`, `cover.label`, `meta_info.ini` |
//! | LaSOT | `img/%08d.jpg` | `groundtruth.txt`, 1-based | `full_occlusion.txt`, `out_of_view.txt` |
//!
//! A data set is a folder of such folders, with `list.txt` naming them or without (LaSOT: a folder of folders of them); or a workspace of an
//! official toolkit, with the data set in `sequences/`. Images are listed, never opened.

mod detect;
mod files;
mod got10k;
mod lasot;
mod otb;
mod vot;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use detect::{detect_layout, list_sequences};
pub use workspace::dataset_name;

use crate::error::Error;
use crate::region::Region;

/// How a sequence lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// VOT challenges, 2013 and later, and whatever is written like them.
    Vot,
    /// OTB-50, OTB-100.
    Otb,
    /// GOT-10k.
    Got10k,
    /// LaSOT.
    Lasot,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 4] = [Layout::Vot, Layout::Otb, Layout::Got10k, Layout::Lasot];
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::Vot => "vot",
            Layout::Otb => "otb",
            Layout::Got10k => "got10k",
            Layout::Lasot => "lasot",
        })
    }
}

/// A layout name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown layout `{found}`: use one of vot, otb, got10k, lasot")]
pub struct UnknownLayoutName {
    /// What was given.
    pub found: String,
}

impl FromStr for Layout {
    type Err = UnknownLayoutName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Layout::ALL
            .into_iter()
            .find(|layout| layout.to_string() == text)
            .ok_or_else(|| UnknownLayoutName { found: text.to_owned() })
    }
}

/// One annotated sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// Name: that of the folder; for the second and further targets of an OTB folder with their number.
    pub name: String,
    /// The folder.
    pub root: PathBuf,
    /// How it was read.
    pub layout: Layout,
    /// One image per frame in order; empty where the folder has no images (scoring needs none).
    pub frames: Vec<PathBuf>,
    /// One region per frame, px, x and y from 0 as in VOT; a code where there is no annotation.
    pub groundtruth: Vec<Region>,
    /// Width of the frames in px, where a file says so.
    pub width: Option<u32>,
    /// Height of the frames in px, where a file says so.
    pub height: Option<u32>,
    /// Per tag, whether each frame has it.
    pub tags: BTreeMap<String, Vec<bool>>,
    /// Per value name, one number per frame (GOT-10k: `cover`, 0 to 8).
    pub values: BTreeMap<String, Vec<f64>>,
    /// Frames per second of the video, where a file says so.
    pub fps: Option<f64>,
    /// Class of the target, empty where no file says so.
    pub class: String,
    /// What was put right while reading, for people.
    pub warnings: Vec<String>,
}

impl Sequence {
    /// A sequence that exists only in memory.
    pub fn new(name: impl Into<String>, groundtruth: Vec<Region>, size: Option<(u32, u32)>) -> Self {
        Sequence {
            name: name.into(),
            root: PathBuf::new(),
            layout: Layout::Vot,
            frames: Vec::new(),
            groundtruth,
            width: size.map(|size| size.0),
            height: size.map(|size| size.1),
            tags: BTreeMap::new(),
            values: BTreeMap::new(),
            fps: None,
            class: String::new(),
            warnings: Vec::new(),
        }
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.groundtruth.len()
    }

    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.groundtruth.is_empty()
    }

    /// Width and height in px, where both are known.
    pub fn size(&self) -> Option<(u32, u32)> {
        self.width.zip(self.height)
    }

    /// Whether frame `frame` has the tag; `all` is on every frame, `empty` where no tag is.
    pub fn has_tag(&self, tag: &str, frame: usize) -> bool {
        let set = |flags: &Vec<bool>| flags.get(frame).copied().unwrap_or(false);
        match tag {
            "all" => frame < self.len(),
            "empty" if !self.tags.contains_key("empty") => frame < self.len() && !self.tags.values().any(set),
            _ => self.tags.get(tag).is_some_and(set),
        }
    }
}

/// Reads one sequence folder. Of an OTB folder with several targets the first is read, with a warning;
/// [`read_dataset`] reads all.
pub fn read_sequence(path: &Path, layout: Layout) -> Result<Sequence, Error> {
    let mut all = read_folder(path, layout)?;
    if all.is_empty() {
        return Err(Error::NoSequences { path: path.to_owned() });
    }
    let others = all.len() - 1;
    let mut first = all.swap_remove(0);
    if others > 0 {
        first.warnings.push(format!("{}: {others} further targets of this folder are left out", path.display()));
    }
    Ok(first)
}

/// The sequences of one folder: one, or one per target in OTB.
fn read_folder(path: &Path, layout: Layout) -> Result<Vec<Sequence>, Error> {
    match layout {
        Layout::Vot => vot::read(path).map(|sequence| vec![sequence]),
        Layout::Otb => otb::read(path),
        Layout::Got10k => got10k::read(path).map(|sequence| vec![sequence]),
        Layout::Lasot => lasot::read(path).map(|sequence| vec![sequence]),
    }
}

/// Reads every sequence of a data set, or the one sequence that `path` is. `None` = find out the layout.
pub fn read_dataset(path: &Path, layout: Option<Layout>) -> Result<Vec<Sequence>, Error> {
    let layout = match layout {
        Some(layout) => layout,
        None => detect_layout(path)?,
    };
    let mut sequences = Vec::new();
    for folder in list_sequences(path, layout)? {
        sequences.extend(read_folder(&folder, layout)?);
    }
    let mut names = BTreeSet::new();
    for sequence in &sequences {
        if !names.insert(sequence.name.as_str()) {
            return Err(Error::DuplicateSequence { sequence: sequence.name.clone() });
        }
    }
    Ok(sequences)
}

#[cfg(test)]
mod tests;
