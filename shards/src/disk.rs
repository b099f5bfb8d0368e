//! The file operations behind every file this project publishes, so that a test can stop a writer at each of them.
//!
//! [`Real`] is the file system and has no size: a writer over it compiles to the plain calls.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;
use tempfile::NamedTempFile;

/// Prefix of files that are still being written; readers ignore them.
pub const TEMP_PREFIX: &str = ".tmp-";

/// Where the file system has no locks, a temporary file this old belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// What a writer asks of a file system.
pub trait Disk: Clone + Send + Sync {
    /// A file under a temporary name. It is removed when it is dropped without having been renamed.
    type Temp: Write + Send;

    /// Creates a folder with its parents; their names survive a power cut.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn create_dirs(&self, dir: &Path) -> io::Result<()>;

    /// Creates a file under a new temporary name in `dir`.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn create(&self, dir: &Path) -> io::Result<Self::Temp>;

    /// Makes the content of a file survive a power cut.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn sync(&self, temp: &mut Self::Temp) -> io::Result<()>;

    /// Gives a file its final name, in the folder it is in, replacing what had that name.
    ///
    /// # Errors
    /// Whatever the file system says; nothing then has changed.
    fn rename(&self, temp: Self::Temp, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder survive a power cut.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// Gives a written file its final name so that it is there as a whole or not at all, power cuts included.
///
/// # Errors
/// Whatever the file system says.
pub fn publish<D: Disk>(disk: &D, mut temp: D::Temp, to: &Path) -> io::Result<()> {
    disk.sync(&mut temp)?;
    disk.rename(temp, to)?;
    disk.sync_dir(folder_of(to))
}

/// The folder a file lies in.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

impl Disk for Real {
    type Temp = NamedTempFile;

    fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        let new = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
        let missing: Vec<&Path> = dir.ancestors().take_while(new).collect();
        fs::create_dir_all(dir)?;
        missing.into_iter().try_for_each(|dir| self.sync_dir(folder_of(dir)))
    }

    /// The file is locked while this process has it, which tells [`remove_abandoned`] that it is in use.
    fn create(&self, dir: &Path) -> io::Result<NamedTempFile> {
        loop {
            let temp = tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(dir)?;
            let taken = match temp.as_file().try_lock() {
                Ok(()) => temp.as_file().metadata()?.nlink() == 0,
                Err(TryLockError::WouldBlock) => true,
                Err(TryLockError::Error(_)) => false,
            };
            // Somebody who cleans up was faster than the lock.
            if !taken {
                return Ok(temp);
            }
        }
    }

    fn sync(&self, temp: &mut NamedTempFile) -> io::Result<()> {
        temp.as_file().set_permissions(Permissions::from_mode(0o644))?;
        temp.as_file().sync_all()
    }

    fn rename(&self, temp: NamedTempFile, to: &Path) -> io::Result<()> {
        temp.persist(to).map(drop).map_err(|error| error.error)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// Removes temporary files that no process is writing any more: what killed runs left behind. Nothing depends on it, so
/// failures are not errors.
pub fn remove_abandoned(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
            continue;
        }
        let Ok(file) = OpenOptions::new().write(true).open(entry.path()) else { continue };
        let abandoned = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => {
                let age = file.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed());
                age.is_ok_and(|age| age.is_ok_and(|age| age > ABANDONED))
            }
        };
        if abandoned {
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_files_without_a_writer_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let busy = Real.create(dir.path()).unwrap();
        let left = Real.create(dir.path()).unwrap().into_temp_path().keep().unwrap();
        fs::write(dir.path().join("kept"), "").unwrap();
        remove_abandoned(dir.path());
        assert!(busy.path().exists() && !left.exists() && dir.path().join("kept").exists());
        publish(&Real, busy, &dir.path().join("done")).unwrap();
        remove_abandoned(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
