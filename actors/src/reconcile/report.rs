//! What a reconciliation found and did: a plain value, kept, answered and printed as it is.
//!
//! Invariants: bounded, whatever was found: at most `DRIFT_MAX` lines of drift and `ERRORS_MAX` of
//! errors, the rest is counted; no personal data, no body.

use bursar_domain::decision::Change;
use bursar_domain::ids::{Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Lines of drift that are spelled out.
const DRIFT_MAX: usize = 100;
/// Errors that are spelled out.
const ERRORS_MAX: usize = 20;

/// What is done about what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing: it is counted.
    Check,
    /// It is taken in.
    Repair,
    /// Everything there is is taken in, into a store without any.
    Import,
}

impl Mode {
    /// The word of the report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Repair => "repair",
            Self::Import => "import",
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// There was none yet.
    None,
    /// Under way.
    Running,
    /// Came to its end.
    Done,
    /// Ended before: Stripe or the store failed. The next run goes on from there.
    Failed,
}

/// The time looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// From then on; none: from the beginning.
    pub from: Option<String>,
    /// Until then.
    pub to: Option<String>,
}

/// Figures of one kind of object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Read from Stripe.
    pub looked_at: u64,
    /// Events that never came.
    pub missing: u64,
    /// Objects whose state here is not Stripe's.
    pub drifted: u64,
    /// Taken in.
    pub repaired: u64,
    /// Could not be looked at or taken in.
    pub failed: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.looked_at += other.looked_at;
        self.missing += other.missing;
        self.drifted += other.drifted;
        self.repaired += other.repaired;
        self.failed += other.failed;
    }
}

/// One field of one object that is not what Stripe says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The object.
    pub object_id: String,
    /// Its kind, in Stripe's word.
    pub object: String,
    /// The connected account it lives on.
    pub account: Option<String>,
    /// The field, in the API's words; `ledger` for money that was never booked, `unknown` for an
    /// object nobody told of.
    pub field: String,
    /// Here, as JSON text.
    pub from: String,
    /// At Stripe, as JSON text.
    pub to: String,
}

/// Something that could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// On which connected account; none: the platform's.
    pub account: Option<String>,
    /// The list that was read.
    pub object: String,
    /// In words.
    pub error: String,
}

/// The report of a run, running or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its name; its repairs are named after it.
    pub run_id: String,
    /// How far it is.
    pub status: RunStatus,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// What is done about what is found.
    pub mode: Mode,
    /// The time looked at.
    pub window: Window,
    /// Sum of all kinds.
    #[serde(flatten)]
    pub sum: Counts,
    /// By kind; `event` are the events.
    pub by_object: BTreeMap<String, Counts>,
    /// The first differences.
    pub drift: Vec<Drift>,
    /// The first errors.
    pub errors: Vec<Trouble>,
    /// It ended at its bound of pages: the next run goes on.
    pub has_more: bool,
    /// Stripe did not answer, or not as Stripe does.
    pub stripe_failed: bool,
}

/// The key of events in `by_object`.
pub const EVENT: &str = "event";

impl Report {
    /// Before the first run.
    pub fn none() -> Self {
        Self {
            run_id: String::new(),
            status: RunStatus::None,
            started_at: None,
            finished_at: None,
            mode: Mode::Check,
            window: Window::default(),
            sum: Counts::default(),
            by_object: BTreeMap::new(),
            drift: Vec::new(),
            errors: Vec::new(),
            has_more: false,
            stripe_failed: false,
        }
    }

    pub(crate) fn begun(run_id: String, mode: Mode, at: Timestamp) -> Self {
        Self {
            run_id,
            status: RunStatus::Running,
            started_at: Some(at.rfc3339()),
            mode,
            ..Self::none()
        }
    }

    /// Nothing is wrong, or nothing is any more.
    pub const fn is_clean(&self) -> bool {
        self.sum.missing + self.sum.drifted <= self.sum.repaired
    }

    pub(crate) fn count(&mut self, object: &str, counts: Counts) {
        self.sum.add(counts);
        self.by_object
            .entry(object.to_owned())
            .or_default()
            .add(counts);
    }

    /// Widens the window by what one list was asked for.
    pub(crate) fn saw(&mut self, from: Option<i64>, to: i64) {
        let text = |at: i64| Timestamp::from_seconds(at).rfc3339();
        let from = from.map(text);
        let to = Some(text(to));
        if self.window.to.is_none() {
            self.window.from = from;
        } else if self.window.from.is_some() {
            // No beginning is earlier than any.
            self.window.from = from.and_then(|from| self.window.from.take().map(|f| f.min(from)));
        }
        self.window.to = self.window.to.take().max(to);
    }

    pub(crate) fn drifted(
        &mut self,
        scope: &Scope,
        object: &str,
        id: &str,
        changes: impl IntoIterator<Item = Change>,
    ) {
        for change in changes {
            if self.drift.len() >= DRIFT_MAX {
                return;
            }
            self.drift.push(Drift {
                object_id: id.to_owned(),
                object: object.to_owned(),
                account: scope.0.as_ref().map(ToString::to_string),
                field: change.field,
                from: change.from,
                to: change.to,
            });
        }
    }

    pub(crate) fn failed(&mut self, scope: &Scope, object: &str, error: String) {
        let failed = Counts {
            failed: 1,
            ..Counts::default()
        };
        self.count(object, failed);
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(Trouble {
                account: scope.0.as_ref().map(ToString::to_string),
                object: object.to_owned(),
                error,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_bounded_and_counts_what_it_does_not_spell_out() {
        let mut report = Report::begun("rec_1".into(), Mode::Check, Timestamp(0));
        for n in 0..500 {
            let change = Change {
                field: "status".into(),
                from: "1".into(),
                to: "2".into(),
            };
            let one = Counts {
                drifted: 1,
                ..Counts::default()
            };
            report.count("invoice", one);
            report.drifted(&Scope::PLATFORM, "invoice", &format!("in_{n}"), [change]);
            report.failed(&Scope::PLATFORM, "charge", "no answer".into());
        }
        assert_eq!((report.drift.len(), report.errors.len()), (100, 20));
        assert_eq!((report.sum.drifted, report.sum.failed), (500, 500));
        assert_eq!(report.by_object["invoice"].drifted, 500);
        assert!(!report.is_clean());
        let text = serde_json::to_string(&report).unwrap();
        assert!(
            text.contains("\"lookedAt\":0") && text.contains("\"byObject\""),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn the_window_is_the_widest_of_what_was_asked_for() {
        let mut report = Report::none();
        report.saw(Some(100), 200);
        report.saw(Some(50), 150);
        assert_eq!(
            report.window.from,
            Some(Timestamp::from_seconds(50).rfc3339())
        );
        assert_eq!(
            report.window.to,
            Some(Timestamp::from_seconds(200).rfc3339())
        );
        report.saw(None, 300);
        report.saw(Some(10), 20);
        assert_eq!(
            report.window.from, None,
            "a list without a beginning was read"
        );
    }
}
