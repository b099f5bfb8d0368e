//! Annotated sequences become rows with crops of the right scale.

mod support;

use ingest::source::{SourceKind, SourceSpec};
use ingest::{BuildOptions, IngestError, build};
use schemas::build::{BuildConfig, CropSemantics};
use schemas::manifest::{Manifest, Reject};
use schemas::shard::FLAG_OCCLUDED;
use shards::jpeg::{self, Limits};
use shards::reader::Dataset;
use std::fs;
use std::path::Path;
use support::{dataset_bytes, picture, vot_dataset, vot_sequence};

fn sequences(path: &Path) -> Vec<SourceSpec> {
    vec![SourceSpec { kind: SourceKind::Sequences, label: None, path: path.to_owned() }]
}

fn options(threads: usize) -> BuildOptions {
    BuildOptions { threads, ..BuildOptions::default() }
}

#[test]
fn a_vot_data_set_becomes_a_dataset_that_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let source = vot_dataset(dir.path(), 4, 5);
    let config = BuildConfig { shard_bytes: 250_000, ..BuildConfig::default() };
    let out = dir.path().join("out");
    let report = build(&sequences(&source), &config, &out, &options(1)).unwrap();
    assert_eq!((report.videos, report.tracks, report.rows, report.rejects), (4, 4, 20, 0));
    assert!(report.shards > 1);
    assert!(shards::verify::verify(&out, |_| ()).unwrap().findings.is_empty());
    let again = dir.path().join("again");
    build(&sequences(&source), &config, &again, &options(3)).unwrap();
    assert!(dataset_bytes(&again) == dataset_bytes(&out));

    let dataset = Dataset::open(&out).unwrap();
    let mut seen = Vec::new();
    for number in 0..report.shards as usize {
        let shard = dataset.shard(number).unwrap();
        for i in 0..shard.rows() {
            let row = shard.row(i).unwrap();
            seen.push((row.video().to_owned(), row.frame(), row.row_in_track(), row.track_len()));
            assert_eq!((row.dataset(), row.track(), row.frame_size()), ("vot-small", "1", [320, 240]));
            // Context window of a 36x30 target: p = 33, sqrt(69 * 63).
            let scale = 127.0 / (69.0f32 * 63.0).sqrt();
            assert!((row.scale() - scale).abs() < 0.03 * scale, "{} {scale}", row.scale());
            let [cx, cy, w, h] = row.bbox();
            assert!((cx - 176.0).abs() < 3.0 && (cy - 176.0).abs() < 3.0, "{cx} {cy}");
            assert!((w - 36.0 * scale).abs() < 2.0 && (h - 30.0 * scale).abs() < 2.0, "{w} {h}");
            // The bright box is where the row says, and not beside it.
            let search = jpeg::decode(row.search(), &Limits::default()).unwrap();
            assert_eq!((search.width, search.height), (352, 352));
            assert!(search.pixel(cx as usize, cy as usize)[0] > 220);
            assert!(search.pixel((cx - w * 0.62) as usize, cy as usize)[2] > 60);
        }
    }
    seen.sort();
    let want = (0..4).flat_map(|s| (0..5).map(move |f| (format!("seq{s}"), f, f, 5)));
    assert_eq!(seen, want.collect::<Vec<_>>());
}

#[test]
fn absent_targets_are_dropped_and_polygons_become_boxes() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("one");
    let lines = [(1, "nan,nan,nan,nan"), (2, "0"), (3, "60,60,100,60,100,90,60,90"), (4, "50,60,0,20")];
    vot_sequence(&source, 6, 3, &lines);
    fs::write(source.join("occlusion.tag"), "0\n0\n0\n0\n0\n1\n").unwrap();
    fs::write(source.join("sequence"), "fps=25\nwidth=320\nheight=240\n").unwrap();
    for semantics in [CropSemantics::Siamfc, CropSemantics::Pysot] {
        let out = dir.path().join(format!("{semantics:?}"));
        let config = BuildConfig { semantics, ..BuildConfig::default() };
        let report = build(&sequences(&source), &config, &out, &options(2)).unwrap();
        assert_eq!((report.rows, report.dropped.absent, report.rejects), (3, 3, 0));
        let shard = Dataset::open(&out).unwrap();
        let shard = shard.shard(0).unwrap();
        let rows: Vec<_> = (0..3).map(|i| shard.row(i).unwrap()).collect();
        assert_eq!(rows.iter().map(|r| r.frame()).collect::<Vec<_>>(), [0, 3, 5]);
        assert_eq!(rows.iter().map(|r| r.time_ms()).collect::<Vec<_>>(), [0, 120, 200]);
        assert_eq!(rows.iter().map(|r| r.flags()).collect::<Vec<_>>(), [0, 0, FLAG_OCCLUDED]);
        // An upright polygon of 40x30 becomes 41x31 around the same centre.
        let [_, _, w, h] = rows[1].bbox();
        assert!((w / h - 41.0 / 31.0).abs() < 0.01, "{w} {h}");
    }
}

#[test]
fn otb_and_got10k_are_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let otb = dir.path().join("OTB");
    let got = dir.path().join("got");
    fs::create_dir_all(otb.join("Jogging/img")).unwrap();
    fs::create_dir_all(got.join("GOT-10k_Train_000001")).unwrap();
    for f in 0..3 {
        let bytes = picture(200, 150, f, [60, 50, 30, 20]);
        fs::write(otb.join(format!("Jogging/img/{:04}.jpg", f + 1)), &bytes).unwrap();
        fs::write(got.join(format!("GOT-10k_Train_000001/{:08}.jpg", f + 1)), &bytes).unwrap();
    }
    let one_based = "61\t51\t30\t20\n".repeat(3);
    fs::write(otb.join("Jogging/groundtruth_rect.1.txt"), &one_based).unwrap();
    fs::write(otb.join("Jogging/groundtruth_rect.2.txt"), &one_based).unwrap();
    fs::write(got.join("GOT-10k_Train_000001/groundtruth.txt"), "60,50,30,20\n".repeat(3)).unwrap();
    fs::write(got.join("GOT-10k_Train_000001/absence.label"), "0\n1\n0\n").unwrap();
    fs::write(got.join("GOT-10k_Train_000001/meta_info.ini"), "[METAINFO]\nobject_class: zebra\n").unwrap();
    fs::write(got.join("GOT-10k_Train_000001/cover.label"), "8\n0\n5\n").unwrap();
    let mut sources = sequences(&otb);
    sources.push(SourceSpec { kind: SourceKind::Sequences, label: Some("got10k".into()), path: got });
    let out = dir.path().join("out");
    let report = build(&sources, &BuildConfig::default(), &out, &options(2)).unwrap();
    assert_eq!((report.videos, report.tracks, report.rows, report.dropped.absent), (2, 3, 8, 1));
    let manifest: Manifest = serde_json::from_slice(&fs::read(out.join("dataset.json")).unwrap()).unwrap();
    let labels: Vec<_> = manifest.sources.iter().map(|s| (s.dataset.as_str(), s.rows)).collect();
    assert_eq!(labels, [("OTB", 6), ("got10k", 2)]);
    let classes: Vec<_> = support::layouts::rows(&out).into_iter().map(|row| (row.dataset, row.class)).collect();
    assert_eq!(classes[0], ("got10k".to_owned(), "zebra".to_owned()));
    assert_eq!(classes[7], ("OTB".to_owned(), String::new()));
    // The order in which sources are named is of no importance.
    sources.reverse();
    let again = dir.path().join("again");
    build(&sources, &BuildConfig::default(), &again, &options(1)).unwrap();
    assert!(dataset_bytes(&again) == dataset_bytes(&out));
}

#[test]
fn lasot_is_read_from_its_folders_of_classes() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("LaSOT");
    let sequence = source.join("zebra/zebra-9");
    fs::create_dir_all(sequence.join("img")).unwrap();
    for f in 1..=4 {
        fs::write(sequence.join(format!("img/{f:08}.jpg")), picture(200, 150, f, [60, 50, 30, 20])).unwrap();
    }
    fs::write(sequence.join("groundtruth.txt"), "61,51,30,20\n".repeat(4)).unwrap();
    fs::write(sequence.join("full_occlusion.txt"), "0,1,0,0").unwrap();
    fs::write(sequence.join("out_of_view.txt"), "0,0,1,0").unwrap();
    let out = dir.path().join("out");
    let report = build(&sequences(&source), &BuildConfig::default(), &out, &options(2)).unwrap();
    assert_eq!((report.rows, report.dropped.absent, report.rejects), (2, 2, 0));
    let found: Vec<_> = support::layouts::rows(&out).into_iter().map(|r| (r.video, r.class, r.frame)).collect();
    assert_eq!(found, [("zebra-9".into(), "zebra".to_owned(), 0), ("zebra-9".into(), "zebra".to_owned(), 3)]);
}

#[test]
fn damaged_sequences_and_frames_are_rejects() {
    let dir = tempfile::tempdir().unwrap();
    let source = vot_dataset(dir.path(), 3, 3);
    fs::write(source.join("seq0/groundtruth.txt"), "1,2,three,4\n").unwrap();
    fs::write(source.join("seq1/color/00000002.jpg"), "not a picture").unwrap();
    fs::write(source.join("seq2/color/00000003.jpg"), "").unwrap();
    let out = dir.path().join("out");
    let report = build(&sequences(&source), &BuildConfig::default(), &out, &options(2)).unwrap();
    assert_eq!((report.rows, report.rejects), (4, 3));
    let text = fs::read_to_string(out.join("rejects.jsonl")).unwrap();
    let rejects: Vec<Reject> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> = rejects.iter().map(|r| (r.path.as_str(), r.reason.as_str())).collect();
    assert_eq!(
        found,
        [
            ("seq0", "bad-sequence"),
            ("seq1/color/00000002.jpg", "not-an-image"),
            ("seq2/color/00000003.jpg", "not-an-image"),
        ]
    );
    assert!(rejects[0].detail.contains("seq0/groundtruth.txt:1"), "{}", rejects[0].detail);
    assert!(!text.contains(dir.path().to_str().unwrap()), "no path outside the source: {text}");
}

#[test]
fn sources_that_do_not_fit_together_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = vot_dataset(dir.path(), 1, 2);
    let twice = [sequences(&source), sequences(&source)].concat();
    let error = build(&twice, &BuildConfig::default(), &dir.path().join("out"), &options(1)).unwrap_err();
    assert!(matches!(error, IngestError::Sources(_)) && error.to_string().contains("seq0"), "{error}");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let error = build(&sequences(&empty), &BuildConfig::default(), &dir.path().join("out"), &options(1)).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
    vot_sequence(&dir.path().join("blank"), 2, 0, &[(0, "nan,nan,nan,nan"), (1, "nan,nan,nan,nan")]);
    let blank = sequences(&dir.path().join("blank"));
    let error = build(&blank, &BuildConfig::default(), &dir.path().join("out"), &options(1)).unwrap_err();
    assert!(error.to_string().contains("no annotated frame"), "{error}");
}
