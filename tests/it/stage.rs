//! The whole service beside the sandbox, on one clock that stands until it is moved: any number of
//! Bursars over real stores, any of which may hear what the sandbox tells.

use crate::watched::Watched;
use bursar::app::{App, AppError};
use bursar::control::{Answer, Control};
use bursar::stripe::signature::sign;
use bursar::telemetry::exporter::{self, Exporter};
use bursar_actors::clock::{Clock, SystemClock};
use bursar_config::{Config, DemoArgs, StoreLocation};
use bursar_domain::decision::Lane;
use bursar_domain::ids::Timestamp;
use bursar_sandbox::{
    Clock as _, Control as SandboxControl, Sandbox, SandboxConfig, SeedPlan, SharedClock,
};
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// 2025-05-12T10:00:00Z.
const T0: i64 = 1_747_044_000;
pub(crate) const DAY: i64 = 86_400;
/// How long a store that was dropped may keep its files.
const PATIENCE: Duration = Duration::from_secs(40);

struct StageClock {
    wall: SharedClock,
    machine: SystemClock,
}

impl Clock for StageClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.now_unix_ms())
    }
    fn uptime(&self) -> Duration {
        self.machine.uptime()
    }
}

fn metrics_page() -> Exporter {
    static HANDLE: OnceLock<metrics_exporter_prometheus::PrometheusHandle> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| exporter::install("0.0.0-test").unwrap());
    Exporter::new(handle.clone(), None)
}

/// What a Bursar was given may be read nowhere in what it logs and stores.
fn watched(config: &Config, data: &std::path::Path) -> Watched {
    let mut secrets = vec![
        (
            "the operator's key",
            config.access.admin_key.expose_secret(),
        ),
        ("the token secret", config.access.jwt_secret.expose_secret()),
        ("Stripe's key", config.stripe.api_key.expose_secret()),
    ];
    let webhooks = config.stripe.webhook_secrets.0.iter();
    secrets.extend(webhooks.map(|secret| ("a webhook secret", secret.expose_secret())));
    Watched::over(&secrets, Some(data.to_owned()))
}

/// The sandbox and its clock.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) stripe: SandboxControl,
    wall: SharedClock,
    http: reqwest::Client,
}

/// One Bursar of the stage.
pub(crate) struct Bursar {
    pub(crate) app: App,
    pub(crate) config: Config,
    pub(crate) public: SocketAddr,
    control: tokio::sync::Mutex<Control>,
    _watched: Watched,
    dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let wall = SharedClock::frozen_at_ms(T0 * 1000);
        let config = SandboxConfig {
            clock: Arc::new(wall.clone()),
            seed_plans: SeedPlan::demo(),
            ..SandboxConfig::default()
        };
        let sandbox = bursar_sandbox::start(config).await.unwrap();
        Self {
            stripe: sandbox.control(),
            sandbox,
            wall,
            http: reqwest::Client::new(),
        }
    }

    fn price(&self, key: &str) -> String {
        let plan = self.sandbox.seeded().iter().find(|s| s.lookup_key == key);
        plan.unwrap().price_id.clone()
    }

    fn config(&self, dir: &tempfile::TempDir) -> Config {
        let plans = format!(
            "[[plan]]\nid = \"hobby\"\nname = \"Hobby\"\nstripe_price_id = \"{}\"\n\
             [plan.subscription]\ngrace_days = 7\nfeatures = [\"reports\"]\n\n\
             [[plan]]\nid = \"pro\"\nname = \"Pro\"\nstripe_price_id = \"{}\"\n\
             [plan.subscription]\ngrace_days = 7\nfeatures = [\"reports\", \"exports\"]\n\n\
             [[plan]]\nid = \"credits-10\"\nname = \"10 credits\"\nstripe_price_id = \"{}\"\ncredits = 10\n",
            self.price("hobby"),
            self.price("pro"),
            self.price("credits-10"),
        );
        Config::for_demo(&DemoArgs {
            listen: ([127, 0, 0, 1], 0).into(),
            metrics_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: dir.path().to_owned(),
            stripe_api_base: self.sandbox.base_url().to_owned(),
            mail_server: Some(self.sandbox.mail_addr()),
            plans_toml: Some(plans),
        })
        .unwrap()
    }

    /// Another Bursar, that hears nothing yet.
    pub(crate) async fn bursar(&self) -> Bursar {
        self.bursar_with(|_| {}).await
    }

    /// Another Bursar with other settings.
    pub(crate) async fn bursar_with(&self, change: impl FnOnce(&mut Config)) -> Bursar {
        let dir = tempfile::tempdir().unwrap();
        let mut config = self.config(&dir);
        change(&mut config);
        self.start(config, dir).await
    }

    /// The settings of another process over a store in a folder of its own.
    pub(crate) fn moved(bursar: &Bursar, dir: &tempfile::TempDir) -> Config {
        let mut config = bursar.config.clone();
        config.store = StoreLocation::Sled(dir.path().join("data"));
        config
    }

    /// Waits until no order is under way, moving the clock on.
    pub(crate) async fn orders_end(&self, bursar: &Bursar) {
        for _ in 0..600 {
            let mut waiting = 0;
            for status in ["initiated", "unknown"] {
                let page = format!("/api/v1/commands?status={status}&limit=1");
                let page = bursar.get(&page).await.json;
                waiting += page["data"].as_array().unwrap().len();
            }
            if waiting == 0 {
                return;
            }
            self.stripe.advance(5).unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        panic!("orders do not end");
    }

    pub(crate) async fn start(&self, config: Config, dir: tempfile::TempDir) -> Bursar {
        let began = std::time::Instant::now();
        let mut app = loop {
            let clock = StageClock {
                wall: self.wall.clone(),
                machine: SystemClock::new(),
            };
            match App::start(&config, Arc::new(clock)).await {
                Ok(app) => break app,
                // One that was given no time to end still has its files.
                Err(AppError::Store(StoreError::Locked { .. })) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let addresses = app.listen(&config, metrics_page()).await.unwrap();
        let control = Control::over(app.connect()).await.unwrap();
        Bursar {
            app,
            public: addresses.public,
            control: tokio::sync::Mutex::new(control),
            _watched: watched(&config, dir.path()),
            config,
            dir,
        }
    }

    /// The same store under a new process, with other settings.
    pub(crate) async fn again(&self, bursar: Bursar, change: impl FnOnce(&mut Config)) -> Bursar {
        let Bursar {
            app,
            mut config,
            dir,
            ..
        } = bursar;
        app.drain(Duration::from_secs(20)).await;
        change(&mut config);
        self.start(config, dir).await
    }

    /// The same store under a new process, after one that was given no time to end.
    pub(crate) async fn crashed(&self, bursar: Bursar) -> Bursar {
        let Bursar {
            app, config, dir, ..
        } = bursar;
        drop(app);
        self.start(config, dir).await
    }

    /// Lets the sandbox tell this Bursar what happens from now on.
    pub(crate) fn tell(&self, bursar: &Bursar) {
        let url = format!("http://{}/webhook", bursar.public);
        self.stripe.set_webhook(Some(url), bursar.secrets());
    }

    /// Waits until every first delivery was made.
    pub(crate) async fn delivered(&self) {
        for looks in 1..4_000 {
            if self.stripe.unsent_deliveries() == 0 {
                return;
            }
            if looks % 100 == 0 {
                // One put behind the next goes alone after two seconds of the clock.
                self.stripe.advance(3).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("deliveries stay unsent");
    }

    /// Every event there was, as the sandbox would have told it.
    pub(crate) async fn tell_everything(&self, bursar: &Bursar) {
        for event in self.stripe.events() {
            let body = serde_json::to_vec_pretty(&event).unwrap();
            assert_eq!(self.deliver(bursar, body).await, 200, "{event}");
        }
        bursar.settle().await;
    }

    pub(crate) async fn deliver(&self, bursar: &Bursar, body: Vec<u8>) -> u16 {
        let now = self.wall.now_unix_ms() / 1000;
        let header = sign(&bursar.secrets()[0], &body, now);
        let sent = self
            .http
            .post(format!("http://{}/webhook", bursar.public))
            .header("stripe-signature", header)
            .body(body)
            .send()
            .await;
        sent.unwrap().status().as_u16()
    }

    /// A POST at the sandbox that must succeed, on an account.
    pub(crate) async fn post(&self, account: Option<&str>, path: &str, form: &str) -> Value {
        let request = self
            .http
            .post(format!("{}{path}", self.sandbox.base_url()))
            .bearer_auth("sk_test_0123456789")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned());
        let request = match account {
            Some(account) => request.header("stripe-account", account),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let value: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path} {form}: {value}");
        value
    }

    /// A DELETE at the sandbox that must succeed.
    #[cfg(feature = "cognito")]
    pub(crate) async fn delete(&self, path: &str) {
        let url = format!("{}{path}", self.sandbox.base_url());
        let sent = self.http.delete(url).bearer_auth("sk_test_0123456789");
        let status = sent.send().await.unwrap().status();
        assert!(status.is_success(), "{path}: {status}");
    }

    /// A tenant pays on a checkout page; answers the session.
    pub(crate) async fn buys(&self, tenant: &str, plan: &str) -> Value {
        let mode = if plan == "credits-10" {
            "payment"
        } else {
            "subscription"
        };
        let price = self.price(plan);
        let form = format!(
            "mode={mode}&success_url=http://shop/&line_items[0][price]={price}\
             &line_items[0][quantity]=1&client_reference_id={tenant}\
             &metadata[tenant_id]={tenant}&metadata[plan_id]={plan}"
        );
        let session = self.post(None, "/v1/checkout/sessions", &form).await;
        let id = session["id"].as_str().unwrap();
        let email = format!("{tenant}@example.com");
        self.stripe.pay_session(id, "4242", Some(&email)).unwrap()
    }

    /// Moves the clock in steps, so that what falls due is told in between.
    pub(crate) async fn pass(&self, seconds: i64) {
        let mut left = seconds;
        while left > 0 {
            let step = left.min(DAY);
            self.stripe.advance(step).unwrap();
            left -= step;
        }
        self.delivered().await;
    }

    /// A busy life of some tenants, 35 days of it.
    pub(crate) async fn busy_life(&self, tenants: usize) {
        let customers = self.life_begins(tenants).await;
        self.life_goes_on(&customers).await;
    }

    /// Ten days: subscriptions, credits, refunds, disputes. Answers customers and subscriptions.
    pub(crate) async fn life_begins(&self, tenants: usize) -> Vec<(String, String)> {
        let mut customers = Vec::new();
        for n in 0..tenants {
            let plan = if n % 2 == 0 { "hobby" } else { "pro" };
            let session = self.buys(&format!("t{n}"), plan).await;
            let text = |field: &str| session[field].as_str().unwrap_or_default().to_owned();
            customers.push((text("customer"), text("subscription")));
            if n % 3 == 0 {
                let credits = self.buys(&format!("t{n}"), "credits-10").await;
                let intent = credits["payment_intent"].as_str().unwrap().to_owned();
                if n % 2 == 0 {
                    let form = format!("payment_intent={intent}&amount=300");
                    self.post(None, "/v1/refunds", &form).await;
                } else {
                    let dispute = self.stripe.open_dispute(&intent, "fraudulent", false);
                    let dispute = dispute.unwrap();
                    self.stripe
                        .decide_dispute(dispute["id"].as_str().unwrap(), false)
                        .unwrap();
                }
            }
        }
        self.delivered().await;
        self.pass(10 * DAY).await;
        customers
    }

    /// Another 25: renewals, one that fails and is made good, an end.
    pub(crate) async fn life_goes_on(&self, customers: &[(String, String)]) {
        let (failing, _) = &customers[1];
        self.stripe.set_card(failing, "0341").unwrap();
        let (_, canceled) = &customers[0];
        let form = "cancel_at_period_end=true";
        self.post(None, &format!("/v1/subscriptions/{canceled}"), form)
            .await;
        self.pass(22 * DAY).await;
        self.stripe.set_card(failing, "4242").unwrap();
        self.pass(3 * DAY).await;
        self.stripe.advance(300).unwrap();
        self.delivered().await;
    }
}

impl Bursar {
    pub(crate) fn secrets(&self) -> Vec<String> {
        let secrets = self.config.stripe.webhook_secrets.0.iter();
        secrets.map(|s| s.expose_secret().to_owned()).collect()
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.app.edge().store.whole())
    }

    /// Waits until nothing is pending and nothing is due at Stripe.
    pub(crate) async fn settle(&self) {
        let store = self.store();
        let mut calm = 0;
        for _ in 0..4_000 {
            let now = self.app.edge().now();
            let is_calm = store.stats().await.unwrap().pending == 0
                && store
                    .due_effects(Lane::StripeRead, now, 1)
                    .await
                    .unwrap()
                    .is_empty()
                && store.due_timers(now, 1).await.unwrap().is_empty();
            calm = if is_calm { calm + 1 } else { 0 };
            if calm > 5 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not settle");
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.control.lock().await.get(path).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.control.lock().await.post(path, body).await.unwrap()
    }

    /// Runs a reconciliation to its end.
    pub(crate) async fn reconcile(&self, order: Value) -> Value {
        let answer = self.post("/api/v1/reconcile", &order).await;
        let mut report = answer.ok().unwrap();
        while report["status"] == "running" {
            tokio::time::sleep(Duration::from_millis(50)).await;
            report = self.get("/api/v1/reconcile").await.ok().unwrap();
        }
        report
    }

    pub(crate) async fn digest(&self) -> String {
        self.store().state_digest().await.unwrap()
    }

    /// Every row of the lists of objects, by list and id.
    pub(crate) async fn rows(&self) -> BTreeMap<String, Value> {
        let mut rows = BTreeMap::new();
        for list in [
            "tenants?archived=true&",
            "customers?",
            "subscriptions?",
            "invoices?",
            "payments?",
            "refunds?",
            "disputes?",
            "checkout-sessions?",
        ] {
            let mut cursor = String::new();
            loop {
                let page = self
                    .get(&format!("/api/v1/{list}limit=100{cursor}"))
                    .await
                    .ok()
                    .unwrap();
                for row in page["data"].as_array().unwrap() {
                    let id = row["id"].as_str().or(row["tenantId"].as_str()).unwrap();
                    let mut row = row.clone();
                    // How often it was written depends on the order of arrival.
                    row.as_object_mut().unwrap().remove("version");
                    let list = list.split('?').next().unwrap();
                    rows.insert(format!("{list} {id}"), row);
                }
                let Some(next) = page["nextCursor"].as_str() else {
                    break;
                };
                cursor = format!("&cursor={next}");
            }
        }
        rows
    }
}

/// The fields in which rows differ, as `list field`, with both sides of the first.
pub(crate) fn differing(
    one: &BTreeMap<String, Value>,
    other: &BTreeMap<String, Value>,
) -> BTreeMap<String, (Value, Value)> {
    let mut fields = BTreeMap::new();
    for key in one.keys().chain(other.keys()) {
        let list = key.split(' ').next().unwrap();
        match (one.get(key), other.get(key)) {
            (Some(one), Some(other)) => {
                for (field, value) in one.as_object().unwrap() {
                    if *value != other[field] {
                        let both = (value.clone(), other[field].clone());
                        fields.entry(format!("{list} {field}")).or_insert(both);
                    }
                }
            }
            (one, other) => {
                let both = (json!(one), json!(other));
                fields.entry(format!("{list} whole row")).or_insert(both);
            }
        }
    }
    fields
}
