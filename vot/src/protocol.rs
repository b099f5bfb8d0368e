//! The supervised (reset-based) protocol of VOT2013 to VOT2019, and runs that are never started again.
//!
//! The tracker is initialised on a frame from the ground truth (code 1) and updated on each following
//! one. Where its region no longer overlaps the ground truth it has failed (code 2); it is initialised
//! again five frames after the failure, the four frames between stay unknown (code 0). A failure whose
//! re-initialisation would fall past the end leaves the rest unknown.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use crate::dialect::Dialect;
use crate::region::{FAILURE, INITIALIZATION, Region, UNKNOWN};
use crate::sequence::Sequence;

/// What a tracker says about one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Where the target is, px.
    pub region: Region,
    /// How sure the tracker is; larger is surer, the scale is the tracker's own.
    pub confidence: Option<f64>,
}

impl From<Region> for Output {
    fn from(region: Region) -> Self {
        Output { region, confidence: None }
    }
}

/// A tracker of one target. Frames are named by their index in the sequence, from 0; whoever
/// implements this holds the pictures.
pub trait Tracker {
    /// What can go wrong, for example a picture that cannot be read.
    type Error;

    /// Forgets everything and starts on `frame` with the target at `region` (px, as annotated: often a
    /// rotated polygon, see [`crate::region::siamrpn_init_box`]).
    fn init(&mut self, frame: usize, region: &Region) -> Result<(), Self::Error>;

    /// Finds the target on `frame`.
    fn update(&mut self, frame: usize) -> Result<Output, Self::Error>;
}

/// The result of one run over a sequence: one entry per frame in each list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trajectory {
    /// Region or code of each frame.
    pub regions: Vec<Region>,
    /// Seconds spent by the tracker on each frame, where it was asked.
    pub times: Vec<Option<f64>>,
    /// The tracker's confidence, where it gave one.
    pub confidences: Vec<Option<f64>>,
}

impl Trajectory {
    /// A trajectory of `length` unknown frames.
    pub fn new(length: usize) -> Self {
        Trajectory::from_regions(vec![Region::Special(UNKNOWN); length])
    }

    /// A trajectory without times and confidences.
    pub fn from_regions(regions: Vec<Region>) -> Self {
        let length = regions.len();
        Trajectory { regions, times: vec![None; length], confidences: vec![None; length] }
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Frames with the code [`FAILURE`].
    pub fn failures(&self) -> Vec<usize> {
        self.frames_with(FAILURE)
    }

    /// Frames with the code [`INITIALIZATION`].
    pub fn initializations(&self) -> Vec<usize> {
        self.frames_with(INITIALIZATION)
    }

    fn frames_with(&self, code: i32) -> Vec<usize> {
        self.regions.iter().enumerate().filter(|(_, region)| region.is_code(code)).map(|(frame, _)| frame).collect()
    }

    /// Frames per second of the tracker: frames with a time / their sum. `None` without times.
    pub fn fps(&self) -> Option<f64> {
        let known: Vec<f64> = self.times.iter().flatten().copied().collect();
        let seconds: f64 = known.iter().sum();
        (seconds > 0.0 && seconds.is_finite()).then(|| known.len() as f64 / seconds)
    }

    fn set(&mut self, frame: usize, region: Region, seconds: f64, confidence: Option<f64>) {
        if let (Some(r), Some(t), Some(c)) =
            (self.regions.get_mut(frame), self.times.get_mut(frame), self.confidences.get_mut(frame))
        {
            (*r, *t, *c) = (region, Some(seconds), confidence);
        }
    }
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError<E> {
    /// No frames.
    #[error("run the tracker: the sequence has no frames")]
    Empty,
    /// No frame has a region to start from.
    #[error("run the tracker: none of the {frames} frames has a ground-truth region to start from")]
    NoInitialRegion {
        /// Frames of the sequence.
        frames: usize,
    },
    /// The tracker gave up.
    #[error("track frame {frame}: {source}")]
    Tracker {
        /// The frame, from 0.
        frame: usize,
        /// The tracker's own error.
        source: E,
    },
}

/// How a tracker is run over a sequence, and with which measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Started again after each failure (VOT2013 to VOT2019).
    #[default]
    Supervised,
    /// Started once on each anchor (VOT2020 to VOT2022).
    MultiStart,
    /// Started once, with confidences (VOT-LT).
    LongTerm,
    /// Started once (OTB, GOT-10k, LaSOT, TrackingNet).
    OnePass,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Protocol; 4] = [Protocol::Supervised, Protocol::MultiStart, Protocol::LongTerm, Protocol::OnePass];

    /// The name used on the command line and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Supervised => "supervised",
            Protocol::MultiStart => "multistart",
            Protocol::LongTerm => "longterm",
            Protocol::OnePass => "ope",
        }
    }

    /// The folder of its results, as the official stacks name the experiment.
    pub fn experiment(self) -> &'static str {
        match self {
            Protocol::Supervised | Protocol::MultiStart => "baseline",
            Protocol::LongTerm => "longterm",
            Protocol::OnePass => "unsupervised",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A protocol name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol `{found}`: use one of supervised, multistart, longterm, ope")]
pub struct UnknownProtocol {
    /// What was given.
    pub found: String,
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == text);
        found.ok_or_else(|| UnknownProtocol { found: text.to_owned() })
    }
}

/// Where a run of the multi-start protocol begins, and which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor {
    /// The frame of the initialisation, from 0.
    pub frame: usize,
    /// Whether the run goes from there to the first frame instead of to the last.
    pub backward: bool,
}

impl Anchor {
    /// The anchors of a sequence, from its values `anchor`: above 0 forward, below 0 backward. Forward ones first.
    pub fn of(sequence: &Sequence) -> Vec<Anchor> {
        let values = sequence.values.get("anchor").map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<Anchor> = values
            .iter()
            .enumerate()
            .filter(|(_, value)| **value != 0.0 && !value.is_nan())
            .map(|(frame, value)| Anchor { frame, backward: *value < 0.0 })
            .collect();
        found.sort_by_key(|anchor| anchor.backward);
        found
    }

    /// The frames of the run in order, for a sequence of `length` frames.
    pub fn frames(self, length: usize) -> Vec<usize> {
        if self.backward { (0..=self.frame).rev().collect() } else { (self.frame..length).collect() }
    }
}

/// Runs the tracker over the frames `order` of a sequence without ever starting it again: it is initialised on the
/// first of them, which gets the code 1. One entry per frame of `order`.
///
/// This is the unsupervised experiment (all frames in order; long-term and one-pass measures) and one run of the
/// multi-start experiment ([`Anchor::frames`]).
///
/// # Errors
/// [`ProtocolError`] when the first frame has no region to start from, or the tracker fails.
pub fn run_once<T: Tracker>(
    tracker: &mut T,
    groundtruth: &[Region],
    order: &[usize],
) -> Result<Trajectory, ProtocolError<T::Error>> {
    let Some(first) = order.first() else { return Err(ProtocolError::Empty) };
    let Some(region) = groundtruth.get(*first).filter(|region| region.is_shape()) else {
        return Err(ProtocolError::NoInitialRegion { frames: 1 });
    };
    let mut trajectory = Trajectory::new(order.len());
    let watch = Instant::now();
    tracker.init(*first, region).map_err(|source| ProtocolError::Tracker { frame: *first, source })?;
    trajectory.set(0, Region::Special(INITIALIZATION), watch.elapsed().as_secs_f64(), None);
    for (at, frame) in order.iter().enumerate().skip(1) {
        let watch = Instant::now();
        let output = tracker.update(*frame).map_err(|source| ProtocolError::Tracker { frame: *frame, source })?;
        trajectory.set(at, output.region, watch.elapsed().as_secs_f64(), output.confidence);
    }
    Ok(trajectory)
}

/// The supervised protocol and its constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervised {
    /// Decides the failure test ([`Dialect::failure_overlap`]) and where re-initialisation goes.
    pub dialect: Dialect,
    /// Frames from a failure to the next initialisation: 5.
    pub skip: usize,
    /// Runs over each sequence, at most: 15 in the official toolkits, 1 in PySOT and MindSpore.
    pub repetitions: usize,
}

impl Supervised {
    /// The protocol with a dialect's constants.
    pub fn new(dialect: Dialect) -> Self {
        let repetitions = match dialect {
            Dialect::VotPython | Dialect::VotMatlab2015 | Dialect::VotMatlab => 15,
            Dialect::Pysot | Dialect::Mindspore => 1,
        };
        Supervised { dialect, skip: 5, repetitions }
    }

    /// The frame after a failure on which the tracker starts again: f + 5; MindSpore's min(f + 5, n - 1).
    fn restart(&self, failed: usize, frames: usize) -> usize {
        match self.dialect {
            Dialect::Mindspore => (failed + self.skip).min(frames.saturating_sub(1)).max(failed + 1),
            _ => failed + self.skip,
        }
    }

    /// Runs the tracker once over a sequence with one ground-truth region per frame and frames of
    /// `size` (width, height) px.
    ///
    /// A frame whose ground truth is no region cannot start a tracker: the start moves to the next
    /// frame that has one, frames between stay unknown (the official toolkits leave this open).
    /// A tracker that reports no region where there is ground truth has failed; where the ground truth
    /// is a code, the dialect decides ([`Dialect::failure_overlap`]: a failure in `vot-python` only).
    pub fn run<T: Tracker>(
        &self,
        tracker: &mut T,
        groundtruth: &[Region],
        size: (u32, u32),
    ) -> Result<Trajectory, ProtocolError<T::Error>> {
        let frames = groundtruth.len();
        if frames == 0 {
            return Err(ProtocolError::Empty);
        }
        let mut trajectory = Trajectory::new(frames);
        let mut start = 0;
        while let Some((first, region)) = next_region(groundtruth, start) {
            let watch = Instant::now();
            tracker.init(first, region).map_err(|source| ProtocolError::Tracker { frame: first, source })?;
            trajectory.set(first, Region::Special(INITIALIZATION), watch.elapsed().as_secs_f64(), None);
            start = frames;
            for (frame, truth) in groundtruth.iter().enumerate().skip(first + 1) {
                let watch = Instant::now();
                let output = tracker.update(frame).map_err(|source| ProtocolError::Tracker { frame, source })?;
                let seconds = watch.elapsed().as_secs_f64();
                if self.failed(&output.region, truth, size) {
                    trajectory.set(frame, Region::Special(FAILURE), seconds, output.confidence);
                    start = self.restart(frame, frames);
                    break;
                }
                trajectory.set(frame, output.region, seconds, output.confidence);
            }
        }
        if trajectory.regions.iter().any(|region| region.is_code(INITIALIZATION)) {
            Ok(trajectory)
        } else {
            Err(ProtocolError::NoInitialRegion { frames })
        }
    }

    fn failed(&self, result: &Region, truth: &Region, size: (u32, u32)) -> bool {
        if truth.is_shape() && !result.is_shape() {
            return true;
        }
        self.dialect.failure_overlap(result, truth, size) <= 0.0
    }

    /// Runs the tracker up to [`Supervised::repetitions`] times, and no further once
    /// [`Supervised::can_stop`] says that it is deterministic.
    pub fn run_repetitions<T: Tracker>(
        &self,
        tracker: &mut T,
        groundtruth: &[Region],
        size: (u32, u32),
    ) -> Result<Vec<Trajectory>, ProtocolError<T::Error>> {
        let mut done = Vec::new();
        while done.len() < self.repetitions && !self.can_stop(&done, size) {
            done.push(self.run(tracker, groundtruth, size)?);
        }
        Ok(done)
    }

    /// Whether the first three of the runs made are the same, so that more would tell nothing.
    ///
    /// Same means on every frame: both are codes (equal ones, except in Python), or both are regions and
    /// overlap by at least 0.99999 (Python) or more than 0.999 (MATLAB). Frames of `size` (width, height) px.
    pub fn can_stop(&self, done: &[Trajectory], size: (u32, u32)) -> bool {
        let [first, second, third, ..] = done else { return false };
        [second, third].into_iter().all(|other| {
            first.len() == other.len() && first.regions.iter().zip(&other.regions).all(|(a, b)| self.same(a, b, size))
        })
    }

    fn same(&self, a: &Region, b: &Region, size: (u32, u32)) -> bool {
        match (a.is_shape(), b.is_shape()) {
            (true, true) => {
                // Outside of the frame the overlap of a region with itself need not be 1.
                a == b
                    || match self.dialect {
                        Dialect::VotPython => crate::overlap::python_overlap(a, b, None) >= 0.99999,
                        _ => self.dialect.failure_overlap(a, b, size) > 0.999,
                    }
            }
            (false, false) => self.dialect == Dialect::VotPython || a == b,
            _ => false,
        }
    }
}

/// The first frame from `start` on whose ground truth is a region.
fn next_region(groundtruth: &[Region], start: usize) -> Option<(usize, &Region)> {
    groundtruth.iter().enumerate().skip(start).find(|(_, region)| region.is_shape())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (320, 240);

    /// Plays back prepared regions and notes where it was started.
    struct Playback {
        regions: Vec<Region>,
        started: Vec<usize>,
        fail_at: Option<usize>,
    }

    impl Playback {
        fn new(regions: Vec<Region>) -> Self {
            Playback { regions, started: Vec::new(), fail_at: None }
        }
    }

    impl Tracker for Playback {
        type Error = String;

        fn init(&mut self, frame: usize, region: &Region) -> Result<(), String> {
            assert!(region.is_shape());
            self.started.push(frame);
            Ok(())
        }

        fn update(&mut self, frame: usize) -> Result<Output, String> {
            if self.fail_at == Some(frame) {
                return Err("the picture is gone".to_owned());
            }
            Ok(Output { region: self.regions[frame].clone(), confidence: Some(0.5) })
        }
    }

    fn boxes(count: usize) -> Vec<Region> {
        vec![Region::rect(100.0, 100.0, 30.0, 20.0); count]
    }

    fn codes(trajectory: &Trajectory) -> String {
        trajectory
            .regions
            .iter()
            .map(|region| match region {
                Region::Special(code) => code.to_string(),
                _ => ".".to_owned(),
            })
            .collect()
    }

    fn run(dialect: Dialect, lost: &[usize], frames: usize) -> (String, Vec<usize>) {
        let mut regions = boxes(frames);
        for frame in lost {
            regions[*frame] = Region::rect(10.0, 10.0, 5.0, 5.0);
        }
        let mut tracker = Playback::new(regions);
        let trajectory = Supervised::new(dialect).run(&mut tracker, &boxes(frames), SIZE).unwrap();
        (codes(&trajectory), tracker.started)
    }

    #[test]
    fn five_frames_from_failure_to_restart() {
        for dialect in Dialect::ALL {
            assert_eq!(run(dialect, &[4], 14), ("1...200001....".to_owned(), vec![0, 9]));
        }
    }

    #[test]
    fn no_restart_past_the_end_except_in_mindspore() {
        assert_eq!(run(Dialect::VotMatlab, &[9], 12), ("1........200".to_owned(), vec![0]));
        assert_eq!(run(Dialect::Mindspore, &[9], 12), ("1........201".to_owned(), vec![0, 11]));
        assert_eq!(run(Dialect::Mindspore, &[11], 12), ("1..........2".to_owned(), vec![0]));
        assert_eq!(run(Dialect::VotPython, &[9], 15), ("1........200001".to_owned(), vec![0, 14]));
    }

    #[test]
    fn failures_in_a_row() {
        assert_eq!(run(Dialect::Pysot, &[2, 8], 16).0, "1.200001200001..");
    }

    #[test]
    fn unannotated_frames() {
        let mut truth = boxes(12);
        for frame in [0, 1, 5] {
            truth[frame] = Region::Special(UNKNOWN);
        }
        let matlab = Supervised::new(Dialect::VotMatlab).run(&mut Playback::new(boxes(12)), &truth, SIZE).unwrap();
        assert_eq!(codes(&matlab), "001.........");
        let python = Supervised::new(Dialect::VotPython).run(&mut Playback::new(boxes(12)), &truth, SIZE).unwrap();
        assert_eq!(codes(&python), "001..200001.");
        let nothing = vec![Region::Special(UNKNOWN); 3];
        let error = Supervised::new(Dialect::VotMatlab).run(&mut Playback::new(boxes(3)), &nothing, SIZE).unwrap_err();
        assert!(matches!(error, ProtocolError::NoInitialRegion { frames: 3 }), "{error}");
        let error = Supervised::new(Dialect::VotMatlab).run(&mut Playback::new(vec![]), &[], SIZE).unwrap_err();
        assert!(matches!(error, ProtocolError::Empty));
    }

    #[test]
    fn reporting_nothing_is_a_failure() {
        let mut regions = boxes(5);
        regions[2] = Region::Special(UNKNOWN);
        regions[3] = Region::rect(f64::NAN, 1.0, 1.0, 1.0);
        for dialect in Dialect::ALL {
            let trajectory =
                Supervised::new(dialect).run(&mut Playback::new(regions.clone()), &boxes(5), SIZE).unwrap();
            assert_eq!(trajectory.failures(), vec![2], "{dialect}");
        }
    }

    #[test]
    fn times_and_confidences_are_kept_where_the_tracker_ran() {
        let mut tracker = Playback::new(boxes(6));
        tracker.regions[2] = Region::rect(0.0, 0.0, 2.0, 2.0);
        let trajectory = Supervised::new(Dialect::VotMatlab).run(&mut tracker, &boxes(6), SIZE).unwrap();
        assert_eq!(codes(&trajectory), "1.2000");
        let known: Vec<bool> = trajectory.times.iter().map(Option::is_some).collect();
        assert_eq!(known, [true, true, true, false, false, false]);
        assert_eq!(trajectory.confidences, [None, Some(0.5), Some(0.5), None, None, None]);
        assert!(trajectory.fps().unwrap() > 0.0);
        assert_eq!(Trajectory::new(3).fps(), None);
    }

    #[test]
    fn a_deterministic_tracker_runs_three_times() {
        let rules = Supervised::new(Dialect::VotMatlab);
        let same = rules.run_repetitions(&mut Playback::new(boxes(8)), &boxes(8), SIZE).unwrap();
        assert_eq!(same.len(), 3);
        /// Drifts further with every start.
        struct Drifting(f64);
        impl Tracker for Drifting {
            type Error = String;
            fn init(&mut self, _: usize, _: &Region) -> Result<(), String> {
                self.0 += 0.5;
                Ok(())
            }
            fn update(&mut self, _: usize) -> Result<Output, String> {
                Ok(Region::rect(100.0 + self.0, 100.0, 30.0, 20.0).into())
            }
        }
        let different = rules.run_repetitions(&mut Drifting(0.0), &boxes(8), SIZE).unwrap();
        assert_eq!(different.len(), 15);
        let one = Supervised::new(Dialect::Mindspore);
        assert_eq!(one.run_repetitions(&mut Drifting(0.0), &boxes(8), SIZE).unwrap().len(), 1);
    }

    #[test]
    fn the_trackers_error_names_the_frame() {
        let mut tracker = Playback::new(boxes(8));
        tracker.fail_at = Some(3);
        let error = Supervised::new(Dialect::VotMatlab).run(&mut tracker, &boxes(8), SIZE).unwrap_err();
        assert_eq!(error.to_string(), "track frame 3: the picture is gone");
    }
}
