//! Paying a checkout session, and what comes of it.
//!
//! Invariants: in subscription mode subscription and invoice come into being only after payment
//! (basil); metadata does not flow between session, intent and subscription.
//! Not here: making sessions (`checkout`), the hosted page (`pages`), cards (`cards`).
//! Failure: 402 for declined cards; the session stays open then.
//! Source of outside rules: Stripe API reference, "Checkout Sessions"; changelog basil 2025-03-31.

use super::{customers, fields, intents, payment_methods};
use crate::billing::discounts;
use crate::billing::subscribe::{self, NewSubscription, WishedItem};
use crate::cards::{self, Charging};
use crate::error::ApiError;
use crate::world::{World, int, text};
use serde_json::{Value, json};

/// What a buyer enters on the page.
#[derive(Debug, Default)]
pub(crate) struct Buyer {
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
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
    let trial = trial_end(&session, w.now);
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

fn trial_end(session: &Value, now: i64) -> Option<i64> {
    let wish = &session["__subscription_data"];
    let days = wish["trial_period_days"].as_i64();
    wish["trial_end"]
        .as_i64()
        .or_else(|| days.map(|days| now + days * 86_400))
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
    let discount = discounts::named(w, &session["discounts"])?;
    let mut metadata = json!({});
    fields::metadata_at(&mut metadata, &wish["metadata"])?;
    subscribe::start(
        w,
        &NewSubscription {
            customer: text(session, "__customer"),
            items,
            metadata,
            method: session["__method"].as_str().map(str::to_owned),
            trial_end: trial_end(session, w.now),
            pauses_without_method: wish["trial_settings"]["end_behavior"]["missing_payment_method"]
                .as_str()
                .map(str::to_owned),
            behavior: "allow_incomplete".to_owned(),
            off_session: false,
            automatic_tax: session["automatic_tax"]["enabled"] == true,
            description: wish["description"].clone(),
            discount,
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
