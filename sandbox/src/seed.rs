//! Products and prices to begin with.
//!
//! Invariants: a lookup key seeds one product with one active price.
//! Not here: which plans a demo wants.
//! Failure: the reason in words.
//! Source of outside rules: none.

use crate::api::catalog;
use crate::world::{World, text};
use serde_json::json;

/// A plan to create.
#[derive(Debug, Clone)]
pub struct SeedPlan {
    /// `lookup_key` of the price, e.g. `hobby`.
    pub lookup_key: String,
    /// Name of the product.
    pub name: String,
    /// Minor units.
    pub unit_amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// `month`, `year`, …; absent for one-time prices.
    pub interval: Option<String>,
}

impl SeedPlan {
    /// The plans of the demo: hobby and pro monthly, ten credits once.
    pub fn demo() -> Vec<Self> {
        let plan = |key: &str, name: &str, unit_amount, interval: Option<&str>| Self {
            lookup_key: key.to_owned(),
            name: name.to_owned(),
            unit_amount,
            currency: "usd".to_owned(),
            interval: interval.map(str::to_owned),
        };
        vec![
            plan("hobby", "Hobby", 900, Some("month")),
            plan("pro", "Pro", 2900, Some("month")),
            plan("credits-10", "10 credits", 1000, None),
        ]
    }
}

/// A plan that was created.
#[derive(Debug, Clone)]
pub struct Seeded {
    /// The lookup key asked for.
    pub lookup_key: String,
    /// `prod_…`.
    pub product_id: String,
    /// `price_…`.
    pub price_id: String,
}

/// Creates the plans.
pub(crate) fn plant(w: &mut World, plans: &[SeedPlan]) -> Result<Vec<Seeded>, String> {
    let mut seeded = Vec::new();
    for plan in plans {
        let mut wish = json!({"currency": plan.currency, "unit_amount": plan.unit_amount,
            "lookup_key": plan.lookup_key, "product_data": {"name": plan.name}});
        if let Some(interval) = &plan.interval {
            wish["recurring"] = json!({"interval": interval});
        }
        let price = catalog::create_price(w, &wish)
            .map_err(|e| format!("{}: {}", plan.lookup_key, text(&e.body, "message")))?;
        seeded.push(Seeded {
            lookup_key: plan.lookup_key.clone(),
            product_id: text(&price, "product"),
            price_id: text(&price, "id"),
        });
    }
    Ok(seeded)
}
