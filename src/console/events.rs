//! What Stripe delivered: the list, one with what it changed, replays (said first, then done) and setting aside.
//!
//! Invariants: of a body, what may be personal or let somebody in is masked; a replay that was not said first is done
//! only by the button under what was said.

use super::explain;
use super::form::{filled, next_page};
use super::payments::midnight;
use super::visit::{Visit, json_of};
use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::http::webhook_events::STATUS_WORDS;
use serde_json::{Value, json};

const FILTERS: &[&str] = &["status", "types", "receivedAfter", "receivedBefore"];

fn filters(visit: &Visit) -> Vec<(&'static str, String)> {
    let mut given = visit.given(&["status", "types"]);
    for name in ["receivedAfter", "receivedBefore"] {
        given.extend(visit.field(name).map(|day| (name, midnight(day))));
    }
    given
}

/// `GET /console/events`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let mut asked = filters(&visit);
        asked.extend(visit.given(&["cursor"]));
        let page = visit.ask("webhook_events_list", &[], asked).await?;
        let title = match visit.field("status") {
            Some("dead") => "Dead letters",
            Some("parked") => "Parked events",
            _ => "Events",
        };
        let holds = json!({
            "events": page["data"], "statuses": STATUS_WORDS, "filled": filled(&visit, FILTERS),
            "mayReplay": visit.may("webhook_events_replay_filtered"),
            "next": next_page(&visit, "/console/events", FILTERS, &page),
        });
        visit.page("events.html", title, holds).await
    })
}

/// `GET /console/events/{id}`.
pub(super) fn show(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let account = visit.given(&["account"]);
        let mut event = visit
            .ask("webhook_events_get", &[("id", &id)], account)
            .await?;
        let body = redacted(None, event["body"].take());
        let story = explain::story(&visit, &id, true).await?;
        let holds = json!({"shown": event, "body": body, "story": story});
        visit.page("event.html", "Event", holds).await
    })
}

/// Fields whose texts may name a person or let somebody in.
const PERSONAL: [&str; 26] = [
    "email",
    "name",
    "phone",
    "address",
    "line1",
    "line2",
    "city",
    "state",
    "postal_code",
    "receipt_email",
    "customer_email",
    "customer_name",
    "customer_phone",
    "customer_address",
    "description",
    "ip",
    "client_secret",
    "url",
    "hosted_invoice_url",
    "invoice_pdf",
    "receipt_url",
    "fingerprint",
    "value",
    "individual_name",
    "statement_descriptor",
    "dob",
];
/// Objects of Stripe's whose name is the merchant's own and no person's.
const NAMED: [&str; 4] = ["price", "product", "plan", "coupon"];

/// A body with what may be personal masked. A status is one word and is shown, whatever it is called.
fn redacted(field: Option<&str>, value: Value) -> Value {
    const MASK: &str = "•••";
    match value {
        Value::Object(fields) => {
            let is_merchants = fields
                .get("object")
                .and_then(Value::as_str)
                .is_some_and(|object| NAMED.contains(&object));
            let is_metadata = field == Some("metadata");
            let each = fields.into_iter().map(|(name, value)| {
                let is_kept = is_merchants && name == "name";
                let is_ours = !is_metadata || name.ends_with("_id");
                let shown = match value {
                    Value::String(_) if !is_ours => MASK.into(),
                    value if is_kept => value,
                    value => redacted(Some(&name), value),
                };
                (name, shown)
            });
            Value::Object(each.collect())
        }
        Value::Array(items) => {
            let each = items.into_iter().map(|item| redacted(field, item));
            each.collect()
        }
        Value::String(text) => {
            let is_personal = field.is_some_and(|field| PERSONAL.contains(&field));
            if (is_personal && !text.is_empty()) || text.contains('@') {
                return MASK.into();
            }
            text.into()
        }
        other => other,
    }
}

/// `POST /console/events/{id}/replay`.
pub(super) fn replay(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let fields = visit.given(&["account", "dryRun"]);
        let answer = visit
            .order("webhook_events_replay", &[("id", &id)], fields)
            .await?;
        let action = format!("/console/events/{id}/replay");
        said_or_done(
            &visit,
            &answer,
            &action,
            &["account"],
            &format!("/console/events/{id}"),
        )
        .await
    })
}

/// `POST /console/events/replay`.
pub(super) fn replay_filtered(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let mut fields = filters(&visit);
        fields.extend(visit.given(&["dryRun", "cursor"]));
        let answer = visit
            .order("webhook_events_replay_filtered", &[], fields)
            .await?;
        let names = &[
            "status",
            "types",
            "receivedAfter",
            "receivedBefore",
            "cursor",
        ];
        said_or_done(
            &visit,
            &answer,
            "/console/events/replay",
            names,
            "/console/events",
        )
        .await
    })
}

/// What a replay did, or would do; under the latter stands the button that does it, with the same fields.
async fn said_or_done(
    visit: &Visit,
    answer: &Answer,
    action: &str,
    names: &[&'static str],
    back: &str,
) -> Result<Answer, Problem> {
    let replay = json_of(answer)?;
    let fields = visit.given(names);
    let fields: Vec<Value> = fields
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let title = if replay["dryRun"] == true {
        "Replay: what it would do"
    } else {
        "Replay: done"
    };
    let holds = json!({"replay": replay, "action": action, "fields": fields, "back": back});
    visit.page("replay.html", title, holds).await
}

/// `POST /console/events/{id}/dismiss`.
pub(super) fn dismiss(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let fields = visit.given(&["account", "reason"]);
        let answer = visit
            .order("webhook_events_dismiss", &[("id", &id)], fields)
            .await?;
        json_of(&answer)?;
        Ok(visit.lead_to(&format!("/console/events/{id}"), "dismissed"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_without_what_names_a_person() {
        let body = json!({"id": "evt_1", "data": {"object": {
            "id": "cs_1", "object": "checkout.session", "amount_total": 2900, "status": "complete",
            "customer_details": {"email": "ada@example.com", "name": "Ada", "phone": "+1", "address": {"line1": "x"}},
            "metadata": {"tenant_id": "acme", "note": "Ada's order"}, "url": "https://checkout.stripe.com/c/pay",
            "custom": "write to ada@example.com", "plan": {"object": "price", "name": "Pro"},
        }}});
        let shown = redacted(None, body).to_string();
        for kept in ["evt_1", "cs_1", "2900", "complete", "acme", "Pro"] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
        for gone in [
            "ada@",
            "\"Ada\"",
            "Ada's",
            "+1",
            "checkout.stripe.com",
            "\"x\"",
        ] {
            assert!(!shown.contains(gone), "{gone} in {shown}");
        }
    }
}
