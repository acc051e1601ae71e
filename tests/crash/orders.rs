//! Orders to Stripe, each kind under each fault of the sandbox, with a `kill -9` before, during and after the call.
//!
//! Goal: exactly one side effect under one key, nothing called failed that happened, and an end within a minute after
//! the fault. Method: per kind of order and moment of the kill, a child `bursar serve` and a sandbox; per fault an order
//! under an `Idempotency-Key`, the kill, a start over the same folder, and the client's repeats under its key until it
//! has a final answer. Side effects are counted at the sandbox, keys in its request log.
//!
//! `BURSAR_ORDER_FAULTS=all` tries every fault; by default the four that part what happened from what was heard.

use crate::child::{ADMIN_KEY, Server, Settings, WEBHOOK_SECRET};
use bursar_sandbox::{FaultKind, Sandbox, SandboxConfig, SeedPlan};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long an order may take to end after its fault ended.
const DEFINITE_WITHIN: Duration = Duration::from_secs(60);
/// How long preparations may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);
/// Child processes at a time.
const SIDE_BY_SIDE: usize = 4;

const FAULTS: [FaultKind; 13] = [
    FaultKind::ServerErrorSaved,
    FaultKind::ResetAfterCommit,
    FaultKind::HangAfterCommit,
    FaultKind::ResetBefore,
    FaultKind::Garbage,
    FaultKind::Unavailable,
    FaultKind::ServerError,
    FaultKind::RateLimited,
    FaultKind::Conflict,
    FaultKind::Unauthorized,
    FaultKind::Slow,
    FaultKind::Redirect,
    FaultKind::Huge,
];
const FEW: usize = 4;

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Refund,
    Capture,
    Cancel,
    Checkout,
    ChangePlan,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind::Refund,
    Kind::Capture,
    Kind::Cancel,
    Kind::Checkout,
    Kind::ChangePlan,
];

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Never,
    Before,
    During,
    After,
}

const KILLS: [Kill; 4] = [Kill::Never, Kill::Before, Kill::During, Kill::After];

/// An order that is ready to be placed.
pub(super) struct Case {
    /// Bursar's path, and the fields.
    path: String,
    body: Value,
    /// Stripe's path of the call.
    call: String,
    /// The object it is about; a tenant for checkouts.
    about: String,
}

/// What went wrong, counted.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) cases: u64,
    pub(super) side_effects_max: usize,
    pub(super) keys_max: usize,
    pub(super) none: u64,
    pub(super) false_failures: u64,
    pub(super) unresolved: u64,
    pub(super) slowest_ms: u128,
}

impl Figures {
    pub(super) fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.side_effects_max = self.side_effects_max.max(other.side_effects_max);
        self.keys_max = self.keys_max.max(other.keys_max);
        self.none += other.none;
        self.false_failures += other.false_failures;
        self.unresolved += other.unresolved;
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
    }
}

/// A sandbox and the service that orders there.
pub(super) struct Lane {
    sandbox: Sandbox,
    pub(super) settings: Settings,
    pub(super) server: Option<Server>,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Lane {
    pub(super) async fn start() -> Self {
        let sandbox = SandboxConfig {
            seed_plans: SeedPlan::demo(),
            ..SandboxConfig::default()
        };
        let sandbox = bursar_sandbox::start(sandbox).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut plans = String::new();
        for plan in sandbox.seeded() {
            let what = if plan.lookup_key == "credits-10" {
                "credits = 10"
            } else {
                "[plan.subscription]"
            };
            plans += &format!(
                "[[plan]]\nid = \"{}\"\nstripe_price_id = \"{}\"\n{what}\n\n",
                plan.lookup_key, plan.price_id
            );
        }
        let settings = Settings::in_folder(folder.path()).stripe(sandbox.base_url(), &plans);
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let mut lane = Self {
            sandbox,
            settings,
            server: None,
            client,
            _folder: folder,
        };
        lane.begin().await;
        lane
    }

    pub(super) async fn begin(&mut self) {
        let mut server = Server::start(&self.settings);
        server.wait_ready().await;
        let url = format!("{}/webhook", server.url());
        self.sandbox
            .control()
            .set_webhook(Some(url), vec![WEBHOOK_SECRET.to_owned()]);
        self.server = Some(server);
    }

    async fn kill_and_begin(&mut self) {
        self.server.take().expect("it runs").kill();
        self.begin().await;
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.as_ref().expect("it runs").url())
    }

    async fn get(&self, path: &str) -> Value {
        let sent = self
            .client
            .get(self.url(path))
            .bearer_auth(ADMIN_KEY)
            .send()
            .await;
        sent.unwrap().json().await.unwrap_or(Value::Null)
    }

    async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let found = self.get(path).await;
            if is_so(&found) {
                return found;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{path} never came to it: {found}"
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Places an order once; the status and the body, if there was an answer.
    pub(super) fn place(
        &self,
        case: &Case,
        key: &str,
    ) -> impl Future<Output = Option<(u16, Value)>> + use<> {
        let request = self
            .client
            .post(self.url(&case.path))
            .bearer_auth(ADMIN_KEY);
        let request = request.header("idempotency-key", key).json(&case.body);
        async move {
            let answer = request.send().await.ok()?;
            let status = answer.status().as_u16();
            Some((status, answer.json().await.ok()?))
        }
    }

    /// At Stripe, past Bursar.
    async fn stripe(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}{path}", self.sandbox.base_url());
        let key = "sk_test_crash_suite_0123456789";
        let sent = self
            .client
            .post(url)
            .bearer_auth(key)
            .form(form)
            .send()
            .await
            .unwrap();
        let status = sent.status();
        let text = sent.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn paid_session(&self, tenant: &str, plan: &str) -> Value {
        let case = Case {
            path: "/api/v1/checkout-sessions".to_owned(),
            body: json!({"tenantId": tenant, "planId": plan}),
            call: String::new(),
            about: String::new(),
        };
        let answer = self.place(&case, &format!("{tenant}-pays")).await;
        let (_, opened) = answer.unwrap_or_default();
        let session = opened["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("{opened}"))
            .to_owned();
        self.sandbox
            .control()
            .pay_session(&session, "4242", None)
            .unwrap();
        self.sandbox.control().object(&session).unwrap()
    }

    /// Makes what an order of this kind needs.
    pub(super) async fn prepare(&self, kind: Kind, tenant: &str) -> Case {
        self.server.as_ref().unwrap().create_tenant(tenant).await;
        match kind {
            Kind::Checkout => Case {
                path: "/api/v1/checkout-sessions".to_owned(),
                body: json!({"tenantId": tenant, "planId": "credits-10"}),
                call: "/v1/checkout/sessions".to_owned(),
                about: tenant.to_owned(),
            },
            Kind::Refund => {
                let session = self.paid_session(tenant, "credits-10").await;
                let payment = session["payment_intent"].as_str().unwrap().to_owned();
                let path = format!("/api/v1/payments/{payment}");
                self.until(&path, |found| {
                    found["status"] == "succeeded" && found["tenantId"] == tenant
                })
                .await;
                Case {
                    path: "/api/v1/refunds".to_owned(),
                    body: json!({"paymentId": payment, "amount": 300}),
                    call: "/v1/refunds".to_owned(),
                    about: payment,
                }
            }
            Kind::Capture | Kind::Cancel => {
                let form = [
                    ("amount", "2000"),
                    ("currency", "usd"),
                    ("payment_method", "pm_card_visa"),
                    ("confirm", "true"),
                    ("capture_method", "manual"),
                    ("automatic_payment_methods[enabled]", "true"),
                    ("automatic_payment_methods[allow_redirects]", "never"),
                    ("metadata[tenant_id]", tenant),
                ];
                let made = self.stripe("/v1/payment_intents", &form).await;
                let payment = made["id"].as_str().unwrap().to_owned();
                let path = format!("/api/v1/payments/{payment}");
                self.until(&path, |found| {
                    found["status"] == "requires_capture" && found["tenantId"] == tenant
                })
                .await;
                let word = if kind == Kind::Capture {
                    "capture"
                } else {
                    "cancel"
                };
                Case {
                    path: format!("{path}/{word}"),
                    body: json!({}),
                    call: format!("/v1/payment_intents/{payment}/{word}"),
                    about: payment,
                }
            }
            Kind::ChangePlan => {
                let session = self.paid_session(tenant, "hobby").await;
                let id = session["subscription"].as_str().unwrap().to_owned();
                let path = format!("/api/v1/subscriptions/{id}");
                self.until(&path, |found| {
                    found["status"] == "active" && found["tenantId"] == tenant
                })
                .await;
                Case {
                    path: format!("/api/v1/billing/subscriptions/{id}/change-plan"),
                    body: json!({"planId": "pro"}),
                    call: format!("/v1/subscriptions/{id}"),
                    about: id,
                }
            }
        }
    }

    /// How often the order took effect at the sandbox.
    pub(super) fn side_effects(&self, kind: Kind, case: &Case) -> usize {
        let control = self.sandbox.control();
        let events = control.events();
        let of = |event: &&Value, kind: &str| {
            event["type"] == kind && event["data"]["object"]["id"] == case.about.as_str()
        };
        match kind {
            Kind::Refund => events
                .iter()
                .filter(|event| event["type"] == "refund.created")
                .filter(|event| event["data"]["object"]["payment_intent"] == case.about.as_str())
                .count(),
            Kind::Capture => events
                .iter()
                .filter(|event| of(event, "payment_intent.succeeded"))
                .count(),
            Kind::Cancel => events
                .iter()
                .filter(|event| of(event, "payment_intent.canceled"))
                .count(),
            Kind::Checkout => {
                control.count_objects("checkout.session", "client_reference_id", &case.about)
            }
            Kind::ChangePlan => events
                .iter()
                .filter(|event| of(event, "customer.subscription.updated"))
                .filter(|event| !event["data"]["previous_attributes"]["items"].is_null())
                .count(),
        }
    }

    /// The keys one command was sent under.
    pub(super) fn keys(&self, command: &str) -> usize {
        let requests = self.sandbox.control().requests();
        let keys = requests.into_iter().filter_map(|one| one.idempotency_key);
        keys.filter(|key| key.contains(command))
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Waits until the call reached the sandbox, or has had the time to.
    async fn call_seen(&self, case: &Case, before: usize) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            let requests = self.sandbox.control().requests();
            if requests
                .iter()
                .skip(before)
                .any(|one| one.method == "POST" && one.path == case.call)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn run(&mut self, kind: Kind, kill: Kill, fault: FaultKind, name: &str) -> Figures {
        let case = self.prepare(kind, name).await;
        let before = self.sandbox.control().requests().len();
        let strikes = if matches!(fault, FaultKind::HangAfterCommit | FaultKind::Slow) {
            1
        } else {
            3
        };
        let wish = json!({"kind": fault, "count": strikes, "matching": format!("POST {}", case.call), "seconds": 3});
        assert!(
            self.sandbox
                .control()
                .add_fault(serde_json::from_value(wish).unwrap())
        );
        let first = tokio::spawn(self.place(&case, name));
        match kill {
            Kill::Never => {}
            Kill::Before => {
                let us = name
                    .bytes()
                    .fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte))
                    % 12_000;
                tokio::time::sleep(Duration::from_micros(us)).await;
                self.kill_and_begin().await;
            }
            Kill::During => {
                self.call_seen(&case, before).await;
                self.kill_and_begin().await;
            }
            Kill::After => {
                self.call_seen(&case, before).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                self.kill_and_begin().await;
            }
        }
        if kill != Kill::Never {
            first.abort();
        } else {
            drop(first.await);
        }
        self.sandbox.control().clear_faults();
        let ended = Instant::now();
        let mut figures = Figures {
            cases: 1,
            ..Figures::default()
        };
        let is_over = self
            .ask_until_final(kind, &case, name, ended, &mut figures)
            .await;
        if !is_over {
            println!(
                "unresolved: {kind:?} {kill:?} {fault:?}: {}",
                self.last_command(name).await
            );
            figures.unresolved = 1;
        }
        figures.slowest_ms = ended.elapsed().as_millis();
        figures.side_effects_max = self.side_effects(kind, &case);
        let command = self.last_command(name).await;
        figures.keys_max = self.keys(command["id"].as_str().unwrap_or("no command"));
        if figures.side_effects_max != 1 || figures.keys_max != 1 {
            println!(
                "{kind:?} {kill:?} {fault:?}: side_effects={} keys={} {command}",
                figures.side_effects_max, figures.keys_max
            );
        }
        figures.none = u64::from(figures.side_effects_max == 0);
        figures
    }

    pub(super) async fn last_command(&self, tenant: &str) -> Value {
        self.get(&format!("/api/v1/commands?tenantId={tenant}"))
            .await["data"][0]
            .clone()
    }

    /// Repeats the order as a program would, until its answer is final.
    pub(super) async fn ask_until_final(
        &self,
        kind: Kind,
        case: &Case,
        key: &str,
        since: Instant,
        figures: &mut Figures,
    ) -> bool {
        while since.elapsed() < DEFINITE_WITHIN {
            let answer = self.place(case, key).await;
            let command = self.last_command(key).await;
            if command["status"] == "failed" && self.side_effects(kind, case) > 0 {
                println!("called failed: {command}");
                figures.false_failures += 1;
            }
            match answer {
                Some((status, _)) if (200..300).contains(&status) && status != 202 => return true,
                Some((202 | 409 | 502 | 503, _)) | None => {}
                Some((status, body)) => {
                    println!("{status}: {body}");
                    return true;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }
}

#[test]
fn an_order_has_one_effect_under_one_key_whatever_stripe_does_and_whenever_we_are_killed() {
    let all = std::env::var("BURSAR_ORDER_FAULTS").is_ok_and(|word| word == "all");
    let faults = if all { FAULTS.len() } else { FEW };
    let kills: &'static [Kill] = if all { &KILLS } else { &KILLS[1..3] };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let total = runtime.block_on(async move {
        let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
        let mut lanes = Vec::new();
        for kind in KINDS {
            for kill in kills {
                let places = Arc::clone(&places);
                lanes.push(tokio::spawn(async move {
                    let _place = places.acquire_owned().await.unwrap();
                    let mut lane = Lane::start().await;
                    let mut figures = Figures::default();
                    for (n, fault) in FAULTS.iter().take(faults).enumerate() {
                        let name = format!("t{n}");
                        figures.add(&lane.run(kind, *kill, *fault, &name).await);
                    }
                    figures
                }));
            }
        }
        let mut total = Figures::default();
        for lane in lanes {
            total.add(&lane.await.unwrap());
        }
        total
    });
    println!(
        "orders: cases={} side_effects_max={} none={} keys_max={} false_failures={} unresolved={} slowest_ms={}",
        total.cases,
        total.side_effects_max,
        total.none,
        total.keys_max,
        total.false_failures,
        total.unresolved,
        total.slowest_ms
    );
    assert_eq!(
        (
            total.side_effects_max,
            total.none,
            total.keys_max,
            total.false_failures,
            total.unresolved
        ),
        (1, 0, 1, 0, 0)
    );
}
