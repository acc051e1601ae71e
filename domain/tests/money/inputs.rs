//! Bad and odd inputs of this area: dead with a reason, or read for what they are; never a panic.

use crate::build::*;
use crate::orders::{holds, world};
use bursar_domain::decision::Disposition;
use bursar_domain::ids::{ChargeId, Scope, Timestamp};
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::World;
use serde_json::{Value, json};

fn after(event: &Value) -> World {
    let mut world = world();
    let paid = at(2, "charge.succeeded", PLATFORM, charge("succeeded"));
    world.deliver_json(&paid);
    world.deliver_json(event);
    world
}

fn fate(world: &World, event: &Value) -> (Disposition, String) {
    world.fates[event["id"].as_str().unwrap()].clone()
}

#[test]
fn what_cannot_be_money_is_dead_with_a_reason_and_changes_nothing() {
    let refund_with = |fields: Value| with(refund("re_1", "succeeded", 100), fields);
    let charge_with = |fields: Value| with(charge("succeeded"), fields);
    let dispute_with = |fields: Value| with(dispute("needs_response", vec![]), fields);
    let moved = |amount: Value| {
        json!({ "balance_transactions":
        [{ "id": "txn_1", "amount": amount, "currency": "usd", "created": T0 }] })
    };
    let cases: Vec<(&str, &str, Value)> = vec![
        (
            "negative",
            "refund.created",
            refund_with(json!({ "amount": -1 })),
        ),
        (
            "above 2^53",
            "refund.created",
            refund_with(json!({ "amount": (1_i64 << 53) + 1 })),
        ),
        (
            "a fraction",
            "refund.created",
            refund_with(json!({ "amount": 1.5 })),
        ),
        (
            "a text",
            "charge.refunded",
            charge_with(json!({ "amount_refunded": "100" })),
        ),
        (
            "no amount",
            "refund.created",
            refund_with(json!({ "amount": null })),
        ),
        (
            "no currency",
            "charge.dispute.created",
            dispute_with(json!({ "currency": null })),
        ),
        (
            "no such currency",
            "refund.created",
            refund_with(json!({ "currency": "dollars" })),
        ),
        (
            "no parent",
            "refund.created",
            refund_with(json!({ "charge": null, "payment_intent": null })),
        ),
        (
            "no id",
            "charge.refunded",
            charge_with(json!({ "id": null })),
        ),
        (
            "no status",
            "charge.dispute.created",
            dispute_with(json!({ "status": null })),
        ),
        (
            "a movement beyond all money",
            "charge.dispute.created",
            dispute_with(moved(json!(i64::MIN))),
        ),
        (
            "a movement that is no number",
            "charge.dispute.created",
            dispute_with(moved(json!("2000"))),
        ),
    ];
    for (name, kind, object) in cases {
        let mut event = at(50, kind, PLATFORM, object);
        event["id"] = "evt_bad".into();
        let world = after(&event);
        let (disposition, reason) = fate(&world, &event);
        assert_eq!(disposition, Disposition::Dead, "{name}: {reason}");
        assert!(!reason.is_empty(), "{name}");
        let untouched = json!({ "amountRefunded": 0, "disputed": false, "needsReview": false });
        holds(&world, RowKind::Payment, "pi_1", &untouched, name);
    }
}

#[test]
fn currencies_are_read_in_any_case_and_never_mixed() {
    for (code, shown) in [("JPY", "jpy"), ("kwd", "kwd"), ("Usd", "usd")] {
        let mut world = world();
        let fields = json!({ "currency": code });
        world.deliver_json(&at(
            2,
            "charge.succeeded",
            PLATFORM,
            with(charge("succeeded"), fields),
        ));
        let expected = json!({ "currency": shown, "amountCaptured": 2_000 });
        holds(&world, RowKind::Payment, "pi_1", &expected, code);
        assert!(
            world
                .balances()
                .keys()
                .all(|(_, currency)| currency.as_str() == shown)
        );
    }
}

#[test]
fn words_nobody_knows_yet_are_kept_and_shown() {
    let odd = with(
        dispute("prevented", vec![]),
        json!({ "reason": "a_reason_of_2030" }),
    );
    let world = after(&at(50, "charge.dispute.created", PLATFORM, odd));
    let expected = json!({ "status": "prevented", "reason": "a_reason_of_2030" });
    holds(&world, RowKind::Dispute, "du_1", &expected, "odd words");
    let odd = refund("re_1", "on_its_way", 100);
    let world = after(&at(50, "refund.updated", PLATFORM, odd));
    holds(
        &world,
        RowKind::Refund,
        "re_1",
        &json!({ "status": "on_its_way" }),
        "odd words",
    );
    holds(
        &world,
        RowKind::Payment,
        "pi_1",
        &json!({ "amountRefunded": 100 }),
        "counts as pending",
    );
}

#[test]
fn a_payment_with_more_parts_than_are_kept_is_looked_at_in_any_order() {
    // 256 refunds come with one answer, one before and one after them by id as events.
    let many = (100..356).map(|n| refund(&format!("re_{n}"), "succeeded", 1));
    let told = with(charge("succeeded"), json!({ "amount_refunded": 258 }));
    let list = json!({ "refunds": { "object": "list", "data": many.collect::<Vec<_>>() } });
    let answer = with(told.clone(), list).to_string();
    let asked = Reread {
        scope: Scope::PLATFORM,
        target: RereadTarget::Charge(ChargeId::parse("ch_1").unwrap()),
    };
    let total = at(60, "charge.refunded", PLATFORM, told);
    let first = at(
        50,
        "refund.created",
        PLATFORM,
        refund("re_000", "succeeded", 1),
    );
    let last = at(
        50,
        "refund.created",
        PLATFORM,
        refund("re_999", "succeeded", 1),
    );
    let mut ends = Vec::new();
    for order in [
        [&total, &first, &last],
        [&last, &first, &total],
        [&first, &total, &last],
    ] {
        let mut world = world();
        world.truth.insert(asked.clone(), (200, answer.clone()));
        world.deliver_json(&at(
            3,
            "payment_intent.succeeded",
            PLATFORM,
            intent("succeeded"),
        ));
        for event in order {
            world.deliver_json(event);
            world.advance_to(Timestamp(world.now.0 + 120_000));
        }
        let expected = json!({ "needsReview": true, "amountRefunded": 258 });
        holds(&world, RowKind::Payment, "pi_1", &expected, "too many");
        assert_eq!(world.effects_of("alert.needs_review").len(), 1);
        ends.push(world.balances());
    }
    assert!(ends.iter().all(|end| *end == ends[0]));
}
