//! Where the committer and its callers meet: the lock they wait at, the numbers they watch, the thread it is.
//!
//! The standard library's, or with the feature `shuttle` those whose order that suite draws. Only what somebody waits at
//! for somebody else is named here. A lock nobody waits under stays the standard library's: drawn as well, it could be
//! given away in the middle of one of tokio's, which are not drawn.
//!
//! Not here: the schedules (`engine::schedules_tests`).

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    sync::{Condvar, Mutex, MutexGuard},
    thread::{Builder, JoinHandle},
};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    sync::{Condvar, Mutex, MutexGuard},
    thread::{Builder, JoinHandle},
};
