//! One charge: the greatest thing said about it.
//!
//! Invariants: a charge only ever moves forward (pending, then failed or succeeded; captured at most
//! up to its amount), so its state is the *maximum* of all snapshots in the order of
//! [`ChargeSaid`]'s fields: rank, captured, amount captured, then time. A maximum does not know in
//! which order it was fed. Both ends (`failed` and `succeeded`) said of one charge contradict.
//! Not here: sums over charges (`totals`).
//! Source: Stripe API reference, "The Charge object".

use super::read_id;
use crate::ids::{BalanceTransactionId, ChargeId, CustomerId, InvoiceId, Timestamp};
use crate::money::Currency;
use crate::register::Origin;
use crate::stripe_wire::{self, Amount};
use serde::{Deserialize, Serialize};

/// A snapshot of a charge. The order of fields is the order in which snapshots are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ChargeSaid {
    /// 0 pending, 1 ended.
    pub(super) rank: u8,
    /// Money was taken, not only reserved.
    pub(super) captured: bool,
    /// Minor units taken.
    pub(super) amount_captured: i64,
    /// When Stripe said so.
    pub(super) said_at: Timestamp,
    /// An answer to our own question: beats events of the same second.
    pub(super) reread: bool,
    /// Stripe's running total: proves refunds nobody told of (it holds released amounts, and falls
    /// again when a refund fails).
    pub(super) amount_refunded: i64,
    /// The authorization was given back without ever being captured.
    pub(super) released: bool,
    /// The cardholder disputed it.
    pub(super) disputed: bool,
    /// `ch_…`.
    pub(super) id: ChargeId,
    /// Stripe's word.
    pub(super) status: String,
    /// Minor units asked for.
    pub(super) amount: i64,
    /// Of all amounts here.
    pub(super) currency: Currency,
    /// It belongs to a payment intent.
    pub(super) has_intent: bool,
    /// Who was charged.
    pub(super) customer: Option<CustomerId>,
    /// Only before basil.
    pub(super) invoice: Option<InvoiceId>,
    /// Why it failed.
    pub(super) failure_code: Option<String>,
    /// The issuer's word.
    pub(super) decline_code: Option<String>,
    /// For people.
    pub(super) failure_message: Option<String>,
    /// Stripe's `created`.
    pub(super) created_at: Option<Timestamp>,
    /// Where its fee is told.
    #[serde(default)]
    pub(super) transaction: Option<BalanceTransactionId>,
}

impl ChargeSaid {
    /// What an object says. `None`: not a whole charge.
    pub(super) fn read(object: &stripe_wire::Charge, origin: &Origin) -> Option<Self> {
        let status = object.status.clone()?;
        let amount = object.amount?.minor();
        let captured = object.captured.unwrap_or(false) && status == "succeeded";
        // Before 2020-08-27 a charge said only that it was captured.
        let taken = object.amount_captured.map_or(amount, Amount::minor);
        Some(Self {
            rank: Self::rank_of(&status),
            captured,
            amount_captured: if captured { taken } else { 0 },
            said_at: origin.at,
            reread: origin.reread,
            amount_refunded: object.amount_refunded.map_or(0, Amount::minor),
            released: !captured && object.refunded.unwrap_or(false),
            disputed: object.disputed.unwrap_or(false),
            id: ChargeId::parse(object.id.as_deref()?).ok()?,
            status,
            amount,
            currency: object.currency?,
            has_intent: object.payment_intent.is_some(),
            customer: read_id(&object.customer, CustomerId::parse),
            invoice: read_id(&object.invoice, InvoiceId::parse),
            failure_code: object.failure_code.clone(),
            decline_code: object.decline_code.clone(),
            failure_message: object.failure_message.clone(),
            created_at: object.created.map(Timestamp::from_seconds),
            transaction: read_id(&object.balance_transaction, BalanceTransactionId::parse),
        })
    }
    /// How far a charge of this status is: 0 pending, 1 ended.
    pub(super) fn rank_of(status: &str) -> u8 {
        u8::from(matches!(status, "succeeded" | "failed"))
    }
}

/// What is known of one charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Charge {
    /// The greatest snapshot.
    pub(super) best: ChargeSaid,
    /// Somebody said it succeeded.
    pub(super) succeeded: bool,
    /// Somebody said it failed.
    pub(super) failed: bool,
    /// Some snapshot was disputed: disputes end, having been disputed does not.
    pub(super) disputed: bool,
    /// Some snapshot was a released authorization.
    pub(super) released: bool,
}

impl Charge {
    /// The state after one snapshot.
    pub(super) fn from_said(said: ChargeSaid) -> Self {
        Self {
            succeeded: said.status == "succeeded",
            failed: said.status == "failed",
            disputed: said.disputed,
            released: said.released,
            best: said,
        }
    }
    /// Joins what another saw.
    pub(super) fn join(&mut self, other: Self) {
        self.succeeded |= other.succeeded;
        self.failed |= other.failed;
        self.disputed |= other.disputed;
        self.released |= other.released;
        if other.best > self.best {
            self.best = other.best;
        }
    }
    /// Two different ends were said and no answer of Stripe's own settled it.
    pub(super) fn contradicts(&self) -> bool {
        self.succeeded && self.failed && !self.best.reread
    }
}
