//! A file system in memory, mounted through FUSE, that loses its power and fails on request.
//!
//! A real process writes to it as to any disk. What it did not sync may be gone after a cut, whole or
//! in 512-byte sectors, names included; any operation can be made to fail.
//!
//! Not here: what is expected of the process (`tests/disk`).
//! Failure: a place where nothing can be mounted is an error, never a test that was not run.
//! Source: POSIX.1-2017 `fsync`; Linux FUSE protocol 7.31.

mod model;
mod mount;

pub use model::{Errno, Plan};
pub use mount::PowerDisk;
