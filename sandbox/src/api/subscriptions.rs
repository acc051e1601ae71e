//! Subscriptions as requests see them, and their states.
//!
//! Invariants: `canceled` and `incomplete_expired` are final.
//! Not here: starting (`billing::subscribe`), item changes (`billing::change`), renewals (`billing::due`).
//! Failure: `ApiError`; 402 for declined first payments where asked for.
//! Source of outside rules: Stripe API reference, "Subscriptions"; documentation, "Subscription statuses".

use super::{catalog, customers, fields, payment_methods};
use crate::billing::change::{self, Change, Terms};
use crate::billing::collect::{self, NewInvoice};
use crate::billing::discounts;
use crate::billing::subscribe::{self, NewSubscription, WishedItem};
use crate::error::ApiError;
use crate::lists;
use crate::world::{Due, World, int, text};
use serde_json::{Value, json};

/// Whether the subscription has ended for good.
pub(crate) fn is_over(sub: &Value) -> bool {
    matches!(
        sub["status"].as_str(),
        Some("canceled" | "incomplete_expired")
    )
}

/// The end of the running period.
pub(crate) fn period_end(sub: &Value) -> i64 {
    let items = sub["items"]["data"].as_array().into_iter().flatten();
    items
        .map(|i| int(i, "current_period_end"))
        .max()
        .unwrap_or(0)
}

/// Reads `items[]` of a creation.
pub(crate) fn items_from(w: &mut World, wishes: &Value) -> Result<Vec<WishedItem>, ApiError> {
    let mut items = Vec::new();
    for (index, wish) in wishes.as_array().into_iter().flatten().enumerate() {
        let at = format!("items[{index}]");
        let price = match wish["price"].as_str().or_else(|| wish["plan"].as_str()) {
            Some(id) => change::recurring(w, id, &format!("{at}[price]"))?,
            None if wish["price_data"].is_object() => {
                catalog::inline_price(w, &wish["price_data"], &format!("{at}[price_data]"))?
            }
            None => return Err(ApiError::missing(&format!("{at}[price]"))),
        };
        let quantity = wish["quantity"].as_i64().unwrap_or(1);
        items.push(WishedItem {
            price,
            quantity,
            metadata: wish["metadata"].clone(),
        });
    }
    if items.len() > 20 {
        return Err(ApiError::invalid(
            "items",
            None,
            "A subscription has at most 20 items.",
        ));
    }
    Ok(items)
}

pub(crate) fn create(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let customer = fields::required(p, "customer")?.to_owned();
    w.need("customer", &customer, "customer")?;
    let items = items_from(w, &p["items"])?;
    if items.is_empty() {
        return Err(ApiError::missing("items"));
    }
    let method = match fields::given(p, "default_payment_method") {
        Some(pm) => {
            let pm = payment_methods::resolve(w, pm, "default_payment_method")?;
            let owner = w.get("payment_method", &pm).map(|v| v["customer"].clone());
            if owner != Some(json!(customer)) {
                let message =
                    format!("The customer does not have a payment method with the ID {pm}.");
                return Err(ApiError::invalid(
                    "default_payment_method",
                    Some("resource_missing"),
                    &message,
                ));
            }
            Some(pm)
        }
        None => None,
    };
    let trial_end = trial_end(w, p, &items)?;
    let behavior = fields::given(p, "payment_behavior")
        .unwrap_or("allow_incomplete")
        .to_owned();
    let has_method = method.is_some() || customers::default_payment_method(w, &customer).is_some();
    let charges = p["collection_method"] != "send_invoice";
    let due_now = trial_end.is_none()
        && items
            .iter()
            .any(|i| int(&i.price, "unit_amount") * i.quantity > 0);
    if !has_method && charges && due_now && behavior != "default_incomplete" {
        let message = "This customer has no attached payment source or default payment method. Please consider adding a default payment method.";
        return Err(ApiError::refused(Some("resource_missing"), message));
    }
    let discount = discounts::named(w, &p["discounts"])?;
    let mut metadata = json!({});
    fields::metadata_at(&mut metadata, &p["metadata"])?;
    subscribe::start(
        w,
        &NewSubscription {
            customer,
            items,
            metadata,
            method,
            trial_end,
            pauses_without_method: p["trial_settings"]["end_behavior"]["missing_payment_method"]
                .as_str()
                .map(str::to_owned),
            behavior,
            off_session: p["off_session"] == true,
            automatic_tax: p["automatic_tax"]["enabled"] == true,
            description: fields::given(p, "description").map_or(Value::Null, |d| json!(d)),
            discount,
            paid_by: None,
        },
    )
}

fn trial_end(w: &World, p: &Value, items: &[WishedItem]) -> Result<Option<i64>, ApiError> {
    let days = p["trial_period_days"].as_i64();
    let end = match (&p["trial_end"], days) {
        (Value::Number(n), _) => n.as_i64(),
        (Value::String(s), _) if s == "now" => None,
        (_, Some(days)) => Some(w.now + days * 86_400),
        _ if p["trial_from_plan"] == true => items
            .first()
            .and_then(|i| i.price["recurring"]["trial_period_days"].as_i64())
            .map(|d| w.now + d * 86_400),
        _ => None,
    };
    if end.is_some_and(|end| end <= w.now || end > w.now + 730 * 86_400) {
        let message = "Trials end in the future, at most two years from now.";
        return Err(ApiError::invalid("trial_end", None, message));
    }
    Ok(end)
}

/// Plans the item changes of an update or a preview.
pub(crate) fn planned_change(w: &mut World, sub: &Value, p: &Value) -> Result<Change, ApiError> {
    let at = p["proration_date"].as_i64().unwrap_or(w.now);
    let start = sub["items"]["data"][0]["current_period_start"]
        .as_i64()
        .unwrap_or(0);
    if at < start || at > period_end(sub) {
        return Err(ApiError::invalid(
            "proration_date",
            None,
            "The proration_date must be within the current period.",
        ));
    }
    let mut change = change::plan(w, sub, &p["items"], at, p["billing_cycle_anchor"] == "now")?;
    if p["proration_behavior"] == "always_invoice" {
        change.only_prorations();
    }
    Ok(change)
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let sub = w.need("subscription", id, "subscription_exposed_id")?;
    if is_over(&sub) && !only_metadata(p) {
        let message =
            "A canceled subscription can only update its cancellation_details and metadata.";
        return Err(ApiError::refused(None, message));
    }
    check_pending(p)?;
    let mut target = sub.clone();
    fields::copy(
        &mut target,
        p,
        &[
            "description",
            "default_payment_method",
            "collection_method",
            "days_until_due",
        ],
    );
    fields::metadata(&mut target, p)?;
    if let Some(pm) = fields::given(p, "default_payment_method") {
        target["default_payment_method"] =
            json!(payment_methods::resolve(w, pm, "default_payment_method")?);
    }
    if p["discounts"] == "" {
        target["discounts"] = json!([]);
    } else if let Some(named) = discounts::named(w, &p["discounts"])? {
        target["discounts"] = json!([named.redeem(w, &sub)]);
    }
    cancellation(w, &mut target, p)?;
    if p["pause_collection"].is_object() {
        target["pause_collection"] = json!({"behavior": p["pause_collection"]["behavior"], "resumes_at": p["pause_collection"]["resumes_at"]});
    } else if p["pause_collection"] == "" {
        target["pause_collection"] = Value::Null;
    }
    fields::copy_hash(
        &mut target["trial_settings"],
        &p["trial_settings"],
        "end_behavior",
    );
    if p["trial_end"] == "now" && sub["status"] == "trialing" {
        return end_trial_now(w, id, &sub, target);
    }
    let at = p["proration_date"].as_i64().unwrap_or(w.now);
    let changes_items = p["items"].is_array() || p["billing_cycle_anchor"] == "now";
    if !changes_items {
        let (_, after) = w.change(id, |v| *v = target);
        w.tell_change("customer.subscription.updated", &sub, &after);
        return Ok(after);
    }
    let planned = change::plan(w, &sub, &p["items"], at, p["billing_cycle_anchor"] == "now")?;
    let terms = Terms {
        proration: fields::given(p, "proration_behavior").unwrap_or("create_prorations"),
        payment: fields::given(p, "payment_behavior").unwrap_or("allow_incomplete"),
        off_session: p["off_session"] == true,
    };
    change::apply(w, &sub, target, planned, &terms)
}

fn end_trial_now(
    w: &mut World,
    id: &str,
    before: &Value,
    mut after: Value,
) -> Result<Value, ApiError> {
    after["trial_end"] = json!(w.now);
    for item in after["items"]["data"].as_array_mut().into_iter().flatten() {
        item["current_period_end"] = json!(w.now);
    }
    after["billing_cycle_anchor"] = json!(w.now);
    w.change(id, |v| *v = after.clone());
    w.tell("customer.subscription.trial_will_end", &after);
    crate::billing::due::trial_over(w, id, before, 0);
    w.need("subscription", id, "id")
}

/// A pending update holds what brings an invoice about, and nothing else (`metadata` only from 2026-05-27.dahlia on).
fn check_pending(p: &Value) -> Result<(), ApiError> {
    const SUPPORTED: [&str; 9] = [
        "expand",
        "payment_behavior",
        "proration_behavior",
        "proration_date",
        "billing_cycle_anchor",
        "items",
        "trial_end",
        "trial_from_plan",
        "add_invoice_items",
    ];
    let mut given = p.as_object().into_iter().flat_map(|map| map.keys());
    let odd = given.find(|key| !SUPPORTED.contains(&key.as_str()));
    match odd {
        Some(name) if p["payment_behavior"] == "pending_if_incomplete" => {
            let message = format!(
                "When `payment_behavior` is set to `pending_if_incomplete`, you can only pass supported params. `{name}` is not supported."
            );
            Err(ApiError::invalid(name, None, &message))
        }
        _ => Ok(()),
    }
}

fn only_metadata(p: &Value) -> bool {
    p.as_object().is_some_and(|map| {
        map.keys()
            .all(|k| matches!(k.as_str(), "metadata" | "cancellation_details" | "expand"))
    })
}

fn cancellation(w: &mut World, target: &mut Value, p: &Value) -> Result<(), ApiError> {
    fields::copy_hash(target, p, "cancellation_details");
    let id = text(target, "id");
    match (&p["cancel_at_period_end"], &p["cancel_at"]) {
        (Value::Bool(true), _) => {
            target["cancel_at_period_end"] = json!(true);
            target["cancel_at"] = json!(period_end(target));
        }
        (_, Value::Number(at)) => {
            let at = at.as_i64().unwrap_or(0);
            if at <= w.now {
                return Err(ApiError::invalid(
                    "cancel_at",
                    None,
                    "cancel_at must be in the future.",
                ));
            }
            target["cancel_at"] = json!(at);
            w.schedule(at, Due::PeriodEnd(id));
        }
        (Value::Bool(false), _) => return undo_cancellation(target),
        (_, Value::String(s)) if s.is_empty() => return undo_cancellation(target),
        _ => return Ok(()),
    }
    if target["canceled_at"].is_null() {
        target["canceled_at"] = json!(w.now);
    }
    target["cancellation_details"]["reason"] = json!("cancellation_requested");
    Ok(())
}

fn undo_cancellation(target: &mut Value) -> Result<(), ApiError> {
    target["cancel_at_period_end"] = json!(false);
    for field in ["cancel_at", "canceled_at"] {
        target[field] = Value::Null;
    }
    target["cancellation_details"]["reason"] = Value::Null;
    Ok(())
}

pub(crate) fn cancel_request(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let sub = w.need("subscription", id, "subscription_exposed_id")?;
    if is_over(&sub) {
        return Err(ApiError::no_such(
            "subscription",
            id,
            "subscription_exposed_id",
        ));
    }
    if p["prorate"] == true {
        let items = sub["items"]["data"].as_array().cloned().unwrap_or_default();
        change::credit_unused(w, &sub, &items);
    }
    if p["invoice_now"] == true {
        final_invoice(w, &sub);
    }
    w.change(id, |v| fields::copy_hash(v, p, "cancellation_details"));
    Ok(cancel(w, id, "cancellation_requested"))
}

fn final_invoice(w: &mut World, sub: &Value) {
    let lines = collect::take_pending(w, &text(sub, "customer"), sub["id"].as_str());
    if lines.is_empty() {
        return;
    }
    let invoice = collect::draft(
        w,
        &NewInvoice {
            customer: text(sub, "customer"),
            subscription: Some(text(sub, "id")),
            currency: text(sub, "currency"),
            reason: "subscription_update",
            lines,
            period: (w.now, w.now),
            auto_advance: true,
        },
    );
    let id = text(&invoice, "id");
    w.tell("invoice.created", &invoice);
    let finalized = collect::finalize(w, &id);
    w.tell("invoice.finalized", &finalized);
    if int(&finalized, "amount_due") == 0 {
        collect::mark_paid(w, &id, true);
    } else {
        drop(collect::attempt(w, &id, None, true));
    }
}

/// Ends a subscription for good, with its open invoices left to rest.
pub(crate) fn cancel(w: &mut World, id: &str, reason: &str) -> Value {
    let now = w.now;
    let (_, sub) = w.change(id, |v| {
        v["status"] = json!("canceled");
        v["ended_at"] = json!(now);
        if v["canceled_at"].is_null() {
            v["canceled_at"] = json!(now);
        }
        if v["cancellation_details"]["reason"].is_null() {
            v["cancellation_details"]["reason"] = json!(reason);
        }
    });
    let resting: Vec<String> = w
        .newest("invoice")
        .filter(|i| {
            i["parent"]["subscription_details"]["subscription"] == id
                && matches!(i["status"].as_str(), Some("open" | "draft"))
        })
        .map(|i| text(i, "id"))
        .collect();
    w.tell("customer.subscription.deleted", &sub);
    for invoice in resting {
        w.change_and_tell(&invoice, "invoice.updated", |v| {
            v["auto_advance"] = json!(false);
            v["next_payment_attempt"] = Value::Null;
            v["automatically_finalizes_at"] = Value::Null;
        });
    }
    sub
}

/// A collection failed; when no retry is left, the account's setting decides.
pub(crate) fn fell_behind(w: &mut World, id: &str, exhausted: bool) {
    let Some(sub) = w.get("subscription", id).cloned() else {
        return;
    };
    if is_over(&sub) || sub["pending_update"].is_object() {
        return;
    }
    if exhausted && w.dunning_end == "cancel" {
        cancel(w, id, "payment_failed");
        return;
    }
    let status = if exhausted && w.dunning_end == "unpaid" {
        "unpaid"
    } else {
        "past_due"
    };
    w.change_and_tell(id, "customer.subscription.updated", |v| {
        v["status"] = json!(status)
    });
}

/// An invoice of the subscription was paid, voided or given up.
pub(crate) fn invoice_settled(w: &mut World, id: &str, invoice: &str) {
    let Some(sub) = w.get("subscription", id).cloned() else {
        return;
    };
    if sub["latest_invoice"] != invoice {
        return;
    }
    let paid = w
        .get("invoice", invoice)
        .is_some_and(|v| v["status"] == "paid");
    if sub["pending_update"].is_object() && paid {
        change::pending_applied(w, id);
        return;
    }
    let back = match sub["status"].as_str() {
        Some("incomplete" | "paused") => paid,
        Some("past_due" | "unpaid") => true,
        _ => false,
    };
    if back {
        let was_paused = sub["status"] == "paused";
        let after = w.change_and_tell(id, "customer.subscription.updated", |v| {
            v["status"] = json!("active")
        });
        if was_paused {
            w.tell("customer.subscription.resumed", &after);
        }
    }
}

pub(crate) fn resume(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let sub = w.need("subscription", id, "subscription")?;
    if sub["status"] != "paused" {
        return Err(ApiError::refused(
            None,
            "Only paused subscriptions can be resumed.",
        ));
    }
    crate::billing::due::start_period_now(w, id)?;
    w.need("subscription", id, "subscription")
}

pub(crate) fn list(w: &World, p: &Value) -> Result<Value, ApiError> {
    let status = p["status"].as_str();
    lists::page(w, "subscription", "/v1/subscriptions", p, |sub| {
        let fits = match status {
            None => sub["status"] != "canceled",
            Some("all") => true,
            Some("ended") => is_over(sub),
            Some(wanted) => sub["status"] == wanted,
        };
        let items = || sub["items"]["data"].as_array().into_iter().flatten();
        fits && (p["customer"].is_null() || p["customer"] == sub["customer"])
            && (p["price"].is_null() || items().any(|i| i["price"]["id"] == p["price"]))
    })
}

pub(crate) fn list_items(w: &World, p: &Value) -> Result<Value, ApiError> {
    let sub = w.need(
        "subscription",
        p["subscription"].as_str().unwrap_or_default(),
        "subscription",
    )?;
    let rows = sub["items"]["data"].as_array().cloned().unwrap_or_default();
    lists::page_of(rows, "/v1/subscription_items", p)
}

pub(crate) fn item(w: &World, id: &str) -> Result<Value, ApiError> {
    let items = w
        .newest("subscription")
        .flat_map(|s| s["items"]["data"].as_array().into_iter().flatten());
    items
        .into_iter()
        .find(|i| i["id"] == id)
        .cloned()
        .ok_or_else(|| ApiError::no_such("subscription_item", id, "item"))
}
