//! Finds the work nobody was told about: at start, every few seconds, for ever.
//!
//! Recovery after a crash is this same sweep. Hints may be lost anywhere; what is pending in the
//! store is found here.
//!
//! Invariants: idempotent; bounded pages per sweep, the next one goes on where it ended.

use crate::env::{Core, Env};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Lane;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;

/// Messages of the sweeper.
#[derive(Debug)]
pub(crate) enum SweeperMsg {
    /// Sweep, and again after the period.
    Tick,
    /// Show a sign of life.
    Beat,
}

pub(crate) struct SweeperActor;

pub(crate) struct SweeperState {
    env: Arc<Env>,
    cursor: Option<AggregateKey>,
}

impl Actor for SweeperActor {
    type Msg = SweeperMsg;
    type State = SweeperState;
    type Arguments = Arc<Env>;

    async fn pre_start(
        &self,
        myself: ActorRef<SweeperMsg>,
        env: Arc<Env>,
    ) -> Result<SweeperState, ActorProcessingErr> {
        env.directory.sweeper.set(myself.clone());
        env.alive(Core::Sweeper);
        drop(myself.cast(SweeperMsg::Tick));
        Ok(SweeperState { env, cursor: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<SweeperMsg>,
        message: SweeperMsg,
        state: &mut SweeperState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SweeperMsg::Beat => state.env.alive(Core::Sweeper),
            SweeperMsg::Tick => {
                state.sweep().await;
                let every = state.env.limits.sweep_every;
                myself.send_after(every, || SweeperMsg::Tick);
            }
        }
        Ok(())
    }
}

impl SweeperState {
    async fn sweep(&mut self) {
        bursar_domain::mutant!("M6", return);
        for lane in Lane::ALL {
            self.env.directory.hint_lane(lane);
        }
        let page = self.env.limits.sweep_page;
        for _ in 0..self.env.limits.sweep_pages_max {
            let keys = match self.env.store.ready(self.cursor.clone(), page).await {
                Ok(keys) => keys,
                Err(error) => {
                    tracing::warn!(%error, "the store could not be swept");
                    return;
                }
            };
            let last = keys.len() < page;
            self.cursor = if last { None } else { keys.last().cloned() };
            self.env.directory.wake(keys, None);
            self.env.alive(Core::Sweeper);
            if last {
                return;
            }
        }
    }
}
