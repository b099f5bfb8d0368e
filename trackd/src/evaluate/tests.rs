//! A data set evaluated with a tracker that stands still.

use super::*;
use crate::engine::fake::Stills;
use crate::frames::Limits;
use crate::frames::video::Decoders;
use shards::jpeg::encode;
use std::fs;

/// Two sequences; in the second the target jumps away at frame 12 of 30.
fn dataset(root: &Path) {
    for (name, jump) in [("calm", 30), ("jump", 12)] {
        let color = root.join(name).join("color");
        fs::create_dir_all(&color).unwrap();
        let bytes = encode(&Rgb::filled(64, 48, [200, 100, 100]), 90).unwrap();
        let mut truth = String::new();
        for i in 0..30 {
            fs::write(color.join(format!("{:08}.jpg", i + 1)), &bytes).unwrap();
            truth.push_str(if i < jump { "10,8,20,16\n" } else { "40,30,20,16\n" });
        }
        fs::write(root.join(name).join("groundtruth.txt"), truth).unwrap();
    }
    fs::write(root.join("list.txt"), "calm\njump\n").unwrap();
}

fn options(dialect: Dialect) -> EvalOptions {
    let decoders = Decoders { ffmpeg: None, own: PathBuf::from("/bin/false") };
    let run = RunOptions { decoders, limits: Limits::default(), overlay: false, job: None };
    EvalOptions { dialect, repetitions: None, tracker: "still".into(), interval: Some((5, 25)), run }
}

fn go(data: &Path, options: &EvalOptions, out: &Path) -> Result<Evaluation, EvalError> {
    evaluate(data, &Stills::default(), options, out, &mut |_, _, _| {})
}

#[test]
fn results_scores_and_what_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let (data, out) = (root.path().join("data"), root.path().join("out"));
    dataset(&data);
    let first = go(&data, &options(Dialect::VotMatlab), &out).unwrap();
    assert_eq!((first.made, first.kept, first.failed.len()), (6, 0, 0));
    assert_eq!((first.score.failures, first.score.sequences["jump"].failures), (1.0, 1.0));
    let place = out.join("results/still/baseline/jump");
    let lines: Vec<String> =
        fs::read_to_string(place.join("jump_001.txt")).unwrap().lines().map(str::to_owned).collect();
    assert_eq!((lines[0].as_str(), lines[12].as_str(), lines[13].as_str(), lines[17].as_str()), ("1", "2", "0", "1"));
    let eval: serde_json::Value = serde_json::from_slice(&fs::read(out.join("eval.json")).unwrap()).unwrap();
    assert_eq!(eval["all_videos"]["dialect"], "mindspore");
    assert_eq!(eval["jump"]["num_failures"], 1);

    // Interrupted: one run is missing, one is cut off in the middle.
    fs::remove_file(place.join("jump_003.txt")).unwrap();
    fs::write(place.join("jump_002.txt"), "1\n10,8,20,16\n").unwrap();
    let second = go(&data, &options(Dialect::VotMatlab), &out).unwrap();
    assert_eq!((second.made, second.kept), (2, 4));
    assert_eq!(second.score, first.score);

    let scored = score_results(&data, &out, "baseline", Dialect::VotMatlab, Some((5, 25))).unwrap();
    assert_eq!(scored, first.score);
    let e = go(&data, &options(Dialect::Pysot), &out).unwrap_err();
    assert!(matches!(e, EvalError::Other { what: "dialect", .. }), "{e}");
}

#[test]
fn a_broken_sequence_is_left_out_by_name() {
    let root = tempfile::tempdir().unwrap();
    let (data, out) = (root.path().join("data"), root.path().join("out"));
    dataset(&data);
    fs::write(data.join("calm/color/00000004.jpg"), "no picture").unwrap();
    let once = EvalOptions { repetitions: Some(1), ..options(Dialect::VotPython) };
    let done = go(&data, &once, &out).unwrap();
    assert_eq!(done.made, 1);
    assert!(matches!(done.failed.as_slice(), [(name, why)] if name == "calm" && why.contains("00000004.jpg")));
    fs::write(data.join("jump/color/00000001.jpg"), "no picture").unwrap();
    let e = go(&data, &EvalOptions { tracker: "other".into(), ..once }, &out).unwrap_err();
    assert!(matches!(e, EvalError::Nothing { count: 2, .. }), "{e}");
    let e = go(&root.path().join("none"), &options(Dialect::Pysot), &out).unwrap_err();
    assert!(e.to_string().contains("none"), "{e}");
}
