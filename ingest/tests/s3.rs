//! The same promises over a real S3 protocol server. `.ci/interop/full/s3` starts one and runs this.

#![cfg(feature = "s3")]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use shards::reader::Dataset;
use shards::store;
use shards::store::cache::Settings;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use support::{Pack, corpus_folder, corpus_videos, dataset_bytes, pack};

fn place(name: &str) -> PathBuf {
    let base = std::env::var("INGEST_S3_URL").expect("INGEST_S3_URL names a bucket, for example s3://test");
    PathBuf::from(format!("{base}/{name}"))
}

fn start(source: &Path, out: &Path, config: &Path, part: &str) -> Child {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("ingest"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).arg("build");
    command.arg("--source").arg(format!("crops={}", source.display())).arg("--out").arg(out);
    command.arg("--config").arg(config).args(["--threads", "1", "--part", part]).spawn().unwrap()
}

fn merge(out: &Path) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("ingest")).arg("merge").arg(out).output().unwrap()
}

fn assert_done(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "needs an S3 server: run .ci/interop/full/s3"]
fn objects_are_whole_and_created_once() {
    let objects = store::open(&place("objects")).unwrap();
    assert_eq!((objects.get("none").unwrap(), objects.size("none").unwrap()), (None, None));
    let won: Vec<bool> = std::thread::scope(|scope| {
        let create = |n: u8| {
            let objects = &objects;
            scope.spawn(move || objects.create("once", &[n; 9]).unwrap())
        };
        let threads: Vec<_> = (0..8).map(create).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let winner = won.iter().position(|won| *won).unwrap() as u8;
    assert_eq!(objects.get("once").unwrap(), Some(vec![winner; 9]));
    objects.put("folder/small", b"bytes").unwrap();
    // Several parts up, several requests down.
    let dir = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..30_000_001u32).map(|i| (i * 7 >> 3) as u8).collect();
    fs::write(dir.path().join("large"), &large).unwrap();
    objects.upload("large", &dir.path().join("large")).unwrap();
    assert_eq!(objects.size("large").unwrap(), Some(large.len() as u64));
    let mut read = Vec::new();
    objects.read("large").unwrap().read_to_end(&mut read).unwrap();
    assert!(read == large);
    assert_eq!(objects.names().unwrap(), ["folder", "large", "once"]);
    assert!(objects.read("none").err().unwrap().to_string().contains("objects/none"));
}

#[test]
#[ignore = "needs an S3 server: run .ci/interop/full/s3"]
fn a_dataset_from_s3_to_s3_is_the_one_from_disk_to_disk() {
    let dir = tempfile::tempdir().unwrap();
    let folder = corpus_folder(dir.path(), &corpus_videos(12, 4));
    let config = dir.path().join("build.toml");
    fs::write(&config, "shard_bytes = 500000").unwrap();
    let whole = dir.path().join("whole");
    assert_done(&start(&folder, &whole, &config, "0/1").wait_with_output().unwrap(), 0);
    let want = dataset_bytes(&whole);

    for how in [Pack::Tar, Pack::Gz] {
        let archive = pack(&folder, how, true);
        let name = archive.file_name().unwrap().to_str().unwrap();
        store::open(&place("corpora")).unwrap().upload(name, &archive).unwrap();
        let (source, out) = (place(&format!("corpora/{name}")), place(&format!("datasets/{name}")));
        // One worker is killed wherever it is, two are at the same part, one part is late.
        let mut killed = start(&source, &out, &config, "1/3");
        std::thread::sleep(Duration::from_millis(100));
        killed.kill().unwrap();
        killed.wait().unwrap();
        for child in ["0/3", "0/3", "1/3"].map(|part| start(&source, &out, &config, part)) {
            assert_done(&child.wait_with_output().unwrap(), 0);
        }
        let refused = merge(&out);
        assert_done(&refused, 1);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("part 2/3"));
        assert_done(&start(&source, &out, &config, "2/3").wait_with_output().unwrap(), 0);
        let merges = [(); 2].map(|()| {
            std::thread::spawn({
                let out = out.clone();
                move || merge(&out)
            })
        });
        for merged in merges {
            assert_done(&merged.join().unwrap(), 0);
        }
        let objects = store::open(&out).unwrap();
        for (file, bytes) in &want {
            assert!(objects.get(file).unwrap().as_ref() == Some(bytes), "{name}: {file} differs");
        }
        assert_done(&start(&source, &out, &config, "0/1").wait_with_output().unwrap(), 0);

        // Three readers share a cache that holds a part of it.
        let near = Dataset::open(&whole).unwrap();
        let shards = &near.manifest().shards;
        let limit = 3 * shards.iter().map(|shard| shard.bytes).max().unwrap();
        let cache = Settings { dir: dir.path().join("cache"), bytes: limit };
        let count = u32::try_from(shards.len()).unwrap();
        std::thread::scope(|scope| {
            for reader in 0..3 {
                let (cache, out, near) = (&cache, &out, &near);
                scope.spawn(move || {
                    let far = Dataset::open_through(out, cache).unwrap();
                    far.prefetch(0..u64::from(count), 1, |step| [step as u32]).unwrap();
                    for number in 0..count {
                        let number = (number + reader) % count;
                        for row in 0..near.manifest().shards[number as usize].rows as u32 {
                            let (a, b) = (far.row(number, row).unwrap(), near.row(number, row).unwrap());
                            assert!(a.check().is_ok() && a.search() == b.search() && a.template() == b.template());
                        }
                    }
                });
            }
        });
        let files = fs::read_dir(&cache.dir).unwrap().map(|file| file.unwrap().metadata().unwrap());
        let held: u64 = files.filter(fs::Metadata::is_file).map(|meta| meta.len()).sum();
        assert!(held > 0 && held <= limit, "{held} of {limit}");
        let far = Dataset::open_through(&out, &cache).unwrap();
        let error = far.prefetch(0..1, 1, |_| 0..count).unwrap_err().to_string();
        assert!(error.contains("--cache-size"), "{error}");
    }
}

#[test]
#[ignore = "needs an S3 server: run .ci/interop/full/s3"]
fn what_is_not_there_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("build.toml");
    fs::write(&config, "").unwrap();
    let output = start(&place("no/such.tar"), &dir.path().join("out"), &config, "0/1").wait_with_output().unwrap();
    assert_done(&output, 1);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no/such.tar") && said.lines().count() == 1, "{said}");
    let none = Dataset::open_through(&place("no/dataset"), &Settings { dir: dir.path().join("c"), bytes: 1 << 30 });
    assert!(none.unwrap_err().to_string().contains("dataset.json"));
}
