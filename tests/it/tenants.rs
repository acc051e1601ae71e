//! Tenants changed by several at once, and what may be written into them.

use crate::app::{ADMIN_KEY, App, Reply};
use std::sync::Arc;

async fn patch_if(app: &App, tag: &str, name: &str) -> Reply {
    let bearer = format!("Bearer {ADMIN_KEY}");
    let headers = [("Authorization", bearer.as_str()), ("If-Match", tag)];
    let line = format!("PATCH /api/v1/tenants/acme?name={name}");
    app.send(&line, &headers, b"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_patches_at_one_moment_with_one_etag_exactly_one_is_done() {
    const AT_ONCE: usize = 24;
    let app = Arc::new(App::start().await);
    let made = app
        .operator(
            "POST /api/v1/tenants",
            r#"{"tenantId":"acme","name":"Acme"}"#,
        )
        .await;
    let mut tag = made.header("etag").unwrap().to_owned();
    for round in 0..4 {
        let patches: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let (app, tag) = (Arc::clone(&app), tag.clone());
                tokio::spawn(async move {
                    let name = format!("r{round}n{n}");
                    let reply = patch_if(&app, &tag, &name).await;
                    (name, reply)
                })
            })
            .collect();
        let mut won = Vec::new();
        for patch in patches {
            let (name, reply) = patch.await.unwrap();
            if reply.status == 200 {
                assert_eq!(reply.json()["name"], name.as_str());
                won.push(name);
            } else {
                reply.is_problem(412);
                assert_eq!(reply.code(), "precondition_failed");
            }
        }
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        let now = app.operator("GET /api/v1/tenants/acme", "").await;
        assert_eq!(
            now.json()["name"],
            won[0].as_str(),
            "the winner's word stays"
        );
        let next = now.header("etag").unwrap().to_owned();
        assert_ne!(next, tag);
        tag = next;
    }
    let settings = &app.edge.settings.domain;
    let report = bursar::verify::verify(app.store.as_ref(), settings)
        .await
        .unwrap();
    assert_eq!(
        (report.mismatches, report.not_compared),
        (0, 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn if_match_takes_a_list_a_star_and_no_weak_tag() {
    let app = App::start().await;
    let made = app
        .operator("POST /api/v1/tenants", r#"{"tenantId":"acme"}"#)
        .await;
    let tag = made.header("etag").unwrap().to_owned();
    for none in [
        format!("W/{tag}"),
        "\"999\"".to_owned(),
        tag.trim_matches('"').to_owned(),
        "\u{e9}".to_owned(),
    ] {
        patch_if(&app, &none, "Never").await.is_problem(412);
    }
    let listed = patch_if(&app, &format!("\"999\", {tag}"), "Listed").await;
    assert_eq!(listed.json()["name"], "Listed", "{listed:?}");
    patch_if(&app, &tag, "Stale").await.is_problem(412);
    assert_eq!(patch_if(&app, "*", "Any").await.json()["name"], "Any");
}

#[tokio::test]
async fn an_address_or_a_zone_that_is_none_is_refused_by_its_name() {
    let app = App::start().await;
    let patch = "PATCH /api/v1/tenants/acme";
    let body = r#"{"tenantId":"acme","email":"a@example.com","timezone":"Europe/Berlin"}"#;
    let made = app.operator("POST /api/v1/tenants", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    for (field, value, code) in [
        ("email", "nobody", "malformed"),
        ("email", "a@b@c", "malformed"),
        ("email", "a@", "malformed"),
        ("email", "a b@example.com", "malformed"),
        (
            "email",
            "a@example.com\\r\\nBcc: b@example.com",
            "malformed",
        ),
        (
            "email",
            &format!("{}@example.com", "a".repeat(250)),
            "out_of_range",
        ),
        ("timezone", "Europe/Berlni", "malformed"),
        ("timezone", "europe/berlin", "malformed"),
        ("timezone", "CEST", "malformed"),
        ("timezone", "+02:00", "malformed"),
    ] {
        let body = format!("{{\"{field}\":\"{value}\"}}");
        for line in [patch, "POST /api/v1/tenants"] {
            let reply = app.operator(line, &body).await;
            reply.is_problem(400);
            let error = &reply.json()["errors"][0];
            assert_eq!(
                (&error["field"], &error["code"]),
                (&field.into(), &code.into())
            );
        }
    }
    let reply = app.operator(patch, r#"{"timezone":"Europe/Berlni"}"#).await;
    assert!(
        reply.body.contains("did you mean `Europe/Berlin`?"),
        "{reply:?}"
    );
    let both = app.operator(patch, r#"{"email":"x","timezone":"y"}"#).await;
    assert_eq!(both.json()["errors"].as_array().unwrap().len(), 2);
    let made = app
        .operator("POST /api/v1/tenants", r#"{"email":""}"#)
        .await;
    made.is_problem(400);
    let kept = app.operator("GET /api/v1/tenants/acme", "").await.json();
    assert_eq!(
        (&kept["email"], &kept["timezone"]),
        (&"a@example.com".into(), &"Europe/Berlin".into())
    );
    let cleared = app
        .operator(&format!("{patch}?email=&timezone="), "")
        .await
        .json();
    assert!(
        cleared["email"].is_null() && cleared["timezone"].is_null(),
        "{cleared}"
    );
}

/// A change that is done is in the audit trail, whether or not its caller stayed to hear of it.
#[tokio::test]
async fn a_patch_whose_caller_left_is_audited_all_the_same() {
    use tokio::io::AsyncWriteExt;
    const LEFT: usize = 40;
    let app = App::start().await;
    app.operator("POST /api/v1/tenants", r#"{"tenantId":"acme"}"#)
        .await;
    for n in 0..LEFT {
        let mut stream = app.connect().await;
        let request = format!(
            "PATCH /api/v1/tenants/acme?name=n{n} HTTP/1.1\r\nHost: bursar.test\r\n\
             Authorization: Bearer {ADMIN_KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        drop(stream);
    }
    let count = async |path: &str, field: &str, word: &str| {
        let line = format!("GET {path}?limit=100");
        let page = app.operator(&line, "").await.json();
        let items = page["data"].as_array().unwrap().clone();
        items.iter().filter(|item| item[field] == word).count()
    };
    let mut quiet = 0;
    while quiet < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        quiet = match app.server.open_connections() {
            0 => quiet + 1,
            _ => 0,
        };
    }
    // What a stop waits for before it ends the actors and closes the store.
    app.edge.orders_ended().await;
    let done = count("/api/v1/tenants/acme/timeline", "kind", "tenant.patch").await;
    let told = count("/api/v1/audit", "action", "tenant.changed").await;
    println!("sent={LEFT} done={done} audited={told}");
    assert!(done > 0);
    assert_eq!(done, told);
}
