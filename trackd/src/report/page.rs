//! `report.html`: everything on one page that needs no network and no other file.

use super::load::Loaded;
use super::numbers::{MeasureKind, kinds};
use super::plot::Plot;
use super::table::Table;
use super::tables::{basis, in_words};
use super::thumb::thumbnail;
use schemas::report::{FrameOf, Origin, ReportDoc, Verdict};
use shards::card::escape;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.html.css");
const SCRIPT: &str = include_str!("page.html.js");
/// Pictures on the whole page, at most.
const PICTURES: usize = 200;

/// Draws the page, with at most `thumbnails` pictures of failures and as many of worst frames per tracker.
pub fn page(doc: &ReportDoc, loaded: &Loaded, tables: &[Table], plots: &[Plot], thumbnails: usize) -> String {
    let name = escape(&doc.dataset);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src \
         'unsafe-inline'; script-src 'unsafe-inline'\">\
         <title>Trackers on {name}</title><style>\n{STYLE}</style></head><body>\n<h1>Trackers on {name}</h1>\n<p>{}</p>\n",
        escape(&basis(doc))
    );
    for warning in &doc.warnings {
        // Writing into a String cannot fail.
        _ = writeln!(out, "<div class=\"warn\">{}</div>", escape(warning));
    }
    let of = |key: &str| tables.iter().find(|table| table.key == key);
    let table = |out: &mut String, key: &str| {
        if let Some(table) = of(key) {
            _ = write!(out, "<h2>{}</h2>\n<p class=\"note\">{}</p>\n", escape(table.title), escape(&table.note));
            out.push_str(&if table.rows.is_empty() { "<p>None.</p>\n".to_owned() } else { table.html() });
        }
    };
    table(&mut out, "summary");
    out.push_str(&origins(doc));
    out.push_str(&verdicts(doc));
    table(&mut out, "comparison");
    for plot in plots {
        let (title, note) = (escape(plot.title), escape(&plot.note));
        _ = write!(out, "<h2>{title}</h2>\n<p class=\"note\">{note}</p>\n<div class=\"plot\">{}</div>\n", plot.svg);
    }
    table(&mut out, "sequences");
    if of("attributes").is_some() {
        table(&mut out, "attributes");
    } else if doc.dialect.is_some() {
        let none =
            "<h2>Attributes</h2>\n<p>None: the data set has no tags, or the dialect has no measures for them.</p>";
        _ = writeln!(out, "{none}");
    }
    let images = loaded.sequences.iter().any(|sequence| !sequence.frames.is_empty());
    let legend = if images {
        "White is the ground truth, orange the tracker's region; dashed where it is the last one before a failure."
    } else {
        "There are no pictures: the data set has no frames."
    };
    let room = thumbnails.min(PICTURES / (2 * doc.trackers.len()).max(1));
    if doc.dialect.is_some() {
        table(&mut out, "failures");
        if doc.trackers.iter().any(|tracker| !tracker.failures.is_empty()) {
            _ = writeln!(out, "<p class=\"note\">{legend}</p>");
        }
        for (i, tracker) in doc.trackers.iter().enumerate() {
            gallery(&mut out, &tracker.name, loaded, i, &spread(&tracker.failures, room));
        }
    }
    _ = write!(
        out,
        "<h2>Worst frames</h2>\n<p class=\"note\">Lowest overlap among the frames that count, in the first run of each \
         sequence, at least ten frames apart; frames count from 0. {legend}</p>\n"
    );
    for (i, tracker) in doc.trackers.iter().enumerate() {
        let worst: Vec<&FrameOf> = tracker.worst.iter().take(room).collect();
        if images {
            gallery(&mut out, &tracker.name, loaded, i, &worst);
        } else {
            let text: Vec<String> = worst.iter().map(|frame| caption(loaded, frame)).collect();
            _ = write!(out, "<h3>{}</h3>\n<p>{}</p>\n", escape(&tracker.name), escape(&text.join("; ")));
        }
    }
    _ = writeln!(out, "<script>\n{SCRIPT}</script></body></html>");
    out
}

/// Where the trackers' results come from, as far as they say so.
fn origins(doc: &ReportDoc) -> String {
    let line = |(name, origin): (&str, &Origin)| {
        let hash = |hash: &String| format!("model {}", hash.chars().take(16).collect::<String>());
        let parts = [
            origin.writer.clone().map(|writer| format!("results written by {writer}")),
            origin.dialect.clone().map(|dialect| format!("run by the rules of {dialect}")),
            origin.model_blake3.as_ref().map(hash),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("<li><b>{}</b>: {}</li>\n", escape(name), escape(&parts.join(", ")))
    };
    let known: String =
        doc.trackers.iter().filter_map(|t| Some((t.name.as_str(), t.origin.as_ref()?))).map(line).collect();
    if known.is_empty() { known } else { format!("<ul>\n{known}</ul>\n") }
}

/// What the comparisons come to, in sentences.
fn verdicts(doc: &ReportDoc) -> String {
    let mut out = String::new();
    // Enough to know: one unit of robustness stands for all of them.
    let main = ["accuracy", "robustness_per_100", "eao", "success_auc", "precision_20", "average_overlap"];
    for comparison in &doc.comparisons {
        let titled = || comparison.differences.iter().zip(kinds(&doc.protocol));
        let found = || titled().filter(|(difference, _)| main.contains(&difference.key.as_str()));
        let words = |(difference, kind): (_, &MeasureKind)| {
            format!("{}: {}", kind.title, in_words(difference, &comparison.reference))
        };
        let parts: Vec<String> = found().map(words).collect();
        let noise = found().all(|(d, _)| matches!(d.verdict, Verdict::Noise | Verdict::TooFew | Verdict::Undefined));
        let judged = if noise { " No difference was shown." } else { "" };
        let name = escape(&comparison.tracker);
        _ = writeln!(out, "<p><b>{name}</b>: {}.{judged}</p>", escape(&parts.join("; ")));
    }
    if out.is_empty() { out } else { format!("<h2>In words</h2>\n{out}") }
}

/// Up to `room` failures, each frame once: the first of every sequence before the second of any.
fn spread(failures: &[FrameOf], room: usize) -> Vec<&FrameOf> {
    let mut seen = BTreeSet::new();
    let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
    let mut all: Vec<(usize, &FrameOf)> = Vec::new();
    for failure in failures.iter().filter(|f| seen.insert((f.sequence.as_str(), f.frame))) {
        let turn = turns.entry(&failure.sequence).or_default();
        all.push((*turn, failure));
        *turn += 1;
    }
    all.sort_by_key(|(turn, failure)| (*turn, failure.sequence.as_str(), failure.frame));
    all.into_iter().take(room).map(|(_, failure)| failure).collect()
}

/// Place and overlap of a frame, and the name of its image.
fn caption(loaded: &Loaded, frame: &FrameOf) -> String {
    let at = usize::try_from(frame.frame).unwrap_or(usize::MAX);
    let sequence = loaded.sequences.iter().find(|sequence| sequence.name == frame.sequence);
    let file = sequence.and_then(|s| s.frames.get(at)).and_then(|path| path.file_name());
    let file = file.map_or_else(String::new, |name| format!(" ({})", name.to_string_lossy()));
    let overlap = frame.overlap.map_or_else(|| " failed".to_owned(), |overlap| format!(" overlap {overlap:.3}"));
    let run = if frame.repetition > 1 { format!(" run {}", frame.repetition) } else { String::new() };
    format!("{} frame {}{file}{run}:{overlap}", frame.sequence, frame.frame)
}

fn gallery(out: &mut String, name: &str, loaded: &Loaded, tracker: usize, frames: &[&FrameOf]) {
    let figure = |frame: &&FrameOf| {
        let (sequence, run) = loaded.run(tracker, &frame.sequence, frame.repetition)?;
        let picture = thumbnail(sequence, run, usize::try_from(frame.frame).ok()?)?;
        Some(format!("<figure>{picture}<figcaption>{}</figcaption></figure>\n", escape(&caption(loaded, frame))))
    };
    let figures: String = frames.iter().filter_map(figure).collect();
    if !figures.is_empty() {
        _ = write!(out, "<h3>{}</h3>\n<div class=\"thumbs\">\n{figures}</div>\n", escape(name));
    }
}
