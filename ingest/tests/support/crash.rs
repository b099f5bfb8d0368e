//! A disk in a model: every operation can be the last, and what was not synced can be lost in several ways.

use shards::disk::{Disk, TEMP_PREFIX};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What a power cut takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: only the process died.
    Nothing,
    /// Content and names that were not synced.
    Everything,
    /// Content that was not synced; names are kept.
    Content,
    /// The second half of content that was not synced; names are kept.
    HalfContent,
    /// Names that were not synced; content is kept.
    Names,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Everything, Self::Content, Self::HalfContent, Self::Names];
}

#[derive(Default)]
struct Inode {
    live: Vec<u8>,
    synced: Vec<u8>,
}

struct State {
    root: PathBuf,
    stop_at: usize,
    honest: bool,
    done: usize,
    last: String,
    inodes: Vec<Inode>,
    /// Names as the running process sees them.
    names: BTreeMap<PathBuf, usize>,
    /// Names as they are on the disk.
    durable: BTreeMap<PathBuf, usize>,
}

/// A folder whose files also live in the model; reading goes to the folder.
#[derive(Clone)]
pub struct CrashDisk(Arc<Mutex<State>>);

/// A file on a [`CrashDisk`].
pub struct CrashTemp {
    disk: CrashDisk,
    inode: usize,
    path: PathBuf,
    file: File,
}

fn cut() -> io::Error {
    io::Error::other("the power is cut")
}

impl CrashDisk {
    /// A disk in the existing folder `root` whose operation number `stop_at` (from 0) and all later ones fail.
    pub fn new(root: &Path, stop_at: usize) -> Self {
        let mut state = State {
            root: root.to_owned(),
            stop_at,
            honest: true,
            done: 0,
            last: String::new(),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
        };
        for entry in walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap()) {
            if entry.file_type().is_file() {
                let bytes = fs::read(entry.path()).unwrap();
                let name = entry.path().strip_prefix(root).unwrap().to_owned();
                state.names.insert(name, state.inodes.len());
                state.inodes.push(Inode { synced: bytes.clone(), live: bytes });
            }
        }
        state.durable = state.names.clone();
        Self(Arc::new(Mutex::new(state)))
    }

    /// The same disk, whose file syncs do nothing.
    pub fn lying(self) -> Self {
        self.0.lock().unwrap().honest = false;
        self
    }

    /// Operations done.
    pub fn operations(&self) -> usize {
        self.0.lock().unwrap().done
    }

    /// The operation that failed first.
    pub fn last(&self) -> String {
        self.0.lock().unwrap().last.clone()
    }

    /// Counts an operation; fails when it is not to happen any more.
    fn operation(&self, name: impl FnOnce() -> String) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.done >= state.stop_at {
            if state.last.is_empty() {
                state.last = name();
            }
            return Err(cut());
        }
        state.done += 1;
        Ok(())
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.0.lock().unwrap().root).unwrap().to_owned()
    }

    /// Writes what a power cut would leave into the folder `to`, and returns it, without the random part of temporary
    /// names.
    pub fn materialise(&self, to: &Path, loss: Loss) -> Vec<(String, Vec<u8>)> {
        let state = self.0.lock().unwrap();
        let names = if matches!(loss, Loss::Everything | Loss::Names) { &state.durable } else { &state.names };
        fs::create_dir_all(to).unwrap();
        let mut found = Vec::new();
        for (name, inode) in names {
            let inode = &state.inodes[*inode];
            let bytes = match loss {
                Loss::Nothing | Loss::Names => &inode.live,
                Loss::Everything | Loss::Content => &inode.synced,
                Loss::HalfContent if inode.synced == inode.live => &inode.live,
                Loss::HalfContent => &inode.live[..inode.live.len() / 2].to_vec(),
            };
            let path = to.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
            let name = name.to_str().unwrap();
            let plain = name.find(TEMP_PREFIX).map_or(name, |at| &name[..at + TEMP_PREFIX.len()]);
            found.push((plain.to_owned(), bytes.clone()));
        }
        found
    }
}

impl Write for CrashTemp {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let allowed = self.disk.operation(|| format!("write of {} bytes to {}", buf.len(), self.path.display()));
        // The operation that is cut off may have happened in part.
        let part = if allowed.is_ok() { buf } else { &buf[..buf.len() / 2] };
        let mut state = self.disk.0.lock().unwrap();
        if allowed.is_ok() || state.done == state.stop_at {
            state.inodes[self.inode].live.extend_from_slice(part);
            self.file.write_all(part)?;
        }
        if allowed.is_err() {
            // Only the first operation that fails happens in part.
            state.stop_at = 0;
        }
        allowed.map(|()| buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for CrashDisk {
    type Temp = CrashTemp;

    /// Folders are there at once and stay: a lost folder is a lost dataset, which is nothing.
    fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        self.operation(|| format!("mkdir {}", dir.display()))?;
        fs::create_dir_all(dir)
    }

    fn create(&self, dir: &Path) -> io::Result<CrashTemp> {
        self.operation(|| format!("create in {}", dir.display()))?;
        let number = self.0.lock().unwrap().inodes.len();
        let path = dir.join(format!("{TEMP_PREFIX}{number}"));
        let name = self.relative(&path);
        let mut state = self.0.lock().unwrap();
        state.inodes.push(Inode::default());
        state.names.insert(name, number);
        Ok(CrashTemp { disk: self.clone(), inode: number, file: File::create(&path)?, path })
    }

    fn sync(&self, temp: &mut CrashTemp) -> io::Result<()> {
        self.operation(|| format!("sync {}", temp.path.display()))?;
        let mut state = self.0.lock().unwrap();
        if state.honest {
            let inode = &mut state.inodes[temp.inode];
            inode.synced = inode.live.clone();
        }
        Ok(())
    }

    fn rename(&self, temp: CrashTemp, to: &Path) -> io::Result<()> {
        self.operation(|| format!("rename to {}", to.display()))?;
        fs::rename(&temp.path, to)?;
        let (from, to) = (self.relative(&temp.path), self.relative(to));
        let mut state = self.0.lock().unwrap();
        state.names.remove(&from);
        state.names.insert(to, temp.inode);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation(|| format!("sync folder {}", dir.display()))?;
        let dir = self.relative(dir);
        let mut state = self.0.lock().unwrap();
        let State { names, durable, .. } = &mut *state;
        let inside = |name: &PathBuf| name.parent() == Some(&dir);
        durable.retain(|name, _| !inside(name));
        durable.extend(names.iter().filter(|(name, _)| inside(name)).map(|(name, inode)| (name.clone(), *inode)));
        Ok(())
    }
}
