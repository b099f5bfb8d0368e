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

/// Patches above this many pixels are not cut out before they are resized: a target as large as an 8K frame would need
/// gigabytes.
const MAX_PATCH: usize = 1 << 24;

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
    let image = if cols * rows > MAX_PATCH {
        sampled_patch(frame, [x0, y0], [cols, rows], fill, size)?
    } else {
        let patch = padded_patch(frame, x0, y0, cols, rows, fill);
        if cols == size && rows == size { patch } else { resize(&patch, size, size)? }
    };
    let inside = clip(x0, cols, frame.width).1 * clip(y0, rows, frame.height).1;
    let scale = size as f64 / rows as f64;
    // The target keeps its place relative to the patch; both axes have the published, height-based scale.
    let (sx, sy) = (size as f64 / cols as f64, scale);
    let target = [(centre[0] + 0.5 - x0 as f64) * sx, (centre[1] + 0.5 - y0 as f64) * sy, wh[0] * scale, wh[1] * scale];
    Ok(Crop { image, scale, pad: 1.0 - inside as f64 / (cols * rows) as f64, target })
}

/// The part of `start .. start + len` that lies in `0 .. n`: its start, its length, and how far in it begins.
fn clip(start: i64, len: usize, n: usize) -> (usize, usize, usize) {
    let first = start.clamp(0, n as i64);
    let last = (start + len as i64).clamp(first, n as i64);
    (first as usize, (last - first) as usize, (first - start).max(0) as usize)
}

/// Copies a patch that may reach beyond the frame.
fn padded_patch(frame: &Rgb, x0: i64, y0: i64, cols: usize, rows: usize, fill: [u8; 3]) -> Rgb {
    let mut patch = Rgb::filled(cols, rows, fill);
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
    patch
}

/// The resized patch without the patch: bilinear, pixel centres at half coordinates, straight from the frame.
fn sampled_patch(frame: &Rgb, start: [i64; 2], len: [usize; 2], fill: [u8; 3], size: usize) -> Result<Rgb, ImageError> {
    let places = |axis: usize| -> Vec<(i64, f32)> {
        let step = len[axis] as f64 / size as f64;
        let place = |i: usize| ((i as f64 + 0.5) * step - 0.5).clamp(0.0, len[axis] as f64 - 1.0);
        (0..size).map(|i| split(place(i) + start[axis] as f64)).collect()
    };
    let (xs, ys) = (places(0), places(1));
    let at = |x: i64, y: i64| match (usize::try_from(x), usize::try_from(y)) {
        (Ok(x), Ok(y)) if x < frame.width && y < frame.height => frame.pixel(x, y),
        _ => fill,
    };
    let mut data = Vec::with_capacity(3 * size * size);
    for &(y, fy) in &ys {
        for &(x, fx) in &xs {
            let corners = [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)].map(|p| p.map(f32::from));
            data.extend(blend(&corners, fx, fy));
        }
    }
    Rgb::new(size, size, data)
}

/// Bilinear mean of the four pixels left/top, right/top, left/bottom, right/bottom, rounded.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
fn blend(corners: &[[f32; 3]; 4], fx: f32, fy: f32) -> [u8; 3] {
    let [a, b, c, d] = corners;
    [0, 1, 2].map(|ch| {
        let top = a[ch] + (b[ch] - a[ch]) * fx;
        let bottom = c[ch] + (d[ch] - c[ch]) * fx;
        (top + (bottom - top) * fy + 0.5).clamp(0.0, 255.0) as u8
    })
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
            let corners = [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)];
            if x >= 0 && y >= 0 && x < width && y < height {
                inside += 1;
            }
            data.extend(blend(&corners, fx, fy));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Rgb {
        let mut rng = crate::order::Rng::new(7);
        Rgb::new(width, height, (0..3 * width * height).map(|_| rng.next_u64() as u8).collect()).unwrap()
    }

    #[test]
    fn windows_have_the_published_edges() {
        // Worked out by hand from the reference's rounding rule, on a 320x240 frame, search 255.
        for (centre, wh, pads, cols, rows) in [
            ([100.3, 80.7], [40.0, 60.0], [0, 19, 0, 0], [1, 200], [0, 199]),
            ([20.0, 30.0], [50.0, 50.0], [80, 70, 0, 0], [0, 200], [0, 200]),
            ([160.0, 120.0], [64.0, 64.0], [0, 8, 0, 9], [32, 288], [0, 256]),
        ] {
            let side = context_side(wh[0], wh[1], 0.5) * 255.0 / 127.0;
            assert_eq!(siamfc_window([320, 240], centre, side), Window { pads, cols, rows });
        }
    }

    #[test]
    fn patches_can_be_sampled_instead_of_cut_out() {
        let frame = noise(90, 70);
        for (start, len) in [([-40, -20], [200, 199]), ([10, 5], [61, 60]), ([80, 60], [150, 150])] {
            let fill = [9, 99, 199];
            let cut = padded_patch(&frame, start[0], start[1], len[0], len[1], fill);
            let (a, b) = (resize(&cut, 50, 50).unwrap(), sampled_patch(&frame, start, len, fill, 50).unwrap());
            let worst = a.data.iter().zip(&b.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= 1, "{start:?}: {worst}");
        }
    }

    #[test]
    fn a_target_far_larger_than_its_frame_needs_no_memory() {
        let frame = noise(90, 70);
        let spec = CropSpec { semantics: CropSemantics::Siamfc, exemplar_px: 127, context_amount: 0.5 };
        let crop = crop_target(&frame, frame.channel_mean(), [45.0, 35.0, 1500.0, 1500.0], 352, &spec).unwrap();
        assert!(crop.pad > 0.999 && (crop.target[2] - 63.5).abs() < 0.1, "{} {:?}", crop.pad, crop.target);
    }
}
