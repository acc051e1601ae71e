//! A whole purchase through the door, read back through the API.

use crate::app::App;
use bursar_actors::gate::FarSide;
use bursar_domain::decision::Lane;
use bursar_domain::ids::{AccountId, Scope};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) fn scenario(name: &str) -> Vec<Value> {
    let path = format!(
        "{}/tests/corpus/stripe/scenarios/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    file["events"].as_array().unwrap().clone()
}

pub(crate) async fn play(app: &App, name: &str) -> Vec<Value> {
    let events = scenario(name);
    for event in &events {
        let body = serde_json::to_vec_pretty(event).unwrap();
        let reply = app.deliver(&body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    app.settle().await;
    events
}

pub(crate) async fn get(app: &App, path: &str) -> Value {
    let reply = app.operator(&format!("GET {path}"), "").await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.json()
}

/// Every flow of the corpus, one after the other, as Stripe would have sent it.
pub(crate) const FLOWS: [&str; 12] = [
    "new_subscription_checkout",
    "renewal_success",
    "downgrade_create_prorations",
    "one_time_payment_checkout",
    "async_payment_succeeded",
    "dispute_won",
    "cancel_at_period_end",
    "cancel_immediately",
    "connect_onboarding",
    "payouts_connect",
    "radar_review",
    "trial_to_paid",
];

#[tokio::test]
async fn a_purchase_is_found_in_every_list_that_should_hold_it() {
    let app = App::start().await;
    let events = play(&app, "new_subscription_checkout").await;
    let tenant = get(&app, "/api/v1/tenants/ws_42").await;
    assert_eq!(
        (&tenant["status"], &tenant["license"]["state"]),
        (&json!("active"), &json!("active"))
    );
    assert_eq!(tenant["email"], "ada@example.com");
    for list in [
        "subscriptions",
        "invoices",
        "payments",
        "customers",
        "checkout-sessions",
    ] {
        let page = get(&app, &format!("/api/v1/{list}?tenantId=ws_42")).await;
        assert_eq!(page["data"].as_array().unwrap().len(), 1, "{list}: {page}");
        let id = page["data"][0]["id"].as_str().unwrap();
        let single = get(&app, &format!("/api/v1/{list}/{id}")).await;
        assert_eq!(single, page["data"][0], "{list}");
        let foreign = format!("GET /api/v1/{list}/{id}?tenantId=other");
        let foreign = app.operator(&foreign, "").await;
        let absent = app
            .operator(&format!("GET /api/v1/{list}/absent"), "")
            .await;
        foreign.is_problem(404);
        assert_eq!(foreign.json()["detail"], absent.json()["detail"]);
        let explained = get(&app, &format!("/api/v1/explain/{id}")).await;
        assert!(
            !explained["timeline"].as_array().unwrap().is_empty(),
            "{list}"
        );
    }
    let payment = &get(&app, "/api/v1/payments").await["data"][0];
    let by_charge = payment["stripeChargeId"].as_str().unwrap();
    assert_eq!(
        get(&app, &format!("/api/v1/payments/{by_charge}")).await,
        *payment
    );
    let id = payment["id"].as_str().unwrap();
    let moved = get(&app, &format!("/api/v1/payments/{id}/transactions")).await;
    let sum: i64 = moved["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["amount"].as_i64().unwrap())
        .sum();
    assert_eq!((moved["data"].as_array().unwrap().len(), sum), (2, 0));
    assert_eq!(
        get(&app, "/api/v1/ledger?account=revenue").await["data"][0]["amount"],
        -2_000
    );
    let timeline = get(&app, &format!("/api/v1/payments/{id}/timeline")).await;
    assert!(
        timeline["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|line| line["changed"].is_array())
    );
    let stored = get(&app, "/api/v1/webhook-events?limit=100").await;
    assert_eq!(stored["data"].as_array().unwrap().len(), events.len());
    let replay = app
        .operator("POST /api/v1/webhook-events/replay?status=applied", "")
        .await
        .json();
    assert_eq!(replay["replayed"], 0, "everything was applied: {replay}");
    assert_eq!(get(&app, "/api/v1/tenants/ws_42").await, tenant);
}

#[tokio::test]
async fn every_field_that_is_answered_is_in_the_document() {
    let app = App::start().await;
    let mut deliveries = 0;
    for flow in FLOWS {
        deliveries += play(&app, flow).await.len();
    }
    let body = r#"{"tenantId":"ws_43"}"#;
    app.operator("POST /api/v1/tenants", body).await;
    let document = bursar::http::openapi::document("0");
    let endpoint = app.endpoint().await;
    let (mut missing, mut rows, mut empty) = (Vec::new(), 0, Vec::new());
    for route in bursar::http::routes::every_route() {
        let bursar::http::route::Holds::Page(schema) = route.holds else {
            continue;
        };
        let path = route.path.replace("{tenantId}", "ws_43");
        let path = path.replace("endpoints/{id}", &format!("endpoints/{endpoint}"));
        let payments = get(&app, "/api/v1/payments").await;
        let path = path.replace("{id}", payments["data"][0]["id"].as_str().unwrap());
        // What is a person's own, or needs a tenant picked, has tests of its own.
        let is_elsewhere = matches!(route.tag, "keys" | "people")
            || route.auth == bursar::http::route::Auth::Person;
        if route.verb != bursar::http::route::Verb::Get || is_elsewhere {
            continue;
        }
        let path = match route.label {
            "members_list" => format!("{path}?tenantId=ws_43"),
            _ => path,
        };
        let page = get(&app, &path).await;
        let known = &document["components"]["schemas"][schema]["properties"];
        let items = page["data"].as_array().unwrap();
        if items.is_empty() {
            empty.push(path);
        }
        for item in items {
            rows += 1;
            for field in item.as_object().unwrap().keys() {
                if known[field.as_str()].is_null() {
                    missing.push(format!("{schema}.{field}"));
                }
            }
        }
    }
    missing.sort();
    missing.dedup();
    println!("deliveries={deliveries} rows={rows} lists_without_rows={empty:?}");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[tokio::test]
async fn credits_are_debited_once_per_reference_and_never_below_zero() {
    let app = App::start().await;
    app.operator("POST /api/v1/tenants", r#"{"tenantId":"acme"}"#)
        .await;
    let debit = "POST /api/v1/tenants/acme/credits/debits";
    let none = app
        .operator(debit, r#"{"amount":5,"reference":"job-1"}"#)
        .await;
    none.is_problem(409);
    assert_eq!(none.code(), "insufficient_credits");
    for body in [
        r#"{"amount":0,"reference":"a"}"#,
        r#"{"amount":-1,"reference":"a"}"#,
        r#"{"amount":1.5,"reference":"a"}"#,
        r#"{"amount":1e3,"reference":"a"}"#,
        r#"{"amount":"5","reference":"a"}"#,
        r#"{"amount":9223372036854775808,"reference":"a"}"#,
        r#"{"amount":5}"#,
    ] {
        app.operator(debit, body).await.is_problem(400);
    }
    let mut events = scenario("one_time_payment_checkout");
    let session = events.last_mut().unwrap();
    session["data"]["object"]["client_reference_id"] = "acme".into();
    session["data"]["object"]["metadata"] = json!({"plan_id": "credits-10"});
    for event in &events[3..] {
        app.deliver(event.to_string().as_bytes()).await;
    }
    // The session notes no quantity: the credits come with the answer about its line items.
    for _ in 0..2_000 {
        app.settle().await;
        let tenant = app.operator("GET /api/v1/tenants/acme", "").await.json();
        if tenant["credits"] == 10 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let first = app
        .operator(debit, r#"{"amount":4,"reference":"job-1"}"#)
        .await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json()["credits"], 6);
    let again = app
        .operator(debit, r#"{"amount":4,"reference":"job-1"}"#)
        .await;
    assert_eq!(again.json(), first.json(), "the same reference counts once");
    for other in [3, 5, 400] {
        let body = format!("{{\"amount\":{other},\"reference\":\"job-1\"}}");
        let reply = app.operator(debit, &body).await;
        reply.is_problem(409);
        assert_eq!(reply.code(), "debit_reference_reused", "{other}");
        assert!(reply.body.contains("debited 4 credits before"), "{reply:?}");
    }
    let tenant = get(&app, "/api/v1/tenants/acme").await;
    assert_eq!(tenant["credits"], 6, "nothing was taken");
    let more = app
        .operator(debit, r#"{"amount":7,"reference":"job-2"}"#)
        .await;
    assert_eq!(more.code(), "insufficient_credits");
    let entries = get(&app, "/api/v1/tenants/acme/credits/entries").await;
    let amounts: Vec<_> = entries["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["amount"])
        .collect();
    assert!(
        amounts.contains(&&json!(10)) && amounts.contains(&&json!(-4)),
        "{amounts:?}"
    );
    let document = bursar::http::openapi::document("0");
    let schemas = &document["components"]["schemas"];
    for field in entries["data"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|e| e.as_object().unwrap().keys())
    {
        assert!(
            !schemas["CreditEntry"]["properties"][field].is_null(),
            "{field}"
        );
    }
    assert!(schemas["Plan"]["properties"]["amount"].is_null());
    let nobody = "POST /api/v1/tenants/nobody/credits/debits";
    app.operator(nobody, r#"{"amount":5,"reference":"a"}"#)
        .await
        .is_problem(404);
}

#[tokio::test]
async fn what_waits_unclaimed_is_given_to_a_tenant_once() {
    let app = App::start().await;
    let mut session = scenario("one_time_payment_checkout").pop().unwrap();
    session["data"]["object"]["client_reference_id"] = "no tenant of ours!".into();
    session["data"]["object"]["metadata"] = json!({});
    app.deliver(session.to_string().as_bytes()).await;
    app.settle().await;
    let waiting = get(&app, "/api/v1/unclaimed").await;
    let id = waiting["data"][0]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{waiting}"))
        .to_owned();
    let claim = format!("POST /api/v1/unclaimed/{id}/claim?tenantId=acme");
    app.operator(&claim, "").await.is_problem(404);
    app.operator("POST /api/v1/tenants", r#"{"tenantId":"acme"}"#)
        .await;
    let claimed = app.operator(&claim, "").await;
    assert_eq!(claimed.status, 200, "{claimed:?}");
    app.settle().await;
    assert!(
        get(&app, "/api/v1/unclaimed").await["data"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    app.operator(&claim, "").await.is_problem(404);
    let session = get(&app, &format!("/api/v1/checkout-sessions/{id}")).await;
    assert_eq!(session["tenantId"], "acme");
}

/// How one circuit is shown.
async fn circuit(app: &App, name: &str) -> Value {
    let all = get(app, "/api/v1/circuits").await;
    let all = all["data"].as_array().unwrap();
    let names: Vec<_> = all.iter().map(|circuit| &circuit["name"]).collect();
    assert_eq!(names, ["stripe", "mail", "notify", "identity", "alert"]);
    let found = all.iter().find(|circuit| circuit["name"] == name);
    found.unwrap().clone()
}

#[tokio::test]
async fn a_circuit_that_opened_is_closed_by_hand_once_and_the_audit_trail_says_so() {
    let app = App::start().await;
    let closed = circuit(&app, "stripe").await;
    assert_eq!(closed["state"], "closed", "{closed}");
    assert!(closed["since"].is_string(), "{closed}");
    let reset = "POST /api/v1/circuits/stripe/reset";
    app.operator(reset, "").await.is_problem(409);
    app.operator("POST /api/v1/circuits/coffee/reset", "")
        .await
        .is_problem(404);
    app.stripe.is_away.store(true, Ordering::SeqCst);
    let events = scenario("one_time_payment_checkout");
    let completed = events
        .iter()
        .find(|e| e["type"] == "checkout.session.completed");
    for n in 0..12 {
        let mut event = completed.unwrap().clone();
        event["id"] = json!(format!("evt_circuit{n}"));
        event["data"]["object"]["id"] = json!(format!("cs_test_circuit{n}"));
        let reply = app.deliver(event.to_string().as_bytes()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let mut tries = 0;
    while circuit(&app, "stripe").await["state"] != "open" {
        tries += 1;
        assert!(tries < 1_000, "the circuit stays closed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reply = app.operator(reset, "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let shown = reply.json();
    let shown = shown["data"].as_array().unwrap();
    assert!(shown.iter().all(|circuit| circuit["state"] == "closed"));
    app.operator(reset, "").await.is_problem(409);
    let audit = get(&app, "/api/v1/audit").await;
    let lines = audit["data"].as_array().unwrap().iter();
    let resets: Vec<_> = lines.filter(|l| l["action"] == "circuit.reset").collect();
    assert_eq!(resets.len(), 1, "{audit}");
    assert_eq!(resets[0]["objectId"], "stripe");
}

#[tokio::test]
async fn an_accounts_circuit_is_listed_by_its_name_and_closed_by_hand() {
    let app = App::start().await;
    let gate = app.tree.gate();
    let scope = Scope(Some(AccountId::parse("acct_1Stuck").unwrap()));
    for _ in 0..10 {
        let pass = gate.enter(&scope, Lane::Stripe, false).unwrap();
        pass.end(FarSide::KeyRefused { status: 403 });
    }
    let listed = get(&app, "/api/v1/circuits").await;
    assert_eq!(listed["data"][0]["state"], "closed", "{listed}");
    assert_eq!(listed["data"][1]["name"], "stripe:acct_1Stuck");
    assert_eq!(listed["data"][1]["state"], "open");
    let reset = "POST /api/v1/circuits/stripe:acct_1Stuck/reset";
    assert_eq!(app.operator(reset, "").await.status, 200);
    app.operator(reset, "").await.is_problem(409);
    assert!(gate.enter(&scope, Lane::Stripe, false).is_ok());
    let mut actions = Vec::new();
    while actions.len() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let audit = get(&app, "/api/v1/audit").await;
        let lines = audit["data"].as_array().unwrap().iter();
        let of = lines.filter(|line| line["objectId"] == "stripe:acct_1Stuck");
        actions = of
            .map(|line| line["action"].as_str().unwrap().to_owned())
            .collect();
    }
    actions.sort();
    assert_eq!(
        actions,
        ["circuit.closed", "circuit.opened", "circuit.reset"]
    );
}
