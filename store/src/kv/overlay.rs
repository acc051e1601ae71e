//! What the open group has written but nobody else sees yet, over what is stored.
//!
//! Invariants: reads see the group's own writes; every first write of a key knows the value it
//! replaces, so the tally (rows and XOR of their fingerprints, per prefix) is exact.
//! The tally is how a store that silently lost rows is told from a healthy one.

use super::merge::merged;
use super::{Batch, Kv, Pair};
use crate::engine::recount::Recount;
use crate::error::StoreError;
use crate::keys::Key;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use twox_hash::XxHash3_64;

/// Rows and XOR of row fingerprints, per prefix byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Tally {
    prefixes: BTreeMap<u8, (u64, u64)>,
}

impl Tally {
    /// Counts a row in.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let slot = self.slot(key);
        slot.0 = slot.0.wrapping_add(1);
        slot.1 ^= fingerprint(key, value);
    }
    /// Counts a row out.
    pub(crate) fn remove(&mut self, key: &[u8], value: &[u8]) {
        let slot = self.slot(key);
        slot.0 = slot.0.wrapping_sub(1);
        slot.1 ^= fingerprint(key, value);
        if *slot == (0, 0) {
            self.prefixes.remove(&key[0]);
        }
    }
    fn slot(&mut self, key: &[u8]) -> &mut (u64, u64) {
        self.prefixes.entry(key[0]).or_default()
    }
}

impl Tally {
    /// Counts a row in, as layouts before 4 did: by FNV-1a over the length of the key, key and value.
    pub(crate) fn add_as_before(&mut self, key: &[u8], value: &[u8]) {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ key.len() as u64;
        for byte in key.iter().chain(value) {
            hash ^= u64::from(*byte);
            hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
        }
        let slot = self.slot(key);
        slot.0 = slot.0.wrapping_add(1);
        slot.1 ^= hash;
    }
    /// Rows in all.
    pub(crate) fn total(&self) -> u64 {
        self.prefixes.values().map(|slot| slot.0).sum()
    }
}

/// XXH3-64 of key and value, mixed so that values that changed places are seen: finds accidents, not forgers.
fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let (key, value) = (XxHash3_64::oneshot(key), XxHash3_64::oneshot(value));
    let mut mixed = key ^ value.rotate_left(32);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

/// The open group.
pub(crate) struct Overlay<'a> {
    base: &'a dyn Kv,
    writes: Batch,
    tally: Tally,
    /// The part of the rows a recount has walked, and what it saw there.
    recount: Option<Recount>,
}

impl<'a> Overlay<'a> {
    /// An empty group over `base`, whose rows are tallied in `tally`.
    pub(crate) fn new(base: &'a dyn Kv, tally: Tally) -> Self {
        Self {
            base,
            writes: Batch::new(),
            tally,
            recount: None,
        }
    }

    /// The same, with a recount under way.
    pub(crate) fn with_recount(mut self, recount: Option<Recount>) -> Self {
        self.recount = recount;
        self
    }

    /// The recount's sums, if the row lies in what it has walked.
    fn walked(&mut self, key: &[u8]) -> Option<&mut Tally> {
        let recount = self.recount.as_mut()?;
        (*key < *recount.walked_to).then_some(&mut recount.seen)
    }

    fn forget(&mut self, key: &[u8], old: &[u8]) {
        self.tally.remove(key, old);
        if let Some(seen) = self.walked(key) {
            seen.remove(key, old);
        }
    }

    /// The value of a key as the group sees it.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(key),
        }
    }

    /// M18: the value of a key without what the group wrote.
    #[cfg(feature = "mutants")]
    pub(crate) fn get_filed(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.base.get(key)
    }

    /// Whether a key has a value.
    pub(crate) fn has(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.get(key)?.is_some())
    }

    /// Writes a key.
    pub(crate) fn put(&mut self, key: Key, value: Vec<u8>) -> Result<(), StoreError> {
        if let Some(old) = self.get(&key)? {
            self.forget(&key, &old);
        }
        self.put_new(key, value);
        Ok(())
    }

    /// Writes a key that has no value (it holds a number given out just now).
    pub(crate) fn put_new(&mut self, key: Key, value: Vec<u8>) {
        self.tally.add(&key, &value);
        if let Some(seen) = self.walked(&key) {
            seen.add(&key, &value);
        }
        self.writes.insert(key, Some(value));
    }

    /// Removes a key; says whether it had a value.
    pub(crate) fn delete(&mut self, key: Key) -> Result<bool, StoreError> {
        let Some(old) = self.get(&key)? else {
            return Ok(false);
        };
        self.forget(&key, &old);
        self.writes.insert(key, None);
        Ok(true)
    }

    /// The first pairs of a range as the group sees them.
    pub(crate) fn first(
        &self,
        low: &[u8],
        high: &[u8],
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let mut out: Vec<Pair> = Vec::new();
        if limit == 0 {
            return Ok(out);
        }
        merged(
            self.base,
            &self.writes,
            (low, high),
            false,
            &mut |key, value| {
                out.push((key.into(), value.to_vec()));
                if out.len() == limit {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        )?;
        Ok(out)
    }

    /// What was written, and the tally after it.
    pub(crate) fn finish(self) -> (Batch, Tally) {
        let (writes, tally, _) = self.finish_with_recount();
        (writes, tally)
    }

    /// The same, with the recount.
    pub(crate) fn finish_with_recount(self) -> (Batch, Tally, Option<Recount>) {
        (self.writes, self.tally, self.recount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::MemKv;

    #[test]
    fn a_group_sees_its_own_writes_in_order_and_tallies_them() {
        let base = MemKv::default();
        let mut before = Tally::default();
        let mut stored = Batch::new();
        for n in [1_u8, 3, 5, 7] {
            before.add(&[9, n], &[n]);
            stored.insert([9, n].into(), Some(vec![n]));
        }
        base.apply_batch(&stored).unwrap();
        let mut group = Overlay::new(&base, before);
        group.put([9, 3].into(), vec![33]).unwrap();
        assert!(group.delete([9, 5].into()).unwrap());
        assert!(!group.delete([9, 6].into()).unwrap());
        group.put_new([9, 8].into(), vec![8]);
        group.put_new([9, 0].into(), vec![0]);
        let keys = |limit| -> Vec<u8> {
            let pairs = group.first(&[9], &[10], limit).unwrap();
            pairs.iter().map(|(_, v)| v[0]).collect()
        };
        assert_eq!(keys(9), [0, 1, 33, 7, 8]);
        assert_eq!(keys(2), [0, 1]);
        let (batch, tally) = group.finish();
        base.apply_batch(&batch).unwrap();
        let mut counted = Tally::default();
        base.range(&[0], &[255], false, &mut |k, v| {
            counted.add(k, v);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(tally, counted);
    }

    #[test]
    fn a_tally_tells_rows_that_changed_places_or_bytes() {
        let of = |rows: &[(&[u8], &[u8])]| {
            let mut tally = Tally::default();
            rows.iter().for_each(|(key, value)| tally.add(key, value));
            tally
        };
        let whole = of(&[(&[9, 1], b"one"), (&[9, 2], b"two")]);
        assert_eq!(whole, of(&[(&[9, 2], b"two"), (&[9, 1], b"one")]));
        assert_ne!(whole, of(&[(&[9, 1], b"two"), (&[9, 2], b"one")]));
        assert_ne!(whole, of(&[(&[9, 1, b'o'], b"ne"), (&[9, 2], b"two")]));
        assert_ne!(whole, of(&[(&[9, 1], b"one"), (&[9, 2], b"twO")]));
        assert_ne!(whole, of(&[(&[9, 1], b"one")]));
    }
}
