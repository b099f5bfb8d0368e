//! Ground truth and every tracker's result files.

use super::{ReportError, ReportOptions};
use crate::evaluate::results_dir;
use schemas::report::Origin;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use vot::Sequence;
use vot::measures::Runs;
use vot::protocol::Trajectory;
use vot::results::read_trajectories;
use vot::sequence::read_dataset;

/// A tracker's results and what to call them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultsOf {
    /// Name in the report; `None` = that of the tracker's folder.
    pub name: Option<String>,
    /// The folder, as `trackd score --results` takes it.
    pub path: PathBuf,
}

impl ResultsOf {
    /// Reads `DIR` or `NAME=DIR`; a folder that exists under the whole text is meant itself.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !Path::new(text).exists() => {
                ResultsOf { name: Some(name.to_owned()), path: path.into() }
            }
            _ => ResultsOf { name: None, path: text.into() },
        }
    }
}

/// Everything that was read.
pub struct Loaded {
    /// The sequences, with their frame sizes where these can be found.
    pub sequences: Vec<Sequence>,
    /// The trackers.
    pub trackers: Vec<Loading>,
}

/// One tracker's results.
pub struct Loading {
    /// Its name in the report.
    pub name: String,
    /// What `run.json` says.
    pub origin: Option<Origin>,
    /// Per sequence all repetitions.
    pub trajectories: Vec<Vec<Trajectory>>,
}

impl Loaded {
    /// A tracker's runs, sequence by sequence.
    pub fn runs<'a>(&'a self, tracker: &'a Loading) -> Vec<Runs<'a>> {
        let pairs = self.sequences.iter().zip(&tracker.trajectories);
        pairs.map(|(sequence, trajectories)| Runs { sequence, trajectories }).collect()
    }

    /// The run of a tracker (by its place) over a sequence (by its name); repetitions from 1.
    pub fn run(&self, tracker: usize, sequence: &str, repetition: u64) -> Option<(&Sequence, &Trajectory)> {
        let at = self.sequences.iter().position(|s| s.name == sequence)?;
        let runs = self.trackers.get(tracker)?.trajectories.get(at)?;
        let repetition = usize::try_from(repetition).ok()?.checked_sub(1)?;
        Some((self.sequences.get(at)?, runs.get(repetition)?))
    }
}

/// Reads the data set and the results of every tracker.
pub fn load(options: &ReportOptions) -> Result<Loaded, ReportError> {
    let mut sequences = read_dataset(&options.dataset, None)?;
    let experiment = options.experiment.as_deref().unwrap_or(options.protocol.experiment());
    let mut trackers = Vec::with_capacity(options.results.len());
    let mut names = BTreeSet::new();
    for results in &options.results {
        let mut trajectories = Vec::with_capacity(sequences.len());
        let mut folder = None;
        for sequence in &mut sequences {
            let dir = results_dir(sequence, &results.path, experiment)?;
            trajectories.push(read_trajectories(&dir, &sequence.name)?);
            folder.get_or_insert_with(|| tracker_folder(&dir, experiment));
        }
        let folder = folder.unwrap_or_else(|| results.path.clone());
        let name = results.name.clone().unwrap_or_else(|| {
            let whole = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            whole.file_name().unwrap_or(OsStr::new("tracker")).to_string_lossy().into_owned()
        });
        if !names.insert(name.clone()) {
            return Err(ReportError::SameName { name });
        }
        let origin = std::fs::read(folder.join("run.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        trackers.push(Loading { name, origin, trajectories });
    }
    Ok(Loaded { sequences, trackers })
}

/// The tracker's folder above the folder of one sequence's results, with or without an experiment between them.
fn tracker_folder(sequence: &Path, experiment: &str) -> PathBuf {
    let above = sequence.parent().unwrap_or(sequence);
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    match above.parent() {
        Some(tracker) if above.file_name() == Some(OsStr::new(experiment)) => {
            if tracker.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                tracker.to_owned()
            }
        }
        _ => above.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_folders() {
        let of = |name: Option<&str>, path: &str| ResultsOf { name: name.map(str::to_owned), path: path.into() };
        assert_eq!(ResultsOf::parse("results/mine"), of(None, "results/mine"));
        assert_eq!(ResultsOf::parse("our best=results/a=b"), of(Some("our best"), "results/a=b"));
        assert_eq!(ResultsOf::parse("=x"), of(None, "=x"));
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("lr=0.3");
        std::fs::create_dir(&odd).unwrap();
        assert_eq!(ResultsOf::parse(odd.to_str().unwrap()), of(None, odd.to_str().unwrap()));
        for (dir, tracker) in [
            ("r/mine/baseline/bag", "r/mine"),
            ("r/mine/bag", "r/mine"),
            ("mine/baseline/bag", "mine"),
            ("baseline/bag", "."),
            ("bag", "."),
        ] {
            assert_eq!(tracker_folder(Path::new(dir), "baseline"), Path::new(tracker), "{dir}");
        }
    }
}
