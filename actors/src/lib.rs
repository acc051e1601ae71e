//! Bursar's actors: supervision, entities, intake, outbound lanes.
//!
//! Decide, commit, act: reducers decide (behind [`ports::Reducer`]), one store call commits, actors
//! act on what is committed. Mailboxes carry hints, the store carries the work; any actor or the
//! process may end at any await and nothing accepted is lost.
//!
//! Invariants: `handle` answers `Err` for no outside failure; admission by permits before every
//! mailbox that data travels through, everything else coalesced; no actor names, no globals.
//! Not here: what events mean (`bursar_domain`), files (`bursar_store`), sockets (the root crate).

mod boot;
pub mod bounded;
pub mod breaker;
mod bursts;
pub mod circuits;
pub mod clock;
mod clock_actor;
pub mod core_reducer;
pub mod directory;
mod entities;
mod entity;
mod env;
mod fair;
pub mod gate;
pub mod intake;
pub mod limits;
pub mod metrics;
pub mod observer;
pub mod outbound;
pub mod policy;
pub mod ports;
pub mod reconcile;
pub mod retry;
mod root;
mod slots;
mod sweeper;
pub mod tree;
mod turn;

#[cfg(test)]
mod tests;

pub use env::{Core, EXIT_ACCOUNT, EXIT_ESCALATED, EXIT_STORE, Exit};
