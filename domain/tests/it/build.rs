//! Synthetic Stripe objects in the basil shape, as small as the product needs them.

use bursar_domain::testing::event;
use serde_json::{Value, json};

/// A monthly period in seconds.
pub(crate) const MONTH: i64 = 30 * 86_400;

/// Makes events with ids of their own.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) events: Vec<Value>,
}

impl Story {
    pub(crate) fn tell(&mut self, kind: &str, at: i64, object: Value) -> &mut Self {
        self.tell_after(kind, at, object, None)
    }
    pub(crate) fn tell_after(
        &mut self,
        kind: &str,
        at: i64,
        object: Value,
        previous: Option<Value>,
    ) -> &mut Self {
        let id = format!("evt_{:03}", self.events.len());
        self.events.push(event(&id, kind, at, "", object, previous));
        self
    }
}

pub(crate) fn customer(id: &str, created: i64, tenant: Option<&str>) -> Value {
    let metadata = tenant.map_or(json!({}), |tenant| json!({"tenant_id": tenant}));
    json!({"id": id, "object": "customer", "created": created, "email": format!("{id}@example.com"),
        "name": "N", "metadata": metadata, "livemode": false})
}

/// A subscription to `price`, its period ending at `end`.
pub(crate) fn subscription(
    id: &str,
    customer: &str,
    status: &str,
    price: &str,
    start: i64,
    end: i64,
) -> Value {
    json!({"id": id, "object": "subscription", "customer": customer, "status": status,
        "created": start.min(end), "start_date": start, "cancel_at_period_end": false, "cancel_at": null,
        "canceled_at": null, "ended_at": null, "trial_end": null, "latest_invoice": null,
        "discounts": [], "metadata": {}, "currency": "usd", "livemode": false,
        "items": {"object": "list", "data": [{"id": "si_1", "quantity": 1,
            "current_period_start": start, "current_period_end": end, "price": {"id": price}}]}})
}

pub(crate) fn with(mut object: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().unwrap() {
        object[key] = value.clone();
    }
    object
}

/// An invoice of a subscription for the period ending at `end`.
pub(crate) fn invoice(
    id: &str,
    customer: &str,
    subscription: &str,
    status: &str,
    created: i64,
    end: i64,
) -> Value {
    let paid = if status == "paid" { 2000 } else { 0 };
    json!({"id": id, "object": "invoice", "customer": customer, "status": status, "created": created,
        "currency": "usd", "amount_due": 2000, "amount_paid": paid, "attempt_count": 0,
        "billing_reason": "subscription_cycle", "number": format!("N-{id}"), "metadata": {},
        "due_date": null, "next_payment_attempt": null, "livemode": false,
        "period_end": created, "status_transitions": {"paid_at": null},
        "parent": {"type": "subscription_details",
            "subscription_details": {"subscription": subscription, "metadata": {}}},
        "lines": {"object": "list", "data": [{"id": "il_1", "period": {"start": end - MONTH, "end": end},
            "parent": {"type": "subscription_item_details",
                "subscription_item_details": {"subscription": subscription}}}]}})
}

pub(crate) fn session(
    id: &str,
    created: i64,
    mode: &str,
    customer: Option<&str>,
    reference: Option<&str>,
) -> Value {
    json!({"id": id, "object": "checkout.session", "created": created, "mode": mode,
        "status": "complete", "payment_status": "paid", "amount_total": 2000, "currency": "usd",
        "customer": customer, "client_reference_id": reference, "metadata": {}, "subscription": null,
        "payment_intent": null, "payment_link": null, "invoice": null, "livemode": false,
        "customer_details": {"email": "payer@example.com", "name": "Payer"}})
}
