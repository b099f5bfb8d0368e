//! Writes small corpora and data sets in the layouts of the real ones, with pictures that differ from each other.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(dead_code, reason = "each test program uses a part of it")]

pub mod crash;
pub mod layouts;

use serde_pickle::{HashableValue, SerOptions, Value};
use shards::image::Rgb;
use shards::jpeg;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A picture with a gradient, some texture and a bright box (x, y, w, h).
pub fn picture(width: usize, height: usize, seed: usize, target: [usize; 4]) -> Vec<u8> {
    let [bx, by, bw, bh] = target;
    let mut data = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            let inside = (bx..bx + bw).contains(&x) && (by..by + bh).contains(&y);
            let texture = ((x / 8 + y / 8 + seed) % 5) * 20;
            let base = (x * 120 / width + texture + seed * 7) % 200;
            let pixel =
                if inside { [250, (200 + seed % 50) as u8, 20] } else { [base as u8, (y * 150 / height) as u8, 90] };
            data.extend_from_slice(&pixel);
        }
    }
    jpeg::encode(&Rgb::new(width, height, data).unwrap(), 90).unwrap()
}

/// A track of the corpus: key as pickled, name in file names, frames.
pub struct CorpusTrack {
    pub key: HashableValue,
    pub name: String,
    pub frames: Vec<String>,
}

/// A video of the corpus.
pub struct CorpusVideo {
    pub name: String,
    pub tracks: Vec<CorpusTrack>,
}

/// Some videos of ImageNet VID and of YouTube-BB, one without tracks.
pub fn corpus_videos(count: usize, frames: usize) -> Vec<CorpusVideo> {
    let mut videos = Vec::new();
    for v in 0..count {
        let track = |number: usize, vid: bool| CorpusTrack {
            key: if vid { HashableValue::I64(number as i64) } else { HashableValue::String(format!("005{number:03}")) },
            name: if vid { format!("{number:02}") } else { format!("005{number:03}") },
            frames: (0..frames)
                .map(|f| if vid { format!("{:06}", f * 2) } else { format!("yt_{f}_{}", 1000 * f) })
                .collect(),
        };
        let vid = v % 2 == 0;
        let name = if vid { format!("ILSVRC2015_train_{v:08}") } else { format!("-a_{v}bLFuriZ4") };
        videos.push(CorpusVideo { name, tracks: (0..1 + v % 3).map(|t| track(t, vid)).collect() });
    }
    videos.push(CorpusVideo { name: "no_usable_track".into(), tracks: Vec::new() });
    videos
}

/// The pickle that lists `videos`.
pub fn meta(videos: &[CorpusVideo]) -> Vec<u8> {
    let text = |t: &str| Value::String(t.to_owned());
    let list = videos.iter().map(|video| {
        let tracks: BTreeMap<HashableValue, Value> = video
            .tracks
            .iter()
            .map(|t| (t.key.clone(), Value::List(t.frames.iter().map(|f| text(f)).collect())))
            .collect();
        Value::Tuple(vec![text(&video.name), Value::Dict(tracks)])
    });
    serde_pickle::value_to_vec(&Value::List(list.collect()), SerOptions::new()).unwrap()
}

/// The file name of a crop with its target's size.
pub fn crop_name(frame: &str, track: &str, w: usize, h: usize) -> String {
    format!("{frame}.{track}.x_{w}.00_{h}.00_1280_720.jpg")
}

/// Writes the corpus as a folder and returns it.
pub fn corpus_folder(root: &Path, videos: &[CorpusVideo]) -> PathBuf {
    let dir = root.join("ytb_vid_filter");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("meta_data.pkl"), meta(videos)).unwrap();
    let mut seed = 0;
    for video in videos {
        let folder = dir.join(&video.name);
        fs::create_dir_all(&folder).unwrap();
        for track in &video.tracks {
            for frame in &track.frames {
                seed += 1;
                let (w, h) = (50 + seed % 20, 40 + seed % 30);
                let bytes = picture(500, 500, seed, [250 - w / 2, 250 - h / 2, w, h]);
                fs::write(folder.join(crop_name(frame, &track.name, w, h)), bytes).unwrap();
            }
        }
    }
    dir
}

/// How to pack.
#[derive(Clone, Copy)]
pub enum Pack {
    Tar,
    Gz,
    Zst,
}

/// Packs a corpus folder into an archive beside it; `meta_last` puts the list behind the pictures.
pub fn pack(folder: &Path, how: Pack, meta_last: bool) -> PathBuf {
    let mut files: Vec<PathBuf> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path())
        .collect();
    // An order that is neither that of the names nor that of the rows.
    files.sort_by_key(|path| {
        (path.ends_with("meta_data.pkl") == meta_last, blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex())
    });
    let name = folder.file_name().unwrap().to_str().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    for path in files {
        let inner = Path::new(name).join(path.strip_prefix(folder).unwrap());
        builder.append_path_with_name(&path, inner).unwrap();
    }
    save(folder, how, &builder.into_inner().unwrap())
}

/// Writes the bytes of a tar beside `folder`, compressed.
pub fn save(folder: &Path, how: Pack, bytes: &[u8]) -> PathBuf {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let ending = match how {
        Pack::Tar => "tar",
        Pack::Gz => "tar.gz",
        Pack::Zst => "tar.zst",
    };
    let path = folder.with_file_name(format!("{name}.{ending}"));
    let mut file = File::create(&path).unwrap();
    match how {
        Pack::Tar => file.write_all(bytes).unwrap(),
        Pack::Gz => {
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        }
        Pack::Zst => file.write_all(&zstd::encode_all(bytes, 1).unwrap()).unwrap(),
    }
    path
}

/// Writes one VOT sequence of 320x240 frames; `lines` overrides ground-truth lines.
pub fn vot_sequence(dir: &Path, frames: usize, seed: usize, lines: &[(usize, &str)]) {
    fs::create_dir_all(dir.join("color")).unwrap();
    let mut truth = Vec::new();
    for f in 0..frames {
        let target = [40 + 5 * f, 60 + 2 * f, 36, 30];
        fs::write(dir.join(format!("color/{:08}.jpg", f + 1)), picture(320, 240, seed + f, target)).unwrap();
        let [x, y, w, h] = target;
        truth.push(format!("{x},{y},{w},{h}"));
    }
    for (line, text) in lines {
        truth[*line] = (*text).to_owned();
    }
    fs::write(dir.join("groundtruth.txt"), truth.join("\n") + "\n").unwrap();
}

/// Writes a VOT data set with `count` sequences.
pub fn vot_dataset(root: &Path, count: usize, frames: usize) -> PathBuf {
    let dir = root.join("vot-small");
    let names: Vec<String> = (0..count).map(|s| format!("seq{s}")).collect();
    for (s, name) in names.iter().enumerate() {
        vot_sequence(&dir.join(name), frames, s * 13, &[]);
    }
    fs::write(dir.join("list.txt"), names.join("\n")).unwrap();
    dir
}

/// Every file of a dataset that belongs to it, with its bytes.
pub fn dataset_bytes(out: &Path) -> BTreeMap<String, Vec<u8>> {
    walkdir::WalkDir::new(out)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != ".ingest")
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(out).unwrap().to_str().unwrap().to_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}
