//! Writes small data sets in the layouts of ImageNet VID and DET, YouTube-BoundingBoxes, PySOT's crop511 and COCO, from
//! the real frames of `examples/data`, and the same frames as plain sequences to compare with.

use ingest::source::{SourceKind, SourceSpec};
use ingest::{BuildOptions, BuildReport, build};
use schemas::build::{BuildConfig, CropSemantics};
use schemas::manifest::Reject;
use shards::crop::{CropSpec, crop_target};
use shards::jpeg::{self, Limits};
use shards::reader::Dataset;
use std::fs;
use std::path::{Path, PathBuf};

/// Size of every frame, px.
pub const SIZE: [f64; 2] = [640.0, 360.0];

/// A frame of a bundled sequence: picture file, and the target's box in whole pixels x, y, w, h.
pub struct Shot {
    pub file: PathBuf,
    pub rect: [u32; 4],
}

/// Some frames of a bundled sequence.
pub fn shots(sequence: &str, count: usize) -> Vec<Shot> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/sequences").join(sequence);
    let truth = fs::read_to_string(dir.join("groundtruth.txt")).unwrap();
    let rect = |line: &str| {
        let numbers: Vec<f64> = line.split(',').map(|n| n.parse().unwrap()).collect();
        let [x, y, w, h] = numbers[..] else { unreachable!("four numbers") };
        let (x, y) = (x.max(0.0).ceil(), y.max(0.0).ceil());
        [x, y, w.min(SIZE[0] - x).floor(), h.min(SIZE[1] - y).floor()].map(|v| v as u32)
    };
    let lines = truth.lines().take(count).enumerate();
    lines.map(|(f, line)| Shot { file: dir.join(format!("color/{:08}.jpg", f + 1)), rect: rect(line) }).collect()
}

/// Both bundled sequences, with the class each has in the layouts.
pub const TARGETS: [(&str, &str); 2] = [("bunny", "n02324045"), ("chinchilla", "n02364673")];

pub fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

/// The frames as VOT sequences.
pub fn sequences(root: &Path, count: usize) -> PathBuf {
    let dir = root.join("plain");
    for (name, _) in TARGETS {
        let mut truth = String::new();
        for (f, shot) in shots(name, count).iter().enumerate() {
            copy(&shot.file, &dir.join(format!("{name}/color/{:08}.jpg", f + 1)));
            truth += &shot.rect.map(|v| v.to_string()).join(",");
            truth.push('\n');
        }
        write(&dir.join(name).join("groundtruth.txt"), truth);
    }
    dir
}

/// One `<object>` as ImageNet writes it; `track` is left out of DET.
pub fn object(track: Option<u32>, class: &str, [x, y, w, h]: [u32; 4], occluded: bool, generated: bool) -> String {
    let track = track.map(|t| format!("\t\t<trackid>{t}</trackid>\n")).unwrap_or_default();
    format!(
        "\t<object>\n{track}\t\t<name>{class}</name>\n\t\t<bndbox>\n\t\t\t<xmax>{}</xmax>\n\t\t\t<xmin>{x}</xmin>\n\
         \t\t\t<ymax>{}</ymax>\n\t\t\t<ymin>{y}</ymin>\n\t\t</bndbox>\n\t\t<occluded>{}</occluded>\n\
         \t\t<generated>{}</generated>\n\t</object>\n",
        x + w - 1,
        y + h - 1,
        u8::from(occluded),
        u8::from(generated)
    )
}

/// An annotation file as ImageNet writes it.
pub fn annotation(folder: &str, name: &str, objects: &str) -> String {
    format!(
        "<annotation>\n\t<folder>{folder}</folder>\n\t<filename>{name}</filename>\n\t<source>\n\
         \t\t<database>ILSVRC_2015</database>\n\t</source>\n\t<size>\n\t\t<width>{}</width>\n\
         \t\t<height>{}</height>\n\t</size>\n{objects}</annotation>\n",
        SIZE[0], SIZE[1]
    )
}

/// Folder and name of the video that shows a sequence.
pub fn vid_folder(number: usize) -> String {
    match number {
        0 => "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000".to_owned(),
        _ => "val/ILSVRC2015_val_00000000".to_owned(),
    }
}

/// ImageNet VID: track 0 is the target; track 1 its left half, occluded on odd frames, interpolated on every third; a
/// last frame shows nothing.
pub fn vid(root: &Path, count: usize) -> PathBuf {
    let dir = root.join("ILSVRC2015");
    for (number, (name, class)) in TARGETS.into_iter().enumerate() {
        let folder = vid_folder(number);
        let all = shots(name, count + 1);
        for (f, shot) in all.iter().enumerate() {
            let [x, y, w, h] = shot.rect;
            let objects = if f < count {
                object(Some(0), class, shot.rect, false, false)
                    + &object(Some(1), "n00000001", [x, y, w / 2, h], f % 2 == 1, f % 3 == 0)
            } else {
                String::new()
            };
            copy(&shot.file, &dir.join(format!("Data/VID/{folder}/{f:06}.JPEG")));
            let text = annotation(&folder, &format!("{f:06}"), &objects);
            write(&dir.join(format!("Annotations/VID/{folder}/{f:06}.xml")), text);
        }
    }
    dir
}

/// A line of a YouTube-BB list.
pub fn ytbb_line(id: &str, ms: u32, class: (u16, &str), object: u16, rect: Option<[u32; 4]>) -> String {
    let (number, name) = class;
    match rect {
        Some([x, y, w, h]) => {
            let x = [x, x + w].map(|v| f64::from(v) / SIZE[0]);
            let y = [y, y + h].map(|v| f64::from(v) / SIZE[1]);
            format!("{id},{ms},{number},{name},{object},present,{},{},{},{}\n", x[0], x[1], y[0], y[1])
        }
        None => format!("{id},{ms},{number},{name},{object},absent,-1.0,-1.0,-1.0,-1.0\n"),
    }
}

/// Ids of the two videos; ids may begin with `-`.
pub const YT_IDS: [&str; 2] = ["-a_bLFuriZ4", "AAB6lO-XiKE"];
/// Classes of the two videos.
pub const YT_CLASSES: [(u16, &str); 2] = [(11, "cat"), (3, "bear")];

/// YouTube-BB with frames as the usual extraction script names them. The last line of each segment is absent.
pub fn ytbb(root: &Path, count: usize) -> PathBuf {
    let dir = root.join("youtube-bb");
    for (number, (name, _)) in TARGETS.into_iter().enumerate() {
        let (id, class, split) = (YT_IDS[number], YT_CLASSES[number], ["train", "validation"][number]);
        let mut list = String::new();
        for (f, shot) in shots(name, count).iter().enumerate() {
            let ms = 238_000 + 1000 * f as u32;
            list += &ytbb_line(id, ms, class, 2, Some(shot.rect));
            let file = format!("yt_bb_detection_{split}/{}/{id}_{ms}_{}_2.jpg", class.0, class.0);
            copy(&shot.file, &dir.join(file));
        }
        list += &ytbb_line(id, 238_000 + 1000 * count as u32, class, 2, None);
        write(&dir.join(format!("yt_bb_detection_{split}.csv")), list);
    }
    dir
}

/// PySOT's crops: the first sequence as VID with boxes in pixels, the second as YouTube-BB with shares of the frame.
pub fn crop511(root: &Path, count: usize) -> PathBuf {
    let dir = root.join("pysot");
    let spec = CropSpec { semantics: CropSemantics::Pysot, exemplar_px: 127, context_amount: 0.5 };
    let mut videos = Vec::new();
    for (number, (name, _)) in TARGETS.into_iter().enumerate() {
        let video = ["a/ILSVRC2015_train_00000000".to_owned(), format!("yt_bb_detection_train/11/{}", YT_IDS[1])];
        let video = &video[number];
        let mut frames = Vec::new();
        for (f, shot) in shots(name, count).iter().enumerate() {
            let picture = jpeg::decode(&fs::read(&shot.file).unwrap(), &Limits::default()).unwrap();
            let [x, y, w, h] = shot.rect.map(f64::from);
            let target = [x + w / 2.0, y + h / 2.0, w, h];
            let crop = crop_target(&picture, picture.channel_mean(), target, 511, &spec).unwrap();
            let bytes = jpeg::encode(&crop.image, 95).unwrap();
            write(&dir.join(format!("crop511/{video}/{f:06}.00.x.jpg")), bytes);
            let [sx, sy] = if number == 0 { [1.0, 1.0] } else { SIZE };
            let edges = [x / sx, y / sy, (x + w) / sx, (y + h) / sy].map(|v| v.to_string());
            frames.push(format!("\"{f:06}\": [{}]", edges.join(", ")));
        }
        // The published script for YouTube-BB begins every key with "./".
        let key = if number == 0 { video.clone() } else { format!("./{video}") };
        videos.push(format!("\"{key}\": {{\"00\": {{{}}}}}", frames.join(", ")));
    }
    write(&dir.join("train.json"), format!("{{{}}}", videos.join(",\n")));
    dir
}

/// COCO: every frame a picture, with the target and a crowd around it.
pub fn coco(root: &Path, count: usize) -> PathBuf {
    let dir = root.join("coco");
    let (mut images, mut instances) = (Vec::new(), Vec::new());
    for (number, (name, _)) in TARGETS.into_iter().enumerate() {
        for (f, shot) in shots(name, count).iter().enumerate() {
            let id = 1000 * number + f + 1;
            let [x, y, w, h] = shot.rect;
            copy(&shot.file, &dir.join(format!("train2017/{id:012}.jpg")));
            images.push(format!(
                "{{\"license\": 4, \"file_name\": \"{id:012}.jpg\", \"height\": {}, \"width\": {}, \"id\": {id}}}",
                SIZE[1], SIZE[0]
            ));
            for (own, crowd) in [(2 * id, 0), (2 * id + 1, 1)] {
                instances.push(format!(
                    "{{\"segmentation\": [[1.5, 2.5, 3.5]], \"area\": 702.1, \"iscrowd\": {crowd}, \"image_id\": {id}, \
                     \"bbox\": [{x}.0, {y}.0, {w}, {h}], \"category_id\": {}, \"id\": {own}}}",
                    17 + number
                ));
            }
        }
    }
    let categories = r#"[{"supercategory": "animal", "id": 17, "name": "rabbit"}, {"id": 18, "name": "rodent"}]"#;
    let list = format!(
        "{{\"info\": {{}}, \"licenses\": [], \"images\": [{}], \"annotations\": [{}], \"categories\": {categories}}}",
        images.join(", "),
        instances.join(", ")
    );
    write(&dir.join("annotations/instances_train2017.json"), list);
    dir
}

/// ImageNet DET: every frame a picture, with the target and its upper half.
pub fn det(root: &Path, count: usize) -> PathBuf {
    let dir = root.join("ILSVRC-det");
    for (number, (name, class)) in TARGETS.into_iter().enumerate() {
        let folder = ["train/ILSVRC2014_train_0000", "val"][number];
        for (f, shot) in shots(name, count).iter().enumerate() {
            let file = format!("ILSVRC2014_train_{f:08}");
            let [x, y, w, h] = shot.rect;
            let objects = object(None, class, shot.rect, false, false)
                + &object(None, "n00000002", [x, y, w, h / 2], false, false);
            copy(&shot.file, &dir.join(format!("ILSVRC/Data/DET/{folder}/{file}.JPEG")));
            let text = annotation(folder, &file, &objects);
            write(&dir.join(format!("ILSVRC/Annotations/DET/{folder}/{file}.xml")), text);
        }
    }
    dir
}

pub fn spec(kind: SourceKind, path: &Path) -> Vec<SourceSpec> {
    vec![SourceSpec { kind, label: None, path: path.to_owned() }]
}

pub fn options(threads: usize) -> BuildOptions {
    BuildOptions { threads, ..BuildOptions::default() }
}

/// Builds with one thread and with three, checks that both give the same bytes and that the dataset verifies.
pub fn built(kind: SourceKind, path: &Path, config: &BuildConfig, out: &Path) -> BuildReport {
    let report = build(&spec(kind, path), config, out, &options(1)).unwrap();
    let found = shards::verify::verify(out, |_| ()).unwrap().findings;
    assert!(found.is_empty(), "{found:?}");
    let again = out.with_extension("again");
    build(&spec(kind, path), config, &again, &options(3)).unwrap();
    assert!(super::dataset_bytes(&again) == super::dataset_bytes(out), "threads change the dataset");
    report
}

/// A row without its pixels' place.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub dataset: String,
    pub video: String,
    pub track: String,
    pub class: String,
    pub frame: u32,
    pub time_ms: i64,
    pub flags: u8,
    pub bbox: [f32; 4],
    pub frame_size: [u16; 2],
    pub template: Vec<u8>,
    pub search: Vec<u8>,
}

/// Every row of a dataset by video, track and frame.
pub fn rows(out: &Path) -> Vec<Shown> {
    let dataset = Dataset::open(out).unwrap();
    let mut all = Vec::new();
    for number in 0..dataset.manifest().shards.len() {
        let shard = dataset.shard(number).unwrap();
        for i in 0..shard.rows() {
            let row = shard.row(i).unwrap();
            all.push(Shown {
                dataset: row.dataset().to_owned(),
                video: row.video().to_owned(),
                track: row.track().to_owned(),
                class: row.class().to_owned(),
                frame: row.frame(),
                time_ms: row.time_ms(),
                flags: row.flags(),
                bbox: row.bbox(),
                frame_size: row.frame_size(),
                template: row.template().to_vec(),
                search: row.search().to_vec(),
            });
        }
    }
    all.sort_by(|a, b| (&a.video, &a.track, a.frame).cmp(&(&b.video, &b.track, b.frame)));
    all
}

/// The lines of `rejects.jsonl` as reason and path.
pub fn rejects(out: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(out.join("rejects.jsonl")).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<Reject>(line).unwrap());
    let mut all: Vec<_> = all.map(|reject| (reject.reason, reject.path)).collect();
    all.sort();
    all
}
