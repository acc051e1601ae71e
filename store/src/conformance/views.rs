//! What people read: rows, books, timelines, inputs, digest, figures.

use super::world::*;
use crate::api::{Fate, Inbound, InputStatus, Store};
use crate::error::StoreError;
use crate::query::{InputQuery, LedgerQuery, RowQuery, TimelineOf, TimelineQuery};
use bursar_domain::decision::{Decision, LedgerAccount, Movement};
use bursar_domain::ids::Scope;
use bursar_domain::rows::{RowKind, RowWrite, Subject};

pub(crate) async fn the_ledger_and_its_balances_move_together(store: &dyn Store) {
    let moves = |movements: Vec<Movement>| Decision {
        movements,
        ..decision()
    };
    decide(
        store,
        "evt_1",
        "payment:/pi_1",
        moves(vec![movement("ch_1", 500)]),
    )
    .await;
    let mut elsewhere = movement("ch_2", 70);
    (elsewhere.tenant, elsewhere.payment) = (None, None);
    elsewhere.at = at(-60);
    decide(store, "evt_2", "payment:/pi_2", moves(vec![elsewhere])).await;
    decide(
        store,
        "evt_3",
        "payment:/pi_1",
        moves(vec![movement("ch_1", -100)]),
    )
    .await;
    let ask = |query: LedgerQuery| {
        store.ledger(LedgerQuery {
            limit: 100,
            ..query
        })
    };
    let all = ask(LedgerQuery::default()).await.unwrap();
    let sources: Vec<_> = all.items.iter().map(|line| line.source.as_str()).collect();
    assert_eq!(sources, ["ch_2", "ch_2", "ch_1", "ch_1", "ch_1", "ch_1"]);
    let total: i64 = all.items.iter().map(|line| line.amount.amount_minor).sum();
    assert_eq!(total, 0);
    for query in [
        LedgerQuery {
            tenant: Some(tenant("acme")),
            ..LedgerQuery::default()
        },
        LedgerQuery {
            payment: Some(link("payment:/pi_1")),
            ..LedgerQuery::default()
        },
    ] {
        assert_eq!(ask(query).await.unwrap().items.len(), 4);
    }
    let revenue = Some(LedgerAccount::Revenue);
    let both = LedgerQuery {
        account: revenue,
        ..LedgerQuery::default()
    };
    assert_eq!(ask(both).await.unwrap().items.len(), 3);
    let one = LedgerQuery {
        account: revenue,
        tenant: Some(tenant("acme")),
        ..LedgerQuery::default()
    };
    let lines = ask(one).await.unwrap().items;
    let amounts: Vec<_> = lines.iter().map(|line| line.amount.amount_minor).collect();
    assert_eq!(amounts, [-500, 100]);
}

fn ids(rows: &[crate::query::RowView]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

pub(crate) async fn rows_are_listed_newest_first_and_follow_their_tenant(store: &dyn Store) {
    let first = puts(vec![
        row("pi_old", Some("acme"), Some(-10), "succeeded"),
        row("pi_none", Some("acme"), None, "succeeded"),
        row("pi_new", None, Some(10), "succeeded"),
        row("pi_b", Some("acme"), Some(0), "succeeded"),
        row("pi_a", Some("acme"), Some(0), "succeeded"),
    ]);
    decide(store, "evt_1", "payment:/pi_1", first).await;
    let all = store.rows(rows_of(None)).await.unwrap();
    assert_eq!(
        ids(&all.items),
        ["pi_new", "pi_a", "pi_b", "pi_old", "pi_none"]
    );
    assert_eq!(all.next, None);
    let acme = store.rows(rows_of(Some("acme"))).await.unwrap();
    assert_eq!(ids(&acme.items), ["pi_a", "pi_b", "pi_old", "pi_none"]);
    let moved = row("pi_old", Some("other"), Some(20), "refunded");
    decide(store, "evt_2", "payment:/pi_1", puts(vec![moved])).await;
    let acme = store.rows(rows_of(Some("acme"))).await.unwrap();
    assert_eq!(ids(&acme.items), ["pi_a", "pi_b", "pi_none"]);
    let other = store.rows(rows_of(Some("other"))).await.unwrap();
    assert_eq!(ids(&other.items), ["pi_old"]);
    let view = &other.items[0];
    assert_eq!((view.status.as_str(), view.version), ("refunded", 2));
    assert_eq!(view.created_at, Some(at(20)));
    let gone = Decision {
        rows: vec![RowWrite::Delete {
            kind: RowKind::Payment,
            scope: Scope::PLATFORM,
            id: "pi_old".to_owned(),
        }],
        ..decision()
    };
    decide(store, "evt_3", "payment:/pi_1", gone).await;
    assert!(
        store
            .rows(rows_of(Some("other")))
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let row = store
        .row(RowKind::Payment, Scope::PLATFORM, "pi_old".into())
        .await;
    assert_eq!(row.unwrap(), None);
}

pub(crate) async fn rows_are_filtered_by_status_time_and_hidden(store: &dyn Store) {
    let mut hidden = row("pi_hidden", Some("acme"), Some(5), "succeeded");
    hidden.hidden = true;
    let what = puts(vec![
        row("pi_1", Some("acme"), Some(1), "succeeded"),
        row("pi_2", Some("acme"), Some(2), "failed"),
        row("pi_3", Some("acme"), Some(3), "succeeded"),
        row("pi_none", Some("acme"), None, "failed"),
        hidden,
    ]);
    decide(store, "evt_1", "payment:/pi_1", what).await;
    let acme = || rows_of(Some("acme"));
    for (query, expected) in [
        (
            RowQuery {
                status: Some("failed".into()),
                ..acme()
            },
            vec!["pi_2", "pi_none"],
        ),
        (
            RowQuery {
                hidden: true,
                limit: 2,
                ..acme()
            },
            vec!["pi_hidden", "pi_3"],
        ),
        (
            RowQuery {
                created_after: Some(at(2)),
                ..acme()
            },
            vec!["pi_3", "pi_2"],
        ),
        (
            RowQuery {
                created_before: Some(at(2)),
                ..acme()
            },
            vec!["pi_1"],
        ),
        (
            RowQuery {
                created_after: Some(at(2)),
                created_before: Some(at(3)),
                ..acme()
            },
            vec!["pi_2"],
        ),
    ] {
        for tenant in [query.tenant.clone(), None] {
            let query = RowQuery {
                tenant,
                ..query.clone()
            };
            let page = store.rows(query).await.unwrap();
            assert_eq!(ids(&page.items), expected);
        }
    }
}

pub(crate) async fn a_row_shows_personal_fields_until_they_are_erased(store: &dyn Store) {
    let mut with = row("pi_1", None, None, "succeeded");
    with.personal = Some(personal("ann@example.com"));
    decide(store, "evt_1", "payment:/pi_1", puts(vec![with])).await;
    let read = || store.row(RowKind::Payment, Scope::PLATFORM, "pi_1".into());
    let view = read().await.unwrap().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&view.value).unwrap();
    assert_eq!(
        (&value["email"], &value["id"]),
        (&"ann@example.com".into(), &"pi_1".into())
    );
    assert!(!view.erased);
    let subject = Subject("customer:/cus_1".to_owned());
    assert_eq!(store.erase(vec![subject.clone()], NOW).await.unwrap(), 1);
    let view = read().await.unwrap().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&view.value).unwrap();
    assert!(view.erased && value.get("email").is_none());
    assert_eq!(value["id"], "pi_1");
    assert_eq!(store.erase(vec![subject], NOW).await.unwrap(), 0);
}

pub(crate) async fn an_alias_answers_its_row(store: &dyn Store) {
    let mut what = puts(vec![row("pi_1", None, None, "succeeded")]);
    what.rows.push(RowWrite::Alias {
        kind: RowKind::Payment,
        scope: Scope::PLATFORM,
        alias: "ch_1".to_owned(),
        id: "pi_1".to_owned(),
    });
    decide(store, "evt_1", "payment:/pi_1", what).await;
    let mut other = row("pi_1", None, None, "failed");
    other.scope = account("acct_9");
    decide(store, "evt_2", "payment:acct_9/pi_1", puts(vec![other])).await;
    let found = store
        .row(RowKind::Payment, Scope::PLATFORM, "ch_1".into())
        .await;
    assert_eq!(found.unwrap().unwrap().id, "pi_1");
    let foreign = store
        .row(RowKind::Payment, account("acct_9"), "ch_1".into())
        .await;
    assert_eq!(foreign.unwrap(), None);
    let both = store
        .rows_by_id(RowKind::Payment, "pi_1".into())
        .await
        .unwrap();
    let scopes: Vec<_> = both.iter().map(|row| row.scope.as_str()).collect();
    assert_eq!(scopes, ["", "acct_9"]);
    let by_alias = store
        .rows_by_id(RowKind::Payment, "ch_1".into())
        .await
        .unwrap();
    assert_eq!(ids(&by_alias), ["pi_1"]);
}

pub(crate) async fn timelines_are_read_oldest_first_by_tenant_payment_and_id(store: &dyn Store) {
    let mut late = line("late", 10);
    late.tenant = Some(tenant("acme"));
    late.payment = Some(link("payment:/pi_1"));
    let mut early = line("early", -10);
    early.tenant = Some(tenant("acme"));
    let nobody = line("nobody", 0);
    let what = Decision {
        timeline: vec![late, early, nobody],
        ..decision()
    };
    decide(store, "evt_1", "payment:/pi_1", what).await;
    let read = async |of| {
        let query = TimelineQuery {
            of,
            after: None,
            limit: 10,
        };
        let page = store.timeline(query).await.unwrap();
        let lines = page.items.into_iter();
        lines.map(|line| line.entry.summary).collect::<Vec<_>>()
    };
    assert_eq!(
        read(TimelineOf::Tenant(tenant("acme"))).await,
        ["early", "late"]
    );
    assert_eq!(
        read(TimelineOf::Payment(link("payment:/pi_1"))).await,
        ["late"]
    );
    assert_eq!(read(TimelineOf::Installation).await, ["nobody"]);
    assert!(read(TimelineOf::Tenant(tenant("other"))).await.is_empty());
}

pub(crate) async fn pages_hold_everything_once(store: &dyn Store) {
    let rows = (0..57).map(|n| {
        let status = if n % 3 == 0 { "failed" } else { "succeeded" };
        row(&format!("pi_{n}"), Some("acme"), Some(n / 4), status)
    });
    decide(store, "evt_1", "payment:/pi_1", puts(rows.collect())).await;
    for (status, count) in [(None, 57), (Some("failed".to_owned()), 19)] {
        let whole = RowQuery {
            status: status.clone(),
            ..rows_of(None)
        };
        let whole = store.rows(whole).await.unwrap();
        assert_eq!((whole.items.len(), &whole.next), (count, &None));
        let mut pieces = Vec::new();
        let mut after = None;
        loop {
            let query = RowQuery {
                status: status.clone(),
                after,
                limit: 5,
                ..rows_of(None)
            };
            let page = store.rows(query).await.unwrap();
            assert!(page.items.len() == 5 || page.next.is_none());
            pieces.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pieces, whole.items);
    }
    let page = store
        .rows(RowQuery {
            limit: 5,
            ..rows_of(None)
        })
        .await
        .unwrap();
    let foreign = RowQuery {
        after: page.next,
        ..rows_of(Some("acme"))
    };
    let refused = store.rows(foreign).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))));
    let nothing = store
        .rows(RowQuery {
            limit: 0,
            ..rows_of(None)
        })
        .await;
    assert!(matches!(nothing, Err(StoreError::Invalid(_))));
}

/// What is asked for may lie behind thousands of others in the index; whoever gets an empty page takes it for "none".
pub(crate) async fn a_page_is_empty_only_if_there_is_nothing(store: &dyn Store) {
    accept(store, event("evt_rare", "payment:/pi_1")).await;
    for hundred in 0..25 {
        let others = (0..100).map(|n| Inbound {
            kind: "common".to_owned(),
            ..event(&format!("evt_{hundred}_{n}"), "payment:/pi_1")
        });
        store.accept(others.collect()).await.unwrap();
    }
    let of_kind = |kind: &str| InputQuery {
        status: Some(InputStatus::Received),
        kinds: vec![kind.to_owned()],
        limit: 10,
        ..InputQuery::default()
    };
    let kind = event("evt_rare", "payment:/pi_1").kind;
    let page = store.inputs(of_kind(&kind)).await.unwrap();
    let found: Vec<_> = page.items.iter().map(|i| i.source.public_id()).collect();
    assert_eq!((found, page.next), (vec!["evt_rare".to_owned()], None));
    let page = store.inputs(of_kind("none such")).await.unwrap();
    assert_eq!((page.items.len(), page.next), (0, None));
}

pub(crate) async fn inputs_are_listed_newest_first_by_status_kind_tenant_and_time(
    store: &dyn Store,
) {
    for n in 0..6_i64 {
        let mut item = event(&format!("evt_{n}"), "payment:/pi_1");
        item.received_at = at(n);
        item.kind = if n % 2 == 0 { "even" } else { "odd" }.to_owned();
        if n == 5 {
            item.fate = Fate::Ignored {
                reason: "odd one".into(),
            };
        }
        accept(store, item).await;
    }
    let first = store
        .pending(key("payment:/pi_1"), 1)
        .await
        .unwrap()
        .remove(0);
    let mut of_acme = line("paid", 0);
    of_acme.tenant = Some(tenant("acme"));
    let what = Decision {
        timeline: vec![of_acme],
        messages: vec![bursar_domain::decision::Outgoing {
            to: key("tenant:acme"),
            kind: "summary".to_owned(),
            payload: b"{}".to_vec(),
            park: Vec::new(),
            subject: None,
        }],
        ..decision()
    };
    let apply = apply_of("payment:/pi_1", 0, vec![step(first.seq, what)]);
    assert!(is_done(&store.apply(apply).await.unwrap()));
    let base = || InputQuery {
        limit: 100,
        deliveries_only: true,
        ..InputQuery::default()
    };
    let cases = [
        (
            base(),
            vec!["evt_5", "evt_4", "evt_3", "evt_2", "evt_1", "evt_0"],
        ),
        (
            InputQuery {
                status: Some(InputStatus::Applied),
                ..base()
            },
            vec!["evt_0"],
        ),
        (
            InputQuery {
                status: Some(InputStatus::Ignored),
                ..base()
            },
            vec!["evt_5"],
        ),
        (
            InputQuery {
                status: Some(InputStatus::Received),
                ..base()
            },
            vec!["evt_4", "evt_3", "evt_2", "evt_1"],
        ),
        (
            InputQuery {
                kinds: vec!["odd".into()],
                ..base()
            },
            vec!["evt_5", "evt_3", "evt_1"],
        ),
        (
            InputQuery {
                tenant: Some(tenant("acme")),
                ..base()
            },
            vec!["evt_0"],
        ),
        (
            InputQuery {
                received_after: Some(at(2)),
                received_before: Some(at(4)),
                ..base()
            },
            vec!["evt_3", "evt_2"],
        ),
    ];
    for (query, expected) in cases {
        let page = store.inputs(query).await.unwrap();
        let found: Vec<_> = page
            .items
            .iter()
            .map(|item| item.source.public_id())
            .collect();
        assert_eq!(found, expected);
    }
    // The other way round, and page by page.
    for limit in [1, 2, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = InputQuery {
                oldest_first: true,
                limit,
                after,
                ..base()
            };
            let page = store.inputs(query).await.unwrap();
            found.extend(page.items.iter().map(|item| item.source.public_id()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected = ["evt_0", "evt_1", "evt_2", "evt_3", "evt_4", "evt_5"];
        assert_eq!(found, expected, "{limit} at a time");
    }
    let mut everything = Vec::new();
    let mut after = None;
    loop {
        let query = InputQuery {
            limit: 3,
            after,
            ..InputQuery::default()
        };
        let page = store.inputs(query).await.unwrap();
        everything.extend(page.items.into_iter().map(|item| item.seq));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let foreign = InputQuery {
        limit: 3,
        after: Some(vec![0x0a, 1]),
        ..InputQuery::default()
    };
    assert!(matches!(
        store.inputs(foreign).await,
        Err(StoreError::Invalid(_))
    ));
    assert_eq!(everything.len(), 7, "the message too");
    assert!(everything.windows(2).all(|pair| pair[0] > pair[1]));
}

pub(crate) async fn the_digest_ignores_the_order_of_commits(store: &dyn Store) {
    let empty = store.state_digest().await.unwrap();
    let moves = |source: &str, minor| Decision {
        movements: vec![movement(source, minor)],
        ..puts(vec![row("pi_1", Some("acme"), Some(0), "succeeded")])
    };
    decide(store, "evt_1", "payment:/pi_1", moves("ch_1", 500)).await;
    let one = store.state_digest().await.unwrap();
    assert_ne!(one, empty);
    decide(store, "evt_2", "payment:/pi_1", moves("ch_2", 70)).await;
    assert_ne!(
        store.state_digest().await.unwrap(),
        one,
        "more money is another state"
    );
    let mut back = moves("ch_2", -70);
    back.rows.clear();
    decide(store, "evt_3", "payment:/pi_1", back).await;
    assert_eq!(
        store.state_digest().await.unwrap(),
        one,
        "net of zero is nothing"
    );
    let mut same = puts(vec![row("pi_1", Some("acme"), Some(0), "succeeded")]);
    let RowWrite::Put(row) = &mut same.rows[0] else {
        unreachable!()
    };
    row.value = b"{\"status\": \"succeeded\", \"version\": 9, \"id\": \"pi_1\"}".to_vec();
    decide(store, "evt_4", "payment:/pi_1", same).await;
    assert_eq!(
        store.state_digest().await.unwrap(),
        one,
        "order of keys and version are nothing"
    );
}
