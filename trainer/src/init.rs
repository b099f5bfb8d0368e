//! The weights a run starts from: random, another model's, or foreign ones that `trainer import` converts.

use burn::tensor::{Device, TensorData};
use schemas::model::{MODEL_KEY, ModelConfig};
use siamrpn::model::{ModelError, read_tensors};
use siamrpn::net::{ConfigError, SiamRpn};
use siamrpn::params::{self, ReplaceError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why weights cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The configuration describes no network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file cannot be read.
    #[error("start weights: {0}")]
    File(#[from] ModelError),
    /// The trunk of the file is not the trunk of the configuration.
    #[error(
        "start weights {path} do not fit the trunk: tensor {name} has shape {found}, the configuration needs {expected:?}; \
         set model.trunk.widths to the file's, or start from other weights"
    )]
    Trunk {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The file's shape, or that it is missing.
        found: String,
        /// The network's shape.
        expected: Vec<usize>,
    },
    /// The file has tensors that no network of this kind has.
    #[error("start weights {path} have tensors that the network does not know: {}", names.join(", "))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The tensors.
        names: Vec<String>,
    },
    /// The tensors could not be put into the network.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
}

/// What was taken from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The file.
    pub path: PathBuf,
    /// Tensors taken.
    pub tensors: usize,
    /// Was the head taken too?
    pub head: bool,
    /// Was the order of the input channels turned round?
    pub swapped: bool,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = if self.head { "trunk and head" } else { "trunk only, the head starts fresh" };
        let swapped = if self.swapped { "; input channels turned round" } else { "" };
        write!(f, "started from {}: {} tensors, {head}{swapped}", self.path.display(), self.tensors)
    }
}

/// A network with random weights from `seed`.
///
/// # Errors
/// [`InitError::Config`].
pub fn random(cfg: &ModelConfig, seed: u64, device: &Device) -> Result<SiamRpn, InitError> {
    Ok(SiamRpn::new(cfg, seed, device)?)
}

/// A network that takes its trunk from the model file (or any safetensors file with this project's names) at `path`,
/// and its head too if all of it fits; else the head is random from `seed`.
///
/// # Errors
/// [`InitError`] names the file and the tensor that does not fit.
pub fn from_file(path: &Path, cfg: &ModelConfig, seed: u64, device: &Device) -> Result<(SiamRpn, Taken), InitError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| ModelError::Io { path: name.clone(), source })?;
    let (metadata, mut values) = read_tensors(&name, &bytes)?;
    values.retain(|name, _| !name.ends_with("num_batches_tracked"));
    let net = SiamRpn::new(cfg, seed, device)?;
    let own = params::named(&net);
    let fits = |name: &str, shape: &[usize]| values.get(name).is_some_and(|v| v.shape().to_vec() == shape);
    for tensor in own.iter().filter(|t| t.name.starts_with("trunk.")) {
        if !fits(&tensor.name, &tensor.shape) {
            return Err(InitError::Trunk {
                path: path.to_path_buf(),
                name: tensor.name.clone(),
                found: values.get(&tensor.name).map_or("missing".to_owned(), |v| format!("{:?}", v.shape().to_vec())),
                expected: tensor.shape.clone(),
            });
        }
    }
    let foreign: Vec<String> =
        values.keys().filter(|n| !n.starts_with("trunk.") && !n.starts_with("head.")).cloned().collect();
    if !foreign.is_empty() {
        return Err(InitError::Unknown { path: path.to_path_buf(), names: foreign });
    }
    let known = |name: &String| own.iter().any(|t| t.name == *name);
    let mut head = own.iter().filter(|t| t.name.starts_with("head."));
    let head = head.all(|t| fits(&t.name, &t.shape)) && values.keys().all(known);
    values.retain(|name, _| head || name.starts_with("trunk."));
    let theirs: Option<ModelConfig> = metadata.get(MODEL_KEY).and_then(|json| serde_json::from_str(json).ok());
    let swapped = theirs.is_some_and(|m| m.channels != cfg.channels);
    if swapped {
        swap_channels(&mut values);
    }
    let taken = Taken { path: path.to_path_buf(), tensors: values.len(), head, swapped };
    Ok((params::update(net, values)?, taken))
}

/// Turns the three input planes of conv1 round: RGB to BGR and back.
fn swap_channels(values: &mut BTreeMap<String, TensorData>) {
    let Some(weight) = values.remove("trunk.conv1.weight") else { return };
    let shape = weight.shape().to_vec();
    let plane: usize = shape.iter().skip(2).product::<usize>().max(1);
    let swapped: Vec<f32> = weight
        .as_slice::<f32>()
        .unwrap_or_default()
        .chunks_exact(3 * plane)
        .flat_map(|filter| filter.chunks_exact(plane).rev().flatten().copied())
        .collect();
    values.insert("trunk.conv1.weight".to_owned(), TensorData::new(swapped, shape));
}
