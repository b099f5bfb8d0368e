//! The network against PyTorch: forward passes, losses, gradients, running statistics, whole optimiser steps.
#![expect(clippy::unwrap_used, reason = "test helpers outside of test functions")]

mod support;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use safetensors::SafeTensors;
use schemas::model::HeadKind;
use schemas::train::{LossConfig, LossKind, Precision};
use siamrpn::loss::{Targets, loss};
use siamrpn::net::{SiamRpn, TrainMode};
use siamrpn::params::{self, Path};
use std::collections::BTreeMap;
use support::{close, config, distance, fixture, floats, largest};

const HEADS: [(HeadKind, &str); 2] = [(HeadKind::UpChannel, "up_channel"), (HeadKind::Depthwise, "depthwise")];
const LOSSES: [(LossKind, &str, f64); 2] = [(LossKind::Reference, "reference", 5.0), (LossKind::Pysot, "pysot", 1.2)];
const MODE: TrainMode = TrainMode { frozen_convs: 3, trunk_frozen: false, precision: Precision::Fp32 };
const TOLERANCE: f64 = 1e-4;

fn net(head: HeadKind, stem: &str, device: &Device) -> SiamRpn {
    let net = SiamRpn::new(&config(head), 1, device).unwrap();
    params::replace(net, floats(&format!("{stem}.weights.safetensors"))).unwrap()
}

struct Inputs {
    template: Tensor<4>,
    search: Tensor<4>,
    label: Vec<i8>,
    delta: Vec<f32>,
}

/// The fixtures' pictures are planar BGR already.
fn inputs(device: &Device) -> Inputs {
    let bytes = fixture("inputs.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let picture = |name: &str| {
        let view = file.tensor(name).unwrap();
        let values: Vec<f32> = view.data().iter().map(|v| f32::from(*v)).collect();
        Tensor::from_data(TensorData::new(values, view.shape().to_vec()), device)
    };
    let words = |name: &str| -> Vec<[u8; 4]> { file.tensor(name).unwrap().data().as_chunks().0.to_vec() };
    Inputs {
        template: picture("template"),
        search: picture("search"),
        label: words("label").into_iter().map(|b| i32::from_le_bytes(b) as i8).collect(),
        delta: words("delta").into_iter().map(f32::from_le_bytes).collect(),
    }
}

#[test]
fn inference_agrees_with_pytorch() {
    let device = Device::flex();
    let inputs = inputs(&device);
    for (head, stem) in HEADS {
        let golden = floats(&format!("{stem}.golden.safetensors"));
        let inference = net(head, stem, &device).inference();
        let check = |name: &str, found: Tensor<4>| {
            close(&format!("{stem} {name}"), &found.into_data(), &golden[name], TOLERANCE);
        };
        check("eval.template_features", inference.features(inputs.template.clone()));
        check("eval.search_features", inference.features(inputs.search.clone()));
        let template = inference.template(inputs.template.clone());
        check("eval.kernel_cls", template.cls.clone());
        check("eval.kernel_reg", template.reg.clone());
        let outputs = inference.track(&template, inputs.search.clone());
        check("eval.cls", outputs.cls);
        check("eval.reg", outputs.reg);
    }
}

/// Gradients by name.
struct Collect<'a> {
    path: Path,
    grads: &'a Gradients,
    found: BTreeMap<String, TensorData>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            self.found.insert(self.path.name(), grad.into_data());
        }
    }
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }
    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

/// One step of clipped SGD with momentum and weight decay, in plain numbers.
struct Sgd {
    path: Path,
    grads: BTreeMap<String, TensorData>,
    momentum: BTreeMap<String, Vec<f32>>,
    clip: f32,
}

impl ModuleMapper for Sgd {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let Some(grad) = self.grads.remove(&name) else { return param };
        let value = param.val().into_data();
        let value = value.as_slice::<f32>().unwrap();
        let grad = grad.as_slice::<f32>().unwrap().iter().zip(value).map(|(g, v)| g * self.clip + 5e-4 * v);
        let momentum = match self.momentum.remove(&name) {
            Some(old) => old.iter().zip(grad).map(|(m, g)| 0.9 * m + g).collect(),
            None => grad.collect::<Vec<f32>>(),
        };
        let new: Vec<f32> = value.iter().zip(&momentum).map(|(v, m)| v - 0.01 * m).collect();
        self.momentum.insert(name, momentum);
        let tensor = Tensor::from_data(TensorData::new(new, param.shape()), &param.lazy_device());
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }
    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

/// Gradients that are zero in exact arithmetic, because a norm on batch statistics follows.
fn is_zero(head: HeadKind, name: &str) -> bool {
    matches!(name, "trunk.conv4.bias" | "trunk.conv5.bias") || (head == HeadKind::Depthwise && name == "trunk.bn5.bias")
}

/// All values of a network by name.
fn values(net: &SiamRpn) -> BTreeMap<String, TensorData> {
    let mut all = BTreeMap::new();
    params::for_each(net, |named, data| {
        all.insert(named.name.clone(), data.clone());
    });
    all
}

fn scalar(data: &BTreeMap<String, TensorData>, name: &str) -> f64 {
    f64::from(data[name].as_slice::<f32>().unwrap()[0])
}

#[test]
fn training_agrees_with_pytorch() {
    let device = Device::flex().autodiff();
    let inputs = inputs(&device);
    for (head, stem) in HEADS {
        let golden = floats(&format!("{stem}.golden.safetensors"));
        for (kind, name, reg_weight) in LOSSES {
            let cfg = LossConfig { kind, cls_weight: 1.0, reg_weight };
            let targets = Targets::new(&inputs.label, &inputs.delta, 2, 5, kind, &device).unwrap();
            let mut net = net(head, stem, &device);
            let start = values(&net);
            let mut sgd = Sgd { path: Path::default(), grads: BTreeMap::new(), momentum: BTreeMap::new(), clip: 1.0 };
            for step in 1..=2 {
                let outputs = net.forward_train(inputs.template.clone(), inputs.search.clone(), &MODE);
                if step == 1 {
                    let check = |what: &str, t: &Tensor<4>| {
                        close(&format!("{stem} {what}"), &t.to_data(), &golden[what], TOLERANCE);
                    };
                    check("train.cls", &outputs.cls);
                    check("train.reg", &outputs.reg);
                }
                let loss = loss(outputs, &targets, &cfg);
                let grads = loss.total.backward();
                let mut collect = Collect { path: Path::default(), grads: &grads, found: BTreeMap::new() };
                net.visit(&mut collect);
                let found = collect.found;
                let squares = found.values().flat_map(|g| g.as_slice::<f32>().unwrap().to_vec());
                let norm = squares.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
                for (what, value) in [
                    ("loss", f64::from(loss.total.into_scalar::<f32>())),
                    ("loss_cls", f64::from(loss.cls.into_scalar::<f32>())),
                    ("loss_reg", f64::from(loss.reg.into_scalar::<f32>())),
                    ("grad_norm", norm),
                ] {
                    let expected = scalar(&golden, &format!("{name}.step{step}.{what}"));
                    let error = (value - expected).abs() / expected;
                    assert!(error < TOLERANCE, "{stem} {name} step {step} {what}: {value} for {expected}");
                }
                if step == 1 {
                    gradients(head, &format!("{stem} {name}"), name, &found, &golden);
                    let now = values(&net);
                    for (key, expected) in golden.range(format!("{name}.running.")..format!("{name}.running/")) {
                        let own = key.strip_prefix(&format!("{name}.running.")).unwrap();
                        close(&format!("{stem} {key}"), &now[own], expected, TOLERANCE);
                    }
                }
                let limit = scalar(&golden, &format!("{name}.clip"));
                sgd.clip = (limit / (norm + 1e-6)).min(1.0) as f32;
                sgd.grads = found;
                net = net.map(&mut sgd);
                assert!(sgd.grads.is_empty());
            }
            let now = values(&net);
            let mut compared = 0;
            for (own, value) in &now {
                let Some(expected) = golden.get(&format!("{name}.step2.{own}")) else {
                    assert_eq!(value, &start[own], "{stem} {own} is frozen");
                    continue;
                };
                // What matters is the change; compare against the larger of change and a share of the value.
                let change = distance(expected, &start[own]).max(largest(expected) * 1e-3);
                let error = distance(value, expected) / change.max(1e-6);
                assert!(error < 1e-3, "{stem} {name} step 2 {own}: {error:.2e} of its change");
                compared += 1;
            }
            assert!(compared >= 24, "{compared}");
        }
    }
}

/// Compares gradients, and that exactly the trained parameters have one.
fn gradients(
    head: HeadKind,
    what: &str,
    loss: &str,
    found: &BTreeMap<String, TensorData>,
    golden: &BTreeMap<String, TensorData>,
) {
    let prefix = format!("{loss}.grad.");
    let expected: BTreeMap<_, _> =
        golden.iter().filter_map(|(k, v)| k.strip_prefix(&prefix).map(|k| (k.to_owned(), v))).collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (name, expected) in expected {
        assert!(MODE.trains(&name), "{name}");
        if is_zero(head, &name) {
            assert!(largest(&found[&name]) < 1e-5, "{what} {name}: {}", largest(&found[&name]));
        } else {
            close(&format!("{what} {name}"), &found[&name], expected, TOLERANCE);
        }
    }
}

#[test]
fn losses_agree_with_pytorch_also_without_positives() {
    let device = Device::flex().autodiff();
    let bytes = fixture("losses.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: &str| -> TensorData {
        let view = file.tensor(name).unwrap();
        let values: Vec<f32> = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        TensorData::new(values, view.shape().to_vec())
    };
    let label: Vec<i8> =
        file.tensor("label").unwrap().data().as_chunks().0.iter().map(|b| i32::from_le_bytes(*b) as i8).collect();
    let delta = numbers("delta");
    for (kind, name, reg_weight) in LOSSES {
        let targets = Targets::new(&label, delta.as_slice().unwrap(), 2, 5, kind, &device).unwrap();
        let (cls, reg): (Tensor<4>, Tensor<4>) = (
            Tensor::from_data(numbers("cls"), &device).require_grad(),
            Tensor::from_data(numbers("reg"), &device).require_grad(),
        );
        let outputs = siamrpn::net::Outputs { cls: cls.clone(), reg: reg.clone() };
        let loss = loss(outputs, &targets, &LossConfig { kind, cls_weight: 1.0, reg_weight });
        let grads = loss.total.backward();
        for (what, found) in [
            ("loss", loss.total.into_data()),
            ("loss_cls", loss.cls.into_data()),
            ("loss_reg", loss.reg.into_data()),
            ("grad_cls", cls.grad(&grads).unwrap().into_data()),
            ("grad_reg", reg.grad(&grads).unwrap().into_data()),
        ] {
            close(&format!("{name} {what}"), &found, &numbers(&format!("{name}.{what}")), TOLERANCE);
        }
    }
}

#[test]
fn repeated_training_gives_the_same_bits() {
    let run = || {
        let device = Device::flex().autodiff();
        let inputs = inputs(&device);
        let mut net = SiamRpn::new(&config(HeadKind::Depthwise), 7, &device).unwrap();
        let targets = Targets::new(&inputs.label, &inputs.delta, 2, 5, LossKind::Reference, &device).unwrap();
        let mode = TrainMode { frozen_convs: 0, ..MODE };
        let outputs = net.forward_train(inputs.template, inputs.search, &mode);
        let grads = loss(outputs, &targets, &LossConfig::default()).total.backward();
        let mut collect = Collect { path: Path::default(), grads: &grads, found: BTreeMap::new() };
        net.visit(&mut collect);
        (values(&net), collect.found)
    };
    let (first, second) = (run(), run());
    assert!(first == second);
    assert_eq!(first.1.len(), first.0.keys().filter(|k| !k.contains("running")).count());
}

#[test]
fn low_precision_stays_close_and_trains_full_precision_weights() {
    let device = Device::flex().autodiff();
    let inputs = inputs(&device);
    let targets = Targets::new(&inputs.label, &inputs.delta, 2, 5, LossKind::Reference, &device).unwrap();
    for (head, stem) in HEADS {
        let run = |precision| {
            let mut net = net(head, stem, &device);
            let mode = TrainMode { precision, ..MODE };
            let outputs = net.forward_train(inputs.template.clone(), inputs.search.clone(), &mode);
            let loss = loss(outputs, &targets, &LossConfig::default()).total;
            let grads = loss.backward();
            let mut collect = Collect { path: Path::default(), grads: &grads, found: BTreeMap::new() };
            net.visit(&mut collect);
            (loss.into_scalar::<f32>(), collect.found)
        };
        let (exact, gradients) = run(Precision::Fp32);
        for precision in [Precision::Bf16, Precision::F16] {
            let (loss, low) = run(precision);
            assert!((loss - exact).abs() < 0.05 * exact, "{stem} {precision:?}: {loss} for {exact}");
            assert_eq!(low.keys().collect::<Vec<_>>(), gradients.keys().collect::<Vec<_>>());
            assert!(low.values().all(|g| g.as_slice::<f32>().is_ok_and(|g| g.iter().all(|v| v.is_finite()))));
        }
    }
}

#[test]
fn a_frozen_trunk_gets_no_gradient_and_keeps_its_statistics() {
    let device = Device::flex().autodiff();
    let inputs = inputs(&device);
    let mut net = net(HeadKind::Depthwise, "depthwise", &device);
    let before = values(&net);
    let mode = TrainMode { trunk_frozen: true, ..MODE };
    let targets = Targets::new(&inputs.label, &inputs.delta, 2, 5, LossKind::Pysot, &device).unwrap();
    let copy = net.clone();
    let outputs = net.forward_train(inputs.template, inputs.search, &mode);
    let grads = loss(outputs, &targets, &LossConfig::default()).total.backward();
    let mut collect = Collect { path: Path::default(), grads: &grads, found: BTreeMap::new() };
    net.visit(&mut collect);
    assert!(!collect.found.is_empty() && collect.found.keys().all(|name| name.starts_with("head.")));
    let after = values(&net);
    for (name, value) in &before {
        let moved = name.starts_with("head.") && name.contains("running");
        assert_eq!(after[name] != *value, moved, "{name}");
    }
    // A copy taken before the step is still the network before the step.
    assert!(values(&copy) == before);
    assert!(values(&net.valid()) == after);
}
