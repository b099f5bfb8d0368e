//! Scan conversion of polygons, in the official toolkits' two ways.

use super::spans::{Rows, Span};

/// The present raster (libtrax, and the Python toolkit after it) over corners rounded to whole pixels.
///
/// In row y every edge with min(y_i, y_j) <= y <= max(y_i, y_j) gives a column
/// trunc(x_i + (y - y_i) / (y_j - y_i) * (x_j - x_i)), a horizontal edge x_i, where j is the corner
/// before i. The sorted columns are walked in pairs that are filled inclusively; of two equal
/// neighbours the first is skipped, unless they are the last pair.
///
/// The older form, of which PySOT carries a copy, leaves horizontal edges out and always skips.
pub(super) struct RoundedPolygon {
    older: bool,
    points: Vec<(i64, i64)>,
    width: i64,
    columns: Vec<i64>,
}

impl RoundedPolygon {
    /// Corners in window coordinates (px) and the width of the window, in px.
    pub(super) fn new(points: Vec<(i64, i64)>, width: i64) -> Self {
        let columns = Vec::with_capacity(points.len());
        RoundedPolygon { older: false, points, width, columns }
    }

    /// The same in the older form.
    pub(super) fn older(points: Vec<(i64, i64)>, width: i64) -> Self {
        RoundedPolygon { older: true, ..RoundedPolygon::new(points, width) }
    }
}

impl Rows for RoundedPolygon {
    fn row(&mut self, y: i64, spans: &mut Vec<Span>) {
        self.columns.clear();
        let Some(last) = self.points.last() else { return };
        let mut before = *last;
        for &(xi, yi) in &self.points {
            let (xj, yj) = before;
            if yi.min(yj) <= y && y <= yi.max(yj) && !(self.older && yi == yj) {
                self.columns.push(if yi == yj {
                    xi
                } else {
                    let along = (y - yi) as f64 / (yj - yi) as f64;
                    (xi as f64 + along * (xj - xi) as f64) as i64
                });
            }
            before = (xi, yi);
        }
        self.columns.sort_unstable();
        let mut rest = self.columns.as_slice();
        while let [first, second, ..] = *rest {
            if first >= self.width {
                break;
            }
            if first == second && (self.older || rest.len() > 2) {
                rest = &rest[1..];
                continue;
            }
            if second >= 0 {
                spans.push((first.max(0), second.min(self.width - 1)));
            }
            rest = &rest[2..];
        }
    }
}

/// The raster of VOT2013 to VOT2015 (`legacy_rasterization`): corners are not rounded, an edge counts
/// in rows y_i < y <= y_j, pairs of columns are filled half-open. All arithmetic is in f32, as in the
/// original.
pub(super) struct LegacyPolygon {
    points: Vec<(f32, f32)>,
    width: i64,
    columns: Vec<i64>,
}

impl LegacyPolygon {
    /// Corners in window coordinates (px) and the width of the window.
    pub(super) fn new(points: Vec<(f32, f32)>, width: i64) -> Self {
        let columns = Vec::with_capacity(points.len());
        LegacyPolygon { points, width, columns }
    }
}

impl Rows for LegacyPolygon {
    fn row(&mut self, y: i64, spans: &mut Vec<Span>) {
        self.columns.clear();
        let Some(last) = self.points.last() else { return };
        let mut before = *last;
        let row = y as f32;
        for &(xi, yi) in &self.points {
            let (xj, yj) = before;
            if (yi < row && yj >= row) || (yj < row && yi >= row) {
                self.columns.push((xi + (row - yi) / (yj - yi) * (xj - xi)) as i64);
            }
            before = (xi, yi);
        }
        self.columns.sort_unstable();
        for pair in self.columns.chunks_exact(2) {
            let &[first, second] = pair else { break };
            if first >= self.width {
                break;
            }
            if second > 0 {
                // Past the right edge the original stops one pixel early.
                let end = if second > self.width { self.width - 1 } else { second };
                spans.push((first.max(0), end - 1));
            }
        }
    }
}
