//! An old backup, restored and reconciled, ends where the system ended that never failed.

use crate::stage::{Stage, differing};
use bursar_domain::ids::Timestamp;
use bursar_sandbox::{Fault, FaultKind};
use bursar_store::OpenOptions;
use bursar_store::backup::restore;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_backup_restored_and_reconciled_ends_where_one_that_never_failed_is() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    let customers = stage.life_begins(6).await;
    bursar.settle().await;

    // When it is taken, nobody can know what became of a refund: the answer was lost on its way.
    let paid = "/api/v1/payments?tenantId=t0&status=succeeded";
    let payment = bursar.get(paid).await.json["data"][0]["id"].clone();
    stage.stripe.set_webhook(None, Vec::new());
    stage.stripe.add_fault(Fault {
        kind: FaultKind::ResetAfterCommit,
        count: None,
        per_thousand: None,
        matching: Some("POST /v1/refunds".to_owned()),
        seconds: None,
    });
    let order = json!({"tenantId": "t0", "paymentId": payment, "amount": 7});
    let unknown = bursar.post("/api/v1/refunds", &order).await;
    assert_eq!(unknown.status, 202, "{:#}", unknown.json);
    let command = unknown.json["commandId"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.backup");
    let taken = bursar.post("/api/v1/backup", &json!({"path": file})).await;
    assert_eq!(taken.status, 200, "{:#}", taken.json);
    stage.stripe.clear_faults();
    stage.tell(&bursar);
    stage.tell_everything(&bursar).await;
    stage.life_goes_on(&customers).await;
    stage.orders_end(&bursar).await;
    let refunds = stage.stripe.side_effects(&command);

    let again = tempfile::tempdir().unwrap();
    let config = Stage::moved(&bursar, &again);
    let now = Timestamp(stage.stripe.now_unix_ms());
    let home = again.path().join("data");
    let restored = restore(&file, &home, OpenOptions::default(), now)
        .await
        .unwrap();
    let bursar_again = stage.start(config, again).await;
    let asked_before = stage.stripe.requests().len();
    let repair = bursar_again.reconcile(json!({"repair": true})).await;
    assert_eq!(repair["status"], "done", "{repair:#}");
    stage.orders_end(&bursar_again).await;
    stage.delivered().await;
    bursar.settle().await;
    bursar_again.settle().await;
    let truth = bursar.digest().await;
    assert_ne!(restored.state_digest, truth, "nothing happened since");
    let left = differing(&bursar.rows().await, &bursar_again.rows().await);
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(bursar_again.digest().await, truth);
    assert_eq!(
        stage.stripe.side_effects(&command),
        refunds,
        "a refund was made twice"
    );
    assert_eq!(refunds.values().sum::<u64>(), 1, "{refunds:?}");
    let verified = bursar_again.post("/api/v1/verify", &json!({})).await.json;
    assert_eq!(verified["mismatches"], 0, "{verified:#}");
    let posts = stage.stripe.requests().split_off(asked_before).into_iter();
    let posts: Vec<_> = posts.filter(|one| one.method == "POST").collect();
    assert!(
        posts.iter().all(|one| one.path == "/v1/refunds"),
        "{posts:#?}"
    );
    println!(
        "restored: records={} repaired={} side_effects={} digest_same=true",
        restored.manifest.record,
        repair["repaired"],
        refunds.len()
    );
}
