//! The presets are the published configurations: the tables of docs/training.md name every published key with its value, and
//! this test compares the key and value of ours beside it with the preset.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it stands")]

use schemas::train::TrainConfig;
use serde_json::Value;
use std::path::Path;

/// The configuration of the MindSpore system, as it is published.
const MINDSPORE: [(&str, &str); 38] = [
    ("exemplar_size", "127"),
    ("instance_size", "255"),
    ("context_amount", "0.5"),
    ("sample_type", "uniform"),
    ("exem_stretch", "False"),
    ("scale_range", "0.001, 0.7"),
    ("ratio_range", "0.1, 10"),
    ("pairs_per_video_per_epoch", "2"),
    ("frame_range_vid", "100"),
    ("frame_range_ytb", "1"),
    ("checkpoint_path", "./ckpt"),
    ("pretrain_model", "mindspore_alexnet.ckpt"),
    ("train_path", "./ytb_vid_filter"),
    ("cur_epoch", "0"),
    ("max_epoches", "50"),
    ("batch_size", "32"),
    ("start_lr", "3e-2"),
    ("end_lr", "1e-7"),
    ("momentum", "0.9"),
    ("weight_decay", "5e-4"),
    ("check", "True"),
    ("max_translate", "12"),
    ("max_stretch", "0.15"),
    ("total_stride", "8"),
    ("valid_scope", "8"),
    ("anchor_scales", "8"),
    ("anchor_ratios", "0.33, 0.5, 1, 2, 3"),
    ("anchor_num", "5"),
    ("anchor_base_size", "8"),
    ("pos_threshold", "0.6"),
    ("neg_threshold", "0.3"),
    ("pos_num", "16"),
    ("neg_num", "48"),
    ("gray_ratio", "0.25"),
    ("score_size", "17"),
    ("penalty_k", "0.22"),
    ("window_influence", "0.20"),
    ("lr_box", "0.30"),
];

/// The keys of MindSpore whose numbers are ours, too.
const SAME: [(&str, &str); 22] = [
    ("exemplar_size", "model.exemplar_px"),
    ("instance_size", "model.search_px"),
    ("context_amount", "model.context_amount"),
    ("pairs_per_video_per_epoch", "data.pairs_per_unit"),
    ("frame_range_vid", "data.gap"),
    ("frame_range_ytb", "data.gap_by_dataset.ytbb"),
    ("max_epoches", "run.epochs"),
    ("batch_size", "run.batch"),
    ("start_lr", "optim.lr_start"),
    ("end_lr", "optim.lr_end"),
    ("momentum", "optim.momentum"),
    ("weight_decay", "optim.weight_decay"),
    ("max_translate", "augment.shift"),
    ("max_stretch", "augment.stretch"),
    ("total_stride", "model.anchors.stride"),
    ("anchor_base_size", "model.anchors.base_size"),
    ("pos_threshold", "labels.positive_iou"),
    ("neg_threshold", "labels.negative_iou"),
    ("pos_num", "labels.max_positives"),
    ("gray_ratio", "augment.gray"),
    ("penalty_k", "model.tracker.penalty_k"),
    ("lr_box", "model.tracker.lr"),
];

/// The cells of the tables below the heading that begins with `## `title.
fn rows(title: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/training.md");
    let text = std::fs::read_to_string(path).unwrap();
    let begin = text.find(&format!("\n## {title}")).unwrap() + 1;
    let section = text[begin..].split("\n## ").next().unwrap();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    section.lines().filter(|line| line.starts_with('|')).map(cells).collect()
}

fn bare(cell: &str) -> &str {
    cell.trim_matches('`')
}

fn value<'a>(preset: &'a Value, key: &str) -> &'a Value {
    preset.pointer(&format!("/{}", key.replace('.', "/"))).unwrap_or_else(|| panic!("there is no key {key}"))
}

/// The same value, whole numbers with or without a point.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b || (a.is_number() && a.as_f64() == b.as_f64()),
    }
}

/// Compares the columns of our keys and values with a preset; answers how many there were.
fn compare(title: &str, preset: &str, key: usize) -> usize {
    let preset = serde_json::to_value(TrainConfig::preset(preset).unwrap()).unwrap();
    let ours = rows(title).into_iter().filter(|row| row[key].starts_with('`') && row[key].contains('.'));
    let mut count = 0;
    for row in ours {
        let (name, text) = (bare(&row[key]), bare(&row[key + 1]));
        let wanted: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {text}: {e}"));
        assert!(same(value(&preset, name), &wanted), "{name} is {}, the table has {wanted}", value(&preset, name));
        count += 1;
    }
    count
}

#[test]
fn every_key_of_mindspore_has_its_place_and_reference_has_its_value() {
    assert!(compare("`reference`", "reference", 3) >= 38);
    let table = rows("`reference`");
    for (key, published) in MINDSPORE {
        let row = table.iter().find(|row| bare(&row[1]) == key).unwrap_or_else(|| panic!("{key} has no row"));
        assert_eq!(row[2], published, "{key}");
    }
    for (key, limit) in [("min_scale", 0.1), ("max_scale", 10.0)] {
        assert_eq!(table.iter().find(|row| bare(&row[1]) == key).unwrap()[2].parse::<f64>().unwrap(), limit);
    }
    // The published numbers against the preset, without the page between them.
    let preset = serde_json::to_value(TrainConfig::preset("reference").unwrap()).unwrap();
    for (theirs, ours) in SAME {
        let published: f64 = MINDSPORE.iter().find(|(key, _)| *key == theirs).unwrap().1.parse().unwrap();
        assert_eq!(value(&preset, ours).as_f64().unwrap(), published, "{ours}");
    }
    let cfg = TrainConfig::preset("reference").unwrap();
    assert_eq!(cfg.model.anchors.ratios, [0.33, 0.5, 1.0, 2.0, 3.0]);
    assert_eq!((cfg.model.response(255), cfg.model.anchors.per_cell()), (17, 5));
    assert_eq!((cfg.data.min_aspect, cfg.data.min_area, cfg.data.max_area), (0.1, 0.001, 0.7));
}

#[test]
fn pysot_alex_has_pysots_values() {
    assert!(compare("`pysot-alex`", "pysot-alex", 3) >= 45);
    let cfg = TrainConfig::preset("pysot-alex").unwrap();
    assert_eq!((cfg.data.pairs_per_epoch, cfg.run.batch, cfg.run.epochs), (600_000, 128, 50));
    assert_eq!((cfg.optim.lr_start, cfg.optim.lr_end, cfg.optim.weight_decay), (1e-2, 5e-4, 1e-4));
    assert_eq!((cfg.optim.warmup_lr, cfg.optim.warmup_epochs, cfg.optim.trunk_frozen_epochs), (5e-3, 5, 10));
    // What PySOT's crops of 511 px and ours of 432 and 144 px have room for.
    assert_eq!((cfg.augment.needed_search_px(255), cfg.augment.needed_template_px(127)), (429, 142));
}

#[test]
fn recommended_is_documented_choice_by_choice() {
    compare("`recommended`", "recommended", 1);
    let [base, preset] =
        ["reference", "recommended"].map(|name| serde_json::to_value(TrainConfig::preset(name).unwrap()).unwrap());
    let documented: Vec<String> = rows("`recommended`").into_iter().map(|row| bare(&row[1]).to_owned()).collect();
    // The three limits on rows stand in one line.
    let limits = ["data.min_aspect", "data.max_area"];
    for key in differences("", &base, &preset) {
        assert!(documented.contains(&key) || limits.contains(&key.as_str()), "{key} is not in the table");
    }
}

fn differences(prefix: &str, a: &Value, b: &Value) -> Vec<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().flat_map(|(key, a)| differences(&format!("{prefix}.{key}"), a, &b[key])).collect()
        }
        _ if a == b => Vec::new(),
        _ => vec![prefix.trim_start_matches('.').to_owned()],
    }
}

#[test]
fn tiny_is_small() {
    let cfg = TrainConfig::preset("tiny").unwrap();
    assert!(cfg.model.trunk.widths.iter().all(|w| *w <= 32) && cfg.run.batch <= 4 && cfg.run.epochs <= 2);
}
