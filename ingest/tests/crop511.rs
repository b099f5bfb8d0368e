//! PySOT's crops: sizes from boxes in pixels and in shares, and what is broken.

mod support;

use ingest::build;
use ingest::source::SourceKind;
use schemas::build::{BuildConfig, CropSemantics};
use std::fs;
use support::layouts::{YT_IDS, built, crop511, options, rejects, rows, sequences, spec};

const KIND: SourceKind = SourceKind::Crop511;

fn pysot() -> BuildConfig {
    BuildConfig { semantics: CropSemantics::Pysot, ..BuildConfig::default() }
}

#[test]
fn targets_have_the_size_they_have_in_crops_cut_here() {
    let dir = tempfile::tempdir().unwrap();
    let folder = crop511(dir.path(), 4);
    let out = dir.path().join("out");
    let report = built(KIND, &folder, &pysot(), &out);
    assert_eq!((report.videos, report.rows, report.rejects), (2, 8, 0));
    let plain = dir.path().join("plain-out");
    built(SourceKind::Sequences, &sequences(dir.path(), 4), &BuildConfig { search_px: 511, ..pysot() }, &plain);
    let found = rows(&out);
    for (row, want) in found.iter().zip(rows(&plain)) {
        let apart = row.bbox.iter().zip(want.bbox).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 0.02, "{:?} {:?}", row.bbox, want.bbox);
        // The search column holds the source's own bytes.
        assert!(row.search == want.search && row.frame == want.frame);
    }
    let labels: Vec<_> = found.iter().map(|r| (r.dataset.as_str(), r.video.as_str())).collect();
    assert_eq!(labels[0], ("vid", "a/ILSVRC2015_train_00000000"));
    assert_eq!(labels[7], ("ytbb", format!("yt_bb_detection_train/11/{}", YT_IDS[1]).as_str()));
    // The folder of the crops itself may be named, and crops may be cut smaller.
    let small = dir.path().join("small");
    built(KIND, &folder.join("crop511"), &BuildConfig { reencode_crops: true, ..pysot() }, &small);
    for (row, whole) in rows(&small).iter().zip(&found) {
        assert_eq!(row.bbox, [176.5, 176.5, whole.bbox[2], whole.bbox[3]]);
    }
}

#[test]
fn frame_sizes_beside_the_list_decide_the_shape() {
    let dir = tempfile::tempdir().unwrap();
    let folder = crop511(dir.path(), 2);
    let video = format!("yt_bb_detection_train/11/{}", YT_IDS[1]);
    let shape = |name: &str, config: &BuildConfig| {
        let out = dir.path().join(name);
        built(KIND, &folder, config, &out);
        let row = rows(&out).into_iter().find(|row| row.dataset == "ytbb").unwrap();
        (row.bbox[2] / row.bbox[3], row.frame_size)
    };
    let (wide, size) = shape("wide", &pysot());
    assert_eq!(size, [0, 0]);
    let (square, _) = shape("square", &BuildConfig { frame_aspect: 1.0, ..pysot() });
    assert!((wide / square - 16.0 / 9.0).abs() < 1e-3, "{wide} {square}");
    fs::write(folder.join("sizes.json"), format!("{{\"{video}\": [480, 640]}}")).unwrap();
    let (tall, size) = shape("tall", &pysot());
    assert!((tall / square - 0.75).abs() < 1e-3 && size == [480, 640], "{tall} {square} {size:?}");
}

#[test]
fn broken_lists_boxes_and_crops_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = crop511(dir.path(), 3);
    let list = folder.join("train.json");
    let text = fs::read_to_string(&list).unwrap();
    let more = r#""b/more": {"00": {"000000": [NaN, 1, 2, 3], "000001": [5, 5, 5, 9], "000002": [1, 2, 3],
        "000003": [-0.5, 0.1, 0.2, 0.3], "frame": [1, 2, 30, 40], "000004": [10, 20, 300, 40],
        "000005": [10, 20, 60, 90]}, "../0": {"000000": [1, 2, 3, 4]}}, "../up": {}, "#;
    fs::write(&list, text.replacen('{', &format!("{{{more}"), 1)).unwrap();
    let video = "a/ILSVRC2015_train_00000000";
    fs::write(folder.join(format!("crop511/{video}/000001.00.x.jpg")), "no picture").unwrap();
    fs::remove_file(folder.join(format!("crop511/{video}/000002.00.x.jpg"))).unwrap();
    let small = support::picture(127, 127, 1, [40, 40, 20, 20]);
    fs::write(folder.join(format!("crop511/{video}/000000.00.x.jpg")), small).unwrap();
    let out = dir.path().join("out");
    let report = built(KIND, &folder, &pysot(), &out);
    let want = [
        ("bad-box", "b/more/000000.00.x.jpg".to_owned()),
        ("bad-box", "b/more/000002.00.x.jpg".to_owned()),
        ("bad-name", "b/more/frame.00.x.jpg".to_owned()),
        ("crop-size", format!("{video}/000000.00.x.jpg")),
        ("missing-file", format!("{video}/000002.00.x.jpg")),
        ("missing-file", "b/more/000005.00.x.jpg".to_owned()),
        ("not-an-image", format!("{video}/000001.00.x.jpg")),
        ("outside-frame", "b/more/000003.00.x.jpg".to_owned()),
        ("unsafe-path", "../up".to_owned()),
        ("unsafe-path", "b/more/*.../0.x.jpg".to_owned()),
        ("zero-size", "b/more/000001.00.x.jpg".to_owned()),
    ]
    .map(|(reason, path)| (reason.to_owned(), path));
    assert_eq!(rejects(&out), want);
    assert_eq!((report.rows, report.dropped.aspect), (3, 1));
    for (broken, needle) in [("{\"a\": ", "not the expected JSON"), ("[1, 2]", "not the expected JSON")] {
        fs::write(&list, broken).unwrap();
        let error = build(&spec(KIND, &folder), &pysot(), &dir.path().join("no"), &options(1)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(needle) && text.contains("train.json") && text.contains("line 1"), "{text}");
    }
}

#[test]
fn crops_are_not_used_for_what_they_were_not_cut_for() {
    let dir = tempfile::tempdir().unwrap();
    let folder = crop511(dir.path(), 1);
    for (config, needle) in [
        (BuildConfig::default(), "semantics = \"pysot\""),
        (BuildConfig { exemplar_px: 100, ..pysot() }, "exemplar_px = 100"),
        (BuildConfig { search_px: 600, reencode_crops: true, ..pysot() }, "search_px = 600"),
    ] {
        let error = build(&spec(KIND, &folder), &config, &dir.path().join("no"), &options(1)).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(needle), "{error}");
    }
    let corpus = support::corpus_folder(dir.path(), &support::corpus_videos(1, 2));
    let error = build(&spec(SourceKind::Crops, &corpus), &pysot(), &dir.path().join("no"), &options(1)).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("siamfc"), "{error}");
}
