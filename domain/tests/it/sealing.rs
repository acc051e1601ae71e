//! Personal fields that travel between aggregates are sealed.

use crate::build::{session, with};
use crate::corpus::{T0, settings};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::ids::{EventId, Scope, SessionId, Timestamp};
use bursar_domain::input::{Ctx, InputSource, StoredInput};
use bursar_domain::rows::Subject;
use bursar_domain::testing::event;
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
