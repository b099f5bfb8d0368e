//! Results as tables: one row per frame.

use super::Tracked;
use arrow::array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, UInt32Array};
use arrow::ipc::writer::FileWriter;
use schemas::result::result_schema;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;

/// `1` on frames where the target is reported lost, `0` elsewhere, one per line.
pub fn lost(frames: &[Tracked]) -> Vec<u8> {
    frames.iter().flat_map(|f| if f.output.is_some_and(|o| o.lost) { *b"1\n" } else { *b"0\n" }).collect()
}

/// Writes `result.arrow` and flushes it to disk. Frames before the initial one have NaN boxes.
pub fn write_arrow(path: &Path, frames: &[Tracked]) -> io::Result<()> {
    let bad = |e: arrow::error::ArrowError| match e {
        arrow::error::ArrowError::IoError(_, e) => e,
        other => io::Error::other(other.to_string()),
    };
    let schema = result_schema();
    let side = |i: usize| -> ArrayRef {
        let value = |f: &Tracked| f.output.and_then(|o| o.rect.get(i).copied()).map_or(f32::NAN, |v| v as f32);
        Arc::new(frames.iter().map(value).map(Some).collect::<Float32Array>())
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new((0..frames.len() as u32).map(Some).collect::<UInt32Array>()),
        side(0),
        side(1),
        side(2),
        side(3),
        Arc::new(frames.iter().map(|f| Some(f.output.map_or(f32::NAN, |o| o.score as f32))).collect::<Float32Array>()),
        Arc::new(frames.iter().map(|f| Some(f.output.is_some_and(|o| o.lost))).collect::<BooleanArray>()),
        Arc::new(frames.iter().map(|f| Some(f.seconds.map_or(f32::NAN, |s| s as f32))).collect::<Float32Array>()),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(bad)?;
    let mut writer = FileWriter::try_new(BufWriter::new(File::create(path)?), &schema).map_err(bad)?;
    writer.write(&batch).map_err(bad)?;
    writer.finish().map_err(bad)?;
    writer.into_inner().map_err(bad)?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
