//! Results as tables.

use super::Tracked;
use crate::input::Start;
use arrow::array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, StringArray, UInt32Array};
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
pub fn write_arrow(path: &Path, starts: &[Start], targets: &[Vec<Tracked>]) -> io::Result<()> {
    let bad = |e: arrow::error::ArrowError| match e {
        arrow::error::ArrowError::IoError(_, e) => e,
        other => io::Error::other(other.to_string()),
    };
    let schema = result_schema();
    let mut writer = FileWriter::try_new(BufWriter::new(File::create(path)?), &schema).map_err(bad)?;
    for (start, frames) in starts.iter().zip(targets) {
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns(&start.id, frames)).map_err(bad)?;
        writer.write(&batch).map_err(bad)?;
    }
    writer.finish().map_err(bad)?;
    writer.into_inner().map_err(bad)?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn columns(id: &str, frames: &[Tracked]) -> Vec<ArrayRef> {
    let number = |value: &dyn Fn(&Tracked) -> Option<f64>| -> ArrayRef {
        let value = |f: &Tracked| Some(value(f).map_or(f32::NAN, |v| v as f32));
        Arc::new(frames.iter().map(value).collect::<Float32Array>())
    };
    let side = |i: usize| number(&|f| f.output?.rect.get(i).copied());
    vec![
        Arc::new(StringArray::from_iter_values(frames.iter().map(|_| id))),
        Arc::new(UInt32Array::from_iter_values(0..frames.len() as u32)),
        side(0),
        side(1),
        side(2),
        side(3),
        number(&|f| Some(f.output?.score)),
        Arc::new(frames.iter().map(|f| Some(f.output.is_some_and(|o| o.lost))).collect::<BooleanArray>()),
        number(&|f| f.seconds),
    ]
}
