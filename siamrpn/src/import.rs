//! Weights of other networks: an ImageNet trunk, and checkpoints of the published families.

mod family;
mod file;
mod foreign;
mod imagenet;

pub use family::Family;
pub use foreign::Foreign;
pub use imagenet::{from_imagenet_alexnet, from_imagenet_alexnet_bytes};

use crate::model::ModelError;
use crate::net::ConfigError;
use crate::params::ReplaceError;

/// Why weights cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ModelError),
    /// The configuration describes no network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file's tensors are not those of the network.
    #[error("weights {path}: {source}")]
    Tensors {
        /// The file.
        path: String,
        /// The reason.
        source: ReplaceError,
    },
    /// The trunk of the configuration has other widths.
    #[error(
        "weights {path} are for trunk.widths = {expected:?}, the configuration asks for {found:?}: choose the preset \
         `recommended` or set the widths"
    )]
    Widths {
        /// The file.
        path: String,
        /// Widths of the weights.
        expected: [usize; 5],
        /// Widths of the configuration.
        found: [usize; 5],
    },
    /// The metadata does not say how the network's input was normalised.
    #[error("weights {path}: metadata entry {key} must be a JSON list of three numbers, found {found:?}")]
    Metadata {
        /// The file.
        path: String,
        /// The entry.
        key: &'static str,
        /// Its value.
        found: Option<String>,
    },
    /// PyTorch's file is damaged, or holds what cannot be read without running it.
    #[error("weights {path} cannot be read as a PyTorch file: {reason}")]
    PyTorch {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is larger than the file that should hold it.
    #[error("weights {path}: tensor {name} should have {bytes} bytes, but the whole file has {file}: it is damaged")]
    Claim {
        /// The file.
        path: String,
        /// The tensor, in the file's names.
        name: String,
        /// Bytes it would have.
        bytes: usize,
        /// Bytes of the file.
        file: u64,
    },
    /// No network of any family has these widths.
    #[error("weights {path}: the convolutions have {found:?} output channels, expected at most {limit} each")]
    Channels {
        /// The file.
        path: String,
        /// Output channels of conv1 to conv5, then of the head where the file has one.
        found: Vec<usize>,
        /// Most that are accepted.
        limit: usize,
    },
    /// The configuration changes what the weights decide.
    #[error(
        "weights {path} decide model.{key}: it is {expected}, not {found}; model.semantics, model.search_px, \
         model.train_search_px and model.tracker are free"
    )]
    Fixed {
        /// The file.
        path: String,
        /// The key below `model`.
        key: &'static str,
        /// What the weights were made for.
        expected: String,
        /// What the configuration asks for.
        found: String,
    },
}
