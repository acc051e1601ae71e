//! The `bursar` binary: hands the command line over, returns the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    bursar::cli::main(std::env::args_os())
}
