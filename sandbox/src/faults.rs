//! Faults on request: what goes wrong with answers and with deliveries, once or by seeded chance.
//!
//! Invariants: a one-shot fault strikes exactly `count` matching times; chances come from the seed.
//! Not here: doing the damage (`server`, `webhooks`).
//! Failure: an unknown kind is refused when the fault is asked for.
//! Source of outside rules: none.

use crate::ids::IdGen;
use serde::{Deserialize, Serialize};

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// API: 401 without executing.
    Unauthorized,
    /// API: 402 `card_declined` without executing.
    Declined,
    /// API: 409 `lock_timeout`-like conflict without executing.
    Conflict,
    /// API: 429 `rate_limit` without executing.
    RateLimited,
    /// API: 500 after executing; kept under the idempotency key.
    ServerErrorSaved,
    /// API: 500 without executing, not kept.
    ServerError,
    /// API: 503 without executing.
    Unavailable,
    /// API: answers after `seconds`.
    Slow,
    /// API: executes, then never answers.
    HangAfterCommit,
    /// API: closes the connection without executing.
    ResetBefore,
    /// API: executes, then closes the connection.
    ResetAfterCommit,
    /// API: executes, then answers bytes that are no JSON, status 200.
    Garbage,
    /// API: a redirect to nowhere.
    Redirect,
    /// API: an answer of several megabytes.
    Huge,
    /// Delivery: sent twice.
    Duplicate,
    /// Delivery: sent after the next one.
    Reorder,
    /// Delivery: never sent (but listed under `/v1/events`).
    Drop,
    /// Delivery: held until the clock shows another second, then sent with all others held.
    Burst,
    /// Delivery: another secret's signature stands first in the header.
    TwoSignatures,
    /// Delivery: no valid signature.
    BadSignature,
    /// Delivery: signed 10 minutes ago.
    OldTimestamp,
    /// Delivery: rendered in the 2024-06-20 shape.
    OlderShape,
    /// Delivery: sent `seconds` later.
    Late,
}

impl FaultKind {
    /// Whether this concerns answers of the API (otherwise: deliveries).
    pub fn is_api(self) -> bool {
        !matches!(
            self,
            Self::Duplicate
                | Self::Reorder
                | Self::Drop
                | Self::Burst
                | Self::TwoSignatures
                | Self::BadSignature
                | Self::OldTimestamp
                | Self::OlderShape
                | Self::Late
        )
    }
}

/// A wish for something to go wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How often; without it and with `per_thousand`, without end.
    #[serde(default)]
    pub count: Option<u32>,
    /// Strikes by chance, this often in 1000.
    #[serde(default)]
    pub per_thousand: Option<u32>,
    /// Only requests whose `METHOD /path` contains this, or events whose type does.
    #[serde(default)]
    pub matching: Option<String>,
    /// Seconds of waiting, where the kind waits.
    #[serde(default)]
    pub seconds: Option<u32>,
}

impl Fault {
    /// One stroke of a kind on the next request or event that contains `matching`.
    pub fn once(kind: FaultKind, matching: &str) -> Self {
        Self {
            kind,
            count: Some(1),
            per_thousand: None,
            matching: Some(matching.to_owned()),
            seconds: None,
        }
    }
}

/// The faults that are waiting to strike.
#[derive(Debug)]
pub(crate) struct Faults {
    waiting: Vec<Fault>,
    chance: IdGen,
}

/// At most this many faults wait at a time.
const FAULTS_MAX: usize = 1_000;

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            waiting: Vec::new(),
            chance: IdGen::new(seed ^ 0xFA17),
        }
    }

    /// Adds a fault; false when too many wait already.
    pub(crate) fn add(&mut self, mut fault: Fault) -> bool {
        if self.waiting.len() >= FAULTS_MAX {
            return false;
        }
        if fault.count.is_none() && fault.per_thousand.is_none() {
            fault.count = Some(1);
        }
        self.waiting.push(fault);
        true
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn waiting(&self) -> Vec<Fault> {
        self.waiting.clone()
    }

    /// The fault that strikes this request or event, if one does.
    pub(crate) fn strike(&mut self, api: bool, subject: &str) -> Option<Fault> {
        let chance = &mut self.chance;
        let at = self.waiting.iter().position(|f| {
            f.kind.is_api() == api
                && f.count != Some(0)
                && f.matching.as_deref().is_none_or(|m| subject.contains(m))
                && f.per_thousand.is_none_or(|n| chance.chance(n))
        })?;
        let fault = self.waiting[at].clone();
        if let Some(count) = &mut self.waiting[at].count {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.waiting.remove(at);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_shot_fault_strikes_once_and_only_what_it_matches() {
        let mut faults = Faults::new(7);
        assert!(faults.add(Fault::once(FaultKind::Unavailable, "POST /v1/refunds")));
        assert!(faults.strike(true, "GET /v1/refunds").is_none());
        assert!(faults.strike(false, "POST /v1/refunds").is_none());
        assert!(faults.strike(true, "POST /v1/refunds").is_some());
        assert!(faults.strike(true, "POST /v1/refunds").is_none());
    }

    #[test]
    fn chances_repeat_with_the_seed() {
        let run = || {
            let mut faults = Faults::new(42);
            faults.add(Fault {
                kind: FaultKind::Conflict,
                count: None,
                per_thousand: Some(300),
                matching: None,
                seconds: None,
            });
            (0..100)
                .filter(|_| faults.strike(true, "x").is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        assert!((10..60).contains(&run().len()));
    }
}
