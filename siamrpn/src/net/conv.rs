//! Convolution without padding, with full-precision weights.

use crate::cpu;
use crate::device::is_cpu;
use burn::module::{Module, Param};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use schemas::train::Precision;
use shards::order::Rng;

/// Standard deviation of the reference's initial convolution weights.
const INIT_STD: f64 = 0.01;

/// Where initial weights come from.
pub(crate) enum Init {
    /// Random.
    Random(Rng),
    /// All zero: other weights are about to be loaded.
    Zero,
}

impl Init {
    #[expect(clippy::cast_possible_truncation, reason = "weights are stored as f32")]
    fn weight(&mut self) -> f32 {
        match self {
            Self::Random(rng) => (rng.normal() * INIT_STD) as f32,
            Self::Zero => 0.0,
        }
    }
}

/// Dtype in which a precision computes convolutions and correlations.
#[must_use]
pub(crate) fn dtype(precision: Precision) -> FloatDType {
    match precision {
        Precision::Fp32 => FloatDType::F32,
        Precision::Bf16 => FloatDType::BF16,
        Precision::F16 => FloatDType::F16,
    }
}

/// `x` in the dtype of `precision`; a no-op for 32 bits.
pub(crate) fn lower<const D: usize>(x: Tensor<D>, precision: Precision) -> Tensor<D> {
    match precision {
        Precision::Fp32 => x,
        _ => x.cast(dtype(precision)),
    }
}

/// `x` in 32 bits.
pub(crate) fn raise<const D: usize>(x: Tensor<D>, precision: Precision) -> Tensor<D> {
    match precision {
        Precision::Fp32 => x,
        _ => x.cast(FloatDType::F32),
    }
}

/// A valid (unpadded) 2-D convolution.
#[derive(Module, Debug)]
pub struct Conv {
    /// `[out, in, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`; absent where a batch norm follows in the depthwise head.
    pub bias: Option<Param<Tensor<1>>>,
    /// Step of the window in both directions.
    pub stride: usize,
}

impl Conv {
    /// Weights drawn from N(0, 0.01²), biases 0: the reference's initialisation.
    pub(crate) fn new(shape: [usize; 3], stride: usize, bias: bool, init: &mut Init, device: &Device) -> Self {
        let [outputs, inputs, kernel] = shape;
        let values: Vec<f32> = (0..outputs * inputs * kernel * kernel).map(|_| init.weight()).collect();
        let weight = TensorData::new(values, [outputs, inputs, kernel, kernel]);
        Self {
            weight: Param::from_data(weight, device),
            bias: bias.then(|| Param::from_data(TensorData::new(vec![0.0_f32; outputs], [outputs]), device)),
            stride,
        }
    }

    /// Convolves, computing in `precision` and answering 32 bits.
    ///
    /// # Shapes
    /// - `x`: `[B, in, H, W]`
    /// - output: `[B, out, (H - kernel) / stride + 1, (W - kernel) / stride + 1]`
    pub fn forward(&self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        convolve(x, self.weight.val(), self.bias.as_ref().map(Param::val), self.stride, precision)
    }
}

/// A valid convolution, computed in `precision` and answered in 32 bits.
pub(crate) fn convolve(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    precision: Precision,
) -> Tensor<4> {
    if precision == Precision::Fp32 && is_cpu(&x.device()) {
        let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[0]], &x.device()));
        return cpu::convolve(x, weight, bias, stride);
    }
    let y = conv2d(
        lower(x, precision),
        lower(weight, precision),
        bias.map(|b| lower(b, precision)),
        ConvOptions::new([stride, stride], [0, 0], [1, 1], 1),
    );
    raise(y, precision)
}
