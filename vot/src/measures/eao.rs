//! Expected average overlap: curves and their averages, in the two official definitions.

use std::ops::Range;

/// Every frame counts: the `tagged` of [`fragment_curve`] for the whole data set.
pub fn every_frame(_: usize, frames: Range<usize>) -> usize {
    frames.len()
}

/// One run over one sequence, as far as EAO is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct EaoRun {
    /// Overlap of each frame; NaN where it is not defined.
    pub overlaps: Vec<f64>,
    /// Frames on which the tracker failed, ascending, from 0.
    pub failures: Vec<usize>,
    /// Frames on which the tracker was initialised, ascending, from 0.
    pub initializations: Vec<usize>,
    /// Weight of the run: 1 / repetitions of its sequence. Unused in the Python definition.
    pub weight: f64,
}

/// Which fragment boundaries count in [`fragment_curve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// failure + skip < length: the MATLAB toolkit.
    BeforeEnd,
    /// failure + skip <= length: PySOT and MindSpore, where a re-initialisation that would fall on the
    /// frame after the last one still closes the fragment (and so fills it with zeros).
    AtEnd,
}

/// A stretch of a run: values from its first frame on, what follows them, and its weight.
struct Fragment<'a> {
    values: &'a [f64],
    /// NaN is taken as 0.
    gaps_are_zero: bool,
    /// After its end a failed fragment counts as zero; otherwise it is not defined there.
    zeros_follow: bool,
    weight: f64,
}

/// The curve of the MATLAB toolkit, PySOT and MindSpore. Entry i is the expected average overlap of
/// sequences of i + 1 frames, up to the longest run; entry 0 is 1.
///
/// Where a run has failures, fragments begin at frame 0 and `skip` frames after each failure. A
/// fragment that another one follows reaches up to and including that one's first frame, has NaN as 0,
/// and is followed by zeros; the last one has NaN as 0 and is not defined after its end. A run without
/// failure is one fragment whose NaN stay. Entry L is sum_f w_f * mean(fragment_f[2..L]) / sum_f w_f
/// over the fragments defined at L (frames from 1), 0 where none is, NaN where their weights sum to 0.
/// w_f is the run's weight times `tagged(run, frames)`, the number of tagged frames among a range, over
/// the fragment's number of frames; see [`every_frame`].
pub fn fragment_curve(
    runs: &[EaoRun],
    skip: usize,
    cut: Cut,
    tagged: &dyn Fn(usize, Range<usize>) -> usize,
) -> Vec<f64> {
    let longest = runs.iter().map(|run| run.overlaps.len()).max().unwrap_or(0);
    fragment_sums(runs, skip, cut, tagged, longest).fragment_curve()
}

/// What runs add to an EAO curve. Sums of several runs over the same `longest` add up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CurveSums {
    /// Per entry the weighted sum of means.
    sums: Vec<f64>,
    /// Per entry the sum of weights.
    weights: Vec<f64>,
    /// Per entry whether any fragment is defined there; weights may be 0 nevertheless.
    defined: Vec<bool>,
    /// Entries of the curve that these runs alone make.
    reach: usize,
}

impl CurveSums {
    fn new(longest: usize, reach: usize) -> Self {
        CurveSums { sums: vec![0.0; longest], weights: vec![0.0; longest], defined: vec![false; longest], reach }
    }

    /// Each of these sums so many times, cut at the longest that occurs at all.
    pub(crate) fn combine<'a>(parts: impl Iterator<Item = (&'a CurveSums, u32)> + Clone) -> Self {
        let drawn = parts.filter(|(_, count)| *count > 0);
        let reach = drawn.clone().map(|(part, _)| part.reach).max().unwrap_or(0);
        let mut total = CurveSums::new(reach, reach);
        for (part, count) in drawn {
            let count = f64::from(count);
            total.sums.iter_mut().zip(&part.sums).for_each(|(sum, value)| *sum += count * value);
            total.weights.iter_mut().zip(&part.weights).for_each(|(sum, value)| *sum += count * value);
            total.defined.iter_mut().zip(&part.defined).for_each(|(any, value)| *any |= value);
        }
        total
    }

    /// The curve of [`fragment_curve`].
    pub(crate) fn fragment_curve(&self) -> Vec<f64> {
        let entries = self.sums.iter().zip(&self.weights).zip(&self.defined);
        let mut curve: Vec<f64> =
            entries.map(|((sum, weight), defined)| if *defined { sum / weight } else { 0.0 }).collect();
        if let Some(first) = curve.first_mut() {
            *first = 1.0;
        }
        curve
    }

    /// The curve of [`python_curve`].
    pub(crate) fn python_curve(&self) -> Vec<f64> {
        self.sums.iter().zip(&self.weights).map(|(sum, active)| sum / active).collect()
    }
}

/// The sums of [`fragment_curve`], `longest` entries long.
pub(crate) fn fragment_sums(
    runs: &[EaoRun],
    skip: usize,
    cut: Cut,
    tagged: &dyn Fn(usize, Range<usize>) -> usize,
    longest: usize,
) -> CurveSums {
    let mut all = CurveSums::new(longest, runs.iter().map(|run| run.overlaps.len()).max().unwrap_or(0));
    for (index, run) in runs.iter().enumerate() {
        for fragment in fragments(run, skip, cut, &|frames| tagged(index, frames)) {
            let mut total = 0.0;
            for at in 0..longest {
                let value = match fragment.values.get(at) {
                    Some(value) if value.is_nan() && fragment.gaps_are_zero => 0.0,
                    Some(value) => *value,
                    None if fragment.zeros_follow => 0.0,
                    None => break,
                };
                if at == 0 {
                    continue;
                }
                total += value;
                if !value.is_nan() {
                    all.sums[at] += fragment.weight * (total / at as f64);
                    all.weights[at] += fragment.weight;
                    all.defined[at] = true;
                }
            }
        }
    }
    all
}

fn fragments<'a>(run: &'a EaoRun, skip: usize, cut: Cut, tagged: &dyn Fn(Range<usize>) -> usize) -> Vec<Fragment<'a>> {
    let length = run.overlaps.len();
    let share = |from: usize, to: usize, frames: usize| {
        if frames == 0 { 0.0 } else { run.weight * tagged(from..to.min(length)) as f64 / frames as f64 }
    };
    if run.failures.is_empty() {
        return vec![Fragment {
            values: &run.overlaps,
            gaps_are_zero: false,
            zeros_follow: false,
            weight: share(0, length, length),
        }];
    }
    let mut points = vec![0];
    points.extend(run.failures.iter().map(|failure| failure + skip).filter(|point| match cut {
        Cut::BeforeEnd => *point < length,
        Cut::AtEnd => *point <= length,
    }));
    let mut found = Vec::with_capacity(points.len());
    for (index, start) in points.iter().enumerate() {
        let (end, frames, zeros_follow) = match points.get(index + 1) {
            Some(next) => (next + 1, next + 1 - start, true),
            None => (length, length - start, false),
        };
        found.push(Fragment {
            values: run.overlaps.get(*start..end.min(length)).unwrap_or_default(),
            gaps_are_zero: true,
            zeros_follow,
            weight: share(*start, end, frames),
        });
    }
    found
}

/// The curve of the official Python toolkit. Entry j is the expected average overlap over frames 1 to j
/// (from 0); entry 0 is the mean overlap on the initial frames.
///
/// Each initialisation with the failure after it is a fragment that counts as zero after its end; the
/// tail after the last initialisation counts up to its end. Entry j is the mean of mean(o[1..j]) over
/// the fragments that are active there; all weigh the same. The curve ends with the longest fragment.
pub fn python_curve(runs: &[EaoRun]) -> Vec<f64> {
    python_sums(runs, python_reach(runs)).python_curve()
}

/// Each initialisation up to the failure after it, and whether it failed.
fn python_pieces(run: &EaoRun) -> Vec<(&[f64], bool)> {
    let piece = |from: usize, to: usize| run.overlaps.get(from..to).unwrap_or_default();
    if run.failures.is_empty() {
        return vec![(&run.overlaps, false)];
    }
    let starts = run.initializations.iter();
    let mut pieces: Vec<_> = starts.zip(&run.failures).map(|(start, end)| (piece(*start, *end), true)).collect();
    if let Some(start) = run.initializations.last().filter(|_| run.initializations.len() > run.failures.len()) {
        pieces.push((piece(*start, run.overlaps.len()), false));
    }
    pieces
}

/// Length of the longest fragment of [`python_curve`].
pub(crate) fn python_reach(runs: &[EaoRun]) -> usize {
    runs.iter().flat_map(python_pieces).map(|(values, _)| values.len()).max().unwrap_or(0)
}

/// The sums of [`python_curve`], `longest` entries long.
pub(crate) fn python_sums(runs: &[EaoRun], longest: usize) -> CurveSums {
    let mut all = CurveSums::new(longest, python_reach(runs));
    for (values, failed) in runs.iter().flat_map(python_pieces) {
        let mut total = 0.0;
        for at in 0..longest {
            let value = match values.get(at) {
                Some(value) => *value,
                None if failed => 0.0,
                None => break,
            };
            all.weights[at] += 1.0;
            if at == 0 {
                all.sums[at] += value;
            } else {
                total += value;
                all.sums[at] += total / at as f64;
            }
        }
    }
    all
}

/// EAO of a [`fragment_curve`]: the mean over lengths `low` to `high` (from 1, clipped to the curve's
/// end), leaving out NaN. `None` where nothing is left.
pub fn average_lengths(curve: &[f64], low: usize, high: usize) -> Option<f64> {
    let piece = curve.get(low.saturating_sub(1)..high.min(curve.len()))?;
    mean(piece.iter().copied().filter(|value| !value.is_nan()))
}

/// EAO of a [`python_curve`]: the mean of entries `low` to `high` (from 0), cut at the curve's end.
/// `None` where the curve ends before `low`.
pub fn average_entries(curve: &[f64], low: usize, high: usize) -> Option<f64> {
    let piece = curve.get(low..high.saturating_add(1).min(curve.len()))?;
    mean(piece.iter().copied()).filter(|value| !value.is_nan())
}

/// Mean, `None` of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0usize);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A run with the protocol's codes as NaN: initialisations, failures and the frames between.
    fn run(mut overlaps: Vec<f64>, failures: &[usize]) -> EaoRun {
        let length = overlaps.len();
        let mut initializations = vec![0];
        for failure in failures {
            if failure + 5 < length {
                initializations.push(failure + 5);
            }
            overlaps[*failure..(failure + 5).min(length)].fill(f64::NAN);
        }
        for frame in &initializations {
            overlaps[*frame] = f64::NAN;
        }
        EaoRun { overlaps, failures: failures.to_vec(), initializations, weight: 1.0 }
    }

    /// The three synthetic sequences of the reference values.
    fn reference() -> Vec<EaoRun> {
        vec![
            run((0..400).map(|t| 0.6 + 0.1 * (f64::from(t) / 10.0).sin()).collect(), &[]),
            run(vec![0.5; 300], &[120]),
            run(vec![0.7; 150], &[50, 100]),
        ]
    }

    #[test]
    fn reference_values_of_three_synthetic_sequences() {
        let runs = reference();
        for cut in [Cut::BeforeEnd, Cut::AtEnd] {
            let curve = fragment_curve(&runs, 5, cut, &every_frame);
            assert!((average_lengths(&curve, 108, 371).unwrap() - 0.304238).abs() < 2e-6);
        }
        let zero: Vec<EaoRun> = runs
            .into_iter()
            .map(|mut run| {
                run.overlaps.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
                run
            })
            .collect();
        let curve = python_curve(&zero);
        assert!((average_entries(&curve, 108, 371).unwrap() - 0.303443).abs() < 2e-6);
        assert!((average_entries(&curve, 107, 370).unwrap() - 0.304238).abs() < 2e-6);
    }

    #[test]
    fn a_restart_right_behind_the_end() {
        // Failure at 5 of 10 frames: the next start would be frame 10, which does not exist.
        let runs = [run(vec![0.8; 10], &[5]), run(vec![0.4; 14], &[])];
        let open = fragment_curve(&runs, 5, Cut::BeforeEnd, &every_frame);
        let closed = fragment_curve(&runs, 5, Cut::AtEnd, &every_frame);
        assert!((open[11] - 0.4).abs() < 1e-12);
        // Ten of the eleven frames up to the start that is missing exist: weight 10/11 (PySOT's quirk).
        let weight = 10.0 / 11.0;
        assert!((closed[11] - (0.4 + weight * 3.2 / 11.0) / (1.0 + weight)).abs() < 1e-12);
    }

    #[test]
    fn intervals_outside_of_the_curve() {
        assert_eq!(average_lengths(&[1.0, 0.5, f64::NAN, 0.3], 2, 9), Some(0.4));
        assert_eq!(average_lengths(&[1.0, 0.5], 3, 9), None);
        assert_eq!(average_lengths(&[1.0, f64::NAN], 2, 2), None);
        assert_eq!(average_entries(&[0.0, 0.5, 0.3], 1, 9), Some(0.4));
        assert_eq!(average_entries(&[0.0, 0.5], 2, 9), None);
        assert!(fragment_curve(&[], 5, Cut::AtEnd, &every_frame).is_empty() && python_curve(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn curves_stay_between_zero_and_the_largest_overlap(
            overlaps in prop::collection::vec(0.0..1.0f64, 30..80),
            other in prop::collection::vec(0.0..1.0f64, 30..80),
            failure in 1usize..29,
        ) {
            let most = overlaps.iter().chain(&other).copied().fold(0.0, f64::max);
            let runs = [run(overlaps, &[]), run(other, &[failure])];
            for value in fragment_curve(&runs, 5, Cut::BeforeEnd, &every_frame).into_iter().skip(1) {
                prop_assert!(value >= 0.0 && value <= most + 1e-12, "{value} {most}");
            }
        }

        #[test]
        fn without_failures_it_lies_between_the_extremes(overlaps in prop::collection::vec(0.0..1.0f64, 12..60)) {
            let (least, most) = overlaps.iter().fold((1.0f64, 0.0f64), |(l, m), v| (l.min(*v), m.max(*v)));
            let runs = [run(overlaps, &[])];
            let eao = average_lengths(&fragment_curve(&runs, 5, Cut::BeforeEnd, &every_frame), 5, 12).unwrap();
            prop_assert!(eao >= least - 1e-12 && eao <= most + 1e-12);
            let eao = average_entries(&python_curve(&runs), 4, 11).unwrap();
            prop_assert!(eao >= least - 1e-12 && eao <= most + 1e-12);
        }
    }
}
