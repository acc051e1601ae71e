//! What Stripe took for a payment: the fees of its balance transactions.
//!
//! A charge and a refund name their balance transaction; what it cost is known once it was read. A
//! dispute shows its own (`dispute`).
//! Invariants: names are a set, fees the newest word by transaction: joins, whatever the order. At most
//! `TRANSACTIONS_MAX` of each, the least by id.
//! Not here: where a fee is posted (`ledger`, `books`).
//! Source: Stripe API reference, "The Balance Transaction object"; contract §4 (ledger entry).

use crate::ids::{BalanceTransactionId, Timestamp};
use crate::money::Currency;
use crate::reread::RereadTarget;
use crate::stripe_wire::BalanceTransaction;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most balance transactions kept of one payment: a charge's and a refund's each.
const TRANSACTIONS_MAX: usize = 512;

/// One fee as read. The order of fields is the order in which two words on it are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct FeeSaid {
    /// When Stripe said so.
    pub(super) said_at: Timestamp,
    /// Stripe's own part, minor units; negative: given back.
    pub(super) stripe: i64,
    /// The platform's part of a sale on a connected account.
    pub(super) application: i64,
    /// The balance's currency.
    pub(super) currency: Currency,
    /// When it was taken.
    pub(super) at: Timestamp,
}

impl FeeSaid {
    /// What a transaction says. `None`: not a whole one.
    pub(super) fn read(
        object: &BalanceTransaction,
        said_at: Timestamp,
    ) -> Option<(BalanceTransactionId, Self)> {
        let id = BalanceTransactionId::parse(object.id.as_deref()?).ok()?;
        let application = object.application_fee();
        let fee = Self {
            said_at,
            stripe: object.fee?.saturating_sub(application),
            application,
            currency: object.currency?,
            at: object.created.map_or(said_at, Timestamp::from_seconds),
        };
        Some((id, fee))
    }
}

/// What is known of a payment's fees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Fees {
    named: BTreeSet<BalanceTransactionId>,
    known: BTreeMap<BalanceTransactionId, FeeSaid>,
}

impl Fees {
    /// A part names its transaction; says whether that is news.
    pub(super) fn name(&mut self, id: BalanceTransactionId) -> bool {
        let new = self.named.insert(id);
        while self.named.len() > TRANSACTIONS_MAX {
            self.named.pop_last();
        }
        new
    }
    /// Joins what a transaction says; says whether that changed anything.
    pub(super) fn join(&mut self, id: BalanceTransactionId, said: FeeSaid) -> bool {
        let known = self.known.get(&id);
        let new = known.is_none_or(|known| *known < said);
        if new {
            self.known.insert(id, said);
        }
        while self.known.len() > TRANSACTIONS_MAX {
            self.known.pop_last();
        }
        new
    }
    /// All fees read, by transaction.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&BalanceTransactionId, &FeeSaid)> {
        self.known.iter()
    }
    /// What Stripe is asked, by business key.
    pub(super) fn questions(&self) -> impl Iterator<Item = (String, RereadTarget)> + '_ {
        let unread = self.named.iter().filter(|id| !self.known.contains_key(id));
        unread.map(|id| {
            let target = RereadTarget::BalanceTransaction(id.clone());
            (format!("fee:{id}"), target)
        })
    }
}
