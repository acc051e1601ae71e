//! Orders of ours as requests of Stripe's: typed values in, a [`StripeCall`] out.
//!
//! Invariants: pure; the same order gives the same parameters in the same order, so every attempt under one
//! idempotency key is byte for byte the same; every object that takes metadata carries `metadata[command_id]`, by which
//! a lost answer is found again; a parameter that is not wanted is left out, never sent empty by accident.
//! Not here: whether an order is allowed (the handlers), what is sent with it (`super::write`), what the answer means.
//! Failure: none; whatever a typed order holds can be written. Texts are bounded by whoever reads them
//! (`crate::http::fields`).
//! Source: Stripe API reference, one section per builder; `tests/corpus/stripe/openapi-product-2025-04-30.basil.json`,
//! against which `tests/it/calls.rs` holds every builder.

pub mod checkout;
pub mod connect;
pub mod customers;
pub mod disputes;
mod draft;
pub mod invoices;
pub mod payments;
pub mod subscriptions;

/// How Stripe settles what a change within a paid period is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProrationBehavior {
    /// On the next invoice.
    CreateProrations,
    /// On an invoice of its own, at once.
    AlwaysInvoice,
    /// Not at all.
    None,
}

impl ProrationBehavior {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::CreateProrations, Self::AlwaysInvoice, Self::None];
    /// Stripe's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateProrations => "create_prorations",
            Self::AlwaysInvoice => "always_invoice",
            Self::None => "none",
        }
    }
    /// Reads Stripe's word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}
