//! Where a dataset is built: in a folder, or in object storage with a scratch folder on this machine.
//!
//! Names are relative to the dataset. In object storage a shard is made in the scratch folder, uploaded whole and removed
//! there, so this machine needs room for one shard at a time.

use crate::error::IngestError;
use crate::record::WORK_DIR;
use schemas::manifest::SHARD_DIR;
use shards::disk::{Disk, Real};
use shards::store::{self, Objects, StoreError};
use shards::writer::write_atomic_on;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The place of a dataset.
#[derive(Debug)]
pub struct Target<D: Disk = Real> {
    shown: PathBuf,
    disk: D,
    local: PathBuf,
    remote: Option<Arc<dyn Objects>>,
    /// Removed with everything in it when the run ends.
    _scratch: Option<TempDir>,
}

fn remote_error(action: &'static str) -> impl FnOnce(StoreError) -> IngestError {
    move |error| IngestError::Io { action, path: error.url.into(), source: io::Error::other(error.message) }
}

impl<D: Disk> Target<D> {
    /// The place `out` names: a folder or a URL. `scratch` is where a scratch folder is made if one is needed.
    ///
    /// # Errors
    /// When the object storage or the scratch folder cannot be used.
    pub fn open(out: &Path, scratch: Option<&Path>, disk: D) -> Result<Self, IngestError> {
        let shown = out.to_owned();
        if !store::is_url(out) {
            return Ok(Self { shown, disk, local: out.to_owned(), remote: None, _scratch: None });
        }
        let remote = store::open(out).map_err(remote_error("open"))?;
        let parent = scratch.map_or_else(std::env::temp_dir, Path::to_owned);
        let made =
            fs::create_dir_all(&parent).and_then(|()| tempfile::Builder::new().prefix("ingest-").tempdir_in(&parent));
        let scratch = made.map_err(IngestError::io("create a scratch folder in", &parent))?;
        Ok(Self { shown, disk, local: scratch.path().to_owned(), remote: Some(remote), _scratch: Some(scratch) })
    }

    /// As the user named it.
    #[must_use]
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// The file system files are written to.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The folder files are written in: the dataset itself, or the scratch folder.
    #[must_use]
    pub fn local(&self) -> &Path {
        &self.local
    }

    /// The folder of records and temporary files.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.local.join(WORK_DIR)
    }

    /// Whether it is object storage.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Creates the folders files are written in.
    ///
    /// # Errors
    /// When they cannot be created.
    pub fn prepare(&self) -> Result<(), IngestError> {
        for dir in [self.local.join(SHARD_DIR), self.work()] {
            self.disk.create_dirs(&dir).map_err(IngestError::io("create", &dir))?;
        }
        Ok(())
    }

    /// A small file; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, IngestError> {
        if let Some(remote) = &self.remote {
            return remote.get(name).map_err(remote_error("read"));
        }
        let path = self.local.join(name);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).map_err(IngestError::io("read", &path)),
        }
    }

    /// Writes a small file, replacing what has its name.
    ///
    /// # Errors
    /// When it cannot be written; nothing has then changed.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), IngestError> {
        if let Some(remote) = &self.remote {
            return remote.put(name, bytes).map_err(remote_error("write"));
        }
        let path = self.local.join(name);
        write_atomic_on(&self.disk, &path, bytes).map_err(IngestError::io("write", &path))
    }

    /// Writes a small file that several machines may want to write; returns what another one wrote first, if that is so.
    /// A folder is written to without that question.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Vec<u8>>, IngestError> {
        let Some(remote) = &self.remote else { return self.write(name, bytes).map(|()| None) };
        if remote.create(name, bytes).map_err(remote_error("write"))? {
            return Ok(None);
        }
        self.read(name)
    }

    /// Moves a finished file from the scratch folder to its place. Does nothing for a folder.
    ///
    /// # Errors
    /// When it cannot be uploaded.
    pub fn upload(&self, name: &str) -> Result<(), IngestError> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let file = self.local.join(name);
        remote.upload(name, &file).map_err(remote_error("upload"))?;
        fs::remove_file(&file).map_err(IngestError::io("remove", &file))
    }

    /// Brings a small file into the scratch folder and returns its path; the path in the dataset for a folder.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn local_copy(&self, name: &str) -> Result<PathBuf, IngestError> {
        let path = self.local.join(name);
        if self.remote.is_some() {
            let bytes = self.read(name)?.unwrap_or_default();
            fs::write(&path, bytes).map_err(IngestError::io("write", &path))?;
        }
        Ok(path)
    }

    /// Bytes of a file; `None` when there is none.
    ///
    /// # Errors
    /// When the object storage cannot be asked.
    pub fn size(&self, name: &str) -> Result<Option<u64>, IngestError> {
        if let Some(remote) = &self.remote {
            return remote.size(name).map_err(remote_error("read"));
        }
        let meta = fs::metadata(self.local.join(name)).ok().filter(fs::Metadata::is_file);
        Ok(meta.map(|meta| meta.len()))
    }

    /// Names at the top of the place.
    ///
    /// # Errors
    /// When the object storage cannot be asked.
    pub fn names(&self) -> Result<Vec<String>, IngestError> {
        if let Some(remote) = &self.remote {
            return remote.names().map_err(remote_error("list"));
        }
        let entries = fs::read_dir(&self.local).into_iter().flatten().flatten();
        Ok(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }
}
