//! Bursar's durable state.
//!
//! Knows bytes, keys and commits; not what an input means, not Stripe, not HTTP.

pub mod api;
#[cfg(test)]
mod conformance;
mod durable;
mod engine;
pub mod error;
pub mod journal;
mod keys;
mod kv;
mod mem;
pub mod metrics;
mod open;
pub mod query;
mod record;
mod shapes;
pub mod vault;
pub mod vfs;

pub use engine::shared::Watermarks;
pub use mem::MemStore;
pub use open::{OpenOptions, OpenReport, RowsFound, bind_installation, open_sled};
