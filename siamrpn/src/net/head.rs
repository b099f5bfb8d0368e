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

impl UpChannel {
    fn template(&self, z: Tensor<4>, precision: Precision) -> Template {
        Template { cls: self.template_cls.forward(z.clone(), precision), reg: self.template_reg.forward(z, precision) }
    }

    fn respond(&self, template: &Template, x: Tensor<4>, precision: Precision) -> Outputs {
        let cls = self.search_cls.forward(x.clone(), precision);
        let reg = self.search_reg.forward(x, precision);
        let reg = xcorr::full(reg, template.reg.clone(), precision);
        Outputs {
            cls: xcorr::full(cls, template.cls.clone(), precision),
            reg: self.regress_adjust.forward(reg, precision),
        }
    }
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

    fn forward_train(&mut self, kernels: Tensor<4>, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        let search = self.conv_search.forward_train(x, precision);
        self.head.forward_train(xcorr::depthwise(search, kernels, precision), precision)
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

    /// Outputs for training: norms on batch statistics.
    ///
    /// # Shapes
    /// - `z`: `[B, widths[4], 6, 6]`
    /// - `x`: `[B, widths[4], S, S]`
    pub fn forward_train(&mut self, z: Tensor<4>, x: Tensor<4>, precision: Precision) -> Outputs {
        match self {
            Self::UpChannel(head) => {
                let template = head.template(z, precision);
                head.respond(&template, x, precision)
            }
            Self::Depthwise(head) => {
                let cls = head.cls.conv_kernel.forward_train(z.clone(), precision);
                let reg = head.loc.conv_kernel.forward_train(z, precision);
                Outputs {
                    cls: head.cls.forward_train(cls, x.clone(), precision),
                    reg: head.loc.forward_train(reg, x, precision),
                }
            }
        }
    }
}
