//! A source inside an archive: `.tar` by offset, `.tar.gz` and `.tar.zst` as a stream. Nothing is unpacked.
//!
//! A plain archive is listed once by skipping from header to header; pictures are then read by offset in any order.
//! A compressed one can only be read from its beginning: see [`super::spool`].

use super::{SourceKind, remote};
use crate::error::IngestError;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tar::EntryType;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Plain tar.
    Tar,
    /// gzip over tar.
    Gzip,
    /// zstd over tar.
    Zstd,
}

impl Packing {
    /// Recognises a file by its first bytes.
    ///
    /// # Errors
    /// When the file cannot be read or is none of these.
    pub fn of(path: &Path, kind: SourceKind) -> Result<Self, IngestError> {
        let mut head = Vec::new();
        remote::open(path)?.take(512).read_to_end(&mut head).map_err(IngestError::io("read", path))?;
        if head.starts_with(&[0x1f, 0x8b]) {
            Ok(Self::Gzip)
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Ok(Self::Zstd)
        } else if head.get(257..262) == Some(b"ustar") {
            Ok(Self::Tar)
        } else {
            let content = if head.is_empty() { "it is empty" } else { "its content is none" };
            let text =
                format!("{content}: a folder, or a tar (GNU, ustar, pax), plain or in gzip or zstd, is expected");
            Err(wrong(kind, path, text))
        }
    }
}

pub(super) fn wrong(kind: SourceKind, path: &Path, reason: String) -> IngestError {
    IngestError::Source { kind: kind.as_str(), path: path.to_owned(), reason }
}

/// An entry of an archive that is not a plain file with a plain name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// Its name.
    pub path: String,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// For people.
    pub detail: String,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// A regular file with a relative path.
    File(String),
    /// Something else with a relative path: a link, a device, a sparse file.
    Special(String, &'static str),
    /// An entry whose name leads out of the archive or cannot be used.
    Unsafe(Odd),
    /// A folder or a header without content.
    Nothing,
}

/// Judges an entry by its type and name.
#[must_use]
pub fn judge(kind: EntryType, name: &[u8]) -> Item {
    if matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
        return Item::Nothing;
    }
    let path = match plain_path(name) {
        Ok(path) => path,
        Err(detail) => {
            let path = String::from_utf8_lossy(name).escape_debug().to_string();
            return Item::Unsafe(Odd { path, reason: "unsafe-path", detail: detail.to_owned() });
        }
    };
    match kind {
        EntryType::Regular | EntryType::Continuous => Item::File(path),
        EntryType::Link | EntryType::Symlink => Item::Special(path, "it is a link"),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Item::Special(path, "it is a device"),
        _ => Item::Special(path, "it is not a regular file"),
    }
}

/// A relative path with single slashes and without `.`.
fn plain_path(name: &[u8]) -> Result<String, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8")?;
    if name.starts_with('/') {
        return Err("the name is absolute");
    }
    if name.contains(['\0', '\n']) {
        return Err("the name has control characters");
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err("the name leads out of the archive");
    }
    if parts.is_empty() { Err("the name is empty") } else { Ok(parts.join("/")) }
}

/// The files of one folder of a plain archive.
#[derive(Debug, Default)]
pub struct Listing {
    /// Names, one per line: millions of short strings would cost many times their text.
    names: String,
    /// Offset and length in the archive; a length of `u32::MAX` marks what is not a regular file.
    places: Vec<(u64, u32)>,
}

impl Listing {
    fn push(&mut self, name: &str, offset: u64, len: u32) {
        self.names.push_str(name);
        self.names.push('\n');
        self.places.push((offset, len));
    }

    /// Name, offset and length of each; no offset and length for what is not a regular file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<(u64, u32)>)> {
        let places = self.places.iter().map(|&(offset, len)| (len != u32::MAX).then_some((offset, len)));
        self.names.lines().zip(places)
    }
}

/// A plain archive, listed.
#[derive(Debug)]
pub struct Index {
    /// The archive, for reading by offset.
    pub file: Arc<File>,
    /// Files by folder.
    pub folders: HashMap<String, Listing>,
    /// Entries that are refused.
    pub odd: Vec<Odd>,
}

/// Is offered a regular file with its length and content, and says whether it kept the file for itself.
pub type Take<'a> = dyn FnMut(&str, u64, &mut dyn Read) -> Result<bool, IngestError> + 'a;

/// Lists a plain archive by its headers. `take` is offered every regular file with its length and content, and says
/// whether it kept the file for itself.
///
/// # Errors
/// When it cannot be read or is cut off, and the first error of `take`.
pub fn index(path: &Path, kind: SourceKind, take: &mut Take<'_>) -> Result<Index, IngestError> {
    let file = File::open(path).map_err(IngestError::io("open source", path))?;
    let size = file.metadata().map_err(IngestError::io("read", path))?.len();
    let mut folders: HashMap<String, Listing> = HashMap::new();
    let mut odd = Vec::new();
    let mut archive = tar::Archive::new(&file);
    let mut last = String::from("its beginning");
    let entries = archive.entries_with_seek().map_err(|error| damaged(kind, path, &last, &error.to_string()))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| damaged(kind, path, &last, &error.to_string()))?;
        last = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (offset, len) = (entry.raw_file_position(), entry.size());
        let item = judge(entry.header().entry_type(), &entry.path_bytes());
        let (full, place) = match item {
            Item::File(full) => {
                if offset.checked_add(len).is_none_or(|end| end > size) {
                    return Err(damaged(kind, path, &last, "the archive ends in the middle of this entry"));
                }
                if take(&full, len, &mut entry)? {
                    continue;
                }
                // What is too long for a picture is read as something special, and refused if it is asked for.
                (full, u32::try_from(len).ok().filter(|len| u64::from(*len) <= super::MAX_IMAGE_BYTES))
            }
            Item::Special(full, _) => (full, None),
            Item::Unsafe(entry) => {
                odd.push(entry);
                continue;
            }
            Item::Nothing => continue,
        };
        let (folder, name) = full.rsplit_once('/').unwrap_or(("", &full));
        // Not entry(): it would copy the folder's name for each of its files.
        match folders.get_mut(folder) {
            Some(listing) => listing.push(name, offset, place.unwrap_or(u32::MAX)),
            None => {
                let mut listing = Listing::default();
                listing.push(name, offset, place.unwrap_or(u32::MAX));
                folders.insert(folder.to_owned(), listing);
            }
        }
    }
    Ok(Index { file: Arc::new(file), folders, odd })
}

pub(super) fn damaged(kind: SourceKind, path: &Path, last: &str, reason: &str) -> IngestError {
    wrong(kind, path, format!("damaged or cut-off archive at {last}: {reason}; fetch it again"))
}

/// A reader that counts what passes, for progress.
struct Counting {
    inner: Box<dyn Read>,
    passed: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.passed.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The decompressed archive as a stream; `passed` counts compressed bytes.
fn stream(
    path: &Path,
    kind: SourceKind,
    packing: Packing,
    passed: &Arc<AtomicU64>,
) -> Result<Box<dyn Read>, IngestError> {
    let inner = remote::open(path)?;
    let counted = BufReader::with_capacity(1 << 20, Counting { inner, passed: Arc::clone(passed) });
    Ok(match packing {
        Packing::Tar => Box::new(counted),
        Packing::Gzip => Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(counted))),
        Packing::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(counted);
            let decoder = decoder.map_err(|error| damaged(kind, path, "its beginning", &error.to_string()))?;
            Box::new(BufReader::with_capacity(1 << 18, decoder))
        }
    })
}

/// Reads a compressed archive from its beginning and hands every entry to `visit` (with its length and content),
/// until that returns false.
///
/// # Errors
/// When the archive is damaged, and the first error of `visit`.
pub fn walk(
    path: &Path,
    kind: SourceKind,
    packing: Packing,
    passed: &Arc<AtomicU64>,
    mut visit: impl FnMut(Item, u64, &mut dyn Read) -> Result<bool, IngestError>,
) -> Result<(), IngestError> {
    let mut archive = tar::Archive::new(stream(path, kind, packing, passed)?);
    let mut last = String::from("its beginning");
    for entry in archive.entries().map_err(|error| damaged(kind, path, &last, &error.to_string()))? {
        let mut entry = entry.map_err(|error| damaged(kind, path, &last, &error.to_string()))?;
        last = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let item = judge(entry.header().entry_type(), &entry.path_bytes());
        let len = entry.size();
        if !visit(item, len, &mut entry)? {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_unsafe() {
        for name in [&b"/etc/passwd"[..], b"a/../../b", b"..", b"", b"./", b"a\nb", b"\xff"] {
            assert!(matches!(judge(EntryType::Regular, name), Item::Unsafe(_)), "{name:?}");
        }
        assert_eq!(judge(EntryType::Regular, b"./a//b.jpg"), Item::File("a/b.jpg".into()));
        assert_eq!(judge(EntryType::Symlink, b"a/b.jpg"), Item::Special("a/b.jpg".into(), "it is a link"));
        assert_eq!(judge(EntryType::Directory, b"/"), Item::Nothing);
    }
}
