//! Builds one shard: lists its videos, makes their rows in parallel, writes them in the order of the plan.

use crate::error::IngestError;
use crate::ordered::ordered_map;
use crate::pixels::{self, Outcome, Pixels};
use crate::plan::{Plan, Planned};
use crate::progress::Progress;
use crate::record::{Counts, ShardRecord, piece_name};
use crate::source::spool::ShardFiles;
use crate::source::{Dropped, Source, Track, Tracks};
use crate::target::Target;
use rayon::prelude::*;
use schemas::build::BuildConfig;
use schemas::format::{DATASET_FORMAT, writer_stamp};
use schemas::manifest::{Reject, SHARD_DIR};
use schemas::shard::{DatasetInfo, ShardMeta};
use shards::disk::Disk;
use shards::writer::{Dictionaries, RowData, ShardWriter, write_piece};
use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Encoded pictures of one track above this many bytes wait for their track's end on disk.
const TRACK_MEMORY: usize = 64 << 20;

/// What all shards of a run share.
pub struct Context<'a, D: Disk> {
    /// The opened sources.
    pub sources: &'a [Source],
    /// The plan.
    pub plan: &'a Plan,
    /// The configuration.
    pub config: &'a BuildConfig,
    /// Its hash.
    pub config_hash: &'a str,
    /// Where the dataset is built.
    pub target: &'a Target<D>,
    /// Folder for temporary files.
    pub work: &'a Path,
    /// Threads that list files.
    pub pool: &'a rayon::ThreadPool,
    /// Threads that make rows.
    pub threads: usize,
    /// Set when the user asks to stop.
    pub stop: &'a AtomicBool,
    /// Rejects that are still allowed.
    pub rejects_left: u64,
    /// Where rows are counted.
    pub progress: &'a Progress,
}

/// Builds shard number `shard` and publishes it.
///
/// # Errors
/// When it cannot be written, too much is rejected, or the user asks to stop; nothing then has its final name.
pub fn build_shard<D: Disk>(ctx: &Context<'_, D>, shard: u32) -> Result<ShardRecord, IngestError> {
    let planned = ctx.plan.shards.get(shard as usize).map(Vec::as_slice).unwrap_or_default();
    let files: Vec<ShardFiles> = ctx.sources.iter().map(|source| source.open_shard(shard)).collect::<Result<_, _>>()?;
    let list = |video: &Planned| match (ctx.sources.get(video.source), files.get(video.source)) {
        (Some(source), Some(files)) => source.tracks(video.video, files),
        _ => Tracks::default(),
    };
    let listed: Vec<Tracks> = ctx.pool.install(|| planned.par_iter().map(list).collect());

    let videos: Vec<Video<'_>> = planned
        .iter()
        .zip(&listed)
        .filter_map(|(planned, tracks)| {
            let known = ctx.sources.get(planned.source)?.videos().get(planned.video)?;
            Some(Video { dataset: &known.dataset, name: &known.name, label: planned.label, tracks })
        })
        .collect();
    let writer = ShardWriter::create_on(
        ctx.target.disk(),
        ctx.target.local(),
        &meta(ctx, shard),
        &names(ctx, &videos),
        ctx.config.rows_per_batch as usize,
        ctx.config.buffer_compression,
    )?;
    let mut sink = Sink {
        ctx,
        videos: &videos,
        writer,
        track: TrackBuffer::new(ctx.work),
        counts: vec![Counts::default(); ctx.plan.labels.len()],
        counted: None,
        dropped: Dropped::default(),
        rejects: Vec::new(),
    };
    for video in &videos {
        sink.dropped.add(video.tracks.dropped);
        sink.rejects.extend(video.tracks.rejects.iter().cloned());
    }
    if shard == 0 {
        // What is wrong with a source as a whole is told once, by the shard that every dataset has.
        sink.rejects.extend(ctx.sources.iter().flat_map(|source| source.rejects().iter().cloned()));
        ctx.sources.iter().for_each(|source| sink.dropped.add(source.dropped()));
    }
    sink.check_limits()?;
    let jobs = videos.iter().enumerate().flat_map(|(v, video)| {
        let tracks = video.tracks.tracks.iter().enumerate();
        tracks.flat_map(move |(t, track)| (0..track.frames.len()).map(move |f| (v, t, f)))
    });
    let mut places = jobs.clone();
    let work = |(v, t, f): (usize, usize, usize)| {
        let frame = videos.get(v).and_then(|v| v.tracks.tracks.get(t)).and_then(|t| t.frames.get(f));
        frame.map(|frame| pixels::make(frame, ctx.config))
    };
    ordered_map(ctx.threads, jobs, work, |outcome| {
        if ctx.stop.load(Ordering::Relaxed) {
            return Err(IngestError::Interrupted);
        }
        let Some((v, t, f)) = places.next() else { return Ok(()) };
        let gave_up = || Outcome::Reject("decoder-failed", "the decoder gave up on this picture".to_owned());
        sink.take(v, t, f, outcome.flatten().unwrap_or_else(gave_up))
    })?;
    if ctx.stop.load(Ordering::Relaxed) {
        return Err(IngestError::Interrupted);
    }
    sink.rejects.sort();
    let entry = sink.writer.finish()?;
    if ctx.target.is_remote() {
        let (name, piece) = (format!("{SHARD_DIR}/{}", entry.file), piece_name(shard));
        let local = ctx.target.local();
        write_piece(ctx.target.disk(), shard, &local.join(&name), &local.join(&piece))?;
        ctx.target.upload(&name)?;
        ctx.target.upload(&piece)?;
    }
    Ok(ShardRecord {
        plan: ctx.plan.hash.clone(),
        config_hash: ctx.config_hash.to_owned(),
        entry,
        counts: sink.counts,
        dropped: sink.dropped,
        rejects: sink.rejects,
    })
}

struct Video<'a> {
    dataset: &'a str,
    name: &'a str,
    label: usize,
    tracks: &'a Tracks,
}

fn meta<D: Disk>(ctx: &Context<'_, D>, shard: u32) -> ShardMeta {
    let config = ctx.config;
    let mut datasets: Vec<DatasetInfo> = Vec::new();
    for label in &ctx.plan.labels {
        if datasets.last().is_none_or(|last| last.name != label.dataset) {
            datasets.push(DatasetInfo {
                name: label.dataset.clone(),
                kind: label.kind.clone(),
                search_px: label.search_px,
                source_bytes: label.source_bytes,
            });
        }
    }
    ShardMeta {
        format: DATASET_FORMAT,
        shard,
        shards: u32::try_from(ctx.plan.shards.len()).unwrap_or(u32::MAX),
        exemplar_px: config.exemplar_px,
        template_px: config.template_px,
        context_amount: config.context_amount,
        semantics: config.semantics,
        jpeg_quality: config.jpeg_quality,
        subsampling: "4:2:0".to_owned(),
        datasets,
        config_hash: ctx.config_hash.to_owned(),
        writer: writer_stamp("ingest"),
    }
}

fn names<D: Disk>(ctx: &Context<'_, D>, videos: &[Video<'_>]) -> Dictionaries {
    let tracks = || videos.iter().flat_map(|video| &video.tracks.tracks);
    Dictionaries {
        dataset: ctx.plan.labels.iter().map(|label| label.dataset.clone()).collect(),
        video: videos.iter().map(|video| video.name.to_owned()).collect(),
        track: tracks().map(|track| track.name.clone()).collect(),
        class: tracks().map(|track| track.class.clone()).collect::<BTreeSet<_>>(),
    }
}

struct Sink<'a, D: Disk> {
    ctx: &'a Context<'a, D>,
    videos: &'a [Video<'a>],
    writer: ShardWriter<D>,
    track: TrackBuffer,
    counts: Vec<Counts>,
    /// The last video that was counted.
    counted: Option<usize>,
    dropped: Dropped,
    rejects: Vec<Reject>,
}

impl<D: Disk> Sink<'_, D> {
    /// Takes what became of frame `f` of track `t` of video `v`.
    fn take(&mut self, v: usize, t: usize, f: usize, outcome: Outcome) -> Result<(), IngestError> {
        self.ctx.progress.add(1);
        let Some(video) = self.videos.get(v) else { return Ok(()) };
        let Some(track) = video.tracks.tracks.get(t) else { return Ok(()) };
        match outcome {
            Outcome::Row(pixels) => {
                let spill = IngestError::io("write a temporary file in", self.ctx.work);
                self.track.push(f, *pixels).map_err(spill)?;
            }
            Outcome::Filtered(why) => self.dropped.count(why),
            Outcome::Reject(reason, detail) => {
                self.rejects.push(Reject {
                    dataset: video.dataset.to_owned(),
                    video: video.name.to_owned(),
                    track: track.name.clone(),
                    path: track.frames.get(f).map(|frame| frame.path.clone()).unwrap_or_default(),
                    reason: reason.to_owned(),
                    detail,
                });
                self.check_limits()?;
            }
        }
        if f + 1 == track.frames.len() {
            self.end_track(v, video, track)?;
        }
        Ok(())
    }

    /// Writes the rows of a track, now that their number is known.
    fn end_track(&mut self, v: usize, video: &Video<'_>, track: &Track) -> Result<(), IngestError> {
        let rows = self.track.rows.len() as u64;
        if rows > 0
            && let Some(counts) = self.counts.get_mut(video.label)
        {
            counts.rows += rows;
            counts.tracks += 1;
            counts.videos += u64::from(self.counted.replace(v) != Some(v));
        }
        let read =
            |source| IngestError::Io { action: "read a temporary file in", path: self.ctx.work.to_owned(), source };
        let track_len = u32::try_from(rows).unwrap_or(u32::MAX);
        self.track.rewind().map_err(read)?;
        for (row_in_track, (f, head, sizes)) in (0u32..).zip(std::mem::take(&mut self.track.rows)) {
            let Some(frame) = track.frames.get(f) else { continue };
            let (template, search) = self.track.next(sizes).map_err(read)?;
            self.writer.push(RowData {
                dataset: video.dataset.to_owned(),
                video: video.name.to_owned(),
                track: track.name.clone(),
                class: track.class.clone(),
                time_ms: frame.time_ms,
                flags: head.flags,
                frame: frame.number,
                row_in_track,
                track_len,
                bbox: head.bbox,
                scale: head.scale,
                frame_w: head.frame_w,
                frame_h: head.frame_h,
                pad: head.pad,
                template,
                search,
            })?;
        }
        self.track = TrackBuffer::new(self.ctx.work);
        Ok(())
    }

    fn check_limits(&self) -> Result<(), IngestError> {
        let found = self.rejects.len() as u64;
        if found <= self.ctx.rejects_left {
            return Ok(());
        }
        let used = self.ctx.config.max_rejects.saturating_sub(self.ctx.rejects_left);
        let first = self.rejects.first();
        let first = first.map(|r| format!("{} ({}: {})", r.path, r.reason, r.detail)).unwrap_or_default();
        Err(IngestError::TooManyRejects { found: used + found, limit: self.ctx.config.max_rejects, first })
    }
}

/// The rows of a track until all are known: every row carries the track's length.
struct TrackBuffer {
    rows: Vec<(usize, Pixels, [usize; 2])>,
    pictures: tempfile::SpooledTempFile,
}

impl TrackBuffer {
    fn new(work: &Path) -> Self {
        Self { rows: Vec::new(), pictures: tempfile::spooled_tempfile_in(TRACK_MEMORY, work) }
    }

    fn push(&mut self, frame: usize, mut pixels: Pixels) -> io::Result<()> {
        let (template, search) = (std::mem::take(&mut pixels.template), std::mem::take(&mut pixels.search));
        self.pictures.write_all(&template)?;
        self.pictures.write_all(&search)?;
        self.rows.push((frame, pixels, [template.len(), search.len()]));
        Ok(())
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.pictures.seek(SeekFrom::Start(0)).map(|_| ())
    }

    fn next(&mut self, [template, search]: [usize; 2]) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut first, mut second) = (vec![0; template], vec![0; search]);
        self.pictures.read_exact(&mut first)?;
        self.pictures.read_exact(&mut second)?;
        Ok((first, second))
    }
}
