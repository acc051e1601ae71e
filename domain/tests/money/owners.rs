//! Whose a payment is when what it names disagrees, or is only known later.

use crate::build::*;
use crate::histories::History;
use crate::orders::{Walk, holds, world};
use bursar_domain::ids::{AccountId, CustomerId, Scope};
use bursar_domain::link::LinkKey;
use bursar_domain::rows::RowKind;
use bursar_domain::testing::World;
use serde_json::{Value, json};

fn customer_key() -> LinkKey {
    LinkKey::Customer(Scope::PLATFORM, CustomerId::parse("cus_1").unwrap())
}

/// The tenants exist, but nothing is linked to them yet.
fn strangers() -> World {
    let mut world = world();
    world.links.remove(&customer_key());
    let account = AccountId::parse(ACCOUNT).unwrap();
    world.links.remove(&LinkKey::Merchant(account));
    world
}

fn naming(tenant: &str, object: Value) -> Value {
    with(object, json!({ "metadata": { "tenant_id": tenant } }))
}

fn customer(tenant: &str, created: i64) -> Value {
    let object = json!({ "id": "cus_1", "object": "customer", "created": created,
        "email": "ada@example.com", "name": "Ada" });
    naming(tenant, object)
}

fn history(name: &'static str, events: Vec<Value>, tenant: &str) -> History {
    History {
        name,
        events,
        payment: "pi_1",
        truth: json!({ "tenantId": tenant, "amountCaptured": 2_000, "amountRefunded": 300 }),
        books: vec![
            ("stripe_balance", 1_700),
            ("revenue", -2_000),
            ("refunds", 300),
        ],
        others: vec![
            ("refund", "re_1", json!({ "tenantId": tenant })),
            ("customer", "cus_1", json!({ "tenantId": tenant })),
        ],
        most: (2_000, 300),
    }
}

#[test]
fn the_least_claim_wins_in_every_order_and_takes_the_books_along() {
    let paid = |tenant: &str| {
        vec![
            at(
                0,
                "payment_intent.created",
                PLATFORM,
                naming(tenant, intent("processing")),
            ),
            at(
                2,
                "charge.succeeded",
                PLATFORM,
                naming(tenant, charge("succeeded")),
            ),
            at(
                2,
                "payment_intent.succeeded",
                PLATFORM,
                naming(tenant, intent("succeeded")),
            ),
            at(
                50,
                "refund.created",
                PLATFORM,
                refund("re_1", "succeeded", 300),
            ),
        ]
    };
    let mut earlier = paid("acme");
    earlier.push(at(
        -900,
        "customer.created",
        PLATFORM,
        customer("shop", T0 - 900),
    ));
    let mut later = paid("acme");
    later.push(at(
        900,
        "customer.updated",
        PLATFORM,
        customer("shop", T0 + 900),
    ));
    let mut silent = paid("acme");
    silent.push(at(
        -900,
        "customer.created",
        PLATFORM,
        with(customer("acme", T0 - 900), json!({ "metadata": {} })),
    ));
    for history in [
        history(
            "the customer was made before and names another tenant",
            earlier,
            "shop",
        ),
        history(
            "the customer was made after and names another tenant",
            later,
            "acme",
        ),
        history(
            "only the payment says whose its customer is",
            silent,
            "acme",
        ),
    ] {
        let mut walk = Walk::of(&history);
        walk.explore(&strangers(), &[]);
        walk.check();
    }
}

#[test]
fn a_disagreement_is_alerted_once_and_the_linked_customer_wins() {
    let mut world = world();
    for event in [
        at(
            -900,
            "customer.created",
            PLATFORM,
            customer("acme", T0 - 900),
        ),
        at(
            0,
            "payment_intent.created",
            PLATFORM,
            naming("shop", intent("processing")),
        ),
        at(
            2,
            "charge.succeeded",
            PLATFORM,
            naming("shop", charge("succeeded")),
        ),
        at(
            2,
            "payment_intent.succeeded",
            PLATFORM,
            naming("shop", intent("succeeded")),
        ),
    ] {
        world.deliver_json(&event);
    }
    holds(
        &world,
        RowKind::Payment,
        "pi_1",
        &json!({ "tenantId": "acme" }),
        "linked customer",
    );
    let alerts = world
        .effects
        .values()
        .filter(|effect| effect.kind == "alert.link_conflict");
    let of_payment = alerts.filter(|effect| {
        let payload = String::from_utf8_lossy(&effect.payload);
        payload.contains("\"pi_1")
    });
    assert_eq!(of_payment.count(), 1);
}

#[test]
fn what_is_sold_on_an_account_never_claims_the_account() {
    let mut world = strangers();
    world.deliver_json(&at(
        2,
        "payment_intent.succeeded",
        ACCOUNT,
        naming("acme", intent("succeeded")),
    ));
    let merchant = LinkKey::Merchant(AccountId::parse(ACCOUNT).unwrap());
    assert!(
        !world.links.contains_key(&merchant),
        "{:?}",
        world.links.get(&merchant)
    );
    assert!(world.row(RowKind::Merchant, ACCOUNT).is_none());
}

/// The owner is told what had happened before anybody knew of the owner: once.
#[test]
fn a_late_owner_hears_of_refunds_and_disputes_that_were_there_before() {
    let mut world = strangers();
    let taken = vec![moved("txn", -2_000, T0 + 500)];
    for event in [
        at(2, "charge.succeeded", PLATFORM, charge("succeeded")),
        at(
            50,
            "refund.created",
            PLATFORM,
            refund("re_1", "succeeded", 300),
        ),
        at(
            500,
            "charge.dispute.created",
            PLATFORM,
            dispute("needs_response", taken),
        ),
    ] {
        world.deliver_json(&event);
    }
    let told = |world: &World| -> Vec<String> {
        let kinds = world.effects.values().map(|effect| effect.kind.clone());
        let mut kinds: Vec<String> = kinds
            .filter(|kind| kind.starts_with("notify.") || kind.starts_with("mail."))
            .collect();
        kinds.sort();
        kinds
    };
    assert_eq!(told(&world), Vec::<String>::new(), "nobody to tell");
    for seconds in [900, 901] {
        let customer = customer("acme", T0 - 900);
        world.deliver_json(&at(seconds, "customer.updated", PLATFORM, customer));
    }
    assert_eq!(
        told(&world),
        [
            "mail.refund",
            "notify.dispute.opened",
            "notify.payment.succeeded",
            "notify.refund.created",
            "notify.refund.succeeded",
        ]
    );
}
