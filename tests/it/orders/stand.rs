//! A service and a sandbox that know each other, each on a port of its own.

use bursar::app::{App, AppError};
use bursar::telemetry::exporter::{self, Exporter};
use bursar_actors::clock::{Clock, SystemClock};
use bursar_config::{Config, DemoArgs};
use bursar_sandbox::{FaultKind, Sandbox, SandboxConfig, SeedPlan};
use bursar_store::error::StoreError;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long anything may take to appear.
const PATIENCE: Duration = Duration::from_secs(40);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) is_replayed: bool,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// `Location`.
    pub(crate) location: Option<String>,
}

impl Reply {
    /// An answer, unless it breaks off.
    pub(crate) async fn heard(answer: reqwest::Response) -> Option<Self> {
        let is_replayed = answer.headers().contains_key("idempotent-replayed");
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let retry_after = header("retry-after").map(|text| text.parse().unwrap());
        let location = header("location");
        let status = answer.status().as_u16();
        Some(Self {
            status,
            text: answer.text().await.ok()?,
            is_replayed,
            retry_after,
            location,
        })
    }
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
    /// Its body, if it went well.
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }
    /// Its body, if it is this problem.
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!(
            (self.status, body["code"].as_str()),
            (status, Some(code)),
            "{self:?}"
        );
        body
    }
}

/// The two of them.
pub(crate) struct Stand {
    pub(crate) sandbox: Sandbox,
    pub(crate) config: Config,
    pub(crate) app: Option<App>,
    pub(crate) address: SocketAddr,
    client: reqwest::Client,
    folder: tempfile::TempDir,
}

impl Stand {
    pub(crate) async fn start() -> Self {
        let sandbox = SandboxConfig {
            seed_plans: SeedPlan::demo(),
            ..SandboxConfig::default()
        };
        let sandbox = bursar_sandbox::start(sandbox).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(&sandbox, folder.path());
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let mut stand = Self {
            sandbox,
            config,
            app: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            client,
            folder,
        };
        stand.begin().await;
        stand
    }
    /// Where everything is stored.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
    /// Starts the service over what is stored.
    pub(crate) async fn begin(&mut self) {
        let began = Instant::now();
        let mut app = loop {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            match App::start(&self.config, clock).await {
                Ok(app) => break app,
                // One that was given no time to end still has its files.
                Err(AppError::Store(StoreError::Locked { .. })) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let recorder = exporter::builder(std::iter::empty())
            .unwrap()
            .build_recorder();
        let page = Exporter::new(recorder.handle(), None);
        let addresses = app.listen(&self.config, page).await.unwrap();
        self.address = addresses.public;
        let secrets = self.config.stripe.webhook_secrets.0.iter();
        let secrets = secrets
            .map(|secret| secret.expose_secret().to_owned())
            .collect();
        let url = format!("http://{}/webhook", self.address);
        self.sandbox.control().set_webhook(Some(url), secrets);
        self.app = Some(app);
    }
    /// Ends the service as SIGTERM does.
    pub(crate) async fn end(&mut self) {
        self.end_within(Duration::from_secs(10)).await;
    }
    /// Ends it with so much time for what is under way.
    pub(crate) async fn end_within(&mut self, within: Duration) {
        if let Some(app) = self.app.take() {
            app.drain(within).await;
        }
    }
    async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let key = self.config.access.admin_key.expose_secret();
        let answer = request.bearer_auth(key).send().await.unwrap();
        Reply::heard(answer).await.unwrap()
    }
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(self.client.get(self.url(path))).await
    }
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(self.client.post(self.url(path)).json(body)).await
    }
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send(self.client.patch(self.url(path)).json(body))
            .await
    }
    /// A POST under an idempotency key.
    pub(crate) async fn keyed(&self, path: &str, key: &str, body: &Value) -> Reply {
        let request = self.client.post(self.url(path)).json(body);
        self.send(request.header("idempotency-key", key)).await
    }
    /// A POST nobody waits for, under an idempotency key.
    pub(crate) async fn keyed_async(&self, path: &str, key: &str, body: &Value) -> Reply {
        let request = self.client.post(self.url(path)).json(body);
        let request = request.header("idempotency-key", key);
        self.send(request.header("prefer", "respond-async")).await
    }
    /// A POST nobody waits for.
    pub(crate) async fn post_async(&self, path: &str, body: &Value) -> Reply {
        let request = self.client.post(self.url(path)).json(body);
        self.send(request.header("prefer", "respond-async")).await
    }
    pub(crate) async fn tenant(&self, id: &str) -> Value {
        let body = json!({"tenantId": id, "name": id, "email": format!("{id}@example.com")});
        self.post("/api/v1/tenants", &body).await.ok()
    }
    /// Asks until it is so.
    pub(crate) async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let reply = self.get(path).await;
            let found = reply.json();
            if is_so(&found) {
                return found;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{path} never came to it: {reply:?}"
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    /// Something goes wrong with the next so many requests.
    pub(crate) fn fault(&self, kind: FaultKind, count: u32) {
        let fault = serde_json::from_value(json!({"kind": kind, "count": count}));
        assert!(self.sandbox.control().add_fault(fault.unwrap()));
    }
    /// The sandbox's requests of one kind: method and path.
    pub(crate) fn requests(&self, method: &str, path: &str) -> Vec<bursar_sandbox::RequestLog> {
        let all = self.sandbox.control().requests().into_iter();
        all.filter(|one| one.method == method && one.path == path)
            .collect()
    }
}

fn configuration(sandbox: &Sandbox, folder: &Path) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let price = |key: &str| {
        let found = sandbox.seeded().iter().find(|plan| plan.lookup_key == key);
        found.unwrap().price_id.clone()
    };
    let plans = format!(
        "[[plan]]\nid = \"hobby\"\nstripe_price_id = \"{}\"\n[plan.subscription]\nfeatures = [\"reports\"]\n\n\
         [[plan]]\nid = \"pro\"\nstripe_price_id = \"{}\"\n[plan.subscription]\nfeatures = [\"reports\", \"exports\"]\n\
         trial_days = 14\nmax_quantity = 50\n\n\
         [[plan]]\nid = \"credits-10\"\nstripe_price_id = \"{}\"\ncredits = 10\n",
        price("hobby"),
        price("pro"),
        price("credits-10"),
    );
    let args = DemoArgs {
        listen: any,
        metrics_listen: any,
        data_dir: folder.join("data"),
        stripe_api_base: sandbox.base_url().to_owned(),
        mail_server: Some(sandbox.mail_addr()),
        plans_toml: Some(plans),
    };
    Config::for_demo(&args).unwrap()
}

/// All of them side by side, in the order they end.
pub(crate) async fn at_once<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut done = Vec::new();
    let mut waiting: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        let mut index = 0;
        while index < waiting.len() {
            match waiting[index].as_mut().poll(cx) {
                std::task::Poll::Ready(output) => {
                    done.push(output);
                    drop(waiting.swap_remove(index));
                }
                std::task::Poll::Pending => index += 1,
            }
        }
        if waiting.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done
}
