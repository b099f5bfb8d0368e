//! An Arrow IPC file behind a memory map, with all its blocks checked before they are followed.

use super::ReadError;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::{Block, root_as_footer};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An Arrow IPC file behind a memory map, with all its blocks checked.
pub(super) struct IpcFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Schema with metadata.
    pub schema: SchemaRef,
    /// Headers of the record batches, in order.
    pub headers: Vec<Header>,
    map: Buffer,
    decoder: FileDecoder,
    blocks: Vec<Block>,
}

/// What a record batch says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// Rows.
    pub rows: usize,
    /// Are its buffers compressed?
    pub compressed: bool,
}

/// The compressed buffers of a block may claim to unpack to this many bytes together ...
const UNPACKED_SLACK: u64 = 16 << 20;
/// ... and this many times the block's size.
const UNPACKED_FACTOR: u64 = 256;

/// What `bytes` in a file may become in memory.
fn allowance(bytes: usize) -> u64 {
    UNPACKED_SLACK + UNPACKED_FACTOR * bytes as u64
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
    /// Maps a file and checks everything that can be checked without decoding its batches.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let io = |e: io::Error| ReadError::Io { path: path.to_owned(), message: e.to_string() };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            // Nothing can be mapped.
            return Self::from_bytes(path, bytes::Bytes::new());
        }
        // SAFETY: datasets are written once under a temporary name and never changed afterwards; a file that another
        // program cuts short while it is mapped would end this process, as with every memory-mapped reader.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Self::from_bytes(path, bytes::Bytes::from_owner(map))
    }

    /// As [`IpcFile::open`], of bytes that are here already; `path` is for messages.
    pub fn from_bytes(path: &Path, bytes: bytes::Bytes) -> Result<Self, ReadError> {
        let damaged = |message: &str| ReadError::Damaged { path: path.to_owned(), message: message.to_owned() };
        if bytes.len() < 32 {
            return Err(damaged("it is too short for an Arrow file"));
        }
        let map = Buffer::from(bytes);
        let bytes = map.as_slice();
        if !bytes.starts_with(b"ARROW1") || !bytes.ends_with(b"ARROW1") {
            return Err(damaged("it does not begin and end like an Arrow file: it was cut off or is something else"));
        }
        let trailer_at = bytes.len() - 10;
        let trailer: [u8; 10] =
            bytes.get(trailer_at..).and_then(|t| t.try_into().ok()).ok_or_else(|| damaged("no trailer"))?;
        let length = guarded(path, || read_footer_length(trailer))?;
        let footer_at = trailer_at.checked_sub(length).ok_or_else(|| damaged("its footer is longer than the file"))?;
        let footer_bytes = bytes.get(footer_at..trailer_at).unwrap_or_default();
        let footer = root_as_footer(footer_bytes).map_err(|e| damaged(&format!("invalid footer: {e}")))?;
        let schema = footer.schema().ok_or_else(|| damaged("its footer has no schema"))?;
        let schema = Arc::new(guarded(path, || arrow::ipc::convert::try_fb_to_schema(schema))?);
        let mut decoder = FileDecoder::new(Arc::clone(&schema), footer.version());
        // Dictionaries stay in memory together, so they share one allowance.
        let mut unpacked = 0;
        for block in footer.dictionaries().iter().flatten() {
            let data = slice(path, &map, block, footer_at)?;
            check_block(path, block, &data, Kind::Dictionary, &mut unpacked)?;
            guarded(path, || decoder.read_dictionary(block, &data))?;
        }
        let blocks: Vec<Block> = footer.recordBatches().iter().flatten().copied().collect();
        // Blocks may overlap: together they may not claim more than one block as large as the file.
        let mut headers = Vec::with_capacity(blocks.len());
        let mut unpacked = 0u64;
        for block in &blocks {
            let mut claimed = 0;
            let data = slice(path, &map, block, footer_at)?;
            headers.push(check_block(path, block, &data, Kind::Batch, &mut claimed)?);
            unpacked = unpacked.saturating_add(claimed);
            if unpacked > allowance(map.len()) {
                return Err(damaged(&format!("its blocks claim to unpack to {unpacked} bytes and more")));
            }
        }
        Ok(Self { path: path.to_owned(), schema, headers, map, decoder, blocks })
    }

    /// Decodes a record batch; with plain buffers its columns point into the map.
    pub fn batch(&self, number: usize) -> Result<RecordBatch, ReadError> {
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

/// What kind of message a block should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dictionary,
    Batch,
}

/// Checks a block's message before Arrow follows it: its kind, that every buffer lies in its body, and that its buffers
/// do not claim to unpack to an absurd size (Arrow would reserve that much memory before it finds out). What they claim
/// is added to `unpacked`.
fn check_block(path: &Path, block: &Block, data: &Buffer, kind: Kind, unpacked: &mut u64) -> Result<Header, ReadError> {
    let damaged = |message: &str| ReadError::Damaged { path: path.to_owned(), message: message.to_owned() };
    let meta = usize::try_from(block.metaDataLength()).unwrap_or_default();
    let (head, body) = data.as_slice().split_at_checked(meta).ok_or_else(|| damaged("a block is too short"))?;
    // Encapsulated message: continuation marker, length, flatbuffer.
    let head = head.strip_prefix(&[0xff; 4]).unwrap_or(head).get(4..).unwrap_or_default();
    let message = arrow::ipc::root_as_message(head).map_err(|_| damaged("a block has an invalid header"))?;
    let batch = match kind {
        Kind::Batch => message.header_as_record_batch(),
        Kind::Dictionary => message.header_as_dictionary_batch().and_then(|d| d.data()),
    }
    .ok_or_else(|| damaged("a block is not what the footer says it is"))?;
    let compressed = batch.compression().is_some();
    for buffer in batch.buffers().iter().flatten() {
        let range = || {
            let start = usize::try_from(buffer.offset()).ok()?;
            body.get(start..start.checked_add(usize::try_from(buffer.length()).ok()?)?)
        };
        let bytes = range().ok_or_else(|| damaged("a buffer lies outside its block"))?;
        let claimed = bytes.first_chunk::<8>().map_or(0, |first| i64::from_le_bytes(*first));
        let size = match u64::try_from(claimed) {
            Ok(size) if compressed => size,
            _ => bytes.len() as u64,
        };
        *unpacked = unpacked.saturating_add(size);
        if *unpacked > allowance(body.len()) {
            return Err(damaged(&format!("a buffer of {} bytes claims to unpack to {size}", bytes.len())));
        }
    }
    // A row of any of our files has at least one byte.
    let rows = usize::try_from(batch.length()).ok().filter(|&rows| rows as u64 <= *unpacked);
    let rows = rows.ok_or_else(|| damaged(&format!("a block claims {} rows", batch.length())))?;
    Ok(Header { rows, compressed })
}

/// Fails when a column of the expected schema is missing or has another type.
pub(super) fn check_fields(path: &Path, expected: &Schema, found: &Schema) -> Result<(), ReadError> {
    for field in expected.fields() {
        let same = found.field_with_name(field.name()).is_ok_and(|f| f.data_type() == field.data_type());
        if !same {
            let message = format!("the column {} of type {} is missing", field.name(), field.data_type());
            return Err(ReadError::Damaged { path: path.to_owned(), message });
        }
    }
    Ok(())
}
