//! The real binary on real sockets on bad days: everything of the bad-input catalogue, overload and slow clients, and
//! stops, rotations and steps of the clock under load, and a key of another account.
//!
//! `BURSAR_BIN` sets the binary (this build's), `BURSAR_LONG=1` the long form of `overload` and `drain`.

#![allow(clippy::unwrap_used, reason = "a failed call is a failed test")]

mod account;
mod badinput;
#[path = "../catalogue/mod.rs"]
mod catalogue;
#[path = "../child/mod.rs"]
mod child;
mod drain;
mod overload;
