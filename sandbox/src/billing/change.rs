//! Changing a subscription's items: prorations, immediate invoices, pending updates.
//!
//! Invariants: a proration is the unused share of the old price back and the same share of the new
//! price charged, in whole minor units; a change of interval starts a new period now.
//! Not here: cancellation and other fields (`api::subscriptions`).
//! Failure: 402 with `error_if_incomplete`; nothing is changed then.
//! Source of outside rules: Stripe documentation, "Prorations", "Pending updates".

use super::collect::{self, NewInvoice};
use super::period::share;
use super::subscribe::{self, WishedItem};
use crate::api::catalog;
use crate::error::ApiError;
use crate::world::{World, int, public, text};
use serde_json::{Value, json};

/// One proration to be: description, amount, price, quantity, period.
#[derive(Debug, Clone)]
struct Proration {
    description: String,
    amount: i64,
    price: Value,
    quantity: i64,
    period: (i64, i64),
}

/// A planned change of items.
#[derive(Debug)]
pub(crate) struct Change {
    items: Vec<Value>,
    prorations: Vec<Proration>,
    /// The new anchor when the interval changes or the caller wants the cycle to start now.
    anchor: Option<i64>,
    changed: bool,
}

/// How a change is billed and what happens when the payment fails.
pub(crate) struct Terms<'a> {
    pub(crate) proration: &'a str,
    pub(crate) payment: &'a str,
    pub(crate) off_session: bool,
}

fn words(w: &World, price: &Value) -> String {
    w.get("product", &text(price, "product"))
        .map(|v| text(v, "name"))
        .unwrap_or_default()
}

/// Plans new items against the present ones.
pub(crate) fn plan(
    w: &mut World,
    sub: &Value,
    wishes: &Value,
    at: i64,
    anchor_now: bool,
) -> Result<Change, ApiError> {
    let old = sub["items"]["data"].as_array().cloned().unwrap_or_default();
    let mut items = old.clone();
    for (index, wish) in wishes.as_array().into_iter().flatten().enumerate() {
        let param = format!("items[{index}]");
        apply_wish(w, sub, &mut items, wish, &param)?;
    }
    if items.is_empty() {
        return Err(ApiError::invalid(
            "items",
            None,
            "A subscription must have at least one active plan.",
        ));
    }
    let interval = |i: &Value| {
        (
            i["price"]["recurring"]["interval"].clone(),
            i["price"]["recurring"]["interval_count"].clone(),
        )
    };
    let resets = anchor_now || old.first().map(interval) != items.first().map(interval);
    let mut change = Change {
        items,
        prorations: Vec::new(),
        anchor: None,
        changed: false,
    };
    change.changed = change.items != old;
    if sub["status"] != "trialing" {
        change.prorations = prorations(w, &old, &change.items, at, resets);
    }
    if resets && sub["status"] != "trialing" {
        change.anchor = Some(w.now);
        for item in &mut change.items {
            item["current_period_start"] = json!(w.now);
            item["current_period_end"] = json!(collect::next_period(&item["price"], w.now));
        }
    }
    Ok(change)
}

fn apply_wish(
    w: &mut World,
    sub: &Value,
    items: &mut Vec<Value>,
    wish: &Value,
    param: &str,
) -> Result<(), ApiError> {
    let price = match (wish["price"].as_str(), wish["plan"].as_str()) {
        (Some(id), _) | (None, Some(id)) => Some(recurring(w, id, &format!("{param}[price]"))?),
        _ if wish["price_data"].is_object() => Some(catalog::inline_price(
            w,
            &wish["price_data"],
            &format!("{param}[price_data]"),
        )?),
        _ => None,
    };
    if let Some(id) = wish["id"].as_str() {
        let Some(at) = items.iter().position(|i| i["id"] == id) else {
            return Err(ApiError::no_such(
                "subscription_item",
                id,
                &format!("{param}[id]"),
            ));
        };
        if wish["deleted"] == true {
            items.remove(at);
            return Ok(());
        }
        if let Some(price) = price {
            items[at]["plan"] = catalog::plan_of(&price);
            items[at]["price"] = price;
        }
        if wish["quantity"].is_i64() {
            items[at]["quantity"] = wish["quantity"].clone();
        }
        return crate::api::fields::metadata(&mut items[at], wish);
    }
    let price = price.ok_or_else(|| ApiError::missing(&format!("{param}[price]")))?;
    if items.iter().any(|i| i["price"]["id"] == price["id"]) {
        let message = format!(
            "A subscription item with price {} exists already; name it by id.",
            text(&price, "id")
        );
        return Err(ApiError::invalid(param, None, &message));
    }
    let period = items.first().map_or((w.now, w.now), |i| {
        (int(i, "current_period_start"), int(i, "current_period_end"))
    });
    let wished = WishedItem {
        price,
        quantity: wish["quantity"].as_i64().unwrap_or(1),
        metadata: wish["metadata"].clone(),
    };
    let made = subscribe::item(w, &text(sub, "id"), &wished, period);
    items.push(made);
    Ok(())
}

/// A price that can be subscribed to.
pub(crate) fn recurring(w: &World, id: &str, param: &str) -> Result<Value, ApiError> {
    let price = w.need("price", id, param)?;
    if price["type"] != "recurring" {
        let message = format!(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`: {id}."
        );
        return Err(ApiError::invalid(param, None, &message));
    }
    if price["active"] != true && !price["nickname"].is_null() {
        return Err(ApiError::invalid(
            param,
            None,
            "The price specified is inactive.",
        ));
    }
    Ok(price)
}

fn prorations(w: &World, old: &[Value], new: &[Value], at: i64, resets: bool) -> Vec<Proration> {
    let mut out = Vec::new();
    let same = |a: &Value, b: &Value| {
        a["price"]["id"] == b["price"]["id"] && a["quantity"] == b["quantity"]
    };
    for item in old {
        let now = new.iter().find(|n| n["id"] == item["id"]);
        if resets || now.is_none_or(|n| !same(item, n)) {
            out.push(proration(w, item, at, true));
        }
        if let (Some(now), false) = (now, resets)
            && !same(item, now)
        {
            out.push(proration(w, now, at, false));
        }
    }
    if !resets {
        let added = new
            .iter()
            .filter(|n| old.iter().all(|o| o["id"] != n["id"]));
        out.extend(added.map(|item| proration(w, item, at, false)));
    }
    out
}

fn proration(w: &World, item: &Value, at: i64, back: bool) -> Proration {
    let (start, end) = (
        int(item, "current_period_start"),
        int(item, "current_period_end"),
    );
    let at = at.clamp(start, end.max(start));
    let whole = int(&item["price"], "unit_amount") * int(item, "quantity");
    let part = share(whole, end - at, end - start);
    let name = words(w, &item["price"]);
    Proration {
        description: format!(
            "{} time on {} × {name}",
            if back { "Unused" } else { "Remaining" },
            int(item, "quantity")
        ),
        amount: if back { -part } else { part },
        price: item["price"].clone(),
        quantity: int(item, "quantity"),
        period: (at, end),
    }
}

impl Change {
    /// The lines the next invoice would have, for a preview.
    pub(crate) fn preview_lines(&self, w: &mut World, sub: &Value) -> Vec<Value> {
        let id = text(sub, "id");
        let mut lines = Vec::new();
        for proration in &self.prorations {
            let item = proration_item(w, sub, proration);
            lines.push(collect::line_of_item(w, &item));
        }
        let pending: Vec<Value> = w
            .newest("invoiceitem")
            .filter(|i| i["customer"] == sub["customer"] && i["invoice"].is_null())
            .cloned()
            .collect();
        for item in pending {
            lines.push(collect::line_of_item(w, &item));
        }
        for item in &self.items {
            let start = if self.anchor.is_some() {
                w.now
            } else {
                int(item, "current_period_end")
            };
            let anchor = self
                .anchor
                .unwrap_or_else(|| int(sub, "billing_cycle_anchor"));
            let recurring = &item["price"]["recurring"];
            let end = super::period::next(
                anchor,
                start,
                recurring["interval"].as_str().unwrap_or("month"),
                recurring["interval_count"].as_i64().unwrap_or(1),
            );
            lines.push(collect::line_for_price(
                w,
                &item["price"],
                int(item, "quantity"),
                (start, end),
                Some((&id, &text(item, "id"))),
            ));
        }
        lines
    }

    /// The prorations alone, for `always_invoice` previews.
    pub(crate) fn only_prorations(&mut self) {
        if self.anchor.is_none() {
            self.items.clear();
        }
    }
}

fn proration_item(w: &mut World, sub: &Value, proration: &Proration) -> Value {
    let mut item = w.fresh("invoiceitem", "ii");
    item["customer"] = sub["customer"].clone();
    item["amount"] = json!(proration.amount);
    item["currency"] = sub["currency"].clone();
    item["description"] = json!(proration.description);
    item["proration"] = json!(true);
    item["quantity"] = json!(proration.quantity);
    item["date"] = json!(w.now);
    item["metadata"] = sub["metadata"].clone();
    item["period"] = json!({"start": proration.period.0, "end": proration.period.1});
    item["discountable"] = json!(false);
    item["pricing"] = json!({"type": "price_details", "unit_amount_decimal": proration.price["unit_amount_decimal"],
        "price_details": {"price": proration.price["id"], "product": proration.price["product"]}});
    item["parent"] = json!({"type": "subscription_details", "subscription_details": {"subscription": sub["id"]}});
    item
}

/// Carries a planned change out on `target`, the subscription with its other changes in it.
///
/// # Errors
/// 402 with `error_if_incomplete`.
pub(crate) fn apply(
    w: &mut World,
    sub: &Value,
    target: Value,
    change: Change,
    terms: &Terms<'_>,
) -> Result<Value, ApiError> {
    let id = text(sub, "id");
    let bills_now = (terms.proration == "always_invoice" || change.anchor.is_some())
        && change.changed
        && sub["status"] != "trialing";
    let mut next = target;
    next["items"]["data"] = json!(change.items);
    if let Some(anchor) = change.anchor {
        next["billing_cycle_anchor"] = json!(anchor);
    }
    let checks_first = bills_now
        && matches!(
            terms.payment,
            "error_if_incomplete" | "pending_if_incomplete"
        );
    if !checks_first {
        w.change(&id, |v| *v = next.clone());
    }
    let mut items = Vec::new();
    if terms.proration != "none" {
        for proration in &change.prorations {
            let item = proration_item(w, sub, proration);
            w.insert(item.clone());
            items.push(item);
        }
    }
    if !bills_now {
        let after = w.get("subscription", &id).cloned().unwrap_or(next);
        w.tell_change("customer.subscription.updated", sub, &after);
        tell_items(w, &items);
        return Ok(after);
    }
    bill_now(w, sub, next, &change, &items, terms, checks_first)
}

/// Credits the unused rest of the period, when a cancellation asks for it.
pub(crate) fn credit_unused(w: &mut World, sub: &Value, items: &[Value]) {
    for item in items {
        let back = proration(w, item, w.now, true);
        let credit = proration_item(w, sub, &back);
        w.insert(credit.clone());
        w.tell("invoiceitem.created", &credit);
    }
}

fn tell_items(w: &mut World, items: &[Value]) {
    for item in items {
        w.tell("invoiceitem.created", item);
    }
}

fn bill_now(
    w: &mut World,
    sub: &Value,
    next: Value,
    change: &Change,
    items: &[Value],
    terms: &Terms<'_>,
    checks_first: bool,
) -> Result<Value, ApiError> {
    let id = text(sub, "id");
    let mut lines = collect::take_pending(w, &text(sub, "customer"), Some(&id));
    if change.anchor.is_some() {
        for item in &change.items {
            let period = (
                int(item, "current_period_start"),
                int(item, "current_period_end"),
            );
            lines.push(collect::line_for_price(
                w,
                &item["price"],
                int(item, "quantity"),
                period,
                Some((&id, &text(item, "id"))),
            ));
        }
    }
    let invoice = collect::draft(
        w,
        &NewInvoice {
            customer: text(sub, "customer"),
            subscription: Some(id.clone()),
            currency: text(sub, "currency"),
            reason: "subscription_update",
            lines,
            period: (w.now, w.now),
            auto_advance: true,
        },
    );
    let invoice_id = text(&invoice, "id");
    let mut next = next;
    next["latest_invoice"] = json!(invoice_id);
    if checks_first {
        return check_first(w, sub, next, &invoice, items, terms);
    }
    w.change(&id, |v| *v = next.clone());
    w.tell_change("customer.subscription.updated", sub, &next);
    tell_items(w, items);
    w.tell("invoice.created", &invoice);
    let finalized = collect::finalize(w, &invoice_id);
    w.tell("invoice.finalized", &finalized);
    schedule_if_anchored(w, &id, change.anchor, &next);
    // A declined card shows in the subscription's status, as with `allow_incomplete` at Stripe.
    drop(collect_now(w, &invoice_id, terms));
    w.need("subscription", &id, "id")
}

fn schedule_if_anchored(w: &mut World, id: &str, anchor: Option<i64>, next: &Value) {
    if anchor.is_some() {
        let end = next["items"]["data"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|i| int(i, "current_period_end"))
            .min();
        subscribe::schedule_period(w, id, end.unwrap_or(w.now + 86_400));
    }
}

fn collect_now(w: &mut World, invoice: &str, terms: &Terms<'_>) -> Result<(), ApiError> {
    if w.get("invoice", invoice)
        .is_some_and(|v| int(v, "amount_due") == 0)
    {
        collect::mark_paid(w, invoice, true);
        return Ok(());
    }
    collect::attempt(w, invoice, None, terms.off_session)
}

/// Pays first and changes only then; otherwise refuses, or leaves a pending update.
fn check_first(
    w: &mut World,
    sub: &Value,
    next: Value,
    invoice: &Value,
    items: &[Value],
    terms: &Terms<'_>,
) -> Result<Value, ApiError> {
    let id = text(sub, "id");
    let invoice_id = text(invoice, "id");
    w.change(&invoice_id, |v| v["__silent"] = json!(true));
    let finalized = collect::finalize(w, &invoice_id);
    let outcome = collect_now(w, &invoice_id, terms);
    let paid = w
        .get("invoice", &invoice_id)
        .is_some_and(|v| v["status"] == "paid");
    if !paid && terms.payment == "error_if_incomplete" {
        w.remove(&invoice_id);
        for item in items {
            w.remove(&text(item, "id"));
        }
        return Err(outcome.err().unwrap_or_else(|| {
            ApiError::card(
                "authentication_required",
                Some("authentication_required"),
                "The payment needs authentication.",
            )
        }));
    }
    let target = if paid {
        next
    } else {
        let mut waiting = sub.clone();
        waiting["latest_invoice"] = json!(invoice_id);
        waiting["__next"] = next.clone();
        waiting["pending_update"] = json!({"billing_cycle_anchor": null, "expires_at": w.now + 23 * 3_600,
            "subscription_items": public(&next["items"]["data"]), "trial_end": null, "trial_from_plan": null});
        w.schedule(
            w.now + 23 * 3_600,
            crate::world::Due::IncompleteExpires(id.clone()),
        );
        waiting
    };
    let (_, after) = w.change(&id, |v| *v = target);
    w.tell_change("customer.subscription.updated", sub, &after);
    tell_items(w, items);
    w.tell("invoice.created", invoice);
    w.tell("invoice.finalized", &finalized);
    let (_, settled) = w.change(&invoice_id, |v| v["__silent"] = json!(false));
    if paid {
        w.tell("invoice.paid", &settled);
        w.tell("invoice.payment_succeeded", &settled);
    } else {
        let needs_bank = w
            .get("payment_intent", &text(&settled, "__intent"))
            .is_some_and(|v| v["status"] == "requires_action");
        w.tell(
            if needs_bank {
                "invoice.payment_action_required"
            } else {
                "invoice.payment_failed"
            },
            &settled,
        );
    }
    Ok(after)
}

/// The invoice of a pending update was paid: the change applies now.
pub(crate) fn pending_applied(w: &mut World, id: &str) {
    let (before, after) = w.change(id, |v| {
        let next = v["__next"].take();
        if next.is_object() {
            let latest = v["latest_invoice"].clone();
            *v = next;
            v["latest_invoice"] = latest;
        }
        v["pending_update"] = Value::Null;
    });
    w.tell("customer.subscription.pending_update_applied", &after);
    w.tell_change("customer.subscription.updated", &before, &after);
}

/// A pending update ran out unpaid.
pub(crate) fn pending_expired(w: &mut World, id: &str) {
    let (before, after) = w.change(id, |v| {
        v["__next"] = Value::Null;
        v["pending_update"] = Value::Null;
    });
    collect::void(w, &text(&before, "latest_invoice"));
    w.tell("customer.subscription.pending_update_expired", &after);
    w.tell_change("customer.subscription.updated", &before, &after);
}
