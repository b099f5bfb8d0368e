//! From corpus to dataset: lists sources, deals their videos to shards, cuts and encodes crops in parallel, and puts
//! the shards together.
//!
//! ```text
//! source  --list-->  plan  --deal-->  shards  --decode, crop, encode-->  rows in order  --write-->  shard + record
//!                                                                        all shards     --commit->  index, manifest
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`source`] | what a corpus offers, one module per kind |
//! | [`plan`] | which video goes into which shard |
//! | [`pixels`] | from one picture to one crop pair |
//! | [`ordered`] | a parallel map with results in order and bounded memory |
//! | [`shard`] | builds one shard |
//! | [`build`](mod@build) | the whole run: resume, parts, limits |
//! | [`commit`] | checks all shards, writes index and manifest |
//! | [`pairs`] | a sampler's pairs in reading order (`ingest pairs`) |
//! | [`target`] | the folder or object storage it is built in |
//! | [`record`] | what is remembered in `DATASET/.ingest/` between runs |
//!
//! Equal input gives equal bytes: rows follow the plan, never the order in which threads finish, and nothing written
//! depends on time, paths outside the source, or the number of threads or parts. A run that is cut off at any point
//! is started again with the same command; finished shards are recognised by their record and hash.

pub mod build;
pub mod cli;
pub mod commit;
pub mod config;
pub mod error;
pub mod fuzzing;
pub mod ordered;
pub mod pairs;
pub mod pixels;
pub mod plan;
pub mod progress;
pub mod record;
pub mod report;
pub mod shard;
pub mod source;
mod space;
pub mod target;

pub use build::{BuildOptions, Part, build};
pub use commit::merge;
pub use error::IngestError;
pub use report::BuildReport;
pub use source::SourceSpec;
