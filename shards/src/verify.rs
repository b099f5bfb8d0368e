//! Checks a whole dataset and collects everything that is wrong with it.

use crate::jpeg::{self, Limits};
use crate::reader::{Dataset, Index, ReadError, Row, Shard};
use schemas::manifest::{INDEX_FILE, MANIFEST_FILE, SHARD_DIR};
use schemas::shard::sample_id;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Something wrong with a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// File it was found in, relative to the dataset.
    pub file: String,
    /// Row in shard, when it concerns one row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What [`verify`] saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Shards read.
    pub shards: u64,
    /// Rows whose pictures and geometry were checked.
    pub rows: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Everything found wrong.
    pub findings: Vec<Finding>,
}

/// Size and blake3 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((bytes, hasher.finalize().to_hex().to_string()));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
        bytes += n as u64;
    }
}

/// How thoroughly [`verify_with`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Decode every picture in full, not only its header.
    pub decode: bool,
}

/// Checks the manifest, every shard's hash and structure, every row's checksum, picture headers, geometry and place, and
/// the index against the shards. `progress` is told each finished shard.
///
/// # Errors
/// Only when the folder is no dataset at all; everything else is a finding.
pub fn verify(path: &Path, progress: impl FnMut(usize)) -> Result<Report, ReadError> {
    verify_with(path, Options::default(), progress)
}

/// As [`verify`], with options.
///
/// # Errors
/// Only when the folder is no dataset at all; everything else is a finding.
pub fn verify_with(path: &Path, options: Options, mut progress: impl FnMut(usize)) -> Result<Report, ReadError> {
    let dataset = Dataset::open(path)?;
    let report = Report { shards: 0, rows: 0, bytes: 0, findings: Vec::new() };
    let mut check = Check { options, report, videos: BTreeMap::new() };
    check.manifest(&dataset);
    for (number, entry) in dataset.manifest().shards.iter().enumerate() {
        let file = format!("{SHARD_DIR}/{}", entry.file);
        let Some(place) = dataset.shard_path(number) else { continue };
        match hash_file(&place) {
            Ok((bytes, hash)) => {
                check.report.bytes += bytes;
                if hash != entry.blake3 || bytes != entry.bytes {
                    let message = format!(
                        "blake3 {hash} of {bytes} bytes, the manifest says {} of {}: delete the shard and run the same \
                         `ingest build` again",
                        entry.blake3, entry.bytes
                    );
                    check.note(&file, None, message);
                }
            }
            Err(e) => check.note(&file, None, format!("cannot be read: {e}")),
        }
        match dataset.shard(number) {
            Ok(shard) => check.rows(shard, number, &file),
            Err(e) => check.note(&file, None, e.to_string()),
        }
        check.report.shards += 1;
        progress(number);
    }
    check_index(path, &dataset, &mut check.report);
    Ok(check.report)
}

struct Check {
    options: Options,
    report: Report,
    /// Shard of each (dataset, video) seen.
    videos: BTreeMap<(String, String), usize>,
}

/// The row before, for what must hold from row to row.
struct Before {
    track: [String; 3],
    row_in_track: u32,
    track_len: u32,
    frame: u32,
}

impl Check {
    fn note(&mut self, file: &str, row: Option<u64>, message: String) {
        self.report.findings.push(Finding { file: file.to_owned(), row, message });
    }

    fn manifest(&mut self, dataset: &Dataset) {
        let manifest = dataset.manifest();
        if crate::writer::dataset_hash(manifest) != manifest.dataset_hash {
            self.note(MANIFEST_FILE, None, "the dataset hash does not follow from the shards it lists".to_owned());
        }
        let totals = &manifest.totals;
        for (what, sum, said) in [
            ("rows", manifest.shards.iter().map(|s| s.rows).sum::<u64>(), totals.rows),
            ("tracks", manifest.shards.iter().map(|s| s.tracks).sum(), totals.tracks),
            ("videos", manifest.shards.iter().map(|s| s.videos).sum(), totals.videos),
            ("bytes", manifest.shards.iter().map(|s| s.bytes).sum(), totals.bytes),
        ] {
            if sum != said {
                self.note(MANIFEST_FILE, None, format!("the shards have {sum} {what}, totals say {said}"));
            }
        }
    }

    fn rows(&mut self, shard: &Shard, number: usize, file: &str) {
        let mut before: Option<Before> = None;
        let mut ended = BTreeSet::new();
        for at in 0..shard.rows() {
            self.report.rows += 1;
            let row = match shard.row(at) {
                Ok(row) => row,
                Err(e) => {
                    self.note(file, Some(at as u64), e.to_string());
                    before = None;
                    continue;
                }
            };
            let mut wrong = Vec::new();
            if row.sample_id() != sample_id(number as u32, at as u32) {
                wrong.push(format!("sample_id {} belongs elsewhere", row.sample_id()));
            }
            check_place(&row, before.as_ref(), &mut ended, &mut wrong);
            let owner = *self.videos.entry((row.dataset().to_owned(), row.video().to_owned())).or_insert(number);
            if owner != number {
                wrong.push(format!("its video has rows in shard {owner} too"));
            }
            match row.check() {
                Ok(()) => check_pictures(shard, &row, self.options, &mut wrong),
                Err(ReadError::Crc { found, expected, .. }) => {
                    wrong.push(format!("its pictures are damaged: crc32c {found:08x}, expected {expected:08x}"));
                }
                Err(e) => wrong.push(e.to_string()),
            }
            let place = format!("{} track {} frame {}", row.video(), row.track(), row.frame());
            for message in wrong {
                self.note(file, Some(at as u64), format!("{place}: {message}"));
            }
            before = Some(Before {
                track: [row.dataset(), row.video(), row.track()].map(str::to_owned),
                row_in_track: row.row_in_track(),
                track_len: row.track_len(),
                frame: row.frame(),
            });
        }
    }
}

/// Rows of a track lie together, in frame order, numbered from 0.
fn check_place(row: &Row, before: Option<&Before>, ended: &mut BTreeSet<[String; 3]>, wrong: &mut Vec<String>) {
    let track = [row.dataset(), row.video(), row.track()].map(str::to_owned);
    let (at, len) = (row.row_in_track(), row.track_len());
    if at >= len {
        wrong.push(format!("it is row {at} of a track of {len}"));
    }
    let Some(before) = before else { return };
    if before.track == track {
        if at != before.row_in_track.wrapping_add(1) || len != before.track_len {
            wrong.push(format!("it is row {at} of {len} after row {} of {}", before.row_in_track, before.track_len));
        }
        if row.frame() < before.frame {
            wrong.push(format!("it comes after frame {}", before.frame));
        }
        return;
    }
    if at != 0 {
        wrong.push(format!("its track begins with row {at}"));
    }
    if before.row_in_track.wrapping_add(1) != before.track_len {
        let [_, video, name] = &before.track;
        wrong.push(format!("the track before it ({video} track {name}) has fewer than {} rows", before.track_len));
    }
    ended.insert(before.track.clone());
    if ended.contains(&track) {
        wrong.push("the rows of its track do not lie together".to_owned());
    }
}

fn check_pictures(shard: &Shard, row: &Row, options: Options, wrong: &mut Vec<String>) {
    let info = shard.meta().datasets.iter().find(|d| d.name == row.dataset());
    if info.is_none() {
        wrong.push(format!("the dataset label {:?} is not in the shard's metadata", row.dataset()));
    }
    let template_px = shard.meta().template_px;
    let search_px = info.map(|d| d.search_px);
    for (name, bytes, side) in [("template", row.template(), Some(template_px)), ("search", row.search(), search_px)] {
        let size = if options.decode {
            jpeg::decode(bytes, &Limits::default()).map(|picture| (picture.width, picture.height))
        } else {
            jpeg::dimensions(bytes)
        };
        match (size, side) {
            (Err(e), _) => wrong.push(format!("the {name} is not a picture: {e}")),
            (Ok((w, h)), Some(side)) if w != side as usize || h != side as usize => {
                wrong.push(format!("the {name} has {w}x{h} px, expected {side}"));
            }
            (Ok(_), _) => {}
        }
    }
    let [cx, cy, w, h] = row.bbox();
    let side = search_px.unwrap_or(u32::from(u16::MAX)) as f32;
    let sane = [cx, cy, w, h].iter().all(|v| v.is_finite()) && w > 0.0 && h > 0.0;
    if !sane || cx < 0.0 || cy < 0.0 || cx > side || cy > side {
        wrong.push(format!("the box {:?} is not one inside the search crop", row.bbox()));
    }
    if !(0.0..=1.0).contains(&row.pad()) || !row.scale().is_finite() || row.scale() < 0.0 {
        wrong.push(format!("border fill {} or scale {} is impossible", row.pad(), row.scale()));
    }
}

fn check_index(path: &Path, dataset: &Dataset, report: &mut Report) {
    let mut wrong = |message: String| {
        report.findings.push(Finding { file: INDEX_FILE.to_owned(), row: None, message });
    };
    match hash_file(&path.join(INDEX_FILE)) {
        Ok((_, hash)) if hash == dataset.manifest().index_blake3 => {}
        Ok((_, hash)) => wrong(format!(
            "blake3 {hash}, the manifest says {}: run `ingest merge` to write it anew",
            dataset.manifest().index_blake3
        )),
        Err(e) => wrong(format!("cannot be read: {e}")),
    }
    let index = match Index::read(path) {
        Ok(index) => index,
        Err(e) => return wrong(e.to_string()),
    };
    if index.rows() as u64 != dataset.rows() {
        wrong(format!("it has {} rows, the dataset {}", index.rows(), dataset.rows()));
    }
    let mut differing = 0u64;
    index.for_each(|line| {
        let same = dataset.row(line.word("shard"), line.word("row")).is_ok_and(|row| {
            row.sample_id() == line.sample_id()
                && row.video() == line.name("video")
                && row.frame() == line.word("frame")
        });
        differing += u64::from(!same);
    });
    if differing > 0 {
        wrong(format!("{differing} of its rows differ from the shards"));
    }
}
