//! What nobody is known to own: set aside by an operator, and claimed all the same.

use crate::build::with;
use crate::corpus::{T0, settings};
use crate::tenants::{bought, create, row, tell, world_with};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::fact::Order;
use bursar_domain::ids::{Scope, SessionId, TenantId};
use bursar_domain::rows::RowKind;
use bursar_domain::settings::{PaymentLinkCheckouts, Settings};
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

#[test]
fn only_what_names_a_tenant_that_cannot_be_or_a_visitor_waits_for_a_person() {
    let session = |fields: Value| with(bought("cs_1", "t1", 1), fields);
    let nobody = json!({ "client_reference_id": null });
    let odd = json!({ "client_reference_id": "no such/tenant!" });
    let link = |fields: &Value| with(fields.clone(), json!({ "payment_link": "plink_1" }));
    let unread = json!({ "metadata": {} });
    let cases = [
        ("names a tenant", json!({}), None),
        ("names nobody", nobody.clone(), None),
        (
            "names what cannot be one",
            odd.clone(),
            Some("reference_not_a_tenant_id"),
        ),
        ("a visitor's, of a known price", link(&nobody), Some("held")),
        (
            "a visitor's, with a reference of any kind",
            link(&odd),
            Some("held"),
        ),
        (
            "a visitor's, whose items are not read",
            with(link(&nobody), unread),
            Some("price_not_read_yet"),
        ),
    ];
    for (name, fields, reason) in cases {
        let mut world = world_with(Settings {
            payment_link_checkouts: PaymentLinkCheckouts::Hold,
            ..settings()
        });
        create(&mut world, "t1");
        let object = session(fields);
        tell(
            &mut world,
            "evt_1",
            "checkout.session.completed",
            T0,
            object,
        );
        let row = world.row(RowKind::Unclaimed, "cs_1");
        let shown = row.map(|row| row["reason"].clone());
        assert_eq!(shown, reason.map(Value::from), "{name}");
    }
}
