//! The rows of the last groups in memory, over the rows on disk.
//!
//! Most rows are written again within a second (an input is received, then applied; a count moves
//! with every event) or vanish (an inbox entry). They are collected here and go to the rows below as
//! one batch, on a thread of its own, so that a commit hardly ever waits for the rows on disk.
//!
//! ```text
//! group ──> open table ──(full, or a quiet moment)──> closed table ──writer thread──> rows below
//! ```
//!
//! Whoever can wait asks `is_behind` first: while the writer is, applies rest and deliveries go on, the slower the fuller
//! the open table is.
//!
//! Invariants: a table is written below whole (also across a kill), so the rows that are opened are
//! always those of some journal record; a key's newest value is in the open table, else in the closed one, else below; a
//! closed table is dropped only after it was written. What is lost with the process is folded again
//! from the journal: a few tables at most.
//! Failure: an error of the writer thread is the answer to every later batch.

use super::known::{Hash, InTable, Known};
use super::merge::merged;
use super::{Batch, Each, Kv, after, end_of};
use crate::engine::fold::broken;
use crate::error::StoreError;
use crate::keys::Key;
use crate::threads::give_way;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// A table is closed at this size, once the one before is written: in a burst rows stay here, and go below when
/// nobody waits ([`Kv::is_full`]). A killed process has what two of them hold to fold again: seconds.
const TABLE_BYTES_MAX: usize = 64 << 20;
/// A table of this part of that size is worth closing in a quiet moment.
const WORTH_CLOSING: usize = 8;
/// The open table may grow to this many halves of its size while the closed one is being written; then a batch
/// waits. So two tables of that size are the most memory this takes, and while one is written down again as much for
/// its `redo`.
const HALVES_MAX: usize = 3;
/// The longest pause of a batch while the writer is behind and the open table is nearly full; shorter before, none
/// below its size. Deliveries slow down by it, instead of all waiting for the rest of a table at once.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// The threads here give way to those somebody waits for.
const NICENESS: i32 = 5;
/// Keys told to the filter under one lock.
const LEARNT_AT_ONCE: usize = 512;
/// What a row costs in a table beside its bytes, roughly.
const ROW_BYTES: usize = 96;
/// Changes copied for the first part of a walk; each further part takes twice as many.
const PART_CHANGES_MIN: usize = 16;
const PART_CHANGES_MAX: usize = 1_024;

struct Tables {
    open: Batch,
    bytes: usize,
    closed: Option<Arc<Batch>>,
    /// Which keys the open and the closed table have.
    in_open: InTable,
    in_closed: InTable,
    known: Known,
}

impl Tables {
    /// What was last written to a key, if it is in a table.
    fn change(&self, key: &[u8], hash: Hash) -> Option<&Option<Vec<u8>>> {
        let open = self.in_open.may_have(hash).then(|| self.open.get(key));
        open.flatten().or_else(|| {
            let closed = self
                .closed
                .as_deref()
                .filter(|_| self.in_closed.may_have(hash));
            closed?.get(key)
        })
    }
    fn has_closed(&self, key: &[u8], hash: Hash) -> bool {
        let closed = self
            .closed
            .as_deref()
            .filter(|_| self.in_closed.may_have(hash));
        closed.is_some_and(|table| table.contains_key(key))
    }
}

struct Shared {
    below: Box<dyn Kv>,
    tables: RwLock<Tables>,
    is_dropped: AtomicBool,
    /// The writer's first error.
    failed: Mutex<Option<StoreError>>,
    /// Whether the writer has nothing in hand.
    is_idle: Mutex<bool>,
    became_idle: Condvar,
}

/// Tables over the rows below.
pub(crate) struct Buffered {
    shared: Arc<Shared>,
    table_bytes_max: usize,
    /// To the writer; `None` only while being dropped.
    closed: Option<Mutex<Sender<Arc<Batch>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shared {
    fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
    fn failed(&self) -> Result<(), StoreError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map_or(Ok(()), |error| Err(error.again()))
    }

    /// The writer thread: one table after the other.
    fn serve(&self, closed: &Receiver<Arc<Batch>>) {
        give_way(NICENESS);
        while let Ok(table) = closed.recv() {
            self.tell_known(&table);
            let written = catch_unwind(AssertUnwindSafe(|| self.below.apply_batch(&table)));
            let panicked = || Err(broken("writing rows panicked".to_owned()));
            match written.unwrap_or_else(|_| panicked()) {
                Ok(()) => self.tables_mut().closed = None,
                // The table stays: readers go on seeing what they were told.
                Err(error) => {
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.get_or_insert(error);
                }
            }
            *self.is_idle.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.became_idle.notify_all();
        }
    }

    /// Tells the filter of what goes below, some at a time. Until the table is dropped its keys are found in it.
    fn tell_known(&self, table: &Batch) {
        let mut keys = table
            .iter()
            .filter_map(|(key, value)| value.as_ref().and(Some(key)));
        loop {
            let some: Vec<&Key> = keys.by_ref().take(LEARNT_AT_ONCE).collect();
            if some.is_empty() {
                return;
            }
            let mut tables = self.tables_mut();
            some.into_iter().for_each(|key| tables.known.add(key));
        }
    }

    /// Tells the filter of every key below, some at a time.
    fn learn(&self) {
        give_way(NICENESS);
        let (mut low, high) = (Key::new(0), end_of(&[0xfe]));
        loop {
            let mut keys: Vec<Key> = Vec::new();
            let walked = self.below.range(&low, &high, false, &mut |key, _| {
                keys.push(key.into());
                if keys.len() == LEARNT_AT_ONCE {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            // Rows that cannot be read are somebody else's to report; nothing is ever denied then.
            if walked.is_err() || self.is_dropped.load(Ordering::Relaxed) {
                return;
            }
            let mut tables = self.tables_mut();
            keys.iter().for_each(|key| tables.known.add(key));
            match keys.pop() {
                Some(last) if keys.len() + 1 == LEARNT_AT_ONCE => low = after(&last),
                _ => return tables.known.complete(),
            }
        }
    }

    /// Waits until the writer has nothing in hand.
    fn wait(&self) -> Result<(), StoreError> {
        let is_idle = self.is_idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.became_idle.wait_while(is_idle, |is_idle| !*is_idle);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.failed()
    }

    /// Gives the writer time, the more the fuller the open table is: `over` its size, which may grow by `room`.
    fn slow_down(&self, over: usize, room: usize) {
        let part = u32::try_from(over.min(room) * 1_000 / room.max(1)).unwrap_or(1_000);
        let is_idle = self.is_idle.lock().unwrap_or_else(PoisonError::into_inner);
        let paused =
            self.became_idle
                .wait_timeout_while(is_idle, PAUSE_MAX * part / 1_000, |is_idle| !*is_idle);
        drop(paused.unwrap_or_else(PoisonError::into_inner));
    }

    fn is_idle(&self) -> bool {
        *self.is_idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes of a part of a range, the open table's over the closed one's; and whether there are more.
    fn changes(&self, low: &[u8], high: &[u8], reverse: bool, most: usize) -> (Batch, bool) {
        let tables = self.tables();
        let mut part = Batch::new();
        let mut has_more = false;
        for table in tables.closed.as_deref().into_iter().chain([&tables.open]) {
            let range = table.range::<[u8], _>((Bound::Included(low), Bound::Excluded(high)));
            let mut copied = 0;
            let mut copy = |(key, value): (&Key, &Option<Vec<u8>>)| {
                copied += 1;
                part.insert(key.clone(), value.clone());
            };
            if reverse {
                range.rev().take(most).for_each(&mut copy);
            } else {
                range.take(most).for_each(&mut copy);
            }
            has_more |= copied == most;
        }
        if !has_more {
            return (part, false);
        }
        // Each table gave its first `most`: up to the `most`-th of both together nothing is missing.
        let nth = if reverse {
            part.keys().rev().nth(most - 1)
        } else {
            part.keys().nth(most - 1)
        };
        let Some(end) = nth.cloned() else {
            return (part, true);
        };
        part.retain(|key, _| if reverse { *key >= end } else { *key <= end });
        (part, true)
    }
}

impl Buffered {
    /// Tables over these rows. # Errors: no thread.
    pub(crate) fn over(below: Box<dyn Kv>) -> Result<Self, StoreError> {
        Self::with_tables_of(below, TABLE_BYTES_MAX)
    }

    /// The same with tables of another size.
    pub(crate) fn with_tables_of(
        below: Box<dyn Kv>,
        table_bytes_max: usize,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            below,
            tables: RwLock::new(Tables {
                open: Batch::new(),
                bytes: 0,
                closed: None,
                in_open: InTable::new(),
                in_closed: InTable::new(),
                known: Known::new(),
            }),
            is_dropped: AtomicBool::new(false),
            failed: Mutex::default(),
            is_idle: Mutex::new(true),
            became_idle: Condvar::new(),
        });
        let (closed, to_write) = channel();
        let serving = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("rows".to_owned())
            .spawn(move || serving.serve(&to_write))
            .map_err(no_thread)?;
        let learning = Arc::clone(&shared);
        let learner = std::thread::Builder::new()
            .name("known keys".to_owned())
            .spawn(move || learning.learn())
            .map_err(no_thread)?;
        Ok(Self {
            shared,
            table_bytes_max,
            closed: Some(Mutex::new(closed)),
            threads: vec![writer, learner],
        })
    }

    /// Closes the open table, if it holds anything, and has it written.
    fn close_table(&self) -> Result<(), StoreError> {
        self.shared.wait()?;
        let mut tables = self.shared.tables_mut();
        if tables.open.is_empty() {
            return Ok(());
        }
        let table = Arc::new(std::mem::take(&mut tables.open));
        tables.bytes = 0;
        tables.in_closed = std::mem::replace(&mut tables.in_open, InTable::new());
        tables.closed = Some(Arc::clone(&table));
        drop(tables);
        let is_idle = &self.shared.is_idle;
        *is_idle.lock().unwrap_or_else(PoisonError::into_inner) = false;
        let closed = self.closed.as_ref().ok_or(StoreError::Closed)?;
        let closed = closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.send(table).map_err(|_| StoreError::Closed)
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        drop(self.closed.take());
        self.shared.is_dropped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Errors were kept, panics are sled's and end nothing but the thread.
            let _ = thread.join();
        }
    }
}

impl Kv for Buffered {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let hash = Hash::of(key);
        let tables = self.shared.tables();
        if let Some(change) = tables.change(key, hash) {
            return Ok(change.clone());
        }
        if tables.known.denies(hash) {
            return Ok(None);
        }
        drop(tables);
        self.shared.below.get(key)
    }

    fn range(
        &self,
        low: &[u8],
        high: &[u8],
        reverse: bool,
        each: &mut Each<'_>,
    ) -> Result<(), StoreError> {
        let (mut low, mut high) = (Key::from(low), Key::from(high));
        let mut most = PART_CHANGES_MIN;
        while low < high {
            let (part, has_more) = self.shared.changes(&low, &high, reverse, most);
            // A part with more behind it ends at its last change.
            let (mut from, mut to) = (low.clone(), high.clone());
            if has_more && reverse {
                from = part.keys().next().cloned().unwrap_or(from);
                high.clone_from(&from);
            } else if has_more {
                to = part.keys().next_back().map_or(to, |key| after(key));
                low.clone_from(&to);
            }
            let mut has_enough = false;
            let below = self.shared.below.as_ref();
            merged(below, &part, (&from, &to), reverse, &mut |key, value| {
                let shown = each(key, value);
                has_enough = shown.is_break();
                shown
            })?;
            if has_enough || !has_more {
                return Ok(());
            }
            most = (most * 2).min(PART_CHANGES_MAX);
        }
        Ok(())
    }

    fn apply_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        self.take_batch(batch.clone())
    }

    fn take_batch(&self, batch: Batch) -> Result<(), StoreError> {
        self.shared.failed()?;
        let mut tables = self.shared.tables_mut();
        for (key, value) in batch {
            let cost = cost(&key, value.as_ref());
            // What came and went within a table was never below, and need not be deleted there.
            let hash = Hash::of(&key);
            if value.is_none() && tables.known.denies(hash) && !tables.has_closed(&key, hash) {
                let before = tables.open.remove_entry(&key);
                let freed = before.map_or(0, |(key, value)| self::cost(&key, value.as_ref()));
                tables.bytes = tables.bytes.saturating_sub(freed);
            } else {
                tables.bytes += cost;
                tables.in_open.add(hash);
                tables.open.insert(key, value);
            }
        }
        let (bytes, size) = (tables.bytes, self.table_bytes_max);
        drop(tables);
        let most = size * HALVES_MAX / 2;
        if bytes >= most || (bytes >= size && self.shared.is_idle()) {
            return self.close_table();
        }
        if bytes >= size {
            self.shared.slow_down(bytes - size, most - size);
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.shared.below.size_bytes()
    }

    fn stray_files(&self) -> u64 {
        self.shared.below.stray_files()
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.close_table()?;
        self.shared.wait()
    }

    fn is_behind(&self) -> bool {
        let tables = self.shared.tables();
        // Once the writer has failed, waiting is over: the next batch hears of it.
        tables.closed.is_some()
            && tables.bytes >= self.table_bytes_max
            && self.shared.failed().is_ok()
    }

    fn is_full(&self) -> bool {
        let bytes = self.shared.tables().bytes;
        bytes >= self.table_bytes_max / WORTH_CLOSING && self.shared.is_idle()
    }

    fn tidy(&self) -> Result<bool, StoreError> {
        if self.shared.is_idle() {
            self.close_table().map(|()| true)
        } else {
            self.shared.failed().map(|()| false)
        }
    }
}

/// What a row takes in a table.
fn cost(key: &[u8], value: Option<&Vec<u8>>) -> usize {
    key.len() + value.map_or(0, Vec::len) + ROW_BYTES
}

/// No thread can be had.
pub(crate) fn no_thread(cause: std::io::Error) -> StoreError {
    StoreError::Io {
        operation: "starting a thread of the store",
        file: None,
        cause,
    }
}

#[cfg(test)]
#[path = "buffered_tests.rs"]
mod tests;
