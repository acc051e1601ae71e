//! A circuit breaker as a state machine: when the far side fails, only probes reach it.
//!
//! Opens at ten failures in a row, or when half of at least twenty calls within ten seconds failed;
//! stays open 5 s, doubling to 60 s, moved by up to a fifth; then lets one call through at a time:
//! three successes close it, one failure opens it again.
//!
//! Invariants: no clock and no randomness of its own (times are uptime, jitter follows the seed).
//! Not here: what counts as a failure (`outbound::lane`, `gate`), whose circuit it is, deadlines of calls.

use crate::retry::{RetryPolicy, RetryShape};
use std::collections::VecDeque;
use std::time::Duration;

/// Failures in a row that open it.
const IN_A_ROW_MAX: u32 = 10;
/// Calls within the window before their share counts.
const CALLS_MIN: usize = 20;
/// See `CALLS_MIN`.
const WINDOW: Duration = Duration::from_secs(10);
/// Calls remembered at most.
const CALLS_MAX: usize = 256;
/// Successful probes that close it.
const SUCCESSES_TO_CLOSE: u32 = 3;

/// The state as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Calls flow.
    Closed,
    /// One call at a time.
    HalfOpen,
    /// No calls.
    Open,
}

impl Circuit {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];
    /// The word used in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A breaker.
#[derive(Debug)]
pub struct Breaker {
    seed: String,
    waits: RetryPolicy,
    circuit: Circuit,
    opened: u32,
    until: Duration,
    in_a_row: u32,
    successes: u32,
    calls: VecDeque<(Duration, bool)>,
}

impl Breaker {
    /// A closed breaker; the seed keeps breakers out of step.
    pub fn new(seed: &str) -> Self {
        let waits = RetryPolicy::new(RetryShape {
            delay: Duration::from_secs(5),
            factor: 2,
            delay_max: Duration::from_secs(60),
            attempts_max: u32::MAX,
            jitter_percent: 20,
        });
        Self {
            seed: seed.to_owned(),
            waits: waits.expect("the built-in shape is in range"),
            circuit: Circuit::Closed,
            opened: 0,
            until: Duration::ZERO,
            in_a_row: 0,
            successes: 0,
            calls: VecDeque::new(),
        }
    }

    /// The state now; an open one whose time is over becomes half-open.
    pub fn circuit(&mut self, now: Duration) -> Circuit {
        if self.circuit == Circuit::Open && now >= self.until {
            self.circuit = Circuit::HalfOpen;
            self.successes = 0;
        }
        self.circuit
    }

    /// When an open one lets the next call through.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// How many calls may be begun now, with `running` in the making.
    pub fn room(&mut self, now: Duration, running: usize) -> usize {
        match self.circuit(now) {
            Circuit::Closed => usize::MAX,
            Circuit::HalfOpen => 1_usize.saturating_sub(running),
            Circuit::Open => 0,
        }
    }

    /// Closes it by hand, its waits forgotten. `false`: it was closed.
    pub fn reset(&mut self, now: Duration) -> bool {
        let was_closed = self.circuit(now) == Circuit::Closed;
        self.close();
        !was_closed
    }

    fn close(&mut self) {
        self.circuit = Circuit::Closed;
        self.opened = 0;
        self.in_a_row = 0;
        self.successes = 0;
        self.calls.clear();
    }

    /// A call ended.
    pub fn on(&mut self, ok: bool, now: Duration) {
        match self.circuit(now) {
            // A straggler begun before it opened.
            Circuit::Open => {}
            Circuit::HalfOpen if ok => {
                self.successes += 1;
                if self.successes >= SUCCESSES_TO_CLOSE {
                    self.close();
                }
            }
            Circuit::HalfOpen => self.open(now),
            Circuit::Closed => self.count(ok, now),
        }
    }

    fn count(&mut self, ok: bool, now: Duration) {
        self.in_a_row = if ok { 0 } else { self.in_a_row + 1 };
        self.calls.push_back((now, ok));
        while self.calls.len() > CALLS_MAX
            || self
                .calls
                .front()
                .is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW)
        {
            self.calls.pop_front();
        }
        let failed = self.calls.iter().filter(|(_, ok)| !ok).count();
        let half = self.calls.len() >= CALLS_MIN && failed * 2 >= self.calls.len();
        if !ok && (half || self.in_a_row >= IN_A_ROW_MAX) {
            self.open(now);
        }
    }

    fn open(&mut self, now: Duration) {
        self.circuit = Circuit::Open;
        self.opened = self.opened.saturating_add(1);
        let wait = self.waits.delay_capped(self.opened, &self.seed);
        self.until = now.saturating_add(wait);
        self.calls.clear();
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn after(results: &[(u64, bool)]) -> Breaker {
        let mut breaker = Breaker::new("test");
        for (at, ok) in results {
            breaker.on(*ok, secs(*at));
        }
        breaker
    }

    #[test]
    fn ten_failures_in_a_row_open_it_and_nine_do_not() {
        assert_eq!(after(&[(1, false); 9]).circuit(secs(1)), Circuit::Closed);
        assert_eq!(after(&[(1, false); 10]).circuit(secs(1)), Circuit::Open);
    }

    #[test]
    fn half_of_twenty_calls_within_ten_seconds_open_it() {
        let half: Vec<_> = (0..20).map(|n| (1, n % 2 == 0)).collect();
        assert_eq!(after(&half).circuit(secs(1)), Circuit::Open);
        let fewer: Vec<_> = (0..30).map(|n| (1, n % 5 < 3)).collect();
        assert_eq!(after(&fewer).circuit(secs(1)), Circuit::Closed);
        let spread: Vec<_> = (0..40).map(|n| (n, n % 2 == 0)).collect();
        assert_eq!(after(&spread).circuit(secs(40)), Circuit::Closed);
    }

    #[test]
    fn an_open_one_lets_single_probes_through_and_three_successes_close_it() {
        let mut breaker = after(&[(1, false); 10]);
        assert_eq!(breaker.room(secs(4), 0), 0);
        assert_eq!(breaker.room(secs(8), 0), 1);
        assert_eq!(breaker.room(secs(8), 1), 0);
        for _ in 0..3 {
            assert_eq!(breaker.circuit(secs(8)), Circuit::HalfOpen);
            breaker.on(true, secs(8));
        }
        assert_eq!(breaker.room(secs(8), 5), usize::MAX);
    }

    #[test]
    fn each_failed_probe_waits_longer_up_to_a_minute() {
        let mut breaker = after(&[(0, false); 10]);
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(breaker.until.saturating_sub(now));
            now = breaker.until;
            breaker.on(false, now);
        }
        assert!(waits[0] >= secs(4) && waits[0] <= secs(6), "{waits:?}");
        assert!(waits[2] > waits[0] && waits.iter().all(|w| *w <= secs(60)));
        assert!(waits[7] >= secs(48), "{waits:?}");
    }
}
