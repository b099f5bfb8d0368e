//! The loss on videos that are not trained on: over the same pairs every time, with running statistics, without gradients.

use crate::engine::StepError;
use crate::loader::{Batch, LoadError, Loader, Recipe};
use crate::metrics::Validation;
use crate::train::TrainError;
use burn::tensor::{Device, Tensor};
use schemas::train::TrainConfig;
use siamrpn::loss::{Targets, loss};
use siamrpn::net::{Inference, SiamRpn, input};
use std::path::PathBuf;
use std::sync::Arc;

/// The pairs of a run's validations.
#[derive(Debug)]
pub struct Validator {
    recipe: Arc<Recipe>,
    steps: u64,
}

impl Validator {
    /// Of the whole datasets `named`, or else of the videos that training on `data` leaves out; `None` when neither is asked
    /// for.
    ///
    /// # Errors
    /// [`LoadError`] when the pairs cannot be drawn.
    pub fn open(data: &[PathBuf], named: &[PathBuf], cfg: &TrainConfig) -> Result<Option<Self>, LoadError> {
        let recipe = match (named, cfg.data.validation_share > 0.0) {
            ([], false) => return Ok(None),
            ([], true) => Recipe::validation(data, cfg, false)?,
            (named, _) => Recipe::validation(named, cfg, true)?,
        };
        let steps = (cfg.run.validation_pairs as u64).div_ceil(cfg.run.batch.max(1) as u64);
        Ok(Some(Self { recipe: Arc::new(recipe), steps }))
    }

    /// The mean losses of `net`, which is on `device`, after `step` steps.
    ///
    /// # Errors
    /// When pairs cannot be read or the device fails.
    pub fn run(
        &self,
        net: &SiamRpn,
        device: &Device,
        cfg: &TrainConfig,
        (step, epoch): (u64, u32),
    ) -> Result<Validation, TrainError> {
        let net = net.inference();
        let device = device.clone().without_autodiff();
        let mut loader = Loader::start(&self.recipe, 0..self.steps)?;
        let mut found = Vec::new();
        while let Some(batch) = loader.next() {
            let batch = batch?;
            found.push(losses(&net, &batch, cfg, &device)?);
            loader.give_back(batch);
        }
        let count = found.len().max(1) as f64;
        // Read all at once: a GPU is waited for once only.
        let sums = Tensor::stack::<2>(found, 0).sum_dim(0);
        let sums = sums.try_into_vec_as::<f32>().map_err(|e| StepError::Device(format!("{e:?}")))?;
        let mean = |i: usize| f64::from(sums.get(i).copied().unwrap_or(f32::NAN)) / count;
        let pairs = self.steps as usize * cfg.run.batch;
        Ok(Validation { step, epoch, loss: mean(0), cls: mean(1), reg: mean(2), pairs })
    }
}

/// Total, classification and regression loss of a batch, `[3]`.
fn losses(net: &Inference, batch: &Batch, cfg: &TrainConfig, device: &Device) -> Result<Tensor<1>, StepError> {
    let model = &cfg.model;
    let image = |pixels: &[u8], side: u32| input(pixels, batch.pairs, side as usize, model.channels, device);
    let (z, x) = (image(&batch.template, model.exemplar_px)?, image(&batch.search, model.train_search_px)?);
    let per_cell = model.anchors.per_cell();
    let targets = Targets::new(&batch.labels, &batch.deltas, batch.pairs, per_cell, cfg.loss.kind, device)?;
    let found = loss(net.track(&net.template(z), x), &targets, &cfg.loss);
    Ok(Tensor::cat(vec![found.total, found.cls, found.reg], 0))
}
