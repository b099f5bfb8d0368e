//! A small dataset of synthetic pictures, written by the shards' own writer, and configurations that train in moments.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use schemas::build::{BufferCompression, BuildConfig};
use schemas::format::DATASET_FORMAT;
use schemas::manifest::{MANIFEST_FILE, Manifest, SHARD_DIR, SourceEntry, Totals};
use schemas::shard::{DatasetInfo, ShardMeta};
use shards::image::Rgb;
use shards::order::{Rng, key};
use shards::writer::{Dictionaries, RowData, ShardWriter, dataset_hash, write_atomic, write_index};
use std::path::Path;
use trainer::config::Layers;

/// Rows of each track.
pub const ROWS: u32 = 6;
/// Videos, one track each.
pub const VIDEOS: u32 = 4;

/// A textured ground with a bright object of `w` x `h` in its middle.
pub fn picture(side: usize, w: usize, h: usize, seed: u64) -> Rgb {
    let mut rng = Rng::new(key(&[seed]));
    let ground: Vec<u8> = (0..16).map(|_| 40 + rng.below(60) as u8).collect();
    let mut image = Rgb::filled(side, side, [0; 3]);
    for y in 0..side {
        for x in 0..side {
            let inside = x.abs_diff(side / 2) * 2 < w && y.abs_diff(side / 2) * 2 < h;
            let base = ground[(x / 24 + y / 24 * 5) % 16];
            let pixel = if inside { [230, 60 + (x % 32) as u8, 40] } else { [base, base / 2 + 30, 90] };
            image.data[3 * (y * side + x)..][..3].copy_from_slice(&pixel);
        }
    }
    image
}

/// How one row of the dataset is to be written.
pub type Damage = fn(video: u32, row: u32, data: &mut RowData);

/// Writes a dataset with the label `made` whose search crops are `search_px` wide; `damage` may spoil rows.
pub fn dataset(dir: &Path, search_px: u32, damage: Option<Damage>) -> Manifest {
    labelled(dir, "made", BuildConfig { search_px, ..BuildConfig::default() }, damage)
}

/// As [`dataset`], with another label and configuration.
pub fn labelled(dir: &Path, label: &str, config: BuildConfig, damage: Option<Damage>) -> Manifest {
    std::fs::create_dir_all(dir.join(SHARD_DIR)).unwrap();
    let search_px = config.search_px;
    let meta = ShardMeta {
        format: DATASET_FORMAT,
        shard: 0,
        shards: 1,
        exemplar_px: config.exemplar_px,
        template_px: 144,
        context_amount: config.context_amount,
        semantics: config.semantics,
        jpeg_quality: 90,
        subsampling: "4:2:0".to_owned(),
        datasets: vec![DatasetInfo {
            name: label.to_owned(),
            kind: "sequences".to_owned(),
            search_px,
            source_bytes: false,
        }],
        config_hash: "c0".to_owned(),
        writer: "test".to_owned(),
    };
    let names = Dictionaries {
        dataset: [label.to_owned()].into(),
        video: (0..VIDEOS).map(|v| format!("video-{v}")).collect(),
        track: ["1".to_owned()].into(),
        class: [String::new()].into(),
    };
    let mut writer = ShardWriter::create(dir, &meta, &names, 8, BufferCompression::None).unwrap();
    for video in 0..VIDEOS {
        for row in 0..ROWS {
            let (w, h) = (60 + 2 * row as usize, 50 + video as usize);
            let seed = u64::from(video);
            let encode = |image: &Rgb| shards::jpeg::encode(image, 90).unwrap();
            let middle = search_px as f32 / 2.0;
            let mut data = RowData {
                dataset: label.to_owned(),
                video: format!("video-{video}"),
                track: "1".to_owned(),
                time_ms: -1,
                frame: row,
                row_in_track: row,
                track_len: ROWS,
                bbox: [middle, middle, w as f32, h as f32],
                scale: 0.8,
                frame_w: 640,
                frame_h: 360,
                template: encode(&picture(144, w, h, seed)),
                search: encode(&picture(search_px as usize, w, h, seed)),
                ..RowData::default()
            };
            if let Some(damage) = damage {
                damage(video, row, &mut data);
            }
            writer.push(data).unwrap();
        }
    }
    let shards = vec![writer.finish().unwrap()];
    let index_blake3 = write_index(dir, &shards).unwrap();
    let rows = u64::from(VIDEOS * ROWS);
    let videos = u64::from(VIDEOS);
    let mut manifest = Manifest {
        format: DATASET_FORMAT,
        writer: "test".to_owned(),
        dataset_hash: String::new(),
        config_hash: "c0".to_owned(),
        config,
        sources: vec![SourceEntry {
            dataset: label.to_owned(),
            kind: "sequences".to_owned(),
            name: label.to_owned(),
            search_px,
            source_bytes: false,
            videos,
            tracks: videos,
            rows,
        }],
        totals: Totals { videos, tracks: videos, rows, bytes: shards[0].bytes, rejects: 0 },
        shards,
        index_blake3,
        derived: None,
    };
    manifest.dataset_hash = dataset_hash(&manifest);
    write_atomic(&dir.join(MANIFEST_FILE), &serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    manifest
}

/// What makes a run small: a trunk of a few channels, two pairs a step, epochs of four steps.
pub const SMALL: [&str; 7] = [
    "model.trunk.widths=[4,6,6,6,6]",
    "run.batch=2",
    "run.epochs=2",
    "run.log_every=2",
    "run.workers=2",
    "augment.blur=0.3",
    "augment.colour=0.5",
];

/// The small configuration with further overrides.
pub fn layers(more: &[&str]) -> Layers {
    Layers {
        preset: Some("tiny".to_owned()),
        file: None,
        overrides: SMALL.iter().chain(more).map(|s| (*s).to_owned()).collect(),
    }
}
