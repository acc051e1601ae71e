//! Starts runs, by itself and when asked, one at a time.
//!
//! Invariants: a run is a task beside the mailbox and ends with the actor; whatever ends it, its report
//! ends too.

use super::places::{Places, Sweep};
use super::run::{Run, Work};
use super::{Mode, Order, Report, RunStatus};
use crate::env::{Core, Env};
use crate::intake::Intake;
use crate::metrics;
use crate::ports::StripeRead;
use bursar_domain::ids::{Scope, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Messages of the reconciler.
#[derive(Debug)]
pub(crate) enum ReconcilerMsg {
    /// Somebody asks for a run; `false`: one is under way.
    Start(Order, oneshot::Sender<bool>),
    /// The period passed.
    Tick,
    /// The run of this number came to an end, good or bad.
    Ended(u64),
    /// Show a sign of life.
    Beat,
}

pub(crate) struct ReconcilerActor;

#[derive(Clone)]
pub(crate) struct ReconcilerArgs {
    pub(crate) env: Arc<Env>,
    pub(crate) intake: Intake,
    pub(crate) stripe: Arc<dyn StripeRead>,
    pub(crate) report: Arc<watch::Sender<Report>>,
}

pub(crate) struct ReconcilerState {
    args: ReconcilerArgs,
    runs: JoinSet<()>,
    started: u64,
}

/// Tells the actor whatever way the run's task ends.
struct AtEnd(ActorRef<ReconcilerMsg>, u64);

impl Drop for AtEnd {
    fn drop(&mut self) {
        drop(self.0.cast(ReconcilerMsg::Ended(self.1)));
    }
}

impl Actor for ReconcilerActor {
    type Msg = ReconcilerMsg;
    type State = ReconcilerState;
    type Arguments = ReconcilerArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<ReconcilerMsg>,
        args: ReconcilerArgs,
    ) -> Result<ReconcilerState, ActorProcessingErr> {
        let env = &args.env;
        env.directory.reconciler.set(myself.clone());
        env.alive(Core::Reconciler);
        if let Some(every) = env.limits.reconcile_every {
            myself.send_after(every.min(env.limits.reconcile_first), || {
                ReconcilerMsg::Tick
            });
        }
        let mut state = ReconcilerState {
            args,
            runs: JoinSet::new(),
            started: 0,
        };
        // One whose actor was killed in the middle.
        state.end_report();
        state.remember_success().await;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ReconcilerMsg>,
        message: ReconcilerMsg,
        state: &mut ReconcilerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ReconcilerMsg::Beat => state.args.env.alive(Core::Reconciler),
            ReconcilerMsg::Start(order, reply) => {
                let starts = !state.is_running();
                if starts {
                    state.start(&myself, Work::asked(order));
                }
                let _ = reply.send(starts);
            }
            ReconcilerMsg::Tick => {
                if !state.is_running() {
                    let work = state.due().await;
                    state.start(&myself, work);
                }
                if let Some(every) = state.args.env.limits.reconcile_every {
                    myself.send_after(every, || ReconcilerMsg::Tick);
                }
            }
            ReconcilerMsg::Ended(number) => {
                // The next one may have begun as soon as this one's report was shown as ended.
                if number == state.started {
                    state.end_report();
                }
                while state.runs.try_join_next().is_some() {}
            }
        }
        Ok(())
    }
}

impl ReconcilerState {
    fn is_running(&self) -> bool {
        self.args.report.borrow().status == RunStatus::Running
    }

    fn start(&mut self, myself: &ActorRef<ReconcilerMsg>, work: Work) {
        self.started += 1;
        let args = self.args.clone();
        let run = Run::new(args, work, self.started);
        let at_end = AtEnd(myself.clone(), self.started);
        self.runs.spawn(async move {
            run.finish().await;
            drop(at_end);
        });
    }

    /// What is due by itself: events always, objects once a day.
    async fn due(&self) -> Work {
        let env = &self.args.env;
        let places = Places::of(env.store.as_ref());
        let looked = places.place(Mode::Check, Sweep::Objects, &Scope::PLATFORM);
        let every = i64::try_from(env.limits.reconcile_objects_every.as_secs()).unwrap_or(i64::MAX);
        let now = env.clock.now().seconds();
        let is_due = match looked.await {
            Ok(place) => place
                .synced_to
                .is_none_or(|at| now.saturating_sub(at) >= every),
            Err(_) => false,
        };
        Work::by_itself(is_due)
    }

    /// What the last process looked at counts after a restart, too.
    async fn remember_success(&self) {
        let places = Places::of(self.args.env.store.as_ref());
        let place = places.place(Mode::Repair, Sweep::Events, &Scope::PLATFORM);
        // A store that does not answer: the next run sets it.
        if let Ok(Some(at)) = place.await.map(|place| place.synced_to) {
            metrics::reconcile_succeeded(Timestamp::from_seconds(at));
        }
    }

    /// A run that ended without saying so died.
    fn end_report(&mut self) {
        let now = self.args.env.clock.now();
        let died = self.args.report.send_if_modified(|report| {
            if report.status != RunStatus::Running {
                return false;
            }
            report.status = RunStatus::Failed;
            report.finished_at = Some(now.rfc3339());
            report.failed(
                &Scope::PLATFORM,
                "run",
                "the run ended in the middle".into(),
            );
            true
        });
        if died {
            metrics::reconcile_failed();
        }
    }
}
