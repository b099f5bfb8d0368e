//! From the stored crops of a pair to the network's two images: a pure function of the pixels, the configuration and
//! the pair's key.
//!
//! Units: pixels of the search image, origin at its left/top edge; the target is centre form.

mod pixels;

use crate::augment::pixels::{Blur, blur, flip, gray, shift_colour};
use schemas::train::AugmentConfig;
use shards::crop::resize;
use shards::image::Rgb;
use shards::order::{Rng, key};

/// Principal axes of natural images' colours on 0 to 255, one row per channel R, G, B (PySOT's constants).
const COLOUR_AXES: [[f64; 3]; 3] = [[-0.559, 0.981, -0.419], [1.721, 0.199, -1.830], [4.645, 4.737, 4.883]];

/// Smallest and largest side of the blur's kernel, both odd (PySOT).
const BLUR_SIDES: (u64, u64) = (5, 45);

/// Why an image cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AugmentError {
    /// The stored crop is smaller than the image that is to be cut from it.
    #[error("{what} crop is {width}x{height} px, at least {needed} px are needed")]
    Small {
        /// Template or search.
        what: &'static str,
        /// Width of the crop.
        width: usize,
        /// Height of the crop.
        height: usize,
        /// Least side.
        needed: usize,
    },
    /// The target box is no box.
    #[error("target box {0:?} is not finite or has no area")]
    Target([f64; 4]),
    /// Cutting failed.
    #[error("cutting the {what} image failed: {reason}")]
    Cut {
        /// Template or search.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// Sides of the network's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// Template image (127).
    pub template: usize,
    /// Search image (255).
    pub search: usize,
}

/// A pair as the network sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Template image, RGB.
    pub template: Rgb,
    /// Search image, RGB.
    pub search: Rgb,
    /// Target in the search image: centre form, pixels from the image's centre.
    pub target: [f64; 4],
}

/// Every random number of a pair, always drawn in the same order, so that switching one augmentation off leaves the
/// others as they are.
#[derive(Debug, Clone, PartialEq)]
struct Draws {
    gray: bool,
    flip: bool,
    stretch: [f64; 2],
    shift: [i64; 2],
    template_stretch: [f64; 2],
    template_shift: [i64; 2],
    template_colour: Option<[f64; 3]>,
    search_colour: Option<[f64; 3]>,
    blur: Option<Blur>,
}

impl Draws {
    fn new(aug_key: u64, cfg: &AugmentConfig) -> Self {
        let mut rng = Rng::new(key(&[aug_key, 0x61_7567]));
        let gray = rng.uniform() < cfg.gray;
        let flip = rng.uniform() < cfg.flip;
        let stretch = [(); 2].map(|()| rng.range(1.0 - cfg.stretch, 1.0 + cfg.stretch));
        let shift = [(); 2].map(|()| whole(&mut rng, cfg.shift));
        let template_stretch = [(); 2].map(|()| rng.range(1.0 - cfg.template_stretch, 1.0 + cfg.template_stretch));
        let template_shift = [(); 2].map(|()| whole(&mut rng, cfg.template_shift));
        let mut colour = || {
            let on = rng.uniform() < cfg.colour;
            let along = [(); 3].map(|()| rng.normal());
            on.then(|| COLOUR_AXES.map(|axes| -axes.iter().zip(along).map(|(m, n)| m * n).sum::<f64>()))
        };
        let (template_colour, search_colour) = (colour(), colour());
        let on = rng.uniform() < cfg.blur;
        let steps = (BLUR_SIDES.1 - BLUR_SIDES.0) / 2 + 1;
        #[expect(clippy::cast_possible_truncation, reason = "at most 45")]
        let kernel = Blur { side: (BLUR_SIDES.0 + 2 * rng.below(steps)) as usize, vertical: rng.uniform() };
        let blur = on.then_some(kernel);
        Self { gray, flip, stretch, shift, template_stretch, template_shift, template_colour, search_colour, blur }
    }
}

/// A whole number, uniform in +- `reach`.
fn whole(rng: &mut Rng, reach: u32) -> i64 {
    let reach = i64::from(reach);
    rng.below(2 * reach.unsigned_abs() + 1).cast_signed() - reach
}

/// Makes the network's pair from stored crops.
///
/// `target` is the target in the stored search crop: centre form, pixels from the crop's left/top edge. In order:
/// stretch and shift of both images, mirroring, gray (BT.601 weights), colour along the principal axes, motion blur.
///
/// # Errors
/// [`AugmentError`] when a crop is smaller than the configuration needs or the target is no box.
pub fn pair(
    template: &Rgb,
    search: &Rgb,
    target: [f64; 4],
    sides: Sides,
    cfg: &AugmentConfig,
    aug_key: u64,
) -> Result<Pair, AugmentError> {
    let [cx, cy, w, h] = target;
    if !target.iter().all(|v| v.is_finite()) || w <= 0.0 || h <= 0.0 {
        return Err(AugmentError::Target(target));
    }
    let draws = Draws::new(aug_key, cfg);
    let template_window = Window {
        what: "template",
        side: sides.template,
        needed: cfg.needed_template_px(side(sides.template)) as usize,
        reach: cfg.template_shift as usize,
        stretch: draws.template_stretch,
        shift: draws.template_shift,
    };
    let search_window = Window {
        what: "search",
        side: sides.search,
        needed: cfg.needed_search_px(side(sides.search)) as usize,
        reach: cfg.shift as usize,
        stretch: draws.stretch,
        shift: draws.shift,
    };
    let (mut z, _) = template_window.cut(template)?;
    let (mut x, [map_x, map_y]) = search_window.cut(search)?;
    let half = sides.search as f64 / 2.0;
    let mut target = [map_x.apply(cx) - half, map_y.apply(cy) - half, w * map_x.scale, h * map_y.scale];
    if draws.flip {
        flip(&mut z);
        flip(&mut x);
        target[0] = -target[0];
    }
    if draws.gray {
        gray(&mut z);
        gray(&mut x);
    }
    for (image, colour) in [(&mut z, draws.template_colour), (&mut x, draws.search_colour)] {
        if let Some(by) = colour {
            shift_colour(image, by);
        }
    }
    if let Some(kernel) = draws.blur {
        blur(&mut x, kernel);
    }
    Ok(Pair { template: z, search: x, target })
}

#[expect(clippy::cast_possible_truncation, reason = "sides of images are checked against u32 configuration values")]
fn side(px: usize) -> u32 {
    px as u32
}

/// How one image is cut from its crop.
struct Window {
    what: &'static str,
    /// Side of the image.
    side: usize,
    /// Side of the crop that the augmentation needs at most.
    needed: usize,
    /// Largest shift.
    reach: usize,
    stretch: [f64; 2],
    shift: [i64; 2],
}

/// Crop coordinates to image coordinates along one axis: `scale * x + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    scale: f64,
    offset: f64,
}

impl Axis {
    fn apply(self, x: f64) -> f64 {
        self.scale * x + self.offset
    }
}

impl Window {
    /// Stretches the middle of the crop, then cuts the image from it, shifted from its middle. The realised scale
    /// (whole pixels) is answered, as in the reference.
    fn cut(&self, crop: &Rgb) -> Result<(Rgb, [Axis; 2]), AugmentError> {
        let (width, height) = (crop.width, crop.height);
        if width.min(height) < self.needed {
            return Err(AugmentError::Small { what: self.what, width, height, needed: self.needed });
        }
        let still = self.stretch == [1.0, 1.0];
        // Only the middle that can be seen is stretched; its offset is whole, so no pixel moves.
        let middle = [width, height].map(|n| if still { n } else { self.needed + (n - self.needed) % 2 });
        let before = [(width - middle[0]) / 2, (height - middle[1]) / 2];
        let least = (self.side + 2 * self.reach) as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides are small and positive")]
        let stretched = [0, 1]
            .map(|i| if still { middle[i] } else { (middle[i] as f64 * self.stretch[i]).round().max(least) as usize });
        let start = [0, 1].map(|i| {
            let room = (stretched[i] - self.side).cast_signed() as i64;
            (room / 2 + self.shift[i]).clamp(0, room).unsigned_abs() as usize
        });
        let make = || {
            let cut = |image: &Rgb| image.part(start[0], start[1], self.side, self.side);
            if still {
                cut(crop)
            } else if middle == [width, height] {
                cut(&resize(crop, stretched[0], stretched[1])?)
            } else {
                let middle = crop.part(before[0], before[1], middle[0], middle[1])?;
                cut(&resize(&middle, stretched[0], stretched[1])?)
            }
        };
        let image = make().map_err(|e| AugmentError::Cut { what: self.what, reason: e.to_string() })?;
        let axes = [0, 1].map(|i| {
            let scale = stretched[i] as f64 / middle[i] as f64;
            Axis { scale, offset: -scale * before[i] as f64 - start[i] as f64 }
        });
        Ok((image, axes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIDES: Sides = Sides { template: 127, search: 255 };

    fn none() -> AugmentConfig {
        AugmentConfig { gray: 0.0, stretch: 0.0, shift: 0, ..AugmentConfig::default() }
    }

    /// A crop with a bright square on dark ground.
    fn square(side: usize, cx: usize, cy: usize, half: usize) -> Rgb {
        let mut image = Rgb::filled(side, side, [10, 20, 30]);
        for y in cy - half..cy + half {
            for x in cx - half..cx + half {
                let at = 3 * (y * side + x);
                image.data[at..at + 3].copy_from_slice(&[250, 240, 230]);
            }
        }
        image
    }

    /// Centre form of the bright pixels, from the image's centre.
    fn bright(image: &Rgb) -> [f64; 4] {
        let (mut x0, mut y0, mut x1, mut y1) = (usize::MAX, usize::MAX, 0, 0);
        for y in 0..image.height {
            for x in 0..image.width {
                if image.pixel(x, y)[0] > 130 {
                    (x0, y0, x1, y1) = (x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1));
                }
            }
        }
        let half = image.width as f64 / 2.0;
        [(x0 + x1) as f64 / 2.0 - half, (y0 + y1) as f64 / 2.0 - half, (x1 - x0) as f64, (y1 - y0) as f64]
    }

    #[test]
    fn without_augmentation_the_centres_are_cut() {
        let (z, x) = (square(144, 72, 72, 20), square(352, 176, 176, 20));
        let out = pair(&z, &x, [176.0, 176.0, 40.0, 40.0], SIDES, &none(), 1).unwrap();
        assert_eq!((out.template.width, out.search.width), (127, 255));
        // 352 - 255 is odd: the window starts at 48 of 48.5, so the target lies half a pixel right of the centre.
        assert_eq!(out.target, [0.5, 0.5, 40.0, 40.0]);
        assert_eq!(bright(&out.search), [0.5, 0.5, 40.0, 40.0]);
    }

    #[test]
    fn gray_pairs_are_gray_by_luma_and_rare() {
        let cfg = AugmentConfig { gray: 0.25, ..none() };
        let (z, x) = (square(144, 72, 72, 20), square(352, 176, 176, 20));
        let mut count = 0;
        for k in 0..400 {
            let out = pair(&z, &x, [176.0, 176.0, 40.0, 40.0], SIDES, &cfg, k).unwrap();
            let [r, g, b] = out.search.pixel(0, 0);
            if r == g && g == b {
                // 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 18.15
                assert_eq!((r, out.template.pixel(0, 0)[0]), (18, 18));
                count += 1;
            }
        }
        assert!((70..=130).contains(&count), "{count} of 400");
    }

    #[test]
    fn small_crops_and_bad_targets_are_refused() {
        let cfg = AugmentConfig::default();
        let (z, x) = (Rgb::filled(144, 144, [0; 3]), Rgb::filled(328, 328, [0; 3]));
        let e = pair(&z, &x, [164.0, 164.0, 40.0, 40.0], SIDES, &cfg, 1).unwrap_err();
        assert!(e.to_string().contains("328") && e.to_string().contains("329"), "{e}");
        let x = Rgb::filled(352, 352, [0; 3]);
        let bad = pair(&z, &x, [176.0, f64::NAN, 40.0, 40.0], SIDES, &cfg, 1);
        assert!(matches!(bad, Err(AugmentError::Target(_))));
    }

    #[test]
    fn colour_moves_along_the_axes_and_blur_keeps_the_mean() {
        let cfg = AugmentConfig { colour: 1.0, ..none() };
        let (z, x) = (Rgb::filled(127, 127, [128; 3]), Rgb::filled(255, 255, [128; 3]));
        let out = pair(&z, &x, [127.5, 127.5, 40.0, 40.0], SIDES, &cfg, 3).unwrap();
        assert_ne!(out.template.pixel(0, 0), out.search.pixel(0, 0));
        assert_ne!(out.search.pixel(0, 0), [128; 3]);
        let cfg = AugmentConfig { blur: 1.0, ..none() };
        let x = square(255, 127, 127, 30);
        let out = pair(&z, &x, [127.5, 127.5, 40.0, 40.0], SIDES, &cfg, 3).unwrap();
        let (before, after) = (x.channel_mean(), out.search.channel_mean());
        assert!(out.search != x && (before[0] - after[0]).abs() < 1.0, "{before:?} {after:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_target_follows_the_pixels(k in any::<u64>(), dx in 0usize..9, dy in 0usize..9) {
            let cfg = AugmentConfig { flip: 0.5, ..AugmentConfig::default() };
            let (cx, cy) = (172 + dx, 172 + dy);
            let (z, x) = (square(144, 72, 72, 20), square(352, cx, cy, 30));
            let out = pair(&z, &x, [cx as f64, cy as f64, 60.0, 60.0], SIDES, &cfg, k).unwrap();
            let seen = bright(&out.search);
            for (t, s) in out.target.iter().zip(seen) {
                prop_assert!((t - s).abs() <= 1.5, "{:?} against {:?}", out.target, seen);
            }
            prop_assert_eq!(out.clone(), pair(&z, &x, [cx as f64, cy as f64, 60.0, 60.0], SIDES, &cfg, k).unwrap());
        }
    }
}
