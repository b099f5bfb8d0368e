//! Regions: rectangles, polygons, masks, points and codes, as the VOT toolkits write them.
//!
//! Text forms, one region per line: `x,y,w,h` is a rectangle; 6 or more numbers, an even count, are
//! the corners of a polygon; `m x,y,w,h,run,run,...` is a mask; one number is a code; two numbers are
//! a point. Any NaN makes the region unknown (code 0).

mod init_box;
mod mask;
mod parse;
mod read;

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

pub use init_box::siamrpn_init_box;
pub use mask::Mask;
pub use parse::RegionError;
pub(crate) use parse::mask_from_numbers;
pub(crate) use read::text;
pub use read::{format_regions, parse_init_box, parse_regions, read_init_box, read_regions};

/// Code of a frame without result or annotation.
pub const UNKNOWN: i32 = 0;
/// Code of a frame on which the tracker was initialised.
pub const INITIALIZATION: i32 = 1;
/// Code of a frame on which the tracker failed.
pub const FAILURE: i32 = 2;
/// Code of a ground-truth frame on which the target cannot be seen (same number as [`INITIALIZATION`],
/// which is only used in results).
pub const INVISIBLE: i32 = 1;

/// An axis-aligned box in px: left, top, width, height.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge, px.
    pub x: f64,
    /// Top edge, px.
    pub y: f64,
    /// Width, px.
    pub width: f64,
    /// Height, px.
    pub height: f64,
}

impl Rect {
    /// A box from left, top, width, height in px.
    pub fn new(x: f64, y: f64, width: f64, height: f64) -> Self {
        Rect { x, y, width, height }
    }

    /// Whether all four numbers are finite.
    pub fn is_finite(&self) -> bool {
        [self.x, self.y, self.width, self.height].iter().all(|v| v.is_finite())
    }

    /// The corners left-top, right-top, right-bottom, left-bottom, in px.
    pub fn corners(&self) -> [[f64; 2]; 4] {
        let (right, bottom) = (self.x + self.width, self.y + self.height);
        [[self.x, self.y], [right, self.y], [right, bottom], [self.x, bottom]]
    }

    /// Continuous centre (x + w/2, y + h/2), px.
    pub fn center(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}

/// A region of an image, or a code that stands in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Region {
    /// A code: [`UNKNOWN`], [`INITIALIZATION`], [`FAILURE`] or another number.
    Special(i32),
    /// An axis-aligned box.
    Rectangle(Rect),
    /// The corners of a polygon in order, px; at least three when parsed.
    Polygon(Vec<[f64; 2]>),
    /// A binary mask.
    Mask(Mask),
    /// A single point, px (toolkit 0.8 and later).
    Point([f64; 2]),
}

impl Region {
    /// A rectangle from left, top, width, height in px.
    pub fn rect(x: f64, y: f64, width: f64, height: f64) -> Self {
        Region::Rectangle(Rect::new(x, y, width, height))
    }

    /// Whether this is the given code.
    pub fn is_code(&self, code: i32) -> bool {
        matches!(self, Region::Special(found) if *found == code)
    }

    /// Whether this covers an area in principle: a rectangle, polygon or mask without NaN or infinity.
    pub fn is_shape(&self) -> bool {
        match self {
            Region::Rectangle(rect) => rect.is_finite(),
            Region::Polygon(points) => points.len() >= 3 && points.iter().flatten().all(|v| v.is_finite()),
            Region::Mask(_) => true,
            Region::Special(_) | Region::Point(_) => false,
        }
    }

    /// Whether there is no target, as the official Python toolkit asks: a code, a box or polygon without an area, a
    /// mask without a pixel.
    pub fn is_empty(&self) -> bool {
        !self.is_shape() || self.bounding_rect().is_none_or(|r| r.width <= 0.0 || r.height <= 0.0)
    }

    /// The axis-aligned box around the region, px: for polygons width = max x - min x (as libtrax
    /// converts), for masks the pixels that are set. `None` for codes, points and empty masks.
    pub fn bounding_rect(&self) -> Option<Rect> {
        match self {
            Region::Rectangle(rect) => Some(*rect),
            Region::Polygon(points) => {
                let first = *points.first()?;
                let (mut low, mut high) = (first, first);
                for point in points {
                    for axis in 0..2 {
                        low[axis] = low[axis].min(point[axis]);
                        high[axis] = high[axis].max(point[axis]);
                    }
                }
                Some(Rect::new(low[0], low[1], high[0] - low[0], high[1] - low[1]))
            }
            Region::Mask(mask) => mask.bounding_rect(),
            Region::Special(_) | Region::Point(_) => None,
        }
    }

    /// The text form with four decimals that TraX messages and MATLAB result files use.
    pub fn to_trax(&self) -> String {
        match self {
            Region::Rectangle(rect) => join([rect.x, rect.y, rect.width, rect.height], |v| format!("{v:.4}")),
            Region::Polygon(points) => join(points.iter().flatten().copied(), |v| format!("{v:.4}")),
            Region::Point(point) => join(*point, |v| format!("{v:.4}")),
            Region::Mask(_) | Region::Special(_) => self.to_string(),
        }
    }
}

/// Numbers joined by commas.
fn join(values: impl IntoIterator<Item = f64>, format: impl Fn(f64) -> String) -> String {
    let mut text = String::new();
    for value in values {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&format(value));
    }
    text
}

impl fmt::Display for Region {
    /// The VOT text form with the shortest numbers that read back to the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Region::Special(code) => write!(f, "{code}"),
            Region::Rectangle(rect) => write!(f, "{},{},{},{}", rect.x, rect.y, rect.width, rect.height),
            Region::Polygon(points) => f.write_str(&join(points.iter().flatten().copied(), |v| v.to_string())),
            Region::Point([x, y]) => write!(f, "{x},{y}"),
            Region::Mask(mask) => {
                let mut text = String::new();
                for run in &mask.rle {
                    write!(text, ",{run}")?;
                }
                write!(f, "m{},{},{},{}{text}", mask.x, mask.y, mask.width, mask.height)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygon_becomes_the_box_that_libtrax_sends() {
        let region = Region::parse("334.02,128.36,438.19,188.78,396.39,260.83,292.23,200.41").unwrap();
        let rect = region.bounding_rect().unwrap();
        assert!((rect.x - 292.23).abs() < 1e-9 && (rect.y - 128.36).abs() < 1e-9);
        assert!((rect.width - 145.96).abs() < 1e-9 && (rect.height - 132.47).abs() < 1e-9);
        assert_eq!(region.to_trax(), "334.0200,128.3600,438.1900,188.7800,396.3900,260.8300,292.2300,200.4100");
    }

    #[test]
    fn non_finite_regions_are_no_shapes() {
        assert!(!Region::rect(0.0, f64::NAN, 1.0, 1.0).is_shape());
        assert!(!Region::rect(0.0, f64::INFINITY, 1.0, 1.0).is_shape());
        assert!(!Region::Polygon(vec![[0.0, 0.0], [1.0, 1.0]]).is_shape());
        assert!(!Region::Special(UNKNOWN).is_shape());
        assert!(Region::rect(0.0, 0.0, 0.0, 0.0).is_shape());
    }
}
