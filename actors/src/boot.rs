//! Finds an input that takes the whole process down (stack overflow, out of memory).
//!
//! Starts that end early are counted in a small durable record. After a few in a row, inputs are
//! taken one at a time for the first seconds, and each is noted in the store before it is decided;
//! one that was in hand at several crashes is set aside as dead instead of being decided again.
//!
//! Invariants: a start that settles clears the count, so an ordinary crash costs nothing; the note
//! is removed when its input has been decided.
//! Failure: if the notes cannot be written the input is decided all the same.

use bursar_store::api::{Administer, Keep, Store};
use bursar_store::error::StoreError;
use std::sync::atomic::{AtomicBool, Ordering};

const SPACE: &str = "boot";
const STARTS: &str = "starts";

/// What this start knows about the ones before.
#[derive(Debug, Default)]
pub(crate) struct Boot {
    careful: AtomicBool,
}

fn number(bytes: Option<Vec<u8>>) -> u32 {
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn keep(key: String, value: Option<u32>) -> Administer {
    Administer {
        keeps: vec![Keep {
            space: SPACE,
            key,
            value: value.map(|n| n.to_string().into_bytes()),
            subject: None,
        }],
        ..Administer::default()
    }
}

impl Boot {
    /// Counts this start; from the `suspicion`-th early end in a row on it is a careful one.
    pub(crate) async fn begin(store: &dyn Store, suspicion: u32) -> Result<Self, StoreError> {
        let before = number(store.kept(SPACE, STARTS.into()).await?);
        store
            .administer(keep(STARTS.into(), Some(before.saturating_add(1))))
            .await?;
        let careful = before >= suspicion;
        if careful {
            tracing::warn!(
                starts = before,
                "the last starts ended early: taking inputs one by one"
            );
        }
        Ok(Self {
            careful: AtomicBool::new(careful),
        })
    }

    pub(crate) fn is_careful(&self) -> bool {
        self.careful.load(Ordering::SeqCst)
    }

    /// This start is a good one.
    pub(crate) async fn settle(&self, store: &dyn Store) -> Result<(), StoreError> {
        self.careful.store(false, Ordering::SeqCst);
        store.administer(keep(STARTS.into(), None)).await?;
        Ok(())
    }

    /// Notes that `seq` is about to be decided; answers how often it was in hand at a crash.
    pub(crate) async fn in_hand(&self, store: &dyn Store, seq: u64) -> Result<u32, StoreError> {
        let key = format!("in_hand:{seq}");
        let strikes = number(store.kept(SPACE, key.clone()).await?);
        store
            .administer(keep(key, Some(strikes.saturating_add(1))))
            .await?;
        Ok(strikes)
    }

    /// It was decided and nothing happened.
    pub(crate) async fn survived(&self, store: &dyn Store, seq: u64) -> Result<(), StoreError> {
        store
            .administer(keep(format!("in_hand:{seq}"), None))
            .await?;
        Ok(())
    }
}
