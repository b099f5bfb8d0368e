//! A dataset on one page: a self-contained HTML file with its numbers, drawings, pictures and provenance.

use crate::chart::{self, ChartError};
use crate::image::ImageError;
use crate::jpeg;
use crate::reader::{Dataset, ReadError};
use crate::sheet::{SheetError, sheet};
use crate::summary::{Summary, SummaryError, derivation, human};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The dataset cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be summed up.
    #[error(transparent)]
    Summary(#[from] SummaryError),
    /// No drawing.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// No pictures.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// The pictures cannot be encoded.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Shards listed one by one.
const SHARDS_SHOWN: usize = 20;

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #24292e; background: #fff; max-width: 980px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #e3e6e8; vertical-align: top; }
th { font-weight: 600; color: #57606a; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; } img, svg { max-width: 100%; height: auto; }
.figures { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; } .figures div { flex: 1 1 8rem; background: #f4f6f8; border-radius: 6px; padding: .6rem .9rem; }
.figures b { display: block; font-size: 1.3rem; } .wide { overflow-x: auto; }
";

/// Text as HTML shows it, in elements and quoted attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Bytes in base64, as a `data:` address wants them.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4u32 {
            let at = (group >> (18 - 6 * digit) & 63) as usize;
            let known = digit as usize <= chunk.len();
            out.push(if known { DIGITS.get(at).copied().map_or('=', char::from) } else { '=' });
        }
    }
    out
}

/// A table; the columns named in `numbers` are set to the right.
fn table(head: &[&str], numbers: usize, rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=\"wide\"><table><tr>");
    let class = |column: usize| if column + numbers >= head.len() { " class=\"n\"" } else { "" };
    for (i, name) in head.iter().enumerate() {
        let _ = write!(out, "<th{}>{}</th>", class(i), escape(name));
    }
    out.push_str("</tr>\n");
    for row in rows {
        out.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", class(i), escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    out
}

/// Draws the card of a dataset: `pairs` random pairs are shown, chosen by `seed`.
///
/// # Errors
/// When the dataset is damaged or has no pairs.
pub fn card(path: &Path, pairs: usize, seed: u64) -> Result<String, CardError> {
    let dataset = Dataset::open(path)?;
    let summary = Summary::read(path)?;
    let manifest = &summary.manifest;
    let totals = &manifest.totals;
    let name = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = escape(&name.file_name().unwrap_or_default().to_string_lossy());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Dataset {name}</title><style>{STYLE}</style></head><body>\n<h1>{name}</h1>\n"
    );
    let _ = write!(
        out,
        "<p>Crop pairs for tracking, format {}, written by {}.<br>Identity <code>{}</code></p>\n<div class=\"figures\">",
        escape(&manifest.format.to_string()),
        escape(&manifest.writer),
        escape(&manifest.dataset_hash)
    );
    for (value, what) in [
        (totals.rows.to_string(), "rows"),
        (totals.tracks.to_string(), "tracks"),
        (totals.videos.to_string(), "videos"),
        (human(totals.bytes), "in shards"),
        (totals.rejects.to_string(), "rejected inputs"),
    ] {
        let _ = write!(out, "<div><b>{value}</b>{what}</div>");
    }
    out.push_str("</div>\n");
    if let Some(derived) = &manifest.derived {
        let _ = write!(out, "<h2>How it was made</h2>\n<p>{}</p>\n", escape(&derivation(derived)));
        let rows: Vec<Vec<String>> =
            derived.parents.iter().map(|p| vec![p.name.clone(), p.dataset_hash.clone(), p.rows.to_string()]).collect();
        out.push_str(&table(&["from", "identity", "rows"], 1, &rows));
    }
    out.push_str(
        "<h2>Pairs</h2>\n<p>Left the template with the target in blue, right the search crop of another frame \
                  with the target in green.</p>\n",
    );
    let picture = jpeg::encode(&sheet(&dataset, pairs, seed)?, 85)?;
    let _ = writeln!(out, "<img alt=\"random pairs\" src=\"data:image/jpeg;base64,{}\">", base64(&picture));
    let _ = write!(out, "<h2>Distributions</h2>\n{}\n<h2>Sources</h2>\n", chart::svg(&summary)?);
    let rows: Vec<Vec<String>> = manifest
        .sources
        .iter()
        .map(|s| {
            let text = [&s.dataset, &s.kind, &s.name].map(Clone::clone);
            let bytes = if s.source_bytes { "the source's own" } else { "encoded" };
            let numbers = [u64::from(s.search_px), s.videos, s.tracks, s.rows].map(|n| n.to_string());
            text.into_iter().chain([bytes.to_owned()]).chain(numbers).collect()
        })
        .collect();
    out.push_str(&table(&["dataset", "kind", "from", "pictures", "search px", "videos", "tracks", "rows"], 4, &rows));
    out.push_str("<h2>Settings</h2>\n");
    if let Ok(Value::Object(config)) = serde_json::to_value(&manifest.config) {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let rows: Vec<Vec<String>> = config.iter().map(|(key, value)| vec![key.clone(), plain(value)]).collect();
        out.push_str(&table(&["setting", "value"], 1, &rows));
    }
    out.push_str("<h2>Shards</h2>\n");
    let rows: Vec<Vec<String>> = manifest
        .shards
        .iter()
        .take(SHARDS_SHOWN)
        .map(|s| {
            let hash = s.blake3.get(..16).unwrap_or(&s.blake3).to_owned();
            vec![s.file.clone(), hash, human(s.bytes), s.videos.to_string(), s.tracks.to_string(), s.rows.to_string()]
        })
        .collect();
    out.push_str(&table(&["file", "blake3", "size", "videos", "tracks", "rows"], 4, &rows));
    if let Some(more) = manifest.shards.len().checked_sub(SHARDS_SHOWN).filter(|&more| more > 0) {
        let _ = writeln!(out, "<p>and {more} more</p>");
    }
    out.push_str("</body></html>\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_everybody_writes_it() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe]), "//4=");
    }

    #[test]
    fn names_cannot_write_html() {
        assert_eq!(escape("<b a='1'>&\""), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;");
        assert!(
            table(&["a", "b"], 1, &[vec!["<i>".to_owned(), "2".to_owned()]])
                .contains("&lt;i&gt;</td><td class=\"n\">2")
        );
    }
}
