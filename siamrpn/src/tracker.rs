//! The online tracker: `init` with a box, then `update` frame by frame.
//!
//! Boxes of the public interface are `[x, y, w, h]` in frame pixels, origin at the left/top edge of pixel 0. The
//! choice of the best prediction ([`select`]) works in the reference's coordinates, whose origin is the centre of
//! pixel 0, half a pixel away; only its limits `0..=W` know the difference.

use crate::anchors::Anchors;
use crate::decode::{Response, decode};
use crate::engine::{Engine, EngineError, Session};
use crate::model::Model;
use schemas::build::CropSemantics;
use schemas::model::{ModelConfig, TrackerConfig};
use shards::crop::{CropError, CropSpec, crop_target};
use shards::image::Rgb;
use std::sync::Arc;

/// Smallest side in pixels of the box that is reported and searched around.
const MIN_SIDE: f64 = 10.0;
/// Largest side of an initial box, in sides of the frame.
const MAX_INITIAL: f64 = 4.0;
/// A window whose brightness varies less than this (standard deviation, levels of 255) shows nothing.
const BLANK: f64 = 2.0;
/// Points per side at which that is measured.
const PROBES: usize = 48;
/// Distance between the two origins: edge of pixel 0 (here) and centre of pixel 0 (the reference).
const HALF: f64 = 0.5;

/// Why a frame cannot be tracked.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// `update` came before `init`.
    #[error("the tracker has no target yet: give it a box first")]
    NoTarget,
    /// The initial box is no box of this frame.
    #[error(
        "initial box {rect:?} (x, y, w, h) does not fit a frame of {width}x{height} px: it must be finite, larger than \
         zero, at most 4 frames wide and high, and touch the frame"
    )]
    Box {
        /// The box.
        rect: [f64; 4],
        /// Frame width in pixels.
        width: usize,
        /// Frame height in pixels.
        height: usize,
    },
    /// The search window cannot be cut.
    #[error("the window around the target cannot be cut out of the frame: {0}")]
    Crop(#[from] CropError),
    /// The network did not run.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Where a target is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Centre x, y in pixels.
    pub pos: [f64; 2],
    /// Width, height in pixels.
    pub size: [f64; 2],
}

/// The prediction that [`select`] chose, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// Flat index of the prediction.
    pub best: usize,
    /// Its probability.
    pub score: f64,
    /// Its penalty for changes of size and aspect, 0 to 1.
    pub penalty: f64,
    /// Probability after penalty and window.
    pub pscore: f64,
    /// Share of the new size that was taken.
    pub learning_rate: f64,
    /// The new target.
    pub target: Target,
}

/// What [`select`] needs to know about the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scene {
    /// The target before this frame.
    pub target: Target,
    /// Its size when tracking began.
    pub initial: [f64; 2],
    /// Search pixels per frame pixel.
    pub scale: f64,
    /// Frame width, height in pixels.
    pub frame: [f64; 2],
    /// Crop geometry, which also decides how sizes are limited.
    pub semantics: CropSemantics,
}

/// Product of two Hann windows (peak 1, borders 0), `[size * size]`.
#[must_use]
pub fn window(size: usize) -> Vec<f64> {
    let hann: Vec<f64> = (0..size)
        .map(|i| match size {
            1 => 1.0,
            _ => 0.5 - 0.5 * (2.0 * std::f64::consts::PI * i as f64 / (size - 1) as f64).cos(),
        })
        .collect();
    hann.iter().flat_map(|row| hann.iter().map(move |column| row * column)).collect()
}

/// Side of a target's context: sqrt((w + p)(h + p)), p = (w + h) / 2.
fn context(w: f64, h: f64) -> f64 {
    let p = (w + h) / 2.0;
    ((w + p) * (h + p)).sqrt()
}

/// How much a ratio differs from 1: max(r, 1 / r).
fn change(r: f64) -> f64 {
    r.max(1.0 / r)
}

/// Chooses the prediction to follow and moves the target there (reference and PySOT, `siamfc` clamps sizes to
/// `min_scale`..`max_scale` of the initial one, `pysot` to 10 px..frame).
///
/// Coordinates are the reference's (pixel centres at integers). `None` when no prediction is finite.
#[must_use]
pub fn select(
    anchors: &Anchors,
    window: &[f64],
    response: &Response,
    scene: &Scene,
    cfg: &TrackerConfig,
) -> Option<Selection> {
    let n = anchors.len();
    let [tw, th] = scene.target.size;
    let size = context(tw * scene.scale, th * scene.scale);
    let wi = cfg.window_influence;
    let cell = window.iter().cycle();
    let mut best: Option<(usize, [f64; 4], f64, f64, f64)> = None;
    for (i, ((anchor, score), weight)) in anchors.as_slice().iter().zip(&response.scores).zip(cell).enumerate() {
        let delta = [0, 1, 2, 3].map(|c| response.deltas.get(c * n + i).copied().map_or(f64::NAN, f64::from));
        let found = decode(anchor.map(f64::from), delta);
        let [_, _, w, h] = found;
        let score = f64::from(*score);
        let resized = change(context(w, h) / size);
        let reshaped = change((tw / th) / (w / h));
        let penalty = (-(resized * reshaped - 1.0) * cfg.penalty_k).exp();
        let pscore = penalty * score * (1.0 - wi) + weight * wi;
        let usable = pscore.is_finite() && found.iter().all(|v| v.is_finite());
        if usable && best.is_none_or(|(.., top)| pscore > top) {
            best = Some((i, found, score, penalty, pscore));
        }
    }
    let (best, found, score, penalty, pscore) = best?;
    let [dx, dy, w, h] = found.map(|v| v / scene.scale);
    let learning_rate = penalty * score * cfg.lr;
    let [frame_w, frame_h] = scene.frame;
    let limit = |side: f64, initial: f64, frame: f64| match scene.semantics {
        CropSemantics::Siamfc => side.max(cfg.min_scale * initial).min(cfg.max_scale * initial),
        CropSemantics::Pysot => side.max(MIN_SIDE).min(frame),
    };
    let blend = |old: f64, new: f64| (1.0 - learning_rate) * old + learning_rate * new;
    let target = Target {
        pos: [(scene.target.pos[0] + dx).max(0.0).min(frame_w), (scene.target.pos[1] + dy).max(0.0).min(frame_h)],
        size: [limit(blend(tw, w), scene.initial[0], frame_w), limit(blend(th, h), scene.initial[1], frame_h)],
    };
    let finite = target.pos.iter().chain(&target.size).all(|v| v.is_finite());
    finite.then_some(Selection { best, score, penalty, pscore, learning_rate, target })
}

/// A target's sides as reported and searched around: 10 px to the frame's side.
#[must_use]
pub fn clip_size(size: [f64; 2], frame: [f64; 2]) -> [f64; 2] {
    [size[0].max(MIN_SIDE).min(frame[0]), size[1].max(MIN_SIDE).min(frame[1])]
}

/// What the tracker says about a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Output {
    /// `[x, y, w, h]` in frame pixels, origin at the left/top edge of pixel 0.
    pub rect: [f64; 4],
    /// Probability of the target at this box, 0 to 1; 0 when the network's outputs were not finite and when the search
    /// window shows nothing.
    pub score: f64,
    /// Has the score been low for several frames in a row, or does the search window show nothing, as in a black frame?
    pub lost: bool,
}

/// Everything a tracker knows about its target between two frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Centre and size; origin at the left/top edge of pixel 0.
    pub target: Target,
    /// Width, height when tracking began.
    pub initial: [f64; 2],
    /// Mean colour of the first frame, which fills windows beyond the border.
    pub mean: [f64; 3],
    /// Frames in a row with a low score.
    pub low: u32,
    /// Did the window show something when tracking began?
    pub structured: bool,
}

/// Whether the square of `side` pixels around `centre`, as far as it lies in the frame, is of one brightness.
fn blank(frame: &Rgb, centre: [f64; 2], side: f64) -> bool {
    let span = |centre: f64, size: usize| {
        let from = (centre - side / 2.0).clamp(0.0, size as f64 - 1.0);
        (from, ((centre + side / 2.0).clamp(from + 1.0, size as f64) - from) / PROBES as f64)
    };
    let ((left, dx), (top, dy)) = (span(centre[0], frame.width), span(centre[1], frame.height));
    let (mut sum, mut squares) = (0.0, 0.0);
    for j in 0..PROBES {
        for i in 0..PROBES {
            let [r, g, b] = frame.pixel((left + i as f64 * dx) as usize, (top + j as f64 * dy) as usize);
            let value = 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
            sum += value;
            squares += value * value;
        }
    }
    let count = (PROBES * PROBES) as f64;
    squares / count - (sum / count).powi(2) < BLANK * BLANK
}

/// Follows one target through the frames of a video.
#[derive(Debug)]
pub struct Tracker {
    config: ModelConfig,
    engine: Arc<dyn Engine>,
    anchors: Anchors,
    window: Vec<f64>,
    current: Option<(State, Box<dyn Session>)>,
}

impl Tracker {
    /// A tracker that uses `model` with its own engine.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        Self::with_engine(model.config.clone(), model.engine())
    }

    /// A tracker on any engine for a model of `config`.
    #[must_use]
    pub fn with_engine(config: ModelConfig, engine: Arc<dyn Engine>) -> Self {
        let response = config.response(config.search_px);
        let anchors = Anchors::new(&config.anchors, response);
        Self { config, engine, anchors, window: window(response), current: None }
    }

    /// What is known about the target; `None` before `init`.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.current.as_ref().map(|(state, _)| state)
    }

    fn crop_spec(&self) -> CropSpec {
        CropSpec {
            semantics: self.config.semantics,
            exemplar_px: self.config.exemplar_px,
            context_amount: self.config.context_amount,
        }
    }

    /// Starts on the target in the box `rect` (`[x, y, w, h]`, origin at the left/top edge of pixel 0) of `frame`,
    /// forgetting any other.
    ///
    /// # Errors
    /// [`TrackError`] when the box is no box of this frame, or the network cannot run.
    pub fn init(&mut self, frame: &Rgb, rect: [f64; 4]) -> Result<(), TrackError> {
        let [x, y, w, h] = rect;
        let (width, height) = (frame.width as f64, frame.height as f64);
        let fits = rect.iter().all(|v| v.is_finite())
            && w > 0.0
            && h > 0.0
            && w <= MAX_INITIAL * width
            && h <= MAX_INITIAL * height
            && x < width
            && y < height
            && x + w > 0.0
            && y + h > 0.0;
        if !fits {
            return Err(TrackError::Box { rect, width: frame.width, height: frame.height });
        }
        let target = Target { pos: [x + w / 2.0, y + h / 2.0], size: [w, h] };
        let mean = frame.channel_mean();
        let crop =
            crop_target(frame, mean, [target.pos[0], target.pos[1], w, h], self.config.exemplar_px, &self.crop_spec())?;
        let session = self.engine.start(&crop.image)?;
        // What the search window of the next frame will cover.
        let side = f64::from(self.config.search_px) / crop.scale;
        let structured = !blank(frame, target.pos, side);
        self.current = Some((State { target, initial: [w, h], mean, low: 0, structured }, session));
        Ok(())
    }

    /// Finds the target in the next frame. A window without any structure cannot show a target that was seen before: the
    /// target stays where it was then, and is lost.
    ///
    /// # Errors
    /// [`TrackError`] when there is no target yet, or the network cannot run; the state is as before then.
    pub fn update(&mut self, frame: &Rgb) -> Result<Output, TrackError> {
        let spec = self.crop_spec();
        let (state, session) = self.current.as_mut().ok_or(TrackError::NoTarget)?;
        let size = [frame.width as f64, frame.height as f64];
        let [cx, cy] = state.target.pos;
        let [w, h] = clip_size(state.target.size, size);
        let crop = crop_target(frame, state.mean, [cx, cy, w, h], self.config.search_px, &spec)?;
        if state.structured && blank(frame, [cx, cy], f64::from(self.config.search_px) / crop.scale) {
            state.low = state.low.saturating_add(1);
            return Ok(Output { rect: [cx - w / 2.0, cy - h / 2.0, w, h], score: 0.0, lost: true });
        }
        let response = session.search(&crop.image)?;
        let scene = Scene {
            target: Target { pos: [cx - HALF, cy - HALF], size: state.target.size },
            initial: state.initial,
            scale: crop.scale,
            frame: size,
            semantics: self.config.semantics,
        };
        let cfg = &self.config.tracker;
        let score = match select(&self.anchors, &self.window, &response, &scene, cfg) {
            Some(Selection { target: Target { pos, size }, score, .. }) => {
                state.target = Target { pos: [pos[0] + HALF, pos[1] + HALF], size };
                score
            }
            None => 0.0,
        };
        state.low = if score < cfg.lost_score { state.low.saturating_add(1) } else { 0 };
        let [cx, cy] = state.target.pos;
        let [w, h] = clip_size(state.target.size, size);
        let rect = [cx - w / 2.0, cy - h / 2.0, w, h];
        Ok(Output { rect, score, lost: state.low >= cfg.lost_frames.max(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::model::AnchorConfig;

    fn scene() -> Scene {
        Scene {
            target: Target { pos: [100.0, 80.0], size: [64.0, 64.0] },
            initial: [64.0, 64.0],
            scale: 1.0,
            frame: [320.0, 240.0],
            semantics: CropSemantics::Siamfc,
        }
    }

    fn choose(change: impl Fn(&mut Response), scene: &Scene) -> Option<Selection> {
        let anchors = Anchors::new(&AnchorConfig::default(), 17);
        let mut response = Response { scores: vec![0.01; anchors.len()], deltas: vec![0.0; 4 * anchors.len()] };
        change(&mut response);
        select(&anchors, &window(17), &response, scene, &TrackerConfig::default())
    }

    #[test]
    fn a_clear_peak_is_followed() {
        // Square anchor (index 2), row 8, column 9: 8 px right of the centre.
        let at = 2 * 289 + 8 * 17 + 9;
        let s = choose(|r| r.scores[at] = 0.9, &scene()).unwrap();
        assert_eq!(s.best, at);
        assert_eq!(s.target, Target { pos: [108.0, 80.0], size: [64.0, 64.0] });
        assert!((s.learning_rate - 0.27).abs() < 1e-6);
    }

    #[test]
    fn values_that_are_not_finite_are_never_followed() {
        let s = choose(
            |r| {
                r.scores[0] = f32::NAN;
                r.scores[1] = f32::INFINITY;
                r.deltas[2 * 1445 + 722] = f32::NAN;
                r.deltas[3 * 1445 + 723] = f32::INFINITY;
            },
            &scene(),
        )
        .unwrap();
        assert!(![0, 1, 722, 723].contains(&s.best));
        assert_eq!(choose(|r| r.scores.fill(f32::NAN), &scene()), None);
        assert_eq!(choose(|r| r.deltas.clear(), &scene()), None);
    }

    #[test]
    fn sizes_keep_their_limits_in_both_semantics() {
        let huge = |r: &mut Response| {
            r.scores.fill(1.0);
            r.deltas[2 * 1445..].fill(30.0);
        };
        let limits = TrackerConfig::default();
        let s = choose(huge, &scene()).unwrap();
        assert!(s.target.size[0] <= limits.max_scale * 64.0);
        let pysot = Scene { semantics: CropSemantics::Pysot, ..scene() };
        let s = choose(huge, &pysot).unwrap();
        assert!(s.target.size[0] <= 320.0 && s.target.size[1] <= 240.0);
        assert_eq!(clip_size([2.0, 900.0], [320.0, 240.0]), [10.0, 240.0]);
        assert_eq!(clip_size([2.0, 900.0], [8.0, 6.0]), [8.0, 6.0]);
    }

    #[test]
    fn the_window_is_an_unnormalised_hann() {
        let w = window(17);
        assert_eq!((w.len(), w[0], w[144]), (289, 0.0, 1.0));
        assert_eq!(window(1), [1.0]);
    }
}
