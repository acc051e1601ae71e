//! Outbound: one lane actor per kind of effect, one supervisor over them.
//!
//! Invariants: an effect leaves the process only after the commit that holds it; a lane without a
//! performer settles its effects as `skipped`, so nothing waits for ever for code that is not there.
//! Failure: one-for-one; a lane that cannot be kept alive stops this supervisor, whose own restarts
//! the root counts.

pub mod alert;
pub mod gated_read;
mod lane;
pub mod skipped;
pub mod stripe_call;
pub mod stripe_read;

pub(crate) use lane::LaneMsg;

use crate::env::{Core, Env};
use crate::metrics;
use crate::policy::{ExitReason, History, RestartPolicy, Verdict};
use crate::ports::Performer;
use bursar_domain::decision::Lane;
use lane::{LaneActor, LaneArgs};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use skipped::NoPerformer;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Who performs which lane; lanes not named settle as `skipped`.
pub type Performers = BTreeMap<Lane, Arc<dyn Performer>>;

/// Messages of the supervisor of the lanes.
#[derive(Debug)]
pub(crate) enum OutboundMsg {
    /// Start this lane again.
    Restart(Lane),
    /// Begin nothing more; answer when nothing is in the making.
    Drain(oneshot::Sender<()>),
    /// Show a sign of life.
    Beat,
}

pub(crate) struct OutboundActor;

pub(crate) struct OutboundArgs {
    pub(crate) env: Arc<Env>,
    pub(crate) performers: Arc<Performers>,
}

pub(crate) struct OutboundState {
    args: OutboundArgs,
    lanes: BTreeMap<ActorId, Lane>,
    histories: BTreeMap<Lane, History>,
    draining: bool,
}

impl Actor for OutboundActor {
    type Msg = OutboundMsg;
    type State = OutboundState;
    type Arguments = OutboundArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<OutboundMsg>,
        args: OutboundArgs,
    ) -> Result<OutboundState, ActorProcessingErr> {
        args.env.directory.outbound.set(myself.clone());
        args.env.alive(Core::Outbound);
        let mut state = OutboundState {
            args,
            lanes: BTreeMap::new(),
            histories: BTreeMap::new(),
            draining: false,
        };
        for lane in Lane::ALL {
            state.start(&myself, lane).await;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<OutboundMsg>,
        message: OutboundMsg,
        state: &mut OutboundState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            OutboundMsg::Beat => state.args.env.alive(Core::Outbound),
            OutboundMsg::Restart(lane) if !state.draining => state.start(&myself, lane).await,
            OutboundMsg::Restart(_) => {}
            OutboundMsg::Drain(reply) => state.drain(reply),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<OutboundMsg>,
        event: SupervisionEvent,
        state: &mut OutboundState,
    ) -> Result<(), ActorProcessingErr> {
        let reason = match &event {
            SupervisionEvent::ActorFailed(_, error) => {
                tracing::error!(%error, "a lane failed");
                ExitReason::Failed
            }
            SupervisionEvent::ActorTerminated(..) => ExitReason::Stopped,
            _ => return Ok(()),
        };
        if let Some(lane) = event.actor_id().and_then(|id| state.lanes.remove(&id))
            && !state.draining
        {
            state.exited(&myself, lane, reason);
        }
        Ok(())
    }
}

impl OutboundState {
    async fn start(&mut self, myself: &ActorRef<OutboundMsg>, lane: Lane) {
        let performer = self
            .args
            .performers
            .get(&lane)
            .map_or_else(|| Arc::new(NoPerformer) as Arc<dyn Performer>, Arc::clone);
        let args = LaneArgs {
            env: Arc::clone(&self.args.env),
            lane,
            performer,
        };
        match Actor::spawn_linked(None, LaneActor, args, myself.get_cell()).await {
            Ok((actor, _)) => {
                self.lanes.insert(actor.get_id(), lane);
            }
            Err(error) => {
                tracing::error!(lane = lane.as_str(), %error, "a lane could not be started");
                self.exited(myself, lane, ExitReason::Failed);
            }
        }
    }

    fn exited(&mut self, myself: &ActorRef<OutboundMsg>, lane: Lane, reason: ExitReason) {
        let now = self.args.env.clock.uptime();
        let policy = RestartPolicy::CORE;
        let history = self.histories.entry(lane).or_default();
        metrics::restart("lane", reason);
        match policy.on_exit(history, reason, now) {
            Verdict::Restart(after) => {
                history.note(now, policy.period);
                myself.send_after(after, move || OutboundMsg::Restart(lane));
            }
            Verdict::Escalate => myself.stop(Some(format!("lane {} escalated", lane.as_str()))),
            Verdict::Leave => {}
        }
    }

    fn drain(&mut self, reply: oneshot::Sender<()>) {
        self.draining = true;
        let mut waits = Vec::new();
        for cell in self.args.env.directory.lanes.values() {
            let (done, wait) = oneshot::channel();
            if cell.actor.cast(LaneMsg::Drain(done)) {
                waits.push(wait);
            }
        }
        // Not awaited here: the supervisor keeps answering.
        tokio::spawn(async move {
            for wait in waits {
                // An error is a lane that died meanwhile: nothing of it is in the making.
                drop(wait.await);
            }
            let _ = reply.send(());
        });
    }
}
