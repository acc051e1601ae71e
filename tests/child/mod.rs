//! A child `bursar serve`, for every suite that asks the real binary: how it is started, asked and ended.
//!
//! Its secrets are canaries: whenever it ends, all that it left is searched for them (`canaries`), whatever the suite
//! was about. A panic in its log fails the suite as well, unless the suite says that it causes some.

#![allow(dead_code, reason = "each suite uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several suites")]

pub(crate) mod canaries;

use canaries::Search;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The secret events are signed with.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_CANARYwebhook0123456789abcdef";
/// The operator's key.
pub(crate) const ADMIN_KEY: &str = "CANARY-operator-key-0f9b27c1d4e8a3577ab1";
/// Stripe's key.
pub(crate) const STRIPE_KEY: &str = "sk_test_CANARYstripe55210123456789";
/// What signs access tokens.
pub(crate) const JWT_SECRET: &str = "CANARY-token-secret-77a0e1b2c94411aa";

/// Wall-clock seconds: signatures carry them.
pub(crate) fn unix_now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// How the child is started.
#[derive(Clone)]
pub(crate) struct Settings {
    folder: PathBuf,
    binary: PathBuf,
    env: BTreeMap<String, String>,
    /// What may be seen nowhere: what it is, and the secret.
    secrets: Vec<(String, String)>,
    /// What a whole search must find somewhere, beside the banner.
    known: Option<String>,
    /// This suite causes panics.
    may_panic: bool,
}

impl Settings {
    /// A whole configuration, its data in this folder; Stripe is away.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let own = || env!("CARGO_BIN_EXE_bursar").into();
        let settings = Self {
            folder: folder.to_owned(),
            binary: std::env::var_os("BURSAR_BIN").map_or_else(own, PathBuf::from),
            env: BTreeMap::new(),
            secrets: Vec::new(),
            known: None,
            may_panic: false,
        };
        let store = format!("sled:{}", folder.join("data").display());
        settings
            .env("PATH", &std::env::var("PATH").unwrap_or_default())
            .env("BURSAR_LISTEN", "127.0.0.1:0")
            .env("BURSAR_METRICS_LISTEN", "127.0.0.1:0")
            .env("BURSAR_STORE", &store)
            .env("APP_BASE_URL", "http://127.0.0.1:8087")
            .env("STRIPE_API_BASE", "http://127.0.0.1:9")
            .secret("BURSAR_ADMIN_KEY", ADMIN_KEY)
            .secret("BURSAR_JWT_SECRET", JWT_SECRET)
            .secret("STRIPE_API_KEY", STRIPE_KEY)
            .secret("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
    }

    /// With this variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }
    /// Without it.
    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }
    /// With this variable, whose value may be seen nowhere.
    pub(crate) fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.push((name.to_owned(), value.to_owned()));
        self.env(name, value)
    }
    /// What is no secret, is stored, and must be found by a whole search.
    pub(crate) fn known(mut self, text: &str) -> Self {
        self.known = Some(text.to_owned());
        self
    }
    /// This build's binary, with a seeded bug switched on: a shipped one holds none.
    #[cfg(feature = "mutants")]
    pub(crate) fn mutant(mut self, id: &'static str) -> Self {
        self.binary = env!("CARGO_BIN_EXE_bursar").into();
        self.may_panic = true;
        self.env("SEEDED_BUG", id)
    }
    /// This build's binary: one that is measured otherwise has no numbered steps.
    #[cfg(feature = "mutants")]
    pub(crate) fn own_binary(mut self) -> Self {
        self.binary = env!("CARGO_BIN_EXE_bursar").into();
        self
    }
    /// This build's binary, which ends itself at this pass of a numbered step.
    #[cfg(feature = "mutants")]
    pub(crate) fn crash_at(self, point: &str, pass: u64) -> Self {
        let at = format!("{point}:{pass}");
        self.own_binary().env("BURSAR_CRASH_AT", &at)
    }
    /// With a Stripe that is there, and a catalogue of its prices.
    pub(crate) fn stripe(self, base: &str, plans: &str) -> Self {
        let file = self.folder.join("plans.toml");
        std::fs::write(&file, plans).expect("the folder can be written");
        self.env("STRIPE_API_BASE", base)
            .env("BURSAR_PLANS_FILE", &file.display().to_string())
    }
    pub(crate) fn drain_seconds(self, drain_seconds: u32) -> Self {
        self.env("BURSAR_DRAIN_SECONDS", &drain_seconds.to_string())
    }

    /// Any command under this configuration and no other.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }
    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
    /// The store's folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }
    /// Which of its secrets a text holds.
    pub(crate) fn leaks(&self, text: &str) -> Vec<&str> {
        let found = self
            .secrets
            .iter()
            .filter(|(_, secret)| text.contains(secret.as_str()));
        found.map(|(what, _)| what.as_str()).collect()
    }
    fn log(&self) -> PathBuf {
        self.folder.join("stderr.log")
    }
}

/// The child. Ended and searched when dropped.
pub(crate) struct Server {
    child: Child,
    settings: Settings,
    public: SocketAddr,
    metrics: SocketAddr,
    command_line: Vec<u8>,
    out: Option<JoinHandle<String>>,
    more: Search,
    started: Instant,
    client: reqwest::Client,
    is_over: bool,
}

impl Server {
    /// Starts the binary and reads its addresses off the banner.
    pub(crate) fn start(settings: &Settings) -> Self {
        match Self::begin(settings) {
            Ok(server) => server,
            Err(seen) => {
                let log = std::fs::read_to_string(settings.log()).unwrap_or_default();
                panic!("no banner: {seen}{log}");
            }
        }
    }
    /// The same; `None`: it ended before it had an address.
    pub(crate) fn try_start(settings: &Settings) -> Option<Self> {
        Self::begin(settings).ok()
    }

    fn begin(settings: &Settings) -> Result<Self, String> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(settings.log());
        let started = Instant::now();
        let mut child = settings
            .command()
            .arg("serve")
            .stdout(Stdio::piped())
            .stderr(log.expect("the folder can be written"))
            .spawn()
            .expect("the binary starts");
        let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut seen = String::new();
        let mut address = |named: &str| loop {
            let mut line = String::new();
            if out.read_line(&mut line).expect("the banner is text") == 0 {
                return None;
            }
            seen.push_str(&line);
            if line.contains(named) {
                let rest = line.split("http://").nth(1).expect("an address");
                let address = rest.split('/').next().expect("host and port");
                return Some(address.trim().parse().expect("an address"));
            }
        };
        let (public, metrics) = (address("webhooks in"), address("metrics"));
        let (Some(public), Some(metrics)) = (public, metrics) else {
            child.wait().expect("the child ends");
            return Err(seen);
        };
        let command_line = std::fs::read(format!("/proc/{}/cmdline", child.id()));
        // Keeps the pipe drained: a full one would block the child.
        let out = std::thread::spawn(move || {
            let _ = out.read_to_string(&mut seen);
            seen
        });
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Ok(Self {
            child,
            settings: settings.clone(),
            public,
            metrics,
            command_line: command_line.unwrap_or_default(),
            out: Some(out),
            more: Search::default(),
            started,
            client,
            is_over: false,
        })
    }

    /// The base address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.public)
    }
    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.public
    }
    /// Where its metrics are.
    pub(crate) const fn metrics(&self) -> SocketAddr {
        self.metrics
    }
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
    /// What else may be seen nowhere.
    pub(crate) fn keep_secret(&mut self, what: &str, secret: &str) -> String {
        assert!(secret.len() >= 12, "{what} is too short to be searched for");
        let known = &mut self.settings.secrets;
        known.push((what.to_owned(), secret.to_owned()));
        secret.to_owned()
    }

    /// What else is searched when it ends.
    pub(crate) fn also_search(&mut self, place: &str, bytes: Vec<u8>) {
        self.more.look_in(place, bytes);
    }
    /// Searches the data as they are now, too: what is there for a moment only.
    pub(crate) fn also_search_data(&mut self) {
        self.more.look_in_files(&self.settings.data_dir());
    }

    /// Waits for `/readyz`; answers the milliseconds since the start of the process.
    pub(crate) async fn wait_ready(&mut self) -> u128 {
        loop {
            let url = format!("{}/readyz", self.url());
            let ready = self.client.get(url).send().await;
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
            .get(format!("{}{path}", self.url()))
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
            .post(format!("{}/api/v1/tenants", self.url()))
            .bearer_auth(ADMIN_KEY)
            .json(&order);
        let answer = sent.send().await.expect("the server answers");
        assert!(
            answer.status().is_success(),
            "tenant {id}: {}",
            answer.text().await.unwrap_or_default()
        );
    }

    /// `kill -9`. Only what it wrote to its outputs is searched: the suite goes on with its data.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the child runs");
        self.child.wait().expect("the child ends");
        self.search(false, Vec::new());
    }

    /// SIGTERM; answers the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let page = self.metrics_page();
        self.send_terminate();
        let code = self.child.wait().expect("the child ends").code();
        self.search(true, page);
        code
    }

    /// SIGTERM, and on with the test.
    pub(crate) fn send_terminate(&self) {
        self.signal("-TERM");
    }

    /// Any signal.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args([name, &pid])
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
    pub(crate) fn socket(&self) -> PathBuf {
        self.settings.data_dir().join("bursar.sock")
    }

    /// What it and those before it in the folder logged.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.settings.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Panics that it and those before it in the folder told of.
    pub(crate) fn panics(&self) -> usize {
        self.log().matches("panicked at").count()
    }

    /// The page of metrics; empty if it is not served any more.
    pub(crate) fn metrics_page(&self) -> Vec<u8> {
        let mut page = Vec::new();
        let asked = TcpStream::connect(self.metrics).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let token = self.settings.env.get("BURSAR_METRICS_TOKEN");
            let line = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
            let line = line.unwrap_or_default();
            let head = format!(
                "GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n{line}\r\n"
            );
            stream.write_all(head.as_bytes())?;
            stream.read_to_end(&mut page)
        });
        match asked {
            Ok(_) => page,
            Err(_) => Vec::new(),
        }
    }

    /// Looks for the canaries in what the process, which has ended, left.
    fn search(&mut self, with_data: bool, metrics: Vec<u8>) {
        self.is_over = true;
        let out = self.out.take().map(JoinHandle::join);
        let out = out.and_then(Result::ok).unwrap_or_default();
        assert!(out.contains("webhooks in"), "the search would find nothing");
        let mut search = std::mem::take(&mut self.more);
        search.look_in("standard output", out.into_bytes());
        search.look_in("the command line", std::mem::take(&mut self.command_line));
        search.look_in("metrics", metrics);
        let log = std::fs::read(self.settings.log()).unwrap_or_default();
        search.look_in("the log", log);
        if with_data {
            search.look_in_files(&self.settings.data_dir());
        }
        let known = self.settings.known.as_ref().filter(|_| with_data);
        search.end(&self.settings.secrets, known, with_data);
        let panics = self.panics();
        assert!(self.settings.may_panic || panics == 0, "panics={panics}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let page = if self.is_over {
            Vec::new()
        } else {
            self.metrics_page()
        };
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.settings.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(30)..];
            eprintln!("the binary's last words:\n{}", last.join("\n"));
        } else if !self.is_over {
            self.search(true, page);
        }
    }
}
