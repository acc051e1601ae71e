//! What waits for the committer, in two lines.
//!
//! Somebody outside waits for what is in front: Stripe for its 200, a person for an answer. Behind are the
//! applies and the ends of effects: what they work off is durable, so they can wait, and a burst of webhooks
//! is taken in full before it is worked off.
//!
//! Invariants: both lines are bounded; each is first in, first out; what is behind gets whatever time
//! the front leaves, less its rests while deliveries come, and of a busy time at least one part in [`BEHIND_SHARE`] or
//! one more than [`REST`], except while rows cannot be put away.
//! Not here: which commits make up a group (`committer`).

use super::commit::{Commit, Queued};
use crate::error::StoreError;
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// Most commits waiting in each line.
const LINE_MAX: usize = 1_024;
/// What is behind gets at least one part in this many of the committer's time.
const BEHIND_SHARE: u32 = 8;
/// Time not used in one busy spell is not saved up for later beyond this: it is what somebody in front
/// may have to wait for what is behind.
const CREDIT_MAX: Duration = Duration::from_micros(500);

/// Deliveries come while the last one is not longer ago than this.
pub(super) const NEAR: Duration = Duration::from_millis(50);
/// What is behind rests this many times as long as it was worked on, while deliveries come,
const REST: u32 = 8;
/// beyond what it saved up: an order now and then, which somebody waits for, is worked off at once,
const SAVED_MAX: Duration = Duration::from_millis(5);
/// never longer than this,
const REST_MAX: Duration = Duration::from_millis(20);
/// and not at all once an input has waited so long.
const WAITED_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Lines {
    front: VecDeque<Queued>,
    behind: VecDeque<Queued>,
    is_closed: bool,
    /// The committer waits: whoever brings work wakes it. To wake one that does not is a call into the system for
    /// nothing.
    is_waited_for: bool,
}

/// The two lines.
#[derive(Default)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
    arrived: Condvar,
    /// The same for a committer that is a task.
    #[cfg(feature = "crashpoints")]
    pub(super) pushed: tokio::sync::Notify,
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Something is there.
    Work,
    /// Nothing came in time.
    Nothing,
    /// Nothing is there and nothing will come.
    Closed,
}

impl Queue {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines a commit up. # Errors: `Busy` if its line is full, `Closed`.
    pub(super) fn push(&self, queued: Queued) -> Result<(), StoreError> {
        let mut lines = self.lines();
        if lines.is_closed {
            return Err(StoreError::Closed);
        }
        let line = match queued.commit {
            Commit::Apply(_) | Commit::Fire(..) | Commit::Settle(_) => &mut lines.behind,
            _ => &mut lines.front,
        };
        if line.len() >= LINE_MAX {
            return Err(StoreError::Busy);
        }
        line.push_back(queued);
        let is_waited_for = lines.is_waited_for;
        drop(lines);
        bursar_domain::mutant!("M17", (), self.wake_committer(is_waited_for));
        Ok(())
    }

    fn wake_committer(&self, is_waited_for: bool) {
        if is_waited_for {
            self.arrived.notify_one();
        }
        #[cfg(feature = "crashpoints")]
        self.pushed.notify_one();
    }

    /// Nothing is taken in any more; what waits is still worked off.
    pub(super) fn close(&self) {
        self.lines().is_closed = true;
        self.arrived.notify_all();
        #[cfg(feature = "crashpoints")]
        self.pushed.notify_one();
    }

    /// Whoever still waits hears that nobody will answer.
    pub(super) fn abandon(&self) {
        let mut lines = self.lines();
        lines.is_closed = true;
        lines.front.clear();
        lines.behind.clear();
    }

    /// Waits for something to do.
    pub(super) fn wait(&self, most: Duration) -> Waited {
        let lines = self.wait_while(most, |lines| {
            lines.front.is_empty() && lines.behind.is_empty() && !lines.is_closed
        });
        match (
            lines.front.is_empty() && lines.behind.is_empty(),
            lines.is_closed,
        ) {
            (false, _) => Waited::Work,
            (true, true) => Waited::Closed,
            (true, false) => Waited::Nothing,
        }
    }

    /// Waits for something in front; says whether it came.
    pub(super) fn wait_front(&self, most: Duration) -> bool {
        let lines = self.wait_while(most, |lines| lines.front.is_empty());
        !lines.front.is_empty()
    }

    fn wait_while(
        &self,
        most: Duration,
        is_empty: impl Fn(&Lines) -> bool,
    ) -> MutexGuard<'_, Lines> {
        let mut lines = self.lines();
        if !is_empty(&lines) || most.is_zero() {
            return lines;
        }
        lines.is_waited_for = true;
        let waited = self
            .arrived
            .wait_timeout_while(lines, most, |lines| is_empty(lines));
        let (mut lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        lines.is_waited_for = false;
        lines
    }

    /// The next commit of the front line.
    pub(super) fn front(&self) -> Option<Queued> {
        self.lines().front.pop_front()
    }

    /// The next commit of the line behind.
    pub(super) fn behind(&self) -> Option<Queued> {
        self.lines().behind.pop_front()
    }

    /// Whether anything waits behind.
    pub(super) fn has_behind(&self) -> bool {
        !self.lines().behind.is_empty()
    }

    /// Commits in both lines.
    pub(super) fn len(&self) -> usize {
        let lines = self.lines();
        lines.front.len() + lines.behind.len()
    }
}

/// How the committer's time was divided lately.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Time owed to what is behind.
    owed: Duration,
}

impl Shares {
    /// Time went by with commits waiting.
    pub(super) fn passed(&mut self, time: Duration) {
        self.owed = (self.owed + time / BEHIND_SHARE).min(CREDIT_MAX);
    }
    /// Some of it was spent on what is behind.
    pub(super) fn spent(&mut self, time: Duration) {
        self.owed = self.owed.saturating_sub(time);
    }
    /// Whether what is behind comes first now.
    pub(super) fn is_owed(&self) -> bool {
        !self.owed.is_zero()
    }
}

/// How long what is behind rests between its turns while deliveries come.
///
/// Working off what was acknowledged would otherwise take every processor to its end, and the next delivery then waits
/// for one: of a limited container or a shared machine, until its next period, ten milliseconds and more.
#[derive(Debug)]
pub(super) struct Rest {
    until: Instant,
    /// How long an input last applied had waited.
    waited: Duration,
}

impl Rest {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            until: now,
            waited: Duration::ZERO,
        }
    }
    /// So much time was spent on what is behind; `waited`: the longest any input applied with it had waited.
    pub(super) fn after(&mut self, now: Instant, spent: Duration, waited: Option<Duration>) {
        let earliest = now.checked_sub(SAVED_MAX).unwrap_or(now);
        let until = self.until.max(earliest) + spent * REST;
        // Time is not only spent here: a thread that lost its processor meanwhile owes nothing for that.
        self.until = until.min(now + REST_MAX);
        self.waited = waited.unwrap_or(self.waited);
    }
    /// What is left of it; nothing while no deliveries come, or what is behind has waited too long.
    pub(super) fn left(&self, now: Instant, since_delivery: Duration) -> Duration {
        if since_delivery < NEAR && self.waited < WAITED_MAX {
            self.until.saturating_duration_since(now)
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::ids::Timestamp;

    fn queued(commit: Commit) -> Queued {
        Queued {
            commit,
            since: Instant::now(),
            answer: None,
        }
    }

    #[test]
    fn each_line_is_bounded_and_in_order_of_arrival() {
        let queue = Queue::default();
        let fire = |n| queued(Commit::Fire(Vec::new(), Timestamp(n)));
        for n in 0..LINE_MAX {
            queue.push(fire(n as i64)).unwrap();
        }
        assert!(matches!(queue.push(fire(0)), Err(StoreError::Busy)));
        // A full line behind refuses nobody in front.
        queue.push(queued(Commit::Probe)).unwrap();
        assert!(queue.front().is_some() && queue.front().is_none());
        let first = queue.behind().map(|queued| queued.commit);
        assert!(matches!(first, Some(Commit::Fire(_, Timestamp(0)))));
    }

    #[test]
    fn a_closed_queue_gives_what_it_holds_and_takes_nothing() {
        let queue = Queue::default();
        assert_eq!(queue.wait(Duration::ZERO), Waited::Nothing);
        queue.push(queued(Commit::Probe)).unwrap();
        queue.close();
        assert!(matches!(
            queue.push(queued(Commit::Probe)),
            Err(StoreError::Closed)
        ));
        assert_eq!(queue.wait(Duration::ZERO), Waited::Work);
        assert!(queue.front().is_some());
        assert_eq!(queue.wait(Duration::ZERO), Waited::Closed);
    }

    #[test]
    fn what_is_behind_is_owed_its_part_of_a_busy_time() {
        let mut shares = Shares::default();
        assert!(!shares.is_owed());
        let mut spent = Duration::ZERO;
        for _ in 0..1_000 {
            shares.passed(Duration::from_micros(1_000));
            while shares.is_owed() {
                shares.spent(Duration::from_micros(50));
                spent += Duration::from_micros(50);
            }
        }
        let part = Duration::from_secs(1) / BEHIND_SHARE;
        assert!(spent >= part && spent < part * 2, "{spent:?}");
    }

    #[test]
    fn what_is_behind_rests_while_deliveries_come_and_nothing_waits_too_long() {
        let now = Instant::now();
        let (spent, soon) = (Duration::from_millis(1), Duration::from_millis(1));
        let resting = spent * REST;
        let mut rest = Rest::new(now);
        assert_eq!(rest.left(now, soon), Duration::ZERO);
        rest.after(now, spent, Some(Duration::from_secs(1)));
        assert_eq!(rest.left(now, soon), resting);
        assert_eq!(rest.left(now + resting, soon), Duration::ZERO);
        assert_eq!(rest.left(now, NEAR), Duration::ZERO);
        rest.after(now, Duration::from_secs(1), None);
        assert_eq!(rest.left(now, soon), REST_MAX);
        rest.after(now, spent, Some(WAITED_MAX));
        assert_eq!(rest.left(now, soon), Duration::ZERO);
        // Ends of effects alone say nothing about inputs.
        rest.after(now, spent, None);
        assert_eq!(rest.left(now, soon), Duration::ZERO);
        // After a pause a little is free, and only a little.
        let later = now + Duration::from_secs(60);
        rest.after(later, SAVED_MAX / REST, Some(Duration::ZERO));
        assert_eq!(rest.left(later, soon), Duration::ZERO);
        rest.after(later, spent, None);
        assert_eq!(rest.left(later, soon), resting);
    }
}
