//! Job folders of the official VOT toolkit (its `folder` protocol, version 0.8 and later): a tracker is started in a
//! folder that says what to do, and leaves its answers there.
//!
//! | file | content |
//! |---|---|
//! | `frames_color.txt` | a frame's path per line, absolute or relative to the folder |
//! | `query_ID.txt` | frame from 0, then the region to start from, then `key=value` lines, which mean nothing here |
//! | `output_ID.txt` | the answer: a region per frame, `0` before the first |
//! | `output_ID_confidence.txt`, `output_ID_lost.txt` | score and loss per frame, `0` before the first |

use super::{InputError, Start, named};
use crate::run::Tracked;
use std::fs;
use std::path::{Path, PathBuf};
use vot::Region;
use vot::region::siamrpn_init_box;

const FRAMES: &str = "frames_color.txt";
/// Longest list of frames that is read, bytes.
const MAX_LIST: u64 = 256 << 20;

/// What a job folder asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Queries {
    /// Paths of the frames.
    pub frames: Vec<PathBuf>,
    /// The targets, in natural order of their names.
    pub starts: Vec<Start>,
}

/// Reads a job folder; `None` if the folder is none.
///
/// # Errors
/// [`InputError::Query`] and [`InputError::Io`] when one of its files cannot be used.
pub fn read(folder: &Path) -> Result<Option<Queries>, InputError> {
    let list = folder.join(FRAMES);
    if !list.is_file() {
        return Ok(None);
    }
    let io = |source| InputError::Io { path: folder.to_owned(), source };
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let id = name.to_str().and_then(|n| n.strip_prefix("query_")?.strip_suffix(".txt")).map(str::to_owned);
        ids.extend(id);
    }
    if ids.is_empty() {
        return Ok(None);
    }
    ids.sort_by(|a, b| crate::frames::folder::natural(a, b));
    let mut starts = Vec::new();
    for id in ids {
        let path = folder.join(format!("query_{id}.txt"));
        starts.push(Start { id, ..query(&path)? });
    }
    let bad = |reason: String| InputError::Query { path: list.clone(), reason };
    named(&starts).map_err(bad)?;
    let frames = text(&list)?.lines().map(str::trim).filter(|l| !l.is_empty()).map(|l| folder.join(l)).collect();
    Ok(Some(Queries { frames, starts }))
}

fn text(path: &Path) -> Result<String, InputError> {
    let io = |source| InputError::Io { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(io)?.len();
    if length > MAX_LIST {
        return Err(InputError::Query { path: path.to_owned(), reason: format!("it has {length} bytes") });
    }
    fs::read_to_string(path).map_err(io)
}

fn query(path: &Path) -> Result<Start, InputError> {
    let bad = |reason: String| InputError::Query { path: path.to_owned(), reason };
    let text = text(path)?;
    let mut lines = text.lines();
    let frame = lines.next().unwrap_or_default().trim();
    let frame = frame.parse().map_err(|_| bad(format!("its first line {frame:?} is no frame number")))?;
    let state = lines.next().unwrap_or_default();
    let region = Region::parse(state).map_err(|e| bad(format!("its second line: {e}")))?;
    let r = siamrpn_init_box(&region).ok_or_else(|| {
        bad(format!("its second line {state:?} is no region with an area; nothing else can be started"))
    })?;
    let origin = path.file_name().unwrap_or_default().to_string_lossy();
    Start::new(frame, [r.x, r.y, r.width, r.height], origin)
}

/// The answer's files for one target: names and contents.
#[must_use]
pub fn answers(start: &Start, frames: &[Tracked]) -> [(String, Vec<u8>); 3] {
    let lines = |value: &dyn Fn(&Tracked) -> Option<String>| {
        frames.iter().map(|f| value(f).unwrap_or_else(|| "0".to_owned()) + "\n").collect::<String>().into_bytes()
    };
    let region = |f: &Tracked| {
        let [x, y, w, h] = f.output?.rect;
        Some(Region::rect(x, y, w, h).to_string())
    };
    let id = &start.id;
    [
        (format!("output_{id}.txt"), lines(&region)),
        (format!("output_{id}_confidence.txt"), lines(&|f| Some(f.output?.score.to_string()))),
        (format!("output_{id}_lost.txt"), lines(&|f| Some(u8::from(f.output?.lost).to_string()))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use siamrpn::tracker::Output;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    #[test]
    fn queries_say_what_to_track() {
        let list = ("frames_color.txt", "/data/1.jpg\n2.jpg\n");
        let job = folder(&[
            list,
            ("query_obj0.txt", "1\n10,20,30,40\nname=cat\n"),
            ("query_obj10.txt", "0\n1,1,9,1,9,9,1,9\n"),
        ]);
        let found = read(job.path()).unwrap().unwrap();
        assert_eq!(found.frames, [PathBuf::from("/data/1.jpg"), job.path().join("2.jpg")]);
        let starts: Vec<_> = found.starts.iter().map(|s| (s.id.as_str(), s.frame, s.rect[0])).collect();
        assert_eq!(starts, [("obj0", 1, 10.0), ("obj10", 0, 1.0)]);
        assert_eq!(read(folder(&[list]).path()).unwrap(), None);
        assert_eq!(read(folder(&[("query_a.txt", "0\n1,2,3,4\n")]).path()).unwrap(), None);
        for (query, why) in [
            ("x\n1,2,3,4", "frame number"),
            ("0\n", "second line"),
            ("0\n0\n", "no region with an area"),
            ("0\n1,2\n", "no region"),
        ] {
            let e = read(folder(&[list, ("query_a.txt", query)]).path()).unwrap_err().to_string();
            assert!(e.contains(why) && e.contains("query_a.txt"), "{query}: {e}");
        }
        let e = read(folder(&[list, ("query_a b.txt", "0\n1,2,3,4")]).path()).unwrap_err().to_string();
        assert!(e.contains("cannot name files"), "{e}");
    }

    #[test]
    fn answers_have_a_line_per_frame() {
        let output = Output { rect: [1.0, 2.5, 3.0, 4.0], score: 0.5, lost: true };
        let frames = [Tracked { output: None, seconds: None }, Tracked { output: Some(output), seconds: None }];
        let start = Start { id: "obj0".into(), ..Start::new(1, [1.0; 4], "").unwrap() };
        let files = answers(&start, &frames).map(|(name, content)| (name, String::from_utf8(content).unwrap()));
        let expected = [("", "0\n1,2.5,3,4\n"), ("_confidence", "0\n0.5\n"), ("_lost", "0\n1\n")];
        assert_eq!(files, expected.map(|(what, content)| (format!("output_obj0{what}.txt"), content.to_owned())));
    }
}
