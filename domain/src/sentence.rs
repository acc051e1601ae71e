//! One sentence for people about what an input changed: what timelines and `explain` say.
//!
//! Invariants: made from the changes alone (ids, states, dates, counts), so it holds no personal data
//! and says the same for the same change.
//! Not here: the words for what was *not* applied (`decide`), mail texts.

use crate::aggregate::{AggregateKey, AggregateKind};
use crate::decision::Change;

/// Changes told in words when no state changed; the rest is in the list of changes anyway.
const FIELDS_TOLD_MAX: usize = 4;

/// What these changes mean for the aggregate.
pub(crate) fn of(
    key: &AggregateKey,
    cause_kind: &str,
    object_id: &str,
    changed: &[Change],
) -> String {
    let told = match key.kind() {
        AggregateKind::Tenant => tenant(changed),
        AggregateKind::Payment => state_of(part_of_payment(cause_kind), object_id, changed),
        kind => state_of(noun(kind), object_id, changed),
    };
    if told.is_empty() {
        fields(key, changed)
    } else {
        told.join("; ")
    }
}

const fn noun(kind: AggregateKind) -> &'static str {
    match kind {
        AggregateKind::Session => "checkout",
        other => other.as_str(),
    }
}

/// What of a payment an event is about.
fn part_of_payment(cause_kind: &str) -> &'static str {
    const PARTS: [(&str, &str); 5] = [
        ("charge.dispute.", "dispute"),
        ("charge.refund.", "refund"),
        ("refund.", "refund"),
        ("radar.", "fraud warning"),
        ("review.", "review"),
    ];
    let part = PARTS
        .iter()
        .find(|(start, _)| cause_kind.starts_with(start));
    part.map_or("payment", |(_, part)| part)
}

fn to<'a>(changed: &'a [Change], field: &str) -> Option<&'a str> {
    changed
        .iter()
        .find(|change| change.field == field)
        .map(|change| change.to.as_str())
}

/// A JSON text without its quotes; `null` becomes nothing.
fn plain(json: &str) -> Option<String> {
    let text = serde_json::from_str::<serde_json::Value>(json).ok()?;
    match text {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn words(json: &str) -> String {
    plain(json)
        .unwrap_or_else(|| "none".to_owned())
        .replace('_', " ")
}

/// What a tenant's owner would ask about: status, licence, plan, credits, archive.
fn tenant(changed: &[Change]) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(id) = to(changed, "tenantId").and_then(plain) {
        told.push(format!("tenant {id} begins"));
    }
    if let Some(status) = to(changed, "status").filter(|status| *status != "\"pending\"") {
        told.push(format!("the tenant is {}", words(status)));
    }
    told.extend(license(changed));
    if let Some(change) = changed.iter().find(|change| change.field == "planId") {
        told.push(match (plain(&change.from), plain(&change.to)) {
            (Some(old), Some(new)) => format!("the plan is {new} instead of {old}"),
            (None, Some(new)) => format!("the plan is {new}"),
            (Some(old), None) => format!("no plan any more (was {old})"),
            (None, None) => return told,
        });
    }
    if let Some(change) = changed
        .iter()
        .find(|change| change.field == "credits" && change.from != "null")
    {
        told.push(format!(
            "credits went from {} to {}",
            change.from, change.to
        ));
    }
    match to(changed, "archivedAt").map(plain) {
        Some(Some(at)) => told.push(format!("archived as of {at}")),
        Some(None) => told.push("no longer archived".to_owned()),
        None => {}
    }
    if let (true, Some(customer)) = (
        told.is_empty(),
        to(changed, "stripeCustomerId").and_then(plain),
    ) {
        told.push(format!("Stripe's customer is {customer}"));
    }
    told
}

fn license(changed: &[Change]) -> Option<String> {
    let until = to(changed, "license.validUntil").and_then(plain);
    let grace = to(changed, "license.graceUntil").and_then(plain);
    match to(changed, "license.state") {
        Some("\"none\"") => None,
        Some("\"grace\"") => Some(match grace {
            Some(at) => format!("the licence is in grace until {at}"),
            None => "the licence is in grace".to_owned(),
        }),
        Some(state) => Some(match until {
            Some(at) => format!("the licence is {} and paid until {at}", words(state)),
            None => format!("the licence is {}", words(state)),
        }),
        None => until.map(|at| format!("the licence is paid until {at}")),
    }
}

/// `invoice in_1 is paid`, with the amounts that moved.
fn state_of(noun: &str, object_id: &str, changed: &[Change]) -> Vec<String> {
    let mut told = Vec::new();
    let status = to(changed, "status").or_else(|| {
        changed
            .iter()
            .find(|c| c.field.ends_with(".status"))
            .map(|c| c.to.as_str())
    });
    if let Some(status) = status.and_then(plain) {
        told.push(format!(
            "{noun} {object_id} is {}",
            status.replace('_', " ")
        ));
    }
    let plan = changed
        .iter()
        .find(|change| change.field == "planId" && change.from != "null");
    if let Some(plan) = plan {
        told.push(format!(
            "its plan is {} instead of {}",
            words(&plan.to),
            words(&plan.from)
        ));
    }
    for (field, word) in [
        ("amountCaptured", "captured"),
        ("amountRefunded", "refunded"),
        ("amountPaid", "paid"),
    ] {
        if let Some(amount) = to(changed, field).filter(|amount| *amount != "0") {
            told.push(format!("{word}: {amount} minor units"));
        }
    }
    if let Some(code) = to(changed, "failureCode").and_then(plain) {
        told.push(format!("{noun} {object_id} failed: {code}"));
    }
    if to(changed, "overdue") == Some("true") {
        told.push(format!("{noun} {object_id} is overdue"));
    }
    if to(changed, "disputed") == Some("true") {
        told.push("disputed by the bank".to_owned());
    }
    if to(changed, "cancelAtPeriodEnd") == Some("true") {
        told.push("it ends with its period".to_owned());
    }
    told
}

fn fields(key: &AggregateKey, changed: &[Change]) -> String {
    let names: Vec<&str> = changed
        .iter()
        .take(FIELDS_TOLD_MAX)
        .map(|change| change.field.as_str())
        .collect();
    let more = if changed.len() > FIELDS_TOLD_MAX {
        " and more"
    } else {
        ""
    };
    format!("{} changed: {}{more}", noun(key.kind()), names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(field: &str, from: &str, to: &str) -> Change {
        Change {
            field: field.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    #[test]
    fn a_failed_renewal_is_told_as_one_would_tell_it() {
        let key = AggregateKey::parse("tenant:acme").unwrap();
        let changed = [
            change("license.graceUntil", "null", "\"2025-07-20T10:00:00Z\""),
            change("license.state", "\"active\"", "\"grace\""),
            change("status", "\"active\"", "\"past_due\""),
        ];
        assert_eq!(
            of(&key, "customer.subscription.updated", "sub_1", &changed),
            "the tenant is past due; the licence is in grace until 2025-07-20T10:00:00Z"
        );
    }

    #[test]
    fn objects_are_told_by_their_state_and_amounts() {
        let key = AggregateKey::parse("payment:/pi_1").unwrap();
        let changed = [
            change("amountCaptured", "0", "1000"),
            change("status", "\"processing\"", "\"succeeded\""),
        ];
        assert_eq!(
            of(&key, "payment_intent.succeeded", "pi_1", &changed),
            "payment pi_1 is succeeded; captured: 1000 minor units"
        );
    }

    #[test]
    fn other_changes_are_named() {
        let key = AggregateKey::parse("merchant:acct_1").unwrap();
        let changed = [change("chargesEnabled", "false", "true")];
        assert_eq!(
            of(&key, "account.updated", "acct_1", &changed),
            "merchant changed: chargesEnabled"
        );
    }
}
