//! Names of parameters and statistics, and access to their values.
//!
//! Names are PyTorch's: `trunk.conv1.weight`, `trunk.bn1.running_mean`, `head.cls.conv_kernel.conv.weight`. Burn's own
//! module paths have one more component, the variant of the head; [`Path`] drops it, for visitors of other crates too.

use crate::net::SiamRpn;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;

/// The name of the place a module visitor or mapper is at: call [`Path::enter`] and [`Path::exit`] from its
/// `enter_module` and `exit_module`.
#[derive(Debug, Clone, Default)]
pub struct Path {
    parts: Vec<Option<String>>,
}

impl Path {
    /// Notes that the visitor goes down.
    pub fn enter(&mut self, name: &str, container_type: &str) {
        self.parts.push((!container_type.starts_with("Enum:")).then(|| name.to_owned()));
    }

    /// Notes that the visitor goes up.
    pub fn exit(&mut self) {
        self.parts.pop();
    }

    /// The name, for example `trunk.conv1.weight`.
    #[must_use]
    pub fn name(&self) -> String {
        self.parts.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

/// Name, identity and shape of one tensor of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// PyTorch's name.
    pub name: String,
    /// Burn's identity, by which gradients and optimiser records are keyed; differs from run to run.
    pub id: ParamId,
    /// Dimensions.
    pub shape: Vec<usize>,
}

struct Visitor<F> {
    path: Path,
    f: F,
}

impl<F: FnMut(Named, &dyn Fn() -> TensorData)> ModuleVisitor for Visitor<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let named = Named { name: self.path.name(), id: param.id, shape: param.shape().to_vec() };
        (self.f)(named, &|| param.val().into_data());
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

/// Every parameter and statistic of `net`, in a fixed order.
#[must_use]
pub fn named(net: &SiamRpn) -> Vec<Named> {
    let mut all = Vec::new();
    net.visit(&mut Visitor { path: Path::default(), f: |named, _: &dyn Fn() -> TensorData| all.push(named) });
    all
}

/// Calls `f` with every parameter and statistic of `net` and its values on the host, in a fixed order.
pub fn for_each(net: &SiamRpn, mut f: impl FnMut(&Named, &TensorData)) {
    net.visit(&mut Visitor {
        path: Path::default(),
        f: |named: Named, data: &dyn Fn() -> TensorData| f(&named, &data()),
    });
}

/// Number of trainable numbers; running statistics do not count.
#[must_use]
pub fn count(net: &SiamRpn) -> usize {
    named(net).iter().filter(|n| !n.name.contains(".running_")).map(|n| n.shape.iter().product::<usize>()).sum()
}

/// Why values do not fit a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// Names differ.
    #[error("tensors do not match the network: missing [{}], not used [{}]", missing.join(", "), unused.join(", "))]
    Names {
        /// Names the network has and the values lack.
        missing: Vec<String>,
        /// Names the values have and the network lacks.
        unused: Vec<String>,
    },
    /// A shape differs.
    #[error("tensor {name} has shape {found:?}, the network needs {expected:?}")]
    Shape {
        /// PyTorch's name.
        name: String,
        /// The network's shape.
        expected: Vec<usize>,
        /// The values' shape.
        found: Vec<usize>,
    },
}

struct Mapper {
    path: Path,
    values: BTreeMap<String, TensorData>,
}

impl ModuleMapper for Mapper {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.values.remove(&self.path.name()) {
            Some(data) => {
                let tensor = Tensor::from_data(data, &param.lazy_device());
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            None => param,
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

/// `net` with all its tensors replaced by `values` (f32), every one of them matched.
///
/// # Errors
/// [`ReplaceError`] names what is missing, unused or of another shape; nothing is replaced then.
pub fn replace(net: SiamRpn, values: BTreeMap<String, TensorData>) -> Result<SiamRpn, ReplaceError> {
    let own = named(&net);
    let missing: Vec<String> = own.iter().filter(|n| !values.contains_key(&n.name)).map(|n| n.name.clone()).collect();
    let unused: Vec<String> = values.keys().filter(|name| !own.iter().any(|n| n.name == **name)).cloned().collect();
    if !missing.is_empty() || !unused.is_empty() {
        return Err(ReplaceError::Names { missing, unused });
    }
    update(net, values)
}

/// `net` with those of its tensors replaced that `values` (f32) names.
///
/// # Errors
/// [`ReplaceError`] names what is unused or of another shape; nothing is replaced then.
pub fn update(net: SiamRpn, values: BTreeMap<String, TensorData>) -> Result<SiamRpn, ReplaceError> {
    let own = named(&net);
    for (name, data) in &values {
        let Some(tensor) = own.iter().find(|n| n.name == *name) else {
            return Err(ReplaceError::Names { missing: Vec::new(), unused: vec![name.clone()] });
        };
        if tensor.shape != data.shape().to_vec() {
            return Err(ReplaceError::Shape {
                name: name.clone(),
                expected: tensor.shape.clone(),
                found: data.shape().to_vec(),
            });
        }
    }
    Ok(net.map(&mut Mapper { path: Path::default(), values }))
}
