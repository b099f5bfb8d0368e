//! The dataset on disk and everything the programs around it share: shard writer and reader, crop geometry, image
//! decoding, and the order of samples.
//!
//! ```text
//! DATASET/
//!   dataset.json               manifest, written last
//!   index.arrow                every column but the pictures
//!   shards/shard-00000.arrow   rows with their crop pairs
//!   rejects.jsonl              what was left out
//! ```
//!
//! The columns are described in [`schemas::shard`], the promises in `docs/format.md`.

pub mod card;
pub mod chart;
pub mod cli;
pub mod crop;
pub mod derive;
pub mod diff;
pub mod disk;
pub mod fuzzing;
pub mod image;
mod index;
pub mod jpeg;
pub mod memory;
mod mix;
pub mod order;
pub mod pairs;
pub mod plan;
pub mod query;
pub mod reader;
pub mod sheet;
pub mod speed;
pub mod store;
pub mod summary;
#[cfg(feature = "turbo")]
mod turbo;
pub mod union;
pub mod usage;
pub mod verify;
mod windows;
pub mod writer;
