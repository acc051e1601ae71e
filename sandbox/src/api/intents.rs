//! PaymentIntents: created, confirmed, captured, canceled, settled later.
//!
//! Invariants: `succeeded` and `canceled` are final; every confirmation leaves a charge or says why
//! there is none; what the intent pays for (invoice, session) is told in the same step.
//! Not here: invoices (`invoices`), sessions (`checkout`), the charge object (`charges`).
//! Failure: 402 with charge and intent for declines, 400 `payment_intent_unexpected_state`.
//! Source of outside rules: Stripe API reference, "PaymentIntents"; documentation, "Payment status updates".

use super::{charges, fields, invoices, payment_methods, purchase};
use crate::cards::{self, Charging};
use crate::error::ApiError;
use crate::world::{Due, World, int, public, text};
use serde_json::{Value, json};

/// Uncaptured authorizations lapse after 7 days.
const AUTHORIZATION_SECONDS: i64 = 7 * 86_400;
/// The sandbox's bank debits settle after a day (Stripe: several business days).
const SETTLING_SECONDS: i64 = 86_400;
/// Stripe's minimum charge in US dollars; other currencies are not checked.
const USD_MINIMUM: i64 = 50;

/// What a new intent is for.
#[derive(Debug, Default)]
pub(crate) struct Purpose {
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) customer: Value,
    pub(crate) description: Value,
    pub(crate) invoice: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) capture_manually: bool,
}

/// Makes and stores an intent; the event is the caller's to time.
pub(crate) fn make(w: &mut World, purpose: &Purpose) -> Value {
    let mut pi = w.fresh("payment_intent", "pi");
    pi["amount"] = json!(purpose.amount);
    pi["currency"] = json!(purpose.currency);
    pi["customer"] = purpose.customer.clone();
    pi["description"] = purpose.description.clone();
    if purpose.capture_manually {
        pi["capture_method"] = json!("manual");
    }
    let secret = w.ids.secret(25);
    pi["client_secret"] = json!(format!("{}_secret_{secret}", text(&pi, "id")));
    if let Some(invoice) = &purpose.invoice {
        pi["__invoice"] = json!(invoice);
    }
    if let Some(session) = &purpose.session {
        pi["__session"] = json!(session);
    }
    if w.account != w.platform {
        pi["application"] = json!("ca_SandboxPlatformApplication00");
    }
    w.insert(pi.clone());
    pi
}

pub(crate) fn create(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let currency = fields::currency(p, "currency")?;
    let amount = int(p, "amount");
    check_amount(amount, &currency)?;
    if p["off_session"].is_boolean() && p["confirm"] != true {
        let message = "You can only use off_session with confirm=true.";
        return Err(ApiError::invalid("off_session", None, message));
    }
    if let Some(customer) = fields::given(p, "customer") {
        w.need("customer", customer, "customer")?;
    }
    check_connect(w, p, amount)?;
    let method = match fields::given(p, "payment_method") {
        Some(id) => Some(payment_methods::resolve(w, id, "payment_method")?),
        None if p["payment_method_data"].is_object() => Some(text(
            &payment_methods::create(w, &p["payment_method_data"])?,
            "id",
        )),
        None => None,
    };
    let purpose = Purpose {
        amount,
        currency,
        customer: fields::given(p, "customer").map_or(Value::Null, |c| json!(c)),
        capture_manually: p["capture_method"] == "manual",
        ..Purpose::default()
    };
    let pi = make(w, &purpose);
    let id = text(&pi, "id");
    let mut changed = pi;
    apply(&mut changed, p)?;
    if let Some(pm) = &method {
        changed["payment_method"] = json!(pm);
        changed["status"] = json!("requires_confirmation");
    }
    let (_, pi) = w.change(&id, |v| *v = changed);
    w.tell("payment_intent.created", &pi);
    if p["confirm"] == true {
        let off_session = p["off_session"] == true || p["off_session"].is_string();
        confirm(w, &id, off_session)?;
    }
    w.need("payment_intent", &id, "intent")
}

fn check_amount(amount: i64, currency: &str) -> Result<(), ApiError> {
    if amount < 1 || (currency == "usd" && amount < USD_MINIMUM) {
        let message = "Amount must be at least $0.50 usd";
        return Err(ApiError::invalid(
            "amount",
            Some("amount_too_small"),
            message,
        ));
    }
    if amount > 99_999_999_999 {
        let message = "Amount must be no more than $999,999,999.99";
        return Err(ApiError::invalid(
            "amount",
            Some("amount_too_large"),
            message,
        ));
    }
    Ok(())
}

fn check_connect(w: &World, p: &Value, amount: i64) -> Result<(), ApiError> {
    if let Some(destination) = p["transfer_data"]["destination"].as_str()
        && !w.has_account(destination)
    {
        return Err(ApiError::no_such(
            "destination",
            destination,
            "transfer_data[destination]",
        ));
    }
    let Some(fee) = p["application_fee_amount"].as_i64() else {
        return Ok(());
    };
    if w.account == w.platform && !p["transfer_data"].is_object() {
        let message = "Can only apply an application_fee_amount when the PaymentIntent is attempting a \
                       direct payment (using a connected account) or destination payment (using `transfer_data[destination]`).";
        return Err(ApiError::invalid("application_fee_amount", None, message));
    }
    if fee > amount {
        return Err(ApiError::invalid(
            "application_fee_amount",
            None,
            "The application fee exceeds the amount.",
        ));
    }
    Ok(())
}

fn apply(pi: &mut Value, p: &Value) -> Result<(), ApiError> {
    fields::copy(
        pi,
        p,
        &[
            "description",
            "receipt_email",
            "setup_future_usage",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "transfer_group",
            "application_fee_amount",
            "capture_method",
            "payment_method_types",
            "confirmation_method",
            "customer",
            "amount",
        ],
    );
    if p["transfer_data"].is_object() {
        pi["transfer_data"] = p["transfer_data"].clone();
    }
    if p["automatic_payment_methods"]["enabled"] == true {
        pi["automatic_payment_methods"] = json!({"enabled": true,
            "allow_redirects": p["automatic_payment_methods"]["allow_redirects"].as_str().unwrap_or("always")});
    }
    if p["shipping"].is_object() {
        pi["shipping"] = json!({"address": fields::address(&p["shipping"]["address"]),
            "carrier": null, "name": p["shipping"]["name"], "phone": p["shipping"]["phone"], "tracking_number": null});
    }
    fields::metadata(pi, p)
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut pi = w.need("payment_intent", id, "intent")?;
    let touches_money = p["amount"].is_i64() || p["currency"].is_string();
    if touches_money
        && matches!(
            pi["status"].as_str(),
            Some("succeeded" | "canceled" | "processing")
        )
    {
        return Err(unexpected(&pi, "updated"));
    }
    if let Some(pm) = fields::given(p, "payment_method") {
        pi["payment_method"] = json!(payment_methods::resolve(w, pm, "payment_method")?);
        if pi["status"] == "requires_payment_method" {
            pi["status"] = json!("requires_confirmation");
        }
    }
    apply(&mut pi, p)?;
    Ok(w.change(id, |v| *v = pi).1)
}

fn unexpected(pi: &Value, done: &str) -> ApiError {
    let message = format!(
        "This PaymentIntent could not be {done} because it has a status of {}.",
        text(pi, "status")
    );
    ApiError::refused(Some("payment_intent_unexpected_state"), &message)
        .and("payment_intent", public(pi))
}

pub(crate) fn confirm_request(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let pi = w.need("payment_intent", id, "intent")?;
    let startable = [
        "requires_payment_method",
        "requires_confirmation",
        "requires_action",
    ];
    if !startable.contains(&text(&pi, "status").as_str()) {
        return Err(unexpected(&pi, "confirmed"));
    }
    let method = match fields::given(p, "payment_method") {
        Some(pm) => Some(payment_methods::resolve(w, pm, "payment_method")?),
        None if p["payment_method_data"].is_object() => Some(text(
            &payment_methods::create(w, &p["payment_method_data"])?,
            "id",
        )),
        None => None,
    };
    if method.is_none() && pi["payment_method"].is_null() {
        let message =
            "You cannot confirm this PaymentIntent because it's missing a payment method.";
        return Err(
            ApiError::refused(Some("payment_intent_unexpected_state"), message)
                .and("payment_intent", public(&pi)),
        );
    }
    w.change(id, |v| {
        if let Some(pm) = method {
            v["payment_method"] = json!(pm);
        }
        fields::copy(v, p, &["receipt_email", "setup_future_usage"]);
    });
    confirm(w, id, p["off_session"] == true)?;
    w.need("payment_intent", id, "intent")
}

/// Tries to pay an intent with its payment method.
///
/// # Errors
/// 402 when the card declines. Needing the customer's bank is no error when they are present.
pub(crate) fn confirm(w: &mut World, id: &str, off_session: bool) -> Result<(), ApiError> {
    let pi = w.need("payment_intent", id, "intent")?;
    let pm = w.need(
        "payment_method",
        &text(&pi, "payment_method"),
        "payment_method",
    )?;
    if pi["setup_future_usage"].is_string()
        && let (Some(customer), true) = (pi["customer"].as_str(), pm["customer"].is_null())
    {
        payment_methods::attach(w, &text(&pm, "id"), customer)?;
    }
    match cards::by_key(&text(&pm, "__card")).charging {
        Charging::Pays => succeed(w, id),
        Charging::Declines(code, decline, message) => {
            return Err(decline_with(w, id, code, decline, message));
        }
        Charging::Authenticates { always } if always || pm["__set_up"] != true => {
            if off_session {
                let message = "Your card was declined. This transaction requires authentication.";
                return Err(decline_with(
                    w,
                    id,
                    "authentication_required",
                    Some("authentication_required"),
                    message,
                ));
            }
            require_action(w, id);
        }
        Charging::Authenticates { .. } => succeed(w, id),
        Charging::Later(_) => start_settling(w, id),
    }
    Ok(())
}

fn require_action(w: &mut World, id: &str) {
    let url = format!("{}/authenticate/{id}", w.base_url);
    let (_, pi) = w.change(id, |v| {
        v["status"] = json!("requires_action");
        v["next_action"] =
            json!({"type": "redirect_to_url", "redirect_to_url": {"return_url": null, "url": url}});
    });
    w.tell("payment_intent.requires_action", &pi);
}

/// The customer's bank has answered (the sandbox's own page, or a test).
pub(crate) fn authenticated(w: &mut World, id: &str, agreed: bool) -> Result<(), ApiError> {
    let pi = w.need("payment_intent", id, "intent")?;
    if pi["status"] != "requires_action" {
        return Err(unexpected(&pi, "confirmed"));
    }
    let pm = text(&pi, "payment_method");
    let card = w
        .get("payment_method", &pm)
        .map(|v| text(v, "__card"))
        .unwrap_or_default();
    if agreed && card == "3178" {
        let message = "Your card has insufficient funds.";
        return Err(decline_with(
            w,
            id,
            "card_declined",
            Some("insufficient_funds"),
            message,
        ));
    }
    if agreed {
        w.change(&pm, |v| v["__set_up"] = json!(true));
        succeed(w, id);
        return Ok(());
    }
    let message = "We are unable to authenticate your payment method. Please choose a different payment method and try again.";
    Err(decline_with(
        w,
        id,
        "payment_intent_authentication_failure",
        None,
        message,
    ))
}

/// Charges the card: the money moves, or is authorized.
fn succeed(w: &mut World, id: &str) {
    let Some(pi) = w.get("payment_intent", id).cloned() else {
        return;
    };
    let manual = pi["capture_method"] == "manual";
    let charge = charges::make_paid(w, &pi, !manual);
    let amount = int(&pi, "amount");
    let (_, pi) = w.change(id, |v| {
        v["latest_charge"] = charge["id"].clone();
        v["next_action"] = Value::Null;
        v["last_payment_error"] = Value::Null;
        v["status"] = json!(if manual {
            "requires_capture"
        } else {
            "succeeded"
        });
        v[if manual {
            "amount_capturable"
        } else {
            "amount_received"
        }] = json!(amount);
    });
    w.tell("charge.succeeded", &charge);
    if manual {
        w.tell("payment_intent.amount_capturable_updated", &pi);
        w.schedule(
            w.now + AUTHORIZATION_SECONDS,
            Due::AuthorizationLapses(id.to_owned()),
        );
    } else {
        w.tell("payment_intent.succeeded", &pi);
    }
    charges::foresee_aftermath(w, &charge);
    paid_for(w, &pi);
}

/// Tells what the intent was for that it is paid.
fn paid_for(w: &mut World, pi: &Value) {
    if pi["__quiet"] == true {
        return;
    }
    if let Some(invoice) = pi["__invoice"].as_str() {
        invoices::mark_paid(w, invoice, true);
    }
    if let Some(session) = pi["__session"].as_str() {
        purchase::intent_paid(w, session);
    }
}

fn decline_with(
    w: &mut World,
    id: &str,
    code: &str,
    decline: Option<&str>,
    message: &str,
) -> ApiError {
    let Some(pi) = w.get("payment_intent", id).cloned() else {
        return ApiError::no_such("payment_intent", id, "intent");
    };
    let charge = charges::make_failed(w, &pi, code, decline, message);
    let pm = w
        .get("payment_method", &text(&pi, "payment_method"))
        .map(public)
        .unwrap_or(Value::Null);
    let error = ApiError::card(code, decline, message)
        .and("charge", charge["id"].clone())
        .and("payment_method", pm);
    let (_, pi) = w.change(id, |v| {
        v["latest_charge"] = charge["id"].clone();
        v["status"] = json!("requires_payment_method");
        v["payment_method"] = Value::Null;
        v["next_action"] = Value::Null;
        v["last_payment_error"] = error.body.clone();
    });
    w.tell("charge.failed", &charge);
    w.tell("payment_intent.payment_failed", &pi);
    error.and("payment_intent", public(&pi))
}

fn start_settling(w: &mut World, id: &str) {
    let (_, pi) = w.change(id, |v| {
        v["status"] = json!("processing");
        v["payment_method_types"] = json!(["sepa_debit"]);
        v["payment_method_options"] = json!({"sepa_debit": {}});
    });
    w.tell("payment_intent.processing", &pi);
    w.schedule(w.now + SETTLING_SECONDS, Due::IntentSettles(id.to_owned()));
}

/// A delayed payment method has settled.
pub(crate) fn settle(w: &mut World, id: &str) {
    let Some(pi) = w.get("payment_intent", id).cloned() else {
        return;
    };
    if pi["status"] != "processing" {
        return;
    }
    let card = w
        .get("payment_method", &text(&pi, "payment_method"))
        .map(|v| text(v, "__card"));
    w.change(id, |v| v["__quiet"] = json!(false));
    if cards::by_key(&card.unwrap_or_default()).charging == Charging::Later(true) {
        succeed(w, id);
        return;
    }
    decline_with(
        w,
        id,
        "card_declined",
        Some("generic_decline"),
        "The customer's bank refused the debit.",
    );
    if let Some(invoice) = pi["__invoice"].as_str() {
        invoices::attempt_failed(w, invoice);
    }
    if let Some(session) = pi["__session"].as_str() {
        purchase::intent_failed(w, session);
    }
}

pub(crate) fn capture(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let pi = w.need("payment_intent", id, "intent")?;
    if pi["status"] != "requires_capture" {
        return Err(unexpected(&pi, "captured"));
    }
    let whole = int(&pi, "amount_capturable");
    let amount = p["amount_to_capture"].as_i64().unwrap_or(whole);
    if amount < 1 || amount > whole {
        let message = format!(
            "The requested capture amount ({amount}) is greater than the capturable amount ({whole})."
        );
        return Err(ApiError::invalid(
            "amount_to_capture",
            Some("amount_too_large"),
            &message,
        ));
    }
    let charge = charges::captured(w, &text(&pi, "latest_charge"), amount);
    let mut pi = pi;
    fields::copy(
        &mut pi,
        p,
        &["application_fee_amount", "statement_descriptor"],
    );
    fields::metadata(&mut pi, p)?;
    pi["status"] = json!("succeeded");
    pi["amount_received"] = json!(amount);
    pi["amount_capturable"] = json!(0);
    let (_, pi) = w.change(id, |v| *v = pi);
    w.tell("charge.captured", &charge);
    w.tell("payment_intent.succeeded", &pi);
    paid_for(w, &pi);
    Ok(pi)
}

pub(crate) fn cancel_request(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let pi = w.need("payment_intent", id, "intent")?;
    if pi["__session"].is_string() && pi["status"] != "requires_capture" {
        let message = "You cannot cancel a PaymentIntent created by Checkout; expire the Checkout Session instead.";
        return Err(ApiError::refused(
            Some("payment_intent_unexpected_state"),
            message,
        ));
    }
    if matches!(
        pi["status"].as_str(),
        Some("succeeded" | "canceled" | "processing")
    ) {
        return Err(unexpected(&pi, "canceled"));
    }
    Ok(cancel(w, id, p["cancellation_reason"].as_str()))
}

/// Cancels an intent and releases its authorization.
pub(crate) fn cancel(w: &mut World, id: &str, reason: Option<&str>) -> Value {
    let now = w.now;
    let (before, pi) = w.change(id, |v| {
        v["status"] = json!("canceled");
        v["canceled_at"] = json!(now);
        v["cancellation_reason"] = json!(reason);
        v["amount_capturable"] = json!(0);
        v["next_action"] = Value::Null;
    });
    w.tell("payment_intent.canceled", &pi);
    if before["status"] == "requires_capture" {
        charges::released(w, &text(&pi, "latest_charge"));
    }
    pi
}

/// An authorization has lapsed.
pub(crate) fn lapse(w: &mut World, id: &str) {
    if w.get("payment_intent", id)
        .is_some_and(|pi| pi["status"] == "requires_capture")
    {
        cancel(w, id, Some("automatic"));
    }
}
