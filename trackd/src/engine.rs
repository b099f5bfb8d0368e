//! The seam between this program and the network: what a tracker must do, and the trackers of a loaded model.

use schemas::model::ModelConfig;
use shards::image::Rgb;
use siamrpn::device::{DeviceError, device};
use siamrpn::engine::{Batched, BurnEngine, Engine, Native};
use siamrpn::model::{Model, ModelError};
use siamrpn::tracker::{Output, TrackError, Tracker};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Follows one target through a video.
pub trait TrackEngine: Send {
    /// Starts on the target in `rect` (`[x, y, w, h]`, px, origin at the left/top edge of pixel 0), forgetting any other.
    ///
    /// # Errors
    /// [`TrackError`] when the box does not fit the frame or the network cannot run.
    fn init(&mut self, frame: &Rgb, rect: [f64; 4]) -> Result<(), TrackError>;

    /// Finds the target in the next frame.
    ///
    /// # Errors
    /// [`TrackError`] when there is no target yet or the network cannot run.
    fn update(&mut self, frame: &Rgb) -> Result<Output, TrackError>;
}

impl TrackEngine for Tracker {
    fn init(&mut self, frame: &Rgb, rect: [f64; 4]) -> Result<(), TrackError> {
        Tracker::init(self, frame, rect)
    }

    fn update(&mut self, frame: &Rgb) -> Result<Output, TrackError> {
        Tracker::update(self, frame)
    }
}

/// What made a result, for its provenance.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Hash of the model file.
    pub model_blake3: String,
    /// Hash of the model's configuration.
    pub config_hash: String,
    /// Engine and device.
    pub engine: String,
}

/// Makes trackers, one per video; shared by all workers.
pub trait Engines: Send + Sync {
    /// A tracker without a target.
    fn start(&self) -> Box<dyn TrackEngine>;

    /// What the trackers are made of.
    fn about(&self) -> &About;
}

/// What runs the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Runs {
    /// Our own on a processor, Burn on a GPU.
    #[default]
    Auto,
    /// Burn.
    Burn,
    /// Our own, for processors only: about twice as fast there.
    Native,
    /// ONNX Runtime, for processors only; its library is not part of this program.
    Ort,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No such model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network does not run.
    #[error(transparent)]
    Engine(#[from] siamrpn::engine::EngineError),
    /// The engine is for processors.
    #[error("the engine `{engine}` runs on cpu only, not on {device}: use --engine burn")]
    Processor {
        /// The engine asked for.
        engine: &'static str,
        /// The device asked for.
        device: String,
    },
    /// ONNX Runtime cannot be used.
    #[cfg(feature = "ort")]
    #[error(transparent)]
    Ort(#[from] siamrpn::engine::OrtError),
    /// The engine was left out when this program was built.
    #[cfg(not(feature = "ort"))]
    #[error("this program was built without the engine `ort`: build it with --features ort")]
    Absent,
    /// A library for an engine that needs none.
    #[error("--onnxruntime {library} is for the engine `ort`: add --engine ort", library = library.display())]
    Unused {
        /// The library.
        library: PathBuf,
    },
    /// A folder instead of a file.
    #[error("model {path} is a folder: name the .safetensors file in it", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
}

/// The trackers of a model file.
#[derive(Debug)]
pub struct ModelEngines {
    config: ModelConfig,
    engine: Arc<dyn Engine>,
    about: About,
}

impl ModelEngines {
    /// Loads a model onto a device (`cpu`, `cuda:0`), for an engine; `library` is ONNX Runtime's, if it is not where it is
    /// looked for anyway.
    ///
    /// # Errors
    /// [`EngineError`] when the device is not there, the engine does not run on it or cannot be had, or the file is no model.
    pub fn load(path: &Path, device_name: &str, runs: Runs, library: Option<&Path>) -> Result<Self, EngineError> {
        if let Some(library) = library.filter(|_| runs != Runs::Ort) {
            return Err(EngineError::Unused { library: library.to_owned() });
        }
        let only = match runs {
            Runs::Native => Some("native"),
            Runs::Ort => Some("ort"),
            Runs::Auto | Runs::Burn => None,
        };
        if let Some(engine) = only.filter(|_| device_name != "cpu") {
            return Err(EngineError::Processor { engine, device: device_name.to_owned() });
        }
        if path.is_dir() {
            return Err(EngineError::Folder { path: path.to_owned() });
        }
        let model = Model::load(path, &device(device_name)?)?;
        let config = serde_json::json!(model.config).to_string();
        let burn = BurnEngine::new(&model.config, &model.net);
        let (engine, name): (Arc<dyn Engine>, _) = match (runs, device_name) {
            (Runs::Ort, _) => ort(&model.config, &burn, library)?,
            (Runs::Native | Runs::Auto, "cpu") => {
                let native = Native::new(burn).map_err(siamrpn::engine::EngineError::from)?;
                let name = format!("native {}", native.instructions());
                (Arc::new(native), name)
            }
            (_, "cpu") => (Arc::new(burn), "burn cpu".to_owned()),
            // A GPU does several pictures in the time of one. A processor does not: four streams on two cores gave 12
            // frames/s together and 17 each by itself.
            (_, name) => (Arc::new(Batched::new(burn)), format!("burn {name}")),
        };
        let config_hash = blake3::hash(config.as_bytes()).to_hex().to_string();
        let about = About { model_blake3: model.blake3.clone(), config_hash, engine: name };
        Ok(Self { config: model.config, engine, about })
    }

    /// What the model expects and how it tracks.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What runs the network.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
}

#[cfg(feature = "ort")]
fn ort(
    config: &ModelConfig,
    burn: &BurnEngine,
    library: Option<&Path>,
) -> Result<(Arc<dyn Engine>, String), EngineError> {
    let runtime = siamrpn::engine::OnnxRuntime::new(config, burn, library)?;
    let name = format!("ort (ONNX Runtime {})", runtime.version());
    Ok((Arc::new(runtime), name))
}

#[cfg(not(feature = "ort"))]
fn ort(_: &ModelConfig, _: &BurnEngine, _: Option<&Path>) -> Result<(Arc<dyn Engine>, String), EngineError> {
    Err(EngineError::Absent)
}

impl Engines for ModelEngines {
    fn start(&self) -> Box<dyn TrackEngine> {
        Box::new(Tracker::with_engine(self.config.clone(), Arc::clone(&self.engine)))
    }

    fn about(&self) -> &About {
        &self.about
    }
}

/// Trackers for tests that need no network.
#[cfg(test)]
pub mod fake {
    use super::*;

    /// Stays where it was started and loses the target on frames whose left top pixel is dark.
    #[derive(Debug, Default)]
    pub struct Still(Option<[f64; 4]>);

    impl TrackEngine for Still {
        fn init(&mut self, frame: &Rgb, rect: [f64; 4]) -> Result<(), TrackError> {
            if rect[0] >= frame.width as f64 {
                return Err(TrackError::Box { rect, width: frame.width, height: frame.height });
            }
            self.0 = Some(rect);
            Ok(())
        }

        fn update(&mut self, frame: &Rgb) -> Result<Output, TrackError> {
            let rect = self.0.ok_or(TrackError::NoTarget)?;
            let lost = frame.pixel(0, 0)[0] < 50;
            Ok(Output { rect, score: if lost { 0.1 } else { 0.75 }, lost })
        }
    }

    /// Makes [`Still`] trackers.
    pub struct Stills(About);

    impl Default for Stills {
        fn default() -> Self {
            Self(About { model_blake3: "00".into(), config_hash: "01".into(), engine: "still".into() })
        }
    }

    impl Engines for Stills {
        fn start(&self) -> Box<dyn TrackEngine> {
            Box::new(Still::default())
        }

        fn about(&self) -> &About {
            &self.0
        }
    }
}
