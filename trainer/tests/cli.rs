//! The process: exit codes, output, death and revival.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use assert_cmd::Command;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{SMALL, dataset, layers};

fn trainer(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("trainer").unwrap();
    command.args(args).timeout(Duration::from_secs(300));
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs, expects the exit code, answers standard output and standard error.
fn expect(args: &[&str], code: i32) -> (String, String) {
    let output = trainer(args).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    (out, err)
}

fn small<'a>(args: &[&'a str]) -> Vec<&'a str> {
    args.iter().copied().chain(["--preset", "tiny"]).chain(SMALL).collect()
}

struct Place {
    _dir: tempfile::TempDir,
    root: PathBuf,
    data: String,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    dataset(&data, 352, None);
    Place { root: dir.path().to_path_buf(), data: text(&data).to_owned(), _dir: dir }
}

fn spawn(args: &[&str]) -> Child {
    std::process::Command::new(assert_cmd::cargo::cargo_bin("trainer"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for(path: &Path) {
    let until = Instant::now() + Duration::from_secs(120);
    while !path.exists() {
        assert!(Instant::now() < until, "{} did not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_and_resumed_or_interrupted_and_resumed_gives_the_same_bits() {
    let p = place();
    let long = ["run.epochs=1", "run.steps_per_epoch=24", "run.checkpoint_every=3"];
    let out = |name: &str| p.root.join(name);
    let args = |dir: &Path| -> Vec<String> {
        let fixed = ["run", "--data", &p.data, "--out", text(dir)];
        small(&fixed).into_iter().chain(long).map(str::to_owned).collect()
    };
    let run = |dir: &Path, resume: bool, code: i32| {
        let mut args = args(dir);
        args.extend(resume.then(|| "--resume".to_owned()));
        expect(&args.iter().map(String::as_str).collect::<Vec<_>>(), code)
    };
    let weights = |dir: &Path| std::fs::read(dir.join("model.safetensors")).unwrap();
    let straight = out("straight");
    let (_, err) = run(&straight, false, 0);
    assert!(err.contains("step 24/24") && !err.contains('\r'), "{err}");

    let saved = trainer::config::read_saved(&straight.join("config.toml")).unwrap();
    assert_eq!(saved, layers(&long).resolve().unwrap(), "the effective configuration is saved");

    for (name, signal) in [("killed", "KILL"), ("interrupted", "INT"), ("terminated", "TERM")] {
        let dir = out(name);
        let args = args(&dir);
        let mut child = spawn(&args.iter().map(String::as_str).collect::<Vec<_>>());
        wait_for(&dir.join("checkpoints/step-00000003"));
        let kill = format!("kill -{signal} {}", child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let status = child.wait().unwrap();
        if name != "killed" {
            assert_eq!(status.code(), Some(130));
        } else {
            assert_eq!(status.code(), None);
        }
        let (_, err) = run(&dir, true, 0);
        assert!(err.contains("resumed from"), "{err}");
        assert_eq!(weights(&dir), weights(&straight), "{name}");
        let lines = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
        let steps: Vec<u64> = lines
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert!(steps.windows(2).all(|w| w[0] < w[1]) && steps.last() == Some(&24), "{steps:?}");
    }
}

#[test]
fn a_full_disk_is_one_clear_error_and_the_run_goes_on_from_the_checkpoint_before() {
    let p = place();
    // Wide enough that weights and momentum are larger than the metrics of the run.
    let long =
        ["run.epochs=1", "run.steps_per_epoch=24", "run.checkpoint_every=3", "model.trunk.widths=[8,16,24,24,24]"];
    let args = |dir: &Path, more: &[&'static str]| -> Vec<String> {
        let fixed = ["run", "--data", &p.data, "--out", text(dir)];
        small(&fixed).into_iter().chain(long).chain(more.iter().copied()).map(str::to_owned).collect()
    };
    let run = |dir: &Path, more: &[&'static str]| {
        expect(&args(dir, more).iter().map(String::as_str).collect::<Vec<_>>(), 0);
        std::fs::read(dir.join("model.safetensors")).unwrap()
    };
    // No file may grow beyond 32 KiB: a checkpoint cannot be written then, as on a full disk.
    let without_room = |dir: &Path, more: &[&'static str]| {
        let script = r#"trap "" XFSZ; ulimit -f 64; exec "$0" "$@""#;
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).arg(assert_cmd::cargo::cargo_bin("trainer")).args(args(dir, more));
        let output = command.output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("checkpoints/step-") && err.contains("older checkpoints are untouched"), "{err}");
    };
    let checkpoints = |dir: &Path| std::fs::read_dir(dir.join("checkpoints")).unwrap().count();

    let fresh = p.root.join("fresh");
    without_room(&fresh, &[]);
    assert_eq!(checkpoints(&fresh), 0, "nothing half written is left");

    let dir = p.root.join("run");
    let first = args(&dir, &[]);
    let mut child = spawn(&first.iter().map(String::as_str).collect::<Vec<_>>());
    wait_for(&dir.join("checkpoints/step-00000003"));
    assert!(
        std::process::Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap().success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let before = (checkpoints(&dir), std::fs::read(dir.join("model.safetensors")).unwrap());
    without_room(&dir, &["--resume"]);
    assert_eq!((checkpoints(&dir), std::fs::read(dir.join("model.safetensors")).unwrap()), before);
    assert_eq!(run(&dir, &["--resume"]), run(&p.root.join("straight"), &[]), "the same bits");
}

#[test]
fn bad_arguments_end_with_one_clear_error() {
    let p = place();
    let out = p.root.join("run");
    let run = ["run", "--data", &p.data, "--out", text(&out)];
    let with = |more: &[&'static str]| -> Vec<&str> { small(&run).into_iter().chain(more.iter().copied()).collect() };
    for (args, code, parts) in [
        (with(&["optim.lr_strat=1"]), 2, &["optim.lr_strat", "optim.lr_start"][..]),
        (with(&["run.batch=0"]), 2, &["run.batch", "at least 1"]),
        (with(&["augment.shift=40"]), 2, &["352", "395", "augment.shift"]),
        (with(&["--device", "cuda:0"]), 1, &["cuda:0", "cpu"]),
        (with(&["run.init_from=none.safetensors"]), 1, &["none.safetensors"]),
        (with(&["run.batch=64"]), 2, &["64", "run.batch"]),
        (vec!["run", "--data", "nowhere", "--out", text(&out)], 1, &["nowhere"]),
        (vec!["run", "--data", &p.data, "--out", text(&out), "--config", "none.toml"], 2, &["none.toml"]),
        (vec!["run", "--preset", "best"], 2, &["best", "reference"]),
        (vec!["bench", "loader"], 2, &["--data"]),
        (vec!["import", "--from", "none", "--kind", "safetensors", "--out", text(&out)], 1, &["none"]),
    ] {
        let (_, err) = expect(&args, code);
        assert!(parts.iter().all(|part| err.contains(part)), "{args:?}: {err}");
        assert!(!err.contains("panicked"), "{err}");
    }
    assert!(!out.join("model.safetensors").exists());
}

#[test]
fn check_draws_and_reports() {
    let p = place();
    let out = p.root.join("check");
    let (json, _) = expect(&small(&["check", "--json", "--data", &p.data, "--out", text(&out)]), 0);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["cls"], serde_json::json!([2, 10, 17, 17]));
    assert!(report["loss"].as_f64().unwrap() > 0.0 && report["finite"] == true);
    assert!(report["positives"].as_array().unwrap().iter().all(|n| n.as_u64().unwrap() > 0));
    let picture = std::fs::read(out.join("check.png")).unwrap();
    let drawn = shards::jpeg::decode_image(&picture, &shards::jpeg::Limits::default()).unwrap();
    // A green box and yellow anchors are in it.
    for colour in [[0, 230, 0], [255, 220, 0], [70, 130, 255]] {
        assert!(drawn.data.as_chunks::<3>().0.contains(&colour), "{colour:?}");
    }
}

#[test]
fn several_datasets_are_named_one_by_one_and_what_does_not_go_together_is_a_wrong_argument() {
    let p = place();
    let other = p.root.join("other");
    support::labelled(&other, "other", schemas::build::BuildConfig::default(), None);
    let out = p.root.join("out");
    let run = |more: &[&str], code| {
        let both = ["run", "--data", &p.data, "--data", text(&other), "--out", text(&out), "--json"];
        expect(&small(&both).into_iter().chain(more.iter().copied()).collect::<Vec<_>>(), code)
    };
    let (_, err) = run(&["data.share_by_dataset={ made = 1, vid = 1 }"], 2);
    assert!(err.contains("vid") && err.contains("made, other"), "{err}");
    let mix = ["data.share_by_dataset={ made = 3, other = 1 }", "data.pairs_per_epoch=9", "data.min_aspect=0.74"];
    let (json, err) = run(&mix, 0);
    let summary: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&summary["step"], &summary["steps"]), (&8.into(), &8.into()));
    assert!(err.contains("6 of 48 rows are not drawn"), "{err}");
    let alone = ["run", "--data", &p.data, "--out", text(&out), "--resume", "data.share_by_dataset.other=0"];
    let (_, err) = expect(&alone, 2);
    assert!(err.contains("other, which the data does not have"), "{err}");
}

#[test]
fn bench_prints_one_json_object() {
    let p = place();
    for subject in ["loader", "model", "train"] {
        let args =
            ["bench", subject, "--data", &p.data, "--seconds", "0.2", "--threads", "1", "--batch", "2", "--json"];
        let (json, _) = expect(&small(&args), 0);
        let figures: serde_json::Value = serde_json::from_str(&json).unwrap();
        for key in ["pairs_per_s", "crops_per_s", "step_ms", "steps", "seconds"] {
            assert!(figures[key].as_f64().unwrap() > 0.0, "{subject} {key}: {json}");
        }
        assert_eq!(figures["threads"], u64::from(subject != "model"));
    }
}

#[test]
fn imported_weights_start_a_run() {
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../siamrpn/weights/alexnet-imagenet-f16.safetensors");
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("narrow.safetensors");
    let import = ["import", "--from", weights, "--kind", "imagenet-alexnet", "--out", text(&model)];
    let (out, _) = expect(&import, 0);
    assert!(out.contains("head starts fresh"), "{out}");
    let (_, err) = expect(&[&import[..], &["--preset", "reference"]].concat(), 2);
    assert!(err.contains("trunk.widths"), "{err}");
    let again = dir.path().join("again.safetensors");
    let from = ["import", "--from", text(&model), "--kind", "safetensors", "--out", text(&again)];
    let (out, _) = expect(&[&from[..], &["model.channels=rgb", "model.head=up-channel"]].concat(), 0);
    assert!(out.contains("turned round") && out.contains("head starts fresh"), "{out}");
}

#[test]
fn checkpoints_of_other_projects_bring_their_configuration() {
    let file = |name: &str| format!("{}/../siamrpn/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.safetensors");
    let import = |name: &str, kind: &str, more: &[&str], code| {
        let from = file(name);
        let args = ["import", "--from", from.as_str(), "--kind", kind, "--out", text(&model)];
        expect(&[&args[..], more].concat(), code)
    };
    let (out, _) = import("pysot.pth", "pysot", &[], 0);
    assert!(out.contains("trunk and head; 15 not needed") && out.contains("search 287 px, crops pysot"), "{out}");
    let (out, _) = import("pysot.pth", "pysot", &["--json", "model.search_px=255"], 0);
    let done: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(done["config"]["search_px"], 255);
    assert_eq!(done["ignored"].as_array().map(Vec::len), Some(15));
    let (metadata, _) = siamrpn::model::read_tensors("model", &std::fs::read(&model).unwrap()).unwrap();
    assert_eq!(metadata["trainer.imported_kind"], "pysot");
    let loaded = siamrpn::model::Model::load(&model, &siamrpn::device::device("cpu").unwrap()).unwrap();
    assert_eq!((loaded.config.head_width(), loaded.config.tracker.penalty_k), (4, 0.16));

    // The trunk of another family, as start weights with an own head.
    let (out, _) = import("siamrpn_pytorch_alexnet.pth", "siamrpn-pytorch-alexnet", &["model.head=depthwise"], 0);
    assert!(out.contains("head starts fresh; 7 not needed") && out.contains("head depthwise"), "{out}");

    for (name, kind, more, code, said) in [
        ("pysot.pth", "pysot", "--preset=tiny", 2, "leave it out"),
        ("pysot.pth", "pysot", "model.channels=rgb", 2, "model.channels"),
        ("pysot.pth", "pysot", "model.search_px=256", 2, "search_px"),
        ("pysot.pth", "dasiamrpn", "run.seed=1", 1, "missing [featureExtract.0.weight"),
        ("make_network.py", "pysot", "run.seed=1", 1, "PyTorch file"),
    ] {
        let (_, err) = import(name, kind, &[more], code);
        assert!(err.contains(said), "{err}");
    }
}
