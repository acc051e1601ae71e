//! What the load is sent to: bare hyper, verification without a store, or the product.
//!
//! Each target is a child process of the same binary, so that its CPU time and memory are its own.
//!
//! Invariants: bare and verify-only answer on one current-thread runtime, as the product's intake
//! does; `verify` uses the product's own signature check and router, and stores nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The secret the load is signed with.
pub const WEBHOOK_SECRET: &str = "whsec_bench_0123456789abcdefghij";
/// The operator key of the targets.
pub(super) const ADMIN_KEY: &str = "bench-operator-key-0123456789abcdef";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// hyper answering the same POST, nothing else.
    Bare,
    /// Signature and parse, no store.
    Verify,
    /// Bursar on a fresh embedded store.
    Bursar,
    /// What answers orders as Stripe does.
    Stripe,
}

/// A running target; ended when dropped.
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its metrics are, if it has any.
    pub metrics: Option<SocketAddr>,
}

impl Target {
    /// The word used in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare hyper",
            Self::Verify => "verify only",
            Self::Bursar => "bursar",
            Self::Stripe => "stripe stub",
        }
    }

    /// How often it gets the same requests to be busy about as long as the product is with them once. A shared
    /// machine has its quiet moments, and who is measured for a shorter time finds one sooner.
    pub const fn times(self) -> usize {
        match self {
            Self::Bare => 5,
            Self::Verify => 2,
            Self::Bursar | Self::Stripe => 1,
        }
    }

    /// Starts it, with its data (if any) in `folder`.
    ///
    /// # Errors
    /// The process does not start or prints no address.
    pub fn start(self, folder: &Path) -> std::io::Result<Running> {
        let mut command = Command::new(std::env::current_exe()?);
        match self {
            Self::Bare => command.args(["bench", "target", "bare"]),
            Self::Verify => command.args(["bench", "target", "verify"]),
            Self::Stripe => command.args(["bench", "target", "stripe"]),
            Self::Bursar => command.arg("serve"),
        };
        let mut child = command
            .env_clear()
            .env("BURSAR_LISTEN", "127.0.0.1:0")
            .env("BURSAR_METRICS_LISTEN", "127.0.0.1:0")
            .env(
                "BURSAR_STORE",
                format!("sled:{}", folder.join("data").display()),
            )
            .env("BURSAR_ADMIN_KEY", ADMIN_KEY)
            .env("BURSAR_JWT_SECRET", "bench-token-secret-0123456789abcdefgh")
            .env("APP_BASE_URL", "http://127.0.0.1:8087")
            .env("STRIPE_API_KEY", "sk_test_bench_0123456789")
            .env("STRIPE_API_BASE", "http://127.0.0.1:9")
            .env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
            .env("BURSAR_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| std::io::Error::other("no standard output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let (mut address, mut metrics) = (None, None);
        while address.is_none() || (self == Self::Bursar && metrics.is_none()) {
            let line = lines
                .next()
                .ok_or_else(|| std::io::Error::other("the target printed no address"))??;
            address = address.or_else(|| address_before(&line, "/webhook"));
            metrics = metrics.or_else(|| address_before(&line, "/metrics"));
        }
        std::thread::spawn(move || lines.for_each(drop));
        let address =
            address.ok_or_else(|| std::io::Error::other("the target printed no address"))?;
        Ok(Running {
            child,
            address,
            metrics,
        })
    }
}

/// The socket address in `http://ADDRESS/webhook`.
fn address_before(line: &str, path: &str) -> Option<SocketAddr> {
    let rest = &line[line.find("http://")? + 7..];
    rest.strip_suffix(path)
        .or_else(|| rest.split_once(path).map(|(before, _)| before))?
        .parse()
        .ok()
}

/// CPU time of threads by their name, in microseconds.
pub type ByThread = BTreeMap<String, u64>;

/// CPU time the threads of a process used so far, user and system.
fn cpu_by_thread(pid: u32) -> ByThread {
    // The scheduler's own nanoseconds: `stat` counts in steps of 10 ms, a tenth of a short run.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let on_cpu = |task: std::io::Result<std::fs::DirEntry>| {
        let folder = task.ok()?.path();
        let name = std::fs::read_to_string(folder.join("comm")).ok()?;
        let text = std::fs::read_to_string(folder.join("schedstat")).ok()?;
        Some((
            name.trim().to_owned(),
            text.split(' ').next()?.parse::<u64>().ok()?,
        ))
    };
    let mut sums = ByThread::new();
    for (name, nanos) in tasks.into_iter().flatten().filter_map(on_cpu) {
        *sums.entry(name).or_default() += nanos;
    }
    sums.values_mut().for_each(|sum| *sum /= 1_000);
    sums
}

/// CPU time the threads of a process used so far, user and system, in microseconds.
pub(super) fn cpu_us(pid: u32) -> u64 {
    cpu_by_thread(pid).values().sum()
}

/// What each thread used between two looks.
pub fn used(before: &ByThread, after: &ByThread) -> ByThread {
    let since = |(name, now): (&String, &u64)| {
        let then = before.get(name).copied().unwrap_or(0);
        (name.clone(), now.saturating_sub(then))
    };
    after.iter().map(since).collect()
}

impl Running {
    /// CPU time its threads used so far, user and system.
    pub fn cpu_by_thread(&self) -> ByThread {
        cpu_by_thread(self.child.id())
    }
    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap_or("");
        line.split_whitespace()
            .next()
            .and_then(|kib| kib.parse().ok())
            .unwrap_or(0)
    }
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
