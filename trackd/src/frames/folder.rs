//! Frames from image files.

use super::FrameError;
use shards::image::{ImageError, Rgb};
use shards::jpeg::{Limits, decode_image};
use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

/// The images of a folder in natural order (`f2.jpg` before `f10.jpg`); files whose names start with a dot, links
/// and everything that is not called `.jpg`, `.jpeg` or `.png` is left out.
///
/// # Errors
/// [`FrameError::Io`] when the folder cannot be read.
pub fn images(folder: &Path) -> Result<Vec<PathBuf>, FrameError> {
    let io = |source| FrameError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        let image = matches!(ending.as_deref(), Some("jpg" | "jpeg" | "png"));
        if image && !hidden && entry.file_type().map_err(io)?.is_file() {
            found.push(path);
        }
    }
    found.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(found)
}

/// Compares names so that numbers in them count as numbers; equal numbers are ordered by their length.
#[must_use]
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a, b);
    loop {
        let (a_digits, b_digits) = (digits(a_rest), digits(b_rest));
        let order = if a_digits > 0 && b_digits > 0 {
            let (x, y) = (a_rest.get(..a_digits).unwrap_or(""), b_rest.get(..b_digits).unwrap_or(""));
            let (p, q) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            (a_rest, b_rest) = (a_rest.get(a_digits..).unwrap_or(""), b_rest.get(b_digits..).unwrap_or(""));
            p.len().cmp(&q.len()).then_with(|| p.cmp(q)).then_with(|| x.len().cmp(&y.len()))
        } else {
            let (mut i, mut j) = (a_rest.chars(), b_rest.chars());
            let (x, y) = (i.next(), j.next());
            (a_rest, b_rest) = (i.as_str(), j.as_str());
            if x.is_none() && y.is_none() {
                return a.cmp(b);
            }
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Reads and decodes one image of at most `max_pixels`.
///
/// # Errors
/// [`FrameError::Io`] or [`FrameError::Image`], which name the file.
pub fn read(path: &Path, max_pixels: u64) -> Result<Rgb, FrameError> {
    let bytes = std::fs::read(path).map_err(|source| FrameError::Io { path: path.to_owned(), source })?;
    let limits = Limits { max_pixels: usize::try_from(max_pixels).unwrap_or(usize::MAX) };
    decode_image(&bytes, &limits).map_err(|e| match e {
        ImageError::TooLarge { width, height, .. } => {
            FrameError::TooLarge { path: path.to_owned(), width, height, max_pixels }
        }
        other => FrameError::Image { path: path.to_owned(), reason: other.to_string() },
    })
}

/// Pictures decoded ahead.
const AHEAD: usize = 4;

/// Image files, decoded in their order by a thread of its own while the pictures before are looked at.
#[derive(Debug)]
pub struct Pictures {
    folder: PathBuf,
    pictures: Receiver<Result<Rgb, FrameError>>,
    /// Number of files.
    pub count: u64,
    given: u64,
}

impl Pictures {
    /// Begins to read `files`; `folder` is for messages. The thread ends with the last file, the first damaged one, or
    /// when this is dropped.
    #[must_use]
    pub fn new(folder: &Path, files: Vec<PathBuf>, max_pixels: u64) -> Self {
        let count = files.len() as u64;
        let (send, pictures) = sync_channel(AHEAD);
        std::thread::spawn(move || {
            for file in files {
                let picture = read(&file, max_pixels);
                let last = picture.is_err();
                if send.send(picture).is_err() || last {
                    return;
                }
            }
        });
        Self { folder: folder.to_owned(), pictures, count, given: 0 }
    }

    /// The next picture, `None` after the last.
    ///
    /// # Errors
    /// [`FrameError`] of the file that cannot be read.
    pub fn read_next(&mut self) -> Result<Option<Rgb>, FrameError> {
        if self.given == self.count {
            return Ok(None);
        }
        self.given += 1;
        match self.pictures.recv() {
            Ok(picture) => picture.map(Some),
            Err(_) => Err(FrameError::Image {
                path: self.folder.clone(),
                reason: format!("the decoder crashed at picture {} of {}", self.given, self.count),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = vec!["f10.jpg", "f9.jpg", "f09.jpg", "f1.jpg", "g1.jpg", "F2.jpg", "f.jpg"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["F2.jpg", "f.jpg", "f1.jpg", "f9.jpg", "f09.jpg", "f10.jpg", "g1.jpg"]);
    }

    #[test]
    fn only_visible_images_are_frames() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["2.jpg", "10.JPG", "1.png", ".3.jpg", "groundtruth.txt", "4.jpg.part"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("5.jpg")).unwrap();
        let names: Vec<String> = images(folder.path())
            .unwrap()
            .iter()
            .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["1.png", "2.jpg", "10.JPG"]);
        let e = read(&folder.path().join("2.jpg"), 100).unwrap_err().to_string();
        assert!(e.contains("2.jpg"), "{e}");
    }

    proptest! {
        #[test]
        fn natural_order_is_an_order(mut names in proptest::collection::vec("[a0-9é]{0,6}", 0..12)) {
            names.sort_by(|a, b| natural(a, b));
            for (i, a) in names.iter().enumerate() {
                for b in names.iter().skip(i) {
                    prop_assert_ne!(natural(a, b), Ordering::Greater);
                    prop_assert_eq!(natural(a, b), natural(b, a).reverse());
                }
            }
        }
    }
}
