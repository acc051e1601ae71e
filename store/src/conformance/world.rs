//! Short words for inputs, decisions and questions in tests.

use crate::api::{Accepted, Applied, Apply, Fate, Inbound, Step, Store};
use crate::query::RowQuery;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{
    Decision, Disposition, EffectId, EffectIntent, EntrySource, Lane, LedgerAccount, LedgerEntry,
    LinkWrite, Movement, TimelineEntry,
};
use bursar_domain::ids::{AccountId, EventId, Scope, TenantId, Timestamp};
use bursar_domain::input::InputSource;
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::money::Currency;
use bursar_domain::rows::{Personal, Row, RowKind, RowWrite, Subject};

pub(crate) const NOW: Timestamp = Timestamp(1_750_000_000_000);

pub(crate) fn at(seconds: i64) -> Timestamp {
    NOW.plus_ms(seconds * 1_000)
}
pub(crate) fn key(text: &str) -> AggregateKey {
    AggregateKey::parse(text).unwrap()
}
pub(crate) fn link(text: &str) -> LinkKey {
    LinkKey::parse(text).unwrap()
}
pub(crate) fn tenant(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}
pub(crate) fn account(text: &str) -> Scope {
    Scope(Some(AccountId::parse(text).unwrap()))
}
pub(crate) fn target(text: &str) -> LinkTarget {
    LinkTarget {
        tenant: Some(tenant(text)),
    }
}

/// An event for an aggregate.
pub(crate) fn event(id: &str, to: &str) -> Inbound {
    parked_event(id, to, &[])
}

/// An event for an aggregate that waits for references.
pub(crate) fn parked_event(id: &str, to: &str, park: &[&str]) -> Inbound {
    Inbound {
        source: InputSource::Event(Scope::PLATFORM, EventId::parse(id).unwrap()),
        kind: "charge.succeeded".to_owned(),
        fate: Fate::Pending {
            to: key(to),
            park: park.iter().map(|text| link(text)).collect(),
        },
        object_ids: vec!["ch_1".to_owned()],
        created_at: Some(at(-5)),
        received_at: NOW,
        subject: Subject("customer:/cus_1".to_owned()),
        body: format!("{{\"id\":\"{id}\"}}").into_bytes().into(),
        tenant: None,
    }
}

/// Accepts one input and gives its number.
pub(crate) async fn accept(store: &dyn Store, item: Inbound) -> u64 {
    match store.accept(vec![item]).await.unwrap().remove(0) {
        Accepted::New { seq, .. } | Accepted::Duplicate { seq, .. } => seq,
    }
}

pub(crate) fn decision() -> Decision {
    Decision::nothing(Disposition::Applied, "")
}

/// A decision that writes a snapshot.
pub(crate) fn snapshot(text: &str) -> Decision {
    Decision {
        snapshot: Some(text.as_bytes().to_vec()),
        ..decision()
    }
}

pub(crate) fn writes_link(to: &str, of: &str) -> LinkWrite {
    LinkWrite {
        key: link(to),
        target: target(of),
    }
}

pub(crate) fn step(seq: u64, decision: Decision) -> Step {
    Step {
        seq,
        now: NOW,
        looked_up: Vec::new(),
        decision,
    }
}

pub(crate) fn apply_of(aggregate: &str, expected_version: u64, steps: Vec<Step>) -> Apply {
    Apply {
        skipped_lanes: Vec::new(),
        aggregate: key(aggregate),
        expected_version,
        reducer_rev: 1,
        settings: "test".to_owned(),
        steps,
    }
}

/// Accepts an event for the aggregate and applies a decision to it.
pub(crate) async fn decide(
    store: &dyn Store,
    id: &str,
    aggregate: &str,
    what: Decision,
) -> Applied {
    let seq = accept(store, event(id, aggregate)).await;
    let version = store.load(key(aggregate)).await.unwrap();
    let version = version.map_or(0, |snapshot| snapshot.version);
    let apply = apply_of(aggregate, version, vec![step(seq, what)]);
    store.apply(apply).await.unwrap()
}

pub(crate) fn is_done(applied: &Applied) -> bool {
    matches!(applied, Applied::Done { .. })
}

/// Numbers of the pending inputs.
pub(crate) async fn pending(store: &dyn Store, aggregate: &str) -> Vec<u64> {
    let inputs = store.pending(key(aggregate), 1_000).await.unwrap();
    inputs.iter().map(|input| input.seq).collect()
}

pub(crate) fn row(id: &str, of: Option<&str>, created: Option<i64>, status: &str) -> Row {
    Row {
        kind: RowKind::Payment,
        scope: Scope::PLATFORM,
        id: id.to_owned(),
        tenant: of.map(tenant),
        created_at: created.map(at),
        status: status.to_owned(),
        hidden: false,
        value: format!("{{\"id\":\"{id}\",\"status\":\"{status}\"}}").into_bytes(),
        personal: None,
    }
}

pub(crate) fn personal(text: &str) -> Personal {
    Personal {
        subject: Subject("customer:/cus_1".to_owned()),
        fields: format!("{{\"email\":\"{text}\"}}").into_bytes(),
    }
}

pub(crate) fn puts(rows: Vec<Row>) -> Decision {
    Decision {
        rows: rows.into_iter().map(RowWrite::Put).collect(),
        ..decision()
    }
}

pub(crate) fn rows_of(of: Option<&str>) -> RowQuery {
    RowQuery {
        kind: RowKind::Payment,
        tenant: of.map(tenant),
        status: None,
        created_after: None,
        created_before: None,
        hidden: false,
        after: None,
        limit: 100,
    }
}

pub(crate) fn usd() -> Currency {
    Currency::parse("usd").unwrap()
}

/// Money that came: the balance up, the revenue up.
pub(crate) fn movement(source: &str, minor: i64) -> Movement {
    let entry = |account, amount_minor| LedgerEntry {
        account,
        amount_minor,
        currency: usd(),
    };
    Movement {
        source: source.to_owned(),
        at: NOW,
        tenant: Some(tenant("acme")),
        payment: Some(link("payment:/pi_1")),
        entries: vec![
            entry(LedgerAccount::StripeBalance, minor),
            entry(LedgerAccount::Revenue, -minor),
        ],
    }
}

pub(crate) fn effect(id: &str, due: Timestamp) -> EffectIntent {
    EffectIntent {
        id: EffectId(id.to_owned()),
        lane: Lane::Mail,
        kind: "mail.receipt".to_owned(),
        due_at: due,
        payload: b"{}".to_vec(),
        subject: None,
    }
}

pub(crate) fn line(summary: &str, seconds: i64) -> TimelineEntry {
    TimelineEntry {
        at: at(seconds),
        source: EntrySource::Event,
        source_id: "evt_1".to_owned(),
        kind: "charge.succeeded".to_owned(),
        object_id: "ch_1".to_owned(),
        summary: summary.to_owned(),
        changed: Vec::new(),
        disposition: Disposition::Applied,
        tenant: None,
        payment: None,
        ids: vec!["pi_1".to_owned()],
    }
}
