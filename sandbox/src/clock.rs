//! The sandbox's clock: real time plus an offset that only grows.
//!
//! Invariants: `SharedClock` never goes back; a product that shares the handle sees the same time.
//! Not here: what becomes due (`billing::due`).
//! Failure: none; the offset saturates.
//! Source of outside rules: none.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time in UTC.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_unix_ms(&self) -> i64;
    /// Moves the clock forward by this many milliseconds; a clock that cannot does nothing.
    fn advance_ms(&self, _by_ms: i64) {}
}

/// Real time plus an offset. Clones share the offset.
#[derive(Debug, Clone, Default)]
pub struct SharedClock {
    offset_ms: Arc<AtomicI64>,
    /// When set, the clock stands still here (plus the offset): for tests that compare bytes.
    frozen_at_ms: Option<i64>,
}

impl SharedClock {
    /// A clock that runs with real time.
    pub fn new() -> Self {
        Self::default()
    }

    /// A clock that stands at the given time until advanced.
    pub fn frozen_at_ms(unix_ms: i64) -> Self {
        Self {
            offset_ms: Arc::default(),
            frozen_at_ms: Some(unix_ms),
        }
    }

    /// How far this clock is ahead of real time, in milliseconds.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::SeqCst)
    }
}

impl Clock for SharedClock {
    fn now_unix_ms(&self) -> i64 {
        let base = self.frozen_at_ms.unwrap_or_else(|| {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        });
        base.saturating_add(self.offset_ms())
    }

    fn advance_ms(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms.max(0), Ordering::SeqCst);
    }
}
