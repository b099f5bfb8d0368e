//! A dataset whose shards lie in object storage, read through the cache.
//!
//! Manifest and index are fetched once and kept; a shard is fetched when a row of it is first asked for, or earlier by
//! the prefetch thread, which follows the order in which a training run will need the shards and stays ahead of it as far
//! as the cache allows. So the first epoch trains while it downloads.

use super::cache::{Cache, CacheError, Settings};
use super::{Objects, StoreError, open};
use crate::disk::{Disk as _, Real};
use crate::reader::{ReadError, Shard};
use crate::writer::write_atomic;
use schemas::manifest::{INDEX_FILE, MANIFEST_FILE, Manifest, SHARD_DIR, ShardEntry};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often an opened shard is compared with the cache.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Attempts to open a shard that other processes keep pushing out of the cache.
const ATTEMPTS: usize = 5;

/// A shard in use.
struct Opened {
    shard: Arc<Shard>,
    inode: u64,
    looked: Instant,
}

/// How far the reader has come in the order the prefetch thread follows.
#[derive(Debug, Default)]
struct Progress {
    /// Position of each shard in the order.
    place: BTreeMap<u32, usize>,
    reached: usize,
    stop: bool,
}

/// What reader and prefetch thread share.
struct Shared {
    objects: Arc<dyn Objects>,
    cache: Cache,
    entries: Vec<ShardEntry>,
    config_hash: String,
    opened: Mutex<BTreeMap<u32, Opened>>,
    progress: Mutex<Progress>,
    moved: Condvar,
}

/// The shards of a dataset in object storage.
pub struct Streamed {
    shared: Arc<Shared>,
    /// Told to stop and joined when this is dropped.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Streamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streamed").field("url", &self.shared.objects.url()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(error: &StoreError) -> ReadError {
    ReadError::Unavailable { path: PathBuf::from(&error.url), message: error.message.clone() }
}

impl Streamed {
    /// Fetches manifest and index of the dataset at `url`; returns the folder they are kept in.
    ///
    /// # Errors
    /// When they cannot be fetched, the index is not the manifest's, or the cache cannot be used.
    pub fn open(url: &Path, settings: &Settings) -> Result<(Self, PathBuf), ReadError> {
        let objects = open(url).map_err(|error| unavailable(&error))?;
        let get = |name: &str| objects.get(name).map_err(|error| unavailable(&error));
        let manifest = get(MANIFEST_FILE)?.ok_or_else(|| ReadError::NoManifest(url.to_owned()))?;
        let at = |name: &str| PathBuf::from(format!("{}/{name}", objects.url()));
        let parsed: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| ReadError::Manifest { path: at(MANIFEST_FILE), message: error.to_string() })?;
        let plain = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !plain(&parsed.dataset_hash) || !parsed.shards.iter().all(|shard| plain(&shard.blake3)) {
            let message = "it has a hash that is not one".to_owned();
            return Err(ReadError::Manifest { path: at(MANIFEST_FILE), message });
        }
        let cache = Cache::open(settings).map_err(|error| refused(&at(""), &error))?;
        let largest = parsed.shards.iter().map(|shard| shard.bytes).max().unwrap_or(0);
        if largest > cache.limit() {
            let error = CacheError::TooSmall { path: cache.dir().to_owned(), limit: cache.limit(), bytes: largest };
            return Err(refused(&at(SHARD_DIR), &error));
        }
        let home = cache.dir().join(format!("dataset-{}", parsed.dataset_hash));
        let keep = |name: &str, bytes: &[u8]| {
            let kept = Real.create_dirs(&home).and_then(|()| write_atomic(&home.join(name), bytes));
            kept.map_err(|error| ReadError::Io { path: home.join(name), message: error.to_string() })
        };
        let have = crate::verify::hash_file(&home.join(INDEX_FILE)).is_ok_and(|(_, hash)| hash == parsed.index_blake3);
        if !have {
            // As a stream: an index of millions of rows takes many requests.
            let mut index = Vec::new();
            let mut stream = objects.read(INDEX_FILE).map_err(|error| unavailable(&error))?;
            stream.read_to_end(&mut index).map_err(|error| {
                unavailable(&StoreError::new("read", format!("{}/{INDEX_FILE}", objects.url()), error))
            })?;
            if blake3::hash(&index).to_hex().as_str() != parsed.index_blake3 {
                let message = "it is not the index the manifest names; run `ingest merge` again".to_owned();
                return Err(ReadError::Manifest { path: at(INDEX_FILE), message });
            }
            keep(INDEX_FILE, &index)?;
        }
        keep(MANIFEST_FILE, &manifest)?;
        let shared = Shared {
            objects,
            cache,
            entries: parsed.shards,
            config_hash: parsed.config_hash,
            opened: Mutex::default(),
            progress: Mutex::default(),
            moved: Condvar::new(),
        };
        Ok((Self { shared: Arc::new(shared), thread: Mutex::new(None) }, home))
    }

    /// One shard, fetched if it is not here.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] when it cannot be brought here, [`ReadError::Damaged`] when it is not what the manifest
    /// says.
    pub fn shard(&self, number: u32) -> Result<Arc<Shard>, ReadError> {
        self.shared.reached(number);
        self.shared.shard(number)
    }

    /// Checks that the cache holds the shards that are needed at the same time, and starts to fetch shards in the order
    /// in which they will be needed. `others`: bytes of other datasets that are needed at the same time.
    ///
    /// # Errors
    /// When the cache is too small: it would fetch the same shards over and over.
    pub fn prefetch(&self, window: &BTreeSet<u32>, order: Vec<u32>, others: u64) -> Result<(), ReadError> {
        let bytes = |shard: &u32| self.shared.entries.get(*shard as usize).map_or(0, |entry| entry.bytes);
        let own = window.iter().map(bytes).sum::<u64>();
        let (needed, limit) = (own + others, self.shared.cache.limit());
        if needed > limit {
            return Err(ReadError::Unavailable {
                path: PathBuf::from(self.shared.objects.url()),
                message: format!(
                    "{} of its {} shards{} ({needed} bytes) are read at the same time, the cache may hold {limit}: raise \
                     --cache-size to {needed} or more, or train in an order that reads fewer shards at a time",
                    window.len(),
                    self.shared.entries.len(),
                    if others > 0 { ", and shards of other datasets," } else { "" }
                ),
            });
        }
        let mut thread = lock(&self.thread);
        if thread.is_some() {
            return Ok(());
        }
        lock(&self.shared.progress).place = order.iter().copied().zip(0..).collect();
        // Several datasets fill the cache side by side: what one fetches ahead must not push out what another did.
        #[expect(clippy::cast_possible_truncation, reason = "at most the limit")]
        let room = if others == 0 { limit } else { (u128::from(limit) * u128::from(own) / u128::from(needed)) as u64 };
        let shared = Arc::clone(&self.shared);
        let started =
            std::thread::Builder::new().name("prefetch".to_owned()).spawn(move || shared.follow(&order, room));
        // Without the thread shards are fetched when they are asked for.
        *thread = started.ok();
        Ok(())
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        lock(&self.shared.progress).stop = true;
        self.shared.moved.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            // A thread that panicked has fetched nothing wrong: every shard is verified.
            drop(thread.join());
        }
    }
}

fn refused(path: &Path, error: &CacheError) -> ReadError {
    match error {
        CacheError::Content { .. } => ReadError::Damaged { path: path.to_owned(), message: error.to_string() },
        _ => ReadError::Unavailable { path: path.to_owned(), message: error.to_string() },
    }
}

impl Shared {
    fn entry(&self, number: u32) -> Result<(&ShardEntry, String), ReadError> {
        let entry = self.entries.get(number as usize).ok_or_else(|| ReadError::Manifest {
            path: PathBuf::from(format!("{}/{MANIFEST_FILE}", self.objects.url())),
            message: format!("it has no shard {number}: it has {}", self.entries.len()),
        })?;
        Ok((entry, format!("{SHARD_DIR}/{}", entry.file)))
    }

    fn fetch(&self, number: u32) -> Result<PathBuf, ReadError> {
        let (entry, name) = self.entry(number)?;
        let read = || self.objects.read(&name).map_err(|error| error.message);
        let fetched = self.cache.fetch(&entry.blake3, entry.bytes, read);
        fetched.map_err(|error| refused(Path::new(&format!("{}/{name}", self.objects.url())), &error))
    }

    fn shard(&self, number: u32) -> Result<Arc<Shard>, ReadError> {
        if let Some(opened) = lock(&self.opened).get_mut(&number) {
            if opened.looked.elapsed() < LOOK_AGAIN {
                return Ok(Arc::clone(&opened.shard));
            }
            let (entry, _) = self.entry(number)?;
            let same = std::fs::metadata(opened.shard.path()).is_ok_and(|meta| meta.ino() == opened.inode);
            if same && self.cache.touch(&entry.blake3, entry.bytes) {
                opened.looked = Instant::now();
                return Ok(Arc::clone(&opened.shard));
            }
        }
        let (entry, _) = self.entry(number)?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let place = self.fetch(number)?;
            let opened = Shard::open(&place).and_then(|shard| {
                let inode = std::fs::metadata(&place).map_or(0, |meta| meta.ino());
                check(&shard, number, entry, &self.config_hash)?;
                Ok(Opened { shard: Arc::new(shard), inode, looked: Instant::now() })
            });
            match opened {
                Ok(opened) => {
                    let shard = Arc::clone(&opened.shard);
                    let mut all = lock(&self.opened);
                    // What has left the cache is let go, so that the disk gets its room back.
                    all.retain(|_, other| other.shard.path().exists());
                    all.insert(number, opened);
                    return Ok(shard);
                }
                // Pushed out between the fetch and the opening.
                Err(error @ ReadError::Io { .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        let message = last.map_or_else(String::new, |error| error.to_string());
        Err(ReadError::Unavailable {
            path: self.cache.place(&entry.blake3),
            message: format!("other processes push it out of the cache at once ({message}): raise --cache-size"),
        })
    }

    /// Notes that the reader asks for a shard.
    fn reached(&self, number: u32) {
        let mut progress = lock(&self.progress);
        if let Some(&place) = progress.place.get(&number)
            && place > progress.reached
        {
            progress.reached = place;
            self.moved.notify_all();
        }
    }

    /// Fetches shards in order. What lies between the reader and the shard to be fetched must fit into `room` bytes
    /// together with the shard before, which the reader may not have left yet.
    fn follow(&self, order: &[u32], room: u64) {
        let bytes = |number: &u32| self.entries.get(*number as usize).map_or(0, |entry| entry.bytes);
        for (at, &number) in order.iter().enumerate() {
            let mut progress = lock(&self.progress);
            loop {
                if progress.stop {
                    return;
                }
                let from = progress.reached.saturating_sub(1).min(at);
                let ahead: u64 = order.get(from..=at).into_iter().flatten().map(bytes).sum();
                if ahead <= room || from == at {
                    break;
                }
                progress = self.moved.wait(progress).unwrap_or_else(PoisonError::into_inner);
            }
            drop(progress);
            // The reader meets the same error when it gets there, and reports it.
            drop(self.fetch(number));
        }
    }
}

fn check(shard: &Shard, number: u32, entry: &ShardEntry, config_hash: &str) -> Result<(), ReadError> {
    let meta = shard.meta();
    if shard.rows() as u64 == entry.rows && meta.shard == number && meta.config_hash == config_hash {
        return Ok(());
    }
    let message = format!(
        "it is shard {} of configuration {} with {} rows, the manifest wants shard {number} of {config_hash} with {}",
        meta.shard,
        meta.config_hash,
        shard.rows(),
        entry.rows
    );
    Err(ReadError::Damaged { path: shard.path().to_owned(), message })
}
