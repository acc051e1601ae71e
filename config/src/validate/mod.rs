//! Turns raw values into a typed configuration and says everything that is wrong with them.
//!
//! Invariants: every value that is present is checked, whatever else is wrong; a fallback used after
//! a problem never leaves this crate, because a configuration with problems is not returned.
//! Not here: where values come from (`gather`), the plan catalogue (`plans`).
//! Failure: problems.

mod access;
mod identity;
mod outside;
mod server;
mod stripe;

use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::SecretString;

use crate::config::Config;
use crate::env::Env;
use crate::file::Value;
use crate::gather::{Gathered, Raw};
use crate::keys::{self, Key};
use crate::problem::{Origin, Problems};
use crate::{plans, values};

pub(crate) use stripe::webhook_secrets;

/// Looks values up, parses them, and collects what is wrong.
pub(crate) struct Checker<'a> {
    pub(crate) gathered: &'a Gathered,
    pub(crate) problems: &'a mut Problems,
    pub(crate) warnings: &'a mut Vec<String>,
    /// Whether missing required values are problems.
    pub(crate) required: bool,
    /// Required variables that are not set.
    pub(crate) missing: Vec<String>,
}

/// Checks everything. With problems the result holds fallbacks and must not be used.
pub(crate) fn check(checker: &mut Checker<'_>, env: &dyn Env) -> Config {
    let mode = stripe::mode(checker);
    let addresses = server::addresses(checker, mode);
    let access = access::access(checker);
    let stripe = stripe::stripe(checker);
    let config = Config {
        listen: server::listen(checker),
        metrics_listen: server::metrics_listen(checker),
        metrics_token: server::metrics_token(checker),
        trust_proxy: server::trust_proxy(checker),
        addresses,
        store: server::store(checker),
        access,
        events: server::events(checker),
        stripe,
        checkout: outside::checkout(checker),
        mail: outside::mail(checker),
        outbound: outside::outbound(checker),
        log: server::log(checker),
        drain: server::drain(checker),
        retention: server::retention(checker),
        identity: identity::provider(checker),
        reconcile_interval: checker.pause("reconcile_interval", "1m", "7d"),
        webhook_silence_alert: checker.period("webhook_silence_alert", "1m", "30d"),
        limits: server::limits(checker),
        plans: plans::load(checker, env),
        is_tool: false,
    };
    server::exposure(checker, &config);
    access::no_two_alike(checker, &config);
    checker.keys_that_wait();
    if !checker.missing.is_empty() {
        let names = checker.missing.join(", ");
        let text = format!("{names} (see `bursar init` for a start)");
        checker.problems.add("required and not set", text);
    }
    config
}

impl<'a> Checker<'a> {
    pub(crate) fn new(
        gathered: &'a Gathered,
        problems: &'a mut Problems,
        warnings: &'a mut Vec<String>,
        required: bool,
    ) -> Self {
        Self {
            gathered,
            problems,
            warnings,
            required,
            missing: Vec::new(),
        }
    }

    fn key(path: &str) -> &'static Key {
        keys::by_path(path).expect("checks ask for keys of the table")
    }

    pub(crate) fn raw(&self, path: &str) -> Option<&'a Raw> {
        self.gathered.values.get(path)
    }

    /// The subject of a problem with this key's value.
    pub(crate) fn subject(&self, path: &str) -> String {
        let variable = Self::key(path).variable;
        self.raw(path)
            .map_or_else(|| variable.to_owned(), |raw| raw.origin.subject(variable))
    }

    fn subject_at(&self, path: &str, index: usize, count: usize) -> String {
        let subject = self.subject(path);
        if count < 2 {
            return subject;
        }
        match subject.split_once(' ') {
            Some((name, rest)) => format!("{name}[{index}] {rest}"),
            None => format!("{subject}[{index}]"),
        }
    }

    pub(crate) fn problem(&mut self, path: &str, text: impl Into<String>) {
        let subject = self.subject(path);
        self.problems.add(subject, text);
    }

    pub(crate) fn text(&self, path: &str) -> Option<&'a str> {
        match &self.raw(path)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A value that may be missing.
    pub(crate) fn optional<T>(
        &mut self,
        path: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(text) = self.text(path) else {
            let is_told = self.gathered.unusable.contains(path);
            if Self::key(path).required && self.required && !is_told {
                self.missing.push(Self::key(path).variable.to_owned());
            }
            return None;
        };
        // White space at the ends of a plain value is a slip of the file that set it; in a secret
        // it is part of the value and refused by name.
        let text = if Self::key(path).secret {
            text
        } else {
            text.trim()
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(path, error);
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, path: &str, words: &[(&str, T)]) -> T {
        let found = self.optional(path, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let near = keys::nearest(text, names.iter().copied());
                let hint = near
                    .map(|near| format!(". Did you mean {near}?"))
                    .unwrap_or_default();
                format!("{text:?} is none of {}{hint}", names.join(", "))
            })
        });
        found.unwrap_or(words[0].1)
    }

    pub(crate) fn integer(&mut self, path: &str, range: RangeInclusive<i64>) -> i64 {
        let Some(Value::Integer(number)) = self.raw(path).map(|raw| &raw.value) else {
            return *range.start();
        };
        if !range.contains(number) {
            let (start, end) = range.into_inner();
            self.problem(path, format!("{number} is not between {start} and {end}"));
            return start;
        }
        *number
    }

    pub(crate) fn switch(&self, path: &str) -> bool {
        matches!(
            self.raw(path).map(|raw| &raw.value),
            Some(Value::Switch(true))
        )
    }

    /// A list, each item parsed; an empty item is a problem.
    pub(crate) fn list<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(Value::List(items)) = self.raw(path).map(|raw| &raw.value) else {
            return Vec::new();
        };
        let mut parsed = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let result = if item.trim().is_empty() {
                Err("is empty; remove the extra comma or item".to_owned())
            } else {
                parse(item)
            };
            match result {
                Ok(value) => parsed.push(value),
                Err(error) => {
                    let subject = self.subject_at(path, index, items.len());
                    self.problems.add(subject, error);
                }
            }
        }
        parsed
    }

    /// A duration within bounds, or 0 for never.
    pub(crate) fn pause(&mut self, path: &str, min: &str, max: &str) -> Option<Duration> {
        if self
            .raw(path)
            .is_some_and(|raw| raw.value == crate::file::Value::Text("0".to_owned()))
        {
            return None;
        }
        Some(self.period(path, min, max))
    }

    /// A duration within bounds, which are written as durations, too.
    pub(crate) fn period(&mut self, path: &str, min: &str, max: &str) -> Duration {
        let bound = |text| values::duration(text).expect("bounds are written in this file");
        let (shortest, longest) = (bound(min), bound(max));
        let found = self.optional(path, |text| {
            let period = values::duration(text)?;
            if period < shortest || period > longest {
                return Err(format!("{text} is not between {min} and {max}"));
            }
            Ok(period)
        });
        found.unwrap_or(shortest)
    }

    /// A secret that has no white space or control characters in it.
    pub(crate) fn secret(
        &mut self,
        path: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<SecretString> {
        self.optional(path, |text| {
            printable(text)?;
            check(text).map(|()| SecretString::from(text))
        })
    }

    /// Says which settings were changed though nothing in this release acts on them.
    fn keys_that_wait(&mut self) {
        // A required key is set because it must be; nobody expects anything of that alone.
        for key in keys::KEYS.iter().filter(|key| !key.acts && !key.required) {
            let Some(raw) = self.raw(key.path) else {
                continue;
            };
            let is_default = key.default.is_some_and(|text| {
                crate::file::typed_text(text, key.kind).as_ref() == Ok(&raw.value)
            });
            if raw.origin != Origin::Default && !is_default {
                let subject = self.subject(key.path);
                self.warnings.push(format!(
                    "{subject} is checked, but this release does not act on it yet"
                ));
            }
        }
    }
}

/// Refuses what ends up in a secret by accident: line breaks, spaces, quotes around it.
pub(crate) fn printable(text: &str) -> Result<(), String> {
    if text.contains(['\n', '\r']) {
        return Err("holds a line break".to_owned());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds white space or a control character".to_owned());
    }
    if !text.is_ascii() {
        return Err("holds a character outside ASCII".to_owned());
    }
    let quoted = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if quoted('"') || quoted('\'') {
        return Err("has quotation marks around it; leave them out".to_owned());
    }
    Ok(())
}
