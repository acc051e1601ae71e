//! The webhook entrance: admission before everything, then straight into the store.
//!
//! A request takes its permits (items, bytes, its account's share) in its own task and hands the
//! store the input from there, so that one webhook costs one commit and no queue of ours. The intake
//! *actor* has the duties no request task can have alone: telling of bad signatures, bursts summed,
//! and noticing silence. Which secrets are valid is the edge's matter: it verifies.
//!
//! Invariants: nothing is answered before it is durable; a refusal is decided before the body is
//! read where its length is known; permits come back however a request ends.
//! Failure: no permit, a full or slow store: [`Refused`], and the sender comes back. An accept whose
//! sender left may still have happened; its repeat is a duplicate.

use crate::bounded::{BoundedRef, Permit};
use crate::bursts::Bursts;
use crate::directory::{Cell, Directory};
use crate::env::{Core, EXIT_STORE, Env};
use crate::fair::Group;
use crate::metrics;
use bursar_domain::ids::{Scope, Timestamp};
use bursar_domain::input::InputSource;
use bursar_store::api::{Accepted, Inbound, InputStatus};
use bursar_store::error::{ErrorClass, StoreError};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Bytes are admitted in blocks of this size, so that a `u32` of permits goes far enough.
const BLOCK_BYTES: usize = 1_024;
/// How often bursts are summed up.
const SUM_EVERY: Duration = Duration::from_secs(60);
const SILENT: &str = "bursar_webhooks_silent";
/// Reports on their way to the actor.
const REPORTS_MAX: usize = 256;

/// Why a webhook was not taken; the sender should come back after `retry_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As much as we take at once is in hand.
    #[error("busy: come back in {} s", retry_after.as_secs())]
    Busy {
        /// When.
        retry_after: Duration,
    },
    /// The body alone is larger than everything we take at once.
    #[error("the body is larger than this service can take")]
    TooLarge,
    /// The store does not take it now, or not in time.
    #[error("the store is not available: come back in {} s", retry_after.as_secs())]
    StoreDown {
        /// When.
        retry_after: Duration,
    },
}

const BUSY: Refused = Refused::Busy {
    retry_after: Duration::from_secs(1),
};

/// Messages of the intake actor.
#[derive(Debug)]
pub(crate) enum IntakeMsg {
    /// A delivery with no good signature came from here.
    BadSignature {
        from: String,
        reason: &'static str,
        permit: Permit,
    },
    /// Tell what is not told yet, then answer.
    Drain(oneshot::Sender<()>),
    /// Sum up.
    Tick,
    /// Show a sign of life.
    Beat,
}

struct Shared {
    env: Arc<Env>,
    items: Arc<Semaphore>,
    blocks: Arc<Semaphore>,
    accounts: Mutex<BTreeMap<Scope, usize>>,
    open: AtomicBool,
    last_accepted_ms: AtomicI64,
    reports: BoundedRef<IntakeMsg>,
    /// Reports that found no room on their way to the actor.
    unnamed: AtomicU64,
}

/// The way in, for the HTTP tasks. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
}

/// Room for one delivery, held until it is answered.
pub struct Admission {
    intake: Intake,
    _item: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    account: Option<AccountShare>,
}

struct AccountShare {
    intake: Intake,
    scope: Scope,
}

impl Drop for AccountShare {
    fn drop(&mut self) {
        let mut accounts = self.intake.accounts();
        if let Some(held) = accounts.get_mut(&self.scope) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                accounts.remove(&self.scope);
            }
        }
    }
}

impl Intake {
    pub(crate) fn new(env: Arc<Env>) -> Self {
        let limits = &env.limits;
        let cell: Cell<IntakeMsg> = env.directory.intake.clone();
        let shared = Shared {
            items: Arc::new(Semaphore::new(limits.intake_items_max)),
            blocks: Arc::new(Semaphore::new(limits.intake_bytes_max / BLOCK_BYTES)),
            accounts: Mutex::new(BTreeMap::new()),
            open: AtomicBool::new(true),
            last_accepted_ms: AtomicI64::new(0),
            reports: BoundedRef::new(cell, REPORTS_MAX),
            unnamed: AtomicU64::new(0),
            env,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    fn accounts(&self) -> std::sync::MutexGuard<'_, BTreeMap<Scope, usize>> {
        self.shared
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for a body of this many bytes. Best called before the body is read.
    /// # Errors: as much as may be is in hand, or we are draining.
    pub fn admit(&self, body_bytes: usize) -> Result<Admission, Refused> {
        let shared = &self.shared;
        if !shared.open.load(Ordering::SeqCst) {
            return Err(BUSY);
        }
        if body_bytes > shared.env.limits.intake_bytes_max {
            return Err(Refused::TooLarge);
        }
        let blocks = u32::try_from(body_bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX);
        let item = Arc::clone(&shared.items).try_acquire_owned();
        let bytes = Arc::clone(&shared.blocks).try_acquire_many_owned(blocks);
        match (item, bytes) {
            (Ok(item), Ok(bytes)) => Ok(Admission {
                intake: self.clone(),
                _item: item,
                _bytes: bytes,
                account: None,
            }),
            _ => Err(BUSY),
        }
    }

    /// Admits and submits in one: for callers that already hold the body.
    /// # Errors: as [`Intake::admit`] and [`Admission::submit`].
    pub async fn submit(&self, inbound: Inbound) -> Result<Accepted, Refused> {
        self.admit(inbound.body.len())?.submit(inbound).await
    }

    /// Reports a delivery whose signature fits no secret, or not now: the first of a burst is logged
    /// at once, the rest as one line a minute.
    pub fn bad_signature(&self, from: &str, reason: &'static str) {
        let from: String = from.chars().take(64).collect();
        let report = |permit| IntakeMsg::BadSignature {
            from,
            reason,
            permit,
        };
        if self.shared.reports.try_send(report).is_err() {
            self.shared.unnamed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Deliveries in hand.
    pub fn in_flight(&self) -> usize {
        let max = self.shared.env.limits.intake_items_max;
        max.saturating_sub(self.shared.items.available_permits())
    }

    /// When a delivery was last made durable; `None`: not since the start.
    pub fn last_accepted_at(&self) -> Option<Timestamp> {
        match self.shared.last_accepted_ms.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(Timestamp(ms)),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Refuses what comes from now on and waits for what is in hand.
    pub(crate) async fn close(&self) {
        self.shared.open.store(false, Ordering::SeqCst);
        let all = u32::try_from(self.shared.env.limits.intake_items_max).unwrap_or(u32::MAX);
        // Closed semaphores do not exist here; an error would mean nothing is in hand.
        drop(self.shared.items.acquire_many(all).await);
        let (told, heard) = oneshot::channel();
        if self
            .shared
            .env
            .directory
            .intake
            .cast(IntakeMsg::Drain(told))
        {
            // An error: the actor went meanwhile, with what it had to tell.
            drop(heard.await);
        }
    }

    fn share_of(&self, scope: &Scope) -> Result<Option<AccountShare>, Refused> {
        if scope.0.is_none() {
            return Ok(None);
        }
        let limits = &self.shared.env.limits;
        let most = (limits.intake_items_max * limits.intake_account_percent / 100).max(1);
        let mut accounts = self.accounts();
        let held = accounts.entry(scope.clone()).or_default();
        if *held >= most {
            return Err(BUSY);
        }
        *held += 1;
        Ok(Some(AccountShare {
            intake: self.clone(),
            scope: scope.clone(),
        }))
    }
}

impl Admission {
    /// Makes the delivery durable. # Errors: its account holds its share, or the store refuses.
    pub async fn submit(mut self, inbound: Inbound) -> Result<Accepted, Refused> {
        if let InputSource::Event(scope, _) = &inbound.source {
            self.account = self.intake.share_of(scope)?;
        }
        let env = &self.intake.shared.env;
        let group = Group(inbound.subject.0.clone());
        let (kind, created_at) = (inbound.kind.clone(), inbound.created_at);
        let accept = env.store.accept(vec![inbound]);
        let mut answers = match tokio::time::timeout(env.limits.accept_wait, accept).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return Err(refused(env, &error)),
            Err(_) => {
                tracing::warn!("the store did not accept in time");
                return Err(Refused::StoreDown {
                    retry_after: Duration::from_secs(2),
                });
            }
        };
        let Some(accepted) = answers.pop() else {
            tracing::error!("the store answered nothing to an accept");
            return Err(Refused::StoreDown {
                retry_after: Duration::from_secs(2),
            });
        };
        let now = env.clock.now();
        self.intake
            .shared
            .last_accepted_ms
            .store(now.0, Ordering::Relaxed);
        if let Accepted::New {
            status, to, seq, ..
        } = &accepted
        {
            if let Some(created) = created_at {
                metrics::age("received", created, now);
            }
            if *status == InputStatus::Dead {
                let text = format!("a delivery of type {kind} cannot be used");
                let id = format!("input {seq}");
                env.announcer.alarm("dead_letter", &id, text, now);
            }
            match status {
                InputStatus::Ignored | InputStatus::Parked | InputStatus::Dead => {
                    metrics::event_by_type(&kind, status.as_str());
                }
                InputStatus::Received | InputStatus::Applied => {}
            }
            wake(&env.directory, to.clone(), &group);
        }
        Ok(accepted)
    }
}

fn wake(directory: &Directory, to: Option<bursar_domain::aggregate::AggregateKey>, group: &Group) {
    if to.is_some() {
        directory.wake(to, Some(group));
    }
}

fn refused(env: &Env, error: &StoreError) -> Refused {
    if error.class() == ErrorClass::Fatal {
        env.escalate(EXIT_STORE, format!("the store failed: {error}"));
    } else {
        tracing::warn!(%error, "the store refused a webhook");
    }
    match error {
        StoreError::Busy => BUSY,
        _ => Refused::StoreDown {
            retry_after: error.retry_after(),
        },
    }
}

pub(crate) struct IntakeActor;

pub(crate) struct IntakeState {
    intake: Intake,
    bad_signatures: Bursts,
    last_accepted_ms: i64,
    silent_since: Duration,
    warned: bool,
}

impl Actor for IntakeActor {
    type Msg = IntakeMsg;
    type State = IntakeState;
    type Arguments = Intake;

    async fn pre_start(
        &self,
        myself: ActorRef<IntakeMsg>,
        intake: Intake,
    ) -> Result<IntakeState, ActorProcessingErr> {
        let env = &intake.shared.env;
        env.directory.intake.set(myself.clone());
        env.alive(Core::Intake);
        myself.send_after(SUM_EVERY, || IntakeMsg::Tick);
        metrics::gauge(SILENT, 0);
        Ok(IntakeState {
            last_accepted_ms: 0,
            silent_since: env.clock.uptime(),
            intake,
            bad_signatures: Bursts::default(),
            warned: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<IntakeMsg>,
        message: IntakeMsg,
        state: &mut IntakeState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            IntakeMsg::Beat => state.intake.shared.env.alive(Core::Intake),
            IntakeMsg::BadSignature {
                from,
                reason,
                permit,
            } => {
                if state.bad_signatures.on(&from, reason) {
                    tracing::warn!(
                        from,
                        reason,
                        "security: a delivery's signature is not valid; more of them are summed"
                    );
                }
                drop(permit);
            }
            IntakeMsg::Drain(reply) => {
                state.sum_up();
                let _ = reply.send(());
            }
            IntakeMsg::Tick => {
                state.sum_up();
                state.notice_silence();
                myself.send_after(SUM_EVERY, || IntakeMsg::Tick);
            }
        }
        Ok(())
    }
}

impl IntakeState {
    fn sum_up(&mut self) {
        let unnamed = self.intake.shared.unnamed.swap(0, Ordering::Relaxed);
        self.bad_signatures.add(unnamed);
        if let Some(sum) = self.bad_signatures.sum() {
            tracing::warn!(
                count = sum.count,
                from = sum.senders,
                "security: more deliveries whose signature is not valid, within a minute"
            );
        }
    }

    fn notice_silence(&mut self) {
        let shared = &self.intake.shared;
        let last = shared.last_accepted_ms.load(Ordering::Relaxed);
        let now = shared.env.clock.uptime();
        if last != self.last_accepted_ms {
            self.last_accepted_ms = last;
            self.silent_since = now;
            if std::mem::take(&mut self.warned) {
                metrics::gauge(SILENT, 0);
                tracing::info!("webhooks are accepted again");
            }
        } else if !self.warned
            && now.saturating_sub(self.silent_since) >= shared.env.limits.intake_silence
        {
            self.warned = true;
            let minutes = shared.env.limits.intake_silence.as_secs() / 60;
            metrics::gauge(SILENT, 1);
            let text = format!(
                "no webhook was accepted for {minutes} minutes: is the endpoint enabled? `bursar doctor` looks"
            );
            let at = shared.env.clock.now();
            shared.env.announcer.alarm("webhooks_silent", "", text, at);
        }
    }
}
