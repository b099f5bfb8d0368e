//! Datasets made from datasets: whole, with the same pictures, and back again with the same bytes.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use common::{TRACK_LEN, dataset};
use schemas::build::BufferCompression;
use schemas::manifest::{MANIFEST_FILE, Manifest};
use shards::derive::{Layout, filter, merge, reshard, split};
use shards::diff::diff;
use shards::reader::{Dataset, Row};
use shards::verify::{Options, verify_with};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every row of a dataset by name, after a full verification.
fn rows(path: &Path) -> BTreeMap<(String, String, u32), Row> {
    let report = verify_with(path, Options { decode: true }, |_| {}).unwrap();
    assert_eq!(report.findings, [], "{}", path.display());
    let dataset = Dataset::open(path).unwrap();
    let mut rows = BTreeMap::new();
    for number in 0..dataset.manifest().shards.len() {
        let shard = dataset.shard(number).unwrap();
        for row in (0..shard.rows()).map(|at| shard.row(at).unwrap()) {
            let key = (row.video().to_owned(), row.track().to_owned(), row.frame());
            assert!(rows.insert(key, row).is_none());
        }
    }
    assert_eq!(rows.len() as u64, report.rows);
    rows
}

/// Rows are equal but for their place; pictures bit for bit.
fn assert_copied(from: &Row, to: &Row) {
    assert_eq!((from.template(), from.search()), (to.template(), to.search()));
    assert_eq!((from.bbox(), from.scale(), from.pad()), (to.bbox(), to.scale(), to.pad()));
    assert_eq!((from.flags(), from.time_ms(), from.frame_size()), (to.flags(), to.time_ms(), to.frame_size()));
    assert_eq!((from.class(), from.dataset(), from.crc()), (to.class(), to.dataset(), to.crc()));
}

fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let shards = fs::read_dir(path.join("shards")).unwrap().map(|e| e.unwrap().path());
    let all = shards.chain([path.join("index.arrow")]);
    all.map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&file).unwrap())).collect()
}

fn quiet(_: usize, _: usize) {}

fn layout(shard_bytes: u64, compression: BufferCompression) -> Layout {
    Layout { shard_bytes: Some(shard_bytes), buffer_compression: Some(compression) }
}

#[test]
fn a_new_layout_keeps_every_row_and_goes_back_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    dataset(&at("parent"), 3, BufferCompression::None);
    let first = reshard(&at("parent"), &at("a"), layout(400_000, BufferCompression::None), &mut quiet).unwrap();
    let zstd = reshard(&at("a"), &at("b"), layout(1 << 30, BufferCompression::Zstd), &mut quiet).unwrap();
    let back = reshard(&at("b"), &at("c"), layout(400_000, BufferCompression::None), &mut quiet).unwrap();
    assert_eq!((zstd.shards.len(), first.totals.rows), (1, 108));
    assert!(first.shards.len() > 3, "{}", first.shards.len());
    assert_eq!((&first.dataset_hash, files(&at("a"))), (&back.dataset_hash, files(&at("c"))));
    let parent = rows(&at("parent"));
    for name in ["a", "b"] {
        let made = rows(&at(name));
        assert!(made.keys().eq(parent.keys()), "{name}");
        for (key, row) in &made {
            assert_copied(&parent[key], row);
            assert_eq!((row.row_in_track(), row.track_len()), (parent[key].row_in_track(), TRACK_LEN));
        }
    }
    assert!(diff(&at("parent"), &at("b")).unwrap().same_rows());
    let derived = back.derived.unwrap();
    assert_eq!((derived.operation.as_str(), derived.settings["shard_bytes"].as_str()), ("reshard", "400000"));
    assert_eq!(derived.parents[0].dataset_hash, zstd.dataset_hash);
    assert_eq!(derived.parents[0].derived.as_ref().unwrap().parents[0].name, "a");
}

#[test]
fn a_split_shares_no_video_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    dataset(&at("parent"), 4, BufferCompression::None);
    let make =
        |train: &str, held: &str, seed| split(&at("parent"), [&at(train), &at(held)], 0.25, seed, &mut quiet).unwrap();
    let [train, held] = make("train", "held", 1);
    assert_eq!((train.totals.videos, held.totals.videos), (9, 3));
    assert_eq!((held.sources[0].videos, held.sources[0].rows), (3, 36));
    let (parent, a, b) = (rows(&at("parent")), rows(&at("train")), rows(&at("held")));
    let videos = |rows: &BTreeMap<(String, String, u32), Row>| -> BTreeSet<String> {
        rows.keys().map(|key| key.0.clone()).collect()
    };
    assert!(videos(&a).is_disjoint(&videos(&b)));
    assert_eq!(a.len() + b.len(), parent.len());
    for (key, row) in a.iter().chain(&b) {
        assert_copied(&parent[key], row);
    }
    let [again, _] = make("train2", "held2", 1);
    assert_eq!(again.dataset_hash, train.dataset_hash);
    let [other, _] = make("train3", "held3", 2);
    assert_ne!(other.dataset_hash, train.dataset_hash);
    // Put together again, it is the parent.
    let merged = merge(&[at("held"), at("train")], &at("merged"), &mut quiet).unwrap();
    assert_eq!((merged.totals.rows, merged.sources.len(), merged.sources[0].rows), (144, 1, 144));
    assert!(diff(&at("parent"), &at("merged")).unwrap().same_rows());
    let said = split(&at("parent"), [&at("x"), &at("y")], 0.01, 0, &mut quiet).unwrap_err().to_string();
    assert!(said.contains("12 videos leaves one side empty"), "{said}");
}

#[test]
fn a_filter_numbers_tracks_anew() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    dataset(&at("parent"), 2, BufferCompression::Lz4);
    let condition = "box_w >= 65 AND video <> 'video-0-1'";
    let made = filter(&at("parent"), &at("made"), condition, &mut quiet).unwrap();
    assert_eq!((made.totals.rows, made.totals.videos, made.totals.tracks), (35, 5, 5));
    assert_eq!(made.derived.as_ref().unwrap().settings["filter"], condition);
    let (parent, rows) = (rows(&at("parent")), rows(&at("made")));
    for (key, row) in &rows {
        assert_copied(&parent[key], row);
        assert!(row.bbox()[2] >= 65.0 && row.video() != "video-0-1");
        assert_eq!((row.row_in_track(), row.track_len()), (row.frame() - 5, 7));
    }
    let said = filter(&at("parent"), &at("none"), "box_w > 1000000", &mut quiet).unwrap_err().to_string();
    assert!(said.contains("would have no row"), "{said}");
    let said = filter(&at("parent"), &at("none"), "no_such > 1", &mut quiet).unwrap_err().to_string();
    assert!(said.contains("no_such") && !at("none").exists(), "{said}");
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    dataset(&at("a"), 1, BufferCompression::None);
    dataset(&at("b"), 1, BufferCompression::None);
    let said = merge(&[at("a"), at("b")], &at("out"), &mut quiet).unwrap_err().to_string();
    assert!(said.contains("video video-0-0 of test is in") && said.contains("and in"), "{said}");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1.0/plain");
    let said = merge(&[at("a"), fixture], &at("out"), &mut quiet).unwrap_err().to_string();
    assert!(said.contains("exemplar_px is 127 in") && said.contains("28 in"), "{said}");
    let layout = Layout::default();
    let said = reshard(&at("a"), &at("b"), layout, &mut quiet).unwrap_err().to_string();
    assert!(said.contains("holds another dataset"), "{said}");
    fs::create_dir(at("mine")).unwrap();
    fs::write(at("mine").join("thesis.txt"), "years of work").unwrap();
    let said = reshard(&at("a"), &at("mine"), layout, &mut quiet).unwrap_err().to_string();
    assert!(said.contains("thesis.txt") && at("mine").join("thesis.txt").exists(), "{said}");
    // Shards that lost their manifest are not ours to replace.
    fs::remove_file(at("b").join(MANIFEST_FILE)).unwrap();
    let said = reshard(&at("a"), &at("b"), layout, &mut quiet).unwrap_err().to_string();
    assert!(said.contains("holds shard-00000.arrow") && at("b").join("shards/shard-00000.arrow").exists(), "{said}");
}

#[test]
fn damage_is_not_copied_and_an_interrupted_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    dataset(&at("parent"), 2, BufferCompression::None);
    let shard = at("parent").join("shards/shard-00001.arrow");
    let whole = fs::read(&shard).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let layout = layout(300_000, BufferCompression::None);
    let said = reshard(&at("parent"), &at("out"), layout, &mut quiet).unwrap_err().to_string();
    assert!(said.contains("shard-00001.arrow") && said.contains("crc32c"), "{said}");
    assert!(!at("out").join(MANIFEST_FILE).exists());
    // What is left does not hinder the next run, nor does an unfinished file.
    fs::write(&shard, whole).unwrap();
    fs::create_dir_all(at("out").join("shards")).unwrap();
    fs::write(at("out").join("shards/.tmp-abc"), "half").unwrap();
    fs::write(at("out").join("shards/shard-00099.arrow"), "of other settings").unwrap();
    let made = reshard(&at("parent"), &at("out"), layout, &mut quiet).unwrap();
    assert_eq!(rows(&at("out")).len(), 72);
    assert_eq!(files(&at("out")).len(), made.shards.len() + 1);
    let mut names: Vec<_> = fs::read_dir(at("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [MANIFEST_FILE, "index.arrow", "rejects.jsonl", "shards"]);
    // Run again, it does nothing.
    let mut shards = 0;
    let again = reshard(&at("parent"), &at("out"), layout, &mut |_, _| shards += 1).unwrap();
    assert_eq!((again, shards), (made, 0));
    let text = fs::read_to_string(at("out").join(MANIFEST_FILE)).unwrap();
    assert!(serde_json::from_str::<Manifest>(&text).unwrap().derived.is_some());
}
