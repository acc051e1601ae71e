//! What applications are told, from Stripe's event to the receiver's answer, over real sockets.

mod deliveries;
mod endpoints;
mod feed;
mod receiver;

use crate::stage::{Bursar, Stage};
use receiver::Receiver;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ENDPOINTS: &str = "/api/v1/notification-endpoints";
/// How long anything may take to appear.
const PATIENCE: Duration = Duration::from_secs(40);

/// An answer: status and body.
type Reply = (u16, Value);

/// A request with a key, on behalf of a tenant or not.
async fn ask(
    bursar: &Bursar,
    key: Option<&str>,
    tenant: Option<&str>,
    line: &str,
    body: Value,
) -> Reply {
    let (verb, path) = line.split_once(' ').unwrap();
    let admin = bursar.config.access.admin_key.expose_secret();
    let method: reqwest::Method = verb.parse().unwrap();
    let url = format!("http://{}{path}", bursar.public);
    let mut request = reqwest::Client::new().request(method, url);
    request = request.bearer_auth(key.unwrap_or(admin));
    if let Some(tenant) = tenant {
        request = request.header("x-tenant-id", tenant);
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// A request of the operator's that must succeed.
async fn order(bursar: &Bursar, line: &str, body: Value) -> Value {
    let (status, answer) = ask(bursar, None, None, line, body).await;
    assert!((200..300).contains(&status), "{line}: {status} {answer}");
    answer
}

/// A service key of these scopes.
async fn service_key(bursar: &Bursar, scopes: &[&str]) -> String {
    let body = json!({"name": "test", "scopes": scopes});
    let made = order(bursar, "POST /api/v1/service-keys", body).await;
    made["key"].as_str().unwrap().to_owned()
}

/// An endpoint at this receiver; answers its id. The receiver learns the secret.
async fn endpoint(bursar: &Bursar, receiver: &Receiver, more: Value) -> String {
    let mut body = json!({"url": receiver.url()});
    let more = more.as_object().cloned().unwrap_or_default();
    body.as_object_mut().unwrap().extend(more);
    let made = order(bursar, &format!("POST {ENDPOINTS}"), body).await;
    receiver.knows(made["secret"].as_str().unwrap());
    made["id"].as_str().unwrap().to_owned()
}

/// Everything in the feed, oldest first.
async fn whole_feed(bursar: &Bursar) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = order(
            bursar,
            &format!("GET /api/v1/notifications?limit=100{after}"),
            Value::Null,
        )
        .await;
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        if page["hasMore"] == false {
            return all;
        }
        after = format!("&after={}", page["nextCursor"].as_str().unwrap());
    }
}

/// Waits until it is so.
async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Waits until nothing waits to be announced, and the feed stands still.
async fn announced(bursar: &Bursar) -> Vec<Value> {
    bursar.settle().await;
    until("everything is announced", || async {
        let store = bursar.store();
        let due = store.due_effects(
            bursar_domain::decision::Lane::Notify,
            bursar.app.edge().now(),
            1,
        );
        due.await.unwrap().is_empty()
    })
    .await;
    whole_feed(bursar).await
}

/// A stage with one Bursar that hears.
async fn stage() -> (Stage, Bursar) {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    (stage, bursar)
}

/// A tenant pays for a plan, and Bursar has heard.
async fn buys(stage: &Stage, bursar: &Bursar, tenant: &str, plan: &str) {
    stage.buys(tenant, plan).await;
    stage.delivered().await;
    bursar.settle().await;
}
