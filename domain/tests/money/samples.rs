//! Stripe's sample events and flows of this area, as they lie in the corpus.

use crate::build::PLATFORM;
use crate::histories::History;
use crate::orders::{Walk, holds, world};
use bursar_domain::decision::Disposition;
use bursar_domain::effect::Effect;
use bursar_domain::ids::{AccountId, CustomerId, Scope, TenantId};
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::reread::RereadTarget;
use bursar_domain::rows::RowKind;
use bursar_domain::testing::World;
use serde_json::{Value, json};
use std::path::PathBuf;

fn corpus(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/corpus/stripe")
        .join(path)
}

fn read(path: &str) -> Value {
    let text = std::fs::read_to_string(corpus(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn sample(name: &str) -> Value {
    read(&format!("events/2025-04-30.basil/{name}.json"))
}

fn flow(name: &str) -> Vec<Value> {
    let flow = read(&format!("scenarios/{name}.json"));
    flow["events"].as_array().unwrap().clone()
}

/// A world in which the corpus' customers and merchant belong to tenants.
fn linked() -> World {
    let mut world = world();
    let mut link = |key: LinkKey, tenant: &str| {
        let tenant = TenantId::parse(tenant).unwrap();
        let exists = LinkKey::Tenant(tenant.clone());
        let tenant = Some(tenant);
        world.links.insert(
            exists,
            LinkTarget {
                tenant: tenant.clone(),
            },
        );
        world.links.insert(key, LinkTarget { tenant });
    };
    let customer = |id: &str| LinkKey::Customer(Scope::PLATFORM, CustomerId::parse(id).unwrap());
    link(customer("cus_OM4YOIUd3xZ0GV"), "ws_42");
    link(customer("cus_E9MSObuzxYossI"), "ws_43");
    link(
        LinkKey::Merchant(AccountId::parse("acct_1RNcMerchantAB12C").unwrap()),
        "tn_7",
    );
    world
}

const AREA: [&str; 9] = [
    "payment_intent.",
    "charge.",
    "refund.",
    "radar.",
    "review.",
    "payout.",
    "account.",
    "capability.",
    "charge.dispute.",
];

#[test]
fn every_sample_event_of_the_area_is_applied() {
    let mut seen = 0;
    for version in ["2025-04-30.basil", "2024-06-20"] {
        for file in std::fs::read_dir(corpus(&format!("events/{version}"))).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let event: Value = serde_json::from_str(&text).unwrap();
            let kind = event["type"].as_str().unwrap();
            if !AREA.iter().any(|prefix| kind.starts_with(prefix)) {
                continue;
            }
            seen += 1;
            let mut world = linked();
            // Parts wait for their payment; here all payments are known already.
            for part in ["payment_intent", "charge"] {
                if let Some(id) = event["data"]["object"][part].as_str() {
                    let payment = bursar_domain::ids::PaymentId::parse(id).unwrap();
                    let target = LinkTarget { tenant: None };
                    world
                        .links
                        .insert(LinkKey::Payment(Scope::PLATFORM, payment), target);
                }
            }
            world.deliver(text.as_bytes());
            let fate = world.fates.get(event["id"].as_str().unwrap());
            let applied = fate.map(|(disposition, _)| *disposition);
            assert_eq!(applied, Some(Disposition::Applied), "{kind}: {fate:?}");
            assert!(!world.timeline.is_empty(), "{kind}");
        }
    }
    assert!(seen > 35, "only {seen} samples");
}

#[test]
fn the_sample_dispute_is_won_in_every_order() {
    let mut events = flow("dispute_won");
    // The warning before it has tests of its own; six events have 720 orders, seven 5,040.
    events.retain(|event| event["type"] != "radar.early_fraud_warning.created");
    events.insert(0, sample("charge.succeeded"));
    let history = History {
        name: "dispute_won",
        events,
        payment: "pi_3llMhrRNbDemoPlatfvRGNNY",
        truth: json!({ "amountCaptured": 2_000, "amountRefunded": 0, "disputed": true,
            "needsReview": false, "tenantId": "ws_42", "currency": "usd" }),
        // The dispute is won and its fee stays with Stripe.
        books: vec![("stripe_balance", 500), ("revenue", -500)],
        others: vec![(
            "dispute",
            "du_137QSPRNbDemoPlatfketcFT",
            json!({ "status": "won", "evidenceDueBy": "2025-06-21T10:00:00Z" }),
        )],
        most: (2_000, 0),
    };
    let mut walk = Walk::of(&history);
    walk.explore(&linked(), &[]);
    walk.check();
}

#[test]
fn the_sample_account_is_onboarded_restricted_and_gone_in_every_order() {
    let history = History {
        name: "connect_onboarding",
        events: flow("connect_onboarding"),
        payment: "",
        truth: json!({}),
        books: vec![],
        others: vec![(
            "merchant",
            "acct_1RNcMerchantAB12C",
            json!({ "tenantId": "tn_7",
            "deauthorized": true, "chargesEnabled": false, "payoutsEnabled": false,
            "detailsSubmitted": true }),
        )],
        most: (0, 0),
    };
    let mut walk = Walk::of(&history);
    walk.explore(&linked(), &[]);
    walk.check();
}

fn is_about_a_fee(effect: &Effect) -> bool {
    let Effect::Reread(reread) = effect else {
        return false;
    };
    matches!(reread.target, RereadTarget::BalanceTransaction(_))
}

#[test]
fn the_sample_connect_refunds_count_beside_what_the_capture_released() {
    let mut world = linked();
    for name in [
        "refund.created",
        "charge.refunded.partial",
        "payment_intent.succeeded.connect_partial_capture",
        "charge.captured",
    ] {
        let event = sample(name);
        assert_ne!(event["account"], PLATFORM);
        world.deliver_json(&event);
    }
    let truth = json!({ "amount": 10_000, "amountCaptured": 8_000, "amountRefunded": 3_000,
        "merchantAccountId": "acct_1RNcMerchantAB12C", "needsReview": false, "status": "succeeded" });
    holds(
        &world,
        RowKind::Payment,
        "pi_3U1fUuRNbDemoPlatfvYLYGI",
        &truth,
        "as sampled",
    );
    world.advance_to(bursar_domain::ids::Timestamp(world.now.0 + 3_600_000));
    let asked = world.effects_of("reread").into_iter();
    let asked = asked.filter(|effect| !is_about_a_fee(effect));
    assert_eq!(asked.count(), 0, "nothing but fees is missing");
}
