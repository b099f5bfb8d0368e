//! Which annotations become rows: limits on shape, size, flags and gaps, each refusal with its reason.
//!
//! Two kinds are kept apart. What is *bad* (a box without area, outside its frame, not a number) is a reject and
//! listed; what is merely *not wanted* (absent, occluded, too small, ...) is counted.

use schemas::build::BuildConfig;
use schemas::shard::{FLAG_GENERATED, FLAG_OCCLUDED};
use serde::{Deserialize, Serialize};

/// Pixels a box may reach beyond its frame before it counts as wrong: annotations are rounded.
const SLACK_PX: f64 = 1.0;
/// The same for boxes in shares of the frame.
const SLACK_SHARE: f64 = 0.01;

/// Why an annotation is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwanted {
    /// The target is not in the frame, or nobody annotated it.
    Absent,
    /// Its sides are too different.
    Aspect,
    /// It covers too little or too much of its frame.
    Area,
    /// Its shorter side is too short.
    Size,
    /// It is marked as occluded.
    Occluded,
    /// Its box was interpolated.
    Generated,
    /// It is a group of objects, not one.
    Crowd,
    /// Its track has too few rows left.
    Short,
}

/// Annotations that were left out on purpose, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// Frames on which the target is absent or not annotated.
    pub absent: u64,
    /// Targets below `min_aspect`.
    pub aspect: u64,
    /// Targets below `min_area` or above `max_area`.
    pub area: u64,
    /// Targets below `min_side`.
    pub size: u64,
    /// Occluded targets, where `drop_occluded` is set.
    pub occluded: u64,
    /// Interpolated boxes, where `drop_generated` is set.
    pub generated: u64,
    /// Groups of objects under one box.
    pub crowd: u64,
    /// Rows of tracks shorter than `min_track_rows`.
    pub short: u64,
}

impl Dropped {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        for (own, other) in self.all().into_iter().zip(other.named()) {
            *own += other.1;
        }
    }

    /// Counts one.
    pub fn count(&mut self, why: Unwanted) {
        *match why {
            Unwanted::Absent => &mut self.absent,
            Unwanted::Aspect => &mut self.aspect,
            Unwanted::Area => &mut self.area,
            Unwanted::Size => &mut self.size,
            Unwanted::Occluded => &mut self.occluded,
            Unwanted::Generated => &mut self.generated,
            Unwanted::Crowd => &mut self.crowd,
            Unwanted::Short => &mut self.short,
        } += 1;
    }

    /// Every count with its name, in a fixed order.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("absent", self.absent),
            ("aspect", self.aspect),
            ("area", self.area),
            ("size", self.size),
            ("occluded", self.occluded),
            ("generated", self.generated),
            ("crowd", self.crowd),
            ("short", self.short),
        ]
    }

    fn all(&mut self) -> [&mut u64; 8] {
        let Self { absent, aspect, area, size, occluded, generated, crowd, short } = self;
        [absent, aspect, area, size, occluded, generated, crowd, short]
    }
}

/// Whether a target of `w` x `h` px, in a frame of `frame` px where that is known, is wanted.
#[must_use]
pub fn shape(w: f64, h: f64, frame: Option<[f64; 2]>, config: &BuildConfig) -> Option<Unwanted> {
    if (w / h).min(h / w) < config.min_aspect {
        return Some(Unwanted::Aspect);
    }
    if w.min(h) < config.min_side {
        return Some(Unwanted::Size);
    }
    let area = frame.map(|[frame_w, frame_h]| w * h / (frame_w * frame_h));
    area.filter(|share| *share < config.min_area || *share > config.max_area).map(|_| Unwanted::Area)
}

/// Whether an annotation with these flags is wanted.
#[must_use]
pub fn flags(flags: u8, config: &BuildConfig) -> Option<Unwanted> {
    if config.drop_occluded && flags & FLAG_OCCLUDED != 0 {
        Some(Unwanted::Occluded)
    } else if config.drop_generated && flags & FLAG_GENERATED != 0 {
        Some(Unwanted::Generated)
    } else {
        None
    }
}

/// Why a box is no box.
pub type BadBox = (&'static str, String);

/// A box from its edges x0, y0, x1, y1 as cx, cy, w, h, clipped to a frame of `frame` (px, or 1 x 1 for shares).
///
/// # Errors
/// Reason and detail when it is not four numbers, has no area, or leads out of its frame.
pub fn checked_box(edges: [f64; 4], frame: Option<[f64; 2]>, shares: bool) -> Result<[f64; 4], BadBox> {
    let [x0, y0, x1, y1] = edges;
    if !edges.iter().all(|v| v.is_finite()) {
        return Err(("bad-box", format!("the box {edges:?} has a coordinate that is no number")));
    }
    if !(x1 > x0 && y1 > y0) {
        return Err(("zero-size", format!("the box from ({x0}, {y0}) to ({x1}, {y1}) has no area")));
    }
    let [mut x0, mut y0, mut x1, mut y1] = edges;
    if let Some([w, h]) = frame {
        let slack = if shares { SLACK_SHARE } else { SLACK_PX };
        if x0 < -slack || y0 < -slack || x1 > w + slack || y1 > h + slack {
            let what = format!("the box from ({x0}, {y0}) to ({x1}, {y1}) leaves the frame of {w} x {h}");
            return Err(("outside-frame", what));
        }
        (x0, y0, x1, y1) = (x0.max(0.0), y0.max(0.0), x1.min(w), y1.min(h));
        if !(x1 > x0 && y1 > y0) {
            return Err(("outside-frame", format!("nothing of the box lies in the frame of {w} x {h}")));
        }
    }
    Ok([(x0 + x1) / 2.0, (y0 + y1) / 2.0, x1 - x0, y1 - y0])
}

/// Cuts a track where frame numbers jump by more than `max_gap`, and leaves out what is shorter than
/// `min_track_rows`. A track that was cut gives tracks named `NAME-1`, `NAME-2`, ...
#[must_use]
pub fn pieces<T>(
    name: &str,
    frames: Vec<T>,
    number: impl Fn(&T) -> u32,
    config: &BuildConfig,
    dropped: &mut Dropped,
) -> Vec<(String, Vec<T>)> {
    let mut runs: Vec<Vec<T>> = Vec::new();
    for frame in frames {
        let jump = |run: &Vec<T>| {
            run.last().is_none_or(|last| number(&frame) - number(last).min(number(&frame)) > config.max_gap)
        };
        match runs.last_mut().filter(|run| config.max_gap == 0 || !jump(run)) {
            Some(run) => run.push(frame),
            None => runs.push(vec![frame]),
        }
    }
    let several = runs.len() > 1;
    let mut kept = Vec::with_capacity(runs.len());
    for (count, run) in (1..).zip(runs) {
        if (run.len() as u64) < u64::from(config.min_track_rows) {
            dropped.short += run.len() as u64;
        } else {
            kept.push((if several { format!("{name}-{count}") } else { name.to_owned() }, run));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_checked_and_clipped() {
        let frame = Some([100.0, 50.0]);
        assert_eq!(checked_box([10.0, 10.0, 30.0, 20.0], frame, false), Ok([20.0, 15.0, 20.0, 10.0]));
        assert_eq!(checked_box([-0.5, 0.0, 20.0, 50.5], frame, false), Ok([10.0, 25.0, 20.0, 50.0]));
        assert_eq!(checked_box([-50.0, 0.0, 20.0, 10.0], None, false), Ok([-15.0, 5.0, 70.0, 10.0]));
        for (edges, reason) in [
            ([f64::NAN, 0.0, 1.0, 1.0], "bad-box"),
            ([0.0, 0.0, f64::INFINITY, 1.0], "bad-box"),
            ([5.0, 5.0, 5.0, 9.0], "zero-size"),
            ([9.0, 5.0, 5.0, 9.0], "zero-size"),
            ([90.0, 5.0, 102.0, 9.0], "outside-frame"),
            ([-1.0, 5.0, -0.5, 9.0], "outside-frame"),
        ] {
            assert_eq!(checked_box(edges, frame, false).unwrap_err().0, reason, "{edges:?}");
        }
        assert_eq!(checked_box([0.0, 0.0, 1.5, 1.0], Some([1.0, 1.0]), true).unwrap_err().0, "outside-frame");
        assert!(checked_box([0.0, 0.0, 1.005, 1.0], Some([1.0, 1.0]), true).is_ok());
    }

    #[test]
    fn shapes_and_flags_are_limited_by_reason() {
        let config = BuildConfig {
            min_aspect: 0.2,
            min_side: 5.0,
            min_area: 0.01,
            max_area: 0.5,
            drop_generated: true,
            ..BuildConfig::default()
        };
        let frame = Some([100.0, 100.0]);
        assert_eq!(shape(20.0, 20.0, frame, &config), None);
        assert_eq!(shape(50.0, 5.0, frame, &config), Some(Unwanted::Aspect));
        assert_eq!(shape(4.0, 4.0, frame, &config), Some(Unwanted::Size));
        assert_eq!(shape(8.0, 8.0, frame, &config), Some(Unwanted::Area));
        assert_eq!(shape(90.0, 90.0, frame, &config), Some(Unwanted::Area));
        assert_eq!(shape(8.0, 8.0, None, &config), None);
        assert_eq!(flags(FLAG_GENERATED | FLAG_OCCLUDED, &config), Some(Unwanted::Generated));
        assert_eq!(flags(FLAG_OCCLUDED, &config), None);
        let mut sum = Dropped::default();
        for why in [Unwanted::Aspect, Unwanted::Short, Unwanted::Short] {
            sum.count(why);
        }
        sum.add(sum);
        assert_eq!((sum.aspect, sum.short, sum.absent), (2, 4, 0));
    }

    #[test]
    fn tracks_are_cut_at_gaps() {
        let cut = |max_gap, min_track_rows, numbers: &[u32]| {
            let config = BuildConfig { max_gap, min_track_rows, ..BuildConfig::default() };
            let mut dropped = Dropped::default();
            let kept = pieces("07", numbers.to_vec(), |n| *n, &config, &mut dropped);
            (kept, dropped.short)
        };
        let all = vec![1, 2, 9, 10, 11, 30];
        assert_eq!(cut(0, 1, &all), (vec![("07".to_owned(), all.clone())], 0));
        let two = vec![("07-1".to_owned(), vec![1, 2]), ("07-2".to_owned(), vec![9, 10, 11])];
        assert_eq!(cut(6, 2, &all), (two, 1));
        assert_eq!(cut(0, 7, &all), (vec![], 6));
        assert_eq!(cut(3, 1, &[]), (vec![], 0));
    }
}
