//! Per-frame overlaps that count for accuracy, and their means.

use super::eao::mean;
use crate::dialect::Dialect;
use crate::protocol::Trajectory;
use crate::region::{FAILURE, INITIALIZATION, Region, UNKNOWN};
use crate::sequence::Sequence;

/// Overlap of each frame as it enters accuracy: NaN on codes, on the [`Dialect::burnin`] frames from
/// each initialisation on, and where the dialect does not define it. With `tag`, only the frames that
/// have it, and the burn-in counts these frames alone (as in the MATLAB toolkit, which cuts first).
pub(super) fn overlaps(
    dialect: Dialect,
    sequence: &Sequence,
    size: (u32, u32),
    trajectory: &Trajectory,
    tag: Option<&str>,
) -> Vec<f64> {
    let mut found = Vec::new();
    let mut skip = 0;
    for (frame, (result, truth)) in trajectory.regions.iter().zip(&sequence.groundtruth).enumerate() {
        if tag.is_some_and(|tag| !sequence.has_tag(tag, frame)) {
            continue;
        }
        if result.is_code(INITIALIZATION) {
            skip = dialect.burnin().max(1);
        }
        let coded = [UNKNOWN, INITIALIZATION, FAILURE].iter().any(|code| result.is_code(*code));
        found.push(if skip > 0 || coded { f64::NAN } else { dialect.accuracy_overlap(result, truth, size) });
        skip = skip.saturating_sub(1);
    }
    found
}

/// Overlap of each frame as it enters EAO.
pub(super) fn eao_overlaps(dialect: Dialect, truth: &[Region], size: (u32, u32), trajectory: &Trajectory) -> Vec<f64> {
    trajectory.regions.iter().zip(truth).map(|(result, truth)| dialect.eao_overlap(result, truth, size)).collect()
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
