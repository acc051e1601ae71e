//! Every sample of the corpus reads and is addressed; old and new shapes mean the same.

use crate::corpus::{T0, created, event, read, root, settings};
use bursar_domain::ids::Timestamp;
use bursar_domain::route::{Fate, route};
use bursar_domain::rows::RowKind;
use bursar_domain::settings::Settings;
use bursar_domain::testing::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn samples(folder: &str) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = std::fs::read_dir(root().join("events").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| (name.clone(), read(&format!("events/{folder}/{name}"))))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty());
    all
}

fn fate(event: &Value, settings: &Settings) -> Fate {
    let body = serde_json::to_vec_pretty(event).unwrap();
    route(&body, settings, Timestamp::from_seconds(T0)).fate
}

#[test]
fn every_sample_of_the_corpus_is_read_and_addressed() {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for folder in ["2025-04-30.basil", "2024-06-20"] {
        for (name, event) in samples(folder) {
            let word = match fate(&event, &settings()) {
                Fate::Pending { .. } => "pending",
                Fate::Ignored { reason } => {
                    assert!(name.starts_with("payment_method."), "{name}: {reason}");
                    "ignored"
                }
                Fate::Dead { reason } => panic!("{folder}/{name}: {reason}"),
            };
            *counts.entry(word).or_default() += 1;
        }
    }
    assert_eq!(counts, BTreeMap::from([("ignored", 1), ("pending", 92)]));
    let (_, thin) = samples("thin").remove(0);
    assert!(matches!(fate(&thin, &settings()), Fate::Ignored { .. }));
}

#[test]
fn each_sample_gets_a_disposition_in_a_world_that_knows_its_tenants() {
    use bursar_domain::decision::Disposition;
    for (name, event) in samples("2025-04-30.basil") {
        let mut world = known_world(created(&event));
        world.deliver_json(&event);
        let fate = &world.fates[event["id"].as_str().unwrap()];
        let fits = match fate.0 {
            Disposition::Applied => true,
            Disposition::Ignored => name.starts_with("payment_method."),
            // Objects of a connected account nobody linked, or of a customer no session named.
            Disposition::Parked => world.parked_count() > 0,
            Disposition::Stale | Disposition::Duplicate | Disposition::Dead => false,
        };
        assert!(fits, "{name}: {fate:?}");
    }
}

/// A world in which the corpus' tenants exist and their checkouts are known.
fn known_world(now: i64) -> World {
    let mut world = World::new(settings(), Timestamp::from_seconds(now.max(T0)));
    for name in [
        "checkout.session.completed",
        "checkout.session.completed.payment",
    ] {
        let mut session = event(name);
        session["id"] = format!("evt_before_{}", session["id"].as_str().unwrap()).into();
        session["data"]["object"]["id"] = format!("cs_before_{name}").into();
        world.deliver_json(&session);
    }
    world
}

/// What is shown of an object, less what one shape cannot know.
fn shown(world: &World, kind: RowKind, id: &str, without: &[&str]) -> Value {
    let mut row = world.row(kind, id).unwrap_or_else(|| panic!("no {id}"));
    for field in without {
        row.as_object_mut().unwrap().remove(*field);
    }
    row
}

#[test]
fn shapes_before_and_since_basil_give_equal_states() {
    for (name, old) in samples("2024-06-20") {
        let new = read(&format!("events/2025-04-30.basil/{name}"));
        let object = &new["data"]["object"];
        let kind = match object["object"].as_str().unwrap() {
            "subscription" => RowKind::Subscription,
            "invoice" => RowKind::Invoice,
            "checkout.session" => RowKind::Session,
            _ => RowKind::Payment,
        };
        let id = object["payment_intent"]
            .as_str()
            .filter(|_| kind == RowKind::Payment);
        let id = id.unwrap_or(object["id"].as_str().unwrap());
        // Before basil intent and invoice name each other; since, only a look-up does.
        let without: &[&str] = match kind {
            RowKind::Invoice => &["stripePaymentIntentId"],
            RowKind::Payment => &[
                "invoiceId",
                "stripeInvoiceId",
                "subscriptionId",
                "stripeSubscriptionId",
            ],
            _ => &[],
        };
        let rows: Vec<Value> = [&old, &new]
            .into_iter()
            .map(|event| {
                let mut world = known_world(created(event));
                world.deliver_json(event);
                shown(&world, kind, id, without)
            })
            .collect();
        assert_eq!(rows[0], rows[1], "{name}");
    }
}

#[test]
fn expanded_references_read_like_ids() {
    let plain = event("invoice.paid");
    let mut expanded = plain.clone();
    let object = &mut expanded["data"]["object"];
    object["customer"] =
        json!({"id": object["customer"], "object": "customer", "email": "x@example.com"});
    let details = &mut object["parent"]["subscription_details"];
    details["subscription"] = json!({"id": details["subscription"], "object": "subscription"});
    let states: Vec<String> = [plain, expanded]
        .iter()
        .map(|event| {
            let mut world = known_world(created(event));
            world.deliver_json(event);
            world.state()
        })
        .collect();
    assert_eq!(states[0], states[1]);
}

#[test]
fn unknown_statuses_and_fields_are_kept_and_do_not_kill_the_event() {
    let mut newer = event("customer.subscription.updated");
    newer["data"]["object"]["status"] = "hibernating".into();
    newer["data"]["object"]["status_details"] = json!({"hibernating": {"since": 1}});
    newer["api_version"] = "2031-01-01.zinnia".into();
    let mut world = known_world(created(&newer));
    world.deliver_json(&newer);
    let id = newer["data"]["object"]["id"].as_str().unwrap();
    assert_eq!(
        world.row(RowKind::Subscription, id).unwrap()["status"],
        "hibernating"
    );
    assert_eq!(
        world.row(RowKind::Tenant, "ws_42").unwrap()["status"],
        "pending"
    );
}

fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut event = event(name);
    change(&mut event);
    event
}

#[test]
fn impossible_events_are_dead_with_a_reason_that_quotes_nothing() {
    type Change = fn(&mut Value);
    let cases: [(&str, &str, Change); 16] = [
        ("negative", "payment_intent.succeeded", |e| {
            e["data"]["object"]["amount"] = json!(-1)
        }),
        ("above 2^53", "payment_intent.succeeded", |e| {
            e["data"]["object"]["amount"] = json!(9_007_199_254_740_993_i64)
        }),
        ("above 2^63", "charge.succeeded", |e| {
            e["data"]["object"]["amount"] = json!(9_223_372_036_854_775_808_u64)
        }),
        ("float", "invoice.paid", |e| {
            e["data"]["object"]["amount_paid"] = json!(20.5)
        }),
        ("text", "refund.created", |e| {
            e["data"]["object"]["amount"] = json!("secret@example.com")
        }),
        ("no amount", "charge.dispute.created", |e| {
            e["data"]["object"]
                .as_object_mut()
                .unwrap()
                .remove("amount");
        }),
        ("no currency", "payment_intent.created", |e| {
            e["data"]["object"]
                .as_object_mut()
                .unwrap()
                .remove("currency");
        }),
        ("unknown currency", "charge.succeeded", |e| {
            e["data"]["object"]["currency"] = json!("zzz")
        }),
        ("long currency", "charge.succeeded", |e| {
            e["data"]["object"]["currency"] = json!("dollars")
        }),
        ("no id", "customer.updated", |e| {
            e["data"]["object"].as_object_mut().unwrap().remove("id");
        }),
        ("bad id", "customer.updated", |e| {
            e["data"]["object"]["id"] = json!("a b")
        }),
        ("no status", "customer.subscription.updated", |e| {
            e["data"]["object"]
                .as_object_mut()
                .unwrap()
                .remove("status");
        }),
        ("no data", "invoice.paid", |e| {
            e.as_object_mut().unwrap().remove("data");
        }),
        ("no created", "invoice.paid", |e| {
            e.as_object_mut().unwrap().remove("created");
        }),
        ("live", "invoice.paid", |e| e["livemode"] = json!(true)),
        ("metadata", "customer.updated", |e| {
            for n in 0..10_000 {
                e["data"]["object"]["metadata"][format!("k{n}")] = json!("v");
            }
        }),
    ];
    for (what, name, change) in cases {
        match fate(&changed(name, change), &settings()) {
            Fate::Dead { reason } => {
                assert!(
                    !reason.is_empty() && !reason.contains("example.com"),
                    "{what}: {reason}"
                );
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn upper_case_currency_is_normalised() {
    let event = changed("charge.succeeded", |e| {
        e["data"]["object"]["currency"] = json!("USD")
    });
    assert!(matches!(fate(&event, &settings()), Fate::Pending { .. }));
}

#[test]
fn bodies_that_are_no_events_are_dead_under_their_hash() {
    let bodies: [&[u8]; 9] = [
        b"",
        b"null",
        b"[]",
        b"hello",
        b"{}",
        br#"{"id":"cus_1","object":"event"}"#,
        br#"{"id":"evt_1","id":"evt_2","object":"event","type":"x","created":1,"livemode":false,"data":{"object":{}}}"#,
        b"{\"id\":\"evt_\xff\"}",
        br#"{"id":"evt_1","object":"charge","type":"x","created":1,"livemode":false}"#,
    ];
    for body in bodies {
        let routed = route(body, &settings(), Timestamp::from_seconds(T0));
        assert!(
            matches!(routed.fate, Fate::Dead { .. }),
            "{:?}",
            String::from_utf8_lossy(body)
        );
        assert!(routed.source.public_id().starts_with("raw_"));
    }
    let long = format!(r#"{{"id":"evt_{}","object":"event"}}"#, "x".repeat(10_240));
    assert!(matches!(
        route(long.as_bytes(), &settings(), Timestamp(0)).fate,
        Fate::Dead { .. }
    ));
}

#[test]
fn the_other_mode_is_dead_on_the_platform_and_ignored_on_connect() {
    let live = changed("invoice.paid", |e| e["livemode"] = json!(true));
    assert!(matches!(fate(&live, &settings()), Fate::Dead { .. }));
    let connected = changed("account.updated", |e| e["livemode"] = json!(true));
    assert!(matches!(
        fate(&connected, &settings()),
        Fate::Ignored { .. }
    ));
}

#[test]
fn a_megabyte_of_event_is_read() {
    let big = changed("invoice.paid", |e| {
        for n in 0..15 {
            e["data"]["object"][format!("extra_{n}")] = json!("x".repeat(60_000));
        }
    });
    assert!(big.to_string().len() > 900_000);
    assert!(matches!(fate(&big, &settings()), Fate::Pending { .. }));
}

#[test]
fn cut_and_flipped_bodies_never_panic() {
    let body = event("checkout.session.completed").to_string().into_bytes();
    for n in (0..body.len()).step_by(7) {
        let _ = route(&body[..n], &settings(), Timestamp(0));
        let mut flipped = body.clone();
        flipped[n] ^= 1 << (n % 8);
        let _ = route(&flipped, &settings(), Timestamp(0));
    }
}

#[test]
fn impossible_times_give_way_to_any_possible_one() {
    for at in [0, 5, 4_102_444_800_i64, i64::MAX, -1] {
        let good = event("customer.subscription.created");
        let absurd = changed("customer.subscription.updated.past_due", |e| {
            e["created"] = json!(at);
            e["id"] = json!("evt_absurd");
        });
        let mut states = Vec::new();
        for order in [[&good, &absurd], [&absurd, &good]] {
            let mut world = known_world(created(&good));
            for event in order {
                world.deliver_json(event);
            }
            let id = good["data"]["object"]["id"].as_str().unwrap();
            assert_eq!(
                world.row(RowKind::Subscription, id).unwrap()["status"],
                "active",
                "{at}"
            );
            states.push(world.state());
        }
        assert_eq!(states[0], states[1], "{at}");
    }
}

#[test]
fn a_sample_that_lacks_what_its_kind_must_say_is_dead_and_says_what() {
    let required: [(&str, &[&str]); 12] = [
        ("account", &["id"]),
        ("capability", &["id", "account", "status"]),
        ("charge", &["id", "status", "amount", "currency"]),
        ("checkout.session", &["id", "mode", "payment_status"]),
        ("customer", &["id"]),
        ("dispute", &["id", "status", "amount", "currency"]),
        ("payment_intent", &["id", "status", "amount", "currency"]),
        ("payout", &["id", "amount", "currency"]),
        ("radar.early_fraud_warning", &["id"]),
        ("refund", &["id", "amount", "currency"]),
        ("review", &["id"]),
        ("subscription", &["id", "status", "customer"]),
    ];
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (name, sample) in samples("2025-04-30.basil") {
        let object = sample["data"]["object"]["object"].as_str().unwrap();
        let Some((kind, fields)) = required.iter().find(|(kind, _)| *kind == object) else {
            continue;
        };
        for field in *fields {
            let mut lacking = sample.clone();
            lacking["data"]["object"][field] = Value::Null;
            let Fate::Dead { reason } = fate(&lacking, &settings()) else {
                panic!("{name} without {field}: {:?}", fate(&lacking, &settings()));
            };
            assert!(reason.contains(field), "{name} without {field}: {reason}");
        }
        *counts.entry(kind).or_default() += 1;
    }
    assert_eq!(counts.len(), required.len(), "{counts:?}");
}
