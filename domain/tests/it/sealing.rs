//! Personal fields that travel between aggregates are sealed.

use crate::build::{session, with};
use crate::corpus::{T0, settings};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::fact::Order;
use bursar_domain::ids::{CustomerId, EventId, InvoiceId, Scope, SessionId, TenantId, Timestamp};
use bursar_domain::input::{Ctx, InputSource, StoredInput};
use bursar_domain::rows::Subject;
use bursar_domain::testing::{World, event};
use serde_json::json;
use std::collections::BTreeMap;

#[test]
fn the_address_a_session_tells_a_tenant_is_sealed_under_the_tenants_key() {
    let paid = with(
        session("cs_1", T0, "payment", None, Some("t1")),
        json!({"customer_details": {"email": "ada@example.com"}}),
    );
    let body = event("evt_1", "checkout.session.completed", T0, "", paid, None);
    let now = Timestamp::from_seconds(T0 + 60);
    let input = StoredInput {
        seq: 1,
        source: InputSource::Event(Scope::PLATFORM, EventId::parse("evt_1").unwrap()),
        kind: "checkout.session.completed".to_owned(),
        received_at: now,
        body: serde_json::to_vec(&body).unwrap(),
    };
    let of = AggregateKey::Session(Scope::PLATFORM, SessionId::parse("cs_1").unwrap());
    let (settings, links) = (settings(), BTreeMap::new());
    let ctx = Ctx {
        now,
        settings: &settings,
        links: &links,
        shown_version: None,
    };
    let decision = bursar_domain::decide(&of, None, &input, &ctx);
    let holds_address = |payload: &[u8]| String::from_utf8_lossy(payload).contains("ada@");
    let told: Vec<_> = decision.messages.iter().collect();
    let (personal, plain): (Vec<_>, Vec<_>) = told
        .into_iter()
        .partition(|message| holds_address(&message.payload));
    assert_eq!(personal.len(), 1);
    assert_eq!(personal[0].subject, Some(Subject("tenant:t1".to_owned())));
    assert!(plain.iter().all(|message| message.subject.is_none()));
}

#[test]
fn whenever_it_is_erased_nothing_personal_is_kept_and_the_end_is_the_same() {
    let customer = |email: &str| {
        json!({"id": "cus_1", "object": "customer", "created": T0, "email": email, "name": "Ada",
               "metadata": {"tenant_id": "t1", "note": "ada@example.com"}})
    };
    let invoice = json!({"id": "in_1", "object": "invoice", "customer": "cus_1", "created": T0,
        "status": "open", "currency": "usd", "amount_due": 500, "amount_paid": 0,
        "amount_remaining": 500, "total": 500, "lines": {"data": []},
        "hosted_invoice_url": "https://invoice.stripe.com/ada@example.com"});
    let bought = with(
        session("cs_1", T0, "payment", Some("cus_1"), Some("t1")),
        json!({"customer_details": {"email": "ada@example.com", "name": "Ada"},
               "metadata": {"plan_id": "pro", "note": "ada@example.com"}}),
    );
    let previous = Some(json!({"email": "ada@example.org"}));
    let events = [
        event(
            "evt_1",
            "customer.created",
            T0,
            "",
            customer("ada@example.org"),
            None,
        ),
        event(
            "evt_2",
            "customer.updated",
            T0,
            "",
            customer("ada@example.com"),
            previous,
        ),
        event("evt_3", "invoice.created", T0 + 1, "", invoice, None),
        event(
            "evt_4",
            "checkout.session.completed",
            T0 + 2,
            "",
            bought,
            None,
        ),
    ];
    let platform = Scope::PLATFORM;
    let all = [
        AggregateKey::Customer(platform.clone(), CustomerId::parse("cus_1").unwrap()),
        AggregateKey::Session(platform.clone(), SessionId::parse("cs_1").unwrap()),
        AggregateKey::Invoice(platform, InvoiceId::parse("in_1").unwrap()),
        AggregateKey::Tenant(TenantId::parse("t1").unwrap()),
    ];
    let mut ends = BTreeMap::new();
    for at in 0..=events.len() {
        let mut world = World::new(settings(), Timestamp::from_seconds(T0 + 60));
        let create = Order::TenantCreate {
            name: Some("Ada".to_owned()),
            email: Some("ada@example.com".to_owned()),
            metadata: BTreeMap::new(),
            timezone: None,
        };
        world.order(all[3].clone(), "create", &create);
        for n in 0..=events.len() {
            if n == at {
                for key in &all {
                    world.order(key.clone(), &format!("erase {key}"), &Order::Erase {});
                }
            }
            if let Some(event) = events.get(n) {
                world.deliver_json(event);
                world.deliver_json(event);
            }
        }
        world.advance_to(Timestamp::from_seconds(T0 + 5_000_000));
        for (key, (bytes, _)) in &world.snapshots {
            let text = String::from_utf8_lossy(bytes);
            let is_clean = !text.contains("ada@") && !text.contains("\"Ada\"");
            assert!(is_clean, "erased before event {at}: {key} keeps {text}");
        }
        assert_eq!(world.snapshots.len(), 4, "erased before event {at}");
        ends.insert(world.state(), at);
    }
    assert_eq!(ends.len(), 1, "{ends:#?}");
}
