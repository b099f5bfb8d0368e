//! Which tables a report has, and its text forms.

use super::numbers::{MeasureKind, kinds};
use super::table::{Table, latex as tex, markdown as md};
use schemas::report::{Difference, ReportDoc, TrackerReport, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Failed frames named per sequence, at most.
const FRAMES_NAMED: usize = 30;

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A value with its interval: `0.512 [0.480, 0.551]`.
fn with_interval(value: Option<f64>, interval: Option<[f64; 2]>, digits: usize) -> String {
    let ends = interval.map_or_else(String::new, |[low, high]| format!(" [{low:.digits$}, {high:.digits$}]"));
    format!("{}{ends}", number(value, digits))
}

/// What a difference means, for people.
#[must_use]
pub fn in_words(difference: &Difference, reference: &str) -> String {
    match difference.verdict {
        Verdict::Better => format!("better than {reference}"),
        Verdict::Worse => format!("worse than {reference}"),
        Verdict::Noise => "noise: the interval contains 0".to_owned(),
        Verdict::TooFew => "too few sequences to tell".to_owned(),
        Verdict::Undefined => "not defined".to_owned(),
    }
}

/// Every table of a report.
pub fn tables(doc: &ReportDoc) -> Vec<Table> {
    let mut all = vec![summary(doc)];
    if !doc.comparisons.is_empty() {
        all.push(comparison(doc));
    }
    all.push(sequences(doc));
    all.extend(attributes(doc));
    all.extend(failures(doc));
    all
}

/// Whose numbers these are, in one line.
pub fn basis(doc: &ReportDoc) -> String {
    let rules = match &doc.dialect {
        Some(dialect) => format!("dialect {dialect}"),
        None => "one pass, OTB, LaSOT, TrackingNet and GOT-10k definitions".to_owned(),
    };
    let eao = doc.trackers.iter().find_map(|t| t.supervised.as_ref()).map_or_else(String::new, |score| {
        format!(", EAO over {} {} to {}", unit(&score.dialect), score.eao_interval[0], score.eao_interval[1])
    });
    format!(
        "Data set {}: {} sequences, {} frames; protocol {}, {rules}, experiment {}{eao}. Written by {}.",
        doc.dataset, doc.sequences, doc.frames, doc.protocol, doc.experiment, doc.writer
    )
}

/// What an EAO curve runs over.
pub fn unit(dialect: &str) -> &'static str {
    if dialect == vot::Dialect::VotPython.as_str() { "frame numbers" } else { "lengths" }
}

/// How the intervals were made, in one line.
pub fn method(doc: &ReportDoc) -> String {
    format!(
        "In brackets {:.0} % percentile intervals of a bootstrap over sequences ({} resamples, seed {}).",
        100.0 * doc.bootstrap.confidence,
        doc.bootstrap.resamples,
        doc.bootstrap.seed
    )
}

fn arrow(kind: &MeasureKind) -> String {
    format!("{} ({} is better)", kind.title, if kind.higher { "higher" } else { "lower" })
}

fn summary(doc: &ReportDoc) -> Table {
    let kinds = kinds(&doc.protocol);
    let mut head = vec!["Tracker".to_owned()];
    head.extend(kinds.iter().map(arrow));
    head.extend(["Runs per sequence", "Frames/s"].map(str::to_owned));
    let row = |tracker: &TrackerReport| {
        let cells = tracker.measures.iter().zip(kinds).map(|(m, kind)| with_interval(m.value, m.interval, kind.digits));
        let [few, many] = tracker.repetitions;
        let runs = if few == many { few.to_string() } else { format!("{few} to {many}") };
        let mut row = vec![tracker.name.clone()];
        row.extend(cells.chain([runs, number(tracker.frames_per_s, 1)]));
        row
    };
    let rows = doc.trackers.iter().map(row).collect();
    Table { key: "summary", title: "Summary", note: method(doc), head, texts: 1, rows }
}

fn comparison(doc: &ReportDoc) -> Table {
    let kinds = kinds(&doc.protocol);
    let mut rows = Vec::new();
    for comparison in &doc.comparisons {
        for (difference, kind) in comparison.differences.iter().zip(kinds) {
            rows.push(vec![
                comparison.tracker.clone(),
                kind.title.to_owned(),
                in_words(difference, &comparison.reference),
                with_interval(difference.value, difference.interval, kind.digits + 1),
            ]);
        }
    }
    let note = format!(
        "Each tracker less {}, both over the same sequences of each resample. Where the interval contains 0 the \
         difference is noise.",
        doc.reference
    );
    let head = ["Tracker", "Measure", "Verdict", "Difference"].map(str::to_owned).into();
    Table { key: "comparison", title: "Differences", note, head, texts: 3, rows }
}

/// Cells of one sequence for one tracker: with restarts accuracy and failures, else success and precision.
fn cells(tracker: &TrackerReport, sequence: &str) -> [String; 2] {
    if let Some(of) = tracker.supervised.as_ref().and_then(|score| score.sequences.get(sequence)) {
        return [number(of.accuracy, 3), number(Some(of.failures), 2)];
    }
    let of = tracker.one_pass.as_ref().and_then(|score| score.sequences.get(sequence));
    [number(of.map(|s| s.success_auc), 3), number(of.map(|s| s.precision_20), 3)]
}

fn sequences(doc: &ReportDoc) -> Table {
    let mut frames: BTreeMap<&str, u64> = BTreeMap::new();
    for tracker in &doc.trackers {
        let supervised = tracker.supervised.iter().flat_map(|s| &s.sequences).map(|(name, s)| (name, s.frames));
        let one = tracker.one_pass.iter().flat_map(|s| &s.sequences).map(|(name, s)| (name, s.frames));
        frames.extend(supervised.chain(one).map(|(name, frames)| (name.as_str(), frames)));
    }
    let kinds = if doc.dialect.is_some() { ["accuracy", "failures"] } else { ["success", "precision at 20 px"] };
    let mut head = vec!["Sequence".to_owned(), "Frames".to_owned()];
    head.extend(doc.trackers.iter().flat_map(|t| kinds.map(|kind| format!("{}: {kind}", t.name))));
    let row = |(name, frames): (&str, u64)| {
        let mut row = vec![name.to_owned(), frames.to_string()];
        row.extend(doc.trackers.iter().flat_map(|tracker| cells(tracker, name)));
        row
    };
    let rows = frames.into_iter().map(row).collect();
    let note = "One row per sequence; failures are means over the runs.".to_owned();
    let note = if doc.dialect.is_some() { note } else { "One row per sequence.".to_owned() };
    Table { key: "sequences", title: "Sequences", note, head, texts: 1, rows }
}

fn attributes(doc: &ReportDoc) -> Option<Table> {
    let scores = || doc.trackers.iter().map(|tracker| tracker.supervised.as_ref());
    let names: BTreeSet<&String> = scores().flatten().flat_map(|score| score.tags.keys()).collect();
    if names.is_empty() {
        return None;
    }
    let mut head = vec!["Attribute".to_owned(), "Frames".to_owned()];
    let columns = ["accuracy", "failures", "EAO"];
    head.extend(doc.trackers.iter().flat_map(|t| columns.map(|column| format!("{}: {column}", t.name))));
    let row = |name: &String| {
        let tags = || scores().map(|score| score.and_then(|score| score.tags.get(name)));
        let frames = tags().flatten().next().map_or(0, |tag| tag.frames);
        let mut row = vec![name.clone(), frames.to_string()];
        row.extend(tags().flat_map(|tag| {
            [
                number(tag.and_then(|t| t.accuracy), 3),
                number(tag.map(|t| t.failures), 2),
                number(tag.and_then(|t| t.eao), 4),
            ]
        }));
        row
    };
    let rows = names.into_iter().map(row).collect();
    let note = "Frames with the attribute; `empty` are those without any. Without intervals.".to_owned();
    Some(Table { key: "attributes", title: "Attributes", note, head, texts: 1, rows })
}

fn failures(doc: &ReportDoc) -> Option<Table> {
    doc.dialect.as_ref()?;
    let mut rows = Vec::new();
    for tracker in &doc.trackers {
        let mut found: BTreeMap<&str, BTreeMap<u64, usize>> = BTreeMap::new();
        for failure in &tracker.failures {
            *found.entry(&failure.sequence).or_default().entry(failure.frame).or_default() += 1;
        }
        for (sequence, frames) in found {
            let total: usize = frames.values().sum();
            let name = |(frame, runs): (&u64, &usize)| {
                if *runs > 1 { format!("{frame} ({runs} runs)") } else { frame.to_string() }
            };
            let mut named: Vec<String> = frames.iter().take(FRAMES_NAMED).map(name).collect();
            if let Some(more) = frames.len().checked_sub(FRAMES_NAMED).filter(|more| *more > 0) {
                named.push(format!("and {more} more"));
            }
            rows.push(vec![tracker.name.clone(), sequence.to_owned(), named.join(", "), total.to_string()]);
        }
    }
    let head = ["Tracker", "Sequence", "Frames", "Failures in all runs"].map(str::to_owned).into();
    let note = "Frames count from 0.".to_owned();
    Some(Table { key: "failures", title: "Failures", note, head, texts: 3, rows })
}

/// `report.md`.
pub fn markdown(doc: &ReportDoc, tables: &[Table]) -> String {
    let mut out = format!("# Trackers on {}\n\n{}\n\n", md(&doc.dataset), md(&basis(doc)));
    for warning in &doc.warnings {
        // Writing into a String cannot fail.
        _ = writeln!(out, "- Note: {}", md(warning));
    }
    if !doc.warnings.is_empty() {
        out.push('\n');
    }
    out.extend(tables.iter().map(Table::markdown));
    out
}

/// `report.tex`: tables to be included in a document.
pub fn latex(doc: &ReportDoc, tables: &[Table]) -> String {
    let mut out = format!("% {}\n", tex(&basis(doc)));
    for warning in &doc.warnings {
        _ = writeln!(out, "% Note: {}", tex(warning));
    }
    out.extend(tables.iter().map(Table::latex));
    out
}

/// A short text for a terminal.
#[must_use]
pub fn as_text(doc: &ReportDoc) -> String {
    let mut out = format!("{}\n", basis(doc));
    let kinds = kinds(&doc.protocol);
    for tracker in &doc.trackers {
        _ = writeln!(out, "\n{}", tracker.name);
        for (measure, kind) in tracker.measures.iter().zip(kinds) {
            _ = writeln!(out, "  {:<26} {}", kind.title, with_interval(measure.value, measure.interval, kind.digits));
        }
    }
    for comparison in &doc.comparisons {
        _ = writeln!(out, "\n{} less {}", comparison.tracker, comparison.reference);
        for (difference, kind) in comparison.differences.iter().zip(kinds) {
            let value = with_interval(difference.value, difference.interval, kind.digits + 1);
            _ = writeln!(out, "  {:<26} {value:<32} {}", kind.title, in_words(difference, &comparison.reference));
        }
    }
    out
}
