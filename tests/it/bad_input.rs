//! Bad input of the catalogue's rows BA (credentials) and BC (commands), by their numbers, over sockets.
//!
//! What has a test of its own elsewhere is named there by its row: BA10, BA11, BA14 (`people`), BC20, BC23, BC24
//! (`orders`).

use crate::app::{ADMIN_KEY, App, Reply};
use crate::authz::callers::api_key;
use crate::authz::people::{person, session, token};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bursar_domain::identity::Role;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const LIST: &str = "GET /api/v1/payments";
const JWT_SECRET: &str = "a-secret-of-tests-that-has-32-bytes-or-more";

#[derive(Default)]
struct Tally {
    cases: usize,
    panics: usize,
    unexpected: Vec<String>,
}

impl Tally {
    fn is(&mut self, row: &str, reply: &Reply, allowed: &[u16]) {
        self.cases += 1;
        // A head that is no HTTP is answered by hyper itself, without a body.
        let is_told = reply.status < 400
            || reply.body.is_empty()
            || reply.header("content-type") == Some("application/problem+json");
        // A panic is answered 500, or by a connection that closes.
        self.panics += usize::from(matches!(reply.status, 0 | 500));
        if !allowed.contains(&reply.status) || !is_told {
            self.unexpected
                .push(format!("{row}: {} {:.200}", reply.status, reply.body));
        }
    }
    fn end(&self) {
        let (cases, unexpected) = (self.cases, self.unexpected.len());
        println!(
            "cases={cases} unexpected={unexpected} panics={}",
            self.panics
        );
        assert!(self.unexpected.is_empty(), "{:#?}", self.unexpected);
        assert_eq!(self.panics, 0);
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(text.as_bytes());
    let mac = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{text}.{mac}")
}

fn piece(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

fn with(value: &Value, name: &str, new: Value) -> Value {
    let mut value = value.clone();
    value[name] = new;
    value
}

fn without(value: &Value, name: &str) -> Value {
    let mut value = value.clone();
    value.as_object_mut().unwrap().remove(name);
    value
}

async fn stand() -> App {
    let app = App::start().await;
    for id in ["t1", "t2"] {
        let body = json!({"tenantId": id}).to_string();
        assert_eq!(
            app.operator("POST /api/v1/tenants", &body).await.status,
            201
        );
    }
    app
}

#[tokio::test]
async fn credentials_that_are_no_good_are_refused() {
    let app = stand().await;
    let mut tally = Tally::default();
    let user = person(&app, &[("t1", Role::Owner)], None).await;
    let good = token(&app, &user).await;
    let (header, claims) = (piece(&good, 0), piece(&good, 1));
    let secret = JWT_SECRET.as_bytes();
    let again = signed(&header, &claims, secret);
    tally.is("BA0", &app.bearer(&again, LIST, "").await, &[200]);
    let mut bad: Vec<(&str, String)> = Vec::new();
    for alg in [
        json!("none"),
        json!("None"),
        json!("HS512"),
        json!("RS256"),
        json!(null),
        json!(1),
    ] {
        let header = with(&header, "alg", alg);
        bad.push(("BA1", signed(&header, &claims, secret)));
        bad.push(("BA1", format!("{}.{}.", part(&header), part(&claims))));
    }
    bad.push(("BA1", signed(&without(&header, "alg"), &claims, secret)));
    for other in ["", "-----BEGIN PUBLIC KEY-----", ADMIN_KEY] {
        bad.push((
            "BA2",
            signed(
                &header,
                &claims,
                if other.is_empty() {
                    b"x"
                } else {
                    other.as_bytes()
                },
            ),
        ));
    }
    let now = app.edge.now().seconds();
    for exp in [
        json!((now + 600).to_string()),
        json!(now as f64 + 0.5),
        json!((now + 600) * 1_000),
        json!(9_223_372_036_854_775_808_u64),
        json!(-1),
        json!(null),
        json!(now - 31),
        json!([now + 600]),
    ] {
        bad.push(("BA3", signed(&header, &with(&claims, "exp", exp), secret)));
    }
    for name in ["exp", "iat", "nbf", "iss", "aud", "sub", "jti", "sid"] {
        bad.push(("BA3", signed(&header, &without(&claims, name), secret)));
    }
    for name in ["nbf", "iat"] {
        bad.push((
            "BA4",
            signed(&header, &with(&claims, name, json!(now + 3_600)), secret),
        ));
    }
    for (name, value) in [
        ("aud", json!("https://other.example")),
        ("aud", json!(["https://other.example"])),
        ("iss", json!("https://other.example")),
        ("sub", json!("usr_0")),
        ("sid", json!("../x")),
        ("sid", json!("")),
    ] {
        bad.push(("BA5", signed(&header, &with(&claims, name, value), secret)));
    }
    for typ in [json!("JWT"), json!("rt+jwt"), json!(null)] {
        bad.push(("BA5", signed(&with(&header, "typ", typ), &claims, secret)));
    }
    bad.push(("BA5", session(&app, &user, "tokens").await.cookie));
    for kid in ["../../x", "' OR 1=1 --", &"k".repeat(4_096)] {
        bad.push((
            "BA6",
            signed(&with(&header, "kid", json!(kid)), &claims, secret),
        ));
    }
    bad.push(("BA6", signed(&without(&header, "kid"), &claims, secret)));
    for name in ["jku", "x5u", "jwk", "x5c"] {
        // Ignored: with the wrong key it does not help, and with the right one it does no harm.
        let named = with(&header, name, json!("https://evil.example/keys"));
        bad.push(("BA6", signed(&named, &claims, b"evil")));
    }
    bad.push(("BA8", format!("Bearer {good}")));
    let (_, key) = api_key(&app, "t1", Role::Admin).await;
    for at in [10, 20, 40, key.len() - 1] {
        let mut changed = key.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        bad.push(("BA9", String::from_utf8(changed).unwrap()));
    }
    for piece in [&key[..35], &key[..10], "sk_bursar_", &key.to_uppercase()] {
        bad.push(("BA9", piece.to_owned()));
    }
    for (row, credential) in &bad {
        tally.is(row, &app.bearer(credential, LIST, "").await, &[401]);
    }
    // White space at the end of a header's line is no part of it (RFC 9112 §5.1).
    tally.is(
        "BA8",
        &app.bearer(&format!("{good} "), LIST, "").await,
        &[200],
    );
    let lower = format!("bearer {good}");
    tally.is(
        "BA8",
        &app.send(LIST, &[("Authorization", &lower)], b"").await,
        &[200],
    );
    let upper = format!("Bearer {good}");
    let twice = [
        ("Authorization", upper.as_str()),
        ("Authorization", upper.as_str()),
    ];
    tally.is("BA8", &app.send(LIST, &twice, b"").await, &[401]);
    for (one, other) in [(upper.as_str(), key.as_str()), (upper.as_str(), ADMIN_KEY)] {
        let both = [("Authorization", one), ("X-API-Key", other)];
        tally.is("BA7", &app.send(LIST, &both, b"").await, &[400]);
    }
    app.clock.step(631_000);
    tally.is("BA12", &app.bearer(&good, LIST, "").await, &[401]);
    tally.end();
}

#[tokio::test]
async fn commands_that_make_no_sense_are_refused() {
    let app = stand().await;
    let mut tally = Tally::default();
    let (_, key) = api_key(&app, "t1", Role::Admin).await;
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
    let mut limited = 0;
    for _ in 0..100 {
        let reply = app.bearer(&key, debit, body).await;
        limited += usize::from(reply.status == 429);
        tally.is("BC25", &reply, &[409, 429]);
    }
    assert!(limited > 0, "nobody was slowed down");
    assert_eq!(app.operator(LIST, "").await.status, 200, "it still serves");
    tally.end();
}
