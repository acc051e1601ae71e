//! To whom a mail with several recipients went already, so that a retry does not repeat it.
//!
//! Invariants: recipients are kept as tags, never as addresses; what is older than a week is removed bit by bit, as
//! new ones are written.
//! Failure: a process that dies between the server's word and the commit sends that one again, under its Message-ID.

use bursar_domain::decision::EffectId;
use bursar_domain::ids::Timestamp;
use bursar_store::api::{Administer, Keep, Store};
use bursar_store::error::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

const SPACE: &str = "mail_progress";
/// Longer than any mail is retried.
const KEPT_MS: i64 = 7 * 86_400_000;
/// Old records looked at with each new one.
const LOOKED_AT: usize = 16;

/// What one mail's recipients became.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// When that was last written.
    pub at: Timestamp,
    /// Tags of those it went to.
    pub sent: BTreeSet<String>,
    /// Tags of those it is refused for.
    pub refused: BTreeSet<String>,
}

/// Reads and writes it.
#[derive(Debug, Default)]
pub struct Progress {
    cursor: Mutex<Option<String>>,
}

impl Progress {
    /// What is known of a mail.
    ///
    /// # Errors
    /// The store's.
    pub async fn of(&self, store: &dyn Store, id: &EffectId) -> Result<Reached, StoreError> {
        let bytes = store.kept(SPACE, id.0.clone()).await?;
        let reached = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(reached.unwrap_or_default())
    }

    /// Writes it down, and removes some that are old.
    ///
    /// # Errors
    /// The store's.
    pub async fn remember(
        &self,
        store: &dyn Store,
        id: &EffectId,
        reached: &Reached,
    ) -> Result<(), StoreError> {
        let mut keeps = self.old(store, reached.at).await?;
        keeps.push(Keep {
            space: SPACE,
            key: id.0.clone(),
            value: serde_json::to_vec(reached).ok(),
            subject: None,
        });
        let write = Administer {
            keeps,
            ..Administer::default()
        };
        store.administer(write).await.map(|_| ())
    }

    async fn old(&self, store: &dyn Store, now: Timestamp) -> Result<Vec<Keep>, StoreError> {
        let cursor = {
            let cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
            cursor.clone()
        };
        let page = store.kept_all(SPACE, cursor, LOOKED_AT).await?;
        let last = page.last().map(|(key, _)| key.clone());
        let at_end = page.len() < LOOKED_AT;
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = last.filter(|_| !at_end);
        let is_old = |bytes: &[u8]| {
            let reached: Result<Reached, _> = serde_json::from_slice(bytes);
            reached.is_ok_and(|reached| now.0 - reached.at.0 > KEPT_MS)
        };
        let old = page.into_iter().filter(|(_, bytes)| is_old(bytes));
        Ok(old
            .map(|(key, _)| Keep {
                space: SPACE,
                key,
                value: None,
                subject: None,
            })
            .collect())
    }
}
