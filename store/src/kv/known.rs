//! Which keys there may be below: spares a look, or a deletion, for most of those there are not.
//!
//! Nearly every new event asks for keys nobody has written yet (its dedup key, its aggregate, its
//! rows), and a miss costs sled as much as a hit. A filter of fixed size answers those from memory.
//!
//! ```text
//! key ──hash──> one of the blocks (64 bytes, a cache line) ──> four bits of it
//! ```
//!
//! Invariants: a key that was added is never denied; a key that was not may be believed (1 in 60 at
//! 6 million keys, more beyond: then the look below is taken as without a filter). Nothing is denied
//! before every stored key has been added (`complete`).
//! Source: blocked Bloom filters, Putze, Sanders and Singler 2007.

use crate::keys;
use twox_hash::XxHash3_64;

/// 8 MiB; pages nobody touched cost nothing.
const WORDS: usize = 1 << 20;
const WORDS_PER_BLOCK: usize = 8;
const BLOCK_BITS: u64 = 512;

/// For a table of rows: 256 KiB. Half a million rows, the most a table holds, make it believe one in six others.
const TABLE_WORDS: usize = 1 << 15;

/// A filter of any keys.
struct Filter(Vec<u64>);

/// The filter of what is below.
pub(super) struct Known {
    filter: Filter,
    is_complete: bool,
}

/// The keys of one table in memory, as far as they are [`is_kept`]: spares looking for those it does not have.
pub(super) struct InTable(Filter);

/// Whether keys of this kind are asked for before they exist, or are gone again soon. The others
/// (numbered rows, index entries) would only fill the filter.
const fn is_kept(key: &[u8]) -> bool {
    let Some(prefix) = key.first() else {
        return false;
    };
    matches!(
        *prefix,
        keys::DEDUP
            | keys::PENDING
            | keys::READY
            | keys::PARKED
            | keys::STATUS
            | keys::DUE_EFFECT
            | keys::DUE_TIMER
            | keys::LINK
            | keys::AGGREGATE
            | keys::OF_TENANT
            | keys::ROW
            | keys::ROW_LIST
            | keys::TENANT_ROWS
            | keys::BALANCE
            | keys::NET
            | keys::EFFECT
            | keys::TIMER
            | keys::HOLDER
    )
}

/// A key's hash, for all filters; `None` for keys no filter keeps.
#[derive(Clone, Copy)]
pub(super) struct Hash(Option<u64>);

impl Hash {
    pub(super) fn of(key: &[u8]) -> Self {
        Self(is_kept(key).then(|| XxHash3_64::oneshot(key)))
    }
}

impl Filter {
    /// Where the bits of a key are: the first word of its block, and four places in it.
    fn places(&self, hash: u64) -> (usize, [u64; 4]) {
        let blocks = self.0.len() / WORDS_PER_BLOCK;
        let block = (hash >> 40) as usize % blocks;
        let bit = |n: u32| (hash >> (9 * n)) % BLOCK_BITS;
        (block * WORDS_PER_BLOCK, [bit(0), bit(1), bit(2), bit(3)])
    }
    fn add(&mut self, hash: u64) {
        let (block, bits) = self.places(hash);
        for bit in bits {
            if let Some(word) = self.0.get_mut(block + (bit / 64) as usize) {
                *word |= 1 << (bit % 64);
            }
        }
    }
    fn may_have(&self, hash: u64) -> bool {
        let (block, bits) = self.places(hash);
        bits.into_iter().all(|bit| {
            let word = self.0.get(block + (bit / 64) as usize);
            word.is_some_and(|word| word & (1 << (bit % 64)) != 0)
        })
    }
}

impl InTable {
    pub(super) fn new() -> Self {
        Self(Filter(vec![0; TABLE_WORDS]))
    }
    /// Adds a key.
    pub(super) fn add(&mut self, hash: Hash) {
        if let Some(hash) = hash.0 {
            self.0.add(hash);
        }
    }
    /// Whether the table may have it.
    pub(super) fn may_have(&self, hash: Hash) -> bool {
        hash.0.is_none_or(|hash| self.0.may_have(hash))
    }
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            filter: Filter(vec![0; WORDS]),
            is_complete: false,
        }
    }

    /// Adds a key.
    pub(super) fn add(&mut self, key: &[u8]) {
        if let Hash(Some(hash)) = Hash::of(key) {
            self.filter.add(hash);
        }
    }

    /// Every stored key has been added.
    pub(super) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Whether there is certainly no such key.
    pub(super) fn denies(&self, hash: Hash) -> bool {
        self.is_complete && hash.0.is_some_and(|hash| !self.filter.may_have(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Vec<u8> {
        [&[keys::DEDUP], n.to_be_bytes().as_slice()].concat()
    }

    #[test]
    fn what_was_added_is_never_denied_and_little_else_is_believed() {
        let mut known = Known::new();
        let denies = |known: &Known, key: &[u8]| known.denies(Hash::of(key));
        assert!(!denies(&known, &key(1)), "nothing is denied too early");
        for n in 0..100_000 {
            known.add(&key(n));
        }
        known.complete();
        assert!((0..100_000).all(|n| !denies(&known, &key(n))));
        let believed = (100_000..120_000).filter(|n| !denies(&known, &key(*n)));
        assert!(believed.count() < 20, "of 20,000");
        assert!(!denies(&known, &[keys::INPUT, 1]), "not kept, never denied");
    }

    #[test]
    fn what_is_in_a_table_is_never_passed_over_and_little_else_is_looked_for() {
        let mut table = InTable::new();
        (0..100_000).for_each(|n| table.add(Hash::of(&key(n))));
        let may_have = |n: u32| table.may_have(Hash::of(&key(n)));
        assert!((0..100_000).all(may_have));
        let believed = (100_000..120_000).filter(|n| may_have(*n)).count();
        assert!(believed < 400, "{believed} of 20,000");
    }
}
