//! What `check-config` shows: every value, its origin, and what is worth a word.
//!
//! Invariants: a secret appears as `set (sk_test_…, 107 chars)` and a fingerprint, never as itself.
//! Not here: printing to a terminal.
//! Failure: none.

use std::fmt;
use std::path::Path;

use secrecy::SecretString;

use crate::config::{Config, Mode};
use crate::file::Value;
use crate::gather::{Gathered, Raw};
use crate::keys::{self, Key};
use crate::secret;

/// One value as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, as in the file.
    pub path: &'static str,
    /// The variable.
    pub variable: &'static str,
    /// The value, redacted if secret; `-` when not set.
    pub shown: String,
    /// Where it came from; empty when not set.
    pub origin: String,
}

/// Every value with its origin.
#[derive(Debug, Clone)]
pub struct Report {
    /// The values, in the order of the key table.
    pub entries: Vec<Entry>,
    /// The file that was read.
    pub config_file: Option<String>,
    /// `test` or `live`.
    pub mode: &'static str,
    /// One line per plan.
    pub plans: Vec<String>,
    /// What was taken from where: aliases in use.
    pub remarks: Vec<String>,
    /// What should be said aloud at start.
    pub warnings: Vec<String>,
}

impl Report {
    pub(crate) fn of(gathered: &Gathered, config: &Config, mut warnings: Vec<String>) -> Self {
        if config.plans.plans.is_empty() {
            warnings.push(
                "the plan catalogue is empty: set BURSAR_PLANS_FILE, or PAYMENTS_…_PLAN_ID for the \
                 built-in plans"
                    .to_owned(),
            );
        }
        Self {
            entries: keys::KEYS.iter().map(|key| entry(key, gathered)).collect(),
            config_file: gathered
                .config_file
                .as_ref()
                .map(|path| path.display().to_string()),
            mode: if config.stripe.mode == Mode::Live {
                "live"
            } else {
                "test"
            },
            plans: config.plans.plans.iter().map(plan_line).collect(),
            remarks: gathered.notes.clone(),
            warnings,
        }
    }

    /// Everything to be said aloud at start: aliases in use, then warnings.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.remarks
            .iter()
            .chain(&self.warnings)
            .map(String::as_str)
    }

    /// The report as JSON, for `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        let values: Vec<_> = self
            .entries
            .iter()
            .map(|entry| {
                serde_json::json!({
                    "key": entry.path,
                    "variable": entry.variable,
                    "value": entry.shown,
                    "origin": entry.origin,
                })
            })
            .collect();
        serde_json::json!({
            "configFile": self.config_file,
            "mode": self.mode,
            "values": values,
            "plans": self.plans,
            "notes": self.remarks,
            "warnings": self.warnings,
        })
    }
}

fn entry(key: &'static Key, gathered: &Gathered) -> Entry {
    let (shown, origin) = match gathered.values.get(key.path) {
        None => ("-".to_owned(), String::new()),
        Some(raw) => (shown(key, raw), raw.origin.column()),
    };
    Entry {
        path: key.path,
        variable: key.variable,
        shown,
        origin,
    }
}

fn shown(key: &Key, raw: &Raw) -> String {
    let redact = |text: &String| {
        if key.secret {
            secret::describe(&SecretString::from(text.as_str()))
        } else {
            text.clone()
        }
    };
    match &raw.value {
        Value::Text(text) if key.names_a_path => in_folder(text, &raw.folder),
        Value::Text(text) => redact(text),
        Value::Integer(number) => number.to_string(),
        Value::Switch(on) => on.to_string(),
        Value::List(items) => items.iter().map(redact).collect::<Vec<_>>().join(", "),
    }
}

/// A path as it will be used: relative ones start at the folder of the file they stand in.
fn in_folder(text: &str, folder: &Path) -> String {
    match text.strip_prefix("sled:") {
        Some(path) => format!("sled:{}", folder.join(path).display()),
        None => folder.join(text).display().to_string(),
    }
}

fn plan_line(plan: &bursar_domain::plans::Plan) -> String {
    use bursar_domain::plans::PlanEffect;
    let effect = match &plan.effect {
        PlanEffect::Free { .. } => "free, the default".to_owned(),
        PlanEffect::Credits(credits) => format!("{credits} credits per unit"),
        PlanEffect::Subscription(terms) => {
            format!(
                "subscription, {} d trial, {} d grace",
                terms.trial_days, terms.grace_days
            )
        }
    };
    let prices: Vec<&str> = plan.price_ids.iter().map(|price| price.as_str()).collect();
    let prices = if prices.is_empty() {
        "no price".to_owned()
    } else {
        prices.join(", ")
    };
    format!("{} ({effect}; {prices})", plan.id)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_width = self
            .entries
            .iter()
            .map(|entry| entry.variable.len())
            .max()
            .unwrap_or(0);
        // Wide values, such as lists, do not push the column of everybody else to the right.
        let shown_width = self
            .entries
            .iter()
            .map(|entry| entry.shown.chars().count())
            .max()
            .unwrap_or(0)
            .min(44);
        for entry in &self.entries {
            let line = format!(
                "{:name_width$}  {:shown_width$}  {}",
                entry.variable, entry.shown, entry.origin
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for plan in &self.plans {
            writeln!(f, "plan     {plan}")?;
        }
        for note in &self.remarks {
            writeln!(f, "note     {note}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning  {warning}")?;
        }
        Ok(())
    }
}
