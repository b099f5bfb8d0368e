//! Trained models for other programs: a smaller model file, or ONNX graphs.

use schemas::model::{MODEL_FORMAT_KEY, MODEL_KEY};
use serde::Serialize;
use siamrpn::device::{DeviceError, device};
use siamrpn::model::{Model, ModelError, Stored, to_bytes_as, write};
use siamrpn::net::{ConfigError, validate};
use siamrpn::onnx::{Ending, Graphs, OPSET, OnnxError};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What a model is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One file, which this project reads
    Safetensors,
    /// A folder with template.onnx and search.onnx
    Onnx,
}

/// Why a model is not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The model cannot be read, or the file not be written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// There is no processor to read it on.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The search side does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The graphs cannot be made.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// Something is there already.
    #[error("{path} is there already and is no empty folder: name another --out, or remove it", path = path.display())]
    Exists {
        /// The folder named.
        path: PathBuf,
    },
    /// The folder cannot be written.
    #[error("{path} cannot be written: {source}", path = path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The model's hash, hexadecimal.
    pub model_blake3: String,
    /// Search side in pixels.
    pub search_px: u32,
    /// Operator set of the graphs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opset: Option<i64>,
    /// The files.
    pub files: Vec<Written>,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// Hash of its bytes, hexadecimal.
    pub blake3: String,
}

/// Writes the model at `from` to `out`. `search_px` replaces the search side the model tracks with.
///
/// # Errors
/// [`ExportError`]; `out` is as it was then.
pub fn export(
    from: &Path,
    format: Format,
    out: &Path,
    stored: Stored,
    search_px: Option<u32>,
) -> Result<Exported, ExportError> {
    let Model { mut config, net, mut metadata, blake3, .. } = Model::load(from, &device("cpu")?)?;
    config.search_px = search_px.unwrap_or(config.search_px);
    validate(&config)?;
    let (opset, files) = match format {
        Format::Safetensors => {
            // These two are written anew.
            metadata.retain(|key, _| key != MODEL_KEY && key != MODEL_FORMAT_KEY);
            let bytes = to_bytes_as(&config, &net, &metadata, stored);
            if let Some(folder) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
                fs::create_dir_all(folder).map_err(|source| ExportError::Write { path: folder.to_owned(), source })?;
            }
            let blake3 = write(out, &bytes)?;
            (None, vec![Written { path: out.to_owned(), bytes: bytes.len(), blake3 }])
        }
        Format::Onnx => {
            metadata.insert(MODEL_KEY.to_owned(), serde_json::json!(config).to_string());
            let Graphs { template, search } = Graphs::new(&config, &net.inference(), &metadata, stored, Ending::Boxes)?;
            (Some(OPSET), folder(out, &[("template.onnx", &template), ("search.onnx", &search)])?)
        }
    };
    Ok(Exported { model_blake3: blake3, search_px: config.search_px, opset, files })
}

/// Writes files into a folder beside `out`, which then takes its place.
fn folder(out: &Path, files: &[(&str, &[u8])]) -> Result<Vec<Written>, ExportError> {
    let failed = |source| ExportError::Write { path: out.to_owned(), source };
    let parent = shards::disk::folder_of(out);
    fs::create_dir_all(parent).map_err(failed)?;
    // Temporary folders are private unless told otherwise; this one becomes a result, open to whom the umask lets in.
    let open = fs::Permissions::from_mode(0o777);
    let mut place = tempfile::Builder::new();
    let temporary = place.prefix(shards::disk::TEMP_PREFIX).permissions(open).tempdir_in(parent).map_err(failed)?;
    let mut written = Vec::new();
    for (name, bytes) in files {
        shards::writer::write_atomic(&temporary.path().join(name), bytes).map_err(failed)?;
        let blake3 = blake3::hash(bytes).to_hex().to_string();
        written.push(Written { path: out.join(name), bytes: bytes.len(), blake3 });
    }
    // An empty folder gives way, anything else does not.
    match fs::rename(temporary.path(), out) {
        Ok(()) => {}
        Err(_) if out.symlink_metadata().is_ok() => return Err(ExportError::Exists { path: out.to_owned() }),
        Err(source) => return Err(failed(source)),
    }
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    Ok(written)
}
