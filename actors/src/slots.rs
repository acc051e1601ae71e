//! The registry of entities as a state machine without actors: who lives, works, rests, cools.
//!
//! Invariants: an aggregate has at most one live actor (a draining one is waited for); one hint per
//! actor; `busy` is the number of actors in a turn; every woken key is queued, marked dirty, or
//! comes up again when its rest ends, so nothing waits for the sweep except what was over a bound.
//! Failures are counted per aggregate; the one shared limit only pauses pulling for seconds.
//!
//! Not here: spawning and sending (`entities`). Times are uptime.

use crate::fair::{FairQueue, Group};
use crate::limits::Limits;
use bursar_domain::aggregate::AggregateKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How a turn of an entity ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Its inbox was emptied.
    Idle,
    /// There is more.
    More,
    /// The store refused; try again after a while.
    Trouble,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Idle { used: u64 },
    Queued,
    Working { dirty: bool, group: Group },
    Resting { until: Duration },
}

#[derive(Debug)]
enum Slot<R> {
    Live {
        /// `None` between asking for the actor and having it.
        actor: Option<R>,
        generation: u64,
        work: Work,
        troubles: u32,
    },
    Draining {
        generation: u64,
        dirty: bool,
    },
    Cooling {
        until: Duration,
        quarantined: bool,
    },
}

#[derive(Debug, Default)]
struct Failures {
    at: VecDeque<Duration>,
    quarantines: u32,
}

/// What the shell should do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start<R> {
    /// Start an actor, then call [`Slots::spawned`].
    Spawn { key: AggregateKey, generation: u64 },
    /// Hint this one.
    Hint { actor: R },
}

/// Counts for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) live: usize,
    pub(crate) busy: usize,
    pub(crate) cooling: usize,
    pub(crate) quarantined: usize,
    pub(crate) queued: usize,
}

#[derive(Debug)]
pub(crate) struct Slots<R> {
    limits: Limits,
    slots: BTreeMap<AggregateKey, Slot<R>>,
    queue: FairQueue,
    idle: BTreeMap<u64, (AggregateKey, Duration)>,
    wakeups: BTreeSet<(Duration, AggregateKey)>,
    failures: BTreeMap<AggregateKey, Failures>,
    recent: VecDeque<(Duration, AggregateKey)>,
    busy_groups: BTreeMap<Group, usize>,
    busy: usize,
    uses: u64,
    generations: u64,
    paused_until: Duration,
    pauses: u64,
    stopped: bool,
    drains: Vec<R>,
}

impl<R: Clone> Slots<R> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: BTreeMap::new(),
            queue: FairQueue::default(),
            idle: BTreeMap::new(),
            wakeups: BTreeSet::new(),
            failures: BTreeMap::new(),
            recent: VecDeque::new(),
            busy_groups: BTreeMap::new(),
            busy: 0,
            uses: 0,
            generations: 0,
            paused_until: Duration::ZERO,
            pauses: 0,
            stopped: false,
            drains: Vec::new(),
        }
    }

    /// The aggregate has work.
    pub(crate) fn wake(&mut self, key: AggregateKey, group: Option<Group>) {
        let group = group.unwrap_or_else(|| Group::of(&key));
        match self.slots.get_mut(&key) {
            None => {}
            Some(Slot::Live { work, .. }) => match work {
                Work::Idle { used } => {
                    let used = *used;
                    *work = Work::Queued;
                    self.idle.remove(&used);
                }
                Work::Working { dirty, .. } => {
                    *dirty = true;
                    return;
                }
                Work::Queued | Work::Resting { .. } => return,
            },
            Some(Slot::Draining { dirty, .. }) => {
                *dirty = true;
                return;
            }
            Some(Slot::Cooling { .. }) => return,
        }
        if self.queue.len() < self.limits.woken_max || self.slots.contains_key(&key) {
            self.queue.push(key, group);
        }
    }

    /// The next actor to start or hint, if one may work now.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Start<R>> {
        if self.stopped || now < self.paused_until || self.busy >= self.limits.entities_busy_max {
            return None;
        }
        let cap = self.limits.group_busy_max;
        let busy_groups = &self.busy_groups;
        let (key, group) = self
            .queue
            .pop(|group| busy_groups.get(group).is_none_or(|busy| *busy < cap))?;
        self.busy += 1;
        *self.busy_groups.entry(group.clone()).or_default() += 1;
        let working = Work::Working {
            dirty: false,
            group,
        };
        if let Some(Slot::Live {
            actor: Some(actor),
            work,
            ..
        }) = self.slots.get_mut(&key)
        {
            *work = working;
            return Some(Start::Hint {
                actor: actor.clone(),
            });
        }
        self.make_room();
        self.generations += 1;
        let generation = self.generations;
        self.slots.insert(
            key.clone(),
            Slot::Live {
                actor: None,
                generation,
                work: working,
                troubles: 0,
            },
        );
        Some(Start::Spawn { key, generation })
    }

    /// The actor asked for is there and has its first hint.
    pub(crate) fn spawned(&mut self, key: &AggregateKey, actor: R) {
        if let Some(Slot::Live { actor: cell, .. }) = self.slots.get_mut(key) {
            *cell = Some(actor);
        }
    }

    /// A turn ended.
    pub(crate) fn turned(
        &mut self,
        key: &AggregateKey,
        generation: u64,
        turn: &Turn,
        now: Duration,
    ) {
        let Some(Slot::Live {
            generation: live,
            work,
            troubles,
            ..
        }) = self.slots.get_mut(key)
        else {
            return;
        };
        let Work::Working { dirty, group } = work else {
            return;
        };
        if *live != generation {
            return;
        }
        let (dirty, group) = (*dirty, group.clone());
        match turn {
            Turn::Trouble => {
                *troubles = troubles.saturating_add(1);
                let wait = self.limits.trouble.delay_capped(*troubles, &group.0);
                let until = now.saturating_add(wait);
                *work = Work::Resting { until };
                self.wakeups.insert((until, key.clone()));
                self.release(&group);
                self.failed_somewhere(key.clone(), now);
            }
            Turn::Idle | Turn::More => {
                *troubles = 0;
                if dirty || *turn == Turn::More {
                    *work = Work::Queued;
                    self.queue.push(key.clone(), group.clone());
                } else {
                    self.uses += 1;
                    *work = Work::Idle { used: self.uses };
                    self.idle.insert(self.uses, (key.clone(), now));
                }
                self.failures.remove(key);
                self.release(&group);
            }
        }
    }

    /// An actor is gone, whether it was told to (`failed` false) or not.
    pub(crate) fn exited(
        &mut self,
        key: &AggregateKey,
        generation: u64,
        failed: bool,
        now: Duration,
    ) {
        let again = match self.slots.get(key) {
            Some(Slot::Live {
                generation: live, ..
            })
            | Some(Slot::Draining {
                generation: live, ..
            }) if *live == generation => match self.slots.remove(key) {
                Some(Slot::Live { work, .. }) => match work {
                    Work::Working { group, .. } => {
                        self.release(&group);
                        true
                    }
                    Work::Idle { used } => {
                        self.idle.remove(&used);
                        false
                    }
                    Work::Queued | Work::Resting { .. } => true,
                },
                Some(Slot::Draining { dirty, .. }) => dirty,
                _ => false,
            },
            _ => return,
        };
        if failed {
            self.cool(key, now);
        } else if again {
            self.wake(key.clone(), None);
        }
    }

    fn cool(&mut self, key: &AggregateKey, now: Duration) {
        let window = self.limits.failure_window;
        let log = self.failures.entry(key.clone()).or_default();
        log.at.push_back(now);
        while log
            .at
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > window)
        {
            log.at.pop_front();
        }
        let count = log.at.len();
        let quarantined = count >= self.limits.failures_max || log.quarantines > 0;
        let seed = key.to_string();
        let wait = if quarantined {
            log.quarantines = log.quarantines.saturating_add(1);
            self.limits.quarantine.delay_capped(log.quarantines, &seed)
        } else {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.limits.cooling.delay_capped(count, &seed)
        };
        let until = now.saturating_add(wait);
        self.wakeups.insert((until, key.clone()));
        self.slots
            .insert(key.clone(), Slot::Cooling { until, quarantined });
        self.failed_somewhere(key.clone(), now);
    }

    /// Counts distinct keys failing lately: many at once have a cause of their own.
    fn failed_somewhere(&mut self, key: AggregateKey, now: Duration) {
        let window = self.limits.systemic_window;
        self.recent.push_back((now, key));
        while self.recent.len() > self.limits.systemic_keys_max * 8
            || self
                .recent
                .front()
                .is_some_and(|(at, _)| now.saturating_sub(*at) > window)
        {
            self.recent.pop_front();
        }
        let distinct: BTreeSet<_> = self.recent.iter().map(|(_, key)| key).collect();
        if distinct.len() > self.limits.systemic_keys_max {
            self.paused_until = now.saturating_add(self.limits.systemic_pause);
            self.pauses += 1;
            self.recent.clear();
        }
    }

    /// Rests and cooling that ended, actors idle for too long.
    pub(crate) fn tick(&mut self, now: Duration) {
        while let Some((until, key)) = self.wakeups.first().cloned() {
            if until > now {
                break;
            }
            self.wakeups.remove(&(until, key.clone()));
            match self.slots.get_mut(&key) {
                Some(Slot::Live { work, .. }) if *work == (Work::Resting { until }) => {
                    *work = Work::Queued;
                    let group = Group::of(&key);
                    self.queue.push(key, group);
                }
                Some(Slot::Cooling { until: end, .. }) if *end == until => {
                    self.slots.remove(&key);
                    self.wake(key, None);
                }
                _ => {}
            }
        }
        while let Some((used, (key, since))) = self.idle.first_key_value() {
            if now.saturating_sub(*since) < self.limits.entity_idle {
                break;
            }
            let (used, key) = (*used, key.clone());
            self.idle.remove(&used);
            self.drain_one(&key);
        }
        self.forget_old_failures(now);
    }

    fn forget_old_failures(&mut self, now: Duration) {
        // Cooling ends within the longest quarantine; what has not failed again since is forgotten.
        let slots = &self.slots;
        let window = self.limits.failure_window.saturating_mul(20);
        self.failures.retain(|key, log| {
            slots.contains_key(key)
                || log
                    .at
                    .back()
                    .is_some_and(|at| now.saturating_sub(*at) <= window)
        });
    }

    /// One for one: a draining actor still counts until it is gone.
    fn make_room(&mut self) {
        if self.slots.len() >= self.limits.entities_live_max
            && let Some((_, (key, _))) = self.idle.pop_first()
        {
            self.drain_one(&key);
        }
    }

    fn drain_one(&mut self, key: &AggregateKey) {
        let Some(Slot::Live {
            actor: Some(actor),
            generation,
            ..
        }) = self.slots.get(key)
        else {
            return;
        };
        let (actor, generation) = (actor.clone(), *generation);
        self.drains.push(actor);
        self.slots.insert(
            key.clone(),
            Slot::Draining {
                generation,
                dirty: false,
            },
        );
    }

    /// Actors to drain now.
    pub(crate) fn drains(&mut self) -> Vec<R> {
        std::mem::take(&mut self.drains)
    }

    fn release(&mut self, group: &Group) {
        self.busy = self.busy.saturating_sub(1);
        if let Some(busy) = self.busy_groups.get_mut(group) {
            *busy = busy.saturating_sub(1);
            if *busy == 0 {
                self.busy_groups.remove(group);
            }
        }
    }

    /// Nothing is started or hinted any more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Lets this many work at once from now on.
    pub(crate) fn widen(&mut self, busy_max: usize) {
        self.limits.entities_busy_max = busy_max;
    }

    /// Actors in a turn.
    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    /// Times pulling was paused for a common cause.
    pub(crate) fn pauses(&self) -> u64 {
        self.pauses
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts {
            busy: self.busy,
            queued: self.queue.len(),
            ..Counts::default()
        };
        for slot in self.slots.values() {
            match slot {
                Slot::Live { .. } | Slot::Draining { .. } => counts.live += 1,
                Slot::Cooling { quarantined, .. } => {
                    counts.cooling += 1;
                    counts.quarantined += usize::from(*quarantined);
                }
            }
        }
        counts
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
