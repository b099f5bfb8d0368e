//! Tells the programs which commit they were built from, for `--version`. It runs again when the branch changes, not at every
//! commit, because all crates stand on this one: a program rebuilt in place may name an older commit of its branch.

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
