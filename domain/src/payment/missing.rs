//! What a payment has not heard of yet although its parts prove it: asked for after a minute.
//!
//! Usually the missing event is on its way and the wait ends by itself. Only what is still missing
//! when the timer fires is asked for, once.
//! Invariants: what is missing is a function of the state; at most `ASKED_MAX` questions.
//! Source: reliability notes b.4, "Missing parent".

use super::state::Payment;
use crate::ids::{ChargeId, PaymentId, PaymentIntentId, Timestamp};
use crate::reread::RereadTarget;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The name of the timer.
pub(super) const TIMER: &str = "missing";
/// 60 s: events of one action come within seconds of each other; a read costs quota.
const WAIT_MS: i64 = 60_000;
/// Most questions of one payment that wait or were asked.
const ASKED_MAX: usize = 16;

/// What is waited for, and what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Missing {
    waits: BTreeMap<String, Timestamp>,
    asked: BTreeSet<String>,
}

impl Missing {
    /// Starts waiting for what is newly missing, stops for what came.
    pub(super) fn update(&mut self, payment: &Payment, id: &PaymentId, now: Timestamp) {
        let missing = missing(payment, id);
        self.waits
            .retain(|question, _| missing.contains_key(question));
        self.asked.retain(|question| missing.contains_key(question));
        for question in missing.into_keys() {
            let open = self.waits.len() + self.asked.len();
            if open < ASKED_MAX && !self.asked.contains(&question) {
                let due = now.plus_ms(WAIT_MS);
                self.waits.entry(question).or_insert(due);
            }
        }
    }
    /// The timer fired: what waited long enough is asked.
    pub(super) fn ask(&mut self, now: Timestamp) {
        let due: Vec<String> = self
            .waits
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(question, _)| question.clone())
            .collect();
        for question in due {
            self.waits.remove(&question);
            self.asked.insert(question);
        }
    }
    /// When the timer is to fire.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.waits.values().min().copied()
    }
    /// What Stripe is asked, by question.
    pub(super) fn questions(
        &self,
        payment: &Payment,
        id: &PaymentId,
    ) -> BTreeMap<String, RereadTarget> {
        let mut all = missing(payment, id);
        all.retain(|question, _| self.asked.contains(question));
        all
    }
}

/// What is missing now, with the object that would tell.
fn missing(payment: &Payment, id: &PaymentId) -> BTreeMap<String, RereadTarget> {
    let mut all = BTreeMap::new();
    if payment.has_intent && payment.intent.current().is_none() {
        let target = PaymentIntentId::parse(id.as_str()).map(RereadTarget::PaymentIntent);
        all.extend(target.ok().map(|target| ("intent".to_owned(), target)));
    }
    let heard_only = !payment.is_known() && !payment.has_intent;
    if let Some(charge) = payment.named_charges.first().filter(|_| heard_only) {
        all.insert("charge".to_owned(), RereadTarget::Charge(charge.clone()));
    }
    // A charge captured in the background (`automatic_async`) is told before its fee is known.
    let taken = payment.charges.iter().filter(|(_, c)| c.best.captured);
    for (id, _) in taken.filter(|(_, charge)| charge.best.transaction.is_none()) {
        let question = format!("transaction:{id}");
        all.insert(question, RereadTarget::Charge(id.clone()));
    }
    for (charge, minor) in payment.unheard_refunds() {
        let question = format!("refunds:{charge}:{minor}");
        all.insert(question, charge_with_refunds(charge));
    }
    all
}

/// A charge answers with its refunds: the re-read asks Stripe to include them.
fn charge_with_refunds(charge: ChargeId) -> RereadTarget {
    RereadTarget::Charge(charge)
}
