//! The commands' work, one module each. `cli` parses and dispatches; here is what is done.

pub mod admin;
pub(crate) mod answer;
pub mod backup;
pub mod demo;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod reach;
pub mod reconcile;
pub mod recover;
pub mod replay;
pub mod sandbox;
pub mod serve;
pub mod set_aside;
mod sum;
mod table;
pub mod tail;
pub mod trigger;
pub mod verify;

use crate::bench::{self, BenchArgs};
use crate::cli::{CliError, Exit};

/// `bursar bench`.
///
/// # Errors
/// A target that does not start or answer, or a count that does not add up.
pub fn measured(args: BenchArgs) -> Result<Exit, CliError> {
    let code = bench::run(args).map_err(|error| {
        CliError::new(Exit::Internal, format!("the measurement failed: {error}"))
    })?;
    Ok(if code == 0 {
        Exit::Success
    } else {
        Exit::Differences
    })
}
