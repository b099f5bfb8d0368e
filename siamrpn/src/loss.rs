//! Classification and regression losses: the reference's and PySOT's.
//!
//! Both are weighted sums over all anchors, and the weights depend on the labels alone, so they are computed on the
//! host once per batch. With n the number of targets (or background anchors) of one sample, N of the batch, B samples:
//!
//! | | classification (cross entropy) | regression over targets |
//! |---|---|---|
//! | reference | 1/2 mean over targets + 1/2 mean over background per sample, mean of samples; denominators n + 1e-6 | mean of 4 smooth L1 (beta 1), / (n + 1e-6), mean of samples |
//! | PySOT | 1/2 mean over targets + 1/2 mean over background of the whole batch | sum of 4 absolute differences / (n + 1e-6), mean of samples |

use crate::net::Outputs;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use schemas::train::{LossConfig, LossKind};

/// Why labels cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LossError {
    /// A buffer has the wrong length.
    #[error("{what} of {batch} samples with {per_cell} anchors per cell: expected {expected} values, found {found}")]
    Length {
        /// Labels or deltas.
        what: &'static str,
        /// Samples.
        batch: usize,
        /// Anchors per cell.
        per_cell: usize,
        /// Values they should have.
        expected: usize,
        /// Values given.
        found: usize,
    },
}

/// Labels of a batch on the device.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Weight of each class's log-probability, `[B, 2, A * R * R]`.
    cls_weight: Tensor<3>,
    /// Wanted deltas, `[B, 4, A * R * R]`.
    delta: Tensor<3>,
    /// Weight of each anchor's regression error, `[B, 1, A * R * R]`.
    reg_weight: Tensor<3>,
    kind: LossKind,
}

fn count(labels: &[i8], value: i8) -> f64 {
    labels.iter().filter(|l| **l == value).count() as f64
}

impl Targets {
    /// Labels of a batch: `cls` `[batch, N]` with 1, 0, -1 and `reg` `[batch, 4, N]` as [`crate::labels::Labels`]
    /// gives them, N = `per_cell * R²`.
    ///
    /// # Errors
    /// [`LossError`] when the lengths do not fit.
    pub fn new(
        cls: &[i8],
        reg: &[f32],
        batch: usize,
        per_cell: usize,
        kind: LossKind,
        device: &Device,
    ) -> Result<Self, LossError> {
        let n = cls.len() / batch.max(1);
        let length = |what, expected, found| LossError::Length { what, batch, per_cell, expected, found };
        if n == 0 || cls.len() != n * batch || per_cell == 0 || !n.is_multiple_of(per_cell) {
            return Err(length("labels", batch * n.max(per_cell), cls.len()));
        }
        if reg.len() != 4 * cls.len() {
            return Err(length("deltas", 4 * cls.len(), reg.len()));
        }
        let samples = batch as f64;
        let (all_targets, all_background) = (count(cls, 1), count(cls, 0));
        let mut cls_weight = Vec::with_capacity(2 * cls.len());
        let mut reg_weight = Vec::with_capacity(cls.len());
        for sample in cls.chunks_exact(n) {
            let (targets, background) = (count(sample, 1), count(sample, 0));
            let (target, back, box_weight) = match kind {
                LossKind::Reference => (
                    0.5 / (targets + 1e-6) / samples,
                    0.5 / (background + 1e-6) / samples,
                    0.25 / (targets + 1e-6) / samples,
                ),
                LossKind::Pysot => {
                    (0.5 / all_targets.max(1.0), 0.5 / all_background.max(1.0), 1.0 / (targets + 1e-6) / samples)
                }
            };
            #[expect(clippy::cast_possible_truncation, reason = "weights are stored as f32")]
            let put = |to: &mut Vec<f32>, label: i8, weight: f64| {
                to.extend(sample.iter().map(|l| if *l == label { weight as f32 } else { 0.0 }));
            };
            put(&mut cls_weight, 0, back);
            put(&mut cls_weight, 1, target);
            put(&mut reg_weight, 1, box_weight);
        }
        Ok(Self {
            cls_weight: Tensor::from_data(TensorData::new(cls_weight, [batch, 2, n]), device),
            delta: Tensor::from_data(TensorData::new(reg.to_vec(), [batch, 4, n]), device),
            reg_weight: Tensor::from_data(TensorData::new(reg_weight, [batch, 1, n]), device),
            kind,
        })
    }
}

/// The loss of a batch; every part is `[1]`.
#[derive(Debug, Clone)]
pub struct Loss {
    /// `cls_weight * cls + reg_weight * reg`.
    pub total: Tensor<1>,
    /// Classification, unweighted.
    pub cls: Tensor<1>,
    /// Regression, unweighted.
    pub reg: Tensor<1>,
}

/// Loss of the outputs.
///
/// # Shapes
/// - `outputs.cls`: `[B, 2A, R, R]`; `outputs.reg`: `[B, 4A, R, R]`, with B, A, R of `targets`
#[must_use]
pub fn loss(outputs: Outputs, targets: &Targets, cfg: &LossConfig) -> Loss {
    let [batch, _, n] = targets.cls_weight.dims();
    let log = log_softmax(outputs.cls.reshape([batch, 2, n]), 1);
    let cls = (log * targets.cls_weight.clone()).sum().neg();
    let difference = (outputs.reg.reshape([batch, 4, n]) - targets.delta.clone()).abs();
    let error = match targets.kind {
        LossKind::Reference => {
            let near = difference.clone().clamp_max(1.0);
            // 0.5 d² up to 1, d - 0.5 beyond.
            near.clone() * (difference - near * 0.5)
        }
        LossKind::Pysot => difference,
    };
    let reg = (error * targets.reg_weight.clone()).sum();
    let total = cls.clone() * cfg.cls_weight + reg.clone() * cfg.reg_weight;
    Loss { total, cls, reg }
}
