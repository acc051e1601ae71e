//! Refunds, partial and full, and those that fail later.
//!
//! Invariants: the sum of a charge's refunds never exceeds what was captured.
//! Not here: releasing uncaptured authorizations (`intents::cancel`).
//! Failure: 400 `charge_already_refunded`, `charge_disputed`, or amount too large.
//! Source of outside rules: Stripe API reference, "Refunds"; documentation, "Refund and cancel payments".

use super::{charges, fields, intents};
use crate::cards::{self, Aftermath};
use crate::error::ApiError;
use crate::world::{Due, World, int, text};
use serde_json::{Value, json};

/// How long test-card refunds wait before they move on.
const MOVES_AFTER_SECONDS: i64 = 10;

pub(crate) fn create(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let charge_id = charge_of(w, p)?;
    let charge = w.need("charge", &charge_id, "charge")?;
    if charge["captured"] != true {
        let pi = text(&charge, "payment_intent");
        if charge["status"] != "succeeded" {
            return Err(ApiError::refused(
                None,
                "This charge did not succeed and cannot be refunded.",
            ));
        }
        if p["amount"].is_i64() && int(p, "amount") != int(&charge, "amount") {
            let message = "You cannot partially refund an uncaptured charge. Instead, capture the charge for an amount less than the original amount.";
            return Err(ApiError::refused(None, message));
        }
        intents::cancel(w, &pi, Some("requested_by_customer"));
        return insert(w, &charge, int(&charge, "amount"), p, "succeeded");
    }
    let amount = refundable(&charge, p)?;
    let aftermath = cards::by_key(&text(&charge, "__card")).aftermath;
    let status = if aftermath == Aftermath::RefundPending {
        "pending"
    } else {
        "succeeded"
    };
    let refund = insert(w, &charge, amount, p, status)?;
    let id = text(&refund, "id");
    w.tell("refund.created", &refund);
    w.change_and_tell(&charge_id, "charge.refunded", |v| {
        v["amount_refunded"] = json!(int(v, "amount_refunded") + amount);
        let whole = int(
            v,
            if v["__released"] == true {
                "amount"
            } else {
                "amount_captured"
            },
        );
        v["refunded"] = json!(int(v, "amount_refunded") >= whole);
    });
    match aftermath {
        Aftermath::RefundPending | Aftermath::RefundFails => {
            w.schedule(w.now + MOVES_AFTER_SECONDS, Due::RefundMoves(id));
        }
        _ => {
            let reference = w.ids.secret(23);
            let (before, after) = w.change(&id, |v| {
                v["destination_details"]["card"]["reference"] = json!(reference);
                v["destination_details"]["card"]["reference_status"] = json!("available");
            });
            w.tell_change("refund.updated", &before, &after);
            w.tell_change("charge.refund.updated", &before, &after);
        }
    }
    Ok(refund)
}

fn charge_of(w: &World, p: &Value) -> Result<String, ApiError> {
    if let Some(charge) = fields::given(p, "charge") {
        w.need("charge", charge, "charge")?;
        return Ok(charge.to_owned());
    }
    let Some(intent) = fields::given(p, "payment_intent") else {
        let message = "One of the following params should be provided for this request: payment_intent or charge.";
        return Err(ApiError::refused(Some("parameter_missing"), message));
    };
    let pi = w.need("payment_intent", intent, "payment_intent")?;
    if !matches!(
        pi["status"].as_str(),
        Some("succeeded" | "requires_capture")
    ) {
        let message =
            format!("This PaymentIntent ({intent}) does not have a successful charge to refund.");
        return Err(ApiError::refused(None, &message));
    }
    Ok(text(&pi, "latest_charge"))
}

fn refundable(charge: &Value, p: &Value) -> Result<i64, ApiError> {
    let id = text(charge, "id");
    // What a partial capture released is not there to be refunded.
    let released = int(charge, "amount") - int(charge, "amount_captured");
    let refunded = int(charge, "amount_refunded")
        - if charge["__released"] == true {
            released
        } else {
            0
        };
    let left = int(charge, "amount_captured") - refunded.max(0);
    if charge["disputed"] == true && charge["__refundable"] != true {
        let message = format!("Charge {id} has been charged back; cannot issue a refund.");
        return Err(ApiError::refused(Some("charge_disputed"), &message));
    }
    if left <= 0 {
        let message = format!("Charge {id} has already been refunded.");
        return Err(ApiError::refused(Some("charge_already_refunded"), &message));
    }
    let amount = p["amount"].as_i64().unwrap_or(left);
    if amount < 1 {
        return Err(ApiError::invalid(
            "amount",
            Some("parameter_invalid_integer"),
            "Invalid positive integer",
        ));
    }
    if amount > left {
        let message = format!(
            "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})."
        );
        return Err(ApiError::invalid("amount", None, &message));
    }
    Ok(amount)
}

fn insert(
    w: &mut World,
    charge: &Value,
    amount: i64,
    p: &Value,
    status: &str,
) -> Result<Value, ApiError> {
    let mut refund = w.fresh("refund", "re");
    refund["amount"] = json!(amount);
    for field in ["currency", "payment_intent"] {
        refund[field] = charge[field].clone();
    }
    refund["charge"] = charge["id"].clone();
    refund["status"] = json!(status);
    fields::copy(&mut refund, p, &["reason"]);
    fields::metadata(&mut refund, p)?;
    if status == "pending" {
        refund["pending_reason"] = json!("processing");
    } else if charge["captured"] == true {
        let txn = charges::book(
            w,
            &text(&refund, "id"),
            "refund",
            -amount,
            0,
            json!([]),
            &text(charge, "currency"),
        );
        refund["balance_transaction"] = txn["id"].clone();
    }
    if charge["payment_method_details"]["type"] != "card" {
        refund["destination_details"] = json!({"type": charge["payment_method_details"]["type"]});
    }
    w.insert(refund.clone());
    Ok(refund)
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut refund = w.need("refund", id, "refund")?;
    fields::metadata(&mut refund, p)?;
    Ok(w.change_and_tell(id, "refund.updated", |v| *v = refund))
}

/// A test card's refund moves on: pending succeeds, succeeded fails.
pub(crate) fn moves(w: &mut World, id: &str) {
    let Some(refund) = w.get("refund", id).cloned() else {
        return;
    };
    let amount = int(&refund, "amount");
    let currency = text(&refund, "currency");
    if refund["status"] == "pending" {
        let txn = charges::book(w, id, "refund", -amount, 0, json!([]), &currency);
        let (before, after) = w.change(id, |v| {
            v["status"] = json!("succeeded");
            v["balance_transaction"] = txn["id"].clone();
            if let Some(map) = v.as_object_mut() {
                map.remove("pending_reason");
            }
        });
        w.tell_change("refund.updated", &before, &after);
        w.tell_change("charge.refund.updated", &before, &after);
        return;
    }
    if refund["status"] != "succeeded" {
        return;
    }
    let txn = charges::book(w, id, "refund_failure", amount, 0, json!([]), &currency);
    let (before, after) = w.change(id, |v| {
        v["status"] = json!("failed");
        v["failure_reason"] = json!("unknown");
        v["failure_balance_transaction"] = txn["id"].clone();
    });
    w.change(&text(&refund, "charge"), |v| {
        v["amount_refunded"] = json!(int(v, "amount_refunded") - amount);
        v["refunded"] = json!(false);
    });
    w.tell("refund.failed", &after);
    w.tell_change("refund.updated", &before, &after);
    w.tell_change("charge.refund.updated", &before, &after);
}
