//! Visual object tracking evaluation: regions and their overlap, sequence readers, the supervised
//! (reset-based) protocol, result files, and the measures accuracy, robustness and EAO.
//!
//! The measures exist in several official *dialects* that differ by up to 0.1 on the same results;
//! every number made here carries the [`Dialect`] it was computed in. No image is ever decoded and
//! nothing here knows a network: a tracker is anything that implements [`protocol::Tracker`].
//!
//! Flow of data: [`sequence`] reads frames and ground truth, [`protocol`] runs a tracker over them
//! and yields trajectories, [`results`] stores these in the official files, [`measures`] scores them,
//! [`compare`] says how far the scores can be trusted.
//! [`region`] and [`overlap`] are the ground all of them stand on.
//!
//! Coordinates are pixels as written in VOT text files; a box is (x, y, width, height) with (x, y)
//! its left top corner.
//!
//! ```
//! use vot::measures::{Runs, ScoreOptions, score};
//! use vot::protocol::{Output, Supervised, Tracker};
//! use vot::{Dialect, Region, Sequence};
//!
//! /// A tracker that believes that nothing ever moves.
//! struct Still(Region);
//!
//! impl Tracker for Still {
//!     type Error = std::io::Error;
//!     fn init(&mut self, _frame: usize, region: &Region) -> Result<(), Self::Error> {
//!         self.0 = region.clone();
//!         Ok(())
//!     }
//!     fn update(&mut self, _frame: usize) -> Result<Output, Self::Error> {
//!         Ok(self.0.clone().into())
//!     }
//! }
//!
//! let truth: Vec<Region> = (0..60).map(|t| Region::rect(20.0 + f64::from(t), 30.0, 40.0, 40.0)).collect();
//! let sequence = Sequence::new("moving", truth, Some((320, 240)));
//! let rules = Supervised::new(Dialect::VotMatlab);
//! let runs = rules.run_repetitions(&mut Still(Region::Special(0)), &sequence.groundtruth, (320, 240))?;
//! let score = score(
//!     Dialect::VotMatlab,
//!     &[Runs { sequence: &sequence, trajectories: &runs }],
//!     &ScoreOptions { interval: Some((10, 50)), ..ScoreOptions::default() },
//! )?;
//! assert_eq!((runs.len(), score.failures), (3, 1.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod compare;
pub mod dialect;
pub mod error;
pub mod measures;
pub mod overlap;
pub mod protocol;
pub mod region;
pub mod results;
pub mod sequence;

pub use dialect::Dialect;
pub use error::Error;
pub use region::{Mask, Rect, Region};
pub use sequence::Sequence;
