//! Small readers that the layouts share.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, shorten};

/// The name of a folder, also where the path ends in `.` or `..`.
pub(super) fn folder_name(path: &Path) -> Result<String, Error> {
    let name = match path.file_name() {
        Some(name) => name.to_owned(),
        None => {
            let full = fs::canonicalize(path).map_err(Error::io(path))?;
            full.file_name().unwrap_or(full.as_os_str()).to_owned()
        }
    };
    Ok(name.to_string_lossy().into_owned())
}

/// Names of the visible entries of a folder in natural order, with whether each is a folder.
pub(super) fn entries(dir: &Path) -> Result<Vec<(String, bool)>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let entry = entry.map_err(Error::io(dir))?;
        // Names that are not UTF-8 belong to none of the layouts.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(Error::io(entry.path()))?;
        let folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
        found.push((name, folder));
    }
    found.sort_by(|a, b| natural(&a.0, &b.0));
    Ok(found)
}

/// The images of a folder in natural order; empty if there is no such folder. With `extension` only
/// those that end in it.
pub(super) fn images(dir: &Path, extension: Option<&str>) -> Result<Vec<PathBuf>, Error> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let wanted = |name: &str| {
        let Some((_, ending)) = name.rsplit_once('.') else { return false };
        match extension {
            Some(extension) => ending.eq_ignore_ascii_case(extension),
            None => ["jpg", "jpeg", "png"].iter().any(|known| ending.eq_ignore_ascii_case(known)),
        }
    };
    Ok(entries(dir)?
        .into_iter()
        .filter(|(name, folder)| !folder && wanted(name))
        .map(|(name, _)| dir.join(name))
        .collect())
}

/// The images of a folder, for an error about their number: which one is missing, where the numbers in their names tell.
pub(super) fn described(images: &[PathBuf], folder: &Path) -> String {
    let number = |path: &PathBuf| -> Option<(usize, u64)> {
        let stem = path.file_stem()?.to_str()?;
        let start = stem.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
        let digits = stem.get(start..)?;
        Some((digits.len(), digits.parse().ok()?))
    };
    let gap = images.iter().zip(images.iter().skip(1)).find_map(|(a, b)| {
        let ((length, before), (_, after)) = (number(a)?, number(b)?);
        let missing = before.checked_add(1).filter(|next| *next < after)?;
        let ending = a.extension()?.to_str()?;
        Some(format!(" (number {missing:0length$}.{ending} is missing)"))
    });
    format!("the images in {}{}", folder.display(), gap.unwrap_or_default())
}

/// Compares names with numbers in them by the numbers' values.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while let ([x, ..], [y, ..]) = (left, right) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (take_number(&mut left), take_number(&mut right));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            x.cmp(y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Splits the leading digits off, without leading zeros.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    let zeros = number.iter().position(|byte| *byte != b'0').unwrap_or(number.len());
    number.split_at(zeros).1
}

/// Text of a file, `None` if it does not exist.
pub(super) fn optional_text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read(path) {
        Ok(bytes) => crate::region::text(path, &bytes).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// `key = value` lines (also with `:`); empty lines, comments and section heads are skipped.
pub(super) fn properties(content: &str) -> BTreeMap<String, String> {
    content
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';', '[']))
        .filter_map(|line| line.split_once(['=', ':']))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// A relative path from a file, refused where it leads out of its folder.
pub(super) fn inside(root: &Path, relative: &str, named_by: &Path) -> Result<PathBuf, Error> {
    let path = Path::new(relative);
    let normal = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if relative.is_empty() || !normal {
        return Err(Error::Format {
            path: named_by.to_owned(),
            reason: format!("`{}` must be a path below this folder, without `..`", shorten(relative)),
        });
    }
    Ok(root.join(path))
}

/// One 0 or 1 per line; short files are filled up with 0.
pub(super) fn flags(path: &Path, content: &str, length: usize) -> Result<Vec<bool>, Error> {
    let mut flags = Vec::with_capacity(length);
    for (index, line) in content.trim_end().lines().enumerate() {
        flags.push(match line.trim() {
            "1" => true,
            "0" | "" => false,
            other => return Err(bad_line(path, index, "0 or 1", other)),
        });
    }
    fill(path, flags, length, false)
}

/// One number per line; short files are filled up with 0.
pub(super) fn numbers(path: &Path, content: &str, length: usize) -> Result<Vec<f64>, Error> {
    let mut numbers = Vec::with_capacity(length);
    for (index, line) in content.trim_end().lines().enumerate() {
        let line = line.trim();
        numbers.push(line.parse().map_err(|_| bad_line(path, index, "one number", line))?);
    }
    fill(path, numbers, length, 0.0)
}

/// An error about line `index` (from 0).
pub(super) fn bad_line(path: &Path, index: usize, expected: &'static str, found: &str) -> Error {
    Error::Line { path: path.to_owned(), line: index + 1, expected, found: shorten(found) }
}

fn fill<T: Clone>(path: &Path, mut values: Vec<T>, length: usize, value: T) -> Result<Vec<T>, Error> {
    if values.len() > length {
        return Err(Error::Length {
            path: path.to_owned(),
            other: "the sequence".to_owned(),
            expected: length,
            found: values.len(),
        });
    }
    values.resize(length, value);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_order_by_value() {
        let mut names = vec!["10.jpg", "9.jpg", "0008.jpg", "a2b", "a10b", "a2", "007.jpg", "7.jpg", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "007.jpg", "7.jpg", "0008.jpg", "9.jpg", "10.jpg", "a2", "a2b", "a10b"]);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let root = Path::new("data/bag");
        let from = Path::new("data/bag/sequence");
        assert_eq!(inside(root, "color/x", from).unwrap(), Path::new("data/bag/color/x"));
        for path in ["../x", "/etc/passwd", "a/../../x", ""] {
            assert!(inside(root, path, from).is_err(), "{path}");
        }
    }
}
