//! How well weights track: the epochs of a run (`trainer eval`) and settings of the tracker (`trainer tune`) on an annotated
//! data set, by the protocols of crate `vot`.

mod dataset;
mod epochs;
mod runner;
mod tune;

pub use dataset::TestSet;
pub use epochs::{EpochRow, Epochs, EvalOptions, Evaluation, evaluate};
pub use runner::{Measured, Protocol, Workers};
pub use tune::{Axis, Best, Objective, Search, TuneOptions, Tuned, tune};

use crate::config::ConfigError;
use siamrpn::device::DeviceError;
use siamrpn::model::ModelError;
use std::io;
use std::path::PathBuf;

/// Why weights cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The data set.
    #[error("failed to {0}")]
    Vot(#[from] vot::Error),
    /// A model file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The tracker's settings make no model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A sequence that was asked for is not there.
    #[error("no sequence {name:?} in {path}: there are {}", there.join(", "), path = path.display())]
    NoSequence {
        /// The data set.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// Names there are.
        there: Vec<String>,
    },
    /// A sequence cannot be tracked.
    #[error("sequence {sequence}: {reason}")]
    Sequence {
        /// The sequence.
        sequence: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights of an epoch that is not there.
    #[error("{run} has no weights of epoch {epoch}: it has {there}; run.keep_epochs says how many are kept", run = run.display())]
    NoEpoch {
        /// The run folder.
        run: PathBuf,
        /// The epoch.
        epoch: u32,
        /// What there is.
        there: String,
    },
    /// A range of epochs that means nothing.
    #[error("epochs {text:?} mean nothing: use 40, 35..50 (both ends counted), last or all")]
    Epochs {
        /// What was given.
        text: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Trials of another search lie there.
    #[error("{path} holds trials of another search (model, data set, settings or seed differ): name another --out, or delete it",
        path = path.display())]
    OtherSearch {
        /// The file.
        path: PathBuf,
    },
    /// The objective has no value on this data set.
    #[error(
        "there is no {what:?} on this data set: its sequences are too short or have no counted frame; choose another --objective"
    )]
    NoValue {
        /// The objective.
        what: Objective,
    },
    /// The drawing could not be made.
    #[error("could not draw: {0}")]
    Plot(String),
    /// Stopped from outside.
    #[error("interrupted; what was finished is kept")]
    Interrupted,
}

impl EvaluateError {
    /// The documented exit code.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Interrupted => schemas::exit::INTERRUPTED,
            Self::Epochs { .. }
            | Self::NoEpoch { .. }
            | Self::NoSequence { .. }
            | Self::OtherSearch { .. }
            | Self::Config(_) => schemas::exit::USAGE,
            _ => schemas::exit::FAILED,
        }
    }
}
