//! A journal that is kept short: what is out of reach is said, and everything else is as before.

use crate::app::App;
use bursar::http::limits::Limits;
use bursar_store::journal::JournalSettings;
use bursar_store::{OpenOptions, Watermarks, open_sled};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Small segments, and nothing kept for its age.
fn options() -> OpenOptions {
    OpenOptions {
        watermarks: Watermarks::OFF,
        checkpoint_bytes: 1,
        retention: Some(Duration::ZERO),
        journal: JournalSettings {
            segment_bytes: 64 << 10,
            zero_chunk_bytes: 16 << 10,
            ..JournalSettings::default()
        },
        ..OpenOptions::default()
    }
}

fn scenario() -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/corpus/stripe/scenarios/new_subscription_checkout.json"
    );
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    file["events"].as_array().unwrap().clone()
}

async fn deliver(app: &App, event: &Value) {
    let reply = app.deliver(&serde_json::to_vec(event).unwrap()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

async fn ask(app: &App, line: &str, body: &str) -> Value {
    let reply = app.operator(line, body).await;
    assert_eq!(reply.status, 200, "{line}: {reply:?}");
    reply.json()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("journal")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn verify_and_explain_say_what_retention_dropped_and_find_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_sled(dir.path(), options()).unwrap();
    let app = App::over(store, Limits::default()).await;
    let events = scenario();
    for event in &events {
        deliver(&app, event).await;
    }
    app.settle().await;
    let customer = events
        .iter()
        .find(|event| event["type"] == "customer.created");
    let mut updated = customer.expect("a customer is created").clone();
    updated["type"] = json!("customer.updated");
    let created = updated["created"].as_i64().unwrap();
    let first = "0000000001.segment".to_owned();
    for n in 0.. {
        assert!(n < 2_000, "nothing was dropped: {:?}", names(dir.path()));
        updated["id"] = json!(format!("evt_again_{n}"));
        updated["created"] = json!(created + n);
        updated["data"]["object"]["description"] = json!(format!("{n} {}", "x".repeat(1_000)));
        deliver(&app, &updated).await;
        app.settle().await;
        if n % 20 == 0 && !names(dir.path()).contains(&first) {
            break;
        }
    }
    let report = ask(&app, "POST /api/v1/verify", "{}").await;
    println!("{report}");
    assert_eq!(
        (&report["mismatches"], &report["findings"]),
        (&json!(0), &json!([]))
    );
    let count = |field: &str| report[field].as_u64().unwrap();
    assert!(count("droppedCommits") > 0 && count("compared") > 0 && count("firstRecord") > 1);
    assert!(count("notCompared") >= count("droppedCommits") + count("droppedBodies"));
    assert_eq!(count("checkpoints"), 2);
    // The first delivery's body went; what it did, and that it came, did not.
    let id = events[0]["id"].as_str().unwrap();
    let shown = ask(&app, &format!("GET /api/v1/webhook-events/{id}"), "").await;
    assert_eq!(
        (&shown["bodyDropped"], &shown["body"]),
        (&json!(true), &Value::Null)
    );
    let explained = ask(&app, &format!("GET /api/v1/explain/{id}"), "").await;
    assert_eq!(explained["inputs"][0]["bodyDropped"], true);
    assert!(!explained["timeline"].as_array().unwrap().is_empty());
    let replayed = ask(
        &app,
        &format!("POST /api/v1/webhook-events/{id}/replay"),
        "{}",
    )
    .await;
    assert_eq!(
        (&replayed["skipped"], &replayed["diff"][0]["reason"]),
        (&json!(1), &json!("its body was dropped by retention")),
        "{replayed}"
    );
    let before = app.store.chain_head().await.unwrap();
    deliver(&app, &events[0]).await;
    assert_eq!(
        app.store.chain_head().await.unwrap(),
        before,
        "it is a duplicate"
    );
    // Without rows, from a checkpoint and what is left of the journal: the same.
    let digest = ask(&app, "GET /api/v1/digest", "").await;
    app.store.close().await.unwrap();
    drop(app);
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let (store, opened) = open_sled(dir.path(), options()).unwrap();
    assert!(opened.checkpoint > 1 && opened.checkpoints_damaged.is_empty());
    let app = App::over(store, Limits::default()).await;
    let after = ask(&app, "GET /api/v1/digest", "").await;
    assert_eq!(after["stateDigest"], digest["stateDigest"]);
    let again = ask(&app, "POST /api/v1/verify", "{}").await;
    assert_eq!(again["mismatches"], 0, "{again}");
    assert_eq!(again["stateDigest"], report["stateDigest"]);
    // A changed byte in a checkpoint is a finding.
    let newest = names(dir.path())
        .into_iter()
        .rfind(|name| name.ends_with(".checkpoint"));
    let newest = dir.path().join("journal").join(newest.unwrap());
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let hurt = ask(&app, "POST /api/v1/verify", "{}").await;
    assert_eq!(hurt["mismatches"], 1, "{hurt}");
    assert!(
        hurt["findings"][0]
            .as_str()
            .unwrap()
            .contains(".checkpoint at byte")
    );
}
