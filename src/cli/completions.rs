//! `bursar completions SHELL`.
//!
//! Invariants: generated from the grammar itself, so it cannot lag behind.
//! Not here: installing it.
//! Failure: output errors.

use std::io::Write;

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::{CliError, Exit};

/// Prints the script.
pub(super) fn run(args: &CompletionsArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    // Into memory first: the generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bursar", &mut script);
    out.write_all(&script)?;
    out.flush()?;
    Ok(Exit::Success)
}
