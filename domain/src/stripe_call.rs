//! Orders to Stripe as values: one request, whole, before anything is sent.
//!
//! Invariants: a call is a plain value, so the same command sends the same bytes at every attempt; the order of
//! `params` is part of it. Nothing here knows a key, a socket or a clock.
//! Not here: which call an order of a program becomes (`src/stripe/requests`), sending it (`src/stripe/write`), what
//! its answer means (`command`).
//! Source: Stripe API reference, "Idempotent requests", "Connect" (`Stripe-Account`); shared form rules: indexed
//! arrays, booleans as words, times as unix seconds.

use crate::ids::Scope;
use serde::{Deserialize, Serialize};

/// How a call is sent. `DELETE` carries its parameters in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    Post,
    Delete,
}

/// The closed list of what we order at Stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Operation {
    CustomerCreate,
    CustomerUpdate,
    CheckoutCreate,
    PortalCreate,
    RefundCreate,
    PaymentCapture,
    PaymentCancel,
    SubscriptionUpdate,
    SubscriptionCancel,
    SubscriptionResume,
    InvoicePreview,
    InvoiceFinalize,
    AccountCreate,
    AccountLinkCreate,
    LoginLinkCreate,
    DisputeUpdate,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::CustomerCreate,
        Self::CustomerUpdate,
        Self::CheckoutCreate,
        Self::PortalCreate,
        Self::RefundCreate,
        Self::PaymentCapture,
        Self::PaymentCancel,
        Self::SubscriptionUpdate,
        Self::SubscriptionCancel,
        Self::SubscriptionResume,
        Self::InvoicePreview,
        Self::InvoiceFinalize,
        Self::AccountCreate,
        Self::AccountLinkCreate,
        Self::LoginLinkCreate,
        Self::DisputeUpdate,
    ];
    /// The word of metric labels, logs and effects.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CustomerCreate => "customer_create",
            Self::CustomerUpdate => "customer_update",
            Self::CheckoutCreate => "checkout_create",
            Self::PortalCreate => "portal_create",
            Self::RefundCreate => "refund_create",
            Self::PaymentCapture => "payment_capture",
            Self::PaymentCancel => "payment_cancel",
            Self::SubscriptionUpdate => "subscription_update",
            Self::SubscriptionCancel => "subscription_cancel",
            Self::SubscriptionResume => "subscription_resume",
            Self::InvoicePreview => "invoice_preview",
            Self::InvoiceFinalize => "invoice_finalize",
            Self::AccountCreate => "account_create",
            Self::AccountLinkCreate => "account_link_create",
            Self::LoginLinkCreate => "login_link_create",
            Self::DisputeUpdate => "dispute_update",
        }
    }
    /// Whether an object left behind costs nobody anything: such a call may be given up (contract §3, "Stripe and
    /// unknown outcomes"). Everything else moves money or a plan and must end known.
    pub const fn is_free(self) -> bool {
        matches!(
            self,
            Self::CheckoutCreate
                | Self::PortalCreate
                | Self::InvoicePreview
                | Self::AccountLinkCreate
                | Self::LoginLinkCreate
        )
    }
}

/// One request to Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeCall {
    /// What it does.
    pub operation: Operation,
    /// On whose account (header `Stripe-Account`).
    pub scope: Scope,
    /// How.
    pub method: Method,
    /// The path, e.g. `/v1/refunds`; ids in it are escaped.
    pub path: String,
    /// Parameters in Stripe's bracket notation, in the order they are sent, not yet percent-encoded:
    /// `("items[0][price]", "price_1")`.
    pub params: Vec<(String, String)>,
}

impl StripeCall {
    /// The value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}
