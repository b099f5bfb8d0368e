//! The program `shards` as people run it.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use assert_cmd::Command;
use common::dataset;
use schemas::build::BufferCompression;
use std::path::Path;

fn shards(args: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("shards").unwrap().args(args).assert()
}

fn stdout(args: &[&str]) -> String {
    String::from_utf8(shards(args).success().get_output().stdout.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_dataset_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    dataset(&data, 2, BufferCompression::None);
    let data = text(&data);
    let summary = stdout(&["inspect", data]);
    assert!(summary.contains("72 rows, 6 tracks, 6 videos in 2 shards"), "{summary}");
    let json: serde_json::Value = serde_json::from_str(&stdout(&["inspect", data, "--json"])).unwrap();
    assert_eq!(json["totals"]["rows"], 72);
    assert_eq!(json["datasets"][0]["tracks"], 6);
    assert_eq!(
        json["histograms"]["track_len"].as_array().unwrap().iter().map(|b| b["count"].as_u64().unwrap()).sum::<u64>(),
        6
    );
    assert!(stdout(&["schema", data]).contains("sample_id"));
    assert_eq!(stdout(&["ls", data]).lines().count(), 3);
    let rows = stdout(&["head", data, "-n", "50", "--filter", "box_w >= 70 AND video = 'video-1-2'"]);
    let rows: Vec<serde_json::Value> = rows.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0]["frame"].as_u64(), rows[1]["shard"].as_u64()), (Some(10), Some(1)));
    let said = shards(&["head", data, "--filter", "no_such_column > 1"]).code(1).get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&said).contains("no_such_column"));

    let out = dir.path().join("crops");
    stdout(&["extract", data, "--row", "3", "--out", text(&out)]);
    assert!(out.join("3-template.jpg").exists() && out.join("3-search.jpg").exists());
    let sheet = dir.path().join("sheet.png");
    stdout(&["sheet", data, "--out", text(&sheet), "--pairs", "6"]);
    assert_eq!(&std::fs::read(sheet).unwrap()[1..4], b"PNG");
}

#[test]
fn damage_is_exit_code_3_and_names_the_row() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 1, BufferCompression::None);
    shards(&["verify", text(dir.path())]).code(0);
    let path = dir.path().join("shards/shard-00000.arrow");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let out = shards(&["verify", text(dir.path())]).code(3).get_output().stdout.clone();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("shards/shard-00000.arrow row "), "{out}");
}

#[test]
fn wrong_arguments_and_folders_have_their_codes() {
    shards(&["inspect"]).code(2);
    shards(&["no-such-command"]).code(2);
    let dir = tempfile::tempdir().unwrap();
    let said = shards(&["inspect", text(dir.path())]).code(1).get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&said).contains("dataset.json"));
    shards(&["--version"]).code(0);
}
