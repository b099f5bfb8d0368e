//! Parsers of outside bytes on a stored corpus and on seeded mutations of it: no panic, no memory out of proportion.
//!
//! `FUZZ_RUNS=1000000 FUZZ_SEED=7 cargo test --release -p shards --test fuzz -- --nocapture` runs more of them.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/fuzz.rs"]
mod fuzz;

use fuzz::{check, files, root};
use shards::fuzzing::TARGETS;
use shards::jpeg::{Limits, decode_image};
use shards::reader::{Index, Shard};
use std::fs;
use std::path::{Path, PathBuf};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// What an input may cost: a constant and a multiple of its size.
fn allowance(name: &str, input: usize) -> usize {
    match name {
        // Arrow unpacks at most 16 MiB and 256 times the block; dictionaries and one batch are held at a time.
        "shard" | "index" => (48 << 20) + 600 * input,
        // 65,536 pixels are decoded at most.
        "jpeg" => (8 << 20) + 16 * input,
        _ => (1 << 20) + 64 * input,
    }
}

/// The fixture's files are seeds too.
fn fixture(name: &str) -> Vec<PathBuf> {
    let fixture = root().join("shards/tests/fixtures/format-1.0");
    let of = |kind: &str| match name {
        "shard" => files(&fixture.join(kind).join("shards")),
        "index" => vec![fixture.join(kind).join("index.arrow")],
        "manifest" => vec![fixture.join(kind).join("dataset.json")],
        _ => Vec::new(),
    };
    ["plain", "zstd"].into_iter().flat_map(of).collect()
}

#[test]
fn no_bytes_make_a_parser_panic_or_take_the_memory() {
    check(&TARGETS, 2000, fixture, allowance);
    // Seeds are accepted, so that mutations reach beyond the first check.
    let name = Path::new("seed");
    for path in fixture("shard") {
        assert_eq!(Shard::from_bytes(name, fs::read(path).unwrap().into()).unwrap().rows(), 6);
    }
    for path in fixture("index") {
        assert_eq!(Index::from_bytes(name, fs::read(path).unwrap().into()).unwrap().rows(), 12);
    }
    let pictures = files(&root().join("fuzz/corpus/jpeg"));
    let reads = |path: &&PathBuf| decode_image(&fs::read(path).unwrap(), &Limits::default()).is_ok();
    assert!(pictures.iter().filter(reads).count() >= 7, "{pictures:?}");
}
