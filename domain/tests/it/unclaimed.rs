//! What nobody is known to own: set aside by an operator, and claimed all the same.

use crate::build::with;
use crate::corpus::{T0, settings};
use crate::tenants::{bought, create, row, tell, world_with};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::fact::Order;
use bursar_domain::ids::{Scope, SessionId, TenantId};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::World;
use serde_json::{Value, json};

#[test]
fn what_an_operator_set_aside_waits_no_more_and_can_still_be_claimed() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    let odd = with(
        bought("cs_1", "x", 3),
        json!({"client_reference_id": "no such/tenant!"}),
    );
    tell(&mut world, "evt_1", "checkout.session.completed", T0, odd);
    let session = AggregateKey::Session(Scope::PLATFORM, SessionId::parse("cs_1").unwrap());
    let reason = "a test of the shop".to_owned();
    world.order(
        session.clone(),
        "aside",
        &Order::UnclaimedDismiss { reason },
    );
    assert!(world.row(RowKind::Unclaimed, "cs_1").is_none());
    let row_of = |world: &World| world.row(RowKind::Session, "cs_1").unwrap()["tenantId"].clone();
    assert_eq!(row_of(&world), Value::Null);
    assert_eq!(row(&world, "t1")["credits"], 0);
    let tenant = TenantId::parse("t1").unwrap();
    world.order(session, "claim", &Order::UnclaimedClaim { tenant });
    assert_eq!(row_of(&world), "t1");
    assert_eq!(row(&world, "t1")["credits"], 30);
    // It was said once that it waits.
    assert_eq!(world.effects_of("alert.unclaimed").len(), 1);
}
