//! Hundreds of inputs of all kinds, a daemon that is killed at random, a disk that is full at times: in the end every input
//! has its one result or its one failure, and the daemon needs no more memory and files than in the beginning.
//!
//! `SOAK_SECONDS` says for how long (15 if unset), `SOAK_SEED` which random run it is. With `SOAK_DISK`, a folder on a
//! small file system of its own, that file system is filled up at times (see `.ci/soak`).

#![expect(clippy::unwrap_used, reason = "test helpers outside of test functions")]

use crate::support::{Daemon, PATIENCE, bundled, names, picture, sequence};
use shards::order::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What becomes of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Done,
    Failed,
    NeedsInit,
    Ignored,
}

/// A kind of input, and what becomes of it.
const KINDS: [(&str, Fate); 20] = [
    ("sequence", Fate::Done),
    ("moved-in", Fate::Done),
    ("slowly", Fate::Done),
    ("video", Fate::Done),
    ("box-in-json", Fate::Done),
    ("odd\u{1b}\nname", Fate::Done),
    ("two-targets", Fate::Done),
    ("archive", Fate::Done),
    ("data-set", Fate::Done),
    ("no-box", Fate::NeedsInit),
    ("archive-without-box", Fate::NeedsInit),
    ("archive-cut-off", Fate::Failed),
    ("link-inside", Fate::Failed),
    ("bad-box", Fate::Failed),
    ("broken-frame", Fate::Failed),
    ("cut-off", Fate::Failed),
    ("noise", Fate::Failed),
    ("no-video", Fate::Failed),
    ("link", Fate::Ignored),
    ("unfinished.part", Fate::Ignored),
];

/// An input that is still being written.
struct Slow {
    path: PathBuf,
    rest: Vec<u8>,
}

struct Soak {
    daemon: Daemon,
    config: String,
    rng: Rng,
    clip: Vec<u8>,
    clip_box: Vec<u8>,
    slow: Vec<Slow>,
    dropped: Vec<(String, Fate)>,
}

fn seconds_of(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

impl Soak {
    fn new() -> Self {
        let place = std::env::var_os("SOAK_DISK").map_or_else(std::env::temp_dir, PathBuf::from);
        let daemon = Daemon::within(&place);
        let config = daemon.root.path().join("config.toml");
        fs::write(&config, "min_free_mb = 1\n").unwrap();
        Self {
            daemon,
            config: config.to_str().unwrap().to_owned(),
            rng: Rng::new(seconds_of("SOAK_SEED", 1)),
            clip: fs::read(bundled("videos/coin.mp4")).unwrap(),
            clip_box: fs::read(bundled("videos/coin.txt")).unwrap(),
            slow: Vec::new(),
            dropped: Vec::new(),
        }
    }

    fn start(&mut self) {
        self.daemon.start_with(&["--config", &self.config], &[]);
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    /// Drops one input of a kind.
    fn drop_in(&mut self, (kind, fate): (&str, Fate)) {
        let name = format!("j{:04}-{kind}", self.dropped.len());
        let inbox = self.daemon.inbox.clone();
        let path = inbox.join(&name);
        let frames = 3 + self.below(8) as usize;
        let video = |bytes: &[u8], truth: Option<&[u8]>| {
            if let Some(truth) = truth {
                fs::write(inbox.join(format!("{name}.txt")), truth).unwrap();
            }
            fs::write(inbox.join(format!("{name}.mp4")), bytes).unwrap();
        };
        match kind {
            "moved-in" => {
                let outside = self.daemon.root.path().join(&name);
                sequence(&outside, frames);
                fs::rename(&outside, &path).unwrap();
            }
            "slowly" => {
                fs::write(inbox.join(format!("{name}.txt")), &self.clip_box).unwrap();
                self.slow.push(Slow { path: path.with_extension("mp4"), rest: self.clip.clone() });
            }
            "video" => video(&self.clip, Some(&self.clip_box)),
            "box-in-json" => {
                fs::create_dir(&path).unwrap();
                fs::write(path.join("init.json"), r#"{"targets":[{"frame":1,"region":[40,30,30,30]}]}"#).unwrap();
                for i in 0..frames {
                    fs::write(path.join(format!("{i}.jpg")), picture(i)).unwrap();
                }
            }
            "two-targets" => {
                sequence(&path, frames);
                let text = r#"{"targets":[{"id":"a","region":[40,30,30,30]},{"id":"b","region":[60,30,30,30]}]}"#;
                fs::write(path.join("init.json"), text).unwrap();
            }
            "archive" | "archive-without-box" | "archive-cut-off" => {
                let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
                let folder = self.daemon.root.path().join("to-pack");
                sequence(&folder, frames);
                archive.append_dir_all("seq/color", folder.join("color")).unwrap();
                if kind == "archive" {
                    archive.append_path_with_name(folder.join("groundtruth.txt"), "seq/groundtruth.txt").unwrap();
                }
                fs::remove_dir_all(&folder).unwrap();
                let mut bytes = archive.into_inner().unwrap().finish().unwrap();
                if kind == "archive-cut-off" {
                    bytes.truncate(bytes.len() / 2);
                }
                fs::write(inbox.join(format!("{name}.tar.zst")), bytes).unwrap();
            }
            "data-set" => {
                for part in ["one", "two"] {
                    sequence(&path.join(part), frames);
                }
                fs::write(path.join("list.txt"), "one\ntwo\n").unwrap();
            }
            "link-inside" => {
                sequence(&path, frames);
                symlink("/etc/passwd", path.join("color/99999999.jpg")).unwrap();
            }
            "no-box" => {
                fs::create_dir(&path).unwrap();
                for i in 0..frames {
                    fs::write(path.join(format!("{i}.jpg")), picture(i)).unwrap();
                }
            }
            "bad-box" => video(&self.clip, Some(b"nan,1,2,3\n")),
            "broken-frame" => {
                sequence(&path, frames);
                fs::write(path.join("color").join(format!("{frames:08}.jpg")), b"\xff\xd8\xff no picture").unwrap();
            }
            "cut-off" => video(&self.clip[..self.clip.len() / 2], Some(&self.clip_box)),
            "noise" => {
                let noise: Vec<u8> = (0..4000).map(|_| self.rng.next_u64() as u8).collect();
                fs::write(path.with_extension("avi"), noise).unwrap();
            }
            "no-video" => fs::write(path.with_extension("mkv"), "#EXTM3U\n/etc/passwd\n").unwrap(),
            "link" => symlink("/etc/passwd", path.with_extension("mp4")).unwrap(),
            "unfinished.part" => fs::write(&path, &self.clip[..1000]).unwrap(),
            _ => sequence(&path, frames),
        }
        self.dropped.push((name, fate));
    }

    /// Writes the next piece of everything that is slow.
    fn write_on(&mut self) {
        for slow in &mut self.slow {
            let rest = slow.rest.split_off(slow.rest.len().min(self.clip.len() / 5 + 1));
            let piece = std::mem::replace(&mut slow.rest, rest);
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&slow.path).unwrap();
            file.write_all(&piece).unwrap();
        }
        self.slow.retain(|slow| !slow.rest.is_empty());
    }

    /// Leaves not a byte on the daemon's file system for a while.
    fn fill_disk(&mut self) {
        let filler = self.daemon.root.path().join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        let full = (0..100_000).any(|_| file.write_all(&[0; 4096]).is_err());
        assert!(full, "SOAK_DISK is larger than 400 MB");
        std::thread::sleep(Duration::from_millis(1500));
        drop(file);
        fs::remove_file(&filler).unwrap();
    }

    /// Until nothing is left that happens by itself.
    fn settle(&mut self) {
        while !self.slow.is_empty() {
            self.write_on();
            std::thread::sleep(Duration::from_millis(100));
        }
        // What has just been dropped is seen at the next scan.
        let inputs = self.dropped.iter().filter(|(_, fate)| *fate != Fate::Ignored).count() as u64;
        let (mut last, mut since) = (serde_json::Value::Null, Instant::now());
        loop {
            let (_, answer) = self.daemon.ask(&["status"]);
            let counts = &answer["jobs"];
            let sum = |states: &[&str]| states.iter().filter_map(|s| counts[s].as_u64()).sum::<u64>();
            let known = sum(&["done", "failed", "needs_init"]);
            if known >= inputs && sum(&["seen", "ready", "claimed", "running", "waiting", "failing"]) == 0 {
                return;
            }
            if *counts != last {
                (last, since) = (counts.clone(), Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "nothing happens any more: {last}; log:\n{}", self.daemon.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Resident memory in KiB and open files of the daemon.
    fn weigh(&mut self) -> (u64, usize) {
        let id = self.daemon.id().unwrap();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        (kib, names(Path::new(&format!("/proc/{id}/fd"))).len())
    }

    /// What became of each input: exactly one thing, and the right one.
    fn account(&self) {
        let (done, failed) = (self.daemon.outbox.join("done"), self.daemon.outbox.join("failed"));
        let mut found: BTreeMap<String, Vec<Fate>> = BTreeMap::new();
        let number = |name: &str| name.chars().take(5).collect::<String>();
        for name in names(&done) {
            assert!(done.join(&name).join("result.json").is_file(), "{name:?} has no result");
            found.entry(number(&name)).or_default().push(Fate::Done);
        }
        for name in names(&failed) {
            assert!(failed.join(&name).join("error.json").is_file(), "{name:?} has no reason");
            found.entry(number(&name)).or_default().push(Fate::Failed);
        }
        let (_, listed) = self.daemon.ask(&["list"]);
        for job in listed["jobs"].as_array().unwrap() {
            if job["state"] == "needs_init" {
                found.entry(number(job["name"].as_str().unwrap())).or_default().push(Fate::NeedsInit);
            }
        }
        for name in names(&self.daemon.inbox) {
            let waits = found.get(&number(&name)).is_some_and(|fates| fates.contains(&Fate::NeedsInit));
            if name.starts_with('j') && !waits {
                found.entry(number(&name)).or_default().push(Fate::Ignored);
            }
        }
        let mut table: BTreeMap<(&str, Fate), usize> = BTreeMap::new();
        for (name, fate) in &self.dropped {
            let became = found.get(&number(name)).cloned().unwrap_or_default();
            assert_eq!(became, [*fate], "{name:?}; log:\n{}", self.daemon.log());
            let kind = KINDS.iter().find(|(kind, _)| name.get(6..) == Some(kind)).unwrap();
            *table.entry(*kind).or_default() += 1;
        }
        assert_eq!(found.len(), self.dropped.len(), "something is there that nobody dropped");
        assert_eq!(names(&self.daemon.outbox), [".trackd", "done", "failed"], "temporary folders are gone");
        for ((kind, fate), count) in table {
            println!("{count:5} {:<16} {fate:?}", kind.escape_debug().to_string());
        }
    }
}

#[test]
fn every_input_is_accounted_for_whatever_happens() {
    let time = Duration::from_secs(seconds_of("SOAK_SECONDS", 15));
    let mut soak = Soak::new();
    let (mut kills, mut stops, mut fills) = (0, 0, 0);
    soak.start();
    let started = Instant::now();
    while started.elapsed() < time / 2 {
        match soak.below(40) {
            0..=2 => {
                soak.daemon.kill();
                std::thread::sleep(Duration::from_millis(soak.below(300)));
                soak.start();
                kills += 1;
            }
            3 => {
                assert_eq!(soak.daemon.stop(), Some(0), "log:\n{}", soak.daemon.log());
                soak.start();
                stops += 1;
            }
            4 if std::env::var_os("SOAK_DISK").is_some() => {
                soak.fill_disk();
                fills += 1;
            }
            5..=19 => {
                let kind = soak.below(KINDS.len() as u64) as usize;
                soak.drop_in(KINDS[kind]);
            }
            20..=24 => soak.write_on(),
            _ => {}
        }
        let pause = soak.below(200);
        std::thread::sleep(Duration::from_millis(pause));
        assert!(soak.daemon.id().is_some(), "the daemon ended by itself; log:\n{}", soak.daemon.log());
    }
    soak.settle();
    soak.account();
    let inputs = soak.dropped.len();
    println!("{inputs} inputs in {} s; {kills} kills, {stops} stops, {fills} times a full disk", time.as_secs() / 2);

    let mut weights = Vec::new();
    while started.elapsed() < time || weights.len() < 4 {
        for kind in [KINDS[0], KINDS[7], KINDS[8], KINDS[4], KINDS[10]] {
            soak.drop_in(kind);
        }
        soak.settle();
        weights.push(soak.weigh());
    }
    soak.account();
    assert_eq!(soak.daemon.stop(), Some(0), "log:\n{}", soak.daemon.log());
    let (first, last) = (weights[1], weights[weights.len() - 1]);
    println!("memory {} MiB, then {} MiB; open files {}, then {}", first.0 >> 10, last.0 >> 10, first.1, last.1);
    assert!(last.0 < first.0 + first.0 / 4 + 16_384, "memory grows, KiB and open files: {weights:?}");
    assert!(last.1 <= first.1 + 3, "open files are left: {weights:?}");
}
