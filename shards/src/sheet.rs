//! A contact sheet: pairs of template and search crop with the target's box, as one picture.

use crate::crop::resize;
use crate::image::{ImageError, Rgb};
use crate::jpeg::{self, Limits};
use crate::plan::{Plan, PlanError, Tracks};
use crate::reader::{Dataset, ReadError};
use schemas::train::{DataConfig, EpochUnit};
use std::io;
use std::path::{Path, PathBuf};

/// Why no sheet could be drawn.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// The dataset cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There are no pairs.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A picture is damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The file cannot be written.
    #[error("could not write {path}: {message}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

const SEARCH_PX: usize = 176;
const TEMPLATE_PX: usize = 72;
const GAP: usize = 6;
const MARGIN: usize = 12;
const PAPER: [u8; 3] = [245, 245, 242];
const TEMPLATE_LINE: [u8; 3] = [0, 120, 215];
const SEARCH_LINE: [u8; 3] = [0, 170, 60];

/// Draws a rectangle's outline, `thick` pixels wide, clipped to the picture. The rectangle is (x, y, w, h) in pixels
/// from the left/top edge.
pub fn draw_box(picture: &mut Rgb, rect: [f64; 4], thick: usize, colour: [u8; 3]) {
    let [x, y, w, h] = rect;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
    let clamp = |v: f64, n: usize| v.round().clamp(0.0, n as f64) as usize;
    let (x0, x1) = (clamp(x, picture.width), clamp(x + w, picture.width));
    let (y0, y1) = (clamp(y, picture.height), clamp(y + h, picture.height));
    for row in y0..y1 {
        for col in x0..x1 {
            let edge = col < x0 + thick || col + thick >= x1 || row < y0 + thick || row + thick >= y1;
            if edge {
                let at = 3 * (row * picture.width + col);
                if let Some(pixel) = picture.data.get_mut(at..at + 3) {
                    pixel.copy_from_slice(&colour);
                }
            }
        }
    }
}

/// Copies `source` into `target` with its left/top corner at (`x`, `y`), clipped.
pub fn paste(target: &mut Rgb, source: &Rgb, x: usize, y: usize) {
    let width = source.width.min(target.width.saturating_sub(x));
    for row in 0..source.height.min(target.height.saturating_sub(y)) {
        let (from, to) = (3 * row * source.width, 3 * ((y + row) * target.width + x));
        if let (Some(s), Some(t)) = (source.data.get(from..from + 3 * width), target.data.get_mut(to..to + 3 * width)) {
            t.copy_from_slice(s);
        }
    }
}

/// Writes a picture as PNG.
///
/// # Errors
/// When the file cannot be written.
pub fn write_png(path: &Path, picture: &Rgb) -> Result<(), SheetError> {
    let failed = |message: String| SheetError::Write { path: path.to_owned(), message };
    let side = |n: usize| u32::try_from(n).map_err(|e| failed(e.to_string()));
    let mut bytes = Vec::new();
    image::write_buffer_with_format(
        &mut io::Cursor::new(&mut bytes),
        &picture.data,
        side(picture.width)?,
        side(picture.height)?,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .map_err(|e| failed(e.to_string()))?;
    crate::writer::write_atomic(path, &bytes).map_err(|e| failed(e.to_string()))
}

/// Draws `pairs` random pairs of the dataset: the template with its exemplar's target in blue, beside it the search crop
/// of another frame of the same track with its target in green.
///
/// # Errors
/// When the dataset has no pairs or a row is damaged.
pub fn sheet(dataset: &Dataset, pairs: usize, seed: u64) -> Result<Rgb, SheetError> {
    let tracks = Tracks::read(dataset, 0)?;
    let config = DataConfig { epoch_unit: EpochUnit::Track, same_frame: true, ..DataConfig::default() };
    let plan = Plan::new(&tracks, seed, &config, 1)?;
    let pairs = pairs.clamp(1, 400);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 400 pairs")]
    let columns = ((pairs as f64 * 0.75).sqrt().ceil() as usize).clamp(1, 8);
    let rows = pairs.div_ceil(columns);
    let (cell_w, cell_h) = (TEMPLATE_PX + GAP + SEARCH_PX + 2 * MARGIN, SEARCH_PX + 2 * MARGIN);
    let mut page = Rgb::filled(columns * cell_w + MARGIN, rows * cell_h + MARGIN, PAPER);
    for number in 0..pairs {
        let pair = plan.pair(0, number as u64, 0);
        let (a, b) =
            (dataset.row(pair.template.shard, pair.template.row)?, dataset.row(pair.search.shard, pair.search.row)?);
        let (x, y) = (MARGIN + (number % columns) * cell_w, MARGIN + (number / columns) * cell_h);
        for (bytes, bbox, side, left, colour) in [
            (a.template(), a.bbox(), TEMPLATE_PX, x, TEMPLATE_LINE),
            (b.search(), b.bbox(), SEARCH_PX, x + TEMPLATE_PX + GAP, SEARCH_LINE),
        ] {
            let picture = jpeg::decode(bytes, &Limits::default())?;
            let zoom = side as f64 / picture.width as f64;
            let mut small = resize(&picture, side, side)?;
            let [cx, cy, w, h] = bbox.map(|v| f64::from(v) * zoom);
            // The template shows the same target in its centre, at the same scale.
            let (cx, cy) = if side == TEMPLATE_PX { (side as f64 / 2.0, side as f64 / 2.0) } else { (cx, cy) };
            draw_box(&mut small, [cx - w / 2.0, cy - h / 2.0, w, h], 1, colour);
            paste(&mut page, &small, left, y + (SEARCH_PX - side) / 2);
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_outlines_clipped_to_the_picture() {
        let mut picture = Rgb::filled(10, 8, [0; 3]);
        draw_box(&mut picture, [2.0, 1.0, 5.0, 4.0], 1, [9, 9, 9]);
        assert_eq!(picture.pixel(2, 1), [9; 3]);
        assert_eq!(picture.pixel(6, 4), [9; 3]);
        assert_eq!(picture.pixel(4, 2), [0; 3]);
        assert_eq!(picture.pixel(7, 1), [0; 3]);
        draw_box(&mut picture, [-50.0, -50.0, 500.0, 500.0], 1, [7, 7, 7]);
        assert_eq!(picture.pixel(0, 7), [7; 3]);
        draw_box(&mut picture, [f64::NAN, 0.0, 1.0, 1.0], 1, [7, 7, 7]);
    }
}
