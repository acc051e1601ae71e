//! Disputes, inquiries, early fraud warnings and reviews.
//!
//! Invariants: `won` and `lost` are final; evidence is submitted once; money moves only for
//! chargebacks, out at the start and back when won.
//! Not here: refunds of disputed charges (`refunds` refuses them).
//! Failure: 400 for a dispute that is over.
//! Source of outside rules: Stripe documentation, "How disputes work", "Testing: evidence".

use super::{charges, fields};
use crate::error::ApiError;
use crate::world::{World, int, text};
use serde_json::{Value, json};

const FEE: i64 = 1500;
const RESPOND_WITHIN_SECONDS: i64 = 20 * 86_400;

/// Opens a dispute (or an inquiry) on a charge.
pub(crate) fn open(
    w: &mut World,
    charge_id: &str,
    reason: &str,
    inquiry: bool,
) -> Result<Value, ApiError> {
    let charge = w.need("charge", charge_id, "charge")?;
    if charge["disputed"] == true {
        return Err(ApiError::refused(
            Some("charge_disputed"),
            "This charge is disputed already.",
        ));
    }
    if charge["captured"] != true {
        return Err(ApiError::refused(
            None,
            "Only captured charges can be disputed.",
        ));
    }
    let mut dispute = w.fresh("dispute", "du");
    let id = text(&dispute, "id");
    let amount = int(&charge, "amount_captured");
    dispute["amount"] = json!(amount);
    dispute["charge"] = json!(charge_id);
    dispute["currency"] = charge["currency"].clone();
    dispute["payment_intent"] = charge["payment_intent"].clone();
    dispute["reason"] = json!(reason);
    dispute["status"] = json!(if inquiry {
        "warning_needs_response"
    } else {
        "needs_response"
    });
    dispute["is_charge_refundable"] = json!(inquiry);
    dispute["evidence_details"]["due_by"] = json!(w.now + RESPOND_WITHIN_SECONDS);
    dispute["payment_method_details"]["card"]["case_type"] =
        json!(if inquiry { "inquiry" } else { "chargeback" });
    if !inquiry {
        let txn = adjustment(w, &id, -amount, &text(&charge, "currency"), charge_id);
        dispute["balance_transactions"] = json!([txn]);
    }
    w.insert(dispute.clone());
    w.change(charge_id, |v| {
        v["disputed"] = json!(true);
        v["__refundable"] = json!(inquiry);
    });
    w.tell("charge.dispute.created", &dispute);
    if !inquiry {
        w.tell("charge.dispute.funds_withdrawn", &dispute);
    }
    Ok(dispute)
}

fn adjustment(w: &mut World, source: &str, amount: i64, currency: &str, charge: &str) -> Value {
    let withdrawn = amount < 0;
    let fee = if withdrawn { FEE } else { 0 };
    let details = if withdrawn {
        json!([{"amount": FEE, "application": null, "currency": currency, "description": "Dispute fee", "type": "stripe_fee"}])
    } else {
        json!([])
    };
    let txn = charges::book(w, source, "adjustment", amount, fee, details, currency);
    let words = if withdrawn {
        "Chargeback withdrawal for"
    } else {
        "Chargeback reversal for"
    };
    w.change(&text(&txn, "id"), |v| {
        v["description"] = json!(format!("{words} {charge}"))
    })
    .1
}

fn is_over(dispute: &Value) -> bool {
    matches!(
        dispute["status"].as_str(),
        Some("won" | "lost" | "warning_closed")
    )
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let dispute = w.need("dispute", id, "dispute")?;
    let is_about_evidence = p["evidence"].is_object() || p["submit"] == true;
    if is_about_evidence
        && (is_over(&dispute) || int(&dispute["evidence_details"], "submission_count") > 0)
    {
        let message = "This dispute can no longer take evidence: it is closed or evidence was submitted already.";
        return Err(ApiError::refused(None, message));
    }
    let mut changed = dispute;
    fields::copy_hash(&mut changed, p, "evidence");
    fields::metadata(&mut changed, p)?;
    if p["evidence"].is_object() {
        changed["evidence_details"]["has_evidence"] = json!(true);
    }
    // What was staged earlier is submitted by a request that says only so.
    let submits = p["submit"] == true || (p["evidence"].is_object() && p["submit"] != false);
    if submits {
        let warning = text(&changed, "status").starts_with("warning_");
        changed["status"] = json!(if warning {
            "warning_under_review"
        } else {
            "under_review"
        });
        changed["evidence_details"]["submission_count"] = json!(1);
    }
    let words = text(&changed["evidence"], "uncategorized_text");
    let after = w.change_and_tell(id, "charge.dispute.updated", |v| *v = changed);
    if !submits {
        return Ok(after);
    }
    match words.as_str() {
        "winning_evidence" => decide(w, id, true),
        "losing_evidence" => decide(w, id, false),
        _ => Ok(after),
    }
}

/// The bank decides a dispute.
pub(crate) fn decide(w: &mut World, id: &str, won: bool) -> Result<Value, ApiError> {
    let dispute = w.need("dispute", id, "dispute")?;
    if is_over(&dispute) {
        return Err(ApiError::refused(None, "This dispute is already closed."));
    }
    let warning = text(&dispute, "status").starts_with("warning_");
    let status = match (warning, won) {
        (true, _) => "warning_closed",
        (false, true) => "won",
        (false, false) => "lost",
    };
    let returned = (won && !warning).then(|| {
        adjustment(
            w,
            id,
            int(&dispute, "amount"),
            &text(&dispute, "currency"),
            &text(&dispute, "charge"),
        )
    });
    let reinstated = returned.is_some();
    let (_, after) = w.change(id, |v| {
        v["status"] = json!(status);
        if let (Some(txn), Some(list)) = (returned, v["balance_transactions"].as_array_mut()) {
            list.push(txn);
        }
    });
    if reinstated {
        w.tell("charge.dispute.funds_reinstated", &after);
    }
    w.tell("charge.dispute.closed", &after);
    Ok(after)
}

pub(crate) fn close(w: &mut World, id: &str) -> Result<Value, ApiError> {
    decide(w, id, false)
}

/// An early fraud warning on a charge.
pub(crate) fn warn(w: &mut World, charge: &Value) {
    let mut warning = w.fresh("radar.early_fraud_warning", "issfr");
    warning["charge"] = charge["id"].clone();
    warning["payment_intent"] = charge["payment_intent"].clone();
    w.insert(warning.clone());
    w.tell("radar.early_fraud_warning.created", &warning);
}

pub(crate) fn approve_review(w: &mut World, id: &str) -> Result<Value, ApiError> {
    w.need("review", id, "review")?;
    let (_, after) = w.change(id, |v| {
        v["open"] = json!(false);
        v["closed_reason"] = json!("approved");
        v["reason"] = json!("approved");
    });
    w.tell("review.closed", &after);
    Ok(after)
}
