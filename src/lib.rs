//! Bursar, the payment back office between Stripe and a product.

pub mod cli;
