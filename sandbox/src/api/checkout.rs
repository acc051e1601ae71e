//! Checkout sessions as requests make and read them.
//!
//! Invariants: `complete` and `expired` are final; a session is of one mode.
//! Not here: paying one (`purchase`), payment links (`payment_links`), the hosted page (`pages`).
//! Failure: 400 for contradicting parameters.
//! Source of outside rules: Stripe API reference, "Checkout Sessions".

use super::purchase::{Buyer, complete};
use super::{catalog, fields, intents, payment_methods};
use crate::billing::discounts;
use crate::error::ApiError;
use crate::lists;
use crate::world::{Due, World, int, text};
use serde_json::{Value, json};

/// Sessions live a day unless told otherwise, as at Stripe.
pub(crate) const EXPIRES_AFTER_SECONDS: i64 = 24 * 3_600;

pub(crate) fn create(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let mode = fields::required(p, "mode")?.to_owned();
    let hosted = p["ui_mode"].is_null() || p["ui_mode"] == "hosted";
    if hosted && fields::given(p, "success_url").is_none() {
        return Err(ApiError::missing("success_url"));
    }
    check_pairs(w, p, &mode)?;
    let items = if mode == "setup" {
        Vec::new()
    } else {
        line_items_from(w, p, &mode)?
    };
    let expires_at = p["expires_at"]
        .as_i64()
        .unwrap_or(w.now + EXPIRES_AFTER_SECONDS);
    if !(w.now + 1_800..=w.now + EXPIRES_AFTER_SECONDS).contains(&expires_at) {
        let message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.";
        return Err(ApiError::invalid("expires_at", None, message));
    }
    let session = new_session(w, p, &mode, items, expires_at)?;
    let id = text(&session, "id");
    w.insert(session.clone());
    w.schedule(expires_at, Due::SessionExpires(id));
    Ok(session)
}

fn check_pairs(w: &World, p: &Value, mode: &str) -> Result<(), ApiError> {
    let both = |a: &str, b: &str| {
        let message = format!("You may only specify one of these parameters: {a}, {b}.");
        Err(ApiError::invalid(b, None, &message))
    };
    if fields::given(p, "customer").is_some() && fields::given(p, "customer_email").is_some() {
        return both("customer", "customer_email");
    }
    if p["allow_promotion_codes"] == true && p["discounts"].is_array() {
        return both("allow_promotion_codes", "discounts");
    }
    if p["customer_update"].is_object() && fields::given(p, "customer").is_none() {
        let message = "`customer_update` can only be used with `customer`.";
        return Err(ApiError::invalid("customer_update", None, message));
    }
    let corrects_name = p["customer_update"]["name"] == "auto";
    let takes_tax_id = p["tax_id_collection"]["enabled"] == true;
    if takes_tax_id && fields::given(p, "customer").is_some() && !corrects_name {
        let message = "Tax ID collection requires updating business name on the customer. To enable tax ID collection for an existing customer, please set `customer_update[name]` to `auto`.";
        return Err(ApiError::invalid("tax_id_collection", None, message));
    }
    for (hash, needed) in [
        ("subscription_data", "subscription"),
        ("payment_intent_data", "payment"),
    ] {
        if p[hash].is_object() && mode != needed {
            let message = format!("You can not pass `{hash}` in `{mode}` mode.");
            return Err(ApiError::invalid(hash, None, &message));
        }
    }
    if p["customer_creation"].is_string() && mode == "subscription" {
        return Err(ApiError::invalid(
            "customer_creation",
            None,
            "`customer_creation` can only be used in `payment` and `setup` mode.",
        ));
    }
    if let Some(customer) = fields::given(p, "customer") {
        let found = w.need("customer", customer, "customer")?;
        let saves_address = p["customer_update"]["address"] == "auto";
        if p["automatic_tax"]["enabled"] == true && found["address"].is_null() && !saves_address {
            let message = "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' to save the address entered in Checkout to the Customer.";
            return Err(ApiError::invalid(
                "automatic_tax[enabled]",
                Some("customer_tax_location_invalid"),
                message,
            ));
        }
    }
    if p["payment_intent_data"]["application_fee_amount"].is_i64()
        && w.account == w.platform
        && !p["payment_intent_data"]["transfer_data"].is_object()
    {
        let message =
            "Can only apply an application_fee_amount on a direct charge or with transfer_data.";
        return Err(ApiError::invalid(
            "payment_intent_data[application_fee_amount]",
            None,
            message,
        ));
    }
    Ok(())
}

pub(crate) fn line_items_from(
    w: &mut World,
    p: &Value,
    mode: &str,
) -> Result<Vec<Value>, ApiError> {
    let mut items = Vec::new();
    for (index, wish) in p["line_items"].as_array().into_iter().flatten().enumerate() {
        let at = format!("line_items[{index}]");
        let price = match wish["price"].as_str() {
            Some(id) => w.need("price", id, &format!("{at}[price]"))?,
            None if wish["price_data"].is_object() => {
                catalog::inline_price(w, &wish["price_data"], &format!("{at}[price_data]"))?
            }
            None => return Err(ApiError::missing(&format!("{at}[price]"))),
        };
        if wish["price"].is_string() && price["active"] != true {
            return Err(ApiError::invalid(
                &at,
                None,
                "The price specified is inactive. This field only accepts active prices.",
            ));
        }
        let quantity = wish["quantity"].as_i64().unwrap_or(0);
        if quantity < 1 {
            return Err(ApiError::invalid(
                &format!("{at}[quantity]"),
                Some("parameter_missing"),
                "Quantity is required. Add `quantity` to `line_items`.",
            ));
        }
        let mut item = w.fresh("line_item", "li");
        let name = w
            .get("product", &text(&price, "product"))
            .map(|v| v["name"].clone())
            .unwrap_or_default();
        let amount = int(&price, "unit_amount") * quantity;
        item = json!({"id": item["id"].take(), "object": "item", "amount_discount": 0, "amount_subtotal": amount,
            "amount_tax": 0, "amount_total": amount, "currency": price["currency"], "description": name,
            "price": price, "quantity": quantity});
        items.push(item);
    }
    let recurring = items
        .iter()
        .filter(|i| i["price"]["type"] == "recurring")
        .count();
    match mode {
        _ if items.is_empty() => Err(ApiError::missing("line_items")),
        "payment" if recurring > 0 => Err(ApiError::invalid(
            "line_items",
            None,
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.",
        )),
        "subscription" if recurring == 0 => Err(ApiError::invalid(
            "line_items",
            None,
            "You must provide at least one recurring price in `subscription` mode when using prices.",
        )),
        _ => Ok(items),
    }
}

pub(crate) fn new_session(
    w: &mut World,
    p: &Value,
    mode: &str,
    items: Vec<Value>,
    expires_at: i64,
) -> Result<Value, ApiError> {
    let mut session = w.fresh("checkout.session", "cs_test");
    let id = text(&session, "id");
    fields::copy(
        &mut session,
        p,
        &[
            "success_url",
            "cancel_url",
            "client_reference_id",
            "customer",
            "customer_email",
            "allow_promotion_codes",
            "billing_address_collection",
            "locale",
            "submit_type",
            "ui_mode",
            "payment_method_types",
            "payment_method_collection",
            "after_expiration",
            "consent_collection",
        ],
    );
    fields::metadata(&mut session, p)?;
    let mut items = items;
    if let Some(named) = discounts::named(w, &p["discounts"])? {
        named.apply_to_items(&mut items);
        session["discounts"] = named.on_session();
    }
    let sum = |field: &str| items.iter().map(|i| int(i, field)).sum::<i64>();
    let total = sum("amount_total");
    session["mode"] = json!(mode);
    session["amount_subtotal"] = json!(sum("amount_subtotal"));
    session["total_details"]["amount_discount"] = json!(sum("amount_discount"));
    session["amount_total"] = json!(total);
    session["currency"] = items.first().map_or(json!(null), |i| i["currency"].clone());
    session["expires_at"] = json!(expires_at);
    session["url"] = json!(format!("{}/pay/{id}", w.base_url));
    session["customer_creation"] = match mode {
        "subscription" => Value::Null,
        _ => json!(fields::given(p, "customer_creation").unwrap_or("if_required")),
    };
    if p["customer"].is_string() {
        session["customer_creation"] = Value::Null;
    }
    if session["payment_method_collection"].is_null() || p["payment_method_collection"].is_null() {
        session["payment_method_collection"] = json!(if mode == "subscription" {
            "always"
        } else {
            "if_required"
        });
    }
    if mode == "payment" {
        session["invoice_creation"] = json!({"enabled": false, "invoice_data": {"account_tax_ids": null, "custom_fields": null,
            "description": null, "footer": null, "issuer": null, "metadata": {}, "rendering_options": null}});
    }
    if p["automatic_tax"]["enabled"] == true {
        session["automatic_tax"] = json!({"enabled": true, "liability": {"type": "self"}, "status": "requires_location_inputs", "provider": "stripe"});
    }
    session["__items"] = json!(items);
    for hash in ["subscription_data", "payment_intent_data"] {
        session[format!("__{hash}")] = p[hash].clone();
    }
    session["__customer_update"] = p["customer_update"].clone();
    Ok(session)
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut session = w.need("checkout.session", id, "session")?;
    fields::metadata(&mut session, p)?;
    Ok(w.change(id, |v| *v = session).1)
}

pub(crate) fn expire_request(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let session = w.need("checkout.session", id, "session")?;
    if session["status"] != "open" {
        let message = format!(
            "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of {}.",
            text(&session, "status")
        );
        return Err(ApiError::refused(None, &message));
    }
    Ok(expire(w, id))
}

fn expire(w: &mut World, id: &str) -> Value {
    let now = w.now;
    let (_, session) = w.change(id, |v| {
        v["status"] = json!("expired");
        v["url"] = Value::Null;
        v["expires_at"] = json!(now.min(int(v, "expires_at")));
    });
    if let Some(intent) = session["__intent"].as_str()
        && w.get("payment_intent", intent)
            .is_some_and(|v| v["status"] != "succeeded")
    {
        intents::cancel(w, intent, Some("abandoned"));
    }
    w.tell("checkout.session.expired", &session);
    session
}

pub(crate) fn expire_due(w: &mut World, id: &str) {
    if w.get("checkout.session", id)
        .is_some_and(|s| s["status"] == "open")
    {
        expire(w, id);
    }
}

pub(crate) fn line_items(w: &World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let session = w.need("checkout.session", id, "session")?;
    let rows = session["__items"].as_array().cloned().unwrap_or_default();
    lists::page_of(rows, &format!("/v1/checkout/sessions/{id}/line_items"), p)
}

pub(crate) fn list(w: &World, p: &Value) -> Result<Value, ApiError> {
    lists::page(w, "checkout.session", "/v1/checkout/sessions", p, |s| {
        let by_email = &p["customer_details"]["email"];
        [
            "customer",
            "payment_intent",
            "payment_link",
            "status",
            "subscription",
        ]
        .iter()
        .all(|f| p[f].is_null() || p[f] == s[f])
            && (by_email.is_null() || *by_email == s["customer_details"]["email"])
    })
}

/// What the official CLI reads before it confirms.
pub(crate) fn page(w: &World, id: &str) -> Result<Value, ApiError> {
    let session = w.need("checkout.session", id, "session")?;
    let total = &session["amount_total"];
    Ok(
        json!({"id": format!("ppage_{id}"), "object": "checkout.session", "session_id": id, "mode": session["mode"],
        "status": session["status"], "currency": session["currency"], "livemode": false,
        "customer_email": session["customer_email"], "invoice": {"amount_due": total}, "line_item_group": {"due": total, "total": total}}),
    )
}

pub(crate) fn confirm_page(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let session = w.need("checkout.session", id, "session")?;
    if let Some(expected) = p["expected_amount"].as_i64()
        && expected != int(&session, "amount_total")
    {
        let message = "The amount expected does not match the session's total.";
        return Err(ApiError::invalid(
            "expected_amount",
            Some("checkout_amount_mismatch"),
            message,
        ));
    }
    let pm = payment_methods::resolve(w, fields::required(p, "payment_method")?, "payment_method")?;
    complete(
        w,
        id,
        &pm,
        &Buyer {
            email: Some("stripe@example.com".to_owned()),
            name: None,
        },
    )?;
    let mut page = page(w, id)?;
    page["payment_intent"] = w.need("checkout.session", id, "session")?["payment_intent"].clone();
    Ok(page)
}
