//! Starting a subscription: its object, its first invoice and the first payment.
//!
//! Invariants: the first invoice is final at once; a subscription is `active` only with it paid.
//! Not here: request parameters (`api::subscriptions`), later periods (`due`).
//! Failure: 402 with `error_if_incomplete`, otherwise the subscription is `incomplete`.
//! Source of outside rules: Stripe documentation, "Subscriptions overview", changelog basil
//! "Checkout: subscriptions are created after payment".

use super::collect::{self, NewInvoice};
use super::discounts::Named;
use crate::api::catalog;
use crate::error::ApiError;
use crate::world::{Due, World, int, text};
use serde_json::{Value, json};

/// An `incomplete` subscription lives 23 hours.
const INCOMPLETE_SECONDS: i64 = 23 * 3_600;
/// Stripe tells of a trial's end 3 days before.
const TRIAL_NOTICE_SECONDS: i64 = 3 * 86_400;
/// Stripe's default notice of a renewal.
const UPCOMING_SECONDS: i64 = 7 * 86_400;

/// A wished item.
#[derive(Debug, Clone)]
pub(crate) struct WishedItem {
    pub(crate) price: Value,
    pub(crate) quantity: i64,
    pub(crate) metadata: Value,
}

/// A wished subscription.
#[derive(Debug, Default)]
pub(crate) struct NewSubscription {
    pub(crate) customer: String,
    pub(crate) items: Vec<WishedItem>,
    pub(crate) metadata: Value,
    pub(crate) method: Option<String>,
    pub(crate) trial_end: Option<i64>,
    pub(crate) pauses_without_method: Option<String>,
    pub(crate) behavior: String,
    pub(crate) off_session: bool,
    pub(crate) automatic_tax: bool,
    pub(crate) description: Value,
    pub(crate) discount: Option<Named>,
    /// A succeeded intent of a Checkout session.
    pub(crate) paid_by: Option<String>,
}

/// The stored form of an item.
pub(crate) fn item(w: &mut World, sub: &str, wished: &WishedItem, period: (i64, i64)) -> Value {
    let mut item = w.fresh("subscription_item", "si");
    item["subscription"] = json!(sub);
    item["price"] = wished.price.clone();
    item["plan"] = catalog::plan_of(&wished.price);
    item["quantity"] = json!(wished.quantity);
    item["metadata"] = if wished.metadata.is_object() {
        wished.metadata.clone()
    } else {
        json!({})
    };
    item["current_period_start"] = json!(period.0);
    item["current_period_end"] = json!(period.1);
    item
}

/// Schedules what a period brings.
pub(crate) fn schedule_period(w: &mut World, sub: &str, end: i64) {
    w.schedule(end, Due::PeriodEnd(sub.to_owned()));
    if end - UPCOMING_SECONDS > w.now {
        w.schedule(end - UPCOMING_SECONDS, Due::Upcoming(sub.to_owned()));
    }
}

fn build(w: &mut World, new: &NewSubscription) -> Value {
    let mut sub = w.fresh("subscription", "sub");
    let id = text(&sub, "id");
    let now = w.now;
    for field in ["billing_cycle_anchor", "start_date"] {
        sub[field] = json!(now);
    }
    sub["customer"] = json!(new.customer);
    sub["currency"] = new
        .items
        .first()
        .map_or(json!("usd"), |i| i.price["currency"].clone());
    sub["default_payment_method"] = json!(new.method);
    sub["metadata"] = if new.metadata.is_object() {
        new.metadata.clone()
    } else {
        json!({})
    };
    sub["description"] = new.description.clone();
    sub["status"] = json!("incomplete");
    if new.automatic_tax {
        sub["automatic_tax"] =
            json!({"disabled_reason": null, "enabled": true, "liability": {"type": "self"}});
    }
    if let Some(end) = new.trial_end {
        sub["trial_start"] = json!(now);
        sub["trial_end"] = json!(end);
        sub["billing_cycle_anchor"] = json!(end);
        sub["status"] = json!("trialing");
    }
    if let Some(end_behavior) = &new.pauses_without_method {
        sub["trial_settings"]["end_behavior"]["missing_payment_method"] = json!(end_behavior);
    }
    let mut items = Vec::new();
    for wished in &new.items {
        let end = new
            .trial_end
            .unwrap_or_else(|| collect::next_period(&wished.price, now));
        items.push(item(w, &id, wished, (now, end)));
    }
    sub["items"] = json!({"object": "list", "data": items, "has_more": false,
        "url": format!("/v1/subscription_items?subscription={id}")});
    w.insert(sub.clone());
    sub
}

fn first_lines(w: &mut World, sub: &Value, trial: bool) -> Vec<Value> {
    let id = text(sub, "id");
    let items = sub["items"]["data"].as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for item in items {
        let period = (
            int(&item, "current_period_start"),
            int(&item, "current_period_end"),
        );
        let mut line = collect::line_for_price(
            w,
            &item["price"],
            int(&item, "quantity"),
            period,
            Some((&id, &text(&item, "id"))),
        );
        if trial {
            line["amount"] = json!(0);
            line["description"] = json!(format!("Trial period for {}", text(&line, "description")));
        }
        lines.push(line);
    }
    lines
}

/// Starts a subscription and tells about it in Stripe's usual order.
///
/// # Errors
/// 402 with `error_if_incomplete` when the first payment fails.
pub(crate) fn start(w: &mut World, new: &NewSubscription) -> Result<Value, ApiError> {
    let sub = build(w, new);
    let id = text(&sub, "id");
    if let Some(named) = &new.discount {
        let discount = named.redeem(w, &sub);
        w.change(&id, |v| v["discounts"] = json!([discount]));
    }
    let trial = new.trial_end.is_some();
    let mut lines = first_lines(w, &sub, trial);
    lines.extend(collect::take_pending(w, &new.customer, Some(&id)));
    let invoice = collect::draft(
        w,
        &NewInvoice {
            customer: new.customer.clone(),
            subscription: Some(id.clone()),
            currency: text(&sub, "currency"),
            reason: "subscription_create",
            lines,
            period: (w.now, w.now),
            auto_advance: true,
        },
    );
    let invoice_id = text(&invoice, "id");
    w.change(&id, |v| v["latest_invoice"] = json!(invoice_id));
    w.change(&invoice_id, |v| v["__silent"] = json!(true));
    let finalized = collect::finalize(w, &invoice_id);
    note_currency(w, &new.customer, &sub);
    let outcome = first_payment(w, new, &invoice_id);
    if let Err(error) = outcome
        && new.behavior == "error_if_incomplete"
    {
        w.remove(&id);
        w.remove(&invoice_id);
        return Err(error);
    }
    let paid = w
        .get("invoice", &invoice_id)
        .is_some_and(|v| v["status"] == "paid");
    if paid && !trial {
        w.change(&id, |v| v["status"] = json!("active"));
    }
    let sub = w.need("subscription", &id, "id")?;
    w.tell("customer.subscription.created", &sub);
    w.tell("invoice.created", &invoice);
    w.tell("invoice.finalized", &finalized);
    tell_first_outcome(w, &invoice_id);
    schedule_start(w, &sub, paid);
    Ok(w.get("subscription", &id).cloned().unwrap_or(sub))
}

/// Stripe fixes a customer's currency with the first invoice.
fn note_currency(w: &mut World, customer: &str, sub: &Value) {
    let currency = sub["currency"].clone();
    w.change_and_tell(customer, "customer.updated", |v| {
        if v["currency"].is_null() {
            v["currency"] = currency;
        }
    });
}

fn first_payment(w: &mut World, new: &NewSubscription, invoice: &str) -> Result<(), ApiError> {
    if let Some(intent) = &new.paid_by {
        collect::link_intent(w, invoice, intent, true);
        let status = w
            .get("payment_intent", intent)
            .map(|v| text(v, "status"))
            .unwrap_or_default();
        if status == "succeeded" {
            collect::mark_paid(w, invoice, true);
        }
        return Ok(());
    }
    if w.get("invoice", invoice)
        .is_some_and(|v| int(v, "amount_due") == 0)
    {
        collect::mark_paid(w, invoice, true);
        return Ok(());
    }
    if new.behavior == "default_incomplete" {
        collect::ensure_intent(w, invoice);
        return Ok(());
    }
    collect::attempt(w, invoice, new.method.clone(), new.off_session)
}

fn tell_first_outcome(w: &mut World, invoice: &str) {
    let (_, after) = w.change(invoice, |v| v["__silent"] = json!(false));
    if after["status"] == "paid" {
        w.tell("invoice.paid", &after);
        w.tell("invoice.payment_succeeded", &after);
        return;
    }
    let intent = w
        .get("payment_intent", &text(&after, "__intent"))
        .map(|v| text(v, "status"));
    if intent.as_deref() == Some("requires_action") {
        w.tell("invoice.payment_action_required", &after);
    } else if int(&after, "attempt_count") > 0 {
        w.tell("invoice.payment_failed", &after);
    }
}

fn schedule_start(w: &mut World, sub: &Value, paid: bool) {
    let id = text(sub, "id");
    let end = sub["items"]["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|i| int(i, "current_period_end"))
        .min();
    schedule_period(w, &id, end.unwrap_or(w.now + 86_400));
    if let Some(trial_end) = sub["trial_end"].as_i64() {
        w.schedule(
            (trial_end - TRIAL_NOTICE_SECONDS).max(w.now),
            Due::TrialWillEnd(id.clone()),
        );
    }
    if !paid && sub["status"] == "incomplete" {
        w.schedule(w.now + INCOMPLETE_SECONDS, Due::IncompleteExpires(id));
    }
}
