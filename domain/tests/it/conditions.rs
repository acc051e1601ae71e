//! Orders that hold only for the version their writer saw.

use crate::corpus::settings;
use crate::tenants::{create, row, tell, world_with};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Disposition;
use bursar_domain::fact::Order;
use bursar_domain::ids::TenantId;
use bursar_domain::testing::World;

fn key() -> AggregateKey {
    AggregateKey::Tenant(TenantId::parse("t1").unwrap())
}

fn patch(world: &mut World, id: &str, name: &str, expected_version: Option<u64>) -> Disposition {
    let order = Order::TenantPatch {
        name: Some(name.to_owned()),
        email: None,
        metadata: None,
        timezone: None,
        contract_reference: None,
        expected_version,
    };
    world.order(key(), id, &order);
    world.timeline.last().unwrap().disposition
}

#[test]
fn a_patch_of_a_version_that_is_no_longer_shown_changes_nothing() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    let seen = world.shown.get(&key()).copied();
    assert!(seen.is_some());
    assert_eq!(patch(&mut world, "o1", "First", seen), Disposition::Applied);
    let before = world.state();
    assert_eq!(
        patch(&mut world, "o2", "Second", seen),
        Disposition::Ignored
    );
    assert_eq!(row(&world, "t1")["name"], "First");
    assert_eq!(world.state(), before);
    let seen = world.shown.get(&key()).copied();
    assert_eq!(patch(&mut world, "o3", "Third", seen), Disposition::Applied);
    assert_eq!(patch(&mut world, "o4", "Any", None), Disposition::Applied);
}

#[test]
fn what_stripe_changes_in_between_counts_as_a_change_too() {
    use crate::build::{MONTH, customer, subscription};
    use crate::corpus::T0;
    let mut world = world_with(settings());
    create(&mut world, "t1");
    let seen = world.shown.get(&key()).copied();
    tell(
        &mut world,
        "evt_c",
        "customer.created",
        T0,
        customer("cus_1", T0, Some("t1")),
    );
    let trial = subscription("sub_1", "cus_1", "active", "price_pro", T0, T0 + MONTH);
    tell(
        &mut world,
        "evt_s",
        "customer.subscription.created",
        T0,
        trial,
    );
    assert_ne!(world.shown.get(&key()).copied(), seen);
    assert_eq!(patch(&mut world, "o1", "Late", seen), Disposition::Ignored);
    assert_eq!(row(&world, "t1")["name"], "Acme");
}

#[test]
fn an_order_without_a_version_is_written_as_it_always_was() {
    let order = Order::TenantPatch {
        name: None,
        email: None,
        metadata: None,
        timezone: None,
        contract_reference: None,
        expected_version: None,
    };
    let body = String::from_utf8(order.to_body()).unwrap();
    assert!(!body.contains("expected"), "{body}");
}
