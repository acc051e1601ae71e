//! Checkout and portal: one customer, one session, whoever asks how often.

use super::stand::{Stand, at_once};
use bursar_sandbox::FaultKind;
use serde_json::json;

const CHECKOUT: &str = "/api/v1/checkout-sessions";

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_bought_through_a_session_we_ordered() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let body = json!({"tenantId": "acme", "planId": "hobby", "orderId": "order-7"});
    let opened = stand.keyed(CHECKOUT, "k1", &body).await.ok();
    let session = opened["sessionId"].as_str().unwrap().to_owned();
    assert!(
        opened["sessionUrl"].as_str().unwrap().contains("http"),
        "{opened}"
    );
    let order = stand
        .until(&format!("{CHECKOUT}/{session}"), |found| {
            found["status"] == "open"
        })
        .await;
    assert_eq!(
        (&order["planId"], &order["orderId"]),
        (&json!("hobby"), &json!("order-7")),
        "{order}"
    );
    let made = stand.sandbox.control().object(&session).unwrap();
    assert_eq!(made["client_reference_id"], "acme");
    assert_eq!(made["metadata"]["plan_id"], "hobby");
    let command = made["metadata"]["command_id"].as_str().unwrap();
    // Paid on Stripe's page; everything else follows from events.
    stand
        .sandbox
        .control()
        .pay_session(&session, "4242424242424242", None)
        .unwrap();
    let tenant = stand
        .until("/api/v1/tenants/acme", |found| found["status"] == "active")
        .await;
    assert_eq!(
        (&tenant["planId"], &tenant["license"]["state"]),
        (&json!("hobby"), &json!("active")),
        "{tenant}"
    );
    let shown = stand.get(&format!("/api/v1/commands/{command}")).await.ok();
    assert_eq!(
        (&shown["status"], &shown["objectId"]),
        (&json!("succeeded"), &json!(session)),
        "{shown}"
    );
    assert!(shown.get("url").is_none(), "{shown}");
    // A second one is refused while the first lives.
    let again = stand
        .post(CHECKOUT, &json!({"tenantId": "acme", "planId": "pro"}))
        .await;
    again.problem(409, "subscription_exists");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_same_bytes_also_after_a_restart_and_without_stripe() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let body = json!({"tenantId": "acme", "planId": "credits-10"});
    let first = stand.keyed(CHECKOUT, "k1", &body).await;
    assert_eq!((first.status, first.is_replayed), (200, false), "{first:?}");
    let second = stand.keyed(CHECKOUT, "k1", &body).await;
    assert!(
        second.is_replayed && second.text == first.text,
        "{second:?}"
    );
    let other = json!({"tenantId": "acme", "planId": "hobby"});
    stand
        .keyed(CHECKOUT, "k1", &other)
        .await
        .problem(409, "idempotency_key_reused");
    let sent = stand.requests("POST", "/v1/checkout/sessions").len();
    stand.end().await;
    stand.begin().await;
    stand.fault(FaultKind::Unavailable, 1_000);
    let third = stand.keyed(CHECKOUT, "k1", &body).await;
    assert!(third.is_replayed && third.text == first.text, "{third:?}");
    assert_eq!(stand.requests("POST", "/v1/checkout/sessions").len(), sent);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_make_one_customer() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let body = json!({"tenantId": "acme", "planId": "credits-10"});
    let asked = (0..8).map(|_| stand.post(CHECKOUT, &body));
    let sessions: std::collections::BTreeSet<String> = at_once(asked)
        .await
        .into_iter()
        .map(|reply| reply.ok()["sessionId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sessions.len(), 8);
    assert_eq!(stand.requests("POST", "/v1/customers").len(), 1);
    let customers = sessions.iter().map(|id| {
        let made = stand.sandbox.control().object(id).unwrap();
        made["customer"].as_str().unwrap().to_owned()
    });
    assert_eq!(
        customers.collect::<std::collections::BTreeSet<_>>().len(),
        1
    );
    let tenant = stand
        .until("/api/v1/tenants/acme", |found| {
            !found["stripeCustomerId"].is_null()
        })
        .await;
    let portal = stand
        .post(
            "/api/v1/billing/stripe/portal",
            &json!({"tenantId": "acme"}),
        )
        .await
        .ok();
    assert!(
        portal["portalUrl"].as_str().unwrap().starts_with("http"),
        "{portal} {tenant}"
    );
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_orders_nothing() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    stand.tenant("other").await;
    let ask = |extra: serde_json::Value| {
        let mut body = json!({"tenantId": "acme", "planId": "pro"});
        for (name, value) in extra.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    for (extra, status, code) in [
        (json!({"planId": "nothing"}), 422, "unknown_plan"),
        (json!({"priceId": "price_of_another"}), 422, "unknown_plan"),
        (json!({"quantity": 51}), 400, "invalid_request"),
        (json!({"customerId": "cus_foreign"}), 404, "not_found"),
        (
            json!({"successUrl": "https://evil.example/"}),
            422,
            "return_url_not_allowed",
        ),
        (
            json!({"orderId": "4242 4242 4242 4242"}),
            422,
            "card_number_refused",
        ),
        (json!({"tenantId": "nobody"}), 404, "not_found"),
        (json!({"planID": "pro"}), 400, "invalid_request"),
        (
            json!({"planId": null, "merchantAccountId": "acct_1", "lineItems": [{"name": "x", "amount": 1, "currency": "usd"}]}),
            404,
            "not_found",
        ),
    ] {
        stand
            .post(CHECKOUT, &ask(extra))
            .await
            .problem(status, code);
    }
    stand
        .post(
            "/api/v1/billing/stripe/portal",
            &json!({"tenantId": "acme"}),
        )
        .await
        .problem(422, "no_customer");
    assert_eq!(stand.sandbox.control().requests().len(), 0);
    stand.end().await;
}
