//! Batch norm with PyTorch's conventions.
//!
//! Own, because training needs three things together: running statistics used while other layers train, the unbiased
//! variance in the running value, and statistics that belong to one module value, so that a copy of the module taken
//! before a bad step really is the module before that step.

use burn::module::{Module, Param};
use burn::tensor::module::batch_norm_train;
use burn::tensor::{Device, Tensor, TensorData};

/// Added to the variance before the root, as in PyTorch.
pub const EPSILON: f64 = 1e-5;
/// Share of the batch's statistics in the new running value, as in PyTorch.
pub const MOMENTUM: f64 = 0.1;

/// Batch norm over all axes but the channels.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub bias: Param<Tensor<1>>,
    /// Running mean, `[C]`; never trained.
    pub running_mean: Param<Tensor<1>>,
    /// Running unbiased variance, `[C]`; never trained.
    pub running_var: Param<Tensor<1>>,
}

fn full(value: f32, channels: usize, device: &Device) -> Param<Tensor<1>> {
    Param::from_data(TensorData::new(vec![value; channels], [channels]), device)
}

impl BatchNorm {
    /// Scale 1, shift 0, running mean 0, running variance 1.
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        Self {
            weight: full(1.0, channels, device),
            bias: full(0.0, channels, device),
            running_mean: full(0.0, channels, device).set_require_grad(false),
            running_var: full(1.0, channels, device).set_require_grad(false),
        }
    }

    /// Normalises with the batch's own statistics (biased variance) and moves the running statistics towards them
    /// (unbiased variance).
    ///
    /// # Shapes
    /// - `x`, output: `[B, C, H, W]`
    pub fn batch(&mut self, x: Tensor<4>) -> Tensor<4> {
        let [b, _, h, w] = x.dims();
        let samples = (b * h * w) as f64;
        let result = batch_norm_train(x, self.weight.val(), self.bias.val(), EPSILON);
        let unbiased = if samples > 1.0 { samples / (samples - 1.0) } else { 1.0 };
        blend(&mut self.running_mean, result.mean, 1.0);
        blend(&mut self.running_var, result.variance, unbiased);
        result.output
    }

    /// Scale and shift per channel that normalising with the running statistics amounts to: `(scale, shift)`, both
    /// `[C]`, outside any autodiff graph.
    pub(crate) fn affine(&self) -> (Tensor<1>, Tensor<1>) {
        let var = self.running_var.val().without_autodiff();
        let scale = self.weight.val().without_autodiff() / (var + EPSILON).sqrt();
        let shift = self.bias.val().without_autodiff() - self.running_mean.val().without_autodiff() * scale.clone();
        (scale, shift)
    }
}

/// Moves a running value: `0.9 * old + 0.1 * factor * new`.
fn blend(running: &mut Param<Tensor<1>>, new: Tensor<1>, factor: f64) {
    let old = running.val();
    let value = old.clone().without_autodiff() * (1.0 - MOMENTUM) + new.without_autodiff() * (MOMENTUM * factor);
    let value = if old.is_autodiff() { value.autodiff() } else { value };
    *running = running.clone().map(|_| value);
}
