//! Recovery against Stripe: events that never came, objects whose state here is not Stripe's, and the
//! first filling of an empty store.
//!
//! What is found goes in as a delivery or a re-read would have: through the intake, under a dedup key
//! of its own, decided by the same reducers. Nothing here writes a row.
//!
//! Invariants: one run at a time; a check changes nothing but its own places and report; every run is
//! bounded in pages and the next one goes on where it ended; asking again is always safe.
//! Not here: how Stripe is asked (the port), how fast (who gives the port), what is shown (the edge).
//! Failure: a Stripe or store that fails ends the run with a report that says so.
//! Source: Stripe API reference, "Events" (30 days), "Pagination"; reliability notes b.5.

mod actor;
mod events;
mod objects;
mod places;
mod reads;
mod report;
mod run;

pub use report::{Counts, Drift, EVENT, Mode, Report, RunStatus, Trouble, Window};

pub(crate) use actor::{ReconcilerActor, ReconcilerArgs, ReconcilerMsg};

use crate::env::Env;
use bursar_domain::ids::Timestamp;
use bursar_domain::rows::RowKind;
use bursar_store::error::StoreError;
use places::Places;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is done about what is found.
    pub mode: Mode,
    /// Look back until then; `None`: until where the last one looked.
    pub since: Option<Timestamp>,
}

/// Why no run was started.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// Another one runs.
    #[error("a reconciliation is running")]
    Running,
    /// An import needs a store without billing rows.
    #[error("the store holds {0} billing rows; an import fills an empty one only")]
    NotEmpty(u64),
    /// Just being restarted, or ending.
    #[error("the reconciler is not there; ask again")]
    Away,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reconciler of a tree; cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    env: Arc<Env>,
    report: watch::Receiver<Report>,
}

impl Reconciler {
    pub(crate) const fn new(env: Arc<Env>, report: watch::Receiver<Report>) -> Self {
        Self { env, report }
    }

    /// Starts a run; what it answers follows the run's report to its end.
    /// # Errors: see [`NotStarted`].
    pub async fn start(&self, order: Order) -> Result<watch::Receiver<Report>, NotStarted> {
        if order.mode == Mode::Import {
            self.refuse_a_second_filling().await?;
        }
        let (told, heard) = oneshot::channel();
        let message = ReconcilerMsg::Start(order, told);
        if !self.env.directory.reconciler.cast(message) {
            return Err(NotStarted::Away);
        }
        match heard.await {
            Ok(true) => Ok(self.report.clone()),
            Ok(false) => Err(NotStarted::Running),
            Err(_) => Err(NotStarted::Away),
        }
    }

    async fn refuse_a_second_filling(&self) -> Result<(), NotStarted> {
        let store = self.env.store.as_ref();
        if Places::of(store).importing().await?.is_some() {
            // It goes on where it ended.
            return Ok(());
        }
        let rows = store.stats().await?.rows;
        let billing = rows.iter().filter(|(kind, ..)| *kind != RowKind::Tenant);
        match billing.map(|(.., count)| count).sum() {
            0 => Ok(()),
            count => Err(NotStarted::NotEmpty(count)),
        }
    }

    /// The report of the run under way, else of the last one.
    /// # Errors: the store cannot be read.
    pub async fn report(&self) -> Result<Report, StoreError> {
        let present = self.report.borrow().clone();
        if present.status != RunStatus::None {
            return Ok(present);
        }
        let kept = Places::of(self.env.store.as_ref()).report().await?;
        Ok(kept.unwrap_or(present))
    }
}
