//! What Stripe does by itself: periods, invoices, collection, retries.
//!
//! Invariants: time moves only through `World::now`.
//! Not here: requests (`api`).
//! Failure: a declined renewal is an outcome, never an error.
//! Source of outside rules: Stripe documentation, "How subscriptions work".

pub(crate) mod change;
pub(crate) mod collect;
pub(crate) mod discounts;
pub(crate) mod due;
pub(crate) mod period;
pub(crate) mod subscribe;
