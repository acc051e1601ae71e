//! A real data folder with many small segments and checkpoints, closed in order, and the Stripe it came from.

use crate::child::{ADMIN_KEY, WEBHOOK_SECRET};
use bursar::app::App;
use bursar::control::Control;
use bursar::telemetry::exporter::{self, Exporter};
use bursar_actors::clock::SystemClock;
use bursar_config::{Config, DemoArgs, StoreLocation};
use bursar_sandbox::{Sandbox, SandboxConfig, SeedPlan};
use bursar_store::OpenOptions;
use bursar_store::journal::JournalSettings;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const SEGMENT_BYTES: u64 = 96 << 10;
const PATIENCE: Duration = Duration::from_secs(120);

/// The folder, and what is in it.
pub(crate) struct Filled {
    folder: tempfile::TempDir,
    pub(crate) sandbox: Sandbox,
    /// What `bursar verify` says of it.
    pub(crate) truth: Value,
}

/// What a command line came to.
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}{}", self.out, self.err))
    }
}

impl Filled {
    /// `before` purchases, a backup, `after` more.
    pub(crate) async fn with(before: usize, after: usize) -> Self {
        let config = SandboxConfig {
            seed_plans: SeedPlan::demo(),
            ..SandboxConfig::default()
        };
        let sandbox = bursar_sandbox::start(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut filled = Self {
            folder,
            sandbox,
            truth: Value::Null,
        };
        filled.fill(before, after).await;
        filled.truth = filled.bursar(&filled.data(), &["verify", "--json"]).json();
        assert_eq!(filled.truth["mismatches"], 0, "{}", filled.truth);
        filled
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    /// A copy of the folder.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let to = self.folder.path().join(name);
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.data())
            .arg(&to)
            .status();
        assert!(copied.unwrap().success());
        to
    }

    fn plans(&self) -> String {
        let plan = |one: &bursar_sandbox::Seeded| {
            let what = match one.lookup_key.as_str() {
                "credits-10" => "credits = 10",
                _ => "[plan.subscription]",
            };
            let (id, price) = (&one.lookup_key, &one.price_id);
            format!(
                "[[plan]]\nid = \"{id}\"\nname = \"{id}\"\nstripe_price_id = \"{price}\"\n{what}\n\n"
            )
        };
        self.sandbox.seeded().iter().map(plan).collect()
    }

    async fn fill(&self, before: usize, after: usize) {
        let data = self.data();
        let plans = self.folder.path().join("plans.toml");
        std::fs::write(plans, self.plans()).unwrap();
        let mut config = Config::for_demo(&DemoArgs {
            listen: ([127, 0, 0, 1], 0).into(),
            metrics_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: data.clone(),
            stripe_api_base: self.sandbox.base_url().to_owned(),
            mail_server: None,
            plans_toml: Some(self.plans()),
        })
        .unwrap();
        config.store = StoreLocation::Sled(data.clone());
        let options = OpenOptions {
            journal: JournalSettings {
                segment_bytes: SEGMENT_BYTES,
                zero_chunk_bytes: 16 << 10,
                ..JournalSettings::default()
            },
            checkpoint_bytes: 3 * SEGMENT_BYTES,
            ..OpenOptions::default()
        };
        let (store, opened) = bursar_store::open_sled(&data, options).unwrap();
        let clock = Arc::new(SystemClock::new());
        let mut app = App::over(store, opened, &config, clock).await.unwrap();
        let addresses = app.listen(&config, page()).await.unwrap();
        let secrets = config.stripe.webhook_secrets.0.iter();
        let secrets = secrets.map(|one| one.expose_secret().to_owned()).collect();
        let url = format!("http://{}/webhook", addresses.public);
        self.sandbox.control().set_webhook(Some(url), secrets);
        let mut control = Control::over(app.connect()).await.unwrap();
        for n in 0..before {
            self.buys(n).await;
        }
        settled(&self.sandbox, &mut control).await;
        let order = json!({"path": self.backup()});
        let made = control.post("/api/v1/backup", &order).await.unwrap();
        assert_eq!(made.status, 200, "{}", made.json);
        for n in before..before + after {
            self.buys(n).await;
        }
        settled(&self.sandbox, &mut control).await;
        drop(control);
        self.sandbox.control().set_webhook(None, Vec::new());
        app.drain(Duration::from_secs(20)).await;
    }

    async fn buys(&self, n: usize) {
        let plan = ["hobby", "pro", "credits-10"][n % 3];
        let mode = if n % 3 == 2 {
            "payment"
        } else {
            "subscription"
        };
        let seeded = self
            .sandbox
            .seeded()
            .iter()
            .find(|one| one.lookup_key == plan);
        let price = &seeded.unwrap().price_id;
        let form = format!(
            "mode={mode}&success_url=http://shop/&line_items[0][price]={price}&line_items[0][quantity]=1\
             &client_reference_id=t{n}&metadata[tenant_id]=t{n}&metadata[plan_id]={plan}"
        );
        let sent = reqwest::Client::new()
            .post(format!("{}/v1/checkout/sessions", self.sandbox.base_url()))
            .bearer_auth("sk_test_0123456789")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send();
        let session: Value = sent.await.unwrap().json().await.unwrap();
        let id = session["id"].as_str().expect("a session");
        let email = format!("t{n}@example.com");
        let paid = self.sandbox.control().pay_session(id, "4242", Some(&email));
        paid.expect("a paid session");
    }

    /// Runs the real binary over a folder, with the whole configuration.
    pub(crate) fn bursar(&self, data: &Path, arguments: &[&str]) -> Told {
        let own = || env!("CARGO_BIN_EXE_bursar").to_owned();
        let binary = std::env::var("BURSAR_BIN").unwrap_or_else(|_| own());
        // A hang is an outcome to be told, not a test that never ends.
        let output = Command::new("timeout")
            .arg(PATIENCE.as_secs().to_string())
            .arg(binary)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("BURSAR_STORE", format!("sled:{}", data.display()))
            .env("BURSAR_ADMIN_KEY", ADMIN_KEY)
            .env(
                "BURSAR_JWT_SECRET",
                "crash-suite-token-secret-0123456789abcdef",
            )
            .env("APP_BASE_URL", "http://127.0.0.1:8087")
            .env("STRIPE_API_KEY", "sk_test_crash_suite_0123456789")
            .env("STRIPE_API_BASE", self.sandbox.base_url())
            .env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
            .env("BURSAR_PLANS_FILE", self.folder.path().join("plans.toml"))
            .output()
            .expect("timeout(1) runs");
        Told {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn page() -> Exporter {
    static HANDLE: OnceLock<metrics_exporter_prometheus::PrometheusHandle> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| exporter::install("0.0.0-test").unwrap());
    Exporter::new(handle.clone(), None)
}

/// Waits until all was delivered and applied.
async fn settled(sandbox: &Sandbox, control: &mut Control) {
    let started = Instant::now();
    let mut calm = 0;
    while calm < 20 {
        assert!(started.elapsed() < PATIENCE, "it does not settle");
        tokio::time::sleep(Duration::from_millis(25)).await;
        let waits = control
            .get("/api/v1/webhook-events?status=received&limit=1")
            .await;
        let waits = waits.unwrap().json["data"]
            .as_array()
            .is_none_or(|data| !data.is_empty());
        let is_calm = !waits && sandbox.control().unsent_deliveries() == 0;
        calm = if is_calm { calm + 1 } else { 0 };
    }
}
