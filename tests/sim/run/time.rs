//! Virtual time that goes on across the ends of processes.
//!
//! Invariants: nothing here asks the operating system; within a life it is the (paused) clock of the runtime.

use bursar_actors::clock::Clock;
use bursar_domain::ids::Timestamp;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// 2025-05-12T10:00:00Z.
const START_MS: i64 = 1_747_044_000_000;

#[derive(Debug)]
struct Life {
    before: Duration,
    began: Option<Instant>,
}

/// The one clock of a run.
#[derive(Debug)]
pub(crate) struct Time(Mutex<Life>);

impl Time {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Life {
            before: Duration::ZERO,
            began: None,
        }))
    }
    fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A process begins, inside its runtime.
    pub(crate) fn begin(&self) {
        self.life().began = Some(Instant::now());
    }
    /// It has ended; still inside its runtime.
    pub(crate) fn end(&self) {
        let elapsed = self.elapsed();
        let life = &mut *self.life();
        // Nobody starts in no time.
        life.before = elapsed + Duration::from_millis(300);
        life.began = None;
    }
    /// Since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        let life = self.life();
        life.before + life.began.map_or(Duration::ZERO, |began| began.elapsed())
    }
    pub(crate) fn ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        Timestamp(START_MS + i64::try_from(self.ms()).unwrap_or(i64::MAX))
    }
    fn uptime(&self) -> Duration {
        self.elapsed()
    }
}

impl bursar_sandbox::Clock for Time {
    fn now_unix_ms(&self) -> i64 {
        self.now().0
    }
}
