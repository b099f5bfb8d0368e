//! Stochastic gradient descent as PyTorch does it: momentum without dampening, weight decay added to the gradient,
//! clipping by norm, and a step that does not happen when it would not be finite.
//!
//! Own, and not burn-optim's `Momentum`: that one clips every tensor by itself, and its records are keyed by random
//! parameter ids. Here everything is keyed by the parameter's name, and the decision whether to step stays on the
//! device, so nothing has to be read back.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use schemas::train::{ClipKind, OptimConfig};
use siamrpn::device::is_cpu;
use siamrpn::net::SiamRpn;
use siamrpn::params::Path;
use std::collections::BTreeMap;

/// Momentum buffers by parameter name, flat.
pub type Buffers = BTreeMap<String, TensorData>;

/// Optimiser state: one momentum buffer per parameter that was ever trained.
#[derive(Debug, Clone, Default)]
pub struct Sgd {
    /// By PyTorch name, `[elements]`, on the device without autodiff.
    momentum: BTreeMap<String, Tensor<1>>,
}

/// How far a step goes.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    /// Momentum, decay, clipping, the trunk's factor.
    pub cfg: &'a OptimConfig,
    /// Learning rate.
    pub lr: f64,
    /// What the gradients were multiplied by: 1, unless half precision asks for more.
    pub scale: f64,
}

/// What a step did, still on the device.
#[derive(Debug, Clone)]
pub struct Stepped {
    /// L2 norm of all gradients together before clipping, `[1]`.
    pub grad_norm: Tensor<1>,
    /// Was the step taken (loss and gradients finite)? `[1]`.
    pub taken: Tensor<1, Bool>,
}

/// Sums the squares of all gradients, in the fixed order of the parameters.
struct Norms<'a> {
    path: Path,
    grads: &'a GradientsParams,
    each: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Norms<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.each.insert(self.path.name(), grad.without_autodiff().square().sum());
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

struct Stepper<'a> {
    path: Path,
    grads: GradientsParams,
    cfg: &'a OptimConfig,
    lr: f64,
    /// Is the step taken? `None` where that is known.
    taken: Option<Tensor<1, Bool>>,
    factors: BTreeMap<String, Tensor<1>>,
    momentum: &'a mut BTreeMap<String, Tensor<1>>,
}

impl ModuleMapper for Stepper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = self.grads.remove::<D>(param.id) else { return param };
        let name = self.path.name();
        let id = param.id;
        let old = param.val().without_autodiff();
        let n = old.shape().num_elements();
        let flat: Tensor<1> = old.clone().reshape([n]);
        let mut grad: Tensor<1> = grad.without_autodiff().reshape([n]);
        if let Some(factor) = self.factors.get(&name) {
            grad = grad * factor.clone();
        }
        if self.cfg.weight_decay > 0.0 {
            grad = grad + flat.clone() * self.cfg.weight_decay;
        }
        let last = self.momentum.remove(&name);
        let mut velocity = match &last {
            Some(last) => last.clone() * self.cfg.momentum + grad,
            None => grad,
        };
        let lr = if name.starts_with("trunk.") { self.lr * self.cfg.trunk_lr } else { self.lr };
        let mut new = flat.clone() - velocity.clone() * lr;
        if let Some(taken) = &self.taken {
            let taken = taken.clone().expand([n]);
            velocity = last.unwrap_or_else(|| flat.zeros_like()).mask_where(taken.clone(), velocity);
            new = flat.mask_where(taken, new);
        }
        self.momentum.insert(name, velocity);
        let new: Tensor<D> = new.reshape(old.shape());
        let new = if param.lazy_device().is_autodiff() { new.autodiff() } else { new };
        param.transform_for_load(new, id)
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

/// Takes the running statistics of a network.
struct Running {
    path: Path,
    values: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Running {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        if name.contains(".running_") {
            let value = param.val().without_autodiff();
            let n = value.shape().num_elements();
            self.values.insert(name, value.reshape([n]));
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

/// Puts running statistics back where the step was not taken.
struct Restore {
    path: Path,
    before: BTreeMap<String, Tensor<1>>,
    taken: Tensor<1, Bool>,
}

impl ModuleMapper for Restore {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(before) = self.before.remove(&self.path.name()) else { return param };
        let id = param.id;
        let now = param.val().without_autodiff();
        let shape = now.shape();
        let n = shape.num_elements();
        let now: Tensor<1> = now.reshape([n]);
        let kept: Tensor<D> = before.mask_where(self.taken.clone().expand([n]), now).reshape(shape);
        let kept = if param.lazy_device().is_autodiff() { kept.autodiff() } else { kept };
        param.transform_for_load(kept, id)
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

/// The running statistics of a network, to be put back if the step that follows is not taken.
#[derive(Debug, Clone)]
pub struct Statistics(BTreeMap<String, Tensor<1>>);

impl Statistics {
    /// Of `net`, before its forward pass.
    #[must_use]
    pub fn of(net: &SiamRpn) -> Self {
        let mut visitor = Running { path: Path::default(), values: BTreeMap::new() };
        net.visit(&mut visitor);
        Self(visitor.values)
    }
}

impl Sgd {
    /// One step of `net` along `grads`.
    ///
    /// With c the clip factor min(1, limit / (norm + 1e-6)): g = c grad + decay p; v = momentum v + g;
    /// p = p - lr v. A buffer starts at zero, so the first v is g. Parameters without a gradient stay. When `loss`
    /// or the norm of the gradients is not finite, or `loss` above `max_loss`, parameters, buffers and running statistics all stay as they were
    /// before the forward pass.
    pub fn step(
        &mut self,
        net: SiamRpn,
        before: Statistics,
        grads: GradientsParams,
        loss: &Tensor<1>,
        rule: Rule<'_>,
    ) -> (SiamRpn, Stepped) {
        let Rule { cfg, lr, scale } = rule;
        let mut norms = Norms { path: Path::default(), grads: &grads, each: BTreeMap::new() };
        net.visit(&mut norms);
        let each = norms.each;
        let loss = loss.clone().without_autodiff();
        let squares = each.values().cloned().reduce(|a, b| a + b).unwrap_or_else(|| loss.zeros_like());
        let grad_norm = squares.sqrt() / scale;
        let taken = (loss.clone() + grad_norm.clone()).is_finite().bool_and(loss.lower_equal_elem(cfg.max_loss));
        let factor = |norm: Tensor<1>| ((norm + 1e-6).recip() * cfg.clip_norm).clamp_max(1.0) / scale;
        let factors = match cfg.clip {
            ClipKind::Global => {
                let factor = factor(grad_norm.clone());
                each.into_keys().map(|name| (name, factor.clone())).collect()
            }
            ClipKind::PerTensor => {
                each.into_iter().map(|(name, square)| (name, factor(square.sqrt() / scale))).collect()
            }
            ClipKind::None if scale == 1.0 => BTreeMap::new(),
            ClipKind::None => {
                let factor = grad_norm.ones_like() / scale;
                each.into_keys().map(|name| (name, factor.clone())).collect()
            }
        };
        let mut restore = Restore { path: Path::default(), before: before.0, taken: taken.clone() };
        // On the processor the answer is there already, and nothing has to be chosen element by element.
        let known = is_cpu(&taken.device()).then(|| taken.clone().into_data().iter::<bool>().all(|t| t));
        if known == Some(false) {
            return (net.map(&mut restore), Stepped { grad_norm, taken });
        }
        let mut stepper = Stepper {
            path: Path::default(),
            grads,
            cfg,
            lr,
            taken: known.is_none().then(|| taken.clone()),
            factors,
            momentum: &mut self.momentum,
        };
        let net = net.map(&mut stepper);
        let net = if known.is_none() { net.map(&mut restore) } else { net };
        (net, Stepped { grad_norm, taken })
    }

    /// The momentum buffers on the host.
    #[must_use]
    pub fn buffers(&self) -> Buffers {
        self.momentum.iter().map(|(name, value)| (name.clone(), value.clone().into_data())).collect()
    }

    /// An optimiser that goes on with `buffers`.
    #[must_use]
    pub fn from_buffers(buffers: Buffers, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let momentum = buffers.into_iter().map(|(name, data)| (name, Tensor::from_data(data, &device))).collect();
        Self { momentum }
    }
}
