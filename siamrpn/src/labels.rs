//! Which anchors of a search image are target, background or ignored, and what the regression should say.

use crate::anchors::Anchors;
use crate::decode::encode;
use schemas::train::LabelConfig;
use shards::order::Rng;

/// Cells around the target's that a negative pair draws its negatives from, each way (PySOT: a 7x7 window).
const NEGATIVE_PAIR_REACH: usize = 3;

/// Labels of one search image.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// 1 target, 0 background, -1 ignored; `[N]`, anchor, row, column.
    pub cls: Vec<i8>,
    /// Deltas of the target against every anchor, `[4, N]`, coordinate-major; zero for a negative pair.
    pub reg: Vec<f32>,
    /// Anchors labelled target.
    pub positives: usize,
    /// Anchors labelled background.
    pub negatives: usize,
}

/// Overlap of two centre-form boxes. With `inclusive` both are drawn in by half a pixel on every side, as the
/// reference does; PySOT uses plain corners.
#[must_use]
pub fn overlap(a: [f64; 4], b: [f64; 4], inclusive: bool) -> f64 {
    let inset = if inclusive { 0.5 } else { 0.0 };
    let edges = |c: f64, side: f64| (c - side / 2.0 + inset, c + side / 2.0 - inset);
    let ((ax1, ax2), (ay1, ay2)) = (edges(a[0], a[2]), edges(a[1], a[3]));
    let ((bx1, bx2), (by1, by2)) = (edges(b[0], b[2]), edges(b[1], b[3]));
    let w = (ax2.min(bx2) - ax1.max(bx1)).max(0.0);
    let h = (ay2.min(by2) - ay1.max(by1)).max(0.0);
    let inter = w * h;
    inter / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inter + 1e-6)
}

/// Flat indices of all anchors that overlap `target` by more than `cfg.positive_iou` and by less than
/// `cfg.negative_iou`, before any sampling. `target`: centre form in crop pixels from the crop's centre.
#[must_use]
pub fn candidates(anchors: &Anchors, target: [f32; 4], cfg: &LabelConfig) -> (Vec<usize>, Vec<usize>) {
    let target = target.map(f64::from);
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    for (i, anchor) in anchors.as_slice().iter().enumerate() {
        let iou = overlap(anchor.map(f64::from), target, cfg.inclusive_iou);
        if iou > cfg.positive_iou {
            positive.push(i);
        } else if iou < cfg.negative_iou {
            negative.push(i);
        }
    }
    (positive, negative)
}

/// Keeps `count` random elements of `from` (all, if there are fewer), in random order.
fn choose(mut from: Vec<usize>, count: usize, rng: &mut Rng) -> Vec<usize> {
    let count = count.min(from.len());
    for i in 0..count {
        let left = (from.len() - i) as u64;
        #[expect(clippy::cast_possible_truncation, reason = "below a length")]
        from.swap(i, i + rng.below(left) as usize);
    }
    from.truncate(count);
    from
}

/// Labels the anchors of one search image.
///
/// `target` is in crop pixels from the crop's centre, centre form. A positive pair keeps up to `max_positives`
/// targets and fills up with background to `total` (or keeps always `total - max_positives`, PySOT). A `negative` pair
/// has no targets; its background comes from the window of cells around the target (PySOT).
#[must_use]
pub fn label(anchors: &Anchors, target: [f32; 4], cfg: &LabelConfig, negative: bool, rng: &mut Rng) -> Labels {
    let n = anchors.len();
    let mut cls = vec![-1_i8; n];
    let mut set = |indices: &[usize], value: i8| {
        for &i in indices {
            if let Some(label) = cls.get_mut(i) {
                *label = value;
            }
        }
    };
    if negative {
        let near = choose(near(anchors, target), cfg.negative_pair_negatives, rng);
        set(&near, 0);
        return Labels { cls, reg: vec![0.0; 4 * n], positives: 0, negatives: near.len() };
    }
    let (positive, background) = candidates(anchors, target, cfg);
    let positive = choose(positive, cfg.max_positives, rng);
    let kept = if cfg.fixed_negatives { cfg.max_positives } else { positive.len() };
    let background = choose(background, cfg.total.saturating_sub(kept), rng);
    set(&positive, 1);
    set(&background, 0);
    Labels { cls, reg: deltas(anchors, target), positives: positive.len(), negatives: background.len() }
}

/// Deltas of `target` against every anchor, `[4, N]`.
fn deltas(anchors: &Anchors, target: [f32; 4]) -> Vec<f32> {
    let n = anchors.len();
    let target = target.map(f64::from);
    let mut reg = vec![0.0_f32; 4 * n];
    for (i, anchor) in anchors.as_slice().iter().enumerate() {
        for (c, delta) in encode(anchor.map(f64::from), target).into_iter().enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "deltas are stored as f32")]
            if let Some(slot) = reg.get_mut(c * n + i) {
                *slot = delta as f32;
            }
        }
    }
    reg
}

/// Flat indices of all anchors in the window of cells around the target's cell.
fn near(anchors: &Anchors, target: [f32; 4]) -> Vec<usize> {
    let size = anchors.response();
    let boxes = anchors.as_slice();
    // The cell whose centre is nearest to the target's along one axis; rows and columns have the same coordinates.
    let cell = |value: f32| {
        (0..size)
            .min_by(|a, b| {
                let distance = |i: usize| boxes.get(i).map_or(f32::MAX, |anchor| (anchor[0] - value).abs());
                distance(*a).total_cmp(&distance(*b))
            })
            .unwrap_or(0)
    };
    let span = |c: usize| c.saturating_sub(NEGATIVE_PAIR_REACH)..size.min(c + NEGATIVE_PAIR_REACH + 1);
    let (columns, rows) = (span(cell(target[0])), span(cell(target[1])));
    let mut indices = Vec::new();
    for anchor in 0..anchors.per_cell() {
        for row in rows.clone() {
            indices.extend(columns.clone().map(|column| (anchor * size + row) * size + column));
        }
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schemas::model::AnchorConfig;
    use shards::order::Rng;

    fn anchors() -> Anchors {
        Anchors::new(&AnchorConfig::default(), 17)
    }

    fn counts(labels: &Labels) -> (usize, usize) {
        let count = |v| labels.cls.iter().filter(|l| **l == v).count();
        (count(1), count(0))
    }

    /// Positives over random stretches and shifts of a target of this aspect: their mean, and the share of samples
    /// outside of `usual`.
    fn positives(aspect: f64, usual: std::ops::RangeInclusive<usize>) -> (f64, f64) {
        let mut rng = Rng::new(9);
        let cfg = LabelConfig::default();
        let anchors = anchors();
        // A target of h/w = aspect whose context window is 127 px wide: (w + p)(h + p) = 127², p = (w + h) / 2.
        let w = 127.0 / ((1.0 + (1.0 + aspect) / 2.0) * (aspect + (1.0 + aspect) / 2.0)).sqrt();
        let counts: Vec<usize> = (0..2000)
            .map(|_| {
                let (sx, sy) = (rng.range(0.85, 1.15), rng.range(0.85, 1.15));
                let (dx, dy) = (rng.range(-12.5, 12.5).round(), rng.range(-12.5, 12.5).round());
                let target = [-dx, -dy, (w * sx).round(), (w * aspect * sy).round()].map(|v| v as f32);
                candidates(&anchors, target, &cfg).0.len()
            })
            .collect();
        let share = |n: usize| n as f64 / counts.len() as f64;
        (share(counts.iter().sum()), share(counts.iter().filter(|c| !usual.contains(c)).count()))
    }

    /// The reference's ranges come from fewer samples: up to 3 in 1000 lie a little outside.
    #[test]
    fn positives_per_sample_are_the_references() {
        for (aspect, usual, mean) in [(1.0, 4..=14, 9.0), (0.5, 6..=16, 11.5), (2.0, 6..=16, 11.5)] {
            let (found, outside) = positives(aspect, usual);
            assert!((found - mean).abs() < 0.3 && outside < 0.015, "{aspect}: mean {found}, {outside} outside");
        }
        let (flat, flat_outside) = positives(0.33, 4..=16);
        let (tall, tall_outside) = positives(3.0, 4..=16);
        assert!(((flat + tall) / 2.0 - 11.5).abs() < 0.5 && flat_outside + tall_outside < 0.01, "{flat} {tall}");
    }

    #[test]
    fn counts_follow_the_configuration() {
        let target = [5.0, -8.0, 60.0, 71.0];
        let reference = label(&anchors(), target, &LabelConfig::default(), false, &mut Rng::new(1));
        assert_eq!(counts(&reference), (reference.positives, reference.negatives));
        assert_eq!(reference.positives + reference.negatives, 64);
        let pysot = LabelConfig { fixed_negatives: true, inclusive_iou: false, ..LabelConfig::default() };
        let labels = label(&anchors(), target, &pysot, false, &mut Rng::new(1));
        assert_eq!(labels.negatives, 48);
        let few = LabelConfig { max_positives: 2, total: 10, ..LabelConfig::default() };
        let labels = label(&anchors(), target, &few, false, &mut Rng::new(1));
        assert_eq!(counts(&labels), (2, 8));
    }

    #[test]
    fn a_negative_pair_has_only_background_near_the_target() {
        let anchors = anchors();
        let labels = label(&anchors, [60.0, -60.0, 50.0, 50.0], &LabelConfig::default(), true, &mut Rng::new(3));
        assert_eq!(counts(&labels), (0, 16));
        assert!(labels.reg.iter().all(|v| *v == 0.0));
        for (i, cls) in labels.cls.iter().enumerate().filter(|(_, c)| **c == 0) {
            let [cx, cy, ..] = anchors.get(i).unwrap();
            assert!((cx - 60.0).abs() <= 32.0 && (cy + 60.0).abs() <= 32.0, "{cx} {cy} {cls}");
        }
    }

    #[test]
    fn other_keys_choose_other_anchors() {
        let run = |key| label(&anchors(), [0.0, 0.0, 64.0, 64.0], &LabelConfig::default(), false, &mut Rng::new(key));
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).cls, run(2).cls);
    }

    proptest! {
        #[test]
        fn choosing_keeps_distinct_elements(n in 0_usize..50, count in 0_usize..60, key: u64) {
            let mut chosen = choose((0..n).collect(), count, &mut Rng::new(key));
            prop_assert_eq!(chosen.len(), count.min(n));
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), count.min(n));
        }

        #[test]
        fn overlap_is_symmetric_and_bounded(
            a in [-50.0..50.0_f64, -50.0..50.0, 2.0..100.0, 2.0..100.0],
            b in [-50.0..50.0_f64, -50.0..50.0, 2.0..100.0, 2.0..100.0],
        ) {
            let o = overlap(a, b, true);
            prop_assert!((0.0..=1.0).contains(&o));
            prop_assert!((o - overlap(b, a, true)).abs() < 1e-12);
            prop_assert!(overlap(a, a, false) > 0.999);
        }
    }
}
