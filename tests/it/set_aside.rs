//! Many waiting things at once: what a dry run says, what the run does, what stays and who is told.

use crate::app::App;
use crate::story::scenario;
use serde_json::{Value, json};

const DISMISS: &str = "POST /api/v1/webhook-events/dismiss";
const CLAIM: &str = "POST /api/v1/unclaimed/claim";
const LEAVE: &str = "POST /api/v1/unclaimed/dismiss";

/// A purchase under a reference that cannot be a tenant.
async fn unclaimed(app: &App, n: usize) -> String {
    let mut session = scenario("one_time_payment_checkout").pop().unwrap();
    let id = format!("cs_test_waits{n}");
    session["id"] = format!("evt_waits{n}").into();
    let object = &mut session["data"]["object"];
    object["id"] = id.as_str().into();
    object["payment_intent"] = format!("pi_waits{n}").into();
    // Customers of their own: with one, the first claim would settle the others.
    object["customer"] = format!("cus_waits{n}").into();
    object["client_reference_id"] = "no tenant of ours!".into();
    object["metadata"] = json!({});
    app.deliver(session.to_string().as_bytes()).await;
    id
}

async fn list(app: &App, path: &str) -> Vec<Value> {
    let page = app.operator(&format!("GET {path}"), "").await.json();
    page["data"].as_array().unwrap().clone()
}

/// The lines of one kind in the audit trail.
async fn audited(app: &App, action: &str) -> Vec<Value> {
    let mut lines = list(app, "/api/v1/audit?limit=100").await;
    lines.retain(|line| line["action"] == action);
    lines
}

fn counts(report: &Value) -> [u64; 3] {
    ["matched", "done", "skipped"].map(|name| report[name].as_u64().unwrap())
}

#[tokio::test]
async fn dead_deliveries_are_set_aside_by_filter_each_with_its_line() {
    let app = App::start().await;
    // More than one page of the store, and one that nobody means.
    for n in 0..120 {
        app.deliver(format!("no json {n}").as_bytes()).await;
    }
    app.deliver(
        scenario("new_subscription_checkout")[0]
            .to_string()
            .as_bytes(),
    )
    .await;
    app.settle().await;
    app.operator(DISMISS, r#"{"status":"dead"}"#)
        .await
        .is_problem(400);
    let wrong = r#"{"status":"applied","reason":"x"}"#;
    app.operator(DISMISS, wrong).await.is_problem(400);
    let dry = r#"{"status":"dead","reason":"noise of a scanner","dryRun":true}"#;
    let dry = app.operator(DISMISS, dry).await.json();
    assert_eq!(
        (counts(&dry), &dry["dryRun"]),
        ([120, 120, 0], &json!(true))
    );
    assert_eq!(
        list(&app, "/api/v1/webhook-events?status=dead&limit=100")
            .await
            .len(),
        100
    );
    assert!(audited(&app, "event.dismissed").await.is_empty());
    let order = r#"{"status":"dead","reason":"noise of a scanner"}"#;
    let run = app.operator(DISMISS, order).await.json();
    assert_eq!(
        (counts(&run), &run["items"]),
        ([120, 120, 0], &dry["items"])
    );
    assert!(
        list(&app, "/api/v1/webhook-events?status=dead")
            .await
            .is_empty()
    );
    let id = run["items"][7]["id"].as_str().unwrap();
    let one = app
        .operator(&format!("GET /api/v1/webhook-events/{id}"), "")
        .await
        .json();
    assert_eq!(
        (&one["status"], &one["reason"]),
        (&json!("ignored"), &json!("noise of a scanner"))
    );
    let lines = audited(&app, "event.dismissed").await;
    assert_eq!(
        (lines.len(), &lines[0]["detail"]),
        (100, &json!("noise of a scanner"))
    );
    let again = app.operator(DISMISS, order).await.json();
    assert_eq!(counts(&again), [0, 0, 0]);
}

#[tokio::test]
async fn what_is_unclaimed_is_given_to_a_tenant_several_at_once() {
    let app = App::start().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(unclaimed(&app, n).await);
    }
    app.settle().await;
    app.operator("POST /api/v1/tenants", r#"{"tenantId":"acme"}"#)
        .await;
    let order = json!({"ids": [ids[0], "cs_test_nobodys", ids[1]], "tenantId": "acme"});
    let nobody = json!({"ids": [ids[0]], "tenantId": "nobody"}).to_string();
    app.operator(CLAIM, &nobody).await.is_problem(404);
    let mut dry = order.clone();
    dry["dryRun"] = true.into();
    let dry = app.operator(CLAIM, &dry.to_string()).await.json();
    assert_eq!(counts(&dry), [3, 2, 1], "{dry}");
    assert_eq!(list(&app, "/api/v1/unclaimed").await.len(), 3);
    let run = app.operator(CLAIM, &order.to_string()).await.json();
    assert_eq!((counts(&run), &run["items"]), ([3, 2, 1], &dry["items"]));
    app.settle().await;
    let left = list(&app, "/api/v1/unclaimed").await;
    assert_eq!(
        (left.len(), left[0]["id"].as_str()),
        (1, Some(ids[2].as_str()))
    );
    assert_eq!(audited(&app, "unclaimed.claimed").await.len(), 2);
    let again = app.operator(CLAIM, &order.to_string()).await.json();
    assert_eq!(counts(&again), [3, 0, 3], "claimed once: {again}");
}

#[tokio::test]
async fn what_nobody_claims_is_set_aside_and_can_be_claimed_all_the_same() {
    let app = App::start().await;
    let (first, second) = (unclaimed(&app, 1).await, unclaimed(&app, 2).await);
    app.settle().await;
    app.operator(LEAVE, r#"{"reason":"all of it"}"#)
        .await
        .is_problem(400);
    let dry = app
        .operator(LEAVE, r#"{"reason":"x","dryRun":true}"#)
        .await
        .json();
    assert_eq!(counts(&dry), [2, 2, 0], "{dry}");
    let order = json!({"ids": [first, "cs_test_nobodys"], "reason": "refunded by hand"});
    let run = app.operator(LEAVE, &order.to_string()).await.json();
    assert_eq!(counts(&run), [2, 1, 1], "{run}");
    app.settle().await;
    assert_eq!(list(&app, "/api/v1/unclaimed").await.len(), 1);
    assert_eq!(
        audited(&app, "unclaimed.dismissed").await[0]["objectId"],
        first
    );
    let why = app
        .operator(&format!("GET /api/v1/explain/{first}"), "")
        .await
        .json();
    assert!(
        why.to_string()
            .contains("set aside by an operator: refunded by hand"),
        "{why}"
    );
    // The rest by time, and the first comes back when its owner is found.
    let rest = r#"{"reason":"old","createdBefore":"2100-01-01T00:00:00Z"}"#;
    assert_eq!(counts(&app.operator(LEAVE, rest).await.json()), [1, 1, 0]);
    assert!(list(&app, "/api/v1/unclaimed").await.is_empty());
    app.operator("POST /api/v1/tenants", r#"{"tenantId":"acme"}"#)
        .await;
    for id in [&first, &second] {
        let claim = format!("POST /api/v1/unclaimed/{id}/claim?tenantId=acme");
        assert_eq!(app.operator(&claim, "").await.status, 200);
    }
    app.settle().await;
    for id in [&first, &second] {
        let path = format!("GET /api/v1/checkout-sessions/{id}");
        assert_eq!(app.operator(&path, "").await.json()["tenantId"], "acme");
    }
    let verified = app.operator("POST /api/v1/verify", "").await.json();
    assert_eq!(verified["mismatches"], 0, "{verified}");
}
