//! The `bursar` binary: hands the command line over, returns the exit code.

use std::process::ExitCode;

/// Every event takes some hundred pieces of memory and gives them back on other threads: that is where the system's
/// allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bursar::cli::main(std::env::args_os())
}
