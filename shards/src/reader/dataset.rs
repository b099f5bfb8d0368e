//! A whole dataset: manifest and shards.

use super::{ReadError, Row, Shard};
use crate::store::cache::Settings;
use crate::store::{Streamed, is_url};
use schemas::format::DATASET_FORMAT;
use schemas::manifest::{MANIFEST_FILE, Manifest, SHARD_DIR};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A complete dataset. Cheap to share between threads.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    manifest: Manifest,
    shards: Vec<OnceLock<Result<Arc<Shard>, ReadError>>>,
    streamed: Option<Streamed>,
}

impl Dataset {
    /// Opens a dataset: reads and checks its manifest; shards are opened when first used. A URL opens one in object
    /// storage through the cache of this process ([`Settings::current`]).
    ///
    /// # Errors
    /// When there is no manifest, it is damaged or too new, or a shard's size is not what it says.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        if is_url(path) { Self::open_through(path, &Settings::current()) } else { Self::open_folder(path) }
    }

    /// Opens a dataset in object storage through a cache.
    ///
    /// # Errors
    /// As [`Dataset::open`], and when the storage or the cache cannot be used.
    pub fn open_through(url: &Path, cache: &Settings) -> Result<Self, ReadError> {
        let (streamed, home) = Streamed::open(url, cache)?;
        Ok(Self { streamed: Some(streamed), ..Self::open_folder(&home)? })
    }

    fn open_folder(path: &Path) -> Result<Self, ReadError> {
        let file = path.join(MANIFEST_FILE);
        let io = |e: io::Error| ReadError::Io { path: file.clone(), message: e.to_string() };
        let text = match std::fs::read(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ReadError::NoManifest(path.to_owned())),
            other => other.map_err(io)?,
        };
        let manifest = parse_manifest(&file, &text)?;
        let shards = manifest.shards.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { path: path.to_owned(), manifest, shards, streamed: None })
    }

    /// For a dataset in object storage: checks that the cache holds the shards which the first `ahead` of `steps` read,
    /// and begins to fetch all shards in the order in which these steps first need them. `shards_of` names the shards of
    /// a step. Does nothing for a dataset on this disk.
    ///
    /// # Errors
    /// When the cache is too small.
    pub fn prefetch<I: IntoIterator<Item = u32>>(
        &self,
        steps: Range<u64>,
        ahead: u64,
        shards_of: impl Fn(u64) -> I,
    ) -> Result<(), ReadError> {
        self.prefetch_beside(0, steps, ahead, shards_of)
    }

    /// Bytes of those of the shards that come from object storage.
    pub(crate) fn fetched_bytes(&self, shards: impl Iterator<Item = u32>) -> u64 {
        let bytes = |shard: u32| self.manifest.shards.get(shard as usize).map_or(0, |entry| entry.bytes);
        if self.streamed.is_some() { shards.map(bytes).sum() } else { 0 }
    }

    /// As [`Dataset::prefetch`], beside other datasets of which the same steps need `others` bytes in the cache.
    pub(crate) fn prefetch_beside<I: IntoIterator<Item = u32>>(
        &self,
        others: u64,
        steps: Range<u64>,
        ahead: u64,
        shards_of: impl Fn(u64) -> I,
    ) -> Result<(), ReadError> {
        let Some(streamed) = &self.streamed else { return Ok(()) };
        let (mut window, mut seen, mut order) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for step in steps.clone() {
            for shard in shards_of(step) {
                if step < steps.start.saturating_add(ahead) {
                    window.insert(shard);
                }
                if seen.insert(shard) {
                    order.push(shard);
                }
            }
            if step >= steps.start.saturating_add(ahead) && order.len() == self.manifest.shards.len() {
                break;
            }
        }
        streamed.prefetch(&window, order, others)
    }

    /// The folder. Of a dataset in object storage: the one that holds its manifest and index.
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

    /// One shard, opened when first asked for. One from object storage stays open, even when it has left the cache; rows
    /// of many shards are better asked for with [`Dataset::row`].
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
            if let Some(streamed) = &self.streamed {
                return streamed.shard(u32::try_from(number).unwrap_or(u32::MAX));
            }
            let damaged = |message: String| ReadError::Damaged { path: path.clone(), message };
            let entry = self.manifest.shards.get(number).ok_or_else(missing)?;
            let bytes = std::fs::metadata(&path).map(|m| m.len());
            if let Ok(bytes) = bytes
                && bytes != entry.bytes
            {
                return Err(damaged(format!("it has {bytes} bytes, the manifest says {}", entry.bytes)));
            }
            let shard = Shard::open(&path)?;
            let (rows, meta) = (shard.rows() as u64, shard.meta());
            if rows != entry.rows {
                return Err(damaged(format!("it has {rows} rows, the manifest says {}", entry.rows)));
            }
            if meta.shard as usize != number || meta.config_hash != self.manifest.config_hash {
                return Err(damaged(format!(
                    "it is shard {} of configuration {}, the manifest wants shard {number} of {}",
                    meta.shard, meta.config_hash, self.manifest.config_hash
                )));
            }
            Ok(Arc::new(shard))
        });
        opened.as_ref().map(AsRef::as_ref).map_err(Clone::clone)
    }

    /// One row by shard and place.
    ///
    /// # Errors
    /// As [`Dataset::shard`] and [`Shard::row`].
    pub fn row(&self, shard: u32, row: u32) -> Result<Row, ReadError> {
        match &self.streamed {
            Some(streamed) => streamed.shard(shard)?.row(row as usize),
            None => self.shard(shard as usize)?.row(row as usize),
        }
    }
}

/// Reads the text of a manifest and checks its version and the names in it; `file` is for messages.
///
/// # Errors
/// When it is damaged, too new, or names a shard that is not a plain file name.
pub fn parse_manifest(file: &Path, text: &[u8]) -> Result<Manifest, ReadError> {
    let manifest: Manifest = serde_json::from_slice(text)
        .map_err(|e| ReadError::Manifest { path: file.to_owned(), message: e.to_string() })?;
    manifest.format.check(DATASET_FORMAT).map_err(|source| ReadError::Format { path: file.to_owned(), source })?;
    for entry in &manifest.shards {
        let plain = Path::new(&entry.file).components().count() == 1 && !entry.file.starts_with('.');
        if !plain {
            let message = format!("the shard name {:?} is not a file name", entry.file);
            return Err(ReadError::Manifest { path: file.to_owned(), message });
        }
    }
    Ok(manifest)
}
