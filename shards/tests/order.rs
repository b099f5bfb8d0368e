//! The order of pairs on shapes of real size: everything once, the same for any world, as spread as can be.

use proptest::prelude::*;
use schemas::train::{DataConfig, DistanceKind, EpochUnit};
use shards::plan::{PairRef, Plan, PlanError, RowId, Track, Tracks, places};
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

fn shares(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
    of.iter().map(|(label, share)| ((*label).to_owned(), *share)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Shares hold in every epoch, units of a label differ by one visit at most after any number of epochs, windows draw
    /// the same pairs, and what a later process draws is what an uninterrupted one draws.
    #[test]
    fn a_mix_keeps_its_shares_and_visits_units_equally_often_across_epochs(
        count in 4_u32..120, shards in 1_u32..12, window in 0_u32..6, batch in 1_usize..12, seed: u64,
        pairs in 12_u32..400, weights in (0.1..5.0_f64, 0.1..5.0_f64, prop::bool::ANY), epochs in 1_u32..6,
    ) {
        let all = tracks(count, shards, &["vid", "ytbb", "coco"]);
        let coco = if weights.2 { 0.3 } else { 0.0 };
        let mixed = DataConfig {
            pairs_per_epoch: pairs,
            share_by_dataset: shares(&[("vid", weights.0), ("ytbb", weights.1), ("coco", coco)]),
            ..config(window)
        };
        let plan = Plan::new(&all, seed, &mixed, batch).unwrap();
        let length = u64::from(pairs) / batch as u64 * batch as u64;
        prop_assert_eq!(plan.steps_per_epoch() * batch as u64, length);
        let whole = Plan::new(&all, seed, &DataConfig { shuffle_window: 0, ..mixed.clone() }, batch).unwrap();
        let total = weights.0 + weights.1 + coco;
        let mut visits = vec![0_u32; count as usize];
        for epoch in 0..epochs {
            let draw = |plan: &Plan| (0..length).map(|p| plan.pair(epoch, p / batch as u64, (p % batch as u64) as usize))
                .map(|p| (p.template, p.search, p.aug_key)).collect::<Vec<_>>();
            let drawn = draw(&plan);
            let mut labels = [0_u32; 3];
            for (template, ..) in &drawn {
                let track = track_of(*template, shards);
                visits[track as usize] += 1;
                labels[track as usize % 3] += 1;
            }
            for (found, weight) in labels.iter().zip([weights.0, weights.1, coco]) {
                prop_assert!((f64::from(*found) - length as f64 * weight / total).abs() < 1.0, "{:?}", labels);
            }
            let (mut a, mut b) = (drawn, draw(&whole));
            a.sort_unstable();
            b.sort_unstable();
            prop_assert_eq!(a, b);
        }
        for label in 0..3 {
            let own: Vec<u32> = visits.iter().copied().skip(label).step_by(3).collect();
            prop_assert!(own.iter().max().unwrap() - own.iter().min().unwrap() <= 1, "{:?}", own);
        }
        // A new process in the middle of a later epoch, and any number of ranks.
        let resumed = Plan::new(&all, seed, &mixed, batch).unwrap();
        let step = plan.steps_per_epoch() / 2;
        let mut together = vec![None; batch];
        for (rank, i) in (0..3).flat_map(|rank| places(batch, rank, 3).map(move |i| (rank, i))) {
            prop_assert!(together[i].replace((rank, resumed.pair(epochs, step, i))).is_none());
        }
        for (i, found) in together.into_iter().enumerate() {
            prop_assert_eq!(found.unwrap().1, plan.pair(epochs, step, i));
        }
    }
}

#[test]
fn the_batch_does_not_change_a_mix_and_a_given_number_of_steps_is_its_length() {
    let all = tracks(90, 5, &["vid", "coco"]);
    let share_by_dataset = shares(&[("vid", 3.0), ("coco", 1.0)]);
    let mixed = DataConfig { pairs_per_epoch: 240, share_by_dataset, ..config(2) };
    let plan = |batch| Plan::new(&all, 7, &mixed, batch).unwrap();
    let (one, twelve) = (plan(1), plan(12));
    for p in 0..240 {
        assert_eq!(one.pair(3, p, 0), twelve.pair(3, p / 12, (p % 12) as usize));
    }
    assert_eq!(twelve.steps_per_epoch(), 20);
    let longer = plan(12).with_steps(50).unwrap();
    assert_eq!(longer.steps_per_epoch(), 50);
    let coco = (0..600).filter(|p| track_of(longer.pair(1, p / 12, (p % 12) as usize).template, 5) % 2 == 1).count();
    assert_eq!(coco, 150);
    // Without a number of pairs the units give it.
    let from_units = Plan::new(&all, 7, &DataConfig { pairs_per_epoch: 0, ..mixed.clone() }, 10).unwrap();
    assert_eq!(from_units.steps_per_epoch(), 18);
}

#[test]
fn pysots_recipe_repeats_vid_and_takes_the_rest_as_it_is() {
    // 4,417 videos of VID count as 100,000 units, every other video as one; an epoch has a fixed number of pairs.
    let all = tracks(3000, 7, &["vid", "ytbb", "coco"]);
    let weight_by_dataset = shares(&[("vid", 10.0)]);
    let recipe = DataConfig { pairs_per_epoch: 6000, weight_by_dataset, ..config(0) };
    let plan = Plan::new(&all, 3, &recipe, 1).unwrap();
    assert_eq!((plan.units(), plan.steps_per_epoch()), (12_000, 6000));
    let mut visits = vec![0; 3000];
    for (epoch, p) in (0..4).flat_map(|epoch| (0..6000).map(move |p| (epoch, p))) {
        visits[track_of(plan.pair(epoch, p, 0).template, 7) as usize] += 1;
    }
    // Two rounds over the 12,000 units.
    assert!(visits.iter().enumerate().all(|(track, v)| *v == if track % 3 == 0 { 20 } else { 2 }));
}

#[test]
fn negatives_of_a_mix_follow_the_shares_and_stay_in_the_window() {
    let all = tracks(600, 12, &["vid", "coco"]);
    let share_by_dataset = shares(&[("vid", 9.0), ("coco", 1.0)]);
    for window in [0, 3] {
        let mixed = DataConfig {
            pairs_per_epoch: 4000,
            share_by_dataset: share_by_dataset.clone(),
            negative_probability: 1.0,
            ..config(window)
        };
        let plan = Plan::new(&all, 3, &mixed, 1).unwrap();
        let pairs: Vec<PairRef> = (0..4000).map(|p| plan.pair(0, p, 0)).collect();
        assert!(pairs.iter().all(|p| p.negative && track_of(p.template, 12) != track_of(p.search, 12)));
        let coco = pairs.iter().filter(|p| track_of(p.search, 12) % 2 == 1).count();
        assert!((300..500).contains(&coco), "{coco} of 4000 in windows of {window}");
        let mut near: Vec<HashSet<u32>> = Vec::new();
        for chunk in pairs.chunks(1000) {
            near.push(chunk.iter().flat_map(|p| [p.template.shard, p.search.shard]).collect());
        }
        assert!(window == 0 || near.iter().all(|shards| shards.len() <= 6), "{near:?}");
    }
}

#[test]
fn shares_that_make_no_mix_are_refused_by_name() {
    let all = tracks(9, 2, &["vid", "ytbb", "coco"]);
    let with = |of: &[(&str, f64)]| DataConfig { pairs_per_epoch: 100, share_by_dataset: shares(of), ..config(0) };
    let refused = |config: &DataConfig, batch| {
        Plan::new(&all, 1, config, batch).and_then(|plan| plan.with_steps(0)).unwrap_err().to_string()
    };
    for (of, parts) in [
        (&[("vid", 1.0), ("lasot", 1.0)][..], &["lasot", "coco, vid, ytbb"][..]),
        (&[("vid", 1.0), ("ytbb", 1.0)], &["coco", "0 leaves it out"]),
        (&[("vid", -1.0), ("ytbb", 1.0), ("coco", 1.0)], &["vid", "-1"]),
        (&[("vid", 0.0), ("ytbb", 0.0), ("coco", 0.0)], &["not all of them 0"]),
        (&[("vid", 1e-9), ("ytbb", 1.0), ("coco", 1.0)], &["vid", "less than one of the 100 pairs"]),
    ] {
        let text = refused(&with(of), 1);
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    }
    let every = with(&[("vid", 1.0), ("ytbb", 1.0), ("coco", 1.0)]);
    assert!(refused(&every, 101).contains("batches of 101"));
    let both = DataConfig { weight_by_dataset: shares(&[("vid", 2.0)]), ..every };
    assert_eq!(Plan::new(&all, 1, &both, 1).unwrap_err(), PlanError::TwoMixes);
    let mut rows = all.tracks().to_vec();
    rows.iter_mut().filter(|t| t.dataset == 2).for_each(|t| t.rows.truncate(1));
    let labels = all.datasets().to_vec();
    let short = Tracks::new(labels, rows, all.videos().to_vec());
    let e = Plan::new(&short, 1, &with(&[("vid", 1.0), ("ytbb", 1.0), ("coco", 1.0)]), 1).unwrap_err();
    assert_eq!(e, PlanError::EmptyLabel { label: "coco".to_owned() });
}

#[test]
fn distances_are_drawn_uniformly_linearly_or_by_root() {
    let all = Tracks::new(
        vec!["vid".to_owned()],
        vec![Track { dataset: 0, shard: 0, rows: (0..9).collect() }],
        vec![vec![0]],
    );
    for (distance, power) in [(DistanceKind::Uniform, 0.0), (DistanceKind::Linear, 1.0), (DistanceKind::Sqrt, 0.5)] {
        let config = DataConfig { distance, gap: 4, pairs_per_unit: 40_000, ..config(0) };
        let plan = Plan::new(&all, 1, &config, 1).unwrap();
        let mut found = [0.0; 4];
        for p in 0..40_000 {
            let pair = plan.pair(0, p, 0);
            // From the middle there are two rows at every distance.
            if pair.template.row == 4 {
                found[pair.search.row.abs_diff(4) as usize - 1] += 1.0;
            }
        }
        let total: f64 = found.iter().sum();
        let wanted: Vec<f64> = (1..=4).map(|d| f64::from(d).powf(power)).collect();
        for (found, wanted_of) in found.iter().zip(&wanted) {
            let share = wanted_of / wanted.iter().sum::<f64>();
            assert!((found / total - share).abs() < 0.03, "{distance:?} {found:?} {share}");
        }
    }
}
