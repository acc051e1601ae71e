//! Commands whose answer depends on the moment (BC4, BC6, BC8, BC23): in flight, after the end, while Stripe is away.

use super::{Tally, World};
use crate::child::{ADMIN_KEY, WEBHOOK_SECRET};
use bursar_sandbox::{Fault, FaultKind};
use serde_json::Value;
use std::time::{Duration, Instant};

const REFUNDS: &str = "POST /api/v1/refunds";

pub(super) async fn rows(app: &World, tally: &mut Tally) {
    let control = app.sandbox.control();
    let url = format!("{}/webhook", app.server.url());
    control.set_webhook(Some(url), vec![WEBHOOK_SECRET.to_owned()]);
    in_flight(app, tally).await;
    over(app, tally).await;
    away(app, tally).await;
    control.set_webhook(None, Vec::new());
}

async fn ask(
    app: &World,
    line: &str,
    key: Option<&str>,
    body: &str,
) -> crate::catalogue::wire::Reply {
    let bearer = format!("Bearer {ADMIN_KEY}");
    let mut headers = vec![
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    headers.extend(key.map(|key| ("Idempotency-Key", key)));
    app.send(line, &headers, body.as_bytes()).await
}

/// A payment of 50.00 made at Stripe, once its events have come.
async fn payment(app: &World, method: &str, status: &str) -> String {
    let form = format!(
        "amount=5000&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method={method}\
         &metadata[tenant_id]=t1"
    );
    let sent = reqwest::Client::new()
        .post(format!("{}/v1/payment_intents", app.sandbox.base_url()))
        .bearer_auth("sk_test_badinput")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let made: Value = sent.send().await.unwrap().json().await.unwrap();
    let id = made["id"].as_str().expect("an intent").to_owned();
    let started = Instant::now();
    loop {
        let shown = app
            .operator(&format!("GET /api/v1/payments/{id}"), "")
            .await;
        if shown.status == 200 && shown.json()["status"] == status {
            return id;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{shown:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn slow(seconds: u32) -> Fault {
    Fault {
        seconds: Some(seconds),
        ..Fault::once(FaultKind::Slow, "POST /v1/refunds")
    }
}

/// The same key while the first is under way; and no amount in another currency's exponent (BC4, BC6).
async fn in_flight(app: &World, tally: &mut Tally) {
    let id = payment(app, "automatic", "succeeded").await;
    for body in [
        format!(r#"{{"paymentId":"{id}","amount":10.5}}"#),
        format!(r#"{{"paymentId":"{id}","amount":"10.50"}}"#),
        format!(r#"{{"paymentId":"{id}","amount":10,"currency":"jpy"}}"#),
    ] {
        tally.is("BC6", &ask(app, REFUNDS, None, &body).await, &[400, 422]);
    }
    assert!(app.sandbox.control().add_fault(slow(3)));
    let body = format!(r#"{{"paymentId":"{id}","amount":10}}"#);
    let first = ask(app, REFUNDS, Some("bc4"), &body);
    let second = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let again = ask(app, REFUNDS, Some("bc4"), &body).await;
        let other = body.replace(":10", ":20");
        (again, ask(app, REFUNDS, Some("bc4"), &other).await)
    };
    let (first, (again, other)) = tokio::join!(first, second);
    tally.is("BC4", &first, &[200, 201, 202]);
    tally.is("BC4", &again, &[409]);
    let is_told = again.header("retry-after").is_some();
    tally.case("BC4", is_told, || format!("{again:?}"));
    tally.is("BC4", &other, &[409]);
}

/// What is final is neither taken nor let go again (BC8).
async fn over(app: &World, tally: &mut Tally) {
    for (first, status) in [("cancel", "canceled"), ("capture", "succeeded")] {
        let id = payment(app, "manual", "requires_capture").await;
        let line = |verb: &str| format!("POST /api/v1/payments/{id}/{verb}");
        let key = format!("bc8-{first}");
        let done = ask(app, &line(first), Some(&key), "{}").await;
        tally.is("BC8", &done, &[200]);
        let shown = done.json()["status"] == status;
        tally.case("BC8", shown, || done.body.clone());
        let again = ask(app, &line(first), Some(&key), "{}").await;
        tally.case("BC8", again.body == done.body, || again.body.clone());
        for verb in ["capture", "cancel"] {
            let reply = ask(app, &line(verb), None, "{}").await;
            tally.is("BC8", &reply, &[409, 422]);
        }
    }
}

/// Stripe away: said so, and the key is good for the same order later (BC23).
async fn away(app: &World, tally: &mut Tally) {
    let id = payment(app, "automatic", "succeeded").await;
    let control = app.sandbox.control();
    let outage = Fault {
        count: None,
        per_thousand: Some(1_000),
        ..Fault::once(FaultKind::Unavailable, "POST /v1/refunds")
    };
    assert!(control.add_fault(outage));
    let body = format!(r#"{{"paymentId":"{id}","amount":10}}"#);
    let down = ask(app, REFUNDS, Some("bc23"), &body).await;
    tally.is("BC23", &down, &[202, 409, 502, 503, 504]);
    control.clear_faults();
    let started = Instant::now();
    let reply = loop {
        let reply = ask(app, REFUNDS, Some("bc23"), &body).await;
        if matches!(reply.status, 200 | 201) || started.elapsed() > Duration::from_secs(60) {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    tally.is("BC23", &reply, &[200, 201]);
    let made = control.count_objects("refund", "payment_intent", &id);
    tally.case("BC23", made == 1, || format!("{made} refunds"));
}
