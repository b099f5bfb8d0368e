//! `trainer export` as a process. What is in the graphs is tested in `siamrpn::onnx`, what runs them in `.ci/interop/core`.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use assert_cmd::Command;
use schemas::model::{HeadKind, MODEL_KEY, ModelConfig, TrunkConfig};
use siamrpn::device::device;
use siamrpn::model::{Model, save};
use siamrpn::net::SiamRpn;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs, expects the exit code, answers standard output and standard error.
fn expect(args: &[&str], code: i32) -> (String, String) {
    let output = Command::cargo_bin("trainer").unwrap().arg("export").args(args).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    (out, err)
}

fn model(dir: &Path, head: HeadKind) -> PathBuf {
    let config = ModelConfig { head, trunk: TrunkConfig { widths: [4, 6, 6, 6, 6] }, ..ModelConfig::default() };
    let net = SiamRpn::new(&config, 3, &device("cpu").unwrap()).unwrap();
    let path = dir.join("model.safetensors");
    save(&path, &config, &net, &BTreeMap::from([("trainer.step".to_owned(), "7".to_owned())])).unwrap();
    path
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_model_file_is_written_again_whole_or_in_half_the_bytes() {
    for head in [HeadKind::UpChannel, HeadKind::Depthwise] {
        let dir = tempfile::tempdir().unwrap();
        let from = model(dir.path(), head);
        let to = |name: &str| dir.path().join("new").join(name);
        let (same, half) = (to("same.safetensors"), to("half.safetensors"));
        expect(&[text(&from), "--format", "safetensors", "--out", text(&same)], 0);
        let whole = fs::read(&from).unwrap();
        assert_eq!(fs::read(&same).unwrap(), whole);
        let args = [text(&from), "--format", "safetensors", "--precision", "f16", "--out", text(&half), "--json"];
        let (json, _) = expect(&args, 0);
        let done: serde_json::Value = serde_json::from_str(&json).unwrap();
        let load = |path: &Path| Model::load(path, &device("cpu").unwrap()).unwrap();
        let (before, after) = (load(&from), load(&half));
        assert_eq!(done["model_blake3"], before.blake3);
        assert_eq!(done["files"][0]["blake3"], after.blake3);
        assert_eq!((&before.config, &before.metadata), (&after.config, &after.metadata));
        let weights = |path: &Path| {
            let tensors = siamrpn::model::read_tensors("m", &fs::read(path).unwrap()).unwrap().1;
            tensors.into_iter().map(|(name, data)| (name, data.as_slice::<f32>().unwrap().to_vec())).collect::<Vec<_>>()
        };
        for ((name, before), (_, after)) in weights(&from).iter().zip(weights(&half)) {
            let wrong = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(wrong < 1e-4, "{name}: {wrong}");
            assert!(wrong == 0.0 || name.ends_with(".weight"), "{name} has one dimension and stays as it is");
        }
        // Of a file so small the header is a good part; the weights themselves are half.
        assert!(fs::metadata(&half).unwrap().len() < fs::metadata(&from).unwrap().len() * 7 / 10);
        expect(&[text(&half), "--format", "safetensors", "--out", text(&half), "--search-px", "287"], 0);
        assert_eq!(load(&half).config, ModelConfig { search_px: 287, ..before.config });
    }
}

#[test]
fn graphs_appear_together_and_the_same_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let from = model(dir.path(), HeadKind::Depthwise);
    let out = |name: &str| dir.path().join(name);
    let export = |name: &str, more: &[&str], code: i32| {
        expect(&[&[text(&from), "--format", "onnx", "--out", text(&out(name))], more].concat(), code)
    };
    let (talk, _) = export("a", &[], 0);
    assert!(talk.contains("template.onnx") && talk.contains("search.onnx"), "{talk}");
    fs::create_dir(out("b")).unwrap();
    export("b", &["--json"], 0);
    let read = |folder: &str, name: &str| fs::read(out(folder).join(name)).unwrap();
    for name in ["template.onnx", "search.onnx"] {
        assert_eq!(read("a", name), read("b", name));
        let found = String::from_utf8_lossy(&read("a", name)).into_owned();
        assert!([MODEL_KEY, "trainer.step", "\"search_px\":255"].iter().all(|text| found.contains(text)));
    }
    let (json, _) = export("c", &["--search-px", "271", "--json"], 0);
    let done: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&done["search_px"], &done["opset"]), (&271.into(), &17.into()));
    assert!(String::from_utf8_lossy(&read("c", "search.onnx")).contains("\"search_px\":271"));

    // What is there stays, and nothing is left of what was begun.
    let before = read("a", "search.onnx");
    let (_, err) = export("a", &["--precision", "f16"], 2);
    assert!(err.contains("no empty folder"), "{err}");
    assert_eq!(read("a", "search.onnx"), before);
    let (_, err) = export("model.safetensors", &[], 2);
    assert!(err.contains("model.safetensors is there already"), "{err}");
    let (_, err) = export("d", &["--search-px", "260"], 2);
    assert!(err.contains("search_px = 260"), "{err}");
    let (_, err) = expect(&[text(&out("none")), "--format", "onnx", "--out", text(&out("d"))], 1);
    assert!(err.contains("none"), "{err}");
    let below = out("model.safetensors").join("x");
    let (_, err) = expect(&[text(&from), "--format", "onnx", "--out", text(&below)], 1);
    assert!(err.contains("cannot be written") && !err.contains("panicked"), "{err}");
    assert_eq!(names(dir.path()), ["a", "b", "c", "model.safetensors"]);
}
