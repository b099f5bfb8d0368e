//! `meta_data.pkl`: which frames of which track of which video belong to the corpus.
//!
//! A pickled list of `(video, {track: [frame, ...]})`; tracks are integers (ImageNet VID, printed `%02d` in file
//! names) or text (YouTube-BB), frames are text in time order.

use schemas::manifest::Reject;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Name of the file beside the video folders.
pub const META_FILE: &str = "meta_data.pkl";
/// Largest file accepted: the whole corpus needs about a fifth of it.
pub const MAX_META_BYTES: u64 = 1 << 30;
/// Most frames accepted: ten times the corpus.
const MAX_FRAMES: u64 = 60_000_000;
/// Longest name of a video, track or frame in bytes.
const MAX_NAME: usize = 200;
/// Stack of the thread that unpickles: values nest, and nesting costs stack.
const STACK_BYTES: usize = 256 << 20;

/// A video of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaVideo {
    /// Name: that of its folder.
    pub name: String,
    /// Its tracks by name.
    pub tracks: Vec<MetaTrack>,
}

/// A track of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaTrack {
    /// Name as in file names.
    pub name: String,
    /// Its frames in time order, one per line: six million short strings would cost many times their text.
    frames: String,
    /// Number of frames.
    pub len: u64,
}

impl MetaTrack {
    /// The frames in time order.
    pub fn frames(&self) -> impl Iterator<Item = &str> {
        self.frames.split('\n').filter(|frame| !frame.is_empty())
    }
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(untagged)]
enum TrackKey {
    Number(i64),
    Text(String),
}

/// Reads the pickle. Videos come out sorted by name.
///
/// # Errors
/// A sentence about the first thing that is not as it should be.
pub fn parse(bytes: &[u8]) -> Result<Vec<MetaVideo>, String> {
    type Pickled = Vec<(String, BTreeMap<TrackKey, Vec<String>>)>;
    let read = || -> Result<Pickled, String> {
        let options = serde_pickle::DeOptions::new().decode_strings();
        serde_pickle::from_slice(bytes, options).map_err(|error| format!("it is not the expected pickle ({error})"))
    };
    super::marks::check(bytes)?;
    let pickled = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("unpickle".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, read).map_err(|error| format!("cannot start a thread: {error}"))?;
        thread.join().map_err(|_| "it is not the expected pickle (the decoder gave up)".to_owned())?
    })?;
    let mut videos = Vec::with_capacity(pickled.len());
    let mut total = 0;
    for (name, trajectories) in pickled {
        safe_name("video", &name)?;
        let mut tracks = Vec::with_capacity(trajectories.len());
        for (key, frames) in trajectories {
            let track = match key {
                TrackKey::Number(number) => format!("{number:02}"),
                TrackKey::Text(text) => text,
            };
            safe_name("track", &track)?;
            for frame in &frames {
                safe_name("frame", frame)?;
            }
            total += frames.len() as u64;
            if total > MAX_FRAMES {
                return Err(format!("it lists more than {MAX_FRAMES} frames"));
            }
            tracks.push(MetaTrack { name: track, len: frames.len() as u64, frames: frames.join("\n") });
        }
        tracks.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = tracks.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(format!("video {name:?} has track {:?} twice", pair[0].name));
        }
        videos.push(MetaVideo { name, tracks });
    }
    videos.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = videos.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(format!("it lists video {:?} twice", pair[0].name));
    }
    Ok(videos)
}

/// Names become parts of paths, so they must not lead anywhere else.
fn safe_name(what: &str, name: &str) -> Result<(), String> {
    let wrong = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME {
        "is too long"
    } else if name == "." || name == ".." || name.contains(['/', '\\', '\n', '\0']) {
        "is not a plain file name"
    } else {
        return Ok(());
    };
    let short: String = name.chars().take(40).collect();
    Err(format!("the {what} name {short:?} {wrong}"))
}

/// A reject about a listed frame.
pub(super) fn reject(dataset: &str, video: &str, track: &str, path: String, reason: &str, detail: String) -> Reject {
    Reject {
        dataset: dataset.to_owned(),
        video: video.to_owned(),
        track: track.to_owned(),
        path,
        reason: reason.to_owned(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_pickle::{HashableValue as H, SerOptions, Value as V};

    fn pickle(value: &V) -> Vec<u8> {
        serde_pickle::value_to_vec(value, SerOptions::new()).unwrap()
    }

    fn video(name: &str, tracks: Vec<(H, &[&str])>) -> V {
        let frames = |list: &[&str]| V::List(list.iter().map(|f| V::String((*f).to_owned())).collect());
        let dict = tracks.into_iter().map(|(key, list)| (key, frames(list))).collect();
        V::Tuple(vec![V::String(name.to_owned()), V::Dict(dict)])
    }

    #[test]
    fn both_kinds_of_track_keys() {
        let list = V::List(vec![
            video("--0bLFuriZ4", vec![(H::String("005002".into()), &["a_1_1000", "a_2_2000"])]),
            video("ILSVRC2015_val_00000001", vec![(H::I64(10), &["000001"]), (H::I64(3), &["000000", "000001"])]),
            video("empty", vec![]),
        ]);
        let videos = parse(&pickle(&list)).unwrap();
        assert_eq!(
            videos.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(),
            ["--0bLFuriZ4", "ILSVRC2015_val_00000001", "empty"]
        );
        let vid = &videos[1];
        assert_eq!(vid.tracks.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["03", "10"]);
        assert_eq!(vid.tracks[0].frames().collect::<Vec<_>>(), ["000000", "000001"]);
        assert_eq!((videos[0].tracks[0].len, videos[2].tracks.len()), (2, 0));
    }

    #[test]
    fn protocol_three_as_python_writes_it() {
        // pickle.dumps([("v", {0: ["000000", "000001"]})], 3)
        let bytes = b"\x80\x03]q\x00X\x01\x00\x00\x00vq\x01}q\x02K\x00]q\x03(X\x06\x00\x00\x00000000q\x04X\x06\x00\x00\x00000001q\x05es\x86q\x06a.";
        let videos = parse(bytes).unwrap();
        assert_eq!(videos[0].tracks[0].name, "00");
        assert_eq!(videos[0].tracks[0].frames().count(), 2);
    }

    #[test]
    fn a_wrong_pickle_is_one_clear_sentence() {
        let text = |t: &str| V::String(t.to_owned());
        for (bytes, needle) in [
            (b"not a pickle".to_vec(), "not the expected pickle"),
            (Vec::new(), "not the expected pickle"),
            (pickle(&V::Dict(std::collections::BTreeMap::new())), "not the expected pickle"),
            (pickle(&V::List(vec![text("v")])), "not the expected pickle"),
            (b"cos\nsystem\n(S'true'\ntR.".to_vec(), "not the expected pickle"),
            (pickle(&V::List(vec![video("../up", vec![])])), "\"../up\" is not a plain file name"),
            (pickle(&V::List(vec![video("v", vec![(H::I64(0), &["a/b"])])])), "\"a/b\""),
            (pickle(&V::List(vec![video("v", vec![]), video("v", vec![])])), "twice"),
        ] {
            let error = parse(&bytes).unwrap_err();
            assert!(error.contains(needle), "{error}");
        }
        let good = pickle(&V::List(vec![video("v", vec![(H::I64(0), &["000000"])])]));
        for cut in 0..good.len() {
            assert!(parse(&good[..cut]).is_err(), "cut at {cut}");
        }
    }
}
