//! Signed charges of 10.00 usd, what was acknowledged of them, and what is there afterwards.

use crate::server::{Server, WEBHOOK_SECRET};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const CHARGED_MINOR: i64 = 1_000;
const SENDERS: u64 = 4;
const TENANTS: u64 = 5;
const SETTLES: Duration = Duration::from_secs(300);

/// What was sent so far, over all lives of the server.
#[derive(Clone, Default)]
pub(crate) struct Load {
    next: Arc<AtomicU64>,
    acked: Arc<Mutex<BTreeSet<u64>>>,
    /// Answers that were neither 2xx nor 503.
    odd: Arc<Mutex<Vec<u16>>>,
    refused: Arc<AtomicU64>,
}

/// Senders at work; they stop when told.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

fn charge_succeeded(n: u64) -> Vec<u8> {
    let sample = bursar::samples::sample("charge.succeeded").expect("the corpus has one");
    let mut event: serde_json::Value = serde_json::from_str(sample).expect("samples are JSON");
    event["id"] = format!("evt_disk_{n}").into();
    let charge = &mut event["data"]["object"];
    charge["id"] = format!("ch_disk_{n}").into();
    charge["payment_intent"] = serde_json::Value::Null;
    charge["customer"] = serde_json::Value::Null;
    charge["balance_transaction"] = format!("txn_disk_{n}").into();
    charge["metadata"] = serde_json::json!({"tenant_id": format!("tenant-{}", n % TENANTS)});
    charge["currency"] = "usd".into();
    for field in ["amount", "amount_captured"] {
        charge[field] = CHARGED_MINOR.into();
    }
    event.to_string().into_bytes()
}

impl Load {
    /// Starts sending.
    pub(crate) fn run(&self, server: &Server) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        let send = |_| {
            let (load, stop, client) = (self.clone(), Arc::clone(&stop), client.clone());
            let url = format!("{}/webhook", server.url);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    load.send(&client, &url).await;
                }
            })
        };
        let tasks = (0..SENDERS).map(send).collect();
        Running { stop, tasks }
    }

    async fn send(&self, client: &reqwest::Client, url: &str) {
        let fresh = self.next.fetch_add(1, Ordering::Relaxed);
        // One in ten is a repeat of something recent.
        let n = if fresh.is_multiple_of(10) {
            fresh.saturating_sub(3)
        } else {
            fresh
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let body = charge_succeeded(n);
        let created = i64::try_from(now.as_secs()).unwrap();
        let signature = bursar::stripe::signature::sign(WEBHOOK_SECRET, &body, created);
        let sent = client.post(url).header("stripe-signature", signature);
        match sent.body(body).send().await.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => {
                self.acked.lock().unwrap().insert(n);
            }
            Ok(status) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                if status.as_u16() != 503 {
                    self.odd.lock().unwrap().push(status.as_u16());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }

    pub(crate) fn acked(&self) -> usize {
        self.acked.lock().unwrap().len()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn odd(&self) -> Vec<u16> {
        self.odd.lock().unwrap().clone()
    }

    /// Waits until all that was stored is applied; counts acknowledged events that are not there, those
    /// that are, and what was booked too much.
    pub(crate) async fn count(&self, server: &Server) -> Counted {
        // Until somebody is known to whom they belong, the charges wait.
        for tenant in 0..TENANTS {
            server.create_tenant(&format!("tenant-{tenant}")).await;
        }
        settle(server).await;
        let acked = self.acked.lock().unwrap().clone();
        let (mut lost, mut stored) = (0, 0);
        for n in 0..self.next.load(Ordering::Relaxed) {
            let found = server
                .get(&format!("/api/v1/webhook-events/evt_disk_{n}"))
                .await;
            let is_applied = found["status"] == "applied";
            stored += u64::from(is_applied);
            if acked.contains(&n) && !is_applied {
                println!("lost: evt_disk_{n}: {found}");
                lost += 1;
            }
        }
        let booked = stripe_balance(server).await;
        Counted {
            lost,
            stored,
            double: booked - i64::try_from(stored).unwrap() * CHARGED_MINOR,
        }
    }
}

pub(crate) struct Counted {
    pub(crate) lost: u64,
    pub(crate) stored: u64,
    /// Minor units booked beyond one charge for each event.
    pub(crate) double: i64,
}

async fn settle(server: &Server) {
    let started = Instant::now();
    loop {
        let mut waits = false;
        for status in ["received", "parked"] {
            let path = format!("/api/v1/webhook-events?status={status}&limit=1");
            let page = server.get(&path).await;
            waits |= page["data"].as_array().is_none_or(|data| !data.is_empty());
        }
        if !waits {
            return;
        }
        assert!(started.elapsed() < SETTLES, "not applied in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn stripe_balance(server: &Server) -> i64 {
    let (mut total, mut cursor) = (0, String::new());
    loop {
        let path = format!("/api/v1/ledger?account=stripe_balance&limit=100{cursor}");
        let page = server.get(&path).await;
        let lines = page["data"].as_array().expect("a page of the ledger");
        total += lines
            .iter()
            .map(|line| line["amount"].as_i64().expect("amounts are integers"))
            .sum::<i64>();
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return total,
        }
    }
}
