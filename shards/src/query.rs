//! Questions to the index, answered by polars: filters in SQL and summaries per dataset.

use crate::reader::Index;
use polars::prelude::*;
use polars_io::SerReader;
use polars_io::ipc::IpcReader;
use schemas::manifest::INDEX_FILE;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Why the index could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The index is missing, damaged or not an index.
    #[error(transparent)]
    Index(#[from] crate::reader::ReadError),
    /// The index cannot be opened.
    #[error("could not read {path}: {source}")]
    Io {
        /// The index.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// polars refused the file or the question.
    #[error("could not ask the index {path}: {message}")]
    Polars {
        /// The index.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The filter cannot be understood.
    #[error(
        "the filter {filter:?} is not a condition over the index's columns: {message} (example: \"box_w > 40 AND dataset = 'vid'\")"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        message: String,
    },
}

/// The index of a dataset as a polars frame; dictionary columns become text.
pub struct Table {
    path: PathBuf,
    frame: DataFrame,
}

impl Table {
    /// Reads `index.arrow`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(dataset: &Path) -> Result<Self, QueryError> {
        let path = dataset.join(INDEX_FILE);
        // Polars trusts what it reads: our own checks come first.
        Index::check(dataset)?;
        let file = File::open(&path).map_err(|source| QueryError::Io { path: path.clone(), source })?;
        let polars = |e: PolarsError| QueryError::Polars { path: path.clone(), message: e.to_string() };
        let damaged = |_| QueryError::Polars { path: path.clone(), message: "its structure is invalid".to_owned() };
        let read = std::panic::AssertUnwindSafe(|| IpcReader::new(file).finish());
        let frame = std::panic::catch_unwind(read).map_err(damaged)?.map_err(polars)?;
        let text = ["dataset", "video", "track", "class"].map(|name| col(name).cast(DataType::String));
        let frame = frame.lazy().with_columns(text).collect().map_err(polars)?;
        Ok(Self { path, frame })
    }

    fn failed(&self, e: &PolarsError) -> QueryError {
        QueryError::Polars { path: self.path.clone(), message: e.to_string() }
    }

    /// The rows for which the SQL condition holds, all without one.
    fn select(&self, filter: Option<&str>) -> Result<DataFrame, QueryError> {
        let Some(filter) = filter else { return Ok(self.frame.clone()) };
        let bad = |e: PolarsError| QueryError::Filter { filter: filter.to_owned(), message: e.to_string() };
        let condition = polars::sql::sql_expr(filter).map_err(bad)?;
        self.frame.clone().lazy().filter(condition).collect().map_err(bad)
    }

    /// The first `limit` rows for which the SQL condition holds, as JSON objects.
    ///
    /// # Errors
    /// When the filter is not a condition over the columns.
    pub fn rows(&self, filter: Option<&str>, limit: usize) -> Result<Vec<serde_json::Value>, QueryError> {
        self.objects(&self.select(filter)?.head(Some(limit)))
    }

    /// Calls `f` with every row for which the SQL condition holds, as a JSON object; only a page of them is in memory at
    /// a time.
    ///
    /// # Errors
    /// When the filter is not a condition over the columns, or `f` fails.
    pub fn each<E: From<QueryError>>(
        &self,
        filter: Option<&str>,
        mut f: impl FnMut(serde_json::Value) -> Result<(), E>,
    ) -> Result<(), E> {
        let frame = self.select(filter)?;
        for start in (0..frame.height()).step_by(PAGE) {
            let start = i64::try_from(start).unwrap_or(i64::MAX);
            self.objects(&frame.slice(start, PAGE))?.into_iter().try_for_each(&mut f)?;
        }
        Ok(())
    }

    fn objects(&self, frame: &DataFrame) -> Result<Vec<serde_json::Value>, QueryError> {
        (0..frame.height())
            .map(|row| {
                let object = frame
                    .columns()
                    .iter()
                    .map(|column| Ok((column.name().to_string(), json(&column.get(row)?))))
                    .collect::<PolarsResult<serde_json::Map<_, _>>>()
                    .map_err(|e| self.failed(&e))?;
                Ok(object.into())
            })
            .collect()
    }

    /// `sample_id` of every row for which the SQL condition holds, sorted.
    ///
    /// # Errors
    /// When the filter is not a condition over the columns.
    pub fn ids(&self, filter: &str) -> Result<Vec<u64>, QueryError> {
        let frame = self.select(Some(filter))?;
        let column = frame.column("sample_id").map_err(|e| self.failed(&e))?;
        let mut ids: Vec<u64> = column.u64().map_err(|e| self.failed(&e))?.iter().flatten().collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// One line per column: least, mean, median and largest value of numbers, number of different values of text.
    ///
    /// # Errors
    /// When polars fails.
    pub fn columns(&self) -> Result<Vec<ColumnStats>, QueryError> {
        let mut lines = Vec::new();
        for column in self.frame.columns() {
            let name = column.name().as_str();
            let distinct = column.n_unique().map_err(|e| self.failed(&e))? as u64;
            let numbers = if column.dtype() == &DataType::String {
                None
            } else {
                let values = column.cast(&DataType::Float64).map_err(|e| self.failed(&e))?;
                let values = values.f64().map_err(|e| self.failed(&e))?;
                let mut sorted: Vec<f64> = values.iter().flatten().collect();
                sorted.sort_by(f64::total_cmp);
                let at = |share: f64| {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
                    let place = ((sorted.len().saturating_sub(1)) as f64 * share) as usize;
                    sorted.get(place).copied().unwrap_or(f64::NAN)
                };
                let mean = sorted.iter().sum::<f64>() / sorted.len().max(1) as f64;
                Some(Numbers { min: at(0.0), mean, median: at(0.5), p95: at(0.95), max: at(1.0) })
            };
            lines.push(ColumnStats { column: name.to_owned(), distinct, numbers });
        }
        Ok(lines)
    }

    /// One line per `dataset` label: rows, videos, tracks, and means of box size, aspect, track length and padding.
    ///
    /// # Errors
    /// When polars fails.
    pub fn per_dataset(&self) -> Result<Vec<serde_json::Value>, QueryError> {
        let size = (col("box_w") * col("box_h")).sqrt();
        let id = || concat_str([col("video"), col("track")], "\u{1f}", false);
        let frame = self
            .frame
            .clone()
            .lazy()
            .group_by([col("dataset")])
            .agg([
                len().alias("rows"),
                col("video").n_unique().alias("videos"),
                id().n_unique().alias("tracks"),
                size.mean().alias("box_size_mean_px"),
                (col("box_h") / col("box_w")).median().alias("aspect_median"),
                col("pad").mean().alias("pad_mean"),
            ])
            .sort(["dataset"], SortMultipleOptions::default())
            .collect()
            .map_err(|e| self.failed(&e))?;
        Self { path: self.path.clone(), frame }.rows(None, usize::MAX)
    }

    /// Values of a computed column, for histograms: `box_size` (px), `aspect` (h / w) or `track_len` (one per track).
    ///
    /// # Errors
    /// When polars fails.
    pub fn values(&self, what: Histogram) -> Result<Vec<f64>, QueryError> {
        let lazy = self.frame.clone().lazy();
        let lazy = match what {
            Histogram::BoxSize => lazy.select([(col("box_w") * col("box_h")).sqrt().alias("v")]),
            Histogram::Aspect => lazy.select([(col("box_h") / col("box_w")).alias("v")]),
            Histogram::TrackLength => lazy.filter(col("row_in_track").eq(lit(0))).select([col("track_len").alias("v")]),
        };
        let frame = lazy.select([col("v").cast(DataType::Float64)]).collect().map_err(|e| self.failed(&e))?;
        let column = frame.column("v").map_err(|e| self.failed(&e))?;
        let values = column.f64().map_err(|e| self.failed(&e))?;
        Ok(values.iter().flatten().collect())
    }
}

/// Rows turned to JSON at a time.
const PAGE: usize = 8192;

/// What [`Table::columns`] says of a column.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ColumnStats {
    /// Its name.
    pub column: String,
    /// Number of different values.
    pub distinct: u64,
    /// Of a column of numbers.
    #[serde(flatten)]
    pub numbers: Option<Numbers>,
}

/// Statistics of numbers.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Numbers {
    /// Least.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Middle one, the lower of two.
    pub median: f64,
    /// The one at 95 %.
    pub p95: f64,
    /// Largest.
    pub max: f64,
}

/// What `shards inspect` draws histograms of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Histogram {
    /// sqrt(w h) of the box in search-crop pixels.
    BoxSize,
    /// h / w of the box.
    Aspect,
    /// Rows per track.
    TrackLength,
}

fn json(value: &AnyValue<'_>) -> serde_json::Value {
    match value {
        AnyValue::Null => serde_json::Value::Null,
        AnyValue::String(s) => (*s).into(),
        AnyValue::StringOwned(s) => s.as_str().into(),
        AnyValue::Float32(v) => (*v).into(),
        AnyValue::Float64(v) => (*v).into(),
        AnyValue::UInt64(v) => (*v).into(),
        AnyValue::Int64(v) => (*v).into(),
        other => match other.extract::<i64>() {
            Some(v) => v.into(),
            None => other.to_string().into(),
        },
    }
}

/// Bars of a text histogram: edges, counts.
#[must_use]
pub fn histogram(values: &[f64], bins: usize) -> Vec<(f64, f64, usize)> {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high || bins == 0 {
        return Vec::new();
    }
    let width = ((high - low) / bins as f64).max(f64::MIN_POSITIVE);
    let mut counts = vec![0; bins];
    for v in finite() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "v >= low, and clamped above")]
        let bin = (((v - low) / width) as usize).min(bins - 1);
        if let Some(count) = counts.get_mut(bin) {
            *count += 1;
        }
    }
    counts.into_iter().enumerate().map(|(i, n)| (low + width * i as f64, low + width * (i + 1) as f64, n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_everything_once() {
        let bars = histogram(&[1.0, 2.0, 2.5, 9.0, f64::NAN], 4);
        assert_eq!(bars.iter().map(|b| b.2).sum::<usize>(), 4);
        assert_eq!(bars.iter().map(|b| b.2).collect::<Vec<_>>(), [3, 0, 0, 1]);
        assert_eq!(histogram(&[], 4), []);
        assert_eq!(histogram(&[3.0, 3.0], 2)[1].2 + histogram(&[3.0, 3.0], 2)[0].2, 2);
    }
}
