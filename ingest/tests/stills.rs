//! Single pictures with boxes: COCO and ImageNet DET, and pairs drawn from them.

mod support;

use ingest::build;
use ingest::source::SourceKind;
use schemas::build::BuildConfig;
use schemas::train::DataConfig;
use shards::plan::{Plan, Tracks};
use shards::reader::Dataset;
use std::fs;
use std::path::Path;
use support::layouts::{built, coco, det, object, options, rejects, rows, sequences, spec, write};

const KIND: SourceKind = SourceKind::Stills;

#[test]
fn objects_of_coco_are_tracks_of_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let folder = coco(dir.path(), 4);
    let out = dir.path().join("out");
    let report = built(KIND, &folder, &BuildConfig::default(), &out);
    assert_eq!((report.videos, report.tracks, report.rows, report.dropped.crowd, report.rejects), (8, 8, 8, 8, 0));
    let plain = dir.path().join("plain-out");
    built(SourceKind::Sequences, &sequences(dir.path(), 4), &BuildConfig::default(), &plain);
    let found = rows(&out);
    for (row, want) in found.iter().zip(rows(&plain)) {
        assert!((&row.template, &row.search, row.bbox) == (&want.template, &want.search, want.bbox), "{row:?}");
    }
    let names: Vec<_> = found.iter().map(|r| (r.video.as_str(), r.track.as_str(), r.class.as_str())).collect();
    assert_eq!(names[0], ("train2017/000000000001", "2", "rabbit"));
    assert_eq!(names[7], ("train2017/000000001004", "2008", "rodent"));
    let list = folder.join("annotations/instances_train2017.json");
    let again = dir.path().join("list");
    let report = build(&spec(KIND, &list), &BuildConfig::default(), &again, &options(2)).unwrap();
    assert_eq!((report.rows, rows(&again)[0].dataset.as_str()), (8, "instances_train2017"));
}

#[test]
fn rows_of_stills_are_paired_with_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = spec(KIND, &coco(dir.path(), 3));
    sources.extend(spec(SourceKind::Sequences, &sequences(dir.path(), 5)));
    let out = dir.path().join("out");
    build(&sources, &BuildConfig::default(), &out, &options(2)).unwrap();
    let tracks = Tracks::read(&Dataset::open(&out).unwrap(), 0).unwrap();
    let plan = Plan::new(&tracks, 1, &DataConfig::default(), 1).unwrap();
    assert_eq!(plan.units(), 8, "six pictures and two sequences");
    let mut same = 0;
    for step in 0..plan.steps_per_epoch() {
        let pair = plan.pair(0, step, 0);
        same += u64::from(pair.template == pair.search);
    }
    assert_eq!(same, 12, "both pairs of every picture, none of a sequence");
}

#[test]
fn broken_lists_and_pictures_of_coco_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = coco(dir.path(), 2);
    let list = folder.join("annotations/instances_train2017.json");
    let text = fs::read_to_string(&list).unwrap();
    let extra = |id: u32, image: u32, bbox: &str| {
        format!("{{\"id\": {id}, \"image_id\": {image}, \"category_id\": 17, \"iscrowd\": 0, \"bbox\": {bbox}}}, ")
    };
    let more = [
        extra(90, 1, "[NaN, 1, 20, 20]"),
        extra(91, 1, "[5, 5, 0, 9]"),
        extra(92, 1, "[1, 2, 3]"),
        extra(93, 1, "[600, 300, 100, 20]"),
        extra(94, 77, "[5, 5, 30, 30]"),
        extra(2, 1, "[5, 5, 30, 30]"),
        extra(95, 1, "[5, 5, 300, 3]"),
    ];
    let text = text.replace("\"annotations\": [", &format!("\"annotations\": [{}", more.concat()));
    let text = text.replace("\"images\": [", "\"images\": [{\"id\": 500, \"file_name\": \"../../x.jpg\"}, ");
    fs::write(&list, text).unwrap();
    fs::write(folder.join("train2017/000000000002.jpg"), "no picture").unwrap();
    fs::remove_file(folder.join("train2017/000000001001.jpg")).unwrap();
    let out = dir.path().join("out");
    let report = built(KIND, &folder, &BuildConfig::default(), &out);
    let first = "train2017/000000000001.jpg";
    let want = [
        ("bad-box", first),
        ("bad-box", first),
        ("duplicate-object", first),
        ("missing-file", "train2017/000000001001.jpg"),
        ("not-an-image", "train2017/000000000002.jpg"),
        ("outside-frame", first),
        ("unknown-image", "instances_train2017.json:94"),
        ("unsafe-path", "../../x.jpg"),
        ("zero-size", first),
    ]
    .map(|(reason, path)| (reason.to_owned(), path.to_owned()));
    assert_eq!(rejects(&out), want);
    assert_eq!((report.rows, report.dropped.aspect), (2, 1));
    fs::write(&list, "{\"images\": [").unwrap();
    let error = build(&spec(KIND, &folder), &BuildConfig::default(), Path::new("no"), &options(1)).unwrap_err();
    assert!(error.to_string().contains("instances_train2017.json is not the expected JSON"), "{error}");
}

#[test]
fn det_is_read_from_its_xml() {
    let dir = tempfile::tempdir().unwrap();
    let folder = det(dir.path(), 3);
    let good = object(None, "n1", [200, 100, 80, 60], false, false);
    let annotations = folder.join("ILSVRC/Annotations/DET/val");
    let bad = support::layouts::annotation("x", "x", &good.replace("<xmax>279", "<xmax>100"));
    write(&annotations.join("bad_box.xml"), bad);
    write(&annotations.join("bad_xml.xml"), "<annotation>");
    write(&annotations.join("no_picture.xml"), support::layouts::annotation("x", "x", &good));
    let out = dir.path().join("out");
    let report = built(KIND, &folder, &BuildConfig { min_aspect: 0.4, ..BuildConfig::default() }, &out);
    assert_eq!((report.videos, report.tracks, report.rows), (6, 12, 12));
    let found = rows(&out);
    let names = |r: &support::layouts::Shown| (r.video.clone(), r.track.clone(), r.class.clone());
    let first = "train/ILSVRC2014_train_0000/ILSVRC2014_train_00000000";
    assert_eq!(names(&found[0]), (first.into(), "00".into(), "n02324045".into()));
    assert_eq!(names(&found[1]), (first.into(), "01".into(), "n00000002".into()));
    let want = [
        ("bad-xml", "Annotations/DET/val/bad_xml.xml"),
        ("missing-file", "Data/DET/val/no_picture.JPEG"),
        ("zero-size", "Data/DET/val/bad_box.JPEG"),
    ]
    .map(|(reason, path)| (reason.to_owned(), path.to_owned()));
    assert_eq!(rejects(&out), want);
    let error = build(&spec(KIND, dir.path()), &BuildConfig::default(), Path::new("no"), &options(1)).unwrap_err();
    assert!(error.to_string().contains("neither COCO"), "{error}");
}
