//! What is known without being told outright: refunds a charge proves, parents asked for.

use crate::build::*;
use crate::orders::{balances, holds, scope_of, world};
use bursar_domain::decision::Disposition;
use bursar_domain::ids::{PaymentIntentId, Timestamp};
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
