//! Chance, from one seed.
//!
//! Invariants: every purpose has a stream of its own, so that one more roll for one purpose changes no other.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// SplitMix64 of Sebastiano Vigna.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// The streams of one run.
#[derive(Debug)]
pub(crate) struct Streams {
    seed: u64,
    streams: Mutex<BTreeMap<&'static str, Dice>>,
}

impl Streams {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            streams: Mutex::new(BTreeMap::new()),
        }
    }
    /// Asks the stream of a purpose.
    pub(crate) fn with<T>(&self, purpose: &'static str, ask: impl FnOnce(&mut Dice) -> T) -> T {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = streams.entry(purpose).or_insert_with(|| {
            let salt = purpose.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            let mut mixed = Dice(self.seed ^ salt);
            mixed.roll();
            mixed
        });
        ask(stream)
    }
}
