//! What a configuration costs: parameters and multiply-adds, by formula.

use crate::net::{KERNELS, POOLED, STRIDES, TrainMode};
use schemas::model::{HeadKind, ModelConfig};

/// Parameters and multiply-adds of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Trainable numbers, batch norms included, running statistics not.
    pub parameters: u64,
    /// Multiply-adds of the convolutions for one template.
    pub template_macs: u64,
    /// Multiply-adds of convolutions and correlations for one search image.
    pub search_macs: u64,
}

/// Multiply-adds of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerCost {
    /// Its name as in the model file (`trunk.conv1`), or `correlation`.
    pub name: &'static str,
    /// For one template.
    pub template_macs: u64,
    /// For one search image.
    pub search_macs: u64,
    /// Weights, biases and what its norm trains.
    pub parameters: u64,
}

/// The network of `cfg` layer by layer, with search images of `search_px`; the trunk's five convolutions come first.
#[must_use]
pub fn layers(cfg: &ModelConfig, search_px: u32) -> Vec<LayerCost> {
    const TRUNK: [&str; 5] = ["trunk.conv1", "trunk.conv2", "trunk.conv3", "trunk.conv4", "trunk.conv5"];
    let mut all = Vec::new();
    let mut add = |name, parameters: usize, template: usize, search: usize| {
        let (template_macs, search_macs) = (template as u64, search as u64);
        all.push(LayerCost { name, template_macs, search_macs, parameters: parameters as u64 });
    };
    let (mut z, mut x, mut inputs) = (cfg.exemplar_px as usize, search_px as usize, 3);
    for (i, (name, width)) in TRUNK.into_iter().zip(cfg.trunk.widths).enumerate() {
        let convolved = |side: usize| side.saturating_sub(KERNELS[i]) / STRIDES[i] + 1;
        (z, x) = (convolved(z), convolved(x));
        let weights = width * inputs * KERNELS[i] * KERNELS[i];
        add(name, weights + 3 * width, weights * z * z, weights * x * x);
        if POOLED.contains(&i) {
            (z, x) = (z.saturating_sub(3) / 2 + 1, x.saturating_sub(3) / 2 + 1);
        }
        inputs = width;
    }
    let width = cfg.head_width();
    let (cls, reg) = (2 * cfg.anchors.per_cell(), 4 * cfg.anchors.per_cell());
    let (kernel, side) = (z.saturating_sub(2), x.saturating_sub(2));
    let response = (side + 1).saturating_sub(kernel);
    let (kernel_cells, cells, answers) = (kernel * kernel, side * side, response * response);
    let conv3 = inputs * width * 9;
    match cfg.head {
        HeadKind::UpChannel => {
            for (name, outputs) in [("head.template_cls", cls), ("head.template_reg", reg)] {
                add(name, (conv3 + width) * outputs, conv3 * outputs * kernel_cells, 0);
            }
            for name in ["head.search_cls", "head.search_reg"] {
                add(name, conv3 + width, 0, conv3 * cells);
            }
            add("correlation", 0, 0, (cls + reg) * width * kernel_cells * answers);
            add("head.regress_adjust", reg * reg + reg, 0, reg * reg * answers);
        }
        HeadKind::Depthwise => {
            for name in ["head.cls.conv_kernel", "head.loc.conv_kernel"] {
                add(name, conv3 + 2 * width, conv3 * kernel_cells, 0);
            }
            for name in ["head.cls.conv_search", "head.loc.conv_search"] {
                add(name, conv3 + 2 * width, 0, conv3 * cells);
            }
            add("correlation", 0, 0, 2 * width * kernel_cells * answers);
            for (name, outputs) in [("head.cls.head", cls), ("head.loc.head", reg)] {
                let tail = width * width + outputs * width;
                add(name, tail + outputs + 2 * width, 0, tail * answers);
            }
        }
    }
    all
}

/// Costs of the network of `cfg` with search images of `search_px`.
#[must_use]
pub fn cost(cfg: &ModelConfig, search_px: u32) -> Cost {
    let layers = layers(cfg, search_px);
    let sum = |of: fn(&LayerCost) -> u64| layers.iter().map(of).sum();
    Cost {
        parameters: sum(|l| l.parameters),
        template_macs: sum(|l| l.template_macs),
        search_macs: sum(|l| l.search_macs),
    }
}

/// Multiply-adds of a training step for one pair: forward through all layers; for every layer that is trained as many for
/// the gradient of its weights, and again as many for that of its input where something before it is trained. A
/// correlation has two inputs.
#[must_use]
pub fn training_macs(cfg: &ModelConfig, mode: &TrainMode) -> u64 {
    let frozen = mode.frozen_layers();
    let layers = layers(cfg, cfg.train_search_px);
    let times = |(i, layer): (usize, &LayerCost)| {
        let weights = u64::from(i >= frozen);
        let takes_features =
            layer.name.contains("template_") || layer.name.contains("search") || layer.name.contains("kernel");
        let input = if i < 5 { i > frozen } else { frozen < 5 || !takes_features };
        (1 + weights + u64::from(input)) * (layer.template_macs + layer.search_macs)
    };
    layers.iter().enumerate().map(times).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::train::Precision;

    fn check(head: HeadKind, search_px: u32, parameters: u64, template_macs: u64, search_macs: u64) {
        let cfg = ModelConfig { head, ..ModelConfig::default() };
        assert_eq!(cost(&cfg, search_px), Cost { parameters, template_macs, search_macs });
    }

    #[test]
    fn the_published_totals() {
        check(HeadKind::UpChannel, 255, 22_632_932, 993_680_160, 4_821_593_776);
        check(HeadKind::UpChannel, 271, 22_632_932, 993_680_160, 5_600_025_904);
        check(HeadKind::UpChannel, 287, 22_632_932, 993_680_160, 6_437_775_408);
        check(HeadKind::Depthwise, 255, 6_251_102, 729_439_008, 4_828_432_672);
        check(HeadKind::Depthwise, 287, 6_251_102, 729_439_008, 6_448_211_232);
    }

    #[test]
    fn a_training_pair_costs_what_the_layers_do() {
        let cfg = ModelConfig { head: HeadKind::UpChannel, ..ModelConfig::default() };
        let mode = |frozen_convs, trunk_frozen| TrainMode { frozen_convs, trunk_frozen, precision: Precision::Fp32 };
        // Forward 5.815 and backward 3.351 thousand million, with conv1 to conv3 frozen.
        assert_eq!((training_macs(&cfg, &mode(3, false)) + 500_000) / 1_000_000, 9_166);
        let forward = 993_680_160 + 4_821_593_776;
        // Nothing frozen: three times as many, but for the gradient of the pictures.
        assert_eq!(training_macs(&cfg, &mode(0, false)), 3 * forward - 121_305_888 - 527_215_392);
        // Only the head: its weights, and both sides of what follows the features.
        let head = 94_371_840 + 188_743_680 + 2 * 235_929_600;
        let behind = 11_837_440 + 23_674_880 + 115_600;
        assert_eq!(training_macs(&cfg, &mode(3, true)), forward + head + 2 * behind);
    }
}
