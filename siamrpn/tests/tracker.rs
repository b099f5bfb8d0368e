//! The tracker: single updates against the fixture, and whole runs with a random small network.
#![expect(clippy::unwrap_used, reason = "test helpers outside of test functions")]

#[expect(dead_code, reason = "shared by several test programs")]
mod support;

use burn::tensor::Device;
use schemas::build::CropSemantics;
use schemas::model::{HeadKind, ModelConfig, TrackerConfig, TrunkConfig};
use serde_json::Value;
use shards::image::Rgb;
use siamrpn::anchors::Anchors;
use siamrpn::decode::Response;
use siamrpn::model::Model;
use siamrpn::net::SiamRpn;
use siamrpn::tracker::{Scene, Target, TrackError, Tracker, clip_size, select, window};
use std::sync::Arc;
use support::floats;

fn pair(value: &Value) -> [f64; 2] {
    [value[0].as_f64().unwrap(), value[1].as_f64().unwrap()]
}

#[test]
fn single_updates_agree_with_the_fixture() {
    let fixture: Value = serde_json::from_slice(include_bytes!("fixtures/tracker.json")).unwrap();
    let tensors = floats("tracker.safetensors");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let number = |key: &str| case[key].as_f64().unwrap();
        let values = |key: &str| tensors[case[key].as_str().unwrap()].as_slice::<f32>().unwrap().to_vec();
        let size = case["size"].as_u64().unwrap() as usize;
        let cfg = TrackerConfig {
            penalty_k: number("penalty_k"),
            window_influence: number("window_influence"),
            lr: number("lr_box"),
            ..TrackerConfig::default()
        };
        let scene = Scene {
            target: Target { pos: pair(&case["pos"]), size: pair(&case["target_sz"]) },
            initial: pair(&case["origin_target_sz"]),
            scale: number("scale_x"),
            frame: pair(&case["frame"]),
            semantics: CropSemantics::Siamfc,
        };
        let response = Response { scores: values("score_tensor"), deltas: values("delta_tensor") };
        let anchors = Anchors::new(&ModelConfig::default().anchors, size);
        let found = select(&anchors, &window(size), &response, &scene, &cfg).unwrap();
        let expected = &case["expected"];
        assert_eq!(found.best as u64, expected["best"].as_u64().unwrap(), "{name}");
        let bbox = clip_size(found.target.size, scene.frame);
        let close = |what: &str, a: f64, b: f64| {
            assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{name} {what}: {a} for {b}");
        };
        for (what, value) in [
            ("score", found.score),
            ("penalty", found.penalty),
            ("pscore", found.pscore),
            ("learning_rate", found.learning_rate),
        ] {
            close(what, value, expected[what].as_f64().unwrap());
        }
        for i in 0..2 {
            close("pos", found.target.pos[i], pair(&expected["pos"])[i]);
            close("target_sz", found.target.size[i], pair(&expected["target_sz"])[i]);
            close("bbox", bbox[i], expected["bbox"][2 + i].as_f64().unwrap());
        }
    }
}

fn tracker(head: HeadKind, semantics: CropSemantics) -> Tracker {
    let config =
        ModelConfig { head, semantics, trunk: TrunkConfig { widths: [4, 6, 6, 6, 6] }, ..ModelConfig::default() };
    let net = SiamRpn::new(&config, 5, &Device::flex()).unwrap();
    Tracker::new(Arc::new(Model::new(config, net).unwrap()))
}

/// A bright square on a striped ground.
fn frame(width: usize, height: usize, at: [usize; 2], side: usize) -> Rgb {
    let mut frame = Rgb::filled(width, height, [90, 90, 90]);
    for y in 0..height {
        for x in 0..width {
            let inside = (at[0]..at[0] + side).contains(&x) && (at[1]..at[1] + side).contains(&y);
            let value = if inside { [250, 220, (x * 9 % 200) as u8] } else { [(y * 5 % 120) as u8, 60, 90] };
            let i = (y * width + x) * 3;
            frame.data[i..i + 3].copy_from_slice(&value);
        }
    }
    frame
}

/// Every box must be finite, its centre in the frame and its sides within 10 px and the frame's.
fn check(rect: [f64; 4], score: f64, frame: &Rgb) {
    let (width, height) = (frame.width as f64, frame.height as f64);
    let [x, y, w, h] = rect;
    assert!(rect.iter().all(|v| v.is_finite()) && (0.0..=1.0).contains(&score), "{rect:?} {score}");
    assert!(w >= 10.0_f64.min(width) && w <= width && h >= 10.0_f64.min(height) && h <= height, "{rect:?}");
    let (cx, cy) = (x + w / 2.0, y + h / 2.0);
    assert!(cx >= 0.0 && cx <= width + 0.5 && cy >= 0.0 && cy <= height + 0.5, "{rect:?}");
}

#[test]
fn a_random_network_never_leaves_the_limits() {
    for head in [HeadKind::UpChannel, HeadKind::Depthwise] {
        for semantics in [CropSemantics::Siamfc, CropSemantics::Pysot] {
            let mut tracker = tracker(head, semantics);
            for (rect, first) in [
                ([20.0, 30.0, 30.0, 30.0], [20, 30]),
                // At the border, partly outside, and tiny.
                ([-10.0, -5.0, 40.0, 30.0], [0, 0]),
                ([150.0, 100.0, 40.0, 40.0], [130, 90]),
                ([80.0, 60.0, 2.0, 3.0], [80, 60]),
            ] {
                tracker.init(&frame(160, 120, first, 30), rect).unwrap();
                for t in 0..3 {
                    let next = frame(160, 120, [first[0] + 4 * t, first[1] + 2 * t], 30);
                    let out = tracker.update(&next).unwrap();
                    check(out.rect, out.score, &next);
                }
            }
        }
    }
}

#[test]
fn black_frames_and_frames_of_another_size_are_survived() {
    let mut tracker = tracker(HeadKind::Depthwise, CropSemantics::Siamfc);
    let black = Rgb::filled(120, 90, [0, 0, 0]);
    tracker.init(&black, [30.0, 30.0, 40.0, 20.0]).unwrap();
    for frame in [&black, &Rgb::filled(120, 90, [255, 255, 255]), &Rgb::filled(64, 48, [7, 8, 9])] {
        let out = tracker.update(frame).unwrap();
        check(out.rect, out.score, frame);
    }
}

#[test]
fn frames_that_show_nothing_are_lost_and_keep_the_target() {
    let mut tracker = tracker(HeadKind::Depthwise, CropSemantics::Siamfc);
    let seen = frame(160, 120, [60, 40], 30);
    tracker.init(&seen, [60.0, 40.0, 30.0, 30.0]).unwrap();
    let before = tracker.update(&seen).unwrap();
    for i in 0..40u8 {
        // Black, as a codec writes it; white; a slow fade.
        let mut nothing = Rgb::filled(160, 120, [[2, 2, 3], [250, 250, 250], [i, i, i]][usize::from(i) % 3]);
        nothing.data.iter_mut().step_by(7).for_each(|v| *v = v.saturating_add(3));
        let out = tracker.update(&nothing).unwrap();
        assert_eq!((out.lost, out.score, out.rect), (true, 0.0, before.rect));
    }
    let after = tracker.update(&seen).unwrap();
    assert!(after.score > 0.0);
    // Nothing was seen at the start, so that nothing can be told from it.
    tracker.init(&Rgb::filled(160, 120, [9, 9, 9]), [60.0, 40.0, 30.0, 30.0]).unwrap();
    assert!(tracker.update(&Rgb::filled(160, 120, [9, 9, 9])).unwrap().score > 0.0);
}

#[test]
fn a_low_score_for_long_enough_means_lost() {
    let config = ModelConfig {
        trunk: TrunkConfig { widths: [4, 6, 6, 6, 6] },
        tracker: TrackerConfig { lost_score: 1.1, lost_frames: 2, ..TrackerConfig::default() },
        ..ModelConfig::default()
    };
    let net = SiamRpn::new(&config, 5, &Device::flex()).unwrap();
    let mut tracker = Tracker::new(Arc::new(Model::new(config, net).unwrap()));
    let frame = frame(100, 80, [30, 30], 20);
    tracker.init(&frame, [30.0, 30.0, 20.0, 20.0]).unwrap();
    let lost: Vec<bool> = (0..3).map(|_| tracker.update(&frame).unwrap().lost).collect();
    assert_eq!(lost, [false, true, true]);
    tracker.init(&frame, [30.0, 30.0, 20.0, 20.0]).unwrap();
    assert_eq!(tracker.state().unwrap().low, 0);
}

#[test]
fn wrong_boxes_are_refused_and_the_old_target_stays() {
    let mut tracker = tracker(HeadKind::Depthwise, CropSemantics::Siamfc);
    let frame = frame(100, 80, [30, 30], 20);
    assert!(matches!(tracker.update(&frame), Err(TrackError::NoTarget)));
    tracker.init(&frame, [30.0, 30.0, 20.0, 20.0]).unwrap();
    let before = *tracker.state().unwrap();
    for rect in [
        [f64::NAN, 0.0, 10.0, 10.0],
        [0.0, 0.0, 0.0, 10.0],
        [0.0, 0.0, 10.0, -1.0],
        [0.0, 0.0, f64::INFINITY, 10.0],
        [200.0, 0.0, 10.0, 10.0],
        [-20.0, 0.0, 10.0, 10.0],
        [0.0, 0.0, 500.0, 10.0],
    ] {
        let e = tracker.init(&frame, rect).unwrap_err();
        assert!(matches!(e, TrackError::Box { .. }), "{rect:?}: {e}");
        assert!(e.to_string().contains("100x80"), "{e}");
    }
    assert_eq!(*tracker.state().unwrap(), before);
}

#[test]
fn trackers_can_move_between_threads_and_share_a_model() {
    let tracker = tracker(HeadKind::Depthwise, CropSemantics::Siamfc);
    let run = |mut tracker: Tracker| {
        let start = frame(100, 80, [30, 30], 20);
        tracker.init(&start, [30.0, 30.0, 20.0, 20.0]).unwrap();
        tracker.update(&frame(100, 80, [33, 31], 20)).unwrap()
    };
    let here = run(tracker);
    let other = self::tracker(HeadKind::Depthwise, CropSemantics::Siamfc);
    let there = std::thread::spawn(move || run(other)).join().unwrap();
    assert_eq!(here, there);
}
