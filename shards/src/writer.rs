//! Writing shards, the index and small files, so that a crash never leaves a half-written file under a final name.
//!
//! Everything goes to a temporary name in the same folder, is synced, renamed, and the folder is synced. Equal rows give
//! equal bytes.

use crate::disk::{Disk, Real, folder_of, publish};
use arrow::array::{
    ArrayRef, BinaryBuilder, DictionaryArray, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use schemas::build::BufferCompression;
use schemas::manifest::{Manifest, SHARD_DIR, ShardEntry, shard_file};
use schemas::shard::{ShardMeta, sample_id, shard_schema};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::disk::TEMP_PREFIX;
pub use crate::index::{merge_pieces, write_index, write_index_on, write_piece};

/// Why a shard or index could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused.
    #[error("could not write {path}: {source}{}", advice(source))]
    Io {
        /// File that was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Arrow refused the rows.
    #[error("could not write {path}: {source}")]
    Arrow {
        /// File that was being written.
        path: PathBuf,
        /// What Arrow said.
        source: ArrowError,
    },
    /// A row uses a name that was not announced.
    #[error("row {row} of {path} has {column} {value:?}, which is not among the names the shard was created with")]
    Name {
        /// File that was being written.
        path: PathBuf,
        /// Row in shard.
        row: u64,
        /// Column.
        column: &'static str,
        /// The name.
        value: String,
    },
    /// The metadata cannot be written.
    #[error("could not write the metadata of {path}: {source}")]
    Meta {
        /// File that was being written.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A shard could not be read back for the index.
    #[error(transparent)]
    Read(#[from] crate::reader::ReadError),
}

fn advice(source: &io::Error) -> &'static str {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "; free some space and run the same command again: what is complete is kept"
        }
        _ => "",
    }
}

/// Writes a file atomically: temporary name in the same folder, sync, rename, sync of the folder.
///
/// # Errors
/// Whatever the file system says; the target is then unchanged.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic_on(&Real, path, bytes)
}

/// As [`write_atomic`], over any [`Disk`].
///
/// # Errors
/// Whatever the file system says; the target is then unchanged.
pub fn write_atomic_on<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temp = disk.create(folder_of(path))?;
    temp.write_all(bytes)?;
    publish(disk, temp, path)
}

/// The names a shard's dictionary columns may hold, fixed before its first row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dictionaries {
    /// `dataset` labels.
    pub dataset: BTreeSet<String>,
    /// Videos.
    pub video: BTreeSet<String>,
    /// Tracks.
    pub track: BTreeSet<String>,
    /// Classes.
    pub class: BTreeSet<String>,
}

/// One row, as the writer takes it; the checksum and the sample id are the writer's business.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowData {
    /// `dataset` label.
    pub dataset: String,
    /// Video.
    pub video: String,
    /// Track within the video.
    pub track: String,
    /// Class of the target, empty when unknown.
    pub class: String,
    /// Time in the source in milliseconds, -1 when unknown.
    pub time_ms: i64,
    /// Bits of [`schemas::shard`].
    pub flags: u8,
    /// Frame number in the source.
    pub frame: u32,
    /// Place in the track.
    pub row_in_track: u32,
    /// Rows of the track.
    pub track_len: u32,
    /// Target in search-crop pixels: cx, cy, w, h.
    pub bbox: [f32; 4],
    /// Crop pixels per frame pixel, 0 when unknown.
    pub scale: f32,
    /// Frame width.
    pub frame_w: u16,
    /// Frame height.
    pub frame_h: u16,
    /// Share of border fill.
    pub pad: f32,
    /// Template JPEG.
    pub template: Vec<u8>,
    /// Search JPEG.
    pub search: Vec<u8>,
}

/// crc32c of the template's bytes followed by the search crop's.
#[must_use]
pub fn row_crc(template: &[u8], search: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(template), search)
}

/// A writer that hashes what passes.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(buf.get(..n).unwrap_or_default());
        self.bytes += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A batch is closed early when its pictures reach this size, so that 32-bit offsets always suffice.
const MAX_BATCH_BYTES: usize = 1 << 30;

type Sink<T> = Hashing<BufWriter<T>>;

/// An Arrow IPC file on its way to its final name.
pub(crate) struct AtomicIpc<D: Disk> {
    disk: D,
    path: PathBuf,
    writer: FileWriter<Sink<D::Temp>>,
}

impl<D: Disk> AtomicIpc<D> {
    pub(crate) fn create(
        disk: &D,
        path: &Path,
        schema: &SchemaRef,
        compression: BufferCompression,
    ) -> Result<Self, WriteError> {
        let io = |source| WriteError::Io { path: path.to_owned(), source };
        let temp = disk.create(folder_of(path)).map_err(io)?;
        let sink = Hashing { inner: BufWriter::with_capacity(1 << 20, temp), hasher: blake3::Hasher::new(), bytes: 0 };
        let arrow = |source| WriteError::Arrow { path: path.to_owned(), source };
        let codec = match compression {
            BufferCompression::None => None,
            BufferCompression::Zstd => Some(CompressionType::ZSTD),
            BufferCompression::Lz4 => Some(CompressionType::LZ4_FRAME),
        };
        let options = IpcWriteOptions::default().try_with_compression(codec).map_err(arrow)?;
        let writer = FileWriter::try_new_with_options(sink, schema, options).map_err(arrow)?;
        Ok(Self { disk: disk.clone(), path: path.to_owned(), writer })
    }

    pub(crate) fn failed(&self, source: ArrowError) -> WriteError {
        let path = self.path.clone();
        match source {
            ArrowError::IoError(_, source) => WriteError::Io { path, source },
            source => WriteError::Arrow { path, source },
        }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        self.writer.write(batch).map_err(|e| self.failed(e))
    }

    /// Publishes the file; returns its size and hash.
    pub(crate) fn finish(mut self) -> Result<(u64, String), WriteError> {
        self.writer.finish().map_err(|e| self.failed(e))?;
        let path = self.path.clone();
        let sink = self.writer.into_inner().map_err(|source| WriteError::Arrow { path: path.clone(), source })?;
        let (bytes, hash) = (sink.bytes, sink.hasher.finalize().to_hex().to_string());
        let io = |source| WriteError::Io { path: path.clone(), source };
        let temp = sink.inner.into_inner().map_err(|e| io(e.into_error()))?;
        publish(&self.disk, temp, &path).map_err(io)?;
        Ok((bytes, hash))
    }
}

/// A dictionary column on its way into a batch.
pub(crate) struct Names {
    pub(crate) column: &'static str,
    values: ArrayRef,
    keys: HashMap<String, i32>,
    pending: Vec<i32>,
}

impl Names {
    pub(crate) fn new(column: &'static str, names: &BTreeSet<String>) -> Self {
        Self {
            column,
            values: Arc::new(StringArray::from_iter_values(names.iter())),
            keys: names.iter().zip(0..).map(|(name, i)| (name.clone(), i)).collect(),
            pending: Vec::new(),
        }
    }

    /// Adds a value; false when it was not announced.
    pub(crate) fn push(&mut self, value: &str) -> bool {
        let key = self.keys.get(value).copied();
        self.pending.extend(key);
        key.is_some()
    }

    pub(crate) fn take(&mut self) -> Result<ArrayRef, ArrowError> {
        let keys = Int32Array::from(std::mem::take(&mut self.pending));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(&self.values))?))
    }
}

/// Writes one shard, row by row.
pub struct ShardWriter<D: Disk = Real> {
    file: AtomicIpc<D>,
    schema: SchemaRef,
    shard: u32,
    rows_per_batch: usize,
    names: [Names; 4],
    rows: Vec<RowData>,
    /// Bytes of the pictures in `rows`.
    pending: usize,
    written: u64,
    videos: BTreeSet<(String, String)>,
    tracks: BTreeSet<(String, String, String)>,
}

impl ShardWriter {
    /// Starts the shard `meta.shard` in the folder `dataset/shards`, which must exist.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(
        dataset: &Path,
        meta: &ShardMeta,
        names: &Dictionaries,
        rows_per_batch: usize,
        compression: BufferCompression,
    ) -> Result<Self, WriteError> {
        Self::create_on(&Real, dataset, meta, names, rows_per_batch, compression)
    }
}

impl<D: Disk> ShardWriter<D> {
    /// As [`ShardWriter::create`], over any [`Disk`].
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create_on(
        disk: &D,
        dataset: &Path,
        meta: &ShardMeta,
        names: &Dictionaries,
        rows_per_batch: usize,
        compression: BufferCompression,
    ) -> Result<Self, WriteError> {
        let path = dataset.join(SHARD_DIR).join(shard_file(meta.shard));
        let schema = shard_schema(meta).map_err(|source| WriteError::Meta { path: path.clone(), source })?;
        Ok(Self {
            file: AtomicIpc::create(disk, &path, &schema, compression)?,
            schema,
            shard: meta.shard,
            rows_per_batch: rows_per_batch.max(1),
            names: [
                Names::new("dataset", &names.dataset),
                Names::new("video", &names.video),
                Names::new("track", &names.track),
                Names::new("class", &names.class),
            ],
            rows: Vec::new(),
            pending: 0,
            written: 0,
            videos: BTreeSet::new(),
            tracks: BTreeSet::new(),
        })
    }

    /// Adds a row. Rows must come track by track, in frame order.
    ///
    /// # Errors
    /// When the row uses a name the shard was not created with, or a full batch cannot be written.
    pub fn push(&mut self, row: RowData) -> Result<(), WriteError> {
        let bytes = row.template.len() + row.search.len();
        if self.pending + bytes > MAX_BATCH_BYTES {
            self.flush()?;
        }
        let values = [&row.dataset, &row.video, &row.track, &row.class];
        for (names, value) in self.names.iter_mut().zip(values) {
            if !names.push(value) {
                return Err(WriteError::Name {
                    path: self.file.path.clone(),
                    row: self.written + self.rows.len() as u64,
                    column: names.column,
                    value: value.clone(),
                });
            }
        }
        self.pending += bytes;
        self.rows.push(row);
        if self.rows.len() >= self.rows_per_batch { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.pending = 0;
        for row in &rows {
            let video = (row.dataset.clone(), row.video.clone());
            self.tracks.insert((video.0.clone(), video.1.clone(), row.track.clone()));
            self.videos.insert(video);
        }
        let batch = self.batch(&rows).map_err(|e| self.file.failed(e))?;
        self.file.write(&batch)?;
        self.written += rows.len() as u64;
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "a shard of about 512 MB has far fewer than 2^32 rows")]
    fn batch(&mut self, rows: &[RowData]) -> Result<RecordBatch, ArrowError> {
        let ids = (0..rows.len() as u64).map(|i| sample_id(self.shard, (self.written + i) as u32));
        let floats = |f: fn(&RowData) -> f32| Arc::new(Float32Array::from_iter_values(rows.iter().map(f))) as ArrayRef;
        let words = |f: fn(&RowData) -> u32| Arc::new(UInt32Array::from_iter_values(rows.iter().map(f))) as ArrayRef;
        let shorts = |f: fn(&RowData) -> u16| Arc::new(UInt16Array::from_iter_values(rows.iter().map(f))) as ArrayRef;
        let bytes = |f: fn(&RowData) -> &[u8]| {
            let mut builder = BinaryBuilder::with_capacity(rows.len(), rows.iter().map(|r| f(r).len()).sum());
            rows.iter().for_each(|r| builder.append_value(f(r)));
            Arc::new(builder.finish()) as ArrayRef
        };
        let [dataset, video, track, class] = &mut self.names;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(ids)),
            dataset.take()?,
            video.take()?,
            track.take()?,
            class.take()?,
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.time_ms))),
            Arc::new(UInt8Array::from_iter_values(rows.iter().map(|r| r.flags))),
            words(|r| r.frame),
            words(|r| r.row_in_track),
            words(|r| r.track_len),
            floats(|r| r.bbox[0]),
            floats(|r| r.bbox[1]),
            floats(|r| r.bbox[2]),
            floats(|r| r.bbox[3]),
            floats(|r| r.scale),
            shorts(|r| r.frame_w),
            shorts(|r| r.frame_h),
            floats(|r| r.pad),
            bytes(|r| &r.template),
            bytes(|r| &r.search),
            words(|r| row_crc(&r.template, &r.search)),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    /// Writes what is left, publishes the file and returns its manifest entry.
    ///
    /// # Errors
    /// When the file cannot be completed; nothing then has the final name.
    pub fn finish(mut self) -> Result<ShardEntry, WriteError> {
        self.flush()?;
        let (bytes, blake3) = self.file.finish()?;
        Ok(ShardEntry {
            file: shard_file(self.shard),
            rows: self.written,
            videos: self.videos.len() as u64,
            tracks: self.tracks.len() as u64,
            bytes,
            blake3,
        })
    }
}

/// The dataset's identity: blake3 over format, configuration hash and every shard's name, rows and blake3.
#[must_use]
pub fn dataset_hash(manifest: &Manifest) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut line = |text: String| {
        hasher.update(text.as_bytes());
        hasher.update(b"\n");
    };
    line(manifest.format.to_string());
    line(manifest.config_hash.clone());
    for shard in &manifest.shards {
        line(format!("{} {} {}", shard.file, shard.rows, shard.blake3));
    }
    hasher.finalize().to_hex().to_string()
}
