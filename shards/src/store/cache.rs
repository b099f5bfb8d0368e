//! Shards from far away on a disk nearby, within a fixed number of bytes.
//!
//! ```text
//! CACHE/
//!   <blake3>.arrow      a shard, named by its content: datasets and processes that need the same bytes share them
//!   .tmp-XXXX           one on its way; its room is set aside before the first byte arrives
//!   .turn-00 ...        locks: of several that want a shard, one fetches it and the others wait for that
//!   .room               lock: one process at a time makes room
//! ```
//!
//! What was used least recently goes first, and may go at any time: a process that has the file mapped keeps reading the
//! bytes it mapped. So nobody ever waits for a reader, only for a download, and a download waits for nothing once it has
//! begun: there is no circle to be caught in. Locks belong to open files and end with their process.

use crate::disk::{Disk as _, Real, TEMP_PREFIX, publish, remove_abandoned};
use std::fs::{self, File, FileTimes};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// Locks that downloads are spread over.
const TURNS: u8 = 64;
/// Pause of a download that waits for the room of others that are under way.
const PAUSE: Duration = Duration::from_millis(20);
/// Size of a cache that nobody has set.
const DEFAULT_BYTES: u64 = 50_000_000_000;

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Where the cache of this process is, and how large it may grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its folder.
    pub dir: PathBuf,
    /// Bytes of all shards in it.
    pub bytes: u64,
}

impl Default for Settings {
    /// 50 GB in the user's cache folder.
    fn default() -> Self {
        let set = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
        let dir =
            set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))).unwrap_or_else(std::env::temp_dir);
        Self { dir: dir.join("siamrpn-shards"), bytes: DEFAULT_BYTES }
    }
}

impl Settings {
    /// Makes these the settings of this process, unless others already are: a program calls it once, before it opens a
    /// dataset.
    pub fn install(self) {
        drop(SETTINGS.set(self));
    }

    /// The settings of this process.
    #[must_use]
    pub fn current() -> Self {
        SETTINGS.get().cloned().unwrap_or_default()
    }
}

/// Reads a number of bytes: `500M`, `20G`, `1.5T`, `2GiB` or plain digits.
///
/// # Errors
/// A sentence about what is expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => 0,
    };
    match number.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within u64")]
        Ok(value) if factor > 0 && value > 0.0 && value * (factor as f64) < 1e18 => Ok((value * factor as f64) as u64),
        _ => Err(format!("{text:?} is no size: give bytes, or a number with K, M, G or T, for example 200G")),
    }
}

/// Why a shard is not in the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk of the cache refused.
    #[error("the cache {path} cannot be used: {source}; free space there or choose another with --cache")]
    Disk {
        /// Folder of the cache.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A shard is larger than the whole cache.
    #[error("the cache {path} may hold {limit} bytes, this shard alone has {bytes}: raise --cache-size")]
    TooSmall {
        /// Folder of the cache.
        path: PathBuf,
        /// Its limit.
        limit: u64,
        /// Bytes of the shard.
        bytes: u64,
    },
    /// The shard could not be read to its end.
    #[error("{0}")]
    Source(String),
    /// What arrived is not the shard.
    #[error("blake3 {found} of {got} bytes arrived, the manifest says {expected} of {bytes}")]
    Content {
        /// blake3 of what arrived.
        found: String,
        /// Bytes that arrived.
        got: u64,
        /// blake3 of the shard.
        expected: String,
        /// Bytes of the shard.
        bytes: u64,
    },
}

/// A bounded folder of shards, shared by any number of threads and processes of this machine.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    limit: u64,
}

impl Cache {
    /// Opens a cache, and creates its folder if need be.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn open(settings: &Settings) -> Result<Self, CacheError> {
        let cache = Self { dir: settings.dir.clone(), limit: settings.bytes };
        Real.create_dirs(&cache.dir).map_err(|source| cache.disk(source))?;
        Ok(cache)
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes it may hold.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    fn disk(&self, source: io::Error) -> CacheError {
        CacheError::Disk { path: self.dir.clone(), source }
    }

    /// Where the shard with this blake3 lies when it is here.
    #[must_use]
    pub fn place(&self, blake3: &str) -> PathBuf {
        self.dir.join(format!("{blake3}.arrow"))
    }

    /// Whether a shard is here; if so it counts as used just now.
    #[must_use]
    pub fn touch(&self, blake3: &str, bytes: u64) -> bool {
        let Ok(file) = File::open(self.place(blake3)) else { return false };
        // The time only decides what goes first.
        drop(file.set_times(FileTimes::new().set_modified(SystemTime::now())));
        file.metadata().is_ok_and(|meta| meta.len() == bytes)
    }

    /// Brings a shard here, unless it is here or another thread or process brings it at this moment; `read` opens it
    /// where it comes from. Returns its place; it may be gone again when others need the room.
    ///
    /// # Errors
    /// [`CacheError`]; what is in the cache is not harmed.
    pub fn fetch(
        &self,
        blake3: &str,
        bytes: u64,
        read: impl Fn() -> Result<Box<dyn Read + Send>, String>,
    ) -> Result<PathBuf, CacheError> {
        let place = self.place(blake3);
        if self.touch(blake3, bytes) {
            return Ok(place);
        }
        let turn = u8::from_str_radix(blake3.get(..2).unwrap_or_default(), 16).unwrap_or(0) % TURNS;
        let _turn = self.lock(&format!(".turn-{turn:02}"))?;
        if self.touch(blake3, bytes) {
            return Ok(place);
        }
        if bytes > self.limit {
            return Err(CacheError::TooSmall { path: self.dir.clone(), limit: self.limit, bytes });
        }
        let mut last = None;
        // What arrives wrong once may be the network's fault.
        for _ in 0..2 {
            match self.download(&place, blake3, bytes, &read) {
                Err(error @ CacheError::Content { .. }) => last = Some(error),
                other => return other.map(|()| place),
            }
        }
        Err(last.unwrap_or_else(|| CacheError::Source("nothing arrived".to_owned())))
    }

    fn download(
        &self,
        place: &Path,
        blake3: &str,
        bytes: u64,
        read: &impl Fn() -> Result<Box<dyn Read + Send>, String>,
    ) -> Result<(), CacheError> {
        let mut temp = self.make_room(bytes)?;
        let mut from = read().map_err(CacheError::Source)?;
        let mut hasher = blake3::Hasher::new();
        let (mut buffer, mut got) = (vec![0; 1 << 20], 0u64);
        loop {
            let n = from.read(&mut buffer).map_err(|error| CacheError::Source(error.to_string()))?;
            let part = buffer.get(..n).unwrap_or_default();
            // More than promised must not overrun the room that was set aside.
            if part.is_empty() || got + n as u64 > bytes {
                got += n as u64;
                break;
            }
            hasher.update(part);
            temp.write_all(part).map_err(|source| self.disk(source))?;
            got += n as u64;
        }
        let found = hasher.finalize().to_hex().to_string();
        if got != bytes || found != blake3 {
            return Err(CacheError::Content { found, got, expected: blake3.to_owned(), bytes });
        }
        publish(&Real, temp, place).map_err(|source| self.disk(source))
    }

    /// A file for `bytes` bytes, which are counted from now on; what was used least recently makes room for it.
    fn make_room(&self, bytes: u64) -> Result<tempfile::NamedTempFile, CacheError> {
        loop {
            let room = self.lock(".room")?;
            remove_abandoned(&self.dir);
            let (mut used, mut files) = (0, Vec::new());
            for entry in fs::read_dir(&self.dir).map_err(|source| self.disk(source))?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                // A file may be renamed or gone by now.
                let Ok(meta) = entry.metadata() else { continue };
                if name.starts_with(TEMP_PREFIX) {
                    used += meta.len();
                } else if name.ends_with(".arrow") {
                    used += meta.len();
                    files.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len(), entry.path()));
                }
            }
            files.sort();
            for (_, len, path) in files {
                if used + bytes <= self.limit {
                    break;
                }
                if fs::remove_file(path).is_ok() {
                    used -= len;
                }
            }
            if used + bytes <= self.limit {
                let temp = Real.create(&self.dir).map_err(|source| self.disk(source))?;
                temp.as_file().set_len(bytes).map_err(|source| self.disk(source))?;
                return Ok(temp);
            }
            // The rest is taken by downloads under way, which end.
            drop(room);
            std::thread::sleep(PAUSE);
        }
    }

    fn lock(&self, name: &str) -> Result<File, CacheError> {
        let file = File::create(self.dir.join(name)).map_err(|source| self.disk(source))?;
        match file.lock() {
            // Without locks two may fetch the same shard, which costs time only.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
            locked => locked.map(|()| file).map_err(|source| self.disk(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn shard(n: u8) -> (Vec<u8>, String) {
        let bytes = vec![n; 1000];
        let hash = blake3::hash(&bytes).to_hex().to_string();
        (bytes, hash)
    }

    fn cache(limit: u64) -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&Settings { dir: dir.path().join("cache"), bytes: limit }).unwrap();
        (dir, cache)
    }

    fn held(cache: &Cache) -> u64 {
        let files = fs::read_dir(cache.dir()).unwrap().map(|entry| entry.unwrap());
        files
            .filter(|file| !file.file_name().to_string_lossy().starts_with('.'))
            .map(|f| f.metadata().unwrap().len())
            .sum()
    }

    fn put(cache: &Cache, n: u8) -> Result<PathBuf, CacheError> {
        let (bytes, hash) = shard(n);
        cache.fetch(&hash, 1000, || Ok(Box::new(Cursor::new(bytes.clone()))))
    }

    #[test]
    fn what_was_used_last_stays_and_the_limit_holds() {
        let (_dir, cache) = cache(3000);
        for n in 0..3 {
            put(&cache, n).unwrap();
            std::thread::sleep(Duration::from_millis(15));
        }
        assert!(cache.touch(&shard(0).1, 1000));
        std::thread::sleep(Duration::from_millis(15));
        put(&cache, 3).unwrap();
        assert_eq!(held(&cache), 3000);
        let here: Vec<bool> = (0..4).map(|n| cache.place(&shard(n).1).exists()).collect();
        assert_eq!(here, [true, false, true, true]);
    }

    #[test]
    fn a_shard_that_can_never_fit_is_an_error_at_once() {
        let (_dir, cache) = cache(999);
        let error = put(&cache, 1).unwrap_err().to_string();
        assert!(error.contains("999") && error.contains("1000") && error.contains("--cache-size"), "{error}");
        assert_eq!(held(&cache), 0);
    }

    #[test]
    fn many_threads_fetch_each_shard_once_and_never_exceed_the_limit() {
        let (_dir, cache) = cache(4000);
        let (opened, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let (cache, opened, most) = (&cache, &opened, &most);
                scope.spawn(move || {
                    for n in 0..4 {
                        let (bytes, hash) = shard(n);
                        let read = || {
                            opened.fetch_add(1, Ordering::SeqCst);
                            Ok(Box::new(Cursor::new(bytes.clone())) as Box<dyn Read + Send>)
                        };
                        assert_eq!(fs::read(cache.fetch(&hash, 1000, read).unwrap()).unwrap(), bytes);
                        most.fetch_max(held(cache) as usize, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((opened.into_inner(), most.into_inner()), (4, 4000));
    }

    #[test]
    fn a_cache_smaller_than_what_all_want_at_once_still_serves_everybody() {
        let (_dir, cache) = cache(1500);
        std::thread::scope(|scope| {
            for t in 0..6u8 {
                let cache = &cache;
                scope.spawn(move || (0..20).for_each(|n| drop(put(cache, (t * 5 + n) % 9).unwrap())));
            }
        });
        assert!(held(&cache) <= 1500);
    }

    #[test]
    fn wrong_bytes_are_asked_for_twice_and_never_kept() {
        let (_dir, cache) = cache(5000);
        let (bytes, hash) = shard(1);
        for wrong in [vec![2u8; 1000], vec![1; 999], vec![1; 1001]] {
            let asked = AtomicUsize::new(0);
            let read = || {
                asked.fetch_add(1, Ordering::SeqCst);
                Ok(Box::new(Cursor::new(wrong.clone())) as Box<dyn Read + Send>)
            };
            let error = cache.fetch(&hash, 1000, read).unwrap_err();
            assert!(matches!(error, CacheError::Content { .. }) && asked.into_inner() == 2, "{error}");
        }
        assert_eq!(held(&cache), 0);
        let first = AtomicUsize::new(0);
        let read = || {
            let n = first.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Cursor::new(if n == 0 { vec![0; 1000] } else { bytes.clone() })) as Box<dyn Read + Send>)
        };
        assert_eq!(fs::read(cache.fetch(&hash, 1000, read).unwrap()).unwrap(), bytes);
        let gone = cache.fetch(&shard(7).1, 1000, || Err("no such bucket".to_owned())).unwrap_err();
        assert_eq!(gone.to_string(), "no such bucket");
    }

    #[test]
    fn sizes_are_read_and_nonsense_is_not() {
        for (text, bytes) in
            [("7", 7), ("20G", 20_000_000_000), ("1.5k", 1500), ("2GiB", 2 << 30), ("3 TB", 3_000_000_000_000)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "0", "5X", "1e30T"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
