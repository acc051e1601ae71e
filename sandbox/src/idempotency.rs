//! The table behind `Idempotency-Key`, with Stripe's v1 rules.
//!
//! Invariants: an answer is kept once execution began, 500s included; failed validation, conflicts and
//! limits are not; a key belongs to an account.
//! Not here: which answers count as executed (`server`).
//! Failure: 409 while the first runs, 400 `idempotency_error` for other parameters.
//! Source of outside rules: Stripe API reference, "Idempotent requests".

use crate::error::ApiError;
use std::collections::{BTreeMap, VecDeque};

/// Longest key, as at Stripe.
pub(crate) const KEY_CHARS_MAX: usize = 255;
/// Oldest entries go when the table is larger than this.
const ENTRIES_MAX: usize = 100_000;
/// Keys are forgotten after this long on the sandbox's clock (Stripe: at least 24 hours).
pub(crate) const KEPT_SECONDS: i64 = 24 * 3_600;

/// A kept answer.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) request_id: String,
}

#[derive(Debug)]
struct Entry {
    fingerprint: String,
    answer: Option<Kept>,
    at: i64,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct IdempotencyTable {
    entries: BTreeMap<(String, String), Entry>,
    order: VecDeque<(String, String)>,
}

/// What the table says to a request.
#[derive(Debug)]
pub(crate) enum Begin {
    /// Go on; finish or abandon later.
    New,
    /// Answer this again.
    Replay(Kept),
}

impl IdempotencyTable {
    /// Claims a key for a request.
    ///
    /// # Errors
    /// 409 while another request holds it, 400 when it was used with another request.
    pub(crate) fn begin(
        &mut self,
        account: &str,
        key: &str,
        fingerprint: &str,
        now: i64,
    ) -> Result<Begin, ApiError> {
        let slot = (account.to_owned(), key.to_owned());
        if self
            .entries
            .get(&slot)
            .is_some_and(|e| e.answer.is_some() && now - e.at > KEPT_SECONDS)
        {
            self.entries.remove(&slot);
        }
        if let Some(entry) = self.entries.get(&slot) {
            if entry.fingerprint != fingerprint {
                let message = format!(
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. \
                     Try using a key other than '{key}' if you meant to execute a different request."
                );
                return Err(ApiError::other(400, "idempotency_error", None, &message));
            }
            return match &entry.answer {
                Some(kept) => Ok(Begin::Replay(kept.clone())),
                None => Err(ApiError::other(
                    409,
                    "idempotency_error",
                    Some("idempotency_key_in_use"),
                    "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through).",
                )),
            };
        }
        self.entries.insert(
            slot.clone(),
            Entry {
                fingerprint: fingerprint.to_owned(),
                answer: None,
                at: now,
            },
        );
        self.order.push_back(slot);
        while self.order.len() > ENTRIES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
        Ok(Begin::New)
    }

    /// Keeps an answer under its key.
    pub(crate) fn finish(&mut self, account: &str, key: &str, kept: Kept) {
        if let Some(entry) = self.entries.get_mut(&(account.to_owned(), key.to_owned())) {
            entry.answer = Some(kept);
        }
    }

    /// Frees a key whose request was not executed.
    pub(crate) fn abandon(&mut self, account: &str, key: &str) {
        let slot = (account.to_owned(), key.to_owned());
        if self.entries.get(&slot).is_some_and(|e| e.answer.is_none()) {
            self.entries.remove(&slot);
        }
    }

    /// Forgets all keys, as Stripe may after a day.
    pub(crate) fn forget_all(&mut self) {
        self.entries.retain(|_, e| e.answer.is_none());
    }
}
