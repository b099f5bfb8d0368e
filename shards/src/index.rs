//! Writing `index.arrow`: from shards on this disk, or from the pieces that were written beside each shard when the
//! shards themselves are in object storage. Both ways give the same bytes.

use crate::disk::{Disk, Real};
use crate::reader::{Batch, IndexPiece, ReadError, Shard};
use crate::writer::{AtomicIpc, Names, WriteError};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use schemas::build::BufferCompression;
use schemas::manifest::{INDEX_FILE, SHARD_DIR, ShardEntry};
use schemas::shard::index_schema;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Columns of the index that a shard has too; the rest says where a row lies.
const OWN_COLUMNS: usize = 18;

/// Where the rows of one shard are read from.
trait Rows {
    fn batches(&self) -> usize;
    fn batch(&self, number: usize) -> Result<Arc<Batch>, ReadError>;
}

impl Rows for Shard {
    fn batches(&self) -> usize {
        Self::batches(self)
    }
    fn batch(&self, number: usize) -> Result<Arc<Batch>, ReadError> {
        Self::batch(self, number)
    }
}

impl Rows for IndexPiece {
    fn batches(&self) -> usize {
        Self::batches(self)
    }
    fn batch(&self, number: usize) -> Result<Arc<Batch>, ReadError> {
        Self::batch(self, number)
    }
}

/// Writes `index.arrow` from the dataset's shards, in order, and returns its blake3.
///
/// # Errors
/// When a shard cannot be read or the index cannot be written.
pub fn write_index(dataset: &Path, shards: &[ShardEntry]) -> Result<String, WriteError> {
    write_index_on(&Real, dataset, shards)
}

/// As [`write_index`], over any [`Disk`].
///
/// # Errors
/// When a shard cannot be read or the index cannot be written.
pub fn write_index_on<D: Disk>(disk: &D, dataset: &Path, shards: &[ShardEntry]) -> Result<String, WriteError> {
    let opened: Vec<Shard> =
        shards.iter().map(|entry| Shard::open(&dataset.join(SHARD_DIR).join(&entry.file))).collect::<Result<_, _>>()?;
    write(disk, &dataset.join(INDEX_FILE), 0, &opened)
}

/// Writes the part of the index that belongs to the shard `number`, whose file is `shard`, to the file `to`.
///
/// # Errors
/// When the shard cannot be read or the piece cannot be written.
pub fn write_piece<D: Disk>(disk: &D, number: u32, shard: &Path, to: &Path) -> Result<(), WriteError> {
    write(disk, to, number, &[Shard::open(shard)?]).map(drop)
}

/// Writes an index from the pieces of all shards, in order, to the file `to`, and returns its blake3.
///
/// # Errors
/// When a piece cannot be read or the index cannot be written.
pub fn merge_pieces<D: Disk>(disk: &D, pieces: &[PathBuf], to: &Path) -> Result<String, WriteError> {
    let opened: Vec<IndexPiece> = pieces.iter().map(|path| IndexPiece::open(path)).collect::<Result<_, _>>()?;
    write(disk, to, 0, &opened)
}

fn write<D: Disk>(disk: &D, to: &Path, first: u32, shards: &[impl Rows]) -> Result<String, WriteError> {
    // One dictionary per column over all shards: an IPC file may not replace a dictionary once written.
    const COLUMNS: [&str; 4] = ["dataset", "video", "track", "class"];
    let mut names: [BTreeSet<String>; 4] = Default::default();
    for shard in shards {
        for number in 0..shard.batches() {
            let batch = shard.batch(number)?;
            for (set, column) in names.iter_mut().zip(COLUMNS) {
                for row in 0..batch.rows() {
                    let name = batch.name(column, row);
                    if !set.contains(name) {
                        set.insert(name.to_owned());
                    }
                }
            }
        }
    }
    let schema = index_schema();
    let mut columns: Vec<Names> =
        COLUMNS.into_iter().zip(&names).map(|(column, set)| Names::new(column, set)).collect();
    let mut file = AtomicIpc::create(disk, to, &schema, BufferCompression::Zstd)?;
    for (shard, opened) in (first..).zip(shards) {
        let mut first_row = 0u32;
        for (number, at) in (0u32..).zip(0..opened.batches()) {
            let batch = opened.batch(at)?;
            let rows = batch.rows();
            let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
            for field in schema.fields().iter().take(OWN_COLUMNS) {
                let name = field.name();
                match columns.iter_mut().find(|column| column.column == name) {
                    Some(names) => {
                        for row in 0..rows {
                            // Every name was collected above.
                            let _known = names.push(batch.name(name, row));
                        }
                        arrays.push(names.take().map_err(|e| file.failed(e))?);
                    }
                    None => arrays.push(batch.column(name)?),
                }
            }
            let end = first_row.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX));
            arrays.push(Arc::new(UInt32Array::from(vec![shard; rows])));
            arrays.push(Arc::new(UInt32Array::from(vec![number; rows])));
            arrays.push(Arc::new(UInt32Array::from_iter_values(first_row..end)));
            first_row = end;
            let out = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|e| file.failed(e))?;
            file.write(&out)?;
        }
    }
    Ok(file.finish()?.1)
}
