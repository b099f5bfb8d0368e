//! Crops and resizes against OpenCV's (fixtures/make_crops.py): at most 1 level apart when shrinking, 6 when enlarging.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use schemas::build::CropSemantics;
use serde_json::Value;
use shards::crop::{CropSpec, context_side, crop_target, resize};
use shards::image::Rgb;
use shards::jpeg::{Limits, decode_image};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn picture(name: &str) -> Rgb {
    decode_image(&std::fs::read(fixture(name)).unwrap(), &Limits::default()).unwrap()
}

fn cases() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("crops.json")).unwrap()).unwrap()
}

fn worst(a: &Rgb, b: &Rgb) -> u8 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.data.iter().zip(&b.data).map(|(x, y)| x.abs_diff(*y)).max().unwrap()
}

#[test]
fn crops_match_opencv() {
    let all = cases();
    let crops = all["crops"].as_array().unwrap();
    assert!(crops.len() >= 25);
    for case in crops {
        let name = case["name"].as_str().unwrap();
        let semantics: CropSemantics = serde_json::from_value(case["semantics"].clone()).unwrap();
        let frame = picture(case["image"].as_str().unwrap());
        let index_box: Vec<f64> = case["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        // The fixtures count from the centre of pixel 0, the library from its edge.
        let target = [index_box[0] + 0.5, index_box[1] + 0.5, index_box[2], index_box[3]];
        let size = u32::try_from(case["size"].as_u64().unwrap()).unwrap();
        let spec = CropSpec { semantics, exemplar_px: 127, context_amount: 0.5 };
        let side = context_side(target[2], target[3], 0.5);
        assert!((side - case["s_z"].as_f64().unwrap()).abs() < 1e-9, "{name}");
        let crop = crop_target(&frame, frame.channel_mean(), target, size, &spec).unwrap();
        let golden = picture(case["golden"].as_str().unwrap());
        let limit = if crop.scale > 1.0 { 6 } else { 1 };
        let found = worst(&crop.image, &golden);
        assert!(found <= limit, "{name}: {found} levels apart at scale {}", crop.scale);
        if semantics == CropSemantics::Siamfc {
            assert!((crop.scale - case["scale"].as_f64().unwrap()).abs() < 1e-9, "{name}");
        }
        assert!((crop.target[0] - f64::from(size) / 2.0).abs() < 1.5 * crop.scale, "{name}: {:?}", crop.target);
    }
}

#[test]
fn resizes_match_opencv() {
    let all = cases();
    for case in all["resizes"].as_array().unwrap() {
        let source = picture(case["image"].as_str().unwrap());
        let size = |key: &str| usize::try_from(case[key].as_u64().unwrap()).unwrap();
        let (width, height) = (size("width"), size("height"));
        let limit = if width > source.width || height > source.height { 6 } else { 1 };
        let found = worst(&resize(&source, width, height).unwrap(), &picture(case["golden"].as_str().unwrap()));
        assert!(found <= limit, "{}: {found} levels apart", case["name"]);
    }
}

#[test]
fn boxes_that_are_none_are_errors() {
    let frame = Rgb::filled(40, 30, [1, 2, 3]);
    let spec = CropSpec { semantics: CropSemantics::Siamfc, exemplar_px: 127, context_amount: 0.5 };
    for target in [
        [f64::NAN, 1.0, 5.0, 5.0],
        [10.0, 10.0, 0.0, 5.0],
        [10.0, 10.0, 5.0, -1.0],
        [1e300, 10.0, 5.0, 5.0],
        [10.0, 10.0, 1e9, 1e9],
        [10.0, f64::INFINITY, 5.0, 5.0],
    ] {
        assert!(crop_target(&frame, [1.0; 3], target, 127, &spec).is_err(), "{target:?}");
    }
}
