//! Anchors and labels against the fixture's sums and indices.
#![expect(clippy::unwrap_used, reason = "test helpers outside of test functions")]

use schemas::model::AnchorConfig;
use schemas::train::LabelConfig;
use serde_json::Value;
use siamrpn::anchors::Anchors;
use siamrpn::labels::candidates;

fn fixture() -> Value {
    serde_json::from_slice(include_bytes!("fixtures/anchors.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn index(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

#[test]
fn anchor_sets_have_the_fixtures_sums() {
    let fixture = fixture();
    for set in fixture["sets"].as_array().unwrap() {
        let anchors = Anchors::new(&AnchorConfig::default(), index(&set["size"]));
        assert_eq!(anchors.len(), index(&set["count"]));
        for column in 0..4 {
            let values = || anchors.as_slice().iter().map(|a| f64::from(a[column]));
            assert_eq!(values().next().unwrap(), numbers(&set["first"])[column]);
            assert_eq!(values().next_back().unwrap(), numbers(&set["last"])[column]);
            assert_eq!(values().sum::<f64>(), numbers(&set["sum"])[column]);
            assert_eq!(values().map(|v| v * v).sum::<f64>(), numbers(&set["sum_of_squares"])[column]);
            let weighted: f64 = values().enumerate().map(|(i, v)| i as f64 * v).sum();
            assert_eq!(weighted, numbers(&set["sum_of_index_times_value"])[column]);
        }
    }
    for named in fixture["named"].as_array().unwrap() {
        let anchors = Anchors::new(&AnchorConfig::default(), index(&named["size"]));
        let found = anchors.get(index(&named["index"])).unwrap().map(f64::from);
        assert_eq!(found.to_vec(), numbers(&named["anchor"]));
    }
}

#[test]
fn candidates_are_the_fixtures() {
    let fixture = fixture();
    let anchors = Anchors::new(&AnchorConfig::default(), index(&fixture["labels_size"]));
    for case in fixture["labels"].as_array().unwrap() {
        let target: Vec<f32> = numbers(&case["box"]).iter().map(|v| *v as f32).collect();
        let (positive, negative) = candidates(&anchors, target.clone().try_into().unwrap(), &LabelConfig::default());
        let expected: Vec<usize> = case["positives"].as_array().unwrap().iter().map(index).collect();
        assert_eq!(positive, expected, "{target:?}");
        assert_eq!(negative.len(), index(&case["negatives"]), "{target:?}");
    }
}
