//! How long to wait before trying again, for everything in the product that is tried again.
//!
//! The interval sequence comes from the `backoff` crate with its own randomness off; our jitter is a
//! function of a seed (an effect's id, an aggregate's key) and the attempt, so that a run can be
//! repeated and no two callers retry in step.
//!
//! Invariants: a policy that exists is valid; delays never exceed `delay_max`; attempts are counted
//! in durable rows, not here.

use backoff::backoff::Backoff as _;
use backoff::exponential::{ExponentialBackoff, ExponentialBackoffBuilder};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Longest sequence before its maximum is reached.
const STEPS_MAX: usize = 64;

/// What a policy is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryShape {
    /// Wait after the first failed attempt.
    pub delay: Duration,
    /// Factor from one wait to the next, 1 to 10.
    pub factor: u32,
    /// Longest wait.
    pub delay_max: Duration,
    /// Attempts in all, at least 1.
    pub attempts_max: u32,
    /// Each wait is moved by up to this share either way, 0 to 50 percent.
    pub jitter_percent: u32,
}

/// Why a shape is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryShapeError {
    /// The wait is zero or longer than its maximum.
    #[error("the first delay must be at least 1 ms and at most the longest one")]
    Delay,
    /// Longer than a week.
    #[error("the longest delay must be at most 7 days")]
    DelayMax,
    /// The factor is out of range.
    #[error("the factor must be 1 to 10")]
    Factor,
    /// No attempt at all.
    #[error("at least one attempt")]
    Attempts,
    /// The jitter is out of range.
    #[error("the jitter must be 0 to 50 percent")]
    Jitter,
}

/// A validated sequence of waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    shape: RetryShape,
    delays: Vec<Duration>,
}

impl RetryPolicy {
    /// Checks a shape and computes its waits. # Errors: the rule it breaks.
    pub fn new(shape: RetryShape) -> Result<Self, RetryShapeError> {
        if shape.delay < Duration::from_millis(1) || shape.delay > shape.delay_max {
            return Err(RetryShapeError::Delay);
        }
        if shape.delay_max > Duration::from_secs(7 * 86_400) {
            return Err(RetryShapeError::DelayMax);
        }
        if !(1..=10).contains(&shape.factor) {
            return Err(RetryShapeError::Factor);
        }
        if shape.attempts_max == 0 {
            return Err(RetryShapeError::Attempts);
        }
        if shape.jitter_percent > 50 {
            return Err(RetryShapeError::Jitter);
        }
        // Its clock is read for `max_elapsed_time` only, which is off: the sequence is fixed.
        let mut intervals: ExponentialBackoff<backoff::SystemClock> =
            ExponentialBackoffBuilder::new()
                .with_initial_interval(shape.delay)
                .with_randomization_factor(0.0)
                .with_multiplier(f64::from(shape.factor))
                .with_max_interval(shape.delay_max)
                .with_max_elapsed_time(None)
                .build();
        let mut delays = Vec::new();
        while delays.len() < STEPS_MAX && delays.last() != Some(&shape.delay_max) {
            let Some(interval) = intervals.next_backoff() else {
                break;
            };
            delays.push(whole_millis(interval).min(shape.delay_max));
        }
        Ok(Self { shape, delays })
    }

    /// Wait before the next attempt after `attempts` failed ones; `None`: give up.
    pub fn delay(&self, attempts: u32, seed: &str) -> Option<Duration> {
        (attempts < self.shape.attempts_max).then(|| self.delay_capped(attempts, seed))
    }

    /// The same without ever giving up.
    pub fn delay_capped(&self, attempts: u32, seed: &str) -> Duration {
        let at = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let base = self
            .delays
            .get(at)
            .or(self.delays.last())
            .copied()
            .unwrap_or(self.shape.delay_max);
        self.jittered(base, attempts, seed)
            .min(self.shape.delay_max)
    }

    fn jittered(&self, base: Duration, attempts: u32, seed: &str) -> Duration {
        let percent = u64::from(self.shape.jitter_percent);
        let digest = Sha256::new()
            .chain_update(seed.as_bytes())
            .chain_update(attempts.to_be_bytes())
            .finalize();
        let mut word = [0_u8; 8];
        word.copy_from_slice(&digest[..8]);
        let base_ms = u64::try_from(base.as_millis()).unwrap_or(u64::MAX);
        let span_ms = base_ms.saturating_mul(percent) / 100;
        let moved = u64::from_be_bytes(word) % (span_ms.saturating_mul(2).saturating_add(1));
        Duration::from_millis(base_ms.saturating_sub(span_ms).saturating_add(moved))
    }

    /// Attempts in all.
    pub fn attempts_max(&self) -> u32 {
        self.shape.attempts_max
    }
}

fn whole_millis(interval: Duration) -> Duration {
    // The generator computes in floating point; a nanosecond more or less is noise.
    let nanos = interval.as_nanos().saturating_add(500_000);
    Duration::from_millis(u64::try_from(nanos / 1_000_000).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: RetryShape = RetryShape {
        delay: Duration::from_secs(1),
        factor: 2,
        delay_max: Duration::from_secs(60),
        attempts_max: 8,
        jitter_percent: 0,
    };

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_last_attempt() {
        let policy = RetryPolicy::new(SHAPE).unwrap();
        let waits: Vec<_> = (1..=8)
            .map(|n| policy.delay(n, "x").map(|d| d.as_secs()))
            .collect();
        assert_eq!(
            waits,
            [
                Some(1),
                Some(2),
                Some(4),
                Some(8),
                Some(16),
                Some(32),
                Some(60),
                None
            ]
        );
    }

    #[test]
    fn a_shape_out_of_range_is_no_policy() {
        for (shape, error) in [
            (
                RetryShape {
                    delay: Duration::ZERO,
                    ..SHAPE
                },
                RetryShapeError::Delay,
            ),
            (
                RetryShape {
                    delay: SHAPE.delay_max * 2,
                    ..SHAPE
                },
                RetryShapeError::Delay,
            ),
            (
                RetryShape {
                    delay_max: SHAPE.delay_max * 100_000,
                    ..SHAPE
                },
                RetryShapeError::DelayMax,
            ),
            (RetryShape { factor: 0, ..SHAPE }, RetryShapeError::Factor),
            (
                RetryShape {
                    attempts_max: 0,
                    ..SHAPE
                },
                RetryShapeError::Attempts,
            ),
            (
                RetryShape {
                    jitter_percent: 51,
                    ..SHAPE
                },
                RetryShapeError::Jitter,
            ),
        ] {
            assert_eq!(RetryPolicy::new(shape), Err(error));
        }
    }

    proptest! {
        #[test]
        fn waits_stay_within_jitter_of_the_exact_sequence(
            delay_ms in 1_u64..10_000,
            factor in 1_u32..=10,
            times in 1_u64..10_000,
            attempts in 1_u32..100,
            jitter_percent in 0_u32..=50,
            seed in "[a-z0-9]{0,16}",
        ) {
            let delay_max = Duration::from_millis((delay_ms * times).min(7 * 86_400_000));
            let policy = RetryPolicy::new(RetryShape {
                delay: Duration::from_millis(delay_ms), factor, delay_max,
                attempts_max: 1_000, jitter_percent,
            }).unwrap();
            let mut exact = u128::from(delay_ms);
            for _ in 1..attempts {
                exact = (exact * u128::from(factor)).min(delay_max.as_millis());
            }
            let got = policy.delay(attempts, &seed).unwrap();
            let span = exact * u128::from(jitter_percent) / 100;
            let ms = got.as_millis();
            prop_assert!(ms + span + 1 >= exact && ms <= exact + span + 1, "{ms} {exact} {span}");
            prop_assert!(got <= delay_max);
            prop_assert_eq!(policy.delay(attempts, &seed), Some(got));
        }
    }
}
