//! A summary as a drawing: histograms and tracks per dataset as one SVG.

use crate::summary::{Bars, Summary};
use plotters::coord::Shift;
use plotters::prelude::*;

/// Size of the drawing, px.
const SIZE: (u32, u32) = (960, 640);
/// Bars of a histogram.
const BINS: usize = 24;
/// Labels drawn, at most.
const LABELS: usize = 8;
const BAR: RGBColor = RGBColor(46, 111, 158);
const INK: RGBColor = RGBColor(40, 44, 48);

/// The drawing could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not draw the summary: {0}")]
pub struct ChartError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for ChartError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a summary as SVG text.
///
/// # Errors
/// When plotters cannot draw it.
pub fn svg(summary: &Summary) -> Result<String, ChartError> {
    let mut text = String::new();
    {
        let page = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        page.fill(&WHITE)?;
        let panels = page.split_evenly((2, 2));
        let histograms = summary.histograms(BINS);
        for (panel, (title, _, bars)) in panels.iter().zip(&histograms) {
            draw_histogram(panel, title, bars)?;
        }
        if let Some(panel) = panels.get(histograms.len()) {
            draw_datasets(panel, &summary.tracks_per_dataset())?;
        }
        page.present()?;
    }
    Ok(text)
}

fn draw_histogram(panel: &Area<'_>, title: &str, bars: &Bars) -> Result<(), ChartError> {
    let low = bars.first().map_or(0.0, |bar| bar.0);
    let high = bars.last().map_or(1.0, |bar| bar.1);
    // All values equal: one bar, in the middle.
    let (low, high) = if high - low > 1e-9 * high.abs().max(1.0) { (low, high) } else { (low - 0.5, low + 0.5) };
    let most = bars.iter().map(|bar| bar.2).max().unwrap_or(0).max(1);
    let mut chart = ChartBuilder::on(panel)
        .margin(14)
        .caption(title, ("sans-serif", 16, &INK))
        .x_label_area_size(26)
        .y_label_area_size(52)
        .build_cartesian_2d(low..high, 0.0..most as f64 * 1.05)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(INK.mix(0.12))
        .axis_style(INK.mix(0.5))
        .label_style(("sans-serif", 12, &INK))
        .x_labels(7)
        .y_labels(5)
        .x_label_formatter(&|v| number(*v))
        .y_label_formatter(&|v| if v.fract() == 0.0 { number(*v) } else { String::new() })
        .draw()?;
    let width = (high - low) / bars.len().max(1) as f64;
    let place = |number: usize, bar: &(f64, f64, usize)| {
        let from = low + width * number as f64;
        Rectangle::new([(from, 0.0), (from + width * 0.94, bar.2 as f64)], BAR.filled())
    };
    chart.draw_series(bars.iter().enumerate().filter(|(_, bar)| bar.2 > 0).map(|(i, bar)| place(i, bar)))?;
    Ok(())
}

/// Horizontal bars with their text above them.
fn draw_datasets(panel: &Area<'_>, datasets: &[(&str, u64, u64)]) -> Result<(), ChartError> {
    let mut sorted = datasets.to_vec();
    sorted.sort_by_key(|line| std::cmp::Reverse(line.2));
    let left_out = sorted.len().saturating_sub(LABELS);
    sorted.truncate(LABELS);
    let most = sorted.first().map_or(1, |line| line.2).max(1);
    let (width, height) = panel.dim_in_pixel();
    let (width, height) = (i32::try_from(width).unwrap_or(0), i32::try_from(height).unwrap_or(0));
    let title = ("sans-serif", 16, &INK).into_text_style(panel);
    panel.draw_text("tracks per dataset", &title, (width / 2 - 62, 16))?;
    let small = ("sans-serif", 12, &INK).into_text_style(panel);
    let step = ((height - 70) / i32::try_from(sorted.len().max(1)).unwrap_or(1)).min(52);
    let full = (width - 60).max(1);
    let mut y = 48;
    for (name, rows, tracks) in &sorted {
        #[expect(clippy::cast_possible_truncation, reason = "at most the panel's width")]
        let length = (*tracks as f64 / most as f64 * f64::from(full)) as i32;
        let name: String = name.chars().take(40).collect();
        panel.draw_text(&format!("{name}: {tracks} tracks, {rows} rows"), &small, (30, y))?;
        panel.draw(&Rectangle::new([(30, y + 15), (30 + length.max(1), y + step.max(22) - 8)], BAR.filled()))?;
        y += step.max(22);
    }
    if left_out > 0 {
        panel.draw_text(&format!("and {left_out} more"), &small, (30, y))?;
    }
    Ok(())
}

/// A number as short as it can be read.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        format!("{}M", short(value / 1e6))
    } else if size >= 1e4 {
        format!("{}k", short(value / 1e3))
    } else {
        short(value)
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (1.5, "1.5"), (120.0, "120"), (25_000.0, "25k"), (3_200_000.0, "3.2M")] {
            assert_eq!(number(value), text);
        }
    }
}
