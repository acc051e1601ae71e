//! The core as a whole: events in, states out, in a world of memory.

// A test that cannot go on says so by panicking; helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bills;
mod build;
mod commands;
mod conditions;
mod corpus;
mod filters;
mod flows;
mod histories;
mod mails;
mod names;
mod orders;
mod random;
mod ranks;
mod revocation;
mod sealing;
mod shapes;
mod standing;
mod steps;
mod tenants;
mod unclaimed;
mod wire;
mod words;
