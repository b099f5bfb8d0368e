//! Archives that are read from their first byte to their last, wherever they lie.

use crate::error::IngestError;
use shards::store::{self, StoreError};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

fn failed(error: StoreError) -> IngestError {
    IngestError::Io { action: "read source", path: error.url.into(), source: io::Error::other(error.message) }
}

/// Opens a file or an object.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: &Path) -> Result<Box<dyn Read + Send>, IngestError> {
    if store::is_url(path) {
        let (place, name) = store::open_parent(path).map_err(failed)?;
        return place.read(&name).map_err(failed);
    }
    let file = File::open(path).map_err(IngestError::io("open source", path))?;
    Ok(Box::new(file))
}

/// Bytes of a file or an object; 0 when that cannot be told.
#[must_use]
pub fn size(path: &Path) -> u64 {
    if store::is_url(path) {
        let asked = store::open_parent(path).and_then(|(place, name)| place.size(&name));
        return asked.ok().flatten().unwrap_or(0);
    }
    fs::metadata(path).map_or(0, |meta| meta.len())
}
