//! Crop geometry: from a frame and a box to the exemplar and search crops.
//!
//! Around a target of w x h pixels lies a square of side s_z = sqrt((w + p)(h + p)), p = context * (w + h): the part of
//! the frame that becomes the exemplar. A crop of `size` pixels shows a square of side s_z * size / exemplar.
//!
//! Two published ways to cut it, which differ by up to a pixel and must not be mixed between training and tracking:
//!
//! * `siamfc` (SiamFC, HelloRicky123, MindSpore): both edges of the window are rounded to whole pixels, separately; the
//!   frame is padded with its integer-truncated mean colour; the patch is resized bilinearly. The patch may be one
//!   pixel off square; the scale comes from its height.
//! * `pysot`: a sub-pixel window, warped so that the centres of the corner pixels meet; the border has the unrounded
//!   mean colour.
//!
//! Boxes here are (cx, cy, w, h) in pixels with the origin at the left/top edge of pixel 0. The published formulas use
//! pixel indices, whose origin is the *centre* of pixel 0: half a pixel less.

use crate::image::{ImageError, Rgb};
use fast_image_resize as fir;
use schemas::build::CropSemantics;
use schemas::shard::ShardMeta;

/// Largest side of a crop window in frame pixels: more is a broken box, not a target.
const MAX_WINDOW: f64 = 1.0e6;

/// How crops are cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropSpec {
    /// Published way to cut.
    pub semantics: CropSemantics,
    /// Side of the exemplar in pixels; fixes the scale.
    pub exemplar_px: u32,
    /// Context amount, 0.5 everywhere.
    pub context_amount: f64,
}

impl CropSpec {
    /// The geometry a shard was cut with.
    #[must_use]
    pub fn of(meta: &ShardMeta) -> Self {
        Self { semantics: meta.semantics, exemplar_px: meta.exemplar_px, context_amount: meta.context_amount }
    }
}

/// A crop and how it relates to its frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Crop {
    /// The pixels, square.
    pub image: Rgb,
    /// Crop pixels per frame pixel.
    pub scale: f64,
    /// Share of the crop that is border fill, 0 to 1.
    pub pad: f64,
    /// The target in crop pixels (cx, cy, w, h).
    pub target: [f64; 4],
}

/// Why a crop could not be cut.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CropError {
    /// The box has a side that is not a positive number, or a centre that is not a number.
    #[error("box {0:?} (cx, cy, w, h) has no area or is not a number")]
    Box([f64; 4]),
    /// The box would need an absurdly large window.
    #[error(
        "box {target:?} (cx, cy, w, h) needs a window of {side:.0} px around it, the frame has {frame_w}x{frame_h}"
    )]
    Window {
        /// The box.
        target: [f64; 4],
        /// Side of the window in frame pixels.
        side: f64,
        /// Frame width.
        frame_w: usize,
        /// Frame height.
        frame_h: usize,
    },
    /// The pixels could not be made.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Side of the exemplar's square in frame pixels: sqrt((w + p)(h + p)) with p = `context_amount` * (w + h)
/// (SiamFC, section 3.1 of the paper, where the amount is 1/2 and p is given per side).
#[must_use]
pub fn context_side(w: f64, h: f64, context_amount: f64) -> f64 {
    let p = context_amount * (w + h);
    ((w + p) * (h + p)).sqrt()
}

/// Cuts the crop of `size_px` x `size_px` around a target; `mean` is the frame's channel mean.
///
/// # Errors
/// When the box is not a box, or needs a window far beyond the frame.
pub fn crop_target(
    frame: &Rgb,
    mean: [f64; 3],
    target: [f64; 4],
    size_px: u32,
    spec: &CropSpec,
) -> Result<Crop, CropError> {
    let [cx, cy, w, h] = target;
    if !(target.iter().all(|v| v.is_finite()) && w > 0.0 && h > 0.0) {
        return Err(CropError::Box(target));
    }
    let side = context_side(w, h, spec.context_amount) * f64::from(size_px) / f64::from(spec.exemplar_px);
    let far = |c: f64, n: usize| c < -MAX_WINDOW || c > n as f64 + MAX_WINDOW;
    // A window a hundred times the frame holds no picture; it would only cost memory.
    let largest = (100.0 * frame.width.max(frame.height) as f64).min(MAX_WINDOW);
    if !(side.is_finite() && side <= largest) || far(cx, frame.width) || far(cy, frame.height) {
        return Err(CropError::Window { target, side, frame_w: frame.width, frame_h: frame.height });
    }
    let centre = [cx - 0.5, cy - 0.5];
    match spec.semantics {
        CropSemantics::Siamfc => siamfc(frame, mean, centre, [w, h], side, size_px as usize),
        CropSemantics::Pysot => pysot(frame, mean, centre, [w, h], side, size_px as usize),
    }
}

/// Nearest whole number after adding 1e-6, so that halves go up.
fn round_up_half(v: f64) -> f64 {
    (v + 1e-6 + 0.5).floor()
}

/// The window of the `siamfc` semantics in whole pixels of the padded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Left, top, right, bottom padding.
    pub pads: [usize; 4],
    /// First and last column, first and last row, in the padded frame.
    pub cols: [usize; 2],
    /// See `cols`.
    pub rows: [usize; 2],
}

/// Edges of a window of `side` px around `centre` (pixel indices) in a frame of `size` (width, height).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by MAX_WINDOW and not negative")]
pub(crate) fn siamfc_window(size: [usize; 2], centre: [f64; 2], side: f64) -> Window {
    let axis = |c: f64, n: usize| {
        let low = c - (side - 1.0) / 2.0;
        let high = low + side - 1.0;
        let before = round_up_half((-low).max(0.0));
        let after = round_up_half((high - n as f64 + 1.0).max(0.0));
        let first = round_up_half(low + before).max(0.0);
        let last = round_up_half(high + before).min(n as f64 + before + after - 1.0).max(first);
        (before as usize, after as usize, first as usize, last as usize)
    };
    let (left, right, x0, x1) = axis(centre[0], size[0]);
    let (top, bottom, y0, y1) = axis(centre[1], size[1]);
    Window { pads: [left, top, right, bottom], cols: [x0, x1], rows: [y0, y1] }
}

fn siamfc(
    frame: &Rgb,
    mean: [f64; 3],
    centre: [f64; 2],
    wh: [f64; 2],
    side: f64,
    size: usize,
) -> Result<Crop, CropError> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a mean of bytes, truncated on purpose"
    )]
    let fill = mean.map(|m| m as u8);
    let window = siamfc_window([frame.width, frame.height], centre, side);
    let cols = window.cols[1] - window.cols[0] + 1;
    let rows = window.rows[1] - window.rows[0] + 1;
    // First column and row of the patch in frame pixels; negative inside the padding.
    let x0 = window.cols[0] as i64 - window.pads[0] as i64;
    let y0 = window.rows[0] as i64 - window.pads[1] as i64;
    let (patch, inside) = padded_patch(frame, x0, y0, cols, rows, fill);
    let image = if cols == size && rows == size { patch } else { resize(&patch, size, size)? };
    let scale = size as f64 / rows as f64;
    // The target keeps its place relative to the patch; both axes have the published, height-based scale.
    let (sx, sy) = (size as f64 / cols as f64, scale);
    let target = [(centre[0] + 0.5 - x0 as f64) * sx, (centre[1] + 0.5 - y0 as f64) * sy, wh[0] * scale, wh[1] * scale];
    Ok(Crop { image, scale, pad: 1.0 - inside as f64 / (cols * rows) as f64, target })
}

/// Copies a patch that may reach beyond the frame; returns it and how many of its pixels are the frame's.
fn padded_patch(frame: &Rgb, x0: i64, y0: i64, cols: usize, rows: usize, fill: [u8; 3]) -> (Rgb, usize) {
    let mut patch = Rgb::filled(cols, rows, fill);
    let clip = |start: i64, len: usize, n: usize| {
        let first = start.clamp(0, n as i64);
        let last = (start + len as i64).clamp(first, n as i64);
        (first as usize, (last - first) as usize, (first - start).max(0) as usize)
    };
    let (fx, width, px) = clip(x0, cols, frame.width);
    let (fy, height, py) = clip(y0, rows, frame.height);
    for row in 0..height {
        let from = 3 * ((fy + row) * frame.width + fx);
        let to = 3 * ((py + row) * cols + px);
        if let (Some(source), Some(target)) =
            (frame.data.get(from..from + 3 * width), patch.data.get_mut(to..to + 3 * width))
        {
            target.copy_from_slice(source);
        }
    }
    (patch, width * height)
}

/// PySOT's crop: the window [c - s/2, c + s/2] of pixel indices is mapped onto indices 0..size-1, so one crop pixel is
/// k = s / (size - 1) frame pixels and the resized part spans k * size, half a step beyond the window on each side.
fn pysot(
    frame: &Rgb,
    mean: [f64; 3],
    centre: [f64; 2],
    wh: [f64; 2],
    side: f64,
    size: usize,
) -> Result<Crop, CropError> {
    let k = side / (size as f64 - 1.0);
    let (x1, y1) = (centre[0] - side / 2.0, centre[1] - side / 2.0);
    let mut data = Vec::with_capacity(3 * size * size);
    let xs: Vec<(i64, f32)> = (0..size).map(|i| split(x1 + k * i as f64)).collect();
    let mut inside = 0usize;
    let fill = mean.map(|m| m as f32);
    let (width, height) = (frame.width as i64, frame.height as i64);
    let at = |x: i64, y: i64| -> [f32; 3] {
        if x < 0 || y < 0 || x >= width || y >= height {
            return fill;
        }
        frame.pixel(x as usize, y as usize).map(f32::from)
    };
    for j in 0..size {
        let (y, fy) = split(y1 + k * j as f64);
        for &(x, fx) in &xs {
            let (a, b, c, d) = (at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1));
            if x >= 0 && y >= 0 && x < width && y < height {
                inside += 1;
            }
            for ch in 0..3 {
                let top = a[ch] + (b[ch] - a[ch]) * fx;
                let bottom = c[ch] + (d[ch] - c[ch]) * fx;
                data.push((top + (bottom - top) * fy + 0.5).clamp(0.0, 255.0) as u8);
            }
        }
    }
    let image = Rgb::new(size, size, data)?;
    let scale = 1.0 / k;
    let middle = (size as f64 - 1.0) / 2.0 + 0.5;
    let pad = 1.0 - inside as f64 / (size * size) as f64;
    Ok(Crop { image, scale, pad, target: [middle, middle, wh[0] * scale, wh[1] * scale] })
}

/// Whole and fractional part, for bilinear interpolation.
#[expect(clippy::cast_possible_truncation, reason = "windows are bounded by MAX_WINDOW")]
fn split(v: f64) -> (i64, f32) {
    let floor = v.floor();
    (floor as i64, (v - floor) as f32)
}

/// Resizes bilinearly as OpenCV's INTER_LINEAR does: pixel centres at half coordinates, no smoothing when shrinking.
///
/// # Errors
/// When a side is zero.
pub fn resize(picture: &Rgb, width: usize, height: usize) -> Result<Rgb, ImageError> {
    if width == picture.width && height == picture.height {
        return Ok(picture.clone());
    }
    let shape = |_| ImageError::Shape { width, height, bytes: picture.data.len() };
    let source = fir::images::ImageRef::new(
        u32::try_from(picture.width).map_err(|_| ImageError::Encode("too wide".to_owned()))?,
        u32::try_from(picture.height).map_err(|_| ImageError::Encode("too high".to_owned()))?,
        &picture.data,
        fir::PixelType::U8x3,
    )
    .map_err(|e| ImageError::Damaged(e.to_string()))?;
    let mut target = fir::images::Image::new(
        u32::try_from(width).map_err(shape)?,
        u32::try_from(height).map_err(|_| ImageError::Shape { width, height, bytes: 0 })?,
        fir::PixelType::U8x3,
    );
    let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Interpolation(fir::FilterType::Bilinear));
    fir::Resizer::new().resize(&source, &mut target, &options).map_err(|e| ImageError::Encode(e.to_string()))?;
    Rgb::new(width, height, target.into_vec())
}
