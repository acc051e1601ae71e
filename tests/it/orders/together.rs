//! Many clients under one idempotency key, half of them with another body, and a restart in between.
//!
//! Goal: one order is executed, everybody who asked for it gets the same bytes, and everybody who asked for something
//! else under its key is refused, whoever was first and whenever the service ended.

use super::money::paid;
use super::stand::{Reply, Stand};
use bursar_sandbox::{Fault, FaultKind};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CLIENTS: usize = 64;
const REFUNDS: &str = "/api/v1/refunds";
const CHECKOUT: &str = "/api/v1/checkout-sessions";
/// How often a client asks before it is said to wait for ever.
const ASKS_MAX: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(50);

/// One who asks until the answer is final.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    address: Arc<Mutex<SocketAddr>>,
    admin_key: String,
    path: &'static str,
    body: Value,
}

impl Client {
    async fn ask(&self) -> Option<Reply> {
        let address = *self.address.lock().unwrap();
        let url = format!("http://{address}{}", self.path);
        let request = self.http.post(url).json(&self.body);
        let request = request.header("idempotency-key", "one-key");
        let answer = request.bearer_auth(&self.admin_key).send().await.ok()?;
        Reply::heard(answer).await
    }

    async fn until_final(self) -> Reply {
        for _ in 0..ASKS_MAX {
            if let Some(reply) = self.ask().await {
                let problem = reply.json();
                let code = problem["code"].as_str().unwrap_or_default();
                match (reply.status, code) {
                    (200 | 201, _) | (409, "idempotency_key_reused") => return reply,
                    (202 | 429 | 502 | 503, _) | (409, "idempotency_in_progress") => {}
                    _ => panic!("{}: {reply:?}", self.body),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("no final answer for {}", self.body);
    }
}

/// Has everybody ask, half for each body, ends the service within so long in the middle, and counts. Stripe takes long
/// for `slow`, so that it is the middle.
async fn ask_together(
    stand: &mut Stand,
    path: &'static str,
    bodies: [Value; 2],
    slow: &str,
    end_within: Duration,
) {
    let slowly = Fault {
        seconds: Some(1),
        ..Fault::once(FaultKind::Slow, slow)
    };
    assert!(stand.sandbox.control().add_fault(slowly));
    let address = Arc::new(Mutex::new(stand.address));
    let client = Client {
        http: reqwest::Client::new(),
        address: Arc::clone(&address),
        admin_key: stand.config.access.admin_key.expose_secret().to_owned(),
        path,
        body: Value::Null,
    };
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let which = number % 2;
            let body = bodies[which].clone();
            let client = Client {
                body,
                ..client.clone()
            };
            tokio::spawn(async move { (which, client.until_final().await) })
        })
        .collect();
    stand
        .until("/api/v1/commands", |found| !found["data"][0].is_null())
        .await;
    stand.end_within(end_within).await;
    stand.begin().await;
    *address.lock().unwrap() = stand.address;
    let mut replies = Vec::new();
    for client in clients {
        replies.push(client.await.unwrap());
    }
    let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|(_, one)| one.status < 300);
    let winners: BTreeSet<usize> = done.iter().map(|(which, _)| *which).collect();
    let texts: BTreeSet<&str> = done.iter().map(|(_, one)| one.text.as_str()).collect();
    let replays = done.iter().filter(|(_, one)| one.is_replayed).count();
    let keys: BTreeSet<_> = {
        let method_path = slow.split_once(' ').unwrap();
        let sent = stand.requests(method_path.0, method_path.1);
        sent.into_iter().map(|one| one.idempotency_key).collect()
    };
    println!(
        "{path}: clients={CLIENTS} replays={replays} refused={} bodies_distinct={} executed={}",
        refused.len(),
        texts.len(),
        keys.len()
    );
    assert_eq!(winners.len(), 1, "{replies:?}");
    assert_eq!((done.len(), refused.len()), (CLIENTS / 2, CLIENTS / 2));
    assert_eq!((texts.len(), keys.len()), (1, 1), "{texts:?} {keys:?}");
    assert!(replays >= done.len() - 1, "{replays}");
}

const ENDS: [Duration; 2] = [Duration::from_secs(10), Duration::ZERO];

#[tokio::test(flavor = "multi_thread")]
async fn of_many_refunds_under_one_key_one_is_made() {
    for end_within in ENDS {
        let mut stand = Stand::start().await;
        stand.tenant("acme").await;
        let payment = paid(&stand, "acme", false).await;
        let bodies = [10, 20].map(|amount| json!({"paymentId": payment, "amount": amount}));
        ask_together(&mut stand, REFUNDS, bodies, "POST /v1/refunds", end_within).await;
        let control = stand.sandbox.control();
        assert_eq!(
            control.count_objects("refund", "payment_intent", &payment),
            1
        );
        stand.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_checkouts_under_one_key_one_is_opened() {
    for end_within in ENDS {
        let mut stand = Stand::start().await;
        stand.tenant("acme").await;
        let bodies =
            ["credits-10", "hobby"].map(|plan| json!({"tenantId": "acme", "planId": plan}));
        let slow = "POST /v1/checkout/sessions";
        ask_together(&mut stand, CHECKOUT, bodies, slow, end_within).await;
        let control = stand.sandbox.control();
        let opened = control.count_objects("checkout.session", "client_reference_id", "acme");
        assert_eq!(opened, 1);
        stand.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_the_key_of_one_that_waits_is_refused() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let payment = paid(&stand, "acme", false).await;
    stand.fault(FaultKind::Unavailable, 1_000);
    let body = |amount: u32| json!({"paymentId": payment, "amount": amount});
    let first = stand.keyed_async(REFUNDS, "k1", &body(10)).await;
    assert_eq!(first.status, 202, "{first:?}");
    // Before and after a restart: no answer of the first was kept.
    for _ in 0..2 {
        let other = stand.keyed(REFUNDS, "k1", &body(20)).await;
        other.problem(409, "idempotency_key_reused");
        stand.end().await;
        stand.begin().await;
    }
    stand.sandbox.control().clear_faults();
    let path = format!(
        "/api/v1/commands/{}",
        first.json()["commandId"].as_str().unwrap()
    );
    stand
        .until(&path, |found| found["status"] == "succeeded")
        .await;
    let done = stand.keyed(REFUNDS, "k1", &body(10)).await;
    assert_eq!((done.status, &done.json()["amount"]), (201, &json!(10)));
    let control = stand.sandbox.control();
    assert_eq!(
        control.count_objects("refund", "payment_intent", &payment),
        1
    );
    stand.end().await;
}
