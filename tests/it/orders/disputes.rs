//! Evidence: drafted as often as needed, submitted once.

use super::money::{PASSING, at_stripe, paid, succeeded};
use super::stand::{Stand, at_once};
use serde_json::{Value, json};

/// A dispute about a payment of acme, once the service knows it, and the path of its evidence.
async fn disputed(stand: &Stand) -> (String, String) {
    let payment = paid(stand, "acme", false).await;
    let control = stand.sandbox.control();
    let opened = control.open_dispute(&payment, "fraudulent", false).unwrap();
    let id = opened["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/disputes/{id}");
    stand
        .until(&path, |found| {
            found["tenantId"] == "acme" && found["evidenceDueBy"].is_string()
        })
        .await;
    (id, format!("{path}/evidence"))
}

fn at_bank(stand: &Stand, id: &str) -> Value {
    stand.sandbox.control().object(id).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_drafted_twice_and_submitted_once() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let (id, path) = disputed(&stand).await;
    let listed = stand.get("/api/v1/disputes?tenantId=acme").await.ok();
    assert!(listed["data"][0]["evidenceDueBy"].is_string(), "{listed}");
    let draft = json!({"customerName": "Ada", "uncategorizedText": "one\ntwo"});
    let shown = stand.post(&path, &draft).await.ok();
    assert_eq!(
        (&shown["id"], &shown["status"]),
        (&json!(id), &json!("needs_response")),
        "{shown}"
    );
    let draft = json!({"customerName": "Ada L.", "draft": true});
    stand.post(&path, &draft).await.ok();
    let bank = at_bank(&stand, &id);
    assert_eq!(
        (
            &bank["evidence"]["customer_name"],
            &bank["evidence"]["uncategorized_text"],
            &bank["evidence_details"]["submission_count"]
        ),
        (&json!("Ada L."), &json!("one\ntwo"), &json!(0)),
        "{bank}"
    );
    let submit = json!({"draft": false});
    let first = stand.keyed(&path, "k1", &submit).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json()["status"], "under_review", "{first:?}");
    let again = stand.keyed(&path, "k1", &submit).await;
    assert!(again.is_replayed && again.text == first.text, "{again:?}");
    let sent = stand.requests("POST", &format!("/v1/disputes/{id}")).len();
    for body in [submit, json!({"customerName": "Eve"})] {
        let late = stand.post(&path, &body).await;
        late.problem(409, "state_conflict");
    }
    let after = stand.requests("POST", &format!("/v1/disputes/{id}"));
    assert_eq!(after.len(), sent);
    assert_eq!(
        at_bank(&stand, &id)["evidence_details"]["submission_count"],
        1
    );
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_submit_at_once_one_does() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    let (id, path) = disputed(&stand).await;
    let bodies: Vec<Value> = (0..6)
        .map(|n| json!({"draft": false, "customerName": format!("Ada {n}")}))
        .collect();
    let replies = at_once(bodies.iter().map(|body| stand.post(&path, body))).await;
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409], "{replies:?}");
    let sent = stand.requests("POST", &format!("/v1/disputes/{id}"));
    assert_eq!(sent.len(), 1);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_submitted_elsewhere_is_over_or_foreign_is_refused() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    stand.tenant("other").await;
    let (id, path) = disputed(&stand).await;
    for (body, status, code) in [
        (json!({}), 400, "invalid_request"),
        (json!({"customer_name": "Ada"}), 400, "invalid_request"),
        (
            json!({"customerName": "Ada", "tenantId": "other"}),
            404,
            "not_found",
        ),
        (
            json!({"uncategorizedText": "4242 4242 4242 4242"}),
            422,
            "card_number_refused",
        ),
        (
            json!({"uncategorizedText": "x".repeat(20_001)}),
            400,
            "invalid_request",
        ),
    ] {
        stand.post(&path, &body).await.problem(status, code);
    }
    let ordered = format!("/v1/disputes/{id}");
    assert_eq!(stand.requests("POST", &ordered).len(), 0);
    // Somebody submitted it in the dashboard, and the event has not come.
    stand.sandbox.control().set_webhook(None, Vec::new());
    let form = "evidence[customer_name]=Ada&submit=true";
    at_stripe(&stand, &ordered, None, form).await;
    let known = stand.get(&format!("/api/v1/disputes/{id}")).await.ok();
    assert_eq!(known["status"], "needs_response");
    let body = json!({"draft": false, "customerName": "Eve"});
    let late = stand.post(&path, &body).await;
    late.problem(409, "state_conflict");
    assert_eq!(stand.requests("POST", &ordered).len(), 1);
    assert_eq!(at_bank(&stand, &id)["evidence"]["customer_name"], "Ada");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_passes_between_evidence_goes_to_the_bank_once() {
    let mut stand = Stand::start().await;
    stand.tenant("acme").await;
    for kind in PASSING {
        let (id, path) = disputed(&stand).await;
        let matching = format!("POST /v1/disputes/{id}");
        let fault = bursar_sandbox::Fault::once(kind, &matching);
        assert!(stand.sandbox.control().add_fault(fault));
        let body = json!({"draft": false, "customerName": "Ada"});
        let reply = stand.post(&path, &body).await;
        let ended = succeeded(&stand, reply).await;
        assert_eq!(ended["objectId"], json!(id), "{kind:?}");
        let bank = at_bank(&stand, &id);
        assert_eq!(bank["status"], "under_review", "{kind:?}");
        let events = stand.sandbox.control().events().into_iter();
        let updates = events.filter(|event| {
            event["type"] == "charge.dispute.updated" && event["data"]["object"]["id"] == id
        });
        assert_eq!(updates.count(), 1, "{kind:?}");
        let late = stand.post(&path, &body).await;
        late.problem(409, "state_conflict");
    }
    stand.end().await;
}
