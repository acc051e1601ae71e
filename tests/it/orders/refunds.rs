//! Refunds: as many as were asked for, never one more.

use super::money::{PASSING, paid, succeeded};
use super::stand::{Stand, at_once};
use bursar_sandbox::FaultKind;
use serde_json::{Value, json};

const REFUNDS: &str = "/api/v1/refunds";

/// Refunds of a payment at Stripe.
fn made(stand: &Stand, payment: &str) -> Vec<Value> {
    let events = stand.sandbox.control().events().into_iter();
    let of = |event: &Value| {
        event["type"] == "refund.created" && event["data"]["object"]["payment_intent"] == payment
    };
    events
        .filter(of)
        .map(|event| event["data"]["object"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_under_a_key_is_one_and_without_one_each_is_its_own() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let payment = paid(&stand, "acme", false).await;
    let body = json!({"paymentId": payment, "amount": 1000, "reason": "duplicate"});
    let first = stand.keyed(REFUNDS, "k1", &body).await;
    assert_eq!(first.status, 201, "{first:?}");
    let shown = first.json();
    assert_eq!(
        (&shown["paymentId"], &shown["amount"], &shown["reason"]),
        (&json!(payment), &json!(1000), &json!("duplicate")),
        "{shown}"
    );
    assert!(shown["pending"].is_boolean(), "{shown}");
    let again = stand.keyed(REFUNDS, "k1", &body).await;
    assert!(
        again.is_replayed && again.status == 201 && again.text == first.text,
        "{again:?}"
    );
    assert_eq!(made(&stand, &payment).len(), 1);
    for _ in 0..2 {
        let body = json!({"paymentId": payment, "amount": 500});
        assert_eq!(stand.post(REFUNDS, &body).await.status, 201);
    }
    assert_eq!(made(&stand, &payment).len(), 3);
    let row = stand
        .until(&format!("/api/v1/payments/{payment}"), |found| {
            found["amountRefunded"] == 2000
        })
        .await;
    // All that is left, by the charge's id; then there is nothing left, and Stripe says so.
    let charge = row["stripeChargeId"].as_str().unwrap();
    let rest = stand
        .post(REFUNDS, &json!({"paymentId": charge}))
        .await
        .ok();
    assert_eq!(
        (&rest["amount"], &rest["paymentId"]),
        (&json!(3000), &json!(payment)),
        "{rest}"
    );
    let over = stand.post(REFUNDS, &json!({"paymentId": payment})).await;
    let problem = over.problem(422, "stripe_refused");
    assert_eq!(
        problem["stripeCode"], "charge_already_refunded",
        "{problem}"
    );
    let id = rest["id"].as_str().unwrap();
    let known = stand.get(&format!("{REFUNDS}/{id}")).await.ok();
    assert_eq!(known["id"], id);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_refunded_orders_nothing() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    stand.tenant("other").await;
    let held = paid(&stand, "acme", true).await;
    let payment = paid(&stand, "acme", false).await;
    for (body, status, code) in [
        (json!({"paymentId": held}), 409, "state_conflict"),
        (json!({"paymentId": "pi_none"}), 404, "not_found"),
        (
            json!({"paymentId": payment, "tenantId": "other"}),
            404,
            "not_found",
        ),
        (
            json!({"paymentId": payment, "amount": 0}),
            400,
            "invalid_request",
        ),
        (
            json!({"paymentId": payment, "amount": -1}),
            400,
            "invalid_request",
        ),
        (
            json!({"paymentId": payment, "reason": "sorry"}),
            400,
            "invalid_request",
        ),
        (json!({}), 400, "invalid_request"),
    ] {
        stand.post(REFUNDS, &body).await.problem(status, code);
    }
    assert_eq!(stand.requests("POST", "/v1/refunds").len(), 0);
    // What we may know too little of is Stripe's to refuse.
    let body = json!({"paymentId": payment, "amount": 5001});
    let problem = stand.post(REFUNDS, &body).await;
    problem.problem(422, "stripe_refused");
    let opened = stand
        .sandbox
        .control()
        .open_dispute(&payment, "fraudulent", false);
    assert!(opened.is_ok());
    let disputed = stand.post(REFUNDS, &json!({"paymentId": payment})).await;
    let problem = disputed.problem(422, "stripe_refused");
    assert_eq!(problem["stripeCode"], "charge_disputed", "{problem}");
    assert!(made(&stand, &payment).is_empty());
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_a_state_that_passed_is_not_kept_under_the_key() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let held = paid(&stand, "acme", true).await;
    let body = json!({"paymentId": held});
    let early = stand.keyed(REFUNDS, "k1", &body).await;
    early.problem(409, "state_conflict");
    let capture = format!("/api/v1/payments/{held}/capture");
    stand.post(&capture, &json!({})).await.ok();
    let reply = stand.keyed(REFUNDS, "k1", &body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_passes_between_one_refund_is_one_refund() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    for kind in PASSING.into_iter().chain([FaultKind::HangAfterCommit]) {
        let payment = paid(&stand, "acme", false).await;
        let body = json!({"paymentId": payment, "amount": 1000});
        stand.fault(kind, 1);
        let key = format!("{kind:?}");
        let reply = stand.keyed(REFUNDS, &key, &body).await;
        assert!(matches!(reply.status, 201 | 202), "{kind:?}: {reply:?}");
        let ended = succeeded(&stand, reply).await;
        let refunds = made(&stand, &payment);
        assert_eq!(refunds.len(), 1, "{kind:?}: {refunds:?}");
        assert_eq!(ended["objectId"], refunds[0]["id"], "{kind:?}");
        let command = ended["id"].as_str().unwrap();
        let effects = stand.sandbox.control().side_effects(command);
        assert_eq!(effects.values().sum::<u64>(), 1, "{kind:?}: {effects:?}");
        // A repeat knows the refund whatever the first answer was.
        let again = stand.keyed(REFUNDS, &key, &body).await;
        assert_eq!(again.status, 201, "{kind:?}: {again:?}");
        assert_eq!(again.json()["id"], refunds[0]["id"]);
        assert_eq!(made(&stand, &payment).len(), 1, "{kind:?}");
    }
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ordered_while_stripe_is_down_is_done_once_when_it_is_back() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let payment = paid(&stand, "acme", false).await;
    let body = json!({"paymentId": payment, "amount": 10});
    stand.fault(FaultKind::ResetAfterCommit, 1);
    stand.fault(FaultKind::Unavailable, 100_000);
    let mut ordered = Vec::new();
    for _ in 0..20 {
        let reply = stand.post_async(REFUNDS, &body).await;
        // Queued also while the circuit is open.
        assert_eq!(reply.status, 202, "{reply:?}");
        ordered.push(reply.json()["commandId"].as_str().unwrap().to_owned());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let known = stand.get("/api/v1/commands?limit=100").await.ok();
    assert_eq!(known["data"].as_array().unwrap().len(), ordered.len());
    stand.sandbox.control().clear_faults();
    let ends = ordered.iter().map(|command| {
        let path = format!("/api/v1/commands/{command}");
        let stand = &stand;
        async move {
            stand
                .until(&path, |found| {
                    assert_ne!(found["status"], "failed", "{found}");
                    found["status"] == "succeeded"
                })
                .await
        }
    });
    let objects: std::collections::BTreeSet<String> = at_once(ends)
        .await
        .into_iter()
        .map(|ended| ended["objectId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(objects.len(), ordered.len());
    assert_eq!(made(&stand, &payment).len(), ordered.len());
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_can_wait_until_stripes_event_has_told_of_an_order() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let payment = paid(&stand, "acme", false).await;
    let late = json!({"kind": "late", "count": 8, "seconds": 2, "matching": "refund"});
    let control = stand.sandbox.control();
    assert!(control.add_fault(serde_json::from_value(late).unwrap()));
    let order = json!({"paymentId": payment, "amount": 100});
    let refund = stand.post(REFUNDS, &order).await.ok();
    assert_eq!(refund["pending"], true, "{refund}");
    let commands = stand.get("/api/v1/commands?tenantId=acme").await.ok();
    let path = format!(
        "/api/v1/commands/{}",
        commands["data"][0]["id"].as_str().unwrap()
    );
    let ended = stand.get(&format!("{path}?waitSeconds=20")).await.ok();
    assert_eq!(
        (&ended["status"], &ended["confirmed"]),
        (&json!("succeeded"), &json!(false))
    );
    let path = format!("{path}?waitSeconds=20&confirmed=true");
    let told = stand.get(&path).await.ok();
    assert_eq!(told["confirmed"], true);
    stand.end().await;
}
