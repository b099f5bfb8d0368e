//! Finding, reading and writing the result files of a sequence.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Run, read_region_file, read_values, result_files};
use crate::error::{Error, shorten};
use crate::protocol::Trajectory;

/// Writes one run into `dir`, which is made if need be: regions as text or binary. Every file is written under a
/// temporary name, flushed to disk and renamed; the regions come last, so that a run that can be
/// seen is complete.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written.
pub fn write_trajectory(
    dir: &Path,
    sequence: &str,
    run: Run,
    trajectory: &Trajectory,
    binary: bool,
) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    for (name, bytes) in result_files(sequence, run, trajectory, binary).into_iter().rev() {
        let path = dir.join(&name);
        let temporary = dir.join(format!(".{name}.part"));
        let mut file = fs::File::create(&temporary).map_err(Error::io(&temporary))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(Error::io(&temporary))?;
        fs::rename(&temporary, &path).map_err(Error::io(&path))?;
    }
    // A run that was there before in the other form must not be read instead.
    let other = dir.join(format!("{}.{}", run.stem(sequence), if binary { "txt" } else { "bin" }));
    match fs::remove_file(&other) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io { path: other, source }),
        _ => Ok(()),
    }
}

/// Reads one run: `.txt`, else `.bin`, with times and confidences where they
/// exist. Files with other properties are left alone.
pub fn read_trajectory(dir: &Path, sequence: &str, run: Run) -> Result<Trajectory, Error> {
    read(dir, sequence, run, None)
}

/// Reads one run of `length` frames as [`read_trajectory`] does; another length is an error that names the file.
pub fn read_complete(dir: &Path, sequence: &str, run: Run, length: usize) -> Result<Trajectory, Error> {
    read(dir, sequence, run, Some(length))
}

fn read(dir: &Path, sequence: &str, run: Run, expected: Option<usize>) -> Result<Trajectory, Error> {
    let stem = run.stem(sequence);
    let text = dir.join(format!("{stem}.txt"));
    let binary = dir.join(format!("{stem}.bin"));
    let path = if binary.is_file() && !text.is_file() { binary } else { text };
    let mut trajectory = Trajectory::from_regions(read_region_file(&path)?);
    let length = trajectory.len();
    if let Some(expected) = expected.filter(|expected| *expected != length) {
        return Err(Error::ResultLength { path, expected, found: length });
    }
    let times = dir.join(format!("{stem}_time.value"));
    let table = dir.join(format!("{sequence}_time.txt"));
    if times.is_file() {
        trajectory.times = read_values(&times, length)?;
    } else if let (true, Run::Repetition(repetition)) = (table.is_file(), run) {
        trajectory.times = read_time_table(&table, repetition, length)?;
    }
    let confidences = dir.join(format!("{stem}_confidence.value"));
    if confidences.is_file() {
        trajectory.confidences = read_values(&confidences, length)?;
    }
    Ok(trajectory)
}

/// Column `repetition` of the MATLAB toolkit's table of seconds, frames by repetitions.
fn read_time_table(path: &Path, repetition: usize, length: usize) -> Result<Vec<Option<f64>>, Error> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let content = crate::region::text(path, &bytes)?;
    let mut values = Vec::new();
    for (index, line) in content.trim_end().lines().enumerate() {
        let Some(cell) = line.split(',').nth(repetition - 1).map(str::trim) else {
            values.push(None);
            continue;
        };
        let value: f64 = cell.parse().map_err(|_| Error::Line {
            path: path.to_owned(),
            line: index + 1,
            expected: "seconds, one column per repetition",
            found: shorten(cell),
        })?;
        values.push(value.is_finite().then_some(value));
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

/// The repetitions of a sequence that `dir` holds, ascending, from 1. Empty when the folder is missing.
pub fn repetitions(dir: &Path, sequence: &str) -> Result<Vec<usize>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { path: dir.to_owned(), source }),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io(dir))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let number = name
            .strip_prefix(sequence)
            .and_then(|rest| rest.strip_prefix('_'))
            .and_then(|rest| rest.strip_suffix(".txt").or_else(|| rest.strip_suffix(".bin")))
            .filter(|digits| digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse::<usize>().ok());
        found.extend(number.filter(|number| *number > 0));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Reads every repetition of a sequence that `dir` holds. None at all is an error.
pub fn read_trajectories(dir: &Path, sequence: &str) -> Result<Vec<Trajectory>, Error> {
    every_repetition(dir, sequence, &|run| read_trajectory(dir, sequence, run))
}

/// As [`read_trajectories`]; a run that has not `length` frames is an error that names its file.
pub fn read_complete_trajectories(dir: &Path, sequence: &str, length: usize) -> Result<Vec<Trajectory>, Error> {
    every_repetition(dir, sequence, &|run| read_complete(dir, sequence, run, length))
}

fn every_repetition(
    dir: &Path,
    sequence: &str,
    read: &dyn Fn(Run) -> Result<Trajectory, Error>,
) -> Result<Vec<Trajectory>, Error> {
    let found = repetitions(dir, sequence)?;
    if found.is_empty() {
        return Err(Error::NoResults { path: dir.to_owned(), sequence: sequence.to_owned() });
    }
    found.into_iter().map(|repetition| read(Run::Repetition(repetition))).collect()
}

/// The folder with the results of `sequence`: `RESULTS/<experiment>/<sequence>`, else
/// `RESULTS/<sequence>`, else `RESULTS[/results]/<tracker>/<experiment>/<sequence>` where there is only
/// one tracker.
pub fn sequence_dir(results: &Path, experiment: &str, sequence: &str) -> Result<PathBuf, Error> {
    for candidate in [results.join(experiment).join(sequence), results.join(sequence)] {
        if candidate.is_dir() {
            return Ok(candidate);
        }
    }
    for root in [results.to_owned(), results.join("results")] {
        let mut found: Vec<PathBuf> = match fs::read_dir(&root) {
            Ok(entries) => entries
                .filter_map(Result::ok)
                .map(|entry| entry.path().join(experiment).join(sequence))
                .filter(|path| path.is_dir())
                .collect(),
            Err(_) => continue,
        };
        if let (Some(path), true) = (found.pop(), found.is_empty()) {
            return Ok(path);
        }
    }
    Err(Error::NoResults { path: results.to_owned(), sequence: sequence.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Region;

    fn sample() -> Trajectory {
        let mut trajectory = Trajectory::from_regions(vec![
            Region::Special(1),
            Region::rect(1.25, 2.0, 3.0, 4.0),
            Region::Special(2),
            Region::Special(0),
        ]);
        trajectory.times = vec![Some(0.5), Some(0.25), Some(0.125), None];
        trajectory.confidences = vec![None, Some(0.75), Some(0.0), None];
        trajectory
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("results/mine/baseline/bag");
        write_trajectory(&dir, "bag", Run::Repetition(1), &sample(), false).unwrap();
        assert_eq!(read_trajectory(&dir, "bag", Run::Repetition(1)).unwrap(), sample());
        write_trajectory(&dir, "bag", Run::Repetition(12), &sample(), true).unwrap();
        write_trajectory(&dir, "bag", Run::Repetition(12), &sample(), false).unwrap();
        write_trajectory(&dir, "bag", Run::Repetition(12), &sample(), true).unwrap();
        assert!(dir.join("bag_012.bin").is_file() && !dir.join("bag_012.txt").exists());
        write_trajectory(&dir, "bag", Run::Anchor(50), &sample(), false).unwrap();
        assert!(dir.join("bag_00000050.txt").is_file());
        assert_eq!(read_trajectory(&dir, "bag", Run::Anchor(50)).unwrap(), sample());
        assert_eq!(repetitions(&dir, "bag").unwrap(), [1, 12]);
        assert_eq!(read_trajectories(&dir, "bag").unwrap(), [sample(), sample()]);
        let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{left:?}");
    }

    #[test]
    fn the_folder_is_found_in_each_arrangement() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let dir = root.join("results/mine/baseline/bag");
        fs::create_dir_all(&dir).unwrap();
        for start in ["", "results", "results/mine", "results/mine/baseline"] {
            assert_eq!(sequence_dir(&root.join(start), "baseline", "bag").unwrap(), dir, "{start}");
        }
        fs::create_dir_all(root.join("results/other/baseline/bag")).unwrap();
        let message = sequence_dir(root, "baseline", "bag").unwrap_err().to_string();
        assert!(message.contains("`bag`") && message.contains("bag_001.txt"), "{message}");
    }

    #[test]
    fn matlab_times_come_from_their_table() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        fs::write(dir.join("bag_001.txt"), "1\n1,2,3,4\n").unwrap();
        fs::write(dir.join("bag_002.txt"), "1\n1,2,3,4\n").unwrap();
        fs::write(dir.join("bag_time.txt"), "0.5,0.25\n0.125,NaN\n").unwrap();
        let runs = read_trajectories(dir, "bag").unwrap();
        assert_eq!(runs[0].times, [Some(0.5), Some(0.125)]);
        assert_eq!(runs[1].times, [Some(0.25), None]);
    }

    #[test]
    fn missing_and_broken_results_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let message = read_trajectories(&dir.join("none"), "bag").unwrap_err().to_string();
        assert!(message.contains("none") && message.contains("`bag`"), "{message}");
        fs::write(dir.join("bag_001.txt"), "1\n1,2,3\n").unwrap();
        let message = read_trajectories(dir, "bag").unwrap_err().to_string();
        assert!(message.contains("bag_001.txt:2"), "{message}");
    }
}
