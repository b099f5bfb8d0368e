//! A dataset laid out anew by `shards` and back again is the one that was built.

use ingest::source::{SourceKind, SourceSpec};
use ingest::{BuildOptions, build};
use schemas::build::{BufferCompression, BuildConfig};
use shards::derive::{Layout, reshard};
use std::fs;
use std::path::Path;

#[test]
fn a_layout_can_be_undone_to_the_built_bytes() {
    let sequences = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/sequences");
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let config = BuildConfig { shard_bytes: 1_000_000, jpeg_quality: 70, ..BuildConfig::default() };
    let source = SourceSpec { kind: SourceKind::Sequences, label: None, path: sequences };
    let built = build(&[source], &config, &at("built"), &BuildOptions::default()).unwrap();
    let other = Layout { shard_bytes: Some(1 << 30), buffer_compression: Some(BufferCompression::Zstd) };
    reshard(&at("built"), &at("one"), other, &mut |_, _| {}).unwrap();
    let back = Layout { shard_bytes: Some(1_000_000), buffer_compression: Some(BufferCompression::None) };
    let manifest = reshard(&at("one"), &at("back"), back, &mut |_, _| {}).unwrap();
    assert_eq!(Some(&manifest.dataset_hash), built.dataset_hash.as_ref());
    assert!(manifest.shards.len() > 1);
    for file in ["index.arrow", "rejects.jsonl", "shards/shard-00000.arrow", "shards/shard-00001.arrow"] {
        assert!(fs::read(at("built").join(file)).unwrap() == fs::read(at("back").join(file)).unwrap(), "{file}");
    }
}
