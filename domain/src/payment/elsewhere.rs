//! Parts that named only their charge, when that charge turns out to belong to a payment intent.
//!
//! A part that names no intent is addressed by its charge, since addresses follow from events alone.
//! Once Stripe was asked for the charge and it names an intent, the payment is that intent's: what
//! Stripe answers is passed on to it, refunds and disputes are asked for and passed on too, and
//! nothing of the money is counted here.
//! Invariants: the first answer decides (a charge never changes its intent); at most `ANSWERS_MAX`
//! answers are kept, each the newest of its object.

use super::state::Payment;
use crate::aggregate::AggregateKey;
use crate::ids::{PaymentId, Scope};
use crate::message::Message;
use crate::project::Projection;
use crate::reread::{Answer, RereadTarget};
use crate::stripe_wire::{Charge, read_object};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most answers passed on.
const ANSWERS_MAX: usize = 32;

/// Where the payment really is, and what is passed on to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Elsewhere {
    payment: Option<PaymentId>,
    answers: BTreeMap<String, Answer>,
}

fn object_of(target: &RereadTarget) -> Option<String> {
    match target {
        RereadTarget::Charge(id) => Some(id.to_string()),
        RereadTarget::Refund(id) => Some(id.to_string()),
        RereadTarget::Dispute(id) => Some(id.to_string()),
        _ => None,
    }
}

impl Elsewhere {
    /// The payment it really is.
    pub(super) fn payment(&self) -> Option<&PaymentId> {
        self.payment.as_ref()
    }
    /// Takes an answer that is another payment's; says whether it is.
    pub(super) fn takes(&mut self, answer: &Answer, own: &PaymentId) -> bool {
        if let (RereadTarget::Charge(_), Some(json)) = (&answer.target, answer.json())
            && let Ok(charge) = read_object::<Charge>(json)
            && let Some(Ok(intent)) = charge.payment_intent.as_deref().map(PaymentId::parse)
            && intent != *own
        {
            self.payment.get_or_insert(intent);
        }
        let Some(object) = object_of(&answer.target).filter(|_| self.payment.is_some()) else {
            return false;
        };
        let known = self.answers.get(&object);
        if known.is_none_or(|known| known.date < answer.date) {
            self.answers.insert(object, answer.clone());
        }
        while self.answers.len() > ANSWERS_MAX {
            self.answers.pop_last();
        }
        true
    }
    /// Passes the answers on.
    pub(super) fn project(&self, projection: &mut Projection, scope: &Scope) {
        let Some(payment) = &self.payment else {
            return;
        };
        let to = AggregateKey::Payment(scope.clone(), payment.clone());
        for (object, answer) in &self.answers {
            let message = Message::Answer(answer.clone());
            projection.tell(to.clone(), object.as_str(), message);
        }
    }
    /// What Stripe is asked so that it can be passed on, by business key: each part anew whenever
    /// something new was said of it.
    pub(super) fn questions(&self, payment: &Payment) -> Vec<(String, RereadTarget)> {
        if self.payment.is_none() {
            return Vec::new();
        }
        let refunds = payment.refunds.iter().map(|(id, refund)| {
            let said = refund.best.said_at.seconds();
            let target = RereadTarget::Refund(id.clone());
            (format!("elsewhere:{id}:{said}"), target)
        });
        let disputes = payment.disputes.iter().map(|(id, dispute)| {
            let said = dispute.best.said_at.seconds();
            let target = RereadTarget::Dispute(id.clone());
            (format!("elsewhere:{id}:{said}"), target)
        });
        refunds.chain(disputes).collect()
    }
}
