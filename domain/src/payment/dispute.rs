//! One dispute: its status by rank, its money by what moved.
//!
//! Invariants: the status is the maximum by rank, then time (an inquiry may become a chargeback, a
//! lost one may rarely be won later, never the other way). Money is *not* read from the status: it is
//! the set of balance transactions, by id, plus what `funds_withdrawn` and `funds_reinstated` proved
//! when no transaction was shown.
//! Not here: where the money is posted (`books`).
//! Source: Stripe API reference, "The Dispute object"; Stripe documentation, "How disputes work".

use super::read_id;
use crate::ids::{ChargeId, DisputeId, Timestamp};
use crate::money::Currency;
use crate::register::Origin;
use crate::stripe_wire;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most balance transactions kept of one dispute (Stripe's documentation: zero to two).
pub(super) const MOVES_MAX: usize = 16;

/// What a `funds_*` event proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Funds {
    /// The disputed amount left the balance.
    Withdrawn,
    /// It came back.
    Reinstated,
}

/// One balance transaction of a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct MoneyMove {
    /// Signed minor units: negative left the balance.
    pub(super) amount: i64,
    /// The balance's currency, which may differ from the charge's.
    pub(super) currency: Currency,
    /// When.
    pub(super) at: Timestamp,
    /// What Stripe took for it; negative: gave back.
    #[serde(default)]
    pub(super) fee: i64,
}

/// A snapshot of a dispute. The order of fields is the order in which snapshots are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct DisputeSaid {
    /// By [`DisputeSaid::rank_of`].
    pub(super) rank: u8,
    /// When Stripe said so.
    pub(super) said_at: Timestamp,
    /// An answer to our own question: beats events of the same second.
    pub(super) reread: bool,
    /// Stripe's word.
    pub(super) status: String,
    /// `du_…` or `dp_…`.
    pub(super) id: DisputeId,
    /// Minor units disputed.
    pub(super) amount: i64,
    /// Of the amount.
    pub(super) currency: Currency,
    /// The disputed charge.
    pub(super) charge: Option<ChargeId>,
    /// It belongs to a payment intent.
    pub(super) has_intent: bool,
    /// Stripe's word.
    pub(super) reason: Option<String>,
    /// Until when evidence may be handed in.
    pub(super) evidence_due_by: Option<Timestamp>,
    /// Stripe's `created`.
    pub(super) created_at: Option<Timestamp>,
    /// Balance transactions it showed, by id.
    pub(super) moves: BTreeMap<String, MoneyMove>,
    /// What the event's type proves.
    pub(super) funds: Option<Funds>,
}

impl DisputeSaid {
    /// What an object says; `kind` is the event's type. `None`: not a whole dispute.
    pub(super) fn read(kind: &str, object: &stripe_wire::Dispute, origin: &Origin) -> Option<Self> {
        let status = object.status.clone()?;
        let moves = object.balance_transactions.iter().map(|one| {
            let shown = MoneyMove {
                amount: one.amount,
                currency: one.currency,
                at: Timestamp::from_seconds(one.created),
                fee: one.fee,
            };
            (one.id.clone(), shown)
        });
        Some(Self {
            rank: Self::rank_of(&status),
            said_at: origin.at,
            reread: origin.reread,
            status,
            id: DisputeId::parse(object.id.as_deref()?).ok()?,
            amount: object.amount?.minor(),
            currency: object.currency?,
            charge: read_id(&object.charge, ChargeId::parse),
            has_intent: object.payment_intent.is_some(),
            reason: object.reason.clone(),
            evidence_due_by: object.evidence_due_by.map(Timestamp::from_seconds),
            created_at: object.created.map(Timestamp::from_seconds),
            moves: moves.take(MOVES_MAX).collect(),
            funds: match kind {
                "charge.dispute.funds_withdrawn" => Some(Funds::Withdrawn),
                "charge.dispute.funds_reinstated" => Some(Funds::Reinstated),
                _ => None,
            },
        })
    }
    /// How far a dispute of this status is. An appeal reopens a lost one, so it stands above `lost`;
    /// a word we do not know counts as open.
    pub(super) fn rank_of(status: &str) -> u8 {
        match status {
            "warning_needs_response" => 0,
            "warning_under_review" => 1,
            "warning_closed" => 2,
            "under_review" => 4,
            "lost" => 5,
            "appeal_needs_response" => 6,
            "appeal_under_review" => 7,
            "prevented" => 8,
            "won" => 9,
            _ => 3,
        }
    }
}

/// What is known of one dispute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dispute {
    /// The greatest snapshot.
    pub(super) best: DisputeSaid,
    /// All balance transactions shown, by id.
    pub(super) moves: BTreeMap<String, MoneyMove>,
    /// Earliest `funds_withdrawn`.
    pub(super) withdrawn_at: Option<Timestamp>,
    /// Earliest `funds_reinstated`.
    pub(super) reinstated_at: Option<Timestamp>,
}

/// The earlier of two times, either of which may be unknown.
fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

impl Dispute {
    /// The state after one snapshot.
    pub(super) fn from_said(said: DisputeSaid) -> Self {
        let at = |funds| (said.funds == Some(funds)).then_some(said.said_at);
        Self {
            moves: said.moves.clone(),
            withdrawn_at: at(Funds::Withdrawn),
            reinstated_at: at(Funds::Reinstated),
            best: said,
        }
    }
    /// Joins what another saw.
    pub(super) fn join(&mut self, other: Self) {
        for (id, one) in other.moves {
            let kept = self.moves.entry(id).or_insert(one);
            *kept = (*kept).max(one);
        }
        while self.moves.len() > MOVES_MAX {
            self.moves.pop_last();
        }
        self.withdrawn_at = earlier(self.withdrawn_at, other.withdrawn_at);
        self.reinstated_at = earlier(self.reinstated_at, other.reinstated_at);
        if other.best > self.best {
            self.best = other.best;
        }
    }
    /// Lost for good, as far as is known.
    pub(super) fn lost(&self) -> bool {
        self.best.status == "lost"
    }
    /// Nothing more is expected.
    pub(super) fn closed(&self) -> bool {
        matches!(
            self.best.status.as_str(),
            "won" | "lost" | "warning_closed" | "prevented"
        )
    }
    /// What it moved in the charge's currency: `(id of the movement, signed amount, when)`.
    ///
    /// A transaction in another currency (settlement differs from presentment) says *that* money
    /// moved; how much, in the books' currency, is the disputed amount.
    pub(super) fn movements(&self) -> Vec<(String, i64, Timestamp)> {
        let mut all: Vec<(String, i64, Timestamp)> = Vec::new();
        for (id, one) in &self.moves {
            let amount = if one.currency == self.best.currency {
                one.amount
            } else {
                one.amount.signum() * self.best.amount
            };
            all.push((id.clone(), amount, one.at));
        }
        let dispute = &self.best.id;
        let shown = |sign: i64| self.moves.values().any(|m| m.amount.signum() == sign);
        if let Some(at) = self.withdrawn_at.filter(|_| !shown(-1)) {
            all.push((format!("{dispute}:withdrawn"), -self.best.amount, at));
        }
        if let Some(at) = self.reinstated_at.filter(|_| !shown(1)) {
            all.push((format!("{dispute}:reinstated"), self.best.amount, at));
        }
        all
    }
}
