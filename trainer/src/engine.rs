//! One training step: batch to device, forward, loss, backward, optimiser. Nothing is read back from the device here.

use crate::config::loss_scale;
use crate::loader::Batch;
use crate::optim::{Rule, Sgd, Statistics};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use schemas::train::TrainConfig;
use siamrpn::loss::{LossError, Targets, loss};
use siamrpn::net::{InputError, SiamRpn, TrainMode, input};

/// Why a step cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The images of the batch have the wrong size.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The labels of the batch have the wrong size.
    #[error(transparent)]
    Labels(#[from] LossError),
    /// The device lost the result.
    #[error("reading results from the device failed: {0}")]
    Device(String),
}

/// What a step measured, on the device: loss, classification, regression, gradient norm, taken (1 or 0); `[5]`.
#[derive(Debug, Clone)]
pub struct Measured(Tensor<1>);

/// [`Measured`] on the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// Weighted total loss.
    pub loss: f64,
    /// Classification loss.
    pub cls: f64,
    /// Regression loss.
    pub reg: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Was the step taken?
    pub taken: bool,
}

impl Measured {
    /// Reads the measurements of several steps at once; waits for the device.
    ///
    /// # Errors
    /// [`StepError::Device`].
    pub fn read(all: Vec<Self>) -> Result<Vec<Values>, StepError> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let data = Tensor::cat(all.into_iter().map(|m| m.0).collect(), 0)
            .try_into_data()
            .map_err(|e| StepError::Device(format!("{e:?}")))?;
        let values = data.as_slice::<f32>().map_err(|e| StepError::Device(format!("{e:?}")))?;
        let read = |[loss, cls, reg, grad_norm, taken]: &[f32; 5]| Values {
            loss: f64::from(*loss),
            cls: f64::from(*cls),
            reg: f64::from(*reg),
            grad_norm: f64::from(*grad_norm),
            taken: *taken > 0.5,
        };
        Ok(values.as_chunks::<5>().0.iter().map(read).collect())
    }
}

/// A network being trained.
#[derive(Debug)]
pub struct Engine {
    net: SiamRpn,
    sgd: Sgd,
    device: Device,
}

impl Engine {
    /// Goes on with a network (its parameters on `device`, which has autodiff) and an optimiser.
    #[must_use]
    pub fn new(net: SiamRpn, sgd: Sgd, device: Device) -> Self {
        Self { net, sgd, device }
    }

    /// The network.
    #[must_use]
    pub fn net(&self) -> &SiamRpn {
        &self.net
    }

    /// The optimiser.
    #[must_use]
    pub fn sgd(&self) -> &Sgd {
        &self.sgd
    }

    /// One step of `epoch` (from 1) at learning rate `lr`. A step whose loss or gradient is not finite changes
    /// nothing; the result says so.
    ///
    /// # Errors
    /// [`StepError`] when the batch does not fit the configuration.
    pub fn step(&mut self, batch: &Batch, cfg: &TrainConfig, epoch: u32, lr: f64) -> Result<Measured, StepError> {
        let model = &cfg.model;
        let device = &self.device;
        let image = |pixels: &[u8], side: u32| input(pixels, batch.pairs, side as usize, model.channels, device);
        let z = image(&batch.template, model.exemplar_px)?;
        let x = image(&batch.search, model.train_search_px)?;
        let response = model.response(model.train_search_px);
        let per_cell = model.anchors.per_cell();
        debug_assert_eq!(batch.labels.len(), batch.pairs * per_cell * response * response);
        let targets = Targets::new(&batch.labels, &batch.deltas, batch.pairs, per_cell, cfg.loss.kind, device)?;
        let mode = TrainMode::of(&cfg.optim, cfg.run.precision, epoch);
        let before = Statistics::of(&self.net);
        let outputs = self.net.forward_train(z, x, &mode);
        let loss = loss(outputs, &targets, &cfg.loss);
        let scale = loss_scale(cfg.run.precision);
        let grads = if scale == 1.0 { loss.total.backward() } else { (loss.total.clone() * scale).backward() };
        let grads = GradientsParams::from_grads(grads, &self.net);
        let (net, stepped) =
            self.sgd.step(self.net.clone(), before, grads, &loss.total, Rule { cfg: &cfg.optim, lr, scale });
        self.net = net;
        let parts = [loss.total, loss.cls, loss.reg].map(Tensor::without_autodiff);
        let rest = [stepped.grad_norm, stepped.taken.float()];
        Ok(Measured(Tensor::cat(parts.into_iter().chain(rest).collect(), 0)))
    }
}
