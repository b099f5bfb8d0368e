//! Room left on a disk.

use std::path::Path;

/// Bytes free for this user on the disk that holds `path` (or its nearest existing parent); `None` when the system
/// does not say.
pub(crate) fn free(path: &Path) -> Option<u64> {
    let full = std::path::absolute(path).ok()?;
    let existing = full.ancestors().find(|dir| dir.exists())?;
    let disk = rustix::fs::statvfs(existing).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_disk_has_room() {
        let free = super::free(std::path::Path::new("no/such/folder/yet"));
        assert!(free.is_some_and(|bytes| bytes > 1 << 20), "{free:?}");
        assert_eq!(super::free(std::path::Path::new("/proc")), Some(0));
    }
}
