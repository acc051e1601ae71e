//! One refund: the greatest thing said about it.
//!
//! Invariants: rank decides (pending < requires_action < succeeded < failed, canceled), then time: a
//! refund may fail days after it succeeded, and never comes back from that. Two different ends, two
//! amounts or two currencies said of one refund contradict.
//! Not here: sums over refunds (`totals`).
//! Source: Stripe API reference, "The Refund object"; Stripe documentation, "Refunds".

use super::read_id;
use crate::ids::{BalanceTransactionId, ChargeId, RefundId, Timestamp};
use crate::money::Currency;
use crate::register::Origin;
use crate::stripe_wire;
use serde::{Deserialize, Serialize};

/// A snapshot of a refund. The order of fields is the order in which snapshots are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RefundSaid {
    /// 0 pending, 1 requires_action, 2 succeeded, 3 failed or canceled.
    pub(super) rank: u8,
    /// When Stripe said so.
    pub(super) said_at: Timestamp,
    /// An answer to our own question: beats events of the same second.
    pub(super) reread: bool,
    /// Stripe's word.
    pub(super) status: String,
    /// `re_…`.
    pub(super) id: RefundId,
    /// Minor units given back.
    pub(super) amount: i64,
    /// Of the amount.
    pub(super) currency: Currency,
    /// The charge it refunds.
    pub(super) charge: Option<ChargeId>,
    /// It belongs to a payment intent.
    pub(super) has_intent: bool,
    /// Stripe's word.
    pub(super) reason: Option<String>,
    /// Stripe's word.
    pub(super) failure_reason: Option<String>,
    /// Stripe's `created`.
    pub(super) created_at: Option<Timestamp>,
    /// Where its fees are told: made, and come back.
    #[serde(default)]
    pub(super) transactions: [Option<BalanceTransactionId>; 2],
}

impl RefundSaid {
    /// What an object says. `None`: not a whole refund.
    pub(super) fn read(object: &stripe_wire::Refund, origin: &Origin) -> Option<Self> {
        // Before 2019 a refund had no status of its own: it had simply happened.
        let status = object.status.clone().unwrap_or_else(|| "succeeded".into());
        Some(Self {
            rank: Self::rank_of(&status),
            said_at: origin.at,
            reread: origin.reread,
            status,
            id: RefundId::parse(object.id.as_deref()?).ok()?,
            amount: object.amount?.minor(),
            currency: object.currency?,
            charge: read_id(&object.charge, ChargeId::parse),
            has_intent: object.payment_intent.is_some(),
            reason: object.reason.clone(),
            failure_reason: object.failure_reason.clone(),
            created_at: object.created.map(Timestamp::from_seconds),
            transactions: [
                &object.balance_transaction,
                &object.failure_balance_transaction,
            ]
            .map(|id| read_id(id, BalanceTransactionId::parse)),
        })
    }
    /// How far a refund of this status is. A word we do not know counts as pending.
    pub(super) fn rank_of(status: &str) -> u8 {
        match status {
            "requires_action" => 1,
            "succeeded" => 2,
            "failed" | "canceled" => 3,
            _ => 0,
        }
    }
}

/// What is known of one refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refund {
    /// The greatest snapshot.
    pub(super) best: RefundSaid,
    /// Somebody said it failed.
    pub(super) failed: bool,
    /// Somebody said it was canceled.
    pub(super) canceled: bool,
    /// Smallest amount said.
    pub(super) amount_min: i64,
    /// Largest amount said.
    pub(super) amount_max: i64,
    /// The earliest time it is known to have existed.
    #[serde(default)]
    pub(super) since: Timestamp,
}

impl Refund {
    /// The state after one snapshot.
    pub(super) fn from_said(said: RefundSaid) -> Self {
        Self {
            failed: said.status == "failed",
            canceled: said.status == "canceled",
            amount_min: said.amount,
            amount_max: said.amount,
            since: said
                .created_at
                .map_or(said.said_at, |at| at.min(said.said_at)),
            best: said,
        }
    }
    /// Joins what another saw.
    pub(super) fn join(&mut self, other: Self) {
        self.failed |= other.failed;
        self.canceled |= other.canceled;
        self.amount_min = self.amount_min.min(other.amount_min);
        self.amount_max = self.amount_max.max(other.amount_max);
        self.since = self.since.min(other.since);
        if other.best > self.best {
            self.best = other.best;
        }
    }
    /// It gives money back: neither failed nor canceled.
    pub(super) fn counts(&self) -> bool {
        self.best.rank < 3
    }
    /// Different ends or amounts were said and no answer of Stripe's own settled it.
    pub(super) fn contradicts(&self) -> bool {
        let ends = self.failed && self.canceled;
        (ends || self.amount_min != self.amount_max) && !self.best.reread
    }
}
