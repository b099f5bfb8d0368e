//! What lies in a dropped folder, before anything in it is opened.

use super::InputError;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Walks through a file or folder and adds up its bytes. Nothing is opened or followed.
///
/// # Errors
/// [`InputError::Odd`] for the first link, pipe, socket or device; [`InputError::Io`].
pub fn survey(path: &Path) -> Result<u64, InputError> {
    walk(path, path)
}

fn walk(root: &Path, path: &Path) -> Result<u64, InputError> {
    let io = |source| InputError::Io { path: path.to_owned(), source };
    let metadata = fs::symlink_metadata(path).map_err(io)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        let mut bytes = 0u64;
        for entry in fs::read_dir(path).map_err(io)? {
            bytes = bytes.saturating_add(walk(root, &entry.map_err(io)?.path())?);
        }
        return Ok(bytes);
    }
    if kind.is_file() {
        return Ok(metadata.len());
    }
    let what = match kind {
        k if k.is_symlink() => "a link",
        k if k.is_fifo() => "a pipe",
        k if k.is_socket() => "a socket",
        _ => "a device",
    };
    Err(InputError::Odd { path: root.to_owned(), entry: path.strip_prefix(root).unwrap_or(path).to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_named_and_bytes_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("color")).unwrap();
        fs::write(root.join("color/1.jpg"), [0; 100]).unwrap();
        fs::write(root.join("groundtruth.txt"), [0; 11]).unwrap();
        assert_eq!(survey(root).unwrap(), 111);
        assert_eq!(survey(&root.join("groundtruth.txt")).unwrap(), 11);
        std::os::unix::fs::symlink("/etc/passwd", root.join("color/2.jpg")).unwrap();
        let e = survey(root).unwrap_err().to_string();
        assert!(e.contains("color/2.jpg is a link"), "{e}");
        assert!(survey(&root.join("none")).is_err());
    }
}
