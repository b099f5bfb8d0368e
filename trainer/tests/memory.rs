//! Memory of the loader on a dataset as large as the largest corpus. Run by hand, it writes about 20 GB:
//!
//! ```text
//! MEMORY_DIR=/somewhere MEMORY_ROWS=6000000 cargo test --release -p trainer --test memory -- --ignored --nocapture
//! ```

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use schemas::build::{BufferCompression, BuildConfig};
use schemas::format::DATASET_FORMAT;
use schemas::manifest::{MANIFEST_FILE, Manifest, SHARD_DIR, SourceEntry, Totals};
use schemas::shard::{DatasetInfo, ShardMeta};
use schemas::train::TrainConfig;
use shards::image::Rgb;
use shards::writer::{Dictionaries, RowData, ShardWriter, dataset_hash, write_atomic, write_index};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trainer::loader::{Loader, Recipe};

/// Rows of a track, as in the corpus: 6 million rows in 181,000 tracks.
const TRACK: u64 = 33;
const SHARDS: u64 = 283;

/// Anonymous memory of this process in bytes.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// A dataset of `rows` rows whose pictures are all the same.
fn generate(dir: &Path, rows: u64) {
    std::fs::create_dir_all(dir.join(SHARD_DIR)).unwrap();
    let encode = |side: usize| shards::jpeg::encode(&Rgb::filled(side, side, [90, 120, 60]), 50).unwrap();
    let (template, search) = (encode(144), encode(352));
    let info = DatasetInfo { name: "made".to_owned(), kind: "crops".to_owned(), search_px: 352, source_bytes: false };
    let tracks = rows.div_ceil(TRACK);
    let mut entries = Vec::new();
    for shard in 0..SHARDS {
        let own: Vec<u64> = (0..tracks).filter(|t| t % SHARDS == shard).collect();
        let names = Dictionaries {
            dataset: ["made".to_owned()].into(),
            video: own.iter().map(|t| format!("video-{t:07}")).collect(),
            track: ["0".to_owned()].into(),
            class: [String::new()].into(),
        };
        let meta = ShardMeta {
            format: DATASET_FORMAT,
            shard: shard as u32,
            shards: SHARDS as u32,
            exemplar_px: 127,
            template_px: 144,
            context_amount: 0.5,
            semantics: BuildConfig::default().semantics,
            jpeg_quality: 50,
            subsampling: "4:2:0".to_owned(),
            datasets: vec![info.clone()],
            config_hash: "made".to_owned(),
            writer: "test".to_owned(),
        };
        let mut writer = ShardWriter::create(dir, &meta, &names, 256, BufferCompression::None).unwrap();
        for track in own {
            for row in 0..TRACK as u32 {
                let data = RowData {
                    dataset: "made".to_owned(),
                    video: format!("video-{track:07}"),
                    track: "0".to_owned(),
                    time_ms: -1,
                    frame: row,
                    row_in_track: row,
                    track_len: TRACK as u32,
                    bbox: [176.0, 176.0, 64.0, 64.0],
                    frame_w: 1280,
                    frame_h: 720,
                    template: template.clone(),
                    search: search.clone(),
                    ..RowData::default()
                };
                writer.push(data).unwrap();
            }
        }
        entries.push(writer.finish().unwrap());
    }
    let index_blake3 = write_index(dir, &entries).unwrap();
    let rows = tracks * TRACK;
    let mut manifest = Manifest {
        format: DATASET_FORMAT,
        writer: "test".to_owned(),
        dataset_hash: String::new(),
        config_hash: "made".to_owned(),
        config: BuildConfig::default(),
        sources: vec![SourceEntry {
            dataset: info.name,
            kind: info.kind,
            name: "made".to_owned(),
            search_px: info.search_px,
            source_bytes: info.source_bytes,
            videos: tracks,
            tracks,
            rows,
        }],
        totals: Totals { videos: tracks, tracks, rows, bytes: entries.iter().map(|e| e.bytes).sum(), rejects: 0 },
        shards: entries,
        index_blake3,
        derived: None,
    };
    manifest.dataset_hash = dataset_hash(&manifest);
    write_atomic(&dir.join(MANIFEST_FILE), &serde_json::to_vec(&manifest).unwrap()).unwrap();
}

#[test]
#[ignore = "writes about 20 GB; run by hand, see the head of this file"]
fn anonymous_memory_is_bounded_and_flat_over_an_epoch() {
    let variable = |name: &str| std::env::var(name).ok();
    let rows: u64 = variable("MEMORY_ROWS").map_or(6_000_000, |v| v.parse().unwrap());
    let temporary = tempfile::tempdir().unwrap();
    let dir = variable("MEMORY_DIR").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    if !dir.join(MANIFEST_FILE).exists() {
        generate(&dir, rows);
    }
    let mut cfg = TrainConfig::preset("reference").unwrap();
    (cfg.run.batch, cfg.run.workers) = (256, 2);
    let before = anonymous();
    let recipe = Arc::new(Recipe::open(&dir, &cfg).unwrap());
    let steps = recipe.steps_per_epoch();
    println!(
        "{} rows: {} MB to open, {steps} steps",
        recipe.dataset().rows(),
        anonymous().saturating_sub(before) >> 20
    );
    let mut loader = Loader::start(&recipe, 0..steps).unwrap();
    let mut seen = Vec::new();
    for step in 0..steps {
        let batch = loader.next().unwrap().unwrap();
        assert_eq!((batch.step, batch.substituted), (step, 0));
        loader.give_back(batch);
        seen.push(anonymous());
        if (step + 1) % (steps / 10).max(1) == 0 {
            println!("step {}: {} MB anonymous", step + 1, anonymous() >> 20);
        }
    }
    let most = seen.iter().copied().max().unwrap();
    println!("most: {} MB", most >> 20);
    assert!(most < 1_000_000_000, "{most}");
    // Rows are drawn at random: after a fifth of the epoch nearly every record batch has been touched.
    let (early, late) = (seen[seen.len() / 5], seen[seen.len() - 1]);
    assert!(late < early + early / 10 + (32 << 20), "{early} after a fifth, {late} at the end");
}
