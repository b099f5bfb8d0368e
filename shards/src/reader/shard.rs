//! One shard: its record batches, decoded when first touched.

use super::ReadError;
use super::ipc::{IpcFile, check_fields};
use super::row::Row;
use arrow::array::{Array, ArrayRef, BinaryArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Schema};
use schemas::format::DATASET_FORMAT;
use schemas::shard::{META_KEY, ShardMeta, shard_schema};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The columns of one record batch of a shard, typed.
#[derive(Debug)]
pub struct Batch {
    pub(super) first_row: usize,
    pub(super) record: RecordBatch,
}

impl Batch {
    /// Rows in this batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.record.num_rows()
    }

    /// Number, within the shard, of this batch's first row.
    #[must_use]
    pub fn first_row(&self) -> usize {
        self.first_row
    }

    pub(crate) fn column(&self, name: &str) -> Result<ArrayRef, ReadError> {
        self.record.column_by_name(name).cloned().ok_or_else(|| ReadError::Damaged {
            path: PathBuf::new(),
            message: format!("the column {name} is missing"),
        })
    }

    /// A column as an array of type `T`.
    pub(super) fn typed<T: 'static>(&self, name: &str) -> Option<&T> {
        self.record.column_by_name(name)?.as_any().downcast_ref::<T>()
    }

    /// The text of a dictionary column; empty when there is none.
    pub(crate) fn name(&self, column: &str, row: usize) -> &str {
        let text = || {
            let array = self.typed::<DictionaryArray<Int32Type>>(column)?;
            let key = usize::try_from(value(array.keys(), row)?).ok()?;
            let values = array.values().as_any().downcast_ref::<StringArray>()?;
            (key < values.len()).then(|| values.value(key))
        };
        text().unwrap_or_default()
    }

    /// The bytes of a binary column; empty when there are none.
    pub(super) fn bytes(&self, column: &str, row: usize) -> &[u8] {
        match self.typed::<BinaryArray>(column) {
            Some(array) if row < array.len() => array.value(row),
            _ => &[],
        }
    }
}

/// The value at `row`, if there is one.
pub(super) fn value<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    (row < array.len()).then(|| array.value(row))
}

/// How decoded batches are kept: plain buffers cost nothing to keep, decompressed ones are dropped for the next.
enum Cache {
    All(Vec<OnceLock<Arc<Batch>>>),
    Last(Mutex<Option<(usize, Arc<Batch>)>>),
}

/// One shard, opened.
pub struct Shard {
    file: IpcFile,
    path: Arc<Path>,
    meta: ShardMeta,
    rows: usize,
    starts: Vec<usize>,
    cache: Cache,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("path", &self.file.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Shard {
    /// Opens a shard and checks its structure.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, is not a shard, or was written by a newer release.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::checked(path, IpcFile::open(path)?)
    }

    /// As [`Shard::open`], of bytes that are in memory already; `path` is for messages.
    ///
    /// # Errors
    /// As [`Shard::open`].
    pub fn from_bytes(path: &Path, bytes: bytes::Bytes) -> Result<Self, ReadError> {
        Self::checked(path, IpcFile::from_bytes(path, bytes)?)
    }

    fn checked(path: &Path, file: IpcFile) -> Result<Self, ReadError> {
        let damaged = |message: String| ReadError::Damaged { path: path.to_owned(), message };
        let meta =
            file.schema.metadata().get(META_KEY).ok_or_else(|| damaged("it has no shard metadata".to_owned()))?;
        let meta: ShardMeta = serde_json::from_str(meta).map_err(|e| damaged(format!("invalid metadata: {e}")))?;
        meta.format.check(DATASET_FORMAT).map_err(|source| ReadError::Format { path: path.to_owned(), source })?;
        let expected = shard_schema(&meta).map_err(|e| damaged(e.to_string()))?;
        check_fields(path, &expected, &file.schema)?;
        let mut starts = Vec::with_capacity(file.headers.len());
        let mut rows = 0;
        for header in &file.headers {
            starts.push(rows);
            rows += header.rows;
        }
        let compressed = file.headers.iter().any(|header| header.compressed);
        let cache = if compressed {
            Cache::Last(Mutex::new(None))
        } else {
            Cache::All(starts.iter().map(|_| OnceLock::new()).collect())
        };
        Ok(Self { path: Arc::from(path), file, meta, rows, starts, cache })
    }

    /// Where the shard lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Rows in the shard.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Record batches in the shard.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.starts.len()
    }

    /// The shard's metadata.
    #[must_use]
    pub fn meta(&self) -> &ShardMeta {
        &self.meta
    }

    /// The Arrow schema.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.file.schema
    }

    /// All names of the four dictionary columns (dataset, video, track, class) that rows use.
    #[must_use]
    pub fn names(&self) -> [Vec<String>; 4] {
        let mut names: [std::collections::BTreeSet<String>; 4] = Default::default();
        for number in 0..self.batches() {
            if let Ok(batch) = self.batch(number) {
                for (set, column) in names.iter_mut().zip(["dataset", "video", "track", "class"]) {
                    for row in 0..batch.rows() {
                        let name = batch.name(column, row);
                        if !set.contains(name) {
                            set.insert(name.to_owned());
                        }
                    }
                }
            }
        }
        names.map(|set| set.into_iter().collect())
    }

    /// One record batch, decoded.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn batch(&self, number: usize) -> Result<Arc<Batch>, ReadError> {
        let decode = || -> Result<Arc<Batch>, ReadError> {
            let first_row = self.starts.get(number).copied().unwrap_or_default();
            Ok(Arc::new(Batch { first_row, record: self.file.batch(number)? }))
        };
        match &self.cache {
            Cache::All(cells) => {
                let Some(cell) = cells.get(number) else { return decode() };
                if let Some(batch) = cell.get() {
                    return Ok(Arc::clone(batch));
                }
                let batch = decode()?;
                Ok(Arc::clone(cell.get_or_init(|| batch)))
            }
            Cache::Last(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((held, batch)) = last.as_ref()
                    && *held == number
                {
                    return Ok(Arc::clone(batch));
                }
                let batch = decode()?;
                *last = Some((number, Arc::clone(&batch)));
                Ok(batch)
            }
        }
    }

    /// One row. Costs no copy with plain buffers; the checksum is not tested, see [`Row::check`].
    ///
    /// # Errors
    /// When there is no such row, or its batch is damaged.
    pub fn row(&self, row: usize) -> Result<Row, ReadError> {
        let missing = || ReadError::NoRow { path: self.file.path.clone(), row: row as u64, rows: self.rows as u64 };
        if row >= self.rows {
            return Err(missing());
        }
        let number = self.starts.partition_point(|&start| start <= row).checked_sub(1).ok_or_else(missing)?;
        let batch = self.batch(number)?;
        let at = row - batch.first_row;
        if at >= batch.rows() {
            return Err(missing());
        }
        Ok(Row { path: Arc::clone(&self.path), batch, at })
    }
}
