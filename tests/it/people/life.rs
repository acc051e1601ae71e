//! One person from the sign-up to the last session, and what others can learn of them meanwhile.

use super::{PASSWORD, Town, token_of, tokens_of};
use bursar::identity::sessions;
use bursar_config::Signup;
use bursar_store::MemStore;
use serde_json::json;

const ME: &str = "GET /api/v1/me";

#[tokio::test]
async fn a_whole_life_by_link() {
    let town = Town::start().await;
    let mail = town.sign_up("ada@example.com").await;
    assert_eq!(mail.template, "verification");
    assert!(mail.params["link"].starts_with("https://billing.example.com/verify-email?token="));
    let early = town.log_in("ada@example.com", PASSWORD).await;
    early.is_problem(403);
    assert_eq!(early.code(), "email_unverified");
    town.log_in("ada@example.com", "wrong horse battery")
        .await
        .is_problem(401);

    let token = token_of(&mail);
    for _ in 0..3 {
        let page = town
            .send(&format!("GET /verify-email?token={token}"), &[], b"")
            .await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body.contains(&token) && !page.body.contains("<script"));
        assert!(page.body.contains("action=\"verify-email\""), "{page:?}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert!(page.body.contains("href=\"/console/style.css"), "{page:?}");
    }
    let hostile = "GET /verify-email?token=%22%3E%3Cscript%3E1";
    let page = town.send(hostile, &[], b"").await;
    assert!(
        page.status == 200 && !page.body.contains("<script"),
        "{page:?}"
    );
    let done = town.form("/verify-email", &[("token", &token)]).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert!(
        done.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    let again = town.form("/verify-email", &[("token", &token)]).await;
    assert_eq!(again.status, 422, "{again:?}");
    assert!(
        again
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    town.post("/verify-email", json!({"token": token}))
        .await
        .is_problem(422);

    let (access, refresh) = town.tokens("Ada@Example.COM").await;
    let me = town.bearer(&access, ME, "").await.json();
    assert_eq!(me["email"], "ada@example.com");
    assert_eq!(me["memberships"][0]["role"], "owner");
    assert_eq!(me["memberships"][0]["tenantName"], "Acme");
    let tenant = me["defaultTenantId"].as_str().unwrap();
    let seen = town
        .operator(&format!("GET /api/v1/tenants/{tenant}"), "")
        .await;
    assert_eq!((seen.status, &seen.json()["name"]), (200, &"Acme".into()));

    let next = town.refresh(&refresh).await;
    assert_eq!(next.status, 200, "{next:?}");
    let (access, second) = tokens_of(&next);
    assert_eq!(town.bearer(&access, ME, "").await.status, 200);
    town.bearer(&second, ME, "").await.is_problem(401);
    town.refresh(&refresh).await.is_problem(401);
    town.refresh(&second).await.is_problem(401);
    town.bearer(&access, ME, "").await.is_problem(401);
    assert_eq!(town.audited("session.reused").await, 1);

    let (access, refresh) = town.tokens("ada@example.com").await;
    let out = town
        .post("/api/v1/logout", json!({"refreshToken": refresh}))
        .await;
    assert_eq!(out.status, 204);
    town.bearer(&access, ME, "").await.is_problem(401);
    town.refresh(&refresh).await.is_problem(401);
}

#[tokio::test]
async fn a_forgotten_password_is_set_by_mail_once_and_ends_every_session() {
    let town = Town::start().await;
    town.settled("ada@example.com").await;
    let (access, refresh) = town.tokens("ada@example.com").await;
    let forgot = json!({"email": "ada@example.com"});
    assert_eq!(
        town.post("/api/v1/password/forgot", forgot.clone())
            .await
            .status,
        200
    );
    let mail = town.mails("ada@example.com", 2).await.remove(1);
    assert_eq!(mail.template, "password_reset");
    let token = token_of(&mail);
    let page = town
        .send(&format!("GET /password/reset?token={token}"), &[], b"")
        .await;
    assert!(
        page.status == 200 && page.body.contains("newPassword"),
        "{page:?}"
    );
    let short = json!({"token": token, "newPassword": "short"});
    town.post("/api/v1/password/reset", short)
        .await
        .is_problem(422);
    let new = "a new horse battery";
    let done = town
        .form(
            "/password/reset",
            &[("token", &token), ("newPassword", new)],
        )
        .await;
    assert_eq!(done.status, 200, "{done:?}");
    let again = json!({"token": token, "newPassword": "another horse battery"});
    town.post("/api/v1/password/reset", again)
        .await
        .is_problem(422);
    assert_eq!(
        town.mails("ada@example.com", 3).await[2].template,
        "password_changed"
    );
    town.bearer(&access, ME, "").await.is_problem(401);
    town.refresh(&refresh).await.is_problem(401);
    town.log_in("ada@example.com", PASSWORD)
        .await
        .is_problem(401);
    assert_eq!(town.log_in("ada@example.com", new).await.status, 200);
    assert_eq!(
        town.post("/api/v1/password/forgot", forgot).await.status,
        200
    );
    let late = token_of(&town.mails("ada@example.com", 4).await[3]);
    town.clock.step(30 * 60_000);
    let late = json!({"token": late, "newPassword": "another horse battery"});
    town.post("/api/v1/password/reset", late)
        .await
        .is_problem(422);
}

#[tokio::test]
async fn a_reset_proves_the_address_and_brings_the_tenant() {
    let town = Town::start().await;
    let first = town.sign_up("ada@example.com").await;
    let forgot = json!({"email": "ada@example.com"});
    assert_eq!(
        town.post("/api/v1/password/forgot", forgot).await.status,
        200
    );
    let token = token_of(&town.mails("ada@example.com", 2).await[1]);
    let new = "a new horse battery";
    let reset = json!({"token": token, "newPassword": new});
    assert_eq!(town.post("/api/v1/password/reset", reset).await.status, 200);
    let (access, _) = tokens_of(&town.log_in("ada@example.com", new).await);
    let me = town.bearer(&access, ME, "").await.json();
    assert_eq!(me["memberships"][0]["role"], "owner", "{me}");
    let late = json!({"token": token_of(&first)});
    town.post("/verify-email", late).await.is_problem(422);
}

#[tokio::test]
async fn a_code_has_five_tries_and_a_new_mail_kills_the_older() {
    let town = Town::start().await;
    let mail = town.sign_up("ada@example.com").await;
    let right = mail.params["code"].clone();
    let wrong = if right == "000000" {
        "000001"
    } else {
        "000000"
    };
    let spaced = format!(" {right}");
    let elsewhere = json!({"email": "bob@example.com", "code": right});
    town.post("/verify-email-code", elsewhere)
        .await
        .is_problem(422);
    let mut refusals = Vec::new();
    for code in [wrong, &spaced, wrong, wrong, wrong, wrong, right.as_str()] {
        let body = json!({"email": "ada@example.com", "code": code});
        let reply = town.post("/verify-email-code", body).await;
        reply.is_problem(422);
        refusals.push(reply.json()["detail"].clone());
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    let resend = json!({"email": "ADA@example.com"});
    assert_eq!(
        town.post("/api/v1/verification/resend", resend)
            .await
            .status,
        200
    );
    let fresh = town.mails("ada@example.com", 2).await.remove(1);
    let old = json!({"token": token_of(&mail)});
    town.post("/verify-email", old).await.is_problem(422);
    let page = town
        .send("GET /verify-email-code?email=ada@example.com", &[], b"")
        .await;
    assert!(
        page.status == 200 && page.body.contains("one-time-code"),
        "{page:?}"
    );
    let code = fresh.params["code"].as_str();
    let done = town
        .form(
            "/verify-email-code",
            &[("email", "Ada@example.com"), ("code", code)],
        )
        .await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(town.log_in("ada@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn mails_are_sent_again_three_times_an_hour_and_the_answer_never_tells() {
    let town = Town::start().await;
    town.sign_up("ada@example.com").await;
    let body = json!({"email": "ada@example.com"});
    for _ in 0..6 {
        let reply = town.post("/api/v1/verification/resend", body.clone()).await;
        assert_eq!(
            (reply.status, reply.json()),
            (200, json!({"status": "verification_sent"}))
        );
    }
    let last = town.mails("ada@example.com", 4).await.remove(3);
    let good = json!({"token": token_of(&last)});
    assert_eq!(town.post("/verify-email", good).await.status, 200);
}

#[tokio::test]
async fn nobody_learns_whether_an_address_has_an_account() {
    let town = Town::start().await;
    town.settled("ada@example.com").await;
    town.sign_up("waiting@example.com").await;
    let asked: [(&str, &str); 4] = [
        ("/api/v1/signup", "other horse battery"),
        ("/api/v1/login", "wrong horse battery"),
        ("/api/v1/password/forgot", ""),
        ("/api/v1/verification/resend", ""),
    ];
    for (path, password) in asked {
        let mut seen = Vec::new();
        // Who signs up is somebody afterwards.
        let nobody = format!("nobody{}@example.com", path.len());
        for address in ["ada@example.com", "waiting@example.com", &nobody] {
            let mut body = json!({"email": address});
            if !password.is_empty() {
                body["password"] = password.into();
            }
            if path.ends_with("signup") {
                body["tenantName"] = "Other".into();
            }
            let before = town.edge.identity.passwords.done();
            let reply = town.post(path, body).await;
            let work = town.edge.identity.passwords.done() - before;
            let mut told = reply.json();
            told["requestId"] = "".into();
            let names: Vec<String> = reply.headers.iter().map(|(name, _)| name.clone()).collect();
            seen.push((reply.status, told, names, work));
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "{path}: {seen:?}");
    }
    // Whoever owns the known address is told.
    let known = town.mails("ada@example.com", 3).await;
    assert_eq!(known[1].template, "signup_known");
    // The later sign-up of an address nobody proved holds, and no more than its password changed.
    let latest = town.mails("waiting@example.com", 4).await;
    assert_eq!(latest[1].template, "verification");
}

#[tokio::test]
async fn who_may_sign_up_is_configured() {
    for signup in [Signup::Invite, Signup::Off] {
        let town = Town::over(MemStore::new().unwrap(), signup).await;
        let body = json!({"email": "a@example.com", "password": PASSWORD, "tenantName": "A"});
        let reply = town.post("/api/v1/signup", body).await;
        reply.is_problem(403);
        assert_eq!(reply.code(), "signup_closed");
    }
}

#[tokio::test]
async fn what_is_no_password_or_address_is_refused_and_never_cut() {
    let town = Town::start().await;
    let sign_up = |email: &str, password: &str| json!({"email": email, "password": password, "tenantName": "A"});
    for password in ["seven77", "", "eight888\0", &"p".repeat(257)] {
        let body = sign_up("a@example.com", password);
        town.post("/api/v1/signup", body).await.is_problem(422);
    }
    let huge = "p".repeat(1 << 20);
    town.post("/api/v1/signup", sign_up("a@example.com", &huge))
        .await
        .is_problem(413);
    for email in [
        "",
        "a",
        "a@b@c",
        "\"a\"@example.com",
        "a@[127.0.0.1]",
        "a\r\nBcc: b@example.com",
        "a,b@example.com",
    ] {
        town.post("/api/v1/signup", sign_up(email, PASSWORD))
            .await
            .is_problem(400);
    }
    let form = town
        .form("/api/v1/signup", &[("email", "a@example.com")])
        .await;
    form.is_problem(415);
    // Both Unicode forms of one password are one, and a 256th character counts.
    let long = format!("{}{}", "\u{e9}".repeat(255), "x");
    let reply = town
        .post("/api/v1/signup", sign_up("long@example.com", &long))
        .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let split = format!("{}{}", "e\u{301}".repeat(255), "x");
    let reply = town.log_in("long@example.com", &split).await;
    assert_eq!(reply.code(), "email_unverified");
    let cut = "\u{e9}".repeat(255);
    town.log_in("long@example.com", &cut).await.is_problem(401);
    // Digits that a card's number might have are a password like any other.
    let digits = sign_up("digits@example.com", "4242424242424242");
    assert_eq!(town.post("/api/v1/signup", digits).await.status, 201);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one_or_all_but_ones_own() {
    let town = Town::start().await;
    town.settled("ada@example.com").await;
    town.settled("bob@example.com").await;
    let (here, _) = town.tokens("ada@example.com").await;
    let (there, refresh) = town.tokens("ada@example.com").await;
    let listed = town.bearer(&here, "GET /api/v1/sessions", "").await.json();
    let rows = listed["data"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["current"], &rows[1]["current"]),
        (&false.into(), &true.into())
    );
    let other = rows[0]["id"].as_str().unwrap().to_owned();
    let end = format!("DELETE /api/v1/sessions/{other}");
    let (bob, _) = town.tokens("bob@example.com").await;
    town.bearer(&bob, &end, "").await.is_problem(404);
    assert_eq!(town.bearer(&here, &end, "").await.status, 204);
    town.bearer(&here, &end, "").await.is_problem(404);
    town.bearer(&there, ME, "").await.is_problem(401);
    town.refresh(&refresh).await.is_problem(401);

    let (third, _) = town.tokens("ada@example.com").await;
    let change = "POST /api/v1/password/change";
    let body =
        json!({"currentPassword": "wrong horse battery", "newPassword": "a new horse battery"});
    town.bearer(&here, change, &body.to_string())
        .await
        .is_problem(422);
    let body = json!({"currentPassword": PASSWORD, "newPassword": "a new horse battery"});
    assert_eq!(
        town.bearer(&here, change, &body.to_string()).await.status,
        204
    );
    assert_eq!(
        town.bearer(&here, ME, "").await.status,
        200,
        "one's own stays"
    );
    town.bearer(&third, ME, "").await.is_problem(401);
    town.log_in("ada@example.com", PASSWORD)
        .await
        .is_problem(401);
    // Nothing of the change is kept under an idempotency key.
    assert!(
        town.store
            .kept_all("http_answer", None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn the_consoles_cookie_lasts_half_an_hour_unused_and_twelve_hours_at_most() {
    let town = Town::start().await;
    town.settled("ada@example.com").await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "session": "cookie"});
    let reply = town.post("/api/v1/login", body.clone()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.json()["csrfToken"].is_string() && reply.json().get("accessToken").is_none());
    let cookie = |reply: &crate::app::Reply| {
        let set = reply.header("set-cookie").unwrap().to_owned();
        for part in [
            "__Host-bursar_session=",
            "; Path=/",
            "; HttpOnly",
            "; SameSite=Lax",
            "; Secure",
        ] {
            assert!(set.contains(part), "{set}");
        }
        let value = set.split_once('=').unwrap().1;
        value.split_once(';').unwrap().0.to_owned()
    };
    let value = cookie(&reply);
    let is_good = async |value: &str| {
        sessions::user_of_cookie(&town.edge, value)
            .await
            .unwrap()
            .is_some()
    };
    assert!(is_good(&value).await);
    for _ in 0..24 {
        town.clock.step(29 * 60_000);
        assert!(is_good(&value).await);
    }
    town.clock.step(25 * 60_000);
    assert!(!is_good(&value).await, "twelve hours are over");
    let value = cookie(&town.post("/api/v1/login", body.clone()).await);
    town.clock.step(30 * 60_000);
    assert!(!is_good(&value).await, "half an hour unused");
    let value = cookie(&town.post("/api/v1/login", body).await);
    let header = format!("__Host-bursar_session={value}");
    let out = town
        .send("POST /api/v1/logout", &[("Cookie", &header)], b"")
        .await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert!(!is_good(&value).await);
}

#[tokio::test]
async fn every_field_people_are_answered_is_in_the_document() {
    let town = Town::start().await;
    let mail = town.sign_up("ada@example.com").await;
    let verified = town
        .post("/verify-email", json!({"token": token_of(&mail)}))
        .await
        .json();
    let login = town.log_in("ada@example.com", PASSWORD).await.json();
    let cookie = json!({"email": "ada@example.com", "password": PASSWORD, "session": "cookie"});
    let cookie = town.post("/api/v1/login", cookie).await.json();
    let access = login["accessToken"].as_str().unwrap().to_owned();
    let me = town.bearer(&access, ME, "").await.json();
    let invite = json!({"email": "guest@example.com", "role": "admin"}).to_string();
    let invited = town
        .bearer(&access, "POST /api/v1/members", &invite)
        .await
        .json();
    let token = token_of(&town.mails("guest@example.com", 1).await[0]);
    let body = json!({"token": token, "password": PASSWORD});
    let joined = town.post("/api/v1/invitations/accept", body).await.json();
    let members = town.bearer(&access, "GET /api/v1/members", "").await.json();
    let sessions = town
        .bearer(&access, "GET /api/v1/sessions", "")
        .await
        .json();
    let users = town.operator("GET /api/v1/users", "").await.json();
    let document = bursar::http::openapi::document("0");
    for (schema, answer) in [
        ("Verified", &verified),
        ("Tokens", &login),
        ("Tokens", &cookie),
        ("Me", &me),
        ("Membership", &me["memberships"][0]),
        ("Member", &invited),
        ("Member", &members["data"][0]),
        ("Joined", &joined),
        ("Session", &sessions["data"][0]),
        ("User", &users["data"][0]),
    ] {
        let known = &document["components"]["schemas"][schema]["properties"];
        let fields = answer
            .as_object()
            .unwrap_or_else(|| panic!("{schema}: {answer}"));
        for field in fields.keys() {
            assert!(known[field.as_str()].is_object(), "{schema}.{field}");
        }
    }
}
