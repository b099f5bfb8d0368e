//! Event files that TensorBoard reads.
//!
//! ```text
//! record   u64 length, u32 masked crc32c of the length, bytes, u32 masked crc32c of the bytes   (little endian; TFRecord)
//! bytes    an Event: 1 wall time (double), 2 step, 3 file version, 5 summary { 1 value { 1 tag, 2 number (float) } },
//!          7 session log { 1 status }                                                       (protobuf, by field number)
//! ```
//!
//! A resumed run begins a new file with the status START at its first step: TensorBoard then drops what earlier files say
//! about that step and later ones.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Folder of the event files inside a run folder.
pub const FOLDER: &str = "tensorboard";

/// An open event file.
#[derive(Debug)]
pub struct Events {
    file: File,
    path: PathBuf,
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// A field of bytes: a string or a message.
fn bytes(field: u64, value: &[u8], to: &mut Vec<u8>) {
    varint(field << 3 | 2, to);
    varint(value.len() as u64, to);
    to.extend(value);
}

fn masked(data: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(data);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// An event of now with one more field.
fn event(step: u64, rest: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
    let mut event = vec![1 << 3 | 1];
    event.extend(now.to_le_bytes());
    event.push(2 << 3);
    varint(step, &mut event);
    event.extend(rest);
    event
}

impl Events {
    /// A new file in `run`, for steps after `step`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(run: &Path, step: u64) -> io::Result<Self> {
        let folder = run.join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // TensorBoard reads files in the order of their names; seconds alone may repeat.
        let path = folder.join(format!("events.out.tfevents.{:010}.{:09}.siamrpn", now.as_secs(), now.subsec_nanos()));
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        let mut events = Self { file, path };
        let mut version = Vec::new();
        bytes(3, b"brain.Event:2", &mut version);
        events.write(&event(0, &version))?;
        if step > 0 {
            let mut start = Vec::new();
            bytes(7, &[1 << 3, 1], &mut start);
            events.write(&event(step + 1, &start))?;
        }
        Ok(events)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds numbers of a step, each under its tag; those that are not finite are left out.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, Option<f64>)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let Some(value) = value.filter(|v| v.is_finite()) else { continue };
            let mut entry = Vec::new();
            bytes(1, tag.as_bytes(), &mut entry);
            entry.push(2 << 3 | 5);
            #[expect(clippy::cast_possible_truncation, reason = "the format holds floats")]
            entry.extend((value as f32).to_le_bytes());
            bytes(1, &entry, &mut summary);
        }
        let mut rest = Vec::new();
        bytes(5, &summary, &mut rest);
        self.write(&event(step, &rest))
    }

    fn write(&mut self, event: &[u8]) -> io::Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let record = [&length[..], &masked(&length), event, &masked(event)].concat();
        self.file.write_all(&record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_and_say_what_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::create(dir.path(), 5).unwrap();
        events.scalars(6, &[("train/loss", Some(1.5)), ("train/cls", None), ("lr", Some(f64::NAN))]).unwrap();
        let data = std::fs::read(events.path()).unwrap();
        let mut records = Vec::new();
        let mut rest = &data[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(&rest[..8]));
            let bytes = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked(bytes));
            records.push(bytes.to_vec());
            rest = &rest[16 + length..];
        }
        assert_eq!(records.len(), 3);
        let has = |record: &[u8], part: &[u8]| record.windows(part.len()).any(|w| w == part);
        assert!(has(&records[0], b"brain.Event:2"));
        // Step 6, status START.
        assert_eq!(records[1][9..], [2 << 3, 6, 7 << 3 | 2, 2, 1 << 3, 1]);
        assert!(has(&records[2], b"train/loss") && has(&records[2], &1.5f32.to_le_bytes()));
        assert!(!has(&records[2], b"cls") && !has(&records[2], b"lr"));
        // The known check value of crc32c, masked.
        assert_eq!(masked(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
    }
}
