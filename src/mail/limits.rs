//! How many mails one address gets in an hour.
//!
//! Whoever knows an address can cause mails to it. Ordinary mails beyond the limit are put off until there is room;
//! what proves who somebody is has a small limit of its own, and beyond it is dropped: an hour later its code would
//! be worth nothing, and whoever asked has five mails to choose from.
//!
//! Invariants: memory is bounded; what was not sent does not count.
//! Not here: how often somebody may ask (the HTTP edge).
//! Failure: a restart forgets the counts: an address then gets up to twice the limit in that hour.

use crate::mail::address::Address;
use bursar_domain::ids::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The window, in ms.
const HOUR_MS: i64 = 3_600_000;
/// Ordinary mails in it.
pub const ORDINARY_MAX: usize = 30;
/// Mails that prove who somebody is.
pub const SECURITY_MAX: usize = 5;
/// Addresses remembered; beyond it those that were quiet longest are forgotten.
const ADDRESSES_MAX: usize = 20_000;

/// Templates with the small limit.
const SECURITY: [&str; 3] = ["verification", "password_reset", "signup_known"];

/// Whether a mail is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Send it; it counts unless it is given back.
    Yes,
    /// Not before this long.
    Later(Duration),
    /// Not at all.
    Never,
}

/// The counts.
#[derive(Debug, Default)]
pub struct Limits {
    sent: Mutex<BTreeMap<(String, bool), VecDeque<i64>>>,
}

impl Limits {
    /// Whether this address gets one more.
    pub fn admit(&self, template: &str, to: &Address, now: Timestamp) -> Admitted {
        let is_security = SECURITY.contains(&template);
        let most = if is_security {
            SECURITY_MAX
        } else {
            ORDINARY_MAX
        };
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES_MAX {
            all.retain(|_, sent| sent.back().is_some_and(|at| now.0 - at < HOUR_MS));
            if all.len() >= ADDRESSES_MAX {
                all.pop_first();
            }
        }
        let sent = all.entry((to.tag("limit"), is_security)).or_default();
        // A clock that was set back leaves counts of the future: they are over as well.
        sent.retain(|at| (0..HOUR_MS).contains(&(now.0 - at)));
        if sent.len() < most {
            sent.push_back(now.0);
            return Admitted::Yes;
        }
        if is_security {
            return Admitted::Never;
        }
        let first = sent.front().copied().unwrap_or(now.0);
        let wait = u64::try_from(first + HOUR_MS - now.0).unwrap_or_default();
        Admitted::Later(Duration::from_millis(wait))
    }

    /// The one let through at `at` was not sent.
    pub fn give_back(&self, template: &str, to: &Address, at: Timestamp) {
        let is_security = SECURITY.contains(&template);
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = all.get_mut(&(to.tag("limit"), is_security))
            && let Some(index) = sent.iter().position(|sent| *sent == at.0)
        {
            sent.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thirty_first_of_an_hour_waits_until_the_first_is_an_hour_old() {
        let limits = Limits::default();
        let to = Address::parse("ada@example.com").unwrap();
        for n in 0..30 {
            let at = Timestamp(n * 1_000);
            assert_eq!(limits.admit("receipt", &to, at), Admitted::Yes);
        }
        let wait = Duration::from_secs(3_600 - 30);
        assert_eq!(
            limits.admit("receipt", &to, Timestamp(30_000)),
            Admitted::Later(wait)
        );
        let other = Address::parse("bob@example.com").unwrap();
        assert_eq!(
            limits.admit("receipt", &other, Timestamp(30_000)),
            Admitted::Yes
        );
        assert_eq!(
            limits.admit("receipt", &to, Timestamp(HOUR_MS)),
            Admitted::Yes
        );
    }

    #[test]
    fn codes_have_a_small_limit_and_what_was_not_sent_does_not_count() {
        let limits = Limits::default();
        let to = Address::parse("ada@example.com").unwrap();
        for _ in 0..50 {
            assert_eq!(
                limits.admit("verification", &to, Timestamp(7)),
                Admitted::Yes
            );
            limits.give_back("verification", &to, Timestamp(7));
        }
        for _ in 0..5 {
            assert_eq!(
                limits.admit("verification", &to, Timestamp(8)),
                Admitted::Yes
            );
        }
        assert_eq!(
            limits.admit("password_reset", &to, Timestamp(9)),
            Admitted::Never
        );
        assert_eq!(limits.admit("receipt", &to, Timestamp(9)), Admitted::Yes);
    }
}
