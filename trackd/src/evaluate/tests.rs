//! A data set evaluated with a tracker that stands still.

use super::*;
use crate::engine::fake::Stills;
use crate::frames::Limits;
use crate::frames::video::Decoders;
use shards::jpeg::encode;
use std::fs;
use vot::protocol::Protocol;

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

#[test]
fn protocols_without_restarts_run_resume_and_score() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    dataset(&data);
    let engines = Stills::default();
    let options = EvalOptions { interval: Some((5, 20)), ..options(Dialect::VotPython) };
    for (protocol, place, runs) in [
        (Protocol::MultiStart, "baseline/jump/jump_00000029.txt", 4),
        (Protocol::LongTerm, "longterm/jump/jump_001.txt", 2),
        (Protocol::OnePass, "unsupervised/jump/jump_001.txt", 2),
    ] {
        let out = root.path().join(protocol.as_str());
        let go = || evaluate_once(&data, &engines, protocol, &options, &out, &mut |_, _, _| {});
        if protocol == Protocol::MultiStart {
            let e = go().unwrap_err().to_string();
            assert!(e.contains("anchor.value"), "{e}");
            for name in ["calm", "jump"] {
                let anchors: String =
                    (0..30).map(|i| format!("{}\n", [1, 0, -1][usize::from(i > 0) + i / 29])).collect();
                fs::write(data.join(name).join("anchor.value"), anchors).unwrap();
            }
        }
        let first = go().unwrap();
        assert_eq!((first.made, first.kept, first.failed.len()), (runs, 0, 0), "{protocol}");
        let file = out.join("results/still").join(place);
        fs::remove_file(&file).unwrap();
        let second = go().unwrap();
        assert_eq!((second.made, second.kept), (1, runs - 1), "{protocol}");
        assert_eq!(second.score, first.score);
        assert_eq!(score_once(&data, &out, protocol.experiment(), protocol, Some((5, 20))).unwrap(), first.score);
        assert!(out.join(format!("score-{protocol}.json")).is_file() && first.score.warnings().is_empty());
        match first.score {
            OnceScore::MultiStart(score) => {
                // Forward the target is lost at 12 of 30 frames; backward it is lost at 18 of 30.
                assert_eq!(score.sequences["jump"].failures, 2);
                assert!((score.sequences["jump"].robustness - 0.5).abs() < 1e-12);
                assert!((score.sequences["calm"].robustness - 1.0).abs() < 1e-12);
            }
            OnceScore::LongTerm(score) => {
                assert!((score.robustness.unwrap() - (29.0 / 30.0 + 11.0 / 30.0) / 2.0).abs() < 1e-12)
            }
            OnceScore::OnePass(score) => {
                assert!((score.sequences["jump"].success_50 - 0.4).abs() < 1e-12);
                assert!((score.average_overlap.unwrap() - 40.0 / 58.0).abs() < 1e-12);
            }
        }
    }
}
