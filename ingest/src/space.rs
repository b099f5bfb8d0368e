//! Room left on a disk.

use std::path::Path;
use std::process::Command;

/// Bytes free for this user on the disk that holds `path` (or its nearest existing parent); `None` when the system
/// does not say. Asked of `df`, which POSIX describes, since the standard library has no call for it.
pub(crate) fn free(path: &Path) -> Option<u64> {
    let full = std::path::absolute(path).ok()?;
    let existing = full.ancestors().find(|dir| dir.exists())?;
    let output = Command::new("df").arg("-Pk").arg("--").arg(existing).env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // Filesystem, blocks, used, available, capacity, mounted on.
    let available: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    available.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_disk_has_room() {
        let free = super::free(std::path::Path::new("no/such/folder/yet"));
        assert!(free.is_some_and(|bytes| bytes > 1 << 20), "{free:?}");
    }
}
