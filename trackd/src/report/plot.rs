//! The plots of a report as SVG.

use super::tables::unit;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use schemas::report::{ReportDoc, TrackerReport};
use std::ops::Range;

/// Size of a drawing, px; it scales without loss.
const SIZE: (u32, u32) = (1400, 800);
/// Width of the legend beside it, px.
const LEGEND: u32 = 330;
/// Trackers in the legend, at most.
const LISTED: usize = 24;
/// Characters of a name in the legend.
const LETTERS: usize = 20;
const INK: RGBColor = RGBColor(40, 44, 48);
/// Colours that the colour-blind can tell apart (Okabe and Ito 2008), darkest contrasts first.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Length of dash and gap, px; 0 = a whole line. With seven colours a look comes again after 28 trackers.
const DASHES: [(i32, i32); 4] = [(0, 0), (18, 9), (6, 7), (36, 9)];

/// A plot could not be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not draw the plot: {0}")]
pub struct PlotError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

/// A drawing.
pub struct Plot {
    /// Name of its file, without ending.
    pub key: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it shows and what it was computed from.
    pub note: String,
    /// The drawing.
    pub svg: String,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Heads and ranges of the axes.
struct Axes {
    x: &'static str,
    y: &'static str,
    x_range: Range<f64>,
    y_range: Range<f64>,
}

/// Every plot of a report.
pub fn plots(doc: &ReportDoc) -> Result<Vec<Plot>, PlotError> {
    let bands = "Bands are intervals of the bootstrap over sequences.";
    let from = if doc.dialect.is_some() {
        "Computed as in one-pass evaluation, from the frames on which the tracker reports a box and those of its \
         failures (overlap 0, no box); initialisations and skipped frames do not count. Exact box areas, a polygon \
         being the box around it; mean over sequences. Not comparable with one-pass plots: the tracker was started \
         again after failures."
    } else {
        "Computed from every frame with a target, the first counting with the ground truth; mean over sequences."
    };
    let mut all = Vec::new();
    if doc.dialect.is_some() {
        all.push(Plot {
            key: "ar",
            title: "Accuracy and robustness",
            note: "Accuracy over reliability, the chance exp(-S F / N) of S = 30 frames without failure at F failures \
                   in N frames. Better is up and to the right; the axes need not \
                   begin at 0. Bars are the intervals."
                .to_owned(),
            svg: page(doc, |area| accuracy_robustness(area, doc))?,
        });
        let interval = doc.trackers.iter().find_map(|t| t.supervised.as_ref()).map(|s| s.eao_interval);
        let over = doc.dialect.as_deref().map_or("lengths", unit);
        let [low, high] = interval.unwrap_or_default();
        all.push(Plot {
            key: "eao",
            title: "Expected average overlap",
            note: format!("EAO is the mean of the curve over the shaded {over} {low} to {high}. {bands}"),
            svg: page(doc, |area| {
                let points = || doc.trackers.iter().flat_map(|t| points(t, "eao"));
                let last = points().map(|[x, ..]| x).fold(2.0, f64::max);
                let axes = Axes {
                    x: if over == "lengths" { "sequence length, frames" } else { "frame" },
                    y: "expected average overlap",
                    x_range: 0.0..last,
                    y_range: 0.0..1.0,
                };
                curves(area, doc, "eao", &axes, interval)
            })?,
        });
    }
    let success = Axes {
        x: "overlap threshold",
        y: "share of frames with a larger overlap",
        x_range: 0.0..1.0,
        y_range: 0.0..1.0,
    };
    let precision = Axes {
        x: "distance of the centres, px",
        y: "share of frames at most that far off",
        x_range: 0.0..50.0,
        y_range: 0.0..1.0,
    };
    for (key, title, axes) in [("success", "Success", success), ("precision", "Precision", precision)] {
        let svg = page(doc, |area| curves(area, doc, key, &axes, None))?;
        all.push(Plot { key, title, note: format!("{from} {bands}"), svg });
    }
    Ok(all)
}

/// A white page with a legend on its right.
fn page(doc: &ReportDoc, draw: impl FnOnce(&Area<'_>) -> Result<(), PlotError>) -> Result<String, PlotError> {
    let mut text = String::new();
    {
        let page = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        page.fill(&WHITE)?;
        let (left, right) = page.split_horizontally(SIZE.0 - LEGEND);
        draw(&left)?;
        legend(&right, &doc.trackers)?;
        page.present()?;
    }
    Ok(text)
}

fn colour(tracker: usize) -> RGBColor {
    COLOURS.get(tracker % COLOURS.len()).copied().unwrap_or(INK)
}

fn dash(tracker: usize) -> (i32, i32) {
    DASHES.get(tracker % DASHES.len()).copied().unwrap_or_default()
}

fn legend(area: &Area<'_>, trackers: &[TrackerReport]) -> Result<(), PlotError> {
    let style = ("sans-serif", 27, &INK).into_text_style(area);
    let mut y = 40;
    for (i, tracker) in trackers.iter().enumerate().take(LISTED) {
        line(area, vec![(4, y), (64, y)], i)?;
        mark(area, (34, y), i)?;
        // Control characters are not allowed in XML.
        let letters = tracker.name.chars().map(|c| if c.is_control() { '?' } else { c });
        let mut name: String = letters.take(LETTERS).collect();
        if tracker.name.chars().nth(LETTERS).is_some() {
            name.push_str("...");
        }
        area.draw_text(&name, &style, (74, y - 11))?;
        y += 32;
    }
    if let Some(more) = trackers.len().checked_sub(LISTED).filter(|more| *more > 0) {
        area.draw_text(&format!("and {more} more"), &style, (74, y - 11))?;
    }
    Ok(())
}

/// A line in a tracker's colour and dashes, in pixels.
fn line(area: &Area<'_>, path: Vec<(i32, i32)>, tracker: usize) -> Result<(), PlotError> {
    let style = colour(tracker).stroke_width(3);
    match dash(tracker) {
        (0, _) => area.draw(&PathElement::new(path, style))?,
        (length, gap) => area.draw(&DashedPathElement::new(path, length, gap, style))?,
    }
    Ok(())
}

/// A tracker's marker, in pixels: a form of its own beside its colour.
fn mark(area: &Area<'_>, (x, y): (i32, i32), tracker: usize) -> Result<(), PlotError> {
    let style = colour(tracker).filled();
    let corners: &[(i32, i32)] = match tracker % 5 {
        0 => return Ok(area.draw(&Circle::new((x, y), 8, style))?),
        1 => &[(-8, -8), (8, -8), (8, 8), (-8, 8)],
        2 => &[(0, -11), (10, 8), (-10, 8)],
        3 => &[(0, -11), (11, 0), (0, 11), (-11, 0)],
        _ => &[(0, 11), (10, -8), (-10, -8)],
    };
    Ok(area.draw(&Polygon::new(corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>(), style))?)
}

/// Axes and a light grid.
fn frame<'a, 'b>(area: &'a Area<'b>, axes: &Axes) -> Result<Chart<'a, 'b>, PlotError> {
    let mut chart = ChartBuilder::on(area)
        .margin(24)
        .x_label_area_size(78)
        .y_label_area_size(96)
        .build_cartesian_2d(axes.x_range.clone(), axes.y_range.clone())?;
    let short = |value: &f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(INK.mix(0.14))
        .axis_style(INK.mix(0.6))
        .label_style(("sans-serif", 25, &INK))
        .axis_desc_style(("sans-serif", 27, &INK))
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_labels(11)
        .y_labels(11)
        .x_label_formatter(&short)
        .y_label_formatter(&short)
        .draw()?;
    Ok(chart)
}

/// The points of a curve that are defined: place, value, low, high.
fn points(tracker: &TrackerReport, key: &str) -> Vec<[f64; 4]> {
    let curve = tracker.curves.iter().find(|curve| curve.key == key);
    let whole = |[x, y, low, high]: &[Option<f64>; 4]| {
        let (x, y) = ((*x)?, (*y)?);
        Some([x, y, low.unwrap_or(y), high.unwrap_or(y)])
    };
    curve.iter().flat_map(|curve| &curve.points).filter_map(whole).collect()
}

fn curves(
    area: &Area<'_>,
    doc: &ReportDoc,
    key: &str,
    axes: &Axes,
    shaded: Option<[usize; 2]>,
) -> Result<(), PlotError> {
    let mut chart = frame(area, axes)?;
    if let Some([low, high]) = shaded {
        let clip = |x: usize| (x as f64).clamp(axes.x_range.start, axes.x_range.end);
        let corners = [(clip(low), axes.y_range.start), (clip(high), axes.y_range.end)];
        chart.draw_series([Rectangle::new(corners, INK.mix(0.10).filled())])?;
    }
    for (i, tracker) in doc.trackers.iter().enumerate() {
        let points = points(tracker, key);
        let upper = points.iter().map(|[x, _, _, high]| (*x, *high));
        let lower = points.iter().rev().map(|[x, _, low, _]| (*x, *low));
        chart.draw_series([Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour(i).mix(0.13).filled())])?;
    }
    for (i, tracker) in doc.trackers.iter().enumerate() {
        let points = points(tracker, key);
        let path: Vec<_> = points.iter().map(|[x, y, ..]| pixel(area, &chart, (*x, *y))).collect();
        line(area, path.clone(), i)?;
        let step = points.len().div_ceil(8).max(1);
        // Markers of different trackers stand at different places, so that none hides another.
        for at in path.into_iter().skip((i * step / 5) % step + step / 4).step_by(step) {
            mark(area, at, i)?;
        }
    }
    Ok(())
}

/// Where a point of a chart lies in its area, px.
fn pixel(area: &Area<'_>, chart: &Chart<'_, '_>, point: (f64, f64)) -> (i32, i32) {
    let (x, y) = chart.backend_coord(&point);
    let (left, top) = area.get_base_pixel();
    (x - left, y - top)
}

fn accuracy_robustness(area: &Area<'_>, doc: &ReportDoc) -> Result<(), PlotError> {
    let measure = |tracker: &TrackerReport, key: &str| {
        let of = tracker.measures.iter().find(|measure| measure.key == key)?;
        let value = of.value?;
        Some([value, of.interval.map_or(value, |[low, _]| low), of.interval.map_or(value, |[_, high]| high)])
    };
    let marks: Vec<_> = doc
        .trackers
        .iter()
        .enumerate()
        .filter_map(|(i, t)| Some((i, measure(t, "reliability")?, measure(t, "accuracy")?)))
        .collect();
    let range = |ends: &mut dyn Iterator<Item = [f64; 3]>| {
        let (low, high) = ends.fold((1.0, 0.0), |(l, h), [_, low, high]| (f64::min(l, low), f64::max(h, high)));
        // To tenths, with room for the markers.
        ((10.0 * low - 0.3).floor() / 10.0).max(0.0)..((10.0 * high + 0.3).ceil() / 10.0).min(1.02)
    };
    let axes = Axes {
        x: "reliability (S = 30)",
        y: "accuracy",
        x_range: range(&mut marks.iter().map(|mark| mark.1)),
        y_range: range(&mut marks.iter().map(|mark| mark.2)),
    };
    let mut chart = frame(area, &axes)?;
    for (i, [x, left, right], [y, low, high]) in &marks {
        let style = colour(*i).mix(0.55).stroke_width(2);
        chart.draw_series([
            PathElement::new(vec![(*left, *y), (*right, *y)], style),
            PathElement::new(vec![(*x, *low), (*x, *high)], style),
        ])?;
    }
    for (i, [x, ..], [y, ..]) in &marks {
        mark(area, pixel(area, &chart, (*x, *y)), *i)?;
    }
    Ok(())
}
