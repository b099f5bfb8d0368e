//! The official pairs, reference values and laws.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::region::Mask;

const SIZE: (u32, u32) = (320, 240);

fn parse(text: &str) -> Region {
    Region::parse(text).unwrap()
}

#[test]
fn official_pairs() {
    let cases: Value = serde_json::from_str(include_str!("../../tests/cases/expected_overlaps.json")).unwrap();
    assert_eq!(cases["frame"], serde_json::json!([SIZE.0, SIZE.1]));
    let inside = Some(Bounds::last_pixel(SIZE));
    let frame = Some(Bounds::frame(SIZE));
    let mut wrong = Vec::new();
    let mut checked = 0;
    for pair in cases["pairs"].as_array().unwrap() {
        let (a, b) = (parse(pair["a"].as_str().unwrap()), parse(pair["b"].as_str().unwrap()));
        for (key, found) in [
            ("vot_toolkit", python_overlap(&a, &b, None)),
            ("vot_toolkit_b", python_overlap(&a, &b, Some(SIZE))),
            ("trax_c", trax_overlap(&a, &b, None, TraxRaster::Direct)),
            ("trax_c_b", trax_overlap(&a, &b, inside, TraxRaster::Direct)),
            ("exact", exact_overlap(&a, &b, None)),
            ("exact_b", exact_overlap(&a, &b, frame)),
        ] {
            let fits = match pair.get(key) {
                None => continue,
                Some(Value::Null) => found.is_nan(),
                Some(value) => (value.as_f64().unwrap() - found).abs() <= 2e-6,
            };
            checked += 1;
            if !fits {
                wrong.push(format!("{} {key}: expected {}, found {found}", pair["name"], pair[key]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 600, "{checked}");
}

#[test]
fn reference_values_of_two_boxes() {
    let (a, b) = (parse("1,1,100,100"), parse("50,50,100,100"));
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    close(exact_overlap(&a, &b, None), 0.149491);
    close(trax_overlap(&a, &b, None, TraxRaster::Pysot), 0.152786);
    close(trax_overlap(&a, &b, None, TraxRaster::DirectLegacy), 0.149491);
    let bounds = Bounds { left: 0.0, top: 0.0, right: 120.0, bottom: 120.0 };
    close(trax_overlap(&a, &b, Some(bounds), TraxRaster::Pysot), 0.215664);
}

#[test]
fn codes_are_empty_in_python_and_undefined_elsewhere() {
    let (code, shape) = (Region::Special(0), parse("10,10,20,20"));
    assert_eq!(python_overlap(&code, &shape, Some(SIZE)), 0.0);
    assert_eq!(python_overlap(&code, &Region::Special(2), Some(SIZE)), 1.0);
    for dialect in [Dialect::VotMatlab2015, Dialect::VotMatlab, Dialect::Pysot, Dialect::Mindspore] {
        assert!(dialect.failure_overlap(&code, &shape, SIZE).is_nan());
        assert!(dialect.accuracy_overlap(&shape, &code, SIZE).is_nan());
        assert!(dialect.eao_overlap(&code, &code, SIZE).is_nan());
    }
}

#[test]
fn dialects_bound_as_documented() {
    // Outside the frame, but touching its right border: (W, H) keeps one column, [W H] - 1 does not.
    let (a, b) = (parse("319,10,20,20"), parse("310,12,20,20"));
    assert_eq!(Dialect::VotMatlab.failure_overlap(&a, &b, SIZE), 0.0);
    assert!(Dialect::VotMatlab.accuracy_overlap(&a, &b, SIZE) > 0.0);
    assert!(Dialect::Pysot.failure_overlap(&a, &b, SIZE) > 0.0);
    let (a, b) = (parse("400,10,20,20"), parse("400,12,20,20"));
    assert_eq!(Dialect::VotPython.failure_overlap(&a, &b, SIZE), 0.0);
    assert_eq!(Dialect::VotMatlab2015.failure_overlap(&a, &b, SIZE), 0.0);
    assert!(Dialect::VotMatlab2015.eao_overlap(&a, &b, SIZE) > 0.5);
    assert!(Dialect::Mindspore.failure_overlap(&a, &b, SIZE) > 0.5);
    assert!(Dialect::Mindspore.accuracy_overlap(&a, &b, SIZE).is_nan());
}

#[test]
fn masks_are_counted_pixel_by_pixel() {
    let mask = Region::Mask(Mask::from_rows(10, 10, &[vec![1, 1, 1, 1], vec![1, 1, 0, 0], vec![1, 1, 0, 0]]));
    let box_ = parse("10,10,2,3");
    for value in [python_overlap(&mask, &box_, Some(SIZE)), trax_overlap(&mask, &box_, None, TraxRaster::Matlab)] {
        assert!((value - 6.0 / 8.0).abs() < 1e-6, "{value}");
    }
    assert!((exact_overlap(&mask, &box_, None) - 0.5).abs() < 1e-12);
}

#[test]
fn absurd_sizes_end_quickly() {
    let (a, b) = (parse("0,0,1e30,1e30"), parse("-1e30,-1e30,2e30,2e30"));
    assert!(python_overlap(&a, &b, None).is_finite());
    assert!(trax_overlap(&a, &b, None, TraxRaster::MatlabLegacy) >= 0.0);
    let triangle = parse("0,0,1e30,5,-1e30,1e30");
    assert!(trax_overlap(&a, &triangle, None, TraxRaster::Pysot) >= 0.0);
    assert!((0.0..=1.0).contains(&exact_overlap(&a, &parse("5,5,1e30,1e30"), None)));
}

#[test]
fn box_iou() {
    let a = Rect::new(0.0, 0.0, 10.0, 10.0);
    assert_eq!(iou(&a, &Rect::new(5.0, 0.0, 10.0, 10.0)), 50.0 / 150.0);
    assert_eq!(iou(&a, &Rect::new(10.0, 0.0, 10.0, 10.0)), 0.0);
    assert_eq!(iou(&Rect::new(0.0, 0.0, 0.0, 0.0), &Rect::new(0.0, 0.0, 0.0, 0.0)), 0.0);
}

/// Every engine with every kind of bounds.
fn engines(a: &Region, b: &Region) -> Vec<f64> {
    let mut all = vec![python_overlap(a, b, None), python_overlap(a, b, Some(SIZE))];
    for bounds in [None, Some(Bounds::frame(SIZE)), Some(Bounds::last_pixel(SIZE))] {
        for raster in [
            TraxRaster::Direct,
            TraxRaster::DirectLegacy,
            TraxRaster::Matlab,
            TraxRaster::MatlabLegacy,
            TraxRaster::Pysot,
        ] {
            all.push(trax_overlap(a, b, bounds, raster));
        }
        all.push(exact_overlap(a, b, bounds));
    }
    all
}

fn coordinate() -> impl Strategy<Value = f64> {
    prop_oneof![-60.0..380.0f64, (-240i32..1520).prop_map(|v| f64::from(v) / 4.0)]
}

fn any_shape() -> impl Strategy<Value = Region> {
    prop_oneof![
        (coordinate(), coordinate(), 0.0..150.0f64, 0.0..150.0f64).prop_map(|(x, y, w, h)| Region::rect(x, y, w, h)),
        prop::collection::vec((coordinate(), coordinate()).prop_map(|(x, y)| [x, y]), 3..7).prop_map(Region::Polygon),
    ]
}

/// A rotated box well inside the frame, of at least 8 px.
fn inner_box() -> impl Strategy<Value = Region> {
    (80.0..240.0f64, 80.0..160.0f64, 8.0..70.0f64, 8.0..70.0f64, 0.0..1.6f64).prop_map(|(cx, cy, w, h, angle)| {
        let (sin, cos) = angle.sin_cos();
        let corner =
            |u: f64, v: f64| [cx + u * w / 2.0 * cos - v * h / 2.0 * sin, cy + u * w / 2.0 * sin + v * h / 2.0 * cos];
        Region::Polygon(vec![corner(-1.0, -1.0), corner(1.0, -1.0), corner(1.0, 1.0), corner(-1.0, 1.0)])
    })
}

fn shift(region: &Region, dx: f64, dy: f64) -> Region {
    match region {
        Region::Polygon(points) => Region::Polygon(points.iter().map(|[x, y]| [x + dx, y + dy]).collect()),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn within_zero_and_one_and_symmetric(a in any_shape(), b in any_shape()) {
        for (ab, ba) in engines(&a, &b).into_iter().zip(engines(&b, &a)) {
            prop_assert!(ab.is_nan() || (0.0..=1.0).contains(&ab), "{ab}");
            prop_assert!(ab.is_nan() == ba.is_nan());
            prop_assert!(ab.is_nan() || (ab - ba).abs() < 1e-9, "{ab} {ba}");
        }
    }

    #[test]
    fn identical_is_one(a in inner_box()) {
        for value in engines(&a, &a) {
            prop_assert!((value - 1.0).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn moving_both_by_whole_pixels_changes_nothing(
        a in inner_box(), b in inner_box(), dx in 0i32..60, dy in 0i32..40
    ) {
        // Quarter pixels, so that f32 sums stay exact.
        let snap = |region: &Region| match region {
            Region::Polygon(points) => Region::Polygon(
                points.iter().map(|[x, y]| [(x * 4.0).round() / 4.0 + 0.125, (y * 4.0).round() / 4.0 + 0.125]).collect(),
            ),
            other => other.clone(),
        };
        let (a, b) = (snap(&a), snap(&b));
        let (dx, dy) = (f64::from(dx), f64::from(dy));
        let moved = (shift(&a, dx, dy), shift(&b, dx, dy));
        for raster in [TraxRaster::Matlab, TraxRaster::MatlabLegacy, TraxRaster::Pysot] {
            prop_assert_eq!(
                trax_overlap(&a, &b, None, raster),
                trax_overlap(&moved.0, &moved.1, None, raster)
            );
        }
        prop_assert_eq!(python_overlap(&a, &b, None), python_overlap(&moved.0, &moved.1, None));
        let (before, after) = (exact_overlap(&a, &b, None), exact_overlap(&moved.0, &moved.1, None));
        prop_assert!((before - after).abs() < 1e-9);
    }

    #[test]
    fn rasters_stay_near_the_exact_value(a in inner_box(), b in inner_box()) {
        let exact = exact_overlap(&a, &b, None);
        for value in [python_overlap(&a, &b, None), trax_overlap(&a, &b, None, TraxRaster::Matlab)] {
            prop_assert!((value - exact).abs() < 0.25, "{value} {exact}");
        }
    }

    #[test]
    fn exact_overlap_of_boxes_is_their_iou(a in any_shape(), b in any_shape()) {
        if let (Region::Rectangle(ra), Region::Rectangle(rb)) = (&a, &b) {
            let exact = exact_overlap(&a, &b, None);
            prop_assert!(exact.is_nan() || (exact - iou(ra, rb)).abs() < 1e-9);
        }
    }
}
