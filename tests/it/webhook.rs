//! Stripe's door: every row of the bad-input catalogue (BW), and what is stored for each.

use crate::app::{App, OLD_SECRET, SECRET, START_SECONDS};
use crate::catalogue::deliveries;
use bursar::stripe::signature::{SecretSet, sign};
use bursar_actors::clock::Clock as _;
use bursar_store::api::InputStatus;
use bursar_store::query::InputQuery;

const RECEIVED: &str = r#"{"received":true}"#;
const DUPLICATE: &str = r#"{"received":true,"duplicate":true}"#;

fn event(id: &str) -> Vec<u8> {
    deliveries::event(id, START_SECONDS)
}

async fn stored(app: &App) -> Vec<(String, InputStatus, String)> {
    let query = InputQuery {
        deliveries_only: true,
        limit: 100,
        ..InputQuery::default()
    };
    let page = app.store.inputs(query).await.unwrap();
    let named = page.items.into_iter();
    named
        .map(|view| (view.source.public_id(), view.status, view.reason))
        .collect()
}

#[tokio::test]
async fn a_genuine_event_is_stored_once_and_answered_after_it_is_durable() {
    let app = App::start().await;
    for path in [
        "/webhook",
        "/webhooks/stripe",
        "/api/v1/billing/stripe/webhook",
        "/webhook/",
        "/webhooks/stripe/?from=dashboard",
    ] {
        let body = event(&format!("evt_{}", path.len()));
        let signature = sign(SECRET, &body, START_SECONDS);
        let headers = [("Stripe-Signature", signature.as_str())];
        let reply = app.send(&format!("POST {path}"), &headers, &body).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, RECEIVED),
            "{path}"
        );
        let again = app.send(&format!("POST {path}"), &headers, &body).await;
        assert_eq!(
            (again.status, again.body.as_str()),
            (200, DUPLICATE),
            "{path}"
        );
    }
    assert_eq!(stored(&app).await.len(), 5);
}

#[tokio::test]
async fn what_stripe_did_not_sign_is_refused_and_not_stored() {
    let app = App::start().await;
    let body = event("evt_1");
    let good = sign(SECRET, &body, START_SECONDS);
    let v1 = good.split_once("v1=").unwrap().1.to_owned();
    let rows = deliveries::signature_rows(SECRET, START_SECONDS);
    let count = rows.len();
    for (row, header, body, status, code) in &rows {
        let headers: Vec<(&str, &str)> = header
            .iter()
            .map(|value| ("Stripe-Signature", value.as_str()))
            .collect();
        let reply = app.send("POST /webhook", &headers, body).await;
        reply.is_problem(*status);
        assert_eq!(reply.code(), *code, "{row}");
    }
    // BW12 beyond the header limit, BW13.
    let long = format!("t=1747044000,{}", vec![format!("v1={v1}"); 2_000].join(","));
    let reply = app
        .send("POST /webhook", &[("Stripe-Signature", &long)], &body)
        .await;
    assert_eq!(reply.status, 431);
    let twice = [
        ("Stripe-Signature", good.as_str()),
        ("Stripe-Signature", good.as_str()),
    ];
    app.send("POST /webhook", &twice, &body)
        .await
        .is_problem(400);
    assert!(stored(&app).await.is_empty());
    assert_eq!(app.gate.refusals.lock().unwrap().len(), count + 1);
}

#[tokio::test]
async fn a_rotation_of_secrets_refuses_nothing() {
    let app = App::start().await;
    let body = event("evt_1");
    let bad = "0".repeat(64);
    let good = sign(OLD_SECRET, &body, START_SECONDS);
    let header = good.replace("v1=", &format!("v1={bad},v1="));
    let reply = app
        .send("POST /webhook", &[("Stripe-Signature", &header)], &body)
        .await;
    assert_eq!((reply.status, reply.body.as_str()), (200, RECEIVED), "BW8");
    app.edge.replace_secrets(SecretSet::new(["whsec_next"]));
    let reply = app
        .send("POST /webhook", &[("Stripe-Signature", &good)], &body)
        .await;
    reply.is_problem(401);
    let next = sign("whsec_next", &body, START_SECONDS);
    let reply = app
        .send("POST /webhook", &[("Stripe-Signature", &next)], &body)
        .await;
    assert_eq!((reply.status, reply.body.as_str()), (200, DUPLICATE));
}

#[tokio::test]
async fn genuine_but_odd_bodies_are_stored_whole_and_answered_200() {
    let app = App::start().await;
    let rows = deliveries::odd_bodies(START_SECONDS);
    let (mut expected, mut wrong) = (0, Vec::new());
    for (row, body, status) in &rows {
        let before = stored(&app).await.len();
        let reply = app.deliver(body).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, RECEIVED),
            "{row}"
        );
        assert_eq!(stored(&app).await.len(), before + 1, "{row}");
        expected += 1;
        let newest = stored(&app).await.remove(0);
        if status.is_some_and(|status| status != newest.1.as_str()) {
            wrong.push(format!("{row}: {newest:?}"));
        }
    }
    assert_eq!(stored(&app).await.len(), expected);
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("odd_bodies={expected}");
}

#[tokio::test]
async fn the_first_body_of_an_event_is_kept() {
    let app = App::start().await;
    assert_eq!(app.deliver(&event("evt_1")).await.body, RECEIVED);
    let other = deliveries::altered("evt_1", START_SECONDS, |event| event["created"] = 5.into());
    let reply = app.deliver(&other).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (200, DUPLICATE),
        "BW24"
    );
    let shown = app.operator("GET /api/v1/webhook-events/evt_1", "").await;
    assert_eq!(shown.json()["body"]["created"], START_SECONDS);
}

#[tokio::test]
async fn size_encoding_and_method_are_refused_before_the_body_matters() {
    let app = App::start().await;
    let body = vec![b' '; 5 << 20];
    let signature = sign(SECRET, &body, START_SECONDS);
    let reply = app
        .send("POST /webhook", &[("Stripe-Signature", &signature)], &body)
        .await;
    reply.is_problem(413);
    let exactly = vec![b' '; 1 << 20];
    assert_eq!(app.deliver(&exactly).await.status, 200, "1 MiB is taken");
    let body = event("evt_1");
    let signature = sign(SECRET, &body, START_SECONDS);
    let headers = [
        ("Stripe-Signature", signature.as_str()),
        ("Content-Encoding", "gzip"),
    ];
    app.send("POST /webhook", &headers, &body)
        .await
        .is_problem(415);
    let headers = [
        ("Stripe-Signature", signature.as_str()),
        ("Content-Type", "text/plain"),
    ];
    assert_eq!(
        app.send("POST /webhook", &headers, &body).await.status,
        200,
        "BW32"
    );
    for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
        let reply = app.send(&format!("{method} /webhook"), &[], b"").await;
        reply.is_problem(405);
        assert_eq!(reply.header("allow"), Some("POST"), "{method}");
    }
    let page = app
        .send("GET /webhook", &[("Accept", "text/html")], b"")
        .await;
    assert_eq!(page.status, 405);
    assert!(page.body.contains("Stripe posts here"));
    // It names the address it was asked at, and never repeats what no host is called.
    let own = "stripe listen --all-snapshot --forward-to bursar.test/webhook";
    assert!(page.body.contains(own), "{}", page.body);
    let problem = app.send("GET /webhook", &[], b"").await;
    assert!(problem.body.contains(own), "{}", problem.body);
    for bad in ["<script>", "a/../b", "x y"] {
        let request = format!(
            "GET /webhook HTTP/1.1\r\nHost: {bad}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        );
        let reply = crate::app::Reply::parse(&app.raw(request.as_bytes()).await);
        assert!(!reply.body.contains(bad), "{}", reply.body);
        if reply.status == 405 {
            let told = "--forward-to https://billing.example.com/webhook";
            assert!(reply.body.contains(told), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_never_answered_200() {
    let app = App::start().await;
    let refuse: [fn(&crate::app::Gate); 2] =
        [crate::app::Gate::be_busy, crate::app::Gate::lose_the_store];
    for refuse in refuse {
        refuse(&app.gate);
        let reply = app.deliver(&event("evt_1")).await;
        reply.is_problem(503);
        assert_eq!(reply.header("retry-after"), Some("7"));
    }
    assert!(stored(&app).await.is_empty());
}

#[tokio::test]
async fn a_panic_ends_one_request_and_nothing_else() {
    let app = App::start().await;
    app.gate.panic_once();
    app.deliver(&event("evt_1")).await.is_problem(500);
    assert_eq!(app.deliver(&event("evt_1")).await.body, RECEIVED);
}

#[tokio::test]
async fn a_hundred_deliveries_of_one_event_at_once_are_stored_once() {
    let app = std::sync::Arc::new(App::start().await);
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let app = std::sync::Arc::clone(&app);
        sending.spawn(async move { app.deliver(&event("evt_1")).await });
    }
    let (mut new, mut duplicate) = (0, 0);
    while let Some(reply) = sending.join_next().await {
        let reply = reply.unwrap();
        assert_eq!(reply.status, 200);
        new += usize::from(reply.body == RECEIVED);
        duplicate += usize::from(reply.body == DUPLICATE);
    }
    assert_eq!((new, duplicate), (1, 99), "BW35");
    assert_eq!(stored(&app).await.len(), 1);
    assert!(app.clock.now().seconds() >= START_SECONDS);
}

#[tokio::test]
async fn an_unhandled_event_with_a_long_text_is_ignored_under_its_own_id() {
    let app = App::start().await;
    let body = serde_json::json!({"id": "evt_long", "object": "event", "type": "product.created",
        "created": 1_747_044_000, "livemode": false,
        "data": {"object": {"id": "prod_1", "object": "product", "description": "x".repeat(900_000)}}});
    assert_eq!(app.deliver(body.to_string().as_bytes()).await.status, 200);
    let event = app
        .operator("GET /api/v1/webhook-events/evt_long", "")
        .await;
    assert_eq!(event.json()["status"], "ignored");
}
