//! Orders of operators, entitlements, Payment Links, credits: one tenant at a time.

use crate::build::{MONTH, customer, invoice, session, subscription, with};
use crate::corpus::{T0, settings, subscription_plan};
use crate::histories::PRO;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Disposition;
use bursar_domain::fact::Order;
use bursar_domain::ids::{Scope, SessionId, TenantId, Timestamp};
use bursar_domain::plans::{Limit, Plan, PlanEffect};
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::settings::{PaymentLinkCheckouts, Settings};
use bursar_domain::tenant::{TenantView, entitlement, features_now};
use bursar_domain::testing::{World, event};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DAY: i64 = 86_400;

fn key(tenant: &str) -> AggregateKey {
    AggregateKey::Tenant(TenantId::parse(tenant).unwrap())
}

pub(crate) fn create(world: &mut World, tenant: &str) {
    let order = Order::TenantCreate {
        name: Some("Acme".to_owned()),
        email: Some("owner@example.com".to_owned()),
        metadata: BTreeMap::new(),
        timezone: None,
    };
    world.order(key(tenant), &format!("create-{tenant}"), &order);
}

pub(crate) fn world_with(settings: Settings) -> World {
    World::new(settings, Timestamp::from_seconds(T0 + 60))
}

pub(crate) fn tell(world: &mut World, id: &str, kind: &str, at: i64, object: Value) {
    world.deliver_json(&event(id, kind, at, "", object, None));
}

pub(crate) fn row(world: &World, tenant: &str) -> Value {
    world
        .row(RowKind::Tenant, tenant)
        .unwrap_or_else(|| panic!("no {tenant}"))
}

pub(crate) fn bought(id: &str, tenant: &str, quantity: u64) -> Value {
    with(
        session(id, T0, "payment", None, Some(tenant)),
        json!({"metadata": {"plan_id": "credits-10", "command_id": "cmd_1",
            "quantity": quantity.to_string()}}),
    )
}

fn debit(world: &mut World, id: &str, amount: u64, reference: &str) -> (Value, usize) {
    let reference = reference.to_owned();
    world.order(key("t1"), id, &Order::CreditsDebit { amount, reference });
    let entries = world
        .rows
        .values()
        .filter(|row| row.kind == RowKind::CreditEntry)
        .count();
    (row(world, "t1")["credits"].clone(), entries)
}

#[test]
fn a_debit_counts_once_per_reference_and_never_below_zero() {
    let mut world = world_with(settings());
    tell(
        &mut world,
        "evt_1",
        "checkout.session.completed",
        T0,
        bought("cs_1", "t1", 2),
    );
    assert_eq!(row(&world, "t1")["credits"], 20);
    assert_eq!(debit(&mut world, "o1", 15, "job-1"), (json!(5), 2));
    // The same reference under another order of the same program.
    assert_eq!(debit(&mut world, "o2", 15, "job-1"), (json!(5), 2));
    assert_eq!(debit(&mut world, "o3", 6, "job-2"), (json!(5), 2));
    assert_eq!(
        world.timeline.last().unwrap().disposition,
        Disposition::Ignored
    );
    assert!(
        world
            .timeline
            .last()
            .unwrap()
            .summary
            .contains("insufficient_credits")
    );
    // Refused is not counted: the reference may come again when there is enough.
    tell(
        &mut world,
        "evt_2",
        "checkout.session.completed",
        T0,
        bought("cs_2", "t1", 1),
    );
    assert_eq!(debit(&mut world, "o4", 6, "job-2"), (json!(9), 4));
    assert_eq!(debit(&mut world, "o5", 0, "job-3").0, json!(9));
}

#[test]
fn an_operator_creates_and_edits_a_tenant_once() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    world.order(
        key("t1"),
        "again",
        &Order::TenantCreate {
            name: Some("Other".to_owned()),
            email: None,
            metadata: BTreeMap::new(),
            timezone: None,
        },
    );
    assert_eq!(row(&world, "t1")["name"], "Acme");
    assert_eq!(
        world.timeline.last().unwrap().disposition,
        Disposition::Duplicate
    );
    world.order(
        key("t1"),
        "patch",
        &Order::TenantPatch {
            name: None,
            email: None,
            metadata: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
            timezone: Some("Europe/Paris".to_owned()),
            contract_reference: Some("C-1".to_owned()),
            expected_version: None,
        },
    );
    let shown = row(&world, "t1");
    assert_eq!(
        (&shown["name"], &shown["metadata"]["a"]),
        (&json!("Acme"), &json!("b"))
    );
    assert_eq!(shown["contract"]["reference"], "C-1");
    assert_eq!(shown["status"], "pending");
    world.order(
        key("t1"),
        "clear",
        &Order::TenantPatch {
            name: Some(String::new()),
            email: None,
            metadata: None,
            timezone: Some(String::new()),
            contract_reference: Some(String::new()),
            expected_version: None,
        },
    );
    let shown = row(&world, "t1");
    assert_eq!(shown["name"], Value::Null, "an empty text clears: {shown}");
    assert_eq!(shown["timezone"], Value::Null, "{shown}");
    assert_eq!(shown["contract"]["reference"], Value::Null, "{shown}");
    assert_eq!(shown["metadata"]["a"], "b", "what is not named stays");
    world.order(key("t1"), "erase", &Order::Erase {});
    assert_eq!(
        (&row(&world, "t1")["name"], &row(&world, "t1")["email"]),
        (&Value::Null, &Value::Null)
    );
    world.order(key("nobody"), "patch2", &Order::Erase {});
    assert!(world.row(RowKind::Tenant, "nobody").is_none());
}

#[test]
fn a_text_an_order_cleared_is_shown_as_none() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    let none = || Some(String::new());
    let order = Order::TenantPatch {
        name: none(),
        email: none(),
        metadata: None,
        timezone: none(),
        contract_reference: none(),
        expected_version: None,
    };
    world.order(key("t1"), "patch", &order);
    let shown = row(&world, "t1");
    for field in ["name", "email", "timezone", "contract"] {
        assert_eq!(shown[field], Value::Null, "{field}");
    }
}

#[test]
fn a_reference_outside_the_grammar_waits_unclaimed_until_an_operator_claims_it() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    let odd = with(
        bought("cs_1", "x", 3),
        json!({"client_reference_id": "no such/tenant!"}),
    );
    tell(&mut world, "evt_1", "checkout.session.completed", T0, odd);
    let waiting = world.row(RowKind::Unclaimed, "cs_1").unwrap();
    assert_eq!(waiting["reason"], "reference_not_a_tenant_id");
    assert_eq!(world.effects_of("alert.unclaimed").len(), 1);
    let session = AggregateKey::Session(Scope::PLATFORM, SessionId::parse("cs_1").unwrap());
    let tenant = TenantId::parse("t1").unwrap();
    world.order(session.clone(), "claim", &Order::UnclaimedClaim { tenant });
    assert!(world.row(RowKind::Unclaimed, "cs_1").is_none());
    assert_eq!(row(&world, "t1")["credits"], 30);
    let tenant = TenantId::parse("t2").unwrap();
    world.order(session, "steal", &Order::UnclaimedClaim { tenant });
    assert_eq!(
        world.row(RowKind::Session, "cs_1").unwrap()["tenantId"],
        "t1"
    );
}

fn link_session(id: &str, plan: Option<&str>) -> Value {
    let metadata = plan.map_or(json!({}), |plan| json!({"plan_id": plan}));
    with(
        session(id, T0, "subscription", Some("cus_9"), Some("t1")),
        json!({"payment_link": "plink_1", "subscription": "sub_9", "metadata": metadata}),
    )
}

fn visitors_events(world: &mut World) {
    tell(
        world,
        "evt_c",
        "customer.created",
        T0,
        customer("cus_9", T0, None),
    );
    let sub = subscription("sub_9", "cus_9", "active", PRO, T0, T0 + MONTH);
    tell(world, "evt_s", "customer.subscription.created", T0 + 1, sub);
}

#[test]
fn a_payment_link_makes_a_tenant_whose_id_follows_from_the_session() {
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        let mut world = world_with(settings());
        create(&mut world, "t1");
        visitors_events(&mut world);
        tell(
            &mut world,
            "evt_1",
            "checkout.session.completed",
            T0 + 3,
            link_session("cs_9", Some("pro")),
        );
        let made = world.row(RowKind::Subscription, "sub_9").unwrap()["tenantId"].clone();
        let made = made.as_str().unwrap().to_owned();
        assert_eq!(made.len(), 36);
        let shown = row(&world, &made);
        assert_eq!(
            (&shown["status"], &shown["planId"]),
            (&json!("active"), &json!("pro"))
        );
        assert_eq!(shown["email"], "payer@example.com");
        assert_eq!(row(&world, "t1")["status"], "pending");
        assert_eq!(world.effects_of("provision").len(), 1);
        ids.insert(made);
    }
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_held_or_unpriced_payment_link_waits_and_its_events_with_it() {
    let held = Settings {
        payment_link_checkouts: PaymentLinkCheckouts::Hold,
        ..settings()
    };
    let line_items = |price: &str| {
        json!({"object": "list", "data": [
        {"id": "li_1", "price": {"id": price}, "quantity": 1}]})
    };
    for (settings, plan, price, reason) in [
        (held, Some("pro"), PRO, "held"),
        (settings(), None, "price_of_a_stranger", "price_unknown"),
    ] {
        let mut world = world_with(settings);
        create(&mut world, "t1");
        let target = RereadTarget::SessionLineItems(SessionId::parse("cs_9").unwrap());
        let reread = Reread {
            scope: Scope::PLATFORM,
            target,
        };
        world
            .truth
            .insert(reread, (200, line_items(price).to_string()));
        visitors_events(&mut world);
        tell(
            &mut world,
            "evt_1",
            "checkout.session.completed",
            T0 + 3,
            link_session("cs_9", plan),
        );
        assert_eq!(
            world.row(RowKind::Unclaimed, "cs_9").unwrap()["reason"],
            reason
        );
        assert_eq!(world.parked_count(), 2, "{reason}");
        let session = AggregateKey::Session(Scope::PLATFORM, SessionId::parse("cs_9").unwrap());
        let tenant = TenantId::parse("t1").unwrap();
        world.order(session, "claim", &Order::UnclaimedClaim { tenant });
        assert_eq!(world.parked_count(), 0);
        assert!(world.row(RowKind::Unclaimed, "cs_9").is_none());
        assert_eq!(row(&world, "t1")["status"], "active");
    }
}

#[test]
fn a_payment_link_price_is_read_from_its_line_items() {
    let mut world = world_with(settings());
    let target = RereadTarget::SessionLineItems(SessionId::parse("cs_9").unwrap());
    let items = json!({"data": [{"id": "li_1", "price": {"id": "price_credits"}, "quantity": 4}]});
    world.truth.insert(
        Reread {
            scope: Scope::PLATFORM,
            target,
        },
        (200, items.to_string()),
    );
    let guest = with(
        link_session("cs_9", None),
        json!({"mode": "payment", "customer": null, "subscription": null}),
    );
    tell(
        &mut world,
        "evt_1",
        "checkout.session.completed",
        T0 + 3,
        guest,
    );
    let made = world.row(RowKind::Session, "cs_9").unwrap()["tenantId"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(row(&world, &made)["credits"], 40);
    assert!(world.row(RowKind::Unclaimed, "cs_9").is_none());
}

fn free(features: &[&str]) -> Plan {
    Plan {
        id: "free".to_owned(),
        name: "Free".to_owned(),
        price_ids: vec![],
        effect: PlanEffect::Free {
            features: features.iter().map(|f| (*f).to_owned()).collect(),
            limits: BTreeMap::from([("seats".to_owned(), Limit::Fixed(1))]),
        },
        revoke_on: BTreeSet::new(),
    }
}

fn view(world: &World) -> TenantView {
    let key = (RowKind::Tenant, Scope::PLATFORM, "t1".to_owned());
    TenantView::from_row(&world.rows[&key].value).unwrap()
}

fn allowed(world: &World, feature: &str, at: i64) -> (bool, String, Option<u64>) {
    let now = Timestamp::from_seconds(at);
    let answer = entitlement(&view(world), feature, &world.settings.catalogue, now).unwrap();
    (answer.allowed, answer.reason, answer.limit)
}

#[test]
fn entitlements_follow_plan_state_and_catalogue() {
    let mut settings = settings();
    settings.catalogue.plans.push(free(&["export"]));
    let mut world = world_with(settings);
    create(&mut world, "t1");
    assert_eq!(row(&world, "t1")["planId"], "free");
    assert_eq!(
        allowed(&world, "export", T0),
        (true, "free_plan".into(), None)
    );
    assert_eq!(
        allowed(&world, "sso", T0),
        (false, "not_in_plan".into(), None)
    );
    assert_eq!(allowed(&world, "seats", T0).2, Some(1));
    let unknown = entitlement(
        &TenantView::default(),
        "teleport",
        &world.settings.catalogue,
        world.now,
    );
    assert!(unknown.is_err());
    let (start, end) = (T0, T0 + MONTH);
    let named = |object: Value| with(object, json!({"metadata": {"tenant_id": "t1"}}));
    let sub = |status: &str| named(subscription("sub_1", "cus_1", status, PRO, start, end));
    let seats = with(
        sub("active"),
        json!({"items": {"data": [{"id": "si", "quantity": 5,
        "current_period_end": end, "price": {"id": PRO}}]}}),
    );
    tell(
        &mut world,
        "evt_1",
        "customer.subscription.created",
        T0,
        seats,
    );
    assert_eq!(allowed(&world, "sso", T0), (true, "licensed".into(), None));
    assert_eq!(allowed(&world, "seats", T0).2, Some(5));
    // An edited catalogue acts at once.
    let mut edited = world.settings.catalogue.clone();
    edited.plans[1] = subscription_plan("pro", PRO, &["sso", "audit"]);
    let present: Vec<String> = features_now(&view(&world), &edited).into_iter().collect();
    assert_eq!(present, ["audit", "sso"]);
    let failed = invoice("in_1", "cus_1", "sub_1", "open", T0, end);
    tell(
        &mut world,
        "evt_2",
        "invoice.payment_failed",
        T0 + 1,
        failed,
    );
    tell(
        &mut world,
        "evt_3",
        "customer.subscription.updated",
        T0 + 2,
        sub("past_due"),
    );
    assert_eq!(
        allowed(&world, "sso", T0 + 7 * DAY),
        (true, "grace".into(), None)
    );
    // The moment grace is over, whether or not its timer was handled.
    assert_eq!(
        allowed(&world, "sso", T0 + 1 + 7 * DAY),
        (false, "revoked".into(), None)
    );
    let gone = with(sub("canceled"), json!({"ended_at": T0 + 9}));
    tell(
        &mut world,
        "evt_4",
        "customer.subscription.deleted",
        T0 + 9,
        gone,
    );
    assert_eq!(
        allowed(&world, "export", T0 + 10),
        (true, "free_plan".into(), None)
    );
    assert_eq!(row(&world, "t1")["license"]["features"], json!(["export"]));
}

#[test]
fn an_unknown_price_gives_no_plan_one_alert_and_a_licence_by_status() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    for n in 0..3 {
        let sub = with(
            subscription("sub_1", "cus_1", "active", "price_new", T0, T0 + MONTH),
            json!({"metadata": {"tenant_id": "t1"}, "discounts": [format!("di_{n}")]}),
        );
        tell(
            &mut world,
            &format!("evt_{n}"),
            "customer.subscription.updated",
            T0 + n,
            sub,
        );
    }
    let shown = row(&world, "t1");
    assert_eq!(
        (&shown["planId"], &shown["priceId"]),
        (&Value::Null, &json!("price_new"))
    );
    assert_eq!(shown["license"]["state"], "active");
    assert_eq!(shown["license"]["features"], json!([]));
    assert_eq!(world.effects_of("alert.price_unknown").len(), 1);
}

#[test]
fn the_table_of_statuses_holds() {
    for (stripe, tenant, license) in [
        ("trialing", "trialing", "active"),
        ("active", "active", "active"),
        ("unpaid", "suspended", "revoked"),
        ("paused", "suspended", "revoked"),
        ("incomplete", "pending", "none"),
        ("incomplete_expired", "canceled", "none"),
        ("canceled", "canceled", "revoked"),
    ] {
        let mut world = world_with(settings());
        create(&mut world, "t1");
        let sub = with(
            subscription("sub_1", "cus_1", stripe, PRO, T0, T0 + MONTH),
            json!({"metadata": {"tenant_id": "t1"}}),
        );
        tell(
            &mut world,
            "evt_1",
            "customer.subscription.updated",
            T0,
            sub,
        );
        let shown = row(&world, "t1");
        assert_eq!(
            (&shown["status"], &shown["license"]["state"]),
            (&json!(tenant), &json!(license)),
            "{stripe}"
        );
    }
}

#[test]
fn silence_after_a_paid_period_asks_stripe_and_revokes_nothing() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    let end = T0 + MONTH;
    let named = json!({"metadata": {"tenant_id": "t1"}, "latest_invoice": "in_1"});
    let sub = with(
        subscription("sub_1", "cus_1", "active", PRO, T0, end),
        named,
    );
    tell(
        &mut world,
        "evt_1",
        "customer.subscription.created",
        T0,
        sub.clone(),
    );
    tell(
        &mut world,
        "evt_2",
        "invoice.paid",
        T0 + 1,
        invoice("in_1", "cus_1", "sub_1", "paid", T0, end),
    );
    world.advance_to(Timestamp::from_seconds(end + 3 * 3600 - 1));
    assert_eq!(row(&world, "t1")["license"]["stale"], false);
    world.advance_to(Timestamp::from_seconds(end + 3 * 3600));
    let shown = row(&world, "t1");
    assert_eq!(
        (&shown["license"]["stale"], &shown["license"]["state"]),
        (&json!(true), &json!("active"))
    );
    let asked = world.effects_of("reread");
    assert!(
        asked.len() >= 2,
        "the subscription and its latest invoice: {asked:?}"
    );
    // Stripe moved on long ago; only its webhook is late.
    let late = with(
        sub,
        json!({"items": {"data": [{"id": "si", "quantity": 1,
        "current_period_end": end + MONTH, "price": {"id": PRO}}]}}),
    );
    tell(
        &mut world,
        "evt_3",
        "customer.subscription.updated",
        end + 4 * 3600,
        late,
    );
    assert_eq!(row(&world, "t1")["license"]["stale"], false);
}

#[test]
fn a_session_alone_activates_the_tenant_by_asking_for_its_subscription() {
    let mut world = world_with(settings());
    let reread = Reread {
        scope: Scope::PLATFORM,
        target: RereadTarget::Subscription(
            bursar_domain::ids::SubscriptionId::parse("sub_1").unwrap(),
        ),
    };
    let sub = subscription("sub_1", "cus_1", "active", PRO, T0, T0 + MONTH);
    world.truth.insert(reread, (200, sub.to_string()));
    let sale = with(
        session("cs_1", T0, "subscription", Some("cus_1"), Some("t1")),
        json!({"subscription": "sub_1"}),
    );
    tell(
        &mut world,
        "evt_1",
        "checkout.session.completed",
        T0 + 1,
        sale,
    );
    assert_eq!(row(&world, "t1")["status"], "active");
    assert_eq!(row(&world, "t1")["planId"], "pro");
}
