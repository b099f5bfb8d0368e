//! The whole run: plan, resume, build what is missing, commit.

use crate::commit::{commit, remove_temporary, report};
use crate::config;
use crate::error::IngestError;
use crate::plan::{Plan, plan};
use crate::progress::Progress;
use crate::record::{BuildRecord, Records, ShardRecord, WORK_DIR};
use crate::report::{BuildReport, PlanReport, PlannedSource};
use crate::shard::{Context, build_shard};
use crate::source::spool::SpoolJob;
use crate::source::{Source, SourceSpec};
use crate::space;
use crate::target::Target;
use schemas::build::BuildConfig;
use schemas::manifest::{INDEX_FILE, MANIFEST_FILE, Manifest, SHARD_DIR};
use shards::disk::{Disk, Real};
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Which shards a run builds: those whose number leaves `index` when divided by `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Number of this part, from 0.
    pub index: u32,
    /// Number of parts.
    pub count: u32,
}

impl Default for Part {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((index, count)) if index < count => Ok(Self { index, count }),
            _ => Err(format!("{text:?} is not I/N with I from 0 to N-1, for example 0/4")),
        }
    }
}

/// How to run, as opposed to what to build.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Which shards to build.
    pub part: Part,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
    /// Whether to show progress on standard error.
    pub progress: bool,
    /// Set from outside to stop at the next row.
    pub stop: Arc<AtomicBool>,
    /// Where a dataset in object storage is prepared; the system's temporary folder by default.
    pub scratch: Option<PathBuf>,
}

impl Default for BuildOptions {
    fn default() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        Self { part: Part::default(), threads: 0, progress: false, stop, scratch: None }
    }
}

impl BuildOptions {
    fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// Opens the sources and makes the plan.
fn prepare(sources: &[SourceSpec], config: &BuildConfig) -> Result<(Vec<Source>, Plan), IngestError> {
    config::check(config).map_err(|reason| IngestError::Config { path: None, reason })?;
    if sources.is_empty() {
        return Err(IngestError::Sources("none is given; name one with --source KIND=PATH".to_owned()));
    }
    let opened: Vec<Source> = sources.iter().map(|spec| Source::open(spec, config)).collect::<Result<_, _>>()?;
    let plan = plan(&opened, config)?;
    Ok((opened, plan))
}

/// What [`build`] would do; nothing is written.
///
/// # Errors
/// When a source cannot be read or the configuration does not fit it.
pub fn dry_run(sources: &[SourceSpec], config: &BuildConfig, out: &Path) -> Result<PlanReport, IngestError> {
    let (opened, plan) = prepare(sources, config)?;
    let streamed = |source: &&Source| source.streams().is_some();
    let rows = |source: &Source| source.videos().iter().map(|video| video.rows).sum::<u64>();
    let spooled: u64 = opened.iter().filter(streamed).map(rows).sum();
    Ok(PlanReport {
        dry_run: true,
        out: out.to_owned(),
        videos: plan.videos,
        tracks: plan.tracks,
        rows: plan.rows,
        shards: plan.shards.len() as u64,
        bytes: plan.bytes,
        // The corpus' crops average 23.5 kB.
        spool_bytes: spooled * 23_500,
        free_bytes: if shards::store::is_url(out) { None } else { space::free(out) },
        rejects: opened.iter().map(|source| source.rejects().len() as u64).sum(),
        sources: PlannedSource::of(&plan),
        config: config.clone(),
    })
}

/// Builds a dataset, or the given part of it, in the folder `out`; goes on where an earlier run stopped.
///
/// # Errors
/// When a source or the output cannot be used, the output holds something else, or too much is rejected. Finished
/// shards are kept in every case.
pub fn build(
    sources: &[SourceSpec],
    config: &BuildConfig,
    out: &Path,
    options: &BuildOptions,
) -> Result<BuildReport, IngestError> {
    build_on(sources, config, &Target::open(out, options.scratch.as_deref(), Real)?, options)
}

/// As [`build`], in any place.
///
/// # Errors
/// As [`build`].
pub fn build_on<D: Disk>(
    sources: &[SourceSpec],
    config: &BuildConfig,
    target: &Target<D>,
    options: &BuildOptions,
) -> Result<BuildReport, IngestError> {
    let start = Instant::now();
    let (mut opened, plan) = prepare(sources, config)?;
    let asked = BuildRecord::new(&plan, config);
    let records = Records::new(target);
    check_free_to_use(target, &records, &asked)?;
    if let Some(mut done) = complete(target, &records, &asked)? {
        (done.seconds, done.threads) = (start.elapsed().as_secs_f64(), options.threads());
        return Ok(done);
    }
    target.prepare()?;
    let work = target.work();
    let Part { index, count } = options.part;
    let lock = lock(target.shown(), &work.join(format!("part-{index}-of-{count}.lock")))?;
    if let Some(reason) = records.set_build(&asked)?.and_then(|there| there.difference(&asked)) {
        return Err(IngestError::Occupied { path: target.shown().to_owned(), reason });
    }
    if count > 1 {
        records.set_parts(count)?;
    }

    remove_temporary(target);

    let config_hash = config::hash(config);
    let (mut finished, mut todo, mut kept) = (Vec::new(), Vec::new(), 0);
    for shard in (0..asked.shards).filter(|shard| shard % count == index) {
        let record = records.shard(shard)?;
        match record.filter(|record| record.plan == asked.plan && record.config_hash == config_hash) {
            Some(record) if records.is_intact(&record.entry)? => {
                kept += 1;
                finished.push(record);
            }
            _ => todo.push(shard),
        }
        stop_if(options)?;
    }
    let (mut trusted, mut rows_made) = (BTreeSet::new(), 0);
    if !todo.is_empty() {
        let rows = |shards: &[u32]| -> u64 {
            shards.iter().filter_map(|s| plan.shards.get(*s as usize)).flatten().map(|video| video.rows).sum()
        };
        let needed = plan.bytes / plan.rows.max(1) * rows(&todo);
        let progress = Progress::new(options.progress, "rows", rows(&todo));
        // In object storage one shard at a time lies on this machine.
        let needed = if target.is_remote() { needed.min(config.shard_bytes) } else { needed };
        if let Some(free) = space::free(target.local()).filter(|free| *free < needed) {
            progress.note(&format!("warning: about {needed} bytes are to be written, {free} are free there"));
        }
        let mut own = format!("part-{index}-of-{count}");
        if lock.is_none() {
            // Another process may be at the same part: each then has a spool of its own.
            own.push_str(&format!("-{}", std::process::id()));
        }
        spool(&mut opened, &plan, &todo, &work, &own, options)?;
        progress.restart();
        if kept > 0 {
            progress.note(&format!("{kept} finished shards are kept, {} are to be built", todo.len()));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads()).build();
        let pool = pool.map_err(|error| IngestError::Io {
            action: "start threads for",
            path: target.shown().to_owned(),
            source: std::io::Error::other(error),
        })?;
        for shard in todo {
            let used: u64 = finished.iter().map(|record: &ShardRecord| record.rejects.len() as u64).sum();
            let ctx = Context {
                sources: &opened,
                plan: &plan,
                config,
                config_hash: &config_hash,
                target,
                work: &work,
                pool: &pool,
                threads: options.threads(),
                stop: &options.stop,
                rejects_left: config.max_rejects.saturating_sub(used),
                progress: &progress,
            };
            let record = build_shard(&ctx, shard)?;
            records.set_shard(shard, &record)?;
            opened.iter().for_each(|source| source.close_shard(shard));
            rows_made += record.entry.rows;
            trusted.insert(shard);
            finished.push(record);
        }
        progress.finish();
    }
    let built = trusted.len() as u64;
    let mut report = if count == 1 {
        // Shards found earlier were hashed at the start of this run.
        trusted.extend(0..asked.shards);
        commit(target, &asked, &trusted)?
    } else {
        partial(target.shown(), &asked, &finished)
    };
    (report.shards_built, report.shards_kept, report.threads) = (built, kept, options.threads());
    report.seconds = start.elapsed().as_secs_f64();
    report.frames_per_s = rows_made as f64 / report.seconds.max(1e-9);
    report.crops_per_s = 2.0 * report.frames_per_s;
    Ok(report)
}

fn stop_if(options: &BuildOptions) -> Result<(), IngestError> {
    if options.stop.load(Ordering::Relaxed) { Err(IngestError::Interrupted) } else { Ok(()) }
}

/// Refuses a folder that holds anything but an equal build.
fn check_free_to_use<D: Disk>(
    target: &Target<D>,
    records: &Records<'_, D>,
    asked: &BuildRecord,
) -> Result<(), IngestError> {
    let occupied = |reason: String| Err(IngestError::Occupied { path: target.shown().to_owned(), reason });
    if target.local().exists() && !target.local().is_dir() {
        return occupied("it is a file".to_owned());
    }
    if let Some(there) = records.build()? {
        return match there.difference(asked) {
            Some(reason) => occupied(reason),
            None => Ok(()),
        };
    }
    match target.names()?.into_iter().filter(|name| name != WORK_DIR && name != SHARD_DIR).min() {
        Some(name) => occupied(format!("it holds {name} and no record of a build")),
        None => Ok(()),
    }
}

/// The report of a dataset that is already complete and whole, as far as names and sizes tell.
fn complete<D: Disk>(
    target: &Target<D>,
    records: &Records<'_, D>,
    asked: &BuildRecord,
) -> Result<Option<BuildReport>, IngestError> {
    let Some(bytes) = target.read(MANIFEST_FILE)? else { return Ok(None) };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(None) };
    let mut whole = manifest.config_hash == config::hash(&asked.config)
        && manifest.shards.len() == asked.shards as usize
        && target.size(INDEX_FILE)?.is_some();
    for entry in &manifest.shards {
        whole = whole && records.has_size(entry)?;
    }
    if !whole || manifest.totals.rejects > asked.config.max_rejects {
        return Ok(None);
    }
    let mut finished = Vec::new();
    for shard in 0..asked.shards {
        match records.shard(shard)? {
            Some(record) if manifest.shards.get(shard as usize) == Some(&record.entry) => finished.push(record),
            _ => return Ok(None),
        }
    }
    Ok(Some(report(target.shown(), &manifest, &finished)))
}

/// Keeps two processes from building the same part at once: that would be wasted work. Where the file system has no
/// locks (`None`), and between machines that build into object storage, they do the same work twice and each publishes
/// the same bytes.
fn lock(out: &Path, path: &Path) -> Result<Option<File>, IngestError> {
    let file = File::create(path).map_err(IngestError::io("create", path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(IngestError::Locked { path: out.to_owned() }),
        Err(TryLockError::Error(_)) => Ok(None),
        Ok(()) => Ok(Some(file)),
    }
}

/// Reads compressed archives into the spool, for the shards that are to be built.
fn spool(
    opened: &mut [Source],
    plan: &Plan,
    todo: &[u32],
    work: &Path,
    own: &str,
    options: &BuildOptions,
) -> Result<(), IngestError> {
    for (number, source) in opened.iter_mut().enumerate() {
        let Some(size) = source.streams() else { continue };
        let mut shard_of = vec![None; source.videos().len()];
        for shard in todo {
            for planned in plan.shards.get(*shard as usize).into_iter().flatten().filter(|p| p.source == number) {
                if let Some(slot) = shard_of.get_mut(planned.video) {
                    *slot = Some(*shard);
                }
            }
        }
        let dir = work.join(format!("spool-{number}-{own}"));
        let progress = Progress::new(options.progress, "bytes of the archive", size);
        let passed = Arc::new(AtomicU64::new(0));
        let stopped = || {
            progress.set(passed.load(Ordering::Relaxed));
            options.stop.load(Ordering::Relaxed)
        };
        let (dir, plan, wanted, shard_of) = (&dir, plan.hash.as_str(), todo, &shard_of);
        source.spool(&SpoolJob { dir, plan, wanted, shard_of, passed: &passed, stopped: &stopped })?;
        progress.finish();
    }
    Ok(())
}

/// The report of a part.
fn partial(out: &Path, asked: &BuildRecord, finished: &[ShardRecord]) -> BuildReport {
    let mut report = BuildReport { out: out.to_owned(), shards: u64::from(asked.shards), ..BuildReport::default() };
    for record in finished {
        report.videos += record.entry.videos;
        report.tracks += record.entry.tracks;
        report.rows += record.entry.rows;
        report.bytes += record.entry.bytes;
        report.rejects += record.rejects.len() as u64;
        report.count(record);
    }
    report
}
