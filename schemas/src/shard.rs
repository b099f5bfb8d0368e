//! Columns of a shard and of the index, and the metadata a shard carries.
//!
//! A shard is an Arrow IPC *file*. One row is one annotated frame of one track and carries that frame's crop pair:
//! `template` and `search`, two JPEGs cut at the same scale around the target. Rows are track-contiguous and
//! frame-ordered; a video never spans two shards.
//!
//! Coordinates: pixels of the search crop, origin at the left/top edge of pixel 0, so the centre of a 352 px crop
//! lies at 176.0. Boxes are centre form (`cx, cy, w, h`).

use crate::build::CropSemantics;
use crate::format::FormatVersion;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// `flags` bit: the annotation says the target is occluded.
pub const FLAG_OCCLUDED: u8 = 1;
/// `flags` bit: the box was generated (interpolated), not drawn by a person.
pub const FLAG_GENERATED: u8 = 2;
/// `flags` bit: the target is cut by the frame's border.
pub const FLAG_TRUNCATED: u8 = 4;

/// Rows of one record batch, unless configured otherwise.
pub const ROWS_PER_BATCH: usize = 256;

/// Key of the schema metadata entry that holds [`ShardMeta`] as JSON.
pub const META_KEY: &str = "siamrpn.shard";

/// The `sample_id` of a row: shard number * 2^32 + row in shard.
#[must_use]
pub const fn sample_id(shard: u32, row: u32) -> u64 {
    ((shard as u64) << 32) | row as u64
}

/// Shard number and row in shard of a `sample_id`.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "both halves are 32 bits wide by definition")]
pub const fn split_sample_id(id: u64) -> (u32, u32) {
    ((id >> 32) as u32, id as u32)
}

/// What one `dataset` label of the corpus contributed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// The label, as in the `dataset` column.
    pub name: String,
    /// Kind of source it was read from (`crops`, `sequences`, ...).
    pub kind: String,
    /// Side of this dataset's search crops, in pixels.
    pub search_px: u32,
    /// True when the search column holds the source's own JPEG bytes.
    pub source_bytes: bool,
}

/// Metadata of a shard, stored as JSON in the Arrow schema under [`META_KEY`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardMeta {
    /// Format version of the shard.
    pub format: FormatVersion,
    /// Number of this shard within its dataset.
    pub shard: u32,
    /// Number of shards in the dataset.
    pub shards: u32,
    /// Side of the exemplar in crop pixels (127): the scale of every crop is `exemplar_px / s_z`.
    pub exemplar_px: u32,
    /// Side of the template crop in pixels.
    pub template_px: u32,
    /// Share of the target's mean side that is added as context on each side pair (0.5).
    pub context_amount: f64,
    /// Which crop geometry made the pixels.
    pub semantics: CropSemantics,
    /// JPEG quality of the crops that were encoded here.
    pub jpeg_quality: u8,
    /// Chroma subsampling of the crops that were encoded here.
    pub subsampling: String,
    /// Per `dataset` label: kind, search size.
    pub datasets: Vec<DatasetInfo>,
    /// Hash of the effective build configuration.
    pub config_hash: String,
    /// Program and version that wrote the shard.
    pub writer: String,
}

fn dict(name: &str) -> Field {
    Field::new(name, DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), false)
}

fn row_fields() -> Vec<Field> {
    let f = |name: &str, t: DataType| Field::new(name, t, false);
    vec![
        f("sample_id", DataType::UInt64),
        dict("dataset"),
        dict("video"),
        dict("track"),
        dict("class"),
        f("time_ms", DataType::Int64),
        f("flags", DataType::UInt8),
        f("frame", DataType::UInt32),
        f("row_in_track", DataType::UInt32),
        f("track_len", DataType::UInt32),
        f("box_cx", DataType::Float32),
        f("box_cy", DataType::Float32),
        f("box_w", DataType::Float32),
        f("box_h", DataType::Float32),
        f("scale", DataType::Float32),
        f("frame_w", DataType::UInt16),
        f("frame_h", DataType::UInt16),
        f("pad", DataType::Float32),
    ]
}

/// Schema of a shard with its metadata.
///
/// # Errors
/// When the metadata cannot be written as JSON.
pub fn shard_schema(meta: &ShardMeta) -> Result<SchemaRef, serde_json::Error> {
    let mut fields = row_fields();
    fields.push(Field::new("template", DataType::Binary, false));
    fields.push(Field::new("search", DataType::Binary, false));
    fields.push(Field::new("crc", DataType::UInt32, false));
    let metadata = HashMap::from([(META_KEY.to_owned(), serde_json::to_string(meta)?)]);
    Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
}

/// Schema of `index.arrow`: every column of a shard but the images and their checksum, then where the row lies.
#[must_use]
pub fn index_schema() -> SchemaRef {
    let mut fields = row_fields();
    fields.push(Field::new("shard", DataType::UInt32, false));
    fields.push(Field::new("batch", DataType::UInt32, false));
    fields.push(Field::new("row", DataType::UInt32, false));
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_ids_split_into_shard_and_row() {
        assert_eq!(split_sample_id(sample_id(7, 4_000_000_000)), (7, 4_000_000_000));
        assert_eq!(sample_id(1, 0), 1 << 32);
    }

    #[test]
    fn index_and_shard_share_their_row_columns() {
        let index = index_schema();
        assert_eq!(index.fields().len(), row_fields().len() + 3);
        assert_eq!(index.field(0).name(), "sample_id");
    }
}
