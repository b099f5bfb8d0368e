//! Configuration of a SiamRPN model; stored as JSON in the metadata of its safetensors file.

use crate::build::CropSemantics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Key of the safetensors metadata entry that holds [`ModelConfig`] as JSON.
pub const MODEL_KEY: &str = "siamrpn.model";
/// Key of the safetensors metadata entry that holds the model format version.
pub const MODEL_FORMAT_KEY: &str = "siamrpn.format";

/// How template and search features are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// The paper's and the reference's head: the template grows 2k + 4k kernels per channel.
    UpChannel,
    /// PySOT's depthwise cross-correlation: fewer parameters, faster.
    #[default]
    Depthwise,
}

/// Order of the colour channels the trunk was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    /// Blue, green, red: what OpenCV reads and the reference trains on.
    #[default]
    Bgr,
    /// Red, green, blue.
    Rgb,
}

/// The AlexNet trunk: five convolutions (11/2, 5, 3, 3, 3), no padding, total stride 8, batch norm after each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrunkConfig {
    /// Output channels of conv1 to conv5.
    pub widths: [usize; 5],
}

impl TrunkConfig {
    /// Widths of the paper and the reference.
    pub const REFERENCE: [usize; 5] = [96, 256, 384, 384, 256];
    /// Widths of the ImageNet weights that can be had; about 60 % of the arithmetic.
    pub const NARROW: [usize; 5] = [64, 192, 384, 256, 256];
    /// For tests and laptops.
    pub const TINY: [usize; 5] = [16, 24, 32, 32, 32];
}

impl Default for TrunkConfig {
    fn default() -> Self {
        Self { widths: Self::REFERENCE }
    }
}

/// Anchors: one scale, five ratios in every published system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnchorConfig {
    /// Distance of neighbouring response cells in search pixels; the trunk's total stride.
    pub stride: usize,
    /// Side of the base anchor before scaling.
    pub base_size: usize,
    /// Factors on the base size.
    pub scales: Vec<f64>,
    /// Height / width of each anchor.
    pub ratios: Vec<f64>,
}

impl Default for AnchorConfig {
    fn default() -> Self {
        Self { stride: 8, base_size: 8, scales: vec![8.0], ratios: vec![0.33, 0.5, 1.0, 2.0, 3.0] }
    }
}

impl AnchorConfig {
    /// Anchors per response cell.
    #[must_use]
    pub fn per_cell(&self) -> usize {
        self.scales.len() * self.ratios.len()
    }
}

/// Constants of the online tracker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrackerConfig {
    /// Strength of the penalty on changes of size and aspect.
    pub penalty_k: f64,
    /// Weight of the cosine window, 0 to 1.
    pub window_influence: f64,
    /// Learning rate of the target size, multiplied by penalty and score.
    pub lr: f64,
    /// Smallest size as a factor of the initial one.
    pub min_scale: f64,
    /// Largest size as a factor of the initial one.
    pub max_scale: f64,
    /// Score below which a frame counts as low; see `lost_frames`.
    pub lost_score: f64,
    /// Low frames in a row after which the target is reported lost.
    pub lost_frames: u32,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            penalty_k: 0.22,
            window_influence: 0.40,
            lr: 0.30,
            min_scale: 0.1,
            max_scale: 10.0,
            lost_score: 0.3,
            lost_frames: 3,
        }
    }
}

/// A whole model: what must be known beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Backbone.
    pub trunk: TrunkConfig,
    /// Head.
    pub head: HeadKind,
    /// Channels inside the head; 0 means as many as the trunk's last convolution.
    pub head_channels: usize,
    /// Side of the exemplar in pixels.
    pub exemplar_px: u32,
    /// Side of the search image in pixels while training.
    pub train_search_px: u32,
    /// Side of the search image in pixels while tracking.
    pub search_px: u32,
    /// Anchors.
    pub anchors: AnchorConfig,
    /// Share of the mean target side added as context.
    pub context_amount: f64,
    /// Crop geometry.
    pub semantics: CropSemantics,
    /// Order of the input channels; values are 0 to 255, unnormalised.
    pub channels: ChannelOrder,
    /// Tracker constants.
    pub tracker: TrackerConfig,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            trunk: TrunkConfig::default(),
            head: HeadKind::default(),
            head_channels: 0,
            exemplar_px: 127,
            train_search_px: 255,
            search_px: 255,
            anchors: AnchorConfig::default(),
            context_amount: 0.5,
            semantics: CropSemantics::Siamfc,
            channels: ChannelOrder::Bgr,
            tracker: TrackerConfig::default(),
        }
    }
}

impl ModelConfig {
    /// Side of the response map for a search image of `search_px`: 17 for 255, 19 for 271, 21 for 287.
    #[must_use]
    pub fn response(&self, search_px: u32) -> usize {
        (search_px.saturating_sub(self.exemplar_px) as usize) / self.anchors.stride + 1
    }

    /// Channels inside the head.
    #[must_use]
    pub fn head_width(&self) -> usize {
        if self.head_channels == 0 { self.trunk.widths[4] } else { self.head_channels }
    }
}
