//! The numbers of a report.

use super::load::{Loaded, Loading};
use super::{ReportError, ReportOptions};
use crate::evaluate::score_options;
use schemas::report::{
    BootstrapDoc, Comparison, Curve, Difference, FrameOf, Measure, Origin, ReportDoc, TrackerReport,
};
use std::collections::BTreeSet;
use vot::Dialect;
use vot::compare::{CONFIDENCE, LEAST_SEQUENCES, Resamples, Values, verdict};
use vot::measures::{
    Counted, Measures, OnePassMeasures, OnePassParts, Parts, Runs, Score, counted_frames, onepass, onepass_frames,
    score,
};
use vot::protocol::Protocol;

/// A measure: its key in the documents, its name for people, whether higher is better, digits shown.
pub struct MeasureKind {
    pub key: &'static str,
    pub title: &'static str,
    pub higher: bool,
    pub digits: usize,
}

const fn kind(key: &'static str, title: &'static str, higher: bool, digits: usize) -> MeasureKind {
    MeasureKind { key, title, higher, digits }
}

/// The measures of the supervised protocol.
const SUPERVISED: [MeasureKind; 7] = [
    kind("accuracy", "Accuracy", true, 3),
    kind("robustness_per_100", "Failures per 100 frames", false, 3),
    kind("robustness_mean_failures", "Failures per sequence", false, 3),
    kind("robustness_weighted_failures", "Weighted failures", false, 3),
    kind("failures", "Failures", false, 2),
    kind("reliability", "Reliability (S = 30)", true, 3),
    kind("eao", "EAO", true, 4),
];

/// The measures of one pass.
const ONE_PASS: [MeasureKind; 8] = [
    kind("success_auc", "Success (area)", true, 3),
    kind("success_50", "Success at 0.5", true, 3),
    kind("precision_20", "Precision at 20 px", true, 3),
    kind("normalised_precision_auc", "Norm. precision (area)", true, 3),
    kind("normalised_precision_20", "Norm. precision at 0.2", true, 3),
    kind("average_overlap", "AO", true, 3),
    kind("success_rate_50", "SR50", true, 3),
    kind("success_rate_75", "SR75", true, 3),
];

/// The measures of a protocol, in the order of every list of them.
pub fn kinds(protocol: &str) -> &'static [MeasureKind] {
    if protocol == Protocol::Supervised.as_str() { &SUPERVISED } else { &ONE_PASS }
}

/// Points of the EAO curve that are kept, at most.
const EAO_POINTS: usize = 200;
/// Worst frames listed per tracker.
const WORST: usize = 24;
/// Distance between two worst frames of a run, frames.
const APART: usize = 10;

/// What a tracker's sequences contribute, for one protocol.
enum Contributions {
    /// The measures, and the frames with a box for the plots.
    Supervised(Parts, OnePassParts),
    OnePass(OnePassParts),
}

fn supervised_row(m: &Measures) -> Vec<f64> {
    let eao = m.eao.unwrap_or(f64::NAN);
    let units = [m.robustness_per_100, m.robustness_mean_failures, m.robustness_weighted_failures];
    [&[m.accuracy][..], &units, &[m.failures, m.reliability, eao]].concat()
}

fn one_pass_row(m: &OnePassMeasures) -> Vec<f64> {
    let got = [m.average_overlap, m.success_rate_50, m.success_rate_75].map(|v| v.unwrap_or(f64::NAN));
    let precision = [m.precision_20, m.normalised_precision_auc, m.normalised_precision_20];
    [&[m.success_auc, m.success_50][..], &precision, &got].concat()
}

/// The places of the points that are kept of a curve of `length` entries from 1.
fn places(length: usize) -> Vec<usize> {
    let last = length.saturating_sub(1);
    let steps = EAO_POINTS.min(last).max(1);
    let mut all: Vec<usize> = (0..=steps).map(|i| 1.max(i * last / steps)).filter(|at| *at < length).collect();
    all.dedup();
    all
}

impl Contributions {
    /// Measures, then the points of every curve.
    fn row(&self, counts: &[u32], eao: &[usize]) -> Vec<f64> {
        let (mut row, plots) = match self {
            Self::Supervised(parts, plots) => {
                let m = parts.measures(counts);
                let mut row = supervised_row(&m);
                row.extend(eao.iter().map(|at| m.curve.get(*at).copied().unwrap_or(f64::NAN)));
                (row, plots.measures(counts))
            }
            Self::OnePass(parts) => {
                let m = parts.measures(counts);
                (one_pass_row(&m), m)
            }
        };
        row.extend(plots.success);
        row.extend(plots.precision);
        row
    }
}

/// One tracker's document, and its values over the resamples.
fn tracker(
    options: &ReportOptions,
    loading: &Loading,
    runs: &[Runs<'_>],
    resamples: &Resamples,
) -> Result<(TrackerReport, Values), ReportError> {
    let supervised = options.protocol == Protocol::Supervised;
    let (mut doc, mut one) = (None, None);
    let mut eao = Vec::new();
    let contributions = if supervised {
        let score = score(options.dialect, runs, &score_options(&options.dataset, options.interval)?)?;
        let [low, high] = score.eao_interval;
        let parts = Parts::new(options.dialect, runs, (low, high))?;
        eao = places(parts.measures(&vec![1; runs.len()]).curve.len());
        doc = Some(score);
        Contributions::Supervised(parts, OnePassParts::new(runs, Counted::Restarted)?)
    } else {
        one = Some(onepass(runs, false)?);
        Contributions::OnePass(OnePassParts::new(runs, Counted::OnePass)?)
    };
    let whole = contributions.row(&vec![1; runs.len()], &eao);
    let values = resamples.values(|counts| contributions.row(counts, &eao));
    let mut spreads = values.spreads().into_iter();
    let mut numbers = whole.into_iter().map(|value| Some(value).filter(|v| v.is_finite()));
    let mut next = || (numbers.next().flatten(), spreads.next());
    let mut measures = Vec::new();
    for kind in kinds(options.protocol.as_str()) {
        let (value, spread) = next();
        let interval = spread.and_then(|s| s.interval);
        let undefined = spread.map_or(0, |s| s.undefined as u64);
        measures.push(Measure { key: kind.key.to_owned(), value, interval, undefined });
    }
    let mut curve = |key: &str, places: Vec<f64>| {
        let points = places.into_iter().map(|place| {
            let (value, spread) = next();
            let [low, high] = spread.and_then(|s| s.interval).map_or([None; 2], |ends| ends.map(Some));
            [Some(place), value, low, high]
        });
        Curve { key: key.to_owned(), points: points.collect() }
    };
    let mut curves = Vec::new();
    if supervised {
        // Entry i of the curve is length i + 1; in vot-python frame i. The EAO interval is in the same unit.
        let first = usize::from(options.dialect != Dialect::VotPython);
        curves.push(curve("eao", eao.iter().map(|at| (at + first) as f64).collect()));
    }
    curves.push(curve("success", (0..=20).map(|i| f64::from(i) / 20.0).collect()));
    curves.push(curve("precision", (0..=50).map(f64::from).collect()));
    let repetitions = || loading.trajectories.iter().map(|runs| runs.len() as u64);
    let speeds: Vec<f64> = loading.trajectories.iter().flatten().filter_map(|t| t.fps()).collect();
    let frames_per_s = (!speeds.is_empty()).then(|| speeds.iter().sum::<f64>() / speeds.len() as f64);
    let report = TrackerReport {
        name: loading.name.clone(),
        origin: loading.origin.clone(),
        repetitions: [repetitions().min().unwrap_or(0), repetitions().max().unwrap_or(0)],
        frames_per_s,
        measures,
        curves,
        supervised: doc,
        one_pass: one,
        failures: if supervised { failures(runs) } else { Vec::new() },
        worst: worst(options, runs)?,
    };
    Ok((report, values))
}

fn failures(runs: &[Runs<'_>]) -> Vec<FrameOf> {
    let mut all = Vec::new();
    for run in runs {
        for (trajectory, repetition) in run.trajectories.iter().zip(1..) {
            let of = |frame| FrameOf { sequence: run.sequence.name.clone(), repetition, frame, overlap: None };
            all.extend(trajectory.failures().into_iter().map(|frame| of(frame as u64)));
        }
    }
    all
}

/// The counted frames of the first runs with the lowest overlap, those of one run at least [`APART`] frames apart.
fn worst(options: &ReportOptions, runs: &[Runs<'_>]) -> Result<Vec<FrameOf>, ReportError> {
    let mut all: Vec<FrameOf> = Vec::new();
    for run in runs {
        let frames = match options.protocol {
            Protocol::Supervised => counted_frames(options.dialect, *run)?,
            _ => onepass_frames(*run),
        };
        let mut frames = frames.into_iter().next().unwrap_or_default();
        frames.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        let mut chosen: Vec<(usize, f64)> = Vec::new();
        for (frame, overlap) in frames {
            if chosen.len() < WORST && chosen.iter().all(|(other, _)| other.abs_diff(frame) >= APART) {
                chosen.push((frame, overlap));
            }
        }
        let of = |(frame, overlap): (usize, f64)| FrameOf {
            sequence: run.sequence.name.clone(),
            repetition: 1,
            frame: frame as u64,
            overlap: Some(overlap),
        };
        all.extend(chosen.into_iter().map(of));
    }
    all.sort_by(|a, b| a.overlap.unwrap_or(0.0).total_cmp(&b.overlap.unwrap_or(0.0)));
    all.truncate(WORST);
    Ok(all)
}

/// Everything a report says.
pub fn numbers(options: &ReportOptions, loaded: &Loaded) -> Result<ReportDoc, ReportError> {
    let sequences = loaded.sequences.len();
    let resamples = Resamples::new(sequences, options.resamples, options.seed);
    let mut trackers = Vec::new();
    let mut values = Vec::new();
    for loading in &loaded.trackers {
        let (report, of) = tracker(options, loading, &loaded.runs(loading), &resamples)?;
        trackers.push(report);
        values.push(of);
    }
    let names = || trackers.iter().map(|tracker: &TrackerReport| tracker.name.clone());
    let at = match &options.reference {
        None => 0,
        Some(name) => names().position(|other| other == *name).ok_or_else(|| ReportError::NoReference {
            name: name.clone(),
            trackers: names().collect::<Vec<_>>().join(", "),
        })?,
    };
    let comparisons = trackers
        .iter()
        .zip(&values)
        .enumerate()
        .filter(|(i, _)| *i != at)
        .filter_map(|(_, one)| Some(compare(options, one, (trackers.get(at)?, values.get(at)?), sequences)))
        .collect();
    let supervised = options.protocol == Protocol::Supervised;
    Ok(ReportDoc {
        writer: schemas::format::writer_stamp("trackd"),
        dataset: options
            .dataset
            .canonicalize()
            .ok()
            .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
            .unwrap_or_else(|| options.dataset.to_string_lossy().into_owned()),
        protocol: options.protocol.to_string(),
        dialect: supervised.then(|| options.dialect.to_string()),
        experiment: options.experiment.clone().unwrap_or_else(|| options.protocol.experiment().to_owned()),
        sequences: sequences as u64,
        frames: loaded.sequences.iter().map(|sequence| sequence.len() as u64).sum(),
        bootstrap: BootstrapDoc {
            resamples: options.resamples as u64,
            seed: options.seed,
            confidence: CONFIDENCE,
            least_sequences: LEAST_SEQUENCES as u64,
        },
        reference: names().nth(at).unwrap_or_default(),
        comparisons,
        warnings: warnings(options, &trackers, sequences),
        trackers,
    })
}

fn compare(
    options: &ReportOptions,
    (tracker, values): (&TrackerReport, &Values),
    (reference, others): (&TrackerReport, &Values),
    sequences: usize,
) -> Comparison {
    let spreads = values.minus(others).spreads();
    let pairs = tracker.measures.iter().zip(&reference.measures).zip(spreads).zip(kinds(options.protocol.as_str()));
    let difference = |(((a, b), spread), kind): (((&Measure, &Measure), _), &MeasureKind)| {
        let vot::compare::Spread { interval, .. } = spread;
        Difference {
            key: kind.key.to_owned(),
            value: a.value.zip(b.value).map(|(a, b)| a - b),
            interval,
            verdict: verdict(interval, kind.higher, sequences),
        }
    };
    Comparison {
        tracker: tracker.name.clone(),
        reference: reference.name.clone(),
        differences: pairs.map(difference).collect(),
    }
}

fn warnings(options: &ReportOptions, trackers: &[TrackerReport], sequences: usize) -> Vec<String> {
    let mut all = Vec::new();
    if sequences < LEAST_SEQUENCES {
        let are = if sequences == 1 { "there is one sequence" } else { "there are few sequences" };
        all.push(format!(
            "{are} ({sequences}): intervals from fewer than {LEAST_SEQUENCES} mean little, and nothing is called a \
             difference"
        ));
    }
    for tracker in trackers {
        let scored = tracker.supervised.iter().map(|s| &s.warnings);
        all.extend(scored.chain(tracker.one_pass.iter().map(|s| &s.warnings)).flatten().cloned());
        let made = tracker.origin.as_ref().and_then(|origin: &Origin| origin.dialect.as_deref());
        let scored = tracker.supervised.as_ref().map(|score: &Score| score.dialect.as_str());
        if let (Some(made), Some(scored)) = (made, scored)
            && made != scored
        {
            all.push(format!(
                "{}: the runs were made with the failure test of {made}, the measures are those of {scored}",
                tracker.name
            ));
        }
        for measure in tracker.measures.iter().filter(|m| m.undefined > 0) {
            all.push(format!(
                "{}: {} is not defined in {} of {} resamples, which its interval leaves out",
                tracker.name, measure.key, measure.undefined, options.resamples
            ));
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|warning| seen.insert(warning.clone()));
    all
}
