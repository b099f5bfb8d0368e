//! The program `shards`: looks inside datasets.

use std::process::ExitCode;

fn main() -> ExitCode {
    shards::cli::run(std::env::args_os())
}
