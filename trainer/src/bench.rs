//! `trainer bench`: how fast the loader, the model, and both together are on this machine.

use crate::engine::{Engine, Measured, StepError};
use crate::init;
use crate::loader::{Batch, Loader, Recipe, STAGES, threads};
use crate::optim::Sgd;
use crate::profile::{Profile, profile};
use crate::schedule::learning_rate;
use crate::train::TrainError;
use schemas::train::TrainConfig;
use serde::Serialize;
use shards::order::{Rng, key};
use siamrpn::anchors::Anchors;
use siamrpn::cost::training_macs;
use siamrpn::device::{Device, devices};
use siamrpn::labels::label;
use siamrpn::net::TrainMode;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Steps of the model before the clock starts.
const WARM_UP: u64 = 2;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// The loader alone: read, decode, augment, label.
    Loader,
    /// The model alone: steps on one made-up batch.
    Model,
    /// Both together, as in training.
    Train,
}

/// Figures of one measurement; the warm-up is not in them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// What was measured.
    pub bench: Subject,
    /// Pairs per second.
    pub pairs_per_s: f64,
    /// Images per second: two per pair.
    pub crops_per_s: f64,
    /// Milliseconds per step of `batch` pairs.
    pub step_ms: f64,
    /// Milliseconds per step spent waiting for the loader.
    pub data_wait_ms: f64,
    /// Pairs per second and loader thread; only where the loader alone is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs_per_s_per_thread: Option<f64>,
    /// Pairs per second of processor time, all threads together: what one free core does; 0 where the system does
    /// not say.
    pub pairs_per_cpu_s: f64,
    /// Share of the loader threads' time that went to each stage; only where the loader alone is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_shares: Option<BTreeMap<&'static str, f64>>,
    /// Pairs per second of processor time if decoding were all there is; only where the loader alone is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_ceiling_pairs_per_cpu_s: Option<f64>,
    /// Steps measured.
    pub steps: u64,
    /// Steps before the clock started.
    pub warmup_steps: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Pairs of a step.
    pub batch: usize,
    /// Loader threads; 0 where there is no loader.
    pub threads: usize,
    /// The device; `-` where there is no model.
    pub device: String,
    /// Arithmetic of the forward pass.
    pub precision: schemas::train::Precision,
    /// Trainable numbers of the network; 0 where there is no model.
    pub parameters: usize,
    /// Largest memory of this process so far, in bytes; 0 where the system does not say.
    pub memory_bytes: u64,
    /// Thousand million multiply-adds of a training pair; only where there is a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gmac_per_pair: Option<f64>,
    /// 10^12 operations per second (two per multiply-add) that steps reach; only where there is a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tflops: Option<f64>,
    /// Share of the device's fastest matrix product; only where the model alone is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_matmul: Option<f64>,
    /// Every layer alone, on the first device; only where the model alone is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

/// Measures for at least `duration`. `data` is needed for all but [`Subject::Model`].
///
/// # Errors
/// As training: [`TrainError`].
pub fn bench(
    subject: Subject,
    data: &[PathBuf],
    cfg: &TrainConfig,
    device_name: &str,
    duration: Duration,
) -> Result<Figures, TrainError> {
    let devices: Vec<Device> = match subject {
        Subject::Loader => Vec::new(),
        Subject::Model | Subject::Train => devices(device_name)?.into_iter().map(Device::autodiff).collect(),
    };
    let mut engine = match subject {
        Subject::Loader => None,
        Subject::Model | Subject::Train => {
            let first = devices.first().ok_or(StepError::NoDevice)?;
            Some(Engine::on(init::random(&cfg.model, cfg.run.seed, first)?, Sgd::default(), &devices, cfg)?)
        }
    };
    let recipe = match subject {
        Subject::Model => None,
        Subject::Loader | Subject::Train => Some(Arc::new(Recipe::open_all(data, cfg)?)),
    };
    let mut loader = match &recipe {
        Some(recipe) => Some(Loader::start(recipe, 0..u64::MAX)?),
        None => None,
    };
    let mut fixed = made_up(cfg);
    let workers = loader.as_ref().map_or(0, |_| threads(cfg.run.workers));
    let lr = learning_rate(&cfg.optim, cfg.run.epochs, 1);
    let mut wait = Duration::ZERO;
    let mut step = |wait: &mut Duration| -> Result<Option<Measured>, TrainError> {
        let asked = Instant::now();
        let mut loaded = match loader.as_mut().and_then(Loader::next) {
            Some(batch) => Some(batch?),
            None => None,
        };
        *wait += asked.elapsed();
        let batch = loaded.as_mut().unwrap_or(&mut fixed);
        let measured = match engine.as_mut() {
            Some(engine) => Some(engine.step(batch, cfg, 1, lr)?),
            None => None,
        };
        if let (Some(loader), Some(batch)) = (&loader, loaded) {
            loader.give_back(batch);
        }
        Ok(measured)
    };
    // Queues that were filled while nobody looked must not count.
    let warmup_steps = WARM_UP + if workers > 0 { (cfg.run.prefetch + 2 * workers) as u64 } else { 0 };
    for _ in 0..warmup_steps {
        Measured::read(step(&mut wait)?.into_iter().collect())?;
    }
    wait = Duration::ZERO;
    let times = recipe.as_ref().map(|r| r.times());
    let cpu = cpu_seconds();
    let started = Instant::now();
    let mut steps = 0;
    let mut pending = Vec::new();
    while started.elapsed() < duration || steps == 0 {
        pending.extend(step(&mut wait)?);
        steps += 1;
        // As in training, results are read (and the device is waited for) now and then only.
        if pending.len() as u64 == cfg.run.log_every {
            Measured::read(std::mem::take(&mut pending))?;
        }
    }
    Measured::read(pending)?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    let stages = match (subject, &recipe, times) {
        (Subject::Loader, Some(recipe), Some(before)) => Some(shares(before, recipe.times())),
        _ => None,
    };
    let pairs_per_cpu_s = if cpu > 0.0 { steps as f64 * cfg.run.batch as f64 / cpu } else { 0.0 };
    let decode = stages.as_ref().and_then(|s| s.get("decode")).copied();
    let per_step = 1e3 / steps as f64;
    let pairs_per_s = steps as f64 * cfg.run.batch as f64 / seconds;
    let memory_bytes = memory();
    let gmac_per_pair = engine.as_ref().map(|_| {
        let mode = TrainMode::of(&cfg.optim, cfg.run.precision, 1);
        training_macs(&cfg.model, &mode) as f64 / 1e9
    });
    let tflops = gmac_per_pair.map(|gmac| 2.0 * gmac * pairs_per_s / 1e3);
    let profile = match (subject, &engine, devices.first()) {
        (Subject::Model, Some(engine), Some(device)) => Some(profile(engine.net(), &fixed, cfg, device, 1)?),
        _ => None,
    };
    let peak = profile.as_ref().map(|p| p.matmul_tflops * devices.len() as f64);
    Ok(Figures {
        bench: subject,
        pairs_per_s,
        crops_per_s: 2.0 * pairs_per_s,
        step_ms: seconds * per_step,
        data_wait_ms: wait.as_secs_f64() * per_step,
        pairs_per_s_per_thread: (subject == Subject::Loader).then(|| pairs_per_s / workers.max(1) as f64),
        pairs_per_cpu_s,
        decode_ceiling_pairs_per_cpu_s: decode.filter(|d| *d > 0.0).map(|d| pairs_per_cpu_s / d),
        stage_shares: stages,
        steps,
        warmup_steps,
        seconds,
        batch: cfg.run.batch,
        threads: workers,
        device: if subject == Subject::Loader { "-".to_owned() } else { device_name.to_owned() },
        precision: cfg.run.precision,
        parameters: engine.as_ref().map_or(0, |e| siamrpn::params::count(e.net())),
        memory_bytes,
        gmac_per_pair,
        share_of_matmul: tflops.zip(peak).map(|(reached, peak)| reached / peak.max(1e-9)),
        tflops,
        profile,
    })
}

/// Share of each stage in the time between two readings.
fn shares(before: [u64; STAGES.len()], after: [u64; STAGES.len()]) -> BTreeMap<&'static str, f64> {
    let spent: Vec<u64> = before.iter().zip(after).map(|(b, a)| a.saturating_sub(*b)).collect();
    let all = spent.iter().sum::<u64>().max(1) as f64;
    STAGES.into_iter().zip(spent).map(|(name, nanos)| (name, nanos as f64 / all)).collect()
}

/// A batch of noise with one target in the middle of each search image.
fn made_up(cfg: &TrainConfig) -> Batch {
    let pairs = cfg.run.batch;
    let mut rng = Rng::new(key(&[cfg.run.seed, 0x6e_6f69]));
    let mut noise = |side: u32| -> Vec<u8> {
        let bytes = pairs * 3 * (side * side) as usize;
        (0..bytes.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes()).take(bytes).collect()
    };
    let (template, search) = (noise(cfg.model.exemplar_px), noise(cfg.model.train_search_px));
    let anchors = Anchors::new(&cfg.model.anchors, cfg.model.response(cfg.model.train_search_px));
    let target = [3.0, -5.0, 60.0, 66.0];
    let (mut labels, mut deltas) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        let one = label(&anchors, target, &cfg.labels, false, &mut rng);
        labels.extend(one.cls);
        deltas.extend(one.reg);
    }
    Batch {
        step: 0,
        pairs,
        template,
        search,
        labels,
        deltas,
        targets: vec![target; pairs],
        negative: vec![false; pairs],
        substituted: 0,
    }
}

/// Largest resident memory of this process in bytes, from Linux' `/proc`; 0 elsewhere.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|kb| kb.parse::<u64>().ok()).map_or(0, |kb| kb * 1024)
}

/// Processor time of this process in seconds, from Linux' `/proc` (hundredths of a second); 0 elsewhere.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields after the program's name in brackets; user and system time are the 12th and 13th of them.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().skip(11).take(2).filter_map(|v| v.parse::<f64>().ok()).sum::<f64>() / 100.0
}
