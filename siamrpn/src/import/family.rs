//! The published families whose checkpoints can be imported: their tensor names, shapes and model configurations.
//!
//! All of them share this project's conventions: raw BGR input from 0 to 255, batch norm with epsilon 1e-5, background
//! before target, output channel `coordinate * A + anchor`, kernel channel `output * C + c`, the same anchors in the
//! same order and the same box encoding. So only names differ. They pool before ReLU or after it, which is the same.

use schemas::build::CropSemantics;
use schemas::model::{ChannelOrder, HeadKind, ModelConfig, TrackerConfig, TrunkConfig};

/// Whose checkpoint a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// PySOT's `siamrpn_alex_dwxcorr`: trunk and depthwise head.
    Pysot,
    /// The trunk PySOT starts from (`alexnet-bn.pth`).
    PysotAlexnet,
    /// HelloRicky123's Siamese-RPN: trunk and up-channel head.
    SiamrpnPytorch,
    /// The trunk it starts from (`alexnet.pth`).
    SiamrpnPytorchAlexnet,
    /// DaSiamRPN's VOT and BIG models: trunk and up-channel head; the widths tell which of the two it is.
    Dasiamrpn,
    /// DaSiamRPN's OTB model: as VOT, other tracker constants.
    DasiamrpnOtb,
}

/// Places of the convolutions and of their norms where the trunk is one list of layers.
const FLAT: [(usize, usize); 5] = [(0, 1), (4, 5), (8, 9), (11, 12), (14, 15)];
/// What a norm holds.
const NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// How a family names the layers of its trunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    prefix: &'static str,
    /// `layer1` to `layer5` with two entries each, not one list.
    layered: bool,
}

impl Layout {
    /// Names of convolution and norm `i`, from 0.
    fn layer(&self, i: usize) -> (String, String) {
        let prefix = self.prefix;
        if self.layered {
            (format!("{prefix}layer{}.0", i + 1), format!("{prefix}layer{}.1", i + 1))
        } else {
            let (conv, norm) = FLAT.get(i).copied().unwrap_or_default();
            (format!("{prefix}{conv}"), format!("{prefix}{norm}"))
        }
    }

    /// Name of the weight of convolution `i`, from 0.
    pub(super) fn conv(&self, i: usize) -> String {
        format!("{}.weight", self.layer(i).0)
    }
}

/// One tensor of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// This project's name.
    pub ours: String,
    /// The family's.
    pub theirs: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

/// The slots of a network, as they are added.
#[derive(Default)]
struct Slots(Vec<Slot>);

impl Slots {
    fn conv(&mut self, ours: &str, theirs: &str, [outputs, inputs, kernel]: [usize; 3], bias: bool) {
        let mut add = |what: &str, shape: Vec<usize>| {
            self.0.push(Slot { ours: format!("{ours}.{what}"), theirs: format!("{theirs}.{what}"), shape });
        };
        add("weight", vec![outputs, inputs, kernel, kernel]);
        if bias {
            add("bias", vec![outputs]);
        }
    }

    fn norm(&mut self, ours: &str, theirs: &str, channels: usize) {
        self.0.extend(NORM.map(|what| Slot {
            ours: format!("{ours}.{what}"),
            theirs: format!("{theirs}.{what}"),
            shape: vec![channels],
        }));
    }
}

impl Family {
    /// Do its files hold a head, or a trunk alone?
    #[must_use]
    pub fn has_head(self) -> bool {
        !matches!(self, Self::PysotAlexnet | Self::SiamrpnPytorchAlexnet)
    }

    /// How the trunk may be named, the likeliest first.
    pub(super) fn layouts(self) -> [Layout; 3] {
        let [flat, layered] = [false, true].map(|layered| move |prefix| Layout { prefix, layered });
        match self {
            Self::Pysot => [layered("backbone."), flat("backbone.features."), flat("backbone.")],
            Self::PysotAlexnet => [layered(""), flat("features."), flat("")],
            Self::SiamrpnPytorchAlexnet => [flat("features.features."), flat("features."), flat("")],
            Self::SiamrpnPytorch | Self::Dasiamrpn | Self::DasiamrpnOtb => [flat("featureExtract."); 3],
        }
    }

    /// The tensor whose outputs are the head's channels.
    pub(super) fn head_conv(self) -> Option<&'static str> {
        match self {
            Self::Pysot => Some("rpn_head.cls.conv_search.0.weight"),
            Self::SiamrpnPytorch | Self::Dasiamrpn | Self::DasiamrpnOtb => Some("conv_cls2.weight"),
            Self::PysotAlexnet | Self::SiamrpnPytorchAlexnet => None,
        }
    }

    /// The configuration of a model with these trunk widths and this width of the head (0 without one): what the
    /// family's own test settings say.
    pub(super) fn config(self, widths: [usize; 5], head_width: usize) -> ModelConfig {
        let constants = |penalty_k, window_influence, lr| TrackerConfig {
            penalty_k,
            window_influence,
            lr,
            ..TrackerConfig::default()
        };
        let (head, semantics, sides, tracker) = match self {
            Self::Pysot | Self::PysotAlexnet => {
                (HeadKind::Depthwise, CropSemantics::Pysot, (255, 287), constants(0.16, 0.40, 0.30))
            }
            Self::SiamrpnPytorch | Self::SiamrpnPytorchAlexnet => {
                (HeadKind::UpChannel, CropSemantics::Siamfc, (271, 271), constants(0.22, 0.40, 0.30))
            }
            Self::Dasiamrpn | Self::DasiamrpnOtb => {
                let tracker = match self {
                    Self::DasiamrpnOtb => constants(0.22, 0.40, 0.30),
                    _ if widths == TrunkConfig::REFERENCE.map(|w| 2 * w) => constants(0.055, 0.42, 0.295),
                    _ => constants(0.04, 0.44, 0.45),
                };
                (HeadKind::UpChannel, CropSemantics::Pysot, (271, 271), tracker)
            }
        };
        let last = widths[4];
        ModelConfig {
            trunk: TrunkConfig { widths },
            head,
            head_channels: if head_width == last { 0 } else { head_width },
            train_search_px: sides.0,
            search_px: sides.1,
            semantics,
            channels: ChannelOrder::Bgr,
            tracker,
            ..ModelConfig::default()
        }
    }

    /// Every tensor a file of this family must have for `cfg`.
    pub(super) fn slots(self, layout: Layout, cfg: &ModelConfig) -> Vec<Slot> {
        let mut slots = Slots::default();
        let widths = cfg.trunk.widths;
        let inputs = [3, widths[0], widths[1], widths[2], widths[3]];
        for (i, ((outputs, inputs), kernel)) in widths.into_iter().zip(inputs).zip(crate::net::KERNELS).enumerate() {
            let (conv, norm) = layout.layer(i);
            slots.conv(&format!("trunk.conv{}", i + 1), &conv, [outputs, inputs, kernel], true);
            slots.norm(&format!("trunk.bn{}", i + 1), &norm, outputs);
        }
        if !self.has_head() {
            return slots.0;
        }
        let (last, width, anchors) = (widths[4], cfg.head_width(), cfg.anchors.per_cell());
        match cfg.head {
            HeadKind::UpChannel => {
                for (ours, theirs, outputs) in [
                    ("template_cls", "conv_cls1", 2 * anchors * width),
                    ("template_reg", "conv_r1", 4 * anchors * width),
                    ("search_cls", "conv_cls2", width),
                    ("search_reg", "conv_r2", width),
                ] {
                    slots.conv(&format!("head.{ours}"), theirs, [outputs, last, 3], true);
                }
                slots.conv("head.regress_adjust", "regress_adjust", [4 * anchors, 4 * anchors, 1], true);
            }
            HeadKind::Depthwise => {
                for (branch, outputs) in [("cls", 2 * anchors), ("loc", 4 * anchors)] {
                    let (ours, theirs) = (format!("head.{branch}"), format!("rpn_head.{branch}"));
                    for block in ["conv_kernel", "conv_search"] {
                        slots.conv(
                            &format!("{ours}.{block}.conv"),
                            &format!("{theirs}.{block}.0"),
                            [width, last, 3],
                            false,
                        );
                        slots.norm(&format!("{ours}.{block}.bn"), &format!("{theirs}.{block}.1"), width);
                    }
                    slots.conv(&format!("{ours}.head.conv1"), &format!("{theirs}.head.0"), [width, width, 1], false);
                    slots.norm(&format!("{ours}.head.bn"), &format!("{theirs}.head.1"), width);
                    slots.conv(&format!("{ours}.head.conv2"), &format!("{theirs}.head.3"), [outputs, width, 1], true);
                }
            }
        }
        slots.0
    }

    /// Is a tensor of this name (without wrappers) known to be of no use here? Counters that norms keep for themselves,
    /// and the classes a trunk was trained to tell apart.
    pub(super) fn ignores(self, name: &str) -> bool {
        name.ends_with(".num_batches_tracked")
            || (!self.has_head() && ["classifier.", "fc."].iter().any(|prefix| name.starts_with(prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SiamRpn;
    use crate::params;
    use burn::tensor::Device;

    #[test]
    fn slots_are_the_tensors_of_the_network() {
        for family in [Family::Pysot, Family::SiamrpnPytorch, Family::Dasiamrpn] {
            for head_width in [8, 7] {
                let cfg = family.config([4, 5, 6, 7, 8], head_width);
                let net = SiamRpn::new(&cfg, 1, &Device::flex()).unwrap();
                let mut expected: Vec<_> = params::named(&net).into_iter().map(|n| (n.name, n.shape)).collect();
                for layout in family.layouts() {
                    let mut found: Vec<_> = family.slots(layout, &cfg).into_iter().map(|s| (s.ours, s.shape)).collect();
                    expected.sort();
                    found.sort();
                    assert_eq!(found, expected, "{family:?}");
                }
            }
        }
    }

    #[test]
    fn configurations_are_the_published_settings() {
        let reference = TrunkConfig::REFERENCE;
        let says = |family: Family, widths, head| {
            let c = family.config(widths, head);
            assert!(crate::net::validate(&c).is_ok());
            assert_eq!((c.channels, c.exemplar_px, c.context_amount), (ChannelOrder::Bgr, 127, 0.5));
            let t = &c.tracker;
            (c.head, c.semantics, c.search_px, [t.penalty_k, t.window_influence, t.lr], c.head_channels)
        };
        let (up, depth) = (HeadKind::UpChannel, HeadKind::Depthwise);
        let (siamfc, pysot) = (CropSemantics::Siamfc, CropSemantics::Pysot);
        let big = reference.map(|w| 2 * w);
        assert_eq!(says(Family::Pysot, reference, 256), (depth, pysot, 287, [0.16, 0.40, 0.30], 0));
        assert_eq!(says(Family::SiamrpnPytorch, reference, 256), (up, siamfc, 271, [0.22, 0.40, 0.30], 0));
        assert_eq!(says(Family::Dasiamrpn, reference, 256), (up, pysot, 271, [0.04, 0.44, 0.45], 0));
        assert_eq!(says(Family::DasiamrpnOtb, reference, 256), (up, pysot, 271, [0.22, 0.40, 0.30], 0));
        assert_eq!(says(Family::Dasiamrpn, big, 512), (up, pysot, 271, [0.055, 0.42, 0.295], 0));
        assert_eq!(says(Family::Dasiamrpn, big, 256).4, 256);
    }
}
