//! Configuration of one training run. Every key of the reference's configuration has its place here under a clear
//! name; the presets are complete configurations.

use crate::build::CropSemantics;
use crate::model::{AnchorConfig, ChannelOrder, HeadKind, ModelConfig, TrackerConfig, TrunkConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A complete training run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The network.
    pub model: ModelConfig,
    /// Which pairs are drawn.
    pub data: DataConfig,
    /// What is done to the pixels.
    pub augment: AugmentConfig,
    /// How anchors become labels.
    pub labels: LabelConfig,
    /// Loss.
    pub loss: LossConfig,
    /// Optimiser and schedule.
    pub optim: OptimConfig,
    /// Batch, length, checkpoints, logging.
    pub run: RunConfig,
}

/// What one unit of an epoch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EpochUnit {
    /// Videos; a track of the video is drawn uniformly (the reference).
    #[default]
    Video,
    /// Tracks.
    Track,
}

/// How often a search frame is drawn, by its distance from the template frame in rows of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DistanceKind {
    /// All frames within the gap equally often (every published run).
    #[default]
    Uniform,
    /// In proportion to the distance.
    Linear,
    /// In proportion to the square root of the distance.
    Sqrt,
}

/// Which pairs an epoch draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// What one unit of an epoch is.
    pub epoch_unit: EpochUnit,
    /// Pairs per unit and epoch.
    pub pairs_per_unit: u32,
    /// Pairs of an epoch, in whole batches; the units are then counted through from epoch to epoch. 0 means
    /// `pairs_per_unit` of every unit.
    pub pairs_per_epoch: u32,
    /// Share of an epoch's pairs that each `dataset` label has; any numbers, only their proportions count. Names every
    /// label of the data (0 leaves one out), or none: then every unit counts alike.
    pub share_by_dataset: BTreeMap<String, f64>,
    /// Largest distance, in rows of a track, between template and search frame.
    pub gap: u32,
    /// How often a search frame is drawn, by its distance from the template frame.
    pub distance: DistanceKind,
    /// The largest distance for single `dataset` labels.
    pub gap_by_dataset: BTreeMap<String, u32>,
    /// Relative weight of single `dataset` labels in the mix; 1 where absent.
    pub weight_by_dataset: BTreeMap<String, f64>,
    /// Probability that template and search come from different tracks.
    pub negative_probability: f64,
    /// May template and search be the same frame (stills)?
    pub same_frame: bool,
    /// Rows with any of these flags are not drawn (bits of the `flags` column).
    pub skip_flags: u8,
    /// Rows whose target has a smaller min(w/h, h/w) are not drawn.
    pub min_aspect: f64,
    /// Rows whose target covers a smaller share of its frame are not drawn, where the data knows the frame.
    pub min_area: f64,
    /// Rows whose target covers a larger share of its frame are not drawn, where the data knows the frame; 1 draws all.
    pub max_area: f64,
    /// Shards that are read at a time, for disks and object stores that need local reads; 0 means all.
    pub shuffle_window: u32,
    /// Share of the videos that are never trained on and give the validation loss; which ones does not depend on the seed.
    pub validation_share: f64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            epoch_unit: EpochUnit::Video,
            pairs_per_unit: 2,
            pairs_per_epoch: 0,
            share_by_dataset: BTreeMap::new(),
            gap: 100,
            distance: DistanceKind::Uniform,
            gap_by_dataset: BTreeMap::from([("ytbb".to_owned(), 1)]),
            weight_by_dataset: BTreeMap::new(),
            negative_probability: 0.0,
            same_frame: false,
            skip_flags: 0,
            min_aspect: 0.0,
            min_area: 0.0,
            max_area: 1.0,
            shuffle_window: 0,
            validation_share: 0.0,
        }
    }
}

/// What a stretch is a factor on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StretchKind {
    /// The stored crop; shifts are pixels of the stretched one (the reference).
    #[default]
    Crop,
    /// The window that is cut from the stored crop and scaled to the network's image; shifts are pixels of the stored
    /// crop (PySOT).
    Window,
}

/// What is done to the pixels of a pair, with all constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Probability that the whole pair becomes gray.
    pub gray: f64,
    /// What `stretch` and `template_stretch` are factors on.
    pub stretch_kind: StretchKind,
    /// Independent stretch of the search crop's axes, uniform in 1 +- this.
    pub stretch: f64,
    /// Shift of the search crop in whole pixels, uniform in +- this.
    pub shift: u32,
    /// Shift of the template in whole pixels, uniform in +- this.
    pub template_shift: u32,
    /// Stretch of the template's axes, uniform in 1 +- this.
    pub template_stretch: f64,
    /// Probability of colour jitter along the principal colour axes, per image.
    pub colour: f64,
    /// Factor on `colour_axes`.
    pub colour_strength: f64,
    /// What a step of one (a standard deviation) along each of three axes adds to red, green and blue (rows), of 255.
    pub colour_axes: [[f64; 3]; 3],
    /// Probability of motion blur on the search image: a random mix of means along a column and a row.
    pub blur: f64,
    /// The same on the template.
    pub template_blur: f64,
    /// Fewest pixels that motion blur averages, odd.
    pub blur_min: u32,
    /// Most pixels that motion blur averages, odd; all odd numbers between are drawn equally often.
    pub blur_max: u32,
    /// Probability of Gaussian blur, per image.
    pub gaussian: f64,
    /// Smallest side of the Gaussian's window in pixels, odd.
    pub gaussian_min: u32,
    /// Largest side of the Gaussian's window in pixels, odd.
    pub gaussian_max: u32,
    /// Largest standard deviation of the Gaussian in pixels; uniform from 0 to this.
    pub gaussian_sigma: f64,
    /// Probability of mirroring both images left to right.
    pub flip: f64,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            gray: 0.25,
            stretch_kind: StretchKind::Crop,
            stretch: 0.15,
            shift: 12,
            template_shift: 0,
            template_stretch: 0.0,
            colour: 0.0,
            colour_strength: 1.0,
            colour_axes: [[-0.559, 0.981, -0.419], [1.721, 0.199, -1.830], [4.645, 4.737, 4.883]],
            blur: 0.0,
            template_blur: 0.0,
            blur_min: 5,
            blur_max: 45,
            gaussian: 0.0,
            gaussian_min: 3,
            gaussian_max: 7,
            gaussian_sigma: 5.0,
            flip: 0.0,
        }
    }
}

impl AugmentConfig {
    /// Side in pixels that a stored search crop must have for these augmentations of a search image of `search_px`:
    /// (search + 2 shift) / (1 - stretch) when the crop is stretched, search (1 + stretch) + 2 shift when the window is.
    #[must_use]
    pub fn needed_search_px(&self, search_px: u32) -> u32 {
        self.needed(search_px, self.shift, self.stretch)
    }

    /// Side in pixels that a stored template crop must have for an exemplar of `exemplar_px`, as for search crops.
    #[must_use]
    pub fn needed_template_px(&self, exemplar_px: u32) -> u32 {
        self.needed(exemplar_px, self.template_shift, self.template_stretch)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides of crops are small and positive"
    )]
    fn needed(&self, px: u32, shift: u32, stretch: f64) -> u32 {
        let (px, shifts) = (f64::from(px), f64::from(2 * shift));
        match self.stretch_kind {
            StretchKind::Crop => ((px + shifts) / (1.0 - stretch)).ceil() as u32,
            StretchKind::Window => (px * (1.0 + stretch) + shifts).ceil() as u32,
        }
    }
}

/// How anchors become labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelConfig {
    /// Overlap above which an anchor is positive.
    pub positive_iou: f64,
    /// Overlap below which an anchor is negative.
    pub negative_iou: f64,
    /// Positives kept per pair.
    pub max_positives: usize,
    /// Anchors kept per pair.
    pub total: usize,
    /// Always keep `total - max_positives` negatives (PySOT) instead of filling up to `total` (reference).
    pub fixed_negatives: bool,
    /// Negatives kept for a negative pair.
    pub negative_pair_negatives: usize,
    /// Side in cells, odd, of the window around the target that a negative pair's negatives come from.
    pub negative_pair_window: usize,
    /// Subtract half a pixel from each box edge when computing overlaps (reference); PySOT does not.
    pub inclusive_iou: bool,
}

impl Default for LabelConfig {
    fn default() -> Self {
        Self {
            positive_iou: 0.6,
            negative_iou: 0.3,
            max_positives: 16,
            total: 64,
            fixed_negatives: false,
            negative_pair_negatives: 16,
            negative_pair_window: 7,
            inclusive_iou: true,
        }
    }
}

/// Which formulas the loss follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// Per pair: half the mean cross entropy of positives plus half that of negatives; smooth L1 over positives.
    #[default]
    Reference,
    /// PySOT: cross entropy averaged over the batch; plain L1.
    Pysot,
}

/// Loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Formulas.
    pub kind: LossKind,
    /// Weight of the classification loss.
    pub cls_weight: f64,
    /// Weight of the regression loss.
    pub reg_weight: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self { kind: LossKind::Reference, cls_weight: 1.0, reg_weight: 5.0 }
    }
}

/// How gradients are clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClipKind {
    /// By the norm of all gradients together.
    #[default]
    Global,
    /// Each tensor by its own norm (the reference).
    PerTensor,
    /// Not at all.
    None,
}

/// Optimiser and learning-rate schedule: SGD with momentum, dampening 0, weight decay on every trained tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimConfig {
    /// Learning rate of the first epoch after warm-up.
    pub lr_start: f64,
    /// Learning rate of the last epoch; geometric in between.
    pub lr_end: f64,
    /// Epochs of geometric warm-up from `warmup_lr` to `lr_start`.
    pub warmup_epochs: u32,
    /// Learning rate at the start of the warm-up.
    pub warmup_lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay, added to the gradient.
    pub weight_decay: f64,
    /// How gradients are clipped.
    pub clip: ClipKind,
    /// Largest norm.
    pub clip_norm: f64,
    /// Steps with a larger loss are skipped, as those that are not finite.
    pub max_loss: f64,
    /// Leading convolutions (with their batch norm) that are never trained.
    pub frozen_convs: usize,
    /// Epochs (from the first) during which the whole trunk is frozen.
    pub trunk_frozen_epochs: u32,
    /// Factor on the learning rate of the trunk.
    pub trunk_lr: f64,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr_start: 3e-2,
            lr_end: 1e-7,
            warmup_epochs: 0,
            warmup_lr: 0.0,
            momentum: 0.9,
            weight_decay: 5e-4,
            clip: ClipKind::Global,
            clip_norm: 10.0,
            max_loss: 1e4,
            frozen_convs: 3,
            trunk_frozen_epochs: 0,
            trunk_lr: 1.0,
        }
    }
}

/// Arithmetic of the forward pass; weights, batch norm, losses and optimiser are always fp32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits throughout.
    #[default]
    Fp32,
    /// bfloat16 convolutions and correlation.
    Bf16,
    /// IEEE half precision with loss scaling.
    F16,
}

/// How several devices agree on a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GradSyncKind {
    /// NCCL between GPUs, the host's memory otherwise.
    #[default]
    Auto,
    /// NCCL, which must be installed.
    Nccl,
    /// The host's memory: slower, the same bits every time.
    Host,
}

/// Batch, length, checkpoints, logging.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Pairs per step over all devices.
    pub batch: usize,
    /// Parts that every device does one after the other, to make do with less memory; gradients are their mean.
    pub accumulate: usize,
    /// How several devices agree on a gradient.
    pub grad_sync: GradSyncKind,
    /// Epochs.
    pub epochs: u32,
    /// Steps per epoch; 0 means as many full batches as the epoch's units give.
    pub steps_per_epoch: u64,
    /// Steps after which the run ends early; 0 means never. Does not change the schedule.
    pub max_steps: u64,
    /// Seed of weights, order and augmentation.
    pub seed: u64,
    /// Arithmetic.
    pub precision: Precision,
    /// Loader threads; 0 means all cores but one, at least one.
    pub workers: usize,
    /// Batches decoded ahead.
    pub prefetch: usize,
    /// Steps between two lines of metrics.
    pub log_every: u64,
    /// Also write event files for TensorBoard, into `tensorboard` in the run folder.
    pub tensorboard: bool,
    /// Steps between two checkpoints; 0 means at the end of each epoch only.
    pub checkpoint_every: u64,
    /// Checkpoints kept.
    pub keep_last: usize,
    /// Epochs, counted from the newest, whose weights are kept for evaluation; 0 means all.
    pub keep_epochs: usize,
    /// Steps between two validations; 0 means at the end of each epoch only.
    pub validate_every: u64,
    /// Pairs of a validation, rounded up to whole batches: the same ones each time.
    pub validation_pairs: usize,
    /// Steps in a row that were skipped (loss or gradient not finite, loss above `optim.max_loss`) after which training stops.
    pub max_bad_steps: u64,
    /// Pretrained weights to start from; empty means random.
    pub init_from: String,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            batch: 32,
            accumulate: 1,
            grad_sync: GradSyncKind::Auto,
            epochs: 50,
            steps_per_epoch: 0,
            max_steps: 0,
            seed: 1,
            precision: Precision::Fp32,
            workers: 0,
            prefetch: 4,
            log_every: 10,
            tensorboard: false,
            checkpoint_every: 0,
            keep_last: 3,
            keep_epochs: 0,
            validate_every: 0,
            validation_pairs: 512,
            max_bad_steps: 20,
            init_from: String::new(),
        }
    }
}

/// Names of the presets, for help texts and errors.
pub const PRESETS: [&str; 4] = ["reference", "pysot-alex", "recommended", "tiny"];

impl TrainConfig {
    /// A preset by name; `None` when there is none of that name.
    ///
    /// * `reference`: the MindSpore values (up-channel head, 3e-2 to 1e-7, clip by global norm)
    /// * `pysot-alex`: PySOT's AlexNet schedule with the depthwise head
    /// * `recommended`: depthwise head on the narrow trunk, for the ImageNet weights that can be had
    /// * `tiny`: a small trunk for tests and laptops
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let base = Self::default();
        Some(match name {
            "reference" => Self {
                model: ModelConfig { head: HeadKind::UpChannel, ..base.model },
                data: DataConfig { min_aspect: 0.1, min_area: 0.001, max_area: 0.7, ..base.data },
                ..base
            },
            "pysot-alex" => Self {
                model: ModelConfig {
                    search_px: 287,
                    semantics: CropSemantics::Pysot,
                    tracker: TrackerConfig { penalty_k: 0.16, ..TrackerConfig::default() },
                    ..base.model
                },
                data: DataConfig {
                    pairs_per_epoch: 600_000,
                    gap_by_dataset: [("ytbb", 3), ("coco", 1), ("det", 1)].map(|(l, gap)| (l.to_owned(), gap)).into(),
                    negative_probability: 0.05,
                    same_frame: true,
                    ..base.data
                },
                augment: AugmentConfig {
                    gray: 0.0,
                    stretch_kind: StretchKind::Window,
                    stretch: 0.18,
                    shift: 64,
                    template_shift: 4,
                    template_stretch: 0.05,
                    colour: 1.0,
                    blur: 0.2,
                    ..base.augment
                },
                labels: LabelConfig { fixed_negatives: true, inclusive_iou: false, ..base.labels },
                loss: LossConfig { kind: LossKind::Pysot, cls_weight: 1.0, reg_weight: 1.2 },
                optim: OptimConfig {
                    lr_start: 1e-2,
                    lr_end: 5e-4,
                    warmup_epochs: 5,
                    warmup_lr: 5e-3,
                    weight_decay: 1e-4,
                    frozen_convs: 3,
                    trunk_frozen_epochs: 10,
                    ..base.optim
                },
                run: RunConfig { batch: 128, ..base.run },
            },
            "recommended" => Self {
                model: ModelConfig {
                    trunk: TrunkConfig { widths: TrunkConfig::NARROW },
                    channels: ChannelOrder::Bgr,
                    search_px: 271,
                    ..base.model
                },
                data: DataConfig { negative_probability: 0.05, validation_share: 0.01, ..base.data },
                augment: AugmentConfig { colour: 0.5, blur: 0.1, ..base.augment },
                optim: OptimConfig { lr_start: 1e-2, lr_end: 1e-5, warmup_epochs: 1, warmup_lr: 1e-3, ..base.optim },
                ..base
            },
            "tiny" => Self {
                model: ModelConfig {
                    trunk: TrunkConfig { widths: TrunkConfig::TINY },
                    anchors: AnchorConfig::default(),
                    ..base.model
                },
                optim: OptimConfig { lr_start: 1e-2, lr_end: 1e-4, frozen_convs: 0, ..base.optim },
                run: RunConfig { batch: 4, epochs: 2, ..base.run },
                ..base
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_exists_and_survives_json() {
        for name in PRESETS {
            let preset = TrainConfig::preset(name).unwrap();
            let text = serde_json::to_string(&preset).unwrap();
            let back: TrainConfig = serde_json::from_str(&text).unwrap();
            assert_eq!(back, preset, "{name}");
        }
        assert!(TrainConfig::preset("none").is_none());
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<TrainConfig>(r#"{"optim":{"lr_strat":1.0}}"#).is_err());
    }

    #[test]
    fn crop_margins_follow_the_augmentation() {
        let a = AugmentConfig::default();
        assert_eq!(a.needed_search_px(255), 329);
        assert_eq!(a.needed_search_px(271), 348);
        assert_eq!(a.needed_template_px(127), 127);
    }
}
