//! What a store does with what arrives.

use super::world::*;
use crate::api::{Accepted, Fate, InputStatus, Store};
use crate::error::StoreError;
use crate::query::InputQuery;
use bursar_domain::decision::Disposition;
use bursar_domain::ids::{EventId, Scope};
use bursar_domain::input::InputSource;
use bursar_domain::link::LinkKey;

pub(crate) async fn an_event_is_accepted_once_and_found_again(store: &dyn Store) {
    let first = store.accept(vec![event("evt_1", "payment:/pi_1")]).await;
    let first = first.unwrap();
    let Accepted::New { seq, status, to } = first[0].clone() else {
        panic!("{first:?}")
    };
    assert_eq!(
        (status, to),
        (InputStatus::Received, Some(key("payment:/pi_1")))
    );
    let again = store.accept(vec![event("evt_1", "payment:/pi_1")]).await;
    let same_body = true;
    assert_eq!(again.unwrap(), [Accepted::Duplicate { seq, same_body }]);
    let found = store.input("evt_1".into(), None).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].seq, seq);
    assert_eq!(found[0].received_at, NOW);
    let body = store.input_body(seq).await.unwrap().unwrap();
    assert_eq!(body, b"{\"id\":\"evt_1\"}");
    let pending = store.pending(key("payment:/pi_1"), 10).await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].seq, &pending[0].body), (seq, &body));
}

pub(crate) async fn the_same_event_in_one_call_is_one_event(store: &dyn Store) {
    let items = vec![
        event("evt_1", "payment:/pi_1"),
        event("evt_2", "payment:/pi_1"),
        event("evt_1", "payment:/pi_1"),
    ];
    let answers = store.accept(items).await.unwrap();
    assert!(matches!(
        answers[2],
        Accepted::Duplicate {
            same_body: true,
            ..
        }
    ));
    assert_eq!(pending(store, "payment:/pi_1").await.len(), 2);
}

pub(crate) async fn ids_are_unique_per_account_only(store: &dyn Store) {
    let mut other = event("evt_1", "payment:acct_9/pi_1");
    other.source = InputSource::Event(account("acct_9"), EventId::parse("evt_1").unwrap());
    accept(store, event("evt_1", "payment:/pi_1")).await;
    accept(store, other).await;
    assert_eq!(store.input("evt_1".into(), None).await.unwrap().len(), 2);
    let one = store.input("evt_1".into(), Some(account("acct_9"))).await;
    assert_eq!(one.unwrap()[0].to, Some(key("payment:acct_9/pi_1")));
    let one = store.input("evt_1".into(), Some(Scope::PLATFORM)).await;
    assert_eq!(one.unwrap()[0].to, Some(key("payment:/pi_1")));
}

pub(crate) async fn another_body_under_the_same_id_is_seen_and_the_first_is_kept(
    store: &dyn Store,
) {
    let seq = accept(store, event("evt_1", "payment:/pi_1")).await;
    let mut other = event("evt_1", "payment:/pi_1");
    other.body = b"forged".to_vec().into();
    let answer = store.accept(vec![other]).await.unwrap();
    let same_body = false;
    assert_eq!(answer, [Accepted::Duplicate { seq, same_body }]);
    let body = store.input_body(seq).await.unwrap().unwrap();
    assert_eq!(body, b"{\"id\":\"evt_1\"}");
}

pub(crate) async fn ignored_and_dead_inputs_are_listed_and_never_pending(store: &dyn Store) {
    let mut ignored = event("evt_1", "payment:/pi_1");
    ignored.fate = Fate::Ignored {
        reason: "not handled".into(),
    };
    let mut dead = event("evt_2", "payment:/pi_1");
    dead.source = InputSource::Raw("ab".repeat(32));
    dead.fate = Fate::Dead {
        reason: "no event".into(),
    };
    accept(store, ignored).await;
    let dead = accept(store, dead).await;
    assert!(store.ready(None, 10).await.unwrap().is_empty());
    for (status, disposition, reason) in [
        (InputStatus::Ignored, Disposition::Ignored, "not handled"),
        (InputStatus::Dead, Disposition::Dead, "no event"),
    ] {
        let query = InputQuery {
            status: Some(status),
            limit: 10,
            ..InputQuery::default()
        };
        let page = store.inputs(query).await.unwrap();
        assert_eq!(page.items.len(), 1);
        assert_eq!(page.items[0].disposition, Some(disposition));
        assert_eq!(page.items[0].reason, reason);
        assert_eq!(page.items[0].ended_at, Some(NOW));
    }
    let raw = format!("raw_{}", "ab".repeat(32));
    assert_eq!(store.input(raw, None).await.unwrap()[0].seq, dead);
}

pub(crate) async fn an_input_waits_for_any_of_its_references(store: &dyn Store) {
    let waits = ["customer:/cus_1", "tenant:acme"];
    let item = parked_event("evt_1", "payment:/pi_1", &waits);
    let answer = store.accept(vec![item]).await.unwrap();
    let Accepted::New { seq, status, to } = answer[0].clone() else {
        panic!("{answer:?}")
    };
    assert_eq!((status, to), (InputStatus::Parked, None));
    assert!(pending(store, "payment:/pi_1").await.is_empty());
    let view = store.input_by_seq(seq).await.unwrap().unwrap();
    assert_eq!(view.parked_on, waits.map(link));
    assert_eq!(view.to, Some(key("payment:/pi_1")));
    let links = vec![writes_link("tenant:acme", "acme")];
    let what = crate::api::Step {
        decision: bursar_domain::decision::Decision {
            links,
            ..decision()
        },
        ..step(
            accept(store, event("evt_2", "tenant:acme")).await,
            decision(),
        )
    };
    let applied = store.apply(apply_of("tenant:acme", 0, vec![what])).await;
    assert!(is_done(&applied.unwrap()));
    assert_eq!(pending(store, "payment:/pi_1").await, [seq]);
    let view = store.input_by_seq(seq).await.unwrap().unwrap();
    assert!(view.parked_on.is_empty());
    assert_eq!(store.stats().await.unwrap().parked, 0);
}

pub(crate) async fn a_known_reference_does_not_park(store: &dyn Store) {
    let mut links = decision();
    links.links = vec![writes_link("customer:/cus_1", "acme")];
    decide(store, "evt_1", "customer:/cus_1", links).await;
    let waits = ["tenant:other", "customer:/cus_1"];
    let seq = accept(store, parked_event("evt_2", "payment:/pi_1", &waits)).await;
    assert_eq!(pending(store, "payment:/pi_1").await, [seq]);
    let known = store
        .links(vec![link("tenant:other"), link("customer:/cus_1")])
        .await;
    assert_eq!(known.unwrap(), [None, Some(target("acme"))]);
}

pub(crate) async fn limits_are_refused_and_nothing_is_written(store: &dyn Store) {
    let mut large = event("evt_1", "payment:/pi_1");
    large.body = vec![b'x'; 9 << 20].into();
    let mut patient = event("evt_2", "payment:/pi_1");
    patient.fate = Fate::Pending {
        to: key("payment:/pi_1"),
        park: vec![LinkKey::Tenant(tenant("acme")); 33],
    };
    let many = (0..1_025).map(|n| event(&format!("evt_{n}"), "payment:/pi_1"));
    for items in [vec![large], vec![patient], many.collect()] {
        let refused = store.accept(items).await;
        assert!(
            matches!(refused, Err(StoreError::Invalid(_))),
            "{refused:?}"
        );
    }
    assert_eq!(store.stats().await.unwrap().inputs, 0);
    assert!(store.accept(Vec::new()).await.unwrap().is_empty());
}
