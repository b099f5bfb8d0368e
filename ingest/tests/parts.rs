//! Work divided among processes: any number of parts, workers that die, workers that meet, and object storage instead of a
//! folder; the dataset is always the same, byte for byte.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use ingest::build::{BuildOptions, build};
use schemas::build::BuildConfig;
use schemas::manifest::Manifest;
use shards::reader::Dataset;
use shards::store::cache::Settings;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};
use support::{Pack, corpus_folder, corpus_videos, dataset_bytes, pack};

/// A corpus, its configuration, and the dataset that one undisturbed process makes of it.
struct Place {
    dir: tempfile::TempDir,
    config: PathBuf,
    folder: PathBuf,
    archive: PathBuf,
    whole: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let folder = corpus_folder(dir.path(), &corpus_videos(12, 4));
    let archive = pack(&folder, Pack::Zst, true);
    let config = dir.path().join("build.toml");
    fs::write(&config, "shard_bytes = 500000").unwrap();
    let whole = dir.path().join("whole");
    let place = Place { config, folder, archive, whole, dir };
    assert_done(&place.run(&place.folder, &place.whole, "0/1"), 0);
    assert!(place.manifest(&place.whole).shards.len() >= 5, "several shards for each of three parts");
    place
}

impl Place {
    fn command(&self, source: &Path, out: &Path, part: &str) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("ingest"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).arg("build");
        command.arg("--source").arg(format!("crops={}", source.display())).arg("--out").arg(out);
        command.arg("--config").arg(&self.config).args(["--threads", "1", "--part", part]);
        command.arg("--scratch").arg(self.dir.path().join("scratch"));
        command
    }

    fn run(&self, source: &Path, out: &Path, part: &str) -> Output {
        self.command(source, out, part).output().unwrap()
    }

    fn start(&self, source: &Path, out: &Path, part: &str) -> Child {
        self.command(source, out, part).spawn().unwrap()
    }

    fn manifest(&self, out: &Path) -> Manifest {
        serde_json::from_slice(&fs::read(out.join("dataset.json")).unwrap()).unwrap()
    }

    fn assert_same(&self, out: &Path) {
        assert!(dataset_bytes(out) == dataset_bytes(&self.whole), "{} differs", out.display());
    }
}

fn merge(out: &Path) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("ingest")).arg("merge").arg(out).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_done(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
}

#[test]
fn one_two_or_three_parts_give_the_same_dataset() {
    let p = place();
    for (source, form) in [(&p.folder, "folder"), (&p.archive, "archive")] {
        for n in 1..=3 {
            let out = p.dir.path().join(format!("{form}-{n}"));
            // Any order will do.
            for i in (0..n).rev() {
                assert_done(&p.run(source, &out, &format!("{i}/{n}")), 0);
                assert_eq!(out.join("dataset.json").exists(), n == 1);
            }
            assert_done(&merge(&out), 0);
            p.assert_same(&out);
            assert_eq!(p.manifest(&out).dataset_hash, p.manifest(&p.whole).dataset_hash);
        }
    }
}

#[test]
fn a_missing_part_is_named_and_the_number_of_parts_may_change() {
    let p = place();
    let out = p.dir.path().join("out");
    for part in ["0/3", "2/3"] {
        assert_done(&p.run(&p.folder, &out, part), 0);
    }
    let refused = merge(&out);
    assert_done(&refused, 1);
    for needle in ["part 1/3 (shards 1, 4", "has not finished", "--part 1/3"] {
        assert!(said(&refused).contains(needle), "{needle}: {}", said(&refused));
    }
    assert!(!said(&refused).contains("0/3") && !out.join("dataset.json").exists());
    // Two machines take over from three.
    assert_done(&p.run(&p.folder, &out, "1/2"), 0);
    let refused = merge(&out);
    assert!(said(&refused).contains("part 0/2 (shards 4"), "{}", said(&refused));
    assert_done(&p.run(&p.folder, &out, "0/2"), 0);
    assert_done(&merge(&out), 0);
    p.assert_same(&out);
}

#[test]
fn workers_that_meet_do_no_harm() {
    let p = place();
    // The same part twice, and parts of another division that share shards with it.
    for (round, parts) in [["0/1", "0/1"], ["0/2", "0/2"], ["0/2", "0/3"]].into_iter().enumerate() {
        for source in [&p.folder, &p.archive] {
            let out = p.dir.path().join(format!("{round}-{}", source.file_name().unwrap().to_string_lossy()));
            let started: Vec<Child> = parts.iter().map(|part| p.start(source, &out, part)).collect();
            let ended: Vec<Output> = started.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
            assert!(ended.iter().any(|output| output.status.success()), "{} {}", said(&ended[0]), said(&ended[1]));
            for output in ended.iter().filter(|output| !output.status.success()) {
                assert!(said(output).contains("another process is building this part"), "{}", said(output));
            }
            for part in ["0/2", "1/2"] {
                assert_done(&p.run(source, &out, part), 0);
            }
            assert_done(&merge(&out), 0);
            p.assert_same(&out);
        }
    }
}

/// Kills in all; `INGEST_SOAK_KILLS` asks for more.
fn kills() -> u32 {
    std::env::var("INGEST_SOAK_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

#[test]
fn workers_killed_at_random_points_and_repeated_give_the_same_dataset() {
    let p = place();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut rng = shards::order::Rng::new(now.as_nanos() as u64);
    let begun = std::time::Instant::now();
    assert_done(&p.run(&p.folder, &p.dir.path().join("timed"), "0/1"), 0);
    let span = begun.elapsed().as_micros() as u64;
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills() {
        let source = [&p.folder, &p.archive][rounds % 2];
        let out = p.dir.path().join(format!("killed-{rounds}"));
        let n = 1 + rng.below(3);
        for _ in 0..4 {
            let mut child = p.start(source, &out, &format!("{}/{n}", rng.below(n)));
            std::thread::sleep(Duration::from_micros(rng.below(span)));
            killed += u32::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for i in 0..n {
            assert_done(&p.run(source, &out, &format!("{i}/{n}")), 0);
        }
        assert_done(&merge(&out), 0);
        p.assert_same(&out);
        let left = walkdir::WalkDir::new(&out).into_iter().map(|entry| entry.unwrap().file_name().to_owned());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".tmp-")).collect();
        assert!(left.is_empty(), "{left:?}");
        rounds += 1;
    }
    println!("{killed} kills in {rounds} builds");
}

#[test]
fn object_storage_holds_the_same_dataset() {
    let p = place();
    let bucket = p.dir.path().join("bucket");
    let url = PathBuf::from(format!("file://{}", bucket.display()));
    let source = PathBuf::from(format!("file://{}", p.archive.display()));
    // Workers of the same part meet, without a lock between them, and one is killed.
    let mut killed = p.start(&source, &url, "1/2");
    std::thread::sleep(Duration::from_millis(30));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let started: Vec<Child> = ["0/2", "0/2", "1/2"].iter().map(|part| p.start(&source, &url, part)).collect();
    for child in started {
        assert_done(&child.wait_with_output().unwrap(), 0);
    }
    let merges: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn({
                let url = url.clone();
                move || merge(&url)
            })
        })
        .collect();
    for merged in merges {
        assert_done(&merged.join().unwrap(), 0);
    }
    p.assert_same(&bucket);
    let scratch = fs::read_dir(p.dir.path().join("scratch")).unwrap().count();
    assert!(scratch <= 1, "only the killed worker leaves its scratch folder: {scratch}");

    // A shard that is gone is named, and built again.
    fs::remove_file(bucket.join("shards/shard-00001.arrow")).unwrap();
    assert!(said(&merge(&url)).contains("part 1/2 (shards 1)"));
    assert_done(&p.run(&source, &url, "1/2"), 0);
    p.assert_same(&bucket);

    // It is read through a cache that holds two shards of it.
    let manifest = p.manifest(&p.whole);
    let largest = manifest.shards.iter().map(|shard| shard.bytes).max().unwrap();
    let cache = Settings { dir: p.dir.path().join("cache"), bytes: 2 * largest };
    let (far, near) = (Dataset::open_through(&url, &cache).unwrap(), Dataset::open(&p.whole).unwrap());
    assert_eq!(far.manifest(), near.manifest());
    for (number, shard) in (0u32..).zip(&manifest.shards) {
        for row in 0..u32::try_from(shard.rows).unwrap() {
            let (a, b) = (far.row(number, row).unwrap(), near.row(number, row).unwrap());
            assert!(a.check().is_ok() && a.search() == b.search() && a.template() == b.template());
        }
    }
}

#[test]
fn a_place_that_holds_something_else_is_left_alone() {
    let p = place();
    let bucket = p.dir.path().join("bucket");
    let url = PathBuf::from(format!("file://{}", bucket.display()));
    fs::create_dir(&bucket).unwrap();
    fs::write(bucket.join("thesis.txt"), "years of work").unwrap();
    let refused = p.run(&p.folder, &url, "0/1");
    assert_done(&refused, 1);
    assert!(said(&refused).contains("thesis.txt"), "{}", said(&refused));
    assert_eq!(fs::read_dir(&bucket).unwrap().count(), 1);

    let wrong = merge(Path::new("file://relative"));
    assert_done(&wrong, 1);
    assert!(said(&wrong).contains("file:///absolute/path"), "{}", said(&wrong));
}

#[test]
fn the_decoder_and_its_version_decide_the_configuration_hash() {
    let ours = BuildConfig::default();
    let other = BuildConfig { decoder: format!("{}-other", ours.decoder), ..ours.clone() };
    assert_ne!(ingest::config::hash(&ours), ingest::config::hash(&other));
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock")).unwrap();
    for part in ours.decoder.split(", ") {
        let (name, version) = part.split_once(' ').unwrap();
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"");
        assert!(lock.contains(&entry), "{part} is not what is linked");
    }
    // A dataset begun with another decoder is refused, by name.
    let p = place();
    let record = p.whole.join(".ingest/build.json");
    let text = fs::read_to_string(&record).unwrap().replace(&ours.decoder, "other 1.0");
    fs::write(record, text).unwrap();
    let source = [format!("crops={}", p.folder.display()).parse().unwrap()];
    let config = BuildConfig { shard_bytes: 500_000, ..ours };
    let refused = build(&source, &config, &p.whole, &BuildOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("decoder is \"other 1.0\" there"), "{refused}");
}
