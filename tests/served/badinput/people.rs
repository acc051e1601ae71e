//! People (BA10, BA11, BA13, BA14): passwords, addresses, the console's cookie, codes by mail.

use super::{Tally, World};
use crate::catalogue::wire::Reply;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PASSWORD: &str = "a long enough password";
const CODE: &str = "/verify-email-code";

async fn post(app: &World, path: &str, body: &Value) -> Reply {
    let headers = [("Content-Type", "application/json")];
    let body = body.to_string();
    app.send(&format!("POST {path}"), &headers, body.as_bytes())
        .await
}

fn sign_up(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password, "tenantName": "A"})
}

async fn log_in(app: &World, email: &str, password: &str) -> Reply {
    let body = json!({"email": email, "password": password});
    post(app, "/api/v1/login", &body).await
}

pub(super) async fn rows(app: &mut World, tally: &mut Tally) {
    passwords(app, tally).await;
    addresses(app, tally).await;
    cookies(app, tally).await;
    codes(app, tally).await;
}

/// Never cut, whatever their length, and one in both forms of Unicode.
async fn passwords(app: &World, tally: &mut Tally) {
    for password in ["seven77", "", "eight888\0", &"p".repeat(257)] {
        let reply = post(app, "/api/v1/signup", &sign_up("pw@example.com", password)).await;
        tally.is("BA10", &reply, &[422]);
    }
    let huge = sign_up("pw@example.com", &"p".repeat(1 << 20));
    let reply = post(app, "/api/v1/signup", &huge).await;
    tally.is("BA10", &reply, &[413]);
    let long = format!("{}{}", "\u{e9}".repeat(255), "x");
    let reply = post(app, "/api/v1/signup", &sign_up("long@example.com", &long)).await;
    tally.is("BA10", &reply, &[201]);
    let split = format!("{}{}", "e\u{301}".repeat(255), "x");
    let reply = log_in(app, "long@example.com", &split).await;
    // Right, and not yet proved to be the address's.
    let is_right = reply.code() == "email_unverified";
    tally.case("BA10", is_right, || reply.body.clone());
    let cut = log_in(app, "long@example.com", &"\u{e9}".repeat(255)).await;
    tally.is("BA10", &cut, &[401]);
}

/// One account in any case, another with a plus, none with what only looks like a dot.
async fn addresses(app: &World, tally: &mut Tally) {
    app.person("case@example.com").await;
    let reply = log_in(app, "CASE@Example.COM", PASSWORD).await;
    tally.is("BA11", &reply, &[200]);
    let reply = log_in(app, "case+1@example.com", PASSWORD).await;
    tally.is("BA11", &reply, &[401]);
    let order = sign_up("Case@example.com", "some other password");
    tally.is("BA11", &post(app, "/api/v1/signup", &order).await, &[201]);
    let reply = log_in(app, "case@example.com", "some other password").await;
    tally.is("BA11", &reply, &[401]);
    for email in [
        "case@example\u{3002}com",
        "case@example\u{ff0e}com",
        "",
        "a",
        "a@b@c",
        "\"a\"@example.com",
        "a@[127.0.0.1]",
        "a\r\nBcc: b@example.com",
        "a,b@example.com",
    ] {
        let reply = post(app, "/api/v1/signup", &sign_up(email, PASSWORD)).await;
        tally.is("BA11", &reply, &[400]);
    }
}

/// A session by cookie: its value, and the token that goes with it.
async fn session(app: &World, email: &str) -> (String, String) {
    let body = json!({"email": email, "password": PASSWORD, "session": "cookie"});
    let reply = post(app, "/api/v1/login", &body).await;
    let set = reply.header("set-cookie").unwrap_or_default().to_owned();
    let cookie = set.split(';').next().unwrap().to_owned();
    let token = reply.json()["csrfToken"].as_str().unwrap_or("").to_owned();
    (cookie, token)
}

/// A change by cookie takes the session's own token and a page of this service.
async fn cookies(app: &mut World, tally: &mut Tally) {
    let (cookie, own) = session(app, "case@example.com").await;
    let (other, foreign) = session(app, "case@example.com").await;
    for value in [&cookie, &other] {
        let secret = value.split_once('=').unwrap().1.to_owned();
        app.server.keep_secret("a session's cookie", &secret);
    }
    let change = "POST /api/v1/password/change";
    let order = json!({"currentPassword": "not it", "newPassword": PASSWORD}).to_string();
    let send = async |line: &str, beside: &[(&str, &str)]| {
        let mut headers = vec![
            ("Cookie", cookie.as_str()),
            ("Content-Type", "application/json"),
        ];
        headers.extend(beside);
        app.send(line, &headers, order.as_bytes()).await
    };
    let origin = ("Origin", "http://127.0.0.1:8087");
    let (mine, theirs) = (
        ("X-CSRF-Token", own.as_str()),
        ("X-CSRF-Token", foreign.as_str()),
    );
    for beside in [
        &[][..],
        &[origin],
        &[mine],
        &[theirs, origin],
        &[("X-CSRF-Token", ""), origin],
        &[mine, ("Origin", "https://evil.example")],
        &[mine, ("Origin", "null")],
        &[mine, origin, ("Sec-Fetch-Site", "cross-site")],
    ] {
        tally.is("BA13", &send(change, beside).await, &[403]);
    }
    let in_query = format!("{change}?csrfToken={own}");
    tally.is("BA13", &send(&in_query, &[origin]).await, &[400, 403]);
    // It gets through to the password, which is wrong.
    let reply = send(change, &[mine, origin]).await;
    let is_looked_at = reply.status != 403 || reply.code() != "csrf_refused";
    tally.case("BA13", is_looked_at, || reply.body.clone());
}

/// The code of the newest mail to an address.
async fn code_for(app: &World, address: &str) -> String {
    let page = format!("{}/mail/latest?to={address}", app.sandbox.base_url());
    let started = Instant::now();
    loop {
        let mail: Value = reqwest::get(&page).await.unwrap().json().await.unwrap();
        let text = mail["text"].as_str().unwrap_or("");
        let mut words = text.split(|c: char| !c.is_ascii_digit());
        if let Some(code) = words.find(|word| word.len() == 6) {
            return code.to_owned();
        }
        let waited = started.elapsed() < Duration::from_secs(30);
        assert!(waited, "no code in {mail}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Five tries, one use, one address, six digits and nothing else.
async fn codes(app: &World, tally: &mut Tally) {
    let email = "codes@example.com";
    assert_eq!(
        post(app, "/api/v1/signup", &sign_up(email, PASSWORD))
            .await
            .status,
        201
    );
    let right = code_for(app, email).await;
    let wrong = if right == "000000" {
        "000001"
    } else {
        "000000"
    };
    let elsewhere = json!({"email": "case@example.com", "code": right});
    tally.is("BA14", &post(app, CODE, &elsewhere).await, &[422]);
    let spaced = format!(" {right}");
    for code in [wrong, &spaced, wrong, wrong, wrong, wrong, right.as_str()] {
        let body = json!({"email": email, "code": code});
        tally.is("BA14", &post(app, CODE, &body).await, &[422, 429]);
    }
    let used = "used@example.com";
    post(app, "/api/v1/signup", &sign_up(used, PASSWORD)).await;
    let body = json!({"email": used, "code": code_for(app, used).await});
    tally.is("BA14", &post(app, CODE, &body).await, &[200]);
    tally.is("BA14", &post(app, CODE, &body).await, &[422]);
}
