//! What a step tells: line items that are asked, receipts, plans that changed, timelines.

use crate::build::{MONTH, customer, session, subscription, with};
use crate::corpus::{T0, settings};
use crate::histories::PRO;
use crate::mails::{Desk, subscribed};
use crate::tenants::{bought, create, row, tell, world_with};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Disposition;
use bursar_domain::effect::Effect;
use bursar_domain::fact::Order;
use bursar_domain::ids::TenantId;
use bursar_domain::rows::RowKind;
use bursar_domain::settings::{Receipts, Settings};
use bursar_domain::testing::{World, event};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn mail(world: &World, template: &str) -> Vec<BTreeMap<String, String>> {
    let mails = world.effects_of(&format!("mail.{template}"));
    let params = mails.into_iter().map(|effect| match effect {
        Effect::Mail(mail) => mail.params,
        other => panic!("{other:?}"),
    });
    params.collect()
}

fn kinds(world: &World) -> Vec<&str> {
    let mut kinds: Vec<&str> = world
        .effects
        .values()
        .map(|one| one.kind.as_str())
        .collect();
    kinds.retain(|kind| !kind.starts_with("notify.tenant."));
    kinds.sort_unstable();
    kinds
}

/// One session of `t1`, completed.
fn sold(settings: Settings, fields: Value) -> World {
    let mut world = world_with(settings);
    create(&mut world, "t1");
    let object = with(bought("cs_1", "t1", 2), fields);
    tell(
        &mut world,
        "evt_1",
        "checkout.session.completed",
        T0,
        object,
    );
    world
}

#[test]
fn a_session_sets_off_what_was_bought_and_nothing_more() {
    let granted = ["mail.receipt", "notify.credits.granted", "provision"];
    let cases: Vec<(&str, Value, Vec<&str>)> = vec![
        ("credits, noted by us", json!({}), granted.to_vec()),
        (
            "credits that cost nothing",
            json!({ "amount_total": 0 }),
            granted[1..].to_vec(),
        ),
        (
            "with an invoice, whose receipt is the invoice's",
            json!({ "invoice": "in_9" }),
            granted[1..].to_vec(),
        ),
        (
            "not paid yet",
            json!({ "payment_status": "unpaid" }),
            vec![],
        ),
        (
            "not complete",
            json!({ "status": "open", "payment_status": "unpaid" }),
            vec![],
        ),
        (
            "credits, noted by the product: its line items are asked",
            json!({ "metadata": { "plan_id": "credits-10", "quantity": "2" } }),
            [
                "mail.receipt",
                "notify.credits.granted",
                "provision",
                "reread",
            ]
            .to_vec(),
        ),
        (
            "of no known plan: its line items decide",
            json!({ "metadata": {} }),
            vec!["mail.receipt", "provision", "reread"],
        ),
        (
            "of no known plan, not complete: nothing is asked yet",
            json!({ "metadata": {}, "status": "open", "payment_status": "unpaid" }),
            vec![],
        ),
        (
            "a plan of credits sold as a subscription grants none",
            json!({ "mode": "subscription" }),
            vec!["mail.receipt", "provision"],
        ),
        (
            "nothing is sold: what is set up",
            json!({ "mode": "setup", "metadata": {}, "amount_total": null }),
            vec!["provision"],
        ),
    ];
    for (name, fields, expected) in cases {
        assert_eq!(kinds(&sold(settings(), fields)), expected, "{name}");
    }
}

#[test]
fn a_receipt_is_sent_for_each_payment_for_the_first_or_for_none() {
    let of = |receipts| Settings {
        receipts,
        ..settings()
    };
    let twice = |receipts| {
        let mut world = sold(of(receipts), json!({}));
        let object = bought("cs_2", "t1", 1);
        tell(
            &mut world,
            "evt_2",
            "checkout.session.completed",
            T0 + 9,
            object,
        );
        mail(&world, "receipt").len()
    };
    assert_eq!(twice(Receipts::First), 1);
    assert_eq!(twice(Receipts::Off), 0);
    assert_eq!(twice(settings().receipts), 2);
    let receipt = mail(&sold(settings(), json!({})), "receipt");
    assert_eq!(
        (
            receipt[0]["sessionId"].as_str(),
            receipt[0]["amount"].as_str()
        ),
        ("cs_1", "20.00 usd")
    );
}

#[test]
fn a_session_told_twice_is_no_news_unless_it_says_more() {
    let mut world = sold(settings(), json!({ "payment_status": "unpaid" }));
    let last = |world: &World| world.timeline.last().unwrap().disposition;
    let object = with(
        bought("cs_1", "t1", 2),
        json!({ "payment_status": "unpaid" }),
    );
    tell(
        &mut world,
        "evt_2",
        "checkout.session.completed",
        T0,
        object.clone(),
    );
    assert_eq!(world.fates["evt_2"].0, Disposition::Duplicate);
    tell(
        &mut world,
        "evt_3",
        "checkout.session.async_payment_failed",
        T0 + 5,
        object,
    );
    assert_eq!(last(&world), Disposition::Applied);
    let shown = world.row(RowKind::Session, "cs_1").unwrap();
    assert_eq!(
        (shown["failedAt"].is_null(), shown["paidAt"].is_null()),
        (false, true)
    );
    tell(
        &mut world,
        "evt_4",
        "checkout.session.completed",
        T0 + 9,
        bought("cs_1", "t1", 2),
    );
    let shown = world.row(RowKind::Session, "cs_1").unwrap();
    assert_eq!(
        (shown["failedAt"].is_null(), shown["paidAt"].is_null()),
        (true, false)
    );
}

#[test]
fn that_what_was_bought_is_not_known_is_said_once_when_it_is_paid() {
    let said = |fields: Value| {
        let world = sold(settings(), fields);
        let said = "paid, but what was bought is not known";
        world
            .timeline
            .iter()
            .any(|one| one.summary.starts_with(said))
    };
    assert!(said(json!({ "metadata": {} })));
    assert!(!said(json!({})));
    assert!(!said(json!({ "metadata": {}, "payment_status": "unpaid" })));
}

#[test]
fn personal_fields_are_kept_of_a_session_that_has_any() {
    let personal = |details: Value| {
        let world = sold(settings(), json!({ "customer_details": details }));
        let row = world.rows.values().find(|row| row.kind == RowKind::Session);
        row.unwrap().personal.is_some()
    };
    assert!(personal(json!({ "email": "a@example.com", "name": null })));
    assert!(personal(json!({ "email": null, "name": "Ada" })));
    assert!(!personal(json!({ "email": null, "name": null })));
}

#[test]
fn a_changed_plan_is_told_with_what_it_was_and_for_how_many() {
    let items = |price: &str, quantity: u64| {
        json!({ "items": { "data": [{ "id": "si_1", "quantity": quantity,
            "current_period_end": T0 + MONTH, "price": { "id": price } }] } })
    };
    let mut desk = subscribed();
    let mut told = |at: i64, price: &str, quantity| {
        desk.subscription(T0 + at, "active", items(price, quantity));
        let mails = mail(&desk.world, "plan_changed");
        let of = |name: &str| -> Vec<Option<String>> {
            mails
                .iter()
                .map(|params| params.get(name).cloned())
                .collect()
        };
        (mails.len(), of("oldPlanId"), of("quantity"))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        told(10, "price_hobby", 1),
        (1, vec![text("pro")], vec![None])
    );
    let mut two = told(20, "price_hobby", 3);
    two.1.sort();
    two.2.sort();
    assert_eq!(two, (2, vec![None, text("pro")], vec![None, text("3")]));
}

#[test]
fn a_change_that_waits_is_shown_with_what_it_is_for() {
    let mut desk = subscribed();
    let pending = json!({ "pending_update": { "expires_at": T0 + 900, "subscription_items": [
        { "id": "si_1", "price": { "id": "price_hobby" }, "quantity": 4 }] } });
    desk.subscription(T0 + 10, "active", pending);
    let shown = |desk: &Desk| {
        desk.world.row(RowKind::Subscription, "sub_1").unwrap()["pendingUpdate"].clone()
    };
    let expected = json!({ "planId": "hobby", "priceId": "price_hobby", "quantity": 4,
        "expiresAt": "2025-05-12T10:15:00Z" });
    assert_eq!(shown(&desk), expected);
    desk.subscription(T0 + 20, "active", json!({}));
    assert_eq!(shown(&desk), Value::Null);
}

#[test]
fn an_unknown_price_is_alerted_on_the_platform_and_once_for_each_price() {
    let mut desk = subscribed();
    let mut alerts = |at: i64, price: &str| {
        let items = json!({ "items": { "data": [{ "id": "si_1", "quantity": 1,
            "current_period_end": T0 + MONTH, "price": { "id": price } }] } });
        desk.subscription(T0 + at, "active", items);
        desk.world.effects_of("alert.price_unknown").len()
    };
    assert_eq!(alerts(10, "price_a"), 1);
    assert_eq!(alerts(20, "price_a"), 1);
    assert_eq!(alerts(30, "price_hobby"), 1);
    assert_eq!(alerts(40, "price_b"), 2);
}

#[test]
fn a_customers_objects_follow_it_to_another_tenant() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    create(&mut world, "t0");
    tell(
        &mut world,
        "evt_1",
        "customer.created",
        T0,
        customer("cus_1", T0, Some("t1")),
    );
    let sub = subscription("sub_1", "cus_1", "active", PRO, T0, T0 + MONTH);
    tell(
        &mut world,
        "evt_2",
        "customer.subscription.created",
        T0 + 1,
        sub,
    );
    let of = |world: &World| {
        let owner = |kind, id: &str| world.row(kind, id).unwrap()["tenantId"].clone();
        (
            owner(RowKind::Customer, "cus_1"),
            owner(RowKind::Subscription, "sub_1"),
        )
    };
    assert_eq!(of(&world), (json!("t1"), json!("t1")));
    assert_eq!(row(&world, "t1")["stripeCustomerId"], "cus_1");
    tell(
        &mut world,
        "evt_3",
        "customer.updated",
        T0 + 2,
        customer("cus_1", T0 - 9, Some("t0")),
    );
    assert_eq!(of(&world), (json!("t0"), json!("t0")));
    assert_eq!(row(&world, "t1")["stripeCustomerId"], Value::Null);
    assert_eq!(row(&world, "t1")["subscriptions"], json!([]));
    assert_eq!(row(&world, "t0")["subscription"]["id"], "sub_1");
    assert_eq!(world.effects_of("alert.link_conflict").len(), 1);
    assert_eq!(world.effects_of("alert.link_conflict_children").len(), 0);
}

#[test]
fn a_debit_is_told_and_so_is_nothing_that_was_refused() {
    let mut world = sold(settings(), json!({}));
    let key = AggregateKey::Tenant(TenantId::parse("t1").unwrap());
    let told = |world: &World| world.effects_of("notify.credits.debited").len();
    for (n, amount, count) in [(1, 21, 0), (2, 20, 1), (3, 1, 1), (2, 20, 1)] {
        let reference = format!("job-{n}");
        let id = format!("o{n}-{amount}");
        world.order(key.clone(), &id, &Order::CreditsDebit { amount, reference });
        assert_eq!(told(&world), count, "{n}");
    }
    assert_eq!(row(&world, "t1")["credits"], 0);
}

#[test]
fn access_is_told_when_it_ends_and_when_it_comes_back() {
    let mut desk = subscribed();
    let access = |desk: &Desk| desk.world.effects_of("access").len();
    for (seconds, status, count) in [
        (10, "past_due", 0),
        (20, "unpaid", 1),
        (30, "paused", 1),
        (40, "active", 2),
    ] {
        desk.subscription(T0 + seconds, status, json!({}));
        assert_eq!(access(&desk), count, "{status}");
    }
}

#[test]
fn an_event_under_a_key_of_ours_is_told_to_its_command() {
    let mut world = world_with(settings());
    let key = AggregateKey::parse("command:cmd_1").unwrap();
    let mut one = event(
        "evt_1",
        "customer.created",
        T0,
        "",
        customer("cus_1", T0, None),
        None,
    );
    one["request"] = json!({ "id": "req_1", "idempotency_key": "bursar_cmd_1_1" });
    one["data"]["object"]["metadata"] = json!({ "tenant_id": "t1" });
    create(&mut world, "t1");
    let before = world.decided;
    world.deliver_json(&one);
    let told = world
        .timeline
        .iter()
        .any(|entry| entry.kind == "customer.created");
    assert!(told && world.decided > before + 1);
    assert!(
        world.snapshots.contains_key(&key),
        "{:?}",
        world.snapshots.keys()
    );
    let sale = session("cs_1", T0, "payment", None, Some("t1"));
    tell(&mut world, "evt_2", "checkout.session.completed", T0, sale);
    assert_eq!(
        world
            .snapshots
            .keys()
            .filter(|key| key.to_string().starts_with("command:"))
            .count(),
        1
    );
}

#[test]
fn the_end_of_a_trial_is_told_once_while_it_is_one() {
    let told = |steps: &[(i64, &str)]| {
        let mut desk = Desk::new();
        let object = |status: &str| {
            let fields = json!({ "metadata": { "tenant_id": "t1" }, "trial_end": T0 + 900 });
            with(
                subscription("sub_1", "cus_1", status, PRO, T0, T0 + MONTH),
                fields,
            )
        };
        desk.hears("customer.subscription.created", T0, object(steps[0].1));
        for (at, status) in steps {
            let kind = "customer.subscription.trial_will_end";
            desk.hears(kind, T0 + at, object(status));
        }
        let notified = desk.world.effects_of("notify.subscription.trial_ending");
        (notified.len(), mail(&desk.world, "trial_ending").len())
    };
    assert_eq!(told(&[(5, "trialing")]), (1, 1));
    assert_eq!(told(&[(5, "trialing"), (6, "trialing")]), (1, 1));
    assert_eq!(told(&[(5, "active")]), (0, 0));
    let mut desk = subscribed();
    desk.subscription(T0 + 9, "trialing", json!({ "trial_end": T0 + 900 }));
    assert_eq!(
        mail(&desk.world, "trial_ending").len(),
        0,
        "nobody said that it ends"
    );
}

#[test]
fn a_grace_keeps_the_length_it_began_with() {
    let mut desk = subscribed();
    let until = |desk: &Desk| row(&desk.world, "t1")["license"]["graceUntil"].clone();
    let end = T0 + MONTH;
    desk.invoice("invoice.payment_failed", end, "open", json!({}));
    desk.subscription(end + 1, "past_due", json!({}));
    let first = until(&desk);
    assert_eq!(first, "2025-06-18T10:00:00Z");
    for plan in &mut desk.world.settings.catalogue.plans {
        if let bursar_domain::plans::PlanEffect::Subscription(terms) = &mut plan.effect {
            terms.grace_days = 2;
        }
    }
    desk.subscription(end + 2, "past_due", json!({ "discounts": ["di_1"] }));
    assert_eq!(until(&desk), first);
    let mut late = subscribed();
    late.world.settings = desk.world.settings.clone();
    late.invoice("invoice.payment_failed", end, "open", json!({}));
    late.subscription(end + 1, "past_due", json!({}));
    assert_eq!(until(&late), "2025-06-13T10:00:00Z");
    // An earlier failure, heard of later, is where it began: a new grace, by the terms of now.
    desk.invoice("invoice.payment_failed", end - 60, "open", json!({}));
    assert_eq!(until(&desk), "2025-06-13T09:59:00Z");
}

#[test]
fn a_command_is_told_of_the_object_its_call_made() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    let order = Order::CommandBegin(Box::new(bursar_domain::command::CommandOrder {
        kind: bursar_domain::command::CommandKind::Customer,
        tenant: TenantId::parse("t1").unwrap(),
        by: "operator".to_owned(),
        call: bursar_domain::stripe_call::StripeCall {
            operation: bursar_domain::stripe_call::Operation::CustomerCreate,
            scope: bursar_domain::ids::Scope::PLATFORM,
            method: bursar_domain::stripe_call::Method::Post,
            path: "/v1/customers".to_owned(),
            params: Vec::new(),
        },
        objects: Vec::new(),
        awaits: None,
        after: None,
        patience_ms: None,
    }));
    world.order(AggregateKey::parse("command:cmd_1").unwrap(), "o1", &order);
    let mut made = event(
        "evt_1",
        "customer.created",
        T0,
        "",
        customer("cus_1", T0, Some("t1")),
        None,
    );
    made["request"] = json!({ "id": "req_1", "idempotency_key": "bursar_cmd_1_1" });
    world.deliver_json(&made);
    let shown = world.row(RowKind::Command, "cmd_1").unwrap();
    assert_eq!(
        (&shown["status"], &shown["objectId"]),
        (&json!("succeeded"), &json!("cus_1"))
    );
    assert_eq!(shown["confirmed"], true);
}
