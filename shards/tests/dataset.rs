//! What is written is read back; equal rows give equal bytes; damage is found, never followed.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use common::{TRACK_LEN, dataset};
use proptest::prelude::*;
use schemas::build::BufferCompression;
use schemas::shard::sample_id;
use shards::plan::{Plan, Tracks};
use shards::reader::{Dataset, Index, ReadError, Shard};
use shards::verify::verify;
use shards::writer::row_crc;
use std::path::Path;

#[test]
fn rows_come_back_and_bytes_repeat() {
    let dir = tempfile::tempdir().unwrap();
    for (name, compression) in
        [("a", BufferCompression::None), ("z", BufferCompression::Zstd), ("l", BufferCompression::Lz4)]
    {
        let (one, two) = (dir.path().join(name), dir.path().join(format!("{name}2")));
        let manifest = dataset(&one, 2, compression);
        assert_eq!(manifest, dataset(&two, 2, compression), "equal rows, equal hashes");
        let data = Dataset::open(&one).unwrap();
        assert_eq!(data.rows(), 72);
        for (shard, at) in [(0, 0), (1, 35), (0, 20)] {
            let row = data.row(shard, at).unwrap();
            row.check().unwrap();
            assert_eq!(row.sample_id(), sample_id(shard, at));
            assert_eq!(row.video(), format!("video-{shard}-{}", at / TRACK_LEN));
            assert_eq!(row.frame(), at % TRACK_LEN);
            assert_eq!(row.bbox(), [176.0, 176.0, 60.0 + (at % TRACK_LEN) as f32, 50.0]);
            assert_eq!(row.crc(), row_crc(row.template(), row.search()));
            assert_eq!(row.frame_size(), [640, 360]);
            assert_eq!((row.class(), row.track(), row.dataset(), row.time_ms()), ("", "1", "test", -1));
        }
        assert!(matches!(data.row(0, 36), Err(ReadError::NoRow { rows: 36, .. })));
        assert!(data.row(2, 0).is_err());
        let index = Index::read(&one).unwrap();
        assert_eq!(index.rows(), 72);
        let tracks = Tracks::from_index(&index, 0);
        assert_eq!((tracks.tracks().len(), tracks.videos().len()), (6, 6));
        let plan = Plan::new(&tracks, 0, &schemas::train::DataConfig::default(), 4).unwrap();
        assert_eq!(plan.steps_per_epoch(), 3);
        let report = verify(&one, |_| {}).unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.rows, 72);
    }
}

/// Address ranges at which this process has mapped a file.
#[cfg(target_os = "linux")]
fn mapped(file: &std::path::Path) -> Vec<std::ops::Range<usize>> {
    let file = file.canonicalize().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter(|line| line.ends_with(file.to_str().unwrap()))
        .map(|line| {
            let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            usize::from_str_radix(from, 16).unwrap()..usize::from_str_radix(to, 16).unwrap()
        })
        .collect()
}

#[test]
#[cfg(target_os = "linux")]
fn plain_shards_are_read_without_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 1, BufferCompression::None);
    let data = Dataset::open(dir.path()).unwrap();
    let ranges = {
        data.shard(0).unwrap();
        mapped(&dir.path().join("shards/shard-00000.arrow"))
    };
    for at in 0..data.rows() as u32 {
        let row = data.row(0, at).unwrap();
        for bytes in [row.template(), row.search()] {
            let at = bytes.as_ptr() as usize;
            assert!(ranges.iter().any(|r| r.contains(&at) && at + bytes.len() <= r.end), "{at:x} not in {ranges:x?}");
        }
    }
}

#[test]
fn absurd_claims_are_refused_before_memory_is_reserved() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 1, BufferCompression::Zstd);
    let path = dir.path().join("shards/shard-00000.arrow");
    let whole = std::fs::read(&path).unwrap();
    // The unpacked length before a zstd frame: the largest that it may be, at every frame of the file.
    let frames: Vec<usize> = (8..whole.len() - 4).filter(|&i| whole[i..i + 4] == [0x28, 0xb5, 0x2f, 0xfd]).collect();
    assert!(frames.len() > 20);
    for at in frames {
        let mut bytes = whole.clone();
        bytes[at - 8..at].copy_from_slice(&i64::MAX.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let said = Shard::open(&path).unwrap_err().to_string();
        assert!(said.contains("claims to unpack"), "{said}");
    }
    // Two claims, each within a block's allowance: together too much for one block, or for the file.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1.0/zstd/shards/shard-00000.arrow");
    let whole = std::fs::read(path).unwrap();
    let frames: Vec<usize> = (8..whole.len() - 4).filter(|&i| whole[i..i + 4] == [0x28, 0xb5, 0x2f, 0xfd]).collect();
    let (last, others) = frames.split_last().unwrap();
    let mut said = String::new();
    for at in others {
        let mut bytes = whole.clone();
        for at in [at, last] {
            bytes[at - 8..*at].copy_from_slice(&(15i64 << 20).to_le_bytes());
        }
        said += &Shard::from_bytes(Path::new("made"), bytes.into()).map_or_else(|e| e.to_string(), |_| String::new());
    }
    assert!(said.contains("a buffer of") && said.contains("its blocks claim to unpack to 31"), "{said}");
}

#[test]
fn a_full_disk_is_one_clear_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The file size limit stands in for a full disk: writing beyond it fails in the same way.
    let script = r#"trap "" XFSZ; ulimit -f 40; exec "$0" --ignored --exact fills_the_disk --nocapture"#;
    let out = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("SHARDS_TEST_DIR", dir.path())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
    let left: Vec<_> = std::fs::read_dir(dir.path().join("shards")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
#[ignore = "the child of a_full_disk_is_one_clear_error_and_leaves_nothing"]
fn fills_the_disk() {
    let Some(dir) = std::env::var_os("SHARDS_TEST_DIR") else { return };
    let dir = std::path::Path::new(&dir);
    let said = common::try_dataset(dir, 1, BufferCompression::None).unwrap_err().to_string();
    assert!(said.contains("shard-00000.arrow") && said.contains("free some space"), "{said}");
}

#[test]
fn misplaced_rows_and_wrong_boxes_are_findings() {
    let dir = tempfile::tempdir().unwrap();
    let edit = |shard: u32, row: &mut shards::writer::RowData| match (shard, row.video.as_str(), row.frame) {
        (0, "video-0-0", 4) => row.row_in_track = 9,
        (0, "video-0-1", 3) => row.bbox[2] = f32::NAN,
        (0, "video-0-1", 7) => row.template = row.search.clone(),
        (0, "video-0-2", 0) => row.search.truncate(20),
        _ => {}
    };
    common::edited(dir.path(), 1, BufferCompression::None, edit).unwrap();
    let report = verify(dir.path(), |_| {}).unwrap();
    let rows: Vec<Option<u64>> = report.findings.iter().map(|f| f.row).collect();
    assert_eq!(rows, [Some(4), Some(5), Some(15), Some(19), Some(24)], "{:#?}", report.findings);
    for (finding, word) in report.findings.iter().zip(["row 9", "after row 9", "box", "352x352", "not a picture"]) {
        assert!(finding.message.contains(word) && finding.message.contains("frame"), "{finding:?}");
    }
}

#[test]
fn every_flipped_byte_is_found_and_rows_are_named() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 1, BufferCompression::None);
    let path = dir.path().join("shards/shard-00000.arrow");
    let whole = std::fs::read(&path).unwrap();
    let at_row_5 = {
        let data = Dataset::open(dir.path()).unwrap();
        let row = data.row(0, 5).unwrap();
        let bytes = row.search().to_vec();
        whole.windows(bytes.len()).position(|w| w == bytes).unwrap() + 100
    };
    for at in [0, 9, 300, at_row_5, whole.len() / 2, whole.len() - 200, whole.len() - 7, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let report = verify(dir.path(), |_| {}).unwrap();
        assert!(report.findings.iter().any(|f| f.file == "shards/shard-00000.arrow"), "byte {at}");
        if at == at_row_5 {
            assert!(report.findings.iter().any(|f| f.row == Some(5)), "{:?}", report.findings);
        }
    }
}

#[test]
fn truncated_foreign_and_missing_files_are_clear_errors() {
    let dir = tempfile::tempdir().unwrap();
    let said = Dataset::open(dir.path()).unwrap_err().to_string();
    assert!(said.contains("dataset.json"), "{said}");
    dataset(dir.path(), 1, BufferCompression::None);
    let path = dir.path().join("shards/shard-00000.arrow");
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 5, 31, 1000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let said = Shard::open(&path).unwrap_err().to_string();
        assert!(said.contains("shard-00000.arrow") && said.contains("ingest build"), "{said}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(Shard::open(&path).unwrap_err().to_string().contains("shard-00000.arrow"));
    let manifest = dir.path().join("dataset.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replacen("\"1.0\"", "\"2.0\"", 1)).unwrap();
    assert!(Dataset::open(dir.path()).unwrap_err().to_string().contains("newer"));
    std::fs::write(&manifest, text.replacen("shard-00000.arrow", "../../shard-00000.arrow", 1)).unwrap();
    assert!(matches!(Dataset::open(dir.path()), Err(ReadError::Manifest { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever happens to the bytes of a shard, reading it gives rows or errors, never a panic.
    #[test]
    fn hostile_shards_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), tail in 0usize..3000) {
        thread_local!(static BASE: Vec<u8> = {
            let dir = tempfile::tempdir().unwrap();
            dataset(dir.path(), 1, BufferCompression::None);
            std::fs::read(dir.path().join("shards/shard-00000.arrow")).unwrap()
        });
        let mut bytes = BASE.with(Clone::clone);
        let len = bytes.len();
        for (at, value) in edits {
            // Half of the edits go to the structure at the end of the file.
            let at = if value & 1 == 0 { len - 1 - at.index(2500) } else { at.index(len) };
            bytes[at] = value;
        }
        bytes.truncate(len - tail.saturating_sub(2900));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        if let Ok(shard) = Shard::open(file.path()) {
            for row in 0..shard.rows().min(40) {
                if let Ok(row) = shard.row(row) {
                    let _ = (row.check(), row.video().len(), row.bbox());
                }
            }
        }
    }
}
