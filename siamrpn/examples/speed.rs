//! How fast the network is on this machine: a search frame of the engine, and a training step.
//!
//! ```sh
//! RAYON_NUM_THREADS=2 cargo run --release -p siamrpn --example speed -- --head depthwise --widths narrow --batch 8
//! ```
//!
//! Options: `--head up-channel|depthwise`, `--widths reference|narrow|tiny`, `--search PX`, `--batch N` (0: no
//! training), `--frozen N` convolutions, `--device cpu|cuda:0`, `--repeat N`. One line of JSON per measurement.

use burn::tensor::{Tensor, TensorData};
use schemas::model::{HeadKind, ModelConfig, TrunkConfig};
use schemas::train::{LossConfig, LossKind, Precision};
use shards::image::Rgb;
use shards::order::Rng;
use siamrpn::engine::{BurnEngine, Engine};
use siamrpn::loss::{Targets, loss};
use siamrpn::net::{SiamRpn, TrainMode};
use siamrpn::{cost, device};
use std::error::Error;
use std::time::Instant;

struct Options {
    model: ModelConfig,
    batch: usize,
    frozen: usize,
    device: String,
    repeat: usize,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut out = Options { model: ModelConfig::default(), batch: 8, frozen: 3, device: "cpu".to_owned(), repeat: 10 };
    let mut args = std::env::args().skip(1);
    while let Some(key) = args.next() {
        let value = args.next().ok_or_else(|| format!("{key} needs a value"))?;
        match key.as_str() {
            "--head" => out.model.head = serde_json::from_value(serde_json::Value::String(value))?,
            "--widths" => {
                out.model.trunk.widths = match value.as_str() {
                    "reference" => TrunkConfig::REFERENCE,
                    "narrow" => TrunkConfig::NARROW,
                    "tiny" => TrunkConfig::TINY,
                    other => return Err(format!("unknown widths {other}").into()),
                }
            }
            "--search" => {
                out.model.search_px = value.parse()?;
                out.model.train_search_px = out.model.search_px;
            }
            "--batch" => out.batch = value.parse()?,
            "--frozen" => out.frozen = value.parse()?,
            "--device" => out.device = value,
            "--repeat" => out.repeat = value.parse()?,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(out)
}

/// Milliseconds of each of `repeat` runs after one warm-up: (smallest, median).
fn time(repeat: usize, mut run: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<(f64, f64), Box<dyn Error>> {
    run()?;
    let mut times = Vec::new();
    for _ in 0..repeat.max(1) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[0], times[times.len() / 2]))
}

fn picture(side: usize, rng: &mut Rng) -> Result<Rgb, Box<dyn Error>> {
    let data = (0..side * side * 3).map(|_| rng.below(256) as u8).collect();
    Ok(Rgb::new(side, side, data)?)
}

fn report(what: &str, options: &Options, (min, median): (f64, f64), per_s: f64) {
    let head = if options.model.head == HeadKind::UpChannel { "up-channel" } else { "depthwise" };
    let line = serde_json::json!({
        "what": what, "device": options.device, "head": head, "widths": options.model.trunk.widths,
        "search_px": options.model.search_px, "batch": options.batch, "frozen_convs": options.frozen,
        "min_ms": min, "median_ms": median, "per_s": per_s,
    });
    println!("{line}");
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let device = device::device(&options.device)?;
    let (exemplar, search) = (options.model.exemplar_px as usize, options.model.search_px as usize);
    let mut rng = Rng::new(1);
    eprintln!("{:?}", cost::cost(&options.model, options.model.search_px));

    let engine = BurnEngine::new(&options.model, &SiamRpn::new(&options.model, 1, &device)?);
    let (template, frame) = (picture(exemplar, &mut rng)?, picture(search, &mut rng)?);
    let times = time(options.repeat, || Ok(drop(engine.start(&template)?)))?;
    report("template", &options, times, 1e3 / times.1);
    let mut session = engine.start(&template)?;
    let times = time(options.repeat, || Ok(drop(session.search(&frame)?)))?;
    report("search", &options, times, 1e3 / times.1);

    if options.batch > 0 {
        let device = device.autodiff();
        let mut net = SiamRpn::new(&options.model, 1, &device)?;
        let mode = TrainMode { frozen_convs: options.frozen, trunk_frozen: false, precision: Precision::Fp32 };
        let mut pictures = |side: usize| {
            let shape = [options.batch, 3, side, side];
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.below(256) as f32).collect();
            Tensor::<4>::from_data(TensorData::new(values, shape), &device)
        };
        let (z, x) = (pictures(exemplar), pictures(search));
        let n = options.model.anchors.per_cell() * options.model.response(options.model.search_px).pow(2);
        let labels: Vec<i8> = (0..options.batch * n).map(|i| [1, 0, -1][i % 3]).collect();
        let deltas = vec![0.1; 4 * labels.len()];
        let per_cell = options.model.anchors.per_cell();
        let targets = Targets::new(&labels, &deltas, options.batch, per_cell, LossKind::Reference, &device)?;
        let times = time(options.repeat, || {
            let outputs = net.forward_train(z.clone(), x.clone(), &mode);
            let loss = loss(outputs, &targets, &LossConfig::default());
            let gradients = loss.total.backward();
            let value = loss.total.into_scalar::<f32>();
            drop(gradients);
            if value.is_finite() { Ok(()) } else { Err("the loss is not finite".into()) }
        })?;
        report("forward and backward", &options, times, options.batch as f64 * 1e3 / times.1);
    }
    Ok(())
}
