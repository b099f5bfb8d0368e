//! The program `shards` as people run it.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use assert_cmd::Command;
use common::dataset;
use schemas::build::BufferCompression;
use std::path::Path;

fn shards(args: &[&str]) -> assert_cmd::assert::Assert {
    // The width of a terminal would change the help.
    Command::cargo_bin("shards").unwrap().env_remove("COLUMNS").args(args).assert()
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

fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

#[test]
fn numbers_have_a_table_and_an_object() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, svg) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("one.svg"));
    dataset(&one, 2, BufferCompression::None);
    dataset(&two, 1, BufferCompression::Zstd);
    let (data, other) = (text(&one), text(&two));
    stdout(&["inspect", data, "--svg", text(&svg)]);
    let drawing = std::fs::read_to_string(svg).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("rows per track") && drawing.contains("test: 6 tracks"));

    let stats = json(&["stats", data, "--json"]);
    let width = stats["columns"].as_array().unwrap().iter().find(|c| c["column"] == "box_w").unwrap();
    assert_eq!(
        (width["min"].as_f64(), width["max"].as_f64(), width["median"].as_f64()),
        (Some(60.0), Some(71.0), Some(65.0))
    );
    assert_eq!((width["mean"].as_f64(), width["distinct"].as_u64()), (Some(65.5), Some(12)));
    assert!(stdout(&["stats", data]).lines().any(|l| l.starts_with("video ") && l.trim_end().ends_with(" 6")));

    let usage = json(&["du", data, "--json"]);
    let files: u64 = ["index.arrow", "dataset.json", "shards/shard-00000.arrow", "shards/shard-00001.arrow"]
        .iter()
        .map(|name| one.join(name).metadata().unwrap().len())
        .sum();
    assert_eq!(usage["total"], files);
    assert_eq!(usage["datasets"]["test"]["rows"], 72);
    assert!(usage["pictures"].as_u64().unwrap() < usage["shards"].as_u64().unwrap());
    assert!(stdout(&["du", data]).contains("bytes per row"));

    assert_eq!(stdout(&["cat", data]).lines().count(), 72);
    assert_eq!(stdout(&["cat", data, "--filter", "frame = 3"]).lines().count(), 6);

    let bench = json(&["bench", data, "--seconds", "0.05", "--json"]);
    assert_eq!(bench["speeds"].as_array().unwrap().len(), 5);
    assert_eq!(bench["speeds"][0]["count"], 72);
    assert!(bench["speeds"].as_array().unwrap().iter().all(|s| s["per_s"].as_f64().unwrap() > 0.0));
    assert!(stdout(&["bench", data, "--seconds", "0.05"]).contains("pairs, decoded"));

    let same = json(&["diff", data, data, "--json"]);
    assert_eq!((same["identical"].as_bool(), same["common"].as_u64()), (Some(true), Some(72)));
    let out = shards(&["diff", data, other]).code(3).get_output().stdout.clone();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("36 rows in both (0 changed, 0 with other pictures), 36 only in the first, 0 only"), "{out}");
    assert!(
        out.contains("buffer_compression: \"none\" and \"zstd\"") && out.contains("video-1-0 track 1 frame 0"),
        "{out}"
    );
}

#[test]
fn datasets_are_made_from_datasets() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    dataset(&at("one"), 2, BufferCompression::None);
    let (one, out) = (at("one"), at("out"));
    let made = json(&["reshard", text(&one), "--out", text(&out), "--buffer-compression", "zstd", "--json"]);
    assert_eq!((made["totals"]["rows"].as_u64(), made["derived"]["operation"].as_str()), (Some(72), Some("reshard")));
    shards(&["verify", text(&out)]).code(0);
    assert!(stdout(&["diff", text(&one), text(&out)]).contains("the same rows, laid out differently"));
    assert!(stdout(&["inspect", text(&out)]).contains("made by   reshard (buffer_compression = zstd, shard_bytes = "));
    let (train, held) = (at("train"), at("held"));
    let text_of_split =
        stdout(&["split", text(&one), "--train", text(&train), "--validation", text(&held), "--share", "0.5"]);
    assert!(text_of_split.lines().all(|l| l.contains("36 rows, 3 tracks, 3 videos")), "{text_of_split}");
    let small = at("small");
    stdout(&["filter", text(&one), "--where", "frame < 2", "--out", text(&small)]);
    assert_eq!(json(&["inspect", text(&small), "--json"])["totals"]["rows"], 12);
    let merged = at("merged");
    stdout(&["merge", text(&train), text(&held), "--out", text(&merged)]);
    assert!(stdout(&["diff", text(&one), text(&merged)]).contains("the same rows"));
    let said = shards(&["reshard", text(&one), "--out", text(&merged)]).code(1).get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&said).contains("holds another dataset"));
    let crops = at("crops");
    let files = stdout(&["extract", text(&one), "--filter", "frame = 0", "-n", "2", "--out", text(&crops)]);
    assert_eq!(files.lines().count(), 4);
}

#[test]
fn a_card_is_one_page_that_needs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("a<b>"), dir.path().join("card.html"));
    dataset(&data, 1, BufferCompression::None);
    stdout(&["card", text(&data), "--out", text(&file), "--pairs", "4"]);
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for part in [
        "<h1>a&lt;b&gt;</h1>",
        "<b>36</b>rows",
        "data:image/jpeg;base64,/9j/",
        "<svg",
        "shard-00000.arrow",
        "jpeg_quality",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("a<b>") && !page.contains("<script"));
    // Nothing is fetched: the only addresses are names of XML namespaces.
    let addresses = page.matches("http").count();
    assert_eq!(addresses, page.matches("http://www.w3.org/").count());
}

#[test]
fn help_is_as_reviewed() {
    let mut all = stdout(&["--help"]);
    for command in ["inspect", "cat", "diff", "bench", "extract", "card", "reshard", "split", "filter", "merge"] {
        all += &format!("\n===== {command}\n{}", stdout(&[command, "--help"]));
    }
    insta::assert_snapshot!(all);
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
