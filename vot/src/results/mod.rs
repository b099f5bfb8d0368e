//! Official result files.
//!
//! `<sequence>_001.txt` holds one region or code per line, `<sequence>_001.bin` the same in binary,
//! `<sequence>_001_time.value` the seconds per frame and `<sequence>_001_confidence.value` the
//! confidences, one number per line and a blank line where there is none. 001 is the repetition; the
//! multi-start experiment has the anchor's frame there instead, `<sequence>_00000050`. They lie in `results/<tracker>/<experiment>/<sequence>/`; the MATLAB toolkit writes one
//! `<sequence>_time.txt` per sequence instead, a table of frames by repetitions.

mod binary;
mod folder;

use std::fs;
use std::path::Path;

pub use binary::{decode_regions, encode_regions};
pub use folder::{
    read_complete, read_complete_trajectories, read_trajectories, read_trajectory, repetitions, sequence_dir,
    write_trajectory,
};

/// Which run of a sequence a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// A repetition, from 1.
    Repetition(usize),
    /// The run from an anchor of the multi-start experiment, named by its frame, from 0.
    Anchor(usize),
}

impl Run {
    /// `<sequence>_001` or `<sequence>_00000050`.
    fn stem(self, sequence: &str) -> String {
        match self {
            Run::Repetition(number) => format!("{sequence}_{number:03}"),
            Run::Anchor(frame) => format!("{sequence}_{frame:08}"),
        }
    }
}

use crate::error::{Error, shorten};
use crate::protocol::Trajectory;
use crate::region::{format_regions, parse_regions};

/// The files of one run as names and contents, for the caller to store. Regions as text or binary; times always,
/// confidences if there are any.
pub fn result_files(sequence: &str, run: Run, trajectory: &Trajectory, binary: bool) -> Vec<(String, Vec<u8>)> {
    let stem = run.stem(sequence);
    let mut files = if binary {
        vec![(format!("{stem}.bin"), encode_regions(&trajectory.regions))]
    } else {
        vec![(format!("{stem}.txt"), format_regions(&trajectory.regions).into_bytes())]
    };
    for (name, values) in [("time", &trajectory.times), ("confidence", &trajectory.confidences)] {
        if name == "time" || values.iter().any(Option::is_some) {
            files.push((format!("{stem}_{name}.value"), format_values(values).into_bytes()));
        }
    }
    files
}

/// The text of a `.value` file: one number per line, blank where there is none.
pub fn format_values(values: &[Option<f64>]) -> String {
    values.iter().map(|value| value.map_or_else(|| "\n".to_owned(), |value| format!("{value}\n"))).collect()
}

/// Reads a `.value` file for a sequence of `length` frames. Missing lines at the end are values that
/// are not known; more lines than frames are an error.
pub fn read_values(path: &Path, length: usize) -> Result<Vec<Option<f64>>, Error> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let content = crate::region::text(path, &bytes)?;
    let mut values = Vec::with_capacity(length);
    for (index, line) in content.lines().enumerate() {
        let line = line.trim();
        values.push(match line {
            "" | "None" => None,
            _ => Some(line.parse().map_err(|_| Error::Line {
                path: path.to_owned(),
                line: index + 1,
                expected: "one number or nothing",
                found: shorten(line),
            })?),
        });
    }
    while values.len() > length && values.last().is_some_and(Option::is_none) {
        values.pop();
    }
    if values.len() > length {
        return Err(Error::Length {
            path: path.to_owned(),
            other: "the trajectory beside it".to_owned(),
            expected: length,
            found: values.len(),
        });
    }
    values.resize(length, None);
    Ok(values)
}

/// Reads regions from a `.txt` or `.bin` file, told apart by the first bytes as the toolkit does.
fn read_region_file(path: &Path) -> Result<Vec<crate::region::Region>, Error> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    if bytes.starts_with(&binary::VERSION) {
        decode_regions(path, &bytes)
    } else {
        parse_regions(path, &crate::region::text(path, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Region;

    #[test]
    fn values_keep_their_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a_001_time.value");
        let values = vec![Some(0.25), None, Some(1e-5), None];
        fs::write(&path, format_values(&values)).unwrap();
        assert_eq!(read_values(&path, 4).unwrap(), values);
        assert_eq!(read_values(&path, 6).unwrap().len(), 6);
        assert_eq!(read_values(&path, 3).unwrap().len(), 3);
        let message = read_values(&path, 2).unwrap_err().to_string();
        assert!(message.contains("a_001_time.value has 3 entries") && message.contains("has 2"), "{message}");
        fs::write(&path, "0.1\nfast\n").unwrap();
        let message = read_values(&path, 2).unwrap_err().to_string();
        assert!(message.contains("a_001_time.value:2") && message.contains("`fast`"), "{message}");
    }

    #[test]
    fn names_follow_the_toolkit() {
        let mut trajectory = Trajectory::from_regions(vec![Region::Special(1), Region::rect(1.5, 2.0, 3.0, 4.0)]);
        let names = |trajectory: &Trajectory, binary| -> Vec<String> {
            result_files("bag", Run::Repetition(2), trajectory, binary).into_iter().map(|file| file.0).collect()
        };
        assert_eq!(names(&trajectory, false), ["bag_002.txt", "bag_002_time.value"]);
        trajectory.confidences[1] = Some(0.5);
        assert_eq!(names(&trajectory, true), ["bag_002.bin", "bag_002_time.value", "bag_002_confidence.value"]);
        let files = result_files("bag", Run::Repetition(2), &trajectory, false);
        assert_eq!(files[0].1, b"1\n1.5,2,3,4\n");
        assert_eq!(files[1].1, b"\n\n");
        assert_eq!(files[2].1, b"\n0.5\n");
    }
}
