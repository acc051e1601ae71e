//! Stops and rotations under load: SIGTERM while deliveries come and a call to Stripe hangs loses nothing that was
//! acknowledged and ends in order; a rotation of the webhook secret refuses nothing.

use crate::catalogue::deliveries::event;
use crate::child::{ADMIN_KEY, Server, Settings, WEBHOOK_SECRET, unix_now};
use bursar::stripe::signature::sign;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SENDERS: u64 = 4;

/// The long form is for the night.
pub(crate) fn is_long() -> bool {
    std::env::var("BURSAR_LONG").is_ok_and(|text| text == "1")
}

/// Takes connections and never answers.
pub(crate) async fn hung_stripe() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    format!("http://{address}")
}

pub(crate) const PLANS: &str =
    "[[plan]]\nid = \"hobby\"\nstripe_price_id = \"price_hobby\"\n[plan.subscription]\n";

/// What the senders share.
pub(crate) struct Load {
    url: String,
    /// What signs now.
    pub(crate) secret: Mutex<String>,
    next: AtomicU64,
    pub(crate) acked: Mutex<Vec<u64>>,
    /// Answers that were no 200, as text.
    pub(crate) refused: Mutex<Vec<String>>,
    /// Connections that were closed or never made: sent again.
    pub(crate) unreached: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    pub(crate) fn on(server: &Server, from: u64) -> Arc<Self> {
        Arc::new(Self {
            url: format!("{}/webhook", server.url()),
            secret: Mutex::new(WEBHOOK_SECRET.to_owned()),
            next: AtomicU64::new(from),
            acked: Mutex::default(),
            refused: Mutex::default(),
            unreached: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    pub(crate) fn begin(self: &Arc<Self>, senders: u64) -> Vec<tokio::task::JoinHandle<()>> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let begun = (0..senders).map(|_| tokio::spawn(Arc::clone(self).send(client.clone())));
        begun.collect()
    }

    async fn send(self: Arc<Self>, client: reqwest::Client) {
        while !self.stop.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let body = event(&format!("evt_load_{n}"), unix_now());
            let secret = self.secret.lock().unwrap().clone();
            let signature = sign(&secret, &body, unix_now());
            let sent = client
                .post(&self.url)
                .header("stripe-signature", signature)
                .body(body);
            match sent.send().await {
                Ok(answer) if answer.status().is_success() => self.acked.lock().unwrap().push(n),
                Ok(answer) => {
                    let status = answer.status();
                    let told = answer.text().await.unwrap_or_default();
                    self.refused
                        .lock()
                        .unwrap()
                        .push(format!("{status} {told:.200}"));
                }
                // Nobody there, or no more: Stripe would come again.
                Err(_) => {
                    self.unreached.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    pub(crate) async fn end(
        &self,
        senders: Vec<tokio::task::JoinHandle<()>>,
    ) -> (Vec<u64>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.await.unwrap();
        }
        let acked = std::mem::take(&mut *self.acked.lock().unwrap());
        (acked, std::mem::take(&mut *self.refused.lock().unwrap()))
    }
}

/// Of those acknowledged, how many are not there.
pub(crate) async fn lost(server: &Server, acked: &[u64]) -> usize {
    let mut lost = 0;
    for n in acked {
        let found = server
            .get(&format!("/api/v1/webhook-events/evt_load_{n}"))
            .await;
        lost += usize::from(found["id"] != format!("evt_load_{n}"));
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_with_a_hung_call_loses_nothing_and_ends_in_order() {
    // The call hangs for longer than either form waits: it is cut off, and the next process makes it again.
    let (rounds, drain_seconds) = if is_long() { (40, 25) } else { (3, 6) };
    let folder = tempfile::tempdir().unwrap();
    let stripe = hung_stripe().await;
    let settings = Settings::in_folder(folder.path())
        .stripe(&stripe, PLANS)
        .drain_seconds(drain_seconds);
    let (mut acked, mut exit0, mut most_s, mut refused) = (Vec::new(), 0, 0, 0);
    for round in 0..rounds {
        let mut server = Server::start(&settings);
        server.wait_ready().await;
        if round == 0 {
            server.create_tenant("acme").await;
        }
        let load = Load::on(&server, round * 1_000_000);
        let senders = load.begin(SENDERS);
        let url = format!("{}/api/v1/checkout-sessions", server.url());
        let hung = tokio::spawn(async move {
            let order = serde_json::json!({"tenantId": "acme", "planId": "hobby"});
            let client = reqwest::Client::new();
            let sent = client.post(url).bearer_auth(ADMIN_KEY).json(&order);
            sent.send().await.map(|answer| answer.status().as_u16())
        });
        while load.acked.lock().unwrap().len() < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let asked = Instant::now();
        let mut stopping = server;
        let ended = tokio::task::spawn_blocking(move || stopping.terminate());
        let code = ended.await.unwrap();
        most_s = most_s.max(asked.elapsed().as_secs());
        exit0 += usize::from(code == Some(0));
        let (more, not_taken) = load.end(senders).await;
        acked.extend(more);
        // Shed while it stops, with a time to come back: never refused for good.
        let wrong: Vec<_> = not_taken
            .iter()
            .filter(|told| !told.starts_with("503"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        refused += not_taken.len();
        let _ = hung.await.unwrap();
    }
    let mut server = Server::start(&settings);
    server.wait_ready().await;
    let lost = lost(&server, &acked).await;
    println!(
        "drain rounds={rounds} acked={} lost={lost} shed={refused} max_s={most_s} exit0={exit0}/{rounds}",
        acked.len()
    );
    assert_eq!((lost, exit0), (0, usize::try_from(rounds).unwrap()));
    assert_eq!(server.terminate(), Some(0));
}

/// Until a delivery signed so is taken.
async fn until_taken(load: &Load, secret: &str, what: &str) {
    let client = reqwest::Client::new();
    let started = Instant::now();
    let body = event("evt_probe", unix_now());
    loop {
        let signature = sign(secret, &body, unix_now());
        let sent = client
            .post(&load.url)
            .header("stripe-signature", signature)
            .body(body.clone());
        if sent.send().await.unwrap().status().is_success() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn write(path: &Path, secrets: &str) {
    // As an operator's tool does it: the file is whole at every moment.
    let new = path.with_extension("new");
    std::fs::write(&new, secrets).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_of_the_webhook_secret_under_load_refuses_nothing() {
    let rounds = if is_long() { 20 } else { 5 };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("webhook.secret");
    write(&file, WEBHOOK_SECRET);
    let settings = Settings::in_folder(folder.path())
        .unset("STRIPE_WEBHOOK_SECRET")
        .env("STRIPE_WEBHOOK_SECRET_FILE", &file.display().to_string());
    let mut server = Server::start(&settings);
    server.wait_ready().await;
    let load = Load::on(&server, 0);
    let senders = load.begin(SENDERS);
    let mut current = WEBHOOK_SECRET.to_owned();
    let mut bad_kept = 0;
    for round in 0..rounds {
        let next = format!("whsec_CANARYrotated{round:03}0123456789abcdef");
        server.keep_secret("a rotated webhook secret", &next);
        write(&file, &format!("{next},{current}"));
        server.signal("-HUP");
        until_taken(&load, &next, "the new secret never counted").await;
        // Stripe signs with the new one from here on.
        load.secret.lock().unwrap().clone_from(&next);
        tokio::time::sleep(Duration::from_millis(200)).await;
        // A file that is no set of secrets changes nothing (BE15).
        write(&file, "");
        let told = server.log().matches("stay as they were").count();
        server.signal("-HUP");
        let started = Instant::now();
        while server.log().matches("stay as they were").count() == told {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "it was not read"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        until_taken(&load, &next, "a bad file took the secrets away").await;
        bad_kept += 1;
        write(&file, &next);
        server.signal("-HUP");
        current = next;
    }
    let (acked, refused) = load.end(senders).await;
    let lost = lost(&server, &acked).await;
    println!(
        "rotation rotations={rounds} refused={} acked={} lost={lost} bad_reloads_kept={bad_kept}",
        refused.len(),
        acked.len()
    );
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(acked.len() > 100, "the load did not run: {}", acked.len());
    assert_eq!((lost, server.terminate()), (0, Some(0)));
}
