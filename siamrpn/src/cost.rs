//! What a configuration costs: parameters and multiply-adds, by formula.

use crate::net::{KERNELS, POOLED, STRIDES};
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

/// Parameters, multiply-adds and output side of the trunk for an input of `side` pixels.
fn trunk(widths: [usize; 5], mut side: usize) -> (usize, usize, usize) {
    let (mut parameters, mut macs, mut inputs) = (0, 0, 3);
    for i in 0..5 {
        side = side.saturating_sub(KERNELS[i]) / STRIDES[i] + 1;
        let weights = widths[i] * inputs * KERNELS[i] * KERNELS[i];
        parameters += weights + 3 * widths[i];
        macs += weights * side * side;
        if POOLED.contains(&i) {
            side = side.saturating_sub(3) / 2 + 1;
        }
        inputs = widths[i];
    }
    (parameters, macs, side)
}

/// Costs of the network of `cfg` with search images of `search_px`.
#[must_use]
pub fn cost(cfg: &ModelConfig, search_px: u32) -> Cost {
    let (trunk_parameters, template_trunk, z) = trunk(cfg.trunk.widths, cfg.exemplar_px as usize);
    let (_, search_trunk, x) = trunk(cfg.trunk.widths, search_px as usize);
    let (inputs, width) = (cfg.trunk.widths[4], cfg.head_width());
    let (cls, reg) = (2 * cfg.anchors.per_cell(), 4 * cfg.anchors.per_cell());
    let (kernel, side) = (z.saturating_sub(2), x.saturating_sub(2));
    let response = (side + 1).saturating_sub(kernel);
    let (kernel_cells, cells, answers) = (kernel * kernel, side * side, response * response);
    let conv3 = inputs * width * 9;
    let (parameters, template, search) = match cfg.head {
        HeadKind::UpChannel => (
            conv3 * (cls + reg + 2) + width * (cls + reg + 2) + reg * reg + reg,
            conv3 * (cls + reg) * kernel_cells,
            2 * conv3 * cells + (cls + reg) * width * kernel_cells * answers + reg * reg * answers,
        ),
        HeadKind::Depthwise => {
            let tail = width * width * 2 + (cls + reg) * width;
            (
                4 * conv3 + tail + (cls + reg) + 6 * 2 * width,
                2 * conv3 * kernel_cells,
                2 * conv3 * cells + 2 * width * kernel_cells * answers + tail * answers,
            )
        }
    };
    Cost {
        parameters: (trunk_parameters + parameters) as u64,
        template_macs: (template_trunk + template) as u64,
        search_macs: (search_trunk + search) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
