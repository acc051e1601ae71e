//! API keys and persons as callers: what is theirs, from when and until when.

use super::callers::api_key;
use super::people::{person, tenant, token};
use crate::app::App;
use bursar::http::limits::Limits;
use bursar::identity::members;
use bursar::identity::records::Commit;
use bursar_domain::identity::Role;
use serde_json::json;

async fn two_tenants() -> App {
    let app = App::start().await;
    for id in ["t1", "t2"] {
        let body = json!({"tenantId": id, "name": id}).to_string();
        assert_eq!(
            app.operator("POST /api/v1/tenants", &body).await.status,
            201
        );
    }
    app
}

#[tokio::test]
async fn a_key_is_shown_once_and_works_for_its_tenant_until_it_is_revoked() {
    let app = two_tenants().await;
    let admin = person(&app, &[("t1", Role::Admin)], None).await;
    let admin = token(&app, &admin).await;
    let make = "POST /api/v1/api-keys";
    let body = r#"{"name":"ci","role":"member","expiresAt":"2025-06-01T00:00:00Z"}"#;
    let made = app.bearer(&admin, make, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let made = made.json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(
        key.starts_with("sk_bursar_") && made["createdBy"].as_str().unwrap().starts_with("user:")
    );
    let listed = app.bearer(&admin, "GET /api/v1/api-keys", "").await;
    assert!(
        !listed.body.contains(&key[40..]),
        "the secret is shown once"
    );
    assert_eq!(listed.json()["data"][0]["lastUsedOn"], json!(null));

    let own = app.bearer(key, "GET /api/v1/tenants", "").await.json();
    assert_eq!(own["data"].as_array().unwrap().len(), 1);
    assert_eq!(own["data"][0]["tenantId"], "t1");
    let listed = app.bearer(&admin, "GET /api/v1/api-keys", "").await;
    assert_eq!(listed.json()["data"][0]["lastUsedOn"], "2025-05-12");
    let bearer = format!("Bearer {key}");
    for (header, status) in [
        ("t1", 200),
        ("t2", 403),
        ("absent", 403),
        ("", 400),
        ("../x", 400),
    ] {
        let headers = [("Authorization", bearer.as_str()), ("X-Tenant-Id", header)];
        let reply = app.send("GET /api/v1/payments", &headers, b"").await;
        assert_eq!(reply.status, status, "{header}: {reply:?}");
    }
    let twice = [
        ("Authorization", bearer.as_str()),
        ("X-Tenant-Id", "t1"),
        ("X-Tenant-Id", "t1"),
    ];
    app.send("GET /api/v1/payments", &twice, b"")
        .await
        .is_problem(400);
    // No key makes keys, and nobody makes one above their own role.
    app.bearer(key, make, r#"{"name":"a","role":"viewer"}"#)
        .await
        .is_problem(403);
    let (_, strong) = api_key(&app, "t1", Role::Admin).await;
    app.bearer(&strong, make, r#"{"name":"a","role":"viewer"}"#)
        .await
        .is_problem(403);
    let member = person(&app, &[("t1", Role::Member)], None).await;
    let member = token(&app, &member).await;
    app.bearer(&member, make, r#"{"name":"a","role":"viewer"}"#)
        .await
        .is_problem(403);
    let owned = app
        .bearer(&admin, make, r#"{"name":"a","role":"owner"}"#)
        .await;
    owned.is_problem(400);
    let over = r#"{"name":"a","role":"viewer","expiresAt":"2025-01-01T00:00:00Z"}"#;
    app.bearer(&admin, make, over).await.is_problem(422);

    let stranger = person(&app, &[("t2", Role::Owner)], None).await;
    let stranger = token(&app, &stranger).await;
    let revoke = format!("DELETE /api/v1/api-keys/{id}");
    app.bearer(&stranger, &revoke, "").await.is_problem(404);
    assert_eq!(
        app.bearer(key, "GET /api/v1/payments", "").await.status,
        200
    );
    assert_eq!(app.bearer(&admin, &revoke, "").await.status, 204);
    app.bearer(key, "GET /api/v1/payments", "")
        .await
        .is_problem(401);
    app.bearer(&admin, &revoke, "").await.is_problem(404);
    let trail = app.operator("GET /api/v1/audit?tenantId=t1", "").await.body;
    assert!(trail.contains("api_key.created") && trail.contains("api_key.revoked"));
    assert!(!trail.contains(&key[40..]));
}

#[tokio::test]
async fn a_key_that_ends_is_refused_from_then_on_and_a_tenant_has_a_hundred() {
    let app = two_tenants().await;
    let body = r#"{"tenantId":"t1","name":"k","role":"viewer","expiresAt":"2025-05-12T10:00:05Z"}"#;
    let made = app.operator("POST /api/v1/api-keys", body).await.json();
    let key = made["key"].as_str().unwrap();
    let list = "GET /api/v1/payments";
    assert_eq!(app.bearer(key, list, "").await.status, 200);
    app.clock.step(5_000);
    app.bearer(key, list, "").await.is_problem(401);
    for _ in 1..100 {
        api_key(&app, "t1", Role::Viewer).await;
    }
    let body = r#"{"tenantId":"t1","name":"k","role":"viewer"}"#;
    app.operator("POST /api/v1/api-keys", body)
        .await
        .is_problem(422);
    api_key(&app, "t2", Role::Viewer).await;
}

#[tokio::test]
async fn a_person_acts_where_the_header_says_else_where_they_chose_else_in_their_only_tenant() {
    let app = two_tenants().await;
    let list = "GET /api/v1/tenants";
    let seen = async |token: &str, header: Option<&str>| {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend(header.map(|header| ("X-Tenant-Id", header)));
        let reply = app.send(list, &headers, b"").await;
        match reply.status {
            200 => reply.json()["data"][0]["tenantId"]
                .as_str()
                .unwrap()
                .to_owned(),
            _ => reply.code(),
        }
    };
    let both = [("t1", Role::Owner), ("t2", Role::Viewer)];
    let one = token(&app, &person(&app, &both[..1], None).await).await;
    assert_eq!(seen(&one, None).await, "t1");
    assert_eq!(seen(&one, Some("t2")).await, "not_found");
    assert_eq!(seen(&one, Some("absent")).await, "not_found");
    let several = token(&app, &person(&app, &both, None).await).await;
    assert_eq!(seen(&several, None).await, "tenant_required");
    assert_eq!(seen(&several, Some("t2")).await, "t2");
    let chose = token(&app, &person(&app, &both, Some("t2")).await).await;
    assert_eq!(seen(&chose, None).await, "t2");
    assert_eq!(seen(&chose, Some("t1")).await, "t1");
    let nowhere = token(&app, &person(&app, &[], None).await).await;
    assert_eq!(seen(&nowhere, None).await, "tenant_required");
}

#[tokio::test]
async fn a_role_that_changes_acts_at_the_next_request() {
    let app = two_tenants().await;
    let user = person(&app, &[("t1", Role::Admin)], None).await;
    let token = token(&app, &user).await;
    let patch = async || {
        let body = r#"{"timezone":"Europe/Berlin"}"#;
        app.bearer(&token, "PATCH /api/v1/tenants/t1", body)
            .await
            .status
    };
    assert_eq!(patch().await, 200);
    let t1 = tenant("t1");
    let read = async || {
        members::find(app.store.as_ref(), &t1, &user)
            .await
            .unwrap()
            .unwrap()
    };
    let lower = members::change_role(Commit::default(), &t1, &user, &read().await, Role::Viewer);
    assert!(lower.unwrap().run(app.store.as_ref()).await.unwrap());
    assert_eq!(patch().await, 403);
    let gone = members::leave(Commit::default(), &t1, &user, &read().await);
    assert!(gone.run(app.store.as_ref()).await.unwrap());
    assert_eq!(patch().await, 400, "they belong to no tenant");
}

#[tokio::test]
async fn an_idempotency_key_is_its_persons_whatever_token_they_send() {
    let app = two_tenants().await;
    let body = r#"{"amount":1,"reference":"r"}"#.as_bytes();
    let send = async |token: &str, tenant: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Idempotency-Key", "k"),
            ("X-Tenant-Id", tenant),
        ];
        let line = format!("POST /api/v1/tenants/{tenant}/credits/debits");
        let reply = app.send(&line, &headers, body).await;
        (reply.status, reply.header("idempotent-replayed").is_some())
    };
    let places = [("t1", Role::Admin), ("t2", Role::Admin)];
    let one = person(&app, &places, None).await;
    let other = person(&app, &places, None).await;
    let (first, second) = (token(&app, &one).await, token(&app, &one).await);
    assert_ne!(first, second);
    assert_eq!(send(&first, "t1").await, (409, false), "no credits");
    assert_eq!(send(&second, "t1").await, (409, true), "the same person");
    assert_eq!(send(&second, "t2").await, (409, false), "another tenant");
    assert_eq!(send(&token(&app, &other).await, "t1").await, (409, false));
}

#[tokio::test]
async fn a_hasty_key_is_slowed_down_in_its_tenant_alone() {
    let app = two_tenants().await;
    let (_, key) = api_key(&app, "t1", Role::Admin).await;
    let (_, other) = api_key(&app, "t2", Role::Admin).await;
    let body = r#"{"amount":1,"reference":"r"}"#;
    let debit = async |key: &str, tenant: &str| {
        let line = format!("POST /api/v1/tenants/{tenant}/credits/debits");
        app.bearer(key, &line, body).await
    };
    let began = std::time::Instant::now();
    let mut refused = 0;
    for _ in 0..100 {
        let reply = debit(&key, "t1").await;
        if reply.status == 429 {
            assert!(reply.header("retry-after").is_some());
            assert_eq!(reply.code(), "rate_limited");
            refused += 1;
        }
    }
    let allowed = Limits::default();
    let refills = began.elapsed().as_secs_f64() * f64::from(allowed.orders_per_second);
    println!("refused={refused} of 100 in {:?}", began.elapsed());
    assert!(f64::from(refused) >= 100.0 - f64::from(allowed.orders_burst) - refills - 1.0);
    assert_eq!(debit(&other, "t2").await.status, 409);
    assert_eq!(
        app.bearer(&key, "GET /api/v1/payments", "").await.status,
        200,
        "reads go on"
    );
}
