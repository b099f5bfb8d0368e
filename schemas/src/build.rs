//! Configuration of `ingest build`: everything that decides the bytes of a dataset.

use crate::train::DataConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which crop geometry cuts the pixels. Training data and tracker must use the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CropSemantics {
    /// SiamFC and the MindSpore reference: both edges rounded to whole pixels, integer mean fill, bilinear resize.
    #[default]
    Siamfc,
    /// PySOT: sub-pixel square window, corner-aligned affine warp, unrounded mean fill.
    Pysot,
}

/// Compression of the buffers inside a shard. The images are JPEG already; compressing buffers again makes archival
/// shards about a tenth smaller, but rows are then no longer readable without copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BufferCompression {
    /// Plain buffers, read straight from a memory map.
    #[default]
    None,
    /// zstd level 3.
    Zstd,
    /// LZ4 frames.
    Lz4,
}

/// Everything that decides the bytes of a dataset, apart from the sources themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BuildConfig {
    /// Side of the exemplar in crop pixels; fixes the scale of all crops.
    pub exemplar_px: u32,
    /// Side of the template crop in pixels; its centre `exemplar_px` is the exemplar.
    pub template_px: u32,
    /// Side of search crops cut from frames, in pixels. For sources that are crops already: 0 keeps their own bytes
    /// and size, any other value re-encodes to this size.
    pub search_px: u32,
    /// Re-encode ready-made crops at `search_px` instead of keeping their bytes.
    pub reencode_crops: bool,
    /// Share of the mean target side added as context.
    pub context_amount: f64,
    /// Crop geometry.
    pub semantics: CropSemantics,
    /// JPEG quality of crops encoded here, 1 to 100.
    pub jpeg_quality: u8,
    /// Name and version of the JPEG decoder: another decoder may differ by a level or two, so it is part of the hash.
    pub decoder: String,
    /// Rows of one record batch.
    pub rows_per_batch: u32,
    /// Bytes a shard should have, about.
    pub shard_bytes: u64,
    /// Seed of the dealing of videos to shards.
    pub seed: u64,
    /// Compression of shard buffers.
    pub buffer_compression: BufferCompression,
    /// Smallest allowed ratio min(w/h, h/w) of a target.
    pub min_aspect: f64,
    /// Smallest allowed target area as a share of the frame's (sources that know the frame only).
    pub min_area: f64,
    /// Largest allowed target area as a share of the frame's (sources that know the frame only).
    pub max_area: f64,
    /// Smallest allowed shorter side of a target, frame px (sources that know the frame only).
    pub min_side: f64,
    /// Leave out targets that are marked as occluded.
    pub drop_occluded: bool,
    /// Leave out boxes that were interpolated, not drawn (ImageNet).
    pub drop_generated: bool,
    /// A track is cut in two where its frame numbers jump by more than this; 0 never cuts. Frame numbers of `ytbb`
    /// are seconds.
    pub max_gap: u32,
    /// Shortest track that is kept, in rows. Not asked of single pictures.
    pub min_track_rows: u32,
    /// Paths of the frames of `ytbb` below its folder: text with `{split}`, `{id}`, `{ms}`, `{s}` (whole seconds),
    /// `{class}` and `{object}`; `{s:06}` pads to six digits.
    pub frame_pattern: String,
    /// Width to height of the frames whose size nobody knows: for boxes of `crop511` that are shares of their frame.
    pub frame_aspect: f64,
    /// Rejected inputs above which the build stops with an error.
    pub max_rejects: u64,
    /// Decode frames at a half or a quarter of their size where the crops need no more: faster, but not bit-identical to
    /// OpenCV's pixels. Needs a program with the feature `turbo`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fast_decode: bool,
    /// Set by `ingest pairs` alone: the rows are the pairs of a sampler in the order in which it draws them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairsConfig>,
}

/// What a dataset of pairs was drawn from, and in which order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PairsConfig {
    /// Hash of the dataset they were drawn from.
    pub source_hash: String,
    /// First epoch, from 1.
    pub first_epoch: u32,
    /// Last epoch.
    pub last_epoch: u32,
    /// Pairs of a step.
    pub batch: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Seed of the order.
    pub seed: u64,
    /// Which pairs were drawn.
    pub data: DataConfig,
    /// Rows of every shard but the last.
    pub rows_per_shard: u32,
    /// blake3 of `pairs.arrow`: the key of each pair's augmentation, and whether it shows two targets.
    pub keys_blake3: String,
}

impl Default for BuildConfig {
    fn default() -> Self {
        Self {
            exemplar_px: 127,
            template_px: 144,
            search_px: 352,
            reencode_crops: false,
            context_amount: 0.5,
            semantics: CropSemantics::Siamfc,
            jpeg_quality: 95,
            decoder: "zune-jpeg 0.5.15, jpeg-encoder 0.7.1".to_owned(),
            rows_per_batch: crate::shard::ROWS_PER_BATCH as u32,
            shard_bytes: 512 * 1024 * 1024,
            seed: 0,
            buffer_compression: BufferCompression::None,
            min_aspect: 0.1,
            min_area: 0.0,
            max_area: 1.0,
            min_side: 0.0,
            drop_occluded: false,
            drop_generated: false,
            max_gap: 0,
            min_track_rows: 1,
            frame_pattern: "yt_bb_detection_{split}/{class}/{id}_{ms}_{class}_{object}.jpg".to_owned(),
            frame_aspect: 16.0 / 9.0,
            max_rejects: 10_000,
            fast_decode: false,
            pairs: None,
        }
    }
}
