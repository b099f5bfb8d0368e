//! Reads the fixtures, compares tensors.

#![expect(clippy::panic, reason = "a test may stop where it stands")]

use burn::tensor::TensorData;
use schemas::model::{HeadKind, ModelConfig, TrunkConfig};
use siamrpn::model::read_tensors;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file beside this crate's tests.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All float tensors of a fixture file.
pub fn floats(name: &str) -> BTreeMap<String, TensorData> {
    read_tensors(name, &fixture(name)).unwrap().1
}

/// The small network of the fixtures.
pub fn config(head: HeadKind) -> ModelConfig {
    ModelConfig { head, trunk: TrunkConfig { widths: [6, 8, 8, 8, 8] }, ..ModelConfig::default() }
}

/// Largest absolute difference.
pub fn distance(found: &TensorData, expected: &TensorData) -> f64 {
    assert_eq!(found.shape().num_elements(), expected.shape().num_elements());
    let (found, expected) = (found.as_slice::<f32>().unwrap(), expected.as_slice::<f32>().unwrap());
    let all = found.iter().zip(expected);
    all.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, |m: f64, d| if d.is_nan() { f64::NAN } else { m.max(d) })
}

/// Largest absolute value.
pub fn largest(data: &TensorData) -> f64 {
    data.as_slice::<f32>().unwrap().iter().fold(0.0, |m, v| m.max(f64::from(v.abs())))
}

/// Asserts that two tensors differ by less than `tolerance` of the largest expected value.
pub fn close(what: &str, found: &TensorData, expected: &TensorData, tolerance: f64) {
    let error = distance(found, expected) / largest(expected);
    assert!(error < tolerance, "{what}: relative error {error:.2e}");
}
