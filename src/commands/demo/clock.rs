//! The one clock of a demo: the sandbox's, which the story moves forward.
//!
//! Invariants: wall time is the sandbox's; distances between moments stay the machine's own, so that
//! a month's step bends no restart window.

use bursar_actors::clock::{Clock, SystemClock};
use bursar_domain::ids::Timestamp;
use bursar_sandbox::{Clock as SandboxClock, SharedClock};
use std::time::Duration;

/// Follows the sandbox.
pub(super) struct DemoClock {
    wall: SharedClock,
    machine: SystemClock,
}

impl DemoClock {
    /// On the sandbox's clock.
    pub(super) fn new(wall: SharedClock) -> Self {
        Self {
            wall,
            machine: SystemClock::new(),
        }
    }
}

impl Clock for DemoClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.now_unix_ms())
    }
    fn outside(&self) -> Timestamp {
        self.machine.now()
    }
    fn uptime(&self) -> Duration {
        self.machine.uptime()
    }
}
