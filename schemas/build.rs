//! Tells the program which commit it was built from, for `--version`.

fn main() {
    let commit = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|o| o.status.success())
        .and_then(|o| String::from_utf8(o.stdout).ok())
        .unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo::rustc-env=GIT_COMMIT={}", commit.trim());
    println!("cargo::rerun-if-changed=../.git/HEAD");
}
