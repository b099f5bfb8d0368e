//! The program as people run it: exit codes, dry runs, interruption at any point.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use support::{Pack, corpus_folder, corpus_videos, dataset_bytes, pack, vot_dataset};

fn ingest() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("ingest"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    ingest().args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn config(dir: &Path, content: &str) -> PathBuf {
    let path = dir.join("build.toml");
    fs::write(&path, content).unwrap();
    path
}

/// Starts a build into a fresh folder, sends `signal` as soon as `reached` holds for the folder, and returns the
/// folder and what the program said. The build runs at the lowest priority, so that this test sees it in time also on a busy
/// machine; where the build is faster all the same, it is tried again.
fn stopped_at(
    dir: &Path,
    signal: &str,
    args: impl Fn(&Path) -> Vec<String>,
    reached: impl Fn(&Path) -> bool,
) -> (PathBuf, Output) {
    for attempt in 0..50 {
        let out = dir.join(format!("{signal}-{attempt}-{}", fs::read_dir(dir).unwrap().count()));
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(assert_cmd::cargo::cargo_bin!("ingest")).args(args(&out));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        while !reached(&out) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        // Fails when the program has ended already. The shell's own `kill`: not every machine has the program.
        let kill = format!("kill {signal} {}", child.id());
        Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().unwrap();
        let output = child.wait_with_output().unwrap();
        if !out.join("dataset.json").exists() {
            return (out, output);
        }
    }
    panic!("the build was always faster than the signal");
}

fn files(dir: &Path, ending: &str) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(ending)).count()
}

#[test]
fn killed_at_any_point_and_run_again_gives_the_same_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let folder = corpus_folder(dir.path(), &corpus_videos(12, 6));
    let archive = pack(&folder, Pack::Gz, true);
    let config = config(dir.path(), "shard_bytes = 700000");
    let args = |source: &Path, out: &Path| -> Vec<String> {
        let words = ["build", "--source", &format!("crops={}", source.display()), "--out", &out.display().to_string()];
        let rest = ["--config", &config.display().to_string(), "--threads", "1"];
        words.iter().chain(&rest).map(|word| (*word).to_owned()).collect()
    };
    let whole = dir.path().join("whole");
    let done = ingest().args(args(&folder, &whole)).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let want = dataset_bytes(&whole);
    assert!(want.len() > 7, "several shards: {:?}", want.keys());

    let spooling = |out: &Path| {
        let entries = fs::read_dir(out.join(".ingest")).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("spool"))
    };
    let begun = |out: &Path| out.join(".ingest/build.json").exists();
    let one_shard = |out: &Path| files(&out.join("shards"), ".arrow") >= 1;
    let four_records = |out: &Path| files(&out.join(".ingest"), "3.json") >= 1;
    type Reached<'a> = &'a dyn Fn(&Path) -> bool;
    let points: [(&Path, Reached<'_>); 5] = [
        (&archive, &spooling),
        (&archive, &one_shard),
        (&folder, &begun),
        (&folder, &one_shard),
        (&folder, &four_records),
    ];
    for (number, (source, reached)) in points.into_iter().enumerate() {
        let (out, _) = stopped_at(dir.path(), "-KILL", |out| args(source, out), reached);
        let again = ingest().args(args(source, &out)).output().unwrap();
        assert!(again.status.success(), "{}", text(&again.stderr));
        assert!(dataset_bytes(&out) == want, "point {number} differs");
    }
}

#[test]
fn an_interrupt_stops_cleanly_and_a_damaged_shard_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let folder = corpus_folder(dir.path(), &corpus_videos(12, 6));
    let config = config(dir.path(), "shard_bytes = 700000");
    let args = |out: &Path| -> Vec<String> {
        let words = ["build", "--threads", "1", "--json", "--source"].into_iter().map(str::to_owned);
        let rest = [format!("crops={}", folder.display()), "--config".into(), config.display().to_string()];
        words.chain(rest).chain(["--out".into(), out.display().to_string()]).collect()
    };
    let (out, stopped) = stopped_at(dir.path(), "-INT", args, |out| files(&out.join("shards"), ".arrow") >= 1);
    let args = args(&out);
    assert_eq!(stopped.status.code(), Some(130), "{}", text(&stopped.stderr));
    assert!(text(&stopped.stderr).contains("run the same command again"), "{}", text(&stopped.stderr));
    let leftovers = fs::read_dir(out.join("shards")).unwrap().map(|e| e.unwrap().file_name());
    assert!(leftovers.into_iter().all(|name| name.to_string_lossy().ends_with(".arrow")));

    let first = ingest().args(&args).output().unwrap();
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let report: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert!(report["shards_kept"].as_u64().unwrap() >= 1 && report["frames_per_s"].as_f64().unwrap() > 0.0, "{report}");
    let want = dataset_bytes(&out);

    // Nothing is done where nothing is to be done.
    let idle = ingest().args(&args).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&idle.stdout).unwrap();
    assert_eq!((idle.status.code(), report["shards_built"].as_u64()), (Some(0), Some(0)));

    // A shard that is gone is built again, and a damaged one when shards are checked.
    fs::remove_file(out.join("shards/shard-00001.arrow")).unwrap();
    let mut bytes = fs::read(out.join("shards/shard-00000.arrow")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(out.join("shards/shard-00000.arrow"), bytes).unwrap();
    let merge = run(&["merge", out.to_str().unwrap()]);
    assert_eq!(merge.status.code(), Some(1));
    assert!(text(&merge.stderr).contains("2 of") && text(&merge.stderr).contains("(0, 1)"), "{}", text(&merge.stderr));
    let repaired = ingest().args(&args).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&repaired.stdout).unwrap();
    assert_eq!(report["shards_built"].as_u64(), Some(2), "{report}");
    assert!(dataset_bytes(&out) == want);
    assert_eq!(run(&["merge", out.to_str().unwrap()]).status.code(), Some(0));
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = vot_dataset(dir.path(), 2, 3);
    let out = dir.path().join("out");
    let source = format!("sequences={}", source.display());
    let args = ["build", "--source", &source, "--out", out.to_str().unwrap(), "--dry-run", "--search-px", "432"];
    let plain = run(&args);
    assert_eq!(plain.status.code(), Some(0), "{}", text(&plain.stderr));
    for needle in ["videos   2", "rows     6", "shards   1", "free", "search_px = 432", "jpeg_quality = 95"] {
        assert!(text(&plain.stdout).contains(needle), "{needle}: {}", text(&plain.stdout));
    }
    let json = run(&[&args[..], &["--json"]].concat());
    let plan: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((plan["rows"].as_u64(), plan["config"]["search_px"].as_u64()), (Some(6), Some(432)));
    assert!(plan["bytes"].as_u64().unwrap() > 0 && plan["free_bytes"].as_u64().is_some());
    assert!(!out.exists());
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = vot_dataset(dir.path(), 2, 2);
    let source = format!("sequences={}", path.display());
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    let build = |more: &[&str]| run(&[&["build", "--source", &source, "--out", out], more].concat());
    for (args, needle) in [
        (vec!["build"], "--source"),
        (
            vec!["build", "--source", "pixels=x", "--out", out],
            "use one of crops, sequences, vid, ytbb, crop511, stills",
        ),
        (vec!["build", "--source", &source, "--out", out, "--part", "2/2"], "I/N"),
        (vec!["build", "--source", &source, "--out", out, "--threads", "0"], "threads"),
        (vec!["build", "--source", &source, "--out", out, "--search-px", "10"], "search_px = 10"),
    ] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(needle), "{args:?}: {}", text(&output.stderr));
    }
    let unknown = config(dir.path(), "shard_byte = 1");
    let output = build(&["--config", unknown.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("shard_byte"), "{}", text(&output.stderr));
    assert!(!Path::new(out).exists());

    assert_eq!(build(&[]).status.code(), Some(0));
    for (more, needle) in [
        (&["--buffer-compression", "zstd"][..], "buffer_compression is \"none\" there"),
        (&["--search-px", "400"], "search_px is 352 there, 400 asked for"),
    ] {
        let other = build(more);
        assert_eq!(other.status.code(), Some(1));
        assert!(text(&other.stderr).contains(needle), "{}", text(&other.stderr));
    }
    fs::write(path.join("seq1/color/00000001.jpg"), "gone bad").unwrap();
    let rejected = dir.path().join("rejected");
    let args = ["build", "--source", &source, "--out", rejected.to_str().unwrap(), "--buffer-compression", "lz4"];
    for _ in 0..2 {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("rejects.jsonl"), "{}", text(&output.stderr));
    }
    assert!(shards::reader::Dataset::open(&rejected).is_ok());
    let strict =
        run(&["build", "--source", &source, "--out", dir.path().join("s").to_str().unwrap(), "--max-rejects", "0"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(text(&strict.stderr).contains("--max-rejects 0"), "{}", text(&strict.stderr));

    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    let output = run(&["build", "--source", &source, "--out", foreign.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("thesis.txt"), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    assert_eq!(run(&["merge", foreign.to_str().unwrap()]).status.code(), Some(1));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_write_that_fails_is_one_clear_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = corpus_folder(dir.path(), &corpus_videos(6, 4));
    let config = config(dir.path(), "shard_bytes = 400000");
    let out = dir.path().join("out");
    let program = assert_cmd::cargo::cargo_bin!("ingest").display().to_string();
    let args = |source: &Path, out: &Path| {
        format!(
            "build --source crops={} --out {} --config {} --threads 1",
            source.display(),
            out.display(),
            config.display()
        )
    };
    // No file may grow beyond 64 KiB: writes fail as on a full disk.
    for source in [folder.clone(), pack(&folder, Pack::Zst, true)] {
        let script = format!("trap '' XFSZ; ulimit -f 128; exec {program} {}", args(&source, &out));
        let failed = Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = text(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{said}");
        assert!(said.contains("write") && said.contains("File too large") && said.lines().count() == 1, "{said}");
        assert_eq!(fs::read_dir(out.join("shards")).unwrap().count(), 0, "nothing half written is left");
        assert!(!out.join("dataset.json").exists());
    }
    let words = |out: &Path| args(&folder, out).split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(ingest().args(words(&out)).output().unwrap().status.success());
    let clean = dir.path().join("clean");
    assert!(ingest().args(words(&clean)).output().unwrap().status.success());
    assert!(dataset_bytes(&out) == dataset_bytes(&clean));
}
