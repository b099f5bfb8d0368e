//! The overlap (intersection over union) of two regions, as each toolkit computes it.
//!
//! The official toolkits rasterise: they fill pixels and count them, each with its own rounding, so
//! that the same two boxes differ by 0.01 to 0.1 between engines when they are small. Three engines
//! exist here: [`python_overlap`] (vot-toolkit), [`trax_overlap`] (libtrax, used by the MATLAB toolkit
//! and PySOT, in its present and its legacy raster) and [`exact_overlap`] (polygon areas, MindSpore).
//! [`Dialect`] has the combination each toolkit uses for the failure test, accuracy and EAO.

mod exact;
mod python;
mod scan;
mod spans;
mod trax;

pub use exact::{convex_hull, exact_overlap, polygon_area};
pub use python::python_overlap;
pub use trax::{Bounds, TraxRaster, trax_overlap};

use crate::dialect::Dialect;
use crate::region::{Rect, Region};

impl Dialect {
    /// The overlap that decides whether a tracker has failed (it has where this is <= 0), for a frame
    /// of `size` (width, height) px. NaN where the toolkit does not define it.
    ///
    /// Python bounds to pixels 0..W-1; MATLAB to `[W H] - 1` with the present raster in every year;
    /// PySOT to (W, H); MindSpore takes exact areas without bounds.
    pub fn failure_overlap(self, result: &Region, truth: &Region, size: (u32, u32)) -> f64 {
        match self {
            Dialect::VotPython => python_overlap(result, truth, Some(size)),
            Dialect::VotMatlab2015 | Dialect::VotMatlab => {
                trax_overlap(result, truth, Some(Bounds::last_pixel(size)), TraxRaster::Matlab)
            }
            Dialect::Pysot => trax_overlap(result, truth, Some(Bounds::frame(size)), TraxRaster::Pysot),
            Dialect::Mindspore => exact_overlap(result, truth, None),
        }
    }

    /// The overlap that enters accuracy, for a frame of `size` (width, height) px. NaN for codes,
    /// except in the Python toolkit (see [`python_overlap`]).
    ///
    /// MATLAB and PySOT bound to (0, 0, W, H) here, one pixel more than for EAO, in every year;
    /// MindSpore clips exact areas to `[0, W] x [0, H]`.
    pub fn accuracy_overlap(self, result: &Region, truth: &Region, size: (u32, u32)) -> f64 {
        let frame = Some(Bounds::frame(size));
        match self {
            Dialect::VotPython => python_overlap(result, truth, Some(size)),
            Dialect::VotMatlab2015 => trax_overlap(result, truth, frame, TraxRaster::MatlabLegacy),
            Dialect::VotMatlab => trax_overlap(result, truth, frame, TraxRaster::Matlab),
            Dialect::Pysot => trax_overlap(result, truth, frame, TraxRaster::Pysot),
            Dialect::Mindspore => exact_overlap(result, truth, frame),
        }
    }

    /// The overlap that enters EAO, for a frame of `size` (width, height) px. NaN for codes, except
    /// in the Python toolkit (see [`python_overlap`]).
    ///
    /// MATLAB 2013 to 2015: legacy raster without bounds; MATLAB 2016+ and PySOT: bounded to
    /// (0, 0, W-1, H-1); Python and MindSpore as for accuracy.
    pub fn eao_overlap(self, result: &Region, truth: &Region, size: (u32, u32)) -> f64 {
        let inside = Some(Bounds::last_pixel(size));
        match self {
            Dialect::VotPython | Dialect::Mindspore => self.accuracy_overlap(result, truth, size),
            Dialect::VotMatlab2015 => trax_overlap(result, truth, None, TraxRaster::MatlabLegacy),
            Dialect::VotMatlab => trax_overlap(result, truth, inside, TraxRaster::Matlab),
            Dialect::Pysot => trax_overlap(result, truth, inside, TraxRaster::Pysot),
        }
    }
}

/// Intersection over union of two boxes with continuous edges, 0 where the union is empty.
pub fn iou(a: &Rect, b: &Rect) -> f64 {
    let side = |a0: f64, a1: f64, b0: f64, b1: f64| (a1.min(b1) - a0.max(b0)).max(0.0);
    let inner = side(a.x, a.x + a.width, b.x, b.x + b.width) * side(a.y, a.y + a.height, b.y, b.y + b.height);
    let area = |r: &Rect| r.width.max(0.0) * r.height.max(0.0);
    let outer = area(a) + area(b) - inner;
    if outer > 0.0 { inner / outer } else { 0.0 }
}

#[cfg(test)]
mod tests;
