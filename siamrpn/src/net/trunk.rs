//! The AlexNet trunk: five valid convolutions with batch norm, ReLU after the first four, max-pooling 3/2 after the
//! first two; total stride 8.

use super::TrainMode;
use super::conv::{Conv, Init};
use super::fold::Folded;
use super::norm::BatchNorm;
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, s};
use schemas::train::Precision;

/// Kernel sides of conv1 to conv5.
pub const KERNELS: [usize; 5] = [11, 5, 3, 3, 3];
/// Strides of conv1 to conv5.
pub const STRIDES: [usize; 5] = [2, 1, 1, 1, 1];
/// Convolutions (from 0) that max-pooling follows.
pub const POOLED: [usize; 2] = [0, 1];
/// Leading convolutions that ReLU follows.
const RECTIFIED: usize = 4;
/// Side and step of the pooling window.
pub(crate) const POOL: (usize, usize) = (3, 2);

/// Side of the trunk's output for an input of `side` pixels; `None` when the input is too small.
#[must_use]
pub fn side(side: usize) -> Option<usize> {
    (0..5).try_fold(side, |side, i| {
        let side = side.checked_sub(KERNELS[i])? / STRIDES[i] + 1;
        if POOLED.contains(&i) { Some(side.checked_sub(POOL.0)? / POOL.1 + 1) } else { Some(side) }
    })
}

/// Five convolutions, each with its batch norm.
#[derive(Module, Debug)]
pub struct Trunk {
    /// 11x11, stride 2.
    pub conv1: Conv,
    /// After conv1.
    pub bn1: BatchNorm,
    /// 5x5.
    pub conv2: Conv,
    /// After conv2.
    pub bn2: BatchNorm,
    /// 3x3.
    pub conv3: Conv,
    /// After conv3.
    pub bn3: BatchNorm,
    /// 3x3.
    pub conv4: Conv,
    /// After conv4.
    pub bn4: BatchNorm,
    /// 3x3.
    pub conv5: Conv,
    /// After conv5; no ReLU follows.
    pub bn5: BatchNorm,
}

impl Trunk {
    pub(crate) fn new(widths: [usize; 5], init: &mut Init, device: &Device) -> Self {
        let mut conv = |i: usize| {
            let inputs = if i == 0 { 3 } else { widths[i - 1] };
            Conv::new([widths[i], inputs, KERNELS[i]], STRIDES[i], true, init, device)
        };
        let [conv1, conv2, conv3, conv4, conv5] = [conv(0), conv(1), conv(2), conv(3), conv(4)];
        let [bn1, bn2, bn3, bn4, bn5] = widths.map(|w| BatchNorm::new(w, device));
        Self { conv1, bn1, conv2, bn2, conv3, bn3, conv4, bn4, conv5, bn5 }
    }

    /// Every convolution with its norm, in order.
    pub(crate) fn layers(&self) -> [(&Conv, &BatchNorm); 5] {
        [
            (&self.conv1, &self.bn1),
            (&self.conv2, &self.bn2),
            (&self.conv3, &self.bn3),
            (&self.conv4, &self.bn4),
            (&self.conv5, &self.bn5),
        ]
    }

    /// Every norm, in order.
    pub(crate) fn norms_mut(&mut self) -> [&mut BatchNorm; 5] {
        [&mut self.bn1, &mut self.bn2, &mut self.bn3, &mut self.bn4, &mut self.bn5]
    }

    /// Features for training: the frozen leading layers on running statistics and without gradients, the others on
    /// batch statistics, which move the running ones.
    ///
    /// # Shapes
    /// - `x`: `[B, 3, H, W]`
    /// - output: `[B, widths[4], side(H), side(W)]`
    pub fn forward_train(&mut self, x: Tensor<4>, mode: &TrainMode) -> Tensor<4> {
        (0..5).fold(x.without_autodiff(), |x, i| self.layer_train(i, x, mode))
    }

    /// Layer `i` (from 0) of [`Trunk::forward_train`], pooling and ReLU included.
    pub fn layer_train(&mut self, i: usize, x: Tensor<4>, mode: &TrainMode) -> Tensor<4> {
        let (conv, bn) = match i {
            0 => (&self.conv1, &mut self.bn1),
            1 => (&self.conv2, &mut self.bn2),
            2 => (&self.conv3, &mut self.bn3),
            3 => (&self.conv4, &mut self.bn4),
            _ => (&self.conv5, &mut self.bn5),
        };
        let frozen = mode.frozen_layers();
        if i < frozen {
            let x = fixed(i, &Folded::with(conv, bn), x, mode.precision);
            // What follows the last frozen layer is trained.
            return if i + 1 == 5 && conv.weight.val().is_autodiff() { x.autodiff() } else { x };
        }
        let x = if i == frozen && conv.weight.val().is_autodiff() { x.autodiff() } else { x };
        let mut x = bn.batch(conv.forward(x, mode.precision));
        if POOLED.contains(&i) {
            x = max_pool2d(x, MaxPoolOptions::new([POOL.0, POOL.0]).with_stride([POOL.1, POOL.1]));
        }
        rectified(i, x)
    }
}

/// Layer `i` (from 0) with its norm folded in and what follows it, outside any autodiff graph. Pooling and ReLU commute.
pub(crate) fn fixed(i: usize, layer: &Folded, x: Tensor<4>, precision: Precision) -> Tensor<4> {
    let pooled = POOLED.contains(&i);
    if let Some(whole) = layer.whole(x.clone(), i < RECTIFIED, pooled, precision) {
        return whole;
    }
    let x = layer.run(x, precision);
    rectified(i, if pooled { pool(x) } else { x })
}

/// ReLU, which follows all layers (`i` from 0) but the last.
fn rectified(i: usize, x: Tensor<4>) -> Tensor<4> {
    if i < RECTIFIED { relu(x) } else { x }
}

/// Max-pooling 3/2 as maxima of shifted slices, rows first, then every second column: faster than the pooling operator
/// where no indices are needed for a backward pass.
///
/// # Shapes
/// - `x`: `[B, C, H, W]`
/// - output: `[B, C, (H - 3) / 2 + 1, (W - 3) / 2 + 1]`
fn pool(x: Tensor<4>) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let (rows, columns) = ((h - POOL.0) / POOL.1 + 1, (w - POOL.0) / POOL.1 + 1);
    let (last_row, last_column) = (2 * (rows - 1) + 1, 2 * (columns - 1) + 1);
    let row = |i: usize| x.clone().slice(s![.., .., i..i + last_row;2, ..]);
    let x = row(0).max_pair(row(1)).max_pair(row(2));
    let column = |i: usize| x.clone().slice(s![.., .., .., i..i + last_column]);
    column(0).max_pair(column(1)).max_pair(column(2)).slice(s![.., .., .., 0..last_column;2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    #[test]
    fn sides_are_the_published_ones() {
        for (input, output) in [(127, 6), (255, 22), (271, 24), (287, 26)] {
            assert_eq!(side(input), Some(output), "{input}");
        }
        assert_eq!(side(40), None);
    }

    #[test]
    fn sliced_pooling_equals_the_operator() {
        let device = Device::flex();
        for (h, w) in [(9, 9), (10, 13), (3, 4)] {
            let x = Tensor::<4>::random([2, 3, h, w], Distribution::Normal(0.0, 1.0), &device);
            let expected = max_pool2d(x.clone(), MaxPoolOptions::new([3, 3]).with_stride([2, 2]));
            pool(x).into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(0.0));
        }
    }
}
