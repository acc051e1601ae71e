//! Reads, beside the service, what was not read of the journal before it opened.
//!
//! A start that read all of a long journal would keep deliveries waiting for longer each month. So the newest part is
//! read before anything is served, and the rest here, segment by segment, each followed by a rest as long as it took.
//! Nothing is served unread meanwhile: rows were folded from it when it was new, and whoever reads a record of it checks
//! that record.
//!
//! Failure: damage poisons the store, and the next opening reads everything and refuses, with file and offset.

use super::shared::Shared;
use super::{Doubt, fold::broken};
use crate::error::StoreError;
use crate::sync::Ordering;
use crate::threads::give_way;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Below everything somebody waits for.
const NICENESS: i32 = 19;
/// How often a rest looks whether the store was closed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Segments to read, and who is told if one is damaged.
pub(crate) struct Unread {
    /// The segments, oldest first.
    pub(crate) segments: Vec<u64>,
    /// Reads one whole; gives how many records it holds.
    pub(crate) read: Box<dyn FnMut(u64) -> Result<u64, StoreError> + Send>,
    /// Called if one cannot be read.
    pub(crate) doubt: Doubt,
}

/// Reads them all, unless the store is closed before.
pub(super) fn read_on(shared: &Shared, unread: Unread) {
    give_way(NICENESS);
    let Unread {
        segments,
        mut read,
        doubt,
    } = unread;
    let (count, mut records) = (segments.len(), 0);
    for segment in segments {
        if shared.closed.load(Ordering::Acquire) {
            return;
        }
        let began = Instant::now();
        let of_it = catch_unwind(AssertUnwindSafe(|| read(segment)))
            .unwrap_or_else(|_| Err(broken("reading an old segment panicked".to_owned())));
        match of_it {
            Ok(of_it) => records += of_it,
            Err(error) => {
                doubt();
                return shared.poison(&error);
            }
        }
        rest(shared, began.elapsed());
    }
    tracing::info!(
        segments = count,
        records,
        "the older part of the journal was read: it is whole"
    );
}

fn rest(shared: &Shared, how_long: Duration) {
    let began = Instant::now();
    while began.elapsed() < how_long && !shared.closed.load(Ordering::Acquire) {
        std::thread::sleep(LOOK_EVERY.min(how_long));
    }
}
