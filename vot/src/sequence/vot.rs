//! The VOT layout.

use std::path::{Path, PathBuf};

use super::files::{described, entries, flags, folder_name, images, inside, numbers, optional_text, properties};
use super::{Layout, Sequence};
use crate::error::Error;
use crate::region::{Region, UNKNOWN, parse_regions};

/// Reads a sequence folder. The number of frames is that of the images; without images that of
/// `length` in `sequence`; without that the number of ground-truth lines. Ground truth that is shorter
/// is filled up with unknown, as the official toolkit does, and a warning says so.
pub(super) fn read(path: &Path) -> Result<Sequence, Error> {
    let described_by = path.join("sequence");
    let description = properties(&optional_text(&described_by)?.unwrap_or_default());
    let positive = |key: &'static str| -> Result<Option<u32>, Error> {
        let Some(text) = description.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(Error::Format {
                path: described_by.clone(),
                reason: format!("{key}= must be a positive whole number, found `{text}`"),
            }),
        }
    };
    let frames = frames(path, description.get("channels.color").map(String::as_str), &described_by)?;
    let truth_path = groundtruth_path(path, description.get("groundtruth").map(String::as_str), &described_by)?;
    let content = optional_text(&truth_path)?.ok_or_else(|| missing(&truth_path))?;
    let mut groundtruth = parse_regions(&truth_path, &content)?;
    let mut warnings = Vec::new();

    let announced = positive("length")?.map(|length| length as usize);
    let (length, source) = match (frames.len(), announced) {
        (0, Some(length)) => (length, described_by.display().to_string()),
        (0, None) => (groundtruth.len(), String::new()),
        (count, announced) => {
            let source = described(&frames, frames.first().and_then(|frame| frame.parent()).unwrap_or(path));
            if let Some(found) = announced.filter(|found| *found != count) {
                return Err(Error::Length { path: described_by, other: source, expected: count, found });
            }
            (count, source)
        }
    };
    if groundtruth.len() > length {
        let found = groundtruth.len();
        return Err(Error::Length { path: truth_path, other: source, expected: length, found });
    }
    if groundtruth.len() < length {
        warnings.push(format!(
            "{} has {} regions for {length} frames; the rest is taken as unknown",
            truth_path.display(),
            groundtruth.len()
        ));
        groundtruth.resize(length, Region::Special(UNKNOWN));
    }

    let mut sequence = Sequence::new(folder_name(path)?, groundtruth, None);
    (sequence.root, sequence.layout) = (path.to_owned(), Layout::Vot);
    (sequence.frames, sequence.warnings) = (frames, warnings);
    (sequence.width, sequence.height) = (positive("width")?, positive("height")?);
    sequence.fps = description.get("fps").and_then(|text| text.parse().ok()).filter(|fps: &f64| *fps > 0.0);
    for (name, folder) in entries(path)? {
        let Some((stem, ending)) = name.rsplit_once('.').filter(|_| !folder) else { continue };
        let file = path.join(&name);
        match ending {
            "tag" | "label" => {
                let content = optional_text(&file)?.unwrap_or_default();
                sequence.tags.insert(stem.to_owned(), flags(&file, &content, length)?);
            }
            "value" => {
                let content = optional_text(&file)?.unwrap_or_default();
                sequence.values.insert(stem.to_owned(), numbers(&file, &content, length)?);
            }
            _ => {}
        }
    }
    Ok(sequence)
}

/// The images: where `channels.color` says, else in `color/`, else in the folder itself.
fn frames(path: &Path, channel: Option<&str>, described_by: &Path) -> Result<Vec<PathBuf>, Error> {
    let Some(pattern) = channel.filter(|pattern| !pattern.is_empty()) else {
        let color = images(&path.join("color"), None)?;
        return if color.is_empty() { images(path, None) } else { Ok(color) };
    };
    let place = inside(path, pattern, described_by)?;
    match place.extension().and_then(|ending| ending.to_str()) {
        Some(ending) => images(place.parent().unwrap_or(path), Some(ending)),
        None => images(&place, None),
    }
}

fn groundtruth_path(path: &Path, named: Option<&str>, described_by: &Path) -> Result<PathBuf, Error> {
    if let Some(name) = named {
        return inside(path, name, described_by);
    }
    let usual = path.join("groundtruth.txt");
    if usual.is_file() {
        return Ok(usual);
    }
    let mut objects: Vec<String> = entries(path)?
        .into_iter()
        .filter(|(name, folder)| !folder && name.starts_with("groundtruth_") && name.ends_with(".txt"))
        .map(|(name, _)| name)
        .collect();
    match (objects.pop(), objects.len()) {
        (Some(name), 0) => Ok(path.join(name)),
        (Some(_), others) => Err(Error::Format {
            path: path.to_owned(),
            reason: format!(
                "it has ground truth for {} targets; the supervised protocol follows one, \
                 so name it in `sequence` with groundtruth=FILE",
                others + 1
            ),
        }),
        (None, _) => Ok(usual),
    }
}

fn missing(path: &Path) -> Error {
    Error::Io { path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() }
}
