//! How a command ends: exit codes after sysexits, and errors that end with the next thing to try.
//!
//! Invariants: an error is one sentence on stderr and one code; a reader that went away is no error.
//! Not here: what commands do.
//! Failure: none.
//! Source: `sysexits.h` (BSD); contract §1.

use std::io;
use std::process::ExitCode;

/// A documented exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Done, and differences were found.
    Differences = 1,
    /// The command line is wrong.
    Usage = 64,
    /// The input is wrong.
    Data = 65,
    /// A service that is needed does not answer.
    Unavailable = 69,
    /// A bug.
    Internal = 70,
    /// An output file cannot be created.
    CannotCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// Not now; the same command may succeed later.
    TryAgain = 75,
    /// Not allowed.
    Permission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed, and what to do next.
#[derive(Debug, Clone)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// What failed, as a lower-case sentence, possibly of several lines.
    pub message: String,
    /// The next thing to try.
    pub next: Option<String>,
}

impl CliError {
    /// An error with its code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            next: None,
        }
    }

    /// The same error with the next thing to try.
    #[must_use]
    pub fn or_try(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl From<bursar_config::Problems> for CliError {
    fn from(problems: bursar_config::Problems) -> Self {
        Self::new(Exit::Config, problems.to_string())
    }
}

impl From<io::Error> for CliError {
    /// Output that failed. A closed pipe is how `| head` says it has enough: success.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Success, String::new());
        }
        Self::new(Exit::Io, format!("cannot write the output: {error}"))
    }
}
