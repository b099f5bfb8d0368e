//! A model as two ONNX graphs, for programs that track without Burn.
//!
//! ```text
//! exemplar [1, 3, 127, 127] ──> template graph ──> kernels_cls, kernels_reg
//!                                                       │
//! search   [1, 3, S, S] ─────────────────────────> search graph ──> scores [1, N], boxes [1, 4, N]
//! ```
//!
//! Pictures are 0 to 255 in the model's order of colours. The kernels have the shape of convolution weights: up-channel
//! `[2A, C, k, k]` and `[4A, C, k, k]`, depthwise both `[C, 1, k, k]`. Batch norms are folded into the convolutions.
//! Boxes are centre form in search pixels from the centre of the search picture. Equal models give equal bytes.

mod graph;
mod proto;

use crate::anchors::Anchors;
use crate::model::Stored;
use crate::net::{
    ConfigError, FoldedBranch, FoldedHead, FoldedWeights, HEAD_KERNEL, Inference, POOL, POOLED, side, validate,
};
use burn::tensor::TensorReadError;
use graph::Builder;
use prost::Message;
use schemas::model::ModelConfig;
use std::collections::BTreeMap;

/// Operator set of the graphs; every ONNX Runtime since 1.12 has it.
pub const OPSET: i64 = 17;
/// Version of the file format that came with it.
const IR_VERSION: i64 = 8;
/// Largest file: more is no valid protobuf message.
const LARGEST: usize = i32::MAX as usize;

/// Why a model cannot become ONNX graphs.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The configuration describes no network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights cannot be read from the device.
    #[error("the device did not hand out the weights: {0}")]
    Device(#[from] TensorReadError),
    /// A graph is larger than an ONNX file may be.
    #[error("the {graph} graph would have {bytes} bytes, and an ONNX file has at most {LARGEST}")]
    Large {
        /// Which one.
        graph: &'static str,
        /// Its size.
        bytes: usize,
    },
}

/// What the search graph ends with, beside `scores`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// `boxes` `[1, 4, N]`: cx, cy, w, h in search pixels from the centre.
    Boxes,
    /// `deltas` `[1, 4, N]`: dx, dy, dw, dh against the anchors, as in [`crate::decode::Response`].
    Deltas,
}

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graphs {
    /// `template.onnx`.
    pub template: Vec<u8>,
    /// `search.onnx`.
    pub search: Vec<u8>,
}

impl Graphs {
    /// The graphs of a network for search pictures of `config.search_px`; `metadata` goes into both.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn new(
        config: &ModelConfig,
        net: &Inference,
        metadata: &BTreeMap<String, String>,
        stored: Stored,
        ending: Ending,
    ) -> Result<Self, OnnxError> {
        validate(config)?;
        let parts = Parts { config, net, stored };
        let file = |graph: &'static str, of: proto::Graph| {
            let model = proto::Model {
                ir_version: Some(IR_VERSION),
                producer_name: Some("siamrpn".to_owned()),
                producer_version: Some(schemas::format::VERSION.to_owned()),
                graph: Some(of),
                opset_import: vec![proto::OperatorSet { domain: Some(String::new()), version: Some(OPSET) }],
                metadata_props: metadata
                    .iter()
                    .map(|(k, v)| proto::Entry { key: Some(k.clone()), value: Some(v.clone()) })
                    .collect(),
            };
            let bytes = model.encoded_len();
            if bytes > LARGEST { Err(OnnxError::Large { graph, bytes }) } else { Ok(model.encode_to_vec()) }
        };
        Ok(Self { template: file("template", parts.template()?)?, search: file("search", parts.search(ending)?)? })
    }
}

/// Sizes of the kernels: `[outputs, inputs, side, side]` of both branches, as weights of a convolution.
fn kernels(config: &ModelConfig, net: &Inference) -> [[usize; 4]; 2] {
    let (anchors, width) = (config.anchors.per_cell(), config.head_width());
    // `validate` has seen that the exemplar is large enough.
    let k = side(config.exemplar_px as usize).unwrap_or_default().saturating_sub(HEAD_KERNEL - 1);
    match net.head {
        FoldedHead::UpChannel { .. } => [2, 4].map(|values| [values * anchors, width, k, k]),
        FoldedHead::Depthwise { .. } => [[width, 1, k, k]; 2],
    }
}

/// What both graphs are made of.
struct Parts<'a> {
    config: &'a ModelConfig,
    net: &'a Inference,
    stored: Stored,
}

const BRANCHES: [&str; 2] = ["cls", "reg"];
const KERNELS: [&str; 2] = ["kernels_cls", "kernels_reg"];

impl Parts<'_> {
    fn picture(&self, graph: &mut Builder, name: &str, px: u32) -> String {
        let order = serde_json::json!(self.config.channels);
        let order = order.as_str().unwrap_or_default();
        graph.input(name, &[1, 3, px as usize, px as usize], &format!("0 to 255, planes in the order {order}"))
    }

    /// The trunk; pooling comes after the ReLU here, which runtimes join with the convolution.
    fn trunk(&self, graph: &mut Builder, x: String) -> Result<String, OnnxError> {
        let mut x = x;
        for (i, layer) in self.net.trunk.iter().enumerate() {
            x = graph.conv(&format!("trunk.conv{}", i + 1), &x, &layer.read()?);
            if i + 1 < self.net.trunk.len() {
                x = graph.relu(&x);
            }
            if POOLED.contains(&i) {
                x = graph.max_pool(&x, POOL.0, POOL.1);
            }
        }
        Ok(x)
    }

    fn template(&self) -> Result<proto::Graph, OnnxError> {
        let mut graph = Builder::new("template", self.stored);
        let x = self.picture(&mut graph, "exemplar", self.config.exemplar_px);
        let x = self.trunk(&mut graph, x)?;
        let (layers, relu) = match &self.net.head {
            FoldedHead::UpChannel { template_cls, template_reg, .. } => ([template_cls, template_reg], false),
            FoldedHead::Depthwise { cls, loc } => ([&cls.kernel, &loc.kernel], true),
        };
        for (i, shape) in kernels(self.config, self.net).iter().enumerate() {
            let mut x = graph.conv(&format!("head.template_{}", BRANCHES[i]), &x, &layers[i].read()?);
            if relu {
                x = graph.relu(&x);
            }
            graph.reshape(KERNELS[i], &x, shape);
            graph.output(KERNELS[i], shape, "what the target looks like: an input of the search graph");
        }
        Ok(graph.finish())
    }

    fn search(&self, ending: Ending) -> Result<proto::Graph, OnnxError> {
        let mut graph = Builder::new("search", self.stored);
        let shapes = kernels(self.config, self.net);
        for (name, shape) in KERNELS.iter().zip(&shapes) {
            graph.input(name, shape, "from the template graph");
        }
        let x = self.picture(&mut graph, "search", self.config.search_px);
        let x = self.trunk(&mut graph, x)?;
        let raw = match &self.net.head {
            FoldedHead::UpChannel { search_cls, search_reg, adjust, .. } => {
                let mut branch = |i: usize, layer: FoldedWeights| {
                    let x = graph.conv(&format!("head.search_{}", BRANCHES[i]), &x, &layer);
                    graph.correlate(&format!("head.correlation_{}", BRANCHES[i]), &x, KERNELS[i], shapes[i][2], 1)
                };
                let (cls, reg) = (branch(0, search_cls.read()?), branch(1, search_reg.read()?));
                [cls, graph.conv("head.adjust_reg", &reg, &adjust.read()?)]
            }
            FoldedHead::Depthwise { cls, loc } => {
                let mut branch = |i: usize, branch: &FoldedBranch| -> Result<String, OnnxError> {
                    let (name, [channels, _, side, _]) = (BRANCHES[i], shapes[i]);
                    let x = graph.conv(&format!("head.search_{name}"), &x, &branch.search.read()?);
                    let x = graph.relu(&x);
                    let x = graph.correlate(&format!("head.correlation_{name}"), &x, KERNELS[i], side, channels);
                    let x = graph.conv(&format!("head.hidden_{name}"), &x, &branch.hidden.read()?);
                    let x = graph.relu(&x);
                    Ok(graph.conv(&format!("head.output_{name}"), &x, &branch.output.read()?))
                };
                [branch(0, cls)?, branch(1, loc)?]
            }
        };
        self.decode(&mut graph, &raw, ending);
        Ok(graph.finish())
    }

    /// From raw outputs to probabilities and boxes; see [`crate::decode`].
    fn decode(&self, graph: &mut Builder, [cls, reg]: &[String; 2], ending: Ending) {
        let anchors = Anchors::new(&self.config.anchors, self.config.response(self.config.search_px));
        let n = anchors.len();
        let classes = graph.reshape("classes", cls, &[1, 2, n]);
        let classes = graph.softmax("probabilities", &classes, 1);
        let target = graph.slice("probabilities.target", &classes, 1, 1, 2);
        graph.reshape("scores", &target, &[1, n]);
        graph.output("scores", &[1, n], "probability of the target, by anchor, row, column");
        let deltas = graph.reshape("deltas", reg, &[1, 4, n]);
        if ending == Ending::Deltas {
            return graph.output("deltas", &[1, 4, n], "dx, dy, dw, dh against the anchors");
        }
        let mut plane = |name: &str, first: usize| {
            let values: Vec<f32> =
                [first, first + 1].iter().flat_map(|c| anchors.as_slice().iter().map(|a| a[*c])).collect();
            graph.floats(name, &[1, 2, n], &values)
        };
        let (centres, sizes) = (plane("anchors.centres", 0), plane("anchors.sizes", 2));
        let moved = graph.slice("deltas.centres", &deltas, 1, 0, 2);
        let moved = graph.op("Mul", "boxes.moved", &[&moved, &sizes], Vec::new());
        let moved = graph.op("Add", "boxes.centres", &[&moved, &centres], Vec::new());
        let grown = graph.slice("deltas.sizes", &deltas, 1, 2, 4);
        let grown = graph.op("Exp", "boxes.grown", &[&grown], Vec::new());
        let grown = graph.op("Mul", "boxes.sizes", &[&grown, &sizes], Vec::new());
        graph.concat("boxes", &[&moved, &grown], 1);
        graph.output("boxes", &[1, 4, n], "cx, cy, w, h in pixels of the search picture from its centre");
    }
}

#[cfg(test)]
mod tests;
