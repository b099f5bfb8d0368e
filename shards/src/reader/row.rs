//! One row of a shard, column by column.

use super::ReadError;
use super::shard::{Batch, value};
use arrow::array::PrimitiveArray;
use arrow::datatypes::ArrowPrimitiveType;
use std::path::Path;
use std::sync::Arc;

/// One row of a shard.
#[derive(Debug, Clone)]
pub struct Row {
    pub(super) path: Arc<Path>,
    pub(super) batch: Arc<Batch>,
    pub(super) at: usize,
}

impl Row {
    fn primitive<T: ArrowPrimitiveType>(&self, column: &str) -> T::Native
    where
        T::Native: Default,
    {
        self.batch.typed::<PrimitiveArray<T>>(column).and_then(|array| value(array, self.at)).unwrap_or_default()
    }

    /// `sample_id`.
    #[must_use]
    pub fn sample_id(&self) -> u64 {
        self.primitive::<arrow::datatypes::UInt64Type>("sample_id")
    }
    /// `dataset` label.
    #[must_use]
    pub fn dataset(&self) -> &str {
        self.batch.name("dataset", self.at)
    }
    /// Video.
    #[must_use]
    pub fn video(&self) -> &str {
        self.batch.name("video", self.at)
    }
    /// Track within the video.
    #[must_use]
    pub fn track(&self) -> &str {
        self.batch.name("track", self.at)
    }
    /// Class, empty when unknown.
    #[must_use]
    pub fn class(&self) -> &str {
        self.batch.name("class", self.at)
    }
    /// Time in milliseconds, -1 when unknown.
    #[must_use]
    pub fn time_ms(&self) -> i64 {
        self.primitive::<arrow::datatypes::Int64Type>("time_ms")
    }
    /// Bits of [`schemas::shard`].
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.primitive::<arrow::datatypes::UInt8Type>("flags")
    }
    /// Frame number in the source.
    #[must_use]
    pub fn frame(&self) -> u32 {
        self.primitive::<arrow::datatypes::UInt32Type>("frame")
    }
    /// Place in the track.
    #[must_use]
    pub fn row_in_track(&self) -> u32 {
        self.primitive::<arrow::datatypes::UInt32Type>("row_in_track")
    }
    /// Rows of the track.
    #[must_use]
    pub fn track_len(&self) -> u32 {
        self.primitive::<arrow::datatypes::UInt32Type>("track_len")
    }
    /// The target in search-crop pixels: cx, cy, w, h.
    #[must_use]
    pub fn bbox(&self) -> [f32; 4] {
        ["box_cx", "box_cy", "box_w", "box_h"].map(|c| self.primitive::<arrow::datatypes::Float32Type>(c))
    }
    /// Crop pixels per frame pixel, 0 when unknown.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.primitive::<arrow::datatypes::Float32Type>("scale")
    }
    /// Share of border fill.
    #[must_use]
    pub fn pad(&self) -> f32 {
        self.primitive::<arrow::datatypes::Float32Type>("pad")
    }
    /// Width and height of the source frame.
    #[must_use]
    pub fn frame_size(&self) -> [u16; 2] {
        ["frame_w", "frame_h"].map(|c| self.primitive::<arrow::datatypes::UInt16Type>(c))
    }
    /// JPEG bytes of the template.
    #[must_use]
    pub fn template(&self) -> &[u8] {
        self.batch.bytes("template", self.at)
    }
    /// JPEG bytes of the search crop.
    #[must_use]
    pub fn search(&self) -> &[u8] {
        self.batch.bytes("search", self.at)
    }
    /// The stored checksum.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.primitive::<arrow::datatypes::UInt32Type>("crc")
    }

    /// Tests the pictures against the stored checksum.
    ///
    /// # Errors
    /// [`ReadError::Crc`] when they differ.
    pub fn check(&self) -> Result<(), ReadError> {
        let (found, expected) = (crate::writer::row_crc(self.template(), self.search()), self.crc());
        if found == expected {
            return Ok(());
        }
        Err(ReadError::Crc {
            path: self.path.to_path_buf(),
            row: (self.batch.first_row + self.at) as u64,
            video: self.video().to_owned(),
            track: self.track().to_owned(),
            frame: self.frame(),
            found,
            expected,
        })
    }
}
