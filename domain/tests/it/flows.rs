//! The happy flows of the corpus, in the order Stripe makes them, and what must be true after.

use crate::corpus::{T0, created, scenario, world};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Disposition;
use bursar_domain::fact::Order;
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn play(world: &mut World, names: &[&str]) {
    for event in names.iter().flat_map(|name| scenario(name)) {
        world.now = world.now.max(Timestamp::from_seconds(created(&event)));
        world.advance_to(world.now);
        world.deliver_json(&event);
    }
}

fn create(world: &mut World, tenant: &str) {
    let order = Order::TenantCreate {
        name: Some(tenant.to_uppercase()),
        email: None,
        metadata: BTreeMap::new(),
        timezone: None,
    };
    let key = AggregateKey::Tenant(TenantId::parse(tenant).unwrap());
    world.order(key, &format!("create-{tenant}"), &order);
}

fn tenant(world: &World, id: &str) -> Value {
    world
        .row(RowKind::Tenant, id)
        .unwrap_or_else(|| panic!("no tenant {id}"))
}

#[test]
fn a_checkout_makes_the_tenant_and_its_licence() {
    let mut world = world(T0 - 200);
    play(&mut world, &["new_subscription_checkout"]);
    let shown = tenant(&world, "ws_42");
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["planId"], "pro");
    assert_eq!(shown["license"]["state"], "active");
    assert_eq!(shown["license"]["validUntil"], "2025-06-12T10:00:00Z");
    assert_eq!(shown["license"]["features"], json!(["export", "sso"]));
    assert_eq!(shown["stripeCustomerId"], "cus_OM4YOIUd3xZ0GV");
    assert_eq!(shown["archivedAt"], Value::Null);
    assert_eq!(world.parked_count(), 0);
    let provisions = world.effects_of("provision");
    assert_eq!(provisions.len(), 1, "the owner's account is made once");
    assert_eq!(
        world.effects_of("mail.receipt").len(),
        1,
        "two events, one receipt"
    );
    assert_eq!(world.effects_of("notify.invoice.paid").len(), 1);
}

#[test]
fn a_renewal_moves_the_licence_only_when_it_is_paid() {
    let mut world = world(T0 - 200);
    play(&mut world, &["new_subscription_checkout"]);
    for event in scenario("renewal_success") {
        world.advance_to(Timestamp::from_seconds(created(&event)));
        world.deliver_json(&event);
        let paid = world.row(RowKind::Invoice, "in_1XO16iRNbDemoPlatfrzaUSr");
        let is_paid = paid.is_some_and(|invoice| invoice["status"] == "paid");
        let until = tenant(&world, "ws_42")["license"]["validUntil"].clone();
        let expected = if is_paid {
            "2025-07-13T10:00:00Z"
        } else {
            "2025-06-12T10:00:00Z"
        };
        assert_eq!(until, expected, "after {}", event["type"]);
    }
    assert_eq!(world.effects_of("notify.license.renewed").len(), 1);
    assert_eq!(world.effects_of("mail.receipt").len(), 2);
}

#[test]
fn a_trial_becomes_paid_without_revenue_of_its_own() {
    let mut world = world(T0 - 200);
    create(&mut world, "ws_44");
    play(&mut world, &["trial_to_paid"]);
    let shown = tenant(&world, "ws_44");
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["license"]["state"], "active");
    assert_eq!(
        world.effects_of("notify.subscription.trial_ending").len(),
        1
    );
    assert_eq!(world.effects_of("mail.trial_ending").len(), 1);
    // The zero invoice of the trial gets no receipt.
    assert_eq!(world.effects_of("mail.receipt").len(), 1);
}

#[test]
fn cancellation_at_the_period_end_archives_the_tenant_then_and_not_before() {
    let mut world = world(T0 - 200);
    create(&mut world, "ws_42");
    let events = scenario("cancel_at_period_end");
    world.now = Timestamp::from_seconds(created(&events[0]));
    world.deliver_json(&events[0]);
    let before = tenant(&world, "ws_42");
    assert_eq!(before["status"], "active");
    assert_eq!(before["subscription"]["cancelAtPeriodEnd"], true);
    assert_eq!(before["archivedAt"], Value::Null);
    world.now = Timestamp::from_seconds(created(&events[1]));
    world.deliver_json(&events[1]);
    let after = tenant(&world, "ws_42");
    assert_eq!(after["status"], "canceled");
    assert_eq!(after["license"]["state"], "revoked");
    assert_eq!(after["archivedAt"], after["subscription"]["endedAt"]);
    assert_eq!(after["contract"]["endReason"], "cancellation_requested");
    assert_eq!(world.effects_of("mail.subscription_canceled").len(), 1);
    assert_eq!(world.effects_of("notify.tenant.archived").len(), 1);
}

#[test]
fn a_paid_one_time_checkout_grants_credits_once_its_line_items_are_read() {
    for name in ["one_time_payment_checkout", "async_payment_succeeded"] {
        let mut world = world(T0 - 200);
        let events = scenario(name);
        let session = events
            .iter()
            .rev()
            .find(|event| event["data"]["object"]["object"] == "checkout.session");
        let id = session.unwrap()["data"]["object"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let target =
            RereadTarget::SessionLineItems(bursar_domain::ids::SessionId::parse(&id).unwrap());
        let scope = bursar_domain::ids::Scope::PLATFORM;
        let items = json!({"object": "list", "data": [
            {"id": "li_1", "price": {"id": "price_credits"}, "quantity": 3}]});
        world
            .truth
            .insert(Reread { scope, target }, (200, items.to_string()));
        play(&mut world, &[name]);
        let shown = tenant(&world, "ws_43");
        assert_eq!(shown["credits"], 30, "{name}");
        assert_eq!(shown["status"], "active", "{name}");
        assert_eq!(shown["license"]["state"], "none", "{name}");
        let entry = world
            .row(RowKind::CreditEntry, &format!("grant_{id}"))
            .unwrap();
        assert_eq!(entry["amount"], 30);
        assert_eq!(world.effects_of("notify.credits.granted").len(), 1);
    }
}

#[test]
fn a_delayed_payment_grants_nothing_before_it_succeeded() {
    let mut world = world(T0 - 200);
    let mut events = scenario("async_payment_succeeded");
    for event in &mut events {
        event["data"]["object"]["metadata"]["plan_id"] = "credits-10".into();
        event["data"]["object"]["metadata"]["command_id"] = "cmd_1".into();
        event["data"]["object"]["metadata"]["quantity"] = "2".into();
    }
    let grants: Vec<Value> = events
        .iter()
        .map(|event| {
            world.now = Timestamp::from_seconds(created(event));
            world.deliver_json(event);
            world
                .row(RowKind::Tenant, "ws_43")
                .map_or(Value::Null, |row| row["credits"].clone())
        })
        .collect();
    assert_eq!(grants, [Value::Null, json!(0), json!(0), json!(20)]);
}

/// A paid one-time sale of the product's own making: `metadata` as it wrote it.
fn sold(metadata: Value) -> (World, Value) {
    let mut events = scenario("one_time_payment_checkout");
    let event = events
        .iter_mut()
        .find(|event| event["type"] == "checkout.session.completed")
        .unwrap();
    event["data"]["object"]["metadata"] = metadata;
    let mut world = world(T0 - 200);
    world.now = Timestamp::from_seconds(created(event));
    (world, event.clone())
}

fn line_items(world: &mut World, event: &Value, quantity: u64) {
    let id = event["data"]["object"]["id"].as_str().unwrap();
    let id = bursar_domain::ids::SessionId::parse(id).unwrap();
    let target = RereadTarget::SessionLineItems(id);
    let scope = Scope::PLATFORM;
    let items = json!({"object": "list", "data": [
        {"id": "li_1", "price": {"id": "price_credits"}, "quantity": quantity}]});
    world
        .truth
        .insert(Reread { scope, target }, (200, items.to_string()));
}

#[test]
fn a_quantity_the_product_noted_counts_at_once_and_the_line_items_have_the_last_word() {
    let noted = json!({"plan_id": "credits-10", "quantity": "3"});
    let (mut away, event) = sold(noted.clone());
    away.deliver_json(&event);
    assert_eq!(tenant(&away, "ws_43")["credits"], 30, "Stripe is away");
    let (mut there, event) = sold(noted);
    line_items(&mut there, &event, 4);
    there.deliver_json(&event);
    assert_eq!(
        tenant(&there, "ws_43")["credits"],
        40,
        "changed on the page"
    );
}

#[test]
fn credits_that_wait_for_line_items_say_so() {
    let (mut world, event) = sold(json!({"plan_id": "credits-10"}));
    world.deliver_json(&event);
    assert_eq!(tenant(&world, "ws_43")["credits"], 0);
    let told = world.timeline.iter().find(|line| {
        line.source_id == event["id"] && line.summary.contains("line items are asked of Stripe")
    });
    let told = told.expect("a line that says why");
    assert_eq!(told.tenant.as_ref().map(TenantId::as_str), Some("ws_43"));
    assert_eq!(world.effects_of("reread").len(), 1);
}

#[test]
fn an_event_of_an_unclaimed_customer_waits_and_is_applied_with_the_link() {
    let mut world = world(T0 + 2_700_000);
    for event in scenario("renewal_success") {
        world.deliver_json(&event);
    }
    assert!(world.rows.is_empty());
    assert!(
        world
            .fates
            .values()
            .all(|fate| fate.0 == Disposition::Parked)
    );
    assert!(world.parked_count() >= 9);
    for event in scenario("new_subscription_checkout") {
        world.deliver_json(&event);
    }
    assert_eq!(world.parked_count(), 0);
    let shown = tenant(&world, "ws_42");
    assert_eq!(shown["license"]["validUntil"], "2025-07-13T10:00:00Z");
}
