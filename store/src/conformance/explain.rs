//! What names an id, oldest first, and of a tenant only its own.

use super::world::*;
use crate::api::Store;
use bursar_domain::decision::Decision;
use bursar_domain::ids::{TenantId, Timestamp};

pub(crate) async fn explain_finds_inputs_and_lines(store: &dyn Store) {
    let what = Decision {
        timeline: vec![line("charged", 0)],
        ..decision()
    };
    decide(store, "evt_1", "payment:/pi_1", what).await;
    accept(store, event("evt_2", "payment:/pi_1")).await;
    for (id, inputs, lines) in [
        ("ch_1", 2, 1),
        ("evt_1", 1, 1),
        ("pi_1", 0, 1),
        ("evt_2", 1, 0),
        ("ch_", 0, 0),
    ] {
        let found = store.explain(id.to_owned(), None, 10).await.unwrap();
        assert_eq!(
            (found.inputs.len(), found.lines.len()),
            (inputs, lines),
            "{id}"
        );
        assert!(!found.truncated);
    }
    let cut = store.explain("ch_1".to_owned(), None, 1).await.unwrap();
    assert_eq!((cut.inputs.len(), cut.truncated), (1, true));
    // An id that tenants share: what others have under it cuts nothing off, and is not hinted at.
    for n in 0..3 {
        for tenant in ["acme", "other"] {
            let mut about = line(&format!("{tenant} {n}"), n);
            about.ids = vec!["price_shared".to_owned()];
            about.tenant = Some(TenantId::parse(tenant).unwrap());
            let what = Decision {
                timeline: vec![about],
                ..decision()
            };
            let (event, payment) = (format!("evt_{tenant}_{n}"), format!("payment:/pi_{tenant}"));
            decide(store, &event, &payment, what).await;
        }
    }
    let acme = TenantId::parse("acme").unwrap();
    for (limit, seen, truncated) in [(3, 3, false), (2, 2, true)] {
        let own = store.explain("price_shared".to_owned(), Some(acme.clone()), limit);
        let own = own.await.unwrap();
        assert_eq!((own.lines.len(), own.truncated), (seen, truncated));
        assert!(
            own.lines
                .iter()
                .all(|line| line.entry.tenant.as_ref() == Some(&acme))
        );
    }
    // Of one second, the order they were done in; Stripe's clock knows no parts of one.
    let about = |summary: &str, seconds, ms| {
        let mut entry = line(summary, seconds);
        entry.at = Timestamp(entry.at.0 + ms);
        entry.ids = vec!["pi_2".to_owned()];
        entry
    };
    let what = Decision {
        timeline: vec![
            about("ordered", 5, 127),
            about("effect", 5, 0),
            about("before", 4, 900),
        ],
        ..decision()
    };
    decide(store, "evt_3", "payment:/pi_2", what).await;
    let found = store.explain("pi_2".to_owned(), None, 10).await.unwrap();
    let told: Vec<&str> = found
        .lines
        .iter()
        .map(|l| l.entry.summary.as_str())
        .collect();
    assert_eq!(told, ["before", "ordered", "effect"]);
    // An id by which one input is known and which another one names, and its own as well.
    accept(store, event("evt_8", "payment:/pi_9")).await;
    let mut about = event("evt_9", "payment:/pi_9");
    about.object_ids = vec!["evt_8".to_owned(), "evt_9".to_owned()];
    accept(store, about).await;
    for (id, limit, inputs, truncated) in [
        ("evt_8", 10, vec!["evt_8", "evt_9"], false),
        ("evt_8", 1, vec!["evt_8"], true),
        ("evt_9", 10, vec!["evt_9"], false),
    ] {
        let found = store.explain(id.to_owned(), None, limit).await.unwrap();
        let ids: Vec<_> = found
            .inputs
            .iter()
            .map(|one| one.source.public_id())
            .collect();
        assert_eq!(
            (ids, found.truncated),
            (inputs.iter().map(|id| id.to_string()).collect(), truncated),
            "{id}"
        );
    }
}
