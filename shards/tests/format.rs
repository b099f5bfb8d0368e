//! Datasets of every released format version are read as they were written; what is newer is refused by name.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use schemas::build::{BufferCompression, BuildConfig};
use schemas::format::DATASET_FORMAT;
use schemas::manifest::{MANIFEST_FILE, Manifest, REJECTS_FILE, SHARD_DIR, SourceEntry, Totals};
use schemas::shard::{DatasetInfo, FLAG_OCCLUDED, ShardMeta};
use serde_json::{Value, json};
use shards::image::Rgb;
use shards::reader::{Dataset, ReadError, Row, Shard};
use shards::verify::{Options, verify_with};
use shards::writer::{Dictionaries, RowData, ShardWriter, dataset_hash, write_atomic, write_index};
use std::fs;
use std::path::{Path, PathBuf};

const KINDS: [(&str, BufferCompression); 2] = [("plain", BufferCompression::None), ("zstd", BufferCompression::Zstd)];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1.0")
}

fn rows(dataset: &Dataset) -> Vec<Row> {
    let all = |number: usize| {
        let shard = dataset.shard(number).unwrap();
        (0..shard.rows()).map(|row| shard.row(row).unwrap()).collect::<Vec<_>>()
    };
    (0..dataset.manifest().shards.len()).flat_map(all).collect()
}

/// Everything a row holds; pictures by their hash.
fn line(row: &Row) -> Value {
    json!({
        "sample_id": row.sample_id(), "dataset": row.dataset(), "video": row.video(), "track": row.track(),
        "class": row.class(), "time_ms": row.time_ms(), "flags": row.flags(), "frame": row.frame(),
        "row_in_track": row.row_in_track(), "track_len": row.track_len(), "box": row.bbox(), "scale": row.scale(),
        "frame_size": row.frame_size(), "pad": row.pad(), "crc": row.crc(),
        "template": blake3::hash(row.template()).to_hex().to_string(),
        "search": blake3::hash(row.search()).to_hex().to_string(),
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join(SHARD_DIR)).unwrap();
    for folder in ["", SHARD_DIR] {
        for entry in fs::read_dir(from.join(folder)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
}

#[test]
fn format_1_0_is_read_as_it_was_written() {
    let expected = fs::read_to_string(fixture().join("rows.jsonl")).unwrap();
    let expected: Vec<Value> = expected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(expected.len(), 12);
    for (kind, compression) in KINDS {
        let path = fixture().join(kind);
        let report = verify_with(&path, Options { decode: true }, |_| {}).unwrap();
        assert_eq!(report.findings, [], "{kind}");
        assert_eq!((report.shards, report.rows), (2, 12), "{kind}");
        let dataset = Dataset::open(&path).unwrap();
        let manifest = dataset.manifest();
        assert_eq!(manifest.format.to_string(), "1.0", "{kind}");
        assert_eq!((manifest.config.buffer_compression, manifest.config.exemplar_px), (compression, 28), "{kind}");
        let found: Vec<Value> = rows(&dataset).iter().map(line).collect();
        // Floats go through text on both sides.
        let found: Vec<Value> = found.iter().map(|row| serde_json::from_str(&row.to_string()).unwrap()).collect();
        assert_eq!(found, expected, "{kind}");
    }
}

#[test]
fn a_newer_minor_version_with_unknown_entries_is_read() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture().join("plain"), dir.path());
    let file = dir.path().join(MANIFEST_FILE);
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    manifest["format"] = "1.9".into();
    manifest["weather"] = "fair".into();
    manifest["config"]["sharpness"] = 3.into();
    manifest["shards"][0]["mood"] = "good".into();
    fs::write(&file, manifest.to_string()).unwrap();
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(dataset.manifest().format.to_string(), "1.9");
    assert_eq!(rows(&dataset).len(), 12);
}

#[test]
fn a_newer_major_version_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture().join("plain"), dir.path());
    let shard = dir.path().join(SHARD_DIR).join("shard-00000.arrow");
    let mut bytes = fs::read(&shard).unwrap();
    let (old, new) = (br#""format":"1.0""#, br#""format":"2.0""#);
    // The metadata stand at the beginning and in the footer.
    let places: Vec<usize> = (0..bytes.len() - old.len()).filter(|&at| bytes[at..].starts_with(old)).collect();
    assert_eq!(places.len(), 2);
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    fs::write(&shard, bytes).unwrap();
    let refused = Shard::open(&shard).unwrap_err();
    assert!(matches!(refused, ReadError::Format { .. }), "{refused}");
    let file = dir.path().join(MANIFEST_FILE);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"1.0\""));
    fs::write(&file, text.replacen("\"1.0\"", "\"2.0\"", 1)).unwrap();
    for said in [refused.to_string(), Dataset::open(dir.path()).unwrap_err().to_string()] {
        assert!(
            said.contains("2.0 is newer than the 1.0") && said.contains(".arrow") | said.contains(".json"),
            "{said}"
        );
    }
}

fn picture(side: usize, seed: usize) -> Vec<u8> {
    let wave = |x: usize, y: usize, k: usize| ((x * (3 + k) + y * (5 + seed % 4) + seed * 37 + k * 61) % 256) as u8 / 2;
    let data = (0..side * side).flat_map(|i| [0, 1, 2].map(|k| 64 + wave(i % side, i / side, k) / 2)).collect();
    shards::jpeg::encode(&Rgb::new(side, side, data).unwrap(), 90).unwrap()
}

/// Writes the fixture of the format version this release writes into the folder `SHARDS_FIXTURE_OUT`. The folder of a
/// released version is never written again: it is what old releases left on people's disks.
#[test]
#[ignore = "makes a fixture; run once per format version, with SHARDS_FIXTURE_OUT"]
fn make_fixture() {
    let out = PathBuf::from(std::env::var_os("SHARDS_FIXTURE_OUT").unwrap());
    for (kind, compression) in KINDS {
        make(&out.join(kind), compression);
    }
    let lines: String =
        rows(&Dataset::open(&out.join("plain")).unwrap()).iter().map(|row| format!("{}\n", line(row))).collect();
    fs::write(out.join("rows.jsonl"), lines).unwrap();
}

fn make(dir: &Path, compression: BufferCompression) {
    fs::create_dir_all(dir.join(SHARD_DIR)).unwrap();
    let config = BuildConfig {
        exemplar_px: 28,
        template_px: 32,
        search_px: 64,
        rows_per_batch: 4,
        buffer_compression: compression,
        ..BuildConfig::default()
    };
    let mut entries = Vec::new();
    for shard in 0..2u32 {
        let meta = ShardMeta {
            format: DATASET_FORMAT,
            shard,
            shards: 2,
            exemplar_px: config.exemplar_px,
            template_px: config.template_px,
            context_amount: config.context_amount,
            semantics: config.semantics,
            jpeg_quality: 90,
            subsampling: "4:2:0".to_owned(),
            datasets: vec![DatasetInfo {
                name: "made".to_owned(),
                kind: "sequences".to_owned(),
                search_px: config.search_px,
                source_bytes: false,
            }],
            config_hash: "fixture".to_owned(),
            writer: "fixture 1.0".to_owned(),
        };
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let video = format!("video-{shard}");
        let names = Dictionaries {
            dataset: set(&["made"]),
            video: set(&[&video]),
            track: set(&["1", "ü2"]),
            class: set(&["", "cat"]),
        };
        let mut writer = ShardWriter::create(dir, &meta, &names, 4, compression).unwrap();
        for (t, track) in ["1", "ü2"].into_iter().enumerate() {
            for row in 0..3u32 {
                let seed = shard as usize * 100 + t * 10 + row as usize;
                let data = RowData {
                    dataset: "made".to_owned(),
                    video: video.clone(),
                    track: track.to_owned(),
                    class: ["", "cat"][t].to_owned(),
                    time_ms: if t == 0 { -1 } else { i64::from(row) * 40 },
                    flags: if row == 2 { FLAG_OCCLUDED } else { 0 },
                    frame: row * 5,
                    row_in_track: row,
                    track_len: 3,
                    bbox: [32.0, 31.5, 11.0 + row as f32, 9.25],
                    scale: 0.625,
                    frame_w: 640,
                    frame_h: 360,
                    pad: 0.125,
                    template: picture(32, seed),
                    search: picture(64, seed + 7),
                };
                writer.push(data).unwrap();
            }
        }
        entries.push(writer.finish().unwrap());
    }
    let index_blake3 = write_index(dir, &entries).unwrap();
    let totals = Totals { videos: 2, tracks: 4, rows: 12, bytes: entries.iter().map(|e| e.bytes).sum(), rejects: 0 };
    let mut manifest = Manifest {
        format: DATASET_FORMAT,
        writer: "fixture 1.0".to_owned(),
        dataset_hash: String::new(),
        config_hash: "fixture".to_owned(),
        config,
        sources: vec![SourceEntry {
            dataset: "made".to_owned(),
            kind: "sequences".to_owned(),
            name: "made".to_owned(),
            search_px: 64,
            source_bytes: false,
            videos: 2,
            tracks: 4,
            rows: 12,
        }],
        totals,
        shards: entries,
        index_blake3,
        derived: None,
    };
    manifest.dataset_hash = dataset_hash(&manifest);
    write_atomic(&dir.join(REJECTS_FILE), b"").unwrap();
    write_atomic(&dir.join(MANIFEST_FILE), &serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
}
