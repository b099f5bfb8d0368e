//! What a person looks at first: a strip of annotated frames, and the confidence over time.

use super::Tracked;
use super::overlay::{FOUND, LOST, draw};
use crate::input::Start;
use plotters::prelude::*;
use shards::crop::resize;
use shards::image::{ImageError, Rgb};
use shards::jpeg::encode;
use siamrpn::tracker::Output;

/// Height of the strip, px.
const HEIGHT: usize = 120;
/// Frames in the strip.
const SHOWN: usize = 8;
/// Frames kept while nobody knows how many will come.
const KEPT: usize = 2 * SHOWN;
/// Pixels between two frames.
const GAP: usize = 3;
/// Widest frame in the strip, in heights.
const WIDEST: f64 = 4.0;
const QUALITY: u8 = 85;

/// Evenly spaced small frames of a video of unknown length.
pub struct Strip {
    every: usize,
    seen: usize,
    kept: Vec<Rgb>,
}

impl Strip {
    pub fn new() -> Self {
        Self { every: 1, seen: 0, kept: Vec::new() }
    }

    /// Looks at the next frame, with the boxes found in it.
    pub fn add(&mut self, frame: &Rgb, found: &[Output]) -> Result<(), ImageError> {
        let index = self.seen;
        self.seen += 1;
        if !index.is_multiple_of(self.every) {
            return Ok(());
        }
        if self.kept.len() == KEPT {
            // Every second one goes, and fewer are added from now on.
            let mut even = false;
            self.kept.retain(|_| {
                even = !even;
                even
            });
            self.every *= 2;
            if !index.is_multiple_of(self.every) {
                return Ok(());
            }
        }
        let scale = HEIGHT as f64 / frame.height as f64;
        let width = (frame.width as f64 * scale).clamp(1.0, WIDEST * HEIGHT as f64).round() as usize;
        let mut small = resize(frame, width, HEIGHT)?;
        let across = width as f64 / frame.width as f64;
        for output in found {
            let [x, y, w, h] = output.rect;
            let colour = if output.lost { LOST } else { FOUND };
            draw(&mut small, [x * across, y * scale, w * across, h * scale], colour);
        }
        self.kept.push(small);
        Ok(())
    }

    /// The strip as JPEG; `None` without frames.
    pub fn finish(self) -> Result<Option<Vec<u8>>, ImageError> {
        let count = self.kept.len().min(SHOWN);
        if count == 0 {
            return Ok(None);
        }
        let spread = |i: usize| if count == 1 { 0 } else { i * (self.kept.len() - 1) / (count - 1) };
        let frames: Vec<&Rgb> = (0..count).filter_map(|i| self.kept.get(spread(i))).collect();
        let width = frames.iter().map(|f| f.width).sum::<usize>() + GAP * (frames.len() - 1);
        let mut strip = Rgb::filled(width, HEIGHT, [255; 3]);
        let mut left = 0;
        for frame in frames {
            let rows = strip.data.chunks_exact_mut(3 * width).zip(frame.data.chunks_exact(3 * frame.width));
            for (into, row) in rows {
                if let Some(into) = into.get_mut(3 * left..3 * left + row.len()) {
                    into.copy_from_slice(row);
                }
            }
            left += frame.width + GAP;
        }
        encode(&strip, QUALITY).map(Some)
    }
}

/// Height of the plot of one target, px.
const PLOT: u32 = 320;
/// Targets that are plotted, the first ones.
const PLOTTED: usize = 10;

/// Confidence over the frames, overlap where there is ground truth (`NaN` where there is none), and red where the target is
/// reported lost; as SVG, one plot below the other for several targets.
///
/// # Errors
/// What the drawing library says.
pub fn plot(
    starts: &[Start],
    targets: &[Vec<Tracked>],
    overlaps: &[f64],
) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    let count = targets.len().clamp(1, PLOTTED);
    {
        let page = SVGBackend::with_string(&mut svg, (1000, PLOT * count as u32)).into_drawing_area();
        page.fill(&WHITE)?;
        let parts = page.split_evenly((count, 1));
        for ((part, start), frames) in parts.iter().zip(starts).zip(targets) {
            let part = if starts.len() > 1 { part.titled(&start.id, ("sans-serif", 20))? } else { part.clone() };
            draw_plot(&part, frames, overlaps)?;
        }
        page.present()?;
    }
    Ok(svg)
}

fn draw_plot(
    page: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    frames: &[Tracked],
    overlaps: &[f64],
) -> Result<(), Box<dyn std::error::Error>> {
    const CONFIDENCE: RGBColor = RGBColor(0, 114, 178);
    const OVERLAP: RGBColor = RGBColor(0, 158, 115);
    const AWAY: RGBColor = RGBColor(213, 94, 0);
    let last = frames.len().saturating_sub(1).max(1) as f64;
    let mut chart = ChartBuilder::on(page)
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..last, 0.0..1.02)?;
    let text = ("sans-serif", 17).into_font();
    chart
        .configure_mesh()
        .x_desc("frame")
        .x_labels(10)
        .y_labels(5)
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .label_style(text.clone())
        .axis_desc_style(text.clone())
        .draw()?;
    let at = |i: usize| i as f64;
    let away = |f: &Tracked| f.output.is_some_and(|o| o.lost);
    let mut begin = 0;
    for span in frames.chunk_by(|a, b| away(a) == away(b)) {
        if span.first().is_some_and(away) {
            let corners = [(at(begin) - 0.5, 0.0), (at(begin + span.len()) - 0.5, 1.02)];
            chart.draw_series([Rectangle::new(corners, AWAY.mix(0.3).filled())])?;
        }
        begin += span.len();
    }
    // More points than pixels would only make the file large.
    let step = frames.len().div_ceil(2000).max(1);
    let found = frames.iter().enumerate().step_by(step);
    let found = found.filter_map(|(i, f)| Some((at(i), f.output?.score.clamp(0.0, 1.0)))).collect::<Vec<_>>();
    let line = chart.draw_series([PathElement::new(found, CONFIDENCE.stroke_width(2))])?;
    line.label("confidence").legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], CONFIDENCE.stroke_width(3)));
    // A gap in the ground truth is a gap in the line.
    let mut named = false;
    for part in overlaps
        .iter()
        .copied()
        .enumerate()
        .step_by(step)
        .collect::<Vec<_>>()
        .chunk_by(|a, b| a.1.is_nan() == b.1.is_nan())
    {
        if part.first().is_some_and(|(_, o)| !o.is_nan()) {
            let points: Vec<_> = part.iter().map(|(i, o)| (at(*i), *o)).collect();
            let line = chart.draw_series([PathElement::new(points, OVERLAP.stroke_width(2))])?;
            if !named {
                line.label("overlap").legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], OVERLAP.stroke_width(3)));
                named = true;
            }
        }
    }
    let box_style = WHITE.mix(0.8).filled();
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(box_style)
        .label_font(text)
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_spans_the_whole_video() {
        for count in [1usize, 2, 8, 15, 16, 17, 100, 1000] {
            let mut strip = Strip::new();
            for i in 0..count {
                let level = (i * 250 / count) as u8;
                strip.add(&Rgb::filled(64, 48, [level; 3]), &[]).unwrap();
            }
            assert!(strip.kept.len() <= KEPT);
            let shown = count.min(SHOWN);
            let picture = shards::jpeg::decode(&strip.finish().unwrap().unwrap(), &Default::default()).unwrap();
            assert_eq!((picture.height, picture.width), (HEIGHT, shown * 160 + (shown - 1) * GAP), "{count}");
            let (first, last) = (picture.pixel(80, 60)[0], picture.pixel(picture.width - 80, 60)[0]);
            assert!(first <= 2 && usize::from(last) + 250 / count + 36 >= 250 * (count - 1) / count, "{count}: {last}");
        }
        assert!(Strip::new().finish().unwrap().is_none());
    }

    #[test]
    fn odd_shapes_and_boxes_are_drawn() {
        let mut strip = Strip::new();
        let output = Output { rect: [-5.0, f64::NAN, 1e9, 3.0], score: 2.0, lost: true };
        for (w, h) in [(1, 2000), (2000, 1), (37, 53)] {
            strip.add(&Rgb::filled(w, h, [9; 3]), &[output, output]).unwrap();
        }
        assert!(strip.finish().unwrap().is_some());
        let frames = vec![Tracked { output: None, seconds: None }, Tracked { output: Some(output), seconds: None }];
        let start = Start::new(0, [1.0; 4], "--init").unwrap();
        for (targets, overlaps) in [
            (vec![frames.clone()], &[f64::NAN, 0.5][..]),
            (vec![frames[..1].to_vec()], &[]),
            (vec![Vec::new()], &[]),
            (vec![frames; 40], &[]),
        ] {
            let starts = vec![start.clone(); targets.len()];
            assert!(plot(&starts, &targets, overlaps).unwrap().starts_with("<svg"));
        }
    }
}
