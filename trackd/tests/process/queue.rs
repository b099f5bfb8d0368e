//! Which input comes first, and what becomes of one that was there before.

use crate::support::{Daemon, json, names, sequence};
use std::fs;

#[test]
fn what_is_urgent_comes_first_and_a_bad_input_holds_nobody_up() {
    let mut daemon = Daemon::new();
    // Keeps the only worker busy until all others wait.
    sequence(&daemon.inbox.join("long"), 20_000);
    daemon.start_with(&["--workers", "1"], &[]);
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
