//! Convolutions of our own for processors, forward and backward: what Burn's backend for processors takes nearly all its time
//! for, done with less memory traffic. Used by the engine that tracks and, through [`convolve`], by Burn's tensors.
//!
//! Sums are added in an order that depends on the sizes alone, so results do not depend on the number of threads.

mod conv;
mod depthwise;
mod gradient;
mod kernel;
mod op;

pub(crate) use conv::{Conv, Planes, Scratch, pool};
pub(crate) use depthwise::depthwise;
pub(crate) use kernel::Kernel;
pub(crate) use op::{convolve, correlate, layer};
