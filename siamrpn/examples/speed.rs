//! How fast the network is on this machine: a search frame of each engine, and a training step.
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
use siamrpn::engine::{BurnEngine, Engine, Native};
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

/// Milliseconds per run.
struct Times {
    min: f64,
    median: f64,
    /// Processor time of all threads; `None` where the system does not tell.
    cpu: Option<f64>,
}

/// Processor milliseconds of this process so far (Linux: user and system ticks of 10 ms).
fn cpu_ms() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) * 10.0)
}

/// Times `repeat` runs after one warm-up.
fn time(repeat: usize, mut run: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Times, Box<dyn Error>> {
    run()?;
    let (mut times, before) = (Vec::new(), cpu_ms());
    for _ in 0..repeat.max(1) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let cpu = before.zip(cpu_ms()).map(|(before, after)| (after - before) / times.len() as f64);
    times.sort_by(f64::total_cmp);
    Ok(Times { min: times[0], median: times[times.len() / 2], cpu })
}

fn picture(side: usize, rng: &mut Rng) -> Result<Rgb, Box<dyn Error>> {
    let data = (0..side * side * 3).map(|_| rng.below(256) as u8).collect();
    Ok(Rgb::new(side, side, data)?)
}

fn report(what: &str, options: &Options, items: usize, times: &Times) {
    let head = if options.model.head == HeadKind::UpChannel { "up-channel" } else { "depthwise" };
    let line = serde_json::json!({
        "what": what, "device": options.device, "head": head, "widths": options.model.trunk.widths,
        "search_px": options.model.search_px, "batch": options.batch, "frozen_convs": options.frozen,
        "min_ms": times.min, "median_ms": times.median, "cpu_ms": times.cpu, "per_s": items as f64 * 1e3 / times.median,
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
    let times = time(options.repeat, || engine.start(&template).map(drop).map_err(Into::into))?;
    report("template", &options, 1, &times);
    let mut session = engine.start(&template)?;
    let times = time(options.repeat, || session.search(&frame).map(drop).map_err(Into::into))?;
    report("search", &options, 1, &times);
    if options.device == "cpu" {
        let native = Native::new(engine)?;
        let mut session = native.start(&template)?;
        let times = time(options.repeat, || session.search(&frame).map(drop).map_err(Into::into))?;
        report(&format!("search, native {}", native.instructions()), &options, 1, &times);
    }

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
        report("forward and backward", &options, options.batch, &times);
    }
    Ok(())
}
