//! What training computes on real batches, written down for `.ci/interop/full/torch`, which lets PyTorch do the same:
//!
//! ```text
//! parity DATASET OUT STEPS [KEY=VALUE...]        (preset `recommended`; run.init_from names the start weights)
//! ```
//!
//! | file in OUT | what |
//! |---|---|
//! | `start.safetensors`, `step-I.safetensors` | the network before the first and after the I-th step |
//! | `batch-I.safetensors` | the loader's batch of step I (from 0): `template` and `search` u8 RGB, `labels` i8, `deltas` f32 |
//! | `first.safetensors` | of batch 0 at the start weights: outputs in inference (`eval.cls`, `eval.reg`) and in training per precision (`fp32.cls`, ...), and `grad.NAME` in fp32 |
//! | `values.json` | loss, its parts and the gradient's norm of every step (`steps`), the loss per precision (`first`), the configuration |

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use schemas::train::{Precision, TrainConfig};
use serde_json::json;
use siamrpn::loss::{Loss, Targets, loss};
use siamrpn::net::{Outputs, SiamRpn, TrainMode, input};
use siamrpn::params::Path as Name;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use trainer::config::Layers;
use trainer::engine::{Engine, Measured};
use trainer::loader::{Batch, Recipe};
use trainer::optim::Sgd;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data, out, steps, overrides @ ..] = args.as_slice() else {
        eprintln!("usage: parity DATASET OUT STEPS [KEY=VALUE...]");
        return ExitCode::from(schemas::exit::USAGE);
    };
    match parity(Path::new(data), Path::new(out), steps, overrides) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("parity: {e}");
            ExitCode::FAILURE
        }
    }
}

fn parity(data: &Path, out: &Path, steps: &str, overrides: &[String]) -> Result<()> {
    let steps: u64 = steps.parse()?;
    let cfg = Layers { overrides: overrides.to_vec(), ..Layers::default() }.resolve()?;
    let device = siamrpn::device::device("cpu")?.autodiff();
    let recipe = Recipe::open(data, &cfg)?;
    let net = trainer::init::from_file(Path::new(&cfg.run.init_from), &cfg.model, cfg.run.seed, &device)?.0;
    std::fs::create_dir_all(out)?;
    let save = |name: &str, net: &SiamRpn| siamrpn::model::save(&out.join(name), &cfg.model, net, &BTreeMap::new());
    save("start.safetensors", &net)?;
    let first = first(&net, &recipe.batch(0)?, &cfg, &device, &out.join("first.safetensors"))?;
    let mut engine = Engine::new(net, Sgd::default(), device);
    let mut values = Vec::new();
    for step in 0..steps {
        let mut batch = recipe.batch(step)?;
        write_batch(&batch, &recipe, &out.join(format!("batch-{step}.safetensors")))?;
        let measured = engine.step(&mut batch, &cfg, 1, cfg.optim.lr_start)?;
        for v in Measured::read(vec![measured])? {
            values
                .push(json!({"loss": v.loss, "cls": v.cls, "reg": v.reg, "grad_norm": v.grad_norm, "taken": v.taken}));
        }
        save(&format!("step-{}.safetensors", step + 1), engine.net())?;
    }
    let all = json!({"steps": values, "first": first, "config": cfg});
    Ok(std::fs::write(out.join("values.json"), all.to_string())?)
}

/// Outputs, losses and gradients of one batch at the start weights.
fn first(net: &SiamRpn, batch: &Batch, cfg: &TrainConfig, device: &Device, path: &Path) -> Result<serde_json::Value> {
    let model = &cfg.model;
    let image = |rgb: &[u8], side: u32, device: &Device| input(rgb, batch.pairs, side as usize, model.channels, device);
    let host = device.clone().without_autodiff();
    let inference = net.inference();
    let template = inference.template(image(&batch.template, model.exemplar_px, &host)?);
    let Outputs { cls, reg } = inference.track(&template, image(&batch.search, model.train_search_px, &host)?);
    let mut tensors =
        BTreeMap::from([("eval.cls".to_owned(), cls.into_data()), ("eval.reg".to_owned(), reg.into_data())]);
    let mut losses = serde_json::Map::new();
    let per_cell = model.anchors.per_cell();
    let targets = Targets::new(&batch.labels, &batch.deltas, batch.pairs, per_cell, cfg.loss.kind, device)?;
    for (name, precision) in [("fp32", Precision::Fp32), ("bf16", Precision::Bf16), ("f16", Precision::F16)] {
        let z = image(&batch.template, model.exemplar_px, device)?;
        let x = image(&batch.search, model.train_search_px, device)?;
        // A copy: the pass moves the running statistics.
        let mut net = net.clone();
        let outputs = net.forward_train(z, x, &TrainMode::of(&cfg.optim, precision, 1));
        tensors.insert(format!("{name}.cls"), outputs.cls.to_data());
        tensors.insert(format!("{name}.reg"), outputs.reg.to_data());
        let Loss { total, cls, reg } = loss(outputs, &targets, &cfg.loss);
        if precision == Precision::Fp32 {
            let grads = total.backward();
            net.visit(&mut Collect { path: Name::default(), grads: &grads, found: &mut tensors });
        }
        let [loss, cls, reg] = [total, cls, reg].map(|t| f64::from(t.into_scalar::<f32>()));
        losses.insert(name.to_owned(), json!({"loss": loss, "cls": cls, "reg": reg}));
    }
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, data)| Ok((name, TensorView::new(Dtype::F32, data.shape().to_vec(), data.bytes())?)))
        .collect::<Result<_>>()?;
    serialize_to_file(views, None, path)?;
    Ok(losses.into())
}

/// Gradients by name, `grad.` in front.
struct Collect<'a> {
    path: Name,
    grads: &'a Gradients,
    found: &'a mut BTreeMap<String, TensorData>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            self.found.insert(format!("grad.{}", self.path.name()), grad.into_data());
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

fn write_batch(batch: &Batch, recipe: &Recipe, path: &Path) -> Result<()> {
    let (b, n, sides) = (batch.pairs, recipe.anchors().len(), recipe.sides());
    let labels: Vec<u8> = batch.labels.iter().map(|l| l.cast_unsigned()).collect();
    let deltas: Vec<u8> = batch.deltas.iter().flat_map(|d| d.to_le_bytes()).collect();
    let image = |side: usize| vec![b, side, side, 3];
    let views = [
        ("template", TensorView::new(Dtype::U8, image(sides.template), &batch.template)?),
        ("search", TensorView::new(Dtype::U8, image(sides.search), &batch.search)?),
        ("labels", TensorView::new(Dtype::I8, vec![b, n], &labels)?),
        ("deltas", TensorView::new(Dtype::F32, vec![b, 4, n], &deltas)?),
    ];
    Ok(serialize_to_file(views, None, path)?)
}
