//! Customers.
//!
//! Invariants: a deleted customer answers as deleted and owns no live subscription.
//! Not here: payment methods, search (`lists`).
//! Failure: `ApiError`.
//! Source of outside rules: Stripe API reference, "Customers".

use super::{fields, payment_methods, subscriptions};
use crate::error::ApiError;
use crate::world::{World, text};
use serde_json::{Value, json};

const FIELDS: &[&str] = &[
    "email",
    "name",
    "description",
    "phone",
    "balance",
    "tax_exempt",
    "preferred_locales",
    "invoice_prefix",
    "next_invoice_sequence",
];

pub(crate) fn create(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    if let Some(clock) = fields::given(p, "test_clock") {
        w.need("test_helpers.test_clock", clock, "test_clock")?;
    }
    let mut customer = w.fresh("customer", "cus");
    customer["invoice_prefix"] = json!(w.ids.secret(8).to_uppercase());
    fields::copy(&mut customer, p, &["test_clock"]);
    apply(&mut customer, p)?;
    let id = text(&customer, "id");
    let payment_method = match fields::given(p, "payment_method") {
        Some(pm) => Some(payment_methods::resolve(w, pm, "payment_method")?),
        None => None,
    };
    check_default(w, &id, p, payment_method.as_deref())?;
    w.insert(customer.clone());
    w.tell("customer.created", &customer);
    if let Some(pm) = payment_method {
        payment_methods::attach(w, &pm, &id)?;
    }
    if let Some(pm) = p["invoice_settings"]["default_payment_method"]
        .as_str()
        .filter(|s| !s.is_empty())
    {
        let pm = payment_methods::resolve(w, pm, "invoice_settings[default_payment_method]")?;
        payment_methods::attach(w, &pm, &id)?;
        customer = w
            .change(&id, |v| {
                v["invoice_settings"]["default_payment_method"] = json!(pm)
            })
            .1;
    }
    if let Some(token) = fields::given(p, "source") {
        let pm = payment_methods::resolve(w, token, "source")?;
        payment_methods::attach(w, &pm, &id)?;
        customer = w.change(&id, |v| v["default_source"] = json!(pm)).1;
    }
    Ok(w.get("customer", &id).cloned().unwrap_or(customer))
}

fn apply(customer: &mut Value, p: &Value) -> Result<(), ApiError> {
    fields::copy(customer, p, FIELDS);
    if p["address"].is_object() || p["address"] == "" {
        customer["address"] = fields::address(&p["address"]);
    }
    if p["shipping"].is_object() {
        let shipping = &p["shipping"];
        customer["shipping"] = json!({
            "address": fields::address(&shipping["address"]), "name": shipping["name"],
            "phone": shipping["phone"], "carrier": null, "tracking_number": null,
        });
    } else if p["shipping"] == "" {
        customer["shipping"] = Value::Null;
    }
    for key in ["custom_fields", "footer"] {
        if !p["invoice_settings"][key].is_null() {
            customer["invoice_settings"][key] = p["invoice_settings"][key].clone();
        }
    }
    fields::metadata(customer, p)
}

fn check_default(w: &World, id: &str, p: &Value, attaching: Option<&str>) -> Result<(), ApiError> {
    let Some(pm) = p["invoice_settings"]["default_payment_method"].as_str() else {
        return Ok(());
    };
    if pm.is_empty() || Some(pm) == attaching || pm.starts_with("pm_card_") {
        return Ok(());
    }
    let found = w.need(
        "payment_method",
        pm,
        "invoice_settings[default_payment_method]",
    )?;
    if found["customer"] == id {
        return Ok(());
    }
    let message = format!(
        "The customer does not have a payment method with the ID {pm}. The payment method must be \
         attached to the customer."
    );
    Err(ApiError::invalid(
        "invoice_settings[default_payment_method]",
        Some("resource_missing"),
        &message,
    ))
}

pub(crate) fn retrieve(w: &World, id: &str) -> Result<Value, ApiError> {
    if let Some(tombstone) = w.any(id).filter(|v| v["object"] == "__deleted_customer") {
        return Ok(deleted(&text(tombstone, "id")));
    }
    w.need("customer", id, "id")
}

fn deleted(id: &str) -> Value {
    json!({"id": id, "object": "customer", "deleted": true})
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut customer = w.need("customer", id, "id")?;
    apply(&mut customer, p)?;
    if let Some(pm) = p["invoice_settings"]["default_payment_method"].as_str() {
        check_default(w, id, p, None)?;
        customer["invoice_settings"]["default_payment_method"] = if pm.is_empty() {
            Value::Null
        } else if pm.starts_with("pm_card_") {
            let made = payment_methods::resolve(w, pm, "invoice_settings[default_payment_method]")?;
            payment_methods::attach(w, &made, id)?;
            json!(made)
        } else {
            json!(pm)
        };
    }
    if let Some(token) = fields::given(p, "source") {
        let pm = payment_methods::resolve(w, token, "source")?;
        payment_methods::attach(w, &pm, id)?;
        customer["default_source"] = json!(pm);
    }
    Ok(w.change_and_tell(id, "customer.updated", |v| *v = customer))
}

pub(crate) fn delete(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let customer = w.need("customer", id, "id")?;
    let live: Vec<String> = w
        .newest("subscription")
        .filter(|s| s["customer"] == id && !subscriptions::is_over(s))
        .map(|s| text(s, "id"))
        .collect();
    for subscription in live {
        subscriptions::cancel(w, &subscription, "cancellation_requested");
    }
    w.remove(id);
    w.insert(json!({"id": id, "object": "__deleted_customer"}));
    w.tell("customer.deleted", &customer);
    Ok(deleted(id))
}

/// The payment method a customer's invoices are charged on.
pub(crate) fn default_payment_method(w: &World, id: &str) -> Option<String> {
    let customer = w.get("customer", id)?;
    let default = customer["invoice_settings"]["default_payment_method"].as_str();
    default
        .or_else(|| customer["default_source"].as_str())
        .map(str::to_owned)
}
