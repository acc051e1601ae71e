//! What a payment makes others do: notifications, alerts, questions to Stripe, timelines.

use crate::build::*;
use crate::orders::{holds, world};
use bursar_domain::decision::Disposition;
use bursar_domain::effect::Effect;
use bursar_domain::ids::{ChargeId, PaymentIntentId, RefundId, Scope, Timestamp};
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::{World, permutations};
use serde_json::{Value, json};

fn effects(world: &World) -> Vec<String> {
    let mut kinds: Vec<String> = world.effects.values().map(|i| i.kind.clone()).collect();
    kinds.sort();
    kinds
}

fn after(events: &[Value]) -> World {
    let mut world = world();
    for event in events {
        world.deliver_json(event);
    }
    world
}

fn failed(attempt: u32) -> Value {
    with(
        intent("requires_payment_method"),
        json!({ "latest_charge": format!("ch_f{attempt}"),
            "last_payment_error": { "code": "card_declined" } }),
    )
}

fn paid() -> Value {
    at(9, "payment_intent.succeeded", PLATFORM, intent("succeeded"))
}

#[test]
fn each_fact_is_told_once_and_what_had_passed_is_not_told() {
    let manual = |status: &str| with(intent(status), json!({ "capture_method": "manual" }));
    let taken = || vec![moved("txn", -2_000, T0 + 500)];
    let charged = || at(9, "charge.succeeded", PLATFORM, charge("succeeded"));
    let re = |s: i64, kind: &str, status: &str| at(s, kind, PLATFORM, refund("re_1", status, 500));
    let du = |s: i64, kind: &str, status: &str| at(s, kind, PLATFORM, dispute(status, taken()));
    let cases: Vec<(&str, Vec<Value>, Vec<&str>)> = vec![
        (
            "a payment succeeds",
            vec![charged(), paid()],
            vec!["notify.payment.succeeded"],
        ),
        (
            "it succeeds, and only then its creation is heard of",
            vec![
                paid(),
                at(
                    0,
                    "payment_intent.created",
                    PLATFORM,
                    intent("requires_payment_method"),
                ),
            ],
            vec!["notify.payment.succeeded"],
        ),
        (
            "it fails twice and then succeeds",
            vec![
                at(1, "payment_intent.payment_failed", PLATFORM, failed(1)),
                at(5, "payment_intent.payment_failed", PLATFORM, failed(2)),
                paid(),
            ],
            vec![
                "notify.payment.failed",
                "notify.payment.failed",
                "notify.payment.succeeded",
            ],
        ),
        (
            "a failure is heard of after the success",
            vec![
                paid(),
                at(1, "payment_intent.payment_failed", PLATFORM, failed(1)),
            ],
            vec!["notify.payment.succeeded"],
        ),
        (
            "it is held, then canceled",
            vec![
                at(
                    1,
                    "payment_intent.amount_capturable_updated",
                    PLATFORM,
                    manual("requires_capture"),
                ),
                at(5, "payment_intent.canceled", PLATFORM, manual("canceled")),
            ],
            vec!["notify.payment.canceled", "notify.payment.capturable"],
        ),
        (
            "a refund is made, succeeds and fails",
            vec![
                charged(),
                re(20, "refund.created", "pending"),
                re(21, "refund.updated", "succeeded"),
                re(90, "refund.failed", "failed"),
            ],
            vec![
                "alert.refund_failed",
                "mail.refund",
                "notify.payment.succeeded",
                "notify.refund.created",
                "notify.refund.failed",
                "notify.refund.succeeded",
            ],
        ),
        (
            "a refund is first heard of when it had failed",
            vec![
                charged(),
                re(90, "refund.failed", "failed"),
                re(20, "refund.created", "pending"),
                re(21, "refund.updated", "succeeded"),
            ],
            vec![
                "alert.refund_failed",
                "notify.payment.succeeded",
                "notify.refund.failed",
            ],
        ),
        (
            "a dispute is opened, answered and won",
            vec![
                charged(),
                du(500, "charge.dispute.created", "needs_response"),
                du(500, "charge.dispute.funds_withdrawn", "needs_response"),
                du(600, "charge.dispute.updated", "under_review"),
                du(900, "charge.dispute.closed", "won"),
            ],
            vec![
                "alert.dispute",
                "alert.dispute",
                "notify.dispute.closed",
                "notify.dispute.opened",
                "notify.dispute.updated",
                "notify.payment.succeeded",
            ],
        ),
        (
            "a dispute is first heard of when it was lost",
            vec![
                charged(),
                du(900, "charge.dispute.closed", "lost"),
                du(500, "charge.dispute.created", "needs_response"),
            ],
            vec![
                "alert.dispute",
                "notify.dispute.closed",
                "notify.payment.succeeded",
            ],
        ),
    ];
    for (name, events, expected) in cases {
        assert_eq!(effects(&after(&events)), expected, "{name}");
    }
}

#[test]
fn a_warning_and_an_open_review_alert_and_a_closed_one_does_not() {
    let warning = json!({ "id": "issfr_1", "object": "radar.early_fraud_warning",
        "actionable": true, "charge": "ch_1", "payment_intent": "pi_1", "created": T0 });
    let review = |open: bool| {
        json!({ "id": "prv_1", "object": "review", "open": open,
        "reason": "rule", "charge": "ch_1", "payment_intent": "pi_1", "created": T0 })
    };
    let warned = after(&[
        paid(),
        at(
            30,
            "radar.early_fraud_warning.created",
            PLATFORM,
            warning.clone(),
        ),
        at(90, "radar.early_fraud_warning.updated", PLATFORM, warning),
        at(31, "review.opened", PLATFORM, review(true)),
        at(99, "review.closed", PLATFORM, review(false)),
    ]);
    assert_eq!(
        effects(&warned),
        [
            "alert.early_fraud_warning",
            "alert.review_opened",
            "notify.payment.succeeded"
        ]
    );
    let late = after(&[
        paid(),
        at(99, "review.closed", PLATFORM, review(false)),
        at(31, "review.opened", PLATFORM, review(true)),
    ]);
    assert_eq!(effects(&late), ["notify.payment.succeeded"]);
}

fn asks(target: RereadTarget) -> Reread {
    Reread {
        scope: Scope::PLATFORM,
        target,
    }
}

#[test]
fn contradicting_ends_need_review_until_stripe_is_asked_and_are_never_dead() {
    let events = [
        paid(),
        at(9, "payment_intent.canceled", PLATFORM, intent("canceled")),
    ];
    permutations(&events, |order| {
        let world = after(order);
        holds(
            &world,
            RowKind::Payment,
            "pi_1",
            &json!({ "needsReview": true, "status": "succeeded" }),
            "no answer",
        );
        assert!(effects(&world).contains(&"alert.needs_review".to_owned()));
        let asked = world.effects_of("reread");
        let target = RereadTarget::PaymentIntent(PaymentIntentId::parse("pi_1").unwrap());
        assert!(
            asked.contains(&Effect::Reread(asks(target.clone()))),
            "{asked:?}"
        );
        let dead = world
            .fates
            .values()
            .filter(|(d, _)| *d == Disposition::Dead);
        assert_eq!(dead.count(), 0);

        let mut told = crate::orders::world();
        let truth = intent("succeeded").to_string();
        told.truth.insert(asks(target), (200, truth));
        for event in order {
            told.deliver_json(event);
        }
        let settled =
            json!({ "needsReview": false, "status": "succeeded", "amountCaptured": 2_000 });
        holds(
            &told,
            RowKind::Payment,
            "pi_1",
            &settled,
            "after the answer",
        );
    });
}

#[test]
fn a_refund_larger_than_its_charge_is_applied_alerted_and_asked_about() {
    let world = after(&[
        at(9, "charge.succeeded", PLATFORM, charge("succeeded")),
        at(
            20,
            "refund.created",
            PLATFORM,
            refund("re_1", "succeeded", 5_000),
        ),
    ]);
    let expected = json!({ "needsReview": true, "amountRefunded": 5_000, "amountCaptured": 2_000 });
    holds(&world, RowKind::Payment, "pi_1", &expected, "larger");
    assert_eq!(world.effects_of("alert.needs_review").len(), 1);
    let charge = RereadTarget::Charge(ChargeId::parse("ch_1").unwrap());
    assert_eq!(world.effects_of("reread"), [Effect::Reread(asks(charge))]);
}

#[test]
fn a_refund_in_another_currency_is_kept_but_never_added() {
    let yen = with(
        refund("re_1", "succeeded", 700),
        json!({ "currency": "jpy" }),
    );
    let world = after(&[
        at(9, "charge.succeeded", PLATFORM, charge("succeeded")),
        at(20, "refund.created", PLATFORM, yen),
    ]);
    let expected = json!({ "needsReview": true, "amountRefunded": 0, "currency": "usd" });
    holds(&world, RowKind::Payment, "pi_1", &expected, "yen");
    holds(
        &world,
        RowKind::Refund,
        "re_1",
        &json!({ "currency": "jpy", "amount": 700 }),
        "yen",
    );
    let refund = RereadTarget::Refund(RefundId::parse("re_1").unwrap());
    assert_eq!(world.effects_of("reread"), [Effect::Reread(asks(refund))]);
}

#[test]
fn a_refund_before_its_payment_shows_no_total_and_the_payment_is_asked_for_after_a_minute() {
    let mut world = world();
    let target = RereadTarget::PaymentIntent(PaymentIntentId::parse("pi_1").unwrap());
    let reread = Reread {
        target,
        ..asks_on(ACCOUNT)
    };
    world
        .truth
        .insert(reread, (200, intent("succeeded").to_string()));
    world.deliver_json(&at(
        20,
        "refund.created",
        ACCOUNT,
        refund("re_1", "succeeded", 500),
    ));
    holds(
        &world,
        RowKind::Refund,
        "re_1",
        &json!({ "amount": 500, "paymentId": "pi_1" }),
        "stored",
    );
    let hidden = json!({ "amountRefunded": null, "amountCaptured": null, "status": null,
        "createdAt": null });
    holds(&world, RowKind::Payment, "pi_1", &hidden, "only heard of");
    assert!(world.books.values().all(|amount| *amount == 0));
    world.advance_to(Timestamp(world.now.0 + 59_000));
    assert!(world.effects_of("reread").is_empty(), "not before a minute");
    world.advance_to(Timestamp(world.now.0 + 2_000));
    let known = json!({ "amountRefunded": 500, "amountCaptured": 2_000, "status": "succeeded" });
    holds(&world, RowKind::Payment, "pi_1", &known, "after the answer");
    assert_eq!(world.effects_of("reread").len(), 1);
}

fn asks_on(account: &str) -> Reread {
    Reread {
        scope: crate::orders::scope_of(account),
        target: RereadTarget::Charge(ChargeId::parse("ch_1").unwrap()),
    }
}

#[test]
fn a_parent_that_comes_in_time_is_not_asked_for() {
    let mut world = world();
    world.deliver_json(&at(
        20,
        "refund.created",
        ACCOUNT,
        refund("re_1", "succeeded", 500),
    ));
    world.deliver_json(&at(
        9,
        "payment_intent.succeeded",
        ACCOUNT,
        intent("succeeded"),
    ));
    world.advance_to(Timestamp(world.now.0 + 3_600_000));
    assert!(world.effects_of("reread").is_empty());
}

#[test]
fn a_refund_only_the_charge_tells_of_is_asked_for_and_counted() {
    let mut world = world();
    let told = with(charge("succeeded"), json!({ "amount_refunded": 700 }));
    let refunds =
        json!({ "refunds": { "object": "list", "data": [refund("re_9", "succeeded", 700)] } });
    let answer = with(told.clone(), refunds);
    world
        .truth
        .insert(asks_on(PLATFORM), (200, answer.to_string()));
    world.deliver_json(&paid());
    world.deliver_json(&at(20, "charge.refunded", PLATFORM, told));
    let by_charge = json!({ "amountRefunded": 700 });
    holds(
        &world,
        RowKind::Payment,
        "pi_1",
        &by_charge,
        "by the charge",
    );
    assert!(world.row(RowKind::Refund, "re_9").is_none());
    world.advance_to(Timestamp(world.now.0 + 61_000));
    holds(
        &world,
        RowKind::Payment,
        "pi_1",
        &json!({ "amountRefunded": 700 }),
        "after the answer",
    );
    holds(
        &world,
        RowKind::Refund,
        "re_9",
        &json!({ "status": "succeeded" }),
        "after the answer",
    );
}

#[test]
fn one_second_with_two_words_is_settled_by_asking_stripe() {
    let mut world = world();
    let target = RereadTarget::PaymentIntent(PaymentIntentId::parse("pi_1").unwrap());
    // Rank would say `requires_action`; Stripe says the attempt failed after it.
    world
        .truth
        .insert(asks(target), (200, failed(1).to_string()));
    world.deliver_json(&at(5, "payment_intent.payment_failed", PLATFORM, failed(1)));
    world.deliver_json(&at(
        5,
        "payment_intent.requires_action",
        PLATFORM,
        intent("requires_action"),
    ));
    let expected = json!({ "status": "requires_payment_method", "failureCode": "card_declined" });
    holds(
        &world,
        RowKind::Payment,
        "pi_1",
        &expected,
        "after the answer",
    );
    assert_eq!(world.effects_of("reread").len(), 1);
}

#[test]
fn absurd_times_do_not_move_a_refund_from_where_its_rank_puts_it() {
    let year_2100 = 4_102_444_800 - T0;
    for (early, late) in [
        (-T0, 100),
        (100, year_2100),
        (-T0, year_2100),
        (year_2100, -T0),
    ] {
        let world = after(&[
            paid(),
            at(
                late,
                "refund.updated",
                PLATFORM,
                refund("re_1", "succeeded", 500),
            ),
            at(
                early,
                "refund.created",
                PLATFORM,
                refund("re_1", "pending", 500),
            ),
        ]);
        holds(
            &world,
            RowKind::Refund,
            "re_1",
            &json!({ "status": "succeeded" }),
            "absurd",
        );
        holds(
            &world,
            RowKind::Payment,
            "pi_1",
            &json!({ "amountRefunded": 500 }),
            "absurd",
        );
    }
}

#[test]
fn the_timeline_says_what_changed_and_what_came_too_late() {
    let world = after(&[
        paid(),
        at(
            0,
            "payment_intent.created",
            PLATFORM,
            intent("requires_payment_method"),
        ),
        at(
            10,
            "payment_intent.succeeded",
            PLATFORM,
            intent("succeeded"),
        ),
    ]);
    let told: Vec<(&str, Disposition)> = world
        .timeline
        .iter()
        .filter(|entry| entry.ids.contains(&"pi_1".to_owned()))
        .filter(|entry| entry.kind.starts_with("payment_intent"))
        .map(|entry| (entry.kind.as_str(), entry.disposition))
        .collect();
    assert_eq!(
        told,
        [
            ("payment_intent.succeeded", Disposition::Applied),
            ("payment_intent.created", Disposition::Stale),
            ("payment_intent.succeeded", Disposition::Duplicate),
        ]
    );
    let first = world
        .timeline
        .iter()
        .find(|entry| entry.kind == "payment_intent.succeeded");
    let changed = &first.unwrap().changed;
    assert!(
        changed
            .iter()
            .any(|c| c.field == "status" && c.to == "\"succeeded\""),
        "{changed:?}"
    );
}

#[test]
fn a_charge_answers_for_its_payment() {
    let world = after(&[
        paid(),
        at(9, "charge.succeeded", PLATFORM, charge("succeeded")),
    ]);
    let alias = (RowKind::Payment, Scope::PLATFORM, "ch_1".to_owned());
    assert_eq!(world.aliases.get(&alias).map(String::as_str), Some("pi_1"));
}

#[test]
fn a_dispute_that_names_only_its_charge_finds_the_payment_of_that_charge() {
    let mut world = world();
    let lone = |object: Value| with(object, json!({ "payment_intent": null }));
    let taken = || vec![moved("txn", -2_000, T0 + 500)];
    let open = lone(dispute("needs_response", taken()));
    let du = RereadTarget::Dispute(bursar_domain::ids::DisputeId::parse("du_1").unwrap());
    world
        .truth
        .insert(asks_on(ACCOUNT), (200, charge("succeeded").to_string()));
    let asked = Reread {
        target: du,
        ..asks_on(ACCOUNT)
    };
    world.truth.insert(asked, (200, open.to_string()));
    world.deliver_json(&at(500, "charge.dispute.created", ACCOUNT, open));
    world.deliver_json(&at(
        9,
        "payment_intent.succeeded",
        ACCOUNT,
        intent("succeeded"),
    ));
    world.deliver_json(&at(9, "charge.succeeded", ACCOUNT, charge("succeeded")));
    world.advance_to(Timestamp(world.now.0 + 3_600_000));
    let known = json!({ "amountCaptured": 2_000, "disputed": true, "needsReview": false });
    holds(&world, RowKind::Payment, "pi_1", &known, "passed on");
    holds(
        &world,
        RowKind::Dispute,
        "du_1",
        &json!({ "paymentId": "pi_1" }),
        "passed on",
    );
    assert!(
        world.row(RowKind::Payment, "ch_1").is_none(),
        "no payment of its own"
    );
    let sold: i64 = world.books.values().filter(|amount| **amount > 0).sum();
    let counted = world
        .balances()
        .values()
        .map(|amount| amount.abs())
        .sum::<i64>();
    assert_eq!((sold, counted), (4_000, 0), "sold once, taken back once");
}
