//! Personal data gone for good, whatever is asked, and nothing else with it.

use crate::app::App;
use crate::story::{get, play, scenario};
use bursar::http::limits::Limits;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::fact::Order;
use bursar_domain::ids::{CustomerId, Scope, TenantId};
use bursar_domain::input::InputSource;
use bursar_domain::link::LinkKey;
use bursar_domain::rows::Subject;
use bursar_store::api::{Fate, Inbound};
use bursar_store::{OpenOptions, Watermarks, open_sled};
use serde_json::{Value, json};
use std::path::Path;

const ERASE: &str = "POST /api/v1/tenants/ws_42/erase";
/// Address, name and the links under which both are read at Stripe.
const PERSONAL: [&str; 4] = ["ada@", "Lovelace", "invoice.stripe.com", "pay.stripe.com"];

/// The subscription of the first purchase, deleted a day later.
async fn end_subscription(app: &App) {
    let events = scenario("new_subscription_checkout");
    let created = events
        .iter()
        .find(|e| e["type"] == "customer.subscription.created");
    let mut deleted = created.unwrap().clone();
    let at = deleted["created"].as_i64().unwrap() + 86_400;
    deleted["id"] = "evt_deleted".into();
    deleted["type"] = "customer.subscription.deleted".into();
    deleted["created"] = at.into();
    let object = &mut deleted["data"]["object"];
    object["status"] = "canceled".into();
    object["ended_at"] = at.into();
    object["canceled_at"] = at.into();
    let reply = app.deliver(deleted.to_string().as_bytes()).await;
    assert_eq!(reply.status, 200);
    app.settle().await;
}

async fn over(dir: &Path) -> App {
    let options = OpenOptions {
        watermarks: Watermarks::OFF,
        ..OpenOptions::default()
    };
    let (store, _) = open_sled(dir, options).unwrap();
    App::over(store, Limits::default()).await
}

/// Stops and starts again, on a copy: tasks of the first may hold its folder for a while.
async fn restarted(app: App, from: &Path, to: &Path, with_rows: bool) -> App {
    app.store.close().await.unwrap();
    drop(app);
    copy(from, to);
    if !with_rows {
        std::fs::remove_dir_all(to.join("sled")).unwrap();
    }
    over(to).await
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (to.join(entry.file_name()), entry.file_type().unwrap());
        if kind.is_dir() {
            copy(&entry.path(), &path);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), path).unwrap();
        }
    }
}

/// The renewal of the corpus as if the first purchase's customer had paid it.
fn renewal(first: &[Value]) -> Vec<Value> {
    let of = |events: &[Value], kind: &str, field: &str| -> String {
        let event = events.iter().find(|e| e["type"] == kind).unwrap();
        let object = &event["data"]["object"];
        object[field].as_str().unwrap().to_owned()
    };
    let mine = scenario("renewal_success");
    let text = json!(mine).to_string();
    let text = text.replace(
        &of(&mine, "charge.succeeded", "customer"),
        &of(first, "charge.succeeded", "customer"),
    );
    let text = text.replace(
        &of(&mine, "customer.subscription.updated", "id"),
        &of(first, "customer.subscription.created", "id"),
    );
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    let wanted = |event: &Value| !event["type"].as_str().unwrap().contains("subscription");
    events.into_iter().filter(wanted).collect()
}

/// Nothing that is answered shows anything personal of the first purchase.
async fn shows_nothing(app: &App, events: &[Value]) {
    let mut paths: Vec<String> = [
        "tenants/ws_42",
        "tenants/ws_42/export",
        "tenants/ws_42/timeline",
        "customers",
        "checkout-sessions",
        "invoices",
        "subscriptions",
        "payments",
        "webhook-events?limit=100",
        "audit",
    ]
    .map(|path| format!("/api/v1/{path}"))
    .into();
    for event in events {
        let id = event["id"].as_str().unwrap();
        paths.push(format!("/api/v1/webhook-events/{id}"));
        paths.push(format!("/api/v1/explain/{id}"));
    }
    for path in paths {
        let answer = get(app, &path).await.to_string();
        for word in PERSONAL {
            assert!(!answer.contains(word), "{path} shows {word}: {answer}");
        }
    }
    let revenue = get(app, "/api/v1/ledger?tenantId=ws_42&account=revenue").await;
    let amounts = revenue["data"].as_array().unwrap().iter();
    assert!(amounts.clone().any(|entry| entry["amount"] == -2_000));
    let verified = app.operator("POST /api/v1/verify", "{}").await.json();
    assert_eq!(verified["mismatches"], 0, "{verified}");
    let erased = verified["erased"].as_u64().unwrap();
    assert!(erased >= events.len() as u64, "{verified}");
}

#[tokio::test]
async fn what_is_erased_stays_away_and_the_books_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let app = over(dir.path()).await;
    let events = play(&app, "new_subscription_checkout").await;
    let out = get(&app, "/api/v1/tenants/ws_42/export").await;
    assert_eq!(out["customers"][0]["email"], "ada@example.com");
    let refused = app.operator(ERASE, "").await;
    refused.is_problem(409);
    assert_eq!(refused.code(), "subscription_exists");
    end_subscription(&app).await;
    let done = app.operator(ERASE, "").await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["complete"], true, "{done:?}");
    // The tenant's and the customer's.
    assert_eq!(done.json()["erasedSubjects"], 2, "{done:?}");
    app.settle().await;
    shows_nothing(&app, &events).await;
    let again = app.operator(ERASE, "").await;
    assert_eq!(
        again.json()["complete"],
        true,
        "asking again ends: {again:?}"
    );

    // What Stripe says later is booked, and brings nothing personal back to a list.
    let late = renewal(&events);
    for event in &late {
        let reply = app.deliver(event.to_string().as_bytes()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let mut updated = events[0].clone();
    updated["type"] = json!("customer.updated");
    updated["id"] = json!("evt_updated_late");
    updated["created"] = json!(updated["created"].as_i64().unwrap() + 200_000);
    for event in [&updated, events.last().unwrap()] {
        app.deliver(event.to_string().as_bytes()).await;
    }
    app.settle().await;
    let dead = get(&app, "/api/v1/webhook-events?status=dead").await;
    assert_eq!(dead["data"], json!([]), "nothing was lost");
    for path in ["tenants/ws_42", "customers", "checkout-sessions"] {
        let answer = get(&app, &format!("/api/v1/{path}")).await.to_string();
        assert!(
            !answer.contains("ada@") && !answer.contains("Lovelace"),
            "{answer}"
        );
    }
    let charges = late.iter().filter(|e| e["type"] == "charge.succeeded");
    let renewed: i64 = charges
        .map(|e| e["data"]["object"]["amount_captured"].as_i64().unwrap())
        .sum();
    let revenue = get(&app, "/api/v1/ledger?tenantId=ws_42&account=revenue").await;
    let entries = revenue["data"].as_array().unwrap().iter();
    let sum: i64 = entries.map(|entry| entry["amount"].as_i64().unwrap()).sum();
    assert!(renewed > 0);
    assert_eq!(sum, -2_000 - renewed, "{revenue}");

    // What the late ones said is under keys of its own, and goes the same way.
    let last = app.operator(ERASE, "").await;
    assert_eq!(last.json()["complete"], true, "{last:?}");
    shows_nothing(&app, &events).await;
    let digest = get(&app, "/api/v1/digest").await["stateDigest"].clone();
    let mut from = dir.path().to_owned();
    let mut app = app;
    let copies = tempfile::tempdir().unwrap();
    for (name, with_rows) in [("restarted", true), ("rebuilt", false)] {
        let to = copies.path().join(name);
        app = restarted(app, &from, &to, with_rows).await;
        shows_nothing(&app, &events).await;
        let again = get(&app, "/api/v1/digest").await["stateDigest"].clone();
        assert_eq!(again, digest, "{name}");
        from = to;
    }
}

#[tokio::test]
async fn an_erased_tenant_takes_no_name_again_but_is_sold_to_still() {
    let app = App::start().await;
    app.operator(
        "POST /api/v1/tenants",
        r#"{"tenantId":"ws_42","name":"Ada"}"#,
    )
    .await;
    let done = app.operator(ERASE, "").await;
    assert_eq!(done.json()["complete"], true, "{done:?}");
    let patch = "PATCH /api/v1/tenants/ws_42";
    let named = app.operator(patch, r#"{"name":"Ada"}"#).await;
    named.is_problem(409);
    assert_eq!(named.code(), "state_conflict");
    let zoned = app.operator(patch, r#"{"timezone":"Europe/Paris"}"#).await;
    assert_eq!(zoned.status, 200, "{zoned:?}");
    play(&app, "new_subscription_checkout").await;
    let tenant = get(&app, "/api/v1/tenants/ws_42").await;
    assert_eq!(
        (&tenant["name"], &tenant["email"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(tenant["license"]["state"], "active");
}

#[tokio::test]
async fn a_key_is_kept_for_what_still_waits_and_asking_again_ends() {
    let app = App::start().await;
    let events = play(&app, "new_subscription_checkout").await;
    end_subscription(&app).await;
    let session = events.last().unwrap();
    let customer = events[0]["data"]["object"]["id"].as_str().unwrap();
    let subject = Subject(format!("customer:/{customer}"));
    // An order for a customer that waits for a tenant nobody has heard of yet.
    let late = TenantId::parse("late").unwrap();
    let waiting = Inbound {
        source: InputSource::Operator("op_waiting".to_owned()),
        kind: "claim".to_owned(),
        fate: Fate::Pending {
            to: AggregateKey::Customer(Scope::PLATFORM, CustomerId::parse("cus_x").unwrap()),
            park: vec![LinkKey::Tenant(late)],
        },
        object_ids: Vec::new(),
        created_at: None,
        received_at: app.edge.now(),
        tenant: None,
        subject: subject.clone(),
        body: Order::Erase {}.to_body().into(),
    };
    app.edge.intake.accept(waiting).await.unwrap();
    app.settle().await;
    let kept = app.operator(ERASE, "").await.json();
    assert_eq!(kept["complete"], false, "{kept}");
    assert_eq!(kept["erasedSubjects"], 1, "the tenant's own: {kept}");
    let left = app.store.awaited(vec![subject.clone()]).await.unwrap();
    assert_eq!(left, [subject]);
    let body = r#"{"tenantId":"late"}"#;
    assert_eq!(app.operator("POST /api/v1/tenants", body).await.status, 201);
    app.settle().await;
    let done = app.operator(ERASE, "").await.json();
    assert_eq!(done["complete"], true, "{done}");
    let id = session["id"].as_str().unwrap();
    let shown = get(&app, &format!("/api/v1/webhook-events/{id}")).await;
    assert_eq!(shown["body"], Value::Null);
}
