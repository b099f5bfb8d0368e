//! The index of a dataset, in memory.

use super::ReadError;
use super::ipc::{IpcFile, check_fields};
use super::shard::{Batch, value};
use arrow::array::{Float32Array, Int64Array, RecordBatch, UInt8Array, UInt16Array, UInt32Array, UInt64Array};
use schemas::manifest::INDEX_FILE;
use schemas::shard::index_schema;
use std::path::Path;
use std::sync::Arc;

/// `index.arrow` in memory: all columns but the pictures.
#[derive(Debug)]
pub struct Index {
    /// The record batches, in order.
    pub batches: Vec<RecordBatch>,
}

impl Index {
    /// Reads the index of a dataset folder.
    ///
    /// # Errors
    /// When it is missing, damaged, or not an index.
    pub fn read(dataset: &Path) -> Result<Self, ReadError> {
        let path = dataset.join(INDEX_FILE);
        Self::decode(&path, &IpcFile::open(&path)?)
    }

    /// As [`Index::read`], of bytes that are in memory already; `path` is for messages.
    ///
    /// # Errors
    /// As [`Index::read`].
    pub fn from_bytes(path: &Path, bytes: bytes::Bytes) -> Result<Self, ReadError> {
        Self::decode(path, &IpcFile::from_bytes(path, bytes)?)
    }

    fn decode(path: &Path, file: &IpcFile) -> Result<Self, ReadError> {
        check_fields(path, &index_schema(), &file.schema)?;
        let batches = (0..file.headers.len()).map(|i| file.batch(i)).collect::<Result<_, _>>()?;
        Ok(Self { batches })
    }

    /// Calls `f` for every row of a dataset's index; only one record batch of it is in memory at a time.
    ///
    /// # Errors
    /// As [`Index::read`].
    pub fn scan(dataset: &Path, mut f: impl FnMut(IndexRow<'_>)) -> Result<(), ReadError> {
        let path = dataset.join(INDEX_FILE);
        let file = IpcFile::open(&path)?;
        check_fields(&path, &index_schema(), &file.schema)?;
        for number in 0..file.headers.len() {
            Self { batches: vec![file.batch(number)?] }.for_each(&mut f);
        }
        Ok(())
    }

    /// Checks that a dataset folder has an index whose structure and columns are right, without decoding it.
    ///
    /// # Errors
    /// As [`Index::read`].
    pub fn check(dataset: &Path) -> Result<(), ReadError> {
        let path = dataset.join(INDEX_FILE);
        let file = IpcFile::open(&path)?;
        check_fields(&path, &index_schema(), &file.schema)
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Calls `f` for every row with a view of the index columns.
    pub fn for_each(&self, mut f: impl FnMut(IndexRow<'_>)) {
        for record in &self.batches {
            let batch = Batch { first_row: 0, record: record.clone() };
            for row in 0..batch.rows() {
                f(IndexRow { batch: &batch, row });
            }
        }
    }
}

/// An index file whose batches are read one by one: the part of an index that belongs to one shard.
pub struct IndexPiece {
    file: IpcFile,
}

impl IndexPiece {
    /// Opens such a file and checks its structure and columns.
    ///
    /// # Errors
    /// When it is missing, damaged, or not an index.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = IpcFile::open(path)?;
        check_fields(path, &index_schema(), &file.schema)?;
        Ok(Self { file })
    }

    /// Record batches in it.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.file.headers.len()
    }

    /// One record batch, decoded.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn batch(&self, number: usize) -> Result<Arc<Batch>, ReadError> {
        let first_row = self.file.headers.iter().take(number).map(|header| header.rows).sum();
        Ok(Arc::new(Batch { first_row, record: self.file.batch(number)? }))
    }
}

/// One line of the index.
#[derive(Debug, Clone, Copy)]
pub struct IndexRow<'a> {
    batch: &'a Batch,
    row: usize,
}

impl<'a> IndexRow<'a> {
    /// Text of one of the dictionary columns `dataset`, `video`, `track`, `class`.
    #[must_use]
    pub fn name(&self, column: &str) -> &'a str {
        self.batch.name(column, self.row)
    }
    /// Value of a 32-bit column: `frame`, `row_in_track`, `track_len`, `shard`, `batch`, `row`.
    #[must_use]
    pub fn word(&self, column: &str) -> u32 {
        self.batch.typed::<UInt32Array>(column).and_then(|a| value(a, self.row)).unwrap_or_default()
    }
    /// Value of a floating-point column.
    #[must_use]
    pub fn float(&self, column: &str) -> f32 {
        self.batch.typed::<Float32Array>(column).and_then(|a| value(a, self.row)).unwrap_or_default()
    }
    /// `flags`.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.batch.typed::<UInt8Array>("flags").and_then(|a| value(a, self.row)).unwrap_or_default()
    }
    /// `frame_w` or `frame_h`.
    #[must_use]
    pub fn short(&self, column: &str) -> u16 {
        self.batch.typed::<UInt16Array>(column).and_then(|a| value(a, self.row)).unwrap_or_default()
    }
    /// `time_ms`.
    #[must_use]
    pub fn time_ms(&self) -> i64 {
        self.batch.typed::<Int64Array>("time_ms").and_then(|a| value(a, self.row)).unwrap_or_default()
    }
    /// `sample_id`.
    #[must_use]
    pub fn sample_id(&self) -> u64 {
        self.batch.typed::<UInt64Array>("sample_id").and_then(|a| value(a, self.row)).unwrap_or_default()
    }
}
