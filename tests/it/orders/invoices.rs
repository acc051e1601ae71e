//! What a page needs to pay an invoice: Stripe's own intent, and a secret nobody keeps.

use super::stand::Stand;
use super::subscriptions::subscriber;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::path::Path;

fn path(invoice: &str) -> String {
    format!("/api/v1/billing/invoices/{invoice}/payment-intent")
}

/// Whether any file below holds the text.
pub(super) fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

/// Something done at Stripe by somebody else.
pub(super) async fn elsewhere(stand: &Stand, path: &str, form: &str) -> Value {
    let url = format!("{}{path}", stand.sandbox.base_url());
    let key = stand.config.stripe.api_key.expose_secret();
    let request = reqwest::Client::new().post(url).bearer_auth(key);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(form.to_owned()).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_becomes_payable_once_and_its_secret_is_kept_nowhere() {
    let mut stand = Stand::start().await;
    let own = subscriber(&stand, "acme", "hobby").await;
    let customer = &own.customer;
    let form = format!("customer={customer}&amount=1234&currency=usd&description=Help");
    elsewhere(&stand, "/v1/invoiceitems", &form).await;
    let form = format!("customer={customer}&pending_invoice_items_behavior=include");
    let draft = elsewhere(&stand, "/v1/invoices", &form).await;
    let invoice = draft["id"].as_str().unwrap();
    stand
        .until(&format!("/api/v1/invoices/{invoice}"), |row| {
            row["status"] == "draft" && row["tenantId"] == "acme"
        })
        .await;
    let first = stand.keyed(&path(invoice), "k1", &json!({})).await.ok();
    let second = stand.keyed(&path(invoice), "k1", &json!({})).await;
    assert!(!second.is_replayed, "the secret is read again, not kept");
    assert_eq!(second.ok(), first);
    let third = stand.post(&path(invoice), &json!({})).await.ok();
    assert_eq!(third, first, "one invoice, one intent");
    let secret = first["clientSecret"].as_str().unwrap();
    let intent = first["paymentIntentId"].as_str().unwrap();
    let made = stand.sandbox.control().object(intent).unwrap();
    assert_eq!(
        (&made["client_secret"], &made["amount"]),
        (&json!(secret), &json!(1234))
    );
    let finalized = format!("/v1/invoices/{invoice}/finalize");
    assert_eq!(stand.requests("POST", &finalized).len(), 1);
    stand
        .until(&format!("/api/v1/invoices/{invoice}"), |row| {
            row["status"] == "open"
        })
        .await;
    stand.tenant("other").await;
    let foreign = json!({"tenantId": "other"});
    stand
        .post(&path(invoice), &foreign)
        .await
        .problem(404, "not_found");
    stand.end().await;
    let folder = stand.folder();
    assert!(holds(folder, invoice), "the look finds what is there");
    assert!(!holds(folder, secret), "the secret was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_or_void_has_nothing_to_pay() {
    let mut stand = Stand::start().await;
    let own = subscriber(&stand, "acme", "hobby").await;
    let list = stand
        .until("/api/v1/invoices?tenantId=acme&status=paid", |list| {
            list["data"].as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
    let paid = list["data"][0]["id"].as_str().unwrap();
    let refusal = stand.post(&path(paid), &json!({})).await;
    let refusal = refusal.problem(409, "state_conflict");
    assert!(
        refusal["detail"].as_str().unwrap().contains("paid"),
        "{refusal}"
    );
    let form = format!("customer={}&amount=500&currency=usd", own.customer);
    elsewhere(&stand, "/v1/invoiceitems", &form).await;
    let form = format!(
        "customer={}&pending_invoice_items_behavior=include",
        own.customer
    );
    let draft = elsewhere(&stand, "/v1/invoices", &form).await;
    let invoice = draft["id"].as_str().unwrap();
    elsewhere(&stand, &format!("/v1/invoices/{invoice}/finalize"), "").await;
    elsewhere(&stand, &format!("/v1/invoices/{invoice}/void"), "").await;
    stand
        .until(&format!("/api/v1/invoices/{invoice}"), |row| {
            row["status"] == "void"
        })
        .await;
    stand
        .post(&path(invoice), &json!({}))
        .await
        .problem(409, "state_conflict");
    stand
        .post(&path("in_nobodys"), &json!({}))
        .await
        .problem(404, "not_found");
    stand.end().await;
}
