//! The registry actor: parent of all entity actors, obeys [`Slots`].
//!
//! Invariants: `handle` and the supervision handler never answer `Err`; the mailbox holds at most one
//! wake, one tick, one beat and one report per busy entity.
//! Failure: if it dies its children die with it; nothing is lost, the sweep wakes everything again.

use crate::entity::{EntityActor, EntityArgs, TakeTurn};
use crate::env::{Core, Env, bump};
use crate::slots::{Slots, Start, Turn};
use bursar_domain::aggregate::AggregateKey;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// Messages of the registry.
#[derive(Debug)]
pub(crate) enum EntitiesMsg {
    /// Look at the wakes.
    Wake,
    /// A turn ended.
    Turned {
        key: AggregateKey,
        generation: u64,
        turn: Turn,
    },
    /// Time passes.
    Tick,
    /// Start nothing more; answer when no entity is in a turn and all are gone.
    Drain(oneshot::Sender<()>),
    /// Show a sign of life.
    Beat,
}

pub(crate) struct EntitiesActor;

pub(crate) struct EntitiesState {
    env: Arc<Env>,
    slots: Slots<ActorRef<TakeTurn>>,
    actors: BTreeMap<ActorId, (AggregateKey, u64)>,
    drained: Option<oneshot::Sender<()>>,
}

impl Actor for EntitiesActor {
    type Msg = EntitiesMsg;
    type State = EntitiesState;
    type Arguments = Arc<Env>;

    async fn pre_start(
        &self,
        myself: ActorRef<EntitiesMsg>,
        env: Arc<Env>,
    ) -> Result<EntitiesState, ActorProcessingErr> {
        let mut limits = env.limits.clone();
        if env.boot.is_careful() {
            limits.entities_busy_max = 1;
        }
        env.directory.entities.set(myself.clone());
        env.alive(Core::Entities);
        let mut slots = Slots::new(limits);
        for (key, group) in env.directory.wakes.take() {
            slots.wake(key, group);
        }
        myself.send_after(env.limits.tick, || EntitiesMsg::Tick);
        Ok(EntitiesState {
            env,
            slots,
            actors: BTreeMap::new(),
            drained: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<EntitiesMsg>,
        message: EntitiesMsg,
        state: &mut EntitiesState,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.env.clock.uptime();
        match message {
            EntitiesMsg::Wake => {
                for (key, group) in state.env.directory.wakes.take() {
                    state.slots.wake(key, group);
                }
            }
            EntitiesMsg::Turned {
                key,
                generation,
                turn,
            } => state.slots.turned(&key, generation, &turn, now),
            EntitiesMsg::Tick => {
                state.slots.tick(now);
                if !state.env.boot.is_careful() {
                    state.slots.widen(state.env.limits.entities_busy_max);
                }
                state.publish();
                myself.send_after(state.env.limits.tick, || EntitiesMsg::Tick);
            }
            EntitiesMsg::Drain(reply) => {
                state.slots.stop();
                state.drained = Some(reply);
            }
            EntitiesMsg::Beat => state.env.alive(Core::Entities),
        }
        state.pump(&myself).await;
        state.end_if_drained(&myself).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<EntitiesMsg>,
        event: SupervisionEvent,
        state: &mut EntitiesState,
    ) -> Result<(), ActorProcessingErr> {
        let failed = match &event {
            SupervisionEvent::ActorTerminated(..) => false,
            SupervisionEvent::ActorFailed(_, error) => {
                let who = event.actor_id().and_then(|id| state.actors.get(&id));
                let key = who.map(|(key, _)| key.to_string()).unwrap_or_default();
                tracing::error!(aggregate.id = key, %error, "an entity failed and cools");
                bump(&state.env.gauges.entity_failures);
                true
            }
            _ => return Ok(()),
        };
        if let Some((key, generation)) = event.actor_id().and_then(|id| state.actors.remove(&id)) {
            let now = state.env.clock.uptime();
            state.slots.exited(&key, generation, failed, now);
        }
        state.pump(&myself).await;
        state.end_if_drained(&myself).await;
        Ok(())
    }
}

impl EntitiesState {
    /// Starts and hints whatever may work now, drains what should end.
    async fn pump(&mut self, myself: &ActorRef<EntitiesMsg>) {
        let now = self.env.clock.uptime();
        while let Some(start) = self.slots.next(now) {
            match start {
                // If it is already dead, its exit is in our mailbox and queues the key again.
                Start::Hint { actor } => drop(actor.cast(TakeTurn)),
                Start::Spawn { key, generation } => self.spawn(myself, key, generation).await,
            }
        }
        for actor in self.slots.drains() {
            drop(actor.drain());
        }
    }

    async fn spawn(&mut self, myself: &ActorRef<EntitiesMsg>, key: AggregateKey, generation: u64) {
        let args = EntityArgs {
            env: Arc::clone(&self.env),
            key: key.clone(),
            generation,
        };
        match Actor::spawn_linked(None, EntityActor, args, myself.get_cell()).await {
            Ok((actor, _)) => {
                bump(&self.env.gauges.spawned);
                drop(actor.cast(TakeTurn));
                self.actors
                    .insert(actor.get_id(), (key.clone(), generation));
                self.slots.spawned(&key, actor);
            }
            Err(error) => {
                tracing::error!(aggregate.id = %key, %error, "an entity could not be started");
                let now = self.env.clock.uptime();
                self.slots.exited(&key, generation, true, now);
            }
        }
    }

    async fn end_if_drained(&mut self, myself: &ActorRef<EntitiesMsg>) {
        if self.slots.busy() == 0
            && let Some(reply) = self.drained.take()
        {
            // Children with an empty mailbox; the wait is for their exit alone.
            myself
                .get_cell()
                .drain_children_and_wait(Some(Duration::from_secs(5)))
                .await;
            let _ = reply.send(());
        }
    }

    fn publish(&self) {
        let counts = self.slots.counts();
        let gauges = &self.env.gauges;
        gauges.live.store(counts.live as u64, Ordering::Relaxed);
        gauges.busy.store(counts.busy as u64, Ordering::Relaxed);
        gauges
            .cooling
            .store(counts.cooling as u64, Ordering::Relaxed);
        gauges
            .quarantined
            .store(counts.quarantined as u64, Ordering::Relaxed);
        gauges
            .systemic_pauses
            .store(self.slots.pauses(), Ordering::Relaxed);
    }
}
