//! Backups on a real disk: taken under load, damaged, restored.

use super::crash::check;
use super::random::{Answered, Dice, act};
use super::world::NOW;
use crate::OpenOptions;
use crate::backup::{TOLD_BEFORE, restore, unpack};
use crate::error::StoreError;
use bursar_domain::ids::Timestamp;
use bursar_domain::rows::Subject;
use std::sync::Arc;

fn options() -> OpenOptions {
    OpenOptions {
        checkpoint_bytes: 256 << 10,
        ..OpenOptions::small()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_backup_taken_under_load_restores_all_that_was_answered_before_and_nothing_goes_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (folder.path().join("data"), folder.path().join("one.backup"));
    let (mut records, mut held) = (0, 0);
    runtime().block_on(async {
        let (store, _) = crate::open_sled(&dir, options()).unwrap();
        let (mut dice, mut known) = (Dice(7), Answered::default());
        for _ in 0..300 {
            act(store.as_ref(), &mut dice, &mut known).await.unwrap();
        }
        let mut before = known.clone();
        let (head, _) = store.chain_head().await.unwrap();
        let (ours, to) = (Arc::clone(&store), file.clone());
        let taking = tokio::spawn(async move { ours.backup(to).await });
        while !taking.is_finished() {
            act(store.as_ref(), &mut dice, &mut known).await.unwrap();
        }
        let manifest = taking.await.unwrap().unwrap();
        assert!(manifest.record >= head);
        assert!(
            store.backup(file.clone()).await.is_err(),
            "nothing is written over"
        );
        store.close().await.unwrap();
        // What was written again while it was taken may be in it or not.
        before
            .keeps
            .retain(|name, value| known.keeps[name] == *value);

        let again = folder.path().join("again");
        let restored = restore(&file, &again, options(), NOW).await.unwrap();
        assert_eq!(restored.manifest, manifest);
        held += restored
            .held_back
            .iter()
            .map(|(_, count)| count)
            .sum::<u64>();
        records += manifest.record;
        let (store, report) = crate::open_sled(&again, options()).unwrap();
        assert!(report.journal.cut.is_none(), "{:?}", report.journal);
        check(store.as_ref(), &before).await;
        assert_eq!(store.state_digest().await.unwrap(), restored.state_digest);
        for lane in TOLD_BEFORE {
            let due = store
                .due_effects(lane, Timestamp(i64::MAX), 10)
                .await
                .unwrap();
            assert!(due.is_empty(), "{due:?}");
        }
        store.close().await.unwrap();
        let over = unpack(&file, &again);
        assert!(matches!(over, Err(StoreError::Io { .. })), "{over:?}");
    });
    assert!(held > 0, "nothing was held back");
    println!("backup records={records} held_back={held}");
}

/// Who was forgotten after the backup stays readable in it; who was forgotten before does not come back.
#[test]
fn an_erased_subject_stays_erased_in_a_backup_of_later() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (folder.path().join("data"), folder.path().join("one.backup"));
    runtime().block_on(async {
        let (store, _) = crate::open_sled(&dir, options()).unwrap();
        let subject = Subject("user:u1".to_owned());
        let write = crate::api::Administer {
            keeps: vec![crate::api::Keep {
                space: "people",
                key: "u1".to_owned(),
                value: Some(b"ada@example.com".to_vec()),
                subject: Some(subject.clone()),
            }],
            ..Default::default()
        };
        store.administer(write).await.unwrap();
        store.erase(vec![subject], NOW).await.unwrap();
        store.backup(file.clone()).await.unwrap();
        store.close().await.unwrap();
        let again = folder.path().join("again");
        restore(&file, &again, options(), NOW).await.unwrap();
        let (store, _) = crate::open_sled(&again, options()).unwrap();
        assert_eq!(store.kept("people", "u1".into()).await.unwrap(), None);
        store.close().await.unwrap();
    });
}

#[test]
fn a_changed_or_cut_archive_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (folder.path().join("data"), folder.path().join("one.backup"));
    runtime().block_on(async {
        let (store, _) = crate::open_sled(&dir, options()).unwrap();
        let (mut dice, mut known) = (Dice(3), Answered::default());
        for _ in 0..40 {
            act(store.as_ref(), &mut dice, &mut known).await.unwrap();
        }
        store.backup(file.clone()).await.unwrap();
        store.close().await.unwrap();
    });
    let whole = std::fs::read(&file).unwrap();
    let (mut cases, mut silent) = (0, 0);
    let mut refused = |bytes: &[u8], what: &str| {
        let (bad, to) = (folder.path().join("bad"), folder.path().join("bad.data"));
        std::fs::write(&bad, bytes).unwrap();
        cases += 1;
        if unpack(&bad, &to).is_ok() {
            println!("silent: {what}");
            silent += 1;
            std::fs::remove_dir_all(&to).unwrap();
        }
        assert!(
            !to.exists() && !folder.path().join("bad.data.restoring").exists(),
            "{what}"
        );
    };
    let mut dice = Dice(11);
    for _ in 0..60 {
        let cut = dice.below(whole.len() as u64 - 2_048) as usize;
        refused(&whole[..cut], &format!("cut at {cut}"));
    }
    // Bytes of content: what a header says beside name and length is not ours.
    let mut archive = tar::Archive::new(whole.as_slice());
    let places: Vec<(u64, u64)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            entry
                .map(|one| (one.raw_file_position(), one.size()))
                .unwrap()
        })
        .collect();
    for (at, size) in places {
        for _ in 0..20.min(size) {
            let byte = (at + dice.below(size)) as usize;
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << dice.below(8);
            refused(&bytes, &format!("a bit of byte {byte}"));
        }
    }
    println!("backup damage cases={cases} silent={silent}");
    assert_eq!(silent, 0);
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "journal/../../evil",
        "/etc/evil",
        "evil",
        "journal/evil",
        "journal/mark/evil",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_entry_type(tar::EntryType::Regular);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let mut bytes = tar::Builder::new(Vec::new());
        bytes.append(&header, &b"x"[..]).unwrap();
        let file = folder.path().join("bad");
        std::fs::write(&file, bytes.into_inner().unwrap()).unwrap();
        let outcome = unpack(&file, &folder.path().join("data"));
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains("no backup has a file"), "{name}: {text}");
    }
}
