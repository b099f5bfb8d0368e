//! Several devices that share a step: the processor, twice.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use burn::tensor::TensorData;
use schemas::model::HeadKind;
use schemas::train::{GradSyncKind, TrainConfig};
use siamrpn::device::{Device, devices};
use siamrpn::net::SiamRpn;
use siamrpn::params;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{dataset, layers};
use trainer::engine::{Engine, Measured, StepError, Values};
use trainer::loader::{Batch, Recipe};
use trainer::optim::Sgd;

/// A configuration without batch norms that see the batch, and two batches for it: what is found then does not depend on how
/// the batch is shared out.
fn run() -> (TrainConfig, Vec<Batch>) {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 352, None);
    let mut cfg = layers(&["run.batch=4", "run.steps_per_epoch=8"]).resolve().unwrap();
    cfg.model.head = HeadKind::UpChannel;
    cfg.optim.trunk_frozen_epochs = 9;
    let recipe = Arc::new(Recipe::open(dir.path(), &cfg).unwrap());
    let batches = (0..2).map(|step| recipe.batch(step).unwrap()).collect();
    (cfg, batches)
}

fn engine(cfg: &TrainConfig, list: &str) -> Result<Engine, StepError> {
    let devices: Vec<Device> = devices(list).unwrap().into_iter().map(Device::autodiff).collect();
    Engine::on(SiamRpn::new(&cfg.model, 5, &devices[0]).unwrap(), Sgd::default(), &devices, cfg)
}

fn weights(engine: &Engine) -> BTreeMap<String, TensorData> {
    let mut all = BTreeMap::new();
    params::for_each(engine.net(), |named, data| {
        all.insert(named.name.clone(), data.clone());
    });
    all
}

/// Weights and measurements after two steps.
fn trained(cfg: &TrainConfig, list: &str, batches: &mut [Batch]) -> (BTreeMap<String, TensorData>, Vec<Values>) {
    let mut engine = engine(cfg, list).unwrap();
    let found = batches.iter_mut().map(|batch| engine.step(batch, cfg, 1, 0.01).unwrap()).collect();
    (weights(&engine), Measured::read(found).unwrap())
}

fn apart(a: &BTreeMap<String, TensorData>, b: &BTreeMap<String, TensorData>) -> f32 {
    let mut worst = 0.0f32;
    for (name, a) in a {
        let (a, b) = (a.as_slice::<f32>().unwrap(), b[name].as_slice::<f32>().unwrap());
        let size = a.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        worst = a.iter().zip(b).fold(worst, |m, (a, b)| m.max((a - b).abs() / size));
    }
    worst
}

#[test]
fn sharing_a_step_out_does_not_change_it() {
    let (cfg, mut batches) = run();
    let (alone, values) = trained(&cfg, "cpu", &mut batches);
    assert!(values.iter().all(|v| v.taken && v.grad_norm > 0.0));
    let parts = |accumulate: usize| {
        let mut cfg = cfg.clone();
        cfg.run.accumulate = accumulate;
        cfg
    };
    for (list, accumulate) in [("cpu,cpu", 1), ("cpu", 2), ("cpu,cpu", 2), ("cpu,cpu,cpu,cpu", 1)] {
        let (shared, found) = trained(&parts(accumulate), list, &mut batches);
        assert!(apart(&alone, &shared) < 1e-5, "{list} {accumulate}: {}", apart(&alone, &shared));
        for (found, expected) in found.iter().zip(&values) {
            assert!((found.loss - expected.loss).abs() < 1e-5 * expected.loss, "{found:?} {expected:?}");
            assert!((found.grad_norm / expected.grad_norm - 1.0).abs() < 1e-4, "{found:?} {expected:?}");
        }
        // The same bits every time.
        assert_eq!(trained(&parts(accumulate), list, &mut batches), (shared, found));
    }
    assert_eq!(batches[0].pairs, 4, "a batch is given back as it was");
}

#[test]
fn a_part_that_is_not_finite_stops_the_step_everywhere() {
    let (cfg, mut batches) = run();
    let mut engine = engine(&cfg, "cpu,cpu").unwrap();
    let before = weights(&engine);
    // In the second replica's pairs alone.
    let last = batches[0].deltas.len() - 1;
    let labels = batches[0].labels.len();
    let n = labels / 4;
    batches[0].labels[labels - n..].fill(1);
    batches[0].deltas[last] = f32::INFINITY;
    let bad = engine.step(&mut batches[0], &cfg, 1, 0.01).unwrap();
    assert!(!Measured::read(vec![bad]).unwrap()[0].taken);
    assert_eq!(weights(&engine), before);
    let good = engine.step(&mut batches[1], &cfg, 1, 0.01).unwrap();
    assert!(Measured::read(vec![good]).unwrap()[0].taken);
    assert_ne!(weights(&engine), before);
}

#[test]
fn what_cannot_be_shared_out_is_refused() {
    let (mut cfg, mut batches) = run();
    let error = engine(&cfg, "cpu,cpu,cpu").unwrap_err().to_string();
    assert!(error.contains("run.batch = 4") && error.contains("multiple of 3"), "{error}");
    cfg.run.grad_sync = GradSyncKind::Nccl;
    assert!(matches!(engine(&cfg, "cpu,cpu"), Err(StepError::NoNccl)));
    // A batch that does not fit is found out by all replicas, and nobody waits for anybody.
    cfg.run.grad_sync = GradSyncKind::Auto;
    let mut engine = engine(&cfg, "cpu,cpu").unwrap();
    batches[0].template.truncate(40);
    assert!(matches!(engine.step(&mut batches[0], &cfg, 1, 0.01), Err(StepError::Input(_))));
}
