//! Which anchors of a search image are target, background or ignored, and what the regression should say.

use crate::anchors::Anchors;
use crate::decode::encode;
use schemas::train::LabelConfig;
use shards::order::Rng;

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

/// Puts `count` random elements of `from` (all, if there are fewer) in front, in random order; answers how many.
fn choose(from: &mut [u32], count: usize, rng: &mut Rng) -> usize {
    let count = count.min(from.len());
    for i in 0..count {
        let left = (from.len() - i) as u64;
        #[expect(clippy::cast_possible_truncation, reason = "below a length")]
        from.swap(i, i + rng.below(left) as usize);
    }
    count
}

/// Labels the anchors of one search image.
///
/// `target` is in crop pixels from the crop's centre, centre form. A positive pair keeps up to `max_positives`
/// targets and fills up with background to `total` (or keeps always `total - max_positives`, PySOT). A `negative` pair
/// has no targets; its background comes from the window of cells around the target (PySOT).
#[must_use]
pub fn label(anchors: &Anchors, target: [f32; 4], cfg: &LabelConfig, negative: bool, rng: &mut Rng) -> Labels {
    let (mut cls, mut reg) = (vec![0; anchors.len()], vec![0.0; 4 * anchors.len()]);
    let (positives, negatives) =
        Labeller::new(anchors).label(anchors, target, cfg, negative, rng, (&mut cls, &mut reg));
    Labels { cls, reg, positives, negatives }
}

/// Edges of a box along one axis and the distance between them.
type Edges = [f64; 3];

fn edges(centre: f64, side: f64, inclusive: bool) -> Edges {
    let inset = if inclusive { 0.5 } else { 0.0 };
    let (low, high) = (centre - side / 2.0 + inset, centre + side / 2.0 - inset);
    [low, high, high - low]
}

/// Labels image after image with the same anchors: what depends on shape and column, or shape and row alone is worked out
/// once per image and not once per anchor.
#[derive(Debug, Clone)]
pub struct Labeller {
    /// Centres of the cells along an axis; rows and columns have the same.
    cells: Vec<f64>,
    /// Width and height of each shape.
    shapes: Vec<[f64; 2]>,
    positive: Vec<u32>,
    background: Vec<u32>,
    /// Of one shape and each column: overlap with the target, width.
    columns: Vec<[f64; 2]>,
    /// Of one shape and each column: horizontal delta.
    across: Vec<f32>,
}

impl Labeller {
    /// For these anchors.
    #[must_use]
    pub fn new(anchors: &Anchors) -> Self {
        let (boxes, size) = (anchors.as_slice(), anchors.response());
        let shape = |b: &[f32; 4]| [f64::from(b[2]), f64::from(b[3])];
        Self {
            cells: boxes.iter().take(size).map(|b| f64::from(b[0])).collect(),
            shapes: boxes.iter().step_by((size * size).max(1)).map(shape).collect(),
            positive: Vec::new(),
            background: Vec::with_capacity(boxes.len()),
            columns: Vec::with_capacity(size),
            across: Vec::with_capacity(size),
        }
    }

    /// As [`label`], into `cls` (`[N]`) and `reg` (`[4, N]`); answers how many targets and background anchors there are.
    pub fn label(
        &mut self,
        anchors: &Anchors,
        target: [f32; 4],
        cfg: &LabelConfig,
        negative: bool,
        rng: &mut Rng,
        (cls, reg): (&mut [i8], &mut [f32]),
    ) -> (usize, usize) {
        cls.fill(-1);
        let mut set = |indices: &[u32], value: i8| {
            for &i in indices {
                if let Some(label) = cls.get_mut(i as usize) {
                    *label = value;
                }
            }
        };
        if negative {
            reg.fill(0.0);
            let mut near = near(anchors, target, cfg.negative_pair_window / 2);
            let count = choose(&mut near, cfg.negative_pair_negatives, rng);
            set(near.get(..count).unwrap_or_default(), 0);
            return (0, count);
        }
        let target = target.map(f64::from);
        self.sort(target, cfg);
        self.deltas(target, reg);
        let positives = choose(&mut self.positive, cfg.max_positives, rng);
        let kept = if cfg.fixed_negatives { cfg.max_positives } else { positives };
        let negatives = choose(&mut self.background, cfg.total.saturating_sub(kept), rng);
        set(self.positive.get(..positives).unwrap_or_default(), 1);
        set(self.background.get(..negatives).unwrap_or_default(), 0);
        (positives, negatives)
    }

    /// [`candidates`], with the same arithmetic for every anchor.
    fn sort(&mut self, [cx, cy, w, h]: [f64; 4], cfg: &LabelConfig) {
        self.positive.clear();
        self.background.clear();
        let inclusive = cfg.inclusive_iou;
        let (over, down) = (edges(cx, w, inclusive), edges(cy, h, inclusive));
        let area = over[2] * down[2];
        let common = |a: Edges, b: Edges| (a[1].min(b[1]) - a[0].max(b[0])).max(0.0);
        let mut index = 0_u32;
        for &[width, height] in &self.shapes {
            self.columns.clear();
            self.columns.extend(self.cells.iter().map(|&x| {
                let own = edges(x, width, inclusive);
                [common(own, over), own[2]]
            }));
            for &y in &self.cells {
                let own = edges(y, height, inclusive);
                let shared = common(own, down);
                for &[column, width] in &self.columns {
                    let inter = column * shared;
                    // Most anchors do not touch the target.
                    let iou = if inter > 0.0 { inter / (width * own[2] + area - inter + 1e-6) } else { 0.0 };
                    if iou > cfg.positive_iou {
                        self.positive.push(index);
                    } else if iou < cfg.negative_iou {
                        self.background.push(index);
                    }
                    index += 1;
                }
            }
        }
    }

    /// Deltas of `target` against every anchor, `[4, N]`.
    fn deltas(&mut self, target: [f64; 4], reg: &mut [f32]) {
        let (size, shapes) = (self.cells.len(), self.shapes.len());
        let n = shapes * size * size;
        let (dx, rest) = reg.split_at_mut(n.min(reg.len()));
        let (dy, rest) = rest.split_at_mut(n.min(rest.len()));
        let (dw, dh) = rest.split_at_mut(n.min(rest.len()));
        let per_shape = |all| <[f32]>::chunks_exact_mut(all, (size * size).max(1));
        let planes = per_shape(dx).zip(per_shape(dy)).zip(per_shape(dw)).zip(per_shape(dh));
        for ((((dx, dy), dw), dh), &[width, height]) in planes.zip(&self.shapes) {
            // Of the four numbers two depend on the shape alone, and one each on column and row.
            #[expect(clippy::cast_possible_truncation, reason = "deltas are stored as f32")]
            let delta = |x: f64, y: f64| encode([x, y, width, height], target).map(|v| v as f32);
            let [.., w, h] = delta(0.0, 0.0);
            dw.fill(w);
            dh.fill(h);
            self.across.clear();
            #[expect(clippy::cast_possible_truncation, reason = "deltas are stored as f32")]
            self.across.extend(self.cells.iter().map(|x| ((target[0] - x) / width) as f32));
            let rows = dx.chunks_exact_mut(size).zip(dy.chunks_exact_mut(size));
            for ((dx, dy), y) in rows.zip(&self.cells) {
                dx.copy_from_slice(&self.across);
                #[expect(clippy::cast_possible_truncation, reason = "deltas are stored as f32")]
                dy.fill(((target[1] - y) / height) as f32);
            }
        }
    }
}

/// Flat indices of all anchors in the window of cells around the target's cell; `reach`: cells each way (PySOT: 3, a 7x7
/// window).
fn near(anchors: &Anchors, target: [f32; 4], reach: usize) -> Vec<u32> {
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
    let span = |c: usize| c.saturating_sub(reach)..size.min(c + reach + 1);
    let (columns, rows) = (span(cell(target[0])), span(cell(target[1])));
    let mut indices = Vec::new();
    for anchor in 0..anchors.per_cell() {
        for row in rows.clone() {
            indices.extend(columns.clone().map(|column| ((anchor * size + row) * size + column) as u32));
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
        // The target's own cell has one anchor of each shape.
        let one = LabelConfig { negative_pair_window: 1, ..LabelConfig::default() };
        assert_eq!(counts(&label(&anchors, [60.0, -60.0, 50.0, 50.0], &one, true, &mut Rng::new(3))), (0, 5));
    }

    #[test]
    fn other_keys_choose_other_anchors() {
        let run = |key| label(&anchors(), [0.0, 0.0, 64.0, 64.0], &LabelConfig::default(), false, &mut Rng::new(key));
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).cls, run(2).cls);
    }

    proptest! {
        #[test]
        fn the_labeller_agrees_with_every_anchor_alone(
            at in [-90.0..90.0_f32, -90.0..90.0], side in [2.0..220.0_f32, 2.0..220.0], inclusive: bool, size in 1_usize..22,
        ) {
            let anchors = Anchors::new(&AnchorConfig::default(), size);
            let target = [at[0], at[1], side[0], side[1]];
            let cfg = LabelConfig { inclusive_iou: inclusive, ..LabelConfig::default() };
            let (positive, negative) = candidates(&anchors, target, &cfg);
            let mut labeller = Labeller::new(&anchors);
            labeller.sort([5.0, 5.0, 9.0, 9.0], &cfg);
            labeller.sort(target.map(f64::from), &cfg);
            let whole = |list: &[u32]| list.iter().map(|&i| i as usize).collect::<Vec<_>>();
            prop_assert_eq!((whole(&labeller.positive), whole(&labeller.background)), (positive, negative));
            let mut reg = vec![f32::NAN; 4 * anchors.len()];
            labeller.deltas(target.map(f64::from), &mut reg);
            for (i, anchor) in anchors.as_slice().iter().enumerate() {
                let expected = encode(anchor.map(f64::from), target.map(f64::from)).map(|v| v as f32);
                let found = [0, 1, 2, 3].map(|c| reg[c * anchors.len() + i]);
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn choosing_keeps_distinct_elements(n in 0_usize..50, count in 0_usize..60, key: u64) {
            let mut chosen: Vec<u32> = (0..n as u32).collect();
            let kept = choose(&mut chosen, count, &mut Rng::new(key));
            prop_assert_eq!(kept, count.min(n));
            chosen.truncate(kept);
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
