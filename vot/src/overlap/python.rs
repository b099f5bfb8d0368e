//! The raster overlap of the official Python toolkit.

use super::scan::RoundedPolygon;
use super::spans::{Block, Nothing, Prepared, Rows, count};
use crate::region::{Mask, Region};

/// Coordinates are cut off here; the original runs out of memory long before.
const LIMIT: f32 = (1 << 20) as f32;

/// Inclusive pixel window: left, top, right, bottom.
type Window = [i64; 4];

/// A region after numpy's rounding (half to even, on f32).
enum Shape<'a> {
    Empty,
    Rectangle([i64; 4]),
    Polygon(Vec<(i64, i64)>),
    Mask(&'a Mask),
}

/// Overlap of two regions as `vot.region.calculate_overlap` of vot-toolkit gives it; `size` (width,
/// height) px bounds it to the pixels of the frame.
///
/// Rectangles have x, y, w and h rounded separately and cover round(x) .. round(x) + round(w) - 1.
/// A code (and a NaN region, which is code 0) is an empty shape at pixel (0, 0): overlap 0 with a real
/// region, 1 with another code. A union one pixel wide or high, or less, is 1 by definition. Without
/// bounds, rectangles are cut wrongly where the window begins at negative coordinates; this quirk of
/// the original is kept.
pub fn python_overlap(a: &Region, b: &Region, size: Option<(u32, u32)>) -> f64 {
    let (a, b) = (shape(a), shape(b));
    let (wa, wb) = (bounds(&a), bounds(&b));
    let union = [wa[0].min(wb[0]), wa[1].min(wb[1]), wa[2].max(wb[2]), wa[3].max(wb[3])];
    if union[0] >= union[2] || union[1] >= union[3] {
        return 1.0;
    }
    let window = match size {
        Some((width, height)) => {
            [union[0].max(0), union[1].max(0), union[2].min(i64::from(width) - 1), union[3].min(i64::from(height) - 1)]
        }
        None => union,
    };
    if window[0] >= window[2] || window[1] >= window[3] {
        return 0.0;
    }
    let height = window[3] - window[1] + 1;
    let (both, either) = count(rows(&a, window).as_mut(), rows(&b, window).as_mut(), height);
    if either > 0 { both as f64 / either as f64 } else { 0.0 }
}

fn round(value: f64) -> i64 {
    (value as f32).round_ties_even().clamp(-LIMIT, LIMIT) as i64
}

fn shape(region: &Region) -> Shape<'_> {
    if !region.is_shape() {
        return Shape::Empty;
    }
    match region {
        Region::Rectangle(r) => Shape::Rectangle([round(r.x), round(r.y), round(r.width), round(r.height)]),
        Region::Polygon(points) => Shape::Polygon(points.iter().map(|p| (round(p[0]), round(p[1]))).collect()),
        Region::Mask(mask) => Shape::Mask(mask),
        Region::Special(_) | Region::Point(_) => Shape::Empty,
    }
}

fn bounds(shape: &Shape<'_>) -> Window {
    match shape {
        Shape::Empty => [0; 4],
        Shape::Rectangle([x, y, w, h]) => [*x, *y, x + w - 1, y + h - 1],
        Shape::Polygon(points) => {
            points.iter().fold([i64::MAX, i64::MAX, i64::MIN, i64::MIN], |[l, t, r, b], (x, y)| {
                [l.min(*x), t.min(*y), r.max(*x), b.max(*y)]
            })
        }
        Shape::Mask(mask) => mask.pixel_bounds().unwrap_or_else(|| {
            let (x, y) = (i64::from(mask.x), i64::from(mask.y));
            [x, y, x, y]
        }),
    }
}

fn rows(shape: &Shape<'_>, window: Window) -> Box<dyn Rows> {
    let (width, height) = (window[2] - window[0] + 1, window[3] - window[1] + 1);
    match shape {
        Shape::Empty => Box::new(Nothing),
        Shape::Rectangle(rect) => match rectangle(*rect, window) {
            Some(block) => Box::new(block),
            None => Box::new(Nothing),
        },
        Shape::Polygon(points) => {
            Box::new(RoundedPolygon::new(points.iter().map(|(x, y)| (x - window[0], y - window[1])), width, height))
        }
        Shape::Mask(mask) => Box::new(Prepared::new(mask.spans(), window[0], window[1], width)),
    }
}

/// The pixels of a rectangle in a window. The right and bottom ends are compared with the window's
/// absolute ends although they are relative to its start, and negative ends count from the far side,
/// as Python slices do.
fn rectangle([x, y, w, h]: [i64; 4], window: Window) -> Option<Block> {
    let [left, top, right, bottom] = window;
    if x > right || x + w - 1 < left || y > bottom || y + h - 1 < top {
        return None;
    }
    let (first, last) = slice((x - left).max(0), right.min(x + w - 1 - left) + 1, right - left + 1);
    let (from, to) = slice((y - top).max(0), bottom.min(y + h - 1 - top) + 1, bottom - top + 1);
    Some(Block { top: from, bottom: to, span: (first, last) })
}

/// The inclusive range that the Python slice `start:stop` takes of `length` items; `start` >= 0.
fn slice(start: i64, stop: i64, length: i64) -> (i64, i64) {
    let stop = if stop < 0 { (stop + length).max(0) } else { stop.min(length) };
    (start.min(length), stop - 1)
}
