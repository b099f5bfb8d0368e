//! From the stored crops of a pair to the network's two images: a pure function of the pixels, the configuration and
//! the pair's key.
//!
//! Units: pixels of the search image, origin at its left/top edge; the target is centre form.

mod pixels;
mod window;

use crate::augment::pixels::{Blur, Gaussian, blur, gaussian, gray, shift_colour};
use crate::augment::window::{Cut, Resampler, Window};
use schemas::train::{AugmentConfig, StretchKind};
use shards::image::{Part, Rows};
use shards::order::{Rng, key};

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
}

/// Sides of the network's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// Template image (127).
    pub template: usize,
    /// Search image (255).
    pub search: usize,
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
    template_blur: Option<Blur>,
    template_gaussian: Option<Gaussian>,
    search_gaussian: Option<Gaussian>,
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
            let along = |axes: [f64; 3]| -axes.iter().zip(along).map(|(m, n)| m * n).sum::<f64>();
            on.then(|| cfg.colour_axes.map(|axes| along(axes) * cfg.colour_strength))
        };
        let (template_colour, search_colour) = (colour(), colour());
        let mut motion = |probability: f64| {
            let on = rng.uniform() < probability;
            let kernel = Blur { side: odd(&mut rng, cfg.blur_min, cfg.blur_max), vertical: rng.uniform() };
            on.then_some(kernel)
        };
        let (blur, template_blur) = (motion(cfg.blur), motion(cfg.template_blur));
        let mut gaussian = || {
            let on = rng.uniform() < cfg.gaussian;
            let side = odd(&mut rng, cfg.gaussian_min, cfg.gaussian_max);
            let sigma = rng.range(0.0, cfg.gaussian_sigma);
            on.then_some(Gaussian { side, sigma })
        };
        let (template_gaussian, search_gaussian) = (gaussian(), gaussian());
        Self {
            gray,
            flip,
            stretch,
            shift,
            template_stretch,
            template_shift,
            template_colour,
            search_colour,
            blur,
            template_blur,
            template_gaussian,
            search_gaussian,
        }
    }
}

/// An odd number between two odd ones, both included.
fn odd(rng: &mut Rng, low: u32, high: u32) -> usize {
    let steps = u64::from(high.saturating_sub(low) / 2) + 1;
    low as usize + 2 * rng.below(steps) as usize
}

/// A whole number, uniform in +- `reach`.
fn whole(rng: &mut Rng, reach: u32) -> i64 {
    let reach = i64::from(reach);
    rng.below(2 * reach.unsigned_abs() + 1).cast_signed() - reach
}

/// Stretch of the crop and shift in the stretched crop for what was drawn, and whether the stretched crop must leave room
/// for the largest shift (1) or has it already (0). A window that grows by a factor shows a crop that shrinks by it.
fn laid(kind: StretchKind, by: [f64; 2], shift: [i64; 2]) -> ([f64; 2], [i64; 2], usize) {
    let [sx, sy] = by;
    let [dx, dy] = shift;
    #[expect(clippy::cast_possible_truncation, reason = "shifts are below 2^13")]
    let over = |d: i64, s: f64| (d as f64 / s).round() as i64;
    match kind {
        StretchKind::Crop => (by, shift, 1),
        StretchKind::Window => ([sx.recip(), sy.recip()], [over(dx, sx), over(dy, sy)], 0),
    }
}

/// What happens to the pixels of one pair, decided before any of them is decoded.
///
/// In order: stretch and shift of both images, mirroring, gray (BT.601 weights), colour along the principal axes, motion
/// blur, Gaussian blur.
#[derive(Debug, Clone)]
pub struct Augment {
    draws: Draws,
    template: Window,
    search: Window,
}

/// An image to be made: what is needed of its crop, and what is then done.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    cut: Cut,
    draws: &'a Draws,
    colour: Option<[f64; 3]>,
    blur: Option<Blur>,
    gaussian: Option<Gaussian>,
}

/// Buffers that are kept from image to image.
#[derive(Debug, Default)]
pub struct Workspace {
    resampler: Resampler,
}

impl Augment {
    /// Draws the random numbers of a pair.
    #[must_use]
    pub fn new(sides: Sides, cfg: &AugmentConfig, aug_key: u64) -> Self {
        let draws = Draws::new(aug_key, cfg);
        let (stretch, shift, reach) = laid(cfg.stretch_kind, draws.template_stretch, draws.template_shift);
        let template = Window {
            what: "template",
            side: sides.template,
            needed: cfg.needed_template_px(side(sides.template)) as usize,
            reach: reach * cfg.template_shift as usize,
            stretch,
            shift,
            flip: draws.flip,
        };
        let (stretch, shift, reach) = laid(cfg.stretch_kind, draws.stretch, draws.shift);
        let search = Window {
            what: "search",
            side: sides.search,
            needed: cfg.needed_search_px(side(sides.search)) as usize,
            reach: reach * cfg.shift as usize,
            stretch,
            shift,
            flip: draws.flip,
        };
        Self { draws, template, search }
    }

    /// The template image from a crop of this size.
    ///
    /// # Errors
    /// [`AugmentError::Small`].
    pub fn template(&self, width: usize, height: usize) -> Result<Image<'_>, AugmentError> {
        let cut = self.template.lay(width, height)?;
        let Draws { template_colour, template_blur, template_gaussian, .. } = self.draws;
        let (colour, blur, gaussian) = (template_colour, template_blur, template_gaussian);
        Ok(Image { cut, draws: &self.draws, colour, blur, gaussian })
    }

    /// The search image from a crop of this size.
    ///
    /// # Errors
    /// [`AugmentError::Small`].
    pub fn search(&self, width: usize, height: usize) -> Result<Image<'_>, AugmentError> {
        let cut = self.search.lay(width, height)?;
        let Draws { search_colour, blur, search_gaussian, .. } = self.draws;
        Ok(Image { cut, draws: &self.draws, colour: search_colour, blur, gaussian: search_gaussian })
    }
}

impl Image<'_> {
    /// The part of the crop whose pixels are needed.
    #[must_use]
    pub fn part(&self) -> Part {
        self.cut.part
    }

    /// Makes the image, rows of RGB, from the pixels of [`Image::part`].
    pub fn draw(&self, pixels: Rows<'_>, workspace: &mut Workspace, out: &mut [u8]) {
        workspace.resampler.draw(&self.cut, pixels, out);
        if self.draws.gray {
            gray(out);
        }
        if let Some(by) = self.colour {
            shift_colour(out, by);
        }
        if let Some(kernel) = self.blur {
            blur(out, self.cut.side(), kernel);
        }
        if let Some(kernel) = self.gaussian {
            gaussian(out, self.cut.side(), kernel);
        }
    }

    /// Where a target of the crop (centre form, pixels from the crop's left/top edge) lies in the image: centre form,
    /// pixels from the image's centre.
    ///
    /// # Errors
    /// [`AugmentError::Target`] when the target is no box.
    pub fn target(&self, target: [f64; 4]) -> Result<[f64; 4], AugmentError> {
        let [cx, cy, w, h] = target;
        if !target.iter().all(|v| v.is_finite()) || w <= 0.0 || h <= 0.0 {
            return Err(AugmentError::Target(target));
        }
        let [x, y] = self.cut.axes();
        let half = self.cut.side() as f64 / 2.0;
        let across = x.apply(cx) - half;
        let across = if self.draws.flip { -across } else { across };
        Ok([across, y.apply(cy) - half, w * x.scale, h * y.scale])
    }
}

#[expect(clippy::cast_possible_truncation, reason = "sides of images are checked against u32 configuration values")]
fn side(px: usize) -> u32 {
    px as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shards::image::Rgb;

    const SIDES: Sides = Sides { template: 127, search: 255 };

    struct Pair {
        template: Rgb,
        search: Rgb,
        target: [f64; 4],
    }

    /// Both images and the target from crops in memory.
    fn pair(z: &Rgb, x: &Rgb, target: [f64; 4], cfg: &AugmentConfig, k: u64) -> Result<Pair, AugmentError> {
        let augment = Augment::new(SIDES, cfg, k);
        let draw = |image: &Image<'_>, crop: &Rgb| {
            let pixels = Rows::new(&crop.data, crop.width, image.part());
            let mut out = Rgb::filled(image.cut.side(), image.cut.side(), [0; 3]);
            image.draw(pixels, &mut Workspace::default(), &mut out.data);
            out
        };
        let (template, search) = (augment.template(z.width, z.height)?, augment.search(x.width, x.height)?);
        Ok(Pair { template: draw(&template, z), target: search.target(target)?, search: draw(&search, x) })
    }

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
        let out = pair(&z, &x, [176.0, 176.0, 40.0, 40.0], &none(), 1).unwrap();
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
            let out = pair(&z, &x, [176.0, 176.0, 40.0, 40.0], &cfg, k).unwrap();
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
        let e = pair(&z, &x, [164.0, 164.0, 40.0, 40.0], &cfg, 1).err().unwrap();
        assert!(e.to_string().contains("328") && e.to_string().contains("329"), "{e}");
        let x = Rgb::filled(352, 352, [0; 3]);
        let bad = pair(&z, &x, [176.0, f64::NAN, 40.0, 40.0], &cfg, 1);
        assert!(matches!(bad, Err(AugmentError::Target(_))));
    }

    #[test]
    fn colour_moves_along_the_axes_and_blur_keeps_the_mean() {
        let cfg = AugmentConfig { colour: 1.0, ..none() };
        let (z, x) = (Rgb::filled(127, 127, [128; 3]), Rgb::filled(255, 255, [128; 3]));
        let out = pair(&z, &x, [127.5, 127.5, 40.0, 40.0], &cfg, 3).unwrap();
        assert_ne!(out.template.pixel(0, 0), out.search.pixel(0, 0));
        assert_ne!(out.search.pixel(0, 0), [128; 3]);
        let cfg = AugmentConfig { blur: 1.0, ..none() };
        let x = square(255, 127, 127, 30);
        let out = pair(&z, &x, [127.5, 127.5, 40.0, 40.0], &cfg, 3).unwrap();
        let (before, after) = (x.channel_mean(), out.search.channel_mean());
        assert!(out.search != x && (before[0] - after[0]).abs() < 1.0, "{before:?} {after:?}");
    }

    /// What a target's size becomes at most and at least, and how far it moves.
    fn reach(cfg: &AugmentConfig, side: usize) -> ([f64; 2], f64) {
        let x = square(side, side / 2, side / 2, 30);
        let centre = side as f64 / 2.0;
        let targets: Vec<[f64; 4]> = (0..3000)
            .map(|k| {
                Augment::new(SIDES, cfg, k).search(x.width, x.height).unwrap().target([centre, centre, 60.0, 60.0])
            })
            .map(Result::unwrap)
            .collect();
        let by = |of: fn(f64, f64) -> f64, from: f64, i: usize| targets.iter().map(|t| t[i].abs()).fold(from, of);
        ([by(f64::min, f64::MAX, 2) / 60.0, by(f64::max, 0.0, 2) / 60.0], by(f64::max, 0.0, 0))
    }

    #[test]
    fn stretches_are_factors_on_the_crop_or_on_the_window() {
        let cfg = AugmentConfig { stretch: 0.18, shift: 64, ..AugmentConfig::default() };
        let near = |found: f64, wanted: f64| (found - wanted).abs() < 0.01 * wanted.abs();
        let ([low, high], moved) = reach(&cfg, 468);
        assert!(near(low, 0.82) && near(high, 1.18) && near(moved, 64.0), "{low} {high} {moved}");
        let cfg = AugmentConfig { stretch_kind: StretchKind::Window, ..cfg };
        assert_eq!((cfg.needed_search_px(255), cfg.needed_template_px(127)), (429, 127));
        let ([low, high], moved) = reach(&cfg, 429);
        // A window of 0.82 times the side shows a shift of 64 crop pixels as 64 / 0.82.
        assert!(near(low, 1.0 / 1.18) && near(high, 1.0 / 0.82), "{low} {high}");
        assert!((74.0..=78.6).contains(&moved), "{moved}");
    }

    #[test]
    fn every_augmentation_can_be_had_alone_and_with_other_constants() {
        let (z, x) = (square(144, 72, 72, 20), square(352, 176, 176, 30));
        let at = [176.0, 176.0, 60.0, 60.0];
        let plain = pair(&z, &x, at, &none(), 1).unwrap();
        let changes = |cfg: AugmentConfig| {
            let out = pair(&z, &x, at, &cfg, 1).unwrap();
            (out.template != plain.template, out.search != plain.search)
        };
        assert_eq!(changes(AugmentConfig { blur: 1.0, ..none() }), (false, true));
        assert_eq!(changes(AugmentConfig { template_blur: 1.0, ..none() }), (true, false));
        assert_eq!(changes(AugmentConfig { gaussian: 1.0, ..none() }), (true, true));
        // One pixel averaged is no blur.
        let one = AugmentConfig { blur: 1.0, blur_min: 1, blur_max: 1, ..none() };
        assert_eq!(changes(one), (false, false));
        let still = AugmentConfig { colour: 1.0, colour_strength: 0.0, ..none() };
        assert_eq!(changes(still), (false, false));
        // Only red is moved.
        let red = AugmentConfig { colour: 1.0, colour_axes: [[9.0, 0.0, 0.0], [0.0; 3], [0.0; 3]], ..none() };
        let out = pair(&z, &x, at, &red, 1).unwrap();
        let ([r, g, b], [was, green, blue]) = (out.search.pixel(0, 0), plain.search.pixel(0, 0));
        assert!(r != was && (g, b) == (green, blue), "{r} {g} {b}");
    }

    /// Draws of the configuration that every preset is built on, as they were before most constants could be set.
    #[test]
    fn draws_stay_what_they_were() {
        let cfg = AugmentConfig { gray: 0.5, colour: 1.0, blur: 1.0, flip: 0.5, ..AugmentConfig::default() };
        let draws = Draws::new(77, &cfg);
        let blur = draws.blur.unwrap();
        let colour = draws.search_colour.unwrap().map(|v| (v * 1e6).round());
        let found =
            format!("{} {} {:?} {} {:.6} {colour:?}", draws.gray, draws.flip, draws.shift, blur.side, blur.vertical);
        assert_eq!(found, "false false [-7, 2] 11 0.082458 [666381.0, 345848.0, -7411534.0]");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_target_follows_the_pixels(k in any::<u64>(), dx in 0usize..9, dy in 0usize..9, window: bool) {
            let stretch_kind = if window { StretchKind::Window } else { StretchKind::Crop };
            let cfg = AugmentConfig { flip: 0.5, stretch_kind, ..AugmentConfig::default() };
            let (cx, cy) = (172 + dx, 172 + dy);
            let (z, x) = (square(144, 72, 72, 20), square(352, cx, cy, 30));
            let out = pair(&z, &x, [cx as f64, cy as f64, 60.0, 60.0], &cfg, k).unwrap();
            let seen = bright(&out.search);
            for (t, s) in out.target.iter().zip(seen) {
                prop_assert!((t - s).abs() <= 1.5, "{:?} against {:?}", out.target, seen);
            }
            let again = pair(&z, &x, [cx as f64, cy as f64, 60.0, 60.0], &cfg, k).unwrap();
            prop_assert!(again.search == out.search && again.template == out.template && again.target == out.target);
        }
    }
}
