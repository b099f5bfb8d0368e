//! Visual object tracking evaluation: regions and their overlap, sequence readers, the supervised
//! (reset-based) protocol, result files, and the measures accuracy, robustness and EAO.
//!
//! The measures exist in several official *dialects* that differ by up to 0.1 on the same results;
//! every number made here carries the [`Dialect`] it was computed in. No image is ever decoded and
//! nothing here knows a network: a tracker is anything that implements [`protocol::Tracker`].
//!
//! Flow of data: [`sequence`] reads frames and ground truth, [`protocol`] runs a tracker over them
//! and yields trajectories, [`results`] stores these in the official files, [`measures`] scores them.
//! [`region`] and [`overlap`] are the ground all of them stand on.
//!
//! Coordinates are pixels as written in VOT text files; a box is (x, y, width, height) with (x, y)
//! its left top corner.

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
