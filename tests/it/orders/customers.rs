//! What a PATCH of a tenant does to its customer at Stripe: the last word said is the last one Stripe hears.

use super::invoices::{elsewhere, holds};
use super::stand::Stand;
use super::subscriptions::subscriber;
use bursar_sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

const ACME: &str = "/api/v1/tenants/acme";

async fn customer_is(stand: &Stand, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1_000 {
        let found = stand.sandbox.control().object(id).unwrap();
        if is_so(&found) {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    panic!("never: {}", stand.sandbox.control().object(id).unwrap());
}

fn pushes(stand: &Stand, customer: &str) -> usize {
    let path = format!("/v1/customers/{customer}");
    stand.requests("POST", &path).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_patch_names_reaches_the_customer_once_and_nothing_else_does() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let notes = json!({"metadata": {"region": "eu", "seats": "few"}});
    stand.patch(ACME, &notes).await.ok();
    let own = subscriber(&stand, "acme", "hobby").await;
    let customer = own.customer.as_str();
    let made = stand.sandbox.control().object(customer).unwrap();
    assert_eq!(
        made["metadata"]["region"], "eu",
        "made with what is noted: {made}"
    );
    // The customer looks after its address itself.
    let form = "email=payer%40example.com";
    elsewhere(&stand, &format!("/v1/customers/{customer}"), form).await;
    let before = pushes(&stand, customer);
    let patch = json!({"name": "Acme & Co", "metadata": {"region": "us"}});
    stand.patch(ACME, &patch).await.ok();
    let found = customer_is(&stand, customer, |found| found["name"] == "Acme & Co").await;
    assert_eq!(found["metadata"]["region"], "us");
    assert!(found["metadata"].get("seats").is_none(), "{found}");
    assert_eq!(found["metadata"]["tenant_id"], "acme");
    assert_eq!(found["email"], "payer@example.com", "not named, not pushed");
    // What Stripe does not keep is not pushed; nor is the same once more.
    stand
        .patch(ACME, &json!({"timezone": "Europe/Berlin"}))
        .await
        .ok();
    stand.patch(ACME, &json!({"name": null})).await.ok();
    customer_is(&stand, customer, |found| {
        found["name"].is_null() || found["name"] == ""
    })
    .await;
    // The sandbox writes down a request once it is answered, a moment after it changed the object.
    for _ in 0..100 {
        if pushes(&stand, customer) >= before + 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    assert_eq!(pushes(&stand, customer), before + 2);
    let tenant = stand.get(ACME).await.ok();
    assert_eq!(tenant["email"], "acme@example.com", "{tenant}");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_stripe_is_away_changes_are_taken_and_end_in_the_last_one() {
    let mut stand = Stand::start().await;
    let own = subscriber(&stand, "acme", "hobby").await;
    let customer = own.customer.as_str();
    let control = stand.sandbox.control();
    let away = Fault {
        count: Some(2),
        ..Fault::once(FaultKind::Unavailable, "POST /v1/customers/")
    };
    assert!(control.add_fault(away));
    for name in ["First", "Second", "Third"] {
        let patch = json!({"name": name, "email": format!("{name}@example.com")});
        let tenant = stand.patch(ACME, &patch).await.ok();
        assert_eq!(tenant["name"], name, "{tenant}");
    }
    let path = "/api/v1/commands?tenantId=acme&status=succeeded&limit=100";
    let is_push = |one: &&Value| one["kind"] == "customer_sync";
    let done = |list: &Value| {
        let all = list["data"].as_array().unwrap();
        all.iter().filter(is_push).count()
    };
    stand.until(path, |list| done(list) == 3).await;
    let found = control.object(customer).unwrap();
    assert_eq!(
        (&found["name"], &found["email"]),
        (&json!("Third"), &json!("Third@example.com"))
    );
    let told = control.events().into_iter().filter(|event| {
        event["type"] == "customer.updated" && event["data"]["object"]["name"].is_string()
    });
    let mut names: Vec<_> = told
        .map(|event| event["data"]["object"]["name"].as_str().unwrap().to_owned())
        .filter(|name| name != "acme")
        .collect();
    names.dedup();
    assert_eq!(names, ["First", "Second", "Third"], "none overtook another");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_a_customer_pushes_nothing() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    stand
        .patch(
            ACME,
            &json!({"name": "Later", "email": "later@example.com"}),
        )
        .await
        .ok();
    assert_eq!(stand.sandbox.control().requests().len(), 0);
    let list = stand.get("/api/v1/commands?tenantId=acme").await.ok();
    assert_eq!(list["data"], json!([]));
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stripe_answers_about_a_person_is_stored_sealed_alone() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let body = json!({"tenantId": "acme", "planId": "hobby"});
    let opened = stand.post("/api/v1/checkout-sessions", &body).await.ok();
    let session = opened["sessionId"].as_str().unwrap();
    stand
        .until("/api/v1/customers?tenantId=acme", |list| {
            list["data"][0]["email"] == "acme@example.com"
        })
        .await;
    stand
        .until(&format!("/api/v1/checkout-sessions/{session}"), |found| {
            found["status"] == "open"
        })
        .await;
    stand.end().await;
    let folder = stand.folder();
    assert!(holds(folder, session), "the look finds what is there");
    for word in ["acme@example.com", opened["sessionUrl"].as_str().unwrap()] {
        assert!(!holds(folder, word), "{word} was written in clear");
    }
}
