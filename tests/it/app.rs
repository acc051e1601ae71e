//! A whole service on a port of its own, over a store in memory or another, and a client that sends bytes.

pub(crate) use crate::catalogue::wire::Reply;
use crate::catalogue::wire::{raw, send};
use crate::watched::Watched;
use bursar::adapters::{EdgeHealth, EdgeIntake, EdgeStripe};
use bursar::http::auth::AdminAccess;
use bursar::http::edge::{Billing, Edge, EdgeSettings, Intake, IntakeError, Ports};
use bursar::http::limits::Limits;
use bursar::http::return_urls::ReturnUrls;
use bursar::http::router::Router;
use bursar::http::server::{BoxFuture, Peer, Server};
use bursar::notifications::Notifications;
use bursar::stripe::signature::{Refusal, SecretSet, sign};
use bursar_actors::clock::{Clock, TestClock};
use bursar_actors::core_reducer::CoreReducer;
use bursar_actors::outbound::Performers;
use bursar_actors::ports::{CallEnd, PortFuture, ReadAnswer, ReadError, StripeRead, StripeWrite};
use bursar_actors::tree::{Deps, Tree};
use bursar_config::Signup;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Lane;
use bursar_domain::ids::{Scope, Timestamp};
use bursar_domain::plans::{Catalogue, Limit, Plan, PlanEffect, SubscriptionPlan};
use bursar_domain::settings::Settings;
use bursar_domain::stripe_call::StripeCall;
use bursar_store::MemStore;
use bursar_store::api::{Accepted, Inbound, Store};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) const ADMIN_KEY: &str = "operator-key-of-at-least-32-characters";
const JWT_SECRET: &str = "a-secret-of-tests-that-has-32-bytes-or-more";
pub(crate) const SECRET: &str = "whsec_present";
pub(crate) const OLD_SECRET: &str = "whsec_before";
/// 2025-05-12T10:00:00Z, when the corpus of events begins.
pub(crate) const START_SECONDS: i64 = 1_747_044_000;

/// Takes in through the actors, or refuses as it is told.
pub(crate) struct Gate {
    inner: EdgeIntake,
    mode: AtomicU8,
    pub(crate) accepted: AtomicUsize,
    pub(crate) refusals: Mutex<Vec<Refusal>>,
}

impl Gate {
    pub(crate) fn be_busy(&self) {
        self.mode.store(1, Ordering::SeqCst);
    }
    pub(crate) fn lose_the_store(&self) {
        self.mode.store(2, Ordering::SeqCst);
    }
    pub(crate) fn panic_once(&self) {
        self.mode.store(3, Ordering::SeqCst);
    }
}

impl Intake for Gate {
    fn accept(&self, inbound: Inbound) -> BoxFuture<Result<Accepted, IntakeError>> {
        let retry_after = Duration::from_secs(7);
        match self.mode.load(Ordering::SeqCst) {
            1 => Box::pin(std::future::ready(Err(IntakeError::Busy { retry_after }))),
            2 => Box::pin(std::future::ready(Err(IntakeError::StoreAway {
                retry_after,
            }))),
            3 => {
                self.mode.store(0, Ordering::SeqCst);
                panic!("asked to panic")
            }
            _ => {
                self.accepted.fetch_add(1, Ordering::SeqCst);
                self.inner.accept(inbound)
            }
        }
    }
    fn wake(&self, aggregates: Vec<AggregateKey>) {
        self.inner.wake(aggregates);
    }
    fn hint(&self, lanes: Vec<Lane>) {
        self.inner.hint(lanes);
    }
    fn refused(&self, refusal: Refusal, peer: Peer) {
        self.refusals.lock().unwrap().push(refusal);
        self.inner.refused(refusal, peer);
    }
}

/// A Stripe that knows no object, or does not answer at all.
#[derive(Default)]
pub(crate) struct EmptyStripe {
    pub(crate) is_away: AtomicBool,
}

impl StripeRead for EmptyStripe {
    fn get(&self, _: Scope, _: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
        if self.is_away.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(ReadError::Timeout)));
        }
        let answer = ReadAnswer {
            status: 404,
            date_unix: START_SECONDS,
            body: b"{}".to_vec(),
            request_id: String::new(),
        };
        Box::pin(std::future::ready(Ok(answer)))
    }
}

impl StripeWrite for EmptyStripe {
    fn send(&self, _: StripeCall, _: String, _: Duration) -> PortFuture<'_, CallEnd> {
        let reason = "nobody takes orders here".to_owned();
        Box::pin(std::future::ready(CallEnd::NotSent { reason }))
    }
}

fn billing() -> Billing {
    let addresses =
        bursar_config::Addresses::on_this_machine(SocketAddr::from(([127, 0, 0, 1], 80)));
    Billing {
        checkout: bursar_config::Checkout {
            automatic_tax: true,
            promotion_codes: true,
            address_update: true,
            tax_id_collection: false,
        },
        return_urls: ReturnUrls::new(&addresses),
        portal_url: None,
        connect_onboarding: bursar_config::ConnectOnboarding::Operator,
    }
}

pub(crate) fn catalogue() -> Catalogue {
    let terms = SubscriptionPlan {
        trial_days: 0,
        grace_days: 7,
        features: ["reports".to_owned()].into(),
        limits: BTreeMap::from([("seats".to_owned(), Limit::Quantity)]),
        min_quantity: 1,
        max_quantity: None,
    };
    let plan = Plan {
        id: "pro".to_owned(),
        name: "Pro".to_owned(),
        price_ids: vec![bursar_domain::ids::PriceId::parse("price_pro").unwrap()],
        effect: PlanEffect::Subscription(terms),
        revoke_on: [].into(),
    };
    let credits = Plan {
        id: "credits-10".to_owned(),
        name: "Ten credits".to_owned(),
        price_ids: vec![bursar_domain::ids::PriceId::parse("price_credits").unwrap()],
        effect: PlanEffect::Credits(10),
        revoke_on: [].into(),
    };
    Catalogue {
        plans: vec![plan, credits],
    }
}

pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) edge: Arc<Edge>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) stripe: Arc<EmptyStripe>,
    pub(crate) server: Server<Router>,
    stop: watch::Sender<bool>,
    _watched: Watched,
    pub(crate) serving: tokio::task::JoinHandle<()>,
    pub(crate) tree: Tree,
}

/// Waits short enough for tests; the ratios of the shipped ones are kept.
pub(crate) fn quick_limits() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(500),
        body_timeout: Duration::from_millis(1_000),
        idle_timeout: Duration::from_millis(1_500),
        drain_timeout: Duration::from_secs(5),
        ..Limits::default()
    }
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }
    pub(crate) async fn with(limits: Limits) -> Self {
        Self::over(MemStore::new().unwrap(), limits).await
    }
    /// The same over a store that is open.
    pub(crate) async fn over(store: Arc<dyn Store>, limits: Limits) -> Self {
        let operator = bursar_config::ConnectOnboarding::Operator;
        Self::set(store, limits, Performers::new(), Signup::Open, operator).await
    }
    /// The same, where these may open Connect accounts.
    pub(crate) async fn onboarding(
        store: Arc<dyn Store>,
        limits: Limits,
        onboarding: bursar_config::ConnectOnboarding,
    ) -> Self {
        Self::set(store, limits, Performers::new(), Signup::Open, onboarding).await
    }
    /// The same with these performers and this rule for sign-ups.
    pub(crate) async fn stand(
        store: Arc<dyn Store>,
        limits: Limits,
        performers: Performers,
        signup: Signup,
    ) -> Self {
        let operator = bursar_config::ConnectOnboarding::Operator;
        Self::set(store, limits, performers, signup, operator).await
    }
    async fn set(
        store: Arc<dyn Store>,
        limits: Limits,
        performers: Performers,
        signup: Signup,
        connect_onboarding: bursar_config::ConnectOnboarding,
    ) -> Self {
        let watched = Watched::over(
            &[
                ("the operator's key", ADMIN_KEY),
                ("the webhook secret", SECRET),
                ("the token secret", JWT_SECRET),
            ],
            None,
        );
        let clock = Arc::new(TestClock::at(Timestamp::from_seconds(START_SECONDS)));
        let settings = Arc::new(Settings {
            catalogue: catalogue(),
            ..Settings::default()
        });
        let stripe = Arc::new(EmptyStripe::default());
        let tree = Tree::start(Deps {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            reducer: Arc::new(CoreReducer),
            stripe_read: Arc::clone(&stripe) as Arc<dyn StripeRead>,
            stripe_write: None,
            settings: Arc::clone(&settings),
            limits: bursar_actors::limits::Limits::default(),
            performers,
        })
        .await
        .unwrap();
        let gate = Arc::new(Gate {
            inner: EdgeIntake::new(tree.intake(), tree.waker()),
            mode: AtomicU8::new(0),
            accepted: AtomicUsize::new(0),
            refusals: Mutex::default(),
        });
        let ports = Ports {
            store: Arc::clone(&store),
            intake: Arc::clone(&gate) as Arc<dyn Intake>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            health: Arc::new(EdgeHealth::new(tree.health(), tree.circuits())),
            stripe: Arc::new(EdgeStripe::new(
                tree.gate(),
                Arc::clone(&stripe) as Arc<dyn StripeRead>,
                Arc::clone(&stripe) as Arc<dyn StripeWrite>,
            )),
            reconciler: tree.reconciler(),
            notifications: Notifications::open(
                Arc::clone(&store),
                Arc::clone(&clock) as Arc<dyn Clock>,
                &bursar_config::Outbound {
                    endpoint: None,
                    allow_private: false,
                },
            )
            .await
            .unwrap(),
        };
        let here = vec![bursar_config::Cidr::parse("127.0.0.0/8").unwrap()];
        let edge_settings = EdgeSettings {
            domain: settings,
            admin: AdminAccess::new(ADMIN_KEY.to_owned().into(), here),
            limits: limits.clone(),
            trust_proxy: Vec::new(),
            billing: Billing {
                connect_onboarding,
                ..billing()
            },
            identity: bursar::identity::Settings {
                jwt_secret: JWT_SECRET.to_owned().into(),
                jwt_secret_previous: None,
                signup,
            },
            app_base_url: "https://billing.example.com".to_owned(),
            version: "0.0.0-test",
        };
        let secrets = SecretSet::new([SECRET, OLD_SECRET]);
        let edge = Arc::new(Edge::new(ports, edge_settings, secrets));
        let (stop, draining) = watch::channel(false);
        let router = Arc::new(Router::new(Arc::clone(&edge)));
        let server = Server::new(router, limits, draining);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(server.clone().run_tcp(listener));
        Self {
            address,
            edge,
            gate,
            clock,
            store,
            stripe,
            server,
            stop,
            _watched: watched,
            serving,
            tree,
        }
    }
    pub(crate) fn drain(&self) {
        self.stop.send_replace(true);
    }
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
    /// Sends bytes and reads whatever comes until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        raw(self.address, bytes).await
    }
    /// A request with these header lines.
    pub(crate) async fn send(
        &self,
        request_line: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        send(self.address, request_line, headers, body).await
    }
    /// A request of the operator's, with a JSON body if it is not empty.
    pub(crate) async fn operator(&self, request_line: &str, json: &str) -> Reply {
        self.bearer(ADMIN_KEY, request_line, json).await
    }
    pub(crate) async fn bearer(&self, key: &str, request_line: &str, json: &str) -> Reply {
        let bearer = format!("Bearer {key}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        if !json.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        self.send(request_line, &headers, json.as_bytes()).await
    }
    /// The id of an endpoint for notifications that is never called.
    pub(crate) async fn endpoint(&self) -> String {
        let body = r#"{"url":"https://app.example.com/hook"}"#;
        let made = self
            .operator("POST /api/v1/notification-endpoints", body)
            .await;
        made.json()["id"].as_str().unwrap().to_owned()
    }
    /// A delivery, signed now.
    pub(crate) async fn deliver(&self, body: &[u8]) -> Reply {
        let signature = sign(SECRET, body, self.clock.now().seconds());
        let headers = [("Stripe-Signature", signature.as_str())];
        self.send("POST /webhook", &headers, body).await
    }
    /// Waits until nothing is pending.
    pub(crate) async fn settle(&self) {
        for _ in 0..2_000 {
            if self.store.stats().await.unwrap().pending == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("inputs stay pending");
    }
}
