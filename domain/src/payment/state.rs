//! The state of a payment: joins of everything said about its parts.
//!
//! Invariants: `join` is commutative, associative and idempotent: every field is a maximum, a
//! minimum, a set or a map of those. Maps keep the `n` least ids, which is itself a join, so that a
//! snapshot is bounded; that something was left out is remembered.
//! Not here: what it adds up to (`totals`), who it belongs to (`reduce`).

use super::charge::{Charge, ChargeSaid};
use super::dispute::{Dispute, DisputeSaid};
use super::fees::{FeeSaid, Fees};
use super::intent::Intent;
use super::refund::{Refund, RefundSaid};
use super::watch::{ReviewSaid, WarningSaid};
use crate::ids::{
    BalanceTransactionId, ChargeId, DisputeId, InvoiceId, RefundId, SessionId, SubscriptionId,
};
use crate::message::Grant;
use crate::register::{Joined, Origin};
use crate::stripe_wire::PaymentIntent;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most refunds kept of one payment. Stripe has no such limit; a payment beyond it is looked at.
pub(super) const REFUNDS_MAX: usize = 256;
/// Most charges (attempts) kept of one payment.
pub(super) const CHARGES_MAX: usize = 256;
/// Most disputes, warnings, reviews, sessions, invoices kept of one payment, each.
pub(super) const PARTS_MAX: usize = 32;

/// One thing Stripe said about a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// A payment intent as it was then.
    Intent(Box<PaymentIntent>, Origin),
    /// A charge.
    Charge(ChargeSaid),
    /// A refund.
    Refund(RefundSaid),
    /// A dispute.
    Dispute(DisputeSaid),
    /// An early fraud warning.
    Warning(WarningSaid),
    /// A review.
    Review(ReviewSaid),
    /// What a balance transaction cost.
    Fee(BalanceTransactionId, FeeSaid),
}

/// Everything said about one payment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Payment {
    /// The payment intent.
    pub(super) intent: Intent,
    /// Some part named a payment intent: the payment's id is that intent's.
    pub(super) has_intent: bool,
    /// Its charges.
    pub(super) charges: BTreeMap<ChargeId, Charge>,
    /// Its refunds.
    pub(super) refunds: BTreeMap<RefundId, Refund>,
    /// Its disputes.
    pub(super) disputes: BTreeMap<DisputeId, Dispute>,
    /// Its early fraud warnings.
    pub(super) warnings: BTreeMap<String, WarningSaid>,
    /// Its reviews.
    pub(super) reviews: BTreeMap<String, ReviewSaid>,
    /// Charges named by other parts, whether known or not.
    pub(super) named_charges: BTreeSet<ChargeId>,
    /// Invoices it pays, with their subscription once that is known.
    pub(super) invoices: BTreeMap<InvoiceId, Option<SubscriptionId>>,
    /// What was bought with it, by session.
    pub(super) grants: BTreeMap<SessionId, Grant>,
    /// What Stripe took for it.
    pub(super) fees: Fees,
    /// Some map was full: the payment needs a look.
    pub(super) overflow: bool,
}

/// Joins `new` into the entry of `key`; says whether anything changed.
fn join_into<K: Ord + Clone, V: Clone + PartialEq>(
    map: &mut BTreeMap<K, V>,
    key: K,
    new: V,
    join: impl FnOnce(&mut V, V),
) -> Joined {
    let Some(kept) = map.get_mut(&key) else {
        map.insert(key, new);
        return Joined::Kept;
    };
    let before = kept.clone();
    let same = before == new;
    join(kept, new);
    match (*kept == before, same) {
        (true, true) => Joined::Same,
        (true, false) => Joined::Older,
        (false, _) => Joined::Kept,
    }
}

/// Keeps the `most` least entries.
fn bound<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, most: usize, overflow: &mut bool) {
    while map.len() > most {
        map.pop_last();
        *overflow = true;
    }
}

fn greater<T: Ord>(kept: &mut T, new: T) {
    if new > *kept {
        *kept = new;
    }
}

impl Payment {
    /// Joins one fact; says whether it changed anything.
    pub(super) fn join(&mut self, fact: Fact) -> Joined {
        let names = self.learn_names(&fact);
        let joined = match fact {
            Fact::Intent(object, origin) => self.intent.join(&object, &origin),
            Fact::Charge(said) => {
                let new = Charge::from_said(said);
                join_into(&mut self.charges, new.best.id.clone(), new, Charge::join)
            }
            Fact::Refund(said) => {
                let new = Refund::from_said(said);
                join_into(&mut self.refunds, new.best.id.clone(), new, Refund::join)
            }
            Fact::Dispute(said) => {
                let new = Dispute::from_said(said);
                join_into(&mut self.disputes, new.best.id.clone(), new, Dispute::join)
            }
            Fact::Warning(said) => join_into(&mut self.warnings, said.id.clone(), said, greater),
            Fact::Review(said) => join_into(&mut self.reviews, said.id.clone(), said, greater),
            Fact::Fee(id, said) => match self.fees.join(id, said) {
                true => Joined::Kept,
                false => Joined::Same,
            },
        };
        let over = &mut self.overflow;
        bound(&mut self.charges, CHARGES_MAX, over);
        bound(&mut self.refunds, REFUNDS_MAX, over);
        bound(&mut self.disputes, PARTS_MAX, over);
        bound(&mut self.warnings, PARTS_MAX, over);
        bound(&mut self.reviews, PARTS_MAX, over);
        if names { Joined::Kept } else { joined }
    }

    /// Remembers the ids a fact names; says whether any was new.
    fn learn_names(&mut self, fact: &Fact) -> bool {
        let (has_intent, charge, invoice) = match fact {
            Fact::Intent(object, _) => (
                true,
                super::read_id(&object.latest_charge, ChargeId::parse),
                super::read_id(&object.invoice, InvoiceId::parse),
            ),
            Fact::Charge(said) => (said.has_intent, Some(said.id.clone()), said.invoice.clone()),
            Fact::Refund(said) => (said.has_intent, said.charge.clone(), None),
            Fact::Dispute(said) => (said.has_intent, said.charge.clone(), None),
            Fact::Warning(said) => (said.has_intent, said.charge.clone(), None),
            Fact::Review(said) => (said.has_intent, said.charge.clone(), None),
            Fact::Fee(..) => return false,
        };
        let transactions = match fact {
            Fact::Charge(said) => vec![said.transaction.clone()],
            Fact::Refund(said) => said.transactions.to_vec(),
            _ => Vec::new(),
        };
        let mut new = has_intent && !self.has_intent;
        self.has_intent |= has_intent;
        for transaction in transactions.into_iter().flatten() {
            new |= self.fees.name(transaction);
        }
        if let Some(charge) = charge {
            new |= self.named_charges.insert(charge);
            while self.named_charges.len() > CHARGES_MAX {
                self.named_charges.pop_last();
            }
        }
        if let Some(invoice) = invoice {
            new |= self.pays(invoice, None);
        }
        new
    }

    /// It pays this invoice (of this subscription); says whether that is news.
    pub(super) fn pays(
        &mut self,
        invoice: InvoiceId,
        subscription: Option<SubscriptionId>,
    ) -> bool {
        let before = self.invoices.clone();
        let known = self.invoices.entry(invoice).or_default();
        *known = std::mem::take(known).max(subscription);
        bound(&mut self.invoices, PARTS_MAX, &mut self.overflow);
        before != self.invoices
    }

    /// A session sold this with it (`None` takes it back); says whether that is news.
    pub(super) fn bought(&mut self, session: SessionId, grant: Option<Grant>) -> bool {
        let before = self.grants.clone();
        match grant {
            Some(grant) => self.grants.insert(session, grant),
            None => self.grants.remove(&session),
        };
        bound(&mut self.grants, PARTS_MAX, &mut self.overflow);
        before != self.grants
    }

    /// Something of the payment itself was seen, not only its parts.
    pub(super) fn is_known(&self) -> bool {
        self.intent.current().is_some() || !self.charges.is_empty()
    }
}
