//! Training of SiamRPN from a dataset of shards.
//!
//! ```text
//! config      preset < TOML file < key=value            loader   rows -> augment -> batches, ahead of the loop
//! schedule    learning rate of an epoch                  engine   one step, on one device or shared by several
//! replica     a device's share of a step                 sync     how devices agree on a gradient
//! optim       SGD as PyTorch does it                     checkpoint, metrics, tensorboard, report   what a run leaves behind
//! train       the loop (`trainer run`)                   check, bench, profile, init, export, cli   other commands
//! evaluate    epochs on a VOT data set, and a search for the tracker's constants (`trainer eval`, `trainer tune`)
//! ```
//!
//! A run folder holds `config.toml` (the effective configuration), `metrics.jsonl` and `metrics.csv`,
//! `checkpoints/step-00000100/`, `epochs/epoch-0001.safetensors`, `best.safetensors` (by validation loss) and
//! `model.safetensors` (the newest weights). On the CPU the same seed, configuration
//! and dataset give the same bits, interrupted or not.

pub mod augment;
pub mod bench;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod engine;
pub mod evaluate;
pub mod export;
pub mod fit;
pub mod init;
pub mod loader;
pub mod metrics;
pub mod optim;
pub mod plot;
pub mod profile;
mod replica;
pub mod report;
pub mod schedule;
pub mod sync;
pub mod tensorboard;
pub mod train;
pub mod validate;
