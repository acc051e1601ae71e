//! The shell every lane shares: takes due effects, has them performed, settles or puts them off.
//!
//! Invariants:
//! - at most `lane_tasks_max` effects in the making, none twice at once;
//! - the handler never waits for the network; attempts are counted in the store;
//! - while a lane's breaker is open only probes are begun; the rest waits in the store, unattempted.
//!
//! Failure: a panicking or hanging performer is a failed attempt. If the process dies during an
//! attempt the effect is still pending and is performed again: at least once.

use crate::breaker::{Breaker, Circuit};
use crate::env::Env;
use crate::metrics;
use crate::ports::{Outcome, Performer};
use bursar_domain::decision::{EffectId, Lane};
use bursar_store::api::{DueEffect, EffectStatus, Inbound, Settle, Settled};
use bursar_store::error::ErrorClass;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Tries to write down how an effect ended before it is left to be performed again.
const CONCLUDE_TRIES: u32 = 8;

/// Messages of a lane.
#[derive(Debug)]
pub(crate) enum LaneMsg {
    /// Look for due effects.
    Hint,
    /// Time passes.
    Tick,
    /// An attempt is over; whether the far side worked, if it showed.
    Ended {
        id: EffectId,
        far_side: Option<bool>,
    },
    /// Close the breaker; answers whether it was not closed.
    Reset(oneshot::Sender<bool>),
    /// Begin nothing more; answer when nothing is in the making.
    Drain(oneshot::Sender<()>),
}

pub(crate) struct LaneActor;

pub(crate) struct LaneArgs {
    pub(crate) env: Arc<Env>,
    pub(crate) lane: Lane,
    pub(crate) performer: Arc<dyn Performer>,
}

pub(crate) struct LaneState {
    args: LaneArgs,
    myself: ActorRef<LaneMsg>,
    in_hand: BTreeSet<EffectId>,
    tasks: JoinSet<()>,
    breaker: Breaker,
    circuit: Circuit,
    draining: bool,
    drained: Vec<oneshot::Sender<()>>,
}

impl Actor for LaneActor {
    type Msg = LaneMsg;
    type State = LaneState;
    type Arguments = LaneArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<LaneMsg>,
        args: LaneArgs,
    ) -> Result<LaneState, ActorProcessingErr> {
        if let Some(cell) = args.env.directory.lanes.get(&args.lane) {
            cell.actor.set(myself.clone());
            cell.seen();
        }
        drop(myself.cast(LaneMsg::Tick));
        metrics::circuit(args.lane, Circuit::Closed, false);
        let now = args.env.clock.now();
        args.env.circuits.show(args.lane, Circuit::Closed, now);
        Ok(LaneState {
            breaker: Breaker::new(args.lane.as_str()),
            circuit: Circuit::Closed,
            args,
            myself,
            in_hand: BTreeSet::new(),
            tasks: JoinSet::new(),
            draining: false,
            drained: Vec::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<LaneMsg>,
        message: LaneMsg,
        state: &mut LaneState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LaneMsg::Hint => {
                if let Some(cell) = state.args.env.directory.lanes.get(&state.args.lane) {
                    cell.seen();
                }
            }
            LaneMsg::Tick => {
                myself.send_after(state.args.env.limits.tick, || LaneMsg::Tick);
            }
            LaneMsg::Ended { id, far_side } => {
                state.in_hand.remove(&id);
                if let Some(ok) = far_side {
                    state.breaker.on(ok, state.args.env.clock.uptime());
                }
            }
            LaneMsg::Reset(reply) => {
                let changed = state.breaker.reset(state.args.env.clock.uptime());
                // Before the answer, so that who asked sees it.
                state.show_circuit();
                let _ = reply.send(changed);
            }
            LaneMsg::Drain(reply) => {
                state.draining = true;
                state.drained.push(reply);
            }
        }
        while state.tasks.try_join_next().is_some() {}
        state.show_circuit();
        state.begin_due().await;
        if state.draining && state.in_hand.is_empty() {
            for reply in state.drained.drain(..) {
                let _ = reply.send(());
            }
        }
        Ok(())
    }
}

impl LaneState {
    fn show_circuit(&mut self) {
        let circuit = self.breaker.circuit(self.args.env.clock.uptime());
        if circuit != self.circuit {
            let lane = self.args.lane;
            tracing::warn!(
                lane = lane.as_str(),
                from = self.circuit.as_str(),
                to = circuit.as_str(),
                "circuit"
            );
            self.circuit = circuit;
            metrics::circuit(lane, circuit, true);
            let env = &self.args.env;
            env.circuits.show(lane, circuit, env.clock.now());
        }
    }

    async fn begin_due(&mut self) {
        let running = self.in_hand.len();
        let room = self.breaker.room(self.args.env.clock.uptime(), running);
        let most = self.args.env.limits.lane_tasks_max;
        let free = most.saturating_sub(running).min(room);
        if self.draining || free == 0 {
            return;
        }
        let env = &self.args.env;
        // Those in hand are still due in the store, so ask for as many more.
        let limit = free + running;
        let lane = self.args.lane;
        let due = match env.store.due_effects(lane, env.clock.now(), limit).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(lane = lane.as_str(), %error, "due effects could not be read");
                return;
            }
        };
        let begin: Vec<_> = due
            .into_iter()
            .filter(|effect| !self.in_hand.contains(&effect.id))
            .take(free)
            .collect();
        for effect in begin {
            self.in_hand.insert(effect.id.clone());
            let ended = Ended {
                lane: self.myself.clone(),
                id: effect.id.clone(),
                far_side: None,
            };
            let env = Arc::clone(&self.args.env);
            let performer = Arc::clone(&self.args.performer);
            self.tasks.spawn(async move {
                let mut ended = ended;
                ended.far_side = attempt(&env, performer, effect).await;
            });
        }
    }
}

/// Reports the end of an attempt however it ended.
struct Ended {
    lane: ActorRef<LaneMsg>,
    id: EffectId,
    far_side: Option<bool>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // A lane that is gone has no list to keep.
        drop(self.lane.cast(LaneMsg::Ended {
            id: self.id.clone(),
            far_side: self.far_side,
        }));
    }
}

/// Makes one attempt and writes down its end; answers whether the far side worked, if it showed.
async fn attempt(env: &Env, performer: Arc<dyn Performer>, effect: DueEffect) -> Option<bool> {
    let began = env.clock.uptime();
    let (outcome, far_side) = if effect.payload.is_none() {
        let note = "its personal data was erased".into();
        (Outcome::Skipped { note }, None)
    } else {
        perform(performer, effect.clone(), env.limits.attempt_max).await
    };
    metrics::attempt(
        effect.lane,
        &outcome,
        env.clock.uptime().saturating_sub(began),
    );
    conclude(env, &effect, outcome).await;
    far_side
}

/// One attempt with a deadline, its panics caught, and whether the far side worked.
async fn perform(
    performer: Arc<dyn Performer>,
    effect: DueEffect,
    within: Duration,
) -> (Outcome, Option<bool>) {
    let mut task = JoinSet::new();
    task.spawn(async move { performer.perform(effect).await });
    let (error, far_side) = match tokio::time::timeout(within, task.join_next()).await {
        Ok(Some(Ok(outcome))) => {
            let far_side = shown_by(&outcome);
            return (outcome, far_side);
        }
        // A defect of ours says nothing about the far side.
        Ok(Some(Err(error))) => (format!("the performer failed: {error}"), None),
        Ok(None) => ("the performer did not run".to_owned(), None),
        Err(_) => (format!("no end after {} s", within.as_secs()), Some(false)),
    };
    let retry = Outcome::Retry {
        after: None,
        error,
        counts: true,
        told: None,
    };
    (retry, far_side)
}

fn shown_by(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::Done { .. } | Outcome::Failed { .. } => Some(true),
        Outcome::Retry { counts: true, .. } => Some(false),
        // Our own key or a limit of ours says nothing about the far side.
        Outcome::Retry { counts: false, .. } | Outcome::Skipped { .. } => None,
    }
}

async fn conclude(env: &Env, effect: &DueEffect, outcome: Outcome) {
    let attempts = effect.attempts.saturating_add(1);
    match outcome {
        Outcome::Done { note, result } => {
            let result = result.map(|result| *result);
            settle(env, effect, EffectStatus::Done, note, result).await;
        }
        Outcome::Skipped { note } => {
            settle(env, effect, EffectStatus::Skipped, note, None).await;
        }
        Outcome::Failed { note } => {
            tracing::error!(
                effect.id = effect.id.0,
                lane = effect.lane.as_str(),
                note,
                "an effect failed"
            );
            settle(env, effect, EffectStatus::Failed, note, None).await;
        }
        Outcome::Retry { error, counts, .. }
            if counts && attempts >= env.limits.effect_retry.attempts_max() =>
        {
            tracing::error!(
                effect.id = effect.id.0,
                lane = effect.lane.as_str(),
                attempts,
                error,
                "an effect is dead"
            );
            let note = format!("gave up after {attempts} attempts: {error}");
            settle(env, effect, EffectStatus::Dead, note, None).await;
        }
        Outcome::Retry {
            after,
            error,
            counts,
            told,
        } => {
            if let Some(told) = told {
                tell(env, effect, *told).await;
            }
            let wait = env
                .limits
                .effect_retry
                .delay_capped(attempts, &effect.id.0)
                .max(after.unwrap_or_default());
            postpone(env, effect, counts, wait, error).await;
        }
    }
}

/// Makes what an attempt has to say durable before it is put off. Said again at the next attempt if it cannot be.
async fn tell(env: &Env, effect: &DueEffect, told: Inbound) {
    match env.store.accept(vec![told]).await {
        Ok(_) => env.directory.wake(vec![effect.aggregate.clone()], None),
        Err(error) => {
            tracing::warn!(effect.id = effect.id.0, %error, "what an attempt told could not be stored");
        }
    }
}

async fn postpone(env: &Env, effect: &DueEffect, counts: bool, wait: Duration, error: String) {
    tracing::info!(
        effect.id = effect.id.0,
        lane = effect.lane.as_str(),
        attempt = effect.attempts,
        wait_ms = wait.as_millis() as u64,
        error,
        "an effect is put off"
    );
    for tries in 1..=CONCLUDE_TRIES {
        let ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let due_at = env.clock.now().plus_ms(ms);
        let put_off = env
            .store
            .postpone(effect.id.clone(), counts, due_at, error.clone())
            .await;
        match put_off {
            Ok(()) => return,
            Err(error) if error.class() == ErrorClass::Retryable => {
                let wait = env.limits.trouble.delay_capped(tries, &effect.id.0);
                tokio::time::sleep(wait).await;
            }
            Err(error) => {
                tracing::error!(effect.id = effect.id.0, %error, "an effect could not be put off");
                return;
            }
        }
    }
}

async fn settle(
    env: &Env,
    effect: &DueEffect,
    status: EffectStatus,
    note: String,
    result: Option<Inbound>,
) {
    let settle = Settle {
        id: effect.id.clone(),
        status,
        note,
        at: env.clock.now(),
        result,
    };
    for tries in 1..=CONCLUDE_TRIES {
        match env.store.settle(settle.clone()).await {
            Ok(Settled::Settled { woken }) => {
                env.directory.wake(woken, None);
                return;
            }
            Ok(Settled::AlreadySettled) => return,
            Err(error) if error.class() == ErrorClass::Retryable => {
                let wait = env.limits.trouble.delay_capped(tries, &effect.id.0);
                tokio::time::sleep(wait).await;
            }
            Err(error) => {
                tracing::error!(effect.id = effect.id.0, %error, "an effect could not be settled");
                return;
            }
        }
    }
    tracing::warn!(
        effect.id = effect.id.0,
        "an effect is performed again: its end could not be written down"
    );
}
