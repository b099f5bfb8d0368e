//! The command `trainer`.

fn main() -> std::process::ExitCode {
    trainer::cli::run(std::env::args_os())
}
