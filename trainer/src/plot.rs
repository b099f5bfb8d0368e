//! Curves as SVG.

use plotters::prelude::*;

/// Size of a drawing, px.
const SIZE: (u32, u32) = (900, 480);
const INK: RGBColor = RGBColor(40, 44, 48);
/// Colours of the curves, told apart by people who see colours differently too.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 86, 86),
    RGBColor(230, 159, 0),
];

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// x and y; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// Draws curves over a common axis.
///
/// # Errors
/// What plotters says.
pub fn lines(title: &str, axis: &str, series: &[Series]) -> Result<String, String> {
    let mut text = String::new();
    draw(title, axis, series, &mut text).map_err(|e| e.to_string())?;
    Ok(text)
}

/// Smallest and largest of some numbers, a little apart.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    match (low <= high, high - low > 1e-12) {
        (false, _) => (0.0, 1.0),
        (true, true) => (low, high),
        (true, false) => (low - 0.5, high + 0.5),
    }
}

fn draw(title: &str, axis: &str, series: &[Series], text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let finite =
        |s: &Series| s.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect::<Vec<_>>();
    let curves: Vec<(&str, Vec<(f64, f64)>)> = series.iter().map(|s| (s.name.as_str(), finite(s))).collect();
    let all = || curves.iter().flat_map(|(_, points)| points.iter().copied());
    let ((left, right), (low, high)) = (range(all().map(|p| p.0)), range(all().map(|p| p.1)));
    let room = 0.06 * (high - low);
    let page = SVGBackend::with_string(text, SIZE).into_drawing_area();
    page.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&page)
        .margin(14)
        .caption(title, ("sans-serif", 18, &INK))
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(left..right, low - room..high + room)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(INK.mix(0.12))
        .axis_style(INK.mix(0.5))
        .label_style(("sans-serif", 13, &INK))
        .x_desc(axis)
        .x_labels(10)
        .y_labels(8)
        .draw()?;
    for ((name, points), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(std::iter::once(PathElement::new(points.clone(), style)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        if points.len() < 40 {
            chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, colour.filled())))?;
        }
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 14, &INK))
        .background_style(WHITE.mix(0.85))
        .border_style(INK.mix(0.3))
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    page.present()?;
    drop(chart);
    drop(page);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_their_names_and_nothing_that_is_not_a_number_are_drawn() {
        let series = [
            Series { name: "first".to_owned(), points: vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)] },
            Series { name: "second".to_owned(), points: Vec::new() },
        ];
        let svg = lines("title", "step", &series).unwrap();
        for part in ["<svg", "title", "first", "second", "step", "polyline"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("NaN"));
        assert!(lines("nothing", "step", &[]).unwrap().contains("nothing"));
    }
}
