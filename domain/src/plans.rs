//! The plan catalogue: what a price of Stripe means to the product.
//!
//! Invariants: plan ids and price ids are unique in a catalogue (checked by whoever reads it, the
//! `config` crate); at most one plan is the free default. Pure values: no file, no environment.
//! Source: contract §2 ("A plan in the catalogue") and §4 ("The plan").

use crate::ids::PriceId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Days a failed renewal keeps access when a plan does not say.
pub const GRACE_DAYS_DEFAULT: u32 = 7;

/// How Checkout must be opened for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutMode {
    /// One-time payment.
    Payment,
    /// Recurring.
    Subscription,
}

/// What paying for a plan does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanEffect {
    /// A licence while the subscription lives.
    Subscription(SubscriptionPlan),
    /// A one-time grant of this many credits per unit bought.
    Credits(u64),
    /// The free plan: no price; applies whenever no subscription lives.
    Free {
        /// Features it gives.
        features: BTreeSet<String>,
        /// Limits it gives.
        limits: BTreeMap<String, Limit>,
    },
}

/// The terms of a recurring plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionPlan {
    /// Trial, in days of 24 h, once per tenant.
    pub trial_days: u32,
    /// Access kept after a failed renewal, in days of 24 h.
    pub grace_days: u32,
    /// What the licence allows.
    pub features: BTreeSet<String>,
    /// How much of it.
    pub limits: BTreeMap<String, Limit>,
    /// Smallest quantity sold.
    pub min_quantity: u64,
    /// Largest quantity sold, if bounded.
    pub max_quantity: Option<u64>,
}

/// An upper bound on a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// A fixed number.
    Fixed(u64),
    /// The quantity of the subscription.
    Quantity,
}

/// What ends access bought with a plan before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeOn {
    /// The payment was refunded in full.
    FullRefund,
    /// A dispute about the payment was lost.
    DisputeLost,
}

/// One plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its id, ours.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// Its prices at Stripe; the first is the one Checkout sells. Empty for the free plan.
    pub price_ids: Vec<PriceId>,
    /// What it does.
    pub effect: PlanEffect,
    /// What ends it early.
    pub revoke_on: BTreeSet<RevokeOn>,
}

/// All plans, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The plans.
    pub plans: Vec<Plan>,
}

/// How Checkout must be opened for this effect: credits are bought once, a subscription recurs, a
/// free plan is not sold.
pub fn mode_of(effect: &PlanEffect) -> Option<CheckoutMode> {
    match effect {
        PlanEffect::Subscription(_) => Some(CheckoutMode::Subscription),
        PlanEffect::Credits(_) => Some(CheckoutMode::Payment),
        PlanEffect::Free { .. } => None,
    }
}

impl Catalogue {
    /// The plan with this id.
    pub fn plan(&self, id: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id == id)
    }
    /// The plan sold under this price.
    pub fn plan_by_price_id(&self, price: &PriceId) -> Option<&Plan> {
        self.plans
            .iter()
            .find(|plan| plan.price_ids.contains(price))
    }
    /// The id of the plan sold under this price.
    pub fn plan_id_by_price_id(&self, price: &PriceId) -> Option<&str> {
        self.plan_by_price_id(price).map(|plan| plan.id.as_str())
    }
    /// The free plan, if the catalogue has one.
    pub fn free(&self) -> Option<&Plan> {
        self.plans
            .iter()
            .find(|plan| matches!(plan.effect, PlanEffect::Free { .. }))
    }
}
