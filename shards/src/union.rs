//! Several datasets that are read as one, without merging them on disk.
//!
//! The shards of the second dataset are numbered behind those of the first, and so on; rows, order and prefetch speak of
//! these numbers. Labels of the same name are one label to the configuration; videos of the same name stay two videos.

use crate::plan::Tracks;
use crate::reader::{Dataset, ReadError, Row};
use schemas::train::DataConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why datasets cannot be read as one.
#[derive(Debug, thiserror::Error)]
pub enum UnionError {
    /// One of them cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// None was named.
    #[error("no dataset was named")]
    Empty,
    /// The same dataset twice.
    #[error("{first} and {second} are the same dataset: name it once; data.weight_by_dataset draws more of a label")]
    Twice {
        /// The first path.
        first: PathBuf,
        /// The second path.
        second: PathBuf,
    },
    /// Their crops show targets at another scale or with another geometry.
    #[error(
        "dataset {first} has {what} = {a}, dataset {second} has {what} = {b}: no network can be trained on both; build one \
         of them again"
    )]
    Differs {
        /// The first path.
        first: PathBuf,
        /// The second path.
        second: PathBuf,
        /// The value that differs.
        what: &'static str,
        /// Value of the first.
        a: String,
        /// Value of the second.
        b: String,
    },
    /// Pairs in reading order cannot be mixed with anything.
    #[error(
        "{0} is a dataset of pairs in reading order: train on it alone; other datasets are mixed in before `ingest pairs`, \
         by `shards merge`"
    )]
    Pairs(PathBuf),
}

/// One of the datasets.
#[derive(Debug)]
struct Part {
    dataset: Dataset,
    /// Number of its first shard.
    first: u32,
}

/// Datasets that are read as one; one alone is the usual case.
#[derive(Debug)]
pub struct Union {
    parts: Vec<Part>,
    hash: String,
}

impl Union {
    /// Opens datasets, each as [`Dataset::open`] does.
    ///
    /// # Errors
    /// [`UnionError`] when one cannot be read or they do not go together.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, UnionError> {
        let mut parts: Vec<Part> = Vec::with_capacity(paths.len());
        let mut hasher = blake3::Hasher::new();
        let mut first = 0_u32;
        for path in paths {
            let dataset = Dataset::open(path.as_ref())?;
            let manifest = dataset.manifest();
            for (before, earlier) in parts.iter().zip(paths) {
                go_together((&before.dataset, earlier.as_ref()), (&dataset, path.as_ref()))?;
            }
            hasher.update(manifest.dataset_hash.as_bytes());
            let count = u32::try_from(manifest.shards.len()).unwrap_or(u32::MAX);
            parts.push(Part { dataset, first });
            first = first.saturating_add(count);
        }
        let hash = match parts.as_slice() {
            [] => return Err(UnionError::Empty),
            [one] => one.dataset.manifest().dataset_hash.clone(),
            _ => hasher.finalize().to_hex().to_string(),
        };
        Ok(Self { parts, hash })
    }

    /// The datasets, in order.
    pub fn datasets(&self) -> impl Iterator<Item = &Dataset> {
        self.parts.iter().map(|part| &part.dataset)
    }

    /// The dataset, when there is only one.
    #[must_use]
    pub fn only(&self) -> Option<&Dataset> {
        if let [one] = self.parts.as_slice() { Some(&one.dataset) } else { None }
    }

    /// Identity: the dataset hash of one dataset, blake3 over those of several in order.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Rows of all datasets.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.datasets().map(Dataset::rows).sum()
    }

    /// The tracks of all datasets that a configuration draws from, in the order of the datasets.
    ///
    /// # Errors
    /// When an index cannot be read.
    pub fn tracks(&self, config: &DataConfig) -> Result<Tracks, ReadError> {
        let mut all = Tracks::default();
        for part in &self.parts {
            all.append(Tracks::drawn(&part.dataset, config)?, part.first);
        }
        Ok(all)
    }

    /// One row, as [`Dataset::row`].
    ///
    /// # Errors
    /// As [`Dataset::row`].
    pub fn row(&self, shard: u32, row: u32) -> Result<Row, ReadError> {
        let number = self.parts.partition_point(|part| part.first <= shard).saturating_sub(1);
        // There is at least one dataset, and the first one's shards begin at 0.
        let part = self.parts.get(number).ok_or_else(|| ReadError::NoManifest(PathBuf::new()))?;
        part.dataset.row(shard - part.first, row)
    }

    /// As [`Dataset::prefetch`] for every dataset in object storage; they share the cache by what each needs at a time.
    ///
    /// # Errors
    /// When the cache is too small for all of them.
    pub fn prefetch<I: IntoIterator<Item = u32>>(
        &self,
        steps: Range<u64>,
        ahead: u64,
        shards_of: impl Fn(u64) -> I,
    ) -> Result<(), ReadError> {
        let mut own = BTreeMap::<u32, BTreeSet<u32>>::new();
        if self.parts.len() > 1 {
            for shard in steps.clone().take(usize::try_from(ahead).unwrap_or(usize::MAX)).flat_map(&shards_of) {
                if let Some(part) = self.parts.iter().rfind(|part| part.first <= shard) {
                    own.entry(part.first).or_default().insert(shard - part.first);
                }
            }
        }
        let bytes = |part: &Part| part.dataset.fetched_bytes(own.get(&part.first).into_iter().flatten().copied());
        let total: u64 = self.parts.iter().map(bytes).sum();
        for (part, last) in self.parts.iter().zip(self.parts.iter().skip(1).map(|p| p.first).chain([u32::MAX])) {
            let others = total - bytes(part);
            part.dataset.prefetch_beside(others, steps.clone(), ahead, |step| {
                let inside = move |shard: &u32| (part.first..last).contains(shard);
                shards_of(step).into_iter().filter(inside).map(|shard| shard - part.first)
            })?;
        }
        Ok(())
    }
}

/// Refuses two datasets whose crops differ, which are the same, or of which one is a dataset of pairs.
fn go_together((a, at): (&Dataset, &Path), (b, bt): (&Dataset, &Path)) -> Result<(), UnionError> {
    let (first, second) = (at.to_owned(), bt.to_owned());
    for (dataset, path) in [(a, &first), (b, &second)] {
        if dataset.manifest().config.pairs.is_some() {
            return Err(UnionError::Pairs(path.clone()));
        }
    }
    let (a, b) = (a.manifest(), b.manifest());
    if a.dataset_hash == b.dataset_hash {
        return Err(UnionError::Twice { first, second });
    }
    let (a, b) = (&a.config, &b.config);
    let semantics = |v: schemas::build::CropSemantics| serde_json::json!(v).as_str().unwrap_or_default().to_owned();
    for (what, a, b) in [
        ("exemplar_px", a.exemplar_px.to_string(), b.exemplar_px.to_string()),
        ("context_amount", a.context_amount.to_string(), b.context_amount.to_string()),
        ("semantics", semantics(a.semantics), semantics(b.semantics)),
    ] {
        if a != b {
            return Err(UnionError::Differs { first, second, what, a, b });
        }
    }
    Ok(())
}
