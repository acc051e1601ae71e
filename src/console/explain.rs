//! Why something is as it is: what `bursar explain` says, as a page and as a part of others.

use super::money;
use super::visit::Visit;
use crate::commands::{answer, explain};
use crate::http::answer::Answer;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use serde_json::{Value, json};

/// Where an object is read, by the list it is in.
const READ: [(&str, &str); 7] = [
    ("payments", "payments_get"),
    ("refunds", "refunds_get"),
    ("disputes", "disputes_get"),
    ("invoices", "invoices_get"),
    ("subscriptions", "subscriptions_get"),
    ("webhook-events", "webhook_events_get"),
    ("checkout-sessions", "checkout_sessions_get"),
];

/// What happened to a thing: the newest first, without what changed nothing unless `all` is asked for.
/// # Errors: the route's; nothing known is an empty story.
pub(super) async fn story(visit: &Visit, id: &str, all: bool) -> Result<Value, Problem> {
    let empty = json!({"inputs": [], "timeline": [], "truncated": false});
    let found = match visit.ask("explain", &[("id", id)], Vec::new()).await {
        Err(problem) if problem.code == Code::NotFound => empty,
        found => found?,
    };
    let lines = found["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    let told = lines
        .iter()
        .filter(|line| all || !explain::is_nothing(line));
    let mut told: Vec<Value> = told.map(|line| entry(line, all, None)).collect();
    let left_out = lines.len() - told.len();
    told.reverse();
    let waiting = found["inputs"].as_array().map_or(&[][..], Vec::as_slice);
    let waiting = waiting.iter().filter(|input| {
        matches!(
            input["status"].as_str(),
            Some("parked" | "dead" | "received")
        )
    });
    Ok(json!({
        "id": id, "lines": told, "leftOut": left_out, "truncated": found["truncated"],
        "waiting": waiting.collect::<Vec<_>>(), "all": all,
    }))
}

/// A line of a timeline in words. Amounts are shown as money where it is known of which currency they are.
pub(super) fn entry(line: &Value, all: bool, currency: Option<&str>) -> Value {
    let changed = line["changed"].as_array().map_or(&[][..], Vec::as_slice);
    let told = changed
        .iter()
        .filter(|change| all || explain::is_told(change, changed))
        .map(|change| in_money(change, currency));
    json!({
        "at": line["at"], "summary": answer::reworded(line["summary"].as_str().unwrap_or("")),
        "kind": line["kind"], "sourceId": line["sourceId"], "source": line["source"],
        "disposition": line["disposition"], "changed": told.collect::<Vec<_>>(),
    })
}

fn in_money(change: &Value, currency: Option<&str>) -> Value {
    let is_amount = change["field"]
        .as_str()
        .is_some_and(|f| f.starts_with("amount"));
    let side = |side: &str| match (change[side].as_i64(), currency) {
        (Some(amount), Some(currency)) if is_amount => money::shown(amount, currency).into(),
        _ => change[side].clone(),
    };
    json!({"field": change["field"], "from": side("from"), "to": side("to")})
}

/// A thing as it is now, in a sentence; empty where no list has it.
async fn now(visit: &Visit, id: &str) -> Result<(String, String), Problem> {
    for list in explain::lists_of(id) {
        let read = READ.iter().find(|(known, _)| *known == list);
        let asked = match read {
            Some((_, label)) if visit.may(label) => {
                visit.ask(label, &[("id", id)], Vec::new()).await
            }
            Some(_) => continue,
            None => {
                visit
                    .ask("tenants_get", &[("tenantId", id)], Vec::new())
                    .await
            }
        };
        match asked {
            Ok(object) => return Ok((list.to_owned(), answer::present(list, &object))),
            Err(problem) if problem.code == Code::NotFound => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok((String::new(), String::new()))
}

/// `GET /console/explain?id=`.
pub(super) fn show(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.field("id").unwrap_or("").trim().to_owned();
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'%');
        let is_id = !id.is_empty() && id.len() <= 255 && id.bytes().all(plain);
        if !is_id {
            let holds = json!({"id": "", "list": "", "present": "", "story": null});
            return visit.page("explain.html", "Explain an id", holds).await;
        }
        let story = story(&visit, &id, visit.field("all").is_some()).await?;
        let (list, present) = now(&visit, &id).await?;
        let title = format!("Why {id} is as it is");
        let holds = json!({"id": id, "list": list, "present": present, "story": story});
        visit.page("explain.html", &title, holds).await
    })
}
