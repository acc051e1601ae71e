//! Events, webhook endpoints, portal sessions, balance, payouts, test clocks.
//!
//! Invariants: events reach back 30 days and name no account; an endpoint's secret is shown once, at creation.
//! Not here: delivering events (`webhooks`).
//! Failure: `ApiError`.
//! Source of outside rules: Stripe API reference, "Events", "Webhook Endpoints", "Payouts", "Test clocks".

use super::fields;
use crate::error::ApiError;
use crate::lists;
use crate::world::{API_VERSION, Due, World, int, text};
use serde_json::{Value, json};

/// Events can be read for 30 days.
const EVENTS_SECONDS: i64 = 30 * 86_400;
/// The endpoints made from the sandbox's own settings, and whether they hear connected accounts.
const CONFIGURED: [(&str, bool); 2] = [
    ("we_sandbox00000000000platform", false),
    ("we_sandbox000000000000connect", true),
];

pub(crate) fn list_events(w: &World, p: &Value) -> Result<Value, ApiError> {
    let wanted = p["type"].as_str();
    let many = p["types"].as_array();
    if wanted.is_some() && many.is_some() {
        return Err(ApiError::invalid(
            "types",
            None,
            "You may pass only one of `type` and `types`.",
        ));
    }
    if many.is_some_and(|m| m.len() > 20) {
        return Err(ApiError::invalid("types", None, "At most 20 types."));
    }
    let horizon = w.now - EVENTS_SECONDS;
    let mut page = lists::page(w, "event", "/v1/events", p, |e| {
        let kind = e["type"].as_str().unwrap_or_default();
        let fits = wanted.is_none_or(|pattern| match pattern.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == pattern,
        });
        let delivered = int(e, "pending_webhooks") == 0;
        fits && many.is_none_or(|m| m.iter().any(|t| t == kind))
            && int(e, "created") >= horizon
            && (p["delivery_success"].is_null() || p["delivery_success"] == delivered)
    })?;
    let events = page["data"].as_array_mut().into_iter().flatten();
    events.for_each(without_account);
    Ok(page)
}

/// Whoever reads an account's own events knows whose they are; deliveries alone say it.
fn without_account(event: &mut Value) {
    if let Some(fields) = event.as_object_mut() {
        fields.remove("account");
    }
}

pub(crate) fn event(w: &World, id: &str) -> Result<Value, ApiError> {
    let mut event = w.need("event", id, "id")?;
    if int(&event, "created") < w.now - EVENTS_SECONDS {
        return Err(ApiError::no_such("event", id, "id"));
    }
    without_account(&mut event);
    Ok(event)
}

pub(crate) fn create_endpoint(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    if w.count("webhook_endpoint") >= 16 {
        return Err(ApiError::refused(
            None,
            "You have reached the maximum of 16 test webhook endpoints.",
        ));
    }
    let url = fields::required(p, "url")?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(ApiError::invalid(
            "url",
            Some("url_invalid"),
            "Invalid URL: it must start with http:// or https://.",
        ));
    }
    let mut endpoint = w.fresh("webhook_endpoint", "we");
    fields::copy(
        &mut endpoint,
        p,
        &["url", "description", "enabled_events", "api_version"],
    );
    fields::metadata(&mut endpoint, p)?;
    hear_connected(&mut endpoint, p["connect"] == true);
    let secret = json!(format!("whsec_{}", w.ids.secret(32)));
    endpoint["__secrets"] = json!([secret]);
    w.insert(endpoint.clone());
    let mut shown = endpoint;
    shown["secret"] = secret;
    Ok(shown)
}

/// Whether an endpoint hears connected accounts (and they alone); Stripe shows it by the application.
fn hear_connected(endpoint: &mut Value, connect: bool) {
    endpoint["__connect"] = json!(connect);
    if connect {
        endpoint["application"] = json!("ca_SandboxPlatformApplication00");
    }
}

/// The endpoints of a sandbox that was started with an address for its events: one hears the platform, one
/// the connected accounts. Fixed ids, so that no other id depends on them.
pub(crate) fn configure_endpoints(w: &mut World, url: Option<&str>, secrets: &[String]) {
    let platform = w.platform.clone();
    w.within(&platform, |w| {
        for (id, connect) in CONFIGURED {
            w.remove(id);
            let Some(url) = url else { continue };
            let mut endpoint = w.blank("webhook_endpoint");
            endpoint["id"] = json!(id);
            endpoint["url"] = json!(url);
            endpoint["description"] = json!("where the sandbox was told to send its events");
            endpoint["enabled_events"] = json!(["*"]);
            endpoint["api_version"] = json!(API_VERSION);
            endpoint["__secrets"] = json!(secrets);
            hear_connected(&mut endpoint, connect);
            w.insert(endpoint);
        }
    });
}

pub(crate) fn update_endpoint(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut endpoint = w.need("webhook_endpoint", id, "webhook_endpoint")?;
    fields::copy(&mut endpoint, p, &["url", "description", "enabled_events"]);
    fields::metadata(&mut endpoint, p)?;
    if p["disabled"].is_boolean() {
        endpoint["status"] = json!(if p["disabled"] == true {
            "disabled"
        } else {
            "enabled"
        });
    }
    Ok(w.change(id, |v| *v = endpoint).1)
}

pub(crate) fn delete_endpoint(w: &mut World, id: &str) -> Result<Value, ApiError> {
    w.need("webhook_endpoint", id, "webhook_endpoint")?;
    w.remove(id);
    Ok(json!({"id": id, "object": "webhook_endpoint", "deleted": true}))
}

pub(crate) fn create_portal_session(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let customer = fields::required(p, "customer")?;
    w.need("customer", customer, "customer")?;
    let configuration = match fields::given(p, "configuration") {
        Some(id) => text(
            &w.need("billing_portal.configuration", id, "configuration")?,
            "id",
        ),
        None => default_configuration(w),
    };
    let mut session = w.fresh("billing_portal.session", "bps");
    session["customer"] = json!(customer);
    session["configuration"] = json!(configuration);
    fields::copy(&mut session, p, &["return_url", "locale"]);
    session["url"] = json!(format!("{}/portal/{}", w.base_url, text(&session, "id")));
    w.insert(session.clone());
    w.tell("billing_portal.session.created", &session);
    Ok(session)
}

fn default_configuration(w: &mut World) -> String {
    if let Some(known) = w
        .newest("billing_portal.configuration")
        .find(|c| c["is_default"] == true)
    {
        return text(known, "id");
    }
    let mut made = w.fresh("billing_portal.configuration", "bpc");
    made["updated"] = json!(w.now);
    w.insert(made.clone());
    text(&made, "id")
}

pub(crate) fn balance(w: &World) -> Value {
    let mut by_currency = std::collections::BTreeMap::<String, i64>::new();
    for txn in w.newest("balance_transaction") {
        *by_currency.entry(text(txn, "currency")).or_default() += int(txn, "net");
    }
    if by_currency.is_empty() {
        by_currency.insert("usd".to_owned(), 0);
    }
    let rows =
        |zero: bool| -> Vec<Value> {
            by_currency.iter().map(|(currency, sum)| {
            let amount = if zero { 0 } else { *sum };
            json!({"amount": amount, "currency": currency, "source_types": {"card": amount}})
        }).collect()
        };
    json!({"object": "balance", "available": rows(false), "pending": rows(true), "livemode": false})
}

pub(crate) fn create_payout(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let currency = fields::currency(p, "currency")?;
    let amount = int(p, "amount");
    if amount < 1 {
        return Err(ApiError::invalid(
            "amount",
            Some("parameter_invalid_integer"),
            "Invalid positive integer",
        ));
    }
    let mut payout = w.fresh("payout", "po");
    payout["amount"] = json!(amount);
    payout["currency"] = json!(currency);
    payout["automatic"] = json!(false);
    payout["status"] = json!("pending");
    payout["reconciliation_status"] = json!("not_applicable");
    payout["arrival_date"] = json!(w.now + 2 * 86_400);
    fields::copy(
        &mut payout,
        p,
        &["description", "statement_descriptor", "method"],
    );
    fields::metadata(&mut payout, p)?;
    let id = text(&payout, "id");
    let txn = super::charges::book(w, &id, "payout", -amount, 0, json!([]), &currency);
    payout["balance_transaction"] = txn["id"].clone();
    w.insert(payout.clone());
    w.schedule(w.now + 2 * 86_400, Due::PayoutMoves(id));
    w.tell("payout.created", &payout);
    Ok(payout)
}

pub(crate) fn update_payout(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut payout = w.need("payout", id, "payout")?;
    fields::metadata(&mut payout, p)?;
    Ok(w.change_and_tell(id, "payout.updated", |v| *v = payout))
}

/// A payout arrives.
pub(crate) fn payout_moves(w: &mut World, id: &str) {
    if w.get("payout", id).is_none_or(|p| p["status"] != "pending") {
        return;
    }
    let (before, after) = w.change(id, |v| v["status"] = json!("paid"));
    w.tell_change("payout.updated", &before, &after);
    w.tell("payout.paid", &after);
}

pub(crate) fn create_test_clock(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let mut clock = w.fresh("test_helpers.test_clock", "clock");
    fields::copy(&mut clock, p, &["frozen_time", "name"]);
    clock["deletes_after"] = json!(w.now + EVENTS_SECONDS);
    w.insert(clock.clone());
    w.tell("test_helpers.test_clock.created", &clock);
    Ok(clock)
}

/// Test clocks are recorded only: the sandbox has one clock for all, advanced under `/control`.
pub(crate) fn advance_test_clock(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let clock = w.need("test_helpers.test_clock", id, "test_clock")?;
    let to = int(p, "frozen_time");
    if to <= int(&clock, "frozen_time") {
        return Err(ApiError::invalid(
            "frozen_time",
            None,
            "A test clock only moves forward.",
        ));
    }
    Err(ApiError::refused(
        None,
        "This sandbox has one clock for everything: advance it with POST /control/clock/advance?seconds=N.",
    ))
}
