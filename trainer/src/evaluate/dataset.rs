//! An annotated data set, checked before hours are spent on it.

use super::EvaluateError;
use shards::image::Rgb;
use shards::jpeg::{Limits, decode_image};
use std::path::Path;
use vot::Sequence;
use vot::sequence::{dataset_name, read_dataset};

/// Sequences with their sizes, and what they are known by.
#[derive(Debug, Clone)]
pub struct TestSet {
    /// Name of the data set.
    pub name: String,
    /// Its sequences, with width and height.
    pub sequences: Vec<Sequence>,
    /// Hash over names, sizes, annotation and pictures, hexadecimal.
    pub digest: String,
}

impl TestSet {
    /// Reads the data set at `path`, in any layout that crate `vot` knows; only the sequences of `wanted` if there are any.
    ///
    /// # Errors
    /// [`EvaluateError`] names a sequence without pictures, without annotation, or with a picture that cannot be read.
    pub fn read(path: &Path, wanted: &[String]) -> Result<Self, EvaluateError> {
        let mut sequences = read_dataset(path, None)?;
        if let Some(name) = wanted.iter().find(|name| !sequences.iter().any(|s| s.name == **name)) {
            let there = sequences.into_iter().map(|s| s.name).collect();
            return Err(EvaluateError::NoSequence { path: path.to_path_buf(), name: name.clone(), there });
        }
        sequences.retain(|s| wanted.is_empty() || wanted.contains(&s.name));
        let mut hash = blake3::Hasher::new();
        for sequence in &mut sequences {
            let fail = |reason: String| EvaluateError::Sequence { sequence: sequence.name.clone(), reason };
            if sequence.frames.len() < sequence.len() {
                let (pictures, lines) = (sequence.frames.len(), sequence.len());
                return Err(fail(format!("it has {pictures} pictures for {lines} lines of ground truth")));
            }
            if !sequence.groundtruth.iter().any(vot::Region::is_shape) {
                return Err(fail("its ground truth has no region to start from".to_owned()));
            }
            if sequence.size().is_none() {
                let first = picture(sequence, 0)?;
                (sequence.width, sequence.height) = (Some(first.width as u32), Some(first.height as u32));
            }
            let truth: Vec<String> = sequence.groundtruth.iter().map(ToString::to_string).collect();
            let text = serde_json::json!([sequence.name, sequence.size(), truth, sequence.values]).to_string();
            hash.update(text.as_bytes());
            for path in &sequence.frames {
                let bytes = std::fs::read(path).map_err(|source| EvaluateError::File { path: path.clone(), source })?;
                hash.update(blake3::hash(&bytes).as_bytes());
            }
        }
        Ok(Self { name: dataset_name(path)?, sequences, digest: hash.finalize().to_hex().to_string() })
    }
}

/// Picture `frame` of a sequence.
pub(super) fn picture(sequence: &Sequence, frame: usize) -> Result<Rgb, EvaluateError> {
    let fail = |reason: String| EvaluateError::Sequence { sequence: sequence.name.clone(), reason };
    let path = sequence.frames.get(frame).ok_or_else(|| fail(format!("it has no picture for frame {frame}")))?;
    let bytes = std::fs::read(path).map_err(|source| EvaluateError::File { path: path.clone(), source })?;
    decode_image(&bytes, &Limits::default()).map_err(|e| fail(format!("{}: {e}", path.display())))
}
