//! The raster overlap of libtrax, which the MATLAB toolkit and PySOT use.

use super::scan::{LegacyPolygon, RoundedPolygon};
use super::spans::{Prepared, Rows, count};
use crate::region::{Mask, Region};

/// Coordinates are cut off here; the original runs out of memory long before.
const LIMIT: f32 = (1 << 20) as f32;

/// A rectangle in image px that regions are limited to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Left limit, px.
    pub left: f64,
    /// Top limit, px.
    pub top: f64,
    /// Right limit, px.
    pub right: f64,
    /// Bottom limit, px.
    pub bottom: f64,
}

impl Bounds {
    /// (0, 0, W, H).
    pub fn frame(size: (u32, u32)) -> Self {
        Bounds { left: 0.0, top: 0.0, right: f64::from(size.0), bottom: f64::from(size.1) }
    }

    /// (0, 0, W - 1, H - 1).
    pub fn last_pixel(size: (u32, u32)) -> Self {
        let frame = Bounds::frame(size);
        Bounds { right: frame.right - 1.0, bottom: frame.bottom - 1.0, ..frame }
    }
}

/// How libtrax is used; they differ in what a rectangle becomes and in the raster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraxRaster {
    /// libtrax called directly with rectangles (`trax_region_overlap`): corners x .. x + w - 1.
    Direct,
    /// libtrax called directly with its legacy flag: legacy raster, corners x .. x + w.
    DirectLegacy,
    /// MATLAB toolkit 2016+: rectangles are turned into polygons with corners x .. x + w - 1.
    Matlab,
    /// MATLAB toolkit with `legacy_rasterization` (2013 to 2015): legacy raster, but the toolkit makes the
    /// same corners x .. x + w - 1 of rectangles as in [`TraxRaster::Matlab`].
    MatlabLegacy,
    /// PySOT: an older copy of the raster (horizontal edges are left out), and corners x .. x + w, so
    /// boxes are one pixel larger.
    Pysot,
}

impl TraxRaster {
    fn is_legacy(self) -> bool {
        matches!(self, TraxRaster::DirectLegacy | TraxRaster::MatlabLegacy)
    }
}

/// Left, top, right, bottom, f32 as in the original.
type Edges = [f32; 4];

/// A region as corners (f32) or a mask, with its bounds.
enum Shape<'a> {
    Polygon(Vec<(f32, f32)>, Edges),
    Mask(&'a Mask, Edges),
}

/// Overlap of two regions as libtrax computes it, NaN where one of them is a code, a point or an
/// empty mask. `None` = unbounded.
///
/// The window spans both regions' bounds (rounded outward in the present raster) after these are
/// clipped to `bounds`; the overlap is 0 where the bounds do not meet or differ in area by more than
/// 1e10. Corners are shifted into the window and then rounded, half away from zero. The value has f32
/// precision.
pub fn trax_overlap(a: &Region, b: &Region, bounds: Option<Bounds>, raster: TraxRaster) -> f64 {
    let (Some(a), Some(b)) = (shape(a, raster), shape(b, raster)) else {
        return f64::NAN;
    };
    let legacy = raster.is_legacy();
    let limit = bounds.map_or([f32::NEG_INFINITY, f32::NEG_INFINITY, f32::INFINITY, f32::INFINITY], |b| {
        [b.left as f32, b.top as f32, b.right as f32, b.bottom as f32]
    });
    let (ea, eb) = (clip(edges(&a), limit, legacy), clip(edges(&b), limit, legacy));
    // The window begins at whole pixels: the legacy bounds are not rounded but cut towards zero here.
    let (left, top) = (ea[0].min(eb[0]) as i64, ea[1].min(eb[1]) as i64);
    let width = (ea[2].max(eb[2]) - left as f32) as i64 + 1;
    let height = (ea[3].max(eb[3]) - top as f32) as i64 + 1;
    let (area_a, area_b) = (f64::from(area(ea)), f64::from(area(eb)));
    if area_a / area_b < 1e-10 || area_b / area_a < 1e-10 || width < 1 || height < 1 {
        return 0.0;
    }
    if !meet(ea, eb) {
        return 0.0;
    }
    let rows = |shape| rows(shape, (left, top), (width, height), raster);
    let (both, either) = count(rows(&a).as_mut(), rows(&b).as_mut(), height);
    f64::from(both as f32 / either as f32)
}

fn shape(region: &Region, raster: TraxRaster) -> Option<Shape<'_>> {
    if !region.is_shape() {
        return None;
    }
    let number = |value: f64| (value as f32).clamp(-LIMIT, LIMIT);
    match region {
        Region::Rectangle(rect) => {
            let (x, y) = (number(rect.x), number(rect.y));
            let less = match raster {
                TraxRaster::Direct | TraxRaster::Matlab | TraxRaster::MatlabLegacy => 1.0,
                TraxRaster::DirectLegacy | TraxRaster::Pysot => 0.0,
            };
            let right = x + number(rect.width) - less;
            let bottom = y + number(rect.height) - less;
            let points = vec![(x, y), (right, y), (right, bottom), (x, bottom)];
            let edges = match raster {
                TraxRaster::Direct | TraxRaster::DirectLegacy => [x, y, right, bottom],
                _ => around(&points),
            };
            Some(Shape::Polygon(points, edges))
        }
        Region::Polygon(corners) => {
            let points: Vec<_> = corners.iter().map(|p| (number(p[0]), number(p[1]))).collect();
            let edges = around(&points);
            Some(Shape::Polygon(points, edges))
        }
        Region::Mask(mask) => {
            let edges = mask.pixel_bounds()?.map(|edge| edge as f32);
            Some(Shape::Mask(mask, edges))
        }
        Region::Special(_) | Region::Point(_) => None,
    }
}

fn around(points: &[(f32, f32)]) -> Edges {
    points.iter().fold([f32::MAX, f32::MAX, f32::MIN, f32::MIN], |[l, t, r, b], (x, y)| {
        [l.min(*x), t.min(*y), r.max(*x), b.max(*y)]
    })
}

fn edges(shape: &Shape<'_>) -> Edges {
    match shape {
        Shape::Polygon(_, edges) | Shape::Mask(_, edges) => *edges,
    }
}

fn clip([l, t, r, b]: Edges, limit: Edges, legacy: bool) -> Edges {
    let [l, t, r, b] = if legacy { [l, t, r, b] } else { [l.floor(), t.floor(), r.ceil(), b.ceil()] };
    [l.max(limit[0]), t.max(limit[1]), r.min(limit[2]), b.min(limit[3])]
}

fn area([l, t, r, b]: Edges) -> f32 {
    (r - l) * (b - t)
}

/// Whether the bounds' own continuous overlap is not 0, in the original's arithmetic: two negative
/// sides count as meeting, 0/0 too.
fn meet(a: Edges, b: Edges) -> bool {
    let inner = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let overlap = inner / (area(a) + area(b) - inner);
    overlap > 0.0 || overlap.is_nan()
}

fn rows(shape: &Shape<'_>, (left, top): (i64, i64), (width, height): (i64, i64), raster: TraxRaster) -> Box<dyn Rows> {
    match shape {
        Shape::Mask(mask, _) => Box::new(Prepared::new(mask.spans(), left, top, width)),
        Shape::Polygon(points, _) => {
            let shifted = points.iter().map(|(x, y)| (x - left as f32, y - top as f32));
            if raster.is_legacy() {
                Box::new(LegacyPolygon::new(shifted.collect(), width))
            } else {
                let rounded = shifted.map(|(x, y)| (round(x), round(y)));
                match raster {
                    TraxRaster::Pysot => Box::new(RoundedPolygon::older(rounded, width, height)),
                    _ => Box::new(RoundedPolygon::new(rounded, width, height)),
                }
            }
        }
    }
}

/// Half away from zero, by adding a half in f64 and cutting, as the original does.
fn round(value: f32) -> i64 {
    let value = f64::from(value);
    (if value >= 0.0 { value + 0.5 } else { value - 0.5 }) as i64
}
