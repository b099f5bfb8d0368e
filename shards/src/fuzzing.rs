//! Parsers of outside bytes as plain functions from bytes to nothing, and the machinery that throws bytes at them.
//!
//! The ordinary tests replay a stored corpus and a fixed number of seeded mutations of it (`tests/fuzz.rs`); the folder
//! `fuzz/` at the top of the repository hands the same functions to cargo-fuzz. A target may not panic, hang, or reserve
//! memory out of proportion to its input.

use crate::jpeg::{self, Limits};
use crate::order::Rng;
use crate::reader::{Index, Shard, parse_manifest};
use bytes::Bytes;
use std::path::Path;

/// A parser of outside bytes.
pub type Target = fn(&[u8]);

/// The targets of this crate by name. `ingest::fuzzing` has those of the sources.
pub const TARGETS: [(&str, Target); 4] =
    [("shard", shard), ("index", index), ("manifest", manifest), ("jpeg", picture)];

/// Rows read of one input, at most.
const ROWS: usize = 64;

/// A shard file: its structure, and the columns and pictures of its rows.
pub fn shard(data: &[u8]) {
    let Ok(shard) = Shard::from_bytes(Path::new("fuzz.arrow"), Bytes::copy_from_slice(data)) else { return };
    for at in 0..shard.rows().min(ROWS) {
        let Ok(row) = shard.row(at) else { continue };
        std::hint::black_box((row.check().is_ok(), row.bbox(), row.frame_size(), row.sample_id()));
        std::hint::black_box([row.dataset().len(), row.video().len(), row.track().len(), row.class().len()]);
        let _ = (jpeg::dimensions(row.template()), jpeg::dimensions(row.search()));
    }
}

/// An index file: its structure, and every column of its rows.
pub fn index(data: &[u8]) {
    let Ok(index) = Index::from_bytes(Path::new("fuzz.arrow"), Bytes::copy_from_slice(data)) else { return };
    let mut rows = 0;
    index.for_each(|row| {
        rows += 1;
        if rows <= ROWS {
            std::hint::black_box((row.sample_id(), row.word("shard"), row.float("box_w"), row.time_ms(), row.flags()));
            std::hint::black_box((row.name("dataset").len(), row.name("class").len(), row.short("frame_w")));
        }
    });
}

/// The text of `dataset.json`.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = parse_manifest(Path::new("dataset.json"), data) {
        std::hint::black_box(crate::writer::dataset_hash(&manifest));
    }
}

/// A picture: its header first, its pixels if they are few.
pub fn picture(data: &[u8]) {
    if let Ok((width, height)) = jpeg::dimensions(data) {
        std::hint::black_box((width, height));
    }
    let _ = std::hint::black_box(jpeg::decode_image(data, &Limits { max_pixels: 1 << 16 }));
}

/// Changes `data` in one to four places: bits, bytes, numbers, ranges cut out, doubled or taken from `other`, ends. Half
/// of the places lie in the last kilobytes, where Arrow files keep their structure.
pub fn mutate(data: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        if data.is_empty() {
            data.extend_from_slice(other.get(..other.len().min(64)).unwrap_or_default());
            data.push(0);
        }
        let len = data.len();
        let at = match rng.below(4) {
            0 => len.saturating_sub(1 + pick(rng, 4096)).min(len - 1),
            1 => pick(rng, len.min(4096)),
            _ => pick(rng, len),
        };
        let end = (at + 1 + pick(rng, 64)).min(len);
        match rng.below(12) {
            0..=2 => {
                let flipped = data.get(at).copied().unwrap_or_default() ^ (1 << rng.below(8));
                set(data, at, &[flipped]);
            }
            3 => set(data, at, &[rng.next_u64().to_le_bytes()[0]]),
            4 => set(data, at, &NUMBERS[pick(rng, NUMBERS.len())].to_le_bytes()),
            5 => {
                let number = NUMBERS[pick(rng, NUMBERS.len())].to_le_bytes();
                set(data, at, number.get(..4).unwrap_or_default());
            }
            6 => set(data, at, &(pick(rng, 2 * len) as u32).to_be_bytes()),
            7 => drop(data.drain(at..end)),
            8 => {
                let part = data.get(at..end).map(<[u8]>::to_vec).unwrap_or_default();
                let to = pick(rng, len);
                data.splice(to..to, part);
            }
            9 if !other.is_empty() => {
                let from = pick(rng, other.len());
                let part = other.get(from..(from + end - at).min(other.len())).unwrap_or_default();
                set(data, at, part);
            }
            10 => data.truncate(at),
            _ => set(data, at, &vec![[0, 0xff, 0x20, b'9'][pick(rng, 4)]; end - at]),
        }
    }
}

const NUMBERS: [i64; 12] =
    [0, 1, -1, 8, 255, 256, 65_535, 1 << 24, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];

/// A number below `n`; 0 when `n` is 0.
fn pick(rng: &mut Rng, n: usize) -> usize {
    usize::try_from(rng.below(n as u64)).unwrap_or_default()
}

/// Overwrites bytes from `at`, as far as there are any.
fn set(data: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in data.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// Runs a target on every seed and then on `runs` mutations of them; `watch` sees every input, after its run.
pub fn drive(target: Target, seeds: &[Vec<u8>], runs: u64, key: u64, mut watch: impl FnMut(&[u8])) {
    for seed in seeds {
        target(seed);
        watch(seed);
    }
    let mut rng = Rng::new(key);
    for _ in 0..runs {
        let Some(seed) = seeds.get(pick(&mut rng, seeds.len())) else { return };
        let other = seeds.get(pick(&mut rng, seeds.len())).map(Vec::as_slice).unwrap_or_default();
        let mut data = seed.clone();
        mutate(&mut data, other, &mut rng);
        target(&data);
        watch(&data);
    }
}
