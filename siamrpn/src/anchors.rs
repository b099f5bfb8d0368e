//! The grid of reference boxes that predictions are relative to.
//!
//! Source: `reference` SiamRPN and PySOT agree. For each ratio r = h / w: w = floor(sqrt(base² / r)),
//! h = floor(w r), both times the scale. Cell i of S lies at -(S / 2) * stride + i * stride (integer division).

use schemas::model::AnchorConfig;

/// Anchors of one response size: centre form `[cx, cy, w, h]` in crop pixels from the crop's centre, ordered by
/// anchor, then row (y), then column (x).
#[derive(Debug, Clone, PartialEq)]
pub struct Anchors {
    boxes: Vec<[f32; 4]>,
    sizes: Vec<[f32; 2]>,
    response: usize,
}

impl Anchors {
    /// The anchors of `response` x `response` cells.
    #[must_use]
    pub fn new(cfg: &AnchorConfig, response: usize) -> Self {
        let area = (cfg.base_size * cfg.base_size) as f64;
        let mut sizes = Vec::with_capacity(cfg.per_cell());
        for ratio in &cfg.ratios {
            let w = (area / ratio).sqrt().floor();
            let h = (w * ratio).floor();
            #[expect(clippy::cast_possible_truncation, reason = "anchor sides are small")]
            sizes.extend(cfg.scales.iter().map(|scale| [(w * scale) as f32, (h * scale) as f32]));
        }
        let start = -((response / 2 * cfg.stride) as f32);
        let at = |i: usize| start + (i * cfg.stride) as f32;
        let mut boxes = Vec::with_capacity(sizes.len() * response * response);
        for &[w, h] in &sizes {
            for row in 0..response {
                boxes.extend((0..response).map(|column| [at(column), at(row), w, h]));
            }
        }
        Self { boxes, sizes, response }
    }

    /// Number of anchors: `per_cell * response²`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// Anchors per cell.
    #[must_use]
    pub fn per_cell(&self) -> usize {
        self.sizes.len()
    }

    /// Cells per side.
    #[must_use]
    pub fn response(&self) -> usize {
        self.response
    }

    /// All boxes, centre form.
    #[must_use]
    pub fn as_slice(&self) -> &[[f32; 4]] {
        &self.boxes
    }

    /// The box with this flat index, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<[f32; 4]> {
        self.boxes.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_anchors() {
        let a = Anchors::new(&AnchorConfig::default(), 17);
        assert_eq!((a.len(), a.per_cell(), a.response()), (1445, 5, 17));
        for (index, expected) in [
            (0, [-64.0, -64.0, 104.0, 32.0]),
            (1, [-56.0, -64.0, 104.0, 32.0]),
            (16, [64.0, -64.0, 104.0, 32.0]),
            (17, [-64.0, -56.0, 104.0, 32.0]),
            (288, [64.0, 64.0, 104.0, 32.0]),
            (289, [-64.0, -64.0, 88.0, 40.0]),
            (1444, [64.0, 64.0, 32.0, 96.0]),
        ] {
            assert_eq!(a.get(index), Some(expected), "{index}");
        }
        assert_eq!(a.get(1445), None);
        for (response, count, edge) in [(19, 1805, -72.0), (21, 2205, -80.0)] {
            let a = Anchors::new(&AnchorConfig::default(), response);
            assert_eq!((a.len(), a.as_slice()[0][0]), (count, edge));
        }
    }

    #[test]
    fn several_scales_stay_beside_their_ratio() {
        let cfg = AnchorConfig { scales: vec![4.0, 8.0], ratios: vec![1.0, 2.0], ..AnchorConfig::default() };
        let a = Anchors::new(&cfg, 1);
        let sizes: Vec<_> = a.as_slice().iter().map(|b| [b[2], b[3]]).collect();
        assert_eq!(sizes, [[32.0, 32.0], [64.0, 64.0], [20.0, 40.0], [40.0, 80.0]]);
    }
}
