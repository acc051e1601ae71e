//! Bursar's pure core: ids, money, events, reducers, ledger rules.
//!
//! Knows no clock, no I/O, no randomness, no runtime and no store. Everything here is a value or a
//! function of values, so the same input always gives the same decision.

pub mod aggregate;
pub mod claims;
pub mod command;
#[doc(hidden)]
pub mod crashpoints;
mod customer;
pub mod decide;
pub mod decision;
pub mod effect;
mod erasure;
pub mod fact;
pub mod identity;
pub mod ids;
pub mod input;
mod installation;
mod invoice;
pub mod ledger;
pub mod link;
pub mod listing;
mod merchant;
pub mod message;
pub mod money;
#[doc(hidden)]
pub mod mutants;
pub mod notification;
mod ownership;
mod pairs;
mod payment;
pub mod plans;
pub mod project;
pub mod register;
pub mod reread;
pub mod route;
pub mod rows;
mod sentence;
mod session;
pub mod settings;
pub mod stripe_call;
pub mod stripe_wire;
mod subscription;
pub mod tenant;
#[doc(hidden)]
pub mod testing;

pub use decide::{Prepared, decide, lookups, prepare};
pub use fact::is_conditional;
pub use route::{Fate, Routed, route};

/// Revision of the reducers: raised when the same inputs would decide something else.
pub const REDUCER_REV: u32 = 5;
