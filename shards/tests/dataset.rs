//! What is written is read back; equal rows give equal bytes; damage is found, never followed.

mod common;

use common::{TRACK_LEN, dataset};
use proptest::prelude::*;
use schemas::build::BufferCompression;
use schemas::shard::sample_id;
use shards::plan::{Plan, Tracks};
use shards::reader::{Dataset, Index, ReadError, Shard};
use shards::verify::verify;
use shards::writer::row_crc;

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

#[test]
fn plain_shards_are_read_without_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 1, BufferCompression::None);
    let data = Dataset::open(dir.path()).unwrap();
    let (a, b) = (data.row(0, 3).unwrap(), data.row(0, 3).unwrap());
    assert_eq!(a.search().as_ptr(), b.search().as_ptr(), "both point into the memory map");
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
