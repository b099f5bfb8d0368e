//! A data set evaluated with a tracker that stands still.

use super::*;
use crate::engine::About;
use crate::engine::fake::{Still, Stills};
use crate::frames::Limits;
use crate::frames::video::Decoders;
use shards::jpeg::encode;
use siamrpn::tracker::{Output, TrackError};
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicUsize;

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
    EvalOptions {
        dialect,
        repetitions: None,
        tracker: "still".into(),
        interval: Some((5, 25)),
        jobs: 2,
        binary: false,
        run,
        cancel: Arc::default(),
    }
}

fn go(data: &Path, options: &EvalOptions, out: &Path) -> Result<Evaluation, EvalError> {
    evaluate(data, &Stills::default(), options, out, &|_, _, _| {})
}

#[test]
fn a_full_disk_is_found_behind_other_errors() {
    let io = |code: i32| io::Error::from_raw_os_error(code);
    let vot = |code| EvalJobError::Vot(vot::Error::Io { path: "out".into(), source: io(code) });
    let job = |code| EvalJobError::Job(JobError::Output { path: "out".into(), source: io(code) });
    let stamp = |code| EvalJobError::Stamp(EvalError::Output { path: "out".into(), source: io(code) });
    for e in [vot(libc::ENOSPC), job(libc::EDQUOT), stamp(libc::ENOSPC)] {
        assert!(full(&e).is_some(), "{e:?}");
    }
    for e in [vot(libc::EIO), job(libc::EACCES)] {
        assert!(full(&e).is_none(), "{e:?}");
    }
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
        let go = || evaluate_once(&data, &engines, protocol, &options, &out, &|_, _, _| {});
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

/// As [`Still`], but each tracker started is off by one pixel more.
struct Unsteady {
    still: Still,
    off: f64,
}

impl TrackEngine for Unsteady {
    fn init(&mut self, frame: &Rgb, rect: [f64; 4]) -> Result<(), TrackError> {
        self.still.init(frame, rect)
    }

    fn update(&mut self, frame: &Rgb) -> Result<Output, TrackError> {
        let mut output = self.still.update(frame)?;
        output.rect[0] += self.off;
        Ok(output)
    }
}

struct Unsteadies(About, AtomicUsize);

impl Engines for Unsteadies {
    fn start(&self) -> Box<dyn TrackEngine> {
        let off = self.1.fetch_add(1, Ordering::Relaxed) as f64;
        Box::new(Unsteady { still: Still::default(), off })
    }

    fn about(&self) -> &About {
        &self.0
    }
}

#[test]
fn repetitions_stop_after_three_that_are_the_same_and_not_otherwise() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    dataset(&data);
    let about = Stills::default().about().clone();
    for (asked, still, unsteady) in [(Some(2), 4, 4), (Some(5), 6, 10), (None, 6, 30)] {
        let options = EvalOptions { repetitions: asked, jobs: 1, ..options(Dialect::VotPython) };
        let out = root.path().join(format!("still{asked:?}"));
        assert_eq!(go(&data, &options, &out).unwrap().made, still, "{asked:?}");
        let (out, engines) = (root.path().join(format!("{asked:?}")), Unsteadies(about.clone(), AtomicUsize::new(0)));
        let first = evaluate(&data, &engines, &options, &out, &|_, _, _| {}).unwrap();
        assert_eq!(first.made, unsteady, "{asked:?}");
        // More runs are added to those that are there; fewer leave the rest out of the score.
        let more = EvalOptions { repetitions: Some(16), ..options.clone() };
        let more = evaluate(&data, &engines, &more, &out, &|_, _, _| {}).unwrap();
        assert_eq!((more.kept, more.made), (unsteady, 32 - unsteady));
        let again = evaluate(&data, &engines, &options, &out, &|_, _, _| {}).unwrap();
        assert_eq!((again.kept, again.made, again.score), (unsteady, 0, first.score));
    }
}

/// Every file of a folder below it, by name, without times.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_string_lossy().ends_with("_time.value") && !path.ends_with("eval.json") {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn results_do_not_depend_on_how_many_run_at_once() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    for part in ["a", "b", "c"] {
        dataset(&data.join(part));
        for name in ["calm", "jump"] {
            fs::rename(data.join(part).join(name), data.join(format!("{part}-{name}"))).unwrap();
        }
        fs::remove_dir_all(data.join(part)).unwrap();
    }
    fs::write(data.join("b-calm/color/00000004.jpg"), "no picture").unwrap();
    let all: Vec<_> = [1, 2, 9]
        .into_iter()
        .map(|jobs| {
            let out = root.path().join(jobs.to_string());
            let done = go(&data, &EvalOptions { jobs, ..options(Dialect::VotMatlab) }, &out).unwrap();
            (files(&out), done.score, done.failed, done.made)
        })
        .collect();
    assert!(all[0] == all[1] && all[0] == all[2]);
    assert_eq!((all[0].2.len(), all[0].3, all[0].1.sequences.len()), (1, 15, 5));
}

#[test]
fn results_of_something_else_are_not_taken_for_these() {
    let root = tempfile::tempdir().unwrap();
    let (data, out) = (root.path().join("data"), root.path().join("out"));
    dataset(&data);
    let options = options(Dialect::VotPython);
    go(&data, &options, &out).unwrap();
    let stills = Stills::default();
    let change = |what: &str| {
        let mut about = stills.about().clone();
        match what {
            "model" => about.model_blake3.push('0'),
            "engine" => about.engine.push('2'),
            _ => about.config_hash.push('0'),
        }
        let engines = Unsteadies(about, AtomicUsize::new(0));
        evaluate(&data, &engines, &options, &out, &|_, _, _| {}).unwrap_err()
    };
    for wanted in ["model", "configuration of the model", "engine"] {
        let e = change(wanted);
        assert!(matches!(e, EvalError::Other { what, .. } if what == wanted), "{e}");
    }
    // Another protocol has a folder of its own beside it.
    evaluate_once(&data, &stills, Protocol::LongTerm, &options, &out, &|_, _, _| {}).unwrap();
    assert_eq!(go(&data, &options, &out).unwrap().made, 0);

    // Another annotation, other frames, another frame size: only that sequence is refused.
    let lines = fs::read_to_string(data.join("calm/groundtruth.txt")).unwrap();
    let check = |what: &str| {
        let done = go(&data, &options, &out).unwrap();
        assert!(matches!(done.failed.as_slice(), [(name, why)] if name == "calm" && why.contains(what)), "{what}");
        assert_eq!((done.kept, done.made), (3, 0));
    };
    fs::write(data.join("calm/groundtruth.txt"), lines.replacen("10,8", "11,8", 1)).unwrap();
    check("ground truth");
    fs::write(data.join("calm/groundtruth.txt"), &lines).unwrap();
    let frame = data.join("calm/color/00000007.jpg");
    let picture = fs::read(&frame).unwrap();
    fs::write(&frame, encode(&Rgb::filled(64, 48, [20, 200, 7]), 30).unwrap()).unwrap();
    check("set of frames");
    fs::write(&frame, &picture).unwrap();
    fs::write(data.join("calm/sequence"), "width=80\nheight=48\n").unwrap();
    check("frame size");
    fs::remove_file(data.join("calm/sequence")).unwrap();
    assert_eq!(go(&data, &options, &out).unwrap().kept, 6);

    // Results of unknown origin.
    let foreign = root.path().join("foreign/results/still/baseline/calm");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(foreign.join("calm_001.txt"), "1\n").unwrap();
    let e = go(&data, &options, &root.path().join("foreign")).unwrap_err();
    assert!(matches!(&e, EvalError::Other { found, .. } if found == "unknown"), "{e}");
}

#[test]
fn every_layout_is_evaluated_and_scored_the_same() {
    let root = tempfile::tempdir().unwrap();
    dataset(&root.path().join("vot2016"));
    // Frames beside the annotation, which is a polygon, as in the downloads of VOT2015 and VOT2016.
    let polygon = |x: i32, y: i32| format!("{x},{y},{0},{y},{0},{1},{x},{1}\n", x + 20, y + 16);
    for name in ["calm", "jump"] {
        let from = root.path().join("vot2016").join(name);
        let frames: Vec<_> = (1..=30).map(|i| from.join(format!("color/{i:08}.jpg"))).collect();
        let boxes = fs::read_to_string(from.join("groundtruth.txt")).unwrap();
        let polygons = boxes.replace("10,8,20,16\n", &polygon(10, 8)).replace("40,30,20,16\n", &polygon(40, 30));
        let put = |place: &str, frame: &dyn Fn(usize) -> String, truth: (&str, &str)| {
            let to = root.path().join(place).join(name);
            for (i, path) in frames.iter().enumerate() {
                let target = to.join(frame(i + 1));
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(path, target).unwrap();
            }
            fs::write(to.join(truth.0), truth.1).unwrap();
        };
        put("vot2015", &|i| format!("{i:08}.jpg"), ("groundtruth.txt", &polygons));
        put("workspace/sequences", &|i| format!("color/{i:08}.jpg"), ("groundtruth.txt", &boxes));
        put("got", &|i| format!("{i:08}.jpg"), ("groundtruth.txt", &boxes));
        put("got", &|i| format!("{i:08}.jpg"), ("cover.label", &"8\n".repeat(30)));
        let one_based = boxes.replace("10,8,", "11,9,").replace("40,30,", "41,31,");
        put("otb", &|i| format!("img/{i:04}.jpg"), ("groundtruth_rect.txt", &one_based));
    }
    fs::write(root.path().join("workspace/sequences/list.txt"), "calm\njump\n").unwrap();
    fs::write(root.path().join("workspace/config.yaml"), "stack: vot2016/rgb\n").unwrap();
    let mut scores = Vec::new();
    for place in ["vot2016", "vot2015", "workspace", "got", "otb"] {
        let (data, out) = (root.path().join(place), root.path().join(format!("{place}-out")));
        let options = EvalOptions { interval: Some((5, 25)), ..options(Dialect::VotMatlab) };
        let done = go(&data, &options, &out).unwrap();
        assert_eq!((done.made, done.failed.len(), done.score.failures), (6, 0, 1.0), "{place}");
        assert!(done.score.warnings.is_empty(), "{place}: {:?}", done.score.warnings);
        scores.push((place, done.score));
        // Without an interval given, that of the challenge is found by the name of the folder or the stack.
        let named = score_results(&data, &out, "baseline", Dialect::VotMatlab, None).unwrap();
        assert_eq!(named.eao_interval == [108, 371], ["vot2016", "vot2015", "workspace"].contains(&place), "{place}");
    }
    for (place, score) in &scores {
        // A polygon covers one pixel more to the right and below than the box with the same corners.
        let near = if *place == "vot2015" { 0.12 } else { 1e-12 };
        assert!((score.accuracy - scores[0].1.accuracy).abs() < near, "{place}: {}", score.accuracy);
    }
}

#[test]
fn binary_result_files_are_kept_and_scored_like_text() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    dataset(&data);
    let (text, binary) = (root.path().join("text"), root.path().join("binary"));
    let options = options(Dialect::VotMatlab);
    let first = go(&data, &options, &text).unwrap();
    let options = EvalOptions { binary: true, ..options };
    assert_eq!(go(&data, &options, &binary).unwrap().score, first.score);
    assert!(binary.join("results/still/baseline/jump/jump_001.bin").is_file());
    let again = go(&data, &options, &binary).unwrap();
    assert_eq!((again.made, again.kept), (0, 6));
    assert_eq!(score_results(&data, &binary, "baseline", Dialect::VotMatlab, Some((5, 25))).unwrap(), first.score);
}

#[test]
fn bad_input_is_named_by_file_and_line() {
    let root = tempfile::tempdir().unwrap();
    let (data, out) = (root.path().join("data"), root.path().join("out"));
    dataset(&data);
    let options = EvalOptions { repetitions: Some(1), ..options(Dialect::VotPython) };
    let whole = go(&data, &options, &out).unwrap().score;
    let score = || score_results(&data, &out, "baseline", Dialect::VotPython, Some((5, 25)));
    let why = || score().unwrap_err().to_string();
    let results = out.join("results/still/baseline/jump");
    let check = |path: &Path, damaged: &[u8], expected: &[&str]| {
        let kept = fs::read(path).unwrap();
        fs::write(path, damaged).unwrap();
        let e = why();
        assert!(expected.iter().all(|text| e.contains(text)), "{e}");
        fs::write(path, kept).unwrap();
    };
    let (text, truth) = (results.join("jump_001.txt"), data.join("jump/groundtruth.txt"));
    let lines = fs::read_to_string(&text).unwrap();
    let boxes = fs::read_to_string(&truth).unwrap();
    // Result files: cut off at a line, in a line, with an empty line, too long, no text at all.
    let cut = |count: usize| lines.lines().take(count).map(|line| format!("{line}\n")).collect::<String>();
    check(&text, cut(20).as_bytes(), &["jump_001.txt", "after line 20", "30 frames"]);
    check(&text, format!("{}10,8,2", cut(20)).as_bytes(), &["jump_001.txt:21"]);
    check(&text, format!("{}\n{}", cut(7), cut(22)).as_bytes(), &["jump_001.txt:8", "empty"]);
    check(&text, format!("{lines}0\n").as_bytes(), &["jump_001.txt", "after line 31", "30 frames"]);
    check(&text, &[0xff, 0xfe, 0], &["jump_001.txt", "not a text file"]);
    let binary = results.join("jump_001.bin");
    fs::write(&binary, vot::results::encode_regions(&vec![Region::Special(1); 30])).unwrap();
    let bytes = fs::read(&binary).unwrap();
    fs::rename(&text, root.path().join("aside")).unwrap();
    check(&binary, &bytes[..40], &["jump_001.bin", "byte", "the file ends"]);
    fs::rename(root.path().join("aside"), &text).unwrap();
    fs::remove_file(binary).unwrap();
    // Ground truth: a line that is no region, an empty line, more lines than frames.
    check(&truth, boxes.replacen("10,8,20,16\n10", "10,8,20\n10", 1).as_bytes(), &["groundtruth.txt:1"]);
    check(&truth, boxes.replacen("10,8", "\n10,8", 1).as_bytes(), &["groundtruth.txt:1", "empty"]);
    check(&truth, format!("{boxes}1,2,3,4\n").as_bytes(), &["groundtruth.txt has 31", "color has 30"]);
    // A frame that is missing.
    fs::rename(data.join("jump/color/00000017.jpg"), root.path().join("aside.jpg")).unwrap();
    let e = why();
    assert!(e.contains("groundtruth.txt has 30") && e.contains("00000017.jpg is missing"), "{e}");
    fs::rename(root.path().join("aside.jpg"), data.join("jump/color/00000017.jpg")).unwrap();
    // Line ends of Windows, blank lines at the end, and NaN for "no target" are fine; fewer lines than frames are told.
    fs::write(&truth, format!("{}\r\n \r\n", boxes.replace('\n', "\r\n"))).unwrap();
    fs::write(&text, lines.replace('\n', "\r\n")).unwrap();
    assert_eq!(score().unwrap(), whole);
    fs::write(&truth, boxes.replacen("10,8,20,16", "nan,NaN,nan,nan", 3).replacen("nan,NaN,nan,nan", "10,8,20,16", 1))
        .unwrap();
    assert_eq!(score().unwrap().failures, whole.failures);
    fs::write(&truth, boxes.lines().take(29).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let warned = score().unwrap().warnings;
    assert!(warned.iter().any(|w| w.contains("groundtruth.txt has 29 regions for 30 frames")), "{warned:?}");
}
