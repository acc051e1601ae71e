//! Payments made at the sandbox for a tenant, and what goes wrong between it and the service.

use super::stand::{Reply, Stand};
use bursar_sandbox::FaultKind;
use serde_json::{Value, json};

/// Faults after which one order is one side effect all the same, and how many requests carry it at least.
pub(crate) const PASSING: [FaultKind; 6] = [
    FaultKind::ResetAfterCommit,
    FaultKind::ServerErrorSaved,
    FaultKind::Unavailable,
    FaultKind::Garbage,
    FaultKind::RateLimited,
    FaultKind::Conflict,
];

/// A request of the product itself to Stripe, on an account if one is named.
pub(crate) async fn at_stripe(
    stand: &Stand,
    path: &str,
    account: Option<&str>,
    form: &str,
) -> Value {
    let request = reqwest::Client::new()
        .post(format!("{}{path}", stand.sandbox.base_url()))
        .bearer_auth("sk_test_0123456789")
        .header("content-type", "application/x-www-form-urlencoded");
    let request = match account {
        Some(account) => request.header("stripe-account", account),
        None => request,
    };
    let answer = request.body(form.to_owned()).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let made: Value = serde_json::from_str(&text).unwrap();
    assert!(made.get("error").is_none(), "{made}");
    made
}

/// A payment of 50.00 of a tenant, once the service knows it.
pub(crate) async fn paid(stand: &Stand, tenant: &str, is_held: bool) -> String {
    let method = if is_held { "manual" } else { "automatic" };
    let form = format!(
        "amount=5000&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method={method}\
         &metadata[tenant_id]={tenant}"
    );
    let made = at_stripe(stand, "/v1/payment_intents", None, &form).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let status = if is_held {
        "requires_capture"
    } else {
        "succeeded"
    };
    let path = format!("/api/v1/payments/{id}");
    stand
        .until(&path, |found| {
            found["status"] == status && found["tenantId"] == tenant
        })
        .await;
    id
}

/// The command a 202 or a refusal names, or the only one of its kind.
pub(crate) async fn command_of(stand: &Stand, reply: &Reply) -> String {
    if let Some(id) = reply.json()["commandId"].as_str() {
        return id.to_owned();
    }
    let all = stand.get("/api/v1/commands").await.ok();
    all["data"][0]["id"].as_str().unwrap().to_owned()
}

/// The command of a reply that may have been early, once it is known how it ended; it may never be called failed.
pub(crate) async fn succeeded(stand: &Stand, reply: Reply) -> Value {
    assert!(matches!(reply.status, 200..=202), "{reply:?}");
    let command = command_of(stand, &reply).await;
    let ended = stand
        .until(&format!("/api/v1/commands/{command}"), |found| {
            assert_ne!(found["status"], "failed", "{found}");
            found["status"] == "succeeded"
        })
        .await;
    assert_eq!(ended["error"], json!(null));
    ended
}
