//! Wrong keys, limited by the address they come from: a token bucket per address, in memory.
//!
//! An address whose bucket is empty is refused before its key is looked at, so guessing gets no
//! further than the bucket. A key that was right before is looked at whatever else comes from its
//! address: a stranger behind the same proxy must not lock the product out.
//!
//! Invariants: addresses and keys remembered are bounded; keys are remembered as digests only. The
//! control socket is never limited, loopback only if the limits say so.
//! Not here: deliveries of Stripe's, whose signature is no credential (`webhook`).

use crate::http::limits::Limits;
use crate::http::server::Peer;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Addresses remembered; a full bucket needs no memory, so only those that failed lately count.
const ADDRESSES_MAX: usize = 10_000;
/// Right keys remembered: more programs than one installation has.
const KEYS_MAX: usize = 1_024;

type KeyDigest = [u8; 32];

#[derive(Debug)]
struct Bucket {
    /// When it will be full again.
    full_at: Instant,
}

/// Failed attempts by address, and the keys that were right.
#[derive(Debug)]
pub struct Attempts {
    per_minute: u32,
    loopback_is_exempt: bool,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
    right: Mutex<BTreeSet<KeyDigest>>,
}

fn digest(key: &str) -> KeyDigest {
    Sha256::digest(key.as_bytes()).into()
}

impl Attempts {
    /// Nobody has tried yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            per_minute: limits.wrong_keys_per_minute.max(1),
            loopback_is_exempt: limits.loopback_is_exempt,
            buckets: Mutex::default(),
            right: Mutex::default(),
        }
    }

    fn limited(&self, peer: Peer) -> Option<IpAddr> {
        match peer {
            Peer::ControlSocket => None,
            Peer::Address(address) if self.loopback_is_exempt && address.is_loopback() => None,
            // One host holds a whole /64 of IPv6.
            Peer::Address(IpAddr::V6(address)) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Some(IpAddr::V6(network.into()))
            }
            Peer::Address(address) => Some(address),
        }
    }

    fn refill(&self) -> Duration {
        Duration::from_secs(60) / self.per_minute
    }

    /// How long this address must wait before this key is looked at; `None`: not at all.
    pub fn wait(&self, peer: Peer, key: &str) -> Option<Duration> {
        let address = self.limited(peer)?;
        let now = Instant::now();
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let until_full = buckets
            .get(&address)?
            .full_at
            .saturating_duration_since(now);
        drop(buckets);
        let most = Duration::from_secs(60).saturating_sub(self.refill());
        let wait = until_full
            .checked_sub(most)
            .filter(|wait| !wait.is_zero())?;
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        (!right.contains(&digest(key))).then_some(wait)
    }

    /// A key was wrong: takes one from its address's bucket.
    pub fn failed(&self, peer: Peer, key: &str) {
        self.right
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&digest(key));
        let Some(address) = self.limited(peer) else {
            return;
        };
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| bucket.full_at > now);
            if buckets.len() >= ADDRESSES_MAX {
                // So many fail at once that no one of them is the guesser worth remembering.
                return;
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { full_at: now });
        bucket.full_at = bucket.full_at.max(now) + self.refill();
    }

    /// A key was right: it is looked at from now on whatever its address did.
    pub fn succeeded(&self, key: &str) {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() < KEYS_MAX {
            right.insert(digest(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Peer {
        Peer::Address(address.parse().unwrap())
    }

    fn attempts(loopback_is_exempt: bool) -> Attempts {
        Attempts::new(&Limits {
            loopback_is_exempt,
            wrong_keys_per_minute: 20,
            ..Limits::default()
        })
    }

    /// Tries until refused, answers how often a key was looked at.
    fn tries(attempts: &Attempts, peer: Peer) -> usize {
        let looked_at = (0..100).take_while(|n| {
            let key = format!("guess{n}");
            let free = attempts.wait(peer, &key).is_none();
            attempts.failed(peer, &key);
            free
        });
        looked_at.count()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_twenty_wrong_keys_and_then_one_every_three_seconds() {
        let attempts = attempts(true);
        let peer = from("192.0.2.1");
        for _ in 0..20 {
            assert_eq!(attempts.wait(peer, "guess"), None);
            attempts.failed(peer, "guess");
        }
        let wait = attempts.wait(peer, "guess").unwrap();
        assert!(wait <= Duration::from_secs(3), "{wait:?}");
        assert_eq!(attempts.wait(from("192.0.2.2"), "guess"), None);
        tokio::time::advance(wait).await;
        assert_eq!(attempts.wait(peer, "guess"), None);
        attempts.failed(peer, "guess");
        assert!(attempts.wait(peer, "guess").is_some());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(tries(&attempts, peer), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_right_is_looked_at_until_it_is_wrong() {
        let attempts = attempts(true);
        let peer = from("192.0.2.1");
        attempts.succeeded("right");
        assert_eq!(tries(&attempts, peer), 20);
        assert_eq!(attempts.wait(peer, "right"), None);
        attempts.failed(peer, "right");
        assert!(attempts.wait(peer, "right").is_some(), "it was revoked");
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_is_said_to_be_exempt_is() {
        let loopback = from("127.0.0.1");
        assert_eq!(tries(&attempts(true), loopback), 100);
        assert_eq!(tries(&attempts(false), loopback), 20);
        assert_eq!(tries(&attempts(false), Peer::ControlSocket), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn neighbours_of_one_ipv6_network_share_a_bucket_and_memory_is_bounded() {
        let attempts = attempts(true);
        assert_eq!(tries(&attempts, from("2001:db8::1")), 20);
        assert!(attempts.wait(from("2001:db8::2"), "guess").is_some());
        assert_eq!(attempts.wait(from("2001:db8:0:1::2"), "guess"), None);
        for n in 0..20_000_u32 {
            attempts.failed(Peer::Address(IpAddr::V4(n.into())), "guess");
        }
        let remembered = attempts.buckets.lock().unwrap().len();
        assert_eq!(remembered, ADDRESSES_MAX);
    }
}
