//! Restart policy: what a supervisor does when a child exits, as a pure function.
//!
//! OTP's words: *permanent* children are always restarted, *transient* ones after a failure only,
//! *temporary* ones never. More than `intensity` restarts within `period` is handed to the parent.
//!
//! Invariants: no clock, no actor, no channel; `on_exit` depends on its arguments alone.
//! Not here: obeying (`root`, `outbound`), the budgets of single aggregates (`slots`).
//! Source of outside rules: Erlang/OTP design principles, "Supervisor Behaviour".

use std::collections::VecDeque;
use std::time::Duration;

/// Which exits are followed by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// All.
    Permanent,
    /// Failures.
    Transient,
    /// None.
    Temporary,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitReason {
    /// It was told to, or was done.
    Stopped,
    /// Its handler panicked or answered `Err`.
    Failed,
    /// It did not answer its heartbeats and was killed.
    Unresponsive,
}

impl ExitReason {
    /// The word used as metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Failed => "panic",
            Self::Unresponsive => "unresponsive",
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this long.
    Restart(Duration),
    /// Too many: the parent's problem now.
    Escalate,
    /// Nothing.
    Leave,
}

/// Restarts so far, on the uptime scale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    restarts: VecDeque<Duration>,
}

impl History {
    /// Remembers a restart decided at `now`, forgets what is older than `period`.
    pub fn note(&mut self, now: Duration, period: Duration) {
        self.restarts.push_back(now);
        while self
            .restarts
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > period)
        {
            self.restarts.pop_front();
        }
    }
    /// How many lie within `period` before `now`.
    pub fn within(&self, now: Duration, period: Duration) -> usize {
        self.restarts
            .iter()
            .filter(|at| now.saturating_sub(**at) <= period)
            .count()
    }
}

/// The policy of one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Which exits are followed by a restart.
    pub lifetime: Lifetime,
    /// Most restarts within `period`.
    pub intensity: usize,
    /// See `intensity`.
    pub period: Duration,
    /// Wait before the first restart of a period; doubles with each further one.
    pub delay: Duration,
    /// Longest wait.
    pub delay_max: Duration,
}

impl RestartPolicy {
    /// The policy of the core actors: 5 within 60 s, 100 ms doubling to 5 s.
    pub const CORE: Self = Self {
        lifetime: Lifetime::Permanent,
        intensity: 5,
        period: Duration::from_secs(60),
        delay: Duration::from_millis(100),
        delay_max: Duration::from_secs(5),
    };

    /// What to do about an exit at `now`, given the restarts before it.
    pub fn on_exit(&self, history: &History, reason: ExitReason, now: Duration) -> Verdict {
        let restart = match (self.lifetime, reason) {
            (Lifetime::Permanent, _) => true,
            (Lifetime::Transient, ExitReason::Stopped) | (Lifetime::Temporary, _) => false,
            (Lifetime::Transient, ExitReason::Failed | ExitReason::Unresponsive) => true,
        };
        if !restart {
            return Verdict::Leave;
        }
        let before = history.within(now, self.period);
        if before >= self.intensity {
            return Verdict::Escalate;
        }
        let doublings = u32::try_from(before).unwrap_or(u32::MAX).min(20);
        Verdict::Restart(
            self.delay
                .saturating_mul(1 << doublings)
                .min(self.delay_max),
        )
    }
}

/// Rest-for-one over `children` in start order: the failed one and all started after it, to be
/// stopped last to first and started first to last.
pub fn rest_for_one<T: PartialEq + Copy>(children: &[T], failed: T) -> Vec<T> {
    children
        .iter()
        .copied()
        .skip_while(|child| *child != failed)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn history(at_seconds: &[u64]) -> History {
        History {
            restarts: at_seconds.iter().map(|s| SECOND * (*s as u32)).collect(),
        }
    }

    #[test]
    fn lifetimes_decide_which_exits_are_followed_by_a_restart() {
        use ExitReason::{Failed, Stopped, Unresponsive};
        use Lifetime::{Permanent, Temporary, Transient};
        let restart = Verdict::Restart(Duration::from_millis(100));
        for (lifetime, reason, expected) in [
            (Permanent, Stopped, restart),
            (Permanent, Failed, restart),
            (Permanent, Unresponsive, restart),
            (Transient, Stopped, Verdict::Leave),
            (Transient, Failed, restart),
            (Transient, Unresponsive, restart),
            (Temporary, Stopped, Verdict::Leave),
            (Temporary, Failed, Verdict::Leave),
            (Temporary, Unresponsive, Verdict::Leave),
        ] {
            let policy = RestartPolicy {
                lifetime,
                ..RestartPolicy::CORE
            };
            let verdict = policy.on_exit(&History::default(), reason, SECOND);
            assert_eq!(verdict, expected, "{lifetime:?} {reason:?}");
        }
    }

    #[test]
    fn intensity_counts_only_restarts_within_the_period() {
        for (before, now, expected) in [
            (&[][..], 100, Verdict::Restart(Duration::from_millis(100))),
            (&[99], 100, Verdict::Restart(Duration::from_millis(200))),
            (
                &[10, 20, 30, 39],
                100,
                Verdict::Restart(Duration::from_millis(100)),
            ),
            (
                &[95, 96, 97, 98],
                100,
                Verdict::Restart(Duration::from_millis(1600)),
            ),
            (&[40, 96, 97, 98, 99], 100, Verdict::Escalate),
            (
                &[39, 96, 97, 98, 99],
                100,
                Verdict::Restart(Duration::from_millis(1600)),
            ),
        ] {
            let verdict =
                RestartPolicy::CORE.on_exit(&history(before), ExitReason::Failed, SECOND * now);
            assert_eq!(verdict, expected, "{before:?}");
        }
    }

    #[test]
    fn delays_double_up_to_their_maximum() {
        let policy = RestartPolicy {
            intensity: 100,
            ..RestartPolicy::CORE
        };
        let verdict = policy.on_exit(&history(&[1; 40]), ExitReason::Failed, SECOND * 2);
        assert_eq!(verdict, Verdict::Restart(policy.delay_max));
    }

    #[test]
    fn history_forgets_what_is_older_than_the_period() {
        let mut history = History::default();
        for second in 0..1_000_u32 {
            history.note(SECOND * second, SECOND * 10);
        }
        assert_eq!(history.restarts.len(), 11);
        assert_eq!(history.within(SECOND * 999, SECOND * 5), 6);
    }

    #[test]
    fn rest_for_one_takes_the_failed_child_and_all_after_it() {
        assert_eq!(rest_for_one(&[1, 2, 3, 4], 3), [3, 4]);
        assert_eq!(rest_for_one(&[1, 2, 3, 4], 1), [1, 2, 3, 4]);
        assert_eq!(rest_for_one(&[1, 2, 3, 4], 9), Vec::<i32>::new());
    }
}
