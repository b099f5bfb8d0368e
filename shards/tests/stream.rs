//! A dataset that lies elsewhere, read through a cache smaller than itself.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use schemas::build::BufferCompression;
use schemas::manifest::Manifest;
use shards::reader::{Dataset, ReadError};
use shards::store::cache::Settings;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SHARDS: u32 = 6;

struct Place {
    dir: tempfile::TempDir,
    near: PathBuf,
    far: PathBuf,
    manifest: Manifest,
    largest: u64,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let near = dir.path().join("near");
    let manifest = common::dataset(&near, SHARDS, BufferCompression::None);
    let far = PathBuf::from(format!("file://{}", near.display()));
    let largest = manifest.shards.iter().map(|shard| shard.bytes).max().unwrap();
    Place { dir, near, far, manifest, largest }
}

impl Place {
    fn settings(&self, bytes: u64) -> Settings {
        Settings { dir: self.dir.path().join("cache"), bytes }
    }

    /// Which shards are in the cache.
    fn here(&self) -> Vec<u32> {
        let is_here = |n: &u32| {
            let name = format!("{}.arrow", self.manifest.shards[*n as usize].blake3);
            self.dir.path().join("cache").join(name).exists()
        };
        (0..SHARDS).filter(is_here).collect()
    }

    fn wait_for(&self, want: &[u32]) {
        let begun = Instant::now();
        while self.here() != want {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?} are here, not {want:?}", self.here());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn assert_same_rows(far: &Dataset, near: &Dataset, shard: u32) {
    for row in 0..3 * common::TRACK_LEN {
        let (a, b) = (far.row(shard, row).unwrap(), near.row(shard, row).unwrap());
        assert!(a.check().is_ok() && a.search() == b.search() && a.sample_id() == b.sample_id());
    }
}

#[test]
fn shards_are_fetched_in_the_order_of_use_as_far_as_the_cache_allows() {
    let p = place();
    // Room for three shards, as they differ a little in size.
    let far = Dataset::open_through(&p.far, &p.settings(3 * p.largest)).unwrap();
    let near = Dataset::open(&p.near).unwrap();
    assert_eq!((far.manifest(), p.here()), (near.manifest(), vec![]));
    assert!(far.path().join("index.arrow").exists());
    let order = [4u32, 2, 0, 5, 1, 3];
    far.prefetch(0..6, 1, |step| [order[step as usize]]).unwrap();
    p.wait_for(&[0, 2, 4]);
    assert_same_rows(&far, &near, 4);
    assert_same_rows(&far, &near, 2);
    std::thread::sleep(Duration::from_millis(100));
    // The reader may still be at the shard before.
    assert_eq!(p.here(), [0, 2, 4]);
    assert_same_rows(&far, &near, 0);
    p.wait_for(&[0, 2, 5]);
    // A row outlives its shard's stay in the cache.
    let row = far.row(2, 0).unwrap();
    for shard in [5, 1, 3] {
        assert_same_rows(&far, &near, shard);
    }
    assert!(row.check().is_ok());
    assert_same_rows(&far, &near, 4);
}

#[test]
fn a_cache_that_is_too_small_is_an_error_and_never_a_wait() {
    let p = place();
    let error = Dataset::open_through(&p.far, &p.settings(p.largest - 1)).unwrap_err();
    assert!(matches!(error, ReadError::Unavailable { .. }) && error.to_string().contains("--cache-size"), "{error}");
    let far = Dataset::open_through(&p.far, &p.settings(2 * p.largest)).unwrap();
    let error = far.prefetch(0..9, 2, |step| [0, step as u32 + 1]).unwrap_err().to_string();
    assert!(error.contains("3 of its 6 shards") && error.contains("--cache-size"), "{error}");
    far.prefetch(0..5, 1, |step| [0, step as u32 + 1]).unwrap();
}

#[test]
fn what_is_damaged_and_what_is_out_of_reach_are_told_apart() {
    let p = place();
    let far = Dataset::open_through(&p.far, &p.settings(9 * p.largest)).unwrap();
    let file = |n: usize| p.near.join("shards").join(&p.manifest.shards[n].file);
    let mut bytes = std::fs::read(file(1)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file(1), bytes).unwrap();
    std::fs::remove_file(file(2)).unwrap();
    assert!(matches!(far.row(1, 0), Err(ReadError::Damaged { .. })));
    assert!(matches!(far.row(2, 0), Err(ReadError::Unavailable { .. })));
    assert!(far.row(0, 0).is_ok() && far.shard(3).unwrap().rows() > 0);
    assert!(matches!(far.row(99, 0), Err(ReadError::Manifest { .. })));
    std::fs::write(p.near.join("index.arrow"), "other").unwrap();
    std::fs::remove_dir_all(p.dir.path().join("cache")).unwrap();
    let error = Dataset::open_through(&p.far, &p.settings(9 * p.largest)).unwrap_err().to_string();
    assert!(error.contains("index.arrow"), "{error}");
    let none = Dataset::open(Path::new("file:///no/such/dataset")).unwrap_err().to_string();
    assert!(none.contains("dataset.json"), "{none}");
}
