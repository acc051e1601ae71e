//! Notifications to applications: which there are, who hears them, when an attempt is made again, when an
//! endpoint is given up.
//!
//! Invariants: pure, like everything here; the list of types is closed; the jitter follows the seed, so a
//! schedule can be repeated.
//! Not here: sending, signing, and what is kept of it (the root's `notifications`).
//! Source: contract §4 "Notifications"; Standard Webhooks 1.0, "Deliverability and reliability".

use crate::ids::Timestamp;
use sha2::{Digest, Sha256};

/// Every type, in the contract's order. Of several facts of one moment the earlier of this list is told first.
pub const TYPES: &[&str] = &[
    "tenant.created",
    "tenant.activated",
    "tenant.past_due",
    "tenant.suspended",
    "tenant.canceled",
    "tenant.archived",
    "subscription.created",
    "subscription.updated",
    "subscription.canceled",
    "subscription.trial_ending",
    "license.renewed",
    "license.grace",
    "license.revoked",
    "license.restored",
    "credits.granted",
    "credits.debited",
    "credits.reversed",
    "payment.succeeded",
    "payment.failed",
    "payment.canceled",
    "payment.capturable",
    "refund.created",
    "refund.succeeded",
    "refund.failed",
    "dispute.opened",
    "dispute.updated",
    "dispute.closed",
    "invoice.paid",
    "invoice.payment_failed",
    "merchant.updated",
    "merchant.deauthorized",
    "command.succeeded",
    "command.failed",
];

/// The place of a type in the list; what is not in it comes last.
pub fn rank(kind: &str) -> usize {
    let known = TYPES.iter().position(|known| *known == kind);
    known.unwrap_or(TYPES.len())
}

/// Whether a filter is a type of the list, or `word.*` for all of a group.
pub fn is_filter(text: &str) -> bool {
    match text.strip_suffix(".*") {
        Some(group) => TYPES.iter().any(|known| group_of(known) == group),
        None => TYPES.contains(&text),
    }
}

fn group_of(kind: &str) -> &str {
    kind.split_once('.').map_or(kind, |(group, _)| group)
}

/// Whether these filters let a type through; no filter lets all through.
pub fn passes<T: AsRef<str>>(filters: &[T], kind: &str) -> bool {
    filters.is_empty()
        || filters.iter().any(|filter| {
            let filter = filter.as_ref();
            let group = filter.strip_suffix(".*");
            filter == kind || group.is_some_and(|group| group_of(kind) == group)
        })
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Waits after the first, second, … failed attempt: ten attempts in about three days.
const WAITS_MS: [i64; 9] = [
    5_000,
    5 * MINUTE_MS,
    30 * MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
    10 * HOUR_MS,
    14 * HOUR_MS,
    20 * HOUR_MS,
    24 * HOUR_MS,
];
/// Each wait is longer by up to this share of itself.
const JITTER_PERCENT: i64 = 10;
/// The longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MS_MAX: i64 = 24 * HOUR_MS;
/// Attempts in all.
pub const ATTEMPTS_MAX: u32 = WAITS_MS.len() as u32 + 1;

/// How long to wait after so many failed attempts; `None`: that was the last one.
/// `asked_ms` is what the receiver asked for by `Retry-After`.
pub fn wait_ms(attempts: u32, seed: &str, asked_ms: Option<i64>) -> Option<i64> {
    let at = usize::try_from(attempts.checked_sub(1)?).ok()?;
    let base = *WAITS_MS.get(at)?;
    let digest = Sha256::new()
        .chain_update(seed.as_bytes())
        .chain_update(attempts.to_be_bytes())
        .finalize();
    let drawn = i64::from(u16::from_be_bytes([digest[0], digest[1]]));
    let jittered = base + base * JITTER_PERCENT / 100 * drawn / i64::from(u16::MAX);
    let asked = asked_ms.unwrap_or(0).clamp(0, RETRY_AFTER_MS_MAX);
    Some(jittered.max(asked))
}

/// Statuses by which a receiver says that it cannot keep up.
pub const fn says_slow(status: u16) -> bool {
    matches!(status, 429 | 502 | 504)
}

/// First pause of an endpoint that cannot keep up; it doubles.
const PAUSE_MS: i64 = 5_000;
/// Longest pause nobody asked for.
const PAUSE_MS_MAX: i64 = 5 * MINUTE_MS;

/// How long the whole endpoint is left alone when it says so for the `in_a_row`-th time.
pub fn pause_ms(in_a_row: u32, asked_ms: Option<i64>) -> i64 {
    let doubled = PAUSE_MS.saturating_mul(1 << in_a_row.saturating_sub(1).min(20));
    let asked = asked_ms.unwrap_or(0).clamp(0, RETRY_AFTER_MS_MAX);
    doubled.min(PAUSE_MS_MAX).max(asked)
}

/// How long nothing may succeed before an endpoint is given up.
pub const FAILING_MS_MAX: i64 = 72 * HOUR_MS;

/// Why an endpoint is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disable {
    /// It answered 410: it wants nothing any more.
    Gone,
    /// All attempts of a notification failed, and nothing succeeded for three days.
    Failing,
}

impl Disable {
    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
    /// The same as a sentence's end.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Gone => "it answered 410, that it wants nothing any more",
            Self::Failing => {
                "all attempts at a notification failed and nothing arrived for three days"
            }
        }
    }
}

/// Whether a failed attempt ends the endpoint. `failing_since`: the first failure since the last success.
pub fn disabled_by(
    status: Option<u16>,
    was_last_attempt: bool,
    failing_since: Timestamp,
    now: Timestamp,
) -> Option<Disable> {
    if status == Some(410) {
        return Some(Disable::Gone);
    }
    let failing_ms = now.0.saturating_sub(failing_since.0);
    (was_last_attempt && failing_ms >= FAILING_MS_MAX).then_some(Disable::Failing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_let_through_their_type_or_group_and_none_lets_all() {
        assert!(passes::<&str>(&[], "payment.failed"));
        assert!(passes(&["payment.*"], "payment.failed"));
        assert!(passes(
            &["license.renewed", "payment.failed"],
            "payment.failed"
        ));
        assert!(!passes(&["payment.*"], "refund.failed"));
        assert!(!passes(&["payment.succeeded"], "payment.failed"));
        for good in ["payment.*", "command.failed"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["*", "payments.*", "payment.", "payment", "pay*", ".*", ""] {
            assert!(!is_filter(bad), "{bad}");
        }
    }

    #[test]
    fn the_schedule_is_the_stated_one_with_at_most_a_tenth_more() {
        let stated = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for (index, seconds) in stated.into_iter().enumerate() {
            let attempts = u32::try_from(index).unwrap() + 1;
            for seed in ["a", "b", "c"] {
                let wait = wait_ms(attempts, seed, None).unwrap();
                assert!(
                    (seconds * 1_000..=seconds * 1_100).contains(&wait),
                    "{wait}"
                );
                assert_eq!(wait_ms(attempts, seed, None), Some(wait));
            }
            assert_ne!(wait_ms(attempts, "a", None), wait_ms(attempts, "b", None));
        }
        assert_eq!(
            (wait_ms(10, "a", None), wait_ms(0, "a", None)),
            (None, None)
        );
    }

    #[test]
    fn a_longer_wait_is_obeyed_up_to_a_day_and_a_shorter_one_is_not() {
        assert_eq!(wait_ms(1, "a", Some(60_000)), Some(60_000));
        assert!(wait_ms(2, "a", Some(1_000)).unwrap() >= 300_000);
        assert_eq!(wait_ms(1, "a", Some(i64::MAX)), Some(RETRY_AFTER_MS_MAX));
        assert!(wait_ms(1, "a", Some(-5)).unwrap() >= 5_000);
        assert_eq!(pause_ms(1, None), 5_000);
        assert_eq!(pause_ms(3, None), 20_000);
        assert_eq!(pause_ms(60, None), PAUSE_MS_MAX);
        assert_eq!(pause_ms(1, Some(3_600_000)), 3_600_000);
    }

    #[test]
    fn an_endpoint_ends_by_410_or_after_three_days_without_any_success() {
        let (start, day) = (Timestamp(1_000), 24 * HOUR_MS);
        let at = |days: i64| start.plus_ms(days * day);
        assert_eq!(
            disabled_by(Some(410), false, start, start),
            Some(Disable::Gone)
        );
        assert_eq!(disabled_by(Some(500), false, start, at(9)), None);
        assert_eq!(disabled_by(None, true, start, at(2)), None);
        assert_eq!(
            disabled_by(None, true, start, at(3)),
            Some(Disable::Failing)
        );
        // Ten attempts take longer than that, so a dead endpoint ends with its first notification.
        assert!(WAITS_MS.iter().sum::<i64>() >= FAILING_MS_MAX);
    }
}
