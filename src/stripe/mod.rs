//! What speaks Stripe's protocol: the signature of a delivery, and calls to its API.
//!
//! Not here: what an event means (`bursar_domain`), when to call (`bursar_actors`).

pub mod endpoints;
pub mod read;
pub mod signature;
