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
    width: i64,
    /// Columns row by row, sorted when a row is asked for.
    columns: Vec<i64>,
    /// Where each row ends in them; the next begins there.
    ends: Vec<usize>,
}

impl RoundedPolygon {
    /// Corners in window coordinates (px), and the width and height of the window, in px.
    pub(super) fn new(corners: impl Iterator<Item = (i64, i64)> + Clone, width: i64, height: i64) -> Self {
        Self::with(false, corners, width, height)
    }

    /// The same in the older form.
    pub(super) fn older(corners: impl Iterator<Item = (i64, i64)> + Clone, width: i64, height: i64) -> Self {
        Self::with(true, corners, width, height)
    }

    fn with(older: bool, corners: impl Iterator<Item = (i64, i64)> + Clone, width: i64, height: i64) -> Self {
        let before = corners.clone().last().into_iter().chain(corners.clone());
        // The rows of each edge within the window, from the first to the one after the last.
        let rows = |yi: i64, yj: i64| {
            let (first, past) = (yi.min(yj).max(0), (yi.max(yj) + 1).min(height));
            (first < past && !(older && yi == yj)).then_some((first as usize, past as usize))
        };
        let edges = corners.zip(before).filter_map(|(i, j)| Some((i, j, rows(i.1, j.1)?)));
        // How many edges more than in the row before are in a row; then the place of its first column.
        let mut change = vec![0isize; height.max(0) as usize + 1];
        for (_, _, (first, past)) in edges.clone() {
            change[first] += 1;
            change[past] -= 1;
        }
        let (mut in_row, mut total) = (0isize, 0usize);
        let mut ends: Vec<usize> = change
            .iter()
            .map(|more| {
                let start = total;
                in_row += more;
                total += in_row.unsigned_abs();
                start
            })
            .collect();
        let mut columns = vec![0; total];
        for ((xi, yi), (xj, yj), (first, past)) in edges {
            let (x, dx, dy) = (xi as f64, (xj - xi) as f64, (yj - yi) as f64);
            for (y, end) in (first as i64..).zip(&mut ends[first..past]) {
                columns[*end] = if yi == yj { xi } else { (x + (y - yi) as f64 / dy * dx) as i64 };
                *end += 1;
            }
        }
        RoundedPolygon { older, width, columns, ends }
    }
}

impl Rows for RoundedPolygon {
    fn row(&mut self, y: i64, spans: &mut Vec<Span>) {
        let end = |row: i64| usize::try_from(row).ok().and_then(|row| self.ends.get(row).copied());
        let (start, end) = (end(y - 1).unwrap_or(0), end(y).unwrap_or(0));
        let columns = self.columns.get_mut(start..end).unwrap_or_default();
        match &mut *columns {
            [first, second] => (*first, *second) = ((*first).min(*second), (*first).max(*second)),
            columns => columns.sort_unstable(),
        }
        let mut rest = &*columns;
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
