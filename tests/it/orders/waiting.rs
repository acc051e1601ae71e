//! Waiting for a checkout whose events never come.

use super::stand::Stand;
use bursar_sandbox::{Fault, FaultKind};
use serde_json::json;

const CHECKOUT: &str = "/api/v1/checkout-sessions";

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_asks_stripe_itself_when_no_event_comes() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let control = stand.sandbox.control();
    assert!(control.add_fault(Fault {
        count: Some(1_000),
        matching: None,
        ..Fault::once(FaultKind::Drop, "")
    }));
    let body = json!({"tenantId": "acme", "planId": "hobby"});
    let opened = stand.post(CHECKOUT, &body).await.ok();
    let session = opened["sessionId"].as_str().unwrap();
    let order = format!("{CHECKOUT}/{session}");
    stand.until(&order, |found| found["status"] == "open").await;
    control
        .pay_session(session, "4242424242424242", None)
        .unwrap();
    let at_stripe = format!("/v1/checkout/sessions/{session}");
    let before = stand.requests("GET", &at_stripe).len();
    // Who does not wait is told what is known, and nobody is asked.
    let now = stand.get(&order).await.ok();
    assert_eq!(now["status"], "open", "{now}");
    assert_eq!(stand.requests("GET", &at_stripe).len(), before);
    let waited = stand.get(&format!("{order}?waitSeconds=4")).await.ok();
    assert_eq!(
        (&waited["status"], &waited["paymentStatus"]),
        (&json!("complete"), &json!("paid")),
        "{waited}"
    );
    assert_eq!(stand.requests("GET", &at_stripe).len(), before + 1);
    let tenant = stand
        .until("/api/v1/tenants/acme", |found| found["status"] == "active")
        .await;
    assert_eq!(tenant["planId"], "hobby", "{tenant}");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_session_nobody_pays_ends_open_and_also_without_stripe() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let body = json!({"tenantId": "acme", "planId": "hobby"});
    let opened = stand.post(CHECKOUT, &body).await.ok();
    let order = format!(
        "{CHECKOUT}/{}?waitSeconds=1",
        opened["sessionId"].as_str().unwrap()
    );
    assert_eq!(stand.get(&order).await.ok()["status"], "open");
    stand.fault(FaultKind::Unavailable, 1_000);
    assert_eq!(stand.get(&order).await.ok()["status"], "open");
    stand.end().await;
}
