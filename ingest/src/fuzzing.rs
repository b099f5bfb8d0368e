//! Parsers of the sources' bytes as plain functions, for `tests/fuzz.rs` and the folder `fuzz/`; see [`shards::fuzzing`].
//!
//! A parser that is added gets a function here, a line in [`TARGETS`], seeds in `fuzz/corpus/NAME/`, and a file in
//! `fuzz/fuzz_targets/`.

use crate::source::archive::{Packing, index, walk};
use crate::source::crops::{meta, name};
use crate::source::ytbb::{csv, pattern::Pattern};
use crate::source::{SourceKind, SourceSpec, xml};
use shards::fuzzing::Target;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The targets of this crate by name.
pub const TARGETS: [(&str, Target); 6] = [
    ("pickle", pickle),
    ("crop-name", crop_name),
    ("archive", archive),
    ("xml", annotation),
    ("csv", detections),
    ("pattern", frame_pattern),
];

/// Entries and bytes of each that are read of an archive, at most.
const ENTRIES: usize = 1000;
const ENTRY_BYTES: u64 = 1 << 16;

/// `meta_data.pkl`.
pub fn pickle(data: &[u8]) {
    if let Ok(videos) = meta::parse(data) {
        let frames = videos.iter().flat_map(|video| &video.tracks).map(|track| track.frames().count() as u64);
        std::hint::black_box(frames.sum::<u64>());
    }
}

/// The file name of a crop.
pub fn crop_name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(name) = name::parse(&text) {
        std::hint::black_box((name.sizes.is_ok(), name::frame_number(name.frame)));
    }
}

/// An annotation file of ImageNet.
pub fn annotation(data: &[u8]) {
    std::hint::black_box(xml::parse(data).is_ok());
}

/// A naming pattern of extracted frames.
pub fn frame_pattern(data: &[u8]) {
    std::hint::black_box(Pattern::parse(&String::from_utf8_lossy(data)).is_ok());
}

/// A detection list of YouTube-BoundingBoxes.
pub fn detections(data: &[u8]) {
    let Some(file) = stored(data) else { return };
    let spec = SourceSpec { kind: SourceKind::Ytbb, label: None, path: file.path().to_owned() };
    let mut lines = 0u64;
    // Bytes that are no list at all are refused as a whole.
    drop(csv::read(&spec, file.path(), &mut |line| lines += u64::from(line.is_ok())));
    std::hint::black_box(lines);
}

fn stored(data: &[u8]) -> Option<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new().ok()?;
    file.write_all(data).ok()?;
    Some(file)
}

/// An archive of crops, plain or compressed: its entries, their names and the beginning of their content.
pub fn archive(data: &[u8]) {
    let Some(file) = stored(data) else { return };
    let Ok(packing) = Packing::of(file.path(), SourceKind::Crops) else { return };
    if packing == Packing::Tar {
        if let Ok(index) = index(file.path(), SourceKind::Crops, &mut |_, _, _| Ok(false)) {
            let files = index.folders.values().flat_map(|listing| listing.iter());
            std::hint::black_box((files.count(), index.odd.len()));
        }
        return;
    }
    let mut entries = 0;
    let _ = walk(file.path(), SourceKind::Crops, packing, &Arc::new(AtomicU64::new(0)), |item, len, content| {
        let mut bytes = Vec::new();
        // What cannot be read is told by the next entry.
        let read = content.take(ENTRY_BYTES).read_to_end(&mut bytes);
        std::hint::black_box((item, len, read.is_ok()));
        entries += 1;
        Ok(entries < ENTRIES)
    });
}
