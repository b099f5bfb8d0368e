//! One-pass measures: success and precision of OTB, LaSOT and TrackingNet, average overlap of GOT-10k.
//!
//! Boxes are compared with exact areas. A polygon counts as its bounding box. The first frame counts with the ground
//! truth itself, except in GOT-10k, which leaves it out.

use std::collections::{BTreeMap, BTreeSet};

use schemas::score::{OnePassScore, OnePassSequence};

use super::Runs;
use super::eao::mean;
use crate::error::Error;
use crate::overlap::iou;
use crate::protocol::Trajectory;
use crate::region::{Rect, Region};
use crate::sequence::Sequence;

/// Points of the success curve: overlap thresholds 0, 0.05, ... 1.
const SUCCESS: usize = 21;
/// Points of the precision curve: 0 to 50 px.
const PIXELS: usize = 51;
/// Points of the normalised precision curve: 0, 0.01, ... 0.5 target sizes.
const NORMALISED: usize = 51;

/// What one frame contributes.
struct Frame {
    overlap: f64,
    /// Distance of the centres in px.
    distance: f64,
    /// The same in target sizes, each axis by its own side.
    normalised: f64,
}

/// Curves and numbers over a list of frames.
struct Curves {
    success: Vec<f64>,
    precision: Vec<f64>,
    normalised: Vec<f64>,
}

/// Scores one-pass runs; of several repetitions each frame of each counts once.
///
/// Success(t) = share of frames with overlap > t for t = 0, 0.05 .. 1, its area the mean of the 21 values; precision(d)
/// = share with centre distance <= d px, reported at 20; normalised precision(d) the same with the distance divided by
/// the target's width and height, its area over 0, 0.01 .. 0.5 (LaSOT) and its value at 0.2 (TrackingNet). Frames
/// without an annotated target of positive size do not count; a frame without a reported box has overlap 0 and
/// infinite distance. These are unweighted means over sequences.
///
/// GOT-10k: AO = mean overlap over all frames of all sequences but the first of each, both boxes clipped to the frame,
/// frames with `cover` 0 left out; SR50 and SR75 the shares above 0.5 and 0.75.
///
/// # Errors
/// [`Error`] when runs do not fit their sequences or there is nothing to score.
pub fn onepass(runs: &[Runs<'_>], curves: bool) -> Result<OnePassScore, Error> {
    let mut names = BTreeSet::new();
    let (mut sequences, mut all, mut pooled) = (BTreeMap::new(), Vec::new(), Vec::new());
    for Runs { sequence, trajectories } in runs {
        if !names.insert(sequence.name.as_str()) {
            return Err(Error::DuplicateSequence { sequence: sequence.name.clone() });
        }
        super::fits(sequence, trajectories)?;
        let frames: Vec<Frame> = trajectories.iter().flat_map(|trajectory| frames(sequence, trajectory)).collect();
        let got = got10k(sequence, trajectories)?;
        let of = Curves::of(&frames);
        let entry = OnePassSequence {
            success_auc: mean(of.success.iter().copied()).unwrap_or(0.0),
            success_50: share(&frames, |f| f.overlap > 0.5),
            precision_20: share(&frames, |f| f.distance <= 20.0),
            normalised_precision_auc: mean(of.normalised.iter().copied()).unwrap_or(0.0),
            normalised_precision_20: share(&frames, |f| f.normalised <= 0.2),
            average_overlap: mean(got.iter().copied()),
            frames: sequence.len() as u64,
        };
        pooled.extend(got);
        all.push(of);
        sequences.insert(sequence.name.clone(), entry);
    }
    if sequences.is_empty() {
        return Err(Error::NothingToScore);
    }
    let over = |pick: fn(&OnePassSequence) -> f64| mean(sequences.values().map(pick)).unwrap_or(0.0);
    let average = |pick: fn(&Curves) -> &Vec<f64>, points: usize| -> Vec<f64> {
        (0..points).map(|i| mean(all.iter().filter_map(|c| pick(c).get(i).copied())).unwrap_or(0.0)).collect()
    };
    let rate = |t: f64| mean(pooled.iter().map(|o| f64::from(u8::from(*o > t))));
    Ok(OnePassScore {
        protocol: "ope".to_owned(),
        success_auc: over(|s| s.success_auc),
        success_50: over(|s| s.success_50),
        precision_20: over(|s| s.precision_20),
        normalised_precision_auc: over(|s| s.normalised_precision_auc),
        normalised_precision_20: over(|s| s.normalised_precision_20),
        average_overlap: mean(pooled.iter().copied()),
        success_rate_50: rate(0.5),
        success_rate_75: rate(0.75),
        success_curve: curves.then(|| average(|c| &c.success, SUCCESS)),
        precision_curve: curves.then(|| average(|c| &c.precision, PIXELS)),
        normalised_precision_curve: curves.then(|| average(|c| &c.normalised, NORMALISED)),
        sequences,
        warnings: runs.iter().flat_map(|run| run.sequence.warnings.iter().cloned()).collect(),
    })
}

/// The box a region stands for; `None` for codes and what has no area.
fn rect(region: &Region) -> Option<Rect> {
    region.bounding_rect().filter(|r| r.is_finite() && r.width > 0.0 && r.height > 0.0)
}

/// Result and truth of the frames that count, the first frame's result being its truth.
fn pairs<'a>(
    sequence: &'a Sequence,
    trajectory: &'a Trajectory,
) -> impl Iterator<Item = (usize, Option<Rect>, Rect)> + 'a {
    trajectory.regions.iter().zip(&sequence.groundtruth).enumerate().filter_map(|(frame, (result, truth))| {
        let truth = rect(truth)?;
        Some((frame, if frame == 0 { Some(truth) } else { rect(result) }, truth))
    })
}

fn frames(sequence: &Sequence, trajectory: &Trajectory) -> Vec<Frame> {
    pairs(sequence, trajectory)
        .map(|(_, result, truth)| {
            let Some(result) = result else {
                return Frame { overlap: 0.0, distance: f64::INFINITY, normalised: f64::INFINITY };
            };
            let ((x0, y0), (x1, y1)) = (result.center(), truth.center());
            let (dx, dy) = (x0 - x1, y0 - y1);
            Frame {
                overlap: iou(&result, &truth),
                distance: dx.hypot(dy),
                normalised: (dx / truth.width).hypot(dy / truth.height),
            }
        })
        .collect()
}

fn share(frames: &[Frame], test: impl Fn(&Frame) -> bool) -> f64 {
    mean(frames.iter().map(|frame| f64::from(u8::from(test(frame))))).unwrap_or(0.0)
}

impl Curves {
    fn of(frames: &[Frame]) -> Self {
        let curve = |points: usize, test: &dyn Fn(&Frame, f64) -> bool| -> Vec<f64> {
            (0..points).map(|i| share(frames, |frame| test(frame, i as f64))).collect()
        };
        let steps = (SUCCESS - 1) as f64;
        Curves {
            success: curve(SUCCESS, &|frame, i| frame.overlap > i / steps),
            precision: curve(PIXELS, &|frame, i| frame.distance <= i),
            normalised: curve(NORMALISED, &|frame, i| frame.normalised <= i / 100.0),
        }
    }
}

/// Overlaps as GOT-10k counts them.
fn got10k(sequence: &Sequence, trajectories: &[Trajectory]) -> Result<Vec<f64>, Error> {
    let size = sequence.size().ok_or_else(|| Error::UnknownSize { sequence: sequence.name.clone() })?;
    let cover = sequence.values.get("cover");
    let seen = |frame: usize| cover.is_none_or(|cover| cover.get(frame).is_none_or(|c| *c > 0.0));
    let clipped = |r: Rect| clip(&r, size);
    let all = trajectories.iter().flat_map(|trajectory| pairs(sequence, trajectory));
    Ok(all
        .filter(|(frame, _, _)| *frame > 0 && seen(*frame))
        .map(|(_, result, truth)| result.map_or(0.0, |result| iou(&clipped(result), &clipped(truth))))
        .collect())
}

/// The corner moved into the frame, then the sides cut off at its far edges: the corner's move does not shorten the
/// sides, as in the GOT-10k toolkit.
fn clip(r: &Rect, (width, height): (u32, u32)) -> Rect {
    let (width, height) = (f64::from(width), f64::from(height));
    let (x, y) = (r.x.clamp(0.0, width), r.y.clamp(0.0, height));
    Rect::new(x, y, r.width.clamp(0.0, width - x), r.height.clamp(0.0, height - y))
}
