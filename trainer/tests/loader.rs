//! The loader: order, substitutes, refusals, an end without hanging.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use schemas::build::{BuildConfig, CropSemantics};
use schemas::train::TrainConfig;
use shards::writer::RowData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::{dataset, labelled, layers};
use trainer::loader::{Batch, LoadError, Loader, Recipe};

fn open(dir: &Path, more: &[&str]) -> Result<Arc<Recipe>, LoadError> {
    let cfg: TrainConfig = layers(more).resolve().unwrap();
    Recipe::open(dir, &cfg).map(Arc::new)
}

fn all(recipe: &Arc<Recipe>, steps: std::ops::Range<u64>) -> Vec<Batch> {
    let mut loader = Loader::start(recipe, steps).unwrap();
    std::iter::from_fn(|| loader.next()).map(Result::unwrap).collect()
}

#[test]
fn batches_are_the_same_whatever_the_threads_and_the_start() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 352, None);
    let one = all(&open(dir.path(), &["run.workers=1"]).unwrap(), 0..9);
    assert_eq!(one.iter().map(|b| b.step).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    assert_eq!(one, all(&open(dir.path(), &["run.workers=3", "run.prefetch=1"]).unwrap(), 0..9));
    assert_eq!(one[4..], all(&open(dir.path(), &["run.workers=2"]).unwrap(), 4..9));
    let first = &one[0];
    assert_eq!((first.template.len(), first.search.len()), (2 * 127 * 127 * 3, 2 * 255 * 255 * 3));
    assert_eq!((first.labels.len(), first.deltas.len()), (2 * 1445, 2 * 4 * 1445));
    assert!(one.iter().all(|b| b.substituted == 0 && b.labels.contains(&1) && b.labels.contains(&0)));
    assert_ne!(one[0].search, one[4].search, "another epoch draws other pixels");
}

#[test]
fn the_target_lies_on_the_object() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 352, None);
    let more = ["augment.gray=0", "augment.colour=0", "augment.blur=0", "augment.flip=0.5"];
    for batch in all(&open(dir.path(), &more).unwrap(), 0..8) {
        for (pixels, target) in batch.search.chunks_exact(255 * 255 * 3).zip(&batch.targets) {
            // The object is the red part.
            let red = |x: usize, y: usize| {
                let p = &pixels[3 * (y * 255 + x)..][..3];
                p[0] > 180 && p[2] < 80
            };
            let points = (0..255 * 255).map(|i| (i % 255, i / 255)).filter(|&(x, y)| red(x, y));
            let (mut n, mut sx, mut sy) = (0.0, 0.0, 0.0);
            for (x, y) in points {
                (n, sx, sy) = (n + 1.0, sx + x as f32 + 0.5, sy + y as f32 + 0.5);
            }
            let (cx, cy) = (sx / n - 127.5, sy / n - 127.5);
            assert!((cx - target[0]).abs() < 2.0 && (cy - target[1]).abs() < 2.0, "{target:?} against {cx}, {cy}");
            let area = target[2] * target[3];
            assert!((n / area - 1.0).abs() < 0.2, "{n} against {area}");
        }
    }
}

#[test]
fn a_dropped_loader_ends_its_threads() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 352, None);
    let recipe = open(dir.path(), &["run.workers=3", "run.prefetch=2"]).unwrap();
    let mut loader = Loader::start(&recipe, 0..1_000_000).unwrap();
    assert_eq!(loader.next().unwrap().unwrap().step, 0);
    drop(loader);
    // Every worker held a reference.
    assert_eq!(Arc::strong_count(&recipe), 1);
}

#[test]
fn unreadable_rows_are_replaced_and_counted() {
    let (good, bad) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    dataset(good.path(), 352, None);
    dataset(
        bad.path(),
        352,
        Some(|video, row, data: &mut RowData| {
            if video == 1 && (row == 2 || row == 3) {
                data.search.truncate(500);
                data.template.truncate(200);
            }
        }),
    );
    let (good, bad) = (open(good.path(), &[]).unwrap(), open(bad.path(), &[]).unwrap());
    let steps = 0..16;
    let (before, after) = (all(&good, steps.clone()), all(&bad, steps.clone()));
    let substituted: u64 = after.iter().map(|b| b.substituted).sum();
    let hit = |id: shards::plan::RowId| (6 + 2..=6 + 3).contains(&id.row);
    let drawn = (0..16).flat_map(|s| [bad.pair_at(s, 0).unwrap(), bad.pair_at(s, 1).unwrap()]);
    let expected = drawn.filter(|p| hit(p.template) || hit(p.search)).count();
    assert_eq!(substituted, expected as u64);
    assert!(substituted > 0);
    for (a, b) in before.iter().zip(&after) {
        assert_eq!(a == b, b.substituted == 0, "step {}", a.step);
    }
    assert_eq!(after, all(&bad, steps));
}

#[test]
fn a_track_without_readable_rows_gives_way_to_other_pairs() {
    let dir = tempfile::tempdir().unwrap();
    dataset(
        dir.path(),
        352,
        Some(|video, _, data: &mut RowData| {
            if video == 1 {
                data.search.clear();
            }
        }),
    );
    let recipe = open(dir.path(), &[]).unwrap();
    let batches = all(&recipe, 0..8);
    // Two of the eight pairs of each of two epochs.
    assert!((2..=6).contains(&batches.iter().map(|b| b.substituted).sum::<u64>()));
}

#[test]
fn a_dataset_without_readable_rows_is_an_error_and_no_hang() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 352, Some(|_, _, data: &mut RowData| data.search = b"not a picture".to_vec()));
    let recipe = open(dir.path(), &[]).unwrap();
    let mut loader = Loader::start(&recipe, 0..100).unwrap();
    let e = loader.next().unwrap().unwrap_err();
    assert!(matches!(e, LoadError::Damaged { step: 0, .. }), "{e}");
    assert!(e.to_string().contains("shards verify"), "{e}");
}

#[test]
fn pairs_laid_out_give_the_same_bytes() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    dataset(dir.path(), 352, None);
    let more = ["data.negative_probability=0.4", "data.pairs_per_unit=3", "data.gap=2"];
    let cfg = layers(&more).resolve().unwrap();
    let write = || shards::pairs::write(dir.path(), &cfg, 1..=2, out.path(), |_, _| true);
    let manifest = write().unwrap();
    assert_eq!((manifest.totals.rows, cfg.run.epochs), (24, 2));
    assert_eq!(shards::verify::verify(out.path(), |_| {}).unwrap().findings, []);
    let (drawn, stored) = (open(dir.path(), &more).unwrap(), open(out.path(), &more).unwrap());
    assert_eq!(stored.steps_per_epoch(), drawn.steps_per_epoch());
    let batches = all(&drawn, 0..12);
    assert!(batches.iter().any(|b| b.negative.contains(&true)));
    assert_eq!(batches, all(&stored, 0..12));
    // The pairs of one step lie side by side, in order.
    let rows: Vec<_> = (0..12).flat_map(|s| [0, 1].map(|i| stored.pair_at(s, i).unwrap().search.row)).collect();
    assert_eq!(rows, (0..24).collect::<Vec<_>>());
    let beyond = stored.batch(12).unwrap_err();
    assert!(matches!(beyond, LoadError::Epoch { epoch: 3, first: 1, last: 2 }), "{beyond}");
    for (other, parts) in [
        ("run.seed=9", ["run.seed", "= 1,", "has 9"]),
        ("run.batch=3", ["run.batch", "= 2,", "has 3"]),
        ("data.gap=5", ["data.gap", "= 2,", "has 5"]),
        ("data.negative_probability=0.5", ["data.negative_probability", "= 0.4,", "has 0.5"]),
    ] {
        let more: Vec<&str> = more.iter().copied().chain([other]).collect();
        let text = open(out.path(), &more).unwrap_err().to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    }
    assert!(write().unwrap_err().to_string().contains("complete dataset"));
    // Cut off before its last step, it goes on and ends with the same dataset.
    std::fs::remove_file(out.path().join("dataset.json")).unwrap();
    assert_eq!(write().unwrap(), manifest);
    let nested = shards::pairs::write(out.path(), &cfg, 1..=1, &dir.path().join("again"), |_, _| true).unwrap_err();
    assert!(nested.to_string().contains("pairs already"), "{nested}");
}

#[test]
fn an_epoch_shorter_than_a_batch_needs_a_number_of_steps() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 352, None);
    let e = open(dir.path(), &["run.batch=9"]).unwrap_err();
    assert!(e.to_string().contains("8 pairs") && e.to_string().contains("run.steps_per_epoch"), "{e}");
    let recipe = open(dir.path(), &["run.batch=9", "run.steps_per_epoch=3"]).unwrap();
    assert_eq!(recipe.steps_per_epoch(), 3);
    assert_eq!(all(&recipe, 0..4).iter().map(|b| b.pairs).collect::<Vec<_>>(), [9; 4]);
}

#[test]
fn memory_of_old_batches_is_used_again_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 352, None);
    let recipe = open(dir.path(), &["run.workers=1", "data.negative_probability=0.3"]).unwrap();
    let fresh: Vec<Batch> = (0..9).map(|step| recipe.batch(step).unwrap()).collect();
    let mut loader = Loader::start(&recipe, 0..9).unwrap();
    for expected in &fresh {
        let batch = loader.next().unwrap().unwrap();
        assert_eq!(&batch, expected);
        loader.give_back(batch);
    }
}

#[test]
fn a_dataset_that_does_not_fit_is_refused_with_both_values() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 320, None);
    for (more, parts) in [
        (&[][..], &["320", "329"][..]),
        (&["augment.stretch=0", "augment.shift=0", "augment.template_shift=9"], &["144", "145"]),
        (&["augment.stretch=0", "model.semantics=pysot"], &["siamfc", "pysot", "model.semantics"]),
        (&["augment.stretch=0", "model.context_amount=0.4"], &["0.5", "0.4", "model.context_amount"]),
    ] {
        let e = open(dir.path(), more).unwrap_err();
        assert!(matches!(e, LoadError::Fit(_)), "{e}");
        let text = e.to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    }
    assert!(open(dir.path(), &["augment.stretch=0.1"]).is_ok());
}

/// Two datasets, `vid` and `coco`, and their paths.
fn two(root: &Path) -> [PathBuf; 2] {
    ["vid", "coco"].map(|label| {
        let path = root.join(label);
        labelled(&path, label, BuildConfig::default(), None);
        path
    })
}

fn open_all(paths: &[PathBuf], more: &[&str]) -> Result<Arc<Recipe>, LoadError> {
    Recipe::open_all(paths, &layers(more).resolve().unwrap()).map(Arc::new)
}

#[test]
fn several_datasets_are_mixed_by_share_and_give_the_same_batches_whatever_the_threads() {
    let dir = tempfile::tempdir().unwrap();
    let paths = two(dir.path());
    let mix = [
        "data.pairs_per_epoch=16",
        "data.share_by_dataset={ vid = 3, coco = 1 }",
        "data.negative_probability=0.3",
        "run.workers=1",
    ];
    let recipe = open_all(&paths, &mix).unwrap();
    assert_eq!((recipe.steps_per_epoch(), recipe.dataset().rows(), recipe.left_out()), (8, 48, 0));
    for epoch in 0..3 {
        let pairs = (0..16).map(|p| recipe.pair_at(epoch * 8 + p / 2, (p % 2) as usize).unwrap());
        let label = |id: shards::plan::RowId| recipe.dataset().row(id.shard, id.row).unwrap().dataset().to_owned();
        assert_eq!(pairs.filter(|p| label(p.template) == "coco").count(), 4);
    }
    let one = all(&recipe, 0..20);
    let more: Vec<&str> = mix[..3].iter().copied().chain(["run.workers=3"]).collect();
    assert_eq!(one, all(&open_all(&paths, &more).unwrap(), 0..20));
    assert_eq!(one[5..], all(&open_all(&paths, &mix).unwrap(), 5..20));
    // The same pixels as from each dataset alone.
    let alone = Recipe::open(&paths[1], &layers(&[]).resolve().unwrap()).unwrap();
    let row = |recipe: &Recipe, shard| recipe.dataset().row(shard, 7).unwrap().search().to_vec();
    assert_eq!(row(&recipe, 1), row(&alone, 0));
    // The identity of the data is that of both, in order.
    let hashes = paths.each_ref().map(|p| shards::reader::Dataset::open(p).unwrap().manifest().dataset_hash.clone());
    assert_eq!(recipe.dataset().hash(), blake3::hash(hashes.concat().as_bytes()).to_hex().as_str());
    let [a, b] = &paths;
    assert_ne!(open_all(&[b.clone(), a.clone()], &mix).unwrap().dataset().hash(), recipe.dataset().hash());
    assert_eq!(alone.dataset().hash(), hashes[1]);
}

#[test]
fn labels_of_the_same_name_are_one_label_and_videos_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| dir.path().join(name));
    dataset(&paths[0], 352, None);
    dataset(&paths[1], 360, None);
    let recipe = open_all(&paths, &["data.pairs_per_epoch=16", "data.share_by_dataset.made=1"]).unwrap();
    let mut visits = [0; 8];
    for p in 0..16 {
        let pair = recipe.pair_at(p / 2, (p % 2) as usize).unwrap();
        visits[(pair.search.shard * 4 + pair.search.row / 6) as usize] += 1;
    }
    assert_eq!(visits, [2; 8]);
}

#[test]
fn datasets_that_do_not_go_together_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let [vid, coco] = two(dir.path());
    let other = |name: &str, config: BuildConfig| {
        let path = dir.path().join(name);
        labelled(&path, name, config, None);
        path
    };
    let pysot = other("pysot", BuildConfig { semantics: CropSemantics::Pysot, ..BuildConfig::default() });
    let context = other("context", BuildConfig { context_amount: 0.3, ..BuildConfig::default() });
    let small = other("small", BuildConfig { search_px: 300, ..BuildConfig::default() });
    let pairs = dir.path().join("pairs");
    shards::pairs::write(&vid, &layers(&[]).resolve().unwrap(), 1..=1, &pairs, |_, _| true).unwrap();
    let copy = dir.path().join("copy");
    labelled(&copy, "vid", BuildConfig::default(), None);
    for (second, more, parts) in [
        (&pysot, &[][..], &["vid", "pysot", "semantics = siamfc", "semantics = pysot"][..]),
        (&context, &[], &["context_amount = 0.5", "context_amount = 0.3"]),
        (&copy, &[], &["the same dataset", "copy"]),
        (&pairs, &[], &["pairs in reading order", "pairs"]),
        (&coco, &["data.share_by_dataset={ vid = 1, det = 1 }"], &["det", "coco, vid"]),
        (&coco, &["data.share_by_dataset={ vid = 1 }"], &["coco"]),
        (&small, &[], &["small", "300", "329"]),
    ] {
        let text = open_all(&[vid.clone(), second.clone()], more).unwrap_err().to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    }
}

#[test]
fn a_mix_laid_out_gives_the_same_bytes() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    dataset(dir.path(), 352, None);
    let more = ["data.pairs_per_epoch=11", "data.share_by_dataset.made=1", "data.distance=sqrt"];
    let cfg = layers(&more).resolve().unwrap();
    let manifest = shards::pairs::write(dir.path(), &cfg, 1..=3, out.path(), |_, _| true).unwrap();
    assert_eq!(manifest.totals.rows, 30);
    let (drawn, stored) = (open(dir.path(), &more).unwrap(), open(out.path(), &more).unwrap());
    assert_eq!(all(&drawn, 0..15), all(&stored, 0..15));
    let e = open(out.path(), &["data.pairs_per_epoch=12", more[1], more[2]]).unwrap_err().to_string();
    assert!(e.contains("data.pairs_per_epoch") && e.contains("= 11") && e.contains("has 12"), "{e}");
}

#[test]
fn rows_are_left_out_by_shape_and_by_size_where_the_frame_is_known() {
    let (dir, crops) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Targets are 60 to 70 by 50 to 53 crop pixels, a crop pixel is 1 / 0.8 of the 640x360 frame's.
    dataset(dir.path(), 352, None);
    dataset(crops.path(), 352, Some(|_, _, data: &mut RowData| data.scale = 0.0));
    let left_out = |path: &Path, more: &[&str]| open(path, more).unwrap().left_out();
    assert_eq!(left_out(dir.path(), &[]), 0);
    // 50 / 70 and 50 / 68, 51 / 70.
    assert_eq!(left_out(dir.path(), &["data.min_aspect=0.74"]), 3);
    assert_eq!(left_out(dir.path(), &["data.min_area=0.0215"]), 5);
    assert_eq!(left_out(dir.path(), &["data.max_area=0.0245"]), 2);
    assert_eq!(left_out(crops.path(), &["data.min_area=0.9"]), 0);
    assert_eq!(left_out(crops.path(), &["data.min_aspect=0.74"]), 3);
}
