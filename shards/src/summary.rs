//! What a dataset holds, in numbers: for `shards inspect`, its drawing, and the dataset card.

use crate::query::{Histogram, QueryError, Table, histogram};
use crate::reader::{Dataset, ReadError};
use schemas::manifest::Manifest;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bars of one histogram: (from, to, count).
pub type Bars = Vec<(f64, f64, usize)>;

/// The numbers of a dataset.
pub struct Summary {
    path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// One object per `dataset` label, see [`Table::per_dataset`].
    pub per_dataset: Vec<Value>,
    /// Title, key and values of each histogram.
    values: Vec<(&'static str, &'static str, Vec<f64>)>,
}

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// The dataset cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The index cannot be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// Bytes for people.
#[must_use]
pub fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

impl Summary {
    /// Reads manifest and index.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn read(path: &Path) -> Result<Self, SummaryError> {
        let dataset = Dataset::open(path)?;
        let table = Table::read(path)?;
        let mut values = Vec::new();
        for (title, key, kind) in [
            ("box size, px of the search crop", "box_size_px", Histogram::BoxSize),
            ("aspect, height / width", "aspect", Histogram::Aspect),
            ("rows per track", "track_len", Histogram::TrackLength),
        ] {
            values.push((title, key, table.values(kind)?));
        }
        let manifest = dataset.manifest().clone();
        Ok(Self { path: path.to_owned(), manifest, per_dataset: table.per_dataset()?, values })
    }

    /// Title, key and bars of each histogram.
    #[must_use]
    pub fn histograms(&self, bins: usize) -> Vec<(&'static str, &'static str, Bars)> {
        self.values.iter().map(|(title, key, values)| (*title, *key, histogram(values, bins))).collect()
    }

    /// Rows and tracks of each `dataset` label.
    #[must_use]
    pub fn tracks_per_dataset(&self) -> Vec<(&str, u64, u64)> {
        let number = |line: &Value, key: &str| line.get(key).and_then(Value::as_u64).unwrap_or_default();
        let name = |line| Value::as_str(line).unwrap_or_default();
        self.per_dataset
            .iter()
            .map(|line| (line.get("dataset").map_or("", name), number(line, "rows"), number(line, "tracks")))
            .collect()
    }

    /// Everything as one JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        let manifest = &self.manifest;
        let histograms: serde_json::Map<String, Value> = self
            .histograms(8)
            .iter()
            .map(|(_, key, bars)| {
                let bars = bars.iter().map(|(low, high, n)| json!({"from": low, "to": high, "count": n})).collect();
                ((*key).to_owned(), Value::Array(bars))
            })
            .collect();
        json!({
            "format": manifest.format, "writer": manifest.writer, "dataset_hash": manifest.dataset_hash,
            "config_hash": manifest.config_hash, "totals": manifest.totals, "sources": manifest.sources,
            "shards": manifest.shards.len(), "derived": manifest.derived, "datasets": self.per_dataset,
            "histograms": histograms,
        })
    }

    /// Everything as text.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let manifest = &self.manifest;
        let totals = &manifest.totals;
        writeln!(out, "{}  (format {}, written by {})", self.path.display(), manifest.format, manifest.writer)?;
        writeln!(out, "hash      {}", manifest.dataset_hash)?;
        writeln!(
            out,
            "total     {} rows, {} tracks, {} videos in {} shards, {}, {} rejected inputs",
            totals.rows,
            totals.tracks,
            totals.videos,
            manifest.shards.len(),
            human(totals.bytes),
            totals.rejects
        )?;
        let config = &manifest.config;
        writeln!(
            out,
            "crops     exemplar {} px, template {} px, {:?} geometry, JPEG quality {}",
            config.exemplar_px, config.template_px, config.semantics, config.jpeg_quality
        )?;
        for source in &manifest.sources {
            writeln!(
                out,
                "source    {} ({}, from {}): {} rows, {} tracks, {} videos, search crops of {} px",
                source.dataset, source.kind, source.name, source.rows, source.tracks, source.videos, source.search_px
            )?;
        }
        if let Some(derived) = &manifest.derived {
            writeln!(out, "made by   {}", derivation(derived))?;
        }
        for line in &self.per_dataset {
            let number = |key: &str| line.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
            writeln!(
                out,
                "dataset   {}: {} rows, {} tracks, mean box {:.1} px, median aspect {:.2}, mean border fill {:.1} %",
                line.get("dataset").and_then(Value::as_str).unwrap_or_default(),
                number("rows"),
                number("tracks"),
                number("box_size_mean_px"),
                number("aspect_median"),
                100.0 * number("pad_mean")
            )?;
        }
        for (title, _, bars) in &self.histograms(8) {
            let most = bars.iter().map(|b| b.2).max().unwrap_or(1).max(1);
            writeln!(out, "\n{title}")?;
            for (low, high, n) in bars {
                writeln!(out, "{low:>9.2} .. {high:<9.2} {n:>8} {}", "#".repeat((n * 40).div_ceil(most)))?;
            }
        }
        Ok(())
    }
}

/// One line about how a dataset was made: `filter (filter = box_w > 40) of vid`.
#[must_use]
pub fn derivation(derived: &schemas::manifest::Derived) -> String {
    let settings: Vec<String> = derived.settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let parents: Vec<String> = derived
        .parents
        .iter()
        .map(|parent| match &parent.derived {
            Some(before) => format!("{} [{}]", parent.name, derivation(before)),
            None => parent.name.clone(),
        })
        .collect();
    let settings = if settings.is_empty() { String::new() } else { format!(" ({})", settings.join(", ")) };
    format!("{}{settings} of {}", derived.operation, parents.join(", "))
}
