//! Per-frame overlaps that count for accuracy, and their means.

use super::eao::mean;
use crate::dialect::Dialect;
use crate::protocol::Trajectory;
use crate::region::{FAILURE, INITIALIZATION, Region, UNKNOWN};
use crate::sequence::Sequence;

/// The overlaps that count for accuracy, of `all` frames' ([`Dialect::accuracy_overlap`]): NaN on codes, on the
/// [`Dialect::burnin`] frames from each initialisation on, and where the dialect does not define it. With `tag`, only the
/// frames that have it, and the burn-in counts these frames alone (as in the MATLAB toolkit, which cuts first).
pub(super) fn counted(
    dialect: Dialect,
    sequence: &Sequence,
    trajectory: &Trajectory,
    all: &[f64],
    tag: Option<&str>,
) -> Vec<f64> {
    let mut found = Vec::new();
    let mut skip = 0;
    for (frame, (result, overlap)) in trajectory.regions.iter().zip(all).enumerate() {
        if tag.is_some_and(|tag| !sequence.has_tag(tag, frame)) {
            continue;
        }
        if result.is_code(INITIALIZATION) {
            skip = dialect.burnin().max(1);
        }
        let coded = [UNKNOWN, INITIALIZATION, FAILURE].iter().any(|code| result.is_code(*code));
        found.push(if skip > 0 || coded { f64::NAN } else { *overlap });
        skip = skip.saturating_sub(1);
    }
    found
}

/// One overlap per frame, as it enters accuracy and as it enters EAO.
#[derive(Default)]
pub(super) struct Overlaps {
    pub(super) accuracy: Vec<f64>,
    pub(super) eao: Vec<f64>,
}

impl Overlaps {
    pub(super) fn of(dialect: Dialect, truth: &[Region], size: (u32, u32), trajectory: &Trajectory) -> Self {
        let each = |overlap: &dyn Fn(&Region, &Region) -> f64| -> Vec<f64> {
            trajectory.regions.iter().zip(truth).map(|(result, truth)| overlap(result, truth)).collect()
        };
        let accuracy = each(&|result, truth| dialect.accuracy_overlap(result, truth, size));
        let eao = match dialect {
            // The same definition, which is dear.
            Dialect::VotPython | Dialect::Mindspore => accuracy.clone(),
            _ => each(&|result, truth| dialect.eao_overlap(result, truth, size)),
        };
        Overlaps { accuracy, eao }
    }
}

/// Mean over the values that are not NaN.
pub(super) fn nan_mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    mean(values.into_iter().filter(|value| !value.is_nan()))
}

/// Per frame the mean over repetitions, NaN where none has a value.
pub(super) fn mean_over_repetitions(repetitions: &[Vec<f64>]) -> Vec<f64> {
    let length = repetitions.iter().map(Vec::len).max().unwrap_or(0);
    (0..length)
        .map(|frame| nan_mean(repetitions.iter().filter_map(|run| run.get(frame).copied())).unwrap_or(f64::NAN))
        .collect()
}
