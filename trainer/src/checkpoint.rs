//! Checkpoints: all that a run needs to go on with the same bits.
//!
//! ```text
//! RUN/checkpoints/step-00000100/
//!   model.safetensors   weights and running statistics, with the model's configuration
//!   optim.safetensors   momentum buffers under the parameters' names
//!   state.json          step, hashes, counters, and the blake3 hashes of the two files
//! RUN/epochs/epoch-0001.safetensors   weights after an epoch
//! RUN/best.safetensors, best.json     weights with the lowest validation loss, and that loss
//! ```
//!
//! A checkpoint is written into a temporary folder, flushed, and renamed, so a folder of that name is whole. Order and
//! augmentation are pure functions of seed and step, so no generator or loader state is kept.

use crate::optim::{Buffers, Sgd};
use burn::tensor::Device;
use safetensors::tensor::{Dtype, TensorView};
use schemas::format::{CHECKPOINT_FORMAT, FormatError, FormatVersion};
use schemas::model::ModelConfig;
use serde::{Deserialize, Serialize};
use siamrpn::model::{Model, ModelError, read_tensors, to_bytes};
use siamrpn::net::SiamRpn;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Folder of checkpoints inside a run folder.
pub const CHECKPOINTS: &str = "checkpoints";
/// Folder of the weights after each epoch inside a run folder.
pub const EPOCHS: &str = "epochs";
/// Weights with the lowest validation loss inside a run folder.
pub const BEST: &str = "best.safetensors";
/// Which ones these are.
pub const BEST_STATE: &str = "best.json";
/// Weights inside a checkpoint; also the newest weights inside a run folder.
pub const MODEL: &str = "model.safetensors";
const OPTIM: &str = "optim.safetensors";
const STATE: &str = "state.json";
const PREFIX: &str = "step-";
const TEMPORARY: &str = ".tmp-";

/// Why a checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Writing failed; older checkpoints are untouched.
    #[error("writing checkpoint {path} failed: {source}; older checkpoints are untouched")]
    Write {
        /// The checkpoint.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The optimiser's tensors have no safetensors form.
    #[error("writing checkpoint {path} failed: {reason}")]
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Reading failed.
    #[error("reading {path} failed: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// `state.json` is damaged.
    #[error("{path} is damaged: {reason}; delete this checkpoint's folder to resume from the one before")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The checkpoint was written by a newer release.
    #[error("checkpoint {path}: {source}")]
    Format {
        /// The checkpoint.
        path: PathBuf,
        /// Versions.
        source: FormatError,
    },
    /// A file is not the one that was written.
    #[error(
        "{path} is damaged: its hash is {found}, {expected} was written; delete this checkpoint's folder to resume from the one \
         before"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Hash in `state.json`.
        expected: String,
        /// Hash of the file.
        found: String,
    },
    /// Weights or momentum cannot be read.
    #[error("checkpoint: {0}; delete this checkpoint's folder to resume from the one before")]
    Model(#[from] ModelError),
    /// The run was made with another configuration or dataset.
    #[error(
        "checkpoint {path} was made with {what} {expected}, this run has {found}: resume with the same {what}, or start \
         a new run folder"
    )]
    Other {
        /// The checkpoint.
        path: PathBuf,
        /// Configuration or dataset.
        what: &'static str,
        /// Hash in the checkpoint.
        expected: String,
        /// Hash of this run.
        found: String,
    },
}

/// The weights with the lowest validation loss so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done then.
    pub step: u64,
    /// Epoch then, from 1.
    pub epoch: u32,
    /// The loss.
    pub loss: f64,
}

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Version of the checkpoint format.
    pub format: FormatVersion,
    /// Program and version that wrote it.
    pub writer: String,
    /// Epoch of the last step done, from 1.
    pub epoch: u32,
    /// Steps done.
    pub step: u64,
    /// Hash of what decides the weights in the configuration.
    pub config_hash: String,
    /// The dataset's identity.
    pub dataset_hash: String,
    /// Seed of weights, order and augmentation.
    pub seed: u64,
    /// Steps skipped because loss or gradients were not finite.
    pub bad_steps: u64,
    /// Skipped steps in a row, up to the last one done.
    pub bad_in_a_row: u64,
    /// Rows that were replaced because they could not be read.
    pub substituted: u64,
    /// The best validation so far.
    #[serde(default)]
    pub best: Option<Best>,
    /// blake3 hashes of the files beside this one, hexadecimal; checkpoints before format 1.1 have none.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

impl State {
    /// The state before the first step.
    #[must_use]
    pub fn start(config_hash: String, dataset_hash: String, seed: u64) -> Self {
        Self {
            format: CHECKPOINT_FORMAT,
            writer: schemas::format::writer_stamp("trainer"),
            epoch: 1,
            step: 0,
            config_hash,
            dataset_hash,
            seed,
            bad_steps: 0,
            bad_in_a_row: 0,
            substituted: 0,
            best: None,
            files: BTreeMap::new(),
        }
    }

    /// The bytes of a model file with the run's weights.
    fn weights(&self, model: &ModelConfig, net: &SiamRpn) -> Vec<u8> {
        let extra = BTreeMap::from([
            ("trainer.step".to_owned(), self.step.to_string()),
            ("trainer.config_hash".to_owned(), self.config_hash.clone()),
            ("trainer.dataset_hash".to_owned(), self.dataset_hash.clone()),
            ("trainer.writer".to_owned(), self.writer.clone()),
        ]);
        to_bytes(model, net, &extra)
    }
}

fn name(step: u64) -> String {
    format!("{PREFIX}{step:08}")
}

/// All whole checkpoints of a run, oldest first.
#[must_use]
pub fn list(run: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(run.join(CHECKPOINTS)) else { return Vec::new() };
    let mut found: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|e| Some((e.file_name().to_str()?.strip_prefix(PREFIX)?.parse().ok()?, e.path())))
        .filter(|(_, path)| path.join(STATE).is_file())
        .collect();
    found.sort();
    found
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn optim_bytes(buffers: &Buffers) -> Result<Vec<u8>, String> {
    let views: Result<Vec<_>, _> = buffers
        .iter()
        .map(|(name, data)| {
            TensorView::new(Dtype::F32, data.shape().to_vec(), data.bytes()).map(|view| (name.as_str(), view))
        })
        .collect();
    safetensors::serialize(views.map_err(|e| e.to_string())?, None).map_err(|e| e.to_string())
}

/// Writes a checkpoint after `state.step` steps, makes its weights the run's newest, and deletes all but the
/// `keep_last` newest checkpoints.
///
/// # Errors
/// [`CheckpointError::Write`], [`CheckpointError::Tensors`]; nothing that was there before is lost then.
pub fn save(
    run: &Path,
    state: &State,
    model: &ModelConfig,
    net: &SiamRpn,
    sgd: &Sgd,
    keep_last: usize,
) -> Result<PathBuf, CheckpointError> {
    let folder = run.join(CHECKPOINTS);
    let path = folder.join(name(state.step));
    let fail = |source: io::Error| CheckpointError::Write { path: path.clone(), source };
    let weights = state.weights(model, net);
    let optim =
        optim_bytes(&sgd.buffers()).map_err(|reason| CheckpointError::Tensors { path: path.clone(), reason })?;
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let files = BTreeMap::from([(MODEL.to_owned(), hash(&weights)), (OPTIM.to_owned(), hash(&optim))]);
    let json = serde_json::to_vec_pretty(&State { files, ..state.clone() })
        .map_err(|e| CheckpointError::Tensors { path: path.clone(), reason: e.to_string() })?;
    let write = || {
        std::fs::create_dir_all(&folder)?;
        let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&folder)?;
        put(&temporary.path().join(MODEL), &weights)?;
        put(&temporary.path().join(OPTIM), &optim)?;
        put(&temporary.path().join(STATE), &json)?;
        File::open(temporary.path())?.sync_all()?;
        if path.exists() {
            // The same step once more: the new one takes its place.
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::rename(temporary.path(), &path)?;
        // It has its final name now: there is nothing left to delete.
        let _renamed = temporary.keep();
        File::open(&folder)?.sync_all()?;
        shards::writer::write_atomic(&run.join(MODEL), &weights)
    };
    write().map_err(fail)?;
    let all = list(run);
    for (_, old) in all.iter().take(all.len().saturating_sub(keep_last.max(1))) {
        std::fs::remove_dir_all(old).map_err(|source| CheckpointError::Write { path: old.clone(), source })?;
    }
    Ok(path)
}

/// Writes the weights after `state.epoch` epochs, and deletes all but the `keep` newest ones (0: none).
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn save_epoch(
    run: &Path,
    state: &State,
    model: &ModelConfig,
    net: &SiamRpn,
    keep: usize,
) -> Result<(), CheckpointError> {
    let folder = run.join(EPOCHS);
    let path = folder.join(format!("epoch-{:04}.safetensors", state.epoch));
    let fail = |source: io::Error| CheckpointError::Write { path: path.clone(), source };
    std::fs::create_dir_all(&folder).map_err(fail)?;
    shards::writer::write_atomic(&path, &state.weights(model, net)).map_err(fail)?;
    if keep > 0 {
        let name = |e: std::fs::DirEntry| Some((e.file_name().to_str()?.to_owned(), e.path()));
        let mut all: Vec<(String, PathBuf)> =
            std::fs::read_dir(&folder).map_err(fail)?.flatten().filter_map(name).collect();
        all.retain(|(name, _)| name.starts_with("epoch-") && name.ends_with(".safetensors"));
        all.sort();
        for (_, old) in all.iter().take(all.len().saturating_sub(keep)) {
            std::fs::remove_file(old).map_err(fail)?;
        }
    }
    Ok(())
}

/// Writes the weights of `state.best`, which are those of `net`.
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn save_best(run: &Path, state: &State, model: &ModelConfig, net: &SiamRpn) -> Result<(), CheckpointError> {
    let path = run.join(BEST);
    let fail = |source: io::Error| CheckpointError::Write { path: path.clone(), source };
    shards::writer::write_atomic(&path, &state.weights(model, net)).map_err(fail)?;
    let json = serde_json::to_vec_pretty(&state.best).map_err(|e| fail(io::Error::other(e)))?;
    shards::writer::write_atomic(&run.join(BEST_STATE), &json).map_err(fail)
}

/// Removes what writes that were cut off left behind.
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn clean(run: &Path) -> Result<(), CheckpointError> {
    let Ok(entries) = std::fs::read_dir(run.join(CHECKPOINTS)) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let path = entry.path();
            std::fs::remove_dir_all(&path).map_err(|source| CheckpointError::Write { path, source })?;
        }
    }
    Ok(())
}

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where it came from.
    pub path: PathBuf,
    /// Step, hashes, counters.
    pub state: State,
    /// Weights.
    pub net: SiamRpn,
    /// Momentum.
    pub sgd: Sgd,
}

/// Reads a checkpoint onto `device` (with autodiff, to go on training), if it belongs to this configuration and
/// dataset.
///
/// # Errors
/// [`CheckpointError`] when it is damaged, newer, or another run's.
pub fn load(
    path: &Path,
    config_hash: &str,
    dataset_hash: &str,
    device: &Device,
) -> Result<Checkpoint, CheckpointError> {
    let read = |file: &str| {
        let path = path.join(file);
        std::fs::read(&path).map_err(|source| CheckpointError::Read { path, source })
    };
    let state: State = serde_json::from_slice(&read(STATE)?)
        .map_err(|e| CheckpointError::State { path: path.join(STATE), reason: e.to_string() })?;
    let checkpoint = || path.to_path_buf();
    state.format.check(CHECKPOINT_FORMAT).map_err(|source| CheckpointError::Format { path: checkpoint(), source })?;
    for (what, expected, found) in
        [("configuration", &state.config_hash, config_hash), ("dataset", &state.dataset_hash, dataset_hash)]
    {
        if expected != found {
            let (expected, found) = (expected.clone(), found.to_owned());
            return Err(CheckpointError::Other { path: checkpoint(), what, expected, found });
        }
    }
    let whole = |file: &str| {
        let bytes = read(file)?;
        let found = blake3::hash(&bytes).to_hex().to_string();
        match state.files.get(file) {
            Some(expected) if *expected != found => {
                Err(CheckpointError::Damaged { path: path.join(file), expected: expected.clone(), found })
            }
            _ => Ok(bytes),
        }
    };
    let name = |file: &str| path.join(file).display().to_string();
    let model = Model::from_bytes(&name(MODEL), &whole(MODEL)?, device)?;
    let (_, buffers) = read_tensors(&name(OPTIM), &whole(OPTIM)?)?;
    Ok(Checkpoint { path: checkpoint(), state, net: model.net, sgd: Sgd::from_buffers(buffers, device) })
}
