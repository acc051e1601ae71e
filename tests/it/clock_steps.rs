//! Steps of the wall clock by an hour, forwards and backwards, under load: nothing taken in is lost, nothing counts twice,
//! and Stripe's signatures are judged by the clock as it is.
//!
//! The clock is the app's own, injected; the machine's cannot be moved in a test. Uptime, which waits are measured on, is
//! not moved by a step, as on a real machine.

use crate::app::{App, SECRET};
use bursar::stripe::signature::sign;
use bursar_actors::clock::Clock as _;
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;
const STEPS: i64 = 12;
const EVENTS: i64 = 10;

fn charge(app: &App, n: i64) -> Vec<u8> {
    let now = app.clock.now().seconds();
    json!({
        "id": format!("evt_step_{n}"), "object": "event", "api_version": "2025-04-30.basil",
        "created": now, "livemode": false, "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null}, "type": "charge.succeeded",
        "data": {"object": {
            "id": format!("ch_step_{n}"), "object": "charge", "amount": 1_000, "amount_captured": 1_000,
            "amount_refunded": 0, "currency": "usd", "created": now, "customer": null, "livemode": false,
            "metadata": {"tenant_id": "acme"}, "paid": true, "captured": true, "status": "succeeded",
            "payment_intent": null, "invoice": null, "refunded": false, "disputed": false,
        }},
    })
    .to_string()
    .into_bytes()
}

async fn balance(app: &App) -> (i64, usize) {
    let (mut sum, mut lines, mut cursor) = (0, 0, String::new());
    loop {
        let line = format!("GET /api/v1/ledger?account=stripe_balance&limit=100{cursor}");
        let page = app.operator(&line, "").await.json();
        let amounts = page["data"].as_array().unwrap().iter();
        let amounts: Vec<i64> = amounts
            .map(|line| line["amount"].as_i64().unwrap())
            .collect();
        sum += amounts.iter().sum::<i64>();
        lines += amounts.len();
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (sum, lines),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_the_clock_by_an_hour_lose_nothing_and_double_nothing() {
    let app = App::start().await;
    let tenant = json!({"tenantId": "acme"}).to_string();
    assert_eq!(
        app.operator("POST /api/v1/tenants", &tenant).await.status,
        201
    );
    let (mut sent, mut stale, mut violations) = (0, 0, Vec::<Value>::new());
    for step in 0..STEPS {
        // Of before the step, and delivered after it.
        let late = charge(&app, sent);
        let signed = sign(SECRET, &late, app.clock.now().seconds());
        // Forwards, backwards, twice backwards, twice forwards.
        let hours = [1, -1, -1, 1][usize::try_from(step % 4).unwrap()];
        app.clock.step(hours * HOUR_MS);
        let headers = [("Stripe-Signature", signed.as_str())];
        let reply = app.send("POST /webhook", &headers, &late).await;
        stale += usize::from(reply.status == 401);
        // Stripe comes again, signed anew.
        for n in sent..sent + EVENTS {
            let body = if n == sent {
                late.clone()
            } else {
                charge(&app, n)
            };
            for _ in 0..2 {
                let reply = app.deliver(&body).await;
                if reply.status != 200 {
                    violations.push(json!({"step": step, "event": n, "answer": reply.body}));
                }
            }
        }
        sent += EVENTS;
        app.settle().await;
        let (sum, lines) = balance(&app).await;
        if (sum, lines) != (sent * 1_000, usize::try_from(sent).unwrap()) {
            violations.push(json!({"step": step, "sum": sum, "lines": lines, "sent": sent}));
        }
    }
    println!(
        "clock steps={STEPS} events={sent} stale_refused={stale} violations={}",
        violations.len()
    );
    assert!(violations.is_empty(), "{violations:#?}");
    assert_eq!(
        i64::try_from(stale).unwrap(),
        STEPS,
        "a signature of an hour ago, or ahead, is none"
    );
}
