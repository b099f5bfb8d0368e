//! The network: one trunk for template and search image, and a head that correlates the two.

mod conv;
mod fold;
mod head;
mod input;
mod norm;
mod trunk;
mod xcorr;

pub use conv::Conv;
pub use fold::Inference;
pub(crate) use fold::identity;
pub(crate) use fold::{FoldedBranch, FoldedHead, FoldedWeights};
pub(crate) use head::KERNEL as HEAD_KERNEL;
pub use head::{Block, Branch, Depthwise, Head, Tail, Template, UpChannel};
pub(crate) use input::planes;
pub use input::{InputError, input};
pub use norm::{BatchNorm, EPSILON, MOMENTUM};
pub(crate) use trunk::POOL;
pub use trunk::{KERNELS, POOLED, STRIDES, Trunk, side};

use crate::model::ModelError;
use crate::params;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use conv::Init;
use schemas::model::ModelConfig;
use schemas::train::{OptimConfig, Precision};
use shards::order::Rng;
use std::collections::BTreeMap;

/// Why a model configuration cannot become a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number that must be positive is not.
    #[error("model configuration: {key} must be larger than zero")]
    Zero {
        /// Key of the configuration.
        key: &'static str,
    },
    /// A number is not finite or out of range.
    #[error("model configuration: {key} must be a finite number larger than zero, found {found}")]
    Number {
        /// Key of the configuration.
        key: &'static str,
        /// The value.
        found: String,
    },
    /// An image side does not fit the trunk.
    #[error(
        "model configuration: {key} = {found} does not fit the trunk: its features would not be {stride} px apart \
         around the centre; use exemplar_px 127 and search sides such as 255, 271 or 287"
    )]
    Side {
        /// Key of the configuration.
        key: &'static str,
        /// The side in pixels.
        found: u32,
        /// The trunk's stride.
        stride: usize,
    },
    /// The anchors' stride is not the trunk's.
    #[error("model configuration: anchors.stride is {found}, but the trunk's stride is 8")]
    Stride {
        /// The stride asked for.
        found: usize,
    },
}

/// Total stride of the trunk in pixels.
pub const STRIDE: usize = 8;

/// Checks that `cfg` describes a network this crate can build.
///
/// # Errors
/// [`ConfigError`] names the key.
pub fn validate(cfg: &ModelConfig) -> Result<(), ConfigError> {
    if cfg.trunk.widths.contains(&0) {
        return Err(ConfigError::Zero { key: "trunk.widths" });
    }
    if cfg.anchors.stride != STRIDE {
        return Err(ConfigError::Stride { found: cfg.anchors.stride });
    }
    for (key, values) in [("anchors.scales", &cfg.anchors.scales), ("anchors.ratios", &cfg.anchors.ratios)] {
        if values.is_empty() {
            return Err(ConfigError::Zero { key });
        }
        if let Some(bad) = values.iter().find(|v| !v.is_finite() || **v <= 0.0) {
            return Err(ConfigError::Number { key, found: bad.to_string() });
        }
    }
    if cfg.anchors.base_size == 0 {
        return Err(ConfigError::Zero { key: "anchors.base_size" });
    }
    if !cfg.context_amount.is_finite() || cfg.context_amount < 0.0 {
        return Err(ConfigError::Number { key: "context_amount", found: cfg.context_amount.to_string() });
    }
    let kernel = side(cfg.exemplar_px as usize)
        .and_then(|z| z.checked_sub(head::KERNEL - 1))
        .filter(|k| *k > 0)
        .ok_or(ConfigError::Side { key: "exemplar_px", found: cfg.exemplar_px, stride: STRIDE })?;
    for (key, px) in [("train_search_px", cfg.train_search_px), ("search_px", cfg.search_px)] {
        let response = side(px as usize)
            .and_then(|x| x.checked_sub(head::KERNEL - 1))
            .and_then(|x| (x + 1).checked_sub(kernel))
            .filter(|r| *r > 0);
        let even = px > cfg.exemplar_px && ((px - cfg.exemplar_px) as usize).is_multiple_of(STRIDE);
        if !even || response != Some(cfg.response(px)) {
            return Err(ConfigError::Side { key, found: px, stride: STRIDE });
        }
    }
    Ok(())
}

/// Raw outputs of the network.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// Logits `[B, 2A, R, R]`, channel `class * A + anchor`.
    pub cls: Tensor<4>,
    /// Deltas `[B, 4A, R, R]`, channel `coordinate * A + anchor`.
    pub reg: Tensor<4>,
}

/// What is trained in a forward pass, and how it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainMode {
    /// Leading convolutions that are never trained, with their norms.
    pub frozen_convs: usize,
    /// Is the whole trunk frozen just now?
    pub trunk_frozen: bool,
    /// Arithmetic of convolutions and correlations; weights, norms and outputs are 32 bits.
    pub precision: Precision,
}

impl TrainMode {
    /// The mode of `epoch` (counted from 1).
    #[must_use]
    pub fn of(optim: &OptimConfig, precision: Precision, epoch: u32) -> Self {
        Self { frozen_convs: optim.frozen_convs, trunk_frozen: epoch <= optim.trunk_frozen_epochs, precision }
    }

    /// Leading layers of the trunk (convolution and norm) that are frozen.
    #[must_use]
    pub fn frozen_layers(&self) -> usize {
        if self.trunk_frozen { 5 } else { self.frozen_convs.min(5) }
    }

    /// Is the parameter of this name (PyTorch's, as in [`crate::params`]) trained? Running statistics are not.
    #[must_use]
    pub fn trains(&self, name: &str) -> bool {
        if name.ends_with(".running_mean") || name.ends_with(".running_var") {
            return false;
        }
        let Some(layer) = name.strip_prefix("trunk.") else { return true };
        let layer = layer.split('.').next().unwrap_or_default();
        let index = layer.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse::<usize>();
        index.is_ok_and(|i| i > self.frozen_layers())
    }
}

/// SiamRPN: a trunk shared by template and search image, and a head.
#[derive(Module, Debug)]
pub struct SiamRpn {
    /// Backbone.
    pub trunk: Trunk,
    /// Correlation and outputs.
    pub head: Head,
}

impl SiamRpn {
    /// A network with random weights, a pure function of `cfg` and `seed`.
    ///
    /// On a device with autodiff its parameters require gradients.
    ///
    /// # Errors
    /// [`ConfigError`] when `cfg` describes no network.
    pub fn new(cfg: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        Self::with(cfg, Init::Random(Rng::new(shards::order::key(&[seed, 0x57e1_6875]))), device)
    }

    /// A network whose weights are all zero, for weights to be loaded into.
    pub(crate) fn empty(cfg: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        Self::with(cfg, Init::Zero, device)
    }

    fn with(cfg: &ModelConfig, mut init: Init, device: &Device) -> Result<Self, ConfigError> {
        validate(cfg)?;
        Ok(Self { trunk: Trunk::new(cfg.trunk.widths, &mut init, device), head: Head::new(cfg, &mut init, device) })
    }

    /// The same network with parameters of its own on `device`, `cfg` being its configuration.
    ///
    /// # Errors
    /// [`ModelError`] when the values cannot be read from their device or do not fit `cfg`.
    pub fn copy_to(&self, cfg: &ModelConfig, device: &Device) -> Result<Self, ModelError> {
        let path = || "of this run".to_owned();
        let copy = Self::empty(cfg, device).map_err(|source| ModelError::Network { path: path(), source })?;
        let mut values = BTreeMap::new();
        params::for_each(self, |named, data| {
            values.insert(named.name.clone(), data.clone());
        });
        params::replace(copy, values).map_err(|source| ModelError::Tensors { path: path(), source })
    }

    /// The form of this network that only infers; keep it where more than one image is to be seen.
    #[must_use]
    pub fn inference(&self) -> Inference {
        Inference::of(self)
    }

    /// Kernels of a template image; norms on running statistics.
    ///
    /// # Shapes
    /// - `z`: `[B, 3, 127, 127]`, 0 to 255 in the model's channel order
    pub fn template(&self, z: Tensor<4>) -> Template {
        self.inference().template(z)
    }

    /// Outputs for a search image; norms on running statistics.
    ///
    /// # Shapes
    /// - `x`: `[B, 3, S, S]`, 0 to 255 in the model's channel order
    pub fn track(&self, template: &Template, x: Tensor<4>) -> Outputs {
        self.inference().track(template, x)
    }

    /// Outputs for training. Frozen layers use running statistics and get no gradient; the others use batch
    /// statistics, and their running statistics move, first for the template, then for the search images.
    ///
    /// # Shapes
    /// - `z`: `[B, 3, 127, 127]`
    /// - `x`: `[B, 3, S, S]`
    pub fn forward_train(&mut self, z: Tensor<4>, x: Tensor<4>, mode: &TrainMode) -> Outputs {
        let z = self.trunk.forward_train(z, mode);
        let x = self.trunk.forward_train(x, mode);
        self.head.forward_train(z, x, mode.precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::model::{AnchorConfig, TrunkConfig};

    #[test]
    fn frozen_layers_are_named() {
        let mode = TrainMode { frozen_convs: 3, trunk_frozen: false, precision: Precision::Fp32 };
        for (name, trained) in [
            ("trunk.conv3.weight", false),
            ("trunk.bn3.bias", false),
            ("trunk.conv4.weight", true),
            ("trunk.bn5.weight", true),
            ("trunk.bn5.running_mean", false),
            ("head.cls.head.conv2.bias", true),
            ("head.cls.head.bn.running_var", false),
        ] {
            assert_eq!(mode.trains(name), trained, "{name}");
        }
        let frozen = TrainMode { trunk_frozen: true, ..mode };
        assert!(!frozen.trains("trunk.conv5.weight") && frozen.trains("head.template_cls.weight"));
    }

    #[test]
    fn epochs_decide_about_the_trunk() {
        let optim = OptimConfig { trunk_frozen_epochs: 10, ..OptimConfig::default() };
        assert!(TrainMode::of(&optim, Precision::Fp32, 10).trunk_frozen);
        assert!(!TrainMode::of(&optim, Precision::Fp32, 11).trunk_frozen);
    }

    #[test]
    fn impossible_configurations_name_their_key() {
        let base = ModelConfig::default();
        assert_eq!(validate(&base), Ok(()));
        let cases = [
            (ModelConfig { trunk: TrunkConfig { widths: [8, 0, 8, 8, 8] }, ..base.clone() }, "trunk.widths"),
            (ModelConfig { exemplar_px: 40, ..base.clone() }, "exemplar_px"),
            (ModelConfig { search_px: 260, ..base.clone() }, "search_px"),
            (ModelConfig { train_search_px: 100, ..base.clone() }, "train_search_px"),
            (
                ModelConfig {
                    anchors: AnchorConfig { ratios: vec![1.0, f64::NAN], ..base.anchors.clone() },
                    ..base.clone()
                },
                "anchors.ratios",
            ),
            (
                ModelConfig { anchors: AnchorConfig { scales: vec![], ..base.anchors.clone() }, ..base.clone() },
                "anchors.scales",
            ),
            (
                ModelConfig { anchors: AnchorConfig { stride: 4, ..base.anchors.clone() }, ..base.clone() },
                "anchors.stride",
            ),
            (ModelConfig { context_amount: f64::INFINITY, ..base.clone() }, "context_amount"),
        ];
        for (cfg, key) in cases {
            let e = SiamRpn::new(&cfg, 1, &Device::flex()).unwrap_err().to_string();
            assert!(e.contains(key), "{e}");
        }
    }
}
