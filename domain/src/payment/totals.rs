//! What a payment adds up to: derived words and sums, never more than its parts prove.
//!
//! Invariants: captured money comes from charges, or from the intent's own `amount_received` before
//! its charge is seen; refunded money is the sum of refunds that neither failed nor were canceled,
//! of a charge that was captured (a released authorization is no refund), in the payment's currency;
//! beyond that what a charge's running total proves of refunds nobody told of yet.
//! While neither intent nor charge is known nothing is shown. All sums saturate inside `i64`.
//! Source: contract §4 (payment); Stripe documentation, "Refunds", "Place a hold on a payment method".

use super::charge::Charge;
use super::refund::Refund;
use super::state::Payment;
use crate::ids::{ChargeId, CustomerId, InvoiceId, SubscriptionId, Timestamp};
use crate::money::Currency;
use crate::stripe_wire::Amount;
use std::collections::BTreeMap;

/// Why people should look at a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub(super) enum Doubt {
    IntentEnds,
    ChargeEnds,
    RefundEnds,
    RefundTooLarge,
    RefundCurrency,
    CapturedDiffers,
    CanceledButCaptured,
    TooManyParts,
}

impl Doubt {
    /// A stable word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::IntentEnds => "intent_succeeded_and_canceled",
            Self::ChargeEnds => "charge_succeeded_and_failed",
            Self::RefundEnds => "refund_contradicts",
            Self::RefundTooLarge => "refunded_more_than_captured",
            Self::RefundCurrency => "refund_in_another_currency",
            Self::CapturedDiffers => "captured_amounts_differ",
            Self::CanceledButCaptured => "canceled_but_captured",
            Self::TooManyParts => "too_many_parts",
        }
    }
    /// One sentence for people.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::IntentEnds => "Stripe said both succeeded and canceled of this payment",
            Self::ChargeEnds => "Stripe said both succeeded and failed of one charge",
            Self::RefundEnds => "Stripe said two different ends or amounts of one refund",
            Self::RefundTooLarge => "more was refunded than was captured",
            Self::RefundCurrency => "a refund is in another currency than its payment",
            Self::CapturedDiffers => "payment intent and charge differ in what was captured",
            Self::CanceledButCaptured => "the payment is canceled, and yet money was captured",
            Self::TooManyParts => "the payment has more parts than are kept",
        }
    }
}

/// Why the last attempt failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) struct Failure {
    pub(super) code: Option<String>,
    pub(super) decline_code: Option<String>,
    pub(super) message: Option<String>,
}

fn add(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

impl Payment {
    /// The currency of the payment: its intent's, else its first charge's.
    pub(super) fn currency(&self) -> Option<Currency> {
        let of_intent = self.intent.current().and_then(|intent| intent.currency);
        of_intent.or_else(|| self.charges.values().next().map(|c| c.best.currency))
    }

    /// Minor units asked for.
    pub(super) fn amount(&self) -> Option<i64> {
        let of_intent = self.intent.current().and_then(|intent| intent.amount);
        of_intent
            .map(Amount::minor)
            .or_else(|| self.leading_charge().map(|charge| charge.best.amount))
    }

    /// The charge that stands for the payment: the one that took or holds money, else the newest.
    pub(super) fn leading_charge(&self) -> Option<&Charge> {
        self.charges.values().max_by_key(|charge| {
            let best = &charge.best;
            (
                best.captured,
                best.status == "succeeded",
                best.created_at,
                &best.id,
            )
        })
    }

    /// The id of that charge, or the one the intent names.
    pub(super) fn charge_id(&self) -> Option<ChargeId> {
        let leading = self.leading_charge().map(|charge| charge.best.id.clone());
        let latest = || self.intent.latest_charge();
        let named = || self.named_charges.first().cloned();
        leading.or_else(latest).or_else(named)
    }

    /// What was captured, per charge. What the intent received beyond that counts for the charge it
    /// names (or, when it names none, for `fallback`).
    pub(super) fn captured_by_source(&self, fallback: &str) -> BTreeMap<String, i64> {
        let mut all: BTreeMap<String, i64> = self
            .charges
            .values()
            .filter(|charge| charge.best.amount_captured > 0)
            .map(|charge| (charge.best.id.to_string(), charge.best.amount_captured))
            .collect();
        let sum = all.values().copied().fold(0, add);
        let beyond = self.intent.received_max.saturating_sub(sum);
        if beyond > 0 {
            let latest = self.intent.latest_charge();
            let source = latest.map_or_else(|| fallback.to_owned(), |id| id.to_string());
            let known = all.entry(source).or_default();
            *known = add(*known, beyond);
        }
        all
    }

    /// Minor units captured; `None` while nothing of the payment itself is known.
    pub(super) fn amount_captured(&self) -> Option<i64> {
        self.is_known()
            .then(|| self.captured_by_source("").values().copied().fold(0, add))
    }

    /// Whether this refund gives back money that was captured, in the payment's currency.
    pub(super) fn refund_counts(&self, refund: &Refund) -> bool {
        let of_captured = match refund
            .best
            .charge
            .as_ref()
            .and_then(|id| self.charges.get(id))
        {
            Some(charge) => {
                charge.best.captured
                    || self.intent.latest_charge().as_ref() == Some(&charge.best.id)
            }
            None => true,
        };
        refund.counts()
            && of_captured
            && self.amount_captured().is_some_and(|captured| captured > 0)
            && self.currency() == Some(refund.best.currency)
    }

    /// Minor units refunded: by every refund that counts, and what a charge proves beyond those
    /// heard of. `None` while nothing of the payment itself is known.
    pub(super) fn amount_refunded(&self) -> Option<i64> {
        let counted = self.refunds.values().filter(|r| self.refund_counts(r));
        let sum = counted.map(|refund| refund.best.amount).fold(0, add);
        let unheard = self.unheard_refunds().into_values().fold(sum, add);
        self.is_known().then_some(unheard)
    }

    /// Everything captured was given back.
    pub(super) fn fully_refunded(&self) -> bool {
        let captured = self.amount_captured().unwrap_or(0);
        captured > 0 && self.amount_refunded().unwrap_or(0) >= captured
    }

    /// A dispute about it is lost.
    pub(super) fn dispute_lost(&self) -> bool {
        self.disputes.values().any(super::dispute::Dispute::lost)
    }

    /// The cardholder disputed it at some time.
    pub(super) fn disputed(&self) -> bool {
        !self.disputes.is_empty() || self.charges.values().any(|charge| charge.disputed)
    }

    /// Stripe's word: the intent's, else what the charges imply. A charge without an intent says its
    /// own.
    pub(super) fn status(&self) -> Option<String> {
        if let Some(status) = self.intent.status() {
            return Some(status.to_owned());
        }
        let charge = self.leading_charge()?;
        let word = match charge.best.status.as_str() {
            "succeeded" if charge.best.captured => "succeeded",
            "succeeded" if charge.released => "canceled",
            "succeeded" => "requires_capture",
            "failed" if self.has_intent => "requires_payment_method",
            "pending" if self.has_intent => "processing",
            own => own,
        };
        Some(word.to_owned())
    }

    /// `automatic`, `automatic_async` or `manual`.
    pub(super) fn capture_method(&self) -> Option<String> {
        self.intent.current()?.capture_method.clone()
    }

    /// Who pays.
    pub(super) fn customer(&self) -> Option<CustomerId> {
        let of_intent = self.intent.current();
        let of_intent =
            of_intent.and_then(|intent| super::read_id(&intent.customer, CustomerId::parse));
        let of_charge = || {
            self.charges
                .values()
                .filter_map(|c| c.best.customer.clone())
                .min()
        };
        of_intent.or_else(of_charge)
    }

    /// The invoice it pays: the least by id should there be several.
    pub(super) fn invoice(&self) -> Option<&InvoiceId> {
        self.invoices.keys().next()
    }

    /// The subscription of an invoice it pays.
    pub(super) fn subscription(&self) -> Option<&SubscriptionId> {
        self.invoices.values().flatten().next()
    }

    /// Stripe's `created` of the intent; before it is seen, of its first charge.
    pub(super) fn created_at(&self) -> Option<Timestamp> {
        let of_charges = || {
            self.charges
                .values()
                .filter_map(|c| c.best.created_at)
                .min()
        };
        self.intent.created_at().or_else(of_charges)
    }

    /// Why the last attempt failed, by the intent; before it is seen, by the charge that stands for
    /// the payment. Empty once an attempt holds.
    pub(super) fn failure(&self) -> Failure {
        if let Some(intent) = self.intent.current() {
            let failure = Failure {
                code: intent.failure_code.clone(),
                decline_code: intent.decline_code.clone(),
                message: intent.failure_message.clone(),
            };
            return if self.intent.ended_paid() {
                Failure::default()
            } else {
                failure
            };
        }
        let charge = self.leading_charge();
        let failed = charge.filter(|charge| charge.best.status == "failed");
        failed.map_or_else(Failure::default, |charge| Failure {
            code: charge.best.failure_code.clone(),
            decline_code: charge.best.decline_code.clone(),
            message: charge.best.failure_message.clone(),
        })
    }

    /// Why people should look at it, in a fixed order.
    pub(super) fn doubts(&self) -> Vec<Doubt> {
        let captured = self.amount_captured().unwrap_or(0);
        let too_large = captured > 0 && self.amount_refunded().unwrap_or(0) > captured;
        let currency = self.currency();
        let foreign = |refund: &Refund| currency.is_some_and(|c| c != refund.best.currency);
        let canceled = self.intent.status() == Some("canceled");
        [
            (self.intent.contradicts(), Doubt::IntentEnds),
            (
                self.charges.values().any(Charge::contradicts),
                Doubt::ChargeEnds,
            ),
            (
                self.refunds.values().any(Refund::contradicts),
                Doubt::RefundEnds,
            ),
            (too_large, Doubt::RefundTooLarge),
            (self.refunds.values().any(foreign), Doubt::RefundCurrency),
            (self.captured_differs(), Doubt::CapturedDiffers),
            (canceled && captured > 0, Doubt::CanceledButCaptured),
            (self.overflow, Doubt::TooManyParts),
        ]
        .into_iter()
        .filter_map(|(holds, doubt)| holds.then_some(doubt))
        .collect()
    }

    /// An ended intent received less than its charges took, or its only charge, said later, took
    /// less than the intent received.
    fn captured_differs(&self) -> bool {
        if !self.intent.ended_paid() {
            return false;
        }
        let received = self.intent.received_max;
        let taken = self
            .charges
            .values()
            .map(|c| c.best.amount_captured)
            .fold(0, add);
        let ended_at = self.intent.register.at();
        let said_later = self
            .leading_charge()
            .is_some_and(|c| c.best.captured && Some(c.best.said_at) > ended_at);
        received > 0 && (taken > received || (said_later && taken < received))
    }

    /// Minor units by which a charge's own running total exceeds all refunds known of it that were
    /// there when it was said: a refund we have not heard of, by charge. (The total counts what a
    /// partial capture released.) Those that failed are taken off as well, since nobody knows whether
    /// they had when the total was said: rather too little than money that never moved.
    pub(super) fn unheard_refunds(&self) -> BTreeMap<ChargeId, i64> {
        let mut all = BTreeMap::new();
        let currency = self.currency();
        let captured = self.charges.iter().filter(|(_, c)| c.best.captured);
        for (id, charge) in captured.filter(|(_, c)| Some(c.best.currency) == currency) {
            let said_at = charge.best.said_at;
            let was_there = |refund: &Refund| said_at == Timestamp(0) || refund.since <= said_at;
            let of_charge = |r: &&Refund| r.best.charge.as_ref().is_none_or(|of| of == id);
            let heard = self.refunds.values().filter(of_charge);
            let heard = heard.filter(|refund| was_there(refund));
            let heard = heard.map(|refund| refund.amount_max).fold(0, add);
            // Nothing is released where more was captured than authorized (overcapture).
            let released = (charge.best.amount - charge.best.amount_captured).max(0);
            let unheard = charge.best.amount_refunded - released - heard;
            if unheard > 0 {
                all.insert(id.clone(), unheard);
            }
        }
        all
    }
}
