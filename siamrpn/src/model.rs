//! Model files: one safetensors file with PyTorch's tensor names and the configuration in its metadata.
//!
//! ```text
//! u64 little endian   length of the header
//! header              JSON: "__metadata__" {"siamrpn.format": "1.0", "siamrpn.model": CONFIG, ...}, then per tensor
//!                     dtype, shape, offsets; padded with spaces to a multiple of 8
//! tensors             little endian, sorted by name
//! ```
//!
//! Equal weights and metadata give equal bytes. Readers accept f32, f16 and bf16 tensors, every minor version of
//! format 1, and metadata keys they do not know.

use crate::engine::{BurnEngine, Engine};
use crate::net::{ConfigError, SiamRpn};
use crate::params::{self, ReplaceError};
use burn::module::Module;
use burn::tensor::{Device, TensorData};
use safetensors::{Dtype, SafeTensors};
use schemas::format::{FormatError, FormatVersion, MODEL_FORMAT};
use schemas::model::{MODEL_FORMAT_KEY, MODEL_KEY, ModelConfig};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Why a model file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be opened or read.
    #[error("model {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("model {path} cannot be written: {reason}")]
    Write {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The file is no safetensors file, or is cut off.
    #[error("model {path} is not a whole safetensors file: {reason}; copy it again")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The metadata lacks an entry that models of this project have.
    #[error(
        "model {path} has no metadata entry {key}: it was not written by this project; convert foreign weights with \
         `trainer import`"
    )]
    Foreign {
        /// The file.
        path: String,
        /// The missing key.
        key: &'static str,
    },
    /// The format is newer, or no format version.
    #[error("model {path}: {source}")]
    Format {
        /// The file.
        path: String,
        /// The reason.
        source: FormatError,
    },
    /// The configuration does not parse.
    #[error("model {path}: its configuration does not parse: {reason}")]
    Configuration {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The configuration describes no network.
    #[error("model {path}: {source}")]
    Network {
        /// The file.
        path: String,
        /// The reason.
        source: ConfigError,
    },
    /// The tensors are not those of the configuration.
    #[error("model {path}: {source}")]
    Tensors {
        /// The file.
        path: String,
        /// The reason.
        source: ReplaceError,
    },
    /// A tensor has a type that is not read.
    #[error("model {path}: tensor {name} has type {found}, expected F32, F16 or BF16")]
    Type {
        /// The file.
        path: String,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A tensor holds NaN or infinity.
    #[error("model {path}: tensor {name} holds values that are not finite; the training that wrote it diverged")]
    NotFinite {
        /// The file.
        path: String,
        /// The tensor.
        name: String,
    },
}

/// A model in memory: configuration, network, and where it came from.
#[derive(Debug)]
pub struct Model {
    /// Everything that must be known beside the weights.
    pub config: ModelConfig,
    /// The network.
    pub net: SiamRpn,
    /// Hash of the file's bytes, hexadecimal.
    pub blake3: String,
    /// All metadata of the file.
    pub metadata: BTreeMap<String, String>,
    engine: OnceLock<Arc<dyn Engine>>,
}

impl Model {
    /// A model of a network that is in memory already.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] when `net` is not a network of `config`.
    pub fn new(config: ModelConfig, net: SiamRpn) -> Result<Self, ModelError> {
        let device = net.devices().into_iter().next().unwrap_or_else(Device::flex).without_autodiff();
        let bytes = to_bytes(&config, &net, &BTreeMap::new());
        Self::from_bytes("in memory", &bytes, &device)
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// [`ModelError`] when the file cannot be read, is damaged, foreign, newer, or does not fit its configuration.
    pub fn load(path: &Path, device: &Device) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| ModelError::Io { path: name.clone(), source })?;
        Self::from_bytes(&name, &bytes, device)
    }

    /// Reads a model from the bytes of its file; `name` is for messages.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(name: &str, bytes: &[u8], device: &Device) -> Result<Self, ModelError> {
        let path = || name.to_owned();
        let (metadata, values) = read_tensors(name, bytes)?;
        let entry = |key: &'static str| {
            metadata.get(key).map(String::as_str).ok_or_else(|| ModelError::Foreign { path: path(), key })
        };
        let version: Result<FormatVersion, FormatError> = entry(MODEL_FORMAT_KEY)?.parse();
        version.and_then(|v| v.check(MODEL_FORMAT)).map_err(|source| ModelError::Format { path: path(), source })?;
        let config: ModelConfig = serde_json::from_str(entry(MODEL_KEY)?)
            .map_err(|e| ModelError::Configuration { path: path(), reason: e.to_string() })?;
        let net = SiamRpn::empty(&config, device).map_err(|source| ModelError::Network { path: path(), source })?;
        let net = params::replace(net, values).map_err(|source| ModelError::Tensors { path: path(), source })?;
        let blake3 = blake3::hash(bytes).to_hex().to_string();
        Ok(Self { config, net, blake3, metadata, engine: OnceLock::new() })
    }

    /// The engine that runs this model, made on first use.
    #[must_use]
    pub fn engine(&self) -> Arc<dyn Engine> {
        self.engine.get_or_init(|| Arc::new(BurnEngine::new(&self.config, &self.net))).clone()
    }
}

/// What a safetensors file holds: its metadata, and its tensors by name.
pub type Contents = (BTreeMap<String, String>, BTreeMap<String, TensorData>);

/// Reads any safetensors file of floating-point tensors, converted to f32; `name` is for messages.
///
/// # Errors
/// [`ModelError::Damaged`], [`ModelError::Type`] or [`ModelError::NotFinite`].
pub fn read_tensors(name: &str, bytes: &[u8]) -> Result<Contents, ModelError> {
    let path = || name.to_owned();
    let damaged = |e: safetensors::SafeTensorError| ModelError::Damaged { path: path(), reason: e.to_string() };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut values = BTreeMap::new();
    for (tensor, view) in file.iter() {
        let floats = floats(view.dtype(), view.data()).ok_or_else(|| ModelError::Type {
            path: path(),
            name: tensor.to_owned(),
            found: view.dtype().to_string(),
        })?;
        if floats.iter().any(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite { path: path(), name: tensor.to_owned() });
        }
        values.insert(tensor.to_owned(), TensorData::new(floats, view.shape().to_vec()));
    }
    Ok((metadata, values))
}

/// How the weights of convolutions lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stored {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits where they hold every weight of the tensor. Biases and norms, which are few and whose range is wide, keep 32.
    F16,
}

impl Stored {
    /// The bytes of a tensor in 16 bits; `None` if it stays as it is.
    pub(crate) fn half(self, shape: &[usize], values: &[f32]) -> Option<Vec<u8>> {
        let halves = values.iter().map(|v| half::f16::from_f32(*v));
        let fits = self == Self::F16 && shape.len() == 4 && halves.clone().all(half::f16::is_finite);
        fits.then(|| halves.flat_map(half::f16::to_le_bytes).collect())
    }
}

/// Little-endian floating-point numbers as f32; `None` for types that are not read.
pub(crate) fn floats(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}

/// The bytes of a model file. `extra` metadata must not use the keys of this format.
#[must_use]
pub fn to_bytes(config: &ModelConfig, net: &SiamRpn, extra: &BTreeMap<String, String>) -> Vec<u8> {
    to_bytes_as(config, net, extra, Stored::F32)
}

/// As [`to_bytes`], with a choice how weights are stored.
#[must_use]
pub fn to_bytes_as(config: &ModelConfig, net: &SiamRpn, extra: &BTreeMap<String, String>, stored: Stored) -> Vec<u8> {
    let mut tensors = BTreeMap::new();
    params::for_each(net, |named, data| {
        let half = data.as_slice::<f32>().ok().and_then(|values| stored.half(&named.shape, values));
        let (dtype, bytes) = half.map_or_else(|| ("F32", data.bytes().to_vec()), |half| ("F16", half));
        tensors.insert(named.name.clone(), (named.shape.clone(), dtype, bytes));
    });
    let mut metadata = extra.clone();
    metadata.insert(MODEL_FORMAT_KEY.to_owned(), MODEL_FORMAT.to_string());
    metadata.insert(MODEL_KEY.to_owned(), serde_json::json!(config).to_string());
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    let mut offset = 0;
    for (name, (shape, dtype, data)) in &tensors {
        let end = offset + data.len();
        header.insert(name.clone(), serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = Vec::with_capacity(8 + header.len() + offset);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    for (_, _, data) in tensors.values() {
        bytes.extend(data);
    }
    bytes
}

/// Writes a model file: under a temporary name in the same folder, flushed to disk, then renamed. Answers the hash of
/// its bytes, hexadecimal.
///
/// # Errors
/// [`ModelError::Write`]; the file that was there before is untouched then.
pub fn save(
    path: &Path,
    config: &ModelConfig,
    net: &SiamRpn,
    extra: &BTreeMap<String, String>,
) -> Result<String, ModelError> {
    write(path, &to_bytes(config, net, extra))
}

/// Writes the bytes of a model file, as [`save`] does.
///
/// # Errors
/// As [`save`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<String, ModelError> {
    shards::writer::write_atomic(path, bytes)
        .map_err(|e| ModelError::Write { path: path.display().to_string(), reason: e.to_string() })?;
    Ok(blake3::hash(bytes).to_hex().to_string())
}
