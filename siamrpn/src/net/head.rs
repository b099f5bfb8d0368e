//! The two heads: the paper's up-channel head and PySOT's depthwise head.

use super::Outputs;
use super::conv::{Conv, Init};
use super::norm::BatchNorm;
use super::xcorr;
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use schemas::model::{HeadKind, ModelConfig};
use schemas::train::Precision;

/// What the template leaves behind for its search frames: the correlation kernels of both branches.
///
/// Up-channel: `cls` `[B, 2A * C, k, k]`, `reg` `[B, 4A * C, k, k]` with channel `output * C + c`; depthwise: both
/// `[B, C, k, k]`. k is 4 for the usual exemplar of 127 px.
#[derive(Debug, Clone)]
pub struct Template {
    /// Kernels of the classification branch.
    pub cls: Tensor<4>,
    /// Kernels of the regression branch.
    pub reg: Tensor<4>,
}

/// Side of the head's 3x3 convolutions.
pub(crate) const KERNEL: usize = 3;

/// The paper's and the reference's head: the template's features become one set of kernels per output.
#[derive(Module, Debug)]
pub struct UpChannel {
    /// Template to classification kernels, 3x3.
    pub template_cls: Conv,
    /// Template to regression kernels, 3x3.
    pub template_reg: Conv,
    /// Search features for classification, 3x3.
    pub search_cls: Conv,
    /// Search features for regression, 3x3.
    pub search_reg: Conv,
    /// 1x1 over the regression outputs.
    pub regress_adjust: Conv,
}

/// Convolution without bias, batch norm, ReLU.
#[derive(Module, Debug)]
pub struct Block {
    /// The convolution.
    pub conv: Conv,
    /// After the convolution.
    pub bn: BatchNorm,
}

impl Block {
    fn forward_train(&mut self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        relu(self.bn.batch(self.conv.forward(x, precision)))
    }
}

/// What follows the depthwise correlation: two 1x1 convolutions.
#[derive(Module, Debug)]
pub struct Tail {
    /// 1x1 without bias.
    pub conv1: Conv,
    /// After conv1; ReLU follows.
    pub bn: BatchNorm,
    /// 1x1 to the outputs.
    pub conv2: Conv,
}

impl Tail {
    fn forward_train(&mut self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        let hidden = relu(self.bn.batch(self.conv1.forward(x, precision)));
        self.conv2.forward(hidden, precision)
    }
}

/// One branch of the depthwise head.
#[derive(Module, Debug)]
pub struct Branch {
    /// Template features to kernels, 3x3.
    pub conv_kernel: Block,
    /// Search features, 3x3.
    pub conv_search: Block,
    /// From correlation to outputs.
    pub head: Tail,
}

impl Branch {
    fn new(inputs: usize, width: usize, outputs: usize, init: &mut Init, device: &Device) -> Self {
        let mut conv = |o, i, k, bias| Conv::new([o, i, k], 1, bias, init, device);
        let kernel = conv(width, inputs, KERNEL, false);
        let search = conv(width, inputs, KERNEL, false);
        let (conv1, conv2) = (conv(width, width, 1, false), conv(outputs, width, 1, true));
        let bn = || BatchNorm::new(width, device);
        Self {
            conv_kernel: Block { conv: kernel, bn: bn() },
            conv_search: Block { conv: search, bn: bn() },
            head: Tail { conv1, bn: bn(), conv2 },
        }
    }
}

/// PySOT's head: every channel is correlated with its own kernel.
#[derive(Module, Debug)]
pub struct Depthwise {
    /// Classification.
    pub cls: Branch,
    /// Regression.
    pub loc: Branch,
}

/// Either head.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "one value per model; Burn modules are not boxed")]
pub enum Head {
    /// Kernels for every output and channel.
    UpChannel(UpChannel),
    /// One kernel per channel.
    Depthwise(Depthwise),
}

impl Head {
    pub(crate) fn new(cfg: &ModelConfig, init: &mut Init, device: &Device) -> Self {
        let (inputs, width) = (cfg.trunk.widths[4], cfg.head_width());
        let (cls, reg) = (2 * cfg.anchors.per_cell(), 4 * cfg.anchors.per_cell());
        match cfg.head {
            HeadKind::UpChannel => {
                let mut conv = |o, i, k| Conv::new([o, i, k], 1, true, init, device);
                Self::UpChannel(UpChannel {
                    template_cls: conv(cls * width, inputs, KERNEL),
                    template_reg: conv(reg * width, inputs, KERNEL),
                    search_cls: conv(width, inputs, KERNEL),
                    search_reg: conv(width, inputs, KERNEL),
                    regress_adjust: conv(reg, reg, 1),
                })
            }
            HeadKind::Depthwise => Self::Depthwise(Depthwise {
                cls: Branch::new(inputs, width, cls, init, device),
                loc: Branch::new(inputs, width, reg, init, device),
            }),
        }
    }

    /// Kernels for training: norms on batch statistics.
    ///
    /// # Shapes
    /// - `z`: `[B, widths[4], 6, 6]`
    pub fn kernels_train(&mut self, z: Tensor<4>, precision: Precision) -> Template {
        match self {
            Self::UpChannel(head) => Template {
                cls: head.template_cls.forward(z.clone(), precision),
                reg: head.template_reg.forward(z, precision),
            },
            Self::Depthwise(head) => Template {
                cls: head.cls.conv_kernel.forward_train(z.clone(), precision),
                reg: head.loc.conv_kernel.forward_train(z, precision),
            },
        }
    }

    /// What the kernels are correlated with, for training: classification and regression.
    ///
    /// # Shapes
    /// - `x`: `[B, widths[4], S, S]`
    /// - outputs: `[B, head width, S - 2, S - 2]`
    pub fn search_train(&mut self, x: Tensor<4>, precision: Precision) -> [Tensor<4>; 2] {
        match self {
            Self::UpChannel(head) => {
                [head.search_cls.forward(x.clone(), precision), head.search_reg.forward(x, precision)]
            }
            Self::Depthwise(head) => [
                head.cls.conv_search.forward_train(x.clone(), precision),
                head.loc.conv_search.forward_train(x, precision),
            ],
        }
    }

    /// From kernels and search features to outputs, for training.
    pub fn respond_train(&mut self, kernels: Template, [cls, reg]: [Tensor<4>; 2], precision: Precision) -> Outputs {
        match self {
            Self::UpChannel(head) => Outputs {
                cls: xcorr::full(cls, kernels.cls, precision),
                reg: head.regress_adjust.forward(xcorr::full(reg, kernels.reg, precision), precision),
            },
            Self::Depthwise(head) => {
                let cls = xcorr::depthwise(cls, kernels.cls, precision);
                let reg = xcorr::depthwise(reg, kernels.reg, precision);
                Outputs {
                    cls: head.cls.head.forward_train(cls, precision),
                    reg: head.loc.head.forward_train(reg, precision),
                }
            }
        }
    }

    /// Outputs for training: norms on batch statistics, first the kernels', then the search features'.
    ///
    /// # Shapes
    /// - `z`: `[B, widths[4], 6, 6]`
    /// - `x`: `[B, widths[4], S, S]`
    pub fn forward_train(&mut self, z: Tensor<4>, x: Tensor<4>, precision: Precision) -> Outputs {
        let kernels = self.kernels_train(z, precision);
        let features = self.search_train(x, precision);
        self.respond_train(kernels, features, precision)
    }
}
