//! What speaks Stripe's protocol: the signature of a delivery, and calls to its API.
//!
//! Not here: what an event means (`bursar_domain`), when to call (`bursar_actors`).

mod client;
pub mod endpoints;
pub mod form;
pub mod read;
pub mod requests;
pub mod signature;
pub mod write;

pub use client::ClientError;
