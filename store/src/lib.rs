//! Bursar's durable state.
//!
//! Knows bytes, keys and commits; not what an input means, not Stripe, not HTTP.

pub mod api;
pub mod error;
pub mod journal;
pub mod metrics;
pub mod query;
pub mod vault;
pub mod vfs;
