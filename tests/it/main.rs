//! The running service, asked from outside: real sockets, real signatures, the real tree of actors.

// A step of a test that cannot be done should end the test where it stands.
#![allow(clippy::unwrap_used)]

mod agreement;
mod api;
mod app;
mod authz;
mod backup;
mod calls;
#[path = "../child/canaries.rs"]
mod canaries;
#[path = "../catalogue/mod.rs"]
mod catalogue;
mod clock_steps;
#[cfg(feature = "cognito")]
mod cognito;
mod erasure;
mod filters;
mod foreign;
mod framing;
mod mail;
mod notifications;
mod orders;
mod outward;
mod people;
mod reconcile;
mod replays;
mod retention;
mod set_aside;
mod stage;
mod story;
mod tenants;
mod watched;
mod webhook;
