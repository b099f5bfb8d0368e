//! The network for inference: every batch norm folded into the convolution before it.

use super::conv::{Conv, convolve};
use super::head::{Branch, Template};
use super::norm::BatchNorm;
use super::{Head, Outputs, SiamRpn, trunk, xcorr};
use crate::cpu;
use crate::device::is_cpu;
use burn::module::Param;
use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorReadError};
use schemas::train::Precision;

/// A convolution with a norm on running statistics folded in, outside any autodiff graph.
#[derive(Debug, Clone)]
pub(crate) struct Folded {
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
}

/// The numbers of a [`Folded`].
#[derive(Debug)]
pub(crate) struct FoldedWeights {
    /// `[out][in][kernel][kernel]`.
    pub weight: Vec<f32>,
    /// The sizes of `weight`.
    pub shape: [usize; 4],
    /// One per output.
    pub bias: Vec<f32>,
    /// Step of the window.
    pub stride: usize,
}

impl Folded {
    /// The convolution alone.
    fn plain(conv: &Conv) -> Self {
        Self {
            weight: conv.weight.val().without_autodiff(),
            bias: conv.bias.as_ref().map(|b| b.val().without_autodiff()),
            stride: conv.stride,
        }
    }

    /// What `conv` followed by `bn` on running statistics does.
    pub(crate) fn with(conv: &Conv, bn: &BatchNorm) -> Self {
        let Self { weight, bias, stride } = Self::plain(conv);
        let (scale, shift) = bn.affine();
        let [outputs] = scale.dims();
        let weight = weight * scale.clone().reshape([outputs, 1, 1, 1]);
        let bias = match bias {
            Some(bias) => bias * scale + shift,
            None => shift,
        };
        Self { weight, bias: Some(bias), stride }
    }

    /// The numbers themselves.
    pub(crate) fn read(&self) -> Result<FoldedWeights, TensorReadError> {
        let shape = self.weight.dims();
        let bias = match &self.bias {
            Some(bias) => bias.clone().try_into_vec_as::<f32>()?,
            None => vec![0.0; shape[0]],
        };
        let weight = self.weight.clone().try_into_vec_as::<f32>()?;
        Ok(FoldedWeights { weight, shape, bias, stride: self.stride })
    }

    /// # Shapes
    /// - `x`: `[B, in, H, W]`
    /// - output: `[B, out, (H - kernel) / stride + 1, (W - kernel) / stride + 1]`
    pub(crate) fn run(&self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        convolve(x, self.weight.clone(), self.bias.clone(), self.stride, precision)
    }

    /// With ReLU and pooling in one, where our own convolutions run.
    pub(crate) fn whole(&self, x: Tensor<4>, relu: bool, pooled: bool, precision: Precision) -> Option<Tensor<4>> {
        let bias = self.bias.clone()?;
        let ours = precision == Precision::Fp32 && is_cpu(&x.device());
        ours.then(|| cpu::layer(x, self.weight.clone(), bias, self.stride, relu, pooled))
    }
}

/// One branch of the depthwise head.
#[derive(Debug, Clone)]
pub(crate) struct FoldedBranch {
    pub kernel: Folded,
    pub search: Folded,
    pub hidden: Folded,
    pub output: Folded,
}

impl FoldedBranch {
    fn of(branch: &Branch) -> Self {
        Self {
            kernel: Folded::with(&branch.conv_kernel.conv, &branch.conv_kernel.bn),
            search: Folded::with(&branch.conv_search.conv, &branch.conv_search.bn),
            hidden: Folded::with(&branch.head.conv1, &branch.head.bn),
            output: Folded::plain(&branch.head.conv2),
        }
    }

    fn respond(&self, kernels: &Tensor<4>, x: Tensor<4>) -> Tensor<4> {
        let search = relu(self.search.run(x, Precision::Fp32));
        let planes = xcorr::depthwise(search, kernels.clone(), Precision::Fp32);
        self.output.run(relu(self.hidden.run(planes, Precision::Fp32)), Precision::Fp32)
    }
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one value per model")]
pub(crate) enum FoldedHead {
    UpChannel { template_cls: Folded, template_reg: Folded, search_cls: Folded, search_reg: Folded, adjust: Folded },
    Depthwise { cls: FoldedBranch, loc: FoldedBranch },
}

/// A network that only infers: norms on running statistics, folded into the weights; no autodiff.
#[derive(Debug, Clone)]
pub struct Inference {
    pub(crate) trunk: [Folded; 5],
    pub(crate) head: FoldedHead,
}

impl Inference {
    /// The inference form of `net`.
    #[must_use]
    pub fn of(net: &SiamRpn) -> Self {
        let head = match &net.head {
            Head::UpChannel(head) => FoldedHead::UpChannel {
                template_cls: Folded::plain(&head.template_cls),
                template_reg: Folded::plain(&head.template_reg),
                search_cls: Folded::plain(&head.search_cls),
                search_reg: Folded::plain(&head.search_reg),
                adjust: Folded::plain(&head.regress_adjust),
            },
            Head::Depthwise(head) => {
                FoldedHead::Depthwise { cls: FoldedBranch::of(&head.cls), loc: FoldedBranch::of(&head.loc) }
            }
        };
        Self { trunk: net.trunk.layers().map(|(conv, bn)| Folded::with(conv, bn)), head }
    }

    /// The trunk's features.
    ///
    /// # Shapes
    /// - `x`: `[B, 3, S, S]`
    /// - output: `[B, widths[4], side(S), side(S)]`
    #[must_use]
    pub fn features(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = x.without_autodiff();
        for (i, layer) in self.trunk.iter().enumerate() {
            x = trunk::fixed(i, layer, x, Precision::Fp32);
        }
        x
    }

    /// Kernels of a template image.
    ///
    /// # Shapes
    /// - `z`: `[B, 3, 127, 127]`, 0 to 255 in the model's channel order
    #[must_use]
    pub fn template(&self, z: Tensor<4>) -> Template {
        let z = self.features(z);
        match &self.head {
            FoldedHead::UpChannel { template_cls, template_reg, .. } => Template {
                cls: template_cls.run(z.clone(), Precision::Fp32),
                reg: template_reg.run(z, Precision::Fp32),
            },
            FoldedHead::Depthwise { cls, loc } => Template {
                cls: relu(cls.kernel.run(z.clone(), Precision::Fp32)),
                reg: relu(loc.kernel.run(z, Precision::Fp32)),
            },
        }
    }

    /// Outputs for a search image.
    ///
    /// # Shapes
    /// - `x`: `[B, 3, S, S]`, 0 to 255 in the model's channel order
    #[must_use]
    pub fn track(&self, template: &Template, x: Tensor<4>) -> Outputs {
        let x = self.features(x);
        match &self.head {
            FoldedHead::UpChannel { search_cls, search_reg, adjust, .. } => {
                let cls = search_cls.run(x.clone(), Precision::Fp32);
                let reg = search_reg.run(x, Precision::Fp32);
                let reg = xcorr::full(reg, template.reg.clone(), Precision::Fp32);
                Outputs {
                    cls: xcorr::full(cls, template.cls.clone(), Precision::Fp32),
                    reg: adjust.run(reg, Precision::Fp32),
                }
            }
            FoldedHead::Depthwise { cls, loc } => {
                Outputs { cls: cls.respond(&template.cls, x.clone()), reg: loc.respond(&template.reg, x) }
            }
        }
    }
}

/// Makes a norm the identity on running statistics: mean 0, variance 1 - epsilon.
pub(crate) fn identity(bn: &mut BatchNorm) {
    let set = |param: &mut Param<Tensor<1>>, value: f64| {
        *param = param.clone().map(|t| t.zeros_like().add_scalar(value).set_require_grad(t.is_require_grad()));
    };
    set(&mut bn.weight, 1.0);
    set(&mut bn.bias, 0.0);
    set(&mut bn.running_mean, 0.0);
    set(&mut bn.running_var, 1.0 - super::EPSILON);
}
