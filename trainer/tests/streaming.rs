//! Training from a dataset that lies elsewhere: the same batches as from this disk, through a cache that is checked first.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use shards::store::cache::Settings;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trainer::loader::{Batch, Loader, Recipe};

fn batches(data: &Path) -> Vec<Batch> {
    let cfg = support::layers(&["run.workers=2", "run.prefetch=2"]).resolve().unwrap();
    let recipe = Arc::new(Recipe::open(data, &cfg).unwrap());
    Loader::start(&recipe, 0..9).unwrap().map(Result::unwrap).collect()
}

/// One test, because the settings of the cache belong to the whole process.
#[test]
fn a_dataset_elsewhere_gives_the_same_batches_and_an_outage_stops_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let near = dir.path().join("near");
    let manifest = support::dataset(&near, 352, None);
    let far = PathBuf::from(format!("file://{}", near.display()));
    let cache = dir.path().join("cache");
    Settings { dir: cache.clone(), bytes: manifest.totals.bytes }.install();
    let want = batches(&near);
    assert_eq!(want.len(), 9);
    assert!(batches(&far) == want);
    assert!(cache.join(format!("{}.arrow", manifest.shards[0].blake3)).exists());

    // The same from the cache alone, as long as manifest and index are there.
    let shard = near.join("shards/shard-00000.arrow");
    let hidden = dir.path().join("hidden");
    std::fs::rename(&shard, &hidden).unwrap();
    assert!(batches(&far) == want);

    // Beside another dataset, both from far away: the cache must hold what both need.
    std::fs::rename(&hidden, &shard).unwrap();
    let other = dir.path().join("other");
    support::labelled(&other, "other", schemas::build::BuildConfig::default(), None);
    let cfg = support::layers(&[]).resolve().unwrap();
    let far_other = PathBuf::from(format!("file://{}", other.display()));
    let both = |paths: &[&PathBuf]| Arc::new(Recipe::open_all(paths, &cfg).unwrap());
    let error = Loader::start(&both(&[&far, &far_other]), 0..9).err().unwrap().to_string();
    assert!(error.contains("other datasets") && error.contains("--cache-size"), "{error}");
    let read = |recipe| Loader::start(&recipe, 0..9).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    assert!(read(both(&[&near, &far_other])) == read(both(&[&near, &other])));
    std::fs::rename(&shard, &hidden).unwrap();

    // What cannot be fetched is no damaged row: nothing else is trained on in its place.
    std::fs::remove_dir_all(&cache).unwrap();
    let cfg = support::layers(&[]).resolve().unwrap();
    let error = Recipe::open(&far, &cfg).unwrap_err().to_string();
    assert!(error.contains("shard-00000.arrow"), "{error}");
    std::fs::rename(&hidden, &shard).unwrap();
    let recipe = Recipe::open(&far, &cfg).unwrap();
    std::fs::remove_dir_all(&cache).unwrap();
    std::fs::rename(&shard, &hidden).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let error = recipe.batch(0).unwrap_err().to_string();
    assert!(error.contains("could not fetch") && error.contains("shard-00000.arrow"), "{error}");
}
