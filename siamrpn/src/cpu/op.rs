//! Our convolutions as an operation of Burn's, with its gradients.

use super::conv::{Conv, Planes, Scratch, View, pool};
use super::depthwise::{depthwise, gradients};
use super::gradient::{Sizes, of_inputs, of_weights};
use super::kernel::Kernel;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};

/// A convolution without padding, in 32 bits, on the processor.
///
/// # Shapes
/// - `x`: `[B, in, H, W]`
/// - `weight`: `[out, in, K, K]`
/// - `bias`: `[out]`
/// - output: `[B, out, (H - K) / stride + 1, (W - K) / stride + 1]`
pub(crate) fn convolve(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: usize) -> Tensor<4> {
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Convolve>::convolve(x, weight, bias, stride))
}

/// A layer that is not trained, on the processor: [`convolve`], ReLU where `relu` says so, and where
/// `pooled` says so the largest of every 3 x 3 window, every second one. Outside any autodiff graph.
///
/// # Shapes
/// As [`convolve`]; pooling makes `[B, out, H, W]` into `[B, out, (H - 3) / 2 + 1, (W - 3) / 2 + 1]`.
pub(crate) fn layer(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    relu: bool,
    pooled: bool,
) -> Tensor<4> {
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Layer>::layer(x, weight, bias, stride, relu, pooled))
}

/// A backend with our layers.
#[backend_extension(Flex)]
pub(crate) trait Layer: Backend {
    /// As [`layer`].
    fn layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        relu: bool,
        pooled: bool,
    ) -> FloatTensor<Self>;
}

/// Correlates every channel with its own kernel, in 32 bits, on the processor.
///
/// # Shapes
/// - `x`: `[B, C, H, W]`
/// - `kernels`: `[B, C, K, K]`
/// - output: `[B, C, H - K + 1, W - K + 1]`
pub(crate) fn correlate(x: Tensor<4>, kernels: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Correlate>::correlate(x.into_dispatch(), kernels.into_dispatch()))
}

/// A backend with our correlation.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Correlate: Backend {
    /// As [`correlate`].
    fn correlate(x: FloatTensor<Self>, kernels: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// A backend with our convolution.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Convolve: Backend {
    /// As [`convolve`].
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;
}

/// The gradients of [`Convolve`] and [`Correlate`].
pub(crate) trait Gradient: Backend {
    /// Of both inputs of a correlation.
    fn of_correlation(
        x: FloatTensor<Self>,
        kernels: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Of the input, which has `shape`.
    fn of_input(
        shape: [usize; 4],
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;
    /// Of the weights, whose window has `side`.
    fn of_weight(x: FloatTensor<Self>, side: usize, grad: FloatTensor<Self>, stride: usize) -> FloatTensor<Self>;
}

/// Looks at the numbers of a tensor, in the order of its shape.
fn with<T>(tensor: &FlexTensor, look: impl FnOnce(&[f32]) -> T) -> T {
    match tensor.as_slice::<f32>() {
        Some(values) => look(values),
        None => look(tensor.to_contiguous().as_slice::<f32>().unwrap_or_default()),
    }
}

fn tensor(values: Vec<f32>, shape: [usize; 4]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

impl Layer for Flex {
    fn layer(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        stride: usize,
        relu: bool,
        pooled: bool,
    ) -> FlexTensor {
        let [pictures, inputs, height, width] = x.shape().dims();
        let [outputs, _, side, _] = weight.shape().dims();
        let conv = with(&weight, |weight| {
            with(&bias, |bias| Conv::new(Kernel::best(), [outputs, inputs, side], stride, weight, bias))
        });
        let conv = if relu { conv.relu() } else { conv };
        let mut y = Planes::default();
        with(&x, |data| conv.run(View { height, width, data }, &mut y, &mut Scratch::default()));
        if pooled {
            let mut largest = Planes::default();
            pool(&y, &mut largest);
            y = largest;
        }
        tensor(y.data, [pictures, outputs, y.height, y.width])
    }
}

impl Convolve for Flex {
    fn convolve(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, stride: usize) -> FlexTensor {
        Self::layer(x, weight, bias, stride, false, false)
    }
}

impl Correlate for Flex {
    fn correlate(x: FlexTensor, kernels: FlexTensor) -> FlexTensor {
        let [pictures, channels, height, width] = x.shape().dims();
        let [_, _, side, _] = kernels.shape().dims();
        let mut y = Planes::default();
        with(&x, |data| with(&kernels, |kernels| depthwise(View { height, width, data }, kernels, side, &mut y)));
        tensor(y.data, [pictures, channels, y.height, y.width])
    }
}

impl Gradient for Flex {
    fn of_correlation(x: FlexTensor, kernels: FlexTensor, grad: FlexTensor) -> (FlexTensor, FlexTensor) {
        let shape @ [_, _, height, width] = x.shape().dims();
        let kernel_shape @ [_, _, side, _] = kernels.shape().dims();
        let (of_x, of_kernels) = with(&x, |data| {
            let x = View { height, width, data };
            with(&kernels, |kernels| with(&grad, |grad| gradients(x, kernels, side, grad)))
        });
        (tensor(of_x, shape), tensor(of_kernels, kernel_shape))
    }

    fn of_input(shape: [usize; 4], weight: FlexTensor, grad: FlexTensor, stride: usize) -> FlexTensor {
        let [_, inputs, height, width] = shape;
        let [outputs, _, side, _] = weight.shape().dims();
        let sizes = Sizes { outputs, inputs, side, stride, height, width };
        let found = with(&weight, |weight| with(&grad, |grad| of_inputs(Kernel::best(), sizes, weight, grad)));
        tensor(found, shape)
    }

    fn of_weight(x: FlexTensor, side: usize, grad: FlexTensor, stride: usize) -> FlexTensor {
        let [_, inputs, height, width] = x.shape().dims();
        let [_, outputs, ..] = grad.shape().dims::<4>();
        let sizes = Sizes { outputs, inputs, side, stride, height, width };
        let found = with(&x, |x| with(&grad, |grad| of_weights(Kernel::best(), sizes, x, grad)));
        tensor(found, [outputs, inputs, side, side])
    }
}

/// The step backwards.
#[derive(Debug)]
struct Back;

/// What it needs: input and weights, and the step of the window.
#[derive(Debug, Clone)]
struct Seen<T> {
    x: T,
    weight: T,
    stride: usize,
}

impl<B: Convolve + Gradient> Backward<B, 3> for Back {
    type State = Seen<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [node_x, node_weight, node_bias] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let Seen { x, weight, stride } = ops.state;
        if let Some(node) = node_bias {
            let outputs = grad.shape().dims::<4>()[1];
            let sum = [0, 2, 3].into_iter().fold(grad.clone(), |sum, axis| B::float_sum_dim(sum, axis));
            grads.register::<B>(node.id, B::float_reshape(sum, [outputs].into()));
        }
        if let Some(node) = node_x {
            let shape = x.shape().dims();
            grads.register::<B>(node.id, B::of_input(shape, weight.clone(), grad.clone(), stride));
        }
        if let Some(node) = node_weight {
            let side = weight.shape().dims::<4>()[2];
            grads.register::<B>(node.id, B::of_weight(x, side, grad, stride));
        }
    }
}

/// The correlation's step backwards.
#[derive(Debug)]
struct CorrelateBack;

impl<B: Correlate + Gradient> Backward<B, 2> for CorrelateBack {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [node_x, node_kernels] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, kernels) = ops.state;
        let (of_x, of_kernels) = B::of_correlation(x, kernels, grad);
        if let Some(node) = node_x {
            grads.register::<B>(node.id, of_x);
        }
        if let Some(node) = node_kernels {
            grads.register::<B>(node.id, of_kernels);
        }
    }
}

impl<B: Correlate + Gradient, C: CheckpointStrategy> Correlate for Autodiff<B, C> {
    fn correlate(x: FloatTensor<Self>, kernels: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (kernels, kernels_node)) = (x.into_parts(), kernels.into_parts());
        match CorrelateBack.prepare::<C>([x_node, kernels_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x.clone(), kernels.clone()), B::correlate(x, kernels)),
            OpsKind::UnTracked(prep) => prep.finish(B::correlate(x, kernels)),
        }
    }
}

impl<B: Convolve + Gradient, C: CheckpointStrategy> Convolve for Autodiff<B, C> {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        match Back.prepare::<C>([x_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let seen = Seen { x: x.clone(), weight: weight.clone(), stride };
                prep.finish(seen, B::convolve(x, weight, bias, stride))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::convolve(x, weight, bias, stride)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Distribution, Tolerance};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn outputs_and_gradients_are_burns(
            (pictures, outputs, inputs) in (1usize..4, 1usize..14, 1usize..40),
            (side, stride) in (1usize..6, 1usize..3),
            (more_h, more_w) in (0usize..30, 0usize..30),
        ) {
            let device = Device::flex().autodiff();
            let random = |shape: [usize; 4]| -> Tensor<4> {
                Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad()
            };
            let x = random([pictures, inputs, side + more_h, side + more_w]);
            let weight = random([outputs, inputs, side, side]);
            let bias: Tensor<1> = Tensor::random([outputs], Distribution::Normal(0.0, 1.0), &device).require_grad();
            let theirs = conv2d(
                x.clone(),
                weight.clone(),
                Some(bias.clone()),
                ConvOptions::new([stride, stride], [0, 0], [1, 1], 1),
            );
            let ours = convolve(x.clone(), weight.clone(), bias.clone(), stride);
            // Every output has its own share of the loss.
            let shares: Tensor<4> = Tensor::random(ours.dims(), Distribution::Normal(0.0, 1.0), &device);
            let close = |a: TensorData, b: TensorData| a.assert_approx_eq::<f32>(&b, Tolerance::rel_abs(1e-4, 3e-4));
            close(ours.clone().into_data(), theirs.clone().into_data());
            let (a, b) = ((ours * shares.clone()).sum().backward(), (theirs * shares).sum().backward());
            close(x.grad(&a).unwrap().into_data(), x.grad(&b).unwrap().into_data());
            close(weight.grad(&a).unwrap().into_data(), weight.grad(&b).unwrap().into_data());
            close(bias.grad(&a).unwrap().into_data(), bias.grad(&b).unwrap().into_data());
        }
    }

    #[test]
    fn correlations_are_burns() {
        for (pictures, channels, side, height, width) in [(1, 3, 4, 4, 9), (2, 5, 4, 22, 20), (3, 2, 1, 3, 3)] {
            let device = Device::flex().autodiff();
            let random = |shape: [usize; 4]| -> Tensor<4> {
                Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad()
            };
            let (x, kernels) = (random([pictures, channels, height, width]), random([pictures, channels, side, side]));
            let planes = pictures * channels;
            let theirs = conv2d(
                x.clone().reshape([1, planes, height, width]),
                kernels.clone().reshape([planes, 1, side, side]),
                None,
                ConvOptions::new([1, 1], [0, 0], [1, 1], planes),
            );
            let ours = correlate(x.clone(), kernels.clone());
            let theirs = theirs.reshape(ours.dims());
            let shares: Tensor<4> = Tensor::random(ours.dims(), Distribution::Normal(0.0, 1.0), &device);
            let close = |a: TensorData, b: TensorData| a.assert_approx_eq::<f32>(&b, Tolerance::rel_abs(1e-4, 1e-4));
            close(ours.clone().into_data(), theirs.clone().into_data());
            let (a, b) = ((ours * shares.clone()).sum().backward(), (theirs * shares).sum().backward());
            close(x.grad(&a).unwrap().into_data(), x.grad(&b).unwrap().into_data());
            close(kernels.grad(&a).unwrap().into_data(), kernels.grad(&b).unwrap().into_data());
        }
    }

    #[test]
    fn what_is_not_trained_has_no_gradient() {
        let device = Device::flex().autodiff();
        let x: Tensor<4> = Tensor::ones([1, 2, 5, 5], &device);
        let weight: Tensor<4> = Tensor::<4>::ones([3, 2, 3, 3], &device).require_grad();
        // A view that is not laid out in its own order.
        let y = convolve(x.clone().swap_dims(2, 3), weight.clone(), Tensor::zeros([3], &device), 1);
        let grads = y.sum().backward();
        assert!(x.grad(&grads).is_none());
        let data = weight.grad(&grads).unwrap().into_data();
        assert!(data.as_slice::<f32>().unwrap().iter().all(|v| *v == 9.0));
    }
}
