//! Building, finalizing and collecting invoices.
//!
//! Invariants: `amount_due` is never negative; one PaymentIntent and one invoice payment per invoice;
//! a paid invoice brings its subscription back, a failed one makes it past due.
//! Not here: when retries happen (`due`), the requests (`api::invoices`).
//! Failure: 402 passed on to whoever asked for the payment.
//! Source of outside rules: Stripe documentation, "Invoicing: status transitions", "Subscriptions: webhooks".

use super::{discounts, period};
use crate::api::{customers, intents, subscriptions};
use crate::error::ApiError;
use crate::world::{Due, World, int, text};
use serde_json::{Value, json};

/// Days after the first failure at which Stripe's default schedule tries again.
const RETRY_AFTER_DAYS: &[i64] = &[3, 5, 7];

/// What a new draft is made of.
pub(crate) struct NewInvoice {
    pub(crate) customer: String,
    pub(crate) subscription: Option<String>,
    pub(crate) currency: String,
    pub(crate) reason: &'static str,
    pub(crate) lines: Vec<Value>,
    pub(crate) period: (i64, i64),
    pub(crate) auto_advance: bool,
}

/// Stores a draft invoice; the event is the caller's to time.
pub(crate) fn draft(w: &mut World, new: &NewInvoice) -> Value {
    let mut invoice = w.fresh("invoice", "in");
    let id = text(&invoice, "id");
    let customer = w
        .get("customer", &new.customer)
        .cloned()
        .unwrap_or(Value::Null);
    invoice["customer"] = json!(new.customer);
    invoice["customer_email"] = customer["email"].clone();
    invoice["customer_name"] = customer["name"].clone();
    invoice["customer_address"] = customer["address"].clone();
    invoice["customer_phone"] = customer["phone"].clone();
    invoice["currency"] = json!(new.currency);
    invoice["billing_reason"] = json!(new.reason);
    invoice["period_start"] = json!(new.period.0);
    invoice["period_end"] = json!(new.period.1);
    invoice["auto_advance"] = json!(new.auto_advance);
    invoice["lines"]["url"] = json!(format!("/v1/invoices/{id}/lines"));
    if let Some(subscription) = &new.subscription {
        let sub = w
            .get("subscription", subscription)
            .cloned()
            .unwrap_or(Value::Null);
        invoice["parent"] = json!({"type": "subscription_details", "quote_details": null,
            "subscription_details": {"metadata": sub["metadata"], "subscription": subscription}});
        invoice["automatic_tax"]["enabled"] = sub["automatic_tax"]["enabled"].clone();
        if sub["automatic_tax"]["enabled"] == true {
            invoice["automatic_tax"]["liability"] = json!({"type": "self"});
            invoice["automatic_tax"]["status"] = json!("complete");
            invoice["automatic_tax"]["provider"] = json!("stripe");
        }
    }
    let mut lines = new.lines.clone();
    for line in &mut lines {
        line["invoice"] = json!(id);
    }
    invoice["lines"]["data"] = json!(lines);
    if let Some(sub) = new
        .subscription
        .as_ref()
        .and_then(|id| w.get("subscription", id))
    {
        discounts::apply_to_invoice(w, sub, &mut invoice);
    }
    total(&mut invoice);
    if let Some(customer_of) = w.get("customer", &new.customer) {
        let sequence = customer_of["__invoices"].as_i64().unwrap_or(0) + 1;
        let prefix = text(customer_of, "invoice_prefix");
        invoice["__number"] = json!(format!("{prefix}-{sequence:04}"));
    }
    w.insert(invoice.clone());
    invoice
}

fn total(invoice: &mut Value) {
    let lines = invoice["lines"]["data"].as_array();
    let subtotal: i64 = lines.into_iter().flatten().map(|l| int(l, "amount")).sum();
    let discount: i64 = lines
        .into_iter()
        .flatten()
        .flat_map(|l| l["discount_amounts"].as_array().into_iter().flatten())
        .map(|d| int(d, "amount"))
        .sum();
    let total = subtotal - discount;
    for key in ["subtotal", "subtotal_excluding_tax"] {
        invoice[key] = json!(subtotal);
    }
    for key in ["total", "total_excluding_tax"] {
        invoice[key] = json!(total);
    }
    let due = total.max(0);
    invoice["amount_due"] = json!(due);
    invoice["amount_remaining"] = json!(due);
}

/// Adds a line to a draft and totals it anew.
pub(crate) fn add_line(w: &mut World, id: &str, mut line: Value) {
    line["invoice"] = json!(id);
    w.change(id, |v| {
        if let Some(list) = v["lines"]["data"].as_array_mut() {
            list.push(line);
        }
        total(v);
    });
}

/// When a period of this price that starts now ends.
pub(crate) fn next_period(price: &Value, start: i64) -> i64 {
    let recurring = &price["recurring"];
    match recurring["interval"].as_str() {
        Some(interval) => period::next(
            start,
            start,
            interval,
            recurring["interval_count"].as_i64().unwrap_or(1),
        ),
        None => start,
    }
}

/// A line for a price over a period, for a subscription item when one is given: (sub, item).
pub(crate) fn line_for_price(
    w: &mut World,
    price: &Value,
    quantity: i64,
    period: (i64, i64),
    item: Option<(&str, &str)>,
) -> Value {
    let mut line = w.fresh("line_item", "il");
    let product = w
        .get("product", &text(price, "product"))
        .map(|v| text(v, "name"))
        .unwrap_or_default();
    line["amount"] = json!(int(price, "unit_amount") * quantity);
    line["currency"] = price["currency"].clone();
    line["quantity"] = json!(quantity);
    line["period"] = json!({"start": period.0, "end": period.1});
    line["pricing"] = json!({"type": "price_details", "unit_amount_decimal": price["unit_amount_decimal"],
        "price_details": {"price": price["id"], "product": price["product"]}});
    line["description"] = json!(format!("{quantity} × {product}"));
    if let Some((subscription, item)) = item {
        line["subscription"] = json!(subscription);
        line["parent"] = json!({"type": "subscription_item_details", "invoice_item_details": null,
            "subscription_item_details": {"invoice_item": null, "proration": false,
                "proration_details": {"credited_items": null}, "subscription": subscription, "subscription_item": item}});
        line["metadata"] = w
            .get("subscription", subscription)
            .map_or(json!({}), |s| s["metadata"].clone());
    }
    line
}

/// A line for an invoice item (one-off amounts and prorations).
pub(crate) fn line_of_item(w: &mut World, item: &Value) -> Value {
    let mut line = w.fresh("line_item", "il");
    for field in [
        "amount",
        "currency",
        "description",
        "discountable",
        "metadata",
        "period",
        "quantity",
        "pricing",
    ] {
        line[field] = item[field].clone();
    }
    let subscription = item["parent"]["subscription_details"]["subscription"].clone();
    line["subscription"] = subscription.clone();
    line["parent"] = json!({"type": "invoice_item_details", "subscription_item_details": null,
        "invoice_item_details": {"invoice_item": item["id"], "proration": item["proration"],
            "proration_details": {"credited_items": null}, "subscription": subscription}});
    line
}

/// Turns a customer's pending items into lines; items of another subscription stay.
pub(crate) fn take_pending(
    w: &mut World,
    customer: &str,
    subscription: Option<&str>,
) -> Vec<Value> {
    let mut items: Vec<Value> = w
        .newest("invoiceitem")
        .filter(|item| {
            let of = item["parent"]["subscription_details"]["subscription"].as_str();
            item["customer"] == customer
                && item["invoice"].is_null()
                && (of.is_none() || of == subscription)
        })
        .cloned()
        .collect();
    items.reverse();
    let lines = items.iter().map(|item| line_of_item(w, item)).collect();
    for item in &items {
        w.change(&text(item, "id"), |v| v["invoice"] = json!("taken"));
    }
    lines
}

/// Points taken items at the invoice they landed on.
pub(crate) fn settle_pending(w: &mut World, invoice: &Value) {
    for line in invoice["lines"]["data"].as_array().into_iter().flatten() {
        let item = text(&line["parent"]["invoice_item_details"], "invoice_item");
        if !item.is_empty() {
            w.change(&item, |v| v["invoice"] = invoice["id"].clone());
        }
    }
}

/// Makes a draft final: numbered, open, with its pages. Tells nothing.
pub(crate) fn finalize(w: &mut World, id: &str) -> Value {
    let now = w.now;
    let base = w.base_url.clone();
    let customer = w
        .get("invoice", id)
        .map(|v| text(v, "customer"))
        .unwrap_or_default();
    w.change(&customer, |v| {
        v["__invoices"] = json!(int(v, "__invoices") + 1)
    });
    let starting = w
        .get("customer", &customer)
        .map_or(0, |c| int(c, "balance"));
    let total = w.get("invoice", id).map_or(0, |v| int(v, "total"));
    // Credit left over goes to the customer's balance and comes off later invoices.
    let ending = total.saturating_add(starting).min(0);
    w.change_and_tell(&customer, "customer.updated", |v| {
        v["balance"] = json!(ending)
    });
    let (_, invoice) = w.change(id, |v| {
        v["status"] = json!("open");
        v["number"] = v["__number"].clone();
        v["effective_at"] = json!(now);
        v["status_transitions"]["finalized_at"] = json!(now);
        v["automatically_finalizes_at"] = Value::Null;
        v["hosted_invoice_url"] = json!(format!("{base}/invoices/{id}"));
        v["invoice_pdf"] = json!(format!("{base}/invoices/{id}/pdf"));
        v["webhooks_delivered_at"] = json!(now);
        let due = total.saturating_add(starting).max(0);
        v["amount_due"] = json!(due);
        v["amount_remaining"] = json!(due);
        v["starting_balance"] = json!(starting);
        v["ending_balance"] = json!(ending);
    });
    settle_pending(w, &invoice);
    discounts::spent(w, &invoice);
    invoice
}

/// The intent that pays an invoice, made on first use together with its invoice payment.
pub(crate) fn ensure_intent(w: &mut World, id: &str) -> String {
    let Some(invoice) = w.get("invoice", id).cloned() else {
        return String::new();
    };
    if let Some(intent) = invoice["__intent"].as_str() {
        return intent.to_owned();
    }
    let first = invoice["billing_reason"] == "subscription_create";
    let words = match invoice["billing_reason"].as_str() {
        Some("subscription_create") => json!("Subscription creation"),
        Some("subscription_cycle" | "subscription_update") => json!("Subscription update"),
        _ => Value::Null,
    };
    let purpose = intents::Purpose {
        amount: int(&invoice, "amount_remaining"),
        currency: text(&invoice, "currency"),
        customer: invoice["customer"].clone(),
        description: words,
        invoice: Some(id.to_owned()),
        ..intents::Purpose::default()
    };
    let pi = intents::make(w, &purpose);
    let pi_id = text(&pi, "id");
    link_intent(w, id, &pi_id, first);
    let pi = w.get("payment_intent", &pi_id).cloned().unwrap_or(pi);
    w.tell("payment_intent.created", &pi);
    pi_id
}

/// Ties an intent to an invoice.
pub(crate) fn link_intent(w: &mut World, id: &str, pi: &str, first: bool) {
    let Some(invoice) = w.get("invoice", id).cloned() else {
        return;
    };
    w.change(pi, |v| {
        v["__invoice"] = json!(id);
        if first {
            v["setup_future_usage"] = json!("off_session");
        }
    });
    let mut payment = w.fresh("invoice_payment", "inpay");
    payment["amount_requested"] = invoice["amount_due"].clone();
    payment["currency"] = invoice["currency"].clone();
    payment["invoice"] = json!(id);
    payment["is_default"] = json!(true);
    payment["payment"] = json!({"type": "payment_intent", "payment_intent": pi});
    payment["status_transitions"] = json!({"canceled_at": null, "paid_at": null});
    w.insert(payment);
    w.change(id, |v| v["__intent"] = json!(pi));
}

/// The payment method an invoice is collected on.
fn method_of(w: &World, invoice: &Value) -> Option<String> {
    let subscription = text(&invoice["parent"]["subscription_details"], "subscription");
    let from_subscription = w
        .get("subscription", &subscription)
        .and_then(|s| s["default_payment_method"].as_str());
    let direct = invoice["default_payment_method"]
        .as_str()
        .or(from_subscription);
    direct
        .map(str::to_owned)
        .or_else(|| customers::default_payment_method(w, &text(invoice, "customer")))
}

/// One attempt to collect an open invoice.
///
/// # Errors
/// 402 when the card declines or there is none.
pub(crate) fn attempt(
    w: &mut World,
    id: &str,
    method: Option<String>,
    off_session: bool,
) -> Result<(), ApiError> {
    let invoice = w.need("invoice", id, "invoice")?;
    let Some(method) = method.or_else(|| method_of(w, &invoice)) else {
        attempt_failed(w, id);
        let message = "Cannot charge customer that has no active card";
        return Err(ApiError::card("missing", None, message));
    };
    let intent = ensure_intent(w, id);
    let stays = w
        .get("payment_intent", &intent)
        .is_some_and(|v| v["status"] == "processing" || v["status"] == "succeeded");
    if stays {
        return Ok(());
    }
    w.change(&intent, |v| v["payment_method"] = json!(method));
    match intents::confirm(w, &intent, off_session) {
        Ok(()) => {
            if w.get("payment_intent", &intent)
                .is_some_and(|v| v["status"] == "requires_action")
            {
                action_required(w, id);
            }
            Ok(())
        }
        Err(error) => {
            if error.body["code"] == "authentication_required" {
                action_required(w, id);
            }
            attempt_failed(w, id);
            Err(error)
        }
    }
}

fn action_required(w: &mut World, id: &str) {
    if w.get("invoice", id).is_some_and(|v| v["__silent"] == true) {
        return;
    }
    let (_, invoice) = w.change(id, |v| v["attempted"] = json!(true));
    w.tell("invoice.payment_action_required", &invoice);
}

/// An attempt failed: count it, plan the next one, and let the subscription fall behind.
pub(crate) fn attempt_failed(w: &mut World, id: &str) {
    let Some(invoice) = w.get("invoice", id).cloned() else {
        return;
    };
    let attempts = int(&invoice, "attempt_count") + 1;
    let automatic = matches!(
        invoice["billing_reason"].as_str(),
        Some("subscription_cycle" | "subscription_update")
    );
    let wait = usize::try_from(attempts - 1)
        .ok()
        .and_then(|n| RETRY_AFTER_DAYS.get(n))
        .filter(|_| automatic);
    let next = wait.map(|days| w.now + days * 86_400);
    let (before, after) = w.change(id, |v| {
        v["attempt_count"] = json!(attempts);
        v["attempted"] = json!(true);
        v["next_payment_attempt"] = json!(next);
    });
    if invoice["__silent"] != true {
        w.tell_change("invoice.updated", &before, &after);
        w.tell("invoice.payment_failed", &after);
    }
    if let Some(at) = next {
        w.schedule(at, Due::RetryInvoice(id.to_owned()));
    }
    let subscription = text(&after["parent"]["subscription_details"], "subscription");
    if automatic && !subscription.is_empty() {
        subscriptions::fell_behind(w, &subscription, next.is_none());
    }
}

/// The invoice is paid, by a payment or otherwise.
pub(crate) fn mark_paid(w: &mut World, id: &str, by_attempt: bool) {
    let now = w.now;
    let Some(invoice) = w.get("invoice", id).cloned() else {
        return;
    };
    if matches!(invoice["status"].as_str(), Some("paid" | "void")) {
        return;
    }
    let charged = invoice["__intent"].is_string() && by_attempt;
    let (before, after) = w.change(id, |v| {
        v["status"] = json!("paid");
        v["amount_paid"] = v["amount_due"].clone();
        v["amount_remaining"] = json!(0);
        v["attempted"] = json!(true);
        v["auto_advance"] = json!(false);
        v["next_payment_attempt"] = Value::Null;
        v["status_transitions"]["paid_at"] = json!(now);
        if charged {
            v["attempt_count"] = json!(int(v, "attempt_count") + 1);
        }
    });
    settle_payment(w, &after, by_attempt);
    if invoice["__silent"] == true {
        return;
    }
    if invoice["billing_reason"] != "subscription_create" {
        w.tell_change("invoice.updated", &before, &after);
    }
    w.tell("invoice.paid", &after);
    if by_attempt {
        w.tell("invoice.payment_succeeded", &after);
    }
    recovered(w, &after);
}

fn settle_payment(w: &mut World, invoice: &Value, by_attempt: bool) {
    let now = w.now;
    let payment = w
        .newest("invoice_payment")
        .find(|v| v["invoice"] == invoice["id"])
        .map(|v| text(v, "id"));
    let Some(payment) = payment else { return };
    let amount = invoice["amount_paid"].clone();
    w.change(&payment, |v| {
        if by_attempt {
            v["status"] = json!("paid");
            v["amount_paid"] = amount;
            v["status_transitions"]["paid_at"] = json!(now);
        } else {
            v["status"] = json!("canceled");
            v["status_transitions"]["canceled_at"] = json!(now);
        }
    });
    if !by_attempt && let Some(intent) = invoice["__intent"].as_str() {
        let open = w
            .get("payment_intent", intent)
            .is_some_and(|v| v["status"] != "succeeded" && v["status"] != "canceled");
        if open {
            intents::cancel(w, intent, Some("void_invoice"));
        }
    }
}

/// A settled invoice brings its subscription back.
pub(crate) fn recovered(w: &mut World, invoice: &Value) {
    let subscription = text(&invoice["parent"]["subscription_details"], "subscription");
    if !subscription.is_empty() {
        subscriptions::invoice_settled(w, &subscription, &text(invoice, "id"));
    }
}

/// Voids an invoice and its payment.
pub(crate) fn void(w: &mut World, id: &str) -> Value {
    let now = w.now;
    let (_, invoice) = w.change(id, |v| {
        v["status"] = json!("void");
        v["auto_advance"] = json!(false);
        v["next_payment_attempt"] = Value::Null;
        v["amount_remaining"] = json!(0);
        v["status_transitions"]["voided_at"] = json!(now);
    });
    settle_payment(w, &invoice, false);
    w.tell("invoice.voided", &invoice);
    recovered(w, &invoice);
    invoice
}
