//! The sandbox over real sockets: what it answers, tells and delivers.

// Helpers of tests are tests: clippy's own exception stops at `#[test]` functions.
#![allow(clippy::unwrap_used)]

mod client;
mod faults;
mod idempotency;
mod life;
mod mail;
mod pages;
mod payments;
mod schema;
mod shapes;
mod signatures;
mod webhooks;
