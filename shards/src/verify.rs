//! Checks a whole dataset and collects everything that is wrong with it.

use crate::jpeg;
use crate::reader::{Dataset, Index, ReadError, Shard};
use schemas::manifest::{INDEX_FILE, MANIFEST_FILE};
use schemas::shard::sample_id;
use serde::Serialize;
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

/// Checks the manifest, every shard's hash and structure, every row's checksum, picture headers and geometry, and the
/// index against the shards. `progress` is told each finished shard.
///
/// # Errors
/// Only when the folder is no dataset at all; everything else is a finding.
pub fn verify(path: &Path, mut progress: impl FnMut(usize)) -> Result<Report, ReadError> {
    let dataset = Dataset::open(path)?;
    let manifest = dataset.manifest();
    let mut report = Report { shards: 0, rows: 0, bytes: 0, findings: Vec::new() };
    let note = |report: &mut Report, file: &str, row: Option<u64>, message: String| {
        report.findings.push(Finding { file: file.to_owned(), row, message });
    };
    if crate::writer::dataset_hash(manifest) != manifest.dataset_hash {
        note(&mut report, MANIFEST_FILE, None, "the dataset hash does not follow from the shards it lists".to_owned());
    }
    let sum: u64 = manifest.shards.iter().map(|s| s.rows).sum();
    if sum != manifest.totals.rows {
        note(
            &mut report,
            MANIFEST_FILE,
            None,
            format!("the shards have {sum} rows, totals say {}", manifest.totals.rows),
        );
    }
    for (number, entry) in manifest.shards.iter().enumerate() {
        let file = format!("shards/{}", entry.file);
        let Some(place) = dataset.shard_path(number) else { continue };
        match hash_file(&place) {
            Ok((bytes, hash)) => {
                report.bytes += bytes;
                if hash != entry.blake3 || bytes != entry.bytes {
                    let message = format!(
                        "blake3 {hash} of {bytes} bytes, the manifest says {} of {}: delete the shard and run the same \
                         `ingest build` again",
                        entry.blake3, entry.bytes
                    );
                    note(&mut report, &file, None, message);
                }
            }
            Err(e) => note(&mut report, &file, None, format!("cannot be read: {e}")),
        }
        match dataset.shard(number) {
            Ok(shard) => check_rows(shard, number, &file, &mut report),
            Err(e) => note(&mut report, &file, None, e.to_string()),
        }
        report.shards += 1;
        progress(number);
    }
    check_index(path, &dataset, &mut report);
    Ok(report)
}

fn check_rows(shard: &Shard, number: usize, file: &str, report: &mut Report) {
    for at in 0..shard.rows() {
        report.rows += 1;
        let mut wrong = |message: String| {
            report.findings.push(Finding { file: file.to_owned(), row: Some(at as u64), message });
        };
        let row = match shard.row(at) {
            Ok(row) => row,
            Err(e) => {
                wrong(e.to_string());
                continue;
            }
        };
        let place = format!("{} track {} frame {}", row.video(), row.track(), row.frame());
        if row.sample_id() != sample_id(number as u32, at as u32) {
            wrong(format!("{place}: sample_id {} belongs elsewhere", row.sample_id()));
        }
        if let Err(e) = row.check() {
            wrong(e.to_string());
            continue;
        }
        let info = shard.meta().datasets.iter().find(|d| d.name == row.dataset());
        let sides = [
            ("template", row.template(), Some(shard.meta().template_px)),
            ("search", row.search(), info.map(|d| d.search_px)),
        ];
        for (name, bytes, side) in sides {
            match (jpeg::dimensions(bytes), side) {
                (Ok((w, h)), Some(side)) if w == side as usize && h == side as usize => {}
                (Ok((w, h)), Some(side)) => wrong(format!("{place}: the {name} has {w}x{h} px, expected {side}")),
                (Ok(_), None) => {
                    wrong(format!("{place}: the dataset label {:?} is not in the shard's metadata", row.dataset()))
                }
                (Err(e), _) => wrong(format!("{place}: the {name} is not a picture: {e}")),
            }
        }
        let [cx, cy, w, h] = row.bbox();
        let side = info.map_or(0.0, |d| d.search_px as f32);
        let sane = [cx, cy, w, h].iter().all(|v| v.is_finite()) && w > 0.0 && h > 0.0;
        if !sane || cx < 0.0 || cy < 0.0 || cx > side || cy > side {
            wrong(format!("{place}: the box {:?} is not one inside the search crop", row.bbox()));
        }
        if row.row_in_track() >= row.track_len() {
            wrong(format!("{place}: row {} of a track of {}", row.row_in_track(), row.track_len()));
        }
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
