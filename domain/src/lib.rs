//! Bursar's pure core: ids, money, events, reducers, ledger rules.
//!
//! Knows no clock, no I/O, no randomness, no runtime and no store. Everything here is a value or a
//! function of values, so the same input always gives the same decision.

pub mod aggregate;
pub mod decision;
pub mod ids;
pub mod input;
pub mod link;
pub mod money;
pub mod plans;
pub mod rows;
pub mod settings;
