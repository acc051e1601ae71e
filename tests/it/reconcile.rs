//! Recovery against Stripe: a Bursar that missed things ends where one that heard everything is.

use crate::stage::{Stage, differing};
use bursar_sandbox::{Fault, FaultKind};
use serde_json::json;
use std::collections::BTreeSet;

fn chance(kind: FaultKind, per_thousand: u32) -> Fault {
    Fault {
        kind,
        count: None,
        per_thousand: Some(per_thousand),
        matching: None,
        seconds: None,
    }
}

/// Ids of the events that were never sent.
fn dropped(stage: &Stage) -> BTreeSet<String> {
    let sent: BTreeSet<String> = stage
        .stripe
        .deliveries()
        .into_iter()
        .map(|delivery| delivery.event_id)
        .collect();
    let events = stage.stripe.events().into_iter();
    events
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .filter(|id| !sent.contains(id))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bursar_that_lost_one_event_in_twenty_ends_where_one_that_heard_all_is() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    assert!(stage.stripe.add_fault(chance(FaultKind::Drop, 50)));
    assert!(stage.stripe.add_fault(chance(FaultKind::Reorder, 300)));
    let customers = stage.life_begins(20).await;
    bursar.settle().await;
    let lost_first = dropped(&stage).len();
    assert!(lost_first > 2, "only {lost_first} events were dropped");
    let first = bursar.reconcile(json!({"repair": true})).await;
    assert_eq!(first["missing"], lost_first, "{first:#}");

    stage.life_goes_on(&customers).await;
    stage.stripe.clear_faults();
    bursar.settle().await;
    let lost = dropped(&stage).len() - lost_first;
    assert!(lost > 2, "only {lost} events were dropped");
    let whole = stage.bursar().await;
    stage.tell_everything(&whole).await;
    let truth = whole.digest().await;
    let before = bursar.digest().await;
    assert_ne!(before, truth, "what was dropped changes nothing");

    // A check changes nothing, however often.
    for _ in 0..2 {
        let check = bursar.reconcile(json!({})).await;
        assert_eq!(check["status"], "done", "{check:#}");
        assert_eq!(check["missing"], lost, "{check:#}");
        assert_eq!(check["repaired"], 0);
        assert!(check["drifted"].as_u64().unwrap() > 0, "{check:#}");
        assert_eq!(bursar.digest().await, before);
    }

    let repair = bursar.reconcile(json!({"repair": true})).await;
    assert_eq!(repair["status"], "done", "{repair:#}");
    assert_eq!(
        (&repair["missing"], &repair["failed"]),
        (&json!(lost), &json!(0))
    );
    bursar.settle().await;
    let left = differing(&whole.rows().await, &bursar.rows().await);
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(bursar.digest().await, truth);

    let after = bursar.reconcile(json!({})).await;
    assert_eq!(
        (&after["missing"], &after["drifted"]),
        (&json!(0), &json!(0)),
        "{after:#}"
    );
    assert_eq!(bursar.get("/api/v1/reconcile").await.json, after);
    let verified = bursar.post("/api/v1/verify", &json!({})).await.json;
    assert_eq!(verified["mismatches"], 0, "{verified:#}");
    // What heard everything is no drift to anybody.
    let clean = whole.reconcile(json!({})).await;
    let found = (&clean["missing"], &clean["drifted"]);
    assert_eq!(found, (&json!(0), &json!(0)), "{clean:#}");
}

/// What no object tells: when a checkout session ended and was paid. An event of the last 30 days
/// does; of an older one only the day is known, since a session lives that long.
const TOLD_BY_EVENTS_ALONE: &[&str] =
    &["checkout-sessions completedAt", "checkout-sessions paidAt"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_into_an_empty_store_makes_the_rows_of_one_that_heard_everything() {
    let stage = Stage::set().await;
    let whole = stage.bursar().await;
    stage.tell(&whole);
    stage.busy_life(6).await;
    whole.settle().await;

    let empty = stage.bursar().await;
    let import = empty.reconcile(json!({"import": true})).await;
    assert_eq!(
        (&import["status"], &import["failed"]),
        (&json!("done"), &json!(0)),
        "{import:#}"
    );
    empty.settle().await;
    let differing = differing(&whole.rows().await, &empty.rows().await);
    let unexpected: Vec<_> = differing
        .iter()
        .filter(|(field, _)| !TOLD_BY_EVENTS_ALONE.contains(&field.as_str()))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");

    let again = empty
        .post("/api/v1/reconcile", &json!({"import": true}))
        .await;
    assert_eq!(
        (again.status, &again.json["code"]),
        (409, &json!("store_not_empty"))
    );
    let check = empty.reconcile(json!({})).await;
    assert_eq!(
        (&check["missing"], &check["drifted"]),
        (&json!(0), &json!(0)),
        "{check:#}"
    );
}
