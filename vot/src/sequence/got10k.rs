//! The GOT-10k layout.

use std::path::Path;

use super::files::{described, flags, folder_name, images, numbers, optional_text, properties};
use super::{Layout, Sequence};
use crate::error::Error;
use crate::region::{INVISIBLE, Region, UNKNOWN, parse_regions};

/// Reads a sequence folder. Frames that `absence.label` marks have the code "invisible" as ground
/// truth; both label files are kept as tag `absence` and value `cover`. Sequences of the test part,
/// which have only the first box, are filled up with unknown and a warning says so.
pub(super) fn read(path: &Path) -> Result<Sequence, Error> {
    let frames = images(path, None)?;
    let truth_path = path.join("groundtruth.txt");
    let content = optional_text(&truth_path)?
        .ok_or_else(|| Error::Io { path: truth_path.clone(), source: std::io::ErrorKind::NotFound.into() })?;
    let mut groundtruth = parse_regions(&truth_path, &content)?;
    let length = if frames.is_empty() { groundtruth.len() } else { frames.len() };
    let mut warnings = Vec::new();
    if groundtruth.len() == 1 && length > 1 {
        warnings.push(format!(
            "{} has only the first of {length} boxes; the rest is taken as unknown",
            truth_path.display()
        ));
        groundtruth.resize(length, Region::Special(UNKNOWN));
    }
    if groundtruth.len() != length {
        return Err(Error::Length {
            path: truth_path,
            other: described(&frames, path),
            expected: length,
            found: groundtruth.len(),
        });
    }
    let mut sequence = Sequence::new(folder_name(path)?, groundtruth, None);
    (sequence.root, sequence.layout) = (path.to_owned(), Layout::Got10k);
    (sequence.frames, sequence.warnings) = (frames, warnings);
    let absence_path = path.join("absence.label");
    if let Some(content) = optional_text(&absence_path)? {
        let absence = flags(&absence_path, &content, length)?;
        for (region, absent) in sequence.groundtruth.iter_mut().zip(&absence) {
            if *absent {
                *region = Region::Special(INVISIBLE);
            }
        }
        sequence.tags.insert("absence".to_owned(), absence);
    }
    let cover_path = path.join("cover.label");
    if let Some(content) = optional_text(&cover_path)? {
        sequence.values.insert("cover".to_owned(), numbers(&cover_path, &content, length)?);
    }
    let meta = properties(&optional_text(&path.join("meta_info.ini"))?.unwrap_or_default());
    let all_numbers = |key: &str| -> Vec<u32> {
        let text = meta.get(key).map(String::as_str).unwrap_or_default();
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    if let [width, height] = *all_numbers("resolution")
        && width > 0
        && height > 0
    {
        (sequence.width, sequence.height) = (Some(width), Some(height));
    }
    sequence.class = meta.get("object_class").cloned().unwrap_or_default();
    sequence.fps = all_numbers("anno_fps").first().filter(|fps| **fps > 0).map(|fps| f64::from(*fps));
    Ok(sequence)
}
