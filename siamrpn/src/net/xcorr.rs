//! Cross-correlation of search features with the kernels of a template, without grouped convolutions.

use super::conv::{lower, raise};
use crate::cpu;
use crate::device::is_cpu;
use burn::tensor::Tensor;
use schemas::train::Precision;

/// Correlates every output's kernel over all channels: one batched matrix product and one shifted sum per kernel cell.
///
/// # Shapes
/// - `x`: `[B, C, H, W]`
/// - `kernels`: `[B, outputs * C, k, k]`, channel `output * C + c`
/// - output: `[B, outputs, H - k + 1, W - k + 1]`
pub(crate) fn full(x: Tensor<4>, kernels: Tensor<4>, precision: Precision) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let [_, planes, kh, kw] = kernels.dims();
    let outputs = planes / c;
    let kernels = kernels.reshape([b, outputs, c, kh * kw]).permute([0, 3, 1, 2]).reshape([b, kh * kw * outputs, c]);
    let products = lower(kernels, precision).matmul(lower(x, precision).reshape([b, c, h * w]));
    let products = raise(products, precision).reshape([b, kh * kw * outputs, h, w]);
    let (oh, ow) = (h + 1 - kh, w + 1 - kw);
    sum_shifted(kh, kw, |i| {
        let (row, column) = (i / kw, i % kw);
        products.clone().slice([0..b, i * outputs..(i + 1) * outputs, row..row + oh, column..column + ow])
    })
}

/// Correlates every channel with its own kernel: our own operation on the processor, else one shifted product per kernel
/// cell.
///
/// # Shapes
/// - `x`: `[B, C, H, W]`
/// - `kernels`: `[B, C, k, k]`
/// - output: `[B, C, H - k + 1, W - k + 1]`
pub(crate) fn depthwise(x: Tensor<4>, kernels: Tensor<4>, precision: Precision) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let [each, _, kh, kw] = kernels.dims();
    if precision == Precision::Fp32 && is_cpu(&x.device()) && each == b && kh == kw {
        return cpu::correlate(x, kernels);
    }
    let (x, kernels) = (lower(x, precision), lower(kernels, precision));
    let (oh, ow) = (h + 1 - kh, w + 1 - kw);
    let sum = sum_shifted(kh, kw, |i| {
        let (row, column) = (i / kw, i % kw);
        let window = x.clone().slice([0..b, 0..c, row..row + oh, column..column + ow]);
        window * kernels.clone().slice([0..b, 0..c, row..row + 1, column..column + 1])
    });
    raise(sum, precision)
}

/// Sum of the kernel cells' terms in row-major order.
fn sum_shifted(kh: usize, kw: usize, term: impl Fn(usize) -> Tensor<4>) -> Tensor<4> {
    (1..kh * kw).fold(term(0), |sum, i| sum + term(i))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Distribution, Tolerance};

    fn random(shape: [usize; 4]) -> Tensor<4> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    fn options(groups: usize) -> ConvOptions<2> {
        ConvOptions::new([1, 1], [0, 0], [1, 1], groups)
    }

    #[test]
    fn full_correlation_equals_convolutions_per_sample() {
        let (x, k) = (random([3, 6, 9, 11]), random([3, 4 * 6, 4, 4]));
        let each = (0..3).map(|b| {
            let weight = k.clone().narrow(0, b, 1).reshape([4, 6, 4, 4]);
            conv2d(x.clone().narrow(0, b, 1), weight, None, options(1))
        });
        let expected = Tensor::cat(each.collect(), 0);
        full(x.clone(), k.clone(), Precision::Fp32)
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-4));
    }

    #[test]
    fn depthwise_correlation_equals_grouped_convolutions() {
        let (x, k) = (random([2, 5, 8, 7]), random([2, 5, 4, 4]));
        let each = (0..2).map(|b| {
            let weight = k.clone().narrow(0, b, 1).reshape([5, 1, 4, 4]);
            conv2d(x.clone().narrow(0, b, 1), weight, None, options(5))
        });
        let expected = Tensor::cat(each.collect(), 0);
        depthwise(x.clone(), k.clone(), Precision::Fp32)
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-4));
    }

    #[test]
    fn lower_precisions_stay_close() {
        let (x, k) = (random([1, 16, 6, 6]), random([1, 2 * 16, 4, 4]));
        let exact = full(x.clone(), k.clone(), Precision::Fp32);
        for (precision, tolerance) in [(Precision::Bf16, 0.6), (Precision::F16, 0.1)] {
            full(x.clone(), k.clone(), precision)
                .into_data()
                .assert_approx_eq::<f32>(&exact.clone().into_data(), Tolerance::absolute(tolerance));
        }
    }
}
