//! `track`, `eval` and `score` as processes, with good and bad input.

use crate::support::{bundled, json, model, names, run, sequence};
use std::fs;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[test]
fn a_bundled_video_is_tracked_from_its_own_box() {
    let root = tempfile::tempdir().unwrap();
    let (model, out) = (model(root.path()), root.path().join("out"));
    let video = bundled("videos/bird.mp4");
    let args = ["track", text(&video), "--model", &model, "--out", text(&out), "--decoder", "builtin", "--json"];
    let (code, stdout, err) = run(&args);
    assert_eq!(code, 0, "{err}");
    let truth = fs::read_to_string(bundled("videos/bird.txt")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(result, json(&out.join("result.json")));
    assert_eq!(result["frames"].as_u64().unwrap() as usize, truth.lines().count());
    assert_eq!(result["targets"][0]["init_source"], "bird.txt");
    let boxes = fs::read_to_string(out.join("bird_001.txt")).unwrap();
    assert_eq!((boxes.lines().next(), boxes.lines().count()), (Some("1"), truth.lines().count()));
    assert!(json(&out.join("eval.json"))["bird"]["num_failures"].is_u64());

    let (code, _, err) = run(&args);
    assert!(code == 2 && err.contains("--force"), "{err}");
    let (code, _, err) = run(&[&args[..], &["--force", "--overlay", "--init", "10,10,30,30"]].concat());
    assert_eq!(code, 0, "{err}");
    assert_eq!(json(&out.join("result.json"))["targets"][0]["init_source"], "--init");
    assert_eq!(names(&out.join("overlay")).len(), truth.lines().count());
    assert!(!names(&out).iter().any(|n| n.starts_with(".tmp")), "{:?}", names(&out));
}

#[test]
fn bad_input_is_named_and_nothing_is_left_behind() {
    let root = tempfile::tempdir().unwrap();
    let model = model(root.path());
    let place = |name: &str, bytes: &[u8]| {
        let path = root.path().join(name);
        fs::write(&path, bytes).unwrap();
        text(&path).to_owned()
    };
    let whole = fs::read(bundled("videos/bird.mp4")).unwrap();
    let out = root.path().join("out");
    let check = |args: &[&str], code: i32, why: &[&str]| {
        let (found, stdout, err) = run(&[&["track"], args, &["--out", text(&out), "--decoder", "builtin"]].concat());
        assert_eq!(found, code, "{args:?}: {err}");
        assert!(stdout.is_empty());
        for why in why {
            assert!(err.contains(why), "{args:?}: {err}");
        }
        assert!(!err.contains("panicked"), "{err}");
        assert!(!out.join("result.json").exists());
    };
    let with = |input: &str, init: &str, code: i32, why: &[&str]| {
        check(&[input, "--model", &model, "--init", init], code, why);
    };
    with(text(&root.path().join("none.mp4")), "1,1,9,9", 1, &["none.mp4", "No such file"]);
    with(&place("empty.mp4", b""), "1,1,9,9", 1, &["empty.mp4", "no bytes"]);
    with(&place("notes.pdf", b"%PDF-1.7"), "1,1,9,9", 1, &["notes.pdf", "not a video"]);
    with(&place("head.mp4", &whole[..200]), "1,1,9,9", 1, &["head.mp4"]);
    with(&place("noise.mp4", &[&whole[..8], &[7; 5000][..]].concat()), "1,1,9,9", 1, &["noise.mp4"]);
    with(&place("clip.avi", b"RIFF\0\0\0\0AVI LIST"), "1,1,9,9", 1, &["clip.avi", "ffmpeg"]);
    let clip = place("clip.mp4", &whole);
    with(&clip, "1,1,0,9", 2, &["larger than zero"]);
    with(&clip, "nan,1,9,9", 2, &["finite"]);
    with(&clip, "1,1,9", 2, &["3 numbers"]);
    with(&clip, "9000,1,9,9", 1, &["--init", "does not fit"]);
    check(&[&clip, "--model", &model], 1, &["no initial box", "clip.txt", "--init"]);
    place("clip.txt", b"nan,nan,nan,nan\n");
    check(&[&clip, "--model", &model], 1, &["clip.txt:1", "NaN"]);
    fs::remove_file(root.path().join("clip.txt")).unwrap();
    let foreign = place("foreign.safetensors", b"no model");
    check(&[&clip, "--model", &foreign, "--init", "1,1,9,9"], 1, &["foreign.safetensors"]);
    let missing = root.path().join("missing.safetensors");
    check(&[&clip, "--model", text(&missing), "--init", "1,1,9,9"], 1, &["missing.safetensors"]);
    check(&[&clip, "--model", &model, "--init", "1,1,9,9", "--device", "cuda:0"], 1, &["cuda"]);
    check(&[&clip, "--model", &model, "--init", "1,1,9,9", "--device", "toaster"], 1, &["toaster"]);
    let empty = root.path().join("empty-folder");
    fs::create_dir(&empty).unwrap();
    let ort = |library: &str, engine: &str, code: i32, why: &[&str]| {
        let args = ["--model", &model, "--init", "1,1,9,9", "--onnxruntime", library, "--engine", engine];
        check(&[&[clip.as_str()], &args[..]].concat(), code, why);
    };
    let advice = "pip install onnxruntime";
    ort("/none/libonnxruntime.so", "ort", 1, &["/none/libonnxruntime.so", "No such file", advice]);
    ort(&foreign, "ort", 1, &["foreign.safetensors", advice]);
    ort(text(&empty), "ort", 1, &["empty-folder", "no file", advice]);
    ort(&foreign, "native", 2, &["--engine ort"]);
    check(
        &[&clip, "--model", &model, "--init", "1,1,9,9", "--device", "cuda:0", "--engine", "ort"],
        1,
        &["`ort`", "cpu"],
    );
    with(text(&empty), "1,1,9,9", 1, &["empty-folder", "no frames"]);
    let below = format!("{clip}/out");
    let (code, _, err) = run(&["track", &clip, "--model", &model, "--init", "1,1,9,9", "--out", &below]);
    assert!(code == 1 && err.contains("cannot be written"), "{err}");
    assert!(names(&out).is_empty(), "{:?}", names(&out));
}

#[test]
fn a_full_disk_is_one_clear_error_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (model, out, seq) = (model(root.path()), root.path().join("out"), root.path().join("seq"));
    sequence(&seq, 300);
    // No file may grow beyond 4 KiB: writing the boxes fails as on a full disk.
    let track = |limit: &str| {
        let script = format!(r#"trap "" XFSZ; {limit} exec "$0" "$@""#);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_trackd"), "track", text(&seq), "--model", &model, "--out"]);
        let done = command.arg(&out).output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, err) = track("ulimit -f 8;");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("out") && err.contains("File too large") && !err.contains("panicked"), "{err}");
    assert!(names(&out).is_empty(), "{:?}", names(&out));
    assert_eq!(track("").0, Some(0));
    assert!(out.join("result.json").exists());
}

#[test]
fn a_truncated_video_is_no_success() {
    let root = tempfile::tempdir().unwrap();
    let (model, out) = (model(root.path()), root.path().join("out"));
    let mut bytes = fs::read(bundled("videos/bird.mp4")).unwrap();
    bytes.truncate(bytes.len() * 2 / 3);
    let cut = root.path().join("cut.mp4");
    fs::write(&cut, bytes).unwrap();
    let (code, _, err) = run(&[
        "track",
        text(&cut),
        "--init",
        "10,10,40,40",
        "--model",
        &model,
        "--out",
        text(&out),
        "--decoder",
        "builtin",
    ]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("cut.mp4") && (err.contains("truncated") || err.contains("cut off")), "{err}");
    assert!(names(&out).is_empty());
}

#[test]
fn a_data_set_is_evaluated_resumed_and_scored() {
    let root = tempfile::tempdir().unwrap();
    let (model, out, data) = (model(root.path()), root.path().join("out"), root.path().join("data"));
    for name in ["one", "two"] {
        sequence(&data.join(name), 25);
    }
    let args = ["eval", text(&data), "--model", &model, "--out", text(&out), "--eao-interval", "5,20"];
    let more = ["--dialect", "vot-matlab", "--repetitions", "1", "--json"];
    let (code, first, err) = run(&[&args[..], &more].concat());
    assert_eq!(code, 0, "{err}");
    let score: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(
        (score["dialect"].as_str(), score["sequences"]["two"]["frames"].as_u64()),
        (Some("vot-matlab"), Some(25))
    );
    let eval = json(&out.join("eval.json"));
    assert_eq!(eval["all_videos"]["dialect"], "mindspore");
    let result = out.join("results/siamrpn/baseline/one/one_001.txt");
    assert_eq!(fs::read_to_string(&result).unwrap().lines().count(), 25);
    let written = fs::metadata(&result).unwrap().modified().unwrap();
    fs::remove_dir_all(out.join("results/siamrpn/baseline/two")).unwrap();
    let (code, second, err) = run(&[&args[..], &more].concat());
    assert!(code == 0 && err.contains("1 runs made, 1 complete"), "{err}");
    assert_eq!(second, first);
    assert_eq!(fs::metadata(&result).unwrap().modified().unwrap(), written);

    // The network computes the same, however many run at once.
    let beside = root.path().join("beside");
    let jobs =
        ["eval", text(&data), "--model", &model, "--out", text(&beside), "--eao-interval", "5,20", "--jobs", "2"];
    assert_eq!(run(&[&jobs[..], &more].concat()).1, first);
    for file in ["one/one_001.txt", "two/two_001.txt", "two/two_001_confidence.value"] {
        let read = |root: &Path| fs::read(root.join("results/siamrpn/baseline").join(file)).unwrap();
        assert_eq!(read(&beside), read(&out), "{file}");
    }

    let results = out.join("results/siamrpn");
    let score_args = ["score", "--dataset", text(&data), "--results", text(&results), "--dialect", "vot-matlab"];
    let (code, scored, err) = run(&[&score_args[..], &["--eao-interval", "5,20", "--json"]].concat());
    assert_eq!((code, scored), (0, first), "{err}");
    let (code, table, _) = run(&score_args);
    assert!(code == 0 && table.contains("accuracy") && table.contains("two"), "{table}");
    let (code, _, err) = run(&["score", "--dataset", text(&data), "--results", text(&data), "--dialect", "pysot"]);
    assert!(code == 1 && err.contains("one"), "{err}");
    let (code, _, err) = run(&["score", "--dataset", text(&data), "--results", text(&results), "--dialect", "otb"]);
    assert!(code == 2 && err.contains("vot-python"), "{err}");
    let (code, _, err) = run(&["eval", text(root.path()), "--model", &model, "--out", text(&out)]);
    assert_ne!(code, 0, "{err}");
}

#[test]
fn the_decoder_child_counts_and_decodes() {
    let video = bundled("videos/coin.mp4");
    let lines = fs::read_to_string(bundled("videos/coin.txt")).unwrap().lines().count();
    let (code, counted, _) = run(&["decoder", "count-h264", text(&video)]);
    assert_eq!((code, counted.trim().parse()), (0, Ok(lines)));
    let out = crate::support::trackd().args(["decoder", "h264", text(&video)]).output().unwrap();
    assert!(out.status.success());
    let mut stream = &out.stdout[..];
    let mut frames = Vec::new();
    while let Some(frame) = trackd::frames::ppm::read_frame(&mut stream, 1 << 22).unwrap() {
        frames.push(((frame.width, frame.height), frame.channel_mean()));
    }
    assert_eq!(frames.len(), lines);
    assert!(frames.iter().all(|(size, _)| *size == frames[0].0), "one size");
    assert!(frames.windows(2).all(|w| (w[0].1[1] - w[1].1[1]).abs() < 20.0), "no torn frames");
    assert!(frames.iter().any(|(_, mean)| (mean[0] - frames[0].1[0]).abs() > 0.01), "the picture moves");
    let (code, _, err) = run(&["status", "--outbox", "nowhere"]);
    assert!(code == 1 && err.contains("nowhere"), "{err}");
}

#[test]
fn help_is_help() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for command in ["track", "eval", "score", "watch", "init", "status", "list", "retry"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    assert!(!help.contains("h264"), "children are the program's own affair");
    assert_eq!(run(&["fly"]).0, 2);
    assert_eq!(run(&["--version"]).0, 0);
}
