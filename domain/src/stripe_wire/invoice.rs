//! The invoice object, in the shapes before and since basil, and invoice payments.
//!
//! Source: Stripe changelog, basil 2025-03-31 (`subscription`, `payment_intent`, `charge`, `paid`
//! left the invoice; `parent`, `payments` and line `parent` came).

use super::fields::{
    Amount, Metadata, Reference, currency, lenient, reference, required, required_id,
};
use super::{WireError, WireObject};
use crate::money::Currency;
use serde::{Deserialize, Serialize};

/// What Bursar keeps of an invoice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Invoice {
    pub id: Option<String>,
    pub customer: Reference,
    pub subscription: Reference,
    pub status: Option<String>,
    pub created: Option<i64>,
    pub currency: Option<Currency>,
    pub number: Option<String>,
    pub amount_due: Option<Amount>,
    pub amount_paid: Option<Amount>,
    pub attempt_count: Option<u64>,
    pub next_payment_attempt: Option<i64>,
    pub due_date: Option<i64>,
    pub paid_at: Option<i64>,
    pub billing_reason: Option<String>,
    pub hosted_invoice_url: Option<String>,
    pub invoice_pdf: Option<String>,
    /// Latest end among the subscription's lines (proration lines too), never `period_end`.
    pub lines_period_end: Option<i64>,
    /// Payments named by the invoice itself (always before basil, only if expanded since).
    pub payments: Vec<String>,
    pub metadata: Metadata,
    /// The subscription's metadata as copied onto the invoice.
    pub subscription_metadata: Metadata,
}

/// One payment of an invoice (`GET /v1/invoice_payments`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct InvoicePayment {
    pub id: Option<String>,
    #[serde(deserialize_with = "reference")]
    pub invoice: Reference,
    pub status: Option<String>,
    /// The PaymentIntent's or charge's id.
    pub payment_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    id: Option<String>,
    #[serde(deserialize_with = "reference")]
    customer: Reference,
    #[serde(deserialize_with = "reference")]
    subscription: Reference,
    #[serde(deserialize_with = "reference")]
    payment_intent: Reference,
    #[serde(deserialize_with = "reference")]
    charge: Reference,
    paid: Option<bool>,
    status: Option<String>,
    created: Option<i64>,
    #[serde(deserialize_with = "currency")]
    currency: Option<Currency>,
    number: Option<String>,
    amount_due: Option<Amount>,
    amount_paid: Option<Amount>,
    attempt_count: Option<u64>,
    next_payment_attempt: Option<i64>,
    due_date: Option<i64>,
    billing_reason: Option<String>,
    hosted_invoice_url: Option<String>,
    invoice_pdf: Option<String>,
    #[serde(deserialize_with = "lenient")]
    status_transitions: Option<Transitions>,
    lines: Option<Lines>,
    payments: Option<Payments>,
    parent: Option<Parent>,
    subscription_details: Option<SubscriptionDetails>,
    metadata: Metadata,
}
#[derive(Deserialize)]
struct Transitions {
    paid_at: Option<i64>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Parent {
    subscription_details: Option<SubscriptionDetails>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct SubscriptionDetails {
    #[serde(deserialize_with = "reference")]
    subscription: Reference,
    metadata: Metadata,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Lines {
    data: Vec<Line>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Line {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(deserialize_with = "reference")]
    subscription: Reference,
    period: Option<Period>,
    parent: Option<LineParent>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Period {
    end: Option<i64>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct LineParent {
    subscription_item_details: Option<LineDetails>,
    invoice_item_details: Option<LineDetails>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct LineDetails {
    #[serde(deserialize_with = "reference")]
    subscription: Reference,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Payments {
    data: Vec<WirePayment>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct WirePayment {
    id: Option<String>,
    #[serde(deserialize_with = "reference")]
    invoice: Reference,
    status: Option<String>,
    payment: Option<PaymentOf>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct PaymentOf {
    #[serde(deserialize_with = "reference")]
    payment_intent: Reference,
    #[serde(deserialize_with = "reference")]
    charge: Reference,
}

impl Line {
    /// The subscription the line is of, if it is one of a subscription.
    fn subscription(&self) -> Option<&String> {
        let parent = self.parent.as_ref();
        parent
            .and_then(|parent| parent.subscription_item_details.as_ref())
            .and_then(|details| details.subscription.as_ref())
            .or_else(|| {
                parent
                    .and_then(|parent| parent.invoice_item_details.as_ref())
                    .and_then(|details| details.subscription.as_ref())
            })
            .or(self.subscription.as_ref())
    }
    fn is_of_subscription(&self) -> bool {
        self.kind.as_deref() == Some("subscription") || self.subscription().is_some()
    }
}

impl WireObject for Invoice {
    const OBJECT: &'static str = "invoice";
    fn read(json: &str) -> Result<Self, WireError> {
        let wire: Wire =
            serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))?;
        let lines = wire.lines.map(|lines| lines.data).unwrap_or_default();
        let details = wire
            .parent
            .and_then(|parent| parent.subscription_details)
            .or(wire.subscription_details)
            .unwrap_or_default();
        let subscription = details
            .subscription
            .or(wire.subscription)
            .or_else(|| lines.iter().find_map(Line::subscription).cloned());
        let ends = lines
            .iter()
            .filter(|line| line.is_of_subscription())
            .filter_map(|line| line.period.as_ref()?.end);
        let mut payments: Vec<String> = wire
            .payments
            .map(|payments| payments.data)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|payment| {
                let of = payment.payment?;
                of.payment_intent.or(of.charge)
            })
            .chain(wire.payment_intent.or(wire.charge))
            .collect();
        payments.sort();
        payments.dedup();
        let status = match (wire.status, wire.paid) {
            (None, Some(true)) => Some("paid".to_owned()),
            (status, _) => status,
        };
        Ok(Self {
            id: wire.id,
            customer: wire.customer,
            subscription,
            status,
            created: wire.created,
            currency: wire.currency,
            number: wire.number,
            amount_due: wire.amount_due,
            amount_paid: wire.amount_paid,
            attempt_count: wire.attempt_count,
            next_payment_attempt: wire.next_payment_attempt,
            due_date: wire.due_date,
            paid_at: wire.status_transitions.and_then(|at| at.paid_at),
            billing_reason: wire.billing_reason,
            hosted_invoice_url: wire.hosted_invoice_url,
            invoice_pdf: wire.invoice_pdf,
            lines_period_end: ends.max(),
            payments,
            metadata: wire.metadata,
            subscription_metadata: details.metadata,
        })
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "status", &self.status)?;
        required(Self::OBJECT, "currency", &self.currency)?;
        required(Self::OBJECT, "amount_due", &self.amount_due)?;
        required(Self::OBJECT, "amount_paid", &self.amount_paid)
    }
}

impl WireObject for InvoicePayment {
    const OBJECT: &'static str = "invoice_payment";
    fn read(json: &str) -> Result<Self, WireError> {
        let wire: WirePayment =
            serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))?;
        Ok(Self {
            id: wire.id,
            invoice: wire.invoice,
            status: wire.status,
            payment_id: wire
                .payment
                .and_then(|payment| payment.payment_intent.or(payment.charge)),
        })
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "invoice", &self.invoice)
    }
}
