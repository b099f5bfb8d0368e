//! Exact overlap of polygons: areas instead of pixels.

use super::trax::Bounds;
use crate::region::Region;

/// Overlap of the convex hulls of two regions by their areas, in px; `bounds` cuts both to a
/// rectangle first. NaN where one of them is a code or a point, or where nothing of either is left.
/// Rectangles have corners x .. x + w; masks count as the box around them. Source: MindSpore's
/// SiamRPN evaluation (shapely).
pub fn exact_overlap(a: &Region, b: &Region, bounds: Option<Bounds>) -> f64 {
    let (Some(mut a), Some(mut b)) = (hull(a), hull(b)) else {
        return f64::NAN;
    };
    if let Some(bounds) = bounds {
        let frame = [
            [bounds.left, bounds.top],
            [bounds.right, bounds.top],
            [bounds.right, bounds.bottom],
            [bounds.left, bounds.bottom],
        ];
        a = clip(&a, &frame);
        b = clip(&b, &frame);
    }
    let (area_a, area_b) = (polygon_area(&a), polygon_area(&b));
    let both = polygon_area(&clip(&a, &b)).min(area_a).min(area_b);
    let either = area_a + area_b - both;
    if either > 0.0 { both / either } else { f64::NAN }
}

/// Area of a simple polygon, px^2, whatever its direction (shoelace formula, taken about the first
/// corner so that large coordinates cost no precision).
pub fn polygon_area(points: &[[f64; 2]]) -> f64 {
    let Some(origin) = points.first() else { return 0.0 };
    let twice: f64 = points.windows(2).map(|pair| cross(*origin, pair[0], pair[1])).sum();
    twice.abs() / 2.0
}

/// The convex hull of points in ascending direction (positive area in a y-up frame), without corners
/// on its edges. Andrew's monotone chain.
pub fn convex_hull(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    sorted.dedup();
    if sorted.len() < 3 {
        return sorted;
    }
    let mut hull: Vec<[f64; 2]> = Vec::with_capacity(2 * sorted.len());
    let half = |points: &mut dyn Iterator<Item = [f64; 2]>, hull: &mut Vec<[f64; 2]>| {
        let start = hull.len();
        for point in points {
            while let [.., a, b] = hull[start..] {
                if cross(a, b, point) > 0.0 {
                    break;
                }
                hull.pop();
            }
            hull.push(point);
        }
        // The last point begins the other half.
        hull.pop();
    };
    half(&mut sorted.iter().copied(), &mut hull);
    half(&mut sorted.iter().rev().copied(), &mut hull);
    hull
}

/// Twice the signed area of the triangle a, b, c.
fn cross(a: [f64; 2], b: [f64; 2], c: [f64; 2]) -> f64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

fn hull(region: &Region) -> Option<Vec<[f64; 2]>> {
    if !region.is_shape() {
        return None;
    }
    match region {
        Region::Rectangle(rect) => Some(convex_hull(&rect.corners())),
        Region::Polygon(points) => Some(convex_hull(points)),
        Region::Mask(mask) => Some(convex_hull(&mask.bounding_rect()?.corners())),
        Region::Special(_) | Region::Point(_) => None,
    }
}

/// The part of a convex polygon inside another convex polygon of ascending direction
/// (Sutherland-Hodgman).
fn clip(subject: &[[f64; 2]], clipper: &[[f64; 2]]) -> Vec<[f64; 2]> {
    if clipper.len() < 3 {
        return Vec::new();
    }
    let mut current = subject.to_vec();
    for (index, start) in clipper.iter().enumerate() {
        let end = clipper[(index + 1) % clipper.len()];
        let Some(last) = current.last() else { break };
        let mut before = *last;
        let mut side_before = cross(*start, end, before);
        let mut next = Vec::with_capacity(current.len() + 1);
        for &point in &current {
            let side = cross(*start, end, point);
            if (side < 0.0) != (side_before < 0.0) {
                let along = side_before / (side_before - side);
                next.push([before[0] + along * (point[0] - before[0]), before[1] + along * (point[1] - before[1])]);
            }
            if side >= 0.0 {
                next.push(point);
            }
            (before, side_before) = (point, side);
        }
        current = next;
    }
    current
}
