//! The program `ingest`; everything it does is in the library's [`ingest::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ingest::cli::run(std::env::args_os())
}
