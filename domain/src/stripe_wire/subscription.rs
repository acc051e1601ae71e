//! The subscription object, in the shapes before and since basil.
//!
//! Source: Stripe changelog, basil 2025-03-31 (periods moved to the items; `discount` to `discounts`).

use super::fields::{Metadata, Reference, lenient, reference, required, required_id};
use super::{WireError, WireObject};
use serde::{Deserialize, Serialize};

/// What Bursar keeps of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Subscription {
    pub id: Option<String>,
    pub customer: Reference,
    pub status: Option<String>,
    pub created: Option<i64>,
    pub start_date: Option<i64>,
    pub cancel_at: Option<i64>,
    pub cancel_at_period_end: Option<bool>,
    pub canceled_at: Option<i64>,
    pub ended_at: Option<i64>,
    pub trial_end: Option<i64>,
    /// Latest end over the items (basil), else the subscription's own.
    pub period_end: Option<i64>,
    /// Earliest start over the items (basil), else the subscription's own.
    pub period_start: Option<i64>,
    pub latest_invoice: Reference,
    pub items: Vec<SubscriptionItem>,
    /// Ids of the discounts.
    pub discounts: Vec<String>,
    /// Why it was canceled, Stripe's word.
    pub cancellation_reason: Option<String>,
    /// The change that waits for a payment.
    #[serde(deserialize_with = "lenient")]
    pub pending_update: Option<PendingUpdate>,
    pub metadata: Metadata,
}

/// A change that waits for its invoice to be paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct PendingUpdate {
    pub expires_at: Option<i64>,
    /// As they will be.
    pub items: Vec<SubscriptionItem>,
}

/// One item: a price and how many of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct SubscriptionItem {
    pub id: Option<String>,
    pub price: Reference,
    pub quantity: Option<u64>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Wire {
    id: Option<String>,
    #[serde(deserialize_with = "reference")]
    customer: Reference,
    status: Option<String>,
    created: Option<i64>,
    start_date: Option<i64>,
    cancel_at: Option<i64>,
    cancel_at_period_end: Option<bool>,
    canceled_at: Option<i64>,
    ended_at: Option<i64>,
    trial_end: Option<i64>,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
    #[serde(deserialize_with = "reference")]
    latest_invoice: Reference,
    items: Option<Items>,
    #[serde(deserialize_with = "lenient")]
    discount: Option<Discount>,
    #[serde(deserialize_with = "lenient")]
    discounts: Option<Vec<Discount>>,
    #[serde(deserialize_with = "lenient")]
    cancellation_details: Option<Cancellation>,
    #[serde(deserialize_with = "lenient")]
    pending_update: Option<Pending>,
    metadata: Metadata,
}
#[derive(Deserialize)]
struct Pending {
    expires_at: Option<i64>,
    subscription_items: Option<Vec<Item>>,
}
#[derive(Deserialize)]
struct Items {
    #[serde(default)]
    data: Vec<Item>,
}
#[derive(Deserialize)]
struct Item {
    id: Option<String>,
    #[serde(default, deserialize_with = "reference")]
    price: Reference,
    #[serde(default, deserialize_with = "reference")]
    plan: Reference,
    quantity: Option<u64>,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
}
#[derive(Deserialize)]
#[serde(untagged)]
enum Discount {
    Id(String),
    Object { id: String },
}
#[derive(Deserialize)]
struct Cancellation {
    reason: Option<String>,
}

fn shown(items: Vec<Item>) -> Vec<SubscriptionItem> {
    let shown = items.into_iter().map(|item| SubscriptionItem {
        id: item.id,
        price: item.price.or(item.plan),
        quantity: item.quantity,
    });
    shown.collect()
}

impl WireObject for Subscription {
    const OBJECT: &'static str = "subscription";
    fn read(json: &str) -> Result<Self, WireError> {
        let wire: Wire =
            serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))?;
        let items = wire.items.map(|items| items.data).unwrap_or_default();
        let starts = items.iter().filter_map(|item| item.current_period_start);
        let ends = items.iter().filter_map(|item| item.current_period_end);
        let discounts = wire
            .discounts
            .unwrap_or_default()
            .into_iter()
            .chain(wire.discount)
            .map(|discount| match discount {
                Discount::Id(id) | Discount::Object { id } => id,
            });
        Ok(Self {
            id: wire.id,
            customer: wire.customer,
            status: wire.status,
            created: wire.created,
            start_date: wire.start_date,
            cancel_at: wire.cancel_at,
            cancel_at_period_end: wire.cancel_at_period_end,
            canceled_at: wire.canceled_at,
            ended_at: wire.ended_at,
            trial_end: wire.trial_end,
            period_start: starts.min().or(wire.current_period_start),
            period_end: ends.max().or(wire.current_period_end),
            latest_invoice: wire.latest_invoice,
            discounts: discounts.collect(),
            cancellation_reason: wire.cancellation_details.and_then(|details| details.reason),
            pending_update: wire.pending_update.map(|pending| PendingUpdate {
                expires_at: pending.expires_at,
                items: shown(pending.subscription_items.unwrap_or_default()),
            }),
            metadata: wire.metadata,
            items: shown(items),
        })
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "status", &self.status)?;
        required(Self::OBJECT, "customer", &self.customer)
    }
}
