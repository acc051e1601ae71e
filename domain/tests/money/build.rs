//! Objects and events as Stripe writes them, cut to what is read.

use bursar_domain::testing::event;
use serde_json::{Value, json};

/// 2025-05-12T10:00:00Z.
pub(crate) const T0: i64 = 1_747_044_000;
/// The platform's payments.
pub(crate) const PLATFORM: &str = "";
/// A connected account.
pub(crate) const ACCOUNT: &str = "acct_m";

/// Joins fields into an object.
pub(crate) fn with(mut object: Value, fields: Value) -> Value {
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    object
}

/// A payment intent of 2,000 on card.
pub(crate) fn intent(status: &str) -> Value {
    let received = if status == "succeeded" { 2_000 } else { 0 };
    let charge = match status {
        "requires_payment_method" | "canceled" => Value::Null,
        _ => json!("ch_1"),
    };
    json!({
        "id": "pi_1", "object": "payment_intent", "status": status, "created": T0,
        "amount": 2_000, "amount_received": received, "amount_capturable": 0,
        "currency": "usd", "customer": "cus_1", "latest_charge": charge,
        "capture_method": "automatic", "last_payment_error": null, "metadata": {},
    })
}

/// A captured charge of 2,000 for `pi_1`.
pub(crate) fn charge(status: &str) -> Value {
    let captured = status == "succeeded";
    json!({
        "id": "ch_1", "object": "charge", "status": status, "created": T0 + 1,
        "amount": 2_000, "amount_captured": if captured { 2_000 } else { 0 },
        "amount_refunded": 0, "captured": captured, "refunded": false, "disputed": false,
        "currency": "usd", "customer": "cus_1", "payment_intent": "pi_1",
        "failure_code": null, "failure_message": null, "metadata": {},
    })
}

/// A refund of `amount` of `ch_1`.
pub(crate) fn refund(id: &str, status: &str, amount: i64) -> Value {
    json!({
        "id": id, "object": "refund", "status": status, "created": T0 + 2,
        "amount": amount, "currency": "usd", "charge": "ch_1", "payment_intent": "pi_1",
        "reason": "requested_by_customer", "metadata": {},
    })
}

/// A balance transaction of a dispute.
pub(crate) fn moved(id: &str, amount: i64, created: i64) -> Value {
    json!({ "id": id, "object": "balance_transaction", "amount": amount, "currency": "usd",
        "created": created, "fee": 0 })
}

/// A dispute of 2,000 about `ch_1`.
pub(crate) fn dispute(status: &str, moves: Vec<Value>) -> Value {
    json!({
        "id": "du_1", "object": "dispute", "status": status, "created": T0 + 500,
        "amount": 2_000, "currency": "usd", "charge": "ch_1", "payment_intent": "pi_1",
        "reason": "fraudulent", "evidence_details": { "due_by": T0 + 9_000 },
        "balance_transactions": moves, "metadata": {},
    })
}

/// An event `seconds` after T0, named after what it says.
pub(crate) fn at(seconds: i64, kind: &str, account: &str, object: Value) -> Value {
    let status = object["status"].as_str().unwrap_or("");
    let whose = object["id"].as_str().unwrap_or("");
    let amounts = (&object["amount_refunded"], &object["amount_captured"]);
    let id = format!(
        "evt_{seconds}_{kind}_{whose}_{status}_{}_{}",
        amounts.0, amounts.1
    );
    event(&id, kind, T0 + seconds, account, object, None)
}
