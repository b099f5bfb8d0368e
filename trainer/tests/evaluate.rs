//! `trainer eval` and `trainer tune` on two small made-up sequences with small random weights.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use assert_cmd::Command;
use schemas::model::{ModelConfig, TrunkConfig};
use serde_json::Value;
use shards::image::Rgb;
use siamrpn::device::Device;
use siamrpn::net::SiamRpn;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

struct Place {
    _dir: tempfile::TempDir,
    run: PathBuf,
    data: PathBuf,
}

/// A run with the weights of epochs 1 to 3, and a data set in the VOT layout.
fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let (run, data) = (dir.path().join("run"), dir.path().join("made"));
    std::fs::create_dir_all(run.join("epochs")).unwrap();
    let config =
        ModelConfig { trunk: TrunkConfig { widths: [4, 6, 6, 6, 6] }, search_px: 255, ..ModelConfig::default() };
    for epoch in 1..=3 {
        let net = SiamRpn::new(&config, epoch, &Device::flex()).unwrap();
        let path = run.join(format!("epochs/epoch-{epoch:04}.safetensors"));
        siamrpn::model::save(&path, &config, &net, &BTreeMap::new()).unwrap();
    }
    for (name, frames) in [("one", 6), ("two", 5)] {
        let folder = data.join(name).join("color");
        std::fs::create_dir_all(&folder).unwrap();
        let mut truth = String::new();
        for frame in 0..frames {
            let shift = 3 * frame;
            let mut image = Rgb::filled(120, 90, [0; 3]);
            for (place, pixel) in image.data.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let (x, y) = (place % 120, place / 120);
                let inside = (30 + shift..70 + shift).contains(&x) && (30..60).contains(&y);
                *pixel =
                    if inside { [230, 60 + (x % 32) as u8, 40] } else { [(40 + (x / 9 + y / 7) % 60) as u8, 70, 90] };
            }
            let jpeg = shards::jpeg::encode(&image, 90).unwrap();
            std::fs::write(folder.join(format!("{:08}.jpg", frame + 1)), jpeg).unwrap();
            truth += &format!("{},30,40,30\n", 30 + shift);
        }
        std::fs::write(data.join(name).join("groundtruth.txt"), truth).unwrap();
    }
    std::fs::write(data.join("list.txt"), "one\ntwo\n").unwrap();
    Place { run, data, _dir: dir }
}

fn trainer(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("trainer").unwrap();
    command.args(args).timeout(Duration::from_secs(120));
    command
}

fn expect(args: &[&str], code: i32) -> (String, String) {
    let output = trainer(args).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    (out, err)
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&expect(&[args, &["--json", "--quiet"]].concat(), 0).0).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn epochs_are_compared_and_kept() {
    let p = place();
    let args = ["eval", text(&p.run), "--dataset", text(&p.data)];
    // A part first, as an array of jobs would: no summary yet.
    let part = json(&[&args[..], &["--part", "1/2"]].concat());
    assert_eq!((part["epochs"].as_array().unwrap().len(), part["made"].as_u64()), (1, Some(1)));
    let out = p.run.join("eval/made");
    assert!(out.join("epoch-0002.json").exists() && !out.join("summary.json").exists());
    let all = json(&args);
    assert_eq!(all["made"], 2, "epoch 2 was there");
    let epochs = all["epochs"].as_array().unwrap();
    assert_eq!(epochs.iter().map(|e| e["epoch"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    let eao = |e: &Value| e["eao"].as_f64().unwrap_or(f64::NEG_INFINITY);
    let most = epochs.iter().map(eao).fold(f64::MIN, f64::max);
    let best = epochs.iter().find(|e| e["epoch"] == all["best"]).unwrap();
    assert!(eao(best) == most && most.is_finite(), "{all}");
    assert!(epochs.iter().all(|e| (0.0..=1.0).contains(&e["accuracy"].as_f64().unwrap())), "{all}");
    let svg = std::fs::read_to_string(out.join("summary.svg")).unwrap();
    assert!(svg.contains("EAO") && svg.contains("accuracy"));
    assert_eq!(std::fs::read_to_string(out.join("summary.csv")).unwrap().lines().count(), 4);
    let before = std::fs::read(out.join("summary.json")).unwrap();
    assert_eq!(json(&args)["made"], 0);
    // Another protocol is another result; another data set too.
    let ope = json(&[&args[..], &["--epochs", "2..3", "--protocol", "ope"]].concat());
    assert_eq!(ope["made"], 2);
    assert!(ope["epochs"][0]["success_auc"].as_f64().is_some() && ope["epochs"][0]["eao"].is_null());
    json(&args);
    let again: Value = serde_json::from_slice(&std::fs::read(out.join("summary.json")).unwrap()).unwrap();
    let before: Value = serde_json::from_slice(&before).unwrap();
    assert_eq!(again["epochs"], before["epochs"]);
    let (table, _) =
        expect(&["eval", text(&p.run.join("epochs/epoch-0001.safetensors")), "--dataset", text(&p.data)], 0);
    assert!(table.contains("EAO"), "{table}");
}

#[test]
fn a_search_that_is_killed_goes_on_to_the_same_answer() {
    let p = place();
    let tune = |out: &Path, more: &[&str]| {
        let fixed = ["tune", text(&p.run), "--dataset", text(&p.data), "--out", text(out), "--trials", "14"];
        let fixed: Vec<String> = fixed.iter().chain(more).map(|s| (*s).to_owned()).collect();
        fixed
    };
    let run = |out: &Path, more: &[&str]| json(&tune(out, more).iter().map(String::as_str).collect::<Vec<_>>());
    let (straight, killed) = (p.run.join("straight"), p.run.join("killed"));
    let found = run(&straight, &["--threads", "1"]);
    assert_eq!((found["trials"].as_u64(), found["made"].as_u64()), (Some(14), Some(14)));
    assert!(found["best"]["value"].as_f64().unwrap() >= found["untuned"]["value"].as_f64().unwrap());
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("trainer"))
        .args(tune(&killed, &[]))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let lines = || std::fs::read_to_string(killed.join("trials.jsonl")).map_or(0, |t| t.lines().count());
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while lines() < 4 && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let again = run(&killed, &["--threads", "3"]);
    assert!(again["made"].as_u64().unwrap() <= 11, "{again}");
    for file in ["best.json", "tuned.safetensors"] {
        assert_eq!(std::fs::read(straight.join(file)).unwrap(), std::fs::read(killed.join(file)).unwrap(), "{file}");
    }
    let model = siamrpn::model::Model::load(&killed.join("tuned.safetensors"), &Device::flex()).unwrap();
    assert_eq!(Some(model.config.tracker.penalty_k), again["best"]["penalty_k"].as_f64());
    assert!(model.metadata["trainer.tuned"].contains("\"made\""), "{:?}", model.metadata);
    // Another search does not go on from these trials.
    let other = tune(&killed, &["--seed", "2"]);
    let (_, err) = expect(&other.iter().map(String::as_str).collect::<Vec<_>>(), 2);
    assert!(err.contains("trials.jsonl") && err.contains("--out"), "{err}");
    let out = p.run.join("grid");
    let grid = ["tune", text(&p.run), "--dataset", text(&p.data), "--out", text(&out), "--grid"];
    let values = ["--penalty", "0.1:0.2:0.1", "--window", "0.3:0.3:1", "--lr", "0.3:0.4:0.1", "--sequences", "two"];
    let more = ["--objective", "mean-overlap"];
    assert_eq!(json(&[&grid[..], &values, &more].concat())["trials"], 5);
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let p = place();
    let empty = p.run.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let truth = p.data.join("two/groundtruth.txt");
    let data = ["--dataset", text(&p.data)];
    let run = text(&p.run);
    for (args, code, parts) in [
        (["eval", run].to_vec(), 2, &["--epochs 3..9", "epoch 4", "3 of 1 to 3"][..]),
        (["eval", run].to_vec(), 2, &["--epochs 3..2", "3..2"]),
        (["eval", text(&empty)].to_vec(), 2, &["--epochs all", "none", "run.keep_epochs"]),
        (["tune", run].to_vec(), 2, &["--sequences three", "three", "one, two"]),
        (["tune", run].to_vec(), 2, &["--trials 0", "--trials 0"]),
    ] {
        let (flags, wanted) = parts.split_first().unwrap();
        let flags: Vec<&str> = flags.split(' ').collect();
        let (_, err) = expect(&[&args[..], &data, &flags].concat(), code);
        assert!(wanted.iter().all(|part| err.contains(part)), "{args:?} {flags:?}: {err}");
    }
    std::fs::write(&truth, "0\n0\n0\n0\n0\n").unwrap();
    let (_, err) = expect(&["eval", run, "--dataset", text(&p.data), "--quiet"], 1);
    assert!(err.contains("sequence two") && err.contains("no region to start from"), "{err}");
    let (_, err) = expect(&["eval", run, "--dataset", text(&empty)], 1);
    assert!(err.contains("empty"), "{err}");
}
