//! What a payment means for the books and for the tenant's credits.
//!
//! Invariants: postings are a function of the state, by source (charge, refund, balance transaction,
//! session); reversals are ⌊grant × refunded ÷ captured⌋ over the totals, all of it on a full refund
//! or a lost dispute, and never more than the grant. What is booked before it was heard of itself has a
//! borrowed date and gives way on that very date, so every day ends alike in any order of arrival.
//! Source: contract §4 (credits, ledger entry); rules in `ledger`.

use super::state::Payment;
use crate::ids::{PaymentId, Scope, TenantId, Timestamp};
use crate::ledger::{self, Seller};
use crate::link::LinkKey;
use crate::project::Posting;
use std::collections::BTreeMap;

/// Whether a source stands in for what was not heard of itself: refunds only their charge told of,
/// what a dispute moved before its transactions were shown. Ids of Stripe hold no colon.
fn is_stand_in(source: &str) -> bool {
    source.contains(':')
}

/// Everything the payment did to the books, by source.
pub(super) fn postings(
    payment: &Payment,
    scope: &Scope,
    id: &PaymentId,
    tenant: Option<&TenantId>,
) -> BTreeMap<String, Posting> {
    let seller = Seller::of(scope);
    let mut all = BTreeMap::new();
    let mut post = |source: String, at: Option<Timestamp>, entries: Vec<_>| {
        if !entries.is_empty() {
            let posting = Posting {
                at: at.or_else(|| borrowed_date(payment)).unwrap_or_default(),
                is_dated_by_other: at.is_none() || is_stand_in(&source),
                tenant: tenant.cloned(),
                payment: Some(LinkKey::Payment(scope.clone(), id.clone())),
                entries,
            };
            let known = all.entry(source).or_insert_with(|| Posting {
                entries: Vec::new(),
                ..posting.clone()
            });
            known.entries.extend(posting.entries);
        }
    };
    if let Some(currency) = payment.currency() {
        for (source, amount) in payment.captured_by_source(id.as_str()) {
            let charges = &payment.charges;
            let charge = charges.values().find(|c| c.best.id.as_str() == source);
            let at = charge.map(|c| c.best.created_at.unwrap_or(c.best.said_at));
            post(source, at, ledger::captured(seller, amount, currency));
        }
        let owed = credits_owed_minor(payment);
        if let Some((session, grant)) = payment.grants.first_key_value()
            && seller == Seller::Platform
        {
            let entries = ledger::credits_owed(owed, currency);
            post(session.to_string(), Some(grant.paid_at), entries);
        }
    }
    for refund in payment.refunds.values() {
        if payment.refund_counts(refund) {
            let (best, amount) = (&refund.best, refund.best.amount);
            let entries = ledger::refunded(seller, amount, best.currency);
            let at = best.created_at.unwrap_or(refund.since);
            post(best.id.to_string(), Some(at), entries);
        }
    }
    for (charge, amount) in payment.unheard_refunds() {
        // Gives way, entry by entry, to the refunds themselves as they are heard of.
        if let Some(best) = payment.charges.get(&charge).map(|charge| &charge.best) {
            let entries = ledger::refunded(seller, amount, best.currency);
            post(format!("{charge}:refunds"), Some(best.said_at), entries);
        }
    }
    for (transaction, fee) in payment.fees.iter() {
        let entries = ledger::fee(seller, fee.stripe, fee.application, fee.currency);
        post(transaction.to_string(), Some(fee.at), entries);
    }
    for dispute in payment.disputes.values() {
        for (transaction, moved) in &dispute.moves {
            let entries = ledger::fee(seller, moved.fee, 0, moved.currency);
            post(transaction.clone(), Some(moved.at), entries);
        }
        for (source, signed, at) in dispute.movements() {
            let entries = ledger::disputed(seller, signed, dispute.best.currency);
            post(source, Some(at), entries);
        }
    }
    all
}

/// The date of what was not heard of itself: the payment's, else when it was first told of.
fn borrowed_date(payment: &Payment) -> Option<Timestamp> {
    let created = payment.created_at().filter(|at| *at > Timestamp(0));
    created.or_else(|| payment.intent.register.at())
}

/// Money paid for credits that could still be asked back.
fn credits_owed_minor(payment: &Payment) -> i64 {
    if payment.dispute_lost() {
        return 0;
    }
    let captured = payment.amount_captured().unwrap_or(0);
    (captured - payment.amount_refunded().unwrap_or(0)).max(0)
}

/// Credits taken back of a grant of this many.
pub(super) fn reversed(payment: &Payment, granted: u64) -> i64 {
    let granted = i64::try_from(granted).unwrap_or(i64::MAX);
    if payment.fully_refunded() || payment.dispute_lost() {
        return granted;
    }
    let captured = payment.amount_captured().unwrap_or(0);
    let refunded = payment.amount_refunded().unwrap_or(0);
    if captured <= 0 {
        return 0;
    }
    let share = i128::from(granted) * i128::from(refunded) / i128::from(captured);
    i64::try_from(share).unwrap_or(granted).min(granted)
}
