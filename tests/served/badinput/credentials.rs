//! Credentials (BA).

use super::{Tally, World};
use crate::child::{ADMIN_KEY, JWT_SECRET, unix_now};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const LIST: &str = "GET /api/v1/payments";

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

pub(super) async fn rows(app: &mut World, tally: &mut Tally) {
    let (good, refresh) = app.person("ada@example.com").await;
    app.server.keep_secret("an access token", &good);
    app.server.keep_secret("a refresh token", &refresh);
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
    let now = unix_now();
    for exp in [
        json!((now + 600).to_string()),
        serde_json::from_str(&format!("{}.5", now + 600)).expect("a number"),
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
    bad.push(("BA5", refresh.clone()));
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
    let key = app.api_key("t1").await;
    app.server.keep_secret("an API key", &key);
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
    // Whoever logged out is nobody at the next request.
    let out = json!({"refreshToken": refresh}).to_string();
    let reply = app.bearer(&good, "POST /api/v1/logout", &out).await;
    tally.is("BA12", &reply, &[200, 204]);
    tally.is("BA12", &app.bearer(&good, LIST, "").await, &[401]);
}
