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
use std::hash::{DefaultHasher, Hasher};

/// 8 MiB; pages nobody touched cost nothing.
const WORDS: usize = 1 << 20;
const WORDS_PER_BLOCK: usize = 8;
const BLOCK_BITS: u64 = 512;

/// The filter.
pub(super) struct Known {
    words: Vec<u64>,
    is_complete: bool,
}

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

/// Where the bits of a key are: the first word of its block, and four places in it.
fn places(key: &[u8]) -> (usize, [u64; 4]) {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    let hash = hasher.finish();
    let blocks = WORDS / WORDS_PER_BLOCK;
    let block = (hash >> 40) as usize % blocks;
    let bit = |n: u32| (hash >> (9 * n)) % BLOCK_BITS;
    (block * WORDS_PER_BLOCK, [bit(0), bit(1), bit(2), bit(3)])
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            words: vec![0; WORDS],
            is_complete: false,
        }
    }

    /// Adds a key.
    pub(super) fn add(&mut self, key: &[u8]) {
        if !is_kept(key) {
            return;
        }
        let (block, bits) = places(key);
        for bit in bits {
            if let Some(word) = self.words.get_mut(block + (bit / 64) as usize) {
                *word |= 1 << (bit % 64);
            }
        }
    }

    /// Every stored key has been added.
    pub(super) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Whether there is certainly no such key.
    pub(super) fn denies(&self, key: &[u8]) -> bool {
        if !self.is_complete || !is_kept(key) {
            return false;
        }
        let (block, bits) = places(key);
        let is_set = |bit: u64| {
            let word = self.words.get(block + (bit / 64) as usize);
            word.is_some_and(|word| word & (1 << (bit % 64)) != 0)
        };
        !bits.into_iter().all(is_set)
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
        assert!(!known.denies(&key(1)), "nothing is denied too early");
        for n in 0..100_000 {
            known.add(&key(n));
        }
        known.complete();
        assert!((0..100_000).all(|n| !known.denies(&key(n))));
        let believed = (100_000..120_000).filter(|n| !known.denies(&key(*n)));
        assert!(believed.count() < 20, "of 20,000");
        assert!(!known.denies(&[keys::INPUT, 1]), "not kept, never denied");
    }
}
