//! The OTB layout.

use std::path::{Path, PathBuf};

use super::files::{bad_line, described, entries, folder_name, images, optional_text};
use super::{Layout, Sequence};
use crate::error::Error;
use crate::region::{Region, UNKNOWN};

/// Sequences whose ground truth covers only a part of the images, with the number of the image that it
/// begins on. Source: the benchmark's own list.
const PARTS: [(&str, usize); 5] = [("David", 300), ("Diving", 1), ("Football1", 1), ("Freeman3", 1), ("Freeman4", 1)];

/// Reads a sequence folder: one sequence per `groundtruth_rect*.txt`. x and y are shifted by -1, to
/// count from 0 as everywhere here.
pub(super) fn read(path: &Path) -> Result<Vec<Sequence>, Error> {
    let name = folder_name(path)?;
    let images = images(&path.join("img"), None)?;
    let files: Vec<String> = entries(path)?
        .into_iter()
        .filter(|(file, folder)| !folder && file.starts_with("groundtruth_rect") && file.ends_with(".txt"))
        .map(|(file, _)| file)
        .collect();
    let mut sequences = Vec::new();
    let several = files.len() > 1;
    for (index, file) in files.iter().enumerate() {
        let truth_path = path.join(file);
        let groundtruth = boxes(&truth_path, &optional_text(&truth_path)?.unwrap_or_default())?;
        let target = if several { format!("{name}-{}", index + 1) } else { name.clone() };
        let frames = part(&name, &images, groundtruth.len());
        if !frames.is_empty() && frames.len() != groundtruth.len() {
            return Err(Error::Length {
                path: truth_path,
                other: described(frames, &path.join("img")),
                expected: frames.len(),
                found: groundtruth.len(),
            });
        }
        let mut sequence = Sequence::new(target, groundtruth, None);
        (sequence.root, sequence.layout, sequence.frames) = (path.to_owned(), Layout::Otb, frames.to_vec());
        sequences.push(sequence);
    }
    if sequences.is_empty() {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(Error::Io { path: path.join("groundtruth_rect.txt"), source });
    }
    Ok(sequences)
}

/// The images that the ground truth is about.
fn part<'a>(name: &str, images: &'a [PathBuf], length: usize) -> &'a [PathBuf] {
    let Some((_, first)) = PARTS.iter().find(|(known, _)| *known == name) else { return images };
    if images.len() <= length {
        return images;
    }
    images.get(first - 1..first - 1 + length).unwrap_or(images)
}

/// One box per line, 1-based.
pub(super) fn boxes(path: &Path, content: &str) -> Result<Vec<Region>, Error> {
    const EXPECTED: &str = "x, y, width, height separated by commas, tabs or spaces";
    let mut regions = Vec::new();
    for (index, line) in content.trim_end().lines().enumerate() {
        let numbers: Result<Vec<f64>, _> = line
            .split(|c: char| c == ',' || c == ';' || c.is_whitespace())
            .filter(|token| !token.is_empty())
            .map(str::parse)
            .collect();
        match numbers.as_deref() {
            Ok([x, y, width, height]) if [x, y, width, height].iter().all(|v| v.is_finite()) => {
                regions.push(Region::rect(x - 1.0, y - 1.0, *width, *height));
            }
            Ok([x, y, width, height]) if [x, y, width, height].iter().any(|v| v.is_nan()) => {
                regions.push(Region::Special(UNKNOWN));
            }
            _ => return Err(bad_line(path, index, EXPECTED, line)),
        }
    }
    Ok(regions)
}
