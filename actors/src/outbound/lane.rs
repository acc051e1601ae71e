//! The shell every lane shares: takes due effects, has them performed, settles or puts them off.
//!
//! Invariants:
//! - at most `lane_tasks_max` effects in the making, none twice at once;
//! - the handler never waits for the network; attempts are counted in the store;
//! - while the circuit is open only probes are begun; the rest waits in the store, unattempted. Lanes to Stripe share
//!   the gate's circuit, each other has a breaker of its own;
//! - what its performer calls overdue ends without an attempt, also while the circuit is open.
//!
//! Failure: a panicking or hanging performer is a failed attempt. If the process dies during an
//! attempt the effect is still pending and is performed again: at least once.

use crate::breaker::{Breaker, Circuit};
use crate::circuits::Transition;
use crate::env::Env;
use crate::gate::{self, Gate};
use crate::metrics;
use crate::ports::{Outcome, Performer};
use bursar_domain::decision::{EffectId, Lane};
use bursar_store::api::{DueEffect, EffectStatus, Inbound, Settle, Settled};
use bursar_store::error::ErrorClass;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Tries to write down how an effect ended before it is left to be performed again.
const CONCLUDE_TRIES: u32 = 8;
/// Due effects looked through for overdue ones while the circuit is open.
const OVERDUE_PAGE: usize = 256;
/// How often that is done.
const OVERDUE_EVERY: Duration = Duration::from_secs(1);
/// A put-off shorter than this wakes the lane at its time; longer ones wait for the next tick after it.
const WAKE_MAX: Duration = Duration::from_secs(5);

/// Shortest put-off: each costs a commit.
const WAIT_MIN: Duration = Duration::from_millis(20);

/// What the far side showed: it worked, or it failed and how.
type Shown = Result<(), String>;

/// Messages of a lane.
#[derive(Debug)]
pub(crate) enum LaneMsg {
    /// Look for due effects.
    Hint,
    /// Time passes.
    Tick,
    /// An attempt is over; what the far side showed, if anything, and how long the effect was put off, if it was.
    Ended {
        id: EffectId,
        far_side: Option<Shown>,
        put_off: Option<Duration>,
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
    circuit: Guard,
    overdue_next: Duration,
    draining: bool,
    drained: Vec<oneshot::Sender<()>>,
}

/// Whose circuit a lane obeys.
enum Guard {
    /// Its own.
    Own {
        breaker: Breaker,
        shown: Circuit,
        last_failure: String,
    },
    /// Stripe's.
    Gate(Arc<Gate>),
}

impl Guard {
    fn of(lane: Lane, env: &Env) -> Self {
        if gate::LANES.contains(&lane) {
            return Self::Gate(Arc::clone(&env.gate));
        }
        env.circuits.show(lane, Circuit::Closed, env.clock.now());
        metrics::circuit_state(lane.as_str(), Circuit::Closed);
        Self::Own {
            breaker: Breaker::new(lane.as_str()),
            shown: Circuit::Closed,
            last_failure: String::new(),
        }
    }

    fn room(&mut self, now: Duration, running: usize) -> usize {
        match self {
            Self::Own { breaker, .. } => breaker.room(now, running),
            Self::Gate(gate) => gate.room(),
        }
    }

    fn on(&mut self, far_side: Shown, now: Duration) {
        // The gate hears of ends from the performers.
        if let Self::Own {
            breaker,
            last_failure,
            ..
        } = self
        {
            breaker.on(far_side.is_ok(), now);
            if let Err(why) = far_side {
                *last_failure = why;
            }
        }
    }

    fn reset(&mut self, now: Duration) -> bool {
        match self {
            Self::Own { breaker, .. } => breaker.reset(now),
            Self::Gate(gate) => gate.reset(gate::HOST),
        }
    }

    /// Tells of a change since it was last asked; `by_hand`: of this one.
    fn show(&mut self, lane: Lane, env: &Env, by_hand: bool) {
        let Self::Own {
            breaker,
            shown,
            last_failure,
        } = self
        else {
            return;
        };
        let circuit = breaker.circuit(env.clock.uptime());
        if circuit == *shown {
            return;
        }
        let why = match circuit {
            _ if by_hand => "closed by hand".to_owned(),
            Circuit::Open => last_failure.clone(),
            Circuit::HalfOpen => "one attempt at a time is made".to_owned(),
            Circuit::Closed => "attempts work again".to_owned(),
        };
        let from = std::mem::replace(shown, circuit);
        let at = env.clock.now();
        env.circuits.show(lane, circuit, at);
        metrics::circuit_state(lane.as_str(), circuit);
        env.announcer.announce(Transition {
            circuit: lane.as_str().to_owned(),
            label: lane.as_str(),
            from,
            to: circuit,
            why,
            at,
        });
    }
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
        Ok(LaneState {
            circuit: Guard::of(args.lane, &args.env),
            overdue_next: Duration::ZERO,
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
        let is_end = matches!(message, LaneMsg::Ended { .. });
        match message {
            LaneMsg::Hint => {
                if let Some(cell) = state.args.env.directory.lanes.get(&state.args.lane) {
                    cell.seen();
                }
            }
            LaneMsg::Tick => {
                myself.send_after(state.args.env.limits.tick, || LaneMsg::Tick);
            }
            LaneMsg::Ended {
                id,
                far_side,
                put_off,
            } => {
                state.in_hand.remove(&id);
                if let Some(far_side) = far_side {
                    state.circuit.on(far_side, state.args.env.clock.uptime());
                }
                if let Some(wait) = put_off.filter(|wait| *wait <= WAKE_MAX) {
                    myself.send_after(wait, || LaneMsg::Hint);
                }
            }
            LaneMsg::Reset(reply) => {
                let changed = state.circuit.reset(state.args.env.clock.uptime());
                // Before the answer, so that who asked sees it.
                state.show_circuit(changed);
                let _ = reply.send(changed);
            }
            LaneMsg::Drain(reply) => {
                state.draining = true;
                state.drained.push(reply);
            }
        }
        while state.tasks.try_join_next().is_some() {}
        state.show_circuit(false);
        // Each look reads what is in hand again. Further ends, hints and ticks come.
        let enough = state.args.env.limits.tasks_enough(state.args.lane);
        if !is_end || state.in_hand.len() <= enough {
            state.begin_due().await;
        }
        if state.draining && state.in_hand.is_empty() {
            for reply in state.drained.drain(..) {
                let _ = reply.send(());
            }
        }
        Ok(())
    }
}

impl LaneState {
    fn show_circuit(&mut self, by_hand: bool) {
        self.circuit.show(self.args.lane, &self.args.env, by_hand);
    }

    async fn begin_due(&mut self) {
        let running = self.in_hand.len();
        let most = self.args.env.limits.tasks_of(self.args.lane);
        if self.draining || running >= most {
            return;
        }
        let now = self.args.env.clock.uptime();
        let mut room = self.circuit.room(now, running);
        // Those in hand are still due in the store, so ask for as many more.
        let limit = if room > 0 {
            most
        } else if now >= self.overdue_next {
            self.overdue_next = now.saturating_add(OVERDUE_EVERY);
            OVERDUE_PAGE
        } else {
            return;
        };
        for effect in self.due(limit).await {
            if self.in_hand.len() >= most {
                return;
            }
            if self.in_hand.contains(&effect.id) {
                continue;
            }
            match overdue(self.args.performer.as_ref(), &effect) {
                Some(outcome) => self.begin(effect, Work::Conclude(outcome)),
                None if room > 0 => {
                    room -= 1;
                    self.begin(effect, Work::Attempt);
                }
                None => {}
            }
        }
    }

    async fn due(&self, limit: usize) -> Vec<DueEffect> {
        let (env, lane) = (&self.args.env, self.args.lane);
        match env.store.due_effects(lane, env.clock.now(), limit).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(lane = lane.as_str(), %error, "due effects could not be read");
                Vec::new()
            }
        }
    }

    fn begin(&mut self, effect: DueEffect, work: Work) {
        self.in_hand.insert(effect.id.clone());
        let ended = Ended {
            lane: self.myself.clone(),
            id: effect.id.clone(),
            far_side: None,
            put_off: None,
        };
        let env = Arc::clone(&self.args.env);
        let performer = Arc::clone(&self.args.performer);
        self.tasks.spawn(async move {
            // Moved in as a whole, so that it reports when the task ends.
            let mut ended = ended;
            match work {
                Work::Attempt => {
                    (ended.far_side, ended.put_off) = attempt(&env, performer, effect).await;
                }
                Work::Conclude(outcome) => {
                    ended.put_off = conclude(&env, &effect, outcome, None).await;
                }
            }
        });
    }
}

/// What is done with a due effect.
enum Work {
    /// It is attempted.
    Attempt,
    /// It ends so, without an attempt.
    Conclude(Outcome),
}

/// Asks whether an effect's time is over. A defect there must not take the lane: then it is attempted.
fn overdue(performer: &dyn Performer, effect: &DueEffect) -> Option<Outcome> {
    let asked = catch_unwind(AssertUnwindSafe(|| performer.overdue(effect)));
    asked.unwrap_or_else(|_| {
        let id = effect.id.0.as_str();
        tracing::error!(
            effect.id = id,
            "the performer failed to say whether this is overdue"
        );
        None
    })
}

/// Reports the end of an attempt however it ended.
struct Ended {
    lane: ActorRef<LaneMsg>,
    id: EffectId,
    far_side: Option<Shown>,
    put_off: Option<Duration>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // A lane that is gone has no list to keep.
        drop(self.lane.cast(LaneMsg::Ended {
            id: self.id.clone(),
            far_side: self.far_side.take(),
            put_off: self.put_off,
        }));
    }
}

/// Makes one attempt and writes down its end; answers what the far side showed, and how long it is put off.
async fn attempt(
    env: &Env,
    performer: Arc<dyn Performer>,
    effect: DueEffect,
) -> (Option<Shown>, Option<Duration>) {
    let began = env.clock.uptime();
    bursar_domain::step!("KW10");
    let (outcome, far_side) = if effect.payload.is_none() {
        let note = "its personal data was erased".into();
        (Outcome::Skipped { note }, None)
    } else {
        let performer = Arc::clone(&performer);
        perform(performer, effect.clone(), env.limits.attempt_max).await
    };
    metrics::attempt(
        effect.lane,
        &outcome,
        env.clock.uptime().saturating_sub(began),
    );
    bursar_domain::step!("KW12");
    let most = match &outcome {
        Outcome::Retry { .. } => performer.put_off_max(&effect),
        _ => None,
    };
    let put_off = conclude(env, &effect, outcome, most).await;
    (far_side, put_off)
}

/// One attempt with a deadline, its panics caught, and what the far side showed.
async fn perform(
    performer: Arc<dyn Performer>,
    effect: DueEffect,
    within: Duration,
) -> (Outcome, Option<Shown>) {
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
        Err(_) => {
            let error = format!("no end after {} s", within.as_secs());
            (error.clone(), Some(Err(error)))
        }
    };
    let retry = Outcome::Retry {
        after: None,
        error,
        counts: true,
        of_one: false,
        told: None,
    };
    (retry, far_side)
}

fn shown_by(outcome: &Outcome) -> Option<Shown> {
    match outcome {
        Outcome::Done { .. } | Outcome::Failed { .. } => Some(Ok(())),
        Outcome::Retry {
            counts: true,
            of_one: false,
            error,
            ..
        } => Some(Err(error.clone())),
        // Our own key, a limit of ours, or one full mailbox says nothing about the far side.
        Outcome::Retry { .. } | Outcome::Skipped { .. } => None,
    }
}

/// Writes down how an effect ended, or that it is put off: then for how long, at most `most`.
async fn conclude(
    env: &Env,
    effect: &DueEffect,
    outcome: Outcome,
    most: Option<Duration>,
) -> Option<Duration> {
    let attempts = effect.attempts.saturating_add(1);
    let retry = env.limits.retry_of(effect.lane);
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
            alarm(env, effect, &note);
            settle(env, effect, EffectStatus::Failed, note, None).await;
        }
        Outcome::Retry { error, counts, .. } if counts && attempts >= retry.attempts_max() => {
            tracing::error!(
                effect.id = effect.id.0,
                lane = effect.lane.as_str(),
                attempts,
                error,
                "an effect is dead"
            );
            let note = format!("gave up after {attempts} attempts: {error}");
            alarm(env, effect, &note);
            settle(env, effect, EffectStatus::Dead, note, None).await;
        }
        Outcome::Retry {
            after,
            error,
            counts,
            told,
            ..
        } => {
            if let Some(told) = told {
                tell(env, effect, *told).await;
            }
            let own = retry.delay_capped(attempts, &effect.id.0);
            let wait = match after {
                // Whoever was not let through knows when to come back.
                Some(after) if !counts => after,
                after => own.max(after.unwrap_or_default()),
            };
            let wait = wait.min(most.unwrap_or(wait)).max(WAIT_MIN);
            postpone(env, effect, counts, wait, error).await;
            return Some(wait);
        }
    }
    None
}

/// Tells operators of a mail that was given up; not of the mails that tell them.
fn alarm(env: &Env, effect: &DueEffect, note: &str) {
    if effect.lane == Lane::Mail && effect.kind != "mail.alerts" {
        let text = format!("{}: {note}", effect.kind);
        let at = env.clock.now();
        env.announcer.alarm("mail_dead", &effect.id.0, text, at);
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
                bursar_domain::step!("KW13");
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
