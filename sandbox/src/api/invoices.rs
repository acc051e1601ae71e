//! Invoices as requests see them: create, finalize, pay, void, preview, items, payments.
//!
//! Invariants: `draft → open → paid | void | uncollectible`, paid and void are final; totals are the
//! sum of the lines.
//! Not here: how an invoice is built and collected (`billing::collect`), when (`billing::due`).
//! Failure: 400 for impossible transitions, 402 for declined payments.
//! Source of outside rules: Stripe API reference, "Invoices", "Invoice Items", "Invoice Payment".

use super::{fields, payment_methods, subscriptions};
use crate::billing::collect::{self, NewInvoice};
use crate::error::ApiError;
use crate::lists;
use crate::world::{World, int, public, text};
use serde_json::{Value, json};

pub(crate) use crate::billing::collect::{attempt_failed, mark_paid};

pub(crate) fn create(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let subscription = fields::given(p, "subscription");
    let customer = match (fields::given(p, "customer"), subscription) {
        (Some(id), _) => w.need("customer", id, "customer")?,
        (None, Some(id)) => {
            let customer = text(&w.need("subscription", id, "subscription")?, "customer");
            w.need("customer", &customer, "customer")?
        }
        _ => return Err(ApiError::missing("customer")),
    };
    let customer_id = text(&customer, "id");
    // Since 2022-08-01 an invoice leaves pending items alone unless asked to take them.
    let takes_pending = p["pending_invoice_items_behavior"] == "include" || subscription.is_some();
    let lines = if takes_pending {
        collect::take_pending(w, &customer_id, subscription)
    } else {
        Vec::new()
    };
    let currency = lines
        .first()
        .map(|l| text(l, "currency"))
        .or_else(|| p["currency"].as_str().map(str::to_owned));
    let new = NewInvoice {
        customer: customer_id,
        subscription: subscription.map(str::to_owned),
        currency: currency.unwrap_or_else(|| "usd".to_owned()),
        reason: "manual",
        lines,
        period: (w.now, w.now),
        auto_advance: p["auto_advance"] == true,
    };
    let invoice = collect::draft(w, &new);
    let id = text(&invoice, "id");
    let mut invoice = invoice;
    fields::copy(
        &mut invoice,
        p,
        &[
            "description",
            "footer",
            "collection_method",
            "default_payment_method",
            "statement_descriptor",
        ],
    );
    if invoice["collection_method"] == "send_invoice" {
        let days = p["days_until_due"].as_i64();
        let due = p["due_date"]
            .as_i64()
            .or_else(|| days.map(|d| w.now + d * 86_400));
        invoice["due_date"] = json!(due.ok_or_else(|| ApiError::missing("days_until_due"))?);
    }
    fields::metadata(&mut invoice, p)?;
    let (_, invoice) = w.change(&id, |v| *v = invoice);
    w.tell("invoice.created", &invoice);
    Ok(invoice)
}

fn need_status(w: &World, id: &str, allowed: &[&str], done: &str) -> Result<Value, ApiError> {
    let invoice = w.need("invoice", id, "invoice")?;
    let status = text(&invoice, "status");
    if allowed.contains(&status.as_str()) {
        return Ok(invoice);
    }
    if status == "paid" && done == "paid" {
        return Err(ApiError::refused(
            Some("invoice_already_paid"),
            "Invoice is already paid",
        ));
    }
    let message = format!("This invoice cannot be {done} because its status is {status}.");
    Err(ApiError::refused(Some("invoice_not_editable"), &message))
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut invoice = w.need("invoice", id, "invoice")?;
    fields::copy(
        &mut invoice,
        p,
        &[
            "description",
            "footer",
            "auto_advance",
            "default_payment_method",
            "due_date",
        ],
    );
    fields::metadata(&mut invoice, p)?;
    Ok(w.change_and_tell(id, "invoice.updated", |v| *v = invoice))
}

pub(crate) fn delete(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let invoice = need_status(w, id, &["draft"], "deleted")?;
    if !invoice["parent"].is_null() {
        return Err(ApiError::refused(
            None,
            "You can only delete one-off draft invoices; void this one.",
        ));
    }
    w.remove(id);
    w.tell("invoice.deleted", &invoice);
    Ok(json!({"id": id, "object": "invoice", "deleted": true}))
}

pub(crate) fn finalize_request(w: &mut World, id: &str) -> Result<Value, ApiError> {
    need_status(w, id, &["draft"], "finalized")?;
    let invoice = collect::finalize(w, id);
    w.tell("invoice.finalized", &invoice);
    if int(&invoice, "amount_due") == 0 {
        mark_paid(w, id, true);
    } else {
        collect::ensure_intent(w, id);
    }
    w.need("invoice", id, "invoice")
}

pub(crate) fn pay(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let invoice = need_status(w, id, &["draft", "open", "uncollectible"], "paid")?;
    if invoice["status"] == "draft" {
        let finalized = collect::finalize(w, id);
        w.tell("invoice.finalized", &finalized);
    }
    if p["paid_out_of_band"] == true || int(&invoice, "amount_due") == 0 {
        mark_paid(w, id, p["paid_out_of_band"] != true);
        return w.need("invoice", id, "invoice");
    }
    let method = match fields::given(p, "payment_method").or_else(|| fields::given(p, "source")) {
        Some(pm) => Some(payment_methods::resolve(w, pm, "payment_method")?),
        None => None,
    };
    collect::attempt(w, id, method, p["off_session"] == true)?;
    w.need("invoice", id, "invoice")
}

pub(crate) fn void(w: &mut World, id: &str) -> Result<Value, ApiError> {
    need_status(w, id, &["open", "uncollectible"], "voided")?;
    Ok(collect::void(w, id))
}

pub(crate) fn mark_uncollectible(w: &mut World, id: &str) -> Result<Value, ApiError> {
    need_status(w, id, &["open"], "marked uncollectible")?;
    let now = w.now;
    let (_, invoice) = w.change(id, |v| {
        v["status"] = json!("uncollectible");
        v["auto_advance"] = json!(false);
        v["next_payment_attempt"] = Value::Null;
        v["status_transitions"]["marked_uncollectible_at"] = json!(now);
    });
    w.tell("invoice.marked_uncollectible", &invoice);
    collect::recovered(w, &invoice);
    Ok(invoice)
}

pub(crate) fn send(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let invoice = need_status(w, id, &["draft", "open"], "sent")?;
    if invoice["status"] == "draft" {
        finalize_request(w, id)?;
    }
    let invoice = w.need("invoice", id, "invoice")?;
    w.tell("invoice.sent", &invoice);
    Ok(invoice)
}

pub(crate) fn lines(w: &World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let invoice = w.need("invoice", id, "invoice")?;
    let rows = invoice["lines"]["data"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    lists::page_of(rows, &format!("/v1/invoices/{id}/lines"), p)
}

pub(crate) fn list_payments(w: &World, p: &Value) -> Result<Value, ApiError> {
    lists::page(w, "invoice_payment", "/v1/invoice_payments", p, |v| {
        let asked = &p["payment"]["payment_intent"];
        (p["invoice"].is_null() || p["invoice"] == v["invoice"])
            && (p["status"].is_null() || p["status"] == v["status"])
            && (asked.is_null() || *asked == v["payment"]["payment_intent"])
    })
}

pub(crate) fn create_item(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let customer = fields::required(p, "customer")?;
    w.need("customer", customer, "customer")?;
    let quantity = p["quantity"].as_i64().unwrap_or(1);
    let (amount, currency, pricing) = match p["pricing"]["price"].as_str() {
        Some(id) => {
            let price = w.need("price", id, "pricing[price]")?;
            let pricing = json!({"type": "price_details", "unit_amount_decimal": price["unit_amount_decimal"],
                "price_details": {"price": id, "product": price["product"]}});
            (
                int(&price, "unit_amount") * quantity,
                text(&price, "currency"),
                pricing,
            )
        }
        None => {
            let amount = p["amount"]
                .as_i64()
                .ok_or_else(|| ApiError::missing("amount"))?;
            (amount, fields::currency(p, "currency")?, Value::Null)
        }
    };
    let invoice = match fields::given(p, "invoice") {
        Some(id) => Some(need_status(w, id, &["draft"], "changed")?),
        None => None,
    };
    let mut item = w.fresh("invoiceitem", "ii");
    item["customer"] = json!(customer);
    item["amount"] = json!(amount);
    item["currency"] = json!(currency);
    item["quantity"] = json!(quantity);
    item["pricing"] = pricing;
    item["date"] = json!(w.now);
    item["period"] = json!({"start": w.now, "end": w.now});
    if let Some(subscription) = fields::given(p, "subscription") {
        w.need("subscription", subscription, "subscription")?;
        item["parent"] = json!({"type": "subscription_details", "subscription_details": {"subscription": subscription}});
    }
    fields::copy(&mut item, p, &["description", "discountable", "period"]);
    fields::metadata(&mut item, p)?;
    w.insert(item.clone());
    w.tell("invoiceitem.created", &item);
    if let Some(invoice) = invoice {
        let id = text(&invoice, "id");
        let line = collect::line_of_item(w, &item);
        collect::add_line(w, &id, line);
        item = w.change(&text(&item, "id"), |v| v["invoice"] = json!(id)).1;
    }
    Ok(item)
}

pub(crate) fn update_item(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut item = w.need("invoiceitem", id, "invoiceitem")?;
    if !item["invoice"].is_null() {
        return Err(ApiError::refused(
            Some("invoice_not_editable"),
            "This item is on an invoice already.",
        ));
    }
    fields::copy(
        &mut item,
        p,
        &["amount", "description", "quantity", "discountable"],
    );
    fields::metadata(&mut item, p)?;
    Ok(w.change(id, |v| *v = item).1)
}

pub(crate) fn delete_item(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let item = w.need("invoiceitem", id, "invoiceitem")?;
    if !item["invoice"].is_null() {
        return Err(ApiError::refused(
            Some("invoice_not_editable"),
            "This item is on an invoice already.",
        ));
    }
    w.remove(id);
    w.tell("invoiceitem.deleted", &item);
    Ok(json!({"id": id, "object": "invoiceitem", "deleted": true}))
}

/// What the next invoice would be; nothing is stored.
pub(crate) fn preview(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let subscription = match fields::given(p, "subscription") {
        Some(id) => Some(w.need("subscription", id, "subscription")?),
        None => None,
    };
    let details = &p["subscription_details"];
    let (lines, customer, currency, period) = match &subscription {
        Some(sub) => {
            if subscriptions::is_over(sub) {
                let message = "No upcoming invoices for a canceled subscription.";
                return Err(ApiError::refused(Some("invoice_upcoming_none"), message));
            }
            let change = subscriptions::planned_change(w, sub, details)?;
            let end = subscriptions::period_end(sub);
            (
                change.preview_lines(w, sub),
                text(sub, "customer"),
                text(sub, "currency"),
                (w.now, end),
            )
        }
        None => {
            let customer = fields::given(p, "customer").unwrap_or_default().to_owned();
            let items = subscriptions::items_from(w, &details["items"])?;
            let now = w.now;
            let lines: Vec<Value> = items
                .iter()
                .map(|item| {
                    collect::line_for_price(
                        w,
                        &item.price,
                        item.quantity,
                        (now, collect::next_period(&item.price, now)),
                        None,
                    )
                })
                .collect();
            let currency = items
                .first()
                .map_or("usd".to_owned(), |i| text(&i.price, "currency"));
            (lines, customer, currency, (now, now))
        }
    };
    let new = NewInvoice {
        customer,
        subscription: subscription.as_ref().map(|s| text(s, "id")),
        currency,
        reason: "upcoming",
        lines,
        period,
        auto_advance: true,
    };
    let invoice = collect::draft(w, &new);
    let id = text(&invoice, "id");
    w.remove(&id);
    let mut invoice = public(&invoice);
    invoice["id"] = json!(id.replacen("in_", "upcoming_in_", 1));
    if subscription.is_some() && details["items"].is_array() {
        // Only previews of prorations say as of when they were computed.
        let at = details["proration_date"].as_i64().unwrap_or(w.now);
        invoice["parent"]["subscription_details"]["subscription_proration_date"] = json!(at);
    }
    Ok(invoice)
}
