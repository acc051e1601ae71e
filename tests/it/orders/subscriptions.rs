//! Another plan, another quantity, an end: ordered over HTTP, done once at Stripe, shown in the row.

use super::stand::Stand;
use bursar_sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

const CHECKOUT: &str = "/api/v1/checkout-sessions";
/// A card whose bank agrees to every payment itself.
const AGREES: &str = "4242424242424242";
/// A card whose bank wants to be asked.
const ASKS: &str = "4000002500003155";

/// A subscription of a tenant's.
pub(super) struct Subscriber {
    pub(super) subscription: String,
    pub(super) customer: String,
}

impl Subscriber {
    pub(super) fn path(&self, what: &str) -> String {
        format!("/api/v1/billing/subscriptions/{}/{what}", self.subscription)
    }
}

/// The tenant buys a plan through Checkout.
pub(super) async fn subscriber(stand: &Stand, tenant: &str, plan: &str) -> Subscriber {
    stand.tenant(tenant).await;
    let body = json!({"tenantId": tenant, "planId": plan});
    let opened = stand.post(CHECKOUT, &body).await.ok();
    let session = opened["sessionId"].as_str().unwrap();
    let control = stand.sandbox.control();
    control.pay_session(session, AGREES, None).unwrap();
    let path = format!("/api/v1/tenants/{tenant}");
    let tenant = stand
        .until(&path, |found| {
            found["planId"] == plan && found["license"]["state"] == "active"
        })
        .await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Subscriber {
        subscription: text(&tenant["subscription"]["id"]),
        customer: text(&tenant["stripeCustomerId"]),
    }
}

fn updates(stand: &Stand, of: &Subscriber) -> usize {
    let path = format!("/v1/subscriptions/{}", of.subscription);
    stand.requests("POST", &path).len()
}

fn at_stripe(stand: &Stand, of: &Subscriber) -> Value {
    stand.sandbox.control().object(&of.subscription).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dearer_plan_costs_what_the_preview_showed_and_is_ordered_once() {
    let mut stand = Stand::start().await;
    let own = subscriber(&stand, "acme", "hobby").await;
    let later = stand.sandbox.control().now_unix_ms() / 1_000 + 10 * 86_400;
    let later = bursar_domain::ids::Timestamp::from_seconds(later).rfc3339();
    let wish = |date: Option<&str>| {
        let mut wish =
            json!({"planId": "pro", "quantity": 3, "prorationBehavior": "always_invoice"});
        if let Some(date) = date {
            wish["prorationDate"] = json!(date);
        }
        wish
    };
    let preview = own.path("preview");
    let today = stand.post(&preview, &wish(None)).await.ok();
    let shown = stand.post(&preview, &wish(Some(&later))).await.ok();
    let due = |shown: &Value| shown["amountDueNow"].as_i64().unwrap();
    assert!(
        0 < due(&shown) && due(&shown) < due(&today),
        "{shown} {today}"
    );
    assert!(today["prorationDate"].is_string(), "{today}");
    assert_eq!(shown["prorationDate"], later);
    let lines = shown["lines"].as_array().unwrap();
    let sum: i64 = lines
        .iter()
        .map(|line| line["amount"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, due(&shown), "{shown}");
    assert!(
        lines.iter().all(|line| line["proration"] == true),
        "{shown}"
    );
    assert!(
        shown["nextAmount"].as_i64() > shown["amountDueNow"].as_i64(),
        "{shown}"
    );
    assert_eq!(updates(&stand, &own), 0, "a preview orders nothing");
    let body = wish(shown["prorationDate"].as_str());
    let change = own.path("change-plan");
    let changed = stand.keyed(&change, "k1", &body).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let row = changed.json();
    assert_eq!(
        (
            &row["planId"],
            &row["quantity"],
            &row["pendingUpdate"],
            &row["hostedInvoiceUrl"]
        ),
        (&json!("pro"), &json!(3), &Value::Null, &Value::Null),
        "{row}"
    );
    let invoice = at_stripe(&stand, &own)["latest_invoice"].clone();
    let invoice = stand.sandbox.control().object(invoice.as_str().unwrap());
    assert_eq!(invoice.unwrap()["amount_paid"], shown["amountDueNow"]);
    let again = stand.keyed(&change, "k1", &body).await;
    assert!(again.is_replayed && again.text == changed.text, "{again:?}");
    // The same plan and quantity: nothing to order.
    let same = stand.post(&change, &wish(None)).await.ok();
    assert_eq!(same["planId"], "pro");
    assert_eq!(updates(&stand, &own), 1);
    assert_eq!(
        at_stripe(&stand, &own)["items"]["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_the_bank_must_agree_to_waits_and_holds_once_it_is_paid() {
    let mut stand = Stand::start().await;
    let own = subscriber(&stand, "acme", "hobby").await;
    stand
        .sandbox
        .control()
        .set_card(&own.customer, ASKS)
        .unwrap();
    let change = own.path("change-plan");
    let body = json!({"planId": "pro", "prorationBehavior": "always_invoice"});
    let waiting = stand.post(&change, &body).await.ok();
    assert_eq!(
        (&waiting["planId"], &waiting["pendingUpdate"]["planId"]),
        (&json!("hobby"), &json!("pro")),
        "{waiting}"
    );
    assert!(
        waiting["pendingUpdate"]["expiresAt"].is_string(),
        "{waiting}"
    );
    let page = waiting["hostedInvoiceUrl"].as_str().unwrap();
    assert!(page.starts_with("http"), "{page}");
    // Asked again, nobody is billed again.
    let again = stand.post(&change, &body).await.ok();
    assert_eq!(
        again["hostedInvoiceUrl"], waiting["hostedInvoiceUrl"],
        "{again}"
    );
    assert_eq!(updates(&stand, &own), 1);
    let invoice = waiting["latestInvoiceId"].as_str().unwrap();
    stand
        .until(&format!("/api/v1/invoices/{invoice}"), |row| {
            row["status"] == "open" && row["hostedInvoiceUrl"] == page
        })
        .await;
    let path = format!("/api/v1/billing/invoices/{invoice}/payment-intent");
    let intent = stand.post(&path, &json!({})).await.ok();
    let intent = intent["paymentIntentId"].as_str().unwrap().to_owned();
    stand.sandbox.control().authenticate(&intent, true).unwrap();
    let path = format!("/api/v1/subscriptions/{}", own.subscription);
    let row = stand
        .until(&path, |row| {
            row["planId"] == "pro" && row["pendingUpdate"].is_null()
        })
        .await;
    assert_eq!(row["status"], "active", "{row}");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_refused_before_anything_is_ordered() {
    let mut stand = Stand::start().await;
    let own = subscriber(&stand, "acme", "hobby").await;
    stand.tenant("other").await;
    let change = own.path("change-plan");
    for (path, body, status, code) in [
        (
            change.clone(),
            json!({"planId": "nothing"}),
            422,
            "unknown_plan",
        ),
        (
            change.clone(),
            json!({"planId": "credits-10"}),
            422,
            "unknown_plan",
        ),
        (
            change.clone(),
            json!({"planId": "pro", "quantity": 51}),
            400,
            "invalid_request",
        ),
        (change.clone(), json!({}), 400, "invalid_request"),
        (
            change.clone(),
            json!({"planId": "pro", "tenantId": "other"}),
            404,
            "not_found",
        ),
        (own.path("preview"), json!({}), 400, "invalid_request"),
        (
            own.path("quantity"),
            json!({"quantity": 0}),
            400,
            "invalid_request",
        ),
        (
            own.path("cancel"),
            json!({"tenantId": "other"}),
            404,
            "not_found",
        ),
        (own.path("resume"), json!({}), 409, "state_conflict"),
        (
            "/api/v1/billing/subscriptions/sub_nobodys/change-plan".to_owned(),
            json!({"planId": "pro"}),
            404,
            "not_found",
        ),
    ] {
        stand.post(&path, &body).await.problem(status, code);
    }
    assert_eq!(updates(&stand, &own), 0);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quantity_changes_and_a_cheaper_plan_holds_at_once() {
    let mut stand = Stand::start().await;
    let own = subscriber(&stand, "acme", "hobby").await;
    let five = stand
        .post(&own.path("quantity"), &json!({"quantity": 5}))
        .await
        .ok();
    assert_eq!(
        (&five["quantity"], &five["planId"]),
        (&json!(5), &json!("hobby")),
        "{five}"
    );
    let pro = json!({"planId": "pro"});
    let dear = stand.post(&own.path("change-plan"), &pro).await.ok();
    assert_eq!(
        (&dear["quantity"], &dear["planId"]),
        (&json!(5), &json!("pro")),
        "{dear}"
    );
    // A card that fails now does not keep anybody from paying less.
    stand
        .sandbox
        .control()
        .set_card(&own.customer, ASKS)
        .unwrap();
    let cheap = json!({"planId": "hobby", "quantity": 1, "prorationBehavior": "always_invoice"});
    let cheap = stand.post(&own.path("change-plan"), &cheap).await.ok();
    assert_eq!(
        (
            &cheap["quantity"],
            &cheap["planId"],
            &cheap["pendingUpdate"]
        ),
        (&json!(1), &json!("hobby"), &Value::Null),
        "{cheap}"
    );
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_scheduled_called_off_and_then_final() {
    let mut stand = Stand::start().await;
    let own = subscriber(&stand, "acme", "hobby").await;
    let cancel = json!({"reason": "too dear"});
    let row = stand.post(&own.path("cancel"), &cancel).await.ok();
    assert_eq!(
        (&row["cancelAtPeriodEnd"], &row["status"]),
        (&json!(true), &json!("active")),
        "{row}"
    );
    assert_eq!(
        at_stripe(&stand, &own)["cancellation_details"]["comment"],
        "too dear"
    );
    let row = stand.post(&own.path("resume"), &json!({})).await.ok();
    assert_eq!(row["cancelAtPeriodEnd"], false, "{row}");
    let row = stand
        .post(&own.path("cancel"), &json!({"atPeriodEnd": false}))
        .await
        .ok();
    assert_eq!(row["status"], "canceled", "{row}");
    for what in ["cancel", "resume"] {
        stand
            .post(&own.path(what), &json!({}))
            .await
            .problem(409, "state_conflict");
    }
    let change = json!({"planId": "pro"});
    stand
        .post(&own.path("change-plan"), &change)
        .await
        .problem(409, "state_conflict");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_whose_answer_is_lost_happens_once_and_never_counts_as_failed() {
    for kind in [FaultKind::ResetAfterCommit, FaultKind::HangAfterCommit] {
        let mut stand = Stand::start().await;
        let own = subscriber(&stand, "acme", "hobby").await;
        let control = stand.sandbox.control();
        assert!(control.add_fault(Fault::once(kind, "DELETE /v1/subscriptions")));
        // Nothing but Stripe's answers may prove it.
        assert!(control.add_fault(Fault {
            count: Some(1_000),
            ..Fault::once(FaultKind::Drop, "customer.subscription")
        }));
        let body = json!({"atPeriodEnd": false});
        let reply = stand.keyed(&own.path("cancel"), "k1", &body).await;
        assert!(matches!(reply.status, 200 | 202), "{kind:?}: {reply:?}");
        let path = "/api/v1/commands?tenantId=acme";
        let is_it = |one: &&Value| one["kind"] == "cancel_subscription";
        let found = |list: &Value| list["data"].as_array().unwrap().iter().find(is_it).cloned();
        let list = stand
            .until(path, |list| {
                let status = found(list).unwrap()["status"].clone();
                assert_ne!(status, "failed", "{kind:?}: {list}");
                status == "succeeded"
            })
            .await;
        assert_eq!(found(&list).unwrap()["objectId"], own.subscription.as_str());
        let row = stand
            .until(
                &format!("/api/v1/subscriptions/{}", own.subscription),
                |row| row["status"] == "canceled",
            )
            .await;
        assert!(row["endedAt"].is_string(), "{row}");
        let ends = control
            .events()
            .into_iter()
            .filter(|event| event["type"] == "customer.subscription.deleted");
        assert_eq!(ends.count(), 1, "{kind:?}");
        // A repeat of the request finds the command.
        let again = stand.keyed(&own.path("cancel"), "k1", &body).await;
        assert_eq!(again.ok()["status"], "canceled");
        stand.end().await;
    }
}
