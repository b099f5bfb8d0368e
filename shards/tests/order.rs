//! The order of pairs on shapes of real size: everything once, the same for any world, as spread as can be.

use proptest::prelude::*;
use schemas::train::{DataConfig, EpochUnit};
use shards::plan::{PairRef, Plan, RowId, Track, Tracks, places};
use std::collections::{BTreeMap, HashMap, HashSet};

/// One video per track, tracks dealt to shards, two rows each; row numbers are unique within a shard.
fn tracks(count: u32, shards: u32, datasets: &[&str]) -> Tracks {
    let track = |t: u32| Track {
        dataset: t % datasets.len() as u32,
        shard: t % shards,
        rows: vec![2 * (t / shards), 2 * (t / shards) + 1],
    };
    let labels = datasets.iter().map(|d| (*d).to_owned()).collect();
    Tracks::new(labels, (0..count).map(track).collect(), (0..count).map(|t| vec![t]).collect())
}

/// The track of a row of [`tracks`].
fn track_of(row: RowId, shards: u32) -> u32 {
    row.row / 2 * shards + row.shard
}

fn config(window: u32) -> DataConfig {
    DataConfig { epoch_unit: EpochUnit::Track, shuffle_window: window, ..DataConfig::default() }
}

/// Mean number of shards per batch, same-track pairs per batch, and the largest number of shards that a batch touches.
fn spread(plan: &Plan, batch: usize, shards: u32) -> (f64, f64, usize) {
    let (mut touched, mut repeats, mut most) = (0, 0, 0);
    let steps = plan.steps_per_epoch();
    for step in 0..steps {
        let pairs: Vec<PairRef> = (0..batch).map(|i| plan.pair(0, step, i)).collect();
        let of: HashSet<u32> = pairs.iter().map(|p| p.template.shard).collect();
        let mut counts = HashMap::new();
        for pair in &pairs {
            *counts.entry(track_of(pair.template, shards)).or_insert(0_u64) += 1;
        }
        touched += of.len();
        most = most.max(of.len());
        repeats += counts.values().map(|n| n * (n - 1) / 2).sum::<u64>();
    }
    (touched as f64 / steps as f64, repeats as f64 / steps as f64, most)
}

/// The reference's shape: 181,376 tracks with two pairs each in 283 shards, batch 256. MosaicML's default shuffle (py1e,
/// blocks of 2^18) has 131 shards and 0.17 same-track pairs per batch there; drawing independently would touch 168.7.
#[test]
fn batches_are_spread_at_least_as_well_as_py1e() {
    let (count, shards, batch) = (181_376, 283, 256);
    let all = tracks(count, shards, &["vid"]);
    let plan = Plan::new(&all, 1, &config(0), batch).unwrap();
    assert_eq!(plan.steps_per_epoch(), 1417);
    let (touched, repeats, _) = spread(&plan, batch, shards);
    assert!(touched >= 165.0, "{touched} shards per batch");
    assert!(repeats <= 0.17, "{repeats} same-track pairs per batch");
    for window in [8, 32] {
        let plan = Plan::new(&all, 1, &config(window), batch).unwrap();
        let (touched, repeats, most) = spread(&plan, batch, shards);
        assert!(touched >= 0.98 * f64::from(window), "{touched} shards per batch in windows of {window}");
        assert!(repeats <= 0.17, "{repeats} same-track pairs per batch in windows of {window}");
        assert!(most <= 2 * window as usize, "{most} shards in one batch in windows of {window}");
    }
}

/// Every pair of an epoch, by how it would be read and augmented.
fn drawn(plan: &Plan, epoch: u32, pairs: u64) -> Vec<(RowId, RowId, bool, u64)> {
    (0..pairs).map(|p| plan.pair(epoch, p, 0)).map(|p| (p.template, p.search, p.negative, p.aug_key)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn windows_draw_the_pairs_of_the_whole_in_another_order(
        count in 1_u32..400, shards in 1_u32..20, window in 1_u32..25, rounds in 1_u32..4, seed: u64, epoch in 0_u32..5,
    ) {
        let all = tracks(count, shards, &["vid"]);
        let pairs = u64::from(count * rounds);
        let plan = |window| Plan::new(&all, seed, &DataConfig { pairs_per_unit: rounds, ..config(window) }, 1).unwrap();
        let (mut whole, windowed) = (drawn(&plan(0), epoch, pairs), drawn(&plan(window), epoch, pairs));
        // Never more shards at a time than a window has.
        let mut open: Vec<HashSet<u32>> = vec![HashSet::new()];
        for (template, ..) in &windowed {
            let full = open.last().is_some_and(|w| w.len() == window as usize && !w.contains(&template.shard));
            if full {
                open.push(HashSet::new());
            }
            open.last_mut().unwrap().insert(template.shard);
        }
        let used = all.tracks().iter().map(|t| t.shard).collect::<HashSet<_>>().len();
        prop_assert!(open.len() <= used.div_ceil(window as usize));
        let mut sorted = windowed;
        whole.sort_unstable();
        sorted.sort_unstable();
        prop_assert_eq!(whole, sorted);
    }

    #[test]
    fn any_world_size_sees_the_same_batches_and_resuming_changes_nothing(
        count in 8_u32..300, shards in 1_u32..12, window in 0_u32..6, batch in 1_usize..40, seed: u64,
        negative in 0.0..0.5_f64, weight in 0.2..3.0_f64, from in 0_u64..30,
    ) {
        let all = tracks(count, shards, &["vid", "ytbb"]);
        let mixed = DataConfig {
            negative_probability: negative,
            weight_by_dataset: BTreeMap::from([("ytbb".to_owned(), weight)]),
            ..config(window)
        };
        let plan = Plan::new(&all, seed, &mixed, batch).unwrap();
        let global = |plan: &Plan, step: u64| (0..batch).map(|i| plan.pair(2, step, i)).collect::<Vec<_>>();
        let uninterrupted: Vec<_> = (0..from + 3).map(|step| global(&plan, step)).collect();
        // A new process that begins at a later step.
        let resumed = Plan::new(&all, seed, &mixed, batch).unwrap();
        for step in from..from + 3 {
            prop_assert_eq!(&global(&resumed, step), &uninterrupted[step as usize]);
        }
        for world in [1, 2, 4, 8] {
            let mut together = vec![None; batch];
            for rank in 0..world {
                let own = Plan::new(&all, seed, &mixed, batch).unwrap();
                for i in places(batch, rank, world) {
                    prop_assert!(together[i].replace(own.pair(2, from, i)).is_none());
                }
            }
            let together: Vec<PairRef> = together.into_iter().flatten().collect();
            prop_assert_eq!(&together, &uninterrupted[from as usize]);
        }
        for pair in uninterrupted.iter().flatten().filter(|p| p.negative) {
            prop_assert!(track_of(pair.template, shards) != track_of(pair.search, shards));
        }
    }
}

#[test]
fn datasets_are_mixed_by_weight_in_every_epoch() {
    let all = tracks(3000, 7, &["a", "b", "c"]);
    let weights = [("a", 0.25), ("b", 1.0), ("c", 2.5)];
    for window in [0, 2] {
        let weight_by_dataset = weights.iter().map(|(d, w)| ((*d).to_owned(), *w)).collect();
        let config = DataConfig { weight_by_dataset, ..config(window) };
        let plan = Plan::new(&all, 5, &config, 1).unwrap();
        for epoch in 0..2 {
            let mut counts = [0.0; 3];
            for (row, ..) in drawn(&plan, epoch, plan.steps_per_epoch()) {
                counts[track_of(row, 7) as usize % 3] += 1.0 / 2000.0;
            }
            for (count, (_, weight)) in counts.iter().zip(weights) {
                assert!((count - weight).abs() < 0.05, "{counts:?}");
            }
        }
    }
}
