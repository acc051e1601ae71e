//! Capturing and calling off: one side effect, whatever goes wrong.

use super::money::{PASSING, at_stripe, paid, succeeded};
use super::stand::Stand;
use bursar_sandbox::{Fault, FaultKind};
use serde_json::json;

fn order(payment: &str, verb: &str) -> String {
    format!("/api/v1/payments/{payment}/{verb}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_payment_is_taken_once_and_a_repeat_gets_the_same_bytes() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let payment = paid(&stand, "acme", true).await;
    let body = json!({"amount": 3000});
    let first = stand.keyed(&order(&payment, "capture"), "k1", &body).await;
    let shown = first.json();
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(
        (&shown["id"], &shown["status"], &shown["amountCaptured"]),
        (&json!(payment), &json!("succeeded"), &json!(3000)),
        "{shown}"
    );
    assert!(shown["pending"].is_boolean(), "{shown}");
    let again = stand.keyed(&order(&payment, "capture"), "k1", &body).await;
    assert!(again.is_replayed && again.text == first.text, "{again:?}");
    let sent = format!("/v1/payment_intents/{payment}/capture");
    assert_eq!(stand.requests("POST", &sent).len(), 1);
    // What is final is refused without a call.
    for verb in ["capture", "cancel"] {
        let refused = stand.post(&order(&payment, verb), &json!({})).await;
        refused.problem(409, "state_conflict");
    }
    assert_eq!(stand.requests("POST", &sent).len(), 1);
    let charge = shown["stripeChargeId"].as_str().unwrap();
    let row = stand.get(&format!("/api/v1/payments/{charge}")).await.ok();
    assert_eq!(row["id"], payment, "{row}");
    assert!(row.get("pending").is_none(), "{row}");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_payment_is_let_go_by_its_charge_and_stands_on_its_timeline() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let payment = paid(&stand, "acme", true).await;
    let known = stand
        .until(&format!("/api/v1/payments/{payment}"), |found| {
            found["stripeChargeId"].is_string()
        })
        .await;
    let charge = known["stripeChargeId"].as_str().unwrap();
    let body = json!({"reason": "requested_by_customer", "tenantId": "acme"});
    let shown = stand.post(&order(charge, "cancel"), &body).await.ok();
    assert_eq!(
        (&shown["id"], &shown["status"]),
        (&json!(payment), &json!("canceled")),
        "{shown}"
    );
    let made = stand.sandbox.control().object(&payment).unwrap();
    assert_eq!(made["cancellation_reason"], "requested_by_customer");
    let again = stand.post(&order(&payment, "cancel"), &json!({})).await;
    again.problem(409, "state_conflict");

    let commands = stand.get("/api/v1/commands?tenantId=acme").await.ok();
    let command = commands["data"][0]["id"].as_str().unwrap();
    assert_eq!(commands["data"].as_array().unwrap().len(), 1);
    for path in [
        "/api/v1/tenants/acme/timeline?limit=100".to_owned(),
        format!("/api/v1/payments/{payment}/timeline?limit=100"),
        format!("/api/v1/explain/{payment}"),
        format!("/api/v1/explain/{charge}"),
        format!("/api/v1/explain/{command}"),
    ] {
        let found = stand.get(&path).await.ok();
        let lines = found["data"].as_array().or(found["timeline"].as_array());
        let ours = lines.unwrap().iter().find(|line| {
            line["source"] == "command" && line["sourceId"] == command && line["tenantId"] == "acme"
        });
        let summary = ours.map(|line| line["summary"].as_str().unwrap());
        assert_eq!(
            summary,
            Some("cancel_payment ordered by operator"),
            "{path}: {found}"
        );
    }
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_pending_until_an_event_confirms_it() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let payment = paid(&stand, "acme", true).await;
    let control = stand.sandbox.control();
    control.add_fault(Fault::once(FaultKind::Drop, "payment_intent.succeeded"));
    let shown = stand
        .post(&order(&payment, "capture"), &json!({}))
        .await
        .ok();
    // Taken by Stripe's own answer; the event is still to come.
    assert_eq!(
        (&shown["status"], &shown["pending"]),
        (&json!("succeeded"), &json!(true)),
        "{shown}"
    );
    let events = control.events();
    let lost = events.iter().find(|event| {
        event["type"] == "payment_intent.succeeded" && event["data"]["object"]["id"] == payment
    });
    control.resend(lost.unwrap()["id"].as_str().unwrap());
    let commands = "/api/v1/commands";
    stand
        .until(commands, |found| found["data"][0]["confirmed"] == true)
        .await;
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_of_a_merchant_is_ordered_on_its_account() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let form = "type=express&metadata[tenant_id]=acme";
    let account = at_stripe(&stand, "/v1/accounts", None, form).await;
    let account = account["id"].as_str().unwrap();
    stand.sandbox.control().onboard(account).unwrap();
    let form =
        "amount=5000&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method=manual";
    let made = at_stripe(&stand, "/v1/payment_intents", Some(account), form).await;
    let payment = made["id"].as_str().unwrap();
    stand
        .until(&format!("/api/v1/payments/{payment}"), |found| {
            found["tenantId"] == "acme" && found["status"] == "requires_capture"
        })
        .await;
    let shown = stand
        .post(&order(payment, "capture"), &json!({}))
        .await
        .ok();
    assert_eq!(
        (&shown["status"], &shown["merchantAccountId"]),
        (&json!("succeeded"), &json!(account)),
        "{shown}"
    );
    let sent = stand.requests("POST", &format!("/v1/payment_intents/{payment}/capture"));
    assert_eq!(sent[0].account.as_deref(), Some(account));
    let refund = json!({"paymentId": payment, "amount": 100});
    let refund = stand.post("/api/v1/refunds", &refund).await.ok();
    assert_eq!(refund["merchantAccountId"], account, "{refund}");
    let sent = stand.requests("POST", "/v1/refunds");
    assert_eq!(sent[0].account.as_deref(), Some(account));
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreign_or_refused_takes_nothing() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    stand.tenant("other").await;
    let payment = paid(&stand, "acme", true).await;
    let capture = order(&payment, "capture");
    for (path, body, status, code) in [
        (&capture, json!({"tenantId": "other"}), 404, "not_found"),
        (&capture, json!({"amount": 0}), 400, "invalid_request"),
        (&capture, json!({"amout": 1}), 400, "invalid_request"),
        (&order("pi_none", "capture"), json!({}), 404, "not_found"),
        (
            &order(&payment, "cancel"),
            json!({"reason": "because"}),
            400,
            "invalid_request",
        ),
    ] {
        stand.post(path, &body).await.problem(status, code);
    }
    let sent = format!("/v1/payment_intents/{payment}/capture");
    assert_eq!(stand.requests("POST", &sent).len(), 0);
    // Stripe's own refusals, in its words.
    let too_much = stand.keyed(&capture, "k1", &json!({"amount": 5001})).await;
    let text = too_much.text.clone();
    let problem = too_much.problem(422, "stripe_refused");
    assert_eq!(problem["stripeCode"], "amount_too_large", "{problem}");
    let again = stand.keyed(&capture, "k1", &json!({"amount": 5001})).await;
    assert!(again.is_replayed && again.text == text, "{again:?}");
    stand.fault(FaultKind::Declined, 1);
    let declined = stand.post(&capture, &json!({})).await;
    let problem = declined.problem(402, "stripe_declined");
    assert_eq!(problem["stripeCode"], "card_declined", "{problem}");
    // The installation's key is not accepted: nothing happened, and the same order goes through later.
    stand.fault(FaultKind::Unauthorized, 1);
    let refused = stand.keyed(&capture, "k2", &json!({})).await;
    refused.problem(502, "stripe_unavailable");
    let made = stand.sandbox.control().object(&payment).unwrap();
    assert_eq!(made["status"], "requires_capture");
    let shown = stand.keyed(&capture, "k2", &json!({})).await.ok();
    assert_eq!(shown["status"], "succeeded", "{shown}");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_passes_between_it_is_taken_or_let_go_once() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    for (index, kind) in PASSING.into_iter().enumerate() {
        let verb = if index % 2 == 0 { "capture" } else { "cancel" };
        let payment = paid(&stand, "acme", true).await;
        stand.fault(kind, 1);
        let reply = stand.post(&order(&payment, verb), &json!({})).await;
        assert!(matches!(reply.status, 200 | 202), "{kind:?}: {reply:?}");
        let ended = succeeded(&stand, reply).await;
        assert_eq!(ended["objectId"], json!(payment), "{kind:?}");
        let events = stand.sandbox.control().events();
        let of = |event: &&serde_json::Value| event["data"]["object"]["id"] == payment;
        let finals = ["payment_intent.succeeded", "payment_intent.canceled"];
        let told = events.iter().filter(of);
        let told: Vec<&str> = told
            .filter_map(|event| event["type"].as_str())
            .filter(|kind| finals.contains(kind))
            .collect();
        assert_eq!(told, [finals[index % 2]], "{kind:?}");
        let path = format!("/api/v1/payments/{payment}");
        let status = ["succeeded", "canceled"][index % 2];
        stand.until(&path, |found| found["status"] == status).await;
    }
    stand.end().await;
}
