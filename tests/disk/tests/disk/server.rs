//! A child `bursar serve` whose store is on the disk, and whose log is not.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const WEBHOOK_SECRET: &str = "whsec_disk_suite_0123456789abcdef";
const ADMIN_KEY: &str = "disk-suite-operator-key-0123456789abcdef";
/// Patience, not a figure: the machine does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    metrics: String,
    log: PathBuf,
    client: reqwest::Client,
}

/// How a start went wrong.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Option<i32>,
    pub(crate) told: String,
}

fn binary() -> PathBuf {
    if let Ok(named) = std::env::var("BURSAR_BIN") {
        return named.into();
    }
    // target/debug/deps/it-… beside target/debug/bursar
    let own = std::env::current_exe().unwrap();
    let found = own.ancestors().nth(2).unwrap().join("bursar");
    assert!(found.exists(), "no {}: cargo build", found.display());
    found
}

/// The binary with its configuration and this argument; its store is on the disk.
fn bursar(folder: &Path, argument: &str) -> Command {
    let mut command = Command::new(binary());
    command
        .arg(argument)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .env("BURSAR_LISTEN", "127.0.0.1:0")
        .env("BURSAR_METRICS_LISTEN", "127.0.0.1:0")
        .env(
            "BURSAR_STORE",
            format!("sled:{}", folder.join("disk/data").display()),
        )
        .env("BURSAR_ADMIN_KEY", ADMIN_KEY)
        .env(
            "BURSAR_JWT_SECRET",
            "disk-suite-token-secret-0123456789abcdef",
        )
        .env("APP_BASE_URL", "http://127.0.0.1:8087")
        .env("STRIPE_API_KEY", "sk_test_disk_suite_0123456789")
        .env("STRIPE_API_BASE", "http://127.0.0.1:9")
        .env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET);
    command
}

/// Runs a command beside no server: its exit code, and all it said.
pub(crate) fn run(folder: &Path, argument: &str, further: &[&str]) -> (Option<i32>, String) {
    let output = bursar(folder, argument).args(further).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

impl Server {
    /// Starts it and waits until it is ready, or has ended.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Refused> {
        let log = folder.join("log");
        let mut child = bursar(folder, "serve")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("the binary starts");
        let (mut url, mut metrics) = (None, None);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.by_ref() {
            let line = line.unwrap_or_default();
            let address = line.find("http://").map(|at| line[at..].trim().to_owned());
            if line.contains("webhooks in") {
                url = address.map(|at| at.trim_end_matches("/webhook").to_owned());
            } else if line.contains("metrics") {
                metrics = address;
                break;
            }
        }
        // A full pipe would block the child.
        std::thread::spawn(move || lines.for_each(drop));
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let mut server = Self {
            child,
            url: url.unwrap_or_default(),
            metrics: metrics.unwrap_or_default(),
            log,
            client,
        };
        server.wait_ready().await.map(|()| server)
    }

    async fn wait_ready(&mut self) -> Result<(), Refused> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Err(Refused {
                    code: status,
                    told: self.told(),
                });
            }
            if !self.url.is_empty() && self.status("/readyz").await == Some(200) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(Refused {
                    code: None,
                    told: format!("not ready, not ended: {}", self.told()),
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its exit code once it has ended; the inner one is none if a signal ended it.
    pub(crate) fn ended(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().unwrap().map(|status| status.code())
    }

    /// What it wrote to stderr.
    pub(crate) fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The status of a path anybody may ask for; none if nobody answers.
    pub(crate) async fn status(&self, path: &str) -> Option<u16> {
        let asked = self.client.get(format!("{}{path}", self.url));
        let answer = asked.send().await.ok()?;
        Some(answer.status().as_u16())
    }

    pub(crate) async fn metrics(&self) -> String {
        let Ok(answer) = self.client.get(&self.metrics).send().await else {
            return String::new();
        };
        answer.text().await.unwrap_or_default()
    }

    /// Asks as the operator.
    pub(crate) async fn get(&self, path: &str) -> serde_json::Value {
        let asked = self.client.get(format!("{}{path}", self.url));
        let answer = asked.bearer_auth(ADMIN_KEY).send().await;
        let answer = answer.expect("the server answers");
        answer.json().await.expect("answers are JSON")
    }

    /// Creates a tenant as the operator, or finds it there.
    pub(crate) async fn create_tenant(&self, id: &str) {
        let order = serde_json::json!({"tenantId": id});
        let asked = self.client.post(format!("{}/api/v1/tenants", self.url));
        let answer = asked.bearer_auth(ADMIN_KEY).json(&order).send().await;
        let status = answer.expect("the server answers").status();
        assert!(status.is_success(), "tenant {id}: {status}");
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
