//! What can be tracked, and where the box to track comes from.
//!
//! An input is a video file, a folder or archive of frames, or an annotated sequence. Its initial box is looked for in this
//! order, `NAME` being the file's name without its ending, or the folder's name:
//!
//! | input | places |
//! |---|---|
//! | folder | `init.json` in it, ground truth in it (VOT, OTB, GOT-10k), `NAME.init.json` and `NAME.txt` beside it |
//! | job folder of the official toolkit | `query_ID.txt` in it, see [`queries`] |
//! | archive | `init.json` in it, ground truth in it, `NAME.init.json` and `NAME.txt` beside it |
//! | file | `NAME.init.json`, `NAME.txt` beside it |
//!
//! A `NAME.txt` or ground truth with a line per frame is also what the result is compared with.

mod error;
pub mod queries;
pub mod survey;

pub use error::InputError;

use crate::frames::folder;
use crate::frames::sniff::{Container, container};
use crate::frames::video::{Decoders, list_archive};
use queries::Queries;
use schemas::result::{InitDoc, InitTarget};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use vot::Region;
use vot::region::{parse_init_box, parse_regions, siamrpn_init_box};
use vot::sequence::{detect_layout, list_sequences, read_sequence};

/// Most targets of one video.
const MAX_TARGETS: usize = 100;
/// Longest name of a target.
const MAX_ID: usize = 40;
/// Says in a folder or archive what to track.
const INIT: &str = "init.json";

/// Where frames come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A file for a decoder.
    Video,
    /// An archive of this many images.
    Archive(u64),
    /// Image files in order.
    Files(Vec<PathBuf>),
}

/// Something to track.
#[derive(Debug, Clone)]
pub struct Input {
    /// The file or folder.
    pub path: PathBuf,
    /// Name for results.
    pub name: String,
    /// Where frames come from.
    pub source: Source,
    /// Its own ground truth and the file it was read from.
    annotated: Option<(PathBuf, Vec<Region>)>,
    /// What an archive's own `init.json` holds.
    init: Option<String>,
    /// What a job folder of the official toolkit asks for; empty otherwise.
    pub queries: Vec<Start>,
    /// What was put right while reading.
    pub warnings: Vec<String>,
}

/// Where to start tracking a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The target's name.
    pub id: String,
    /// Frame, from 0.
    pub frame: u32,
    /// `[x, y, w, h]` in pixels, origin at the left/top edge of pixel 0.
    pub rect: [f64; 4],
    /// Where the box comes from, for example `clip.txt`.
    pub origin: String,
}

impl Start {
    /// A checked start of the only target.
    ///
    /// # Errors
    /// [`InputError::Box`] when a number is not finite or a side is not positive.
    pub fn new(frame: u32, rect: [f64; 4], origin: impl Into<String>) -> Result<Self, InputError> {
        let origin = origin.into();
        let [_, _, w, h] = rect;
        if rect.iter().all(|v| v.is_finite()) && w > 0.0 && h > 0.0 {
            Ok(Self { id: "1".to_owned(), frame, rect, origin })
        } else {
            Err(InputError::Box { rect, origin })
        }
    }
}

/// What an input is called: the file's name without its ending, the folder's name.
#[must_use]
pub fn stem(path: &Path, folder: bool) -> OsString {
    let is = |ending: Option<&OsStr>, among: &[&str]| {
        ending.is_some_and(|e| among.iter().any(|a| e.eq_ignore_ascii_case(a)))
    };
    let name = match path.file_stem() {
        _ if folder => path.file_name(),
        // clip.tar.gz
        Some(packed) if is(path.extension(), &["gz", "zst"]) && is(Path::new(packed).extension(), &["tar"]) => {
            Path::new(packed).file_stem()
        }
        stem => stem,
    };
    name.unwrap_or_else(|| OsStr::new("input")).to_owned()
}

/// The files that may lie beside an input of this stem and belong to it, best first.
#[must_use]
pub fn sidecars(stem: &OsStr) -> [OsString; 2] {
    [".init.json", ".txt"].map(|ending| {
        let mut name = stem.to_owned();
        name.push(ending);
        name
    })
}

impl Input {
    /// Looks at a file or folder; no frame is opened. An archive is listed by a child, which may take as long as
    /// reading it.
    ///
    /// # Errors
    /// [`InputError`] when it does not exist, is something else, or its annotation is damaged.
    pub fn open(path: &Path, decoders: &Decoders) -> Result<Self, InputError> {
        let io = |source| InputError::Io { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if metadata.is_file() {
            let name = stem(path, false).to_string_lossy().into_owned();
            if container(path).map_err(io)? == Container::Archive {
                return Self::of_archive(path, name, decoders);
            }
            return Ok(Self::plain(path, name, Source::Video));
        }
        if !metadata.is_dir() {
            return Err(InputError::Kind { path: path.to_owned() });
        }
        let full = std::fs::canonicalize(path).map_err(io)?;
        let name = stem(&full, true).to_string_lossy().into_owned();
        if let Some(Queries { frames, starts }) = queries::read(path)? {
            return Ok(Self { queries: starts, ..Self::plain(path, name, Source::Files(frames)) });
        }
        match detect_layout(path) {
            Ok(layout) => {
                if list_sequences(path, layout)? != [path] {
                    return Err(InputError::DataSet { path: path.to_owned() });
                }
                let sequence = read_sequence(path, layout)?;
                let file = truth_file(path);
                let (source, annotated) = (Source::Files(sequence.frames), Some((file, sequence.groundtruth)));
                Ok(Self { annotated, warnings: sequence.warnings, ..Self::plain(path, name, source) })
            }
            Err(vot::Error::UnknownLayout { .. }) => {
                let mut files = folder::images(path)?;
                let nested = ["color", "img"].map(|n| path.join(n)).into_iter().find(|p| p.is_dir());
                if let (true, Some(nested)) = (files.is_empty(), nested) {
                    files = folder::images(&nested)?;
                }
                Ok(Self::plain(path, name, Source::Files(files)))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// An input that brings no annotation.
    fn plain(path: &Path, name: String, source: Source) -> Self {
        Self {
            path: path.to_owned(),
            name,
            source,
            annotated: None,
            init: None,
            queries: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn of_archive(path: &Path, name: String, decoders: &Decoders) -> Result<Self, InputError> {
        let listing = list_archive(path, decoders)?;
        let annotated = match listing.truth {
            Some((file, text)) => {
                let file = path.join(file);
                // Says what is wrong with the first line, if anything is, before a box is wanted.
                if listing.init.is_none() {
                    parse_init_box(&file, &text)?;
                }
                let regions = parse_regions(&file, &text)?;
                Some((file, regions))
            }
            None => None,
        };
        Ok(Self { annotated, init: listing.init, ..Self::plain(path, name, Source::Archive(listing.frames)) })
    }

    fn beside(&self) -> [PathBuf; 2] {
        let folder = matches!(self.source, Source::Files(_));
        let place = self.path.parent().unwrap_or(Path::new(""));
        sidecars(&stem(&self.path, folder)).map(|name| place.join(name))
    }

    /// The boxes to start with, one per target; none when there are none anywhere.
    ///
    /// # Errors
    /// [`InputError`] when a file that should hold a box is damaged or its box cannot be used.
    pub fn starts(&self) -> Result<Vec<Start>, InputError> {
        if !self.queries.is_empty() {
            return Ok(self.queries.clone());
        }
        let [init, text] = self.beside();
        if matches!(self.source, Source::Files(_)) {
            let inside = self.path.join(INIT);
            if inside.is_file() {
                return read_init(&inside);
            }
        }
        if let Some(text) = &self.init {
            return parse_init(&self.path.join(INIT), text);
        }
        if let Some((file, regions)) = &self.annotated {
            let start = match regions.first().and_then(siamrpn_init_box) {
                Some(r) => Start::new(0, [r.x, r.y, r.width, r.height], file_name(file)),
                // Reads the line again for a message that names it.
                None => read_line(file),
            };
            return Ok(vec![start?]);
        }
        if init.is_file() {
            return read_init(&init);
        }
        if text.is_file() { Ok(vec![read_line(&text)?]) } else { Ok(Vec::new()) }
    }

    /// Refuses a job folder that names frames elsewhere than in itself or in one of `roots`, links followed.
    ///
    /// # Errors
    /// [`InputError::Outside`]; [`InputError::Io`] when a frame does not exist.
    pub fn stay_within(&self, roots: &[PathBuf]) -> Result<(), InputError> {
        let Source::Files(files) = &self.source else { return Ok(()) };
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| InputError::Io { path, source }
        };
        if self.queries.is_empty() {
            return Ok(());
        }
        let mut allowed = vec![self.path.canonicalize().map_err(io(&self.path))?];
        // A root that does not exist allows nothing.
        allowed.extend(roots.iter().filter_map(|root| root.canonicalize().ok()));
        for file in files {
            let real = file.canonicalize().map_err(io(file))?;
            if !allowed.iter().any(|root| real.starts_with(root)) {
                return Err(InputError::Outside { path: self.path.clone(), frame: file.clone() });
            }
        }
        Ok(())
    }

    /// An annotated sequence that has been read already.
    #[must_use]
    pub fn of_sequence(sequence: &vot::Sequence) -> Self {
        let source = Source::Files(sequence.frames.clone());
        let annotated = Some((truth_file(&sequence.root), sequence.groundtruth.clone()));
        Self { annotated, ..Self::plain(&sequence.root, sequence.name.clone(), source) }
    }

    /// Every annotated line there is, from the input's own annotation or the `.txt` beside it; empty without either.
    ///
    /// # Errors
    /// [`InputError::Vot`] when the file is damaged.
    pub fn groundtruth_lines(&self) -> Result<Vec<Region>, InputError> {
        if let Some((_, regions)) = &self.annotated {
            return Ok(regions.clone());
        }
        let [_, text] = self.beside();
        if text.is_file() { Ok(vot::region::read_regions(&text)?) } else { Ok(Vec::new()) }
    }

    /// Ground truth for a video of `frames` frames: one region per frame, from its own annotation or the `.txt`
    /// beside it. A file with fewer annotated frames than two, or another number of lines, is no ground truth.
    ///
    /// # Errors
    /// [`InputError::Vot`] when the file is damaged.
    pub fn groundtruth(&self, frames: u64) -> Result<Option<Vec<Region>>, InputError> {
        let regions = self.groundtruth_lines()?;
        let shapes = regions.iter().filter(|r| r.is_shape()).count();
        Ok((regions.len() as u64 == frames && shapes >= 2).then_some(regions))
    }
}

/// The file a folder's annotation was read from, for messages.
fn truth_file(folder: &Path) -> PathBuf {
    ["groundtruth.txt", "groundtruth_rect.txt"]
        .map(|n| folder.join(n))
        .into_iter()
        .find(|p| p.is_file())
        .unwrap_or_else(|| folder.join("groundtruth.txt"))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn read_line(path: &Path) -> Result<Start, InputError> {
    let r = vot::region::read_init_box(path)?;
    Start::new(0, [r.x, r.y, r.width, r.height], file_name(path))
}

fn read_init(path: &Path) -> Result<Vec<Start>, InputError> {
    let text = std::fs::read_to_string(path).map_err(|source| InputError::Io { path: path.to_owned(), source })?;
    parse_init(path, &text)
}

fn parse_init(path: &Path, text: &str) -> Result<Vec<Start>, InputError> {
    let bad = |reason: String| InputError::InitDoc { path: path.to_owned(), reason };
    let doc: InitDoc = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    let start = |InitTarget { id, frame, region }| Ok(Start { id, ..Start::new(frame, region, file_name(path))? });
    let starts: Vec<Start> = doc.targets.into_iter().map(start).collect::<Result<_, InputError>>()?;
    named(&starts).map_err(bad)?;
    Ok(starts)
}

/// Checks the number and the names of targets.
fn named(starts: &[Start]) -> Result<(), String> {
    match starts.len() {
        0 => return Err("it names no target".to_owned()),
        1..=MAX_TARGETS => {}
        more => return Err(format!("it names {more} targets, more than {MAX_TARGETS}")),
    }
    for (i, Start { id, .. }) in starts.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if id.is_empty() || id.len() > MAX_ID || id.starts_with('.') || !id.chars().all(plain) {
            let rule = format!("1 to {MAX_ID} letters, digits, `.`, `_`, `-`, no dot in front");
            return Err(format!("the target's id {id:?} cannot name files: {rule}"));
        }
        if starts.iter().take(i).any(|s| s.id.eq_ignore_ascii_case(id)) {
            return Err(format!("two targets have the id {id:?}; give each its own"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Decoders {
        Decoders { ffmpeg: None, own: PathBuf::from("/bin/false") }
    }

    #[test]
    fn names_lose_their_endings() {
        for (file, name) in [
            ("a.mp4", "a"),
            ("a.b.zip", "a.b"),
            ("a.tar", "a"),
            ("a.TAR.gz", "a"),
            ("a.tar.zst", "a"),
            ("a.gz", "a"),
            (".tar.gz", ".tar"),
        ] {
            assert_eq!(stem(Path::new(file), false), name, "{file}");
        }
        assert_eq!(stem(Path::new("a.tar.gz"), true), "a.tar.gz");
    }

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_videos_box_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let clip = write(root, "clip.one.mp4", "x");
        let input = Input::open(&clip, &none()).unwrap();
        assert_eq!((input.name.as_str(), &input.source), ("clip.one", &Source::Video));
        assert_eq!(input.starts().unwrap(), []);
        write(root, "clip.one.txt", "1,2,3,4\n2,2,3,4\n0\n");
        assert_eq!(input.starts().unwrap(), [Start::new(0, [1.0, 2.0, 3.0, 4.0], "clip.one.txt").unwrap()]);
        assert_eq!(input.groundtruth(3).unwrap().unwrap().len(), 3);
        assert_eq!(input.groundtruth(4).unwrap(), None);
        write(root, "clip.one.init.json", r#"{"targets":[{"frame":3,"region":[5,6,7,8]}]}"#);
        assert_eq!(input.starts().unwrap(), [Start::new(3, [5.0, 6.0, 7.0, 8.0], "clip.one.init.json").unwrap()]);
    }

    #[test]
    fn a_single_line_is_a_box_and_no_ground_truth() {
        let folder = tempfile::tempdir().unwrap();
        let clip = write(folder.path(), "clip.mp4", "x");
        write(folder.path(), "clip.txt", "1,2,3,4\n");
        let input = Input::open(&clip, &none()).unwrap();
        assert_eq!(input.starts().unwrap().len(), 1);
        assert_eq!(input.groundtruth(1).unwrap(), None);
    }

    #[test]
    fn a_sequence_brings_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for i in 1..=3 {
            write(root, &format!("bag/color/{i:08}.jpg"), "x");
        }
        write(root, "bag/groundtruth.txt", "10,10,30,10,30,30,10,30\n10,10,20,20\n10,10,20,20\n");
        let input = Input::open(&root.join("bag"), &none()).unwrap();
        assert_eq!(input.name, "bag");
        assert!(matches!(&input.source, Source::Files(files) if files.len() == 3));
        let start = input.starts().unwrap().remove(0);
        assert_eq!((start.rect, start.origin.as_str()), ([10.0, 10.0, 21.0, 21.0], "groundtruth.txt"));
        assert!(input.groundtruth(3).unwrap().is_some());
        write(root, "bag/init.json", r#"{"targets":[{"id":"1","frame":0,"region":[1,1,2,2]}]}"#);
        assert_eq!(input.starts().unwrap()[0].origin, "init.json");
        write(root, "list.txt", "bag\n");
        assert!(matches!(Input::open(root, &none()), Err(InputError::DataSet { .. })));
    }

    #[test]
    fn boxes_that_cannot_be_used_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let input = Input::open(&write(root, "clip.mp4", "x"), &none()).unwrap();
        for (text, why) in [("nan,1,2,3", "NaN"), ("1,1,0,3", "no area"), ("hello", "clip.txt:1"), ("", "clip.txt:1")] {
            write(root, "clip.txt", text);
            let e = input.starts().unwrap_err().to_string();
            assert!(e.contains(why) && e.contains("clip.txt"), "{text}: {e}");
        }
        for (text, why) in [
            ("{}", "targets"),
            (r#"{"targets":[]}"#, "no target"),
            (r#"{"targets":[{"region":[1,2,0,4]}]}"#, "larger than zero"),
            (r#"{"targets":[{"region":[1,2,3,4]},{"region":[1,2,3,4]}]}"#, "two targets have the id"),
            (r#"{"targets":[{"id":"a/b","region":[1,2,3,4]}]}"#, "cannot name files"),
            (r#"{"targets":[{"id":"..","region":[1,2,3,4]}]}"#, "cannot name files"),
            (r#"{"targets":[{"region":[1,2,3,4],"colour":1}]}"#, "colour"),
        ] {
            write(root, "clip.init.json", text);
            let e = input.starts().unwrap_err().to_string();
            assert!(e.contains(why) && e.contains("clip.init.json"), "{text}: {e}");
        }
        write(
            root,
            "clip.init.json",
            r#"{"targets":[{"id":"a","region":[1,2,3,4]},{"id":"b","frame":7,"region":[5,6,7,8]}]}"#,
        );
        let starts: Vec<_> = input.starts().unwrap().into_iter().map(|s| (s.id, s.frame, s.rect[0])).collect();
        assert_eq!(starts, [("a".to_owned(), 0, 1.0), ("b".to_owned(), 7, 5.0)]);
        let e = Input::open(&root.join("none.mp4"), &none()).unwrap_err().to_string();
        assert!(e.contains("none.mp4"), "{e}");
    }
}
