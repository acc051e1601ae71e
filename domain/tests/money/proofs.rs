//! What is known without being told outright: refunds a charge proves, parents asked for, fees read.

use crate::build::*;
use crate::orders::{balances, holds, scope_of, world};
use bursar_domain::decision::Disposition;
use bursar_domain::ids::{BalanceTransactionId, ChargeId, PaymentIntentId, Timestamp};
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::{World, permutations};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn refunded(minor: i64) -> Value {
    with(charge("succeeded"), json!({ "amount_refunded": minor }))
}

fn answers(world: &mut World, account: &str, target: RereadTarget, body: &Value) {
    let scope = scope_of(account);
    let asked = Reread { scope, target };
    world.truth.insert(asked, (200, body.to_string()));
}

fn transaction(id: &str) -> RereadTarget {
    RereadTarget::BalanceTransaction(BalanceTransactionId::parse(id).unwrap())
}

fn later(world: &mut World, seconds: i64) {
    world.advance_to(Timestamp(world.now.0 + seconds * 1_000));
}

/// Tells the events in every order and looks at the payment and the books after each; the one end.
fn in_every_order(start: &World, events: &[Value], look: impl Fn(&World)) -> World {
    let mut ends: BTreeMap<[u8; 32], World> = BTreeMap::new();
    permutations(events, |order| {
        let mut world = start.clone();
        for event in order {
            world.deliver_json(event);
            assert_eq!(world.balances().values().sum::<i64>(), 0, "books balance");
            look(&world);
        }
        later(&mut world, 3_600);
        ends.insert(world.digest(), world);
    });
    let states: Vec<String> = ends.values().map(World::state).collect();
    assert_eq!(ends.len(), 1, "{}", states.join("\n---\n"));
    ends.into_values().next().unwrap()
}

#[test]
fn a_refund_only_its_charge_tells_of_counts_at_once_and_never_twice() {
    let paid = at(2, "payment_intent.succeeded", PLATFORM, intent("succeeded"));
    let told = at(120, "charge.refunded", PLATFORM, refunded(700));
    let mut world = world();
    world.deliver_json(&paid);
    world.deliver_json(&told);
    let shown = json!({ "amountRefunded": 700, "needsReview": false });
    holds(&world, RowKind::Payment, "pi_1", &shown, "by the charge");
    let books = BTreeMap::from([
        ("stripe_balance".to_owned(), 1_300),
        ("revenue".to_owned(), -2_000),
        ("refunds".to_owned(), 700),
    ]);
    assert_eq!(balances(&world), books, "by the charge");
    let own = at(
        101,
        "refund.created",
        PLATFORM,
        refund("re_1", "pending", 700),
    );
    world.deliver_json(&own);
    holds(&world, RowKind::Payment, "pi_1", &shown, "by the refund");
    assert_eq!(balances(&world), books, "by the refund");
    let of = |source: &str| -> i64 {
        let all = world.books.iter().filter(|((of, ..), _)| of == source);
        all.map(|(_, amount)| amount.abs()).sum()
    };
    assert_eq!((of("ch_1:refunds"), of("re_1")), (0, 1_400));
}

#[test]
fn what_a_charge_proves_and_what_its_refunds_say_meet_in_any_order() {
    let events = [
        at(2, "charge.succeeded", PLATFORM, charge("succeeded")),
        at(
            100,
            "refund.created",
            PLATFORM,
            refund("re_1", "succeeded", 500),
        ),
        at(101, "charge.refunded", PLATFORM, refunded(500)),
        at(
            200,
            "refund.created",
            PLATFORM,
            with(
                refund("re_2", "succeeded", 900),
                json!({ "created": T0 + 200 }),
            ),
        ),
        at(201, "charge.refunded", PLATFORM, refunded(1_400)),
        at(
            900,
            "refund.failed",
            PLATFORM,
            refund("re_1", "failed", 500),
        ),
    ];
    let end = in_every_order(&world(), &events, |world| {
        let row = world.row(RowKind::Payment, "pi_1").unwrap();
        let refunded = row["amountRefunded"].as_i64().unwrap_or(0);
        assert!(refunded <= 1_400, "{refunded}");
    });
    let shown = json!({ "amountRefunded": 900, "needsReview": false });
    holds(&end, RowKind::Payment, "pi_1", &shown, "in the end");
}

#[test]
fn a_refund_made_after_the_charge_spoke_does_not_hide_one_it_proves() {
    let mut world = world();
    world.deliver_json(&at(101, "charge.refunded", PLATFORM, refunded(500)));
    let second = with(
        refund("re_2", "succeeded", 300),
        json!({ "created": T0 + 200 }),
    );
    world.deliver_json(&at(200, "refund.created", PLATFORM, second));
    let shown = json!({ "amountRefunded": 800 });
    holds(&world, RowKind::Payment, "pi_1", &shown, "both");
}

#[test]
fn a_charge_of_an_older_shape_brings_its_refunds_along() {
    let carried = with(
        refunded(700),
        json!({ "refunds": { "object": "list", "data": [
            with(refund("re_1", "succeeded", 700), json!({ "payment_intent": null })),
            { "id": "re_broken", "amount": "much" },
        ] } }),
    );
    let events = [
        at(2, "charge.succeeded", PLATFORM, charge("succeeded")),
        at(101, "charge.refunded", PLATFORM, carried),
        at(
            100,
            "refund.created",
            PLATFORM,
            refund("re_1", "pending", 700),
        ),
    ];
    let end = in_every_order(&world(), &events, |_| {});
    let shown = json!({ "amountRefunded": 700, "needsReview": false });
    holds(&end, RowKind::Payment, "pi_1", &shown, "in the end");
    let own = json!({ "status": "succeeded", "paymentId": "pi_1" });
    holds(&end, RowKind::Refund, "re_1", &own, "in the end");
    assert!(end.row(RowKind::Refund, "re_broken").is_none());
}

#[test]
fn a_refund_or_dispute_whose_payment_never_comes_asks_for_it() {
    let taken = dispute("needs_response", vec![moved("txn_out", -2_000, T0 + 500)]);
    for (kind, object) in [
        ("refund.created", refund("re_1", "succeeded", 500)),
        ("charge.dispute.created", taken),
    ] {
        let event = at(120, kind, PLATFORM, object);
        let id = event["id"].as_str().unwrap().to_owned();
        let mut world = world();
        let intent_id = PaymentIntentId::parse("pi_1").unwrap();
        let target = RereadTarget::PaymentIntent(intent_id);
        answers(&mut world, PLATFORM, target, &intent("succeeded"));
        world.deliver_json(&event);
        assert_eq!(world.fates[&id].0, Disposition::Applied, "{kind}");
        assert_eq!(world.parked_count(), 0, "{kind}");
        let unknown = json!({ "status": null, "amountCaptured": null, "tenantId": null });
        holds(&world, RowKind::Payment, "pi_1", &unknown, kind);
        later(&mut world, 59);
        assert!(
            world.effects_of("reread").is_empty(),
            "{kind}: not before a minute"
        );
        later(&mut world, 2);
        let known = json!({ "status": "succeeded", "amountCaptured": 2_000, "tenantId": "acme" });
        holds(&world, RowKind::Payment, "pi_1", &known, kind);
    }
}

#[test]
fn on_an_account_nobody_owns_a_refund_still_waits_for_its_owner() {
    let mut world = world();
    let event = at(
        120,
        "refund.created",
        "acct_x",
        refund("re_1", "succeeded", 5),
    );
    world.deliver_json(&event);
    assert_eq!(world.parked_count(), 1);
    later(&mut world, 3_600);
    assert!(world.effects_of("reread").is_empty());
}

/// A balance transaction of a charge of 2,000.
fn cost(id: &str, fee: i64, details: Value) -> Value {
    json!({ "id": id, "object": "balance_transaction", "amount": 2_000, "currency": "usd",
        "fee": fee, "fee_details": details, "net": 2_000 - fee, "created": T0 + 3,
        "source": "ch_1", "status": "pending", "type": "charge", "exchange_rate": null })
}

fn stripe_fee(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "usd", "type": "stripe_fee" })
}

#[test]
fn fees_are_posted_once_under_their_balance_transaction_in_any_order() {
    let taken = with(
        charge("succeeded"),
        json!({ "balance_transaction": "txn_ch" }),
    );
    let given = |status: &str| {
        let fields = json!({ "balance_transaction": "txn_re" });
        with(refund("re_1", status, 500), fields)
    };
    let lost = |status: &str| {
        let mut out = moved("txn_du", -1_500, T0 + 500);
        out["fee"] = 1_500.into();
        with(dispute(status, vec![out]), json!({ "amount": 1_500 }))
    };
    let events = [
        at(2, "charge.succeeded", PLATFORM, taken.clone()),
        at(2, "payment_intent.succeeded", PLATFORM, intent("succeeded")),
        at(120, "refund.created", PLATFORM, given("pending")),
        at(121, "refund.updated", PLATFORM, given("succeeded")),
        at(
            500,
            "charge.dispute.created",
            PLATFORM,
            lost("needs_response"),
        ),
        at(900, "charge.dispute.closed", PLATFORM, lost("lost")),
    ];
    let mut start = world();
    let details = json!([stripe_fee(88)]);
    answers(
        &mut start,
        PLATFORM,
        transaction("txn_ch"),
        &cost("txn_ch", 88, details),
    );
    // Part of the fee comes back with the refund.
    let back = json!([stripe_fee(-22)]);
    answers(
        &mut start,
        PLATFORM,
        transaction("txn_re"),
        &cost("txn_re", -22, back),
    );
    let end = in_every_order(&start, &events, |_| {});
    let expected = BTreeMap::from([
        (
            "stripe_balance".to_owned(),
            2_000 - 88 - 500 + 22 - 1_500 - 1_500,
        ),
        ("revenue".to_owned(), -2_000 + 88 - 22 + 1_500),
        ("refunds".to_owned(), 500),
        ("disputes".to_owned(), 1_500),
    ]);
    assert_eq!(balances(&end), expected);
    let of = |source: &str| -> Vec<i64> {
        let all = end.books.iter().filter(|((of, ..), _)| of == source);
        all.map(|(_, amount)| *amount).collect()
    };
    assert_eq!(of("txn_ch"), [-88, 88], "stripe_balance, revenue");
    let asked = end.effects_of("reread").len();
    assert_eq!(asked, 2, "each transaction is asked for once");
}

#[test]
fn a_merchants_fee_is_the_merchants_and_an_application_fee_changes_hands() {
    let taken = with(
        charge("succeeded"),
        json!({ "balance_transaction": "txn_ch" }),
    );
    let mut world = world();
    let details = json!([stripe_fee(88), { "amount": 100, "currency": "usd",
        "type": "application_fee" }]);
    let told = cost("txn_ch", 188, details);
    answers(&mut world, ACCOUNT, transaction("txn_ch"), &told);
    world.deliver_json(&at(2, "charge.succeeded", ACCOUNT, taken));
    let expected = BTreeMap::from([
        ("stripe_balance".to_owned(), 2_000 - 88),
        ("merchant".to_owned(), -2_000 + 188),
        ("revenue".to_owned(), -100),
    ]);
    assert_eq!(balances(&world), expected);
}

#[test]
fn a_charge_told_before_its_fee_is_asked_for_both_after_a_minute() {
    let mut world = world();
    let details = json!([stripe_fee(88)]);
    let answer = with(
        charge("succeeded"),
        json!({ "balance_transaction": cost("txn_ch", 88, details),
            "refunds": { "object": "list", "data": [] } }),
    );
    let target = RereadTarget::Charge(ChargeId::parse("ch_1").unwrap());
    answers(&mut world, PLATFORM, target, &answer);
    world.deliver_json(&at(
        2,
        "payment_intent.succeeded",
        PLATFORM,
        intent("succeeded"),
    ));
    world.deliver_json(&at(2, "charge.succeeded", PLATFORM, charge("succeeded")));
    later(&mut world, 61);
    let expected = BTreeMap::from([
        ("stripe_balance".to_owned(), 1_912),
        ("revenue".to_owned(), -1_912),
    ]);
    assert_eq!(balances(&world), expected);
    assert_eq!(
        world.effects_of("reread").len(),
        1,
        "one question tells both"
    );
}

#[test]
fn every_witness_of_a_doubt_is_asked() {
    let mut world = world();
    world.deliver_json(&at(
        2,
        "payment_intent.canceled",
        PLATFORM,
        intent("canceled"),
    ));
    world.deliver_json(&at(2, "charge.succeeded", PLATFORM, charge("succeeded")));
    let asked = world.effects_of("reread").len();
    assert_eq!(asked, 2, "payment intent and charge");
}
