//! Payments, refunds, disputes, merchants: every order of what Stripe says ends in one true state.

#![allow(clippy::unwrap_used)] // a test that cannot unwrap has failed

mod amounts;
mod build;
mod histories;
mod inputs;
mod lives;
mod merchants;
mod orders;
mod owners;
mod proofs;
mod purchases;
mod returned;
mod samples;
mod told;
