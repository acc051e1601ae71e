//! Everything the edge stands on: ports, settings and the little it remembers itself.
//!
//! Invariants: nothing here is state worth keeping; what must survive is in the store.

use crate::console::pulse::Pulse;
use crate::http::attempts::Attempts;
use crate::http::auth::AdminAccess;
use crate::http::budget::Budget;
use crate::http::commands::Slots;
use crate::http::cursor::CursorKey;
use crate::http::idempotency::Running;
use crate::http::limits::Limits;
use crate::http::pace::Pace;
use crate::http::return_urls::ReturnUrls;
use crate::http::server::{BoxFuture, Peer};
use crate::http::tenant_store::TenantStore;
use crate::identity::Identity;
use crate::notifications::Notifications;
use crate::stripe::signature::{Refusal, SecretSet};
use bursar_actors::clock::Clock;
use bursar_actors::ports::{CallEnd, ReadAnswer, ReadError};
use bursar_actors::reconcile::Reconciler;
use bursar_config::{Checkout, Cidr, ConnectOnboarding};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Lane;
use bursar_domain::ids::{Scope, Timestamp};
use bursar_domain::settings::Settings;
use bursar_domain::stripe_call::StripeCall;
use bursar_store::api::{Accepted, Inbound, Store};
use bursar_store::error::StoreError;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Why something was not taken in. Nothing was written, or it may be asked again without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// As much as is taken at once is in hand.
    #[error("the intake is busy")]
    Busy {
        /// When to come back.
        retry_after: Duration,
    },
    /// The store cannot make it durable, or not in time.
    #[error("the store is not available")]
    StoreAway {
        /// When to come back.
        retry_after: Duration,
    },
}

impl From<StoreError> for IntakeError {
    fn from(error: StoreError) -> Self {
        let retry_after = error.retry_after();
        match error {
            StoreError::Busy => Self::Busy { retry_after },
            _ => Self::StoreAway { retry_after },
        }
    }
}

/// The one way into the store: makes an input durable, then wakes whoever it is for.
pub trait Intake: Send + Sync + 'static {
    /// Completes once the input is durable, or known to have been.
    fn accept(&self, inbound: Inbound) -> BoxFuture<Result<Accepted, IntakeError>>;
    /// A hint that these have something to do.
    fn wake(&self, aggregates: Vec<AggregateKey>);
    /// A hint that these lanes have effects to perform.
    fn hint(&self, lanes: Vec<Lane>);
    /// A delivery from `peer` was refused: warns of the first of a burst, then sums each minute.
    fn refused(&self, refusal: Refusal, peer: Peer);
}

/// One named check of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name: `store`, `committer`, `actors`, `intake`, `disk`.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// In words; no addresses, no secrets.
    pub detail: String,
}

/// A circuit breaker as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Its name, e.g. `stripe`, `stripe:acct_…`, `mail`.
    pub name: String,
    /// `closed`, `half_open` or `open`.
    pub state: &'static str,
    /// Since when, if known.
    pub since: Option<Timestamp>,
}

/// Says how the parts behind the edge are.
pub trait Health: Send + Sync + 'static {
    /// Every check, each bounded in time.
    fn checks(&self) -> BoxFuture<Vec<Check>>;
    /// The circuit breakers there are.
    fn circuits(&self) -> Vec<Circuit> {
        Vec::new()
    }
    /// Closes a circuit; `false`: it was closed, or there is none of this name.
    fn reset_circuit(&self, _name: &str) -> BoxFuture<bool> {
        Box::pin(std::future::ready(false))
    }
}

/// Stripe, as handlers ask it: whether it may be called at all, and what it says now.
pub trait Stripe: Send + Sync + 'static {
    /// Whether calls on this account are held back, and for how long.
    fn check(&self, scope: &Scope) -> Result<(), Duration>;
    /// One GET, now.
    fn get(&self, scope: Scope, path: String) -> BoxFuture<Result<ReadAnswer, ReadError>>;
    /// One call that changes nothing (a preview), now.
    /// # Errors: held back, for so long.
    fn preview(&self, call: StripeCall) -> BoxFuture<Result<CallEnd, Duration>>;
}

/// The doctor: looks at the set-up and says what to do, as `bursar doctor --json` prints it.
pub trait Checklist: Send + Sync + 'static {
    /// Every line; bounded in time.
    fn look(&self) -> BoxFuture<serde_json::Value>;
}

/// What orders to Stripe follow.
#[derive(Clone, Debug)]
pub struct Billing {
    /// What checkout sessions ask for.
    pub checkout: Checkout,
    /// Where people may be sent back to.
    pub return_urls: ReturnUrls,
    /// The static customer portal.
    pub portal_url: Option<String>,
    /// Who may open Connect accounts.
    pub connect_onboarding: ConnectOnboarding,
}

/// What the edge must know of the configuration.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// Settings of the reducers: the plans, and the mode.
    pub domain: Arc<Settings>,
    /// Who is the operator.
    pub admin: AdminAccess,
    /// Bounds of the listener.
    pub limits: Limits,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trust_proxy: Vec<Cidr>,
    /// What orders to Stripe follow.
    pub billing: Billing,
    /// What identity follows.
    pub identity: crate::identity::Settings,
    /// Where this service is reached, as configured (`APP_BASE_URL`).
    pub app_base_url: String,
    /// This build, as answered by health and the OpenAPI document.
    pub version: &'static str,
}

/// The edge.
pub struct Edge {
    /// The store.
    pub store: TenantStore,
    /// The way into it.
    pub intake: Arc<dyn Intake>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The checks.
    pub health: Arc<dyn Health>,
    /// Stripe.
    pub stripe: Arc<dyn Stripe>,
    /// Places for commands.
    pub commands: Slots,
    /// Who compares with Stripe.
    pub reconciler: Reconciler,
    /// What applications are told.
    pub notifications: Arc<Notifications>,
    /// People's keys.
    pub identity: Identity,
    /// Configuration.
    pub settings: EdgeSettings,
    secrets: RwLock<Arc<SecretSet>>,
    /// Binds cursors to queries.
    pub cursors: CursorKey,
    /// Requests under an idempotency key that still run.
    pub running: Running,
    /// Wrong keys by address.
    pub attempts: Attempts,
    /// How fast each caller orders.
    pub pace: Pace,
    /// What the console shows of the last hour.
    pub pulse: Pulse,
    /// Looks at the whole set-up, where there is a configuration to look at.
    pub checklist: OnceLock<Arc<dyn Checklist>>,
    /// Memory for bodies.
    pub bodies: Budget,
    /// Places for long polls.
    pub waiters: Budget,
    /// `true` once long polls should answer what is there.
    pub draining: watch::Sender<bool>,
    /// Orders that run to their end, also those whose caller left.
    orders: watch::Sender<usize>,
}

/// An order under way; over when dropped.
pub struct UnderWay(Arc<Edge>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0
            .orders
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The ports an edge is made of.
pub struct Ports {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The way into it.
    pub intake: Arc<dyn Intake>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The checks.
    pub health: Arc<dyn Health>,
    /// Stripe.
    pub stripe: Arc<dyn Stripe>,
    /// Who compares with Stripe.
    pub reconciler: Reconciler,
    /// What applications are told.
    pub notifications: Arc<Notifications>,
}

impl Edge {
    /// Puts an edge together.
    pub fn new(ports: Ports, settings: EdgeSettings, secrets: SecretSet) -> Self {
        Self {
            store: TenantStore::new(ports.store),
            intake: ports.intake,
            clock: ports.clock,
            health: ports.health,
            stripe: ports.stripe,
            commands: Slots::default(),
            reconciler: ports.reconciler,
            notifications: ports.notifications,
            secrets: RwLock::new(Arc::new(secrets)),
            cursors: CursorKey::derive(&settings.admin),
            running: Running::default(),
            attempts: Attempts::new(&settings.limits),
            pace: Pace::new(
                settings.limits.orders_burst,
                settings.limits.orders_per_second,
            ),
            identity: Identity::new(&settings.identity, &settings.app_base_url),
            pulse: Pulse::default(),
            checklist: OnceLock::new(),
            bodies: Budget::new(settings.limits.bodies_bytes_max),
            waiters: Budget::new(settings.limits.waiters_max),
            draining: watch::Sender::new(false),
            orders: watch::Sender::new(0),
            settings,
        }
    }
    /// The secrets deliveries are checked against.
    pub fn secrets(&self) -> Arc<SecretSet> {
        Arc::clone(&self.secrets.read().unwrap_or_else(PoisonError::into_inner))
    }
    /// Replaces them (SIGHUP, a rotation): the next delivery is checked against the new set.
    pub fn replace_secrets(&self, secrets: SecretSet) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
        bursar_domain::step!("KS6");
    }
    /// Counts an order until what this answers is dropped.
    pub fn order_begins(self: &Arc<Self>) -> UnderWay {
        self.orders.send_modify(|count| *count += 1);
        UnderWay(Arc::clone(self))
    }
    /// Waits until no order is under way: what they have yet to write needs the actors and the store.
    pub async fn orders_ended(&self) {
        // The sender is ours, so the wait cannot fail.
        let _ = self.orders.subscribe().wait_for(|count| *count == 0).await;
    }
    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
