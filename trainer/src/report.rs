//! `trainer report`: runs as curves on one page.

use crate::config::read_saved;
use crate::metrics::{JSONL, Line, VALIDATION, Validation};
use crate::plot::{Series, lines};
use crate::train::CONFIG;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A run folder has no metrics.
    #[error("{path}: {source}; a run writes it at its first logging interval", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A curve cannot be drawn.
    #[error("could not draw: {0}")]
    Plot(String),
}

/// What one run left behind.
struct Run {
    name: String,
    lines: Vec<Line>,
    validations: Vec<Validation>,
    config: String,
}

/// The whole lines of a file.
fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    Ok(std::fs::read_to_string(path)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

impl Run {
    fn open(folder: &Path) -> Result<Self, ReportError> {
        let path = folder.join(JSONL);
        let lines = read(&path).map_err(|source| ReportError::Read { path, source })?;
        let config = read_saved(&folder.join(CONFIG)).ok().and_then(|cfg| crate::config::to_toml(&cfg).ok());
        Ok(Self {
            name: folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned(),
            lines,
            validations: read(&folder.join(VALIDATION)).unwrap_or_default(),
            config: config.unwrap_or_default(),
        })
    }

    fn series(&self, name: &str, of: impl Fn(&Line) -> Option<f64>) -> Series {
        let points = self.lines.iter().filter_map(|line| Some((line.step as f64, of(line)?))).collect();
        Series { name: format!("{}{name}", self.name), points }
    }

    fn validation(&self, of: fn(&Validation) -> f64) -> Option<Series> {
        let points: Vec<_> = self.validations.iter().map(|v| (v.step as f64, of(v))).collect();
        (!points.is_empty()).then(|| Series { name: format!("{}, validation", self.name), points })
    }
}

/// A value of a line, and of a validation where there is one.
type Curve = (&'static str, fn(&Line) -> Option<f64>, Option<fn(&Validation) -> f64>);

const CURVES: [Curve; 6] = [
    ("loss", |l| l.loss, Some(|v| v.loss)),
    ("classification loss", |l| l.cls, Some(|v| v.cls)),
    ("regression loss", |l| l.reg, Some(|v| v.reg)),
    ("norm of the gradient", |l| l.grad_norm, None),
    ("learning rate", |l| Some(l.lr), None),
    ("pairs per second", |l| Some(l.pairs_per_s), None),
];

fn drawn(runs: &[Run], (title, of, validation): Curve) -> Result<String, ReportError> {
    let mut series: Vec<Series> = runs.iter().map(|run| run.series("", of)).collect();
    if let Some(of) = validation {
        series.extend(runs.iter().filter_map(|run| run.validation(of)));
    }
    lines(title, "step", &series).map_err(ReportError::Plot)
}

/// The loss of runs against their steps, as SVG.
///
/// # Errors
/// [`ReportError`].
pub fn loss_svg(folders: &[PathBuf]) -> Result<String, ReportError> {
    let runs = folders.iter().map(|folder| Run::open(folder)).collect::<Result<Vec<_>, _>>()?;
    drawn(&runs, CURVES[0])
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A self-contained page with all curves of the runs, their last numbers and their configurations.
///
/// # Errors
/// [`ReportError`].
pub fn page(folders: &[PathBuf]) -> Result<String, ReportError> {
    let runs = folders.iter().map(|folder| Run::open(folder)).collect::<Result<Vec<_>, _>>()?;
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Training</title><style>body{font:15px/1.5 sans-serif;\
         color:#282c30;margin:2em auto;max-width:920px;padding:0 1em}table{border-collapse:collapse}td,th{padding:.2em .8em;\
         border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}svg{max-width:100%;\
         height:auto}pre{background:#f6f6f6;padding:1em;overflow:auto}</style><h1>Training</h1>",
    );
    html += "<table><tr><th>run<th>step<th>epoch<th>loss<th>best validation<th>pairs/s<th>waiting for data<th>steps skipped\
             <th>pairs substituted</tr>";
    for run in &runs {
        let Some(last) = run.lines.last() else { continue };
        let number = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.4}"));
        let best = run.validations.iter().map(|v| v.loss).filter(|v| v.is_finite()).reduce(f64::min);
        html += &format!(
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{:.1}<td>{:.1} %<td>{}<td>{}</tr>",
            escaped(&run.name),
            last.step,
            last.epoch,
            number(last.loss),
            number(best),
            last.pairs_per_s,
            100.0 * last.data_wait_ms / last.step_ms.max(1e-9),
            last.bad_steps,
            last.substituted
        );
    }
    html += "</table>";
    for curve in CURVES {
        html += &drawn(&runs, curve)?;
    }
    let times = runs.iter().flat_map(|run| {
        [
            run.series(", ms per step", |l| Some(l.step_ms)),
            run.series(", of them waiting for data", |l| Some(l.data_wait_ms)),
        ]
    });
    html += &lines("time of a step", "step", &times.collect::<Vec<_>>()).map_err(ReportError::Plot)?;
    for run in &runs {
        html += &format!(
            "<details><summary>Configuration of {}</summary><pre>{}</pre></details>",
            escaped(&run.name),
            escaped(&run.config)
        );
    }
    Ok(html + "</html>\n")
}
