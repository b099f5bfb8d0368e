//! Which input comes first, what becomes of one that was there before, and inputs of several parts.

use crate::support::{Daemon, json, names, sequence};
use std::fs;

#[test]
fn what_is_urgent_comes_first_and_a_bad_input_holds_nobody_up() {
    let mut daemon = Daemon::new();
    // More files than the system keeps events for; keeps the only worker busy until all others wait.
    daemon.start_with(&["--workers", "1"], &[]);
    sequence(&daemon.inbox.join("long"), 20_000);
    daemon.wait("the long job", || daemon.count("running") == 1);
    fs::write(daemon.inbox.join("a-poison.mp4"), "no video").unwrap();
    for name in ["b", "c", "urgent/d", "e"] {
        sequence(&daemon.inbox.join(name), 4);
    }
    fs::write(daemon.inbox.join("e.init.json"), r#"{"targets":[{"region":[40,30,30,30]}],"priority":5}"#).unwrap();
    daemon.wait("the queue", || daemon.count("ready") == 5);
    assert_eq!(daemon.ask(&["cancel", "long"]).0, 0);
    for name in ["b", "c", "d", "e"] {
        daemon.wait_done(name);
    }
    let log = daemon.log();
    let started: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("state=\"running\""))
        .filter_map(|line| line.split("name=").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(started, ["long", "d", "e", "a-poison", "b", "c"]);
    // A folder that appears later is noticed too, and what is dropped into it.
    fs::remove_dir(daemon.inbox.join("urgent")).unwrap();
    sequence(&daemon.inbox.join("urgent/late"), 4);
    daemon.wait_done("late");
    assert!(daemon.inbox.join("urgent").is_dir(), "the folder itself is no input");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn duplicates_are_tracked_again_unless_they_are_to_be_skipped() {
    let mut daemon = Daemon::new();
    let config = daemon.root.path().join("config.toml");
    let text = config.to_str().unwrap().to_owned();
    fs::write(&config, "duplicates = \"skip\"\n").unwrap();
    daemon.start_with(&["--config", &text], &[]);
    sequence(&daemon.inbox.join("first"), 4);
    let first = daemon.wait_done("first");
    sequence(&daemon.inbox.join("again"), 4);
    let failed = daemon.outbox.join("failed/again/error.json");
    daemon.wait("the refusal", || failed.exists());
    let error = json(&failed);
    assert_eq!((&error["code"], &error["attempts"]), (&"duplicate".into(), &1.into()));
    assert!(error["message"].as_str().unwrap().contains("done/first"), "{error}");
    assert_eq!(names(&daemon.outbox.join("failed/again/again/color")).len(), 4);
    // Another box is another job; so is one whose result was taken away.
    sequence(&daemon.inbox.join("other"), 4);
    fs::write(daemon.inbox.join("other/init.json"), r#"{"targets":[{"region":[50,30,30,30]}]}"#).unwrap();
    daemon.wait_done("other");
    fs::remove_dir_all(&first).unwrap();
    assert_eq!(daemon.ask(&["retry", "again"]).0, 0);
    daemon.wait_done("again");
    assert_eq!(daemon.stop(), Some(0));
    // Without the rule everything is tracked.
    daemon.start();
    sequence(&daemon.inbox.join("once-more"), 4);
    daemon.wait_done("once-more");
}

#[test]
fn boxes_do_not_depend_on_what_else_runs() {
    let mut daemon = Daemon::new();
    daemon.start_with(&["--workers", "4"], &[]);
    let boxes = |name: &str| -> Vec<f64> {
        let text = fs::read_to_string(daemon.wait_done(name).join(format!("{name}_001.txt"))).unwrap();
        text.lines().skip(1).flat_map(|line| line.split(',').map(|v| v.parse::<f64>().unwrap())).collect()
    };
    sequence(&daemon.inbox.join("alone"), 40);
    let alone = boxes("alone");
    assert_eq!(alone.len(), 4 * 39);
    for i in 0..6 {
        sequence(&daemon.inbox.join(format!("together{i}")), 40);
    }
    for i in 0..6 {
        let together = boxes(&format!("together{i}"));
        assert_eq!(together.len(), alone.len());
        assert!(alone.iter().zip(&together).all(|(a, b)| (a - b).abs() <= 0.01), "{i}");
    }
}

#[test]
fn limits_of_size_and_time_hold() {
    let mut daemon = Daemon::new();
    let config = daemon.root.path().join("config.toml");
    fs::write(&config, "max_input_mb = 1\nmax_job_s = 0.02\n").unwrap();
    sequence(&daemon.inbox.join("large"), 4);
    fs::write(daemon.inbox.join("large/notes.bin"), vec![0; 2 << 20]).unwrap();
    sequence(&daemon.inbox.join("slow"), 60);
    daemon.start_with(&["--config", config.to_str().unwrap()], &[]);
    for (name, code) in [("large", "input-too-large"), ("slow", "took-too-long")] {
        let error = daemon.outbox.join("failed").join(name).join("error.json");
        daemon.wait(name, || error.exists());
        let error = json(&error);
        assert_eq!((&error["code"], &error["attempts"]), (&code.into(), &1.into()), "{error}");
    }
}

#[test]
fn a_whole_data_set_is_run_and_scored() {
    let mut daemon = Daemon::new();
    let data = daemon.inbox.join("mini");
    for name in ["one", "two"] {
        sequence(&data.join(name), 40);
    }
    fs::create_dir_all(data.join("broken/color")).unwrap();
    fs::write(data.join("broken/groundtruth.txt"), "1,2,3,4\n").unwrap();
    fs::write(data.join("broken/color/00000001.jpg"), "noise").unwrap();
    fs::write(data.join("list.txt"), "one\ntwo\nbroken\n").unwrap();
    daemon.start();
    let done = daemon.wait_done("mini");
    let result = json(&done.join("result.json"));
    assert_eq!((&result["sequences"], &result["dialect"]), (&2.into(), &"mindspore".into()));
    assert!(result["failed"]["broken"].is_string(), "{result}");
    let eval = json(&done.join("eval.json"));
    assert_eq!(eval["all_videos"]["robustness"], result["robustness_per_100"]);
    assert!(done.join("results/trackd/baseline/two/two_001.txt").is_file());
    daemon.wait("the input", || done.join("input/mini/list.txt").is_file());
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn job_folders_of_the_official_toolkit_are_answered() {
    let mut daemon = Daemon::new();
    let frames = daemon.root.path().join("frames");
    sequence(&frames, 8);
    let job = |folder: &std::path::Path, place: &str| {
        fs::create_dir_all(folder).unwrap();
        let list: String = (1..=8).map(|i| format!("{place}color/{i:08}.jpg\n")).collect();
        fs::write(folder.join("frames_color.txt"), list).unwrap();
        fs::write(folder.join("query_obj0.txt"), "0\n40,30,30,30\n").unwrap();
        fs::write(folder.join("query_obj1.txt"), "3\n45,30,45,60,75,60,75,30\nname=square\n").unwrap();
    };
    let outside = format!("{}/", frames.to_str().unwrap());
    let answers = |folder: &std::path::Path| {
        ["output_obj0.txt", "output_obj1.txt", "output_obj1_lost.txt"]
            .map(|name| fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
    };
    // As the toolkit starts it: in the folder.
    let by_hand = daemon.root.path().join("by-hand");
    job(&by_hand, &outside);
    let mut command = crate::support::trackd();
    command.arg("folder").arg("--model").arg(daemon.root.path().join("tiny.safetensors")).current_dir(&by_hand);
    let ran = command.output().unwrap();
    assert!(ran.status.success() && ran.stdout.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    let expected = answers(&by_hand);
    assert!(expected.iter().all(|text| text.lines().count() == 8));
    assert!(expected[1].starts_with("0\n0\n0\n45,30,"), "{}", expected[1]);
    assert!(!names(&by_hand).iter().any(|n| n.starts_with('.')), "{:?}", names(&by_hand));
    // Dropped: frames inside it, frames where they are allowed, frames elsewhere.
    let inside = daemon.inbox.join("inside");
    job(&inside, "");
    fs::rename(frames.join("color"), inside.join("color")).unwrap();
    daemon.start();
    let done = daemon.wait_done("inside");
    assert_eq!(answers(&done), expected);
    assert_eq!(daemon.stop(), Some(0));
    fs::rename(done.join("input/inside/color"), frames.join("color")).unwrap();
    job(&daemon.inbox.join("elsewhere"), &outside);
    let config = daemon.root.path().join("config.toml");
    daemon.start();
    let error = daemon.outbox.join("failed/elsewhere/error.json");
    daemon.wait("the refusal", || error.exists());
    assert_eq!(json(&error)["code"], "frames-outside");
    assert_eq!(daemon.stop(), Some(0));
    fs::write(&config, format!("frame_roots = [{outside:?}]\n")).unwrap();
    daemon.start_with(&["--config", config.to_str().unwrap()], &[]);
    assert_eq!(daemon.ask(&["retry", "elsewhere"]).0, 0);
    assert_eq!(answers(&daemon.wait_done("elsewhere")), expected);
}
