//! The optimiser against PyTorch: two steps on the stored batch of the network's fixtures.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test may stop where it stands")]

use burn::tensor::{Device, TensorData};
use safetensors::SafeTensors;
use schemas::model::{HeadKind, ModelConfig, TrunkConfig};
use schemas::train::{ClipKind, LossConfig, LossKind, OptimConfig, TrainConfig};
use siamrpn::model::read_tensors;
use siamrpn::net::SiamRpn;
use siamrpn::params;
use std::collections::BTreeMap;
use std::path::PathBuf;
use trainer::engine::{Engine, Measured};
use trainer::loader::Batch;
use trainer::optim::Sgd;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../siamrpn/tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn floats(name: &str) -> BTreeMap<String, TensorData> {
    read_tensors(name, &fixture(name)).unwrap().1
}

/// BGR planes to interleaved RGB.
fn interleaved(bgr: &[u8], side: usize) -> Vec<u8> {
    let plane = side * side;
    let pixel = |image: &[u8], i: usize| [image[2 * plane + i], image[plane + i], image[i]];
    bgr.chunks_exact(3 * plane).flat_map(|image| (0..plane).flat_map(move |i| pixel(image, i))).collect()
}

fn batch() -> Batch {
    let bytes = fixture("inputs.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: &str| file.tensor(name).unwrap().data().to_vec();
    let labels = data("label").as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b) as i8).collect();
    let deltas = data("delta").as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Batch {
        step: 0,
        pairs: 2,
        template: interleaved(&data("template"), 127),
        search: interleaved(&data("search"), 255),
        labels,
        deltas,
        targets: Vec::new(),
        negative: vec![false; 2],
        substituted: 0,
    }
}

fn config(head: HeadKind, kind: LossKind) -> TrainConfig {
    let (clip_norm, reg_weight) = match kind {
        LossKind::Reference => (10.0, 5.0),
        LossKind::Pysot => (1000.0, 1.2),
    };
    TrainConfig {
        model: ModelConfig { head, trunk: TrunkConfig { widths: [6, 8, 8, 8, 8] }, ..ModelConfig::default() },
        loss: LossConfig { kind, cls_weight: 1.0, reg_weight },
        optim: OptimConfig { clip: ClipKind::Global, clip_norm, ..OptimConfig::default() },
        ..TrainConfig::default()
    }
}

fn engine(cfg: &TrainConfig, weights: &str) -> Engine {
    let device = Device::flex().autodiff();
    let net = SiamRpn::new(&cfg.model, 1, &device).unwrap();
    Engine::new(params::replace(net, floats(weights)).unwrap(), Sgd::default(), device)
}

fn snapshot(engine: &Engine) -> BTreeMap<String, Vec<u32>> {
    let mut all = BTreeMap::new();
    params::for_each(engine.net(), |named, data| {
        let bits = data.as_slice::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
        all.insert(named.name.clone(), bits);
    });
    all
}

#[test]
fn two_steps_are_pytorchs() {
    let mut batch = batch();
    for (head, prefix) in [(HeadKind::UpChannel, "up_channel"), (HeadKind::Depthwise, "depthwise")] {
        let golden = floats(&format!("{prefix}.golden.safetensors"));
        for (kind, loss) in [(LossKind::Reference, "reference"), (LossKind::Pysot, "pysot")] {
            let cfg = config(head, kind);
            let mut engine = engine(&cfg, &format!("{prefix}.weights.safetensors"));
            for step in 1..=2 {
                let measured = engine.step(&mut batch, &cfg, 1, 0.01).unwrap();
                let values = Measured::read(vec![measured]).unwrap()[0];
                assert!(values.taken);
                for (what, found) in [
                    ("loss", values.loss),
                    ("loss_cls", values.cls),
                    ("loss_reg", values.reg),
                    ("grad_norm", values.grad_norm),
                ] {
                    let name = format!("{loss}.step{step}.{what}");
                    let expected = f64::from(golden[&name].as_slice::<f32>().unwrap()[0]);
                    assert!((found / expected - 1.0).abs() < 1e-4, "{prefix} {name}: {found} is not {expected}");
                }
            }
            let mut compared = 0;
            params::for_each(engine.net(), |named, data| {
                let Some(expected) = golden.get(&format!("{loss}.step2.{}", named.name)) else { return };
                let (found, expected) = (data.as_slice::<f32>().unwrap(), expected.as_slice::<f32>().unwrap());
                let largest = expected.iter().fold(1e-3_f32, |m, v| m.max(v.abs()));
                let error = found.iter().zip(expected).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest;
                assert!(error < 1e-4, "{prefix} {loss} {}: relative error {error:.1e}", named.name);
                compared += 1;
            });
            assert!(compared > 15, "{compared} tensors compared");
        }
    }
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let cfg = config(HeadKind::Depthwise, LossKind::Reference);
    let mut batch = batch();
    let mut engine = engine(&cfg, "depthwise.weights.safetensors");
    engine.step(&mut batch, &cfg, 1, 0.01).unwrap();
    let (weights, momentum) = (snapshot(&engine), engine.sgd().buffers());
    // An infinite weight of the loss makes loss and gradients infinite.
    let broken = TrainConfig { loss: LossConfig { reg_weight: f64::INFINITY, ..cfg.loss.clone() }, ..cfg.clone() };
    let measured = engine.step(&mut batch, &broken, 1, 0.01).unwrap();
    assert!(!Measured::read(vec![measured]).unwrap()[0].taken);
    assert_eq!(snapshot(&engine), weights);
    assert_eq!(engine.sgd().buffers(), momentum);
    engine.step(&mut batch, &cfg, 1, 0.01).unwrap();
    assert_ne!(snapshot(&engine), weights);
}

#[test]
fn frozen_layers_stay_and_the_trunk_has_its_own_rate() {
    let mut cfg = config(HeadKind::Depthwise, LossKind::Reference);
    let mut batch = batch();
    let mut changed = |cfg: &TrainConfig, epoch: u32| -> Vec<String> {
        let mut engine = engine(cfg, "depthwise.weights.safetensors");
        let before = snapshot(&engine);
        engine.step(&mut batch, cfg, epoch, 0.01).unwrap();
        snapshot(&engine).into_iter().filter(|(n, v)| before[n] != *v).map(|(n, _)| n).collect()
    };
    let names = changed(&cfg, 1);
    assert!(names.iter().all(|n| !["1.", "2.", "3."].iter().any(|l| n.starts_with("trunk.") && n.contains(l))));
    assert!(names.iter().any(|n| n == "trunk.conv4.weight") && names.iter().any(|n| n == "trunk.bn5.running_var"));
    cfg.optim.trunk_frozen_epochs = 1;
    assert!(changed(&cfg, 1).iter().all(|n| n.starts_with("head.")));
    assert!(changed(&cfg, 2).iter().any(|n| n == "trunk.conv5.weight"));
    cfg.optim.trunk_lr = 0.0;
    assert!(changed(&cfg, 2).iter().all(|n| n.starts_with("head.") || n.contains("running_")));
}

#[test]
fn tensors_are_clipped_one_by_one_when_asked() {
    let mut batch = batch();
    let mut moved = |clip: ClipKind, clip_norm: f64| {
        let mut cfg = config(HeadKind::UpChannel, LossKind::Reference);
        cfg.optim = OptimConfig { clip, clip_norm, weight_decay: 0.0, ..cfg.optim };
        let mut engine = engine(&cfg, "up_channel.weights.safetensors");
        engine.step(&mut batch, &cfg, 1, 0.01).unwrap();
        // The first buffer is the clipped gradient.
        let norm = |data: &TensorData| data.as_slice::<f32>().unwrap().iter().map(|v| f64::from(v * v)).sum::<f64>();
        engine.sgd().buffers().values().map(|v| norm(v).sqrt()).collect::<Vec<f64>>()
    };
    let free = moved(ClipKind::None, 0.1);
    assert!(free.iter().filter(|n| **n > 0.1).count() > 3);
    for (clipped, free) in moved(ClipKind::PerTensor, 0.1).iter().zip(&free) {
        assert!((clipped - free.min(0.1)).abs() < 1e-4, "{clipped} of {free}");
    }
    let together = moved(ClipKind::Global, 0.1).iter().map(|n| n * n).sum::<f64>().sqrt();
    assert!((together - 0.1).abs() < 1e-5, "{together}");
}
