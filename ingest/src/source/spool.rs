//! Pictures of a compressed archive on their way to their shards.
//!
//! A compressed archive can only be read from its beginning, and its order has nothing to do with the order of rows.
//! So it is read once, and each picture is appended to the spool file of the shard its video was dealt to; shards are
//! then built from their spool files, each of which is removed as soon as its shard is finished. The disk needs room
//! for the pictures once, plus one shard. Memory is bounded by the append buffers.
//!
//! A spool file is a sequence of records: video u32, length of name u16, length of data u32 (little endian), name,
//! data. A length of data of `u32::MAX` marks an entry that is not a regular file.

use super::archive::{self, Item, Odd, Packing};
use super::{Bytes, MAX_IMAGE_BYTES, SourceKind, remote};
use crate::error::IngestError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const HEAD: usize = 10;
/// Memory for all append buffers together.
const BUFFERS: usize = 64 << 20;

/// Files of one video: name, and offset and length in the spool file unless it is not a regular file.
type SpooledFiles = Vec<(String, Option<(u64, u32)>)>;

/// What a finished spool holds.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    plan: String,
    shards: BTreeMap<u32, u64>,
    odd: Vec<(String, String, String)>,
}

/// Shard, place within the shard and key of a picture by its path; `None` for one that is not wanted.
pub type Place<'a> = dyn Fn(&str) -> Option<(u32, u32, String)> + 'a;

/// What a run wants of the spool.
pub struct SpoolJob<'a> {
    /// Folder of the spool files.
    pub dir: &'a Path,
    /// Hash of the plan.
    pub plan: &'a str,
    /// Shards that are to be built.
    pub wanted: &'a [u32],
    /// The shard of each video of the source, where it is to be built.
    pub shard_of: &'a [Option<u32>],
    /// Counts the bytes of the archive that were read.
    pub passed: &'a Arc<AtomicU64>,
    /// Whether the user asked to stop.
    pub stopped: &'a dyn Fn() -> bool,
}

/// A compressed archive and, once it was read for a run, its spool.
#[derive(Debug)]
pub struct Stream {
    /// Kind of the source that it is.
    pub kind: SourceKind,
    /// The archive.
    pub path: PathBuf,
    /// How it is packed.
    pub packing: Packing,
    spool: Option<Spool>,
}

/// The spooled files of one shard, by number of their video.
#[derive(Debug, Default)]
pub struct ShardFiles {
    spooled: Option<(Arc<File>, HashMap<u32, SpooledFiles>)>,
}

impl ShardFiles {
    /// The files of a video in the order of the archive: bytes, unless it is not a regular file.
    pub fn of(&self, video: usize) -> impl Iterator<Item = (&str, Option<Bytes>)> {
        let spooled = self.spooled.as_ref();
        spooled.into_iter().flat_map(move |(file, videos)| {
            let files = u32::try_from(video).ok().and_then(|number| videos.get(&number));
            files.into_iter().flatten().map(move |(name, place)| {
                let bytes = place.map(|(offset, len)| Bytes::Range { file: Arc::clone(file), offset, len });
                (name.as_str(), bytes)
            })
        })
    }
}

impl Stream {
    /// An archive that was not spooled yet.
    #[must_use]
    pub fn new(kind: SourceKind, path: &Path, packing: Packing) -> Self {
        Self { kind, path: path.to_owned(), packing, spool: None }
    }

    /// Bytes of the archive.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        remote::size(&self.path)
    }

    /// Reads the archive once and spools what belongs to the shards that are wanted. `place` says for a path inside
    /// the archive which shard and video it belongs to, and its name in the video's folder.
    ///
    /// # Errors
    /// When the archive is damaged or the spool cannot be written.
    pub fn fill(&mut self, job: &SpoolJob<'_>, place: &Place<'_>) -> Result<Vec<Odd>, IngestError> {
        let spool = Spool::new(job.dir.to_owned());
        let odd = spool.fill(self, job, place)?;
        self.spool = Some(spool);
        Ok(odd)
    }

    /// Prepares the listing of the videos of one shard.
    ///
    /// # Errors
    /// When its spool cannot be read.
    pub fn open_shard(&self, shard: u32) -> Result<ShardFiles, IngestError> {
        let spooled = self.spool.as_ref().map(|spool| spool.open(shard)).transpose()?;
        Ok(ShardFiles { spooled })
    }

    /// Gives back what [`Stream::open_shard`] needed, once the shard is finished.
    pub fn close_shard(&self, shard: u32) {
        if let Some(spool) = &self.spool {
            spool.remove(shard);
        }
    }
}

/// Where the pictures of a compressed archive go.
#[derive(Debug, Clone)]
struct Spool {
    dir: PathBuf,
}

impl Spool {
    fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn file(&self, shard: u32) -> PathBuf {
        self.dir.join(format!("{shard:05}.spool"))
    }

    fn marker(&self) -> PathBuf {
        self.dir.join("done.json")
    }

    /// The refused entries, if the spool was completed before for this plan and still has every shard of `wanted`.
    fn completed(&self, plan: &str, wanted: &[u32]) -> Option<Vec<Odd>> {
        let done: Done = serde_json::from_slice(&fs::read(self.marker()).ok()?).ok()?;
        let whole = |shard: &u32| {
            let size = fs::metadata(self.file(*shard)).map_or(0, |meta| meta.len());
            done.shards.get(shard).is_some_and(|len| *len == size)
        };
        (done.plan == plan && wanted.iter().all(whole)).then(|| {
            let odd = |(path, reason, detail): (String, String, String)| Odd {
                path,
                reason: if reason == UNSAFE { UNSAFE } else { SPECIAL },
                detail,
            };
            done.odd.into_iter().map(odd).collect()
        })
    }

    fn fill(&self, stream: &Stream, job: &SpoolJob<'_>, place: &Place<'_>) -> Result<Vec<Odd>, IngestError> {
        if let Some(odd) = self.completed(job.plan, job.wanted) {
            return Ok(odd);
        }
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).map_err(IngestError::io("clear", &self.dir))?;
        }
        let filled = self.pass(stream, job, place);
        if filled.is_err() {
            // Half a spool is of no use and would only keep the disk full.
            drop(fs::remove_dir_all(&self.dir));
        }
        filled
    }

    fn pass(&self, stream: &Stream, job: &SpoolJob<'_>, place: &Place<'_>) -> Result<Vec<Odd>, IngestError> {
        fs::create_dir_all(&self.dir).map_err(IngestError::io("create", &self.dir))?;
        let room = (BUFFERS / job.wanted.len().max(1)).clamp(16 << 10, 1 << 20);
        let mut buffers: BTreeMap<u32, Buffer> = job.wanted.iter().map(|shard| (*shard, Buffer::default())).collect();
        let mut odd = Vec::new();
        archive::walk(&stream.path, stream.kind, stream.packing, job.passed, |item, len, entry| {
            if (job.stopped)() {
                return Err(IngestError::Interrupted);
            }
            let (path, special) = match item {
                Item::File(path) => (path, len > MAX_IMAGE_BYTES),
                Item::Special(path, _) => (path, true),
                Item::Unsafe(entry) => {
                    odd.push(entry);
                    return Ok(true);
                }
                Item::Nothing => return Ok(true),
            };
            let Some((shard, video, name)) = place(&path) else { return Ok(true) };
            let Some(buffer) = buffers.get_mut(&shard) else { return Ok(true) };
            buffer
                .record(video, &name, len, special, entry)
                .map_err(|error| archive::damaged(stream.kind, &stream.path, &path, &error.to_string()))?;
            if buffer.pending.len() >= room {
                buffer.flush(&self.file(shard))?;
            }
            Ok(true)
        })?;
        let mut shards = BTreeMap::new();
        for (shard, mut buffer) in buffers {
            let path = self.file(shard);
            buffer.flush(&path)?;
            File::open(&path).and_then(|file| file.sync_all()).map_err(IngestError::io("write", &path))?;
            shards.insert(shard, buffer.written);
        }
        let plain = |odd: &Odd| (odd.path.clone(), odd.reason.to_owned(), odd.detail.clone());
        let done = Done { plan: job.plan.to_owned(), shards, odd: odd.iter().map(plain).collect() };
        let text = serde_json::to_vec(&done).unwrap_or_default();
        shards::writer::write_atomic(&self.marker(), &text).map_err(IngestError::io("write", &self.marker()))?;
        Ok(odd)
    }

    /// The files of each video in the spool of a shard, and the file to read them from.
    fn open(&self, shard: u32) -> Result<(Arc<File>, HashMap<u32, SpooledFiles>), IngestError> {
        let path = self.file(shard);
        let file = File::open(&path).map_err(IngestError::io("read", &path))?;
        let mut videos: HashMap<u32, SpooledFiles> = HashMap::new();
        let mut reader = BufReader::with_capacity(64 << 10, &file);
        let mut at = 0u64;
        let read = IngestError::io("read", &path);
        let scanned = (|| -> std::io::Result<()> {
            let end = reader.get_ref().metadata()?.len();
            while at < end {
                let mut head = [0u8; HEAD];
                reader.read_exact(&mut head)?;
                let [v0, v1, v2, v3, n0, n1, d0, d1, d2, d3] = head;
                let (video, len) = (u32::from_le_bytes([v0, v1, v2, v3]), u32::from_le_bytes([d0, d1, d2, d3]));
                let mut name = vec![0; usize::from(u16::from_le_bytes([n0, n1]))];
                reader.read_exact(&mut name)?;
                at += (HEAD + name.len()) as u64;
                let name = String::from_utf8(name).map_err(std::io::Error::other)?;
                let place = (len != u32::MAX).then_some((at, len));
                if place.is_some() {
                    reader.seek_relative(i64::from(len))?;
                    at += u64::from(len);
                }
                videos.entry(video).or_default().push((name, place));
            }
            Ok(())
        })();
        drop(reader);
        scanned.map_err(read)?;
        let mut file = file;
        file.seek(SeekFrom::Start(0)).map_err(IngestError::io("read", &path))?;
        Ok((Arc::new(file), videos))
    }

    /// Removes the spool of a finished shard.
    fn remove(&self, shard: u32) {
        // What stays behind only costs room, and the whole folder goes at the end.
        drop(fs::remove_file(self.file(shard)));
    }
}

/// Reason of rejects for names that lead out of the archive.
const UNSAFE: &str = "unsafe-path";
/// Reason of rejects for links, devices and the like.
pub(super) const SPECIAL: &str = "not-a-regular-file";

#[derive(Default)]
struct Buffer {
    pending: Vec<u8>,
    written: u64,
}

impl Buffer {
    fn record(&mut self, video: u32, name: &str, len: u64, special: bool, data: &mut dyn Read) -> std::io::Result<()> {
        let name_len = u16::try_from(name.len()).map_err(std::io::Error::other)?;
        let data_len = if special { u32::MAX } else { u32::try_from(len).map_err(std::io::Error::other)? };
        self.pending.extend_from_slice(&video.to_le_bytes());
        self.pending.extend_from_slice(&name_len.to_le_bytes());
        self.pending.extend_from_slice(&data_len.to_le_bytes());
        self.pending.extend_from_slice(name.as_bytes());
        if !special {
            let copied = data.take(len).read_to_end(&mut self.pending)?;
            if copied as u64 != len {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn flush(&mut self, path: &Path) -> Result<(), IngestError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(&self.pending)).map_err(IngestError::io("write", path))?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
