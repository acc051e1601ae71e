//! How many retries there may be, in one place for everybody: a tenth of the first tries of the last minute and ten.
//!
//! Invariants: failing retries within a minute never exceed it, so a far side that is down sees at most a tenth more than
//! what is asked of it anyway. A retry that worked is given back, at once while nothing fails, else as soon as nothing has
//! failed for a while; a circuit that closed forgives all: what piled up while the far side was down is worked off as fast
//! as it answers. Not here: waits between attempts (`retry`).

use super::spacing::Spacing;
use std::time::Duration;

/// Seconds looked back on.
const SECONDS: usize = 60;
/// Retries a minute that need no first tries.
const FREE_PER_MINUTE: u64 = 10;
/// Without a failure for this long, the far side works.
const CALM: Duration = Duration::from_secs(5);
/// Longest wait of a retry that does not fit: the far side may work again by then.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// First tries that pay for one retry.
const FIRSTS_PER_RETRY: u64 = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    firsts: u64,
    retries: u64,
}

/// What was begun within the last minute.
#[derive(Debug)]
pub(super) struct Budget {
    seconds: [Second; SECONDS],
    /// When something last failed, on the uptime scale.
    failed_at: Option<Duration>,
    /// Retries that worked while others failed: given back once nothing fails.
    owed: u64,
    waits: Spacing,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            seconds: [Second::default(); SECONDS],
            failed_at: None,
            owed: 0,
            waits: Spacing::default(),
        }
    }

    fn second(&mut self, now: Duration) -> &mut Second {
        let number = now.as_secs();
        let place = usize::try_from(number % SECONDS as u64).unwrap_or(0);
        let second = &mut self.seconds[place];
        if second.number != number {
            *second = Second {
                number,
                ..Second::default()
            };
        }
        second
    }

    fn last_minute(&self, now: Duration) -> (u64, u64) {
        let number = now.as_secs();
        let recent = self
            .seconds
            .iter()
            .filter(|second| number.saturating_sub(second.number) < SECONDS as u64);
        recent.fold((0, 0), |(firsts, retries), second| {
            (firsts + second.firsts, retries + second.retries)
        })
    }

    /// Whether a retry fits; counts nothing.
    pub(super) fn has(&mut self, now: Duration) -> bool {
        self.give_back_owed(now);
        let (firsts, retries) = self.last_minute(now);
        retries < firsts / FIRSTS_PER_RETRY + FREE_PER_MINUTE
    }

    /// Counts what is begun.
    pub(super) fn count(&mut self, is_retry: bool, now: Duration) {
        let second = self.second(now);
        if is_retry {
            second.retries += 1;
        } else {
            second.firsts += 1;
        }
    }

    /// Something did not work.
    pub(super) fn failed(&mut self, now: Duration) {
        self.failed_at = Some(now);
    }

    /// Something worked. A retry that did costs nothing, once no others fail.
    pub(super) fn worked(&mut self, is_retry: bool, now: Duration) {
        self.owed += u64::from(is_retry);
        self.give_back_owed(now);
    }

    fn give_back_owed(&mut self, now: Duration) {
        let is_calm = self
            .failed_at
            .is_none_or(|at| now.saturating_sub(at) >= CALM);
        while is_calm && self.owed > 0 {
            self.owed -= 1;
            self.give_back(now);
        }
    }

    /// The far side works again: retries of before do not count.
    pub(super) fn forgive(&mut self) {
        for second in &mut self.seconds {
            second.retries = 0;
        }
        self.failed_at = None;
        self.owed = 0;
    }

    fn give_back(&mut self, now: Duration) {
        let number = now.as_secs();
        let recent = self.seconds.iter_mut().filter(|second| {
            second.retries > 0 && number.saturating_sub(second.number) < SECONDS as u64
        });
        if let Some(newest) = recent.max_by_key(|second| second.number) {
            newest.retries -= 1;
        }
    }

    /// How long a retry that does not fit waits; each gets a time of its own.
    pub(super) fn wait(&mut self, now: Duration) -> Duration {
        let (firsts, _) = self.last_minute(now);
        let per_minute = firsts / FIRSTS_PER_RETRY + FREE_PER_MINUTE;
        let step = Duration::from_millis(60_000 / per_minute.min(60_000));
        let earliest = now.saturating_add(Duration::from_secs(1));
        self.waits.wait(now, earliest, step).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn granted(budget: &mut Budget, now: Duration) -> u64 {
        let mut granted = 0;
        while granted < 10_000 && budget.has(now) {
            budget.count(true, now);
            granted += 1;
        }
        granted
    }

    #[test]
    fn ten_are_free_and_ten_first_tries_pay_for_one_more_until_a_minute_has_passed() {
        let mut budget = Budget::new();
        assert_eq!(granted(&mut budget, secs(100)), 10);
        for n in 0..100 {
            budget.count(false, secs(100 + n / 10));
        }
        assert_eq!(granted(&mut budget, secs(110)), 10);
        assert_eq!(granted(&mut budget, secs(159)), 0);
        // The first ten are out of sight, and so are the ten first tries of that second.
        assert_eq!(granted(&mut budget, secs(160)), 9);
        assert_eq!(granted(&mut budget, secs(1_000)), 10);
    }

    #[test]
    fn those_that_do_not_fit_come_back_one_after_the_other() {
        let mut budget = Budget::new();
        granted(&mut budget, secs(0));
        let waits: Vec<_> = (0..3).map(|_| budget.wait(secs(0)).as_secs()).collect();
        assert_eq!(waits, [1, 7, 10]);
    }

    #[test]
    fn retries_that_work_are_given_back_so_a_backlog_is_worked_off() {
        let mut budget = Budget::new();
        assert_eq!(granted(&mut budget, secs(0)), 10);
        for n in 0..1_000 {
            assert!(!budget.has(secs(n / 100)), "ten are under way");
            budget.worked(true, secs(n / 100));
            assert!(budget.has(secs(n / 100)), "{n}");
            budget.count(true, secs(n / 100));
        }
        // Long ago they are out of sight, and nothing more can be given back than was taken.
        budget.worked(true, secs(500));
        assert_eq!(granted(&mut budget, secs(500)), 10);
    }

    #[test]
    fn while_others_fail_nothing_is_given_back_until_the_circuit_has_closed() {
        let mut budget = Budget::new();
        assert_eq!(granted(&mut budget, secs(0)), 10);
        budget.failed(secs(0));
        budget.worked(true, secs(4));
        assert!(!budget.has(secs(4)));
        budget.worked(true, secs(5));
        assert!(budget.has(secs(5)));
        // That one, and the one of before that was owed.
        assert_eq!(granted(&mut budget, secs(5)), 2);
        budget.failed(secs(6));
        budget.forgive();
        assert_eq!(granted(&mut budget, secs(6)), 10);
    }

    /// Twelve orders of before a restart work, the thirteenth fails: it must not wait for a minute to pass.
    #[test]
    fn a_backlog_that_worked_beside_one_failure_does_not_hold_that_one_up() {
        let mut budget = Budget::new();
        assert_eq!(granted(&mut budget, secs(0)), 10);
        budget.failed(secs(0));
        for _ in 0..9 {
            budget.worked(true, secs(0));
        }
        assert!(!budget.has(secs(4)));
        assert!(budget.has(secs(5)));
        assert_eq!(granted(&mut budget, secs(5)), 9);
    }

    #[test]
    fn every_call_failing_for_an_hour_costs_a_tenth_more_and_ten_a_minute() {
        let mut budget = Budget::new();
        let (mut firsts, mut retries) = (0_u64, 0_u64);
        // A thousand first tries a minute, all fail, all are tried again as often as is let through.
        for tick in 0..60_000_u64 {
            let now = Duration::from_millis(tick * 60);
            budget.count(false, now);
            firsts += 1;
            retries += granted(&mut budget, now);
        }
        let most = firsts / 10 + 10 * 61;
        assert!(retries <= most, "{retries} of {most}");
        assert!(retries >= firsts / 12, "{retries}: it lets retries through");
    }
}
