//! ImageNet VID: folder and archives, flags, gaps, and what is broken.

mod support;

use ingest::source::SourceKind;
use ingest::{BuildOptions, Part, build, merge};
use schemas::build::BuildConfig;
use schemas::shard::{FLAG_GENERATED, FLAG_OCCLUDED, FLAG_TRUNCATED};
use std::fs;
use std::path::Path;
use support::layouts::{
    SIZE, TARGETS, annotation, built, object, options, rejects, rows, sequences, shots, spec, vid, vid_folder, write,
};
use support::{Pack, dataset_bytes, pack};

const KIND: SourceKind = SourceKind::Vid;

#[test]
fn rows_are_those_of_the_same_frames_as_sequences() {
    let dir = tempfile::tempdir().unwrap();
    let config = BuildConfig::default();
    let out = dir.path().join("out");
    let report = built(KIND, &vid(dir.path(), 6), &config, &out);
    assert_eq!((report.videos, report.tracks, report.rows, report.rejects), (2, 4, 24, 0));
    let plain = dir.path().join("plain-out");
    built(SourceKind::Sequences, &sequences(dir.path(), 6), &config, &plain);
    let found = rows(&out);
    let targets: Vec<_> = found.iter().filter(|row| row.track == "00").collect();
    for (row, want) in targets.iter().zip(rows(&plain)) {
        let got = (&row.template, &row.search, row.bbox, row.flags, row.frame, row.frame_size);
        assert!(got == (&want.template, &want.search, want.bbox, want.flags, want.frame, want.frame_size), "{row:?}");
    }
    assert_eq!(targets.len(), 12);
    let names: Vec<_> = found.iter().map(|r| (r.dataset.as_str(), r.video.as_str(), r.class.as_str())).collect();
    assert_eq!(names[0], ("vid", "ILSVRC2015_train_00000000", "n02324045"));
    assert_eq!(names[23], ("vid", "ILSVRC2015_val_00000000", "n00000001"));
    let halves = found.iter().filter(|row| row.track == "01" && row.video.contains("val"));
    let flags: Vec<_> = halves.map(|row| row.flags & !FLAG_TRUNCATED).collect();
    assert_eq!(flags, [FLAG_GENERATED, FLAG_OCCLUDED, 0, FLAG_OCCLUDED | FLAG_GENERATED, 0, FLAG_OCCLUDED]);
}

#[test]
fn archives_and_parts_give_the_bytes_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = vid(dir.path(), 4);
    let config = BuildConfig { shard_bytes: 200_000, ..BuildConfig::default() };
    let out = dir.path().join("out");
    build(&spec(KIND, &folder), &config, &out, &options(2)).unwrap();
    let want = dataset_bytes(&out);
    assert!(
        want.keys().filter(|name| name.ends_with(".arrow")).count() == 3,
        "two shards and the index: {:?}",
        want.keys()
    );
    for (how, name) in [(Pack::Tar, "tar"), (Pack::Gz, "gz"), (Pack::Zst, "zst")] {
        let archive = pack(&folder, how, false);
        let out = dir.path().join(name);
        let report = build(&spec(KIND, &archive), &config, &out, &options(2)).unwrap();
        assert_eq!(report.rejects, 0);
        assert!(dataset_bytes(&out) == want, "{name}");
        assert!(
            !fs::read_dir(out.join(".ingest")).unwrap().any(|e| e
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("spool"))
        );
    }
    // The folder above is found too, and so are the two halves of a dataset.
    let parts = dir.path().join("parts");
    for index in 0..2 {
        let options = BuildOptions { part: Part { index, count: 2 }, ..options(1) };
        build(&spec(KIND, &pack(&folder, Pack::Gz, false)), &config, &parts, &options).unwrap();
    }
    merge(&parts).unwrap();
    assert!(dataset_bytes(&parts) == want, "parts");
}

#[test]
fn limits_on_flags_shape_and_gaps_are_counted_by_reason() {
    let dir = tempfile::tempdir().unwrap();
    let folder = vid(dir.path(), 6);
    let drop = |config: &BuildConfig, name: &str| {
        build(&spec(KIND, &folder), config, &dir.path().join(name), &options(2)).unwrap()
    };
    let flags = BuildConfig { drop_occluded: true, drop_generated: true, ..BuildConfig::default() };
    let report = drop(&flags, "flags");
    assert_eq!((report.rows, report.dropped.occluded, report.dropped.generated), (16, 6, 2));
    let shape = BuildConfig { min_aspect: 0.5, max_area: 0.12, min_side: 60.0, ..BuildConfig::default() };
    let report = drop(&shape, "shape");
    let mut want = [0; 4];
    for (name, _) in TARGETS {
        for [_, _, w, h] in shots(name, 6).iter().map(|shot| shot.rect.map(f64::from)) {
            for w in [w, (w / 2.0).floor()] {
                let narrow = (w / h).min(h / w) < 0.5;
                let place = if narrow {
                    0
                } else if w.min(h) < 60.0 {
                    1
                } else if w * h > 0.12 * SIZE[0] * SIZE[1] {
                    2
                } else {
                    3
                };
                want[place] += 1;
            }
        }
    }
    assert!(want.iter().all(|count| *count > 0), "every limit is met: {want:?}");
    let dropped = report.dropped;
    assert_eq!([dropped.aspect, dropped.size, dropped.area, report.rows], want);
    fs::remove_file(folder.join(format!("Annotations/VID/{}/000001.xml", vid_folder(0)))).unwrap();
    let gaps = BuildConfig { max_gap: 1, min_track_rows: 2, ..BuildConfig::default() };
    let report = drop(&gaps, "gaps");
    assert_eq!((report.rows, report.tracks, report.dropped.short), (20, 4, 2));
    let names: std::collections::BTreeSet<_> = rows(&dir.path().join("gaps")).into_iter().map(|r| r.track).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["00", "00-2", "01", "01-2"]);
    let text = report.to_string();
    assert!(text.contains("left out 2 short\n  rejects  none"), "{text}");
}

#[test]
fn broken_annotations_and_pictures_are_rejects() {
    let dir = tempfile::tempdir().unwrap();
    let folder = vid(dir.path(), 12);
    let video = vid_folder(0);
    let xml = |name: &str, text: &str| write(&folder.join(format!("Annotations/VID/{video}/{name}.xml")), text);
    let with = |objects: &str| annotation("x", "x", objects);
    let good = object(Some(0), "n1", [200, 100, 80, 60], false, false);
    xml("000000", "<annotation><object>");
    xml("000001", "");
    xml("000002", &with(&good.replace("<xmin>200", "<xmin>nan")));
    xml("000003", &with(&good.replace("<xmin>200", "<xmin>400")));
    xml("000004", &with(&good.replace("<xmax>279", "<xmax>700")));
    xml("000005", &with(&good.replace("<trackid>0", "<trackid>first")));
    xml("000006", &with(&format!("{good}{good}")));
    xml("frame7", &with(&good));
    let data = folder.join(format!("Data/VID/{video}"));
    fs::write(data.join("000008.JPEG"), "no picture").unwrap();
    fs::remove_file(data.join("000009.JPEG")).unwrap();
    // A second folder of the same name, and a video without any row.
    let twin = annotation("x", "x", &good);
    write(&folder.join("Annotations/VID/val/twins/ILSVRC2015_val_00000000/000000.xml"), twin);
    write(&folder.join("Annotations/VID/val/ILSVRC2015_val_00000009/000000.xml"), "none");
    let out = dir.path().join("out");
    let report = built(KIND, &folder, &BuildConfig::default(), &out);
    let at = |name: &str| format!("Annotations/VID/{video}/{name}.xml");
    let want = [
        ("bad-box", at("000002")),
        ("bad-name", at("frame7")),
        ("bad-track", at("000005")),
        ("bad-xml", at("000000")),
        ("bad-xml", at("000001")),
        ("bad-xml", "Annotations/VID/val/ILSVRC2015_val_00000009/000000.xml".into()),
        ("duplicate-frame", at("000006")),
        ("duplicate-video", "val/twins/ILSVRC2015_val_00000000".into()),
        ("missing-file", format!("Data/VID/{video}/000009.JPEG")),
        ("missing-file", format!("Data/VID/{video}/000009.JPEG")),
        ("not-an-image", format!("Data/VID/{video}/000008.JPEG")),
        ("not-an-image", format!("Data/VID/{video}/000008.JPEG")),
        ("outside-frame", at("000004")),
        ("zero-size", at("000003")),
    ]
    .map(|(reason, path)| (reason.to_owned(), path));
    assert_eq!(rejects(&out), want);
    assert_eq!((report.rejects, report.rejects_by_reason["bad-xml"], report.rejects_by_reason.len()), (14, 3, 10));
    // The same from an archive that can only be read from its beginning.
    let packed = dir.path().join("packed");
    let again =
        build(&spec(KIND, &pack(&folder, Pack::Zst, false)), &BuildConfig::default(), &packed, &options(2)).unwrap();
    assert_eq!((again.rejects_by_reason, again.rows), (report.rejects_by_reason, report.rows));
    assert!(dataset_bytes(&packed) == dataset_bytes(&out));
    let strict = BuildConfig { max_rejects: 13, ..BuildConfig::default() };
    let error = build(&spec(KIND, &folder), &strict, &dir.path().join("strict"), &options(1)).unwrap_err();
    assert!(error.to_string().contains("--max-rejects 13"), "{error}");
}

#[test]
fn what_is_not_vid_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    for path in ["empty", "missing"] {
        let error = build(&spec(KIND, &dir.path().join(path)), &BuildConfig::default(), Path::new("out"), &options(1))
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(path) && (text.contains("Annotations/VID/") || text.contains("check the path")),
            "{text}"
        );
    }
}
