//! The official cases in every dialect, and what must be refused.

use serde_json::Value;
use std::collections::BTreeMap;

use super::*;
use crate::region::Region;

/// A case of the official toolkits: sequences, their trajectories and the interval.
struct Case {
    name: String,
    sequences: Vec<(Sequence, Vec<Trajectory>)>,
    interval: (usize, usize),
}

impl Case {
    fn score(&self, dialect: Dialect) -> Score {
        let options = ScoreOptions { interval: Some(self.interval), dataset: None, curve: true };
        score(dialect, &self.runs(), &options).unwrap()
    }

    fn runs(&self) -> Vec<Runs<'_>> {
        self.sequences.iter().map(|(sequence, trajectories)| Runs { sequence, trajectories }).collect()
    }
}

fn lines(value: &Value) -> Vec<Region> {
    value.as_array().unwrap().iter().map(|line| Region::parse(line.as_str().unwrap()).unwrap()).collect()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn cases() -> Vec<Case> {
    let all: Value = serde_json::from_str(include_str!("../../tests/cases/cases.json")).unwrap();
    let read = |case: &Value| Case {
        name: case["name"].as_str().unwrap().to_owned(),
        interval: (number(&case["eao"]["low"]), number(&case["eao"]["high"])),
        sequences: case["sequences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let name = entry["name"].as_str().unwrap();
                let size = (number(&entry["width"]) as u32, number(&entry["height"]) as u32);
                let mut sequence = Sequence::new(name, lines(&entry["groundtruth"]), Some(size));
                for (tag, flags) in entry["tags"].as_object().unwrap() {
                    let flags = flags.as_array().unwrap().iter().map(|flag| flag == 1 || flag == true).collect();
                    sequence.tags.insert(tag.clone(), flags);
                }
                let runs = case["results"][name].as_array().unwrap();
                (sequence, runs.iter().map(|run| Trajectory::from_regions(lines(run))).collect())
            })
            .collect(),
    };
    all["cases"].as_array().unwrap().iter().map(read).collect()
}

fn expected(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Collects differences, so that one failure shows all.
#[derive(Default)]
struct Differences {
    found: Vec<String>,
    checked: usize,
    /// By the first word of what was checked, the case's name: values compared and the largest difference.
    cases: BTreeMap<String, (usize, f64)>,
}

impl Differences {
    fn check(&mut self, what: String, expected: &Value, found: Option<f64>, tolerance: f64) {
        self.checked += 1;
        let case = what.split([' ', '[']).next().unwrap_or_default().to_owned();
        let (count, largest) = self.cases.entry(case).or_default();
        *count += 1;
        *largest = largest.max(expected.as_f64().zip(found).map_or(0.0, |(a, b)| (a - b).abs()));
        let fits = match (expected.as_f64(), found) {
            (None, found) => found.is_none_or(f64::is_nan),
            (Some(expected), Some(found)) => (expected - found).abs() <= tolerance,
            (Some(_), None) => false,
        };
        if !fits {
            self.found.push(format!("{what}: expected {expected}, found {found:?}"));
        }
    }

    fn list(&mut self, what: &str, expected: &Value, found: &[Option<f64>], tolerance: f64) {
        let expected = expected.as_array().unwrap();
        assert_eq!(expected.len(), found.len(), "{what}");
        for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
            self.check(format!("{what}[{at}]"), expected, *found, tolerance);
        }
    }

    fn none(&self, least: usize) {
        assert!(self.found.is_empty(), "{} of {}:\n{}", self.found.len(), self.checked, self.found.join("\n"));
        assert!(self.checked >= least, "only {} checked", self.checked);
    }
}

fn defined(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().map(|value| Some(*value).filter(|value| !value.is_nan())).collect()
}

fn eao_overlaps(dialect: Dialect, sequence: &Sequence, trajectory: &Trajectory) -> Vec<Option<f64>> {
    let size = sequence.size().unwrap();
    defined(&Overlaps::of(dialect, &sequence.groundtruth, size, trajectory).eao)
}

const TIGHT: f64 = 2e-6;
const FLOAT32: f64 = 2e-5;

fn vot_python() -> Differences {
    let expected = expected(include_str!("../../tests/cases/expected_vot_toolkit.json"));
    let mut differences = Differences::default();
    for case in cases() {
        let found = case.score(Dialect::VotPython);
        let wanted = &expected["results"][&case.name];
        for (key, value, tolerance) in [
            ("accuracy", Some(found.accuracy), TIGHT),
            ("failures_weighted_mean", Some(found.robustness_weighted_failures), TIGHT),
            ("failures_total", Some(found.failures), TIGHT),
            ("ar_robustness", Some(found.reliability), TIGHT),
            ("eao", found.eao, FLOAT32),
        ] {
            differences.check(format!("{} {key}", case.name), &wanted["all"][key], value, tolerance);
        }
        differences.list(&case.name, &wanted["eao_curve"], &found.eao_curve.unwrap(), FLOAT32);
        for (sequence, trajectories) in &case.sequences {
            let wanted = &wanted["sequences"][&sequence.name];
            let score = &found.sequences[&sequence.name];
            let what = format!("{} {}", case.name, sequence.name);
            differences.check(format!("{what} accuracy"), &wanted["accuracy"], score.accuracy, TIGHT);
            differences.check(format!("{what} failures"), &wanted["failures"], Some(score.failures), TIGHT);
            differences.check(format!("{what} reliability"), &wanted["ar_robustness"], Some(score.reliability), TIGHT);
            for (index, trajectory) in trajectories.iter().enumerate() {
                let overlaps = eao_overlaps(Dialect::VotPython, sequence, trajectory);
                differences.list(&what, &wanted["overlaps"][index], &overlaps, TIGHT);
            }
        }
    }
    differences
}

fn matlab(dialect: Dialect, settings: &str) -> Differences {
    let expected = expected(include_str!("../../tests/cases/expected_matlab_octave.json"));
    let mut differences = Differences::default();
    for case in cases() {
        let found = case.score(dialect);
        let wanted = &expected[&case.name][settings];
        for (key, value) in [
            ("accuracy_weighted_mean", Some(found.accuracy)),
            ("accuracy_pooled", found.accuracy_pooled),
            ("failures_weighted_mean", Some(found.robustness_weighted_failures)),
            ("failures_mean", Some(found.robustness_mean_failures)),
            ("failures_pooled", Some(found.failures)),
            ("failure_rate_pooled", Some(found.robustness_per_100 / 100.0)),
            ("eao", found.eao),
        ] {
            differences.check(format!("{} {key}", case.name), &wanted[key], value, TIGHT);
        }
        differences.list(&case.name, &wanted["eao_curve"], found.eao_curve.as_ref().unwrap(), TIGHT);
        for (at, (sequence, trajectories)) in case.sequences.iter().enumerate() {
            let what = format!("{} {}", case.name, sequence.name);
            let score = &found.sequences[&sequence.name];
            let of = |key: &str| if wanted[key].is_array() { wanted[key][at].clone() } else { wanted[key].clone() };
            differences.check(format!("{what} accuracy"), &of("accuracy_per_sequence"), score.accuracy, TIGHT);
            differences.check(format!("{what} failures"), &of("failures_per_sequence"), Some(score.failures), TIGHT);
            for (index, trajectory) in trajectories.iter().enumerate() {
                let overlaps = eao_overlaps(dialect, sequence, trajectory);
                differences.list(&what, &wanted["overlaps"][&sequence.name][index], &overlaps, TIGHT);
            }
        }
        let Some(tags) = wanted.get("tags").and_then(Value::as_array) else {
            assert!(found.tags.is_empty());
            continue;
        };
        for (at, tag) in tags.iter().enumerate() {
            let name = tag.as_str().unwrap().trim_start_matches("tag_");
            let score = &found.tags[name];
            let frames = wanted["tag_lengths"][at].as_u64().unwrap();
            assert_eq!(score.frames, frames, "{name}");
            let (accuracy, failures) = (score.accuracy.unwrap_or(0.0), (frames > 0).then_some(score.failures));
            differences.check(
                format!("{} {name} accuracy", case.name),
                &wanted["tag_accuracy"][at],
                Some(accuracy),
                TIGHT,
            );
            differences.check(format!("{} {name} failures", case.name), &wanted["tag_failures"][at], failures, TIGHT);
        }
        for (at, name) in wanted["tag_curve_names"].as_array().unwrap().iter().enumerate() {
            let eao = match name.as_str().unwrap() {
                "all" => found.eao,
                tag => found.tags[tag].eao,
            };
            differences.check(format!("{} {name} eao", case.name), &wanted["tag_eao"][at], eao, TIGHT);
        }
    }
    differences
}

fn pysot() -> Differences {
    let expected = expected(include_str!("../../tests/cases/expected_pysot.json"));
    let mut differences = Differences::default();
    for case in cases() {
        let found = case.score(Dialect::Pysot);
        let wanted = &expected[&case.name];
        for (key, value) in
            [("accuracy", found.accuracy), ("robustness", found.robustness_per_100), ("lost_number", found.failures)]
        {
            differences.check(format!("{} {key}", case.name), &wanted[key], Some(value), TIGHT);
        }
        for (tag, value) in wanted["eao"].as_object().unwrap() {
            let eao = if tag == "all" { found.eao } else { found.tags[tag].eao };
            differences.check(format!("{} eao {tag}", case.name), value, eao, FLOAT32);
        }
        for run in &prepare(Dialect::Pysot, &case.runs()).unwrap() {
            let name = &run.sequence.name;
            let what = format!("{} {name}", case.name);
            let score = &found.sequences[name];
            differences.check(what.clone(), &wanted["per_video"][name]["accuracy"], score.accuracy, TIGHT);
            differences.check(what.clone(), &wanted["per_video"][name]["failures"], Some(score.failures), TIGHT);
            let averaged = mean_over_repetitions(&run.overlaps(Dialect::Pysot, None));
            differences.list(&what, &wanted["overlaps_bound_w_h"][name], &defined(&averaged), TIGHT);
            for (index, trajectory) in run.trajectories.iter().enumerate() {
                let overlaps = eao_overlaps(Dialect::Pysot, run.sequence, trajectory);
                differences.list(&what, &wanted["overlaps_eao"][name][index], &overlaps, TIGHT);
            }
        }
    }
    differences
}

fn mindspore() -> Differences {
    let expected = expected(include_str!("../../tests/cases/expected_mindspore.json"));
    let mut differences = Differences::default();
    for case in cases().iter().filter(|case| expected.get(&case.name).is_some()) {
        let options = ScoreOptions { interval: Some(case.interval), ..ScoreOptions::default() };
        let found = eval_json(&case.runs(), &options).unwrap();
        let wanted = &expected[&case.name];
        for (key, tolerance) in [("accuracy", TIGHT), ("robustness", TIGHT), ("eao", FLOAT32)] {
            let value = found["all_videos"][key].as_f64();
            differences.check(format!("{} {key}", case.name), &wanted["all_videos"][key], value, tolerance);
        }
        assert_eq!(found["all_videos"]["dialect"], "mindspore");
        for (sequence, trajectories) in &case.sequences {
            let what = format!("{} {}", case.name, sequence.name);
            let (wanted, found) = (&wanted["per_video"][&sequence.name], &found[&sequence.name]);
            differences.check(what.clone(), &wanted["acc"], found["acc"].as_f64(), TIGHT);
            differences.check(what.clone(), &wanted["num_failures"], found["num_failures"].as_f64(), 0.0);
            let overlaps = eao_overlaps(Dialect::Mindspore, sequence, &trajectories[0]);
            differences.list(&what, &wanted["overlaps"], &overlaps, TIGHT);
        }
    }
    differences
}

/// Every dialect agrees with the toolkit's own output on every case, and docs/evaluation.md says how well.
#[test]
fn the_toolkits_own_output() {
    let dialects = [
        ("`vot-python`", vot_python(), 3000),
        ("`vot-matlab`", matlab(Dialect::VotMatlab, "vot2016"), 3000),
        ("`vot-matlab-2015`", matlab(Dialect::VotMatlab2015, "vot2015"), 3000),
        ("`pysot`", pysot(), 3000),
        ("`mindspore`", mindspore(), 1500),
    ];
    let cell = |differences: &Differences, case: &str| match differences.cases.get(case) {
        None => "-".to_owned(),
        Some((count, largest)) => format!("{count}: 1e{}", (largest.log10().ceil() as i32).max(-12)),
    };
    let mut table = format!("| case | {} |\n|---|---|---|---|---|---|\n", dialects.each_ref().map(|d| d.0).join(" | "));
    for case in cases() {
        let cells = dialects.each_ref().map(|(_, differences, _)| cell(differences, &case.name));
        table += &format!("| {} | {} |\n", case.name, cells.join(" | "));
    }
    for (_, differences, least) in &dialects {
        differences.none(*least);
    }
    assert!(include_str!("../../../docs/evaluation.md").contains(&table), "docs/evaluation.md should have\n{table}");
}

#[test]
fn the_document_has_the_agreed_keys() {
    let case = cases().pop().unwrap();
    let found = serde_json::to_value(case.score(Dialect::VotMatlab)).unwrap();
    for key in [
        "dialect",
        "accuracy",
        "accuracy_pooled",
        "failures",
        "robustness_per_100",
        "robustness_mean_failures",
        "reliability",
        "eao",
        "eao_interval",
        "sequences",
    ] {
        assert!(found.get(key).is_some_and(|value| !value.is_null()), "{key}");
    }
    assert_eq!(found["dialect"], "vot-matlab");
    assert_eq!(found["eao_interval"], serde_json::json!([108, 371]));
    assert_eq!(found["sequences"]["s2"]["failures"], 2.0);
    let back: Score = serde_json::from_value(found).unwrap();
    assert_eq!(back, case.score(Dialect::VotMatlab));
}

/// A perfect run over boxes that stand still.
fn still(name: &str, length: usize) -> (Sequence, Vec<Trajectory>) {
    let region = Region::rect(10.0, 10.0, 20.0, 20.0);
    let sequence = Sequence::new(name, vec![region.clone(); length], Some((64, 48)));
    let mut trajectory = Trajectory::from_regions(vec![region; length]);
    trajectory.regions[0] = Region::Special(1);
    (sequence, vec![trajectory])
}

fn both<'a>(a: &'a (Sequence, Vec<Trajectory>), b: &'a (Sequence, Vec<Trajectory>)) -> Vec<Runs<'a>> {
    [a, b].map(|(sequence, trajectories)| Runs { sequence, trajectories }).to_vec()
}

#[test]
fn the_interval_follows_name_and_data() {
    let (short, long) = (still("a", 60), still("b", 100));
    let runs = both(&short, &long);
    let with = |dialect, interval: Option<(usize, usize)>, dataset: Option<&str>| {
        let options = ScoreOptions { interval, dataset: dataset.map(str::to_owned), curve: false };
        score(dialect, &runs, &options)
    };
    let automatic = with(Dialect::VotMatlab, None, Some("clips")).unwrap();
    let expected = automatic_interval(&[60, 100]).unwrap();
    assert_eq!(automatic.eao_interval, [expected.low, expected.high]);
    assert!(automatic.warnings.is_empty() && (automatic.eao.unwrap() - 1.0).abs() < 1e-9);
    let named = with(Dialect::VotMatlab, None, Some("vot2016")).unwrap();
    assert_eq!((named.eao_interval, named.eao), ([108, 371], None));
    assert!(named.warnings[0].contains("100 frames") && named.warnings[0].contains("108"));
    assert!(serde_json::to_value(&named).unwrap()["eao"].is_null());
    let given = with(Dialect::Mindspore, Some((20, 40)), Some("vot2016")).unwrap();
    assert_eq!(given.eao_interval, [20, 40]);
    let fallback = with(Dialect::Mindspore, None, None).unwrap();
    assert!(fallback.eao.is_some() && fallback.warnings[0].contains("reference"));
    for interval in [(0, 5), (9, 5)] {
        let error = with(Dialect::Pysot, Some(interval), None).unwrap_err();
        assert!(matches!(error, Error::Interval { .. }), "{error}");
    }
}

#[test]
fn mindspore_keeps_its_interval_where_it_can() {
    let (short, long) = (still("a", 60), still("b", 120));
    let found = score(Dialect::Mindspore, &both(&short, &long), &ScoreOptions::default()).unwrap();
    assert_eq!(found.eao_interval, [108, 371]);
    assert_eq!(found.accuracy, 1.0);
}

#[test]
fn results_that_do_not_fit_are_refused_by_name() {
    let good = still("a", 20);
    let refuse = |other: (Sequence, Vec<Trajectory>)| {
        score(Dialect::VotMatlab, &both(&good, &other), &ScoreOptions::default()).unwrap_err().to_string()
    };
    let mut other = still("b", 20);
    other.1[0].regions.pop();
    let text = refuse(other);
    assert!(text.contains("`b`") && text.contains("19") && text.contains("20"), "{text}");
    let mut other = still("b", 20);
    other.0.width = None;
    assert!(refuse(other).contains("frame size is not known"));
    let mut other = still("b", 20);
    other.0.height = Some(0);
    assert!(refuse(other).contains("64x0"));
    let mut other = still("b", 20);
    other.1.clear();
    assert!(refuse(other).contains("b_001.txt"));
    assert!(refuse(still("a", 20)).contains("twice"));
    let nothing = score(Dialect::VotMatlab, &[], &ScoreOptions::default()).unwrap_err();
    assert!(matches!(nothing, Error::NothingToScore));
}

#[test]
fn a_run_that_never_counts_has_no_accuracy() {
    let mut lost = still("b", 8);
    for region in &mut lost.1[0].regions[1..] {
        *region = Region::Special(0);
    }
    let good = still("a", 20);
    for dialect in Dialect::ALL {
        let found = score(dialect, &both(&good, &lost), &ScoreOptions::default()).unwrap();
        assert_eq!(found.sequences["b"].accuracy, None, "{dialect}");
        assert!((0.0..=1.0).contains(&found.accuracy), "{dialect}");
    }
}
