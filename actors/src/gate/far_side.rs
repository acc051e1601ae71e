//! What the end of a request says about Stripe, about the account, and about neither.
//!
//! Invariants: what an account may do says nothing against the host and what the host does nothing against an account;
//! a declined card, a wrong parameter or an unknown object is an answer, so all worked.
//! Source: Stripe API reference, "Errors", "Rate limits" (`Stripe-Rate-Limited-Reason`).

use crate::ports::{CallEnd, ReadAnswer, ReadError};
use std::time::Duration;

/// The limiter's reason of a 429 to a GET: a GET locks no object, and its error carries no reason.
const READ_REASON: &str = "global-rate";

/// How a request ended, as far as circuits and allowances care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FarSide {
    /// It answered, whatever it answered.
    Worked,
    /// No connection, no answer in time, 5xx; in words, no personal data.
    HostFailed(String),
    /// 429.
    AccountLimited {
        /// `Stripe-Rate-Limited-Reason`; none for a lock on an object.
        reason: Option<String>,
        /// `Retry-After`, if any.
        retry_after: Option<Duration>,
    },
    /// 401 or 403.
    KeyRefused {
        /// Which.
        status: u16,
    },
    /// Nothing can be said: 409, a lock on an object, nobody waits any more.
    Silent,
}

/// What an end counts as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// For the host's circuit.
    pub(super) host: Option<bool>,
    /// For the account's circuit.
    pub(super) account: Option<bool>,
    /// The account's limiter spoke.
    pub(super) is_limited: bool,
    /// It did what it was asked, or said why not.
    pub(super) worked: bool,
    /// In words, if something failed.
    pub(super) why: String,
}

/// Whether a reason speaks of how much is asked, and not of one object.
fn is_rate(reason: &str) -> bool {
    matches!(reason, "global-rate" | "endpoint-rate") || reason.ends_with("-concurrency")
}

impl FarSide {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Worked => Verdict {
                host: Some(true),
                account: Some(true),
                worked: true,
                ..Verdict::default()
            },
            Self::HostFailed(why) => Verdict {
                host: Some(false),
                why,
                ..Verdict::default()
            },
            Self::AccountLimited {
                reason,
                retry_after,
            } => {
                let of_object = reason.as_deref() == Some("resource-specific");
                // With `Retry-After` it says itself when it works again.
                let counts = retry_after.is_none() && !of_object;
                Verdict {
                    host: Some(true),
                    account: counts.then_some(false),
                    is_limited: reason.as_deref().is_some_and(is_rate),
                    worked: false,
                    why: format!("429 ({})", reason.as_deref().unwrap_or("no reason")),
                }
            }
            Self::KeyRefused { status } => Verdict {
                account: (status == 403).then_some(false),
                why: format!("the key was refused ({status})"),
                ..Verdict::default()
            },
            Self::Silent => Verdict::default(),
        }
    }

    /// Of a GET.
    pub fn of_read(end: &Result<ReadAnswer, ReadError>) -> Self {
        match end {
            Ok(_) | Err(ReadError::Unexpected { .. }) => Self::Worked,
            Err(error @ (ReadError::Timeout | ReadError::Network(_) | ReadError::Server(_))) => {
                Self::HostFailed(error.to_string())
            }
            Err(ReadError::RateLimited { retry_after }) => Self::AccountLimited {
                reason: Some(READ_REASON.to_owned()),
                retry_after: *retry_after,
            },
            Err(ReadError::Auth(status)) => Self::KeyRefused { status: *status },
            Err(ReadError::Refused { .. }) => Self::Silent,
        }
    }
}

impl From<&CallEnd> for FarSide {
    fn from(end: &CallEnd) -> Self {
        match end {
            CallEnd::Answer(_) | CallEnd::KeyReused { .. } => Self::Worked,
            CallEnd::NotSent { reason } => Self::HostFailed(reason.clone()),
            // A failure of long ago, told again.
            CallEnd::Unknown {
                is_replayed: true, ..
            }
            | CallEnd::RateLimited { reason: None, .. }
            | CallEnd::InProgress { .. } => Self::Silent,
            CallEnd::Unknown { reason, .. } => Self::HostFailed(reason.clone()),
            CallEnd::RateLimited {
                retry_after,
                reason,
            } => Self::AccountLimited {
                reason: reason.clone(),
                retry_after: *retry_after,
            },
            CallEnd::KeyRefused { status, .. } => Self::KeyRefused { status: *status },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(reason: Option<&str>, retry_after_s: Option<u64>) -> FarSide {
        FarSide::AccountLimited {
            reason: reason.map(str::to_owned),
            retry_after: retry_after_s.map(Duration::from_secs),
        }
    }

    #[test]
    fn an_end_counts_for_whom_it_concerns() {
        for (end, host, account, is_limited) in [
            (FarSide::Worked, Some(true), Some(true), false),
            (FarSide::HostFailed("x".into()), Some(false), None, false),
            (limited(None, None), Some(true), Some(false), false),
            (limited(None, Some(3)), Some(true), None, false),
            (
                limited(Some("global-rate"), None),
                Some(true),
                Some(false),
                true,
            ),
            (
                limited(Some("endpoint-rate"), Some(3)),
                Some(true),
                None,
                true,
            ),
            (
                limited(Some("endpoint-concurrency"), Some(3)),
                Some(true),
                None,
                true,
            ),
            (
                limited(Some("resource-specific"), None),
                Some(true),
                None,
                false,
            ),
            (
                FarSide::KeyRefused { status: 403 },
                None,
                Some(false),
                false,
            ),
            (FarSide::KeyRefused { status: 401 }, None, None, false),
            (FarSide::Silent, None, None, false),
        ] {
            let verdict = end.clone().verdict();
            let got = (verdict.host, verdict.account, verdict.is_limited);
            assert_eq!(got, (host, account, is_limited), "{end:?}");
        }
    }

    #[test]
    fn the_end_of_a_call_is_read_the_same_way() {
        let unknown = |is_replayed| CallEnd::Unknown {
            reason: "500".into(),
            should_retry: None,
            is_replayed,
            retry_after: None,
        };
        let throttled = |reason: Option<&str>| CallEnd::RateLimited {
            retry_after: None,
            reason: reason.map(str::to_owned),
        };
        let failed = |why: &str| FarSide::HostFailed(why.to_owned());
        let not_sent = CallEnd::NotSent {
            reason: "no name".into(),
        };
        let in_progress = CallEnd::InProgress { retry_after: None };
        let refused = CallEnd::KeyRefused {
            status: 403,
            detail: String::new(),
        };
        for (end, expected) in [
            (unknown(false), failed("500")),
            (unknown(true), FarSide::Silent),
            (not_sent, failed("no name")),
            (in_progress, FarSide::Silent),
            (throttled(None), FarSide::Silent),
            (
                throttled(Some("global-rate")),
                limited(Some("global-rate"), None),
            ),
            (refused, FarSide::KeyRefused { status: 403 }),
        ] {
            assert_eq!(FarSide::from(&end), expected, "{end:?}");
        }
    }
}
