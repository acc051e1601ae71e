//! Refunds, and payments that were authorized and not yet taken.
//!
//! Invariants: an order names one payment; amounts are minor units of the payment's own currency.
//! Source: Stripe API reference, "Refunds", "PaymentIntents".

use super::draft::{Draft, path};
use bursar_domain::ids::{ChargeId, CommandId, PaymentIntentId, Scope};
use bursar_domain::stripe_call::{Operation, StripeCall};

/// A payment as Stripe wants it named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paid {
    /// By its payment intent.
    Intent(PaymentIntentId),
    /// By its charge, when there is no intent.
    Charge(ChargeId),
}

/// Why money goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RefundReason {
    Duplicate,
    Fraudulent,
    RequestedByCustomer,
}

impl RefundReason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Duplicate, Self::Fraudulent, Self::RequestedByCustomer];
    /// Stripe's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Fraudulent => "fraudulent",
            Self::RequestedByCustomer => "requested_by_customer",
        }
    }
    /// Reads Stripe's word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// Money that goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// On whose account.
    pub scope: Scope,
    /// Of which payment.
    pub payment: Paid,
    /// How much; all that is left if none.
    pub amount_minor: Option<u64>,
    /// Why.
    pub reason: Option<RefundReason>,
}

/// `POST /v1/refunds`.
pub fn refund(order: &Refund, command: &CommandId) -> StripeCall {
    let draft = Draft::post(Operation::RefundCreate, &order.scope, "/v1/refunds");
    let draft = match &order.payment {
        Paid::Intent(id) => draft.set("payment_intent", id),
        Paid::Charge(id) => draft.set("charge", id),
    };
    draft
        .set_some("amount", order.amount_minor)
        .set_some("reason", order.reason.map(RefundReason::as_str))
        .command(command)
        .done()
}

/// Money that was authorized is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// On whose account.
    pub scope: Scope,
    /// Of which payment.
    pub intent: PaymentIntentId,
    /// How much; all of it if none. The rest is released.
    pub amount_minor: Option<u64>,
    /// What the platform keeps of it.
    pub application_fee_minor: Option<u64>,
}

/// `POST /v1/payment_intents/{intent}/capture`.
pub fn capture(order: &Capture, command: &CommandId) -> StripeCall {
    let path = path("/v1/payment_intents", order.intent.as_str(), "/capture");
    Draft::post(Operation::PaymentCapture, &order.scope, path)
        .set_some("amount_to_capture", order.amount_minor)
        .set_some("application_fee_amount", order.application_fee_minor)
        .command(command)
        .done()
}

/// Why a payment is called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CancelReason {
    Abandoned,
    Duplicate,
    Fraudulent,
    RequestedByCustomer,
}

impl CancelReason {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Abandoned,
        Self::Duplicate,
        Self::Fraudulent,
        Self::RequestedByCustomer,
    ];
    /// Stripe's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Duplicate => "duplicate",
            Self::Fraudulent => "fraudulent",
            Self::RequestedByCustomer => "requested_by_customer",
        }
    }
    /// Reads Stripe's word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// A payment that was not taken is called off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// On whose account.
    pub scope: Scope,
    /// Which payment.
    pub intent: PaymentIntentId,
    /// Why.
    pub reason: Option<CancelReason>,
}

/// `POST /v1/payment_intents/{intent}/cancel`. It takes no metadata: the payment's status is the answer to find again.
pub fn cancel(order: &Cancellation) -> StripeCall {
    let path = path("/v1/payment_intents", order.intent.as_str(), "/cancel");
    Draft::post(Operation::PaymentCancel, &order.scope, path)
        .set_some(
            "cancellation_reason",
            order.reason.map(CancelReason::as_str),
        )
        .done()
}
