//! The network in ONNX Runtime, whose library is loaded when this engine is asked for.

use super::{BurnEngine, Engine, EngineError, Session, square};
use crate::decode::Response;
use crate::model::Stored;
use crate::net::planes;
use crate::onnx::{Ending, Graphs, OnnxError};
use ::ort::environment::Environment;
use ::ort::session::Session as Runtime;
use ::ort::value::TensorRef;
use schemas::model::ModelConfig;
use shards::image::Rgb;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Where the library's path is looked for if nobody names it.
const VARIABLE: &str = "ORT_DYLIB_PATH";
/// Its name among the system's libraries.
const SYSTEM: &str = "libonnxruntime.so";

/// Why ONNX Runtime cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OrtError {
    /// There is no library, or it is none of ONNX Runtime.
    #[error(
        "ONNX Runtime cannot be loaded from {path}: {reason}. `pip install onnxruntime` brings the library, \
         site-packages/onnxruntime/capi/libonnxruntime.so.VERSION; name that file with --onnxruntime or {VARIABLE}",
        path = path.display()
    )]
    Library {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The model cannot become ONNX graphs.
    #[error(transparent)]
    Graphs(#[from] OnnxError),
    /// ONNX Runtime does not take the graphs.
    #[error("ONNX Runtime {version} does not take the model: {reason}")]
    Model {
        /// Its version.
        version: String,
        /// What it says.
        reason: String,
    },
}

/// The library; a process loads it once.
struct Library {
    environment: Environment,
    version: String,
}

static LIBRARY: OnceLock<Library> = OnceLock::new();
/// Held while it is loaded.
static LOADING: Mutex<()> = Mutex::new(());

impl Library {
    fn get(path: Option<&Path>) -> Result<&'static Self, OrtError> {
        let _alone = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = LIBRARY.get() {
            return Ok(library);
        }
        let variable = || std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
        let named = path.map(Path::to_owned).or_else(variable);
        let failed = |reason: String| OrtError::Library { path: named.clone().unwrap_or(SYSTEM.into()), reason };
        let place = match &named {
            None => PathBuf::from(SYSTEM),
            Some(path) => {
                let whole = path.canonicalize().map_err(|e| failed(e.to_string()))?;
                if !whole.is_file() {
                    return Err(failed("this is no file".to_owned()));
                }
                whole
            }
        };
        let version = version(&place).map_err(&failed)?;
        let builder = ::ort::init_from(&place).map_err(|e| failed(said(&e)))?.with_telemetry(false);
        let environment = builder.with_name("siamrpn").build().map_err(|e| failed(said(&e)))?;
        Ok(LIBRARY.get_or_init(|| Self { environment, version }))
    }
}

/// An error with its cause, which some keep to themselves.
fn said(e: &dyn std::error::Error) -> String {
    e.source().map_or_else(|| e.to_string(), |cause| format!("{e}: {cause}"))
}

/// What a library says its version is.
fn version(place: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initialisers; whoever names it trusts it as they trust this program. The
    // symbol has had this type in every version, and the texts it leads to live as long as the library.
    unsafe {
        let library = libloading::Library::new(place).map_err(|e| said(&e))?;
        let base: libloading::Symbol<'_, unsafe extern "C" fn() -> *const ::ort::sys::OrtApiBase> =
            library.get(b"OrtGetApiBase").map_err(|_| "this is no library of ONNX Runtime".to_owned())?;
        let base = base().as_ref().ok_or_else(|| "it answers no functions".to_owned())?;
        Ok(CStr::from_ptr((base.GetVersionString)()).to_string_lossy().into_owned())
    }
}

/// An engine on ONNX Runtime, for processors, with as many threads as our own engine uses. Targets take turns.
#[derive(Debug)]
pub struct OnnxRuntime {
    template: Mutex<Runtime>,
    search: Arc<Mutex<Runtime>>,
    config: ModelConfig,
    version: &'static str,
}

impl OnnxRuntime {
    /// An engine for the network of `burn`, a model of `config`. `library` is ONNX Runtime's shared library; without it
    /// the environment variable `ORT_DYLIB_PATH` names it, or it is found among the system's libraries. The first library
    /// that was loaded serves the whole process.
    ///
    /// # Errors
    /// [`OrtError`].
    pub fn new(config: &ModelConfig, burn: &BurnEngine, library: Option<&Path>) -> Result<Self, OrtError> {
        let library = Library::get(library)?;
        let graphs = Graphs::new(config, &burn.net, &BTreeMap::new(), Stored::F32, Ending::Deltas)?;
        let session = |graph: &[u8]| -> Result<Mutex<Runtime>, OrtError> {
            let failed = |reason: String| OrtError::Model { version: library.version.clone(), reason };
            let threads = rayon::current_num_threads();
            let builder = Runtime::builder(&library.environment).map_err(|e| failed(e.to_string()))?;
            let mut builder = builder.with_intra_threads(threads).map_err(|e| failed(e.to_string()))?;
            builder.commit_from_memory(graph).map(Mutex::new).map_err(|e| failed(e.to_string()))
        };
        let (template, search) = (session(&graphs.template)?, Arc::new(session(&graphs.search)?));
        Ok(Self { template, search, config: config.clone(), version: &library.version })
    }

    /// The version of ONNX Runtime.
    #[must_use]
    pub fn version(&self) -> &str {
        self.version
    }
}

/// A tensor and its sizes.
type Values = (Vec<usize>, Vec<f32>);

/// Runs a graph and answers two of its outputs.
fn run(graph: &Mutex<Runtime>, inputs: &[(&str, &Values)], outputs: [&str; 2]) -> Result<[Values; 2], ::ort::Error> {
    let feed = inputs
        .iter()
        .map(|(name, (shape, values))| Ok((*name, TensorRef::from_array_view((shape.as_slice(), values.as_slice()))?)));
    let feed = feed.collect::<Result<Vec<_>, ::ort::Error>>()?;
    // A graph has no state that a panic could have spoiled.
    let mut graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
    let found = graph.run(feed)?;
    let read = |name: &str| -> Result<Values, ::ort::Error> {
        let value = found.get(name).ok_or_else(|| ::ort::Error::new(format!("there is no output {name}")))?;
        let (shape, values) = value.try_extract_tensor::<f32>()?;
        Ok((shape.iter().map(|d| usize::try_from(*d).unwrap_or_default()).collect(), values.to_vec()))
    };
    let [a, b] = outputs.map(read);
    Ok([a?, b?])
}

fn failed(e: ::ort::Error) -> EngineError {
    EngineError::Runtime(e.to_string())
}

/// The picture as the graphs take it, into `values`.
fn load(picture: &Rgb, side: u32, config: &ModelConfig, (shape, values): &mut Values) -> Result<(), EngineError> {
    square(picture, side as usize)?;
    *shape = vec![1, 3, picture.height, picture.width];
    values.clear();
    planes(&picture.data, config.channels, values);
    Ok(())
}

impl Engine for OnnxRuntime {
    fn start(&self, template: &Rgb) -> Result<Box<dyn Session>, EngineError> {
        let mut picture = Values::default();
        load(template, self.config.exemplar_px, &self.config, &mut picture)?;
        let kernels = run(&self.template, &[("exemplar", &picture)], ["kernels_cls", "kernels_reg"]).map_err(failed)?;
        let (search, config) = (Arc::clone(&self.search), self.config.clone());
        Ok(Box::new(OrtSession { search, kernels, config, picture }))
    }
}

/// A target's kernels, and room for a picture.
#[derive(Debug)]
struct OrtSession {
    search: Arc<Mutex<Runtime>>,
    kernels: [Values; 2],
    config: ModelConfig,
    picture: Values,
}

impl Session for OrtSession {
    fn search(&mut self, search: &Rgb) -> Result<Response, EngineError> {
        load(search, self.config.search_px, &self.config, &mut self.picture)?;
        let [cls, reg] = &self.kernels;
        let inputs = [("kernels_cls", cls), ("kernels_reg", reg), ("search", &self.picture)];
        let [(_, scores), (_, deltas)] = run(&self.search, &inputs, ["scores", "deltas"]).map_err(failed)?;
        Ok(Response { scores, deltas })
    }
}
