//! Region files: one region per line.

use std::fs;
use std::path::Path;

use super::Region;
use crate::error::Error;

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
