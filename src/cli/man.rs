//! `bursar man DIR`.
//!
//! Invariants: generated from the grammar itself, so it cannot lag behind; the same bytes from the same program.
//! Not here: installing them.
//! Failure: output errors.

use super::args::{Cli, ManArgs};
use super::{CliError, Exit};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::io::Write;
use std::path::Path;

/// Writes the pages, and says how many.
pub(super) fn run(args: &ManArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    std::fs::create_dir_all(&args.dir)?;
    // The flag is ours, not clap's: without a version the head and the end of a page would be empty.
    let mut program = Cli::command().version(env!("CARGO_PKG_VERSION"));
    program.build();
    let pages = write_with_commands(&program, &args.dir)?;
    writeln!(out, "{pages} pages in {}", args.dir.display())?;
    Ok(Exit::Success)
}

/// A command's page and those of the commands below it. How many there are.
fn write_with_commands(command: &Command, dir: &Path) -> Result<usize, std::io::Error> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    std::fs::write(dir.join(format!("{name}.1")), page)?;
    let mut pages = 1;
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        pages += write_with_commands(below, dir)?;
    }
    Ok(pages)
}
