//! A graph under construction. Every value has the name of what made it.

use super::proto::{self, Attribute, Dimension, Node, Shape, Tensor, TensorType, Type, Value};
use crate::model::Stored;
use crate::net::FoldedWeights;

fn attribute(name: &str, ints: &[usize]) -> Attribute {
    Attribute {
        name: Some(name.to_owned()),
        i: None,
        ints: ints.iter().map(|v| *v as i64).collect(),
        kind: Some(proto::ATTRIBUTE_INTS),
    }
}

fn number(name: &str, i: usize) -> Attribute {
    Attribute { name: Some(name.to_owned()), i: Some(i as i64), ints: Vec::new(), kind: Some(proto::ATTRIBUTE_INT) }
}

/// An input or output of 32-bit numbers.
fn value(name: &str, shape: &[usize], doc: &str) -> Value {
    let dim = shape.iter().map(|d| Dimension { dim_value: Some(*d as i64) }).collect();
    let tensor = TensorType { elem_type: Some(proto::FLOAT), shape: Some(Shape { dim }) };
    let kind = Some(Type { tensor_type: Some(tensor) });
    Value { name: Some(name.to_owned()), kind, doc_string: Some(doc.to_owned()) }
}

/// Nodes, constants, inputs and outputs so far.
#[derive(Debug)]
pub(crate) struct Builder {
    graph: proto::Graph,
    stored: Stored,
}

impl Builder {
    pub(crate) fn new(name: &str, stored: Stored) -> Self {
        Self { graph: proto::Graph { name: Some(name.to_owned()), ..proto::Graph::default() }, stored }
    }

    pub(crate) fn finish(self) -> proto::Graph {
        self.graph
    }

    pub(crate) fn input(&mut self, name: &str, shape: &[usize], doc: &str) -> String {
        self.graph.input.push(value(name, shape, doc));
        name.to_owned()
    }

    pub(crate) fn output(&mut self, name: &str, shape: &[usize], doc: &str) {
        self.graph.output.push(value(name, shape, doc));
    }

    /// Adds an operator that makes the value `name`.
    pub(crate) fn op(&mut self, kind: &str, name: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        self.graph.node.push(Node {
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: Some(name.to_owned()),
            op_type: Some(kind.to_owned()),
            attribute,
        });
        name.to_owned()
    }

    fn constant(&mut self, name: &str, data_type: i32, shape: &[usize], raw: Vec<u8>) -> String {
        self.graph.initializer.push(Tensor {
            dims: shape.iter().map(|d| *d as i64).collect(),
            data_type: Some(data_type),
            name: Some(name.to_owned()),
            raw_data: Some(raw),
        });
        name.to_owned()
    }

    /// A constant of 32-bit numbers.
    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.constant(name, proto::FLOAT, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn integers(&mut self, name: &str, values: &[usize]) -> String {
        let raw = values.iter().flat_map(|v| (*v as i64).to_le_bytes()).collect();
        self.constant(name, proto::INT64, &[values.len()], raw)
    }

    /// A convolution with constant weights; weights stored in 16 bits are raised to 32 before they are used.
    pub(crate) fn conv(&mut self, name: &str, x: &str, weights: &FoldedWeights) -> String {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let weight = match self.stored.half(&weights.shape, &weights.weight) {
            None => self.floats(&weight, &weights.shape, &weights.weight),
            Some(raw) => {
                let half = self.constant(&format!("{weight}.f16"), proto::FLOAT16, &weights.shape, raw);
                self.op("Cast", &weight, &[&half], vec![number("to", proto::FLOAT as usize)])
            }
        };
        let bias = self.floats(&bias, &[weights.bias.len()], &weights.bias);
        let [_, _, kernel, _] = weights.shape;
        let attributes =
            vec![attribute("kernel_shape", &[kernel, kernel]), attribute("strides", &[weights.stride, weights.stride])];
        self.op("Conv", name, &[x, &weight, &bias], attributes)
    }

    /// A convolution whose weights, of `side` cells per side, are a value of the graph.
    pub(crate) fn correlate(&mut self, name: &str, x: &str, kernels: &str, side: usize, groups: usize) -> String {
        let attributes = vec![attribute("kernel_shape", &[side, side]), number("group", groups)];
        self.op("Conv", name, &[x, kernels], attributes)
    }

    pub(crate) fn relu(&mut self, x: &str) -> String {
        self.op("Relu", &format!("{x}.relu"), &[x], Vec::new())
    }

    pub(crate) fn max_pool(&mut self, x: &str, side: usize, step: usize) -> String {
        let attributes = vec![attribute("kernel_shape", &[side, side]), attribute("strides", &[step, step])];
        self.op("MaxPool", &format!("{x}.pool"), &[x], attributes)
    }

    pub(crate) fn reshape(&mut self, name: &str, x: &str, shape: &[usize]) -> String {
        let shape = self.integers(&format!("{name}.shape"), shape);
        self.op("Reshape", name, &[x, &shape], Vec::new())
    }

    pub(crate) fn softmax(&mut self, name: &str, x: &str, axis: usize) -> String {
        self.op("Softmax", name, &[x], vec![number("axis", axis)])
    }

    pub(crate) fn concat(&mut self, name: &str, parts: &[&str], axis: usize) -> String {
        self.op("Concat", name, parts, vec![number("axis", axis)])
    }

    /// The part `from..to` of an axis.
    pub(crate) fn slice(&mut self, name: &str, x: &str, axis: usize, from: usize, to: usize) -> String {
        let [from, to, axis] = [("from", from), ("to", to), ("axis", axis)]
            .map(|(what, value)| self.integers(&format!("{name}.{what}"), &[value]));
        self.op("Slice", name, &[x, &from, &to, &axis], Vec::new())
    }
}
