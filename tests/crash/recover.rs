//! `bursar recover` on a damaged data folder, with a backup, with Stripe, and with neither.

use crate::filled::Filled;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The segments of a data folder, in order.
fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("journal")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "segment"));
    found.sort();
    found
}

/// Flips a bit in the middle of what a segment holds.
fn flip(segment: &Path) {
    let mut bytes = fs::read(segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 4;
    fs::write(segment, bytes).unwrap();
}

fn digest(filled: &Filled, data: &Path) -> Value {
    let told = filled.bursar(data, &["verify", "--json"]);
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
    told.json()["stateDigest"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_mended_from_a_backup_and_from_stripe() {
    let filled = Filled::with(6, 6).await;
    whole_is_said_to_be_whole(&filled);
    a_backup_gives_all_back(&filled);
    stripe_gives_events_back(&filled);
    a_lost_mark_is_said(&filled);
    lost_keys_need_a_backup(&filled);
    nothing_can_be_made_of_nothing(&filled);
}

fn whole_is_said_to_be_whole(filled: &Filled) {
    let data = filled.copy("whole");
    let told = filled.bursar(&data, &["recover", "--apply", "--json"]);
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
    assert_eq!(told.json()["whole"], true);
    assert_eq!(digest(filled, &data), filled.truth["stateDigest"]);
}

fn a_backup_gives_all_back(filled: &Filled) {
    let data = filled.copy("with-a-backup");
    let all = segments(&data);
    assert!(all.len() > 4, "{} segments", all.len());
    flip(&all[1]);
    fs::remove_file(&all[2]).unwrap();
    let refused = filled.bursar(&data, &["verify"]);
    assert_eq!(refused.code, Some(65), "{}{}", refused.out, refused.err);
    let backup = filled.backup();
    let backup = backup.to_str().unwrap();
    let dry = filled.bursar(&data, &["recover", "--json", "--backup", backup]);
    assert_eq!(dry.code, Some(1), "{}{}", dry.out, dry.err);
    let said = dry.json();
    assert_eq!(
        (&said["applied"], &said["complete"]),
        (&json!(false), &json!(true)),
        "{said:#}"
    );
    let still = filled.bursar(&data, &["verify"]);
    assert_eq!(still.code, Some(65), "a rehearsal changes nothing");
    let done = filled.bursar(&data, &["recover", "--apply", "--json", "--backup", backup]);
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    let done = done.json();
    assert_eq!(
        done["fromBackup"].as_array().map(Vec::len),
        Some(2),
        "{done:#}"
    );
    assert_eq!(done["heldBack"], json!({}), "nothing was lost: all is done");
    assert_eq!(
        done["stateDigest"], said["stateDigest"],
        "as it was rehearsed"
    );
    let after = filled.bursar(&data, &["verify", "--json"]).json();
    for field in [
        "stateDigest",
        "inputs",
        "aggregates",
        "ledgerEntries",
        "mismatches",
    ] {
        assert_eq!(after[field], filled.truth[field], "{field}");
    }
    assert!(
        Path::new(done["setAside"].as_str().unwrap())
            .join("journal")
            .exists()
    );
    println!("recover from=backup segments=2 lost=0 digest_same=true");
}

fn stripe_gives_events_back(filled: &Filled) {
    let data = filled.copy("with-stripe");
    let all = segments(&data);
    flip(&all[all.len() / 2]);
    let dry = filled.bursar(&data, &["recover", "--json"]);
    assert_eq!(dry.code, Some(1), "{}{}", dry.out, dry.err);
    let said = dry.json();
    let damage = said["damages"][0].as_str().unwrap();
    let name = all[all.len() / 2].file_name().unwrap().to_string_lossy();
    assert!(
        damage.contains(&*name) && damage.contains("at byte"),
        "{damage}"
    );
    let lost = &said["lostRecords"];
    assert_eq!(
        lost["first"].as_u64(),
        said["keptRecord"].as_u64().map(|kept| kept + 1)
    );
    assert_eq!(lost["last"], said["markedRecord"]);
    let behind = said["eventsBehindCount"].as_u64().unwrap();
    assert!(behind > 0, "events can be read behind the damage: {said:#}");
    assert!(said["since"].is_string(), "{said:#}");
    let done = filled.bursar(&data, &["recover", "--apply", "--json", "--quiet"]);
    let report = done.json();
    assert_eq!(
        done.code,
        Some(1),
        "orders may be missing: {report:#}{}",
        done.err
    );
    assert_eq!(report["eventsMissing"], json!([]), "{report:#}");
    assert!(
        report["stripe"]["repaired"].as_u64() > Some(0),
        "{report:#}"
    );
    let again = filled.bursar(&data, &["reconcile", "--json", "--quiet"]);
    assert_eq!(
        again.code,
        Some(0),
        "nothing differs: {}{}",
        again.out,
        again.err
    );
    assert_eq!(digest(filled, &data), filled.truth["stateDigest"]);
    println!("recover from=stripe events_behind={behind} missing=0 digest_same=true");
}

fn a_lost_mark_is_said(filled: &Filled) {
    let data = filled.copy("without-a-mark");
    fs::remove_file(data.join("journal/mark")).unwrap();
    let done = filled.bursar(&data, &["recover", "--apply", "--json", "--without-stripe"]);
    let report = done.json();
    assert_eq!(done.code, Some(1), "{report:#}");
    assert_eq!(
        (&report["markedRecord"], &report["lostRecords"]),
        (&Value::Null, &Value::Null)
    );
    assert!(report["since"].is_string(), "{report:#}");
    assert_eq!(digest(filled, &data), filled.truth["stateDigest"]);
}

fn lost_keys_need_a_backup(filled: &Filled) {
    let data = filled.copy("without-keys");
    for name in ["keys.a", "keys.b"] {
        fs::write(data.join("keys").join(name), b"no keys").unwrap();
    }
    let alone = filled.bursar(&data, &["recover", "--apply"]);
    assert_eq!(alone.code, Some(65), "{}{}", alone.out, alone.err);
    assert!(
        alone.err.contains("keys") && alone.err.contains("backup"),
        "{}",
        alone.err
    );
    let backup = filled.backup();
    let backup = backup.to_str().unwrap();
    let done = filled.bursar(
        &data,
        &[
            "recover",
            "--apply",
            "--json",
            "--without-stripe",
            "--backup",
            backup,
        ],
    );
    assert_eq!(done.code, Some(1), "{}{}", done.out, done.err);
    assert_eq!(done.json()["keysFromBackup"], true);
}

fn nothing_can_be_made_of_nothing(filled: &Filled) {
    let data = filled.copy("without-a-beginning");
    fs::write(&segments(&data)[0], b"nothing").unwrap();
    let told = filled.bursar(&data, &["recover", "--apply", "--without-stripe"]);
    assert_eq!(told.code, Some(65), "{}{}", told.out, told.err);
    assert!(told.err.contains("only a backup helps"), "{}", told.err);
}
