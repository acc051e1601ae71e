//! The root: starts the core actors top to bottom, restarts rest-for-one, ends the process when that
//! does not help.
//!
//! Invariants: what is later uses what is earlier, so an exit restarts the exited one and all after
//! it. Exits we caused are told apart by id and never counted.
//! Failure: more than 5 restarts within 60 s ask for exit code 70.

use crate::clock_actor::ClockActor;
use crate::entities::EntitiesActor;
use crate::env::{Core, EXIT_ESCALATED, Env};
use crate::intake::{Intake, IntakeActor};
use crate::metrics;
use crate::observer::{Health, ObserverActor, ObserverArgs};
use crate::outbound::{OutboundActor, OutboundArgs, Performers};
use crate::policy::{ExitReason, History, RestartPolicy, Verdict, rest_for_one};
use crate::reconcile::{ReconcilerActor, ReconcilerArgs};
use crate::sweeper::SweeperActor;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long a killed sibling may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum RootMsg {
    /// Start what is missing, if nothing else happened since.
    Restart { epoch: u64 },
    /// Restart nothing any more.
    Draining(oneshot::Sender<()>),
}

pub(crate) struct RootActor;

pub(crate) struct RootArgs {
    pub(crate) env: Arc<Env>,
    pub(crate) performers: Arc<Performers>,
    pub(crate) intake: Intake,
    pub(crate) reconciler: ReconcilerArgs,
    pub(crate) health: watch::Sender<Health>,
}

pub(crate) struct RootState {
    args: RootArgs,
    ids: BTreeMap<ActorId, Core>,
    alive: BTreeMap<Core, ActorCell>,
    history: History,
    epoch: u64,
    draining: bool,
}

impl Actor for RootActor {
    type Msg = RootMsg;
    type State = RootState;
    type Arguments = RootArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<RootMsg>,
        args: RootArgs,
    ) -> Result<RootState, ActorProcessingErr> {
        let mut state = RootState {
            args,
            ids: BTreeMap::new(),
            alive: BTreeMap::new(),
            history: History::default(),
            epoch: 0,
            draining: false,
        };
        state.start_missing(&myself).await?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMsg>,
        message: RootMsg,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMsg::Draining(reply) => {
                state.draining = true;
                let _ = reply.send(());
            }
            RootMsg::Restart { epoch } if epoch == state.epoch && !state.draining => {
                if let Err(error) = state.start_missing(&myself).await {
                    tracing::error!(%error, "a core actor could not be started");
                    let missing = Core::ALL
                        .iter()
                        .find(|core| !state.alive.contains_key(core));
                    if let Some(core) = missing {
                        state.exited(&myself, *core, ExitReason::Failed).await;
                    }
                }
            }
            RootMsg::Restart { .. } => {}
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMsg>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let (reason, text) = match &event {
            SupervisionEvent::ActorFailed(_, error) => (ExitReason::Failed, error.to_string()),
            SupervisionEvent::ActorTerminated(_, _, text) => {
                (reason_of(text.as_deref()), text.clone().unwrap_or_default())
            }
            _ => return Ok(()),
        };
        if let Some(core) = event.actor_id().and_then(|id| state.ids.remove(&id))
            && !state.draining
        {
            tracing::error!(
                actor = core.as_str(),
                reason = reason.as_str(),
                text,
                "a core actor ended"
            );
            state.alive.remove(&core);
            state.exited(&myself, core, reason).await;
        }
        Ok(())
    }
}

/// Reads the text ractor gives for an exit.
fn reason_of(text: Option<&str>) -> ExitReason {
    match text {
        Some("killed") => ExitReason::Unresponsive,
        _ => ExitReason::Stopped,
    }
}

impl RootState {
    async fn exited(&mut self, myself: &ActorRef<RootMsg>, core: Core, reason: ExitReason) {
        let now = self.args.env.clock.uptime();
        let policy = RestartPolicy::CORE;
        metrics::restart(core.as_str(), reason);
        match policy.on_exit(&self.history, reason, now) {
            Verdict::Leave => {}
            Verdict::Escalate => {
                let why = format!("{} ended too often within a minute", core.as_str());
                self.args.env.escalate(EXIT_ESCALATED, why);
                self.draining = true;
                myself.stop(Some("escalated".into()));
            }
            Verdict::Restart(after) => {
                self.history.note(now, policy.period);
                self.stop_rest(core).await;
                self.epoch += 1;
                let epoch = self.epoch;
                myself.send_after(after, move || RootMsg::Restart { epoch });
            }
        }
    }

    /// Ends what uses the one that is gone, last first.
    async fn stop_rest(&mut self, core: Core) {
        for later in rest_for_one(&Core::ALL, core).into_iter().rev() {
            let Some(cell) = self.alive.remove(&later) else {
                continue;
            };
            self.ids.remove(&cell.get_id());
            // Killed, not asked: whoever is in the middle of something is safe to repeat it.
            if cell.kill_and_wait(Some(KILL_WAIT)).await.is_err() {
                tracing::warn!(actor = later.as_str(), "a core actor is slow to end");
            }
        }
    }

    async fn start_missing(&mut self, myself: &ActorRef<RootMsg>) -> Result<(), SpawnErr> {
        for core in Core::ALL {
            if self.alive.contains_key(&core) {
                continue;
            }
            let cell = self.start(core, myself.get_cell()).await?;
            self.ids.insert(cell.get_id(), core);
            self.alive.insert(core, cell);
        }
        Ok(())
    }

    async fn start(&self, core: Core, root: ActorCell) -> Result<ActorCell, SpawnErr> {
        let args = &self.args;
        let env = Arc::clone(&args.env);
        Ok(match core {
            Core::Clock => Actor::spawn_linked(None, ClockActor, env, root)
                .await?
                .0
                .get_cell(),
            Core::Entities => Actor::spawn_linked(None, EntitiesActor, env, root)
                .await?
                .0
                .get_cell(),
            Core::Outbound => {
                let performers = Arc::clone(&args.performers);
                let args = OutboundArgs { env, performers };
                Actor::spawn_linked(None, OutboundActor, args, root)
                    .await?
                    .0
                    .get_cell()
            }
            Core::Intake => Actor::spawn_linked(None, IntakeActor, args.intake.clone(), root)
                .await?
                .0
                .get_cell(),
            Core::Sweeper => Actor::spawn_linked(None, SweeperActor, env, root)
                .await?
                .0
                .get_cell(),
            Core::Reconciler => {
                let args = args.reconciler.clone();
                Actor::spawn_linked(None, ReconcilerActor, args, root)
                    .await?
                    .0
                    .get_cell()
            }
            Core::Observer => {
                let args = ObserverArgs {
                    env,
                    intake: args.intake.clone(),
                    health: args.health.clone(),
                };
                Actor::spawn_linked(None, ObserverActor, args, root)
                    .await?
                    .0
                    .get_cell()
            }
        })
    }
}
