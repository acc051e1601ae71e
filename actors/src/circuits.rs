//! Every circuit breaker of a tree, for those who look at them, are told of them, and close them by hand; and the
//! alarms of actors, which take the same way into the store.
//!
//! Invariants: what is shown is what was acted on last; a lane's breaker is changed by its lane alone, Stripe's circuits
//! by the gate alone. Whoever changes one never waits: lines for the audit trail go into a short queue beside.
//! Failure: a lane that is just being restarted has a closed circuit, so there is nothing to reset. Audit lines that
//! find the queue full, or a store that is away for long, are left out; the log has them.

use crate::breaker::Circuit;
use crate::env::Env;
use crate::gate;
use crate::metrics;
use crate::outbound::LaneMsg;
use crate::retry::RetryPolicy;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{EffectIntent, Lane};
use bursar_domain::effect::{Alert, Effect};
use bursar_domain::ids::{Scope, Timestamp};
use bursar_store::api::{Administer, AuditEntry, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Audit lines that wait for the store.
const QUEUE_MAX: usize = 256;
/// Lines of one commit.
const LINES_MAX: usize = 64;
/// Tries to write lines down.
const TRIES_MAX: u32 = 8;

/// One circuit as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitView {
    /// `stripe`, `stripe:acct_…`, or the lane.
    pub name: String,
    /// The state.
    pub state: Circuit,
    /// Since when.
    pub since: Timestamp,
}

/// A circuit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Its name.
    pub circuit: String,
    /// Its word in metrics.
    pub label: &'static str,
    /// What it was.
    pub from: Circuit,
    /// What it is.
    pub to: Circuit,
    /// In words.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// What waits for the audit trail.
#[derive(Debug)]
pub(crate) enum Line {
    /// A line.
    Of(AuditEntry),
    /// An alert that no aggregate decided: an effect of the installation.
    Alert(Alert, Timestamp),
    /// Answer once all before it is written.
    Flush(oneshot::Sender<()>),
}

/// Tells log, metrics and audit trail of changes; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Announcer {
    lines: mpsc::Sender<Line>,
}

impl Announcer {
    /// An announcer, and the work that writes its lines down.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        patience: RetryPolicy,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (lines, waiting) = mpsc::channel(QUEUE_MAX);
        (Self { lines }, write_lines(store, patience, waiting))
    }

    /// An announcer whose lines a test reads.
    #[cfg(test)]
    pub(crate) fn overheard() -> (Self, mpsc::Receiver<Line>) {
        let (lines, heard) = mpsc::channel(QUEUE_MAX);
        (Self { lines }, heard)
    }

    /// Never waits.
    pub(crate) fn announce(&self, transition: Transition) {
        let Transition {
            circuit,
            label,
            from,
            to,
            why,
            at,
        } = transition;
        let (was, is) = (from.as_str(), to.as_str());
        tracing::warn!(circuit, from = was, to = is, why, "circuit");
        metrics::circuit_changed(label, to);
        let action = match to {
            Circuit::Open => "circuit.opened",
            Circuit::HalfOpen => "circuit.half_open",
            Circuit::Closed => "circuit.closed",
        };
        let line = AuditEntry {
            at,
            actor: "system".to_owned(),
            action: action.to_owned(),
            object_id: circuit,
            tenant: None,
            request_id: String::new(),
            detail: why,
        };
        if let Err(error) = self.lines.try_send(Line::Of(line)) {
            tracing::warn!(%error, "a change of a circuit is not in the audit trail");
        }
    }

    /// Alarms operators of what no aggregate decided; the caller tells each change once. Never waits.
    pub(crate) fn alarm(&self, code: &str, object_id: &str, text: String, at: Timestamp) {
        let alert = Alert {
            code: code.to_owned(),
            tenant: None,
            object_id: object_id.to_owned(),
            text,
        };
        if let Err(error) = self.lines.try_send(Line::Alert(alert, at)) {
            // Not lost without a word: the log has it in any case.
            tracing::error!(alert = code, object.id = object_id, %error, "an alert that nobody is mailed");
        }
    }

    /// Waits until what was announced before is written.
    pub(crate) async fn flush(&self) {
        let (told, heard) = oneshot::channel();
        if self.lines.send(Line::Flush(told)).await.is_ok() {
            // An error: the writer is gone, so nothing is written any more.
            drop(heard.await);
        }
    }
}

async fn write_lines(
    store: Arc<dyn Store>,
    patience: RetryPolicy,
    mut waiting: mpsc::Receiver<Line>,
) {
    let mut taken = Vec::with_capacity(LINES_MAX);
    while waiting.recv_many(&mut taken, LINES_MAX).await > 0 {
        let mut write = Administer::default();
        let mut flushed = Vec::new();
        for line in taken.drain(..) {
            match line {
                Line::Of(entry) => write.audit.push(entry),
                Line::Alert(alert, at) => write.effects.push(alarm_effect(alert, at)),
                Line::Flush(told) => flushed.push(told),
            }
        }
        if write != Administer::default() {
            commit(store.as_ref(), &patience, write).await;
        }
        for told in flushed {
            let _ = told.send(());
        }
    }
}

fn alarm_effect(alert: Alert, at: Timestamp) -> (AggregateKey, EffectIntent) {
    let of = AggregateKey::Installation(Scope::PLATFORM);
    let fact = format!("{}:{}", alert.object_id, at.0);
    let intent = Effect::Alert(alert).intent(&of, &fact, at, None);
    (of, intent)
}

async fn commit(store: &dyn Store, patience: &RetryPolicy, write: Administer) {
    for tries in 1..=TRIES_MAX {
        match store.administer(write.clone()).await {
            Ok(_) => return,
            Err(error) if tries == TRIES_MAX => {
                let (lines, alerts) = (write.audit.len(), write.effects.len());
                tracing::error!(lines, alerts, %error, "changes of circuits are not in the audit trail, alerts not told");
            }
            Err(_) => tokio::time::sleep(patience.delay_capped(tries, "circuits")).await,
        }
    }
}

/// What the lanes say of their own breakers.
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

    /// Stripe's first, then those of accounts that were ever open, then the other lanes'.
    pub fn all(&self) -> Vec<CircuitView> {
        let mut views = self.env.gate.circuits();
        let shown = &self.env.circuits.lanes;
        let lanes = shown.lock().unwrap_or_else(PoisonError::into_inner);
        views.extend(lanes.iter().map(|(lane, (state, since))| CircuitView {
            name: lane.as_str().to_owned(),
            state: *state,
            since: *since,
        }));
        views
    }

    /// Closes a circuit. `false`: it was closed, or there is none of this name.
    pub async fn reset(&self, name: &str) -> bool {
        let lanes = &self.env.directory.lanes;
        let mut own = lanes.iter().filter(|(lane, _)| !gate::LANES.contains(lane));
        if let Some((_, cell)) = own.find(|(lane, _)| lane.as_str() == name) {
            let (told, heard) = oneshot::channel();
            return cell.actor.cast(LaneMsg::Reset(told)) && heard.await.unwrap_or(false);
        }
        let was_open = self.env.gate.reset(name);
        if was_open {
            for lane in gate::LANES {
                self.env.directory.hint_lane(lane);
            }
        }
        was_open
    }
}
