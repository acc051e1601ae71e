//! Times to come back at, one after the other, so that those who were refused together do not return together.
//!
//! Invariants: no randomness and no clock of its own; never further away than `SPAN_MAX` after the earliest.

use std::time::Duration;

/// Furthest a place is put after the earliest possible one; the next starts at the front again.
const SPAN_MAX: Duration = Duration::from_secs(60);
/// Shortest wait: putting off costs a commit.
const WAIT_MIN: Duration = Duration::from_millis(20);

/// Places given out so far.
#[derive(Debug, Default)]
pub(super) struct Spacing {
    next: Duration,
}

impl Spacing {
    /// How long to wait from `now` for the next free place, not before `earliest`; places are `step` apart.
    pub(super) fn wait(&mut self, now: Duration, earliest: Duration, step: Duration) -> Duration {
        let earliest = earliest.max(now);
        let beyond = self.next > earliest.saturating_add(SPAN_MAX);
        let place = if beyond {
            earliest
        } else {
            self.next.max(earliest)
        };
        self.next = place.saturating_add(step);
        place.saturating_sub(now).max(WAIT_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_a_place_of_its_own_and_nobody_waits_beyond_the_span() {
        let ms = Duration::from_millis;
        let mut spacing = Spacing::default();
        let waits: Vec<_> = (0..3)
            .map(|_| spacing.wait(ms(1_000), ms(2_000), ms(40)))
            .collect();
        assert_eq!(waits, [ms(1_000), ms(1_040), ms(1_080)]);
        // Time passed: the places of the past are over.
        assert_eq!(spacing.wait(ms(9_000), ms(9_100), ms(40)), ms(100));
        let longest = (0..5_000).map(|_| spacing.wait(ms(9_000), ms(9_100), ms(40)));
        assert!(longest.max().unwrap() <= SPAN_MAX + ms(140));
        assert_eq!(spacing.wait(ms(500_000), Duration::ZERO, ms(1)), WAIT_MIN);
    }
}
