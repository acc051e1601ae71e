//! The API from outside: credentials, fields, cursors, idempotency, tenants, replays.

use crate::app::{ADMIN_KEY, App, START_SECONDS};
use bursar::http::limits::Limits;
use serde_json::{Value, json};

async fn service_key(app: &App, scopes: &str) -> String {
    let body = format!("{{\"name\":\"backend\",\"scopes\":[{scopes}]}}");
    let reply = app.operator("POST /api/v1/service-keys", &body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.json()["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn credentials_are_told_apart() {
    let app = App::start().await;
    let key = service_key(&app, "\"tenants:read\"").await;
    let list = "GET /api/v1/tenants";
    assert_eq!(app.bearer(&key, list, "").await.status, 200);
    let by_header = app.send(list, &[("X-API-Key", &key)], b"").await;
    assert_eq!(by_header.status, 200);
    let mut wrong = key.clone();
    let last = wrong.pop().unwrap();
    wrong.push(if last == '0' { '1' } else { '0' });
    for (sent, code) in [
        (wrong.as_str(), "unauthenticated"),
        (&key[..40], "unauthenticated"),
        ("nonsense", "unauthenticated"),
        ("sk_live_51abc", "stripe_key_presented"),
        ("rk_test_51abc", "stripe_key_presented"),
        ("whsec_abc", "stripe_key_presented"),
    ] {
        let reply = app.bearer(sent, list, "").await;
        reply.is_problem(401);
        assert_eq!(reply.code(), code, "{sent}");
        assert!(!reply.body.contains(sent), "a credential is never repeated");
    }
    app.send(list, &[], b"").await.is_problem(401);
    let reply = app.bearer(&key, "POST /api/v1/tenants", "").await;
    reply.is_problem(403);
    assert_eq!(reply.code(), "insufficient_scope");
    app.bearer(&key, "GET /api/v1/audit", "")
        .await
        .is_problem(403);
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_the_next_request_on() {
    let app = App::start().await;
    let key = service_key(&app, "\"tenants:read\"").await;
    let listed = app.operator("GET /api/v1/service-keys", "").await;
    assert!(!listed.body.contains(&key) && !listed.body.contains("sha256"));
    let id = listed.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let revoke = format!("DELETE /api/v1/service-keys/{id}");
    assert_eq!(app.operator(&revoke, "").await.status, 204);
    app.bearer(&key, "GET /api/v1/tenants", "")
        .await
        .is_problem(401);
    app.operator(&revoke, "").await.is_problem(404);
    let audit = app.operator("GET /api/v1/audit", "").await.json();
    let actions: Vec<&str> = audit["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["service_key.revoked", "service_key.created"]);
}

#[tokio::test]
async fn the_operators_key_is_taken_from_allowed_addresses_only() {
    use bursar::http::server::Peer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let app = App::start().await;
    let (mut near, far) = tokio::io::duplex(65_536);
    let server = app.server.clone();
    let peer = Peer::Address("203.0.113.9".parse().unwrap());
    tokio::spawn(async move { server.serve_connection(far, peer).await });
    let request = format!(
        "GET /api/v1/audit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\
         Connection: close\r\n\r\n"
    );
    near.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    let reply = crate::app::Reply::parse(&answer);
    reply.is_problem(403);
    assert_eq!(reply.code(), "address_not_allowed");
}

#[tokio::test]
async fn all_problems_of_a_request_are_told_at_once() {
    let app = App::start().await;
    let path = "GET /api/v1/payments?limt=5&limit=0&createdAfter=yesterday&tenantId=a/b";
    let reply = app.operator(path, "").await;
    reply.is_problem(400);
    let json = reply.json();
    let errors: Vec<(&str, &str)> = json["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["field"].as_str().unwrap(), e["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        errors,
        [
            ("limt", "unknown"),
            ("limit", "out_of_range"),
            ("createdAfter", "malformed"),
            ("tenantId", "malformed"),
        ]
    );
    assert!(reply.body.contains("did you mean `limit`?"));
    for query in [
        "limit=101",
        "limit=-1",
        "limit=1000000000",
        "limit=01",
        "limit=",
    ] {
        app.operator(&format!("GET /api/v1/payments?{query}"), "")
            .await
            .is_problem(400);
    }
    let reversed =
        "GET /api/v1/payments?createdAfter=2025-02-01T00:00:00Z&createdBefore=2025-01-01T00:00:00Z";
    app.operator(reversed, "").await.is_problem(400);
}

#[tokio::test]
async fn fields_come_from_query_or_body_and_may_not_contradict() {
    let app = App::start().await;
    let create = "POST /api/v1/tenants?tenantId=acme";
    let rows: Vec<(&str, u16)> = vec![
        (r#"{"tenantId":"other"}"#, 400),
        (r#"{"tenantId":"acme","tenantId":"acme"}"#, 400),
        (r#"{"nmae":"Acme"}"#, 400),
        (r#"{"name":5}"#, 400),
        (r#"["name"]"#, 400),
        (r#"{"name":"Acme""#, 400),
        (r#"{"metadata":{"k":1}}"#, 400),
        (r#"{"name":"A\u0000B"}"#, 400),
    ];
    for (body, status) in rows {
        app.operator(create, body).await.is_problem(status);
    }
    let headers = [("Authorization", format!("Bearer {ADMIN_KEY}"))];
    let mut headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
    headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    let reply = app
        .send("POST /api/v1/tenants", &headers, b"tenantId=acme")
        .await;
    reply.is_problem(415);
    let big = format!("{{\"name\":\"{}\"}}", "a".repeat(64 << 10));
    app.operator(create, &big).await.is_problem(413);
    headers.pop();
    headers.push(("X-Tenant-Id", "acme"));
    headers.push(("X-Tenant-Id", "acme"));
    app.send("GET /api/v1/tenants", &headers, b"")
        .await
        .is_problem(400);
    headers.pop();
    app.send("GET /api/v1/tenants?tenantId=other", &headers, b"")
        .await
        .is_problem(400);
    app.send("GET /api/v1/tenants/other", &headers, b"")
        .await
        .is_problem(404);
}

#[tokio::test]
async fn a_tenant_is_created_once_read_by_etag_and_waited_for() {
    let app = std::sync::Arc::new(App::start().await);
    let create = "POST /api/v1/tenants";
    let body = r#"{"tenantId":"acme","name":"Acme"}"#;
    let made = app.operator(create, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["tenantId"], "acme");
    assert_eq!(app.operator(create, body).await.status, 200);
    let other = app
        .operator(create, r#"{"tenantId":"acme","name":"Other"}"#)
        .await;
    other.is_problem(409);
    assert_eq!(other.code(), "tenant_exists");
    app.operator("GET /api/v1/tenants/nobody", "")
        .await
        .is_problem(404);

    let got = app.operator("GET /api/v1/tenants/acme", "").await;
    let etag = got.header("etag").unwrap().to_owned();
    let version = got.json()["version"].as_u64().unwrap();
    assert_eq!(etag, format!("\"{version}\""));
    let bearer = format!("Bearer {ADMIN_KEY}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("If-None-Match", etag.as_str()),
    ];
    let same = app.send("GET /api/v1/tenants/acme", &headers, b"").await;
    assert_eq!((same.status, same.body.as_str()), (304, ""));

    let waiting = {
        let app = std::sync::Arc::clone(&app);
        let path = format!(
            "GET /api/v1/tenants/acme?minVersion={}&waitSeconds=20",
            version + 1
        );
        tokio::spawn(async move { app.operator(&path, "").await })
    };
    let patch = app
        .operator("PATCH /api/v1/tenants/acme", r#"{"name":"Acme Ltd"}"#)
        .await;
    assert_eq!(patch.status, 200, "{patch:?}");
    let waited = waiting.await.unwrap();
    assert_eq!(waited.json()["name"], "Acme Ltd");

    let headers = [
        ("Authorization", bearer.as_str()),
        ("If-Match", etag.as_str()),
    ];
    let stale = app
        .send("PATCH /api/v1/tenants/acme?name=Late", &headers, b"")
        .await;
    stale.is_problem(412);
    let timeline = app
        .operator("GET /api/v1/tenants/acme/timeline", "")
        .await
        .json();
    let first = &timeline["data"][0];
    assert_eq!(
        (&first["source"], &first["disposition"]),
        (&json!("operator"), &json!("applied"))
    );
    let explained = app.operator("GET /api/v1/explain/acme", "").await.json();
    assert!(!explained["timeline"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn an_idempotency_key_replays_the_first_answer_byte_for_byte() {
    let app = App::start().await;
    let bearer = format!("Bearer {ADMIN_KEY}");
    let send = async |key: &str, line: &str, body: &str| {
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key)];
        app.send(line, &headers, body.as_bytes()).await
    };
    let create = "POST /api/v1/tenants";
    let first = send("k1", create, r#"{"tenantId":"acme", "name":"Acme"}"#).await;
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (201, None)
    );
    let again = send("k1", create, r#"{"name":"Acme","tenantId":"acme"}"#).await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (201, Some("true"))
    );
    assert_eq!(
        (&again.body, again.header("etag")),
        (&first.body, first.header("etag"))
    );
    let spread = send(
        "k1",
        "POST /api/v1/tenants?name=Acme",
        r#"{"tenantId":"acme"}"#,
    )
    .await;
    assert_eq!(
        spread.body, first.body,
        "query or body, the request is the same"
    );
    let other = send("k1", create, r#"{"tenantId":"other"}"#).await;
    other.is_problem(409);
    assert_eq!(other.code(), "idempotency_key_reused");
    let drawn = send("k2", create, "").await;
    assert_eq!(send("k2", create, "").await.body, drawn.body);

    let make = r#"{"name":"b","scopes":["billing"]}"#;
    assert_eq!(
        send("k3", "POST /api/v1/service-keys", make).await.status,
        201
    );
    let secret = send("k3", "POST /api/v1/service-keys", make).await;
    secret.is_problem(409);
    assert_eq!(secret.code(), "secret_shown_once");
    for bad in ["", &"k".repeat(256), "\u{e9}"] {
        send(bad, create, "").await.is_problem(400);
    }
}

#[tokio::test]
async fn pages_of_a_list_go_on_by_cursor_and_only_for_their_own_query() {
    let app = App::start().await;
    for n in 0..5 {
        let body = format!("{{\"tenantId\":\"t{n}\"}}");
        assert_eq!(
            app.operator("POST /api/v1/tenants", &body).await.status,
            201
        );
    }
    let mut seen = Vec::new();
    let mut path = "GET /api/v1/tenants?limit=2".to_owned();
    loop {
        let page = app.operator(&path, "").await.json();
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| t["tenantId"].clone()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            assert_eq!(page["hasMore"], false);
            break;
        };
        path = format!("GET /api/v1/tenants?limit=2&cursor={cursor}");
    }
    seen.sort_by_key(ToString::to_string);
    seen.dedup();
    assert_eq!(seen.len(), 5);
    let first = app.operator("GET /api/v1/tenants?limit=2", "").await.json();
    let cursor = first["nextCursor"].as_str().unwrap();
    for path in [
        format!("GET /api/v1/tenants?status=active&cursor={cursor}"),
        format!("GET /api/v1/payments?cursor={cursor}"),
        format!("GET /api/v1/tenants?tenantId=t1&cursor={cursor}"),
        "GET /api/v1/tenants?cursor=00".to_owned(),
    ] {
        let reply = app.operator(&path, "").await;
        reply.is_problem(400);
        assert_eq!(reply.code(), "cursor_invalid", "{path}");
    }
}

fn price_event(id: &str) -> Value {
    json!({
        "id": id, "object": "event", "api_version": "2025-04-30.basil",
        "created": START_SECONDS, "livemode": false, "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null}, "type": "price.created",
        "data": {"object": {"id": "price_1", "object": "price"}},
    })
}

#[tokio::test]
async fn a_replay_tells_first_and_leaves_what_would_not_change() {
    let app = App::start().await;
    let ignored = price_event("evt_ignored").to_string();
    app.deliver(ignored.as_bytes()).await;
    app.deliver(b"no event").await;
    app.settle().await;
    let list = app.operator("GET /api/v1/webhook-events", "").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    let replay = "POST /api/v1/webhook-events/replay";
    app.operator(replay, "").await.is_problem(400);
    let dry = app.operator(replay, r#"{"dryRun":true}"#).await.json();
    assert_eq!(
        (&dry["matched"], &dry["unchanged"]),
        (&json!(2), &json!(2)),
        "{dry}"
    );
    let dead = app.operator(replay, r#"{"status":"dead"}"#).await.json();
    assert_eq!(
        (&dead["matched"], &dead["replayed"]),
        (&json!(1), &json!(0))
    );
    let raw = list["data"].as_array().unwrap();
    let raw = raw.iter().find(|e| e["status"] == "dead").unwrap();
    let id = raw["id"].as_str().unwrap();
    assert!(id.starts_with("raw_"), "{id}");
    let one = app
        .operator(&format!("POST /api/v1/webhook-events/{id}/replay"), "")
        .await;
    assert_eq!(one.json()["unchanged"], 1);
    let dismiss = format!("POST /api/v1/webhook-events/{id}/dismiss");
    app.operator(&dismiss, "").await.is_problem(400);
    let done = app.operator(&dismiss, r#"{"reason":"a test"}"#).await;
    assert_eq!(done.status, 200, "{done:?}");
    let again = app.operator(&dismiss, r#"{"reason":"a test"}"#).await;
    again.is_problem(409);
}

#[tokio::test]
async fn what_a_closed_store_cannot_keep_is_503_and_says_when_to_come_back() {
    let app = App::start().await;
    app.store.close().await.unwrap();
    let key = r#"{"name":"a","scopes":["billing"]}"#;
    for (line, body) in [
        ("POST /api/v1/tenants", ""),
        ("POST /api/v1/service-keys", key),
    ] {
        let reply = app.operator(line, body).await;
        reply.is_problem(503);
        assert_eq!(reply.code(), "store_unavailable");
        assert!(reply.header("retry-after").is_some());
    }
    assert_eq!(app.send("GET /livez", &[], b"").await.status, 200);
    let delivery = price_event("evt_1").to_string();
    app.deliver(delivery.as_bytes()).await.is_problem(503);
}

#[tokio::test]
async fn draining_answers_long_polls_with_what_is_there() {
    let app = std::sync::Arc::new(App::start().await);
    app.operator("POST /api/v1/tenants", r#"{"tenantId":"acme"}"#)
        .await;
    let waiting = {
        let app = std::sync::Arc::clone(&app);
        let path = "GET /api/v1/tenants/acme?minVersion=99&waitSeconds=30";
        tokio::spawn(async move { app.operator(path, "").await })
    };
    while app.server.open_connections() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    app.drain();
    let soon = std::time::Duration::from_secs(10);
    let reply = tokio::time::timeout(soon, waiting).await.unwrap().unwrap();
    assert_eq!(
        (reply.status, reply.json()["tenantId"].as_str()),
        (200, Some("acme"))
    );
}

#[tokio::test]
async fn null_clears_what_a_patch_names_and_leaves_the_rest() {
    let app = App::start().await;
    let body = r#"{"tenantId":"acme","name":"Acme","email":"a@example.com","timezone":"Europe/Berlin","metadata":{"a":"b"}}"#;
    let made = app.operator("POST /api/v1/tenants", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let patch = "PATCH /api/v1/tenants/acme";
    let reply = app.operator(patch, r#"{"email":null}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let tenant = reply.json();
    assert_eq!(tenant["email"], Value::Null, "{tenant}");
    assert_eq!(tenant["name"], "Acme");
    assert_eq!(tenant["timezone"], "Europe/Berlin");
    let rest = r#"{"name":null,"timezone":null,"metadata":null}"#;
    let tenant = app.operator(patch, rest).await.json();
    assert_eq!(tenant["name"], Value::Null, "{tenant}");
    assert_eq!(tenant["timezone"], Value::Null, "{tenant}");
    assert_eq!(tenant["metadata"], json!({}), "{tenant}");
    let again = app.operator(patch, r#"{"name":"Acme Ltd"}"#).await.json();
    assert_eq!(again["name"], "Acme Ltd");
}

#[tokio::test]
async fn an_address_that_guesses_is_told_to_wait_and_a_right_key_is_not() {
    let app = App::with(Limits {
        loopback_is_exempt: false,
        wrong_keys_per_minute: 5,
        ..Limits::default()
    })
    .await;
    let list = "GET /api/v1/tenants";
    let key = service_key(&app, "\"tenants:read\"").await;
    assert_eq!(app.bearer(&key, list, "").await.status, 200);
    let unused = service_key(&app, "\"tenants:read\"").await;
    for n in 0..5 {
        let reply = app.bearer(&format!("guess{n}"), list, "").await;
        reply.is_problem(401);
    }
    let reply = app.bearer("guess", list, "").await;
    reply.is_problem(429);
    assert_eq!(reply.code(), "rate_limited");
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=12).contains(&seconds), "{seconds}");
    app.bearer(&unused, list, "").await.is_problem(429);
    assert_eq!(app.bearer(&key, list, "").await.status, 200);
    assert_eq!(app.operator(list, "").await.status, 200);
    assert_eq!(app.send("GET /livez", &[], b"").await.status, 200);
    let event = price_event("evt_1").to_string();
    assert_eq!(app.deliver(event.as_bytes()).await.status, 200);
}
