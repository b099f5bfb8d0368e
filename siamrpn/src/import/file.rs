//! A file of tensors under any names: safetensors, or what `torch.save` wrote.

use super::ImportError;
use crate::model::{ModelError, floats};
use pytorch_reader::{DType, PytorchReader, Tensor};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Both kinds of file; nothing of a tensor is read before it is asked for.
enum Contents {
    Safetensors(Vec<u8>),
    PyTorch(PytorchReader),
}

/// An open file of tensors.
pub(super) struct TensorFile {
    path: String,
    contents: Contents,
}

impl TensorFile {
    /// Opens `path`; the content decides which of the two it is.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let name = path.display().to_string();
        let io = |source| ModelError::Io { path: name.clone(), source };
        let mut file = std::fs::File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut start = Vec::new();
        file.by_ref().take(9).read_to_end(&mut start).map_err(io)?;
        // safetensors begins with the length of a header and the header's bracket; PyTorch with "PK", a pickle or a tar.
        let header = start.first_chunk().map(|b| u64::from_le_bytes(*b));
        let contents = if start.get(8) == Some(&b'{') && header.is_some_and(|h| h < size) {
            Contents::Safetensors(std::fs::read(path).map_err(io)?)
        } else {
            let reason =
                |e: pytorch_reader::PytorchError| ImportError::PyTorch { path: name.clone(), reason: e.to_string() };
            let reader = PytorchReader::new(path).map_err(reason)?;
            let claim = |t: &&Tensor| u64::try_from(t.byte_len()).is_ok_and(|bytes| bytes > size);
            if let Some(tensor) = reader.tensors().values().find(claim) {
                let (tensor, bytes) = (tensor.name.clone(), tensor.byte_len());
                return Err(ImportError::Claim { path: name, name: tensor, bytes, file: size });
            }
            Contents::PyTorch(reader)
        };
        Ok(Self { path: name, contents })
    }

    /// The file's path, for messages.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn safetensors<'a>(&self, bytes: &'a [u8]) -> Result<SafeTensors<'a>, ModelError> {
        let damaged =
            |e: safetensors::SafeTensorError| ModelError::Damaged { path: self.path.clone(), reason: e.to_string() };
        SafeTensors::deserialize(bytes).map_err(damaged)
    }

    /// Names and shapes.
    pub(super) fn shapes(&self) -> Result<BTreeMap<String, Vec<usize>>, ImportError> {
        Ok(match &self.contents {
            Contents::Safetensors(bytes) => {
                self.safetensors(bytes)?.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect()
            }
            Contents::PyTorch(reader) => {
                reader.tensors().iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect()
            }
        })
    }

    /// The values of a tensor that [`TensorFile::shapes`] names; all finite.
    pub(super) fn read(&self, name: &str) -> Result<Vec<f32>, ImportError> {
        let (path, tensor) = (|| self.path.clone(), || name.to_owned());
        let (found, values) = match &self.contents {
            Contents::Safetensors(bytes) => {
                let file = self.safetensors(bytes)?;
                let damaged =
                    |e: safetensors::SafeTensorError| ModelError::Damaged { path: path(), reason: e.to_string() };
                let view = file.tensor(name).map_err(damaged)?;
                (view.dtype().to_string(), floats(view.dtype(), view.data()))
            }
            Contents::PyTorch(reader) => {
                let failed = |reason: String| ImportError::PyTorch { path: path(), reason };
                let tensor = reader.get(name).ok_or_else(|| failed(format!("tensor {name} is missing")))?;
                let dtype = match tensor.dtype() {
                    DType::F32 => Some(Dtype::F32),
                    DType::F16 => Some(Dtype::F16),
                    DType::BF16 => Some(Dtype::BF16),
                    _ => None,
                };
                let data = tensor.read().map_err(|e| failed(e.to_string()))?;
                (format!("{:?}", tensor.dtype()), dtype.and_then(|dtype| floats(dtype, &data)))
            }
        };
        let values = values.ok_or_else(|| ModelError::Type { path: path(), name: tensor(), found })?;
        if values.iter().any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite { path: path(), name: tensor() }.into());
        }
        Ok(values)
    }
}
