//! Ten times the orders there are places for, a Stripe that hangs, 2,000 idle connections and 1,000 that send a byte a
//! second: orders are shed at once with a time to come back, deliveries are taken to the last, memory stays under its
//! ceiling, and afterwards all is as before.

use crate::child::{ADMIN_KEY, Server, Settings};
use crate::drain::{Load, PLANS, hung_stripe, is_long, lost};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Orders that may be under way at once.
const PLACES: usize = 64;
const TENANTS: usize = 40;
const IDLE: usize = 2_000;
const DRIPPING: usize = 1_000;
/// What the process may take at most: bodies in hand (64 MiB), rows in memory (24 MiB twice), caches, and connections.
const RSS_MIB_MAX: u64 = 512;

/// Both sides' sockets are open files.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= 4_096,
        "at most {most} open files: too few for this test"
    );
}

/// The most memory a process ever had.
fn rss_peak_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap() / 1_024
}

/// Opens again what the server closes, until told to stop; answers how often it was closed.
async fn hold(address: SocketAddr, drips: bool, stop: Arc<AtomicBool>) -> usize {
    let mut closed = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        };
        let head = b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        for byte in head.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                return closed;
            }
            let is_open = if drips {
                stream.write_all(&[*byte]).await.is_ok()
            } else {
                let mut byte = [0];
                let looked =
                    tokio::time::timeout(Duration::from_millis(10), stream.peek(&mut byte));
                looked.await.is_err()
            };
            if !is_open {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        closed += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    closed
}

/// What the orders were answered.
#[derive(Default)]
struct Orders {
    by_status: Mutex<BTreeMap<u16, usize>>,
    /// Shed without saying when to come back.
    silent: AtomicUsize,
    unreached: AtomicUsize,
    stop: AtomicBool,
}

impl Orders {
    async fn give(self: Arc<Self>, client: reqwest::Client, url: String, tenant: usize) {
        let order = serde_json::json!({"tenantId": format!("t{tenant}"), "planId": "hobby"});
        while !self.stop.load(Ordering::Relaxed) {
            let sent = client.post(&url).bearer_auth(ADMIN_KEY).json(&order);
            match sent.send().await {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    *self.by_status.lock().unwrap().entry(status).or_default() += 1;
                    let says_when = answer.headers().contains_key("retry-after");
                    let is_silent = matches!(status, 429 | 503) && !says_when;
                    self.silent
                        .fetch_add(usize::from(is_silent), Ordering::Relaxed);
                    if status == 503 {
                        // The shortest it may be told.
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
                Err(_) => {
                    self.unreached.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            }
        }
    }
}

/// Ten reads and ten deliveries in a row go well; how long until they did.
async fn normal_again(server: &Server) -> u128 {
    let since = Instant::now();
    let client = reqwest::Client::new();
    loop {
        let load = Load::on(
            server,
            900_000_000 + u64::try_from(since.elapsed().as_millis()).unwrap() * 100,
        );
        let senders = load.begin(1);
        let mut good = 0;
        while good < 10 {
            let url = format!("{}/api/v1/tenants?limit=1", server.url());
            let read = client.get(url).bearer_auth(ADMIN_KEY).send().await;
            if !read.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            good += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (acked, refused) = load.end(senders).await;
        if good == 10 && refused.is_empty() && acked.len() >= 10 {
            return since.elapsed().as_millis();
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "never normal again: {refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_sheds_orders_keeps_deliveries_and_passes() {
    allow_many_files();
    let seconds = if is_long() { 60 } else { 8 };
    let folder = tempfile::tempdir().unwrap();
    let stripe = hung_stripe().await;
    let settings = Settings::in_folder(folder.path()).stripe(&stripe, PLANS);
    let mut server = Server::start(&settings);
    server.wait_ready().await;
    for tenant in 0..TENANTS {
        server.create_tenant(&format!("t{tenant}")).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let address = server.address();
    let held: Vec<_> = (0..IDLE + DRIPPING)
        .map(|n| tokio::spawn(hold(address, n >= IDLE, Arc::clone(&stop))))
        .collect();
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(40))
        .build()
        .unwrap();
    let orders = Arc::new(Orders::default());
    let url = format!("{}/api/v1/checkout-sessions", server.url());
    let giving: Vec<_> = (0..10 * PLACES)
        .map(|n| {
            let orders = Arc::clone(&orders);
            tokio::spawn(orders.give(client.clone(), url.clone(), n % TENANTS))
        })
        .collect();
    let load = Load::on(&server, 0);
    let senders = load.begin(8);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (acked, refused) = load.end(senders).await;
    orders.stop.store(true, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    let mut closed = 0;
    for one in held {
        closed += one.await.unwrap();
    }
    for one in &giving {
        one.abort();
    }
    let normal_ms = normal_again(&server).await;
    let lost = lost(&server, &acked).await;
    let peak = rss_peak_mib(&server);
    let by_status = orders.by_status.lock().unwrap().clone();
    let shed = by_status.get(&503).copied().unwrap_or(0);
    let (silent, unreached) = (
        orders.silent.load(Ordering::Relaxed),
        orders.unreached.load(Ordering::Relaxed),
    );
    println!(
        "overload seconds={seconds} shed={shed} without_retry_after={silent} unreached={unreached} answers={by_status:?} \
         webhooks={} webhooks_refused={} webhooks_unreached={} webhooks_lost={lost} connections_closed={closed} rss_peak_mib={peak} \
         normal_ms={normal_ms}",
        acked.len(),
        refused.len(),
        load.unreached.load(Ordering::Relaxed)
    );
    assert!(shed > 0, "nothing was shed: {by_status:?}");
    assert_eq!(silent, 0, "shed without a time to come back");
    let odd: Vec<_> = by_status
        .keys()
        .filter(|status| ![202, 429, 502, 503].contains(status))
        .collect();
    assert!(odd.is_empty(), "{by_status:?}");
    assert!(refused.is_empty(), "deliveries go last: {refused:#?}");
    assert!(
        acked.len() >= 8 && lost == 0,
        "{} acked, {lost} lost",
        acked.len()
    );
    assert!(closed > 0, "the slow were never closed");
    assert!(peak <= RSS_MIB_MAX, "{peak} MiB");
    let _ = server.terminate();
}
