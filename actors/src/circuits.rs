//! The lanes' circuit breakers, for those who look at them and close them by hand.
//!
//! Invariants: what is shown is what the lane acted on last; only the lane changes its breaker.
//! Failure: a lane that is just being restarted has a closed circuit, so there is nothing to reset.

use crate::breaker::Circuit;
use crate::env::Env;
use crate::outbound::LaneMsg;
use bursar_domain::decision::Lane;
use bursar_domain::ids::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// One lane's breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitView {
    /// Whose.
    pub lane: Lane,
    /// The state.
    pub state: Circuit,
    /// Since when.
    pub since: Timestamp,
}

/// What the lanes say of their breakers.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    lanes: Mutex<BTreeMap<Lane, (Circuit, Timestamp)>>,
}

impl Shown {
    pub(crate) fn show(&self, lane: Lane, state: Circuit, since: Timestamp) {
        self.lanes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(lane, (state, since));
    }
}

/// The breakers of a tree; cheap to clone.
#[derive(Clone)]
pub struct Circuits {
    env: Arc<Env>,
}

impl Circuits {
    pub(crate) fn new(env: Arc<Env>) -> Self {
        Self { env }
    }

    /// Every lane's, in the order of the lanes.
    pub fn all(&self) -> Vec<CircuitView> {
        let shown = &self.env.circuits.lanes;
        let lanes = shown.lock().unwrap_or_else(PoisonError::into_inner);
        lanes
            .iter()
            .map(|(lane, (state, since))| CircuitView {
                lane: *lane,
                state: *state,
                since: *since,
            })
            .collect()
    }

    /// Closes a lane's circuit. `false`: it was closed.
    pub async fn reset(&self, lane: Lane) -> bool {
        let Some(cell) = self.env.directory.lanes.get(&lane) else {
            return false;
        };
        let (told, heard) = oneshot::channel();
        cell.actor.cast(LaneMsg::Reset(told)) && heard.await.unwrap_or(false)
    }
}
