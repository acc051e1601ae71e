//! What one commit of decisions does, and when it does nothing.

use super::world::*;
use crate::api::{Accepted, Applied, Inbound, InputStatus, Store, decision_digest};
use crate::error::StoreError;
use bursar_domain::decision::{Decision, Disposition, LedgerAccount, Outgoing};
use bursar_domain::input::InputSource;
use bursar_domain::rows::Subject;

pub(crate) async fn an_apply_consumes_its_inputs_and_raises_the_version(store: &dyn Store) {
    let one = accept(store, event("evt_1", "payment:/pi_1")).await;
    let two = accept(store, event("evt_2", "payment:/pi_1")).await;
    assert_eq!(pending(store, "payment:/pi_1").await, [one, two]);
    let mut late = step(
        two,
        Decision::nothing(Disposition::Stale, "older than known"),
    );
    late.now = at(9);
    let steps = vec![step(one, snapshot("{\"n\":1}")), late];
    let applied = store
        .apply(apply_of("payment:/pi_1", 0, steps))
        .await
        .unwrap();
    let Applied::Done {
        version,
        woken,
        lanes,
    } = applied
    else {
        panic!("{applied:?}")
    };
    assert_eq!((version, woken, lanes), (1, vec![], vec![]));
    let loaded = store.load(key("payment:/pi_1")).await.unwrap().unwrap();
    assert_eq!((loaded.version, loaded.bytes), (1, b"{\"n\":1}".to_vec()));
    assert!(pending(store, "payment:/pi_1").await.is_empty());
    assert!(store.ready(None, 10).await.unwrap().is_empty());
    let view = store.input_by_seq(two).await.unwrap().unwrap();
    assert_eq!(view.status, InputStatus::Applied);
    assert_eq!(view.disposition, Some(Disposition::Stale));
    assert_eq!(view.reason, "older than known");
    assert_eq!(view.ended_at, Some(at(9)));
}

pub(crate) async fn an_apply_on_an_old_version_changes_nothing(store: &dyn Store) {
    decide(store, "evt_1", "payment:/pi_1", snapshot("{}")).await;
    let seq = accept(store, event("evt_2", "payment:/pi_1")).await;
    let before = store.chain_head().await.unwrap();
    for wrong in [0, 2] {
        let apply = apply_of(
            "payment:/pi_1",
            wrong,
            vec![step(seq, snapshot("{\"n\":2}"))],
        );
        let actual_version = 1;
        let applied = store.apply(apply).await.unwrap();
        assert_eq!(applied, Applied::Stale { actual_version });
    }
    assert_eq!(store.chain_head().await.unwrap(), before);
    assert_eq!(pending(store, "payment:/pi_1").await, [seq]);
}

pub(crate) async fn an_input_is_consumed_once(store: &dyn Store) {
    let seq = accept(store, event("evt_1", "payment:/pi_1")).await;
    let twice = vec![step(seq, decision()), step(seq, decision())];
    let applied = store.apply(apply_of("payment:/pi_1", 0, twice)).await;
    assert!(!is_done(&applied.unwrap()), "one input, two steps");
    let once = apply_of("payment:/pi_1", 0, vec![step(seq, decision())]);
    assert!(is_done(&store.apply(once).await.unwrap()));
    let again = apply_of("payment:/pi_1", 1, vec![step(seq, decision())]);
    assert!(!is_done(&store.apply(again).await.unwrap()));
    let never = apply_of("payment:/pi_1", 1, vec![step(999, decision())]);
    assert!(!is_done(&store.apply(never).await.unwrap()));
}

pub(crate) async fn an_input_of_another_aggregate_is_not_consumed(store: &dyn Store) {
    let seq = accept(store, event("evt_1", "payment:/pi_1")).await;
    let foreign = apply_of("payment:/pi_2", 0, vec![step(seq, decision())]);
    assert!(!is_done(&store.apply(foreign).await.unwrap()));
    assert_eq!(pending(store, "payment:/pi_1").await, [seq]);
}

pub(crate) async fn a_link_that_changed_since_it_was_read_makes_the_apply_stale(store: &dyn Store) {
    let mut links = decision();
    links.links = vec![writes_link("customer:/cus_1", "acme")];
    decide(store, "evt_1", "customer:/cus_1", links).await;
    let seq = accept(store, event("evt_2", "payment:/pi_1")).await;
    let with = |seen| {
        let mut step = step(seq, decision());
        step.looked_up = vec![(link("customer:/cus_1"), seen)];
        apply_of("payment:/pi_1", 0, vec![step])
    };
    for seen in [None, Some(target("other"))] {
        assert!(!is_done(&store.apply(with(seen)).await.unwrap()));
    }
    let seen = with(Some(target("acme")));
    assert!(is_done(&store.apply(seen).await.unwrap()));
}

pub(crate) async fn a_step_sees_the_links_of_the_step_before(store: &dyn Store) {
    let one = accept(store, event("evt_1", "customer:/cus_1")).await;
    let two = accept(store, event("evt_2", "customer:/cus_1")).await;
    let steps = |seen| {
        let mut first = step(one, decision());
        first.decision.links = vec![writes_link("customer:/cus_1", "acme")];
        let mut second = step(two, decision());
        second.looked_up = vec![(link("customer:/cus_1"), seen)];
        apply_of("customer:/cus_1", 0, vec![first, second])
    };
    assert!(!is_done(&store.apply(steps(None)).await.unwrap()));
    let applied = store.apply(steps(Some(target("acme")))).await;
    assert!(is_done(&applied.unwrap()));
}

pub(crate) async fn a_link_frees_what_waited_for_it_in_the_same_commit(store: &dyn Store) {
    let both = ["customer:/cus_1", "tenant:acme"];
    let one = accept(store, parked_event("evt_1", "payment:/pi_1", &both)).await;
    let two = accept(store, parked_event("evt_2", "invoice:/in_1", &both[..1])).await;
    let other = accept(
        store,
        parked_event("evt_3", "invoice:/in_2", &["tenant:other"]),
    )
    .await;
    let mut links = decision();
    links.links = vec![
        writes_link("customer:/cus_1", "acme"),
        writes_link("tenant:acme", "acme"),
    ];
    let applied = decide(store, "evt_4", "customer:/cus_1", links).await;
    let Applied::Done { woken, .. } = applied else {
        panic!("{applied:?}")
    };
    assert_eq!(woken, [key("invoice:/in_1"), key("payment:/pi_1")]);
    assert_eq!(pending(store, "payment:/pi_1").await, [one]);
    assert_eq!(pending(store, "invoice:/in_1").await, [two]);
    let waiting = store.input_by_seq(other).await.unwrap().unwrap();
    assert_eq!(waiting.status, InputStatus::Parked);
    assert_eq!(store.stats().await.unwrap().parked, 1);
}

pub(crate) async fn more_parked_inputs_than_one_commit_frees_are_all_freed(store: &dyn Store) {
    let item = |n: usize| {
        let to = format!("payment:/pi_{}", n % 7);
        parked_event(&format!("evt_p{n}"), &to, &["customer:/cus_1"])
    };
    for from in [0, 600] {
        let items: Vec<Inbound> = (from..from + 600).map(item).collect();
        store.accept(items).await.unwrap();
    }
    assert_eq!(store.stats().await.unwrap().parked, 1_200);
    let mut links = decision();
    links.links = vec![writes_link("customer:/cus_1", "acme")];
    decide(store, "evt_1", "customer:/cus_1", links).await;
    // The rest follows without being asked; every commit of it raises the watched number.
    let mut commits = store.commits();
    while store.stats().await.unwrap().parked > 0 {
        commits.changed().await.unwrap();
    }
    assert_eq!(store.stats().await.unwrap().pending, 1_200);
    let mut all = Vec::new();
    for n in 0..7 {
        all.extend(pending(store, &format!("payment:/pi_{n}")).await);
    }
    assert_eq!(all.len(), 1_200);
}

fn message(to: &str, park: &[&str]) -> Outgoing {
    Outgoing {
        to: key(to),
        kind: "summary".to_owned(),
        payload: format!("{{\"for\":\"{to}\"}}").into_bytes(),
        park: park.iter().map(|text| link(text)).collect(),
        subject: None,
    }
}

pub(crate) async fn messages_arrive_in_the_same_commit_and_may_wait(store: &dyn Store) {
    let mut sends = decision();
    sends.messages = vec![
        message("tenant:acme", &[]),
        message("tenant:other", &["tenant:other"]),
    ];
    sends.messages[0].subject = Some(Subject("tenant:acme".to_owned()));
    let applied = decide(store, "evt_1", "payment:/pi_1", sends).await;
    let Applied::Done { version, woken, .. } = applied else {
        panic!("{applied:?}")
    };
    assert_eq!(woken, [key("tenant:acme")]);
    let inbox = store.pending(key("tenant:acme"), 10).await.unwrap();
    assert_eq!(inbox.len(), 1);
    let from = InputSource::Message(key("payment:/pi_1"), version, 0);
    assert_eq!(inbox[0].source, from);
    assert_eq!(inbox[0].body, b"{\"for\":\"tenant:acme\"}");
    assert_eq!(inbox[0].kind, "summary");
    assert!(pending(store, "tenant:other").await.is_empty());
    let mut exists = decision();
    exists.links = vec![writes_link("tenant:other", "other")];
    decide(store, "evt_2", "customer:/cus_2", exists).await;
    assert_eq!(pending(store, "tenant:other").await.len(), 1);
}

pub(crate) async fn a_message_does_not_wait_for_what_its_own_commit_links(store: &dyn Store) {
    let mut sends = decision();
    sends.links = vec![writes_link("tenant:acme", "acme")];
    sends.messages = vec![message("tenant:acme", &["tenant:acme"])];
    decide(store, "evt_1", "session:/cs_1", sends).await;
    assert_eq!(pending(store, "tenant:acme").await.len(), 1);
}

pub(crate) async fn an_unbalanced_movement_is_refused(store: &dyn Store) {
    let seq = accept(store, event("evt_1", "payment:/pi_1")).await;
    let mut bad = decision();
    bad.movements = vec![movement("ch_1", 500)];
    bad.movements[0].entries[0].amount_minor = 499;
    bad.movements[0].entries[1].account = LedgerAccount::Refunds;
    let refused = store
        .apply(apply_of("payment:/pi_1", 0, vec![step(seq, bad)]))
        .await;
    assert!(
        matches!(refused, Err(StoreError::Invalid(_))),
        "{refused:?}"
    );
    assert_eq!(pending(store, "payment:/pi_1").await, [seq]);
    let none = store.apply(apply_of("payment:/pi_1", 0, Vec::new())).await;
    assert!(matches!(none, Err(StoreError::Invalid(_))));
}

pub(crate) async fn a_decision_cannot_park(store: &dyn Store) {
    let seq = accept(store, event("evt_1", "payment:/pi_1")).await;
    let parks = Decision::nothing(Disposition::Parked, "waits");
    let refused = store
        .apply(apply_of("payment:/pi_1", 0, vec![step(seq, parks)]))
        .await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))));
}

pub(crate) async fn past_decisions_can_be_made_again(store: &dyn Store) {
    let mut first = snapshot("{\"n\":1}");
    first.snapshot_subject = Some(Subject("customer:/cus_1".to_owned()));
    first.rows = puts(vec![row("pi_1", None, None, "x")]).rows;
    let digest = hex::encode(decision_digest(&first).unwrap());
    let seq = accept(store, event("evt_1", "payment:/pi_1")).await;
    let mut seen = step(seq, first);
    seen.looked_up = vec![(link("customer:/cus_1"), None)];
    let looked_up = seen.looked_up.clone();
    store
        .apply(apply_of("payment:/pi_1", 0, vec![seen]))
        .await
        .unwrap();
    decide(store, "evt_2", "payment:/pi_2", decision()).await;
    let past = store.applied(0, 10).await.unwrap();
    assert_eq!(past.len(), 2);
    assert_eq!(past[0].aggregate, key("payment:/pi_1"));
    assert_eq!((past[0].version, past[0].reducer_rev), (1, 1));
    let step = &past[0].steps[0];
    assert_eq!(step.input.body, b"{\"id\":\"evt_1\"}");
    assert_eq!(step.input.seq, seq);
    assert_eq!((step.now, &step.looked_up), (NOW, &looked_up));
    assert_eq!(step.decision_sha256, digest);
    assert_eq!(step.snapshot.as_deref(), Some(b"{\"n\":1}".as_slice()));
    let rest = store.applied(past[0].position, 10).await.unwrap();
    assert_eq!(rest, past[1..]);
}

pub(crate) async fn racing_applies_of_one_version_have_one_winner(store: &dyn Store) {
    let mut racers = Vec::new();
    for n in 0..8 {
        let seq = accept(store, event(&format!("evt_{n}"), "payment:/pi_1")).await;
        let text = format!("{{\"n\":{n}}}");
        let apply = apply_of("payment:/pi_1", 0, vec![step(seq, snapshot(&text))]);
        racers.push(store.apply(apply));
    }
    let mut done = 0;
    // All are in the queue at once: most of them end up in one group.
    let mut running: Vec<_> = racers.into_iter().collect();
    std::future::poll_fn(|context| {
        running.retain_mut(|racer| match racer.as_mut().poll(context) {
            std::task::Poll::Ready(applied) => {
                done += usize::from(is_done(&applied.unwrap()));
                false
            }
            std::task::Poll::Pending => true,
        });
        if running.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    assert_eq!(done, 1);
    let answers = store.accept(vec![event("evt_0", "payment:/pi_1")]).await;
    assert!(matches!(answers.unwrap()[0], Accepted::Duplicate { .. }));
    assert_eq!(pending(store, "payment:/pi_1").await.len(), 7);
}
