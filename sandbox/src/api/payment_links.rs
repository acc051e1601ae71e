//! Payment links: each visit makes a session of its own.
//!
//! Invariants: a session of a link carries its id and the link's metadata.
//! Not here: paying (`purchase`).
//! Failure: 400 for inactive links.
//! Source of outside rules: Stripe API reference, "Payment Links".

use super::checkout::{EXPIRES_AFTER_SECONDS, line_items_from, new_session};
use super::fields;
use crate::error::ApiError;
use crate::lists;
use crate::world::{Due, World, public, text};
use serde_json::{Value, json};

pub(crate) fn create(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let first = p["line_items"][0]["price"].as_str().unwrap_or_default();
    let recurring = w.need("price", first, "line_items[0][price]")?["type"] == "recurring";
    let mode = if recurring { "subscription" } else { "payment" };
    let items = line_items_from(w, p, mode)?;
    let mut link = w.fresh("payment_link", "plink");
    let id = text(&link, "id");
    fields::copy(
        &mut link,
        p,
        &[
            "allow_promotion_codes",
            "billing_address_collection",
            "submit_type",
            "customer_creation",
            "payment_method_types",
            "inactive_message",
        ],
    );
    fields::metadata(&mut link, p)?;
    if p["after_completion"]["type"] == "redirect" {
        link["after_completion"] = json!({"type": "redirect", "redirect": {"url": p["after_completion"]["redirect"]["url"]}});
    }
    link["currency"] = items[0]["currency"].clone();
    link["url"] = json!(format!("{}/link/{id}", w.base_url));
    link["__items"] = json!(items);
    link["__mode"] = json!(mode);
    link["__subscription_data"] = p["subscription_data"].clone();
    link["__payment_intent_data"] = p["payment_intent_data"].clone();
    w.insert(link.clone());
    w.tell("payment_link.created", &link);
    Ok(link)
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut link = w.need("payment_link", id, "payment_link")?;
    fields::copy(
        &mut link,
        p,
        &["active", "allow_promotion_codes", "inactive_message"],
    );
    fields::metadata(&mut link, p)?;
    Ok(w.change_and_tell(id, "payment_link.updated", |v| *v = link))
}

pub(crate) fn line_items(w: &World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let link = w.need("payment_link", id, "payment_link")?;
    let rows = link["__items"].as_array().cloned().unwrap_or_default();
    lists::page_of(rows, &format!("/v1/payment_links/{id}/line_items"), p)
}

/// A visitor opens a payment link: a session of their own.
pub(crate) fn visit(
    w: &mut World,
    id: &str,
    reference: Option<&str>,
    email: Option<&str>,
) -> Result<Value, ApiError> {
    let link = w.need("payment_link", id, "payment_link")?;
    if link["active"] != true {
        return Err(ApiError::refused(
            Some("payment_link_inactive"),
            "This link is no longer active.",
        ));
    }
    let redirect = link["after_completion"]["redirect"]["url"]
        .as_str()
        .map(str::to_owned);
    let success = redirect.unwrap_or_else(|| format!("{}/paid", w.base_url));
    let items = link["__items"].as_array().cloned().unwrap_or_default();
    let wish = json!({"success_url": success, "metadata": public(&link["metadata"]), "client_reference_id": reference,
        "customer_email": email, "subscription_data": link["__subscription_data"], "payment_intent_data": link["__payment_intent_data"]});
    let expires_at = w.now + EXPIRES_AFTER_SECONDS;
    let mut session = new_session(w, &wish, &text(&link, "__mode"), items, expires_at)?;
    session["payment_link"] = json!(id);
    w.insert(session.clone());
    w.schedule(expires_at, Due::SessionExpires(text(&session, "id")));
    Ok(session)
}
