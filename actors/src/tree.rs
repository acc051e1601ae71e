//! The whole tree: started top to bottom, drained leaves first.
//!
//! Invariants: no names and no globals, so any number of trees live in one process; a drain relies on
//! no `post_stop`, each level is asked and answers. Dropping a tree without draining it is a crash,
//! and crashes are safe: the next start sweeps up.

use crate::boot::Boot;
use crate::circuits::{Announcer, Circuits, Shown};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::entities::EntitiesMsg;
use crate::env::{Beats, Core, Env, Exit, Gauges};
use crate::gate::{self, Gate};
use crate::intake::Intake;
use crate::limits::Limits;
use crate::observer::{Health, ObserverMsg};
use crate::outbound::alert::LogAlerts;
use crate::outbound::gated_read::GatedRead;
use crate::outbound::stripe_call::StripeCalls;
use crate::outbound::stripe_read::StripeReads;
use crate::outbound::{OutboundMsg, Performers};
use crate::ports::{Reducer, StripeRead, StripeWrite};
use crate::reconcile::{Reconciler, ReconcilerArgs, Report};
use crate::root::{RootActor, RootArgs, RootMsg};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Lane;
use bursar_domain::settings::Settings;
use bursar_store::api::Store;
use bursar_store::error::{ErrorClass, StoreError};
use ractor::{Actor, ActorCell, ActorRef};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a tree is made of.
pub struct Deps {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The pure core.
    pub reducer: Arc<dyn Reducer>,
    /// GETs at Stripe.
    pub stripe_read: Arc<dyn StripeRead>,
    /// Takes orders; without it their lanes settle as skipped.
    pub stripe_write: Option<Arc<dyn StripeWrite>>,
    /// What reducers may know.
    pub settings: Arc<Settings>,
    /// Bounds.
    pub limits: Limits,
    /// Performers beside the built-in ones for `stripe_read` and `alert`, which they may replace.
    pub performers: Performers,
}

/// Why a tree did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store did not take the start's record.
    #[error("the store refused the start: {0}")]
    Store(#[from] StoreError),
    /// An actor did not start.
    #[error("an actor did not start: {0}")]
    Actor(String),
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Stages that did not end in time; nothing is lost, the next start goes on.
    pub unfinished: Vec<&'static str>,
    /// Why the store did not end cleanly, if it failed. What was acknowledged was durable before.
    pub failed: Option<String>,
}

/// A running tree.
pub struct Tree {
    env: Arc<Env>,
    root: ActorRef<RootMsg>,
    intake: Intake,
    health: watch::Receiver<Health>,
    reconciler: Reconciler,
    settling: JoinHandle<()>,
    auditing: JoinHandle<()>,
}

impl Tree {
    /// Starts everything. # Errors: the store refuses the start's record, or an actor fails to start.
    pub async fn start(deps: Deps) -> Result<Self, StartError> {
        let boot = Boot::begin(deps.store.as_ref(), deps.limits.boot_suspicion).await?;
        let mut performers: Performers = Performers::new();
        let patience = deps.limits.trouble.clone();
        let (announcer, audit) = Announcer::new(Arc::clone(&deps.store), patience);
        let gate = Arc::new(Gate::new(
            Arc::clone(&deps.clock),
            deps.limits
                .stripe_requests_per_second
                .unwrap_or_else(|| gate::requests_per_second(deps.settings.livemode)),
            announcer.clone(),
        ));
        let reads = StripeReads::new(
            Arc::clone(&deps.stripe_read),
            Arc::clone(&deps.reducer),
            Arc::clone(&deps.clock),
            Arc::clone(&gate),
        );
        performers.insert(Lane::StripeRead, Arc::new(reads));
        if let Some(write) = deps.stripe_write {
            let calls = StripeCalls::new(write, Arc::clone(&deps.clock), Arc::clone(&gate));
            let calls = Arc::new(calls);
            for lane in [Lane::Stripe, Lane::StripeRefund, Lane::StripeBackground] {
                performers.insert(lane, calls.clone());
            }
        }
        performers.insert(Lane::Alert, Arc::new(LogAlerts));
        performers.extend(deps.performers);
        let is_idle = |lane: &Lane| !performers.contains_key(lane);
        let skipped_lanes = Lane::ALL.into_iter().filter(is_idle).collect();
        let env = Arc::new(Env {
            store: deps.store,
            clock: deps.clock,
            reducer: deps.reducer,
            skipped_lanes,
            hushed: AtomicBool::new(false),
            settings_fingerprint: deps.settings.fingerprint(),
            settings: deps.settings,
            directory: Directory::new(deps.limits.woken_max),
            limits: deps.limits,
            boot,
            beats: Beats::default(),
            gauges: Gauges::default(),
            circuits: Shown::default(),
            announcer,
            gate,
            exit: watch::Sender::new(None),
        });
        let intake = Intake::new(Arc::clone(&env));
        let (health_sender, health) = watch::channel(Health::default());
        let (report, reported) = watch::channel(Report::none());
        let reconciler = ReconcilerArgs {
            env: Arc::clone(&env),
            intake: intake.clone(),
            stripe: Arc::new(GatedRead::new(
                deps.stripe_read,
                Arc::clone(&env.gate),
                Lane::StripeBackground,
            )),
            report: Arc::new(report),
        };
        let args = RootArgs {
            env: Arc::clone(&env),
            performers: Arc::new(performers),
            intake: intake.clone(),
            reconciler,
            health: health_sender,
        };
        let (root, _) = Actor::spawn(None, RootActor, args)
            .await
            .map_err(|error| StartError::Actor(error.to_string()))?;
        let settling = tokio::spawn(settle_later(Arc::clone(&env)));
        let auditing = tokio::spawn(audit);
        Ok(Self {
            reconciler: Reconciler::new(Arc::clone(&env), reported),
            env,
            root,
            intake,
            health,
            settling,
            auditing,
        })
    }

    /// The way in for deliveries.
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// A handle that wakes aggregates after a commit made elsewhere (orders, replays).
    pub fn waker(&self) -> Waker {
        Waker {
            env: Arc::clone(&self.env),
        }
    }

    /// Health, as it changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// What every request to Stripe passes.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.env.gate)
    }

    /// Who compares with Stripe.
    pub fn reconciler(&self) -> Reconciler {
        self.reconciler.clone()
    }

    /// Every circuit breaker.
    pub fn circuits(&self) -> Circuits {
        Circuits::new(Arc::clone(&self.env))
    }

    /// Set once the process must end.
    pub fn exit(&self) -> watch::Receiver<Option<Exit>> {
        self.env.exit.subscribe()
    }

    /// For what finds outside the tree that the process must end.
    pub fn ender(&self) -> Ender {
        Ender(Arc::clone(&self.env))
    }

    /// Aggregates set aside at present.
    pub fn quarantined(&self) -> u64 {
        self.env.gauges.quarantined.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn figure(&self, of: impl Fn(&Gauges) -> &std::sync::atomic::AtomicU64) -> u64 {
        of(&self.env.gauges).load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn children(&self) -> usize {
        self.root.get_cell().get_children().len()
    }

    #[cfg(test)]
    pub(crate) fn identity(&self, core: Core) -> Option<ractor::ActorId> {
        Some(self.env.directory.core(core)?.get_id())
    }

    #[cfg(test)]
    pub(crate) fn kill(&self, core: Core) {
        if let Some(cell) = self.env.directory.core(core) {
            cell.kill();
        }
    }

    /// Ends everything, leaves first, within this time: refuse deliveries, finish those in hand, end
    /// the turns, end the attempts, close the store. What is not done in time is done after the next
    /// start.
    pub async fn drain(self, within: Duration) -> Drained {
        let mut stages = Stages {
            deadline: Instant::now() + within,
            unfinished: Vec::new(),
            failed: None,
        };
        let directory = &self.env.directory;
        let (told, heard) = oneshot::channel();
        drop(self.root.cast(RootMsg::Draining(told)));
        stages.run("root", 1, heard).await;
        directory.observer.cast(ObserverMsg::Draining);
        stages.run("intake", 2, self.intake.close()).await;
        let timers = async {
            end(directory.core(Core::Reconciler)).await;
            end(directory.core(Core::Sweeper)).await;
            end(directory.core(Core::Clock)).await;
        };
        stages.run("clock", 1, timers).await;
        let (done, entities) = oneshot::channel();
        directory.entities.cast(EntitiesMsg::Drain(done));
        stages.run("entities", 2, entities).await;
        let (done, lanes) = oneshot::channel();
        directory.outbound.cast(OutboundMsg::Drain(done));
        if !stages.ends(3, lanes).await {
            // Nothing is unfinished by it: each attempt was written down before its first byte left, and the next
            // start makes it again under the same key.
            tracing::warn!(
                "attempts that hung outside were cut off; the next start makes them again"
            );
        }
        self.settling.abort();
        stages.run("audit", 1, self.env.announcer.flush()).await;
        let store = self.env.store.as_ref();
        stages.write("boot", 2, self.env.boot.settle(store)).await;
        self.root.kill();
        stages.write("store", 4, store.close()).await;
        let Stages {
            unfinished, failed, ..
        } = stages;
        if unfinished.is_empty() {
            // A store that failed was told of.
            if failed.is_none() {
                tracing::info!("drained");
            }
        } else {
            tracing::warn!(
                ?unfinished,
                "not everything ended in time; the next start goes on"
            );
        }
        Drained { unfinished, failed }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.settling.abort();
        self.auditing.abort();
        self.root.kill();
    }
}

/// Ends the process for a reason found outside the tree.
pub struct Ender(Arc<Env>);

impl Ender {
    /// The first reason counts.
    pub fn end(&self, code: u8, reason: String) {
        self.0.escalate(code, reason);
    }
}

/// Wakes aggregates; cheap to clone.
#[derive(Clone)]
pub struct Waker {
    env: Arc<Env>,
}

impl Waker {
    /// Says that these aggregates have work now.
    pub fn wake(&self, keys: impl IntoIterator<Item = AggregateKey>) {
        self.env.directory.wake(keys, None);
    }
    /// Says that these lanes have effects.
    pub fn hint(&self, lanes: impl IntoIterator<Item = Lane>) {
        for lane in lanes {
            self.env.directory.hint_lane(lane);
        }
    }
}

async fn settle_later(env: Arc<Env>) {
    tokio::time::sleep(env.limits.boot_settled).await;
    if let Err(error) = env.boot.settle(env.store.as_ref()).await {
        tracing::warn!(%error, "the start could not be noted as good");
    }
}

/// The stages of a drain and the time they share.
struct Stages {
    deadline: Instant,
    unfinished: Vec<&'static str>,
    failed: Option<String>,
}

impl Stages {
    /// Waits for a stage, at most so many quarters of the time left, so that one that hangs does
    /// not take the time of those after it. A stage whose actor is gone has ended.
    async fn run<T>(&mut self, name: &'static str, quarters: u32, work: impl Future<Output = T>) {
        if !self.ends(quarters, work).await {
            self.unfinished.push(name);
        }
    }

    /// The same, of a stage that writes to the store.
    async fn write(
        &mut self,
        name: &'static str,
        quarters: u32,
        work: impl Future<Output = Result<(), StoreError>>,
    ) {
        let mut ended = Ok(());
        self.run(name, quarters, async { ended = work.await }).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the store did not end cleanly");
            if error.class() == ErrorClass::Fatal {
                self.failed.get_or_insert(error.to_string());
            }
        }
    }

    /// The same; says whether it ended.
    async fn ends<T>(&self, quarters: u32, work: impl Future<Output = T>) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let most = left.saturating_mul(quarters) / 4;
        let has_ended = tokio::time::timeout(most, work).await.is_ok();
        bursar_domain::step!("KS3");
        has_ended
    }
}

async fn end(cell: Option<ActorCell>) {
    if let Some(cell) = cell {
        // An error: it was gone already.
        drop(cell.drain_and_wait(None).await);
    }
}
