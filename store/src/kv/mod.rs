//! The ordered key-value store under the engine: three words, two backends.
//!
//! Invariants: a batch is all or nothing, also for a reader of one key; ranges come in byte order.
//! Not here: what a key or a value means (`keys`, `engine`), durability (the journal has it: a backend
//! may lose everything and is then folded again).
//! Failure: a backend that errs or panics is never asked again before it was rebuilt.

mod buffered;
mod known;
mod mem;
mod merge;
mod overlay;
mod redo;
mod sled;

pub(crate) use crate::keys::{after, end_of};
pub(crate) use buffered::{Buffered, no_thread};
pub(crate) use mem::MemKv;
pub(crate) use overlay::{Overlay, Tally};
pub(crate) use sled::SledKv;

use crate::error::StoreError;
use crate::keys::Key;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Puts (`Some`) and deletes (`None`) by key.
pub(crate) type Batch = BTreeMap<Key, Option<Vec<u8>>>;

/// A key and its value.
pub(crate) type Pair = (Key, Vec<u8>);

/// Called with each pair of a range; `Break` ends it.
pub(crate) type Each<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An ordered key-value store.
pub(crate) trait Kv: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Pairs with `low <= key < high`, rising, or falling if `reverse`.
    fn range(
        &self,
        low: &[u8],
        high: &[u8],
        reverse: bool,
        each: &mut Each<'_>,
    ) -> Result<(), StoreError>;
    /// All of it or nothing.
    fn apply_batch(&self, batch: &Batch) -> Result<(), StoreError>;
    /// The same, for a caller that has no more use for the batch.
    fn take_batch(&self, batch: Batch) -> Result<(), StoreError> {
        self.apply_batch(&batch)
    }
    /// Bytes taken, roughly.
    fn size_bytes(&self) -> u64;
    /// Files outside the log (must be none).
    fn stray_files(&self) -> u64 {
        0
    }
    /// Hands what is cached to the operating system.
    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Whether rows come in faster than they can be put away: work that can wait should.
    fn is_behind(&self) -> bool {
        false
    }
    /// Whether there is enough to `tidy` that the next quiet moment is good for it.
    fn is_full(&self) -> bool {
        false
    }
    /// Moves towards `flush` without waiting, for quiet moments. Says whether all is on its way: something else may be
    /// under way yet, and then it is to be asked again.
    fn tidy(&self) -> Result<bool, StoreError> {
        self.flush().map(|()| true)
    }
}

/// The first pairs of a range, rising.
pub(crate) fn first(
    kv: &dyn Kv,
    low: &[u8],
    high: &[u8],
    limit: usize,
) -> Result<Vec<Pair>, StoreError> {
    let mut out = Vec::new();
    if limit == 0 {
        return Ok(out);
    }
    kv.range(low, high, false, &mut |key, value| {
        out.push((key.into(), value.to_vec()));
        if out.len() == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn suite(kv: &dyn Kv) {
        let mut batch = Batch::new();
        for n in 0..10_u8 {
            batch.insert([1, n].into(), Some(vec![n; usize::from(n) * 1_000]));
        }
        batch.insert([2].into(), Some(b"x".to_vec()));
        kv.apply_batch(&batch).unwrap();
        assert_eq!(kv.get(&[1, 3]).unwrap(), Some(vec![3; 3_000]));
        assert_eq!(kv.get(&[1, 9]).unwrap(), Some(vec![9; 9_000]));
        assert_eq!(kv.get(&[1, 10]).unwrap(), None);
        let all = first(kv, &[1], &end_of(&[1]), 100).unwrap();
        assert_eq!(all.len(), 10);
        assert_eq!(all[9].1, vec![9; 9_000]);
        let mut back = Vec::new();
        kv.range(&[1, 2], &[1, 8], true, &mut |k, _| {
            back.push(k[1]);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(back, [7, 6, 5, 4, 3, 2]);
        let change = Batch::from([
            ([1, 9].into(), Some(b"small now".to_vec())),
            ([1, 8].into(), None),
            ([1, 1].into(), Some(vec![7; 20_000])),
        ]);
        kv.apply_batch(&change).unwrap();
        assert_eq!(kv.get(&[1, 9]).unwrap(), Some(b"small now".to_vec()));
        assert_eq!(kv.get(&[1, 8]).unwrap(), None);
        assert_eq!(kv.get(&[1, 1]).unwrap(), Some(vec![7; 20_000]));
        let mut everything = 0;
        kv.range(&[0], &end_of(&[255]), false, &mut |_, _| {
            everything += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(
            everything, 10,
            "pieces of large values are nobody's business"
        );
    }

    #[test]
    fn memory_keeps_order_and_batches() {
        suite(&MemKv::default());
    }

    #[test]
    fn sled_keeps_order_batches_and_large_values() {
        let dir = tempfile::tempdir().unwrap();
        suite(&SledKv::open(dir.path(), 8 << 20).unwrap());
        let again = SledKv::open(dir.path(), 8 << 20).unwrap();
        assert_eq!(again.get(&[1, 1]).unwrap(), Some(vec![7; 20_000]));
        assert_eq!(again.stray_files(), 0, "no value may leave sled's log");
    }

    #[test]
    fn a_large_value_is_read_whole_while_it_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let kv = SledKv::open(dir.path(), 8 << 20).unwrap();
        let key = Key::from([1, 7]);
        let write = |n: u16| {
            let value =
                (!n.is_multiple_of(5)).then(|| vec![n as u8; usize::from(n % 7) * 3_000 + 1]);
            kv.apply_batch(&Batch::from([(key.clone(), value)]))
                .unwrap();
        };
        let is_whole = |value: &[u8]| {
            let n = usize::from(value[0]);
            value.iter().all(|byte| usize::from(*byte) == n)
                && (value.len() - 1).is_multiple_of(3_000)
        };
        let enough = AtomicBool::new(false);
        let enough = &enough;
        std::thread::scope(|scope| {
            // The writer goes on until enough was read: on a busy machine it could be done before
            // the reader is scheduled at all.
            let rounds = (0..20_000_u16).take_while(move |_| !enough.load(Ordering::Relaxed));
            let writer = scope.spawn(move || rounds.for_each(write));
            let mut seen = 0;
            while !writer.is_finished() {
                if let Some(value) = kv.get(&key).unwrap() {
                    assert!(is_whole(&value), "{} bytes", value.len());
                    seen += 1;
                    enough.store(seen >= 200, Ordering::Relaxed);
                }
                for (_, value) in first(&kv, &[1], &[2], 9).unwrap() {
                    assert!(is_whole(&value), "{} bytes", value.len());
                }
            }
            assert!(seen > 0);
        });
    }

    #[test]
    fn the_end_of_a_prefix_is_past_all_of_it() {
        assert_eq!(*end_of(&[1, 2]), [1, 3]);
        assert_eq!(*end_of(&[1, 255]), [2]);
        assert!(end_of(&[255]) > Key::from([255, 255]));
    }
}
