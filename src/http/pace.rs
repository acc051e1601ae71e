//! How fast one caller may give orders: a token bucket per caller and tenant, in memory.
//!
//! Invariants: one key's haste costs nobody else, and in one tenant costs that key nothing in another; what is
//! remembered is bounded. Reads are not paced (they wait in the limits of connections and long polls), nor is the
//! operator.
//! Source: reliability rules, "commands".

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Callers remembered; a full bucket needs no memory.
const CALLERS_MAX: usize = 10_000;

/// The buckets.
#[derive(Debug)]
pub struct Pace {
    /// Orders at once.
    burst: u32,
    /// Orders per second after that.
    per_second: u32,
    /// When each bucket will be full again.
    full_at: Mutex<HashMap<String, Instant>>,
}

impl Pace {
    /// Nobody has ordered yet.
    pub fn new(burst: u32, per_second: u32) -> Self {
        Self {
            burst: burst.max(1),
            per_second: per_second.max(1),
            full_at: Mutex::default(),
        }
    }
    /// Takes one from a caller's bucket. # Errors: how long to wait, if it is empty.
    pub fn take(&self, principal: &str, tenant: &str) -> Result<(), Duration> {
        let refill = Duration::from_secs(1) / self.per_second;
        let now = Instant::now();
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        // A line break is in neither.
        let key = format!("{principal}\n{tenant}");
        if buckets.len() >= CALLERS_MAX && !buckets.contains_key(&key) {
            buckets.retain(|_, full_at| *full_at > now);
            if buckets.len() >= CALLERS_MAX {
                return Ok(()); // so many order at once that no one of them is the hasty one
            }
        }
        let full_at = buckets.get(&key).copied().unwrap_or(now).max(now);
        let after = full_at + refill;
        let over = (after - now).saturating_sub(refill * self.burst);
        if over.is_zero() {
            buckets.insert(key, after);
            return Ok(());
        }
        Err(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hasty_caller_is_told_to_wait_and_others_are_not() {
        let pace = Pace::new(50, 25);
        let taken = |tenant: &str| {
            (0..100)
                .filter(|_| pace.take("key", tenant).is_ok())
                .count()
        };
        assert_eq!(taken("a"), 50);
        assert_eq!(taken("b"), 50);
        assert!(pace.take("other", "a").is_ok());
        let wait = pace.take("key", "a").unwrap_err();
        assert!(wait <= Duration::from_millis(40), "{wait:?}");
        tokio::time::advance(wait).await;
        assert!(pace.take("key", "a").is_ok() && pace.take("key", "a").is_err());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(taken("a"), 50);
        for n in 0..20_000 {
            let _ = pace.take(&format!("k{n}"), "a");
        }
        assert!(pace.full_at.lock().unwrap().len() <= CALLERS_MAX);
    }
}
