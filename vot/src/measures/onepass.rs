//! One-pass measures: success and precision of OTB, LaSOT and TrackingNet, average overlap of GOT-10k.
//!
//! Boxes are compared with exact areas. A polygon counts as its bounding box. The first frame counts with the ground
//! truth itself, except in GOT-10k, which leaves it out.

use std::collections::BTreeSet;

use schemas::score::{OnePassScore, OnePassSequence};

use super::Runs;
use super::eao::mean;
use crate::error::Error;
use crate::overlap::iou;
use crate::protocol::Trajectory;
use crate::region::{INITIALIZATION, Rect, Region, UNKNOWN};
use crate::sequence::Sequence;

/// Points of the success curve: overlap thresholds 0, 0.05, ... 1.
const SUCCESS: usize = 21;
/// Points of the precision curve: 0 to 50 px.
const PIXELS: usize = 51;
/// Points of the normalised precision curve: 0, 0.01, ... 0.5 target sizes.
const NORMALISED: usize = 51;

/// Which frames of a result count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// One-pass results: every frame with a target; the first with the ground truth as its result.
    OnePass,
    /// Results with restarts: frames on which the tracker reports a region, and those of a failure, with overlap 0 and
    /// infinite distance. Initialisations and the frames skipped before them do not count.
    Restarted,
}

/// What one frame contributes.
struct Frame {
    /// Frame, from 0.
    at: usize,
    overlap: f64,
    /// Distance of the centres in px.
    distance: f64,
    /// The same in target sizes, each axis by its own side.
    normalised: f64,
}

/// Curves and numbers over a list of frames.
#[derive(Clone, Debug)]
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
    let parts = OnePassParts::new(runs, Counted::OnePass)?;
    let all = parts.measures(&vec![1; runs.len()]);
    let names = runs.iter().map(|run| run.sequence.name.clone());
    Ok(OnePassScore {
        protocol: "ope".to_owned(),
        success_auc: all.success_auc,
        success_50: all.success_50,
        precision_20: all.precision_20,
        normalised_precision_auc: all.normalised_precision_auc,
        normalised_precision_20: all.normalised_precision_20,
        average_overlap: all.average_overlap,
        success_rate_50: all.success_rate_50,
        success_rate_75: all.success_rate_75,
        success_curve: curves.then_some(all.success),
        precision_curve: curves.then_some(all.precision),
        normalised_precision_curve: curves.then_some(all.normalised),
        sequences: names.zip(parts.each.into_iter().map(|part| part.entry)).collect(),
        warnings: runs.iter().flat_map(|run| run.sequence.warnings.iter().cloned()).collect(),
    })
}

/// What every sequence of a data set contributes to its one-pass score.
#[derive(Clone, Debug)]
pub struct OnePassParts {
    each: Vec<Part>,
}

/// What one sequence contributes.
#[derive(Clone, Debug)]
struct Part {
    entry: OnePassSequence,
    curves: Curves,
    /// GOT-10k: frames, the sum of their overlaps, those above 0.5, those above 0.75.
    got: [f64; 4],
}

/// The one-pass measures of a choice of sequences; see [`OnePassScore`] for what each is.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "named and described as in OnePassScore")]
pub struct OnePassMeasures {
    pub success_auc: f64,
    pub success_50: f64,
    pub precision_20: f64,
    pub normalised_precision_auc: f64,
    pub normalised_precision_20: f64,
    pub average_overlap: Option<f64>,
    pub success_rate_50: Option<f64>,
    pub success_rate_75: Option<f64>,
    pub success: Vec<f64>,
    pub precision: Vec<f64>,
    pub normalised: Vec<f64>,
}

impl OnePassParts {
    /// What the sequences of `runs` contribute, in their order.
    ///
    /// # Errors
    /// [`Error`] as [`onepass`] has them.
    pub fn new(runs: &[Runs<'_>], counted: Counted) -> Result<Self, Error> {
        let mut names = BTreeSet::new();
        let mut each = Vec::with_capacity(runs.len());
        for Runs { sequence, trajectories } in runs {
            if !names.insert(sequence.name.as_str()) {
                return Err(Error::DuplicateSequence { sequence: sequence.name.clone() });
            }
            super::fits(sequence, trajectories)?;
            let frames: Vec<Frame> = trajectories.iter().flat_map(|t| frames(sequence, t, counted)).collect();
            let got = got10k(sequence, trajectories)?;
            let above = |t: f64| got.iter().filter(|overlap| **overlap > t).count() as f64;
            let curves = Curves::of(&frames);
            let entry = OnePassSequence {
                success_auc: mean(curves.success.iter().copied()).unwrap_or(0.0),
                success_50: share(&frames, |f| f.overlap > 0.5),
                precision_20: share(&frames, |f| f.distance <= 20.0),
                normalised_precision_auc: mean(curves.normalised.iter().copied()).unwrap_or(0.0),
                normalised_precision_20: share(&frames, |f| f.normalised <= 0.2),
                average_overlap: mean(got.iter().copied()),
                frames: sequence.len() as u64,
            };
            let got = [got.len() as f64, got.iter().sum(), above(0.5), above(0.75)];
            each.push(Part { entry, curves, got });
        }
        if each.is_empty() { Err(Error::NothingToScore) } else { Ok(OnePassParts { each }) }
    }

    /// The measures of the data set that has sequence i `counts[i]` times; at least one count must be above 0.
    #[must_use]
    pub fn measures(&self, counts: &[u32]) -> OnePassMeasures {
        let drawn = || self.each.iter().zip(counts.iter().map(|count| f64::from(*count)));
        let times: f64 = drawn().map(|(_, times)| times).sum();
        let over =
            |pick: fn(&OnePassSequence) -> f64| drawn().map(|(part, n)| n * pick(&part.entry)).sum::<f64>() / times;
        let average = |pick: fn(&Curves) -> &Vec<f64>, points: usize| -> Vec<f64> {
            let mut curve = vec![0.0; points];
            for (part, n) in drawn() {
                curve.iter_mut().zip(pick(&part.curves)).for_each(|(sum, value)| *sum += n * value / times);
            }
            curve
        };
        let mut got = [0.0; 4];
        for (part, n) in drawn() {
            got.iter_mut().zip(part.got).for_each(|(sum, value)| *sum += n * value);
        }
        let [frames, overlaps, above_50, above_75] = got;
        let rate = |sum: f64| (frames > 0.0).then(|| sum / frames);
        OnePassMeasures {
            success_auc: over(|s| s.success_auc),
            success_50: over(|s| s.success_50),
            precision_20: over(|s| s.precision_20),
            normalised_precision_auc: over(|s| s.normalised_precision_auc),
            normalised_precision_20: over(|s| s.normalised_precision_20),
            average_overlap: rate(overlaps),
            success_rate_50: rate(above_50),
            success_rate_75: rate(above_75),
            success: average(|c| &c.success, SUCCESS),
            precision: average(|c| &c.precision, PIXELS),
            normalised: average(|c| &c.normalised, NORMALISED),
        }
    }
}

/// The frames of each run that count, after the first, with their overlaps; frames from 0.
#[must_use]
pub fn onepass_frames(run: Runs<'_>) -> Vec<Vec<(usize, f64)>> {
    let of = |trajectory| frames(run.sequence, trajectory, Counted::OnePass);
    let pair = |frame: Frame| (frame.at, frame.overlap);
    run.trajectories.iter().map(|t| of(t).into_iter().map(pair).filter(|(at, _)| *at > 0).collect()).collect()
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

fn frames(sequence: &Sequence, trajectory: &Trajectory, counted: Counted) -> Vec<Frame> {
    let runs = |at: usize| {
        let result = trajectory.regions.get(at);
        !result.is_none_or(|region| region.is_code(UNKNOWN) || region.is_code(INITIALIZATION))
    };
    pairs(sequence, trajectory)
        .filter(|(at, _, _)| counted == Counted::OnePass || runs(*at))
        .map(|(at, result, truth)| {
            let Some(result) = result else {
                return Frame { at, overlap: 0.0, distance: f64::INFINITY, normalised: f64::INFINITY };
            };
            let ((x0, y0), (x1, y1)) = (result.center(), truth.center());
            let (dx, dy) = (x0 - x1, y0 - y1);
            Frame {
                at,
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
