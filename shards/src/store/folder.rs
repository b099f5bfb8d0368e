//! A folder seen as object storage: a mounted network disk, or a stand-in for a bucket.

use super::{Objects, StoreError};
use crate::disk::{Disk as _, Real, TEMP_PREFIX, folder_of, publish};
use crate::writer::write_atomic;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

/// A folder and everything below it.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    url: String,
}

impl Folder {
    /// The folder `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        let url = format!("file://{}", root.display());
        Self { root, url }
    }

    /// The file of an object, in a folder that exists.
    fn place(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        Real.create_dirs(folder_of(&path))?;
        Ok(path)
    }

    fn fail(&self, action: &'static str, name: &str) -> impl FnOnce(io::Error) -> StoreError {
        let url = format!("{}/{name}", self.url);
        move |error| StoreError::new(action, url, error)
    }
}

/// `None` for what does not exist.
fn existing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Objects for Folder {
    fn url(&self) -> &str {
        &self.url
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        existing(fs::read(self.root.join(name))).map_err(self.fail("read", name))
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let meta = existing(fs::metadata(self.root.join(name))).map_err(self.fail("read", name))?;
        Ok(meta.map(|meta| meta.len()))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.place(name).and_then(|path| write_atomic(&path, bytes)).map_err(self.fail("write", name))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let create = || {
            let path = self.place(name)?;
            let mut temp = Real.create(folder_of(&path))?;
            temp.write_all(bytes)?;
            Real.sync(&mut temp)?;
            // A hard link never replaces what is there.
            match fs::hard_link(temp.path(), &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                linked => linked.and_then(|()| Real.sync_dir(folder_of(&path))).map(|()| true),
            }
        };
        create().map_err(self.fail("write", name))
    }

    fn upload(&self, name: &str, file: &Path) -> Result<(), StoreError> {
        let upload = || {
            let path = self.place(name)?;
            let mut temp = Real.create(folder_of(&path))?;
            io::copy(&mut File::open(file)?, &mut temp)?;
            publish(&Real, temp, &path)
        };
        upload().map_err(self.fail("write", name))
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let list = || {
            let entries = existing(fs::read_dir(&self.root))?.into_iter().flatten();
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>()
        };
        let mut names = list().map_err(self.fail("list", ""))?;
        names.retain(|name| !name.starts_with(TEMP_PREFIX));
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let file = File::open(self.root.join(name)).map_err(self.fail("read", name))?;
        Ok(Box::new(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_whole_and_created_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("new"));
        assert_eq!((folder.get("a/b").unwrap(), folder.names().unwrap()), (None, Vec::new()));
        let won: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8u8)
                .map(|n| {
                    scope.spawn({
                        let folder = &folder;
                        move || folder.create("a/b", &[n; 9]).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        let winner = won.iter().position(|won| *won).unwrap() as u8;
        assert_eq!(folder.get("a/b").unwrap(), Some(vec![winner; 9]));
        folder.put("a/b", b"other").unwrap();
        folder.upload("c", &dir.path().join("new/a/b")).unwrap();
        assert_eq!((folder.size("c").unwrap(), folder.size("d").unwrap()), (Some(5), None));
        assert_eq!(folder.names().unwrap(), ["a", "c"]);
        let mut read = Vec::new();
        folder.read("c").unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, b"other");
        assert!(folder.read("d").err().unwrap().to_string().contains("new/d"));
        assert_eq!(fs::read_dir(dir.path().join("new/a")).unwrap().count(), 1, "no temporary file is left");
    }
}
