//! A child `bursar serve` on a data folder that outlives it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The secret events are signed with.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_crash_suite_0123456789abcdef";
/// The operator's key.
pub(crate) const ADMIN_KEY: &str = "crash-suite-operator-key-0123456789abcdef";

/// Wall-clock seconds: signatures carry them.
pub(crate) fn unix_now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// How the child is started.
pub(crate) struct Settings {
    folder: PathBuf,
    drain_seconds: u32,
    mutant: Option<&'static str>,
    crash_at: Option<String>,
    is_own: bool,
    stripe_base: String,
    plans: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            drain_seconds: 25,
            mutant: None,
            crash_at: None,
            is_own: false,
            stripe_base: "http://127.0.0.1:9".to_owned(),
            plans: None,
        }
    }

    /// This build's binary, with a seeded bug switched on.
    #[cfg(feature = "mutants")]
    pub(crate) fn mutant(self, id: &'static str) -> Self {
        Self {
            mutant: Some(id),
            ..self
        }
    }

    /// This build's binary, which ends itself at this pass of a numbered step.
    #[cfg(feature = "mutants")]
    pub(crate) fn crash_at(self, point: &str, pass: u64) -> Self {
        Self {
            crash_at: Some(format!("{point}:{pass}")),
            is_own: true,
            ..self
        }
    }

    /// This build's binary, whichever is measured otherwise.
    #[cfg(feature = "mutants")]
    pub(crate) fn own_binary(self) -> Self {
        Self {
            is_own: true,
            ..self
        }
    }

    /// With a Stripe that is there, and a catalogue of its prices.
    pub(crate) fn stripe(self, base: &str, plans: &str) -> Self {
        let file = self.folder.join("plans.toml");
        std::fs::write(&file, plans).expect("the folder can be written");
        Self {
            stripe_base: base.to_owned(),
            plans: Some(file),
            ..self
        }
    }

    pub(crate) fn drain_seconds(self, drain_seconds: u32) -> Self {
        Self {
            drain_seconds,
            ..self
        }
    }
}

/// The child. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    url: String,
    socket: PathBuf,
    started: Instant,
    client: reqwest::Client,
}

impl Server {
    /// Starts the binary and reads its address off the banner.
    pub(crate) fn start(settings: &Settings) -> Self {
        Self::try_start(settings).expect("the banner names the webhook address")
    }

    /// The same; `None`: it ended before it had an address.
    pub(crate) fn try_start(settings: &Settings) -> Option<Self> {
        let own = || env!("CARGO_BIN_EXE_bursar").to_owned();
        let is_own = settings.mutant.is_some() || settings.is_own;
        let (binary, stderr) = match is_own.then_some(()) {
            // A shipped binary holds no bug to switch on, and what this one says of it is no news.
            Some(_) => (own(), Stdio::null()),
            None => (
                std::env::var("BURSAR_BIN").unwrap_or_else(|_| own()),
                Stdio::inherit(),
            ),
        };
        let started = Instant::now();
        let mut child = Command::new(binary)
            .arg("serve")
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("BURSAR_LISTEN", "127.0.0.1:0")
            .env("BURSAR_METRICS_LISTEN", "127.0.0.1:0")
            .env(
                "BURSAR_STORE",
                format!("sled:{}", settings.folder.join("data").display()),
            )
            .env("BURSAR_DRAIN_SECONDS", settings.drain_seconds.to_string())
            .env("BURSAR_ADMIN_KEY", ADMIN_KEY)
            .env(
                "BURSAR_JWT_SECRET",
                "crash-suite-token-secret-0123456789abcdef",
            )
            .env("APP_BASE_URL", "http://127.0.0.1:8087")
            .env("STRIPE_API_KEY", "sk_test_crash_suite_0123456789")
            .env("STRIPE_API_BASE", &settings.stripe_base)
            .env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
            // Failing calls are what those worlds are for, and no news.
            .envs(settings.plans.as_ref().map(|_| ("BURSAR_LOG", "off")))
            .envs(
                settings
                    .plans
                    .as_ref()
                    .map(|file| ("BURSAR_PLANS_FILE", file)),
            )
            .envs(settings.crash_at.as_ref().map(|at| ("BURSAR_CRASH_AT", at)))
            .envs(settings.mutant.map(|id| ("SEEDED_BUG", id)))
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut url = None;
        for line in lines.by_ref() {
            let line = line.expect("the banner is text");
            if let Some(at) = line.find("http://").filter(|_| line.contains("/webhook")) {
                url = Some(
                    line[at..]
                        .trim_end()
                        .trim_end_matches("/webhook")
                        .to_owned(),
                );
                break;
            }
        }
        // Keep the pipe drained: a full pipe would block the child.
        std::thread::spawn(move || lines.for_each(drop));
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let Some(url) = url else {
            child.wait().expect("the child ends");
            return None;
        };
        Some(Self {
            child,
            url,
            socket: settings.folder.join("data/bursar.sock"),
            started,
            client,
        })
    }

    /// The base address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for `/readyz`; answers the milliseconds since the start of the process.
    pub(crate) async fn wait_ready(&mut self) -> u128 {
        loop {
            let ready = self.client.get(format!("{}/readyz", self.url)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return self.started.elapsed().as_millis();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended before it was ready: {status}");
            }
            assert!(
                self.started.elapsed() < Duration::from_secs(60),
                "not ready after 60 s"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks as the operator; answers the JSON whatever the status.
    pub(crate) async fn get(&self, path: &str) -> serde_json::Value {
        let answer = self
            .client
            .get(format!("{}{path}", self.url))
            .bearer_auth(ADMIN_KEY)
            .send()
            .await;
        answer
            .expect("the server answers")
            .json()
            .await
            .expect("answers are JSON")
    }

    /// Creates a tenant as the operator.
    pub(crate) async fn create_tenant(&self, id: &str) {
        let order = serde_json::json!({"tenantId": id});
        let sent = self
            .client
            .post(format!("{}/api/v1/tenants", self.url))
            .bearer_auth(ADMIN_KEY)
            .json(&order);
        let answer = sent.send().await.expect("the server answers");
        assert!(
            answer.status().is_success(),
            "tenant {id}: {}",
            answer.text().await.unwrap_or_default()
        );
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the child runs");
        self.child.wait().expect("the child ends");
    }

    /// SIGTERM; answers the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.send_terminate();
        self.child.wait().expect("the child ends").code()
    }

    /// SIGTERM, and on with the test.
    pub(crate) fn send_terminate(&self) {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill(1) runs");
    }

    /// Whether the process still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The exit code of a process that was told to end.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().expect("the child ends").code()
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
