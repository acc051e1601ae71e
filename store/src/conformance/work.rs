//! What actors live from: effects, timers, readiness; and what operators do.

use super::world::*;
use crate::api::{
    Administer, AuditEntry, DueTimer, EffectStatus, Fate, InputStatus, Keep, Revive, Revived,
    Settle, Settled, Store,
};
use crate::error::StoreError;
use crate::open::{bind_account, bind_mode};
use crate::query::{AuditQuery, OutboxQuery};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{Decision, EffectId, EffectIntent, Lane, TimerWrite};
use bursar_domain::ids::Timestamp;
use bursar_domain::input::InputSource;
use bursar_domain::rows::Subject;

fn does(id: &str, due: Timestamp) -> Decision {
    Decision {
        effects: vec![effect(id, due)],
        ..decision()
    }
}

fn ends(id: &str, status: EffectStatus) -> Settle {
    Settle {
        id: EffectId(id.to_owned()),
        status,
        note: "sent".to_owned(),
        at: at(1),
        result: None,
    }
}

async fn due(store: &dyn Store, now: Timestamp) -> Vec<String> {
    let found = store.due_effects(Lane::Mail, now, 10).await.unwrap();
    found.into_iter().map(|effect| effect.id.0).collect()
}

pub(crate) async fn effects_happen_once_and_end_once(store: &dyn Store) {
    let first = decide(store, "evt_1", "payment:/pi_1", does("e1", NOW)).await;
    assert!(matches!(first, crate::api::Applied::Done { lanes, .. } if lanes == [Lane::Mail]));
    let again = decide(store, "evt_2", "payment:/pi_1", does("e1", NOW)).await;
    assert!(matches!(again, crate::api::Applied::Done { lanes, .. } if lanes.is_empty()));
    assert_eq!(due(store, NOW).await, ["e1"]);
    assert!(
        store
            .due_effects(Lane::Alert, NOW, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let settled = store.settle(ends("e1", EffectStatus::Done)).await.unwrap();
    assert_eq!(settled, Settled::Settled { woken: None });
    let settled = store
        .settle(ends("e1", EffectStatus::Failed))
        .await
        .unwrap();
    assert_eq!(settled, Settled::AlreadySettled);
    assert!(due(store, at(100)).await.is_empty());
    decide(store, "evt_3", "payment:/pi_1", does("e1", NOW)).await;
    assert!(
        due(store, at(100)).await.is_empty(),
        "the same fact acts once, for good"
    );
    for wrong in [
        ends("none", EffectStatus::Done),
        ends("e1", EffectStatus::Pending),
    ] {
        assert!(matches!(
            store.settle(wrong).await,
            Err(StoreError::Invalid(_))
        ));
    }
}

pub(crate) async fn a_result_of_an_effect_is_an_input_of_its_aggregate(store: &dyn Store) {
    decide(store, "evt_1", "payment:/pi_1", does("e1", NOW)).await;
    let result = || {
        let mut result = event("evt_x", "payment:/pi_1");
        result.source = InputSource::Effect(EffectId("e1".to_owned()));
        result.kind = "reread".to_owned();
        Some(result)
    };
    let mut ended = ends("e1", EffectStatus::Done);
    ended.result = result();
    let woken = Some(key("payment:/pi_1"));
    let settled = store.settle(ended.clone()).await.unwrap();
    assert_eq!(settled, Settled::Settled { woken });
    assert_eq!(store.settle(ended).await.unwrap(), Settled::AlreadySettled);
    let inbox = store.pending(key("payment:/pi_1"), 10).await.unwrap();
    assert_eq!(inbox.len(), 1);
    assert_eq!(
        (inbox[0].kind.as_str(), inbox[0].body.len()),
        ("reread", 14)
    );
}

pub(crate) async fn an_effect_put_off_is_due_later(store: &dyn Store) {
    decide(store, "evt_1", "payment:/pi_1", does("e1", at(5))).await;
    assert!(due(store, at(4)).await.is_empty());
    assert_eq!(store.next_due(Some(Lane::Mail)).await.unwrap(), Some(at(5)));
    assert_eq!(due(store, at(5)).await, ["e1"]);
    let id = EffectId("e1".to_owned());
    for (attempted, later) in [(true, 60), (false, 90), (true, 120)] {
        let put_off = store.postpone(id.clone(), attempted, at(later), "timeout".into());
        put_off.await.unwrap();
        assert!(due(store, at(later - 1)).await.is_empty());
    }
    let found = store.due_effects(Lane::Mail, at(120), 10).await.unwrap();
    assert_eq!((found[0].attempts, found[0].decided_at), (2, NOW));
    assert_eq!(found[0].payload.as_deref(), Some(b"{}".as_slice()));
    store.settle(ends("e1", EffectStatus::Dead)).await.unwrap();
    store
        .postpone(id, true, at(9), String::new())
        .await
        .unwrap();
    assert_eq!(store.next_due(Some(Lane::Mail)).await.unwrap(), None);
}

pub(crate) async fn an_effect_that_failed_is_revived_with_its_audit_line_and_no_other(
    store: &dyn Store,
) {
    let revive = async |id: &str, lane: Lane, when: i64| {
        let id = EffectId(id.to_owned());
        let audit = AuditEntry {
            at: at(when),
            actor: "operator".into(),
            action: "effect.revived".into(),
            object_id: id.0.clone(),
            tenant: None,
            request_id: "req_1".into(),
            detail: String::new(),
        };
        let lanes = vec![lane];
        let at = at(when);
        let revive = Revive {
            id,
            lanes,
            at,
            audit,
        };
        store.revive(revive).await.unwrap()
    };
    for (n, end) in [
        (1, EffectStatus::Dead),
        (2, EffectStatus::Failed),
        (3, EffectStatus::Done),
        (4, EffectStatus::Skipped),
    ] {
        let id = format!("e{n}");
        decide(store, &format!("evt_{n}"), "payment:/pi_1", does(&id, NOW)).await;
        assert_eq!(
            revive(&id, Lane::Mail, 5).await,
            Revived::Refused,
            "it is pending"
        );
        let put_off = store.postpone(EffectId(id.clone()), true, at(1), "no".into());
        put_off.await.unwrap();
        store.settle(ends(&id, end)).await.unwrap();
    }
    assert_eq!(revive("e1", Lane::Stripe, 5).await, Revived::Refused);
    assert_eq!(revive("e9", Lane::Mail, 5).await, Revived::Unknown);
    for id in ["e3", "e4"] {
        assert_eq!(revive(id, Lane::Mail, 5).await, Revived::Refused);
    }
    for (id, when) in [("e1", 7), ("e2", 8)] {
        let Revived::Pending(view) = revive(id, Lane::Mail, when).await else {
            panic!("{id} is not pending");
        };
        let shown = (view.id.0.as_str(), view.status, view.attempts, view.due_at);
        assert_eq!(shown, (id, EffectStatus::Pending, 0, at(when)));
    }
    assert_eq!(due(store, at(7)).await, ["e1"]);
    let found = store.due_effects(Lane::Mail, at(8), 10).await.unwrap();
    let told: Vec<_> = found
        .iter()
        .map(|effect| (effect.attempts, effect.payload.as_deref()))
        .collect();
    assert_eq!(told, [(0, Some(b"{}".as_slice())); 2]);
    let waiting = store.stats().await.unwrap().outbox;
    assert!(waiting.contains(&(Lane::Mail, 2)), "{waiting:?}");
    let query = AuditQuery {
        tenant: None,
        after: None,
        limit: 10,
    };
    let lines = store.audit(query).await.unwrap().items;
    let lines: Vec<_> = lines.iter().map(|line| line.object_id.as_str()).collect();
    assert_eq!(lines, ["e2", "e1"], "refusals leave no line");
    store.settle(ends("e1", EffectStatus::Done)).await.unwrap();
    assert_eq!(due(store, at(100)).await, ["e2"]);
}

pub(crate) async fn the_outbox_lists_effects_newest_first(store: &dyn Store) {
    for n in 1..=3 {
        let id = format!("e{n}");
        decide(store, &format!("evt_{n}"), "payment:/pi_1", does(&id, NOW)).await;
    }
    store.settle(ends("e2", EffectStatus::Done)).await.unwrap();
    let list = async |status, lane| {
        let query = OutboxQuery {
            status,
            lane,
            after: None,
            limit: 10,
        };
        let page = store.outbox(query).await.unwrap();
        page.items
            .into_iter()
            .map(|item| item.id.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, None).await, ["e3", "e2", "e1"]);
    assert_eq!(list(Some(EffectStatus::Pending), None).await, ["e3", "e1"]);
    assert_eq!(
        list(Some(EffectStatus::Done), Some(Lane::Mail)).await,
        ["e2"]
    );
    assert!(list(None, Some(Lane::Alert)).await.is_empty());
}

pub(crate) async fn timers_fire_once_and_only_as_they_were_set(store: &dyn Store) {
    let sets = |name: &str, when: Option<Timestamp>| Decision {
        timers: vec![TimerWrite {
            name: name.to_owned(),
            at: when,
        }],
        ..decision()
    };
    decide(store, "evt_1", "tenant:acme", sets("grace", Some(at(10)))).await;
    decide(store, "evt_2", "tenant:acme", sets("trial", Some(at(30)))).await;
    decide(store, "evt_3", "tenant:acme", sets("grace", Some(at(20)))).await;
    assert_eq!(store.next_due(None).await.unwrap(), Some(at(20)));
    assert!(store.due_timers(at(19), 10).await.unwrap().is_empty());
    let due = store.due_timers(at(25), 10).await.unwrap();
    let grace = DueTimer {
        aggregate: key("tenant:acme"),
        name: "grace".to_owned(),
        at: at(20),
    };
    assert_eq!(due, std::slice::from_ref(&grace));
    let old = DueTimer {
        at: at(10),
        ..grace.clone()
    };
    assert!(store.fire(vec![old], at(25)).await.unwrap().is_empty());
    let fired = store.fire(vec![grace.clone(), grace.clone()], at(25)).await;
    assert_eq!(fired.unwrap(), [key("tenant:acme")]);
    assert!(store.fire(vec![grace], at(25)).await.unwrap().is_empty());
    let inbox = store.pending(key("tenant:acme"), 10).await.unwrap();
    assert_eq!(inbox.len(), 1);
    let source = InputSource::Timer(key("tenant:acme"), "grace".to_owned(), at(20));
    assert_eq!(
        (&inbox[0].source, inbox[0].kind.as_str()),
        (&source, "grace")
    );
    assert!(inbox[0].body.is_empty());
    decide(store, "evt_4", "tenant:acme", sets("trial", None)).await;
    assert_eq!(store.next_due(None).await.unwrap(), None);
}

pub(crate) async fn ready_names_exactly_the_aggregates_with_pending_input(store: &dyn Store) {
    let mut all: Vec<AggregateKey> = Vec::new();
    for n in 0..5 {
        let to = format!("payment:/pi_{n}");
        for again in 0..2 {
            accept(store, event(&format!("evt_{n}_{again}"), &to)).await;
        }
        all.push(key(&to));
    }
    assert_eq!(store.ready(None, 10).await.unwrap(), all);
    let rest = store.ready(Some(all[1].clone()), 2).await.unwrap();
    assert_eq!(rest, all[2..4]);
    let inbox = pending(store, "payment:/pi_2").await;
    let one = apply_of("payment:/pi_2", 0, vec![step(inbox[0], decision())]);
    store.apply(one).await.unwrap();
    assert_eq!(store.ready(None, 10).await.unwrap(), all);
    let two = apply_of("payment:/pi_2", 1, vec![step(inbox[1], decision())]);
    store.apply(two).await.unwrap();
    all.remove(2);
    assert_eq!(store.ready(None, 10).await.unwrap(), all);
}

pub(crate) async fn a_buried_input_blocks_nobody_and_can_be_requeued(store: &dyn Store) {
    let poison = accept(store, event("evt_1", "payment:/pi_1")).await;
    let next = accept(store, event("evt_2", "payment:/pi_1")).await;
    assert!(
        store
            .bury(poison, "the reducer panicked".into(), at(3))
            .await
            .unwrap()
    );
    assert!(!store.bury(poison, "again".into(), at(4)).await.unwrap());
    assert!(!store.bury(999, "unknown".into(), at(4)).await.unwrap());
    assert_eq!(pending(store, "payment:/pi_1").await, [next]);
    let view = store.input_by_seq(poison).await.unwrap().unwrap();
    assert_eq!(
        (view.status, view.ended_at),
        (InputStatus::Dead, Some(at(3)))
    );
    assert_eq!(view.reason, "the reducer panicked");
    let again = Fate::Pending {
        to: key("payment:/pi_9"),
        park: Vec::new(),
    };
    let woken = store
        .requeue(vec![(poison, again.clone()), (next, again)], at(5))
        .await;
    assert_eq!(
        woken.unwrap(),
        [key("payment:/pi_9")],
        "a pending one stays where it is"
    );
    assert_eq!(pending(store, "payment:/pi_9").await, [poison]);
    assert_eq!(store.stats().await.unwrap().dead, 0);
    let answer = store
        .accept(vec![event("evt_1", "payment:/pi_1")])
        .await
        .unwrap();
    let same_body = true;
    assert_eq!(
        answer,
        [crate::api::Accepted::Duplicate {
            seq: poison,
            same_body
        }]
    );
}

pub(crate) async fn a_dismissed_input_is_set_aside_with_its_reason(store: &dyn Store) {
    let parked = accept(
        store,
        parked_event("evt_1", "payment:/pi_1", &["tenant:acme"]),
    )
    .await;
    let pending = accept(store, event("evt_2", "payment:/pi_1")).await;
    assert!(
        store
            .dismiss(parked, "a test of ours".into(), at(3))
            .await
            .unwrap()
    );
    assert!(!store.dismiss(pending, "no".into(), at(3)).await.unwrap());
    let view = store.input_by_seq(parked).await.unwrap().unwrap();
    assert_eq!(
        (view.status, view.reason.as_str()),
        (InputStatus::Ignored, "a test of ours")
    );
    let mut exists = decision();
    exists.links = vec![writes_link("tenant:acme", "acme")];
    decide(store, "evt_3", "customer:/cus_1", exists).await;
    let view = store.input_by_seq(parked).await.unwrap().unwrap();
    assert_eq!(view.status, InputStatus::Ignored, "no link brings it back");
}

fn keeps(key: &str, value: Option<&str>) -> Keep {
    Keep {
        space: "things",
        key: key.to_owned(),
        value: value.map(|text| text.as_bytes().to_vec()),
        subject: None,
    }
}

pub(crate) async fn kept_records_are_guarded_and_listed(store: &dyn Store) {
    let large = "x".repeat(20_000);
    let write = |keeps: Vec<Keep>, absent: &[&str]| {
        let must_be_absent = absent.iter().map(|key| ("things", (*key).to_owned()));
        store.administer(Administer {
            keeps,
            must_be_absent: must_be_absent.collect(),
            ..Administer::default()
        })
    };
    let both = vec![keeps("a", Some("1")), keeps("b/\u{0}c", Some(&large))];
    assert!(write(both, &["a"]).await.unwrap());
    assert!(
        !write(vec![keeps("d", Some("4"))], &["d", "a"])
            .await
            .unwrap()
    );
    assert_eq!(store.kept("things", "d".into()).await.unwrap(), None);
    assert_eq!(store.kept("other", "a".into()).await.unwrap(), None);
    let all = store.kept_all("things", None, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[1], ("b/\u{0}c".to_owned(), large.into_bytes()));
    let rest = store
        .kept_all("things", Some("a".into()), 10)
        .await
        .unwrap();
    assert_eq!(rest, all[1..]);
    assert!(write(vec![keeps("a", None)], &[]).await.unwrap());
    assert_eq!(store.kept("things", "a".into()).await.unwrap(), None);
}

pub(crate) async fn records_of_a_person_are_sealed_compared_and_forgotten(store: &dyn Store) {
    let subject = Subject("user:u1".to_owned());
    let record = |value: Option<&str>| Keep {
        space: "people",
        key: "u1".to_owned(),
        value: value.map(|text| text.as_bytes().to_vec()),
        subject: Some(subject.clone()),
    };
    let write = |keep: Keep, unchanged: &str, effects| {
        store.administer(Administer {
            keeps: vec![keep],
            must_be_unchanged: vec![("people", "u1".to_owned(), unchanged.as_bytes().to_vec())],
            effects,
            ..Administer::default()
        })
    };
    let first = Administer {
        keeps: vec![record(Some("ada"))],
        must_be_absent: vec![("people", "u1".to_owned())],
        ..Administer::default()
    };
    assert!(store.administer(first.clone()).await.unwrap());
    assert!(!store.administer(first).await.unwrap());
    let effect = EffectIntent {
        id: EffectId("letter".to_owned()),
        lane: Lane::Mail,
        kind: "mail.verification".to_owned(),
        due_at: at(1),
        payload: b"the link".to_vec(),
        subject: Some(subject.clone()),
    };
    let of = AggregateKey::Tenant(tenant("acme"));
    let effects = vec![(of, effect)];
    assert!(
        !write(record(Some("eve")), "bob", effects.clone())
            .await
            .unwrap()
    );
    let due = || store.due_effects(Lane::Mail, at(2), 10);
    assert_eq!(due().await.unwrap(), []);
    assert!(
        write(record(Some("ada2")), "ada", effects.clone())
            .await
            .unwrap()
    );
    assert!(write(record(Some("ada3")), "ada2", effects).await.unwrap());
    let all = store.kept_all("people", None, 10).await.unwrap();
    assert_eq!(all, [("u1".to_owned(), b"ada3".to_vec())]);
    let found = due().await.unwrap();
    assert_eq!(found.len(), 1, "an effect is added once");
    assert_eq!(found[0].payload.as_deref(), Some(b"the link".as_slice()));
    // Noise of many pages, so that it is large when sealed too.
    let mut noise = 7_u32;
    let large: String = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + u8::try_from(noise >> 24).unwrap_or(0) % 90)
    })
    .take(40_000)
    .collect();
    assert!(
        write(record(Some(&large)), "ada3", Vec::new())
            .await
            .unwrap()
    );
    let kept = store.kept("people", "u1".into()).await.unwrap();
    assert_eq!(kept.as_deref(), Some(large.as_bytes()));
    assert!(
        write(record(Some("ada3")), &large, Vec::new())
            .await
            .unwrap()
    );
    store.erase(vec![subject.clone()], at(3)).await.unwrap();
    assert_eq!(store.kept("people", "u1".into()).await.unwrap(), None);
    assert_eq!(store.kept_all("people", None, 10).await.unwrap(), []);
    assert_eq!(due().await.unwrap()[0].payload, None);
    assert!(write(record(None), "ada3", Vec::new()).await.unwrap());
    assert!(!write(record(None), "ada3", Vec::new()).await.unwrap());
}

pub(crate) async fn the_audit_trail_is_read_newest_first(store: &dyn Store) {
    for n in 0..5 {
        let entry = AuditEntry {
            at: at(n),
            actor: "operator".to_owned(),
            action: format!("action_{n}"),
            object_id: "x".to_owned(),
            tenant: (n % 2 == 0).then(|| tenant("acme")),
            request_id: "req_1".to_owned(),
            detail: String::new(),
        };
        let audit = vec![entry];
        let write = Administer {
            audit,
            ..Administer::default()
        };
        assert!(store.administer(write).await.unwrap());
    }
    let list = async |of: Option<&str>, limit| {
        let query = AuditQuery {
            tenant: of.map(tenant),
            after: None,
            limit,
        };
        let page = store.audit(query).await.unwrap();
        page.items
            .into_iter()
            .map(|entry| entry.action)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, 2).await, ["action_4", "action_3"]);
    assert_eq!(
        list(Some("acme"), 10).await,
        ["action_4", "action_2", "action_0"]
    );
}

pub(crate) async fn a_store_is_bound_to_one_mode(store: &dyn Store) {
    for _ in 0..2 {
        bind_mode(store, false).await.unwrap();
    }
    let Err(StoreError::Incompatible(why)) = bind_mode(store, true).await else {
        panic!("it was taken")
    };
    assert!(why.contains("test mode"), "{why}");
}

pub(crate) async fn a_store_is_bound_to_one_account(store: &dyn Store) {
    for _ in 0..2 {
        bind_account(store, "acct_1").await.unwrap();
    }
    let Err(StoreError::Incompatible(why)) = bind_account(store, "acct_2").await else {
        panic!("it was taken")
    };
    assert!(why.contains("acct_1"), "{why}");
}

pub(crate) async fn an_erased_body_is_gone_and_its_input_is_not(store: &dyn Store) {
    let seq = accept(store, event("evt_1", "payment:/pi_1")).await;
    let mut other = event("evt_2", "payment:/pi_1");
    other.subject = Subject("customer:/cus_2".to_owned());
    let kept = accept(store, other).await;
    let mut secret = does("e1", NOW);
    secret.effects[0].subject = Some(Subject("customer:/cus_1".to_owned()));
    secret.snapshot = Some(b"{\"email\":\"ann@example.com\"}".to_vec());
    secret.snapshot_subject = Some(Subject("customer:/cus_1".to_owned()));
    decide(store, "evt_3", "customer:/cus_1", secret).await;
    let subject = Subject("customer:/cus_1".to_owned());
    let holders = store.holders(subject.clone(), 10).await.unwrap();
    assert_eq!(holders, [key("customer:/cus_1")]);
    assert_eq!(store.erase(vec![subject], NOW).await.unwrap(), 1);
    assert_eq!(store.input_body(seq).await.unwrap(), None);
    assert!(store.input_body(kept).await.unwrap().is_some());
    let inbox = store.pending(key("payment:/pi_1"), 10).await.unwrap();
    assert_eq!((inbox[0].seq, inbox[0].body.len()), (seq, 0));
    assert_eq!(inbox[0].kind, "charge.succeeded");
    let due = store.due_effects(Lane::Mail, NOW, 10).await.unwrap();
    assert_eq!(due[0].payload, None);
    let lost = store.load(key("customer:/cus_1")).await;
    assert!(
        matches!(lost, Err(StoreError::Invalid(_))),
        "never decide from nothing"
    );
    let again = store.applied(0, 10).await.unwrap();
    assert_eq!(again[0].steps[0].gone, Some(crate::query::Gone::Erased));
    accept(store, event("evt_4", "payment:/pi_1")).await;
    let inbox = store.pending(key("payment:/pi_1"), 10).await.unwrap();
    assert!(
        !inbox[2].body.is_empty(),
        "who comes back gets a key of their own"
    );
}

pub(crate) async fn a_snapshot_without_personal_fields_outlives_an_erasure(store: &dyn Store) {
    let subject = || Subject("customer:/cus_1".to_owned());
    let mut secret = snapshot("{\"email\":\"ann@example.com\"}");
    secret.snapshot_subject = Some(subject());
    decide(store, "evt_1", "customer:/cus_1", secret).await;
    decide(store, "evt_2", "customer:/cus_1", snapshot("{}")).await;
    assert!(store.holders(subject(), 10).await.unwrap().is_empty());
    store.erase(vec![subject()], NOW).await.unwrap();
    let loaded = store.load(key("customer:/cus_1")).await.unwrap().unwrap();
    assert_eq!((loaded.version, loaded.bytes), (2, b"{}".to_vec()));
    let past = store.applied(0, 10).await.unwrap();
    assert_eq!(
        past[0].steps[0].snapshot, None,
        "nor can the old one be read"
    );
}

pub(crate) async fn commits_raise_the_watched_number(store: &dyn Store) {
    let mut commits = store.commits();
    let before = commits.look();
    store.probe().await.unwrap();
    commits.wait_for(|now| now > before).await.unwrap();
}

pub(crate) async fn a_closed_store_takes_nothing(store: &dyn Store) {
    accept(store, event("evt_1", "payment:/pi_1")).await;
    store.close().await.unwrap();
    let refused = store.accept(vec![event("evt_2", "payment:/pi_1")]).await;
    assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    assert!(matches!(store.probe().await, Err(StoreError::Closed)));
    store.close().await.unwrap();
}
