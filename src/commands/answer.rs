//! The opening of an explanation: what a thing is now, in a sentence or two.
//!
//! Invariants: says only what the API says of the object; no texts of customers.
//! Not here: how it came to be so (`explain`).
//! Failure: a field that is missing is left out of the sentence.

use bursar_domain::money::{Currency, Money};
use serde_json::Value;

/// Statuses that are verbs, as timelines write them after "is", and what people say instead.
const VERBS: [(&str, &str); 8] = [
    ("succeeded", "succeeded"),
    ("requires payment method", "requires a payment method"),
    ("requires confirmation", "requires confirmation"),
    ("requires action", "requires an action of the customer"),
    ("requires capture", "waits to be captured"),
    (
        "warning needs response",
        "is a warning and needs a response",
    ),
    ("appeal needs response", "is appealed and needs a response"),
    ("needs response", "needs a response"),
];

/// A sentence of a timeline as people say it.
pub(crate) fn reworded(summary: &str) -> String {
    let mut text = summary.to_owned();
    for (status, said) in VERBS {
        text = text.replace(&format!(" is {status}"), &format!(" {said}"));
    }
    text
}

fn word<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or("-")
}

fn is(object: &Value) -> String {
    let said = format!(" is {}", word(object, "status").replace('_', " "));
    reworded(&said)
}

/// ` of tenant acme`, or that nobody's it is.
fn owner(object: &Value) -> String {
    match object["tenantId"].as_str() {
        Some(tenant) => format!(" of tenant {tenant}"),
        None => " of no tenant".to_owned(),
    }
}

/// An amount as people read it.
fn money(object: &Value, field: &str) -> String {
    let minor = object[field].as_i64().unwrap_or(0);
    match Currency::parse(word(object, "currency")) {
        Ok(currency) => Money::new(minor, currency).to_string(),
        Err(_) => format!("{minor} in minor units of an unknown currency"),
    }
}

/// ` since AT`, if there is such a time.
fn at(object: &Value, field: &str, before: &str) -> String {
    let time = object[field].as_str();
    time.map(|time| format!("{before}{time}"))
        .unwrap_or_default()
}

/// The present state of an object of this list of the API.
pub(crate) fn present(list: &str, object: &Value) -> String {
    let (id, owner) = (word(object, "id"), owner(object));
    match list {
        "payments" => {
            let mut text = format!(
                "Payment {id}{owner}{}; {}",
                is(object),
                money(object, "amount")
            );
            if object["amountRefunded"].as_i64().is_some_and(|n| n > 0) {
                text.push_str(&format!(
                    ", {} of it refunded",
                    money(object, "amountRefunded")
                ));
            }
            text.push('.');
            if let Some(code) = object["failureCode"].as_str() {
                text.push_str(&format!(
                    " Its last attempt failed: {}.",
                    code.replace('_', " ")
                ));
            }
            if object["disputed"] == true {
                text.push_str(" The bank disputed it.");
            }
            text
        }
        "refunds" => format!(
            "Refund {id}{owner}{}: {} of payment {}{}.",
            is(object),
            money(object, "amount"),
            word(object, "paymentId"),
            at(object, "failureReason", "; it failed: ")
        ),
        "disputes" => format!(
            "Dispute {id}{owner}{}: {} of payment {}, reason {}{}.",
            is(object),
            money(object, "amount"),
            word(object, "paymentId"),
            word(object, "reason").replace('_', " "),
            at(object, "evidenceDueBy", "; evidence is due by ")
        ),
        "invoices" => format!(
            "Invoice {id}{owner}{}{}: {} due, {} paid{}.",
            is(object),
            if object["overdue"] == true {
                " and overdue"
            } else {
                ""
            },
            money(object, "amountDue"),
            money(object, "amountPaid"),
            at(object, "nextPaymentAttempt", "; next attempt at ")
        ),
        "subscriptions" => format!(
            "Subscription {id}{owner}{} on {}{}; the licence is {}{}.",
            is(object),
            object["planId"].as_str().unwrap_or("no known plan"),
            if object["cancelAtPeriodEnd"] == true {
                ", and ends with its period"
            } else {
                ""
            },
            word(&object["license"], "state"),
            at(&object["license"], "validUntil", ", paid until ")
        ),
        "checkout-sessions" => format!("Checkout {id}{owner}{}.", is(object)),
        "webhook-events" => {
            let why = object["reason"].as_str().filter(|why| !why.is_empty());
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            format!(
                "Event {id} ({}){owner} is {}{why}; it was received at {}.",
                word(object, "type"),
                word(object, "status"),
                word(object, "receivedAt")
            )
        }
        _ => tenant(object),
    }
}

fn tenant(tenant: &Value) -> String {
    let license = &tenant["license"];
    format!(
        "Tenant {} is {} on {}; the licence is {}{}; credits: {}.",
        word(tenant, "tenantId"),
        word(tenant, "status").replace('_', " "),
        tenant["planId"].as_str().unwrap_or("no plan"),
        word(license, "state"),
        at(license, "validUntil", ", paid until "),
        tenant["credits"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_present_state_of_each_kind_of_thing_is_one_or_two_sentences() {
        let payment = json!({"id": "pi_1", "tenantId": "acme", "status": "requires_payment_method",
            "amount": 1000, "currency": "usd", "amountRefunded": 0, "failureCode": "card_declined"});
        assert_eq!(
            present("payments", &payment),
            "Payment pi_1 of tenant acme requires a payment method; 10.00 usd. \
             Its last attempt failed: card declined."
        );
        let dispute = json!({"id": "du_1", "tenantId": null, "status": "needs_response",
            "amount": 7, "currency": "eur", "paymentId": "pi_1", "reason": "fraudulent",
            "evidenceDueBy": "2027-02-23T16:50:30Z"});
        assert_eq!(
            present("disputes", &dispute),
            "Dispute du_1 of no tenant needs a response: 0.07 eur of payment pi_1, \
             reason fraudulent; evidence is due by 2027-02-23T16:50:30Z."
        );
        let event = json!({"id": "evt_1", "type": "invoice.paid", "status": "parked",
            "tenantId": null, "reason": "waits for customer cus_1 to be linked",
            "receivedAt": "2025-05-12T10:00:01Z"});
        assert_eq!(
            present("webhook-events", &event),
            "Event evt_1 (invoice.paid) of no tenant is parked: waits for customer cus_1 to be \
             linked; it was received at 2025-05-12T10:00:01Z."
        );
    }

    #[test]
    fn a_status_that_is_a_verb_takes_no_is() {
        for (told, said) in [
            (
                "payment pi_1 is requires payment method",
                "payment pi_1 requires a payment method",
            ),
            (
                "dispute du_1 is needs response; x",
                "dispute du_1 needs a response; x",
            ),
            (
                "refund re_1 is succeeded; refunded: 5 minor units",
                "refund re_1 succeeded; refunded: 5 minor units",
            ),
            ("invoice in_1 is paid", "invoice in_1 is paid"),
        ] {
            assert_eq!(reworded(told), said);
        }
    }
}
