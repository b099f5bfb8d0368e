//! A small dataset made by our own writer, for the tests of this crate.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use schemas::build::{BufferCompression, BuildConfig};
use schemas::format::DATASET_FORMAT;
use schemas::manifest::{MANIFEST_FILE, Manifest, SHARD_DIR, SourceEntry, Totals};
use schemas::shard::{DatasetInfo, ShardMeta};
use shards::image::Rgb;
use shards::order::Rng;
use shards::writer::{Dictionaries, RowData, ShardWriter, WriteError, dataset_hash, write_atomic, write_index};
use std::path::Path;

/// Rows of each track.
pub const TRACK_LEN: u32 = 12;

fn picture(side: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let base = [rng.below(200) as u8, rng.below(200) as u8, rng.below(200) as u8];
    let data = (0..side * side)
        .flat_map(|i| {
            let (x, y) = ((i % side) as u8, (i / side) as u8);
            [base[0].wrapping_add(x / 4), base[1].wrapping_add(y / 4), base[2].wrapping_add((x ^ y) / 8)]
        })
        .collect();
    shards::jpeg::encode(&Rgb::new(side, side, data).unwrap(), 90).unwrap()
}

/// Writes a dataset of `shards` shards with three tracks each; returns its manifest.
pub fn dataset(dir: &Path, shards: u32, compression: BufferCompression) -> Manifest {
    try_dataset(dir, shards, compression).unwrap()
}

/// As [`dataset`]; errors of the writer are returned.
pub fn try_dataset(dir: &Path, shards: u32, compression: BufferCompression) -> Result<Manifest, WriteError> {
    edited(dir, shards, compression, |_, _| {})
}

/// As [`try_dataset`]; `edit` may change each row (given with its shard) before it is written.
pub fn edited(
    dir: &Path,
    shards: u32,
    compression: BufferCompression,
    edit: impl Fn(u32, &mut RowData),
) -> Result<Manifest, WriteError> {
    std::fs::create_dir_all(dir.join(SHARD_DIR)).unwrap();
    let config = BuildConfig { search_px: 352, buffer_compression: compression, ..BuildConfig::default() };
    let mut entries = Vec::new();
    for shard in 0..shards {
        let meta = ShardMeta {
            format: DATASET_FORMAT,
            shard,
            shards,
            exemplar_px: 127,
            template_px: 144,
            context_amount: 0.5,
            semantics: config.semantics,
            jpeg_quality: 90,
            subsampling: "4:2:0".to_owned(),
            datasets: vec![DatasetInfo {
                name: "test".to_owned(),
                kind: "sequences".to_owned(),
                search_px: 352,
                source_bytes: false,
            }],
            config_hash: "c0".to_owned(),
            writer: "test".to_owned(),
        };
        let videos: Vec<String> = (0..3).map(|t| format!("video-{shard}-{t}")).collect();
        let names = Dictionaries {
            dataset: ["test".to_owned()].into(),
            video: videos.iter().cloned().collect(),
            track: ["1".to_owned()].into(),
            class: [String::new()].into(),
        };
        let mut writer = ShardWriter::create(dir, &meta, &names, 8, compression)?;
        for (t, video) in videos.iter().enumerate() {
            for row in 0..TRACK_LEN {
                let seed = u64::from(shard) * 1000 + t as u64 * 100 + u64::from(row);
                let mut data = RowData {
                    dataset: "test".to_owned(),
                    video: video.clone(),
                    track: "1".to_owned(),
                    frame: row,
                    row_in_track: row,
                    track_len: TRACK_LEN,
                    bbox: [176.0, 176.0, 60.0 + row as f32, 50.0],
                    scale: 0.8,
                    frame_w: 640,
                    frame_h: 360,
                    time_ms: -1,
                    template: picture(144, seed),
                    search: picture(352, seed + 7),
                    ..RowData::default()
                };
                edit(shard, &mut data);
                writer.push(data)?;
            }
        }
        entries.push(writer.finish()?);
    }
    let index_blake3 = write_index(dir, &entries)?;
    let rows = entries.iter().map(|e| e.rows).sum();
    let videos = u64::from(3 * shards);
    let mut manifest = Manifest {
        format: DATASET_FORMAT,
        writer: "test".to_owned(),
        dataset_hash: String::new(),
        config_hash: "c0".to_owned(),
        config,
        sources: vec![SourceEntry {
            dataset: "test".to_owned(),
            kind: "sequences".to_owned(),
            name: "made".to_owned(),
            search_px: 352,
            source_bytes: false,
            videos,
            tracks: videos,
            rows,
        }],
        totals: Totals { videos, tracks: videos, rows, bytes: entries.iter().map(|e| e.bytes).sum(), rejects: 0 },
        shards: entries,
        index_blake3,
        derived: None,
    };
    manifest.dataset_hash = dataset_hash(&manifest);
    write_atomic(&dir.join(MANIFEST_FILE), &serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    Ok(manifest)
}
