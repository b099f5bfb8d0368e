//! `ingest pairs`: the pairs that a training run will draw, laid out in the order in which it reads them.

use crate::error::IngestError;
use schemas::train::{PRESETS, TrainConfig};
use serde::Serialize;
use shards::pairs::{PairsError, write};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What was laid out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairsReport {
    /// The new dataset.
    pub out: PathBuf,
    /// Its hash.
    pub dataset_hash: String,
    /// Pairs, all epochs together.
    pub pairs: u64,
    /// Pairs of one step.
    pub batch: u64,
    /// Steps of one epoch.
    pub steps_per_epoch: u64,
    /// Bytes of all shards.
    pub bytes: u64,
    /// Seconds taken.
    pub seconds: f64,
    /// Pairs written per second.
    pub pairs_per_s: f64,
}

impl fmt::Display for PairsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out, pairs, batch, steps_per_epoch, bytes, seconds, pairs_per_s, dataset_hash } = self;
        writeln!(f, "{}: {pairs} pairs in reading order", out.display())?;
        writeln!(f, "  epoch    {steps_per_epoch} steps of {batch} pairs")?;
        writeln!(f, "  bytes    {bytes}")?;
        writeln!(f, "  speed    {pairs_per_s:.0} pairs/s, {seconds:.1} s")?;
        write!(f, "  hash     {dataset_hash}")
    }
}

/// Epochs as they are given on the command line: first and last, from 1, both included.
///
/// # Errors
/// A sentence when the text is no such range.
pub fn epochs(text: &str) -> Result<RangeInclusive<u32>, String> {
    let parsed = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match parsed {
        Some((first, last)) if first >= 1 && first <= last => Ok(first..=last),
        _ => Err(format!("{text:?} is not A..B, the first and the last epoch counted from 1, for example 1..50")),
    }
}

/// The training configuration: a preset, and a file over it, as the trainer reads them.
///
/// # Errors
/// When the preset or a key is unknown, or the file cannot be read.
pub fn config(preset: &str, file: Option<&Path>) -> Result<TrainConfig, IngestError> {
    let fail = |reason: String| IngestError::Config { path: file.map(Path::to_owned), reason };
    let preset = TrainConfig::preset(preset)
        .ok_or_else(|| fail(format!("there is no preset {preset:?}; there are {}", PRESETS.join(", "))))?;
    let Some(path) = file else { return Ok(preset) };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let over: toml::Table = toml::from_str(&text).map_err(|error| fail(error.to_string().trim_end().to_owned()))?;
    let mut tree = toml::Table::try_from(preset).map_err(|error| fail(error.to_string()))?;
    lay_over(&mut tree, over);
    tree.try_into().map_err(|error: toml::de::Error| fail(error.to_string().trim_end().to_owned()))
}

/// Key by key, as the trainer does.
fn lay_over(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => lay_over(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Lays out the pairs. `proceed` is told the finished and all shards; when it answers false, the work stops.
///
/// # Errors
/// [`IngestError`] says what failed and what to do.
pub fn pairs(
    dataset: &Path,
    cfg: &TrainConfig,
    epochs: RangeInclusive<u32>,
    out: &Path,
    proceed: impl FnMut(u32, u32) -> bool,
) -> Result<PairsReport, IngestError> {
    let start = Instant::now();
    let manifest = write(dataset, cfg, epochs, out, proceed).map_err(|error| match error {
        PairsError::Interrupted => IngestError::Interrupted,
        error => IngestError::Pairs { path: dataset.to_owned(), source: Box::new(error) },
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let config = manifest.config.pairs.unwrap_or_default();
    Ok(PairsReport {
        out: out.to_owned(),
        dataset_hash: manifest.dataset_hash,
        pairs: manifest.totals.rows,
        batch: config.batch,
        steps_per_epoch: config.steps_per_epoch,
        bytes: manifest.totals.bytes,
        seconds,
        pairs_per_s: manifest.totals.rows as f64 / seconds.max(1e-9),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_laid_over_presets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.toml");
        std::fs::write(&path, "[data]\ngap = 7\n[data.gap_by_dataset]\nvid = 3\n[run]\nbatch = 8\n").unwrap();
        let cfg = config("pysot-alex", Some(&path)).unwrap();
        assert_eq!((cfg.data.gap, cfg.run.batch, cfg.data.negative_probability), (7, 8, 0.05));
        assert_eq!((cfg.data.gap_by_dataset["vid"], cfg.data.gap_by_dataset["ytbb"]), (3, 3));
        assert_eq!(config("reference", None).unwrap(), TrainConfig::preset("reference").unwrap());
        std::fs::write(&path, "[data]\ngapp = 7\n").unwrap();
        let error = config("reference", Some(&path)).unwrap_err().to_string();
        assert!(error.contains("gapp") && error.contains("train.toml"), "{error}");
        assert!(config("none", None).unwrap_err().to_string().contains("pysot-alex"));
    }

    #[test]
    fn epochs_count_from_one() {
        assert_eq!(epochs("1..50"), Ok(1..=50));
        for wrong in ["0..3", "4..3", "1-3", "1..", "a..b"] {
            assert!(epochs(wrong).unwrap_err().contains("1..50"), "{wrong}");
        }
    }
}
