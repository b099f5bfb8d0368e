//! Rules of the house that a compiler does not check, over every Rust file of the workspace.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 7] = ["schemas", "shards", "ingest", "siamrpn", "vot", "trainer", "trackd"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files() -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = CRATES.iter().map(|c| root().join(c)).collect();
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 30, "only {} Rust files found under {}", files.len(), root().display());
    files
}

#[test]
fn every_file_says_what_it_is_and_none_is_long() {
    for path in rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} has no module documentation", path.display());
        let lines = text.lines().count();
        assert!(lines <= 800, "{} has {lines} lines, at most 800 are allowed", path.display());
    }
}

#[test]
fn programs_start_thin() {
    for path in rust_files().iter().filter(|p| p.ends_with("src/main.rs")) {
        let lines = fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= 40, "{} has {lines} lines, at most 40 are allowed", path.display());
    }
}

/// The outer ring never imports itself: see "The house" in ARCHITECTURE.md.
#[test]
fn arrows_point_down() {
    let allowed: [(&str, &[&str]); 7] = [
        ("schemas", &[]),
        ("shards", &["schemas"]),
        ("vot", &["schemas"]),
        ("siamrpn", &["schemas", "shards"]),
        ("ingest", &["schemas", "shards", "vot"]),
        ("trainer", &["schemas", "shards", "siamrpn", "vot"]),
        ("trackd", &["schemas", "shards", "siamrpn", "vot"]),
    ];
    for (name, below) in allowed {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let normal = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for other in CRATES {
            let uses = normal.lines().any(|line| line.trim_start().starts_with(&format!("{other}.workspace")));
            assert!(!uses || below.contains(&other), "{name} must not depend on {other}");
        }
    }
}

#[test]
fn architecture_page_names_what_exists() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(page.lines().count() <= 300, "ARCHITECTURE.md is longer than 300 lines");
    let mut named = 0;
    for word in page.split('`').skip(1).step_by(2) {
        let path = word.trim_end_matches('/');
        if CRATES.iter().any(|c| path.starts_with(&format!("{c}/"))) && !path.contains(['*', ' ', '{']) {
            named += 1;
            assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which does not exist");
        }
    }
    assert!(named >= 20, "ARCHITECTURE.md names only {named} files");
}
