//! The videos of one or several datasets, as their indexes list them.

use super::DeriveError;
use crate::reader::{Dataset, Index};
use crate::verify::hash_file;
use schemas::manifest::INDEX_FILE;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A track: rows that lie together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Name.
    pub track: String,
    /// Rows in shard, in frame order.
    pub rows: Vec<u32>,
}

/// A video and where its rows lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// Which of the opened datasets.
    pub parent: usize,
    /// Shard there.
    pub shard: u32,
    /// Its tracks in the order of their rows.
    pub tracks: Vec<Run>,
    /// Classes of its rows.
    pub classes: BTreeSet<String>,
}

impl Video {
    /// Rows of all tracks.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tracks.iter().map(|run| run.rows.len() as u64).sum()
    }
}

/// `dataset` label and name of a video.
pub type Key = (String, String);

/// Videos by label and name.
pub type Videos = BTreeMap<Key, Video>;

/// Opened datasets and the videos in them.
#[derive(Debug)]
pub struct Pool {
    /// The datasets.
    pub parents: Vec<Dataset>,
    /// All their videos.
    pub videos: Videos,
}

impl Pool {
    /// Opens datasets and reads their indexes; `keep` chooses rows by dataset and `sample_id`.
    ///
    /// # Errors
    /// When one cannot be read, its index is not the one of its manifest, or two hold the same video.
    pub fn open(paths: &[PathBuf], keep: impl Fn(usize, u64) -> bool) -> Result<Self, DeriveError> {
        let mut pool = Self { parents: Vec::new(), videos: Videos::new() };
        for (parent, path) in paths.iter().enumerate() {
            let dataset = Dataset::open(path)?;
            let file = path.join(INDEX_FILE);
            let (_, hash) = hash_file(&file).map_err(DeriveError::io("read", &file))?;
            if hash != dataset.manifest().index_blake3 {
                return Err(DeriveError::Parent(format!(
                    "{} is not the index that dataset.json names: run `shards verify {}`",
                    file.display(),
                    path.display()
                )));
            }
            pool.parents.push(dataset);
            pool.add(parent, &Index::read(path)?, &keep)?;
        }
        Ok(pool)
    }

    fn add(&mut self, parent: usize, index: &Index, keep: &impl Fn(usize, u64) -> bool) -> Result<(), DeriveError> {
        let mut wrong = None;
        let mut last: Option<(Key, Video)> = None;
        let mut finished: Vec<(Key, Video)> = Vec::new();
        index.for_each(|row| {
            if !keep(parent, row.sample_id()) {
                return;
            }
            let (dataset, name, shard) = (row.name("dataset"), row.name("video"), row.word("shard"));
            let same = last.as_ref().is_some_and(|((d, v), at)| d == dataset && v == name && at.shard == shard);
            if !same {
                let video = Video { parent, shard, tracks: Vec::new(), classes: BTreeSet::new() };
                finished.extend(last.replace(((dataset.to_owned(), name.to_owned()), video)));
            }
            let Some((_, video)) = last.as_mut() else { return };
            let (track, class) = (row.name("track"), row.name("class"));
            if !video.classes.contains(class) {
                video.classes.insert(class.to_owned());
            }
            match video.tracks.last_mut() {
                Some(run) if run.track == track => run.rows.push(row.word("row")),
                _ => {
                    if video.tracks.iter().any(|run| run.track == track) {
                        wrong = Some(format!("the rows of track {track} of video {name} do not lie together"));
                    }
                    video.tracks.push(Run { track: track.to_owned(), rows: vec![row.word("row")] });
                }
            }
        });
        finished.extend(last);
        for (key, video) in finished {
            if let Some(there) = self.videos.get(&key) {
                let of = |n: usize| self.parents.get(n).map(|p| p.path().display().to_string()).unwrap_or_default();
                wrong = Some(if there.parent == parent {
                    format!("video {} of {} lies in two places of {}", key.1, key.0, of(parent))
                } else {
                    format!("video {} of {} is in {} and in {}", key.1, key.0, of(there.parent), of(parent))
                });
                break;
            }
            self.videos.insert(key, video);
        }
        wrong.map_or(Ok(()), |message| Err(DeriveError::Parent(message)))
    }
}
