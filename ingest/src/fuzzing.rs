//! Parsers of the sources' bytes as plain functions, for `tests/fuzz.rs` and the folder `fuzz/`; see [`shards::fuzzing`].
//!
//! A parser that is added (XML, CSV, ...) gets a function here, a line in [`TARGETS`], seeds in `fuzz/corpus/NAME/`, and a
//! file in `fuzz/fuzz_targets/`.

use crate::source::crops::archive::{Packing, index, walk};
use crate::source::crops::{meta, name};
use shards::fuzzing::Target;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The targets of this crate by name.
pub const TARGETS: [(&str, Target); 3] = [("pickle", pickle), ("crop-name", crop_name), ("archive", archive)];

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

/// An archive of crops, plain or compressed: its entries, their names and the beginning of their content.
pub fn archive(data: &[u8]) {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(data).is_err() {
        return;
    }
    let Ok(packing) = Packing::of(file.path()) else { return };
    if packing == Packing::Tar {
        if let Ok(index) = index(file.path()) {
            let files = index.folders.values().flat_map(|listing| listing.iter());
            std::hint::black_box((files.count(), index.meta.len(), index.odd.len()));
        }
        return;
    }
    let mut entries = 0;
    let _ = walk(file.path(), packing, &Arc::new(AtomicU64::new(0)), |item, len, content| {
        let mut bytes = Vec::new();
        // What cannot be read is told by the next entry.
        let read = content.take(ENTRY_BYTES).read_to_end(&mut bytes);
        std::hint::black_box((item, len, read.is_ok()));
        entries += 1;
        Ok(entries < ENTRIES)
    });
}
