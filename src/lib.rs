//! Bursar, the payment back office between Stripe and a product.

pub mod cli;
pub mod http;
pub mod stripe;
pub mod telemetry;
