//! One copy of the network on one device, and its share of a step.

use crate::config::loss_scale;
use crate::engine::{Measured, StepError};
use crate::loader::Batch;
use crate::optim::{Rule, Sgd, Statistics};
use crate::sync::GradSync;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use schemas::train::TrainConfig;
use siamrpn::loss::{Targets, loss};
use siamrpn::net::{SiamRpn, TrainMode, input};
use std::ops::Range;

/// A step to be done.
#[derive(Debug)]
pub(crate) struct Job {
    /// All pairs of the step.
    pub batch: Batch,
    /// Configuration of the run.
    pub cfg: TrainConfig,
    /// From 1.
    pub epoch: u32,
    /// Learning rate.
    pub lr: f64,
    /// Devices that share the step.
    pub replicas: usize,
}

impl Job {
    /// The pairs of each part that replica `rank` does, one part after the other. All parts are equally large.
    fn parts(&self, rank: usize) -> impl Iterator<Item = Range<usize>> {
        let each = self.cfg.run.accumulate.max(1);
        let size = self.batch.pairs / (self.replicas * each).max(1);
        (rank * each..(rank + 1) * each).map(move |part| part * size..(part + 1) * size)
    }

    /// Parts of the step on all devices.
    fn count(&self) -> usize {
        self.replicas * self.cfg.run.accumulate.max(1)
    }
}

/// A network being trained on one device.
#[derive(Debug)]
pub(crate) struct Replica {
    pub net: SiamRpn,
    pub sgd: Sgd,
    pub device: Device,
}

/// Loss, classification and regression, `[1]` each.
type Losses = [Tensor<1>; 3];

impl Replica {
    /// The whole step, this replica being number `rank`.
    pub fn step(&mut self, job: &Job, rank: usize, sync: &dyn GradSync) -> Result<Measured, StepError> {
        let before = Statistics::of(&self.net);
        let parts = job.count();
        let mut flat: Option<(Tensor<1>, Vec<Slot>)> = None;
        for part in job.parts(rank) {
            let (grads, losses) = self.gradients(&job.batch, part, &job.cfg, job.epoch)?;
            if parts == 1 {
                return Ok(self.apply(before, grads, losses, &job.cfg, job.lr));
            }
            let (values, slots) = flatten(&self.net, &grads, losses);
            flat = Some(match flat {
                Some((sum, slots)) => (sum + values, slots),
                None => (values, slots),
            });
        }
        // Every replica has at least one part.
        let Some((own, slots)) = flat else { return Err(StepError::NoDevice) };
        let sum = if job.replicas > 1 { sync.sum(rank, own)? } else { own };
        let (grads, losses) = unflatten(&self.net, sum / parts as f64, &slots);
        Ok(self.apply(before, grads, losses, &job.cfg, job.lr))
    }

    /// Forward and backward over some pairs of a batch.
    fn gradients(
        &mut self,
        batch: &Batch,
        pairs: Range<usize>,
        cfg: &TrainConfig,
        epoch: u32,
    ) -> Result<(GradientsParams, Losses), StepError> {
        let model = &cfg.model;
        let device = &self.device;
        let count = pairs.len();
        let (z, x) = (part(&batch.template, batch.pairs, &pairs), part(&batch.search, batch.pairs, &pairs));
        let z = input(z, count, model.exemplar_px as usize, model.channels, device)?;
        let x = input(x, count, model.train_search_px as usize, model.channels, device)?;
        let per_cell = model.anchors.per_cell();
        let (labels, deltas) = (part(&batch.labels, batch.pairs, &pairs), part(&batch.deltas, batch.pairs, &pairs));
        let targets = Targets::new(labels, deltas, count, per_cell, cfg.loss.kind, device)?;
        let mode = TrainMode::of(&cfg.optim, cfg.run.precision, epoch);
        let outputs = self.net.forward_train(z, x, &mode);
        let loss = loss(outputs, &targets, &cfg.loss);
        let scale = loss_scale(cfg.run.precision);
        let grads = if scale == 1.0 { loss.total.backward() } else { (loss.total.clone() * scale).backward() };
        let grads = GradientsParams::from_grads(grads, &self.net);
        Ok((grads, [loss.total, loss.cls, loss.reg].map(Tensor::without_autodiff)))
    }

    /// The optimiser's step along `grads`.
    fn apply(
        &mut self,
        before: Statistics,
        grads: GradientsParams,
        losses: Losses,
        cfg: &TrainConfig,
        lr: f64,
    ) -> Measured {
        let rule = Rule { cfg: &cfg.optim, lr, scale: loss_scale(cfg.run.precision) };
        let (net, stepped) = self.sgd.step(self.net.clone(), before, grads, &losses[0], rule);
        self.net = net;
        let rest = [stepped.grad_norm, stepped.taken.float()];
        Measured::new(Tensor::cat(losses.into_iter().chain(rest).collect(), 0))
    }
}

/// What belongs to `pairs` of a buffer over `all` pairs.
fn part<'a, T>(buffer: &'a [T], all: usize, pairs: &Range<usize>) -> &'a [T] {
    let each = buffer.len() / all.max(1);
    buffer.get(pairs.start * each..pairs.end * each).unwrap_or_default()
}

/// A gradient's place in the flat tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    id: ParamId,
    len: usize,
}

struct Flatten<'a> {
    grads: &'a GradientsParams,
    values: Vec<Tensor<1>>,
    slots: Vec<Slot>,
}

impl ModuleVisitor for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let len = grad.shape().num_elements();
            self.slots.push(Slot { id: param.id, len });
            self.values.push(grad.without_autodiff().reshape([len]));
        }
    }
}

/// All gradients, in the order of the network's parameters, and the losses behind them: `[n + 3]`.
fn flatten(net: &SiamRpn, grads: &GradientsParams, losses: Losses) -> (Tensor<1>, Vec<Slot>) {
    let mut visitor = Flatten { grads, values: Vec::new(), slots: Vec::new() };
    net.visit(&mut visitor);
    visitor.values.extend(losses);
    (Tensor::cat(visitor.values, 0), visitor.slots)
}

struct Unflatten<'a> {
    flat: &'a Tensor<1>,
    slots: std::slice::Iter<'a, Slot>,
    at: usize,
    grads: GradientsParams,
}

impl ModuleVisitor for Unflatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.slots.as_slice().first().is_some_and(|slot| slot.id == param.id)
            && let Some(slot) = self.slots.next()
        {
            let values = self.flat.clone().narrow(0, self.at, slot.len);
            self.grads.register::<D>(param.id, values.reshape(param.shape()));
            self.at += slot.len;
        }
    }
}

/// The opposite of [`flatten`].
fn unflatten(net: &SiamRpn, flat: Tensor<1>, slots: &[Slot]) -> (GradientsParams, Losses) {
    let mut visitor = Unflatten { flat: &flat, slots: slots.iter(), at: 0, grads: GradientsParams::new() };
    net.visit(&mut visitor);
    let at = visitor.at;
    let grads = visitor.grads;
    (grads, [0, 1, 2].map(|i| flat.clone().narrow(0, at + i, 1)))
}
