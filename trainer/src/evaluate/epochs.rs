//! `trainer eval`: the epochs of a run, one after the other, on a data set.

use super::runner::{Measured, Protocol, Workers, measure, track};
use super::{EvaluateError, TestSet};
use crate::checkpoint::{EPOCHS, MODEL};
use crate::plot::{Series, lines};
use serde::{Deserialize, Serialize};
use shards::writer::write_atomic;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use vot::Dialect;

/// Which epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epochs {
    /// All whose weights are there.
    All,
    /// The newest.
    Last,
    /// From, to; both counted.
    Range(u32, u32),
}

impl std::str::FromStr for Epochs {
    type Err = EvaluateError;

    fn from_str(text: &str) -> Result<Self, EvaluateError> {
        let bad = || EvaluateError::Epochs { text: text.to_owned() };
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| bad());
        match text {
            "all" => Ok(Self::All),
            "last" => Ok(Self::Last),
            _ => {
                let (from, to) = text.split_once("..").unwrap_or((text, text));
                let (from, to) = (number(from)?, number(to)?);
                if from <= to { Ok(Self::Range(from, to)) } else { Err(bad()) }
            }
        }
    }
}

/// The weights that `wanted` names, with their epochs: of the run folder `run`, or that file alone (epoch 0).
///
/// # Errors
/// [`EvaluateError::NoEpoch`] names what there is.
pub(super) fn weights(run: &Path, wanted: Epochs) -> Result<Vec<(u32, PathBuf)>, EvaluateError> {
    if run.is_file() {
        return Ok(vec![(0, run.to_path_buf())]);
    }
    let folder = run.join(EPOCHS);
    let number =
        |path: &Path| path.file_name()?.to_str()?.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.parse().ok();
    let mut there: Vec<(u32, PathBuf)> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| Some((number(&e.path())?, e.path())))
        .collect();
    there.sort();
    let missing = |epoch: u32| EvaluateError::NoEpoch {
        run: run.to_path_buf(),
        epoch,
        there: match (there.first(), there.last()) {
            (Some((first, _)), Some((last, _))) => format!("{} of {first} to {last}", there.len()),
            _ => "none".to_owned(),
        },
    };
    match (wanted, there.last()) {
        (_, None) if wanted == Epochs::Last && run.join(MODEL).is_file() => Ok(vec![(0, run.join(MODEL))]),
        (_, None) => Err(missing(1)),
        (Epochs::All, _) => Ok(there),
        (Epochs::Last, Some(last)) => Ok(vec![last.clone()]),
        (Epochs::Range(from, to), _) => {
            (from..=to).map(|n| there.iter().find(|(e, _)| *e == n).cloned().ok_or_else(|| missing(n))).collect()
        }
    }
}

/// What to evaluate.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Run folder or model file.
    pub run: PathBuf,
    /// Data set.
    pub dataset: PathBuf,
    /// Epochs.
    pub epochs: Epochs,
    /// Protocol.
    pub protocol: Protocol,
    /// Whose definitions.
    pub dialect: Dialect,
    /// Where results go: into a folder named after the data set in it.
    pub out: PathBuf,
    /// Part i of n of the epochs, i from 0.
    pub part: Option<(usize, usize)>,
    /// Device and threads.
    pub workers: Workers,
}

/// One epoch's line in the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The epoch; 0 for a model file.
    pub epoch: u32,
    /// Hash of the weights' file.
    pub model: String,
    /// Supervised: overlap; one pass: mean overlap.
    pub accuracy: Option<f64>,
    /// Failures, all sequences together.
    pub failures: Option<f64>,
    /// Failures per 100 frames.
    pub robustness_per_100: Option<f64>,
    /// Expected average overlap.
    pub eao: Option<f64>,
    /// Area under the success curve.
    pub success_auc: Option<f64>,
    /// Share of frames whose centre is at most 20 px off.
    pub precision_20: Option<f64>,
}

impl EpochRow {
    fn of(epoch: u32, model: String, measured: &Measured) -> Self {
        let none = Self {
            epoch,
            model,
            accuracy: None,
            failures: None,
            robustness_per_100: None,
            eao: None,
            success_auc: None,
            precision_20: None,
        };
        match measured {
            Measured::Supervised(s) => Self {
                accuracy: Some(s.accuracy),
                failures: Some(s.failures),
                robustness_per_100: Some(s.robustness_per_100),
                eao: s.eao,
                ..none
            },
            Measured::Ope(s) => Self {
                accuracy: s.average_overlap,
                success_auc: Some(s.success_auc),
                precision_20: Some(s.precision_20),
                ..none
            },
        }
    }
}

/// A result file: `epoch-0035.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    dataset: String,
    protocol: Protocol,
    dialect: String,
    /// Program and version.
    writer: String,
    row: EpochRow,
    measured: Measured,
}

/// What an evaluation gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Name of the data set.
    pub dataset: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Whose definitions.
    pub dialect: String,
    /// In the order of the epochs.
    pub epochs: Vec<EpochRow>,
    /// The best epoch: by EAO, else by accuracy; the first of equals.
    pub best: Option<u32>,
    /// Epochs evaluated now; the others were there already.
    pub made: usize,
    /// Where the results are.
    pub out: PathBuf,
}

/// Evaluates epochs; each leaves a file, and those that are there (of the same weights, data set and rules) are kept.
/// `say` is told what has been done.
///
/// # Errors
/// [`EvaluateError`]; finished epochs stay.
pub fn evaluate(options: &EvalOptions, stop: &AtomicBool, say: &dyn Fn(&str)) -> Result<Evaluation, EvaluateError> {
    let set = TestSet::read(&options.dataset, &[])?;
    let mut wanted = weights(&options.run, options.epochs)?;
    if let Some((part, parts)) = options.part {
        wanted = wanted.into_iter().skip(part).step_by(parts.max(1)).collect();
    }
    let out = options.out.join(&set.name);
    let file = |path: &Path| {
        let path = path.to_path_buf();
        move |source| EvaluateError::File { path, source }
    };
    std::fs::create_dir_all(&out).map_err(file(&out))?;
    let rules = (options.protocol, options.dialect);
    let (mut rows, mut made) = (Vec::new(), 0);
    let writer = schemas::format::writer_stamp("trainer");
    let count = wanted.len();
    for (number, (epoch, path)) in wanted.into_iter().enumerate() {
        let place = out.join(format!("epoch-{epoch:04}.json"));
        let bytes = std::fs::read(&path).map_err(file(&path))?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let same = |kept: &Kept| {
            kept.dataset == set.digest
                && kept.row.model == digest
                && kept.protocol == options.protocol
                && kept.dialect == options.dialect.as_str()
                && kept.writer == writer
        };
        let kept = std::fs::read(&place).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let row = match kept.filter(same) {
            Some(kept) => kept.row,
            None => {
                let (model, engine) = options.workers.load(&path)?;
                let runs = options.workers.each(set.sequences.len(), stop, &|i| {
                    let sequence = set.sequences.get(i).ok_or(EvaluateError::Interrupted)?;
                    track(&engine, &model.config, sequence, rules, stop)
                })?;
                let measured = measure(&set, &runs, rules)?;
                let row = EpochRow::of(epoch, digest, &measured);
                let dialect = options.dialect.to_string();
                let kept = Kept {
                    dataset: set.digest.clone(),
                    protocol: options.protocol,
                    dialect,
                    writer: writer.clone(),
                    row: row.clone(),
                    measured,
                };
                write_json(&place, &kept)?;
                made += 1;
                row
            }
        };
        let value = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.4}"));
        say(&format!(
            "epoch {epoch} ({} of {count}): accuracy {}, EAO {}",
            number + 1,
            value(row.accuracy),
            value(row.eao)
        ));
        rows.push(row);
    }
    let best = best_of(&rows);
    let dialect = options.dialect.to_string();
    let found = Evaluation { dataset: set.name, protocol: options.protocol, dialect, epochs: rows, best, made, out };
    if options.part.is_none() {
        summarise(&found)?;
    }
    Ok(found)
}

/// The epoch with the largest EAO where all have one, else with the largest accuracy; the first of equals.
fn best_of(rows: &[EpochRow]) -> Option<u32> {
    let by_eao = rows.iter().all(|row| row.eao.is_some());
    let worth = |row: &EpochRow| if by_eao { row.eao } else { row.accuracy }.filter(|v| v.is_finite());
    let valued = rows.iter().filter_map(|row| Some((row.epoch, worth(row)?)));
    valued.reduce(|best, row| if row.1 > best.1 { row } else { best }).map(|(epoch, _)| epoch)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), EvaluateError> {
    let text = serde_json::to_vec_pretty(value).unwrap_or_default();
    write_atomic(path, &text).map_err(|source| EvaluateError::File { path: path.to_path_buf(), source })
}

/// `summary.json`, `summary.csv`, `summary.svg`.
fn summarise(found: &Evaluation) -> Result<(), EvaluateError> {
    write_json(&found.out.join("summary.json"), found)?;
    let mut csv = "epoch,accuracy,failures,robustness_per_100,eao,success_auc,precision_20\n".to_owned();
    for row in &found.epochs {
        let columns = [row.accuracy, row.failures, row.robustness_per_100, row.eao, row.success_auc, row.precision_20];
        let columns = columns.map(|v| v.map_or(String::new(), |v| v.to_string()));
        csv += &format!("{},{}\n", row.epoch, columns.join(","));
    }
    let series = |name: &str, of: fn(&EpochRow) -> Option<f64>| Series {
        name: name.to_owned(),
        points: found.epochs.iter().filter_map(|row| Some((f64::from(row.epoch), of(row)?))).collect(),
    };
    let drawn: Vec<Series> = match found.protocol {
        Protocol::Supervised => vec![series("EAO", |r| r.eao), series("accuracy", |r| r.accuracy)],
        Protocol::Ope => vec![series("mean overlap", |r| r.accuracy), series("success", |r| r.success_auc)],
    };
    let title = format!("{}, {}", found.dataset, found.dialect);
    let svg = lines(&title, "epoch", &drawn).map_err(EvaluateError::Plot)?;
    for (name, text) in [("summary.csv", csv), ("summary.svg", svg)] {
        let path = found.out.join(name);
        write_atomic(&path, text.as_bytes()).map_err(|source| EvaluateError::File { path, source })?;
    }
    Ok(())
}
