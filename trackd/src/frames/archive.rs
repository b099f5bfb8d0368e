//! Frames in an archive: tar (plain, gzip, zstd) or zip. Nothing is ever unpacked to a path: pictures go from the
//! archive to the decoder. Runs in a child process only.
//!
//! An archive holds one sequence: the pictures of one folder, and beside them (or beside their folder, when that is
//! `color` or `img`) `init.json` and ground truth. Pictures are frames in natural order of their names. Whatever is
//! neither picture nor annotation is left out. An archive with a link, a device, a name that leads out of it, the same
//! name twice, another archive inside, or more content than [`census::RATIO`] times its own size is refused as a whole.

mod census;

use super::ppm;
use census::{Census, plain};
use serde::{Deserialize, Serialize};
use shards::jpeg::{Limits, decode_image};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Pictures of a compressed tar that come before their turn are kept in memory up to this many bytes.
const AHEAD: u64 = 2 << 30;

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("the archive cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is damaged.
    #[error("the archive is damaged or cut off after {last}: {reason}; copy it again")]
    Damaged {
        /// The last entry that could be read.
        last: String,
        /// What is wrong.
        reason: String,
    },
    /// An entry that no archive of frames has.
    #[error("the archive is refused: its entry {name} {reason}")]
    Refused {
        /// The entry, control characters escaped.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Too much in it.
    #[error("the archive is refused: {0}")]
    TooMuch(String),
    /// Several sequences.
    #[error("the archive holds pictures in {a} and in {b}: pack one sequence per archive")]
    Several {
        /// A folder.
        a: String,
        /// Another one.
        b: String,
    },
    /// A picture that cannot be decoded.
    #[error("frame {name}: {reason}")]
    Picture {
        /// The entry.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Number of pictures.
    pub frames: u64,
    /// The ground truth's file name and content.
    pub truth: Option<(String, String)>,
    /// The content of its `init.json`.
    pub init: Option<String>,
}

impl Listing {
    /// Reads an archive once and checks every entry.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub fn read(path: &Path) -> Result<Self, ArchiveError> {
        Ok(Archive::open(path)?.listing)
    }
}

/// Writes every frame of an archive to `out` as PPM, in order.
///
/// # Errors
/// [`ArchiveError`]; frames before the one that is wrong have been written.
pub fn decode(path: &Path, max_pixels: u64, out: impl Write) -> Result<(), ArchiveError> {
    let limits = Limits { max_pixels: usize::try_from(max_pixels).unwrap_or(usize::MAX) };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let mut archive = Archive::open(path)?;
    let mut show = |name: &str, bytes: &[u8]| {
        let picture = decode_image(bytes, &limits)
            .map_err(|e| ArchiveError::Picture { name: shown(name), reason: e.to_string() })?;
        ppm::write_frame(&mut out, picture.width, picture.height, &picture.data).map_err(ArchiveError::from)
    };
    archive.pictures(&mut show)?;
    Ok(out.flush()?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Tar,
    Gzip,
    Zstd,
    Zip,
}

/// A picture and where it is: the offset in a plain tar, the index in a zip.
struct Picture {
    name: String,
    place: u64,
    size: u64,
}

/// Takes a picture's name and its bytes.
type Show<'a> = dyn FnMut(&str, &[u8]) -> Result<(), ArchiveError> + 'a;

struct Archive {
    file: File,
    packing: Packing,
    /// In their order.
    pictures: Vec<Picture>,
    listing: Listing,
}

impl Archive {
    fn open(path: &Path) -> Result<Self, ArchiveError> {
        let mut file = File::open(path)?;
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(4).read_to_end(&mut head)?;
        let packing = match head.as_slice() {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Packing::Zstd,
            [b'P', b'K', ..] => Packing::Zip,
            _ => Packing::Tar,
        };
        let mut census = Census::new(file.metadata()?.len());
        if packing == Packing::Zip {
            census.zip(&mut zip(&file)?)?;
        } else {
            census.tar(&file, packing)?;
        }
        let (pictures, listing) = census.finish()?;
        Ok(Self { file, packing, pictures, listing })
    }

    /// Hands every picture to `show`, in order.
    fn pictures(&mut self, show: &mut Show<'_>) -> Result<(), ArchiveError> {
        let mut bytes = Vec::new();
        match self.packing {
            Packing::Tar => {
                for picture in &self.pictures {
                    self.file.seek(SeekFrom::Start(picture.place))?;
                    read_exactly(&mut self.file, picture.size, &picture.name, &mut bytes)?;
                    show(&picture.name, &bytes)?;
                }
            }
            Packing::Zip => {
                let mut archive = zip(&self.file)?;
                for picture in &self.pictures {
                    let index = usize::try_from(picture.place).unwrap_or(usize::MAX);
                    let mut entry = archive.by_index(index).map_err(|e| damaged(&picture.name, &e))?;
                    read_exactly(&mut entry, picture.size, &picture.name, &mut bytes)?;
                    show(&picture.name, &bytes)?;
                }
            }
            Packing::Gzip | Packing::Zstd => self.in_turn(show)?,
        }
        Ok(())
    }

    /// A compressed tar can only be read from its beginning: what comes too early waits in memory.
    fn in_turn(&self, show: &mut Show<'_>) -> Result<(), ArchiveError> {
        let turns: HashMap<&str, usize> = self.pictures.iter().enumerate().map(|(i, p)| (p.name.as_str(), i)).collect();
        let mut waiting: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let (mut turn, mut kept) = (0, 0);
        let mut archive = tar::Archive::new(unpacked(&self.file, self.packing)?);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(picture) = plain(&name).ok().and_then(|name| turns.get(name.as_str()).copied()) else { continue };
            let mut bytes = Vec::new();
            let size = entry.size();
            read_exactly(&mut entry, size, &name, &mut bytes)?;
            kept += bytes.len() as u64;
            waiting.insert(picture, bytes);
            while let Some(bytes) = waiting.remove(&turn) {
                kept -= bytes.len() as u64;
                show(self.pictures.get(turn).map_or("", |p| &p.name), &bytes)?;
                turn += 1;
            }
            if kept > AHEAD {
                return Err(ArchiveError::TooMuch(format!(
                    "its pictures are so far out of order that more than {} MB would have to be kept in memory: pack \
                     them sorted (tar --sort=name), or as plain tar or zip",
                    AHEAD >> 20
                )));
            }
        }
        Ok(())
    }
}

fn zip(file: &File) -> Result<zip::ZipArchive<BufReader<&File>>, ArchiveError> {
    let mut file = BufReader::new(file);
    file.rewind()?;
    zip::ZipArchive::new(file).map_err(|e| damaged("its beginning", &e))
}

fn unpacked<'a>(mut file: &'a File, packing: Packing) -> Result<Box<dyn Read + 'a>, ArchiveError> {
    file.rewind()?;
    let file = BufReader::with_capacity(1 << 20, file);
    Ok(match packing {
        Packing::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file))),
        Packing::Zstd => Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(file)?)),
        Packing::Tar | Packing::Zip => Box::new(file),
    })
}

fn read_exactly(from: &mut dyn Read, size: u64, name: &str, into: &mut Vec<u8>) -> Result<(), ArchiveError> {
    into.clear();
    from.take(size).read_to_end(into).map_err(|e| damaged(name, &e))?;
    if into.len() as u64 == size { Ok(()) } else { Err(damaged(name, &"it ends in the middle of this entry")) }
}

fn damaged(last: &str, reason: &dyn std::fmt::Display) -> ArchiveError {
    ArchiveError::Damaged { last: shown(last), reason: reason.to_string() }
}

fn refused(name: &str, reason: impl Into<String>) -> ArchiveError {
    ArchiveError::Refused { name: shown(name), reason: reason.into() }
}

fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

#[cfg(test)]
mod tests;
