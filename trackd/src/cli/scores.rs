//! Scores on the terminal.

use super::{CliError, print_json};
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

/// Prints scores; warnings go to standard error.
pub fn print(score: &Score, json: bool) -> Result<(), CliError> {
    for warning in &score.warnings {
        eprintln!("warning: {warning}");
    }
    if json { print_json(score) } else { super::print(&table(score)) }
}
