//! YouTube-BoundingBoxes: lists, frames, what is missing and what is broken.

mod support;

use ingest::build;
use ingest::source::SourceKind;
use schemas::build::BuildConfig;
use std::fs;
use std::path::Path;
use support::dataset_bytes;
use support::layouts::{
    YT_CLASSES, YT_IDS, built, copy, options, rejects, rows, sequences, shots, spec, write, ytbb, ytbb_line,
};

const KIND: SourceKind = SourceKind::Ytbb;

#[test]
fn shares_of_the_frame_become_the_rows_of_the_same_boxes_in_pixels() {
    let dir = tempfile::tempdir().unwrap();
    let config = BuildConfig::default();
    let folder = ytbb(dir.path(), 5);
    let out = dir.path().join("out");
    let report = built(KIND, &folder, &config, &out);
    assert_eq!((report.videos, report.tracks, report.rows, report.dropped.absent), (2, 2, 10, 2));
    let plain = dir.path().join("plain-out");
    built(SourceKind::Sequences, &sequences(dir.path(), 5), &config, &plain);
    let found = rows(&out);
    for (number, (row, want)) in found.iter().zip(rows(&plain)).enumerate() {
        let apart = row.bbox.iter().zip(want.bbox).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 0.01, "{:?} {:?}", row.bbox, want.bbox);
        assert_eq!((row.frame_size, row.search.len()), ([640, 360], want.search.len()));
        assert_eq!((row.frame, row.time_ms), (238 + number as u32 % 5, 238_000 + 1000 * (number as i64 % 5)));
    }
    let names = |r: &support::layouts::Shown| (r.dataset.clone(), r.video.clone(), r.track.clone(), r.class.clone());
    assert_eq!(names(&found[0]), ("ytbb".into(), YT_IDS[0].into(), "011002".into(), "cat".into()));
    assert_eq!(names(&found[9]), ("ytbb".into(), YT_IDS[1].into(), "003002".into(), "bear".into()));
    // Packed lists are the same lists.
    for (split, bytes) in [("train", 1), ("validation", 19)] {
        let list = folder.join(format!("yt_bb_detection_{split}.csv"));
        let packed = zstd::encode_all(&fs::read(&list).unwrap()[..], bytes).unwrap();
        fs::remove_file(&list).unwrap();
        fs::write(list.with_extension("csv.zst"), packed).unwrap();
    }
    let again = dir.path().join("packed");
    build(&spec(KIND, &folder), &config, &again, &options(2)).unwrap();
    assert!(dataset_bytes(&again) == dataset_bytes(&out));
}

#[test]
fn frames_are_found_by_the_users_own_pattern() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("mine");
    let mut list =
        String::from("youtube_id,timestamp_ms,class_id,class_name,object_id,object_presence,xmin,xmax,ymin,ymax\n");
    for (f, shot) in shots("bunny", 4).iter().enumerate() {
        // Not in the order of time, and two objects of one class.
        let ms = 9_000 - 1000 * f as u32;
        list += &ytbb_line("id", ms, YT_CLASSES[0], (f % 2) as u16, Some(shot.rect));
        copy(&shot.file, &folder.join(format!("frames/id/{:06}.jpg", ms / 1000)));
    }
    write(&folder.join("youtube_boundingboxes_detection_train.csv"), &list);
    let frame_pattern = "frames/{id}/{s:06}.jpg".to_owned();
    let config = BuildConfig { frame_pattern, ..BuildConfig::default() };
    for (source, name) in [(folder.clone(), "a"), (folder.join("youtube_boundingboxes_detection_train.csv"), "b")] {
        let out = dir.path().join(name);
        let report = built(KIND, &source, &config, &out);
        assert_eq!((report.rows, report.tracks, report.rejects), (4, 2, 0));
        let found: Vec<_> = rows(&out).into_iter().map(|r| (r.track, r.frame)).collect();
        let want = [("011000", 7), ("011000", 9), ("011001", 6), ("011001", 8)];
        assert_eq!(found, want.map(|(t, f)| (t.to_owned(), f)));
    }
    let wrong = BuildConfig { frame_pattern: "{id}.jpg".into(), ..BuildConfig::default() };
    let error = build(&spec(KIND, &folder), &wrong, Path::new("out"), &options(1)).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("frame_pattern"), "{error}");
}

#[test]
fn broken_lines_boxes_and_missing_frames_are_rejects() {
    let dir = tempfile::tempdir().unwrap();
    let folder = ytbb(dir.path(), 5);
    let (id, cat) = (YT_IDS[0], YT_CLASSES[0]);
    let list = folder.join("yt_bb_detection_train.csv");
    let mut text = fs::read_to_string(&list).unwrap();
    let rect = Some([100, 100, 50, 50]);
    text += "this is no line\n";
    text += &format!("{id},1000,11,cat,2,present,0.5,0.4,0.2,0.3\n");
    text += &format!("{id},2000,11,cat,2,present,0.5,nan,0.2,0.3\n");
    text += &format!("{id},3000,11,cat,2,present,0.5,1.5,0.2,0.3\n");
    text += &ytbb_line(id, 238_000, cat, 2, rect);
    text += &ytbb_line(id, 300_000, cat, 2, rect);
    for ms in [1000, 2000, 3000] {
        text += &ytbb_line("vanished", ms, cat, 0, rect);
    }
    text += &ytbb_line("../../etc", 1000, cat, 0, rect);
    fs::write(&list, text).unwrap();
    fs::write(folder.join(format!("yt_bb_detection_train/11/{id}_239000_11_2.jpg")), "no picture").unwrap();
    let out = dir.path().join("out");
    let report = built(KIND, &folder, &BuildConfig::default(), &out);
    let at = |ms: u32| format!("yt_bb_detection_train/11/{id}_{ms}_11_2.jpg");
    let want = [
        ("bad-box", at(2000)),
        ("bad-line", "yt_bb_detection_train.csv:16".into()),
        ("bad-line", "yt_bb_detection_train.csv:7".into()),
        ("duplicate-frame", at(238_000)),
        ("missing-file", at(300_000)),
        ("missing-video", "yt_bb_detection_train/11/vanished_1000_11_0.jpg".into()),
        ("not-an-image", at(239_000)),
        ("outside-frame", at(3000)),
        ("zero-size", at(1000)),
    ]
    .map(|(reason, path)| (reason.to_owned(), path));
    assert_eq!(rejects(&out), want);
    assert_eq!((report.rows, report.rejects), (9, 9));
}

#[test]
fn a_folder_without_its_list_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let source = spec(KIND, dir.path());
    let error = build(&source, &BuildConfig::default(), &dir.path().join("out"), &options(1)).unwrap_err();
    assert!(error.to_string().contains("yt_bb_detection_PART.csv"), "{error}");
    write(&dir.path().join("yt_bb_detection_train.csv"), "");
    write(&dir.path().join("yt_bb_detection_train.csv.gz"), "");
    let error = build(&source, &BuildConfig::default(), &dir.path().join("out"), &options(1)).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    fs::remove_file(dir.path().join("yt_bb_detection_train.csv.gz")).unwrap();
    let error = build(&source, &BuildConfig::default(), &dir.path().join("out"), &options(1)).unwrap_err();
    assert!(error.to_string().contains("no annotated frame"), "{error}");
}
