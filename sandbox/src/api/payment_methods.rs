//! Payment methods: made from tokens and test numbers, attached, listed.
//!
//! Invariants: the card's behaviour rides along as `__card`; `pm_card_…` makes a new method.
//! Not here: charging (`intents`).
//! Failure: 402 when a card declines on attaching, 404 for unknown ids.
//! Source of outside rules: Stripe API reference, "Payment Methods"; documentation, "Testing".

use super::fields;
use crate::cards::{self, Card, Charging};
use crate::error::ApiError;
use crate::lists;
use crate::world::{World, text};
use serde_json::{Value, json};

pub(crate) fn create(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let kind = fields::given(p, "type").unwrap_or(if p["card"].is_object() { "card" } else { "" });
    let card = match kind {
        "card" => card_of(&p["card"])?,
        "sepa_debit" => {
            let iban = p["sepa_debit"]["iban"].as_str();
            cards::by_number(iban.ok_or_else(|| ApiError::missing("sepa_debit[iban]"))?)
        }
        "" => return Err(ApiError::missing("type")),
        other => {
            let message = format!("This sandbox makes card and sepa_debit methods, not {other}.");
            return Err(ApiError::invalid("type", None, &message));
        }
    };
    let card = if kind == "sepa_debit" && !card.is_debit() {
        cards::by_key("3201")
    } else {
        card
    };
    let mut pm = build(w, card);
    fields::copy(&mut pm, p, &["allow_redisplay"]);
    billing_details(&mut pm, &p["billing_details"]);
    fields::metadata(&mut pm, p)?;
    w.insert(pm.clone());
    Ok(pm)
}

fn card_of(card: &Value) -> Result<&'static Card, ApiError> {
    if let Some(token) = card["token"].as_str() {
        return cards::by_magic_id(token)
            .ok_or_else(|| ApiError::no_such("token", token, "card[token]"));
    }
    card["number"]
        .as_str()
        .map(cards::by_number)
        .ok_or_else(|| ApiError::missing("card[number]"))
}

/// A payment method object for a card, not stored yet.
pub(crate) fn build(w: &mut World, card: &Card) -> Value {
    let mut pm = w.fresh("payment_method", "pm");
    pm["__card"] = json!(card.key);
    if card.is_debit() {
        pm["type"] = json!("sepa_debit");
        if let Some(map) = pm.as_object_mut() {
            map.remove("card");
        }
        pm["sepa_debit"] = json!({
            "bank_code": "19043", "branch_code": "", "country": "AT", "fingerprint": "sandboxsepa",
            "generated_from": {"charge": null, "setup_attempt": null}, "last4": card.key,
        });
    } else {
        pm["card"] = card.as_payment_method_card();
    }
    pm
}

fn billing_details(pm: &mut Value, given: &Value) {
    for key in ["email", "name", "phone"] {
        if let Some(value) = fields::given(given, key) {
            pm["billing_details"][key] = json!(value);
        }
    }
    if given["address"].is_object() {
        pm["billing_details"]["address"] = fields::address(&given["address"]);
    }
}

/// The id of a payment method: an existing one, or a new one made from a magic id.
pub(crate) fn resolve(w: &mut World, id: &str, param: &str) -> Result<String, ApiError> {
    if w.get("payment_method", id).is_some() {
        return Ok(id.to_owned());
    }
    let card = match id {
        "pm_sepaDebit" => Some(cards::by_key("3201")),
        _ => cards::by_magic_id(id),
    };
    let card = card.ok_or_else(|| ApiError::no_such("PaymentMethod", id, param))?;
    let pm = build(w, card);
    w.insert(pm.clone());
    Ok(text(&pm, "id"))
}

pub(crate) fn attach_request(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let customer = fields::required(p, "customer")?;
    w.need("customer", customer, "customer")?;
    let pm = resolve(w, id, "payment_method")?;
    attach(w, &pm, customer)
}

/// Attaches a payment method to a customer.
pub(crate) fn attach(w: &mut World, pm: &str, customer: &str) -> Result<Value, ApiError> {
    let found = w.need("payment_method", pm, "payment_method")?;
    if found["customer"] == customer {
        return Ok(found);
    }
    if found["customer"].is_string() {
        let message = "This PaymentMethod was previously attached to another customer; it may not be used again.";
        return Err(ApiError::refused(
            Some("payment_method_unexpected_state"),
            message,
        ));
    }
    let card = cards::by_key(&text(&found, "__card"));
    if let (false, Charging::Declines(code, decline, message)) = (card.attaches, card.charging) {
        return Err(ApiError::card(code, decline, message).and("payment_method", found));
    }
    let (_, attached) = w.change(pm, |v| v["customer"] = json!(customer));
    w.tell("payment_method.attached", &attached);
    Ok(attached)
}

pub(crate) fn detach(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let pm = w.need("payment_method", id, "payment_method")?;
    let Some(customer) = pm["customer"].as_str().map(str::to_owned) else {
        let message = "The payment method you provided is not attached to a customer so detachment is impossible.";
        return Err(ApiError::refused(None, message));
    };
    if super::customers::default_payment_method(w, &customer).as_deref() == Some(id) {
        w.change_and_tell(&customer, "customer.updated", |v| {
            v["invoice_settings"]["default_payment_method"] = Value::Null;
        });
    }
    Ok(w.change_and_tell(id, "payment_method.detached", |v| {
        v["customer"] = Value::Null
    }))
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut pm = w.need("payment_method", id, "payment_method")?;
    fields::metadata(&mut pm, p)?;
    billing_details(&mut pm, &p["billing_details"]);
    fields::copy(&mut pm, p, &["allow_redisplay"]);
    for key in ["exp_month", "exp_year"] {
        if p["card"][key].is_i64() {
            pm["card"][key] = p["card"][key].clone();
        }
    }
    Ok(w.change_and_tell(id, "payment_method.updated", |v| *v = pm))
}

pub(crate) fn list_of(w: &World, customer: &str, p: &Value) -> Result<Value, ApiError> {
    if customer.is_empty() {
        return lists::page(w, "payment_method", "/v1/payment_methods", p, |_| false);
    }
    w.need("customer", customer, "customer")?;
    lists::page(w, "payment_method", "/v1/payment_methods", p, |pm| {
        pm["customer"] == customer && (p["type"].is_null() || p["type"] == pm["type"])
    })
}
