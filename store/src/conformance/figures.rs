//! The store's figures, which health and metrics are told from.

use super::world::*;
use crate::api::{Fate, Store};
use bursar_domain::rows::RowKind;

pub(crate) async fn figures_count_what_is_there(store: &dyn Store) {
    accept(store, event("evt_1", "payment:/pi_1")).await;
    accept(
        store,
        parked_event("evt_2", "payment:/pi_1", &["tenant:acme"]),
    )
    .await;
    let mut dead = event("evt_3", "payment:/pi_1");
    dead.fate = Fate::Dead {
        reason: "bad".into(),
    };
    accept(store, dead).await;
    let mut what = puts(vec![
        row("pi_1", None, None, "succeeded"),
        row("pi_2", None, None, "failed"),
    ]);
    what.effects = vec![effect("e1", NOW)];
    decide(store, "evt_4", "customer:/cus_1", what).await;
    let moved = puts(vec![row("pi_2", None, None, "succeeded")]);
    decide(store, "evt_5", "customer:/cus_1", moved).await;
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.inputs, stats.pending), (5, 1));
    assert_eq!((stats.parked, stats.dead), (1, 1));
    assert_eq!(stats.oldest_pending_at, Some(NOW));
    let succeeded = (RowKind::Payment, "succeeded".to_owned(), 2);
    assert_eq!(stats.rows, [succeeded]);
    let mail = stats
        .outbox
        .iter()
        .find(|(lane, _)| lane.as_str() == "mail");
    assert_eq!(mail.map(|(_, count)| *count), Some(1));
    let oldest = stats
        .outbox_oldest
        .iter()
        .map(|(lane, at)| (lane.as_str(), *at));
    assert_eq!(oldest.collect::<Vec<_>>(), [("mail", NOW)]);
    assert_eq!((stats.blob_files, stats.intake_refused), (0, false));
}
