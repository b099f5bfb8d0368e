//! The program `trackd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    trackd::child_main_if_asked().unwrap_or_else(|| trackd::cli::run(std::env::args_os()))
}
