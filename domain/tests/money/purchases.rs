//! Payments together with what sold them: sessions that adopt and grant, invoices that link.

use crate::build::*;
use crate::histories::History;
use crate::orders::{Walk, holds, world};
use bursar_domain::ids::{InvoiceId, PriceId, Scope, SessionId, Timestamp};
use bursar_domain::plans::{Catalogue, Plan, PlanEffect};
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn shop() -> World {
    let mut world = world();
    let credits = Plan {
        id: "credits-10".to_owned(),
        name: "Ten credits".to_owned(),
        price_ids: vec![PriceId::parse("price_c").unwrap()],
        effect: PlanEffect::Credits(10),
        revoke_on: BTreeSet::new(),
    };
    world.settings.catalogue = Catalogue {
        plans: vec![credits],
    };
    let target = RereadTarget::SessionLineItems(SessionId::parse("cs_1").unwrap());
    let items = json!({ "object": "list", "data": [{ "id": "li_1", "object": "item",
        "price": { "id": "price_c" }, "quantity": 1 }] });
    let asked = Reread {
        scope: Scope::PLATFORM,
        target,
    };
    world.truth.insert(asked, (200, items.to_string()));
    world
}

fn session() -> Value {
    json!({
        "id": "cs_1", "object": "checkout.session", "created": T0 - 60, "mode": "payment",
        "status": "complete", "payment_status": "paid", "amount_total": 2_000, "currency": "usd",
        "customer": null, "payment_intent": "pi_1", "subscription": null, "invoice": null,
        "payment_link": null, "client_reference_id": "acme",
        "metadata": { "plan_id": "credits-10" },
    })
}

fn guest(object: Value) -> Value {
    with(object, json!({ "customer": null }))
}

fn bought() -> Vec<Value> {
    vec![
        at(2, "charge.succeeded", PLATFORM, guest(charge("succeeded"))),
        at(
            2,
            "payment_intent.succeeded",
            PLATFORM,
            guest(intent("succeeded")),
        ),
        at(3, "checkout.session.completed", PLATFORM, session()),
    ]
}

fn history(
    name: &'static str,
    more: Vec<Value>,
    truth: Value,
    credits: i64,
    reversal: Option<i64>,
    books: Vec<(&'static str, i64)>,
    most: (i64, i64),
) -> History {
    let mut others = vec![("tenant", "acme", json!({ "credits": credits }))];
    if let Some(amount) = reversal {
        others.push((
            "credit",
            "reversal_cs_1",
            json!({ "amount": amount, "kind": "reversal" }),
        ));
    }
    let mut events = bought();
    events.extend(more);
    History {
        name,
        events,
        payment: "pi_1",
        truth: with(truth, json!({ "tenantId": "acme", "status": "succeeded" })),
        books,
        others,
        most,
    }
}

fn histories() -> Vec<History> {
    let refund_of = |id: &str, amount| {
        at(
            100,
            "refund.created",
            PLATFORM,
            refund(id, "succeeded", amount),
        )
    };
    let failed = at(
        900,
        "refund.failed",
        PLATFORM,
        refund("re_1", "failed", 2_000),
    );
    let taken = moved("txn_out", -2_000, T0 + 500);
    let about = |status: &str| dispute(status, vec![taken.clone()]);
    vec![
        history(
            "credits are bought by a guest the session names",
            vec![],
            json!({}),
            10,
            None,
            vec![("stripe_balance", 2_000), ("credits_liability", -2_000)],
            (2_000, 0),
        ),
        history(
            "a part is refunded and a part of the credits goes",
            vec![refund_of("re_1", 500), refund_of("re_2", 300)],
            json!({ "amountRefunded": 800 }),
            6,
            Some(-4),
            vec![
                ("stripe_balance", 1_200),
                ("revenue", -800),
                ("credits_liability", -1_200),
                ("refunds", 800),
            ],
            (2_000, 800),
        ),
        history(
            "all is refunded, and then the refund fails",
            vec![refund_of("re_1", 2_000), failed],
            json!({ "amountRefunded": 0 }),
            10,
            None,
            vec![("stripe_balance", 2_000), ("credits_liability", -2_000)],
            (2_000, 2_000),
        ),
        history(
            "the dispute about it is lost and all credits go",
            vec![
                at(
                    500,
                    "charge.dispute.created",
                    PLATFORM,
                    about("needs_response"),
                ),
                refund_of("re_1", 500),
                at(800, "charge.dispute.closed", PLATFORM, about("lost")),
            ],
            json!({ "disputed": true, "amountRefunded": 500 }),
            0,
            Some(-10),
            vec![
                ("stripe_balance", -500),
                ("revenue", -2_000),
                ("disputes", 2_000),
                ("refunds", 500),
            ],
            (2_000, 500),
        ),
    ]
}

#[test]
fn credits_follow_their_payment_in_every_order() {
    for history in histories() {
        let mut walk = Walk::of(&history);
        walk.explore(&shop(), &[]);
        walk.check();
    }
}

#[test]
fn each_total_of_credits_taken_back_is_told_once() {
    let mut world = shop();
    for event in bought() {
        world.deliver_json(&event);
    }
    assert_eq!(world.effects_of("notify.credits.granted").len(), 1);
    assert!(world.effects_of("notify.credits.reversed").is_empty());
    for (id, amount) in [("re_1", 500), ("re_2", 300)] {
        for kind in ["refund.created", "refund.updated"] {
            let told = refund(id, "succeeded", amount);
            world.deliver_json(&at(100, kind, PLATFORM, told));
        }
    }
    let amounts = world.effects_of("notify.credits.reversed").into_iter();
    let mut amounts: Vec<i64> = amounts
        .map(|effect| {
            let effect = serde_json::to_value(effect).unwrap();
            assert_eq!(effect["tenant"], "acme");
            effect["object"]["amount"].as_i64().unwrap()
        })
        .collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [-4, -2]);
}

#[test]
fn a_session_adopts_a_guests_payment_with_its_history_and_books() {
    let mut world = shop();
    let events = bought();
    world.deliver_json(&events[0]);
    world.deliver_json(&events[1]);
    let id = "pi_1";
    holds(
        &world,
        RowKind::Payment,
        id,
        &json!({ "tenantId": null }),
        "before the session",
    );
    let of = |world: &World, tenant: &str| -> i64 {
        let books = world
            .books
            .iter()
            .filter(|((_, t, ..), amount)| t == tenant && **amount > 0);
        books.map(|(_, amount)| *amount).sum()
    };
    assert_eq!((of(&world, ""), of(&world, "acme")), (2_000, 0));
    world.deliver_json(&events[2]);
    holds(
        &world,
        RowKind::Payment,
        id,
        &json!({ "tenantId": "acme" }),
        "after the session",
    );
    assert_eq!(of(&world, ""), 0, "nothing is left in nobody's books");
    assert_eq!(world.effects_of("notify.payment.succeeded").len(), 1);
}

#[test]
fn an_invoice_names_its_payment_once_stripe_was_asked() {
    let mut world = world();
    let invoice = InvoiceId::parse("in_1").unwrap();
    let asked = Reread {
        scope: Scope::PLATFORM,
        target: RereadTarget::InvoicePayments(invoice),
    };
    let list = json!({ "object": "list", "data": [{ "id": "inpay_1", "object": "invoice_payment",
        "invoice": "in_1", "status": "paid",
        "payment": { "type": "payment_intent", "payment_intent": "pi_1" } }] });
    world.truth.insert(asked, (200, list.to_string()));
    let paid = json!({ "id": "in_1", "object": "invoice", "status": "paid", "created": T0,
        "customer": "cus_1", "currency": "usd", "amount_due": 2_000, "amount_paid": 2_000,
        "parent": { "type": "subscription_details",
            "subscription_details": { "subscription": "sub_1", "metadata": {} } },
        "lines": { "data": [] }, "metadata": {} });
    world.deliver_json(&at(3, "invoice.paid", PLATFORM, paid));
    world.deliver_json(&at(
        2,
        "payment_intent.succeeded",
        PLATFORM,
        intent("succeeded"),
    ));
    world.deliver_json(&at(2, "charge.succeeded", PLATFORM, charge("succeeded")));
    world.advance_to(Timestamp::from_seconds(T0 + 20_000));
    let linked = json!({ "invoiceId": "in_1", "subscriptionId": "sub_1", "stripeInvoiceId": "in_1",
        "stripeSubscriptionId": "sub_1", "tenantId": "acme" });
    holds(
        &world,
        RowKind::Payment,
        "pi_1",
        &linked,
        "after the answer",
    );
}
