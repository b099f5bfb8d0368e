//! Files and folders that appear at once and complete: temporary name, flush to disk, rename, flush the folder.

use serde::Serialize;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Start of the names of folders that are not complete yet.
pub const TEMPORARY: &str = ".tmp-";

/// A JSON document with a newline at its end.
#[must_use]
pub fn pretty(document: &impl Serialize) -> Vec<u8> {
    let mut text = format!("{:#}", serde_json::json!(document)).into_bytes();
    text.push(b'\n');
    text
}

/// Writes a file and flushes it to disk.
///
/// # Errors
/// When the file cannot be written.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Replaces a file at once: temporary name beside it, flush, rename, flush of the folder.
///
/// # Errors
/// When the file cannot be written; what was there before is untouched then.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Temporary files are private unless told otherwise; these become results, open to whom the umask lets in.
    let open = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).permissions(open).tempfile_in(place)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(place)
}

/// Flushes a folder's list of names to disk.
///
/// # Errors
/// When the folder cannot be opened.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Flushes everything in a folder to disk.
///
/// # Errors
/// When something in it cannot be opened.
pub fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync_tree(&entry.path())? } else { File::open(entry.path())?.sync_all()? }
    }
    sync_folder(path)
}

/// Renames unless the target exists.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let text = |p: &Path| CString::new(p.as_os_str().as_bytes()).map_err(io::Error::other);
    let (old, new) = (text(from)?, text(to)?);
    // SAFETY: both pointers are NUL-terminated strings that outlive the call.
    let done =
        unsafe { libc::renameat2(libc::AT_FDCWD, old.as_ptr(), libc::AT_FDCWD, new.as_ptr(), libc::RENAME_NOREPLACE) };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) {
        return Err(error);
    }
    // This file system cannot do it in one step.
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

/// `NAME`, `NAME-2`, `NAME-3`, ...
fn numbered(name: &OsStr, n: u32) -> OsString {
    let mut numbered = name.to_owned();
    if n > 1 {
        numbered.push(format!("-{n}"));
    }
    numbered
}

/// Gives the complete folder `temporary` its final name in `parent` (same file system): `name`, or `name-2`,
/// `name-3`, ... when taken. Answers the final path.
///
/// # Errors
/// When the folder cannot be renamed.
pub fn publish(temporary: &Path, parent: &Path, name: &OsStr) -> io::Result<PathBuf> {
    sync_folder(temporary)?;
    let mut n = 1;
    loop {
        let target = parent.join(numbered(name, n));
        match rename_new(temporary, &target) {
            Ok(()) => {
                sync_folder(parent)?;
                return Ok(target);
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) && n < 1_000_000 => n += 1,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && n < 1_000_000 => n += 1,
            Err(e) => return Err(e),
        }
    }
}

/// The folder in `parent` that job `id` published under `name` or a numbered form of it, told by the field `job` of
/// `document` in it.
#[must_use]
pub fn published(parent: &Path, name: &OsStr, document: &str, id: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(parent).ok()?;
    entries.flatten().map(|e| e.path()).find(|folder| {
        let file_name = folder.file_name().unwrap_or_default().as_bytes();
        let ours = file_name.strip_prefix(name.as_bytes()).is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix(b"-").is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
        });
        ours && fs::read(folder.join(document))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
            .is_some_and(|doc| doc.get("job").and_then(|j| j.as_str()) == Some(id))
    })
}

/// Moves a file or folder into the folder `into`, across file systems too (copy, flush, rename, delete). Safe to
/// repeat after a crash: the target appears complete or not at all.
///
/// # Errors
/// When it cannot be moved; it is still in its old place then.
pub fn move_into(from: &Path, into: &Path) -> io::Result<PathBuf> {
    let name = from.file_name().ok_or_else(|| io::Error::other("a path without a name"))?;
    let target = into.join(name);
    match fs::rename(from, &target) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            let mut part = OsString::from(TEMPORARY);
            part.push(name);
            let part = into.join(part);
            remove(&part)?;
            if let Err(e) = copy(from, &part) {
                // Half a copy would fill a disk that is full already.
                remove(&part)?;
                return Err(e);
            }
            remove(&target)?;
            fs::rename(&part, &target)?;
            sync_folder(into)?;
            remove(from)?;
        }
        other => other?,
    }
    sync_folder(into)?;
    Ok(target)
}

/// Copies a file or folder and flushes every file; links are left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return sync_folder(to);
    }
    if kind.is_file() {
        fs::copy(from, to)?;
        File::open(to)?.sync_all()?;
    }
    Ok(())
}

/// Deletes a file or folder; one that is not there is fine.
///
/// # Errors
/// When it exists and cannot be deleted.
pub fn remove(path: &Path) -> io::Result<()> {
    let deleted = match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match deleted {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(root: &Path, id: &str) -> PathBuf {
        let folder = root.join(format!("{TEMPORARY}{id}"));
        fs::create_dir(&folder).unwrap();
        write_synced(&folder.join("result.json"), format!("{{\"job\":\"{id}\"}}").as_bytes()).unwrap();
        folder
    }

    #[test]
    fn taken_names_get_numbers_and_nothing_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let done = root.path().join("done");
        fs::create_dir(&done).unwrap();
        fs::create_dir(done.join("clip-3")).unwrap();
        let name = OsStr::new("clip");
        let mut found = Vec::new();
        for id in ["a", "b", "c"] {
            let folder = publish(&result(root.path(), id), &done, name).unwrap();
            found.push(folder.file_name().unwrap().to_string_lossy().into_owned());
        }
        assert_eq!(found, ["clip", "clip-2", "clip-4"]);
        assert_eq!(published(&done, name, "result.json", "c"), Some(done.join("clip-4")));
        assert_eq!(published(&done, name, "result.json", "d"), None);
        assert_eq!(published(&done, OsStr::new("cli"), "result.json", "c"), None);
    }

    #[test]
    fn replaced_files_are_as_open_as_others() {
        let root = tempfile::tempdir().unwrap();
        let [replaced, plain] = ["a", "b"].map(|name| root.path().join(name));
        replace_file(&replaced, b"1").unwrap();
        replace_file(&replaced, b"2").unwrap();
        fs::write(&plain, "2").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!((fs::read(&replaced).unwrap(), mode(&replaced)), (b"2".to_vec(), mode(&plain)));
    }

    #[test]
    fn moving_takes_everything_along() {
        let root = tempfile::tempdir().unwrap();
        let (from, into) = (root.path().join("seq"), root.path().join("into"));
        fs::create_dir_all(from.join("color")).unwrap();
        fs::create_dir(&into).unwrap();
        fs::write(from.join("color/1.jpg"), "x").unwrap();
        move_into(&from, &into).unwrap();
        assert!(!from.exists());
        assert_eq!(fs::read(into.join("seq/color/1.jpg")).unwrap(), b"x");
        assert_eq!(move_into(&from, &into).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn copies_leave_links_behind() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("seq");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("1.jpg"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("2.jpg")).unwrap();
        copy(&from, &root.path().join("copy")).unwrap();
        let names: Vec<_> = fs::read_dir(root.path().join("copy")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["1.jpg"]);
        remove(&from).unwrap();
        remove(&from).unwrap();
    }

    #[test]
    fn a_replaced_file_is_old_or_new() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        replace_file(&path, b"1").unwrap();
        replace_file(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert!(replace_file(&root.path().join("none/a.json"), b"1").is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
