//! Every entry of an archive is looked at once and judged.

use super::{ArchiveError, Listing, Packing, Picture, damaged, read_exactly, refused, shown, unpacked};
use crate::frames::folder::natural;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use tar::EntryType;

/// Most entries of an archive.
const ENTRIES: usize = 2_000_000;
/// Largest picture, bytes.
const PICTURE: u64 = 256 << 20;
/// Largest annotation, bytes.
const ANNOTATION: u64 = 16 << 20;
/// Content may be this many times as large as the archive; pictures hardly shrink when they are packed.
pub(super) const RATIO: u64 = 100;
/// Content that is allowed in any case, bytes.
const SMALL: u64 = 64 << 20;
/// Files that annotate, best first.
const TRUTHS: [&str; 2] = ["groundtruth.txt", "groundtruth_rect.txt"];
const INIT: &str = "init.json";

/// A relative name with single slashes and without `.`.
pub(super) fn plain(name: &str) -> Result<String, &'static str> {
    if name.starts_with('/') || name.get(1..3) == Some(":\\") {
        return Err("has an absolute name");
    }
    if name.chars().any(char::is_control) {
        return Err("has control characters in its name");
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") || name.contains("..\\") {
        return Err("has a name that leads out of the archive");
    }
    if parts.is_empty() { Err("has no name") } else { Ok(parts.join("/")) }
}

/// What has been seen so far.
pub(super) struct Census {
    room: u64,
    entries: usize,
    names: HashSet<String>,
    pictures: Vec<Picture>,
    annotations: BTreeMap<String, String>,
}

impl Census {
    pub(super) fn new(archive: u64) -> Self {
        let room = archive.saturating_mul(RATIO).max(SMALL);
        Self { room, entries: 0, names: HashSet::new(), pictures: Vec::new(), annotations: BTreeMap::new() }
    }

    pub(super) fn tar(&mut self, mut file: &File, packing: Packing) -> Result<(), ArchiveError> {
        let size = file.metadata()?.len();
        if packing == Packing::Tar {
            file.rewind()?;
            let mut archive = tar::Archive::new(file);
            return self.entries(archive.entries_with_seek()?, Some(size));
        }
        let mut archive = tar::Archive::new(unpacked(file, packing)?);
        self.entries(archive.entries()?, None)
    }

    /// `size` is the whole archive's, where its content is not read but skipped.
    fn entries<R: Read>(&mut self, entries: tar::Entries<'_, R>, size: Option<u64>) -> Result<(), ArchiveError> {
        let mut last = "its beginning".to_owned();
        for entry in entries {
            let mut entry = entry.map_err(|e| damaged(&last, &e))?;
            self.count()?;
            let bytes = entry.path_bytes().into_owned();
            last = String::from_utf8_lossy(&bytes).into_owned();
            let kind = entry.header().entry_type();
            if matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
                continue;
            }
            if std::str::from_utf8(&bytes).is_err() {
                return Err(refused(&last, "has a name that is not UTF-8"));
            }
            match kind {
                EntryType::Regular | EntryType::Continuous => {}
                EntryType::Link | EntryType::Symlink => return Err(refused(&last, "is a link")),
                EntryType::Char | EntryType::Block | EntryType::Fifo => return Err(refused(&last, "is a device")),
                _ => return Err(refused(&last, "is no regular file")),
            }
            let (place, length) = (entry.raw_file_position(), entry.size());
            if size.is_some_and(|size| place.saturating_add(length) > size) {
                return Err(damaged(&last, &"it ends in the middle of this entry"));
            }
            self.file(&last, place, length, &mut entry)?;
        }
        Ok(())
    }

    pub(super) fn zip(&mut self, archive: &mut zip::ZipArchive<BufReader<&File>>) -> Result<(), ArchiveError> {
        for index in 0..archive.len() {
            self.count()?;
            let raw = archive.by_index_raw(index).map_err(|e| damaged("its index", &e))?;
            let name = match std::str::from_utf8(raw.name_raw()) {
                Ok(name) => name.to_owned(),
                Err(_) => {
                    let name = String::from_utf8_lossy(raw.name_raw());
                    return Err(refused(&name, "has a name that is not UTF-8"));
                }
            };
            let (folder, link, locked, length) = (raw.is_dir(), raw.is_symlink(), raw.encrypted(), raw.size());
            // Unix modes of devices, pipes and sockets: everything that is neither file nor folder.
            let kind = raw.unix_mode().map_or(0, |mode| mode & 0o170_000);
            drop(raw);
            if link {
                return Err(refused(&name, "is a link"));
            }
            if folder {
                continue;
            }
            if !matches!(kind, 0 | 0o100_000) {
                return Err(refused(&name, "is a device"));
            }
            if locked {
                return Err(refused(&name, "is encrypted"));
            }
            let mut entry = archive.by_index(index).map_err(|e| refused(&name, e.to_string()))?;
            self.file(&name, index as u64, length, &mut entry)?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > ENTRIES {
            return Err(ArchiveError::TooMuch(format!("it has more than {ENTRIES} entries")));
        }
        Ok(())
    }

    /// A regular file.
    fn file(&mut self, name: &str, place: u64, size: u64, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let name = plain(name).map_err(|reason| refused(name, reason))?;
        self.room = self.room.checked_sub(size).ok_or_else(|| {
            ArchiveError::TooMuch(format!("its content is more than {RATIO} times as large as it is itself"))
        })?;
        if !self.names.insert(name.clone()) {
            return Err(refused(&name, "is there twice"));
        }
        let base = name.rsplit('/').next().unwrap_or(&name);
        // Litter of other systems.
        if name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX") {
            return Ok(());
        }
        let ending = base.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        match ending.as_deref() {
            Some("jpg" | "jpeg" | "png") if size > PICTURE => {
                Err(refused(&name, format!("is a picture of more than {} MB", PICTURE >> 20)))
            }
            Some("jpg" | "jpeg" | "png") => {
                self.pictures.push(Picture { name, place, size });
                Ok(())
            }
            Some("tar" | "gz" | "tgz" | "zst" | "tzst" | "xz" | "bz2" | "zip" | "rar" | "7z") => {
                Err(refused(&name, "is an archive itself"))
            }
            _ if base == INIT || TRUTHS.contains(&base) => {
                if size > ANNOTATION {
                    return Err(refused(&name, format!("has more than {} MB", ANNOTATION >> 20)));
                }
                let mut text = Vec::new();
                read_exactly(content, size, &name, &mut text)?;
                let text = String::from_utf8(text).map_err(|_| refused(&name, "is not UTF-8 text"))?;
                self.annotations.insert(name, text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn finish(mut self) -> Result<(Vec<Picture>, Listing), ArchiveError> {
        self.pictures.sort_by(|a, b| natural(&a.name, &b.name));
        let folder = |p: &Picture| p.name.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let folders: Vec<String> = {
            let mut all: Vec<String> = self.pictures.iter().map(folder).collect();
            all.dedup();
            all
        };
        let named = |f: &String| if f.is_empty() { "its top folder".to_owned() } else { shown(f) };
        let place = match folders.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            [a, b, ..] => return Err(ArchiveError::Several { a: named(a), b: named(b) }),
        };
        let above = match place.rsplit_once('/').unwrap_or(("", &place)) {
            (above, "color" | "img") => Some(above.to_owned()),
            _ => None,
        };
        let mut find = |base: &str| {
            let at = |folder: &str| if folder.is_empty() { base.to_owned() } else { format!("{folder}/{base}") };
            let here = self.annotations.remove(&at(&place));
            here.or_else(|| self.annotations.remove(&at(above.as_deref()?)))
        };
        let init = find(INIT);
        let truth = TRUTHS.into_iter().find_map(|name| Some((name.to_owned(), find(name)?)));
        let frames = self.pictures.len() as u64;
        Ok((self.pictures, Listing { frames, truth, init }))
    }
}
