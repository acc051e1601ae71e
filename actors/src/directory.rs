//! Who is who: one cell per core actor, refreshed after a restart, and the coalesced hints.
//!
//! Invariants: actors have no names; a sender that holds a [`Directory`] always reaches the present
//! actor. At most one wake and one hint per lane wait in any mailbox, however many are given.
//!
//! Failure: a hint to a dead actor is dropped; the sweep finds the work.

use crate::clock_actor::ClockMsg;
use crate::entities::EntitiesMsg;
use crate::env::Core;
use crate::fair::Group;
use crate::intake::IntakeMsg;
use crate::observer::ObserverMsg;
use crate::outbound::{LaneMsg, OutboundMsg};
use crate::reconcile::ReconcilerMsg;
use crate::sweeper::SweeperMsg;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Lane;
use ractor::{ActorCell, ActorRef};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Where the present actor of a kind is found.
#[derive(Debug)]
pub struct Cell<M> {
    present: Arc<watch::Sender<Option<ActorRef<M>>>>,
}

impl<M> Clone for Cell<M> {
    fn clone(&self) -> Self {
        Self {
            present: Arc::clone(&self.present),
        }
    }
}

impl<M> Default for Cell<M> {
    fn default() -> Self {
        Self {
            present: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl<M: Send + 'static> Cell<M> {
    /// Puts a (new) actor here.
    pub fn set(&self, actor: ActorRef<M>) {
        self.present.send_replace(Some(actor));
    }
    /// The present actor.
    pub fn get(&self) -> Option<ActorRef<M>> {
        self.present.borrow().clone()
    }
    /// Sends; `false` if there is nobody to receive it.
    pub fn cast(&self, message: M) -> bool {
        match self.get() {
            Some(actor) => actor.cast(message).is_ok(),
            None => false,
        }
    }
}

#[derive(Debug, Default)]
struct Woken {
    keys: BTreeMap<AggregateKey, Option<Group>>,
    hinted: bool,
    dropped: u64,
}

/// Aggregates woken and not yet seen by the registry; one message in its mailbox speaks for all.
#[derive(Debug, Default)]
pub struct Wakes {
    woken: Mutex<Woken>,
}

impl Wakes {
    /// Adds keys, at most `max` in all; answers whether a message must be sent.
    fn add(
        &self,
        keys: impl IntoIterator<Item = AggregateKey>,
        group: Option<&Group>,
        max: usize,
    ) -> bool {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if woken.keys.len() >= max && !woken.keys.contains_key(&key) {
                woken.dropped = woken.dropped.saturating_add(1);
                continue;
            }
            let slot = woken.keys.entry(key).or_default();
            if group.is_some() {
                *slot = group.cloned();
            }
        }
        let send = !woken.hinted && !woken.keys.is_empty();
        woken.hinted |= send;
        send
    }
    /// Takes everything; the next `add` sends a message again.
    pub(crate) fn take(&self) -> BTreeMap<AggregateKey, Option<Group>> {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.hinted = false;
        std::mem::take(&mut woken.keys)
    }
    /// The message could not be sent.
    fn unsent(&self) {
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .hinted = false;
    }
    /// Wakes left to the sweep because too many were waiting.
    pub fn dropped(&self) -> u64 {
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .dropped
    }
}

/// One lane: its actor, and whether a hint is on its way.
#[derive(Debug, Default)]
pub struct LaneCell {
    pub(crate) actor: Cell<LaneMsg>,
    hinted: std::sync::atomic::AtomicBool,
}

impl LaneCell {
    pub(crate) fn seen(&self) {
        self.hinted
            .store(false, std::sync::atomic::Ordering::SeqCst);
    }
}

/// All core actors of one tree.
#[derive(Debug)]
pub struct Directory {
    pub(crate) clock: Cell<ClockMsg>,
    pub(crate) entities: Cell<EntitiesMsg>,
    pub(crate) outbound: Cell<OutboundMsg>,
    pub(crate) lanes: BTreeMap<Lane, LaneCell>,
    pub(crate) intake: Cell<IntakeMsg>,
    pub(crate) sweeper: Cell<SweeperMsg>,
    pub(crate) reconciler: Cell<ReconcilerMsg>,
    pub(crate) observer: Cell<ObserverMsg>,
    pub(crate) wakes: Wakes,
    woken_max: usize,
}

impl Directory {
    /// An empty directory that remembers at most `woken_max` woken aggregates.
    pub fn new(woken_max: usize) -> Self {
        Self {
            clock: Cell::default(),
            entities: Cell::default(),
            outbound: Cell::default(),
            lanes: Lane::ALL
                .into_iter()
                .map(|lane| (lane, LaneCell::default()))
                .collect(),
            intake: Cell::default(),
            sweeper: Cell::default(),
            reconciler: Cell::default(),
            observer: Cell::default(),
            wakes: Wakes::default(),
            woken_max,
        }
    }
    /// Says that these aggregates have work. A hint: losing it costs time, not work.
    pub fn wake(&self, keys: impl IntoIterator<Item = AggregateKey>, group: Option<&Group>) {
        if self.wakes.add(keys, group, self.woken_max) && !self.entities.cast(EntitiesMsg::Wake) {
            self.wakes.unsent();
        }
    }
    /// The present actor of this kind.
    pub(crate) fn core(&self, core: Core) -> Option<ActorCell> {
        match core {
            Core::Clock => self.clock.get().map(|actor| actor.get_cell()),
            Core::Entities => self.entities.get().map(|actor| actor.get_cell()),
            Core::Outbound => self.outbound.get().map(|actor| actor.get_cell()),
            Core::Intake => self.intake.get().map(|actor| actor.get_cell()),
            Core::Sweeper => self.sweeper.get().map(|actor| actor.get_cell()),
            Core::Reconciler => self.reconciler.get().map(|actor| actor.get_cell()),
            Core::Observer => self.observer.get().map(|actor| actor.get_cell()),
        }
    }
    /// Says that a lane has work.
    pub fn hint_lane(&self, lane: Lane) {
        let Some(cell) = self.lanes.get(&lane) else {
            return;
        };
        if !cell.hinted.swap(true, std::sync::atomic::Ordering::SeqCst)
            && !cell.actor.cast(LaneMsg::Hint)
        {
            cell.seen();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> AggregateKey {
        AggregateKey::parse(&format!("payment:/pi_{n}")).unwrap()
    }

    #[test]
    fn any_number_of_wakes_asks_for_one_message_and_is_bounded() {
        let wakes = Wakes::default();
        let asked = (0..1_000)
            .filter(|n| wakes.add([key(n % 20)], None, 10))
            .count();
        assert_eq!(asked, 1);
        assert_eq!(wakes.dropped(), 500);
        assert_eq!(wakes.take().len(), 10);
        assert!(wakes.add([key(1)], None, 10));
        assert!(!wakes.add([key(2)], None, 10));
    }

    #[test]
    fn a_wake_that_found_nobody_asks_again() {
        let directory = Directory::new(10);
        directory.wake([key(1)], None);
        assert!(directory.wakes.add([key(2)], None, 10));
    }
}
