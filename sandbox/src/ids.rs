//! Ids in Stripe's look, from a seeded generator.
//!
//! Invariants: the same seed and the same calls give the same ids; no id repeats within a run
//! (a counter is part of every id).
//! Not here: which object an id belongs to.
//! Failure: none.
//! Source of outside rules: none; Stripe promises no format beyond the prefixes.

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A small deterministic generator (splitmix64) with a counter.
#[derive(Debug, Clone)]
pub(crate) struct IdGen {
    state: u64,
    counter: u64,
}

impl IdGen {
    /// Starts from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            counter: 0,
        }
    }

    /// The next 64 pseudo-random bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// True in `per_thousand` of 1000 calls.
    pub(crate) fn chance(&mut self, per_thousand: u32) -> bool {
        per_thousand > 0 && self.next_u64() % 1000 < u64::from(per_thousand)
    }

    fn letters(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| {
                let at = usize::try_from(self.next_u64() % 62).unwrap_or(0);
                char::from(ALPHABET[at])
            })
            .collect()
    }

    /// `prefix_` and at least `length` letters and digits, the last four of them a counter.
    pub(crate) fn id(&mut self, prefix: &str, length: usize) -> String {
        self.counter += 1;
        let mut tail = String::new();
        let mut rest = self.counter;
        while rest > 0 || tail.len() < 4 {
            let at = usize::try_from(rest % 62).unwrap_or(0);
            tail.insert(0, char::from(ALPHABET[at]));
            rest /= 62;
        }
        format!(
            "{prefix}_{}{tail}",
            self.letters(length.saturating_sub(tail.len()))
        )
    }

    /// Letters without a prefix, for secrets and session tails.
    pub(crate) fn secret(&mut self, length: usize) -> String {
        self.letters(length)
    }
}
