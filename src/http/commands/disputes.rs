//! `POST /api/v1/disputes/{id}/evidence`: drafted as often as needed, submitted once.
//!
//! Invariants: what goes to the bank is final, so it must be asked for (`draft=false`), Stripe is asked first whether
//! it is still possible, and of several such orders one is given (`evidence_log`).
//! Not here: files, which would have to be uploaded.
//! Source: contract §3 "Billing"; Stripe API reference, "Update a dispute" (150,000 characters together), "Dispute
//! evidence details" (`submission_count`, `due_by`).

use super::settled::{self, Place};
use super::{Ended, Plan, accepted, command_id, evidence_log, find, live, payments, run};
use crate::http::answer::Answer;
use crate::http::fields::{Fields, parse_time};
use crate::http::order::visible_row;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::{Call, Kind, Param, optional};
use crate::http::server::BoxFuture;
use crate::stripe::requests::disputes::{self, Evidence, EvidenceField};
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{DisputeId, Timestamp};
use bursar_domain::rows::RowKind;
use bursar_store::query::RowView;
use serde_json::Value;
use std::collections::BTreeMap;

/// Characters of all texts together.
const CHARS_MAX: usize = 150_000;

/// A field of evidence.
pub const fn text(name: &'static str, help: &'static str) -> Param {
    optional(name, Kind::Lines(20_000), help)
}

/// `POST /api/v1/disputes/{id}/evidence`.
pub fn evidence(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let account = call.fields.text("account");
        let (kind, reach) = (RowKind::Dispute, call.reach());
        let row = visible_row(&call.edge, kind, call.path("id"), account, &reach).await?;
        let dispute = DisputeId::parse(&row.id).map_err(|_| Problem::not_found())?;
        let submits = call.fields.boolean("draft") == Some(false);
        let id = command_id(&call);
        let enter = || evidence_log::enter(&call, &row.scope, &dispute, &id, submits);
        if find(&call, &id)
            .await?
            .is_some_and(|known| known.is_given_up())
        {
            // It would be ordered again: others may have come meanwhile.
            enter().await?;
        }
        let plan = async {
            let tenant = payments::owner(&row)?;
            let fields = said(&call.fields, submits)?;
            let stored: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
            let due_by = stored["evidenceDueBy"].as_str().and_then(parse_time);
            check_open(&row.status, due_by, call.edge.now())?;
            if submits {
                check_with_stripe(&call, &row).await?;
            }
            enter().await?;
            let order = Evidence {
                scope: row.scope.clone(),
                dispute: dispute.clone(),
                fields,
                submit: submits,
            };
            let mut objects = vec![row.id.clone()];
            objects.extend(stored["paymentId"].as_str().map(str::to_owned));
            Ok(Plan {
                kind: CommandKind::DisputeEvidence,
                tenant,
                call: disputes::evidence(&order, &id),
                objects,
                awaits: None,
            })
        };
        let command = match run(&call, id.clone(), plan).await? {
            Ended::Succeeded(command) => command,
            Ended::Pending(answer) => return Ok(answer),
        };
        let place = Place {
            kind,
            scope: row.scope.clone(),
            id: row.id.clone(),
        };
        let is_fresh = |row: &RowView| !submits || !row.status.ends_with("needs_response");
        let shown = settled::shown(&call, &id, place, is_fresh).await?;
        Ok(shown.map_or_else(|| accepted(&id, command.text("status")), Answer::json_text))
    })
}

/// What the request says for the bank. # Errors: 400 for nothing, 422 for too much.
fn said(given: &Fields, submits: bool) -> Result<BTreeMap<EvidenceField, String>, Problem> {
    let mut said = BTreeMap::new();
    for field in EvidenceField::all() {
        if let Some(text) = given.text(&camel(field.as_str())) {
            said.insert(field, text.to_owned());
        }
    }
    if said.is_empty() && !submits {
        let detail = "say at least one text to draft, or `draft=false` to submit what was drafted";
        return Err(Problem::field("draft", FieldCode::Conflicting, detail));
    }
    let chars: usize = said.values().map(|text| text.chars().count()).sum();
    if chars > CHARS_MAX {
        let detail =
            format!("the texts have {chars} characters together; the bank takes {CHARS_MAX}");
        return Err(Problem::new(Code::Refused, detail));
    }
    Ok(said)
}

/// Stripe's name of a field, as this API writes names.
fn camel(name: &str) -> String {
    let mut camel = String::new();
    for (index, word) in name.split('_').enumerate() {
        let (first, rest) = word.split_at(word.len().min(1));
        if index == 0 {
            camel.push_str(first);
        } else {
            camel.push_str(&first.to_ascii_uppercase());
        }
        camel.push_str(rest);
    }
    camel
}

/// # Errors: 409 for a dispute that takes no evidence any more.
fn check_open(status: &str, due_by: Option<Timestamp>, now: Timestamp) -> Result<(), Problem> {
    if matches!(status, "won" | "lost" | "warning_closed" | "prevented") {
        let detail = format!("the dispute is over ({status})");
        return Err(Problem::new(Code::StateConflict, detail));
    }
    match due_by {
        Some(due_by) if due_by <= now => {
            let detail = format!("evidence was due by {}", due_by.rfc3339());
            Err(Problem::new(Code::StateConflict, detail))
        }
        _ => Ok(()),
    }
}

/// Asks Stripe whether evidence can still be submitted: it may have been, elsewhere.
/// # Errors: 409; 404, 502, 503 when it cannot be asked.
async fn check_with_stripe(call: &Call, row: &RowView) -> Result<(), Problem> {
    let path = format!("/v1/disputes/{}", row.id);
    let found = live::read(call, row.scope.clone(), path).await?;
    let details = &found["evidence_details"];
    if details["submission_count"].as_u64().unwrap_or(0) > 0 {
        return Err(evidence_log::submitted());
    }
    let due_by = details["due_by"].as_i64().map(Timestamp::from_seconds);
    let status = found["status"].as_str().unwrap_or_default();
    check_open(status, due_by, call.edge.now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::every_route;
    use std::collections::BTreeSet;

    #[test]
    fn every_field_of_evidence_can_be_given() {
        let route = every_route().find(|route| route.label == "disputes_evidence");
        let params = route.unwrap().params.iter();
        let texts = params.filter(|param| matches!(param.kind, Kind::Lines(_)));
        let texts: BTreeSet<String> = texts.map(|param| param.name.to_owned()).collect();
        let fields: BTreeSet<String> = EvidenceField::all().map(|f| camel(f.as_str())).collect();
        assert_eq!(texts, fields);
        assert_eq!(camel("customer_purchase_ip"), "customerPurchaseIp");
    }

    #[test]
    fn evidence_past_its_day_or_verdict_is_refused() {
        let day = Timestamp::from_seconds(1_000_000);
        assert!(check_open("needs_response", Some(day), day.plus_ms(-1)).is_ok());
        assert!(check_open("needs_response", Some(day), day).is_err());
        assert!(check_open("needs_response", None, day).is_ok());
        assert!(check_open("lost", Some(day), day.plus_ms(-1)).is_err());
    }
}
