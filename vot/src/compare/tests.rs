//! Resamples and intervals against hand-made cases, and laws they must keep.

use proptest::prelude::*;

use super::*;
use crate::measures::{Counted, OnePassParts, Parts, Runs, ScoreOptions, onepass, score};
use crate::protocol::Trajectory;
use crate::{Dialect, Region, Sequence};

/// A run over a box that does not move: `offset` px beside it, failing at the frames given.
fn sequence(name: &str, length: usize, offset: f64, failures: &[usize]) -> (Sequence, Vec<Trajectory>) {
    let truth = vec![Region::rect(50.0, 50.0, 40.0, 40.0); length];
    let mut regions = vec![Region::rect(50.0 + offset, 50.0, 40.0, 40.0); length];
    regions[0] = Region::Special(1);
    for failure in failures {
        for (at, code) in [(0, 2), (1, 0), (2, 0), (3, 0), (4, 0), (5, 1)] {
            if let Some(region) = regions.get_mut(failure + at) {
                *region = Region::Special(code);
            }
        }
    }
    (Sequence::new(name, truth, Some((320, 240))), vec![Trajectory::from_regions(regions)])
}

fn data() -> Vec<(Sequence, Vec<Trajectory>)> {
    vec![
        sequence("a", 40, 2.0, &[]),
        sequence("b", 70, 5.0, &[20]),
        sequence("c", 120, 1.0, &[]),
        sequence("d", 90, 9.0, &[15, 60]),
        sequence("e", 55, 3.0, &[52]),
    ]
}

fn runs(data: &[(Sequence, Vec<Trajectory>)]) -> Vec<Runs<'_>> {
    data.iter().map(|(sequence, trajectories)| Runs { sequence, trajectories }).collect()
}

/// The data set that really has each sequence so many times, under new names.
fn repeated(data: &[(Sequence, Vec<Trajectory>)], counts: &[u32]) -> Vec<(Sequence, Vec<Trajectory>)> {
    let copies = |((sequence, runs), count): (&(Sequence, Vec<Trajectory>), &u32)| {
        let copy = |n| (Sequence { name: format!("{}-{n}", sequence.name), ..sequence.clone() }, runs.clone());
        (0..*count).map(copy).collect::<Vec<_>>()
    };
    data.iter().zip(counts).flat_map(copies).collect()
}

#[test]
fn quantiles_as_numpy_has_them() {
    let values = [1.0, 2.0, 4.0, 8.0];
    for (q, expected) in [(0.0, 1.0), (0.5, 3.0), (1.0, 8.0), (0.25, 1.75), (0.9, 6.8)] {
        assert!((quantile(&values, q).unwrap() - expected).abs() < 1e-12, "{q}");
    }
    assert_eq!((quantile(&[], 0.5), quantile(&[3.0], 0.975)), (None, Some(3.0)));
}

#[test]
fn two_sequences_by_hand() {
    // Means over draws of two from {0, 1}: 0, 0.5 and 1 with chances 1/4, 1/2 and 1/4.
    let draws = Resamples::new(2, 4000, 1);
    let mean = |counts: &[u32]| vec![f64::from(counts[1]) / 2.0];
    let values = draws.values(mean);
    for (value, chance) in [(0.0, 0.25), (0.5, 0.5), (1.0, 0.25)] {
        let share = values.rows.iter().filter(|row| row[0] == value).count() as f64 / 4000.0;
        assert!((share - chance).abs() < 0.03, "{value}: {share}");
    }
    assert_eq!(values.spreads(), [Spread { interval: Some([0.0, 1.0]), undefined: 0 }]);
    assert_eq!(values.minus(&values).spreads()[0].interval, Some([0.0, 0.0]));
}

#[test]
fn what_is_not_defined_is_left_out_and_counted() {
    let rows = vec![vec![1.0, f64::NAN], vec![2.0], vec![f64::NAN, f64::NAN]];
    let spreads = Values { rows }.spreads();
    assert_eq!((spreads[0].undefined, spreads[1]), (1, Spread { interval: None, undefined: 3 }));
    let [low, high] = spreads[0].interval.unwrap();
    assert!((low - 1.025).abs() < 1e-12 && (high - 1.975).abs() < 1e-12);
}

#[test]
fn verdicts_know_which_side_is_good() {
    for (interval, higher, sequences, expected) in [
        (Some([0.1, 0.2]), true, 10, Verdict::Better),
        (Some([0.1, 0.2]), false, 10, Verdict::Worse),
        (Some([-0.2, -0.1]), false, 10, Verdict::Better),
        (Some([-0.2, 0.1]), true, 10, Verdict::Noise),
        (Some([0.0, 0.1]), true, 10, Verdict::Noise),
        (Some([0.0, 0.0]), true, 1, Verdict::Noise),
        (Some([0.1, 0.2]), true, 4, Verdict::TooFew),
        (None, true, 10, Verdict::Undefined),
    ] {
        assert_eq!(verdict(interval, higher, sequences), expected, "{interval:?} {higher} {sequences}");
    }
}

#[test]
fn a_hundredfold_error_is_no_noise_and_a_tracker_is_not_better_than_itself() {
    let good: Vec<_> = (0..8).map(|i| sequence(&format!("s{i}"), 60 + 5 * i, 1.0, &[])).collect();
    let bad: Vec<_> = (0..8).map(|i| sequence(&format!("s{i}"), 60 + 5 * i, 20.0 + i as f64, &[12 + i])).collect();
    let draws = Resamples::new(8, 500, 0);
    for dialect in Dialect::ALL {
        let values = |data: &[_]| {
            let parts = Parts::new(dialect, &runs(data), (10, 50)).unwrap();
            draws.values(|counts| {
                let m = parts.measures(counts);
                vec![m.accuracy, m.eao.unwrap_or(f64::NAN), -m.robustness_per_100]
            })
        };
        let (good, bad) = (values(&good), values(&bad));
        for (at, spread) in good.minus(&bad).spreads().into_iter().enumerate() {
            assert_eq!(verdict(spread.interval, true, 8), Verdict::Better, "{dialect} {at} {spread:?}");
        }
        for spread in good.minus(&good).spreads() {
            assert_eq!(spread.interval, Some([0.0, 0.0]));
        }
    }
}

proptest! {
    #[test]
    fn resamples_have_as_many_sequences_and_follow_from_the_seed(sequences in 1usize..40, seed: u64) {
        let draws = Resamples::new(sequences, 20, seed);
        for counts in draws.iter() {
            prop_assert_eq!(counts.len(), sequences);
            prop_assert_eq!(counts.iter().sum::<u32>() as usize, sequences);
        }
        prop_assert_eq!(&draws, &Resamples::new(sequences, 20, seed));
        prop_assert!(sequences < 5 || draws != Resamples::new(sequences, 20, seed ^ 1));
    }

    /// A resample scores as the data set that really consists of the drawn sequences: EAO too, in every dialect.
    #[test]
    fn a_resample_scores_as_the_data_set_it_stands_for(counts in prop::collection::vec(0u32..4, 5)) {
        prop_assume!(counts.iter().any(|count| *count > 0));
        let data = data();
        let real = repeated(&data, &counts);
        for dialect in Dialect::ALL {
            let options = ScoreOptions { interval: Some((20, 60)), curve: true, ..ScoreOptions::default() };
            let expected = score(dialect, &runs(&real), &options).unwrap();
            let found = Parts::new(dialect, &runs(&data), (20, 60)).unwrap().measures(&counts);
            let curve: Vec<f64> = expected.eao_curve.unwrap().into_iter().map(Option::unwrap).collect();
            prop_assert_eq!(curve.len(), found.curve.len());
            let pairs = [
                (expected.accuracy, found.accuracy),
                (expected.failures, found.failures),
                (expected.robustness_per_100, found.robustness_per_100),
                (expected.robustness_mean_failures, found.robustness_mean_failures),
                (expected.robustness_weighted_failures, found.robustness_weighted_failures),
                (expected.reliability, found.reliability),
                (expected.eao.unwrap_or(-1.0), found.eao.unwrap_or(-1.0)),
            ];
            for (at, (a, b)) in pairs.into_iter().chain(curve.into_iter().zip(found.curve)).enumerate() {
                prop_assert!((a - b).abs() < 1e-12, "{} {} {} {}", dialect, at, a, b);
            }
        }
        let expected = onepass(&runs(&real), true).unwrap();
        let found = OnePassParts::new(&runs(&data), Counted::OnePass).unwrap().measures(&counts);
        prop_assert!((expected.success_auc - found.success_auc).abs() < 1e-12);
        prop_assert!((expected.precision_20 - found.precision_20).abs() < 1e-12);
        prop_assert!((expected.average_overlap.unwrap() - found.average_overlap.unwrap()).abs() < 1e-12);
        for (a, b) in expected.success_curve.unwrap().into_iter().zip(found.success) {
            prop_assert!((a - b).abs() < 1e-12);
        }
    }

    #[test]
    fn an_interval_lies_within_the_values(values in prop::collection::vec(-5.0..5.0f64, 1..60)) {
        let rows: Vec<Vec<f64>> = values.iter().map(|value| vec![*value]).collect();
        let [low, high] = Values { rows }.spreads()[0].interval.unwrap();
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
        prop_assert!(least <= low && low <= high && high <= most);
    }
}
