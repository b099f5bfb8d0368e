//! Writing a dataset whose rows are those of others: pictures are copied byte for byte, after their checksums.

use super::deal::{Item, deal, row_bytes};
use super::pool::{Key, Pool, Video, Videos};
use super::{DeriveError, config_hash};
use crate::reader::Dataset;
use crate::writer::{Dictionaries, RowData, ShardWriter, TEMP_PREFIX, dataset_hash, write_atomic, write_index};
use schemas::build::BuildConfig;
use schemas::format::{DATASET_FORMAT, writer_stamp};
use schemas::manifest::{
    Derived, INDEX_FILE, MANIFEST_FILE, Manifest, REJECTS_FILE, SHARD_DIR, ShardEntry, SourceEntry, Totals,
};
use schemas::shard::{DatasetInfo, ShardMeta};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Stands in the new dataset's folder until it is complete: only shards beside it may be replaced. Its name is a
/// temporary file's, so that readers ignore it.
const MARKER: &str = ".tmp-derived";

/// What is to be written.
#[derive(Debug)]
pub struct Job<'a> {
    /// The datasets the rows come from.
    pub parents: &'a [Dataset],
    /// Videos to write.
    pub videos: Videos,
    /// Configuration of the new dataset.
    pub config: BuildConfig,
    /// Sources to record, with their counts.
    pub sources: Vec<SourceEntry>,
    /// Text of `rejects.jsonl`, and its lines.
    pub rejects: (Vec<u8>, u64),
    /// How it is made.
    pub derived: Derived,
}

/// The sources of the pool's datasets with the counts of `videos`. Sources that share a label become one: rows name
/// only their label.
#[must_use]
pub fn recount(pool: &Pool, videos: &Videos) -> Vec<SourceEntry> {
    let mut by_label: BTreeMap<&str, SourceEntry> = BTreeMap::new();
    for source in pool.parents.iter().flat_map(|parent| &parent.manifest().sources) {
        let fresh = || SourceEntry { name: String::new(), videos: 0, tracks: 0, rows: 0, ..source.clone() };
        let entry = by_label.entry(&source.dataset).or_insert_with(fresh);
        if !entry.name.split('+').any(|name| name == source.name) {
            let plus = if entry.name.is_empty() { "" } else { "+" };
            entry.name = format!("{}{plus}{}", entry.name, source.name);
        }
    }
    for ((label, _), video) in videos {
        if let Some(entry) = by_label.get_mut(label.as_str()) {
            entry.videos += 1;
            entry.tracks += video.tracks.len() as u64;
            entry.rows += video.rows();
        }
    }
    by_label.into_values().filter(|entry| entry.rows > 0).collect()
}

/// Refuses a folder that holds anything but the same dataset, or what an interrupted run of this kind left.
/// `Some` is the manifest of the same dataset, complete.
fn free_to_use(job: &Job<'_>, out: &Path) -> Result<Option<Manifest>, DeriveError> {
    let occupied = |reason: String| DeriveError::Occupied { path: out.to_owned(), reason };
    if out.exists() && !out.is_dir() {
        return Err(occupied("it is a file".to_owned()));
    }
    if out.join(MANIFEST_FILE).exists() {
        let there = Dataset::open(out)?;
        let there = there.manifest();
        if there.derived.as_ref() == Some(&job.derived) && there.config == job.config {
            drop(fs::remove_file(out.join(MARKER)));
            return Ok(Some(there.clone()));
        }
        return Err(occupied("it holds another dataset".to_owned()));
    }
    let names = |dir: &Path| -> Vec<String> {
        let all = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let ours = |name: &String| [SHARD_DIR, INDEX_FILE, REJECTS_FILE].contains(&name.as_str());
    let begun = |name: &String| name.starts_with(TEMP_PREFIX);
    let shard = |name: &String| name.starts_with("shard-") && name.ends_with(".arrow");
    let shard_dir = out.join(SHARD_DIR);
    let marked = out.join(MARKER).exists();
    let replaceable = |name: &String| begun(name) || (marked && shard(name));
    let foreign = names(out).into_iter().find(|name| !ours(name) && !begun(name));
    let foreign = foreign.or_else(|| names(&shard_dir).into_iter().find(|name| !replaceable(name)));
    if let Some(name) = foreign {
        return Err(occupied(format!("it holds {name}, which is not of an interrupted run")));
    }
    for (dir, list) in [(out, names(out)), (shard_dir.as_path(), names(&shard_dir))] {
        for name in list.iter().filter(|name| *name != MARKER && (begun(name) || dir != out)) {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(DeriveError::io("remove", &path))?;
        }
    }
    Ok(None)
}

/// Writes the dataset: shards, index, rejects and, last, the manifest. `told` hears (shards done, shards in all).
///
/// # Errors
/// When a parent's row is damaged, there is no row, or `out` cannot be written.
pub fn write(job: &Job<'_>, out: &Path, told: &mut dyn FnMut(usize, usize)) -> Result<Manifest, DeriveError> {
    if job.videos.is_empty() {
        return Err(DeriveError::Empty { path: out.to_owned() });
    }
    if let Some(done) = free_to_use(job, out)? {
        return Ok(done);
    }
    let (shard_dir, marker) = (out.join(SHARD_DIR), out.join(MARKER));
    fs::create_dir_all(out).map_err(DeriveError::io("create", out))?;
    write_atomic(&marker, b"").map_err(DeriveError::io("write", &marker))?;
    fs::create_dir_all(&shard_dir).map_err(DeriveError::io("create", &shard_dir))?;
    let config_hash = config_hash(&job.config);
    let per_row = |label: &str| {
        let source = job.sources.iter().find(|source| source.dataset == label);
        source.map_or(0, |s| row_bytes(s.source_bytes, s.search_px, job.config.template_px))
    };
    let named: Vec<(&Key, &Video)> = job.videos.iter().collect();
    let items: Vec<Item<'_>> = named
        .iter()
        .map(|((dataset, name), video)| Item { dataset, video: name, bytes: per_row(dataset) * video.rows() })
        .collect();
    let dealt = deal(&items, job.config.shard_bytes, job.config.seed);
    let mut meta = meta(job, &config_hash)?;
    meta.shards = u32::try_from(dealt.len()).unwrap_or(u32::MAX);
    let mut entries = Vec::with_capacity(dealt.len());
    for (number, list) in (0u32..).zip(&dealt) {
        meta.shard = number;
        let videos: Vec<_> = list.iter().filter_map(|&at| named.get(at).copied()).collect();
        entries.push(write_shard(job, out, &meta, &videos)?);
        told(entries.len(), dealt.len());
    }
    let (text, rejects) = &job.rejects;
    let file = out.join(REJECTS_FILE);
    write_atomic(&file, text).map_err(DeriveError::io("write", &file))?;
    let totals = Totals {
        videos: entries.iter().map(|entry| entry.videos).sum(),
        tracks: entries.iter().map(|entry| entry.tracks).sum(),
        rows: entries.iter().map(|entry| entry.rows).sum(),
        bytes: entries.iter().map(|entry| entry.bytes).sum(),
        rejects: *rejects,
    };
    let mut manifest = Manifest {
        format: DATASET_FORMAT,
        writer: writer_stamp("shards"),
        dataset_hash: String::new(),
        config_hash,
        config: job.config.clone(),
        sources: job.sources.clone(),
        totals,
        index_blake3: write_index(out, &entries)?,
        shards: entries,
        derived: Some(job.derived.clone()),
    };
    manifest.dataset_hash = dataset_hash(&manifest);
    let file = out.join(MANIFEST_FILE);
    let mut text = serde_json::to_string_pretty(&manifest).map_err(|e| DeriveError::io("write", &file)(e.into()))?;
    text.push('\n');
    write_atomic(&file, text.as_bytes()).map_err(DeriveError::io("write", &file))?;
    // The dataset is complete with or without it.
    drop(fs::remove_file(marker));
    Ok(manifest)
}

/// Metadata of the new shards: the parents', who must agree on what decides the pixels.
fn meta(job: &Job<'_>, config_hash: &str) -> Result<ShardMeta, DeriveError> {
    let mut metas = Vec::new();
    for parent in job.parents {
        metas.push((parent, parent.shard(0)?.meta()));
    }
    let Some(((first_parent, first), rest)) = metas.split_first() else {
        return Err(DeriveError::Parent("no dataset is given".to_owned()));
    };
    let geometry = |m: &ShardMeta| {
        [
            ("exemplar_px", m.exemplar_px.to_string()),
            ("template_px", m.template_px.to_string()),
            ("context_amount", m.context_amount.to_string()),
            ("semantics", format!("{:?}", m.semantics).to_lowercase()),
            ("subsampling", m.subsampling.clone()),
        ]
    };
    let mut datasets: Vec<DatasetInfo> = first.datasets.clone();
    for (parent, other) in rest {
        for ((key, a), (_, b)) in geometry(first).into_iter().zip(geometry(other)) {
            if a != b {
                let (x, y) = (first_parent.path().display(), parent.path().display());
                return Err(DeriveError::Parent(format!(
                    "{key} is {a} in {x} and {b} in {y}: they cannot be one dataset"
                )));
            }
        }
        for info in &other.datasets {
            match datasets.iter().find(|known| known.name == info.name) {
                None => datasets.push(info.clone()),
                Some(known) if known == info => {}
                Some(known) => {
                    return Err(DeriveError::Parent(format!(
                        "the label {:?} stands for {} crops of {} px in one dataset and {} crops of {} px in another",
                        info.name, known.kind, known.search_px, info.kind, info.search_px
                    )));
                }
            }
        }
    }
    if !rest.is_empty() {
        datasets.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let writers: BTreeSet<&str> = metas.iter().map(|(_, meta)| meta.writer.as_str()).collect();
    let quality = metas.iter().map(|(_, meta)| meta.jpeg_quality).min();
    Ok(ShardMeta {
        format: DATASET_FORMAT,
        jpeg_quality: quality.unwrap_or(first.jpeg_quality),
        datasets,
        config_hash: config_hash.to_owned(),
        // Who made the rows: a new layout is still theirs.
        writer: writers.into_iter().collect::<Vec<_>>().join(", "),
        ..(*first).clone()
    })
}

fn write_shard(
    job: &Job<'_>,
    out: &Path,
    meta: &ShardMeta,
    videos: &[(&Key, &Video)],
) -> Result<ShardEntry, DeriveError> {
    let tracks = videos.iter().flat_map(|(_, video)| &video.tracks);
    let names = Dictionaries {
        dataset: meta.datasets.iter().map(|info| info.name.clone()).collect(),
        video: videos.iter().map(|((_, name), _)| name.clone()).collect(),
        track: tracks.map(|run| run.track.clone()).collect(),
        class: videos.iter().flat_map(|(_, video)| video.classes.iter().cloned()).collect(),
    };
    let rows_per_batch = job.config.rows_per_batch as usize;
    let mut writer = ShardWriter::create(out, meta, &names, rows_per_batch, job.config.buffer_compression)?;
    for (_, video) in videos {
        let Some(parent) = job.parents.get(video.parent) else { continue };
        for run in &video.tracks {
            let track_len = u32::try_from(run.rows.len()).unwrap_or(u32::MAX);
            for (row_in_track, &at) in (0u32..).zip(&run.rows) {
                let row = parent.row(video.shard, at)?;
                row.check()?;
                let [frame_w, frame_h] = row.frame_size();
                writer.push(RowData {
                    dataset: row.dataset().to_owned(),
                    video: row.video().to_owned(),
                    track: row.track().to_owned(),
                    class: row.class().to_owned(),
                    time_ms: row.time_ms(),
                    flags: row.flags(),
                    frame: row.frame(),
                    row_in_track,
                    track_len,
                    bbox: row.bbox(),
                    scale: row.scale(),
                    frame_w,
                    frame_h,
                    pad: row.pad(),
                    template: row.template().to_vec(),
                    search: row.search().to_vec(),
                })?;
            }
        }
    }
    Ok(writer.finish()?)
}
