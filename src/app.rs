//! One running Bursar: store, actors, edge and listeners, in the order in which they need each other.
//!
//! Start order: store (lock, journal, projections) → actors → edge → control socket → metrics →
//! public listener. Stop order is the reverse: readiness off, listeners closed and open requests
//! finished, then the actors drained leaf first, then the store closed.
//!
//! Invariants: nothing is listened on before the store is open; an app that was dropped without
//! `drain` is a crash, and crashes are safe.
//! Not here: what is configured (`config`), what is printed (`commands`), any business rule.

use crate::account_watch;
use crate::adapters::{EdgeHealth, EdgeIntake, EdgeStripe};
use crate::background::Background;
use crate::commands::doctor::Doctor;
use crate::console::pulse;
use crate::endpoint_watch::EndpointWatch;
use crate::http::auth::AdminAccess;
use crate::http::edge::{Billing, Edge, EdgeSettings, Ports};
use crate::http::idempotency::forget_hourly;
use crate::http::limits::Limits as HttpLimits;
use crate::http::return_urls::ReturnUrls;
use crate::http::router::Router;
use crate::http::server::{ControlSocket, Peer, Server};
use crate::identity::sweep::sweep_hourly;
use crate::mail::{self, alerts::Digests};
use crate::notifications::guard::Guard;
use crate::notifications::{Carrier, Network, Notifications, OpenError};
use crate::performers::{Parts, performers};
use crate::stripe::read::ReadClient;
use crate::stripe::signature::SecretSet;
use crate::stripe::write::WriteClient;
use crate::telemetry;
use crate::telemetry::exporter::Exporter;
use bursar_actors::clock::Clock;
use bursar_actors::core_reducer::CoreReducer;
use bursar_actors::limits::Limits as ActorLimits;
use bursar_actors::outbound::gated_read::GatedRead;
use bursar_actors::ports::{StripeRead, StripeWrite};
use bursar_actors::tree::{Deps, Drained, StartError, Tree};
use bursar_actors::{EXIT_ACCOUNT, Exit};
use bursar_config::{Config, StoreLocation, WebhookSecrets};
use bursar_domain::decision::Lane;
use bursar_domain::settings::Settings;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use bursar_store::journal::JournalSettings;
use bursar_store::{OpenOptions, OpenReport, bind_mode, open_sled};
use secrecy::ExposeSecret;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// So much of the journal is read before anything is served: a second or less. What is older, beside the service.
const READ_BEFORE_SERVING_BYTES: u64 = 256 << 20;
/// Bytes in flight on the in-memory connection of a command that opened the store itself.
const DUPLEX_BYTES: usize = 256 * 1024;

/// Requests a test double of Stripe on this machine is sent at most.
const DOUBLE_REQUESTS_PER_SECOND: u32 = 1_000;

/// Why a Bursar did not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The actors.
    #[error("the actors did not start: {0}")]
    Actors(String),
    /// The mail set-up: texts that do not render, a transport that cannot be used.
    #[error("mail cannot be set up: {}", .0.join("; "))]
    Mail(Vec<String>),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The control socket cannot be made in the data folder.
    #[error("the control socket {path} cannot be made")]
    Control {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something else that was needed.
    #[error("{what}")]
    Setup {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl AppError {
    /// An HTTP client that cannot be set up.
    pub(crate) fn no_client(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Setup {
            what: "cannot set up an HTTP client",
            source: std::io::Error::other(error),
        }
    }
}

/// Where the listeners really are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Public HTTP.
    pub public: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
}

/// What an app stands on: everything that reaches out of it, but for the listeners.
pub struct Ground {
    /// The store, open.
    pub store: Arc<dyn Store>,
    /// What opening it found.
    pub opened: OpenReport,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Stripe, asked.
    pub stripe_read: Arc<dyn StripeRead>,
    /// Stripe, ordered.
    pub stripe_write: Arc<dyn StripeWrite>,
    /// What mails are made of, and how they leave.
    pub letters: mail::Parts,
    /// How notifications leave.
    pub carrier: Arc<dyn Carrier>,
    /// Where the actors run.
    pub background: Background,
}

/// A running Bursar.
pub struct App {
    tree: Tree,
    /// Where the tree runs; dropped after it.
    background: Background,
    edge: Arc<Edge>,
    router: Arc<Router>,
    stripe: Arc<dyn StripeRead>,
    http_limits: HttpLimits,
    stop: watch::Sender<bool>,
    /// Listeners, and what else ends with `stop`.
    listeners: Vec<JoinHandle<()>>,
    /// Whether `ADMIN_EMAILS` names somebody.
    mails_alerts: bool,
    /// What opening the store found.
    pub opened: OpenReport,
    /// What the reducers may know.
    pub settings: Arc<Settings>,
}

impl App {
    /// Opens the store and starts the actors and the edge; listens on nothing yet.
    ///
    /// # Errors
    /// The store cannot be opened (held, damaged, of another version or mode), or an actor fails.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let StoreLocation::Sled(folder) = &config.store;
        let days = config.retention.events_days;
        let options = OpenOptions {
            retention: days.map(|days| Duration::from_secs(u64::from(days) * 86_400)),
            journal: JournalSettings {
                read_bytes: READ_BEFORE_SERVING_BYTES,
                ..JournalSettings::default()
            },
            ..OpenOptions::default()
        };
        let (store, opened) = open_sled(folder, options)?;
        // A command that opens a store itself has no key of Stripe's.
        if !config.is_tool {
            bind_mode(store.as_ref(), config.stripe.mode.is_live()).await?;
        }
        Self::over(store, opened, config, clock).await
    }

    /// The same over a store that is open.
    ///
    /// # Errors
    /// An actor does not start, or the HTTP client cannot be built.
    pub async fn over(
        store: Arc<dyn Store>,
        opened: OpenReport,
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AppError> {
        let api = &config.stripe;
        let base = api.api_base.to_string();
        let read =
            ReadClient::new(&base, &api.api_key, &api.api_version).map_err(AppError::no_client)?;
        let write =
            WriteClient::new(&base, &api.api_key, &api.api_version).map_err(AppError::no_client)?;
        let ground = Ground {
            store,
            opened,
            clock,
            stripe_read: Arc::new(read),
            stripe_write: Arc::new(write),
            letters: mail::Parts::of(config).map_err(AppError::Mail)?,
            carrier: Arc::new(
                Network::new(Guard::new(config.outbound.allow_private))
                    .map_err(AppError::no_client)?,
            ),
            background: Background::start().map_err(|source| AppError::Setup {
                what: "cannot start the actors' threads",
                source,
            })?,
        };
        Self::on(ground, config).await
    }

    /// The same on another ground.
    ///
    /// # Errors
    /// An actor does not start, or the HTTP client cannot be built.
    pub async fn on(ground: Ground, config: &Config) -> Result<Self, AppError> {
        let Ground {
            store,
            opened,
            clock,
            stripe_read: read,
            stripe_write: write,
            letters,
            carrier,
            background,
        } = ground;
        let settings = Arc::new(config.reducer_settings(""));
        let api = &config.stripe;
        let opening = Notifications::over(
            Arc::clone(&store),
            Arc::clone(&clock),
            &config.outbound,
            carrier,
        );
        let notifications = opening.await.map_err(|error| match error {
            OpenError::Store(error) => AppError::Store(error),
            OpenError::Client(error) => AppError::no_client(error),
        })?;
        let parts = Parts {
            config,
            store: &store,
            clock: &clock,
            notifications: &notifications,
        };
        let deps = Deps {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            reducer: Arc::new(CoreReducer),
            stripe_read: Arc::clone(&read),
            stripe_write: Some(Arc::clone(&write)),
            settings: Arc::clone(&settings),
            limits: ActorLimits {
                intake_silence: config.webhook_silence_alert,
                // A double on this machine has no allowance to be kept.
                stripe_requests_per_second: api
                    .api_base
                    .is_loopback()
                    .then_some(DOUBLE_REQUESTS_PER_SECOND),
                reconcile_every: config.reconcile_interval,
                ..ActorLimits::default()
            },
            performers: performers(&parts, letters)?,
        };
        telemetry::facts::recall(store.as_ref()).await?;
        let starting = background.handle().spawn(Tree::start(deps)).await;
        let tree = starting
            .map_err(|error| AppError::Actors(error.to_string()))?
            .map_err(|error| match error {
                StartError::Store(error) => AppError::Store(error),
                StartError::Actor(why) => AppError::Actors(why),
            })?;
        let mut http_limits = HttpLimits::from(&config.limits);
        // A request that hangs must leave the actors and the store time to end well.
        http_limits.drain_timeout = http_limits.drain_timeout.min(config.drain / 2);
        let edge_settings = EdgeSettings {
            domain: Arc::clone(&settings),
            admin: AdminAccess::new(
                config.access.admin_key.clone(),
                config.access.admin_allow.clone(),
            ),
            limits: http_limits.clone(),
            trust_proxy: config.trust_proxy.clone(),
            billing: billing(config),
            identity: crate::identity::Settings {
                jwt_secret: config.access.jwt_secret.clone(),
                jwt_secret_previous: config.access.jwt_secret_previous.clone(),
                signup: config.access.signup,
            },
            app_base_url: config.addresses.app.to_string(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let ports = Ports {
            store,
            intake: Arc::new(EdgeIntake::new(tree.intake(), tree.waker())),
            clock,
            health: Arc::new(EdgeHealth::new(tree.health(), tree.circuits())),
            stripe: Arc::new(EdgeStripe::new(tree.gate(), Arc::clone(&read), write)),
            reconciler: tree.reconciler(),
            notifications: Arc::clone(&notifications),
        };
        let edge = Arc::new(Edge::new(
            ports,
            edge_settings,
            secret_set(&config.stripe.webhook_secrets),
        ));
        tokio::spawn(forget_hourly(Arc::downgrade(&edge)));
        tokio::spawn(sweep_hourly(Arc::downgrade(&edge)));
        if !config.is_tool {
            tokio::spawn(pulse::watch(Arc::downgrade(&edge)));
            // Set once, here: nobody else has seen the edge yet.
            let _ = edge.checklist.set(Arc::new(Doctor::new(config.clone())));
        }
        let router = Arc::new(Router::new(Arc::clone(&edge)));
        let (stop, gate) = (watch::Sender::new(false), tree.gate());
        let mut listeners = Vec::new();
        if !config.is_tool {
            let delivering = notifications.run(stop.subscribe());
            listeners.push(background.handle().spawn(delivering));
        }
        Ok(Self {
            tree,
            background,
            edge,
            router,
            stripe: Arc::new(GatedRead::new(read, gate, Lane::StripeBackground)),
            http_limits,
            stop,
            listeners,
            mails_alerts: !config.mail.admin_emails.is_empty(),
            opened,
            settings,
        })
    }

    /// Listens: control socket, metrics, then the public address.
    ///
    /// # Errors
    /// An address is taken or not ours.
    pub async fn listen(&mut self, config: &Config, page: Exporter) -> Result<Addresses, AppError> {
        let socket_path = config.store.data_dir().join("bursar.sock");
        let socket = ControlSocket::bind(&socket_path).map_err(|source| AppError::Control {
            path: socket_path.display().to_string(),
            source,
        })?;
        self.listeners
            .push(tokio::spawn(self.server().run_unix(socket)));
        let (metrics_listener, metrics) = bind(config.metrics_listen).await?;
        let metrics_server = Server::new(
            Arc::new(page),
            self.http_limits.clone(),
            self.stop.subscribe(),
        );
        self.listeners
            .push(tokio::spawn(metrics_server.run_tcp(metrics_listener)));
        let (listener, public) = bind(config.listen).await?;
        self.listeners
            .push(tokio::spawn(self.server().run_tcp(listener)));
        Ok(Addresses { public, metrics })
    }

    /// Watches Stripe's list of webhook endpoints: one that sends to `base_url` in `version` should be there.
    pub fn watch_endpoints(&mut self, base_url: String, version: String) {
        let (stripe, store) = (
            Arc::clone(&self.stripe),
            Arc::clone(self.edge.store.whole()),
        );
        let mut watch = EndpointWatch::new(stripe, Arc::clone(&store), base_url, version);
        if self.mails_alerts {
            let clock = Arc::clone(&self.edge.clock);
            watch = watch.mailing(Digests::new(store), clock);
        }
        let watching = watch.run(self.stop.subscribe());
        self.listeners.push(tokio::spawn(watching));
    }

    /// Asks Stripe whose key this is; if it is not the account the store belongs to, the process must end.
    pub fn watch_account(&mut self) {
        let ender = self.tree.ender();
        let refuse = move |why| ender.end(EXIT_ACCOUNT, why);
        let store = Arc::clone(self.edge.store.whole());
        let watching = account_watch::run(
            Arc::clone(&self.stripe),
            store,
            refuse,
            self.stop.subscribe(),
        );
        self.listeners.push(tokio::spawn(watching));
    }

    /// What serves connections that were accepted elsewhere.
    pub fn server(&self) -> Server<Router> {
        Server::new(
            Arc::clone(&self.router),
            self.http_limits.clone(),
            self.stop.subscribe(),
        )
    }

    /// A connection to the router in memory, with the operator's rights: for commands that opened
    /// the store themselves.
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
        let server = self.server();
        tokio::spawn(async move { server.serve_connection(theirs, Peer::ControlSocket).await });
        ours
    }

    /// The edge: its ports and secrets.
    pub fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// Swaps the webhook secrets (SIGHUP); nothing valid is refused meanwhile.
    pub fn swap_secrets(&self, secrets: &WebhookSecrets) {
        self.edge.replace_secrets(secret_set(secrets));
    }

    /// Set once the process must end by itself.
    pub fn exit(&self) -> watch::Receiver<Option<Exit>> {
        self.tree.exit()
    }

    /// Stops: listeners first, then actors leaf first, then the store; at most `within`.
    pub async fn drain(self, within: Duration) -> Drained {
        let started = tokio::time::Instant::now();
        self.stop.send_replace(true);
        for listener in self.listeners {
            let left = within.saturating_sub(started.elapsed());
            if tokio::time::timeout(left, listener).await.is_err() {
                tracing::warn!("a listener did not end in time");
            }
        }
        let left = within.saturating_sub(started.elapsed()) / 2;
        if tokio::time::timeout(left, self.edge.orders_ended())
            .await
            .is_err()
        {
            tracing::warn!("an order whose caller left did not end in time");
        }
        let left = within.saturating_sub(started.elapsed());
        let drained = self.tree.drain(left).await;
        drop(self.background);
        drained
    }
}

fn billing(config: &Config) -> Billing {
    let portal = config.stripe.customer_portal_url.as_ref();
    Billing {
        checkout: config.checkout,
        return_urls: ReturnUrls::new(&config.addresses),
        portal_url: portal.map(ToString::to_string),
        connect_onboarding: config.events.connect_onboarding,
    }
}

fn secret_set(secrets: &WebhookSecrets) -> SecretSet {
    SecretSet::new(secrets.0.iter().map(ExposeSecret::expose_secret))
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let listen_error = |source| AppError::Listen {
        address: address.to_string(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let bound = listener.local_addr().map_err(listen_error)?;
    Ok((listener, bound))
}

/// The folder of a store, for messages.
pub fn data_folder(config: &Config) -> PathBuf {
    config.store.data_dir().to_owned()
}
