//! Checkout sessions and payment links.
//!
//! Invariants: in subscription mode subscription and invoice come into being only after payment
//! (basil); `complete` and `expired` are final; metadata does not flow between session, intent and
//! subscription.
//! Not here: the hosted page (`pages`), cards (`cards`).
//! Failure: 400 for contradicting parameters, 402 for declined cards at the page.
//! Source of outside rules: Stripe API reference, "Checkout Sessions", "Payment Links"; changelog
//! basil 2025-03-31.

use super::{catalog, customers, fields, intents, payment_methods};
use crate::billing::subscribe::{self, NewSubscription, WishedItem};
use crate::cards::{self, Charging};
use crate::error::ApiError;
use crate::lists;
use crate::world::{Due, World, int, public, text};
use serde_json::{Value, json};

const EXPIRES_AFTER_SECONDS: i64 = 24 * 3_600;

/// What a buyer enters on the page.
#[derive(Debug, Default)]
pub(crate) struct Buyer {
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
}

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

fn line_items_from(w: &mut World, p: &Value, mode: &str) -> Result<Vec<Value>, ApiError> {
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

fn new_session(
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
    let total: i64 = items.iter().map(|i| int(i, "amount_total")).sum();
    session["mode"] = json!(mode);
    session["amount_subtotal"] = json!(total);
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

/// The buyer pays (or tries to) with a payment method.
///
/// # Errors
/// 402 when the card declines; the session stays open then. 400 when it is not open.
pub(crate) fn complete(
    w: &mut World,
    id: &str,
    pm: &str,
    buyer: &Buyer,
) -> Result<Value, ApiError> {
    let session = w.need("checkout.session", id, "session")?;
    if session["status"] != "open" {
        let message = format!("This Checkout Session is {}.", text(&session, "status"));
        return Err(ApiError::refused(
            Some("checkout_session_not_open"),
            &message,
        ));
    }
    let email = buyer.email.clone().or_else(|| known_email(w, &session));
    if let Some(email) = &email {
        w.change(pm, |v| {
            v["billing_details"]["email"] = json!(email);
            v["billing_details"]["name"] = json!(buyer.name);
        });
    }
    let trial = trial_days(&session);
    let pays = int(&session, "amount_total") > 0 && trial.is_none() && session["mode"] != "setup";
    let card = w.get("payment_method", pm).map(|v| text(v, "__card"));
    if let Charging::Declines(code, decline, message) =
        cards::by_key(&card.unwrap_or_default()).charging
    {
        // A declined attempt leaves an intent, but no customer and no subscription.
        return if pays {
            pay(w, id, pm, session["customer"].as_str())
        } else {
            Err(ApiError::card(code, decline, message))
        };
    }
    let customer = customer_for(w, &session, email.as_deref(), buyer)?;
    let keeps_card = session["mode"] != "payment"
        || session["__payment_intent_data"]["setup_future_usage"].is_string();
    if let (Some(customer), true) = (&customer, keeps_card) {
        payment_methods::attach(w, pm, customer)?;
    }
    w.change(id, |v| {
        v["__customer"] = json!(customer);
        v["__method"] = json!(pm);
        v["__email"] = json!(email);
        v["__name"] = json!(buyer.name);
    });
    if !pays {
        return finish(w, id, "no_payment_required", true);
    }
    pay(w, id, pm, customer.as_deref())
}

fn known_email(w: &World, session: &Value) -> Option<String> {
    let customer = w.get("customer", session["customer"].as_str()?);
    let own = session["customer_email"].as_str();
    own.or_else(|| customer.and_then(|c| c["email"].as_str()))
        .map(str::to_owned)
}

fn trial_days(session: &Value) -> Option<i64> {
    session["__subscription_data"]["trial_period_days"].as_i64()
}

fn customer_for(
    w: &mut World,
    session: &Value,
    email: Option<&str>,
    buyer: &Buyer,
) -> Result<Option<String>, ApiError> {
    if let Some(known) = session["customer"]
        .as_str()
        .or_else(|| session["__customer"].as_str())
    {
        return Ok(Some(known.to_owned()));
    }
    if session["mode"] == "payment" && session["customer_creation"] != "always" {
        return Ok(None);
    }
    let mut wish = json!({"email": email});
    if let Some(name) = &buyer.name {
        wish["name"] = json!(name);
    }
    Ok(Some(text(&customers::create(w, &wish)?, "id")))
}

fn pay(w: &mut World, id: &str, pm: &str, customer: Option<&str>) -> Result<Value, ApiError> {
    let session = w.need("checkout.session", id, "session")?;
    let intent = match session["__intent"].as_str() {
        Some(intent) => intent.to_owned(),
        None => make_intent(w, &session, customer)?,
    };
    w.change(&intent, |v| {
        v["payment_method"] = json!(pm);
        v["customer"] = json!(customer);
        v["__quiet"] = json!(true);
    });
    intents::confirm(w, &intent, false)?;
    // From here on the intent itself tells the session (authentication, delayed settling).
    w.change(&intent, |v| v["__quiet"] = json!(false));
    match w
        .get("payment_intent", &intent)
        .map(|v| text(v, "status"))
        .as_deref()
    {
        Some("succeeded") => finish(w, id, "paid", true),
        // Payment status stays unpaid until capture, or until the bank has settled.
        Some("requires_capture" | "processing") => finish(w, id, "unpaid", true),
        _ => w.need("checkout.session", id, "session"),
    }
}

fn make_intent(w: &mut World, session: &Value, customer: Option<&str>) -> Result<String, ApiError> {
    let wish = &session["__payment_intent_data"];
    let subscribes = session["mode"] == "subscription";
    let pi = intents::make(
        w,
        &intents::Purpose {
            amount: int(session, "amount_total"),
            currency: text(session, "currency"),
            customer: json!(customer),
            description: if subscribes {
                json!("Subscription creation")
            } else {
                wish["description"].clone()
            },
            session: Some(text(session, "id")),
            capture_manually: wish["capture_method"] == "manual",
            ..intents::Purpose::default()
        },
    );
    let id = text(&pi, "id");
    let mut pi = pi;
    fields::metadata(&mut pi, wish)?;
    fields::copy(
        &mut pi,
        wish,
        &[
            "application_fee_amount",
            "transfer_group",
            "setup_future_usage",
            "statement_descriptor",
            "receipt_email",
        ],
    );
    if wish["transfer_data"].is_object() {
        pi["transfer_data"] = wish["transfer_data"].clone();
    }
    if subscribes {
        pi["setup_future_usage"] = json!("off_session");
    }
    let (_, pi) = w.change(&id, |v| *v = pi);
    w.change(&text(session, "id"), |v| v["__intent"] = json!(id));
    w.tell("payment_intent.created", &pi);
    Ok(id)
}

/// Completes the session: subscription after payment, then `checkout.session.completed`.
fn finish(w: &mut World, id: &str, payment_status: &str, tell: bool) -> Result<Value, ApiError> {
    let session = w.need("checkout.session", id, "session")?;
    let customer = session["__customer"].clone();
    let mut made = json!({"subscription": null, "invoice": null});
    if session["mode"] == "subscription" {
        let sub = begin_subscription(w, &session)?;
        made = json!({"subscription": sub["id"], "invoice": sub["latest_invoice"]});
    }
    let intent = if session["mode"] == "payment" {
        session["__intent"].clone()
    } else {
        Value::Null
    };
    let address = customer
        .as_str()
        .and_then(|c| w.get("customer", c))
        .map(|c| c["address"].clone());
    let (_, session) = w.change(id, |v| {
        v["status"] = json!("complete");
        v["payment_status"] = json!(payment_status);
        v["url"] = Value::Null;
        v["customer"] = customer;
        v["subscription"] = made["subscription"].clone();
        v["invoice"] = made["invoice"].clone();
        v["payment_intent"] = intent;
        let address = address.filter(|a| !a.is_null()).unwrap_or_else(|| fields::address(&json!({})));
        v["customer_details"] = json!({"address": address, "email": v["__email"], "name": v["__name"],
            "phone": null, "tax_exempt": "none", "tax_ids": []});
        if v["automatic_tax"]["enabled"] == true {
            v["automatic_tax"]["status"] = json!("complete");
        }
    });
    if tell {
        w.tell("checkout.session.completed", &session);
    }
    Ok(session)
}

fn begin_subscription(w: &mut World, session: &Value) -> Result<Value, ApiError> {
    let wish = &session["__subscription_data"];
    let mut items = Vec::new();
    for line in session["__items"].as_array().into_iter().flatten() {
        let quantity = int(line, "quantity");
        if line["price"]["type"] == "recurring" {
            items.push(WishedItem {
                price: line["price"].clone(),
                quantity,
                metadata: Value::Null,
            });
        } else {
            super::invoices::create_item(
                w,
                &json!({"customer": session["__customer"], "quantity": quantity, "pricing": {"price": line["price"]["id"]}}),
            )?;
        }
    }
    let mut metadata = json!({});
    fields::metadata_at(&mut metadata, &wish["metadata"])?;
    subscribe::start(
        w,
        &NewSubscription {
            customer: text(session, "__customer"),
            items,
            metadata,
            method: session["__method"].as_str().map(str::to_owned),
            trial_end: trial_days(session).map(|days| w.now + days * 86_400),
            pauses_without_method: wish["trial_settings"]["end_behavior"]["missing_payment_method"]
                .as_str()
                .map(str::to_owned),
            behavior: "allow_incomplete".to_owned(),
            off_session: false,
            automatic_tax: session["automatic_tax"]["enabled"] == true,
            description: wish["description"].clone(),
            paid_by: session["__intent"].as_str().map(str::to_owned),
        },
    )
}

/// The session's intent was paid after the page was left: authenticated, settled or captured.
pub(crate) fn intent_paid(w: &mut World, id: &str) {
    let Some(session) = w.get("checkout.session", id).cloned() else {
        return;
    };
    let captured_later = session["__payment_intent_data"]["capture_method"] == "manual";
    if session["status"] == "open" {
        let status = if captured_later { "unpaid" } else { "paid" };
        drop(finish(w, id, status, true));
    } else if session["payment_status"] == "unpaid" {
        let (_, after) = w.change(id, |v| v["payment_status"] = json!("paid"));
        if !captured_later {
            w.tell("checkout.session.async_payment_succeeded", &after);
        }
    }
}

/// A delayed payment of a completed session failed.
pub(crate) fn intent_failed(w: &mut World, id: &str) {
    if let Some(session) = w
        .get("checkout.session", id)
        .filter(|s| s["status"] == "complete")
        .cloned()
    {
        w.tell("checkout.session.async_payment_failed", &session);
    }
}

pub(crate) fn create_link(w: &mut World, p: &Value) -> Result<Value, ApiError> {
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
    Ok(link)
}

pub(crate) fn update_link(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut link = w.need("payment_link", id, "payment_link")?;
    fields::copy(
        &mut link,
        p,
        &["active", "allow_promotion_codes", "inactive_message"],
    );
    fields::metadata(&mut link, p)?;
    Ok(w.change(id, |v| *v = link).1)
}

pub(crate) fn link_items(w: &World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let link = w.need("payment_link", id, "payment_link")?;
    let rows = link["__items"].as_array().cloned().unwrap_or_default();
    lists::page_of(rows, &format!("/v1/payment_links/{id}/line_items"), p)
}

/// A visitor opens a payment link: a session of their own.
pub(crate) fn visit_link(
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
