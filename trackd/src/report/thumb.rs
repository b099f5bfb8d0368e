//! Thumbnails: the part of a frame around target and result as a JPEG, with both drawn over it as SVG.

use crate::frames::{Limits, folder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shards::crop::resize;
use shards::jpeg::encode;
use std::fmt::Write as _;
use vot::protocol::Trajectory;
use vot::{Rect, Region, Sequence};

/// Size of a thumbnail, px.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 180.0;
/// The window is so many times as large as what is drawn in it.
const ROOM: f64 = 2.0;
/// Smallest width of the window, px of the frame.
const LEAST: f64 = 120.0;
const QUALITY: u8 = 80;

/// A frame of a run as a self-contained `<svg>`: ground truth as a white line, the tracker's region in orange; where the
/// run has none on this frame (a failure), the newest before it, dashed. `None` where there is no image that can be read
/// or nothing to draw.
pub fn thumbnail(sequence: &Sequence, run: &Trajectory, frame: usize) -> Option<String> {
    let truth = sequence.groundtruth.get(frame)?;
    let newest = run.regions.iter().enumerate().take(frame + 1).rev().find(|(_, region)| region.is_shape());
    let (at, result) = newest.unzip();
    let picture = folder::read(sequence.frames.get(frame)?, Limits::default().max_pixels).ok()?;
    let size = (picture.width as f64, picture.height as f64);
    let [x, y, w, h] = window(&[Some(truth), result], size)?;
    let part = picture.part(whole(x), whole(y), whole(w), whole(h)).ok()?;
    // The whole part is shown, whatever its shape.
    let scale = (WIDTH / w).min(HEIGHT / h);
    let (across, down) = ((w * scale).round().max(1.0), (h * scale).round().max(1.0));
    let jpeg = encode(&resize(&part, whole(across), whole(down)).ok()?, QUALITY).ok()?;
    let mut out = format!(
        "<svg class=\"thumb\" viewBox=\"0 0 {across} {down}\" width=\"{across}\" height=\"{down}\" role=\"img\" \
         aria-label=\"frame {frame}\"><image width=\"{across}\" height=\"{down}\" \
         href=\"data:image/jpeg;base64,{}\"/>",
        STANDARD.encode(jpeg)
    );
    let place = |[px, py]: [f64; 2]| ((px - x) * scale, (py - y) * scale);
    let mut shape = |region: &Region, class: &str| {
        let corners: String = corners(region).into_iter().map(place).fold(String::new(), |mut text, (px, py)| {
            // Writing into a String cannot fail.
            _ = write!(text, "{px:.1},{py:.1} ");
            text
        });
        _ = write!(
            out,
            "<polygon class=\"halo\" points=\"{corners}\"/><polygon class=\"{class}\" points=\"{corners}\"/>"
        );
    };
    shape(truth, "truth");
    if let Some(result) = result {
        shape(result, if at == Some(frame) { "result" } else { "result old" });
    }
    out.push_str("</svg>");
    Some(out)
}

/// Whole pixels of a place within a frame.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a picture that exists")]
fn whole(value: f64) -> usize {
    value as usize
}

/// The corners of a region's outline; a mask counts as the box around it.
fn corners(region: &Region) -> Vec<[f64; 2]> {
    match region {
        Region::Polygon(points) => points.clone(),
        other => other.bounding_rect().map_or_else(Vec::new, |rect| rect.corners().to_vec()),
    }
}

/// The part of a frame of `size` to show, in whole pixels: around the regions, in the thumbnail's shape where the frame
/// is large enough.
fn window(regions: &[Option<&Region>], (width, height): (f64, f64)) -> Option<[f64; 4]> {
    let rects: Vec<Rect> = regions
        .iter()
        .flatten()
        .filter(|region| region.is_shape())
        .filter_map(|region| region.bounding_rect())
        .filter(Rect::is_finite)
        .collect();
    let first = *rects.first()?;
    let clamp = |x: f64, limit: f64| x.clamp(0.0, limit);
    // What lies outside of the frame does not make the window larger.
    let fold = |pick: fn(&Rect) -> f64, start: f64, join: fn(f64, f64) -> f64| rects.iter().map(pick).fold(start, join);
    let left = clamp(fold(|r| r.x, first.x, f64::min), width);
    let top = clamp(fold(|r| r.y, first.y, f64::min), height);
    let right = clamp(fold(|r| r.x + r.width, first.x, f64::max), width);
    let bottom = clamp(fold(|r| r.y + r.height, first.y, f64::max), height);
    let wanted = (ROOM * (right - left)).max(ROOM * (bottom - top) * WIDTH / HEIGHT).max(LEAST);
    let w = wanted.min(width).floor().max(1.0);
    let h = (wanted * HEIGHT / WIDTH).min(height).floor().max(1.0);
    let start = |low: f64, high: f64, side: f64, limit: f64| clamp((low + high - side) / 2.0, limit - side).floor();
    Some([start(left, right, w, width), start(top, bottom, h, height), w, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_regions_there_is_no_window() {
        assert_eq!(window(&[Some(&Region::Special(0)), None], (640.0, 480.0)), None);
        assert_eq!(window(&[Some(&Region::rect(f64::NAN, 0.0, 1.0, 1.0))], (640.0, 480.0)), None);
    }

    proptest! {
        #[test]
        fn the_window_lies_in_the_frame(
            x in -1e4..1e4f64, y in -1e4..1e4f64, w in 0.0..1e4f64, h in 0.0..1e4f64,
            width in 1u32..4000, height in 1u32..4000,
        ) {
            let size = (f64::from(width), f64::from(height));
            let regions = [Region::rect(x, y, w, h), Region::rect(10.0, 10.0, 20.0, 20.0)];
            let [l, t, a, b] = window(&[Some(&regions[0]), Some(&regions[1])], size).unwrap();
            prop_assert!(l >= 0.0 && t >= 0.0 && a >= 1.0 && b >= 1.0);
            prop_assert!(l + a <= size.0 && t + b <= size.1, "{l} {t} {a} {b} {size:?}");
        }
    }
}
