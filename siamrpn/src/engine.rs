//! Inference engines: what turns a template and search pictures into scores and deltas.

mod batched;
mod native;
#[cfg(feature = "ort")]
mod ort;

pub use batched::Batched;
pub use native::Native;
#[cfg(feature = "ort")]
pub use ort::{OnnxRuntime, OrtError};

use crate::decode::{Response, responses};
use crate::net::{Inference, InputError, SiamRpn, Template, input};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorReadError};
use schemas::model::{ChannelOrder, ModelConfig};
use shards::image::Rgb;
use std::fmt::Debug;

/// Why an engine gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A picture does not have the side the model needs.
    #[error("the model needs a square picture of {expected} px, found {width}x{height}")]
    Side {
        /// Side in pixels.
        expected: usize,
        /// Width found.
        width: usize,
        /// Height found.
        height: usize,
    },
    /// The picture's buffer is inconsistent.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The network's thread has ended.
    #[error("the network's thread has ended; the log says why")]
    Stopped,
    /// ONNX Runtime failed.
    #[error("ONNX Runtime: {0}")]
    Runtime(String),
    /// The device failed.
    #[error("the device did not hand out the network's outputs: {0}")]
    Device(#[from] TensorReadError),
}

/// Runs a model.
pub trait Engine: Debug + Send + Sync {
    /// Shows the engine a template; the session answers for search pictures of that target.
    ///
    /// # Errors
    /// [`EngineError`] when the picture does not fit or the device fails.
    fn start(&self, template: &Rgb) -> Result<Box<dyn Session>, EngineError>;
}

/// A target an engine has seen.
pub trait Session: Debug + Send {
    /// Scores and deltas for a search picture.
    ///
    /// # Errors
    /// [`EngineError`] when the picture does not fit or the device fails.
    fn search(&mut self, search: &Rgb) -> Result<Response, EngineError>;
}

/// The engine on Burn, on any device; batch norms are folded into the weights.
#[derive(Debug, Clone)]
pub struct BurnEngine {
    net: Inference,
    exemplar: usize,
    search: usize,
    channels: ChannelOrder,
    device: Device,
}

impl BurnEngine {
    /// An engine for `net`, on the network's device.
    #[must_use]
    pub fn new(config: &ModelConfig, net: &SiamRpn) -> Self {
        Self {
            net: net.inference(),
            exemplar: config.exemplar_px as usize,
            search: config.search_px as usize,
            channels: config.channels,
            device: net.devices().into_iter().next().unwrap_or_else(Device::flex).without_autodiff(),
        }
    }

    fn template(&self, template: &Rgb) -> Result<Template, EngineError> {
        Ok(self.net.template(self.tensor(template, self.exemplar)?))
    }

    /// # Shapes
    /// - output: `[1, 3, side, side]`
    fn tensor(&self, picture: &Rgb, side: usize) -> Result<Tensor<4>, EngineError> {
        square(picture, side)?;
        Ok(input(&picture.data, 1, side, self.channels, &self.device)?)
    }
}

fn square(picture: &Rgb, side: usize) -> Result<(), EngineError> {
    if (picture.width, picture.height) == (side, side) {
        return Ok(());
    }
    Err(EngineError::Side { expected: side, width: picture.width, height: picture.height })
}

impl Engine for BurnEngine {
    fn start(&self, template: &Rgb) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(BurnSession { engine: self.clone(), template: self.template(template)? }))
    }
}

/// A template's kernels on the device.
#[derive(Debug)]
struct BurnSession {
    engine: BurnEngine,
    template: Template,
}

impl Session for BurnSession {
    fn search(&mut self, search: &Rgb) -> Result<Response, EngineError> {
        let x = self.engine.tensor(search, self.engine.search)?;
        let outputs = self.engine.net.track(&self.template, x);
        Ok(responses(outputs)?.pop().unwrap_or(Response { scores: Vec::new(), deltas: Vec::new() }))
    }
}
