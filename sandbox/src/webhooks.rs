//! Deliveries: which endpoints hear an event, signing, sending, retrying, the log.
//!
//! Invariants: every attempt is signed anew with the clock's time; any 2xx ends it, a redirect or
//! anything else is retried until the schedule is used up; `pending_webhooks` counts what is owed.
//! Not here: making events (`world`).
//! Failure: a receiver that is away is a log line, never an error of the sandbox.
//! Source of outside rules: Stripe documentation, "Webhooks: event delivery behaviors".

use crate::faults::{Fault, FaultKind};
use crate::older;
use crate::server::Shared;
use crate::sign;
use crate::world::text;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Newest deliveries kept in the log.
const LOG_MAX: usize = 10_000;
/// Deliveries that may wait at a time.
const WAITING_MAX: usize = 100_000;
/// How much of a receiver's answer the log keeps.
const ANSWER_BYTES_MAX: usize = 4_096;
/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Wait before retry n, in seconds of the sandbox's clock: three days in all, as in live mode.
pub(crate) const RETRY_SECONDS: &[i64] = &[
    5, 30, 120, 600, 3_600, 10_800, 21_600, 43_200, 86_400, 86_400,
];

/// One attempt that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Delivery {
    /// Event id.
    pub event_id: String,
    /// Event type.
    pub event_type: String,
    /// Connected account, if any.
    pub account: Option<String>,
    /// Where it went.
    pub url: String,
    /// First is 1.
    pub attempt: u32,
    /// When, unix milliseconds of the sandbox's clock.
    pub at_unix_ms: i64,
    /// The receiver's status; 0 when there was no answer.
    pub status: u16,
    /// The receiver's answer, cut, or what went wrong.
    pub answer: String,
    /// Whether another attempt will follow.
    pub will_retry: bool,
}

impl Delivery {
    /// The two lines `stripe listen` prints.
    pub fn arrows(&self) -> [String; 2] {
        let status = if self.status == 0 {
            "no answer".to_owned()
        } else {
            self.status.to_string()
        };
        [
            format!("-->  {} [{}]", self.event_type, self.event_id),
            format!("<--  [{status}] POST {} [{}]", self.url, self.event_id),
        ]
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Pending {
    due_at_ms: i64,
    account: String,
    event_id: String,
    event_type: String,
    url: String,
    secrets: Vec<String>,
    attempt: u32,
    older_shape: bool,
    fault: Option<FaultKind>,
    resend: bool,
}

/// What waits and what was sent.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    waiting: VecDeque<Pending>,
    in_flight: usize,
    log: VecDeque<Delivery>,
    reordered: Option<Pending>,
    held: Vec<Pending>,
}

impl Deliveries {
    pub(crate) fn log(&self) -> Vec<Delivery> {
        self.log.iter().cloned().collect()
    }

    /// First attempts not made yet, and attempts running.
    pub(crate) fn unsent(&self) -> usize {
        self.in_flight
            + self.waiting.iter().filter(|p| p.attempt == 1).count()
            + usize::from(self.reordered.is_some())
            + self.held.len()
    }

    fn push(&mut self, pending: Pending) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(pending);
        } else {
            tracing::warn!(event.id = %pending.event_id, "too many deliveries wait; one is dropped");
        }
    }
}

/// Queues deliveries for events just made; called under the world's lock.
pub(crate) fn enqueue(shared: &Shared, world: &mut crate::world::World) {
    let made = std::mem::take(&mut world.outbox);
    for (account, event_id) in made {
        for pending in targets(shared, world, &account, &event_id) {
            queue_with_fault(shared, pending);
        }
    }
}

/// Sends an event once more to every endpoint that hears it.
pub(crate) fn resend(
    shared: &Shared,
    world: &mut crate::world::World,
    account: &str,
    event_id: &str,
) -> usize {
    let mut targets = targets(shared, world, account, event_id);
    let count = targets.len();
    for pending in &mut targets {
        pending.resend = true;
    }
    let mut deliveries = shared.deliveries();
    targets
        .into_iter()
        .for_each(|pending| deliveries.push(pending));
    count
}

fn targets(
    shared: &Shared,
    world: &mut crate::world::World,
    account: &str,
    event_id: &str,
) -> Vec<Pending> {
    let Some(event) = world.within(account, |w| w.get("event", event_id).cloned()) else {
        return Vec::new();
    };
    let kind = text(&event, "type");
    let mut found = Vec::new();
    let pending = |url: String, secrets: Vec<String>| Pending {
        due_at_ms: shared.clock.now_unix_ms(),
        account: account.to_owned(),
        event_id: event_id.to_owned(),
        event_type: kind.clone(),
        url,
        secrets,
        attempt: 1,
        older_shape: shared.older_shapes(),
        fault: None,
        resend: false,
    };
    let platform = world.platform.clone();
    let connected = account != platform;
    let mut hear = |w: &mut crate::world::World, connect: bool| {
        for endpoint in w.newest("webhook_endpoint") {
            let wants = endpoint["enabled_events"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|e| e == "*" || *e == kind.as_str());
            if endpoint["status"] == "enabled"
                && (endpoint["__connect"] == true) == connect
                && wants
            {
                let older = endpoint["api_version"]
                    .as_str()
                    .is_some_and(|v| v < "2025-03-31");
                let secrets = endpoint["__secrets"].as_array().into_iter().flatten();
                let secrets = secrets.filter_map(Value::as_str).map(str::to_owned);
                let mut one = pending(text(endpoint, "url"), secrets.collect());
                one.older_shape |= older;
                found.push(one);
            }
        }
    };
    world.within(&platform, |w| hear(w, connected));
    if connected {
        world.within(account, |w| hear(w, false));
    }
    let owed = found.len();
    world.within(account, |w| {
        w.change(event_id, |v| v["pending_webhooks"] = json!(owed))
    });
    found
}

fn queue_with_fault(shared: &Shared, mut pending: Pending) {
    let fault = shared.faults().strike(false, &pending.event_type);
    let mut deliveries = shared.deliveries();
    let waiting_for_us = deliveries.reordered.take();
    match fault.as_ref().map(|f| f.kind) {
        Some(FaultKind::Drop) => {}
        Some(FaultKind::Duplicate) => {
            let mut twin = pending.clone();
            twin.resend = true;
            deliveries.push(pending);
            deliveries.push(twin);
        }
        Some(FaultKind::Reorder) => deliveries.reordered = Some(pending),
        Some(FaultKind::Burst) => {
            pending.due_at_ms = (pending.due_at_ms / 1000 + 1) * 1000;
            deliveries.held.push(pending);
        }
        Some(FaultKind::Late) => {
            pending.due_at_ms += 1000 * i64::from(fault_seconds(fault.as_ref()));
            deliveries.push(pending);
        }
        Some(FaultKind::OlderShape) => {
            pending.older_shape = true;
            deliveries.push(pending);
        }
        other => {
            pending.fault = other;
            deliveries.push(pending);
        }
    }
    if let Some(later) = waiting_for_us {
        deliveries.push(later);
    }
}

fn fault_seconds(fault: Option<&Fault>) -> u32 {
    fault.and_then(|f| f.seconds).unwrap_or(5)
}

/// Runs until the sandbox stops: sends what is due.
pub(crate) async fn run(shared: Arc<Shared>) {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let permits = Arc::new(Semaphore::new(shared.delivery_concurrency));
    loop {
        let Some(pending) = take_due(&shared) else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            release_stragglers(&shared);
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let (shared, client) = (Arc::clone(&shared), client.clone());
        tokio::spawn(async move {
            attempt(&shared, &client, pending).await;
            shared.deliveries().in_flight -= 1;
            drop(permit);
        });
    }
}

fn take_due(shared: &Shared) -> Option<Pending> {
    let now = shared.clock.now_unix_ms();
    let mut deliveries = shared.deliveries();
    if deliveries.held.first().is_some_and(|p| p.due_at_ms <= now) {
        let held = std::mem::take(&mut deliveries.held);
        held.into_iter().for_each(|p| deliveries.push(p));
    }
    let at = deliveries.waiting.iter().position(|p| p.due_at_ms <= now)?;
    let pending = deliveries.waiting.remove(at)?;
    deliveries.in_flight += 1;
    Some(pending)
}

/// An event put behind the next one goes alone when no next one comes.
fn release_stragglers(shared: &Shared) {
    let now = shared.clock.now_unix_ms();
    let mut deliveries = shared.deliveries();
    if deliveries
        .reordered
        .as_ref()
        .is_some_and(|p| now - p.due_at_ms > 2_000)
        && let Some(straggler) = deliveries.reordered.take()
    {
        deliveries.push(straggler);
    }
}

async fn attempt(
    shared: &Shared,
    client: &Client<HttpConnector, Full<Bytes>>,
    mut pending: Pending,
) {
    let event = {
        let mut world = shared.world();
        world.within(&pending.account, |w| {
            w.get("event", &pending.event_id).cloned()
        })
    };
    let Some(event) = event else { return };
    let connected = event["account"].as_str().map(str::to_owned);
    let shown = if pending.older_shape {
        older::event(shared, &pending.account, &event)
    } else {
        event
    };
    let body = serde_json::to_vec_pretty(&shown).unwrap_or_default();
    let now_ms = shared.clock.now_unix_ms();
    let header = signature(&pending, now_ms / 1000, &body);
    let (status, answer) = match post(client, &pending.url, header, body).await {
        Ok(answered) => answered,
        Err(why) => (0, why),
    };
    let delivered = (200..300).contains(&status);
    let retry = if delivered || pending.resend {
        None
    } else {
        shared.retry_after_ms(pending.attempt)
    };
    let delivery = Delivery {
        event_id: pending.event_id.clone(),
        event_type: pending.event_type.clone(),
        account: connected,
        url: pending.url.clone(),
        attempt: pending.attempt,
        at_unix_ms: now_ms,
        status,
        answer,
        will_retry: retry.is_some(),
    };
    if delivered && !pending.resend {
        let mut world = shared.world();
        world.within(&pending.account, |w| {
            w.change(&pending.event_id, |v| {
                let owed = v["pending_webhooks"].as_i64().unwrap_or(0);
                v["pending_webhooks"] = json!((owed - 1).max(0));
            })
        });
    }
    shared.tell_delivery(&delivery);
    let mut deliveries = shared.deliveries();
    deliveries.log.push_back(delivery);
    while deliveries.log.len() > LOG_MAX {
        deliveries.log.pop_front();
    }
    if let Some(wait_ms) = retry {
        pending.attempt += 1;
        pending.fault = None;
        pending.due_at_ms = now_ms + wait_ms;
        deliveries.push(pending);
    }
}

fn signature(pending: &Pending, now: i64, body: &[u8]) -> String {
    match pending.fault {
        Some(FaultKind::OldTimestamp) => sign::header(&pending.secrets, now - 600, body),
        Some(FaultKind::BadSignature) => sign::header(&["whsec_wrong".to_owned()], now, body),
        Some(FaultKind::TwoSignatures) => {
            let mut secrets = vec!["whsec_rolledOutSecret000".to_owned()];
            secrets.extend(pending.secrets.iter().cloned());
            sign::header(&secrets, now, body)
        }
        _ => sign::header(&pending.secrets, now, body),
    }
}

async fn post(
    client: &Client<HttpConnector, Full<Bytes>>,
    url: &str,
    signature: String,
    body: Vec<u8>,
) -> Result<(u16, String), String> {
    if url.starts_with("https://") {
        return Err("this sandbox delivers over plain http only".to_owned());
    }
    let request = Request::post(url)
        .header("content-type", "application/json; charset=utf-8")
        .header(
            "user-agent",
            "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        )
        .header("stripe-signature", signature)
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| e.to_string())?;
    let exchange = async {
        let response = client.request(request).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let answer = answer.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned());
        Ok((
            status,
            answer.unwrap_or_else(|_| "(long answer)".to_owned()),
        ))
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err("timed out after 30 s".to_owned()))
}

/// The log as JSON, newest last.
pub(crate) fn log_json(shared: &Shared) -> Value {
    json!({"object": "list", "data": shared.deliveries().log(), "unsent": shared.deliveries().unsent()})
}
