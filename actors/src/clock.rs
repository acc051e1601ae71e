//! The one clock the whole process shares.
//!
//! Invariants: this is the only file of the crate that asks the operating system for the time. Wall
//! time (`now`) is handed to reducers and stored; distances between moments (restart windows,
//! cooling, idleness) are measured on `uptime`, which no step of the wall clock can bend.
//!
//! Not here: waiting (tokio's timers, which tests pause).

use bursar_domain::ids::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Wall time.
    fn now(&self) -> Timestamp;
    /// What clocks elsewhere show: the time given to others to hold against their own.
    fn outside(&self) -> Timestamp {
        self.now()
    }
    /// Time since some fixed moment before the tree started; never goes back.
    fn uptime(&self) -> Duration;
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose uptime starts now.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp(millis(since)),
            Err(before) => Timestamp(-millis(before.duration())),
        }
    }
    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that starts where it is told, runs with tokio's (pausable) time and can be moved by hand.
#[derive(Debug)]
pub struct TestClock {
    base: Timestamp,
    started: Instant,
    shift_ms: AtomicI64,
}

impl TestClock {
    /// A clock that shows `base` now.
    pub fn at(base: Timestamp) -> Self {
        Self {
            base,
            started: Instant::now(),
            shift_ms: AtomicI64::new(0),
        }
    }
    /// Steps the wall time (either way); uptime does not move.
    pub fn step(&self, ms: i64) {
        self.shift_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.base
            .plus_ms(millis(self.started.elapsed()))
            .plus_ms(self.shift_ms.load(Ordering::SeqCst))
    }
    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_wall_clock_does_not_bend_uptime() {
        let clock = TestClock::at(Timestamp(1_000_000));
        tokio::time::advance(Duration::from_secs(5)).await;
        clock.step(-3_600_000);
        assert_eq!(clock.now(), Timestamp(1_000_000 + 5_000 - 3_600_000));
        assert_eq!(clock.uptime(), Duration::from_secs(5));
    }
}
