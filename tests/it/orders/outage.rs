//! Stripe away and back: what is answered meanwhile, what is called, and what becomes of what was ordered.
//!
//! `BURSAR_OUTAGE_SECONDS` makes the connections fail for so long; without it, until the circuit has opened.

use super::money::paid;
use super::stand::{Reply, Stand, at_once};
use bursar_config::BaseUrl;
use bursar_sandbox::{Fault, FaultKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const REFUNDS: &str = "/api/v1/refunds";
const CHECKOUT: &str = "/api/v1/checkout-sessions";
const PORTAL: &str = "/api/v1/billing/stripe/portal";
const STATIC_PORTAL: &str = "https://billing.example.com/p/login/test";
/// As many as the breaker needs failures in a row to open, less one: all of them are let in.
const FIRSTS: usize = 9;
/// Orders placed at once while the circuit is open.
const BURST: usize = 40;
/// For ever, as far as a test goes.
const MANY: u32 = 100_000;
const BUYERS: usize = 6;
/// Patience, not a figure: the circuit may stay open for another minute before its probes find that Stripe is back.
const ENDS_WITHIN: Duration = Duration::from_secs(150);

/// How long connections fail at least.
fn outage() -> Duration {
    let seconds = std::env::var("BURSAR_OUTAGE_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Orders of both kinds: even ones cost nothing when they are repeated, odd ones move money.
fn order(number: usize, payment: &str) -> (&'static str, Value) {
    if number.is_multiple_of(2) {
        (
            CHECKOUT,
            json!({"tenantId": "acme", "planId": "credits-10"}),
        )
    } else {
        (REFUNDS, json!({"paymentId": payment, "amount": 10}))
    }
}

/// Orders something and says how long the answer took.
async fn timed(stand: &Stand, number: usize, payment: &str) -> (Duration, Reply) {
    let (path, body) = order(number, payment);
    let began = Instant::now();
    let reply = stand.keyed(path, &format!("k{number}"), &body).await;
    (began.elapsed(), reply)
}

/// The lines of the audit trail about Stripe's circuit.
async fn transitions(stand: &Stand, action: &str) -> usize {
    let audit = stand.get("/api/v1/audit?limit=100").await.ok();
    let lines = audit["data"].as_array().unwrap().iter();
    lines
        .filter(|line| line["objectId"] == "stripe" && line["action"] == action)
        .count()
}

async fn until_opened(stand: &Stand, times: usize) {
    while transitions(stand, "circuit.opened").await < times {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_stripe_is(stand: &Stand, state: &str) {
    let is_so = |found: &Value| {
        let mut all = found["data"].as_array().unwrap().iter();
        all.any(|one| one["name"] == "stripe" && one["state"] == state)
    };
    stand.until("/api/v1/circuits", is_so).await;
}

/// The next so many requests go wrong in this way, and in no other.
fn only(stand: &Stand, kind: FaultKind, seconds: Option<u32>) {
    let control = stand.sandbox.control();
    control.clear_faults();
    assert!(control.add_fault(Fault {
        count: Some(MANY),
        seconds,
        ..Fault::once(kind, "")
    }));
}

/// All of a burst is held back, without a call; answers how long each took.
async fn held_back(stand: &Stand, from: usize, payment: &str) -> Vec<Duration> {
    let asked = (from..from + BURST).map(|number| timed(stand, number, payment));
    let mut took = Vec::new();
    for (time, reply) in at_once(asked).await {
        assert!(reply.retry_after.is_some_and(|wait| wait >= 1), "{reply:?}");
        reply.problem(503, "stripe_circuit_open");
        took.push(time);
    }
    took
}

/// Buyers pay on Stripe's pages; what they bought is theirs though Stripe answers nothing.
async fn webhooks_arrive(stand: &Stand, buyers: &[(String, String)]) {
    for (tenant, session) in buyers {
        let paid = stand
            .sandbox
            .control()
            .pay_session(session, "4242424242424242", None);
        paid.unwrap();
        let path = format!("/api/v1/tenants/{tenant}");
        stand
            .until(&path, |found| found["license"]["state"] == "active")
            .await;
    }
}

/// Tenants with an open checkout session each.
async fn buyers(stand: &Stand) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for number in 0..BUYERS {
        let tenant = format!("buyer-{number}");
        stand.tenant(&tenant).await;
        let body = json!({"tenantId": tenant, "planId": "hobby"});
        let opened = stand.post(CHECKOUT, &body).await.ok();
        all.push((tenant, opened["sessionId"].as_str().unwrap().to_owned()));
    }
    all
}

/// A tenant with a customer and a payment.
async fn acme(stand: &Stand) -> String {
    stand.tenant("acme").await;
    let (path, body) = order(0, "");
    stand.post(path, &body).await.ok();
    stand
        .until("/api/v1/tenants/acme", |found| {
            found["stripeCustomerId"].is_string()
        })
        .await;
    paid(stand, "acme", false).await
}

/// Every command there is ended well and had one effect; answers how many.
async fn all_done_once(stand: &Stand) -> usize {
    let began = Instant::now();
    let all = loop {
        let all = stand.get("/api/v1/commands?limit=100").await.ok();
        let mut each = all["data"].as_array().unwrap().iter();
        if each.all(|one| one["status"] == "succeeded") {
            break all;
        }
        assert!(began.elapsed() < ENDS_WITHIN, "{all}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let all = all["data"].as_array().unwrap();
    for command in all {
        let id = command["id"].as_str().unwrap();
        let effects = stand.sandbox.control().side_effects(id);
        // A session that was paid made a subscription too.
        let is_one = !effects.is_empty() && effects.values().all(|count| *count == 1);
        assert!(is_one, "{command}: {effects:?}");
    }
    all.len()
}

/// Orders sent after so many requests, the different ones among them, and reads. A read's retry cannot be told from the
/// next read of the same object, so reads are not held to the bound.
fn calls(stand: &Stand, after: usize) -> (usize, usize, usize) {
    let all = stand.sandbox.control().requests();
    let since = &all[after..];
    let keys: Vec<&str> = since
        .iter()
        .filter_map(|one| one.idempotency_key.as_deref())
        .collect();
    let different: BTreeSet<&str> = keys.iter().copied().collect();
    (keys.len(), different.len(), since.len() - keys.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_costs_few_calls_and_no_webhook_and_everything_ends_once() {
    let mut stand = Stand::start().await;
    let payment = acme(&stand).await;
    let buyers = buyers(&stand).await;
    let before = all_done_once(&stand).await;
    let calls_before = stand.sandbox.control().requests().len();
    let delivered_before = stand.sandbox.control().deliveries().len();

    only(&stand, FaultKind::ResetBefore, None);
    let began = Instant::now();
    let firsts = at_once((0..FIRSTS).map(|number| timed(&stand, number, &payment)));
    let meanwhile = async {
        until_opened(&stand, 1).await;
        let mut took = held_back(&stand, FIRSTS, &payment).await;
        webhooks_arrive(&stand, &buyers[..BUYERS / 2]).await;
        tokio::time::sleep(outage().saturating_sub(began.elapsed())).await;
        only(&stand, FaultKind::Unavailable, None);
        until_opened(&stand, 2).await;
        took.extend(held_back(&stand, FIRSTS + BURST, &payment).await);
        webhooks_arrive(&stand, &buyers[BUYERS / 2..]).await;
        took
    };
    let (firsts, mut took) = tokio::join!(firsts, meanwhile);
    let patience = firsts.iter().map(|(time, _)| *time).min().unwrap();
    for (_, reply) in firsts {
        match reply.status {
            502 => drop(reply.problem(502, "stripe_unavailable")),
            _ => assert_eq!(
                (reply.status, &reply.json()["status"]),
                (202, &json!("unknown"))
            ),
        }
    }
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    assert!(p99 * 10 <= patience, "{p99:?} of {patience:?}");

    only(&stand, FaultKind::RateLimited, None);
    until_stripe_is(&stand, "closed").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    only(&stand, FaultKind::Slow, Some(1));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (calls, first_tries, reads) = calls(&stand, calls_before);
    let probes = 3 * transitions(&stand, "circuit.half_open").await;
    stand.sandbox.control().clear_faults();

    let done = all_done_once(&stand).await - before;
    assert_eq!(done, FIRSTS);
    until_stripe_is(&stand, "closed").await;
    assert!(transitions(&stand, "circuit.closed").await >= 1);
    let control = stand.sandbox.control();
    let delivered = control.deliveries().split_off(delivered_before);
    println!(
        "outage_s={} first_tries={first_tries} calls={calls} reads={reads} probes={probes} webhooks={} pending_done={done} \
         p99_ms={} patience_ms={}",
        outage().as_secs(),
        delivered.len(),
        p99.as_millis(),
        patience.as_millis()
    );
    assert!(
        delivered
            .iter()
            .all(|one| one.status == 200 && one.attempt == 1)
    );
    assert!(delivered.len() >= BUYERS);
    assert!(10 * calls <= 11 * first_tries + 10 * probes + 100);
    // Under their keys everything has its answer by now, and nothing new is made for it.
    for number in 0..FIRSTS {
        timed(&stand, number, &payment).await.1.ok();
    }
    assert_eq!(all_done_once(&stand).await, before + FIRSTS);
    stand.end().await;
}

/// Opens the circuit by orders nobody waits for; answers how many there are.
async fn open_circuit(stand: &Stand) -> usize {
    let mut ordered = 0;
    while transitions(stand, "circuit.opened").await == 0 {
        let (path, body) = order(0, "");
        let key = format!("opening-{ordered}");
        let reply = stand.keyed_async(path, &key, &body).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        ordered += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ordered
}

#[tokio::test(flavor = "multi_thread")]
async fn the_static_portal_stands_in_while_stripe_is_away() {
    let body = json!({"tenantId": "acme"});
    for is_configured in [false, true] {
        let mut stand = Stand::start().await;
        if is_configured {
            stand.end().await;
            stand.config.stripe.customer_portal_url = BaseUrl::parse(STATIC_PORTAL).ok();
            stand.begin().await;
        }
        acme(&stand).await;
        only(&stand, FaultKind::Unavailable, None);
        // Somebody came before it was known that Stripe is away.
        let early = stand.keyed(PORTAL, "early", &body);
        let late = async {
            open_circuit(&stand).await;
            let (path, order) = order(0, "");
            let checkout = stand.post(path, &order).await;
            checkout.problem(503, "stripe_circuit_open");
            stand.post(PORTAL, &body).await
        };
        let (early, late) = tokio::join!(early, late);
        if is_configured {
            for reply in [early, late] {
                assert_eq!(reply.ok()["portalUrl"], STATIC_PORTAL);
            }
        } else {
            early.problem(502, "stripe_unavailable");
            late.problem(503, "stripe_circuit_open");
        }
        stand.sandbox.control().clear_faults();
        stand
            .post("/api/v1/circuits/stripe/reset", &json!({}))
            .await;
        let live = stand.keyed(PORTAL, "early", &body).await.ok();
        assert_ne!(live["portalUrl"], STATIC_PORTAL, "{live}");
        stand.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_is_queued_while_stripe_is_away() {
    let mut stand = Stand::start().await;
    let payment = acme(&stand).await;
    // One whose customer is still to be made, too.
    stand.tenant("newcomer").await;
    only(&stand, FaultKind::Unavailable, None);
    let opening = open_circuit(&stand).await;
    let orders = [
        (REFUNDS, json!({"paymentId": payment, "amount": 10})),
        (CHECKOUT, json!({"tenantId": "newcomer", "planId": "hobby"})),
    ];
    let mut queued = Vec::new();
    for (path, body) in &orders {
        let first = stand.keyed_async(path, path, body).await;
        let shown = first.json();
        assert_eq!(first.status, 202, "{first:?}");
        let command = shown["commandId"].as_str().unwrap().to_owned();
        let location = format!("/api/v1/commands/{command}");
        assert_eq!(shown, json!({"commandId": command, "status": "initiated"}));
        assert_eq!(
            (first.status, first.location),
            (202, Some(location.clone()))
        );
        queued.push(location);
    }
    // Held back in the store; a repeat says how it stands, and so does who waits for the end.
    let (path, body) = &orders[0];
    let again = stand.keyed_async(path, path, body).await;
    assert_eq!(
        (again.status, &again.json()["status"]),
        (202, &json!("initiated"))
    );
    let path = format!("{}?waitSeconds=1", queued[0]);
    let found = stand.get(&path).await.ok();
    assert_eq!(found["status"], "initiated", "{found}");
    assert!(stand.requests("POST", "/v1/refunds").is_empty());
    stand.end().await;
    stand.begin().await;
    stand.sandbox.control().clear_faults();
    for path in &queued {
        let path = format!("{path}?waitSeconds=20");
        stand
            .until(&path, |found| {
                assert_ne!(found["status"], "failed", "{found}");
                found["status"] == "succeeded"
            })
            .await;
    }
    for (path, body) in &orders {
        let last = stand.keyed_async(path, path, body).await;
        assert!(matches!(last.status, 200 | 201), "{last:?}");
    }
    // A customer before the setup's checkout, and one of the newcomer.
    assert_eq!(all_done_once(&stand).await, opening + 2 + 2 + 1);
    stand.end().await;
}
