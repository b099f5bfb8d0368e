//! Counting pixels of two regions row by row, without filling images.

/// An inclusive run of columns.
pub(super) type Span = (i64, i64);

/// A region that can be asked for its pixels in a row of a window.
pub(super) trait Rows {
    /// Appends the spans of row `y` (window coordinates) to `spans`; they may overlap one another but
    /// lie within the window. Their order is free.
    fn row(&mut self, y: i64, spans: &mut Vec<Span>);
}

/// Pixels in both regions and pixels in either, over rows `0..height`.
pub(super) fn count(a: &mut dyn Rows, b: &mut dyn Rows, height: i64) -> (u64, u64) {
    let (mut in_both, mut in_either) = (0, 0);
    let (mut spans_a, mut spans_b) = (Vec::new(), Vec::new());
    for y in 0..height {
        spans_a.clear();
        spans_b.clear();
        a.row(y, &mut spans_a);
        b.row(y, &mut spans_b);
        let (size_a, size_b) = (merge(&mut spans_a), merge(&mut spans_b));
        let both = common(&spans_a, &spans_b);
        in_both += both;
        in_either += size_a + size_b - both;
    }
    (in_both, in_either)
}

/// Makes spans sorted and disjoint; returns their number of pixels.
fn merge(spans: &mut Vec<Span>) -> u64 {
    if let [(first, last)] = spans.as_slice()
        && first <= last
    {
        return (last - first + 1) as u64;
    }
    spans.retain(|span| span.0 <= span.1);
    if spans.len() > 1 {
        spans.sort_unstable();
        let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans.drain(..) {
            match merged.last_mut() {
                Some(last) if span.0 <= last.1 + 1 => last.1 = last.1.max(span.1),
                _ => merged.push(span),
            }
        }
        *spans = merged;
    }
    spans.iter().map(|span| (span.1 - span.0 + 1) as u64).sum()
}

/// Pixels that two sorted, disjoint lists share.
fn common(a: &[Span], b: &[Span]) -> u64 {
    let (mut i, mut j, mut total) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let (first, last) = (x.0.max(y.0), x.1.min(y.1));
        if first <= last {
            total += (last - first + 1) as u64;
        }
        if x.1 < y.1 { i += 1 } else { j += 1 }
    }
    total
}

/// No pixels at all.
pub(super) struct Nothing;

impl Rows for Nothing {
    fn row(&mut self, _: i64, _: &mut Vec<Span>) {}
}

/// The same span in each of the rows `top..=bottom`.
pub(super) struct Block {
    /// First row.
    pub(super) top: i64,
    /// Last row.
    pub(super) bottom: i64,
    /// Columns.
    pub(super) span: Span,
}

impl Rows for Block {
    fn row(&mut self, y: i64, spans: &mut Vec<Span>) {
        if y >= self.top && y <= self.bottom {
            spans.push(self.span);
        }
    }
}

/// Spans prepared beforehand as (row, first, last), ordered by row, in window coordinates.
pub(super) struct Prepared {
    spans: Vec<(i64, i64, i64)>,
    next: usize,
}

impl Prepared {
    /// Moves mask spans (image px) into a window at (`left`, `top`) of the given width and clips them.
    pub(super) fn new(spans: Vec<(i64, i64, i64)>, left: i64, top: i64, width: i64) -> Self {
        let spans = spans
            .into_iter()
            .map(|(row, first, last)| (row - top, (first - left).max(0), (last - left).min(width - 1)))
            .collect();
        Prepared { spans, next: 0 }
    }
}

impl Rows for Prepared {
    /// Rows must be asked for in ascending order.
    fn row(&mut self, y: i64, spans: &mut Vec<Span>) {
        while let Some((row, first, last)) = self.spans.get(self.next) {
            if *row > y {
                break;
            }
            if *row == y {
                spans.push((*first, *last));
            }
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_and_adjacent_spans_merge() {
        let mut spans = vec![(5, 9), (0, 2), (3, 3), (8, 12), (20, 19)];
        assert_eq!(merge(&mut spans), 12);
        assert_eq!(spans, vec![(0, 3), (5, 12)]);
        assert_eq!(common(&spans, &[(2, 6), (12, 30)]), 5);
    }
}
