//! Bursar's durable state.
//!
//! Knows bytes, keys and commits; not what an input means, not Stripe, not HTTP.
//!
//! ```text
//! api, query   what callers say and hear (`Store`)
//! engine       one committer, one fold, all reads; the same for every backend
//! record       what the journal holds            keys, shapes   what the rows are
//! kv           rows: in memory, in sled          journal, vault the truth, and its keys
//! open, mem    how a store is made               conformance    what every store must do
//! ```
//!
//! Known limits: a start reads every byte of the journal that is kept; rows that must be made again are
//! made before the store opens, and nothing is accepted meanwhile. A checkpoint holds rows as this version
//! lays them out: where retention dropped records, a program of another layout refuses to start.

pub mod api;
pub mod backup;
#[cfg(test)]
mod conformance;
mod durable;
mod engine;
pub mod error;
#[cfg(test)]
#[path = "../../tests/fuzz/engine.rs"]
mod fuzz_engine;
#[cfg(test)]
mod fuzz_tests;
pub mod journal;
mod key;
mod keys;
mod kv;
mod mem;
pub mod metrics;
mod open;
pub mod progress;
pub mod query;
mod record;
pub mod recover;
mod shapes;
mod sync;
#[cfg(feature = "crashpoints")]
#[doc(hidden)]
pub mod testing;
pub mod threads;
pub mod vault;
pub mod vfs;

pub use engine::shared::Watermarks;
pub use mem::MemStore;
pub use open::{OpenOptions, OpenReport, RowsFound, bind_account, bind_mode, open_sled};
