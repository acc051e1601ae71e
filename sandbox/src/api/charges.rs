//! Charges and the balance transactions behind them.
//!
//! Invariants: captured ≤ amount, refunded ≤ amount; money moves only with a balance transaction.
//! Not here: refunds and disputes themselves.
//! Failure: `ApiError`.
//! Source of outside rules: Stripe API reference, "Charges", "Balance Transactions".

use super::{disputes, fields, intents};
use crate::cards::{self, Aftermath};
use crate::error::ApiError;
use crate::world::{Due, World, blank_part, int, text};
use serde_json::{Value, json};

fn base(w: &mut World, pi: &Value) -> Value {
    let mut charge = w.fresh("charge", "ch");
    let pm = w
        .get("payment_method", &text(pi, "payment_method"))
        .cloned()
        .unwrap_or(Value::Null);
    for field in [
        "amount",
        "currency",
        "customer",
        "description",
        "metadata",
        "application_fee_amount",
        "transfer_data",
        "transfer_group",
        "statement_descriptor",
        "statement_descriptor_suffix",
        "receipt_email",
        "shipping",
        "application",
        "on_behalf_of",
    ] {
        charge[field] = pi[field].clone();
    }
    charge["payment_intent"] = pi["id"].clone();
    charge["payment_method"] = pm["id"].clone();
    charge["__card"] = pm["__card"].clone();
    if pm["billing_details"].is_object() {
        charge["billing_details"] = pm["billing_details"].clone();
    }
    charge["payment_method_details"] = details(&pm, int(pi, "amount"));
    if pm["type"] == "card" {
        charge["outcome"]["risk_score"] = json!(20);
    }
    charge
}

fn details(pm: &Value, amount: i64) -> Value {
    if pm["type"] == "sepa_debit" {
        return json!({"type": "sepa_debit", "sepa_debit": {
            "bank_code": "19043", "branch_code": "", "country": "AT", "fingerprint": "sandboxsepa",
            "last4": pm["sepa_debit"]["last4"], "mandate": null}});
    }
    let mut card = blank_part("card_details");
    for field in [
        "brand",
        "country",
        "exp_month",
        "exp_year",
        "funding",
        "last4",
        "fingerprint",
        "checks",
    ] {
        card[field] = pm["card"][field].clone();
    }
    card["network"] = pm["card"]["brand"].clone();
    card["amount_authorized"] = json!(amount);
    card["overcapture"]["maximum_amount_capturable"] = json!(amount);
    json!({"type": "card", "card": card})
}

/// Stores a successful charge, captured or only authorized.
pub(crate) fn make_paid(w: &mut World, pi: &Value, captured: bool) -> Value {
    let mut charge = base(w, pi);
    let id = text(&charge, "id");
    charge["paid"] = json!(true);
    charge["captured"] = json!(captured);
    charge["status"] = json!("succeeded");
    charge["receipt_url"] = json!(format!("{}/receipts/{id}", w.base_url));
    if captured {
        charge["amount_captured"] = pi["amount"].clone();
        charge["balance_transaction"] = json!(book_charge(w, &charge, int(pi, "amount")));
    }
    w.insert(charge.clone());
    charge
}

/// Stripe's usual price, 2.9 % + 30, rounded half up.
fn fee(amount: i64) -> i64 {
    (amount * 29 + 500) / 1000 + 30
}

/// Books what a charge brings to the account it is on; a platform's fee leaves from there.
fn book_charge(w: &mut World, charge: &Value, amount: i64) -> String {
    let currency = text(charge, "currency");
    let mut fees = fee(amount);
    let mut details = vec![
        json!({"amount": fees, "application": null, "currency": currency,
        "description": "Stripe processing fees", "type": "stripe_fee"}),
    ];
    if let Some(kept) = charge["application_fee_amount"].as_i64()
        && w.account != w.platform
    {
        fees += kept;
        details.push(json!({"amount": kept, "application": charge["application"],
            "currency": currency, "description": "Platform application fee",
            "type": "application_fee"}));
    }
    let id = text(charge, "id");
    let details = Value::Array(details);
    text(
        &book(w, &id, "charge", amount, fees, details, &currency),
        "id",
    )
}

/// Makes a balance transaction.
pub(crate) fn book(
    w: &mut World,
    source: &str,
    kind: &str,
    amount: i64,
    fee: i64,
    details: Value,
    currency: &str,
) -> Value {
    let mut txn = w.fresh("balance_transaction", "txn");
    txn["amount"] = json!(amount);
    txn["currency"] = json!(currency);
    txn["fee"] = json!(fee);
    txn["fee_details"] = details;
    txn["net"] = json!(amount - fee);
    txn["source"] = json!(source);
    txn["status"] = json!("pending");
    txn["type"] = json!(kind);
    txn["reporting_category"] = json!(if kind == "adjustment" {
        "dispute"
    } else {
        kind
    });
    txn["available_on"] = json!(w.now + 2 * 86_400);
    w.insert(txn.clone());
    txn
}

/// Stores a failed charge.
pub(crate) fn make_failed(
    w: &mut World,
    pi: &Value,
    code: &str,
    decline: Option<&str>,
    message: &str,
) -> Value {
    let mut charge = base(w, pi);
    charge["status"] = json!("failed");
    charge["failure_code"] = json!(code);
    charge["failure_message"] = json!(message);
    charge["outcome"] = json!({
        "advice_code": "try_again_later", "network_advice_code": "02", "network_decline_code": "05",
        "network_status": "declined_by_network", "reason": decline.unwrap_or(code), "risk_level": "normal",
        "risk_score": 20, "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    });
    w.insert(charge.clone());
    charge
}

/// Captures an authorized charge; the rest is released.
pub(crate) fn captured(w: &mut World, id: &str, amount: i64) -> Value {
    let Some(charge) = w.get("charge", id).cloned() else {
        return Value::Null;
    };
    let txn = book_charge(w, &charge, amount);
    let released = int(&charge, "amount") - amount;
    w.change(id, |v| {
        v["captured"] = json!(true);
        v["amount_captured"] = json!(amount);
        v["amount_refunded"] = json!(released);
        v["__released"] = json!(released > 0);
        v["balance_transaction"] = json!(txn);
    })
    .1
}

/// An authorization was released without capture.
pub(crate) fn released(w: &mut World, id: &str) {
    let (before, after) = w.change(id, |v| {
        v["amount_refunded"] = v["amount"].clone();
        v["refunded"] = json!(true);
    });
    w.tell_change("charge.refunded", &before, &after);
}

/// Lets a test card's dispute or warning arrive.
pub(crate) fn foresee_aftermath(w: &mut World, charge: &Value) {
    match cards::by_key(&text(charge, "__card")).aftermath {
        Aftermath::Dispute(_) | Aftermath::Inquiry | Aftermath::FraudWarning => {
            w.schedule(w.now, Due::DisputeArrives(text(charge, "id")));
        }
        _ => {}
    }
}

/// The dispute or warning a test card leads to.
pub(crate) fn aftermath(w: &mut World, id: &str) {
    let Some(charge) = w.get("charge", id).cloned() else {
        return;
    };
    match cards::by_key(&text(&charge, "__card")).aftermath {
        Aftermath::Dispute(reason) => drop(disputes::open(w, id, reason, false)),
        Aftermath::Inquiry => drop(disputes::open(w, id, "fraudulent", true)),
        Aftermath::FraudWarning => disputes::warn(w, &charge),
        _ => {}
    }
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut charge = w.need("charge", id, "charge")?;
    fields::copy(
        &mut charge,
        p,
        &["description", "receipt_email", "transfer_group", "customer"],
    );
    fields::metadata(&mut charge, p)?;
    Ok(w.change_and_tell(id, "charge.updated", |v| *v = charge))
}

pub(crate) fn capture(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let charge = w.need("charge", id, "charge")?;
    if charge["captured"] == true {
        let message = format!("Charge {id} has already been captured.");
        return Err(ApiError::refused(Some("charge_already_captured"), &message));
    }
    let amount = p["amount"]
        .as_i64()
        .unwrap_or_else(|| int(&charge, "amount"));
    intents::capture(
        w,
        &text(&charge, "payment_intent"),
        &json!({"amount_to_capture": amount}),
    )?;
    w.need("charge", id, "charge")
}
