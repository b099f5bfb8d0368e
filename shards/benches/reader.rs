//! The reader on one thread: `cargo bench -p shards --bench reader`. Data are in the page cache; `shards bench DATASET`
//! measures a disk.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it stands")]

#[path = "../tests/common/mod.rs"]
mod common;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use schemas::build::BufferCompression;
use shards::order::Rng;
use shards::reader::{Dataset, Index, Shard};
use std::path::PathBuf;
use std::sync::LazyLock;
use tempfile::TempDir;

const KINDS: [BufferCompression; 3] = [BufferCompression::None, BufferCompression::Zstd, BufferCompression::Lz4];

/// A dataset of each kind: 2 shards, 72 rows of 144 and 352 px.
static DATA: LazyLock<Vec<TempDir>> = LazyLock::new(|| {
    let make = |kind| {
        let dir = tempfile::tempdir().unwrap();
        common::dataset(dir.path(), 2, kind);
        dir
    };
    KINDS.into_iter().map(make).collect()
});

fn path(kind: BufferCompression) -> PathBuf {
    let at = KINDS.iter().position(|k| *k == kind).unwrap();
    DATA[at].path().to_owned()
}

fn main() {
    divan::main();
}

#[divan::bench(args = KINDS)]
fn open_shard(bencher: Bencher, kind: BufferCompression) {
    let file = path(kind).join("shards/shard-00000.arrow");
    bencher.bench(|| Shard::open(&file).unwrap().rows());
}

#[divan::bench]
fn read_index(bencher: Bencher) {
    let dir = path(BufferCompression::None);
    bencher.counter(ItemsCount::new(72u32)).bench(|| Index::read(&dir).unwrap().rows());
}

#[divan::bench(args = KINDS)]
fn rows_in_order(bencher: Bencher, kind: BufferCompression) {
    let dataset = Dataset::open(&path(kind)).unwrap();
    let bytes: usize =
        (0..36).map(|at| dataset.row(0, at).unwrap()).map(|r| r.template().len() + r.search().len()).sum();
    bencher.counter(ItemsCount::new(36u32)).counter(BytesCount::new(bytes)).bench(|| {
        for at in 0..36 {
            let row = dataset.row(0, at).unwrap();
            row.check().unwrap();
            black_box(row.bbox());
        }
    });
}

#[divan::bench(args = KINDS)]
fn a_row_at_random(bencher: Bencher, kind: BufferCompression) {
    let dataset = Dataset::open(&path(kind)).unwrap();
    let mut rng = Rng::new(5);
    bencher.counter(ItemsCount::new(1u32)).bench_local(move || {
        let row = dataset.row(rng.below(2) as u32, rng.below(36) as u32).unwrap();
        black_box((row.template().len(), row.search().len()))
    });
}
