//! A build stopped at every write, sync and rename, on a disk that loses what was not synced: afterwards there is nothing,
//! temporary files that the next build removes, or complete files; and the next build gives the same bytes as ever.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use ingest::build::{BuildOptions, Part, build_on};
use ingest::commit::merge_on;
use ingest::target::Target;
use schemas::build::BuildConfig;
use shards::disk::{Real, TEMP_PREFIX};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use support::crash::{CrashDisk, Loss};
use support::{dataset_bytes, vot_dataset};

fn config() -> BuildConfig {
    BuildConfig { shard_bytes: 20_000, rows_per_batch: 2, ..BuildConfig::default() }
}

/// What is wrong with a folder after a crash: a file with its final name that is not the finished dataset's, or a
/// manifest without the rest.
fn complaint(found: &Path, whole: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    let files = dataset_bytes(found);
    let is_temp = |name: &str| name.rsplit('/').next().unwrap().starts_with(TEMP_PREFIX);
    let wrong = files.iter().find(|(name, bytes)| !is_temp(name) && whole.get(*name) != Some(bytes));
    if let Some((name, bytes)) = wrong {
        return Some(format!("{name} has {} bytes and is not the finished file", bytes.len()));
    }
    if !files.contains_key("dataset.json") {
        return None;
    }
    let findings = shards::verify::verify(found, |_| {}).unwrap().findings;
    let missing = whole.keys().find(|name| !files.contains_key(*name)).map(|name| format!("{name} is missing"));
    missing.or_else(|| findings.first().map(|finding| finding.message.clone()))
}

fn leftovers(dir: &Path) -> usize {
    let files = walkdir::WalkDir::new(dir).into_iter().map(|entry| entry.unwrap());
    files.filter(|file| file.file_name().to_string_lossy().starts_with(TEMP_PREFIX)).count()
}

/// Stops `run` at its first, second, ... operation until it gets through; checks each state and what `repair` makes of it.
fn stop_everywhere(
    prepare: impl Fn(&Path),
    run: impl Fn(&Target<CrashDisk>) -> bool,
    repair: impl Fn(&Path),
) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    prepare(&whole);
    repair(&whole);
    let want = dataset_bytes(&whole);
    let (mut seen, mut points) = (BTreeSet::new(), 0);
    loop {
        let live = dir.path().join(format!("live-{points}"));
        prepare(&live);
        let disk = CrashDisk::new(&live, points);
        let through = run(&Target::open(&live, None, disk.clone()).unwrap());
        if through {
            assert_eq!(disk.operations(), points, "it got through although it was stopped");
            break;
        }
        for loss in Loss::ALL {
            let after = dir.path().join("after");
            let state = disk.materialise(&after, loss);
            let what = format!("stopped at operation {points} ({}), {loss:?}", disk.last());
            if seen.insert(state) {
                assert_eq!(complaint(&after, &want), None, "{what}");
                repair(&after);
                assert!(dataset_bytes(&after) == want, "{what}: the next build gives other bytes");
                assert_eq!(leftovers(&after), 0, "{what}");
            }
            fs::remove_dir_all(&after).unwrap();
        }
        fs::remove_dir_all(&live).unwrap();
        points += 1;
    }
    (points, seen.len())
}

#[test]
fn a_build_stopped_at_every_operation_leaves_only_allowed_states() {
    let dir = tempfile::tempdir().unwrap();
    let source = [format!("sequences={}", vot_dataset(dir.path(), 3, 3).display()).parse().unwrap()];
    let options = BuildOptions { threads: 1, ..BuildOptions::default() };
    let (points, states) = stop_everywhere(
        |out| fs::create_dir_all(out).unwrap(),
        |target| build_on(&source, &config(), target, &options).is_ok(),
        |out| {
            let report = build_on(&source, &config(), &Target::open(out, None, Real).unwrap(), &options).unwrap();
            assert!(report.complete && report.shards >= 2, "{report:?}");
        },
    );
    assert!(points > 40 && states > 40, "{points} operations, {states} states");
}

#[test]
fn a_merge_stopped_at_every_operation_leaves_only_allowed_states() {
    let dir = tempfile::tempdir().unwrap();
    let source = [format!("sequences={}", vot_dataset(dir.path(), 3, 2).display()).parse().unwrap()];
    let build = |out: &Path, index: u32| {
        let part = Part { index, count: 2 };
        let options = BuildOptions { part, threads: 1, ..BuildOptions::default() };
        build_on(&source, &config(), &Target::open(out, None, Real).unwrap(), &options).unwrap();
    };
    let (points, states) = stop_everywhere(
        |out| (0..2).for_each(|index| build(out, index)),
        |target| merge_on(target).is_ok(),
        |out| {
            // What was on this disk before the merge is not the merge's to lose.
            (0..2).for_each(|index| build(out, index));
            assert!(merge_on(&Target::open(out, None, Real).unwrap()).unwrap().complete);
        },
    );
    assert!(points > 12 && states > 6, "{points} operations, {states} states");
}

#[test]
fn a_disk_that_does_not_sync_would_be_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let source = [format!("sequences={}", vot_dataset(dir.path(), 2, 2).display()).parse().unwrap()];
    let options = BuildOptions { threads: 1, ..BuildOptions::default() };
    let whole = dir.path().join("whole");
    build_on(&source, &config(), &Target::open(&whole, None, Real).unwrap(), &options).unwrap();
    let live = dir.path().join("live");
    fs::create_dir(&live).unwrap();
    let disk = CrashDisk::new(&live, usize::MAX).lying();
    assert!(
        build_on(&source, &config(), &Target::open(&live, None, disk.clone()).unwrap(), &options).unwrap().complete
    );
    for (loss, fine) in [(Loss::Nothing, true), (Loss::Content, false), (Loss::HalfContent, false)] {
        let after = dir.path().join(format!("{loss:?}"));
        disk.materialise(&after, loss);
        assert_eq!(complaint(&after, &dataset_bytes(&whole)).is_none(), fine, "{loss:?}");
    }
}
