//! Runs fuzz targets over stored seeds and seeded mutations of them, and watches panics and memory.

use super::counting;
use shards::fuzzing::{Target, drive};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files of a folder, by name; none if there is no such folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Runs targets over the stored corpus and the seeds given by `more`, and asserts that none panics or reserves more
/// than `allowance` bytes. `FUZZ_RUNS`, `FUZZ_SEED` and `FUZZ_TARGET` choose another number of mutations, others, or one
/// target. An input that breaks one is left in the system's folder for temporary files.
pub fn check(
    targets: &[(&str, Target)],
    runs: u64,
    more: impl Fn(&str) -> Vec<PathBuf>,
    allowance: impl Fn(&str, usize) -> usize,
) {
    // The reader turns panics of Arrow's decoder into errors; thousands of them need not be printed.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut failed = Vec::new();
    let only = std::env::var("FUZZ_TARGET").ok();
    for &(name, target) in targets.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let mut paths = files(&root().join("fuzz/corpus").join(name));
        paths.extend(more(name));
        let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        if seeds.is_empty() {
            failed.push(format!("{name} has no corpus"));
        }
        let keep = |input: &[u8]| {
            let hash = blake3::hash(input).to_hex();
            let file = std::env::temp_dir().join(format!("fuzz-{name}-{}", &hash[..16]));
            fs::write(&file, input).unwrap();
            file
        };
        let (mut worst, mut slowest, mut wrong) = (0, 0.0f64, None);
        let runs = number("FUZZ_RUNS", runs);
        drive(
            |_| {},
            &seeds,
            runs,
            number("FUZZ_SEED", 1),
            |input| {
                counting::reset();
                let start = std::time::Instant::now();
                if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
                    wrong.get_or_insert_with(|| format!("{name} panics on {}", keep(input).display()));
                }
                let peak = counting::peak();
                slowest = slowest.max(start.elapsed().as_secs_f64());
                worst = worst.max(peak);
                if peak > allowance(name, input.len()) {
                    let what =
                        || format!("{name} reserves {peak} bytes for {} of {}", input.len(), keep(input).display());
                    wrong.get_or_insert_with(what);
                }
            },
        );
        let ms = slowest * 1e3;
        eprintln!("{name}: {} seeds, {runs} mutations, at most {worst} bytes and {ms:.1} ms", seeds.len());
        failed.extend(wrong);
    }
    std::panic::set_hook(hook);
    assert_eq!(failed, Vec::<String>::new());
}
