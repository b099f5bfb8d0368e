//! The daemon as a process: dropped inputs, crashes, failures, boxes given later.

use crate::support::{Daemon, bundled, json, names, picture, sequence};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use trackd::job::State;
use trackd::journal::Journal;

/// Waits until nothing is left to do, so that a second result would have shown up.
fn settle(daemon: &Daemon) {
    daemon.wait("an idle daemon", || {
        ["seen", "ready", "claimed", "running", "waiting", "failing"].iter().all(|s| daemon.count(s) == 0)
    });
}

#[test]
fn dropped_while_down_is_tracked_once() {
    let mut daemon = Daemon::new();
    sequence(&daemon.inbox.join("seq"), 6);
    daemon.start();
    let done = daemon.wait_done("seq");
    settle(&daemon);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(names(&daemon.outbox.join("done")), ["seq"]);
    assert_eq!(names(&daemon.outbox), [".trackd", "done", "failed"]);
    assert_eq!(names(&daemon.inbox), [".trackd"]);
    assert_eq!(
        names(&done),
        [
            "eval.json",
            "input",
            "plot.svg",
            "result.arrow",
            "result.json",
            "seq_001.txt",
            "seq_001_confidence.value",
            "seq_001_lost.value",
            "seq_001_time.value",
            "strip.jpg",
        ]
    );
    assert_eq!(names(&done.join("input/seq/color")).len(), 6);
    assert_eq!(json(&done.join("result.json"))["frames"], 6);
    assert_eq!(fs::read_to_string(done.join("seq_001.txt")).unwrap().lines().count(), 6);
    // Started again, it finds nothing to do.
    daemon.start();
    daemon.wait("the daemon", || daemon.ask(&["status"]).1["running"] == true);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(names(&daemon.outbox.join("done")), ["seq"]);
    assert_eq!(daemon.count("done"), 1);
}

#[test]
fn dropped_in_slow_pieces_is_tracked_once_and_whole() {
    let mut daemon = Daemon::new();
    daemon.start();
    // A video whose writer pauses for longer than the settling time, with the file open and closed.
    let bytes = fs::read(bundled("videos/bird.mp4")).unwrap();
    fs::write(daemon.inbox.join("bird.txt"), fs::read(bundled("videos/bird.txt")).unwrap()).unwrap();
    for (i, part) in bytes.chunks(bytes.len() / 4 + 1).enumerate() {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(daemon.inbox.join("bird.mp4")).unwrap();
        file.write_all(part).unwrap();
        if i == 1 {
            std::thread::sleep(Duration::from_millis(900));
        }
        drop(file);
        std::thread::sleep(Duration::from_millis(900));
        assert!(i == 3 || names(&daemon.outbox.join("done")).is_empty(), "taken after part {i}");
    }
    // A folder whose frames come one after the other.
    let folder = daemon.inbox.join("frames");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("init.json"), r#"{"targets":[{"frame":1,"region":[40,30,30,30]}]}"#).unwrap();
    for i in 0..8 {
        fs::write(folder.join(format!("{i}.jpg")), picture(i)).unwrap();
        std::thread::sleep(Duration::from_millis(150));
    }
    let result = json(&daemon.wait_done("frames").join("result.json"));
    let target = &result["targets"][0];
    assert_eq!((target["frames"].as_u64(), target["init_frame"].as_u64()), (Some(7), Some(1)));
    let lines = fs::read_to_string(bundled("videos/bird.txt")).unwrap().lines().count();
    let result = json(&daemon.wait_done("bird").join("result.json"));
    assert_eq!(result["frames"].as_u64(), Some(lines as u64), "{result}");
    assert_eq!(result["provenance"]["decoder"], "openh264");
    settle(&daemon);
    assert_eq!(names(&daemon.outbox.join("done")), ["bird", "frames"]);
    assert!(names(&daemon.outbox.join("failed")).is_empty());
}

#[test]
fn killed_at_any_moment_each_job_publishes_once() {
    let mut daemon = Daemon::new();
    let jobs = 5;
    for i in 0..jobs {
        sequence(&daemon.inbox.join(format!("seq{i}")), 30);
    }
    // Shorter and longer lives: before the claim, while tracking, around publication.
    for life in [150, 500, 700, 900, 600, 1100, 800] {
        daemon.start();
        std::thread::sleep(Duration::from_millis(life));
        daemon.kill();
    }
    daemon.start();
    for i in 0..jobs {
        daemon.wait_done(&format!("seq{i}"));
    }
    settle(&daemon);
    assert_eq!(daemon.stop(), Some(0));
    let expected: Vec<String> = (0..jobs).map(|i| format!("seq{i}")).collect();
    assert_eq!(names(&daemon.outbox.join("done")), expected);
    assert_eq!(names(&daemon.outbox), [".trackd", "done", "failed"], "temporary folders are gone");
    assert!(names(&daemon.outbox.join("failed")).is_empty());
    assert_eq!(names(&daemon.inbox.join(".trackd")), [".lock"], "inputs are delivered");
    for name in &expected {
        let folder = daemon.outbox.join("done").join(name);
        assert_eq!(fs::read_to_string(folder.join(format!("{name}_001.txt"))).unwrap().lines().count(), 30);
        assert_eq!(names(&folder.join("input").join(name).join("color")).len(), 30);
    }
    let (_, listed) = daemon.ask(&["list"]);
    assert_eq!(listed["jobs"].as_array().unwrap().len(), jobs);
    let journal = Journal::existing(&daemon.outbox.join(".trackd")).unwrap();
    let starts: usize = journal
        .all()
        .unwrap()
        .iter()
        .map(|job| journal.history(&job.id).unwrap().iter().filter(|s| *s == "running").count())
        .sum();
    assert!(starts > jobs, "no job was cut off: {starts} starts");
}

/// The moments around publication, made by hand: what the journal did not get to know is found in the outbox.
#[test]
fn a_result_the_journal_does_not_know_is_not_made_again() {
    let mut daemon = Daemon::new();
    sequence(&daemon.inbox.join("seq"), 4);
    daemon.start();
    let done = daemon.wait_done("seq");
    settle(&daemon);
    daemon.kill();
    let state = daemon.outbox.join(".trackd");
    let mut journal = Journal::existing(&state).unwrap();
    let mut entry = journal.find("seq").unwrap().unwrap();
    let work = daemon.inbox.join(".trackd").join(&entry.id);
    let before = fs::read(done.join("result.json")).unwrap();
    // As if the plug had been pulled between publication and the journal's commit.
    fs::create_dir(&work).unwrap();
    fs::rename(done.join("input/seq"), work.join("seq")).unwrap();
    entry.job.state = State::Running;
    journal.store(&entry).unwrap();
    drop(journal);
    daemon.start();
    daemon.wait("delivery", || done.join("input/seq/color").exists());
    settle(&daemon);
    daemon.kill();
    assert_eq!(names(&daemon.outbox.join("done")), ["seq"]);
    assert_eq!(fs::read(done.join("result.json")).unwrap(), before);
    // The same, and the whole journal is lost.
    fs::create_dir(&work).unwrap();
    fs::rename(done.join("input/seq"), work.join("seq")).unwrap();
    fs::remove_dir_all(&state).unwrap();
    daemon.start();
    daemon.wait("delivery", || done.join("input/seq/color").exists());
    settle(&daemon);
    assert_eq!(names(&daemon.outbox.join("done")), ["seq"]);
    assert_eq!(fs::read(done.join("result.json")).unwrap(), before);
}

#[test]
fn asked_to_end_it_finishes_what_runs() {
    let mut daemon = Daemon::new();
    for name in ["long", "next"] {
        sequence(&daemon.inbox.join(name), 900);
    }
    let config = daemon.root.path().join("config.toml");
    fs::write(&config, "workers = 1\ngrace_s = 100\n").unwrap();
    daemon.start_with(&["--config", config.to_str().unwrap()], &[]);
    daemon.wait("a running job", || daemon.count("running") == 1);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(names(&daemon.outbox.join("done")).len(), 1);
    assert_eq!((daemon.count("running"), daemon.count("done")), (0, 1));
    assert_eq!(daemon.ask(&["status"]).1["running"], false);
}

#[test]
fn odd_names_links_and_another_file_system_are_no_trouble() {
    use std::os::unix::ffi::OsStrExt;
    let shared = Path::new("/dev/shm");
    let elsewhere = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap();
    let mut daemon = Daemon::new();
    daemon.outbox = elsewhere.path().join("out");
    let odd = std::ffi::OsStr::from_bytes(b"a\n\x1b[31m\xff b");
    sequence(&daemon.inbox.join(odd), 4);
    std::os::unix::fs::symlink("/etc/passwd", daemon.inbox.join("passwd.mp4")).unwrap();
    std::os::unix::fs::symlink("/etc", daemon.inbox.join("etc")).unwrap();
    fs::write(daemon.inbox.join("notes.pdf"), "%PDF-1.7").unwrap();
    daemon.start();
    daemon.wait("both jobs", || daemon.count("done") == 1 && daemon.count("failed") == 1);
    let done = names(&daemon.outbox.join("done"));
    assert_eq!(done.len(), 1);
    let folder = fs::read_dir(daemon.outbox.join("done")).unwrap().next().unwrap().unwrap().path();
    daemon.wait("delivery", || folder.join("input").join(odd).join("color").exists());
    assert_eq!(fs::read(daemon.outbox.join("failed/notes/notes.pdf")).unwrap(), b"%PDF-1.7");
    assert_eq!(names(&daemon.inbox), [".trackd", "etc", "passwd.mp4"], "links are left alone");
    assert!(!daemon.log().contains('\u{1b}'), "control characters do not reach the log");
}

#[test]
fn a_video_without_a_box_waits_for_one() {
    let mut daemon = Daemon::new();
    daemon.start();
    for name in ["by-hand.mp4", "by-file.mp4"] {
        fs::copy(bundled("videos/bird.mp4"), daemon.inbox.join(name)).unwrap();
    }
    daemon.wait("needs_init", || daemon.count("needs_init") == 2);
    let (code, job) = daemon.ask(&["init", "by-hand", "10,10,40,40"]);
    assert_eq!((code, &job["init"]), (0, &serde_json::json!([10.0, 10.0, 40.0, 40.0])));
    fs::write(daemon.inbox.join("by-file.txt"), "20,20,50,50\n").unwrap();
    assert_eq!(json(&daemon.wait_done("by-hand").join("result.json"))["targets"][0]["init_source"], "trackd init");
    let done = daemon.wait_done("by-file");
    assert_eq!(json(&done.join("result.json"))["targets"][0]["init_source"], "by-file.txt");
    daemon.wait("the input", || names(&done.join("input")) == ["by-file.mp4", "by-file.txt"]);
    let (code, answer) = daemon.ask(&["init", "by-hand", "1,1,5,5"]);
    assert_eq!(code, 2, "{answer}");
    assert_eq!(daemon.ask(&["init", "nobody", "1,1,5,5"]).0, 1);
}

#[test]
fn failures_keep_the_input_and_can_be_tried_again() {
    let mut daemon = Daemon::new();
    daemon.start();
    let whole = fs::read(bundled("videos/bird.mp4")).unwrap();
    fs::write(daemon.inbox.join("notes.pdf"), "%PDF-1.7").unwrap();
    fs::write(daemon.inbox.join("cut.mp4"), &whole[..whole.len() / 2]).unwrap();
    fs::write(daemon.inbox.join("cut.txt"), "10,10,40,40\n").unwrap();
    fs::write(daemon.inbox.join("nan.mp4"), &whole).unwrap();
    fs::write(daemon.inbox.join("nan.txt"), "nan,10,40,40\n").unwrap();
    fs::write(daemon.inbox.join("outside.mp4"), &whole).unwrap();
    fs::write(daemon.inbox.join("outside.txt"), "9000,10,40,40\n").unwrap();
    fs::write(daemon.inbox.join("empty.mp4"), "").unwrap();
    sequence(&daemon.inbox.join("broken"), 5);
    fs::write(daemon.inbox.join("broken/color/00000003.jpg"), "no picture").unwrap();
    sequence(&daemon.inbox.join("good"), 5);
    let failed = daemon.outbox.join("failed");
    for (name, stage, code, file) in [
        ("notes", "probe", "not-a-video", "notes.pdf"),
        ("nan", "init", "bad-box", "nan.mp4"),
        ("outside", "init", "bad-box", "outside.mp4"),
        ("broken", "decode", "damaged-image", "broken"),
        ("empty", "probe", "empty-video", "empty.mp4"),
        ("cut", "decode", "", "cut.mp4"),
    ] {
        daemon.wait(name, || failed.join(name).exists());
        let error = json(&failed.join(name).join("error.json"));
        assert_eq!(error["stage"], stage, "{error}");
        if !code.is_empty() {
            assert_eq!(error["code"], code, "{error}");
        }
        assert!(error["message"].as_str().unwrap().contains(name), "{error}");
        assert!(failed.join(name).join(file).exists(), "the input of {name} is kept");
    }
    daemon.wait_done("good");
    // Repaired where it lies, and tried again.
    fs::write(failed.join("broken/broken/color/00000003.jpg"), picture(2)).unwrap();
    assert_eq!(daemon.ask(&["retry", "broken"]).0, 0);
    daemon.wait_done("broken");
    assert!(!failed.join("broken").exists());
    assert_eq!(daemon.ask(&["retry", "broken"]).0, 2);
    // Dropped again under the same name.
    sequence(&daemon.inbox.join("good"), 5);
    daemon.wait_done("good-2");
}

#[test]
fn two_daemons_cannot_share_a_journal_and_folders_must_be_usable() {
    let mut daemon = Daemon::new();
    daemon.start();
    daemon.wait("the daemon", || daemon.ask(&["status"]).1["running"] == true);
    let (inbox, outbox) = (daemon.inbox.to_str().unwrap(), daemon.outbox.to_str().unwrap());
    let model = daemon.root.path().join("tiny.safetensors");
    let model = model.to_str().unwrap();
    let watch = |inbox: &str, outbox: &str, model: &str| {
        crate::support::run(&["watch", "--inbox", inbox, "--outbox", outbox, "--model", model])
    };
    let (code, _, err) = watch(inbox, outbox, model);
    assert!(code == 1 && err.contains("another trackd"), "{err}");
    let file = daemon.root.path().join("file");
    fs::write(&file, "x").unwrap();
    let below = file.join("out");
    let (code, _, err) = watch(inbox, below.to_str().unwrap(), model);
    assert!(code == 1 && err.contains("outbox") && err.contains("file/out"), "{err}");
    let (code, _, err) = watch(inbox, inbox, model);
    assert!(code == 1 && err.contains("two folders"), "{err}");
    let (code, _, err) = watch(inbox, outbox, file.to_str().unwrap());
    assert!(code == 1 && err.contains("file"), "{err}");
    let config = daemon.root.path().join("watch.toml");
    fs::write(&config, "settle = 3\n").unwrap();
    let config = config.to_str().unwrap();
    let (code, _, err) =
        crate::support::run(&["watch", "--inbox", inbox, "--outbox", outbox, "--model", model, "--config", config]);
    assert!(code == 2 && err.contains("settle_s"), "{err}");
}

#[test]
fn a_job_is_cancelled_wherever_it_stands() {
    let mut daemon = Daemon::new();
    fs::copy(bundled("videos/bird.mp4"), daemon.inbox.join("bare.mp4")).unwrap();
    sequence(&daemon.inbox.join("long"), 3000);
    daemon.start();
    daemon.wait("a job without a box and one that runs", || {
        daemon.count("needs_init") == 1 && daemon.count("running") == 1
    });
    assert_eq!(daemon.ask(&["cancel", "bare"]).0, 0);
    assert_eq!(daemon.ask(&["cancel", "long"]).0, 0);
    for name in ["bare", "long"] {
        let folder = daemon.outbox.join("failed").join(name);
        daemon.wait(name, || folder.join("error.json").exists());
        assert_eq!(json(&folder.join("error.json"))["code"], "cancelled");
    }
    assert!(daemon.outbox.join("failed/bare/bare.mp4").is_file());
    assert_eq!(names(&daemon.outbox.join("failed/long/long/color")).len(), 3000);
    daemon.wait("both failed", || daemon.count("failed") == 2);
    let (code, answer) = daemon.ask(&["cancel", "long"]);
    assert_eq!(code, 2, "{answer}");
    // Tried again, it runs; cancelled while no daemon runs, it ends when one does.
    assert_eq!(daemon.ask(&["retry", "long"]).0, 0);
    daemon.wait("the job to run again", || daemon.count("running") == 1);
    daemon.kill();
    assert_eq!(daemon.ask(&["cancel", "long"]).0, 0);
    daemon.start();
    daemon.wait("the job to fail", || daemon.count("failed") == 2);
    assert_eq!(names(&daemon.inbox), [".trackd"]);
    assert!(names(&daemon.outbox.join("done")).is_empty());
}

#[test]
fn ends_are_told_and_old_results_go() {
    use std::io::Read;
    let mut daemon = Daemon::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let told = daemon.root.path().join("told");
    let config = daemon.root.path().join("config.toml");
    let hook = |what: &str| format!("[\"sh\", \"-c\", \"cat >> '{}'; echo ' {what}' >> '{0}'\"]", told.display());
    let webhook = format!("http://{}/end", listener.local_addr().unwrap());
    let text = format!("on_done = {}\non_failed = {}\nwebhook = \"{webhook}\"\n", hook("was done"), hook("has failed"));
    fs::write(&config, &text).unwrap();
    sequence(&daemon.inbox.join("good"), 4);
    fs::write(daemon.inbox.join("bad.avi"), "no video").unwrap();
    let posted = std::thread::spawn(move || {
        // The first request is refused, and therefore made again.
        (0..3)
            .map(|i| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 8192];
                let mut text = String::new();
                while !text.ends_with('}') {
                    let n = stream.read(&mut buffer).unwrap();
                    text.push_str(&String::from_utf8_lossy(&buffer[..n]));
                }
                let status = if i == 0 { "500 No" } else { "200 OK" };
                stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
                text
            })
            .collect::<Vec<String>>()
    });
    daemon.start_with(&["--config", config.to_str().unwrap()], &[]);
    let requests = posted.join().unwrap();
    assert!(requests[0].starts_with("POST /end ") && requests[0].contains("application/json"), "{}", requests[0]);
    let all = requests.concat();
    assert!(all.contains("\"name\":\"good\"") && all.contains("\"name\":\"bad\""), "{all}");
    daemon.wait("both ends", || {
        let said = fs::read_to_string(&told).unwrap_or_default();
        said.contains("was done") && said.contains("has failed")
    });
    let said = fs::read_to_string(&told).unwrap();
    assert!(said.contains("\"state\":\"done\"") && said.contains("/done/good\""), "{said}");
    assert_eq!(daemon.stop(), Some(0));
    // Started again with a short memory, it tells nothing twice, and what is old goes.
    fs::write(&config, format!("{text}keep_done_days = 0.000001\n")).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    daemon.start_with(&["--config", config.to_str().unwrap()], &[]);
    daemon.wait("the old result to go", || names(&daemon.outbox.join("done")).is_empty());
    assert_eq!(names(&daemon.outbox.join("failed")), ["bad"]);
    assert_eq!(fs::read_to_string(&told).unwrap(), said);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_nearly_full_disk_pauses_and_a_new_configuration_is_read() {
    let mut daemon = Daemon::new();
    let config = daemon.root.path().join("config.toml");
    fs::write(&config, "min_free_mb = 1000000000\n").unwrap();
    sequence(&daemon.inbox.join("seq"), 4);
    daemon.start_with(&["--config", config.to_str().unwrap(), "--log-json"], &[]);
    daemon.wait("the job to be ready", || daemon.count("ready") == 1);
    daemon.wait("the warning", || daemon.log().contains("nearly full"));
    let reload = |daemon: &mut Daemon| {
        let kill = format!("kill -HUP {}", daemon.id().unwrap());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    };
    fs::write(&config, "min_free_mb = \"many\"\n").unwrap();
    reload(&mut daemon);
    daemon.wait("the complaint", || daemon.log().contains("kept as it was"));
    assert_eq!(daemon.count("ready"), 1);
    fs::write(&config, "min_free_mb = 0\n").unwrap();
    reload(&mut daemon);
    daemon.wait_done("seq");
    assert_eq!(daemon.stop(), Some(0));
    for line in daemon.log().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn archives_of_frames_are_tracked() {
    let mut daemon = Daemon::new();
    let truth: String = (0..6).map(|i| format!("{},30,30,30\n", 40 + i)).collect();
    let archive = |annotated: bool| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: String, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content).unwrap();
        };
        for i in (0..6).rev() {
            add(format!("seq/color/{i}.jpg"), &picture(i));
        }
        if annotated {
            add("seq/groundtruth.txt".to_owned(), truth.as_bytes());
        }
        builder.into_inner().unwrap()
    };
    let zst = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    fs::write(daemon.inbox.join("plain.tar"), archive(true)).unwrap();
    fs::write(daemon.inbox.join("packed.tar.zst"), zst(&archive(true))).unwrap();
    fs::write(daemon.inbox.join("boxless.tar.zst"), zst(&archive(false))).unwrap();
    sequence(&daemon.inbox.join("folder"), 6);
    daemon.start();
    let boxes = |name: &str| {
        let done = daemon.wait_done(name);
        assert!(done.join("eval.json").exists() || name == "boxless");
        assert_eq!(json(&done.join("result.json"))["provenance"]["decoder"], "zune-jpeg");
        fs::read_to_string(done.join(format!("{name}_001.txt"))).unwrap()
    };
    let folder = boxes("folder");
    assert_eq!(folder.lines().count(), 6);
    assert_eq!(boxes("plain"), folder);
    assert_eq!(boxes("packed"), folder);
    daemon.wait("boxless", || daemon.count("needs_init") == 1);
    assert_eq!(daemon.ask(&["init", "boxless", "40,30,30,30"]).0, 0);
    assert_eq!(boxes("boxless"), folder);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_black_span_is_reported_lost() {
    let mut daemon = Daemon::new();
    let folder = daemon.inbox.join("dark");
    sequence(&folder, 50);
    fs::remove_file(folder.join("groundtruth.txt")).unwrap();
    fs::write(
        folder.join("init.json"),
        r#"{"targets":[{"id":"left","region":[40,30,30,30]},{"id":"right","region":[90,40,30,30]}]}"#,
    )
    .unwrap();
    let black = shards::jpeg::encode(&shards::image::Rgb::filled(160, 120, [2, 2, 2]), 90).unwrap();
    for i in 20..40 {
        fs::write(folder.join(format!("color/{:08}.jpg", i + 1)), &black).unwrap();
    }
    daemon.start();
    let done = daemon.wait_done("dark");
    for target in ["left", "right"] {
        let read = |what: &str| fs::read_to_string(done.join(format!("dark_{target}_001{what}"))).unwrap();
        let (lost, boxes) = (read("_lost.value"), read(".txt"));
        let lost: Vec<&str> = lost.lines().collect();
        assert!(lost[20..40].iter().all(|l| *l == "1") && lost.len() == 50, "{target}: {lost:?}");
        assert!(boxes.lines().skip(1).all(|line| line.split(',').count() == 4), "the text still holds a box");
    }
    assert_eq!(json(&done.join("result.json"))["targets"].as_array().unwrap().len(), 2);
}
