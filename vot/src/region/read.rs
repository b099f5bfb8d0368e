//! Region files: one region per line.

use std::fs;
use std::path::Path;

use super::{Rect, Region, siamrpn_init_box};
use crate::error::{Error, shorten};

/// Reads a text file with one region per line. CRLF and blank lines at the end are accepted, a blank
/// line between regions is an error that names the line.
pub fn read_regions(path: &Path) -> Result<Vec<Region>, Error> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    parse_regions(path, &text(path, &bytes)?)
}

/// The regions in `content`, one per line; `path` is only named in errors.
pub fn parse_regions(path: &Path, content: &str) -> Result<Vec<Region>, Error> {
    content
        .trim_end()
        .lines()
        .enumerate()
        .map(|(index, line)| {
            Region::parse(line).map_err(|source| Error::Region { path: path.to_owned(), line: index + 1, source })
        })
        .collect()
}

/// Reads the region on the first line of a file, as the box that SiamRPN starts from
/// ([`siamrpn_init_box`]). A NaN box, a code, a point and a box without area are errors that say so.
pub fn read_init_box(path: &Path) -> Result<Rect, Error> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    parse_init_box(path, &text(path, &bytes)?)
}

/// Like [`read_init_box`], of text that has been read already; `path` is only named in errors.
pub fn parse_init_box(path: &Path, content: &str) -> Result<Rect, Error> {
    let line = content.lines().next().unwrap_or_default();
    let region = Region::parse(line).map_err(|source| Error::Region { path: path.to_owned(), line: 1, source })?;
    siamrpn_init_box(&region).ok_or_else(|| {
        let what = match region {
            Region::Special(_) if line.to_ascii_lowercase().contains("nan") => "has NaN among its numbers",
            Region::Special(_) => "is a code, not a region",
            Region::Point(_) => "is a point, which has no size",
            _ => "has no area",
        };
        Error::InitBox { path: path.to_owned(), line: 1, reason: format!("`{}` {what}", shorten(line.trim())) }
    })
}

/// The text form of a region file: one region per line, with a newline after each.
pub fn format_regions(regions: &[Region]) -> String {
    regions.iter().map(|region| format!("{region}\n")).collect()
}

/// UTF-8 text of a file, without a byte order mark.
pub(crate) fn text(path: &Path, bytes: &[u8]) -> Result<String, Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| Error::Format {
        path: path.to_owned(),
        reason: format!("it is not a text file (byte {})", error.valid_up_to()),
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_trailing_blank_lines_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("groundtruth.txt");
        fs::write(&path, "\u{feff}1,2,3,4\r\nnan,nan,nan,nan\r\n\r\n  \n").unwrap();
        let regions = read_regions(&path).unwrap();
        assert_eq!(regions, vec![Region::rect(1.0, 2.0, 3.0, 4.0), Region::Special(0)]);
        assert_eq!(format_regions(&regions), "1,2,3,4\n0\n");
    }

    #[test]
    fn boxes_that_cannot_start_a_tracker_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.txt");
        fs::write(&path, "1,2,3,4\n0\n").unwrap();
        assert_eq!(read_init_box(&path).unwrap(), Rect::new(1.0, 2.0, 3.0, 4.0));
        for (line, why) in [
            ("nan,nan,nan,nan", "NaN"),
            ("NaN,2,3,4", "NaN"),
            ("1", "is a code"),
            ("5,6", "is a point"),
            ("5,6,0,4", "no area"),
            ("5,6,-3,4", "no area"),
            ("1,1,2,2,3,3", "no area"),
            ("", "empty"),
            ("a,b,c,d", "`a`"),
        ] {
            fs::write(&path, line).unwrap();
            let message = read_init_box(&path).unwrap_err().to_string();
            assert!(message.contains("clip.txt:1") && message.contains(why), "{line}: {message}");
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("groundtruth.txt");
        fs::write(&path, "1,2,3,4\n\n1,2,3,4\n").unwrap();
        let message = read_regions(&path).unwrap_err().to_string();
        assert!(message.contains("groundtruth.txt:2") && message.contains("empty"), "{message}");
        fs::write(&path, "1,2,3,4\n1,2,3,four\n").unwrap();
        let message = read_regions(&path).unwrap_err().to_string();
        assert!(message.contains("groundtruth.txt:2") && message.contains("`four`"), "{message}");
        fs::write(&path, [0xff, 0xd8, 0xff]).unwrap();
        assert!(read_regions(&path).unwrap_err().to_string().contains("not a text file"));
        let missing = folder.path().join("none.txt");
        assert!(read_regions(&missing).unwrap_err().to_string().contains("none.txt"));
    }
}
