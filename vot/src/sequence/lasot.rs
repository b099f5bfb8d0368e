//! The LaSOT layout.

use std::path::Path;

use super::files::{bad_line, folder_name, images, optional_text};
use super::otb::boxes;
use super::{Layout, Sequence};
use crate::error::Error;
use crate::region::{INVISIBLE, Region};

/// The file that every sequence of LaSOT has and no other layout.
pub(super) const MARK: &str = "out_of_view.txt";

/// Reads a sequence folder. x and y are shifted by -1, to count from 0 as everywhere here. Frames that
/// `out_of_view.txt` marks have the code "invisible"; `full_occlusion.txt` is kept as a tag. The class is
/// the folder's name without its number.
pub(super) fn read(path: &Path) -> Result<Sequence, Error> {
    let name = folder_name(path)?;
    let truth_path = path.join("groundtruth.txt");
    let content = optional_text(&truth_path)?
        .ok_or_else(|| Error::Io { path: truth_path.clone(), source: std::io::ErrorKind::NotFound.into() })?;
    let mut groundtruth = boxes(&truth_path, &content)?;
    let frames = images(&path.join("img"), None)?;
    if !frames.is_empty() && frames.len() != groundtruth.len() {
        return Err(Error::Length {
            path: truth_path,
            other: format!("the images in {}", path.join("img").display()),
            expected: frames.len(),
            found: groundtruth.len(),
        });
    }
    let length = groundtruth.len();
    for (region, gone) in groundtruth.iter_mut().zip(marks(&path.join(MARK), length)?) {
        if gone {
            *region = Region::Special(INVISIBLE);
        }
    }
    let class = name.rsplit_once('-').map_or(name.as_str(), |(class, _)| class).to_owned();
    let mut sequence = Sequence::new(name, groundtruth, None);
    (sequence.root, sequence.layout, sequence.frames) = (path.to_owned(), Layout::Lasot, frames);
    sequence.class = class;
    sequence.tags.insert("full_occlusion".to_owned(), marks(&path.join("full_occlusion.txt"), length)?);
    Ok(sequence)
}

/// One 0 or 1 per frame, on one line with commas or on a line each; all 0 where there is no such file.
fn marks(path: &Path, length: usize) -> Result<Vec<bool>, Error> {
    let Some(content) = optional_text(path)? else { return Ok(vec![false; length]) };
    let mut all = Vec::with_capacity(length);
    for (index, line) in content.lines().enumerate() {
        for token in line.split(',').map(str::trim).filter(|token| !token.is_empty()) {
            all.push(match token {
                "0" => false,
                "1" => true,
                other => return Err(bad_line(path, index, "0 or 1", other)),
            });
        }
    }
    if all.len() != length {
        let other = "groundtruth.txt".to_owned();
        return Err(Error::Length { path: path.to_owned(), other, expected: length, found: all.len() });
    }
    Ok(all)
}
