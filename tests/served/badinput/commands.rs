//! Commands (BC).

use super::{Tally, World, at_once};
use crate::catalogue::deliveries::altered;
use crate::child::{ADMIN_KEY, unix_now};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const LIST: &str = "GET /api/v1/payments";

pub(super) async fn rows(app: &World, tally: &mut Tally) {
    let key = app.api_key("t1").await;
    let bearer = format!("Bearer {ADMIN_KEY}");
    let send = async |line: &str, headers: &[(&str, &str)], body: &str| {
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend(headers);
        app.send(line, &all, body.as_bytes()).await
    };
    let debit = "POST /api/v1/tenants/t1/credits/debits";
    let body = r#"{"amount":1,"reference":"r"}"#;
    tally.is("BC1", &send(debit, &[], body).await, &[409]);
    for idempotency in ["", &"k".repeat(256), "\u{1}", "a\u{e9}"] {
        let reply = send(debit, &[("Idempotency-Key", idempotency)], body).await;
        tally.is("BC2", &reply, &[400]);
    }
    let two = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")];
    tally.is("BC2", &send(debit, &two, body).await, &[400]);
    let create = "POST /api/v1/tenants";
    let k = [("Idempotency-Key", "bc3")];
    tally.is(
        "BC3",
        &send(create, &k, r#"{"tenantId":"bc3"}"#).await,
        &[201],
    );
    tally.is(
        "BC3",
        &send(create, &k, r#"{"tenantId":"bc3b"}"#).await,
        &[409],
    );
    for amount in [
        "0",
        "-1",
        "1.5",
        "1e3",
        "\"1\"",
        "1000000000001",
        "9223372036854775808",
        "null",
        "[]",
    ] {
        let body = format!("{{\"amount\":{amount},\"reference\":\"r\"}}");
        tally.is("BC5", &send(debit, &[], &body).await, &[400, 422]);
    }
    let refund = |id: &str| format!("{{\"paymentId\":{}}}", Value::from(id));
    for id in ["pi_absent", "ch_absent", "cus_1", "x"] {
        tally.is(
            "BC7",
            &send("POST /api/v1/refunds", &[], &refund(id)).await,
            &[404],
        );
    }
    tally.is(
        "BC9",
        &send(debit, &[], r#"{"amount":1,"reference":"r","amont":2}"#).await,
        &[400],
    );
    tally.is(
        "BC10",
        &send(debit, &[], r#"{"amount":1,"amount":2,"reference":"r"}"#).await,
        &[400],
    );
    tally.is(
        "BC11",
        &send(
            debit,
            &[],
            r#"{"amount":1,"reference":"r","tenant_id":"t2"}"#,
        )
        .await,
        &[400],
    );
    for header in ["", "..", "a b", "t1/t2", "é", &"t".repeat(65)] {
        tally.is(
            "BC12",
            &send(LIST, &[("X-Tenant-Id", header)], "").await,
            &[400],
        );
    }
    let two = [("X-Tenant-Id", "t1"), ("X-Tenant-Id", "t2")];
    tally.is("BC12", &send(LIST, &two, "").await, &[400]);
    let by_key = format!("Bearer {key}");
    let foreign = [("Authorization", by_key.as_str()), ("X-Tenant-Id", "t2")];
    tally.is("BC12", &app.send(LIST, &foreign, b"").await, &[403]);
    for id in [
        "a/b",
        "a?b",
        "a\nb",
        &"p".repeat(300),
        "ch_1 ",
        "",
        "\u{202e}",
    ] {
        let reply = send("POST /api/v1/refunds", &[], &refund(id)).await;
        tally.is("BC13", &reply, &[400, 404, 422]);
    }
    for path in [
        "%2e%2e%2ftenants",
        "a%2fb",
        "a%00b",
        "%ff",
        "a%0ab",
        "..",
        "%2e%2e",
        "a%3fb",
    ] {
        tally.is(
            "BC14",
            &send(&format!("GET /api/v1/payments/{path}"), &[], "").await,
            &[404],
        );
    }
    for query in [
        "limit=0",
        "limit=-1",
        "limit=1000000000",
        "limit=1.5",
        "limit=",
        "cursor=",
        "cursor=00",
        "cursor=%00",
        "createdAfter=2025-02-01T00:00:00Z&createdBefore=2025-01-01T00:00:00Z",
        "createdAfter=0000-01-01T00:00:00Z",
        "createdAfter=10000-01-01T00:00:00Z",
        "createdAfter=1",
        "createdAfter=2025-02-30T00:00:00Z",
        "limit=1&limit=2",
        "status=odd",
        "tenantId=../x",
    ] {
        tally.is(
            "BC15/16",
            &send(&format!("{LIST}?{query}"), &[], "").await,
            &[400],
        );
    }
    tally.is(
        "BC17",
        &send(LIST, &[("Accept", "text/html")], "").await,
        &[200],
    );
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    tally.is(
        "BC17",
        &send(debit, &form, "amount=1&reference=r").await,
        &[415],
    );
    let long = format!("{{\"reference\":\"{}\"}}", "x".repeat(64 << 10));
    tally.is("BC18", &send(debit, &[], &long).await, &[413]);
    let metadata = |entries: Value| json!({"tenantId": "m", "metadata": entries}).to_string();
    let many: serde_json::Map<String, Value> =
        (0..51).map(|n| (format!("k{n}"), json!("v"))).collect();
    for entries in [
        Value::Object(many),
        json!({"k": "v".repeat(501)}),
        json!({"k": 1}),
        json!({"card": "4242 4242 4242 4242"}),
    ] {
        tally.is(
            "BC19",
            &send(create, &[], &metadata(entries)).await,
            &[400, 422],
        );
    }
    for email in [
        "a@b\r\nBcc: c@d",
        "a@@b",
        &format!("{}@b.example", "a".repeat(400)),
        "\"a b\"@c.example",
        "a",
        "@b",
    ] {
        let body = json!({"tenantId": "e", "email": email}).to_string();
        tally.is("BC21", &send(create, &[], &body).await, &[400, 422]);
    }
    let over = r#"{"tenantId":"t1","name":"k","role":"viewer","expiresAt":"2020-01-01T00:00:00Z"}"#;
    tally.is(
        "BC22",
        &send("POST /api/v1/api-keys", &[], over).await,
        &[422],
    );
    let asked = (0..100).map(|_| app.bearer(&key, debit, body));
    let replies = at_once(asked).await;
    for reply in &replies {
        tally.is("BC25", reply, &[409, 429]);
    }
    let limited = replies.iter().filter(|reply| reply.status == 429);
    let limited = limited.count();
    tally.case("BC25", limited > 0, || "nobody was slowed down".to_owned());
    payments(app, tally).await;
    return_urls(app, tally).await;
    left(app, tally).await;
}

/// Refunds of what was paid to another, or less (BC7).
async fn payments(app: &World, tally: &mut Tally) {
    let (mine, foreign) = (app.api_key("t1").await, app.api_key("t2").await);
    let now = unix_now();
    let charge = altered("evt_bc7", now, |event| {
        event["type"] = "charge.succeeded".into();
        event["data"]["object"] = json!({
            "id": "ch_bc7", "object": "charge", "amount": 1009, "amount_captured": 1009,
            "amount_refunded": 0, "currency": "usd", "created": now, "customer": null,
            "livemode": false, "metadata": {"tenant_id": "t1"}, "paid": true, "captured": true,
            "status": "succeeded", "payment_intent": null, "invoice": null, "refunded": false,
            "disputed": false,
        });
    });
    assert_eq!(app.deliver(&charge).await.status, 200);
    let shown = "GET /api/v1/payments/ch_bc7";
    let started = Instant::now();
    while app.bearer(&mine, shown, "").await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(20), "not applied");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refund = "POST /api/v1/refunds";
    let more = r#"{"paymentId":"ch_bc7","amount":1010}"#;
    tally.is("BC7", &app.bearer(&mine, refund, more).await, &[422]);
    tally.is("BC7", &app.bearer(&foreign, refund, more).await, &[404]);
    let capture = "POST /api/v1/payments/ch_bc7/capture";
    tally.is(
        "BC8",
        &app.bearer(&mine, capture, "{}").await,
        &[404, 409, 422],
    );
}

/// Addresses that people would be sent to (BC20).
async fn return_urls(app: &World, tally: &mut Tally) {
    let key = app.api_key("t2").await;
    for url in [
        "javascript:alert(1)",
        "//evil.example/x",
        "https://127.0.0.1:8087@evil.example/",
        "https://evil.example/",
        "https://\u{430}pple.example/",
        "http://169.254.169.254/latest/meta-data",
        "data:text/html,x",
        "http://127.0.0.1:8087.evil.example/",
        "",
    ] {
        let order = json!({"planId": "hobby", "successUrl": url}).to_string();
        let reply = app
            .bearer(&key, "POST /api/v1/checkout-sessions", &order)
            .await;
        tally.is("BC20", &reply, &[400, 422]);
    }
}

/// Whoever leaves right after sending finds by its key what became of the order (BC24).
async fn left(app: &World, tally: &mut Tally) {
    let body = r#"{"tenantId":"bc24"}"#;
    let head = format!(
        "POST /api/v1/tenants HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\
         Content-Type: application/json\r\nIdempotency-Key: bc24\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(app.server.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    let bearer = format!("Bearer {ADMIN_KEY}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Idempotency-Key", "bc24"),
    ];
    let started = Instant::now();
    let reply = loop {
        let reply = app
            .send("POST /api/v1/tenants", &headers, body.as_bytes())
            .await;
        // Under way is an answer, too.
        if reply.status != 409 || started.elapsed() > Duration::from_secs(10) {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    tally.is("BC24", &reply, &[200, 201]);
    let shown = app.operator("GET /api/v1/tenants/bc24", "").await;
    tally.is("BC24", &shown, &[200]);
}
