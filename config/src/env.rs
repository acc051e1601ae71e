//! The environment, seen through a trait so that tests pass a map.
//!
//! Invariants: this is the only place of the product that reads environment variables, and nothing
//! ever writes one.
//! Not here: what a variable means (`keys`), merging it with files and flags (`gather`).
//! Failure: a value that is not UTF-8 is reported by the caller, never guessed at.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Where variables come from.
pub trait Env {
    /// The variable's value, if it is set.
    fn get(&self, name: &str) -> Option<OsString>;
    /// The names of all variables that are set and are UTF-8.
    fn names(&self) -> Vec<String>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }
}

/// A fixed set of variables, for tests and for `demo`.
#[derive(Debug, Clone, Default)]
pub struct MapEnv(BTreeMap<String, OsString>);

impl MapEnv {
    /// The given variables and no others.
    pub fn of<K: Into<String>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }

    /// The same variables and one more; an older value of that name is replaced.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The same variables without one.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }
}

impl Env for MapEnv {
    fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}
