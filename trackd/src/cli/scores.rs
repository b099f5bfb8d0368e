//! Scores on the terminal.

use super::{CliError, print_json};
use crate::evaluate::OnceScore;
use schemas::score::OnePassSequence;
use std::fmt::Write as _;
use vot::measures::Score;

/// Scores as a table for people.
fn table(score: &Score) -> String {
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    let mut text = format!("{:<32} {:>9} {:>9} {:>7}\n", "sequence", "accuracy", "failures", "frames");
    for (name, s) in &score.sequences {
        // Writing into a String cannot fail.
        _ = writeln!(text, "{name:<32} {:>9} {:>9.2} {:>7}", number(s.accuracy), s.failures, s.frames);
    }
    let [low, high] = score.eao_interval;
    let rows = [
        ("dialect", score.dialect.to_string()),
        ("accuracy", number(Some(score.accuracy))),
        ("failures", format!("{:.2}", score.failures)),
        ("failures per 100 frames", number(Some(score.robustness_per_100))),
        ("failures per sequence", number(Some(score.robustness_mean_failures))),
        ("reliability", number(Some(score.reliability))),
        ("EAO", format!("{} (lengths {low} to {high})", number(score.eao))),
    ];
    for (name, value) in rows {
        _ = writeln!(text, "{name:<24} {value}");
    }
    text
}

/// One row of numbers.
fn row(name: &str, values: &[f64], frames: u64) -> String {
    let cells: String = values.iter().map(|value| format!(" {value:>10.4}")).collect();
    format!("{name:<32}{cells} {frames:>7}\n")
}

/// The head of a table and its last rows.
fn framed(columns: &[&str], rows: &str, totals: &[(&str, String)]) -> String {
    let head: String = columns.iter().map(|column| format!(" {column:>10}")).collect();
    let totals: String = totals.iter().map(|(name, value)| format!("{name:<24} {value}\n")).collect();
    format!("{:<32}{head} {:>7}\n{rows}{totals}", "sequence", "frames")
}

/// Scores of a protocol without restarts as a table for people.
fn once_table(score: &OnceScore) -> String {
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    match score {
        OnceScore::MultiStart(score) => {
            let rows: String =
                score.sequences.iter().map(|(n, s)| row(n, &[s.accuracy, s.robustness], s.frames)).collect();
            let [low, high] = score.eao_interval;
            let totals = [
                ("accuracy", number(Some(score.accuracy))),
                ("robustness", number(Some(score.robustness))),
                ("EAO", format!("{:.4} (frames {low} to {high})", score.eao)),
            ];
            framed(&["accuracy", "robustness"], &rows, &totals)
        }
        OnceScore::LongTerm(score) => {
            let rows: String =
                score.sequences.iter().map(|(n, s)| row(n, &[s.precision, s.recall, s.f_score], s.frames)).collect();
            let totals = [
                ("precision", number(Some(score.precision))),
                ("recall", number(Some(score.recall))),
                ("F", format!("{:.4} (confidence at least {})", score.f_score, number(score.threshold))),
                ("accuracy", number(Some(score.accuracy))),
                ("robustness", number(score.robustness)),
                ("not-reported error", number(score.not_reported_error)),
                ("drift-rate error", number(score.drift_rate_error)),
                ("absence detection", number(score.absence_detection_quality)),
            ];
            framed(&["precision", "recall", "F"], &rows, &totals)
        }
        OnceScore::OnePass(score) => {
            let cells = |s: &OnePassSequence| [s.success_auc, s.precision_20, s.normalised_precision_auc];
            let rows: String = score.sequences.iter().map(|(n, s)| row(n, &cells(s), s.frames)).collect();
            let totals = [
                ("success (area)", number(Some(score.success_auc))),
                ("success at 0.5", number(Some(score.success_50))),
                ("precision at 20 px", number(Some(score.precision_20))),
                ("norm. precision (area)", number(Some(score.normalised_precision_auc))),
                ("norm. precision at 0.2", number(Some(score.normalised_precision_20))),
                ("AO, SR50, SR75", {
                    [score.average_overlap, score.success_rate_50, score.success_rate_75].map(number).join("  ")
                }),
            ];
            framed(&["success", "precision", "norm.prec."], &rows, &totals)
        }
    }
}

/// Prints scores of a protocol without restarts; warnings go to standard error.
pub fn print_once(score: &OnceScore, json: bool) -> Result<(), CliError> {
    for warning in score.warnings() {
        eprintln!("warning: {warning}");
    }
    if json { print_json(score) } else { super::print(&once_table(score)) }
}

/// Prints scores; warnings go to standard error.
pub fn print(score: &Score, json: bool) -> Result<(), CliError> {
    for warning in &score.warnings {
        eprintln!("warning: {warning}");
    }
    if json { print_json(score) } else { super::print(&table(score)) }
}
