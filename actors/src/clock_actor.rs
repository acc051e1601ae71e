//! Turns due timers into inputs of their aggregates.
//!
//! Invariants: the timer is cleared in the commit that makes the input, so a timer fires once;
//! nothing is kept in memory between two looks.
//! Failure: a store in trouble means the next look does it.

use crate::env::{Core, Env};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;

/// Messages of the clock actor.
#[derive(Debug)]
pub(crate) enum ClockMsg {
    /// Look.
    Tick,
    /// Show a sign of life.
    Beat,
}

pub(crate) struct ClockActor;

impl Actor for ClockActor {
    type Msg = ClockMsg;
    type State = Arc<Env>;
    type Arguments = Arc<Env>;

    async fn pre_start(
        &self,
        myself: ActorRef<ClockMsg>,
        env: Arc<Env>,
    ) -> Result<Arc<Env>, ActorProcessingErr> {
        env.directory.clock.set(myself.clone());
        env.alive(Core::Clock);
        myself.send_after(env.limits.tick, || ClockMsg::Tick);
        Ok(env)
    }

    async fn handle(
        &self,
        myself: ActorRef<ClockMsg>,
        message: ClockMsg,
        env: &mut Arc<Env>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ClockMsg::Beat => env.alive(Core::Clock),
            ClockMsg::Tick => {
                fire_due(env).await;
                myself.send_after(env.limits.tick, || ClockMsg::Tick);
            }
        }
        Ok(())
    }
}

/// Fires one batch; a full one is followed by the next at the next tick, so others get their turn.
async fn fire_due(env: &Env) {
    let now = env.clock.now();
    let due = match env.store.due_timers(now, env.limits.timers_batch_max).await {
        Ok(due) if due.is_empty() => return,
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "due timers could not be read");
            return;
        }
    };
    let count = due.len();
    match env.store.fire(due, now).await {
        Ok(woken) => {
            tracing::debug!(count, "timers fired");
            env.directory.wake(woken, None);
        }
        Err(error) => tracing::warn!(%error, count, "due timers could not be fired"),
    }
}
