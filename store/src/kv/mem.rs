//! The ordered key-value store in memory: tests, demo, and the model of the other one.

use super::{Batch, Each, Kv, Pair, after};
use crate::error::StoreError;
use crate::keys::Key;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, PoisonError, RwLock};

/// Pairs copied at a time.
const PART_PAIRS: usize = 64;

/// A sorted map behind a lock; a batch is applied under one write lock. Clones are the same map.
#[derive(Clone, Default)]
pub(crate) struct MemKv {
    map: Arc<RwLock<BTreeMap<Key, Vec<u8>>>>,
}

impl MemKv {
    /// The first pairs of a range. Copied, since whoever is handed a pair may ask for another: a second read lock
    /// behind a writer that waits for the first would wait for ever.
    fn part(&self, low: &[u8], high: &[u8], reverse: bool) -> Vec<Pair> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let range = map.range::<[u8], _>((Bound::Included(low), Bound::Excluded(high)));
        let pair = |(key, value): (&Key, &Vec<u8>)| (key.clone(), value.clone());
        if reverse {
            range.rev().take(PART_PAIRS).map(pair).collect()
        } else {
            range.take(PART_PAIRS).map(pair).collect()
        }
    }
}

impl Kv for MemKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        Ok(map.get(key).cloned())
    }

    fn range(
        &self,
        low: &[u8],
        high: &[u8],
        reverse: bool,
        each: &mut Each<'_>,
    ) -> Result<(), StoreError> {
        if low >= high {
            return Ok(());
        }
        let (mut low, mut high) = (Key::from(low), Key::from(high));
        loop {
            let part = self.part(&low, &high, reverse);
            let Some((last, _)) = part.last() else {
                return Ok(());
            };
            if reverse {
                high.clone_from(last);
            } else {
                low = after(last);
            }
            for (key, value) in &part {
                if let ControlFlow::Break(()) = each(key, value) {
                    return Ok(());
                }
            }
            if low >= high {
                return Ok(());
            }
        }
    }

    fn apply_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(k, v)| (k.len() + v.len()) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readers that read within a range, beside writers: with a lock held over the callback they block each other.
    #[test]
    fn a_range_lets_its_reader_read_and_others_write() {
        let kv = MemKv::default();
        let key = |n: u8| Key::from([1, n]);
        let batch: Batch = (0..200).map(|n| (key(n), Some(vec![n]))).collect();
        kv.apply_batch(&batch).unwrap();
        for reverse in [false, true] {
            let mut seen = Vec::new();
            kv.range(&[0], &[9], reverse, &mut |found, _| {
                assert_eq!(kv.get(found).unwrap(), Some(vec![found[1]]));
                kv.apply_batch(&Batch::from([([200, found[1]].into(), Some(Vec::new()))]))
                    .unwrap();
                seen.push(found[1]);
                ControlFlow::Continue(())
            })
            .unwrap();
            if reverse {
                seen.reverse();
            }
            assert_eq!(seen, (0..200).collect::<Vec<u8>>());
        }
    }
}
