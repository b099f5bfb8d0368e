//! Reading a dataset: memory map, no copies, everything checked before a slice is handed out.
//!
//! Shards are opened when first used and their batches decoded when first touched; with plain buffers a decoded batch is
//! only pointers into the map, so random access costs no anonymous memory. Hostile bytes give errors, never a panic: block
//! offsets and lengths are checked against the file, Arrow validates the arrays, and a panic inside Arrow's decoder is
//! turned into an error too.

use arrow::array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Float32Array, Int64Array, PrimitiveArray, RecordBatch, StringArray,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::{Block, root_as_footer};
use schemas::format::{DATASET_FORMAT, FormatError};
use schemas::manifest::{INDEX_FILE, MANIFEST_FILE, Manifest, SHARD_DIR};
use schemas::shard::{META_KEY, ShardMeta, index_schema, shard_schema};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Why a dataset or shard could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The file system refused.
    #[error("could not read {path}: {message}")]
    Io {
        /// File.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The folder is no dataset.
    #[error(
        "{0} is not a complete dataset: it has no dataset.json (an interrupted `ingest build` goes on when it is run again)"
    )]
    NoManifest(PathBuf),
    /// The manifest cannot be understood.
    #[error("{path} is damaged: {message}")]
    Manifest {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Written by a newer release.
    #[error("{path}: {source}")]
    Format {
        /// File.
        path: PathBuf,
        /// Which version.
        source: FormatError,
    },
    /// The file is not a shard, or is damaged.
    #[error("{path} is damaged: {message}; delete it and run the same `ingest build` again to rebuild it")]
    Damaged {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// There is no such row.
    #[error("{path} has no row {row}: it has {rows}")]
    NoRow {
        /// File.
        path: PathBuf,
        /// Row asked for.
        row: u64,
        /// Rows there are.
        rows: u64,
    },
    /// A row's pictures do not match their checksum.
    #[error(
        "row {row} of {path} ({video}, track {track}, frame {frame}) is damaged: crc32c {found:08x}, expected {expected:08x}"
    )]
    Crc {
        /// File.
        path: PathBuf,
        /// Row in shard.
        row: u64,
        /// Video of the row.
        video: String,
        /// Track of the row.
        track: String,
        /// Frame of the row.
        frame: u32,
        /// Checksum of the bytes found.
        found: u32,
        /// Checksum stored.
        expected: u32,
    },
}

/// An Arrow IPC file behind a memory map, with all its blocks checked.
struct IpcFile {
    path: PathBuf,
    map: Buffer,
    schema: SchemaRef,
    decoder: FileDecoder,
    blocks: Vec<Block>,
}

/// Runs a piece of Arrow's decoder; errors and panics become [`ReadError::Damaged`].
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ReadError> {
    let damaged = |message: String| ReadError::Damaged { path: path.to_owned(), message };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| damaged(e.to_string())),
        Err(_) => Err(damaged("its structure is invalid".to_owned())),
    }
}

impl IpcFile {
    fn open(path: &Path) -> Result<Self, ReadError> {
        let io = |e: io::Error| ReadError::Io { path: path.to_owned(), message: e.to_string() };
        let damaged = |message: &str| ReadError::Damaged { path: path.to_owned(), message: message.to_owned() };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() < 32 {
            return Err(damaged("it is too short for an Arrow file"));
        }
        // SAFETY: datasets are written once under a temporary name and never changed afterwards; a file that another
        // program cuts short while it is mapped would end this process, as with every memory-mapped reader.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        let map = Buffer::from(bytes::Bytes::from_owner(map));
        let bytes = map.as_slice();
        let trailer_at = bytes.len() - 10;
        if !bytes.starts_with(b"ARROW1") || !bytes.ends_with(b"ARROW1") {
            return Err(damaged("it does not begin and end like an Arrow file: it was cut off or is something else"));
        }
        let trailer: [u8; 10] =
            bytes.get(trailer_at..).and_then(|t| t.try_into().ok()).ok_or_else(|| damaged("no trailer"))?;
        let length = guarded(path, || read_footer_length(trailer))?;
        let footer_at = trailer_at.checked_sub(length).ok_or_else(|| damaged("its footer is longer than the file"))?;
        let footer_bytes = bytes.get(footer_at..trailer_at).unwrap_or_default();
        let footer = root_as_footer(footer_bytes).map_err(|e| damaged(&format!("invalid footer: {e}")))?;
        let schema = footer.schema().ok_or_else(|| damaged("its footer has no schema"))?;
        let schema = Arc::new(guarded(path, || arrow::ipc::convert::try_fb_to_schema(schema))?);
        let mut decoder = FileDecoder::new(Arc::clone(&schema), footer.version());
        for block in footer.dictionaries().iter().flatten() {
            let data = slice(path, &map, block, footer_at)?;
            guarded(path, || decoder.read_dictionary(block, &data))?;
        }
        let blocks: Vec<Block> = footer.recordBatches().iter().flatten().copied().collect();
        for block in &blocks {
            slice(path, &map, block, footer_at)?;
        }
        Ok(Self { path: path.to_owned(), map, schema, decoder, blocks })
    }

    fn batch(&self, number: usize) -> Result<RecordBatch, ReadError> {
        let damaged = |message: &str| ReadError::Damaged { path: self.path.clone(), message: message.to_owned() };
        let block = self.blocks.get(number).ok_or_else(|| damaged("a batch is missing"))?;
        let data = slice(&self.path, &self.map, block, self.map.len())?;
        let batch = guarded(&self.path, || self.decoder.read_record_batch(block, &data))?;
        batch.ok_or_else(|| damaged("a batch is empty"))
    }
}

/// The bytes of a block, if it lies inside the file.
fn slice(path: &Path, map: &Buffer, block: &Block, end: usize) -> Result<Buffer, ReadError> {
    let place = || {
        let offset = usize::try_from(block.offset()).ok()?;
        let meta = usize::try_from(block.metaDataLength()).ok()?;
        let body = usize::try_from(block.bodyLength()).ok()?;
        let length = meta.checked_add(body)?;
        (offset.checked_add(length)? <= end && meta >= 8).then_some((offset, length))
    };
    match place() {
        Some((offset, length)) => Ok(map.slice_with_length(offset, length)),
        None => {
            let message = "a block lies outside the file: it was cut off or altered".to_owned();
            Err(ReadError::Damaged { path: path.to_owned(), message })
        }
    }
}

/// The columns of one record batch of a shard, typed.
#[derive(Debug)]
pub struct Batch {
    first_row: usize,
    record: RecordBatch,
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

    fn typed<T: 'static>(&self, name: &str) -> Option<&T> {
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

    fn bytes(&self, column: &str, row: usize) -> &[u8] {
        match self.typed::<BinaryArray>(column) {
            Some(array) if row < array.len() => array.value(row),
            _ => &[],
        }
    }
}

fn value<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
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
        let file = IpcFile::open(path)?;
        let damaged = |message: String| ReadError::Damaged { path: path.to_owned(), message };
        let meta =
            file.schema.metadata().get(META_KEY).ok_or_else(|| damaged("it has no shard metadata".to_owned()))?;
        let meta: ShardMeta = serde_json::from_str(meta).map_err(|e| damaged(format!("invalid metadata: {e}")))?;
        meta.format.check(DATASET_FORMAT).map_err(|source| ReadError::Format { path: path.to_owned(), source })?;
        let expected = shard_schema(&meta).map_err(|e| damaged(e.to_string()))?;
        check_fields(path, &expected, &file.schema)?;
        let compressed = (0..file.blocks.len()).next().is_some() && is_compressed(&file)?;
        let mut starts = Vec::with_capacity(file.blocks.len());
        let mut rows = 0;
        for number in 0..file.blocks.len() {
            starts.push(rows);
            rows += batch_rows(&file, number)?;
        }
        let cache = if compressed {
            Cache::Last(Mutex::new(None))
        } else {
            Cache::All(starts.iter().map(|_| OnceLock::new()).collect())
        };
        Ok(Self { file, meta, rows, starts, cache })
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
                if let Some((held, batch)) = last.as_ref() {
                    if *held == number {
                        return Ok(Arc::clone(batch));
                    }
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
        Ok(Row { path: self.file.path.clone(), batch, at })
    }
}

fn check_fields(path: &Path, expected: &Schema, found: &Schema) -> Result<(), ReadError> {
    for field in expected.fields() {
        let same = found.field_with_name(field.name()).is_ok_and(|f| f.data_type() == field.data_type());
        if !same {
            let message = format!("the column {} of type {} is missing", field.name(), field.data_type());
            return Err(ReadError::Damaged { path: path.to_owned(), message });
        }
    }
    Ok(())
}

/// The header of a record batch, without decoding it.
fn batch_header<T>(
    file: &IpcFile,
    number: usize,
    read: impl FnOnce(arrow::ipc::RecordBatch<'_>) -> T,
) -> Result<T, ReadError> {
    let damaged = |message: &str| ReadError::Damaged { path: file.path.clone(), message: message.to_owned() };
    let block = file.blocks.get(number).ok_or_else(|| damaged("a batch is missing"))?;
    let data = slice(&file.path, &file.map, block, file.map.len())?;
    let meta = usize::try_from(block.metaDataLength()).unwrap_or_default();
    let bytes = data.as_slice().get(..meta).unwrap_or_default();
    // Encapsulated message: continuation marker, length, flatbuffer.
    let bytes = bytes.strip_prefix(&[0xff; 4]).unwrap_or(bytes).get(4..).unwrap_or_default();
    let message = arrow::ipc::root_as_message(bytes).map_err(|_| damaged("a batch has an invalid header"))?;
    let header = message.header_as_record_batch().ok_or_else(|| damaged("a block is not a record batch"))?;
    Ok(read(header))
}

fn batch_rows(file: &IpcFile, number: usize) -> Result<usize, ReadError> {
    let rows = batch_header(file, number, |batch| batch.length())?;
    let body = file.blocks.get(number).map_or(0, |b| b.bodyLength());
    // Each row has at least its checksum; compressed buffers shrink by less than a thousand times.
    match usize::try_from(rows) {
        Ok(rows) if rows as u64 <= (body.unsigned_abs()).saturating_mul(1000) => Ok(rows),
        _ => {
            let message = format!("a batch claims {rows} rows");
            Err(ReadError::Damaged { path: file.path.clone(), message })
        }
    }
}

fn is_compressed(file: &IpcFile) -> Result<bool, ReadError> {
    batch_header(file, 0, |batch| batch.compression().is_some())
}

/// One row of a shard.
#[derive(Debug, Clone)]
pub struct Row {
    path: PathBuf,
    batch: Arc<Batch>,
    at: usize,
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
            path: self.path.clone(),
            row: (self.batch.first_row + self.at) as u64,
            video: self.video().to_owned(),
            track: self.track().to_owned(),
            frame: self.frame(),
            found,
            expected,
        })
    }
}

/// A complete dataset. Cheap to share between threads.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    manifest: Manifest,
    shards: Vec<OnceLock<Result<Shard, ReadError>>>,
}

impl Dataset {
    /// Opens a dataset: reads and checks its manifest; shards are opened when first used.
    ///
    /// # Errors
    /// When there is no manifest, it is damaged or too new, or a shard's size is not what it says.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = path.join(MANIFEST_FILE);
        let io = |e: io::Error| ReadError::Io { path: file.clone(), message: e.to_string() };
        let text = match std::fs::read(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ReadError::NoManifest(path.to_owned())),
            other => other.map_err(io)?,
        };
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|e| ReadError::Manifest { path: file.clone(), message: e.to_string() })?;
        manifest.format.check(DATASET_FORMAT).map_err(|source| ReadError::Format { path: file.clone(), source })?;
        for entry in &manifest.shards {
            let plain = Path::new(&entry.file).components().count() == 1 && !entry.file.starts_with('.');
            if !plain {
                let message = format!("the shard name {:?} is not a file name", entry.file);
                return Err(ReadError::Manifest { path: file, message });
            }
        }
        let shards = manifest.shards.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { path: path.to_owned(), manifest, shards })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Rows of all shards.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.manifest.totals.rows
    }

    /// Path of a shard's file.
    #[must_use]
    pub fn shard_path(&self, number: usize) -> Option<PathBuf> {
        self.manifest.shards.get(number).map(|entry| self.path.join(SHARD_DIR).join(&entry.file))
    }

    /// One shard, opened when first asked for.
    ///
    /// # Errors
    /// When there is none of that number, or it is damaged.
    pub fn shard(&self, number: usize) -> Result<&Shard, ReadError> {
        let missing = || ReadError::Manifest {
            path: self.path.join(MANIFEST_FILE),
            message: format!("it has no shard {number}: it has {}", self.shards.len()),
        };
        let cell = self.shards.get(number).ok_or_else(missing)?;
        let path = self.shard_path(number).ok_or_else(missing)?;
        let opened = cell.get_or_init(|| {
            let shard = Shard::open(&path)?;
            let expected = self.manifest.shards.get(number).map_or(0, |e| e.rows);
            if shard.rows() as u64 != expected {
                let message = format!("it has {} rows, the manifest says {expected}", shard.rows());
                return Err(ReadError::Damaged { path, message });
            }
            Ok(shard)
        });
        opened.as_ref().map_err(Clone::clone)
    }

    /// One row by shard and place.
    ///
    /// # Errors
    /// As [`Dataset::shard`] and [`Shard::row`].
    pub fn row(&self, shard: u32, row: u32) -> Result<Row, ReadError> {
        self.shard(shard as usize)?.row(row as usize)
    }
}

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
        let file = IpcFile::open(&path)?;
        check_fields(&path, &index_schema(), &file.schema)?;
        let batches = (0..file.blocks.len()).map(|i| file.batch(i)).collect::<Result<_, _>>()?;
        Ok(Self { batches })
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
