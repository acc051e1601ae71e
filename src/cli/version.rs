//! `bursar --version`, with `--verbose` also what a support request needs.
//!
//! Invariants: the first line is `bursar X.Y.Z` and stays so for scripts.
//! Not here: the state of a running server.
//! Failure: output errors.

use std::io::Write;

use super::{CliError, Exit, GlobalArgs};

/// Prints the version.
pub(super) fn run(global: &GlobalArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    writeln!(out, "bursar {}", env!("CARGO_PKG_VERSION"))?;
    if global.verbose > 0 {
        // Set by the release build; a build from a checkout knows no better.
        writeln!(
            out,
            "revision    {}",
            option_env!("BUILD_REVISION").unwrap_or("not recorded")
        )?;
        writeln!(out, "stripe api  {}", default_of("stripe.api_version"))?;
        writeln!(out, "store       {}", default_of("store"))?;
    }
    Ok(Exit::Success)
}

fn default_of(path: &str) -> &'static str {
    let key = bursar_config::KEYS.iter().find(|key| key.path == path);
    key.and_then(|key| key.default).unwrap_or("none")
}
