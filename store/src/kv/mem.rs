//! The ordered key-value store in memory: tests, demo, and the model of the other one.

use super::{Batch, Each, Kv};
use crate::error::StoreError;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, PoisonError, RwLock};

/// A sorted map behind a lock; a batch is applied under one write lock. Clones are the same map.
#[derive(Clone, Default)]
pub(crate) struct MemKv {
    map: Arc<RwLock<BTreeMap<Vec<u8>, Vec<u8>>>>,
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
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut range = map.range::<[u8], _>((Bound::Included(low), Bound::Excluded(high)));
        loop {
            let next = if reverse {
                range.next_back()
            } else {
                range.next()
            };
            let Some((key, value)) = next else {
                return Ok(());
            };
            if let ControlFlow::Break(()) = each(key, value) {
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
