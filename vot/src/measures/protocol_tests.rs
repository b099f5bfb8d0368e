//! Multi-start, long-term and one-pass measures against the official toolkits' values.

use serde_json::Value;

use super::*;
use crate::protocol::Anchor;
use crate::region::Region;

fn cases() -> Value {
    serde_json::from_str(include_str!("../../tests/cases/expected_extra.json")).unwrap()
}

fn lines(value: &Value) -> Vec<Region> {
    value.as_array().unwrap().iter().map(|line| Region::parse(line.as_str().unwrap()).unwrap()).collect()
}

fn sequence(case: &Value, truth: &str) -> Sequence {
    let side = |key: &str| case[key].as_u64().unwrap() as u32;
    let mut made =
        Sequence::new(case["name"].as_str().unwrap(), lines(&case[truth]), Some((side("width"), side("height"))));
    let mut anchors = vec![0.0; made.len()];
    for (frame, way) in case["anchors"].as_object().unwrap() {
        anchors[frame.parse::<usize>().unwrap()] = way.as_f64().unwrap();
    }
    made.values.insert("anchor".to_owned(), anchors);
    made
}

#[track_caller]
fn near(found: f64, expected: &Value) {
    assert!((found - expected.as_f64().unwrap()).abs() <= 2e-6, "found {found}, expected {expected}");
}

#[test]
fn multistart_is_the_toolkits() {
    let cases = cases();
    let sequences: Vec<Sequence> =
        cases["sequences"].as_array().unwrap().iter().map(|case| sequence(case, "groundtruth")).collect();
    let runs: Vec<Vec<(Anchor, Trajectory)>> = sequences
        .iter()
        .zip(cases["sequences"].as_array().unwrap())
        .map(|(sequence, case)| {
            let run = |anchor: &Anchor| lines(&case["multistart"][anchor.frame.to_string()]);
            Anchor::of(sequence).iter().map(|a| (*a, Trajectory::from_regions(run(a)))).collect()
        })
        .collect();
    let all: Vec<AnchoredRuns<'_>> =
        sequences.iter().zip(&runs).map(|(sequence, runs)| AnchoredRuns { sequence, runs }).collect();
    let found = multistart(&all, Some((20, 100)), true).unwrap();
    let expected = &cases["multistart"];
    let ar = &expected["multistart.AverageAccuracyRobustness"][0][0];
    let ar = if ar.is_array() { ar } else { &expected["multistart.AverageAccuracyRobustness"][0] };
    near(found.accuracy, &ar[0]);
    near(found.robustness, &ar[1]);
    near(found.eao, &expected["multistart.EAOScore"][0][0]);
    let curve = multistart(&all, Some((20, 120)), true).unwrap().eao_curve.unwrap();
    let wanted = expected["multistart.EAOCurve"][0][0].as_array().unwrap();
    assert_eq!(curve.len(), wanted.len());
    curve.iter().zip(wanted).for_each(|(found, expected)| near(*found, expected));

    let long = multistart(&all, None, false).unwrap();
    assert_eq!((long.eao_interval, long.eao_curve), ([115, 755], None));
    let cut = [(runs[0][0].0, Trajectory::new(3))];
    let cut = [AnchoredRuns { sequence: &sequences[0], runs: &cut }];
    assert!(multistart(&cut, None, false).unwrap_err().to_string().contains("3 frames"));
    let none = [AnchoredRuns { sequence: &sequences[0], runs: &[] }];
    assert!(multistart(&none, None, false).unwrap_err().to_string().contains("anchor.value"));
    assert!(matches!(multistart(&[], None, false), Err(Error::NothingToScore)));
    assert!(matches!(multistart(&all, Some((9, 9)), false), Err(Error::Interval { .. })));
}

#[test]
fn longterm_is_the_toolkits() {
    let cases = cases();
    let cases_of = cases["sequences"].as_array().unwrap();
    let sequences: Vec<Sequence> = cases_of.iter().map(|case| sequence(case, "lt_groundtruth")).collect();
    let runs: Vec<Vec<Trajectory>> = cases_of
        .iter()
        .map(|case| {
            let mut run = Trajectory::from_regions(lines(&case["lt_result"]));
            run.confidences = case["lt_confidence"].as_array().unwrap().iter().map(Value::as_f64).collect();
            vec![run]
        })
        .collect();
    let all: Vec<Runs<'_>> =
        sequences.iter().zip(&runs).map(|(sequence, trajectories)| Runs { sequence, trajectories }).collect();
    let found = longterm(&all).unwrap();
    let expected = &cases["longterm"];
    let row = |key: &str| expected[key][0].clone();
    for (found, at) in [(found.precision, 0), (found.recall, 1), (found.f_score, 2)] {
        near(found, &row("longterm.PrecisionRecall")[at]);
    }
    near(found.accuracy, &row("longterm.AccuracyRobustness")[0]);
    near(found.robustness.unwrap(), &row("longterm.AccuracyRobustness")[1]);
    let quality = row("longterm.AverageQualityAuxiliary");
    near(found.not_reported_error.unwrap(), &quality[0]);
    near(found.drift_rate_error.unwrap(), &quality[1]);
    assert!(quality[2].is_null() && found.absence_detection_quality.is_none());
    assert!(found.threshold.is_some() && found.warnings.is_empty());
    // Repeating a run changes nothing; without confidences there is one threshold and a warning.
    let twice: Vec<Vec<Trajectory>> = runs.iter().map(|run| vec![run[0].clone(), run[0].clone()]).collect();
    let again: Vec<Runs<'_>> =
        sequences.iter().zip(&twice).map(|(sequence, trajectories)| Runs { sequence, trajectories }).collect();
    assert!((longterm(&again).unwrap().accuracy - found.accuracy).abs() < 1e-12);
    let blind = Trajectory::from_regions(runs[0][0].regions.clone());
    let blind = [Runs { sequence: &sequences[0], trajectories: std::slice::from_ref(&blind) }];
    assert_eq!(longterm(&blind).unwrap().warnings.len(), 1);
}

#[test]
fn absent_targets_are_counted() {
    // 20 frames without a target, reported on 5 of them; 10 with it, 2 of which are missed and 1 drifted off.
    let there = Region::rect(10.0, 10.0, 20.0, 20.0);
    let away = Region::rect(70.0, 50.0, 9.0, 9.0);
    let truth: Vec<Region> = (0..30).map(|i| if i < 10 { there.clone() } else { Region::Special(1) }).collect();
    let result = |i: usize| match i {
        0 | 1 => Region::Special(0),
        2 | 25.. => away.clone(),
        3..10 => there.clone(),
        _ => Region::Special(0),
    };
    let sequence = Sequence::new("gone", truth, Some((100, 80)));
    let run = Trajectory::from_regions((0..30).map(result).collect());
    let found = longterm(&[Runs { sequence: &sequence, trajectories: std::slice::from_ref(&run) }]).unwrap();
    let close = |a: Option<f64>, b: f64| (a.unwrap() - b).abs() < 1e-12;
    assert!(close(found.robustness, 0.7) && close(found.not_reported_error, 0.2) && close(found.drift_rate_error, 0.1));
    assert!(close(found.absence_detection_quality, 0.75) && (found.accuracy - 1.0).abs() < 1e-12);
}

#[test]
fn onepass_is_the_toolkits() {
    let cases = cases();
    for case in cases["sequences"].as_array().unwrap() {
        let sequence = sequence(case, "groundtruth");
        let run = Trajectory::from_regions(lines(&case["multistart"]["0"]));
        let runs = [Runs { sequence: &sequence, trajectories: std::slice::from_ref(&run) }];
        let found = onepass(&runs, true).unwrap();
        let expected = &cases["ope"][&sequence.name];
        near(found.success_auc, &expected["otb_success_auc"]);
        near(found.precision_20, &expected["otb_precision20"]);
        near(found.success_50, &expected["success_rate_05"]);
        near(found.normalised_precision_auc, &expected["normalized_precision_auc_0_05"]);
        near(found.normalised_precision_20, &expected["trackingnet_norm_precision_at_02"]);
        near(found.average_overlap.unwrap(), &expected["got10k_ao"]);
        near(found.success_rate_50.unwrap(), &expected["got10k_sr50"]);
        near(found.success_rate_75.unwrap(), &expected["got10k_sr75"]);
        let curve = found.success_curve.unwrap();
        assert_eq!((curve.len(), curve[20]), (21, 0.0));
        assert_eq!(found.precision_curve.unwrap().len(), 51);
    }
}

#[test]
fn one_pass_leaves_out_what_has_no_target() {
    let there = Region::rect(10.0, 10.0, 20.0, 20.0);
    let truth = vec![there.clone(), Region::Special(0), there.clone(), there.clone()];
    let mut sequence = Sequence::new("partly", truth, Some((100, 80)));
    sequence.values.insert("cover".to_owned(), vec![8.0, 0.0, 8.0, 0.0]);
    let result = vec![Region::Special(1), there.clone(), Region::Special(0), there];
    let run = Trajectory::from_regions(result);
    let found = onepass(&[Runs { sequence: &sequence, trajectories: std::slice::from_ref(&run) }], false).unwrap();
    // Three frames count, one of them without a result; GOT-10k sees that one only.
    assert!((found.success_50 - 2.0 / 3.0).abs() < 1e-12 && (found.precision_20 - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!((found.average_overlap, found.success_curve), (Some(0.0), None));
}
