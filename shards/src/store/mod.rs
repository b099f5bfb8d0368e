//! Datasets and archives that lie elsewhere: `s3://bucket/prefix` (feature `s3`) or `file:///mounted/folder`.
//!
//! An object is there as a whole or not at all, and [`Objects::create`] lets exactly one of several writers win. That is
//! all the rest of the project needs to commit a dataset, and all it knows of object storage: what speaks HTTP, and the
//! threads that run it, stay behind this trait.

pub mod cache;
mod fetch;
mod folder;
#[cfg(feature = "s3")]
mod s3;

pub use fetch::Streamed;
pub use folder::Folder;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What object storage, or the way to it, refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not {action} {url}: {message}")]
pub struct StoreError {
    /// What was tried, for example `read`.
    pub action: &'static str,
    /// The object.
    pub url: String,
    /// The cause, and what to do.
    pub message: String,
}

impl StoreError {
    pub(crate) fn new(action: &'static str, url: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { action, url: url.into(), message: message.to_string() }
    }
}

/// A place with named objects. Names are relative, with `/` between their parts.
pub trait Objects: fmt::Debug + Send + Sync {
    /// Where it is, without a final slash.
    fn url(&self) -> &str;

    /// A small object; `None` when there is none.
    ///
    /// # Errors
    /// When the storage cannot be asked.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Bytes of an object; `None` when there is none.
    ///
    /// # Errors
    /// When the storage cannot be asked.
    fn size(&self, name: &str) -> Result<Option<u64>, StoreError>;

    /// Writes a small object, replacing what has its name.
    ///
    /// # Errors
    /// When the storage refuses; nothing has then changed.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Writes a small object unless there is one of its name, which is then left as it is and `false` returned. Of
    /// several writers exactly one gets `true`.
    ///
    /// # Errors
    /// When the storage refuses.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError>;

    /// Copies a file into an object, replacing what has its name once all bytes are there.
    ///
    /// # Errors
    /// When the file cannot be read or the storage refuses; nothing has then changed.
    fn upload(&self, name: &str, file: &Path) -> Result<(), StoreError>;

    /// Names directly below this place, sorted, those of folders included.
    ///
    /// # Errors
    /// When the storage cannot be asked.
    fn names(&self) -> Result<Vec<String>, StoreError>;

    /// An object from its first byte to its last.
    ///
    /// # Errors
    /// When there is none, or the storage cannot be asked.
    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError>;
}

const S3: &str = "s3://";
const FILE: &str = "file://";

/// Whether a path names a place behind [`Objects`] rather than a file or folder.
#[must_use]
pub fn is_url(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(S3) || text.starts_with(FILE))
}

/// Opens the place a URL names.
///
/// # Errors
/// When the URL is not one of ours, this program cannot reach such places, or what the environment says about the way
/// there is wrong.
pub fn open(url: &Path) -> Result<Arc<dyn Objects>, StoreError> {
    let text = url.to_str().unwrap_or_default().trim_end_matches('/');
    let fail = |message: &str| StoreError::new("open", url.display().to_string(), message);
    if let Some(path) = text.strip_prefix(FILE) {
        if !path.starts_with('/') {
            return Err(fail("a file URL has the form file:///absolute/path"));
        }
        return Ok(Arc::new(Folder::new(PathBuf::from(path))));
    }
    let Some(place) = text.strip_prefix(S3) else {
        return Err(fail("it is neither s3://BUCKET/PREFIX nor file:///PATH"));
    };
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(fail("it names no bucket; the form is s3://BUCKET/PREFIX"));
    }
    #[cfg(feature = "s3")]
    return Ok(Arc::new(s3::S3::open(text, bucket, prefix)?));
    #[cfg(not(feature = "s3"))]
    {
        let _unused = prefix;
        Err(fail("this program was built without object storage; build it with `--features s3`"))
    }
}

/// Opens the place an object lies in, and returns it with the object's name.
///
/// # Errors
/// As [`open`], and when the URL names no object.
pub fn open_parent(url: &Path) -> Result<(Arc<dyn Objects>, String), StoreError> {
    let text = url.to_str().unwrap_or_default();
    match text.rsplit_once('/') {
        Some((place, name)) if !name.is_empty() && !place.ends_with('/') => {
            Ok((open(Path::new(place))?, name.to_owned()))
        }
        _ => Err(StoreError::new("open", text, "it names no object; the form is s3://BUCKET/NAME")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths_and_wrong_ones_are_named() {
        for url in ["s3://b/p", "file:///data"] {
            assert!(is_url(Path::new(url)), "{url}");
        }
        for path in ["data", "/data", "s3:/b", "./s3://b"] {
            assert!(!is_url(Path::new(path)), "{path}");
        }
        for (url, needle) in [("file://data", "file:///"), ("s3://", "BUCKET"), ("ftp://x/y", "neither")] {
            let error = open(Path::new(url)).unwrap_err().to_string();
            assert!(error.contains(needle) && error.contains(url), "{error}");
        }
        assert!(open_parent(Path::new("file:///data/")).is_err());
        let (place, name) = open_parent(Path::new("file:///data/corpus.tar")).unwrap();
        assert_eq!((place.url(), name.as_str()), ("file:///data", "corpus.tar"));
    }

    #[cfg(not(feature = "s3"))]
    #[test]
    fn a_build_without_object_storage_says_so() {
        let error = open(Path::new("s3://bucket/prefix")).unwrap_err().to_string();
        assert!(error.contains("--features s3"), "{error}");
    }
}
