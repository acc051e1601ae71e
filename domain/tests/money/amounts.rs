//! What a payment is said to be worth, and when people are asked to look: one row per rule.
//!
//! Method: events told once, in the order written; the row of the payment and the sentences of its alert afterwards.

use crate::build::*;
use crate::orders::{holds, world};
use bursar_domain::effect::Effect;
use bursar_domain::rows::RowKind;
use serde_json::{Value, json};

const DIFFERS: &str = "payment intent and charge differ in what was captured";
const CANCELED: &str = "the payment is canceled, and yet money was captured";
const TOO_LARGE: &str = "more was refunded than was captured";
const REFUND_ENDS: &str = "Stripe said two different ends or amounts of one refund";
const TOO_MANY: &str = "the payment has more parts than are kept";
const CHARGE_ENDS: &str = "Stripe said both succeeded and failed of one charge";

struct Case {
    name: &'static str,
    events: Vec<Value>,
    payment: &'static str,
    row: Value,
    doubts: Vec<&'static str>,
}

fn case(name: &'static str, events: Vec<Value>, row: Value, doubts: Vec<&'static str>) -> Case {
    Case {
        name,
        events,
        payment: "pi_1",
        row,
        doubts,
    }
}

fn check(cases: Vec<Case>) {
    for case in cases {
        let mut world = world();
        for event in &case.events {
            world.deliver_json(event);
        }
        holds(&world, RowKind::Payment, case.payment, &case.row, case.name);
        let said = world.effects_of("alert.needs_review");
        let said: Vec<String> = said
            .into_iter()
            .map(|effect| match effect {
                Effect::Alert(alert) => alert.text,
                other => panic!("{other:?}"),
            })
            .collect();
        let expected: Vec<String> = case
            .doubts
            .iter()
            .map(|doubt| format!("payment {}: {doubt}", case.payment))
            .collect();
        assert_eq!(said, expected, "{}", case.name);
    }
}

fn intent_at(seconds: i64, fields: Value) -> Value {
    let object = with(intent("succeeded"), fields);
    at(seconds, "payment_intent.succeeded", PLATFORM, object)
}

fn charge_at(seconds: i64, fields: Value) -> Value {
    let object = with(charge("succeeded"), fields);
    at(seconds, "charge.captured", PLATFORM, object)
}

fn refund_at(seconds: i64, status: &str, amount: i64, fields: Value) -> Value {
    let object = with(refund("re_1", status, amount), fields);
    at(seconds, "refund.updated", PLATFORM, object)
}

#[test]
fn intent_and_charge_may_differ_in_no_way_that_money_could_hide_in() {
    let less = || json!({ "amount_captured": 1_500 });
    check(vec![
        case(
            "both say the same",
            vec![intent_at(5, json!({})), charge_at(9, json!({}))],
            json!({ "amountCaptured": 2_000, "needsReview": false }),
            vec![],
        ),
        case(
            "the intent received less than its charge took",
            vec![
                charge_at(5, json!({})),
                intent_at(9, json!({ "amount_received": 1_500 })),
            ],
            json!({ "amountCaptured": 2_000, "needsReview": true }),
            vec![DIFFERS],
        ),
        case(
            "the charge, said later, took less than the intent received",
            vec![intent_at(5, json!({})), charge_at(9, less())],
            json!({ "amountCaptured": 2_000, "needsReview": true }),
            vec![DIFFERS],
        ),
        case(
            "the charge was said in the second of the intent's end",
            vec![intent_at(9, json!({})), charge_at(9, less())],
            json!({ "amountCaptured": 2_000, "needsReview": false }),
            vec![],
        ),
        case(
            "the charge was said before the intent's end",
            vec![intent_at(9, json!({})), charge_at(5, less())],
            json!({ "amountCaptured": 2_000, "needsReview": false }),
            vec![],
        ),
        case(
            "the charge, said later, only holds the money",
            vec![
                intent_at(5, json!({})),
                charge_at(9, json!({ "captured": false })),
            ],
            json!({ "amountCaptured": 2_000, "needsReview": false }),
            vec![],
        ),
        case(
            "the intent does not say what it received",
            vec![
                intent_at(9, json!({ "amount_received": 0 })),
                charge_at(5, json!({})),
            ],
            json!({ "amountCaptured": 2_000, "needsReview": false }),
            vec![],
        ),
        case(
            "the intent is canceled and its charge took money",
            vec![
                charge_at(5, json!({})),
                at(9, "payment_intent.canceled", PLATFORM, intent("canceled")),
            ],
            json!({ "amountCaptured": 2_000, "status": "canceled" }),
            vec![CANCELED],
        ),
        case(
            "the intent is canceled and its charge took nothing",
            vec![
                charge_at(5, json!({ "captured": false })),
                at(9, "payment_intent.canceled", PLATFORM, intent("canceled")),
            ],
            json!({ "amountCaptured": 0, "status": "canceled" }),
            vec![],
        ),
        case(
            "one charge succeeded and failed",
            vec![
                charge_at(5, json!({})),
                at(9, "charge.failed", PLATFORM, charge("failed")),
            ],
            json!({ "amountCaptured": 2_000, "status": "succeeded" }),
            vec![CHARGE_ENDS],
        ),
    ]);
}

#[test]
fn refunds_are_looked_at_from_the_first_unit_too_many() {
    let paid = || charge_at(1, json!({}));
    check(vec![
        case(
            "all of it",
            vec![paid(), refund_at(20, "succeeded", 2_000, json!({}))],
            json!({ "amountRefunded": 2_000, "needsReview": false }),
            vec![],
        ),
        case(
            "one unit more",
            vec![paid(), refund_at(20, "succeeded", 2_001, json!({}))],
            json!({ "amountRefunded": 2_001, "needsReview": true }),
            vec![TOO_LARGE],
        ),
        case(
            "nothing was captured: a released hold is no refund",
            vec![
                charge_at(1, json!({ "captured": false })),
                refund_at(20, "succeeded", 2_001, json!({})),
            ],
            json!({ "amountRefunded": 0, "needsReview": false }),
            vec![],
        ),
        case(
            "two amounts of one refund",
            vec![
                paid(),
                refund_at(20, "pending", 300, json!({})),
                refund_at(21, "succeeded", 400, json!({})),
            ],
            json!({ "amountRefunded": 400, "needsReview": true }),
            vec![REFUND_ENDS],
        ),
        case(
            "failed and canceled",
            vec![
                paid(),
                refund_at(20, "failed", 300, json!({})),
                refund_at(21, "canceled", 300, json!({})),
            ],
            json!({ "amountRefunded": 0, "needsReview": true }),
            vec![REFUND_ENDS],
        ),
    ]);
}

#[test]
fn a_charges_running_total_proves_what_no_refund_told_of() {
    let total = |seconds, refunded: i64| charge_at(seconds, json!({ "amount_refunded": refunded }));
    let made = |seconds: i64, fields: Value| {
        let fields = with(json!({ "created": T0 + seconds }), fields);
        refund_at(seconds, "succeeded", 500, fields)
    };
    let refunded = |amount: i64| json!({ "amountRefunded": amount });
    let released = |captured: i64, refunded: i64| {
        let fields = json!({ "amount_captured": captured, "amount_refunded": refunded });
        charge_at(9, fields)
    };
    check(vec![
        case("unheard", vec![total(9, 700)], refunded(700), vec![]),
        case(
            "one of two was heard",
            vec![total(9, 700), made(5, json!({}))],
            refunded(700),
            vec![],
        ),
        case(
            "heard in the second of the total",
            vec![total(9, 500), made(9, json!({}))],
            refunded(500),
            vec![],
        ),
        case(
            "made after the total was said",
            vec![total(9, 500), made(10, json!({}))],
            refunded(1_000),
            vec![],
        ),
        case(
            "of another charge",
            vec![total(9, 500), made(5, json!({ "charge": "ch_2" }))],
            refunded(1_000),
            vec![],
        ),
        case(
            "that names no charge",
            vec![total(9, 500), made(5, json!({ "charge": null }))],
            refunded(500),
            vec![],
        ),
        case(
            "a partial capture released the rest",
            vec![released(1_500, 700)],
            refunded(200),
            vec![],
        ),
        case(
            "nothing but what was released",
            vec![released(1_500, 500)],
            refunded(0),
            vec![],
        ),
        case(
            "more was captured than authorized",
            vec![released(2_500, 300)],
            refunded(300),
            vec![],
        ),
        case(
            "a hold was let go",
            vec![charge_at(
                9,
                json!({ "captured": false, "refunded": true, "amount_refunded": 2_000 }),
            )],
            json!({ "amountRefunded": 0, "amountCaptured": 0, "status": "canceled" }),
            vec![],
        ),
    ]);
}

#[test]
fn before_its_intent_is_seen_a_payment_is_what_its_charges_say() {
    let of = |status: &str, fields: Value| {
        at(9, "charge.captured", PLATFORM, with(charge(status), fields))
    };
    let row = |status: &str| json!({ "status": status, "amount": 2_000, "currency": "usd" });
    let lone = |name, status: &str| Case {
        payment: "ch_1",
        ..case(
            name,
            vec![of(status, json!({ "payment_intent": null }))],
            row(status),
            vec![],
        )
    };
    let declined = json!({ "failure_code": "card_declined", "failure_message": "No.",
        "outcome": { "reason": "insufficient_funds" } });
    check(vec![
        case(
            "took money",
            vec![of("succeeded", json!({}))],
            with(
                row("succeeded"),
                json!({ "stripeCustomerId": "cus_1", "failureCode": null,
                "stripePaymentIntentId": "pi_1", "stripeChargeId": "ch_1" }),
            ),
            vec![],
        ),
        case(
            "holds money",
            vec![of("succeeded", json!({ "captured": false }))],
            row("requires_capture"),
            vec![],
        ),
        case(
            "failed",
            vec![of("failed", declined)],
            with(
                row("requires_payment_method"),
                json!({ "failureCode": "card_declined", "failureMessage": "No." }),
            ),
            vec![],
        ),
        case(
            "waits",
            vec![of("pending", json!({}))],
            row("processing"),
            vec![],
        ),
        lone("took money, without an intent", "succeeded"),
        lone("failed, without an intent", "failed"),
        lone("waits, without an intent", "pending"),
        case(
            "the one that took money stands for it, the first says since when",
            vec![
                of(
                    "failed",
                    json!({ "id": "ch_9", "created": T0 + 7, "failure_code": "late" }),
                ),
                of("succeeded", json!({ "created": T0 + 3 })),
                of(
                    "failed",
                    json!({ "id": "ch_0", "created": T0 + 1, "failure_code": "early" }),
                ),
            ],
            with(
                row("succeeded"),
                json!({ "stripeChargeId": "ch_1", "failureCode": null,
                    "createdAt": "2025-05-12T10:00:01Z" }),
            ),
            vec![],
        ),
        case(
            "of those that failed the newest stands for it",
            vec![
                of(
                    "failed",
                    json!({ "id": "ch_a", "created": T0 + 7, "failure_code": "late" }),
                ),
                of(
                    "failed",
                    json!({ "id": "ch_b", "created": T0 + 1, "failure_code": "early" }),
                ),
            ],
            json!({ "stripeChargeId": "ch_a", "failureCode": "late" }),
            vec![],
        ),
        case(
            "was disputed",
            vec![of("succeeded", json!({ "disputed": true }))],
            json!({ "disputed": true }),
            vec![],
        ),
    ]);
}

#[test]
fn the_intent_says_what_its_charges_say_too() {
    let asked = json!({ "amount": 2_500, "customer": "cus_2", "currency": "eur" });
    let refused = json!({ "last_payment_error": { "code": "card_declined" } });
    check(vec![
        case(
            "asked for more than was taken",
            vec![charge_at(5, json!({})), intent_at(9, asked)],
            json!({ "amount": 2_500, "amountCaptured": 2_000, "stripeCustomerId": "cus_2",
                "currency": "eur", "createdAt": "2025-05-12T10:00:00Z" }),
            vec![],
        ),
        case(
            "names nobody",
            vec![
                charge_at(5, json!({})),
                intent_at(9, json!({ "customer": null })),
            ],
            json!({ "stripeCustomerId": "cus_1", "disputed": false }),
            vec![],
        ),
        case(
            "succeeded after an attempt had failed",
            vec![intent_at(9, refused)],
            json!({ "failureCode": null, "amountCaptured": 2_000, "captureMethod": "automatic" }),
            vec![],
        ),
    ]);
}

#[test]
fn as_many_parts_as_are_kept_are_no_reason_to_look_and_one_more_is() {
    let reviews = |count: i64| -> Vec<Value> {
        let review = |n: i64| {
            let object = json!({ "id": format!("prv_{n:03}"), "object": "review", "open": false,
                "reason": "rule", "charge": "ch_1", "payment_intent": "pi_1", "created": T0 });
            at(n, "review.closed", PLATFORM, object)
        };
        (0..count).map(review).collect()
    };
    let review = |needed: bool| json!({ "needsReview": needed });
    let after = |mut events: Vec<Value>| {
        events.push(charge_at(1, json!({})));
        events
    };
    check(vec![
        case("32 reviews", after(reviews(32)), review(false), vec![]),
        case(
            "33 reviews",
            after(reviews(33)),
            review(true),
            vec![TOO_MANY],
        ),
    ]);
}
