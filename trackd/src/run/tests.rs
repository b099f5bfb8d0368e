//! One job with a tracker that stands still.

use super::*;
use crate::engine::fake::Stills;
use arrow::ipc::reader::FileReader;
use shards::jpeg::encode;
use std::fs;
use std::path::PathBuf;

fn frames(folder: &Path, count: usize, dark: std::ops::Range<usize>) {
    fs::create_dir_all(folder).unwrap();
    for i in 0..count {
        let value = if dark.contains(&i) { 5 } else { 200 };
        let bytes = encode(&Rgb::filled(64, 48, [value, 100, 100]), 90).unwrap();
        fs::write(folder.join(format!("{i:04}.jpg")), bytes).unwrap();
    }
}

fn options() -> RunOptions {
    RunOptions {
        decoders: Decoders { ffmpeg: None, own: PathBuf::from("/bin/false") },
        limits: Limits::default(),
        overlay: false,
        job: None,
    }
}

fn go(path: &Path, start: &Start, options: &RunOptions, out: &Path) -> Result<ResultDoc, JobError> {
    fs::create_dir_all(out).unwrap();
    let never = AtomicBool::new(false);
    run(
        &Input::open(path, &options.decoders).unwrap(),
        std::slice::from_ref(start),
        &Stills::default(),
        options,
        out,
        &never,
        &|_| {},
    )
}

fn start(frame: u32) -> Start {
    Start::new(frame, [10.0, 8.0, 20.0, 16.0], "--init").unwrap()
}

#[test]
fn every_file_says_the_same() {
    let root = tempfile::tempdir().unwrap();
    let (seq, out) = (root.path().join("seq"), root.path().join("out"));
    frames(&seq, 8, 5..7);
    let with_overlay = RunOptions { overlay: true, job: Some("j1".into()), ..options() };
    let doc = go(&seq, &start(2), &with_overlay, &out).unwrap();
    let target = &doc.targets[0];
    assert_eq!((doc.frames, target.frames, target.lost_frames, target.init_frame), (8, 6, 2, 2));
    assert_eq!((doc.width, doc.height), (64, 48));
    assert!((target.mean_confidence - (3.0 * 0.75 + 2.0 * 0.1) / 5.0).abs() < 1e-12);
    assert_eq!(target.mean_overlap, None);
    let text = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(text("seq_001.txt"), format!("0\n0\n1\n{}", "10,8,20,16\n".repeat(5)));
    assert_eq!(text("seq_001_confidence.value"), "\n\n\n0.75\n0.75\n0.1\n0.1\n0.75\n");
    assert_eq!(text("seq_001_lost.value"), "0\n0\n0\n0\n0\n1\n1\n0\n");
    assert_eq!(text("seq_001_time.value").lines().filter(|l| !l.is_empty()).count(), 6);
    let mut stored: ResultDoc = serde_json::from_str(&text("result.json")).unwrap();
    // JSON numbers are read to the last but one bit.
    assert!((stored.targets[0].mean_confidence - target.mean_confidence).abs() < 1e-12);
    stored.targets = doc.targets.clone();
    (stored.tracker_frames_per_s, stored.frames_per_s) = (doc.tracker_frames_per_s, doc.frames_per_s);
    assert_eq!(stored, doc);
    let mut names: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| format!("{}{}", e.file_name().to_string_lossy(), if e.path().is_dir() { "/" } else { "" }))
        .collect();
    names.sort();
    assert_eq!(names, doc.files);
    assert_eq!(fs::read_dir(out.join("overlay")).unwrap().count(), 8);
    let table: Vec<_> = FileReader::try_new(fs::File::open(out.join("result.arrow")).unwrap(), None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(table.iter().map(|b| b.num_rows()).sum::<usize>(), 8);
    assert_eq!(table[0].schema(), schemas::result::result_schema());
}

#[test]
fn ground_truth_beside_the_frames_is_scored() {
    let root = tempfile::tempdir().unwrap();
    let seq = root.path().join("seq");
    frames(&seq, 12, 0..0);
    // The target jumps away at frame 6, where a tracker that stands still has failed.
    let lines: String = (0..12).map(|i| if i < 6 { "10,8,20,16\n" } else { "40,30,20,16\n" }).collect();
    fs::write(seq.join("groundtruth.txt"), lines).unwrap();
    let input = Input::open(&seq, &options().decoders).unwrap();
    let first = input.starts().unwrap().remove(0);
    let out = root.path().join("out");
    let doc = go(&seq, &first, &options(), &out).unwrap();
    assert!((doc.targets[0].mean_overlap.unwrap() - 5.0 / 11.0).abs() < 1e-12);
    let eval: serde_json::Value = serde_json::from_slice(&fs::read(out.join("eval.json")).unwrap()).unwrap();
    assert_eq!(eval["seq"]["num_failures"], 1);
    assert_eq!(eval["seq"]["acc"], 1.0);
    assert_eq!(eval["all_videos"]["dialect"], "mindspore");
    assert!((eval["all_videos"]["robustness"].as_f64().unwrap() - 100.0 / 12.0).abs() < 1e-9);
}

#[test]
fn ground_truth_that_cannot_be_evaluated_costs_no_track() {
    let root = tempfile::tempdir().unwrap();
    let seq = root.path().join("seq");
    frames(&seq, 12, 0..0);
    let lines: String = (0..12).map(|i| if i < 3 { "10,8,20,16\n" } else { "900,30,20,16\n" }).collect();
    fs::write(seq.join("groundtruth.txt"), lines).unwrap();
    let out = root.path().join("out");
    let first = Input::open(&seq, &options().decoders).unwrap().starts().unwrap().remove(0);
    let doc = go(&seq, &first, &options(), &out).unwrap();
    assert!(doc.warnings.iter().any(|w| w.contains("no eval.json")), "{:?}", doc.warnings);
    assert_eq!((doc.frames, out.join("eval.json").exists()), (12, false));
}

#[test]
fn an_undisturbed_run_is_evaluated_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let seq = root.path().join("seq");
    frames(&seq, 5, 0..0);
    fs::write(seq.join("groundtruth.txt"), "10,8,20,16\n".repeat(5)).unwrap();
    let out = root.path().join("out");
    let first = Input::open(&seq, &options().decoders).unwrap().starts().unwrap().remove(0);
    go(&seq, &first, &options(), &out).unwrap();
    let eval: serde_json::Value = serde_json::from_slice(&fs::read(out.join("eval.json")).unwrap()).unwrap();
    assert_eq!((&eval["seq"]["num_failures"], &eval["seq"]["acc"]), (&0.into(), &1.0.into()));
}

#[test]
fn failures_name_stage_and_code() {
    let root = tempfile::tempdir().unwrap();
    let seq = root.path().join("seq");
    frames(&seq, 3, 0..0);
    let out = root.path().join("out");
    let fails = |start: &Start, out: &Path| {
        let e = go(&seq, start, &options(), out).unwrap_err();
        (e.stage(), e.code(), e.passing(), e.to_string())
    };
    let (stage, code, passing, text) = fails(&start(3), &out);
    assert_eq!((stage, code, passing), ("init", "video-too-short", false));
    assert!(text.contains("3 frames"), "{text}");
    let outside = Start::new(0, [900.0, 8.0, 20.0, 16.0], "seq.txt").unwrap();
    let (stage, code, _, text) = fails(&outside, &out);
    assert_eq!((stage, code), ("init", "bad-box"));
    assert!(text.starts_with("seq.txt"), "{text}");
    let bytes = fs::read(seq.join("0001.jpg")).unwrap();
    fs::write(seq.join("0001.jpg"), &bytes[..bytes.len() / 2]).unwrap();
    let (stage, code, passing, text) = fails(&start(0), &out);
    assert_eq!((stage, code, passing), ("decode", "damaged-image", false));
    assert!(text.contains("0001.jpg"), "{text}");
}

#[test]
fn a_full_disk_is_told_from_other_faults() {
    let error = |code| JobError::Output { path: "out".into(), source: io::Error::from_raw_os_error(code) };
    let full = error(libc::ENOSPC);
    assert!(full.disk_full() && full.passing());
    assert_eq!(full.code(), "disk-full");
    assert!(!error(libc::EIO).disk_full() && error(libc::EIO).passing());
}

#[test]
fn a_run_stops_when_asked() {
    let root = tempfile::tempdir().unwrap();
    frames(&root.path().join("seq"), 3, 0..0);
    let input = Input::open(&root.path().join("seq"), &options().decoders).unwrap();
    let stop = AtomicBool::new(true);
    let e = run(&input, &[start(0)], &Stills::default(), &options(), root.path(), &stop, &|_| {}).unwrap_err();
    assert!(matches!(e, JobError::Cancelled));
}

#[test]
fn several_targets_have_files_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let (seq, out) = (root.path().join("seq"), root.path().join("out"));
    frames(&seq, 6, 4..6);
    fs::create_dir(&out).unwrap();
    let text = r#"{"targets":[{"id":"cat","region":[1,2,20,16]},{"id":"dog","frame":2,"region":[30,8,20,16]}]}"#;
    fs::write(seq.join("init.json"), text).unwrap();
    let input = Input::open(&seq, &options().decoders).unwrap();
    let (starts, never) = (input.starts().unwrap(), AtomicBool::new(false));
    let doc = run(&input, &starts, &Stills::default(), &options(), &out, &never, &|_| {}).unwrap();
    let targets: Vec<_> = doc.targets.iter().map(|t| (t.id.as_str(), t.init_frame, t.frames, t.lost_frames)).collect();
    assert_eq!(targets, [("cat", 0, 6, 2), ("dog", 2, 4, 2)]);
    let text = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(text("seq_cat_001.txt"), format!("1\n{}", "1,2,20,16\n".repeat(5)));
    assert_eq!(text("seq_dog_001.txt"), format!("0\n0\n1\n{}", "30,8,20,16\n".repeat(3)));
    assert_eq!(text("seq_dog_001_lost.value"), "0\n0\n0\n0\n1\n1\n");
    assert_eq!(text("plot.svg").matches("confidence").count(), 2);
    let table = FileReader::try_new(fs::File::open(out.join("result.arrow")).unwrap(), None).unwrap();
    assert_eq!(table.map(|b| b.unwrap().num_rows()).collect::<Vec<_>>(), [6, 6]);
    for name in &doc.files {
        assert!(out.join(name).exists(), "{name}");
    }
}
