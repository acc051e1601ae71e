//! The corpus of Stripe's shapes, and the settings its events fit.

use bursar_domain::ids::{PriceId, Timestamp};
use bursar_domain::plans::{Catalogue, Limit, Plan, PlanEffect, SubscriptionPlan};
use bursar_domain::settings::Settings;
use bursar_domain::testing::World;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The corpus' T0: 2025-05-12T10:00:00Z.
pub(crate) const T0: i64 = 1_747_044_000;

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/stripe")
}

pub(crate) fn read(path: &str) -> Value {
    let path = root().join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn scenario(name: &str) -> Vec<Value> {
    let file = read(&format!("scenarios/{name}.json"));
    file["events"].as_array().unwrap().clone()
}

pub(crate) fn event(name: &str) -> Value {
    read(&format!("events/2025-04-30.basil/{name}.json"))
}

pub(crate) fn subscription_plan(id: &str, price: &str, features: &[&str]) -> Plan {
    Plan {
        id: id.to_owned(),
        name: id.to_uppercase(),
        price_ids: vec![PriceId::parse(price).unwrap()],
        effect: PlanEffect::Subscription(SubscriptionPlan {
            trial_days: 0,
            grace_days: 7,
            features: features.iter().map(|f| (*f).to_owned()).collect(),
            limits: BTreeMap::from([("seats".to_owned(), Limit::Quantity)]),
            min_quantity: 1,
            max_quantity: None,
        }),
        revoke_on: BTreeSet::new(),
    }
}

/// The plans of the corpus' prices.
pub(crate) fn settings() -> Settings {
    let credits = Plan {
        id: "credits-10".to_owned(),
        name: "10 credits".to_owned(),
        price_ids: vec![PriceId::parse("price_credits").unwrap()],
        effect: PlanEffect::Credits(10),
        revoke_on: BTreeSet::new(),
    };
    Settings {
        catalogue: Catalogue {
            plans: vec![
                subscription_plan("hobby", "price_hobby", &["export"]),
                subscription_plan("pro", "price_11ZgiQRNbDemoPlatfCt7QA7", &["export", "sso"]),
                credits,
            ],
        },
        platform_account: "acct_platform".to_owned(),
        ..Settings::default()
    }
}

pub(crate) fn world(now_seconds: i64) -> World {
    World::new(settings(), Timestamp::from_seconds(now_seconds))
}

/// The time of an event's creation.
pub(crate) fn created(event: &Value) -> i64 {
    event["created"].as_i64().unwrap()
}
