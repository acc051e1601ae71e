//! What is wrong with a configuration, said all at once.
//!
//! Invariants: a problem names where the value came from and never shows a secret's value.
//! Not here: exit codes (the command line maps any `Problems` to 78).
//! Failure: none.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A command line flag, with its dashes.
    Flag(&'static str),
    /// An environment variable, by the name that was used.
    Environment(String),
    /// A file, the key's full path there, and its line, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The key, such as `stripe.api_key`.
        key: String,
        /// The line of the value.
        line: usize,
    },
    /// The built-in default.
    Default,
    /// Made for this run (`demo`).
    Generated,
}

impl Origin {
    /// The origin as a report's column shows it: `--listen`, `environment`, `FILE:LINE`, `default`.
    pub fn column(&self) -> String {
        match self {
            Self::Flag(flag) => (*flag).to_owned(),
            Self::Environment(name) => format!("environment {name}"),
            Self::File { path, line, .. } => format!("{}:{line}", path.display()),
            Self::Default => "default".to_owned(),
            Self::Generated => "generated".to_owned(),
        }
    }

    /// The subject of a problem with this origin; `name` is the variable's usual name.
    pub(crate) fn subject(&self, name: &str) -> String {
        match self {
            Self::Flag(flag) => format!("{flag} (command line)"),
            Self::Environment(used) => format!("{used} (environment)"),
            Self::File { path, key, line } => format!("{key} ({}:{line})", path.display()),
            Self::Default => format!("{name} (default)"),
            Self::Generated => format!("{name} (generated)"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about, with its origin: `STRIPE_API_KEY (environment)`.
    pub subject: String,
    /// What is wrong and what to do about it.
    pub text: String,
    /// A stable code for programs, where one is promised.
    pub code: Option<&'static str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.text)
    }
}

/// Everything that is wrong, in the order it was found; never empty when returned as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One more.
    pub fn add(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem {
            subject: subject.into(),
            text: text.into(),
            code: None,
        });
    }

    pub(crate) fn add_coded(
        &mut self,
        subject: impl Into<String>,
        code: &'static str,
        text: impl Into<String>,
    ) {
        self.0.push(Problem {
            subject: subject.into(),
            text: text.into(),
            code: Some(code),
        });
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "{count} problem{} with the configuration",
            if count == 1 { "" } else { "s" }
        )?;
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "\n{:>3}. {problem}", index + 1)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
