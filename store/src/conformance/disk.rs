//! Real files: killed, deleted, damaged, foreign.

use super::random::{Answered, Dice, act};
use super::world::*;
use crate::api::Store;
use crate::error::StoreError;
use crate::journal::JournalSettings;
use crate::open::{OpenOptions, OpenReport, RowsFound, open_sled};
use std::path::Path;
use std::sync::Arc;

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

fn open(dir: &Path) -> (Arc<dyn Store>, OpenReport) {
    open_sled(dir, OpenOptions::small()).unwrap()
}

/// A store with some of everything in it, closed; gives its digest and chain head.
async fn filled(dir: &Path) -> (String, (u64, String)) {
    filled_with(dir, OpenOptions::small()).await
}

async fn filled_with(dir: &Path, options: OpenOptions) -> (String, (u64, String)) {
    let (store, report) = open_sled(dir, options).unwrap();
    assert_eq!(report.rows, RowsFound::New);
    let (mut dice, mut known) = (Dice(7), Answered::default());
    for _ in 0..120 {
        act(store.as_ref(), &mut dice, &mut known).await.unwrap();
    }
    let what = puts(vec![row("pi_1", Some("acme"), Some(1), "succeeded")]);
    decide(store.as_ref(), "evt_row", "payment:/pi_77", what).await;
    let digest = store.state_digest().await.unwrap();
    let head = store.chain_head().await.unwrap();
    store.close().await.unwrap();
    (digest, head)
}

/// Opens, compares with before, closes.
async fn same_as(dir: &Path, before: &(String, (u64, String))) -> OpenReport {
    let (store, report) = open(dir);
    assert_eq!(store.state_digest().await.unwrap(), before.0);
    assert_eq!(store.chain_head().await.unwrap(), before.1);
    accept(store.as_ref(), event("evt_row", "payment:/pi_77")).await;
    assert_eq!(
        store.chain_head().await.unwrap(),
        before.1,
        "it is a duplicate"
    );
    store.close().await.unwrap();
    report
}

#[test]
fn a_store_opened_again_is_the_same_and_replays_nothing() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let before = filled(dir.path()).await;
        let report = same_as(dir.path(), &before).await;
        assert_eq!((report.rows, report.replayed), (RowsFound::Checked, 0));
        let options = OpenOptions {
            check_rows: true,
            ..OpenOptions::small()
        };
        let (store, report) = open_sled(dir.path(), options).unwrap();
        assert_eq!(report.rows, RowsFound::Checked);
        assert_eq!(report.installation.len(), 32);
        store.close().await.unwrap();
    });
}

#[test]
fn rows_that_were_deleted_are_folded_again_to_the_same_digest() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let before = filled(dir.path()).await;
        std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
        let report = same_as(dir.path(), &before).await;
        assert!(matches!(report.rows, RowsFound::Rebuilt { .. }));
        assert_eq!(report.replayed, before.1.0);
        let report = same_as(dir.path(), &before).await;
        assert_eq!(report.rows, RowsFound::Checked);
    });
}

#[test]
fn damaged_rows_never_keep_the_store_from_opening_right() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let before = filled(dir.path()).await;
        let db = dir.path().join("sled/db");
        let whole = std::fs::read(&db).unwrap();
        let mut dice = Dice(11);
        let (mut rebuilt, mut replayed) = (0, 0);
        for round in 0..super::random::cases(12) {
            let mut bytes = whole.clone();
            // sled's file is mostly room not written yet: aim at what holds something.
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
            let spot = dice.below(used) as usize;
            match round % 3 {
                0 => bytes[spot] ^= 1 << dice.below(8),
                1 => {
                    let end = (spot + 4_096).min(bytes.len());
                    bytes[spot..end].fill(0);
                }
                _ => bytes.truncate(spot),
            }
            std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
            std::fs::create_dir(dir.path().join("sled")).unwrap();
            std::fs::write(&db, &bytes).unwrap();
            let conf = dir.path().join("sled.aside/conf");
            if conf.exists() {
                std::fs::copy(conf, dir.path().join("sled/conf")).unwrap();
            }
            let options = OpenOptions {
                check_rows: true,
                ..OpenOptions::small()
            };
            let (store, report) = open_sled(dir.path(), options).unwrap();
            assert_eq!(
                store.state_digest().await.unwrap(),
                before.0,
                "round {round}"
            );
            rebuilt += usize::from(matches!(report.rows, RowsFound::Rebuilt { .. }));
            replayed += usize::from(report.replayed > 0);
            store.close().await.unwrap();
        }
        println!("rebuilt={rebuilt} replayed={replayed}");
        // sled often falls back to an older state of itself; the journal's tail makes up for it.
        assert!(replayed > 0, "no damage was noticed at all");
    });
}

#[test]
fn damage_to_the_small_files_of_sled_is_no_reason_to_stay_closed() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let before = filled(dir.path()).await;
        let sled = dir.path().join("sled");
        let mut tried = 0;
        for how in 0..4 {
            let files = std::fs::read_dir(&sled).unwrap();
            let files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
            for file in files
                .iter()
                .filter(|file| file.is_file() && !file.ends_with("db"))
            {
                if !file.exists() {
                    continue;
                }
                let mut bytes = std::fs::read(file).unwrap();
                match how {
                    0 => bytes.truncate(bytes.len() / 2),
                    1 => bytes.fill(0xff),
                    2 => bytes.clear(),
                    _ => {}
                }
                if how == 3 {
                    std::fs::remove_file(file).unwrap();
                } else {
                    std::fs::write(file, &bytes).unwrap();
                }
                println!("{how} {}", file.display());
                same_as(dir.path(), &before).await;
                tried += 1;
            }
        }
        assert!(tried >= 4);
    });
}

#[test]
fn a_handle_still_held_in_this_process_is_named_and_nothing_is_moved() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        store.close().await.unwrap();
        let refused = open_sled(dir.path(), OpenOptions::small());
        assert!(matches!(refused, Err(StoreError::Locked { .. })));
        assert!(!dir.path().join("sled.aside").exists());
        drop(store);
        let (store, report) = open(dir.path());
        assert_eq!(report.rows, RowsFound::Checked);
        store.close().await.unwrap();
    });
}

#[test]
fn rows_that_vanished_without_a_trace_are_noticed_by_counting() {
    use crate::keys;
    use crate::kv::{Batch, Kv, SledKv};
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let before = filled(dir.path()).await;
        let found = {
            let kv = SledKv::open(&dir.path().join("sled"), 1 << 20).unwrap();
            crate::kv::first(&kv, &[keys::LEDGER], &[keys::LEDGER + 1], 1).unwrap()
        };
        let (key, value) = found[0].clone();
        let mut changed = value.clone();
        changed[0] ^= 1;
        let position = keys::meta("record");
        for (key, loss) in [(&key, None), (&key, Some(changed)), (&position, None)] {
            let kv = SledKv::open(&dir.path().join("sled"), 1 << 20).unwrap();
            kv.apply_batch(&Batch::from([(key.clone(), loss)])).unwrap();
            kv.flush().unwrap();
            drop(kv);
            let options = OpenOptions {
                check_rows: true,
                ..OpenOptions::small()
            };
            let (store, report) = open_sled(dir.path(), options).unwrap();
            assert!(matches!(report.rows, RowsFound::Rebuilt { .. }));
            assert_eq!(store.state_digest().await.unwrap(), before.0);
            store.close().await.unwrap();
        }
    });
}

#[test]
fn rows_doubted_while_they_were_used_are_folded_again_once() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let before = filled(dir.path()).await;
        std::fs::write(dir.path().join("rows.doubted"), b"").unwrap();
        let report = same_as(dir.path(), &before).await;
        assert!(matches!(report.rows, RowsFound::Rebuilt { reason } if reason.contains("missing")));
        let report = same_as(dir.path(), &before).await;
        assert_eq!(report.rows, RowsFound::Checked);
    });
}

#[test]
fn an_old_segment_found_damaged_while_it_serves_ends_the_store_and_refuses_the_next_opening() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let options = || OpenOptions {
            journal: JournalSettings {
                segment_bytes: 16 << 10,
                zero_chunk_bytes: 4 << 10,
                read_bytes: 16 << 10,
                ..JournalSettings::default()
            },
            ..OpenOptions::small()
        };
        let before = filled_with(dir.path(), options()).await;
        let segment = dir.path().join("journal/0000000002.segment");
        let whole = std::fs::read(&segment).unwrap();
        let mut hurt = whole.clone();
        hurt[5_000] ^= 1;
        std::fs::write(&segment, &hurt).unwrap();
        let place = |error: StoreError| match error {
            StoreError::Damaged { file, offset, .. } => (file, offset),
            other => panic!("{other}"),
        };
        // It opens, serves, and meets the damage.
        let (store, report) = open_sled(dir.path(), options()).unwrap();
        assert!(report.journal.unread_segments >= 2, "{report:?}");
        assert_eq!(report.rows, RowsFound::Checked);
        let met = loop {
            if let Err(error) = store.probe().await {
                break place(error);
            }
        };
        assert!(met.0.ends_with("0000000002.segment"), "{met:?}");
        drop(store);
        let doubted = dir.path().join("journal.doubted");
        for _ in 0..2 {
            assert!(doubted.exists());
            let refused = open_sled(dir.path(), options()).map(|(_, report)| report);
            assert_eq!(place(refused.unwrap_err()), met);
        }
        // Once it is whole again, all of it is read once, and then a part first as before.
        std::fs::write(&segment, &whole).unwrap();
        for unread in [false, true] {
            let (store, report) = open_sled(dir.path(), options()).unwrap();
            assert!(!doubted.exists());
            assert_eq!(report.journal.unread_segments > 0, unread);
            assert_eq!(store.state_digest().await.unwrap(), before.0);
            store.close().await.unwrap();
        }
    });
}

#[test]
fn rows_of_another_installation_are_refused() {
    run(async {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        filled(one.path()).await;
        let before = filled(two.path()).await;
        std::fs::remove_dir_all(two.path().join("sled")).unwrap();
        std::fs::rename(one.path().join("sled"), two.path().join("sled")).unwrap();
        let refused = open_sled(two.path(), OpenOptions::small());
        let Err(StoreError::Incompatible(why)) = refused else {
            panic!("it was opened")
        };
        assert!(why.contains("remove the folder"), "{why}");
        std::fs::remove_dir_all(two.path().join("sled")).unwrap();
        same_as(two.path(), &before).await;
    });
}

#[test]
fn rows_ahead_of_the_journal_are_folded_again() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let before = filled(dir.path()).await;
        let backup = tempfile::tempdir().unwrap();
        for part in ["journal", "keys"] {
            copy(&dir.path().join(part), &backup.path().join(part));
        }
        let (store, _) = open(dir.path());
        decide(store.as_ref(), "evt_more", "payment:/pi_77", decision()).await;
        store.close().await.unwrap();
        drop(store);
        for part in ["journal", "keys"] {
            std::fs::remove_dir_all(dir.path().join(part)).unwrap();
            copy(&backup.path().join(part), &dir.path().join(part));
        }
        let report = same_as(dir.path(), &before).await;
        assert!(matches!(report.rows, RowsFound::Rebuilt { reason } if reason.contains("ahead")));
    });
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_second_opener_is_told_who_holds_the_store() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        let refused = open_sled(dir.path(), OpenOptions::small());
        let Err(StoreError::Locked { pid }) = refused else {
            panic!("opened twice")
        };
        assert_eq!(pid, std::process::id());
        store.close().await.unwrap();
    });
}

#[test]
fn leftovers_of_sled_are_removed_and_nothing_leaves_its_log() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let before = filled(dir.path()).await;
        let leftover = dir.path().join("sled/snap.00000001.generating");
        std::fs::write(&leftover, b"half").unwrap();
        same_as(dir.path(), &before).await;
        assert!(!leftover.exists());
        let (store, _) = open(dir.path());
        let mut large = event("evt_large", "payment:/pi_1");
        large.body = vec![b'x'; 1 << 20].into();
        accept(store.as_ref(), large).await;
        let text = format!("{{\"pad\":\"{}\"}}", "y".repeat(700_000));
        decide(
            store.as_ref(),
            "evt_big",
            "payment:/pi_big",
            snapshot(&text),
        )
        .await;
        let loaded = store.load(key("payment:/pi_big")).await.unwrap().unwrap();
        assert_eq!(loaded.bytes, text.as_bytes());
        assert_eq!(store.stats().await.unwrap().blob_files, 0);
        store.close().await.unwrap();
        assert_eq!(
            std::fs::read_dir(dir.path().join("sled/blobs"))
                .unwrap()
                .count(),
            0
        );
    });
}

#[test]
fn a_store_without_room_refuses_orders_before_deliveries() {
    use crate::engine::shared::Watermarks;
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let options = |watermarks| OpenOptions {
            watermarks,
            ..OpenOptions::small()
        };
        let orders = Watermarks {
            orders_bytes: u64::MAX,
            ..Watermarks::OFF
        };
        let (store, _) = open_sled(dir.path(), options(orders)).unwrap();
        accept(store.as_ref(), event("evt_1", "payment:/pi_1")).await;
        let mut order = event("evt_2", "payment:/pi_1");
        order.source = bursar_domain::input::InputSource::Operator("cmd_1".into());
        let refused = store.accept(vec![order]).await;
        assert!(
            matches!(refused, Err(StoreError::Full { .. })),
            "{refused:?}"
        );
        store.close().await.unwrap();
        drop(store);
        let both = Watermarks {
            deliveries_permille: 1_000_000,
            ..orders
        };
        let (store, _) = open_sled(dir.path(), options(both)).unwrap();
        let refused = store.accept(vec![event("evt_3", "payment:/pi_1")]).await;
        assert!(
            matches!(refused, Err(StoreError::Full { .. })),
            "{refused:?}"
        );
        assert!(store.stats().await.unwrap().intake_refused);
        assert_eq!(store.input("evt_1".into(), None).await.unwrap().len(), 1);
        store.close().await.unwrap();
    });
}

#[test]
fn a_file_that_cannot_be_opened_is_named_with_the_reason() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path()).await;
        // A folder of ours that is a file: every open of something in it fails.
        let journal = dir.path().join("journal");
        std::fs::remove_dir_all(&journal).unwrap();
        std::fs::write(&journal, b"no folder").unwrap();
        let error = open_sled(dir.path(), OpenOptions::small()).err().unwrap();
        let StoreError::Io { file, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(file.as_ref().is_some_and(|file| file.starts_with(&journal)));
        let text = error.to_string();
        let (named, cause) = text.split_once(" failed: ").unwrap();
        assert!(named.contains(journal.to_str().unwrap()), "{text}");
        assert!(!cause.is_empty(), "{text}");
    });
}
