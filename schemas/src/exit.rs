//! Exit codes shared by `ingest`, `shards`, `trainer` and `trackd`.
//!
//! A closed pipe on standard output (`shards head ... | head -1`) counts as [`DONE`].

/// Everything asked for was done.
pub const DONE: u8 = 0;
/// The command failed; nothing that was complete before has been lost.
pub const FAILED: u8 = 1;
/// The arguments or the configuration are wrong; nothing was started.
pub const USAGE: u8 = 2;
/// The command finished, but something was lost, skipped, rejected or found damaged.
pub const LOSSY: u8 = 3;
/// Interrupted by the user after a clean checkpoint; run again (with `--resume` for training) to go on.
pub const INTERRUPTED: u8 = 130;
