//! Where a training step's time goes: every layer timed alone, forward and backward, and the fastest matrix product of the
//! device beside them.

use crate::engine::StepError;
use crate::loader::Batch;
use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use schemas::train::{Precision, TrainConfig};
use serde::Serialize;
use siamrpn::cost::layers;
use siamrpn::loss::{Targets, loss};
use siamrpn::net::{Outputs, SiamRpn, TrainMode, input};
use std::time::{Duration, Instant};

/// Measurements of each layer; the median counts.
const REPEATS: usize = 5;

/// A layer's time for a whole batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTime {
    /// `trunk.conv1` (with norm, ReLU and pooling), `head.kernels`, `head.search`, `head.respond` (correlation and what
    /// follows), `loss`.
    pub name: &'static str,
    /// `template` or `search`; empty where there is one of both.
    pub branch: &'static str,
    /// Milliseconds of the forward pass.
    pub forward_ms: f64,
    /// Milliseconds of the backward pass; absent for frozen layers.
    pub backward_ms: Option<f64>,
    /// Thousand million multiply-adds of the forward pass.
    pub forward_gmac: f64,
}

/// What a device can do, and what the network asks of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// 10^12 operations per second (two per multiply-add) of the fastest of a few large matrix products.
    pub matmul_tflops: f64,
    /// In the order of the forward pass.
    pub layers: Vec<LayerTime>,
}

/// One clock for a device: what is timed is waited for.
struct Clock<'a> {
    device: &'a Device,
}

impl Clock<'_> {
    fn wait(&self) -> Result<(), StepError> {
        self.device.sync().map_err(|e| StepError::Device(format!("{e:?}")))
    }

    fn once<T>(&self, f: impl FnOnce() -> T) -> Result<(T, Duration), StepError> {
        self.wait()?;
        let started = Instant::now();
        let found = f();
        self.wait()?;
        Ok((found, started.elapsed()))
    }

    /// The median of a few measurements, after one that does not count, in milliseconds.
    fn median<T>(&self, mut f: impl FnMut() -> T) -> Result<f64, StepError> {
        self.once(&mut f)?;
        let mut times = Vec::with_capacity(REPEATS);
        for _ in 0..REPEATS {
            times.push(self.once(&mut f)?.1);
        }
        times.sort();
        Ok(times.get(REPEATS / 2).map_or(0.0, |t| t.as_secs_f64() * 1e3))
    }
}

/// The layers being timed.
struct Timing<'a> {
    clock: Clock<'a>,
    mode: TrainMode,
    found: Vec<LayerTime>,
}

/// A layer: its name, its branch, its multiply-adds for the batch.
type Label = (&'static str, &'static str, f64);

impl Timing<'_> {
    /// Times `layer` on `inputs`, and answers what it gives for them. `below` says whether the inputs' gradients are needed,
    /// `trained` whether there is a backward pass at all.
    fn layer<const N: usize, const M: usize>(
        &mut self,
        (name, branch, forward_gmac): Label,
        inputs: &[Tensor<4>; N],
        (trained, below): (bool, bool),
        mut layer: impl FnMut([Tensor<4>; N]) -> [Tensor<4>; M],
    ) -> Result<[Tensor<4>; M], StepError> {
        let device = self.clock.device;
        let fresh = || {
            inputs.clone().map(|x| {
                let x = x.without_autodiff();
                if !trained {
                    return x;
                }
                let x = x.autodiff();
                if below { x.require_grad() } else { x }
            })
        };
        let forward_ms = self.clock.median(|| layer(fresh()))?;
        let backward_ms = if trained {
            let both = self.clock.median(|| {
                let sums = layer(fresh()).map(|y| y.sum());
                let sum = sums.into_iter().reduce(|a, b| a + b).unwrap_or_else(|| Tensor::zeros([1], device));
                sum.backward()
            })?;
            Some((both - forward_ms).max(0.0))
        } else {
            None
        };
        self.found.push(LayerTime { name, branch, forward_ms, backward_ms, forward_gmac });
        Ok(layer(fresh()).map(Tensor::without_autodiff))
    }
}

/// Times every layer of a training step with `batch`, on the network's device, as in `epoch`.
///
/// # Errors
/// [`StepError`] when the batch does not fit the configuration or the device fails.
pub fn profile(
    net: &SiamRpn,
    batch: &Batch,
    cfg: &TrainConfig,
    device: &Device,
    epoch: u32,
) -> Result<Profile, StepError> {
    let model = &cfg.model;
    let mode = TrainMode::of(&cfg.optim, cfg.run.precision, epoch);
    let frozen = mode.frozen_layers();
    let mut net = net.clone();
    let mut timing = Timing { clock: Clock { device }, mode, found: Vec::new() };
    let costs = layers(model, model.train_search_px);
    let gmac = |macs: u64| macs as f64 * batch.pairs as f64 / 1e9;
    let mut features = Vec::new();
    let images = [("template", &batch.template, model.exemplar_px), ("search", &batch.search, model.train_search_px)];
    for (branch, pixels, side) in images {
        let mut x = input(pixels, batch.pairs, side as usize, model.channels, device)?.without_autodiff();
        for (i, cost) in costs.iter().take(5).enumerate() {
            let macs = if branch == "template" { cost.template_macs } else { cost.search_macs };
            let trunk = &mut net.trunk;
            [x] = timing.layer((cost.name, branch, gmac(macs)), &[x], (i >= frozen, i > frozen), |[x]| {
                [trunk.layer_train(i, x, &mode)]
            })?;
        }
        features.push(x);
    }
    let below = frozen < 5;
    let part = |wanted: fn(&str) -> bool| -> f64 {
        let macs = costs.iter().skip(5).filter(|l| wanted(l.name)).map(|l| l.template_macs + l.search_macs);
        gmac(macs.sum())
    };
    let is_kernel = |name: &str| name.contains("template_") || name.contains("kernel");
    let is_search = |name: &str| name.contains("search");
    let rest = |name: &str| !(name.contains("template_") || name.contains("kernel") || name.contains("search"));
    let (Some(x), Some(z)) = (features.pop(), features.pop()) else { return Err(StepError::NoDevice) };
    let precision = timing.mode.precision;
    let head = &mut net.head;
    let label = ("head.kernels", "template", part(is_kernel));
    let [cls, reg] = timing.layer(label, &[z], (true, below), |[z]| {
        let kernels = head.kernels_train(z, precision);
        [kernels.cls, kernels.reg]
    })?;
    let [search_cls, search_reg] =
        timing.layer(("head.search", "search", part(is_search)), &[x], (true, below), |[x]| {
            head.search_train(x, precision)
        })?;
    let label = ("head.respond", "", part(rest));
    let outputs = timing.layer(label, &[cls, reg, search_cls, search_reg], (true, true), |[cls, reg, a, b]| {
        let found = head.respond_train(siamrpn::net::Template { cls, reg }, [a, b], precision);
        [found.cls, found.reg]
    })?;
    let per_cell = model.anchors.per_cell();
    let targets = Targets::new(&batch.labels, &batch.deltas, batch.pairs, per_cell, cfg.loss.kind, device)?;
    timing.layer(("loss", "", 0.0), &outputs, (true, true), |[cls, reg]| {
        [loss(Outputs { cls, reg }, &targets, &cfg.loss).total.reshape([1, 1, 1, 1])]
    })?;
    let matmul_tflops = matmul(&timing.clock, cfg.run.precision)?;
    Ok(Profile { matmul_tflops, layers: timing.found })
}

/// 10^12 operations per second of square matrix products in `precision`, the best of a few sizes.
fn matmul(clock: &Clock<'_>, precision: Precision) -> Result<f64, StepError> {
    let device = clock.device.clone().without_autodiff();
    let sides: &[usize] = if siamrpn::device::is_cpu(&device) { &[512, 1024] } else { &[2048, 4096, 8192] };
    let dtype = match precision {
        Precision::Fp32 => FloatDType::F32,
        Precision::Bf16 => FloatDType::BF16,
        Precision::F16 => FloatDType::F16,
    };
    let mut best = 0.0f64;
    for &side in sides {
        let random = || Tensor::<2>::random([side, side], Distribution::Uniform(-1.0, 1.0), &device).cast(dtype);
        let (a, b) = (random(), random());
        let ms = clock.median(|| a.clone().matmul(b.clone()))?;
        best = best.max(2.0 * (side as f64).powi(3) / (ms.max(1e-6) * 1e9));
    }
    Ok(best)
}
