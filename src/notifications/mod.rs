//! Telling the customer's application: notifications made durable, pushed to endpoints and kept for who asks.
//!
//! A reducer decides a notification as an effect. The performer of its lane (`announce`) writes it into the feed and
//! into the queue of every endpoint that hears it, in one commit. `deliver` sends what is queued, one at a time and in
//! order for each endpoint and tenant, and writes down how each attempt ended. Whoever cannot receive reads the `feed`.
//!
//! Invariants: an id is derived from the effect's, so a notification has one id whatever crashes; what is sent was
//! committed before; an endpoint that is slow or gone takes no place of another; a secret is stored sealed and shown once;
//! bodies hold the tenant's personal fields and are sealed under its key.
//! Not here: which notifications there are, when an attempt is made again (`bursar_domain::notification`); routes
//! (`http::notifications`).
//! Failure: at least once: a process that dies between the receiver's answer and the commit sends again, under the same id.
//! Source: contract §4 "Notifications"; Standard Webhooks 1.0.

pub mod announce;
mod attempt;
mod body;
pub mod catalogue;
mod conclude;
mod deliver;
pub mod feed;
pub mod guard;
mod lines;
pub mod records;
mod registry;
pub mod retry;
pub mod sign;
mod sweep;
mod trial;

pub use attempt::{Carrier, Network, Post, Sent};
pub use registry::{CONFIGURED, Registry, Rotated};
pub use trial::Trial;

use attempt::Sender;
use bursar_actors::clock::Clock;
use bursar_config::Outbound;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use guard::Guard;
use lines::Lines;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why there are no notifications.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is kept cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS cannot be set up.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
}

/// What the parts share.
pub struct Notifications {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// The endpoints.
    pub registry: Registry,
    /// Where endpoints may point.
    pub guard: Guard,
    sender: Sender,
    lines: Mutex<Lines>,
    wake: tokio::sync::Notify,
    /// Places for tests, which somebody waits for.
    trials: tokio::sync::Semaphore,
    /// Held while numbers of the feed are given out, so that their order is that of the commits.
    feed_end: tokio::sync::Mutex<Option<u64>>,
}

impl Notifications {
    /// Reads what is kept: the endpoints, and which deliveries wait.
    ///
    /// # Errors
    /// The store cannot be read, or there is no TLS.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        outbound: &Outbound,
    ) -> Result<Arc<Self>, OpenError> {
        let guard = Guard::new(outbound.allow_private);
        let network = Network::new(guard).map_err(OpenError::Client)?;
        Self::over(store, clock, outbound, Arc::new(network)).await
    }

    /// The same with another carrier.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn over(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        outbound: &Outbound,
        carrier: Arc<dyn Carrier>,
    ) -> Result<Arc<Self>, OpenError> {
        let guard = Guard::new(outbound.allow_private);
        let sender = Sender::new(guard, carrier);
        let now = clock.now();
        let registry = Registry::open(Arc::clone(&store), outbound, now).await?;
        let lines = Lines::read(store.as_ref()).await?;
        Ok(Arc::new(Self {
            store,
            clock,
            registry,
            guard,
            sender,
            lines: Mutex::new(lines),
            wake: tokio::sync::Notify::new(),
            trials: tokio::sync::Semaphore::new(trial::AT_ONCE_MAX),
            feed_end: tokio::sync::Mutex::new(None),
        }))
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
