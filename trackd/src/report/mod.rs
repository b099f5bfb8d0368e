//! Several trackers over one data set, side by side: numbers with intervals, paired comparisons, plots, a page.
//!
//! [`load`] reads ground truth and result files, [`numbers`] turns them into a [`ReportDoc`], and everything that is
//! written is drawn from that: [`table`] in HTML, Markdown and LaTeX, [`plot`] as SVG, [`thumb`] from the frames,
//! [`page`] as one HTML file that needs no other.

mod load;
mod numbers;
mod page;
mod plot;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod thumb;

use crate::evaluate::EvalError;
use crate::publish::{pretty, replace_file};
use schemas::report::ReportDoc;
use std::path::{Path, PathBuf};
use vot::Dialect;
use vot::protocol::Protocol;

pub use load::ResultsOf;
pub use tables::{as_text, in_words};

/// What to report on.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// The data set's folder; needs no frames where `sequence` files give the frame size.
    pub dataset: PathBuf,
    /// The trackers, in the order of the report.
    pub results: Vec<ResultsOf>,
    /// Experiment whose results are read; `None` = the protocol's.
    pub experiment: Option<String>,
    /// [`Protocol::Supervised`] or [`Protocol::OnePass`].
    pub protocol: Protocol,
    /// Of the supervised protocol, whose measures.
    pub dialect: Dialect,
    /// EAO interval, low and high; `None` = that of the challenge, or computed.
    pub interval: Option<(usize, usize)>,
    /// Name of the tracker the others are compared with; `None` = the first.
    pub reference: Option<String>,
    /// Resamples of the bootstrap.
    pub resamples: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Pictures per tracker of failures, and as many of worst frames.
    pub thumbnails: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The data set or result files.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Two trackers of one name.
    #[error("two trackers are called {name:?}: name them with --results NAME=DIR")]
    SameName {
        /// The name.
        name: String,
    },
    /// The reference is none of the trackers.
    #[error("--reference {name:?} is none of the trackers: {trackers}")]
    NoReference {
        /// What was asked for.
        name: String,
        /// The names there are.
        trackers: String,
    },
    /// A protocol that has no report.
    #[error("there is no report for protocol {0}: use supervised or ope")]
    Protocol(Protocol),
    /// A plot could not be drawn.
    #[error(transparent)]
    Plot(#[from] plot::PlotError),
}

impl From<vot::Error> for ReportError {
    fn from(e: vot::Error) -> Self {
        Self::Eval(e.into())
    }
}

/// Writes `report.html`, `report.md`, `report.tex`, `report.json` and the plots as SVG files into `out`. The same input
/// gives the same bytes.
///
/// # Errors
/// [`ReportError`] when results are missing or do not fit the data set, or `out` cannot be written.
pub fn report(options: &ReportOptions, out: &Path) -> Result<ReportDoc, ReportError> {
    if !matches!(options.protocol, Protocol::Supervised | Protocol::OnePass) {
        return Err(ReportError::Protocol(options.protocol));
    }
    let loaded = load::load(options)?;
    let doc = numbers::numbers(options, &loaded)?;
    let plots = plot::plots(&doc)?;
    let tables = tables::tables(&doc);
    let html = page::page(&doc, &loaded, &tables, &plots, options.thumbnails);
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        replace_file(&path, bytes).map_err(|source| EvalError::Output { path, source })
    };
    std::fs::create_dir_all(out).map_err(|source| EvalError::Output { path: out.to_owned(), source })?;
    for plot in &plots {
        write(&format!("{}.svg", plot.key), plot.svg.as_bytes())?;
    }
    write("report.md", tables::markdown(&doc, &tables).as_bytes())?;
    write("report.tex", tables::latex(&doc, &tables).as_bytes())?;
    write("report.json", &pretty(&doc))?;
    write("report.html", html.as_bytes())?;
    Ok(doc)
}
