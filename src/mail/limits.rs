//! How many mails one address gets in an hour: counted in the store, so that a restart forgets nothing.
//!
//! Whoever knows an address can cause mails to it. Ordinary mails beyond the limit are put off until there is room;
//! what proves who somebody is has a small limit of its own, and beyond it is dropped: an hour later its code would
//! be worth nothing, and whoever asked has five mails to choose from.
//!
//! Invariants: what was not sent does not count; what is under way counts until it is known; records name an address by
//! a tag, and the hourly sweep of people's records removes them once they count for nothing.
//! Not here: how often somebody may ask (the HTTP edge).
//! Failure: a process that dies between the server's word and our commit forgets those mails, as many as the lane sends
//! at a time.

use crate::mail::address::Address;
use bursar_domain::ids::Timestamp;
use bursar_store::api::{Administer, Keep, Store};
use bursar_store::error::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::Mutex;

/// Where the counts are kept: by tag of the address and sort of mail.
pub const SPACE: &str = "mail_limits";
/// The window, in ms.
const HOUR_MS: i64 = 3_600_000;
/// Ordinary mails in it.
pub const ORDINARY_MAX: usize = 30;
/// Mails that prove who somebody is.
pub const SECURITY_MAX: usize = 5;

/// Templates with the small limit.
const SECURITY: [&str; 3] = ["verification", "password_reset", "signup_known"];

/// Whether a mail is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Send it, and say how that ended.
    Yes,
    /// Not before this long.
    Later(Duration),
    /// Not at all.
    Never,
}

/// When an address got its mails of the last hour, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sent {
    at: VecDeque<Timestamp>,
}

impl Sent {
    fn read(bytes: Option<&[u8]>, now: Timestamp) -> Self {
        let read = bytes.and_then(|bytes| serde_json::from_slice::<Self>(bytes).ok());
        let mut sent = read.unwrap_or_default();
        // A clock that was set back leaves counts of the future: they are over as well.
        sent.at.retain(|at| (0..HOUR_MS).contains(&(now.0 - at.0)));
        sent
    }
}

/// Whether a record counts for nothing any more.
pub fn is_over(bytes: &[u8], now: Timestamp) -> bool {
    Sent::read(Some(bytes), now).at.is_empty()
}

/// The counts. One process writes them, one mail at a time; held are those that are being sent.
#[derive(Debug, Default)]
pub struct Limits {
    under_way: Mutex<BTreeMap<String, usize>>,
}

fn is_security(template: &str) -> bool {
    SECURITY.contains(&template)
}

fn key(template: &str, to: &Address) -> String {
    let sort = if is_security(template) {
        "security"
    } else {
        "ordinary"
    };
    format!("{sort}/{}", to.tag("limit"))
}

impl Limits {
    /// Whether this address gets one more.
    ///
    /// # Errors
    /// The store's.
    pub async fn admit(
        &self,
        store: &dyn Store,
        template: &str,
        to: &Address,
        now: Timestamp,
    ) -> Result<Admitted, StoreError> {
        let most = if is_security(template) {
            SECURITY_MAX
        } else {
            ORDINARY_MAX
        };
        let key = key(template, to);
        let mut under_way = self.under_way.lock().await;
        let bytes = store.kept(SPACE, key.clone()).await?;
        let sent = Sent::read(bytes.as_deref(), now);
        let held = under_way.get(&key).copied().unwrap_or_default();
        if sent.at.len() + held < most {
            under_way.insert(key, held + 1);
            return Ok(Admitted::Yes);
        }
        if is_security(template) {
            return Ok(Admitted::Never);
        }
        let first = sent.at.front().copied().unwrap_or(now);
        let wait = u64::try_from(first.0 + HOUR_MS - now.0).unwrap_or_default();
        Ok(Admitted::Later(Duration::from_millis(wait)))
    }

    /// The one let through was sent (at this time), or was not.
    ///
    /// # Errors
    /// The store's: it is not counted.
    pub async fn ended(
        &self,
        store: &dyn Store,
        template: &str,
        to: &Address,
        sent_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let key = key(template, to);
        let mut under_way = self.under_way.lock().await;
        if let Some(held) = under_way.get_mut(&key) {
            *held -= 1;
            if *held == 0 {
                under_way.remove(&key);
            }
        }
        let Some(now) = sent_at else {
            return Ok(());
        };
        let bytes = store.kept(SPACE, key.clone()).await?;
        let mut sent = Sent::read(bytes.as_deref(), now);
        sent.at.push_back(now);
        let keep = Keep {
            space: SPACE,
            key,
            value: serde_json::to_vec(&sent).ok(),
            subject: None,
        };
        let write = Administer {
            keeps: vec![keep],
            ..Administer::default()
        };
        store.administer(write).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_store::MemStore;
    use std::sync::Arc;

    struct Post {
        store: Arc<dyn Store>,
        limits: Limits,
        to: Address,
    }

    impl Post {
        fn open() -> Self {
            Self {
                store: MemStore::new().unwrap(),
                limits: Limits::default(),
                to: Address::parse("ada@example.com").unwrap(),
            }
        }
        async fn admit(&self, template: &str, at: i64) -> Admitted {
            let store = self.store.as_ref();
            let admitted = self.limits.admit(store, template, &self.to, Timestamp(at));
            admitted.await.unwrap()
        }
        async fn ended(&self, template: &str, sent_at: Option<i64>) {
            let store = self.store.as_ref();
            let at = sent_at.map(Timestamp);
            let ended = self.limits.ended(store, template, &self.to, at);
            ended.await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_thirty_first_of_an_hour_waits_until_the_first_is_an_hour_old_also_after_a_restart()
    {
        let mut post = Post::open();
        for n in 0..30 {
            assert_eq!(post.admit("receipt", n * 1_000).await, Admitted::Yes);
            post.ended("receipt", Some(n * 1_000)).await;
            // Another process finds what this one counted.
            post.limits = Limits::default();
        }
        let wait = Duration::from_secs(3_600 - 30);
        assert_eq!(post.admit("receipt", 30_000).await, Admitted::Later(wait));
        let ada = std::mem::replace(&mut post.to, Address::parse("bob@example.com").unwrap());
        assert_eq!(post.admit("receipt", 30_000).await, Admitted::Yes);
        post.to = ada;
        assert_eq!(post.admit("receipt", HOUR_MS).await, Admitted::Yes);
        let records = post.store.kept_all(SPACE, None, 10).await.unwrap();
        assert_eq!(records.len(), 1);
        assert!(!is_over(&records[0].1, Timestamp(HOUR_MS)));
        assert!(is_over(&records[0].1, Timestamp(HOUR_MS + 29_001)));
    }

    #[tokio::test]
    async fn codes_have_a_small_limit_and_what_was_not_sent_does_not_count() {
        let post = Post::open();
        for _ in 0..50 {
            assert_eq!(post.admit("verification", 7).await, Admitted::Yes);
            post.ended("verification", None).await;
        }
        // Those under way count, however many go at once.
        for _ in 0..5 {
            assert_eq!(post.admit("verification", 8).await, Admitted::Yes);
        }
        assert_eq!(post.admit("password_reset", 9).await, Admitted::Never);
        assert_eq!(post.admit("receipt", 9).await, Admitted::Yes);
    }
}
