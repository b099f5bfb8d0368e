//! `trainer tune`: a search for the tracker's constants on a data set.
//!
//! Trial 0 is the model's own setting. A random search then spreads two thirds of the trials over the ranges by a Halton
//! sequence, shifted by the seed; the rest come in rounds of eight around the best trial of all earlier rounds, closer in
//! each round. A trial's setting is a function of the seed, its number and the results of earlier rounds, so the number of
//! threads does not change the answer, nor does being killed and started again.

use super::epochs::{Epochs, weights};
use super::runner::{Measured, Protocol, Workers, measure, track};
use super::{EvaluateError, TestSet};
use schemas::model::{ModelConfig, TrackerConfig};
use serde::{Deserialize, Serialize};
use shards::order::{Rng, key};
use shards::writer::write_atomic;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use vot::Dialect;

/// Trials of a round around the best one.
const ROUND: usize = 8;
/// Ranges of the random search: penalty_k, window_influence, lr. They hold PySOT's grid and the published settings.
const RANGES: [(f64, f64); 3] = [(0.0, 0.5), (0.1, 0.8), (0.1, 0.7)];

/// What is to be large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Expected average overlap, supervised protocol.
    Eao,
    /// Mean overlap of one pass without restarts.
    MeanOverlap,
}

/// Values of a constant in a grid search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Axis {
    /// First value.
    pub from: f64,
    /// No value is larger.
    pub to: f64,
    /// Distance of values.
    pub step: f64,
}

impl Axis {
    fn values(self) -> Vec<f64> {
        let count = ((self.to - self.from) / self.step + 1e-9).floor().clamp(0.0, 1e6);
        (0..=count as usize).map(|i| ((self.from + i as f64 * self.step) * 1e9).round() / 1e9).collect()
    }
}

impl std::str::FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<f64> = text.split(':').filter_map(|t| t.trim().parse().ok()).collect();
        match numbers[..] {
            [from, to, step] if from.is_finite() && from <= to && to.is_finite() && step > 0.0 => {
                Ok(Self { from, to, step })
            }
            _ => Err(format!("{text:?} is not FROM:TO:STEP, for example 0.1:0.8:0.05")),
        }
    }
}

/// How settings are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Search {
    /// So many trials, spread and then refined.
    Random {
        /// Trials, the model's own setting included.
        trials: usize,
    },
    /// Every combination.
    Grid {
        /// Values of penalty_k.
        penalty: Axis,
        /// Values of window_influence.
        window: Axis,
        /// Values of lr.
        lr: Axis,
    },
}

/// What to tune.
#[derive(Debug, Clone)]
pub struct TuneOptions {
    /// Run folder or model file.
    pub run: PathBuf,
    /// Which of the run's weights.
    pub epoch: Epochs,
    /// Data set.
    pub dataset: PathBuf,
    /// Sequences; none means all.
    pub sequences: Vec<String>,
    /// What is to be large.
    pub objective: Objective,
    /// Whose definitions.
    pub dialect: Dialect,
    /// How settings are chosen.
    pub search: Search,
    /// Seed of the search.
    pub seed: u64,
    /// Where trials and the tuned model go.
    pub out: PathBuf,
    /// Device and threads.
    pub workers: Workers,
}

/// One setting and what it reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// From 0: the model's own setting.
    pub trial: usize,
    /// Strength of the penalty on changes of size and aspect.
    pub penalty_k: f64,
    /// Weight of the cosine window.
    pub window_influence: f64,
    /// Learning rate of the target size.
    pub lr: f64,
    /// The objective.
    pub value: f64,
}

/// `best.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The best trial; the first of equals.
    pub best: Trial,
    /// The model's own setting.
    pub untuned: Trial,
    /// What was to be large.
    pub objective: Objective,
    /// Whose definitions.
    pub dialect: String,
    /// Name of the data set: scores on it are no measure of the tuned model.
    pub dataset: String,
    /// Hash of its sequences.
    pub dataset_hash: String,
    /// Hash of the untuned model's file.
    pub model: String,
    /// Trials made.
    pub trials: usize,
}

/// What a search gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tuned {
    /// As in `best.json`.
    #[serde(flatten)]
    pub best: Best,
    /// The ten best trials.
    pub top: Vec<Trial>,
    /// The model with the best setting.
    pub tuned: PathBuf,
    /// Trials made now; the others were there already.
    pub made: usize,
}

/// What a search is, as the first line of `trials.jsonl`.
#[derive(Debug, PartialEq, Serialize)]
struct Stamp<'a> {
    model: &'a str,
    dataset: &'a str,
    objective: Objective,
    dialect: &'a str,
    search: Search,
    seed: u64,
}

/// Element `index` (from 1) of the Halton sequence of a base.
fn halton(mut index: usize, base: usize) -> f64 {
    let (mut value, mut share) = (0.0, 1.0);
    while index > 0 {
        share /= base as f64;
        value += share * (index % base) as f64;
        index /= base;
    }
    value
}

/// The settings (penalty_k, window_influence, lr) of the next round, given all earlier trials; empty at the end.
fn next_round(search: Search, seed: u64, done: &[Trial]) -> Vec<[f64; 3]> {
    match search {
        Search::Grid { penalty, window, lr } => {
            if done.len() > 1 {
                return Vec::new();
            }
            let (windows, lrs) = (window.values(), lr.values());
            let all = penalty.values().into_iter().flat_map(|p| {
                let lrs = &lrs;
                windows.iter().flat_map(move |w| lrs.iter().map(move |l| [p, *w, *l]))
            });
            all.collect()
        }
        Search::Random { trials } => {
            let spread = (2 * trials.saturating_sub(1)).div_ceil(3);
            if done.len() == 1 {
                let shift = [0, 1, 2].map(|axis| Rng::new(key(&[seed, 0x7475, axis])).uniform());
                return (1..=spread)
                    .map(|index| {
                        let place = [2, 3, 5].map(|base| halton(index, base));
                        [0, 1, 2].map(|axis| {
                            let (low, high) = RANGES[axis];
                            low + (place[axis] + shift[axis]).fract() * (high - low)
                        })
                    })
                    .collect();
            }
            let Some(best) = best(done) else { return Vec::new() };
            let round = (done.len().saturating_sub(1 + spread)) / ROUND;
            let width = 0.12 * 0.7f64.powi(i32::try_from(round).unwrap_or(i32::MAX));
            (done.len()..trials.min(done.len() + ROUND))
                .map(|trial| {
                    let mut rng = Rng::new(key(&[seed, 0x6e65_6172, trial as u64]));
                    let centre = [best.penalty_k, best.window_influence, best.lr];
                    [0, 1, 2].map(|axis: usize| {
                        let (low, high) = RANGES[axis];
                        (centre[axis] + rng.normal() * width * (high - low)).clamp(low, high)
                    })
                })
                .collect()
        }
    }
}

/// The trial with the largest value, the first of equals.
fn best(trials: &[Trial]) -> Option<Trial> {
    trials.iter().copied().reduce(|best, trial| if trial.value > best.value { trial } else { best })
}

/// Searches; every finished trial is kept in `trials.jsonl`, and a search that is started again goes on. `say` is told what
/// has been done.
///
/// # Errors
/// [`EvaluateError`]; finished trials stay.
pub fn tune(options: &TuneOptions, stop: &AtomicBool, say: &(dyn Fn(&str) + Sync)) -> Result<Tuned, EvaluateError> {
    let set = TestSet::read(&options.dataset, &options.sequences)?;
    let (_, path) = weights(&options.run, options.epoch)?.pop().unwrap_or((0, options.run.clone()));
    let (model, engine) = options.workers.load(&path)?;
    let dialect = options.dialect.to_string();
    let stamp = Stamp {
        model: &model.blake3,
        dataset: &set.digest,
        objective: options.objective,
        dialect: &dialect,
        search: options.search,
        seed: options.seed,
    };
    let mut log = Log::open(&options.out, &stamp)?;
    let (kept, started) = (log.kept.len(), Instant::now());
    let own = &model.config.tracker;
    let rules = match options.objective {
        Objective::Eao => (Protocol::Supervised, options.dialect),
        Objective::MeanOverlap => (Protocol::Ope, options.dialect),
    };
    let run = |number: usize, [penalty_k, window_influence, lr]: [f64; 3]| -> Result<Trial, EvaluateError> {
        let config = with(&model.config, [penalty_k, window_influence, lr]);
        let runs: Result<Vec<_>, _> =
            set.sequences.iter().map(|sequence| track(&engine, &config, sequence, rules, stop)).collect();
        let value = match measure(&set, &runs?, rules)? {
            Measured::Supervised(score) => score.eao,
            Measured::Ope(score) => score.average_overlap,
        };
        let value = value.ok_or(EvaluateError::NoValue { what: options.objective })?;
        Ok(Trial { trial: number, penalty_k, window_influence, lr, value })
    };
    let mut done: Vec<Trial> = Vec::new();
    let mut round = vec![[own.penalty_k, own.window_influence, own.lr]];
    let total = match options.search {
        Search::Random { trials } => trials.max(1),
        Search::Grid { .. } => {
            1 + next_round(
                options.search,
                0,
                &[Trial { trial: 0, penalty_k: 0.0, window_influence: 0.0, lr: 0.0, value: 0.0 }],
            )
            .len()
        }
    };
    while !round.is_empty() {
        let first = done.len();
        let missing: Vec<usize> = (first..first + round.len()).filter(|n| !log.kept.contains_key(n)).collect();
        let log_now = std::sync::Mutex::new(&mut log);
        options.workers.each(missing.len(), stop, &|i| {
            let (Some(&number), Some(&setting)) = (missing.get(i), missing.get(i).and_then(|n| round.get(n - first)))
            else {
                return Ok(());
            };
            let trial = run(number, setting)?;
            let mut log = log_now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            log.add(trial)?;
            let made = log.kept.len() - kept;
            let left = started.elapsed().as_secs_f64() / made as f64 * total.saturating_sub(log.kept.len()) as f64;
            say(&format!(
                "trial {number} ({} of {total}): penalty_k {:.3}, window_influence {:.3}, lr {:.3}: {:.4}; {} left",
                log.kept.len(),
                trial.penalty_k,
                trial.window_influence,
                trial.lr,
                trial.value,
                minutes(Duration::from_secs_f64(left))
            ));
            Ok(())
        })?;
        done.extend((first..first + round.len()).filter_map(|n| log.kept.get(&n).copied()));
        round = next_round(options.search, options.seed, &done);
    }
    let (Some(&untuned), Some(found)) = (done.first(), best(&done)) else { return Err(EvaluateError::Interrupted) };
    let best = Best {
        best: found,
        untuned,
        objective: options.objective,
        dialect,
        dataset: set.name,
        dataset_hash: set.digest,
        model: model.blake3.clone(),
        trials: done.len(),
    };
    let file = |path: PathBuf| move |source| EvaluateError::File { path, source };
    let place = options.out.join("best.json");
    write_atomic(&place, &serde_json::to_vec_pretty(&best).unwrap_or_default()).map_err(file(place))?;
    let tuned = options.out.join("tuned.safetensors");
    let config = with(&model.config, [found.penalty_k, found.window_influence, found.lr]);
    let mut extra = model.metadata.clone();
    extra.retain(|key, _| !key.starts_with("siamrpn."));
    extra.insert("trainer.tuned".to_owned(), serde_json::json!(best).to_string());
    siamrpn::model::save(&tuned, &config, &model.net, &extra)?;
    done.sort_by(|a, b| b.value.total_cmp(&a.value).then(a.trial.cmp(&b.trial)));
    done.truncate(10);
    Ok(Tuned { best, top: done, tuned, made: log.kept.len() - kept })
}

/// `config` with other constants of the tracker.
fn with(config: &ModelConfig, [penalty_k, window_influence, lr]: [f64; 3]) -> ModelConfig {
    let tracker = TrackerConfig { penalty_k, window_influence, lr, ..config.tracker.clone() };
    ModelConfig { tracker, ..config.clone() }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

/// `trials.jsonl`: what the search is, then one line per finished trial, in the order in which they finished.
struct Log {
    path: PathBuf,
    kept: BTreeMap<usize, Trial>,
}

impl Log {
    fn open(out: &Path, stamp: &Stamp<'_>) -> Result<Self, EvaluateError> {
        let path = out.join("trials.jsonl");
        let file = |source| EvaluateError::File { path: path.clone(), source };
        std::fs::create_dir_all(out).map_err(file)?;
        let stamp = serde_json::json!(stamp).to_string();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut kept = BTreeMap::new();
        if let Some(first) = text.lines().next() {
            if first != stamp {
                return Err(EvaluateError::OtherSearch { path });
            }
            // A line that was cut off by a crash is made again.
            for trial in text.lines().skip(1).filter_map(|line| serde_json::from_str::<Trial>(line).ok()) {
                kept.insert(trial.trial, trial);
            }
        }
        let whole = std::iter::once(stamp).chain(kept.values().map(|trial| serde_json::json!(trial).to_string()));
        let text = whole.map(|line| line + "\n").collect::<String>();
        write_atomic(&path, text.as_bytes()).map_err(file)?;
        Ok(Self { path, kept })
    }

    fn add(&mut self, trial: Trial) -> Result<(), EvaluateError> {
        let line = serde_json::json!(trial).to_string() + "\n";
        // What is read back after a crash is what counts, to the last bit.
        let trial = serde_json::from_str(&line).unwrap_or(trial);
        let file = OpenOptions::new().append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_data()));
        written.map_err(|source| EvaluateError::File { path: self.path.clone(), source })?;
        self.kept.insert(trial.trial, trial);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(trial: usize, [penalty_k, window_influence, lr]: [f64; 3], value: f64) -> Trial {
        Trial { trial, penalty_k, window_influence, lr, value }
    }

    /// A smooth hill.
    fn value([p, w, l]: [f64; 3]) -> f64 {
        1.0 - (p - 0.31).powi(2) - (w - 0.55).powi(2) - (l - 0.42).powi(2)
    }

    fn searched(trials: usize, seed: u64) -> Vec<Trial> {
        let mut done = vec![trial(0, [0.22, 0.4, 0.3], value([0.22, 0.4, 0.3]))];
        loop {
            let round = next_round(Search::Random { trials }, seed, &done);
            if round.is_empty() {
                return done;
            }
            let first = done.len();
            done.extend(round.into_iter().enumerate().map(|(i, setting)| trial(first + i, setting, value(setting))));
        }
    }

    #[test]
    fn a_hill_is_climbed_the_same_way_every_time() {
        let done = searched(60, 3);
        assert_eq!(done.len(), 60);
        assert_eq!(done, searched(60, 3));
        assert_ne!(done, searched(60, 4));
        assert!(done.iter().enumerate().all(|(i, t)| t.trial == i));
        let spread = best(&done[..40]).unwrap().value;
        let found = best(&done).unwrap();
        assert!(found.value > 0.99 && found.value >= spread, "{found:?}");
        for t in &done {
            let setting = [t.penalty_k, t.window_influence, t.lr];
            assert!(setting.iter().zip(RANGES).all(|(v, (low, high))| (low..=high).contains(v)), "{t:?}");
        }
        for trials in [1, 2, 3, 9] {
            assert_eq!(searched(trials, 1).len(), trials);
        }
    }

    #[test]
    fn grids_have_every_combination_once() {
        let axis = |text: &str| text.parse::<Axis>().unwrap();
        assert_eq!(axis("0.35:0.5:0.05").values(), [0.35, 0.4, 0.45, 0.5]);
        let search =
            Search::Grid { penalty: axis("0.05:0.5:0.05"), window: axis("0.1:0.8:0.05"), lr: axis("0.35:0.5:0.05") };
        let all = next_round(search, 0, &[trial(0, [0.0; 3], 0.0)]);
        assert_eq!(all.len(), 10 * 15 * 4);
        assert!(next_round(search, 0, &[trial(0, [0.0; 3], 0.0); 2]).is_empty());
        for bad in ["", "1:2", "2:1:0.1", "0:1:0", "a:b:c"] {
            assert!(bad.parse::<Axis>().is_err(), "{bad}");
        }
    }
}
