//! Checkpoints and retention: a short journal keeps every promise of a long one.

use super::auditor::{audit, dump};
use super::crash::check;
use super::random::{Answered, Dice, act, cases};
use super::world::*;
use crate::api::{Fate, InputStatus, Store};
use crate::error::StoreError;
use crate::journal::JournalSettings;
use crate::kv::MemKv;
use crate::open::{Made, OpenOptions, open_simulated_with};
use crate::query::{Gone, InputQuery};
use crate::vfs::{Errno, Fault, SimVfs, Vfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

/// Small segments, a checkpoint as soon as the journal outgrew the last one, nothing kept for its age.
pub(super) fn short() -> OpenOptions {
    OpenOptions {
        checkpoint_bytes: 1,
        retention: Some(Duration::ZERO),
        journal: JournalSettings {
            segment_bytes: 16 << 10,
            zero_chunk_bytes: 4 << 10,
            ..JournalSettings::default()
        },
        ..OpenOptions::small()
    }
}

/// The same, but nothing is ever dropped.
fn long() -> OpenOptions {
    OpenOptions {
        retention: None,
        ..short()
    }
}

fn open(vfs: &SimVfs, kv: &MemKv, options: &OpenOptions) -> (Arc<dyn Store>, Made) {
    open_simulated_with(vfs, kv.clone(), options).unwrap()
}

fn journal_dir() -> PathBuf {
    Path::new("/data/journal").to_owned()
}

/// Names with this ending, sorted.
fn names(vfs: &SimVfs, ending: &str) -> Vec<String> {
    let all = vfs.list(&journal_dir()).unwrap();
    all.into_iter()
        .filter(|name| name.ends_with(ending))
        .collect()
}

/// The records checkpoints stand after, oldest first.
fn checkpoints(vfs: &SimVfs) -> Vec<u64> {
    let names = names(vfs, ".checkpoint");
    let number = |name: &String| name.split('.').next().unwrap().parse().unwrap();
    names.iter().map(number).collect()
}

/// Waits while the store works.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what} never came");
}

/// Events that come and are applied, until the journal has this many segments more.
async fn fill(store: &dyn Store, vfs: &SimVfs, from: &mut u64, segments: usize) {
    let last = || names(vfs, ".segment").pop().unwrap();
    for _ in 0..segments {
        let before = last();
        while last() == before {
            *from += 1;
            let what = puts(vec![row("pi_1", Some("acme"), Some(1), "succeeded")]);
            let mut item = event(&format!("evt_f{from}"), "payment:/pi_1");
            item.body = vec![b'{'; 500].into();
            let seq = accept(store, item).await;
            let version = store.load(key("payment:/pi_1")).await.unwrap();
            let version = version.map_or(0, |snapshot| snapshot.version);
            let apply = apply_of("payment:/pi_1", version, vec![step(seq, what)]);
            assert!(is_done(&store.apply(apply).await.unwrap()));
        }
    }
}

/// Ends everything that is open.
async fn end_all(store: &dyn Store) {
    for aggregate in super::random::AGGREGATES {
        for seq in pending(store, aggregate).await {
            store.bury(seq, "over".into(), NOW).await.unwrap();
        }
    }
    for status in [InputStatus::Dead, InputStatus::Parked] {
        loop {
            let query = InputQuery {
                status: Some(status),
                limit: 100,
                ..InputQuery::default()
            };
            let page = store.inputs(query).await.unwrap();
            if page.items.is_empty() {
                break;
            }
            for view in page.items {
                store.dismiss(view.seq, "over".into(), NOW).await.unwrap();
            }
        }
    }
}

#[test]
fn a_checkpoint_written_beside_commits_and_the_tail_are_the_rows_byte_for_byte() {
    let (mut used, mut folded, mut records) = (0, 0, 0);
    for seed in 0..cases(12) {
        println!("seed {seed}");
        let (vfs, live) = (SimVfs::new(), MemKv::default());
        let (mut dice, mut known) = (Dice(seed), Answered::default());
        run(async {
            let (store, _) = open(&vfs, &live, &long());
            for _ in 0..250 {
                act(store.as_ref(), &mut dice, &mut known).await.unwrap();
            }
            store.close().await.unwrap();
        });
        audit(&live);
        let again = MemKv::default();
        run(async {
            let (store, made) = open(&vfs, &again, &long());
            let head = store.chain_head().await.unwrap().0;
            used += u64::from(made.restored.record.is_some());
            assert_eq!(made.folded, head - made.restored.record.unwrap_or(0));
            assert!(made.restored.damaged.is_empty());
            (folded, records) = (folded + made.folded, records + head);
            let (live, again) = (dump(&live), dump(&again));
            for (old, new) in live.iter().zip(&again) {
                assert_eq!(old, new, "seed {seed}");
            }
            assert_eq!(live.len(), again.len());
            check(store.as_ref(), &known).await;
            let walked = store.audit_journal().await.unwrap();
            assert_eq!((walked.first_record, walked.records), (1, head));
            assert_eq!(walked.damage, [""; 0]);
            store.close().await.unwrap();
        });
        audit(&again);
    }
    println!("checkpoints_used={used} records={records} folded={folded}");
    assert!(used * 2 > cases(12) && folded < records);
}

#[test]
fn power_cuts_and_bad_disks_beside_checkpoints_and_retention_lose_nothing() {
    let (mut answered, mut used, mut dropped, mut failed) = (0, 0, 0, 0);
    for seed in 0..cases(24) {
        println!("seed {seed}");
        let vfs = SimVfs::new();
        let (mut dice, mut known) = (Dice(seed), Answered::default());
        for life in 0..4 {
            let kv = MemKv::default();
            run(async {
                let (store, made) = open(&vfs, &kv, &short());
                assert!(made.restored.damaged.is_empty(), "{made:?}");
                used += u64::from(made.restored.record.is_some());
                check(store.as_ref(), &known).await;
                audit(&kv);
                let walked = store.audit_journal().await.unwrap();
                assert_eq!(walked.damage, [""; 0], "seed {seed} life {life}");
                dropped += u64::from(walked.first_record > 1);
                if dice.one_in(3) {
                    vfs.fail(Fault {
                        at: vfs.operations() + dice.below(900),
                        errno: if dice.one_in(2) {
                            Errno::Eio
                        } else {
                            Errno::Enospc
                        },
                        lasting: dice.one_in(2),
                    });
                }
                for _ in 0..dice.below(200) {
                    if act(store.as_ref(), &mut dice, &mut known).await.is_err() {
                        failed += 1;
                        // Whether the last one was written, nobody was told.
                        known.keeps.clear();
                        break;
                    }
                }
                if store.probe().await.is_ok() && dice.one_in(2) && !known.erased {
                    let mut from = life * 10_000;
                    vfs.heal();
                    if store.load(key("payment:/pi_1")).await.is_ok() {
                        end_all(store.as_ref()).await;
                        fill(store.as_ref(), &vfs, &mut from, 10).await;
                    }
                }
                vfs.power_cut(seed * 10 + life);
            });
        }
        answered += known.events.len();
        let kv = MemKv::default();
        run(async {
            let (store, _) = open(&vfs, &kv, &short());
            check(store.as_ref(), &known).await;
            store.close().await.unwrap();
        });
        audit(&kv);
    }
    println!(
        "answered={answered} lost=0 checkpoints_used={used} short_journals={dropped} failed_disks={failed}"
    );
    assert!(answered > 0 && used > 0 && dropped > 0);
}

/// A store whose first segments went: its digest, its head, and the number of an input whose body went.
async fn shortened(vfs: &SimVfs) -> (String, (u64, String), u64) {
    let (store, _) = open(vfs, &MemKv::default(), &short());
    let gone = accept(store.as_ref(), event("evt_first", "payment:/pi_1")).await;
    let apply = apply_of("payment:/pi_1", 0, vec![step(gone, snapshot("{\"n\":1}"))]);
    assert!(is_done(&store.apply(apply).await.unwrap()));
    let mut from = 0;
    while names(vfs, "0000000001.segment").len() == 1 {
        fill(store.as_ref(), vfs, &mut from, 1).await;
        assert!(
            from < 3_000,
            "nothing was dropped: {:?}",
            vfs.list(&journal_dir())
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until("the second checkpoint", || checkpoints(vfs).len() == 2).await;
    let digest = store.state_digest().await.unwrap();
    let head = store.chain_head().await.unwrap();
    store.close().await.unwrap();
    (digest, head, gone)
}

#[test]
fn a_store_whose_first_records_were_dropped_is_the_same_and_says_what_is_out_of_reach() {
    run(async {
        let vfs = SimVfs::new();
        let (digest, head, gone) = shortened(&vfs).await;
        let kv = MemKv::default();
        let (store, made) = open(&vfs, &kv, &short());
        assert!(made.restored.record.is_some());
        assert_eq!(store.state_digest().await.unwrap(), digest);
        assert_eq!(store.chain_head().await.unwrap(), head);
        audit(&kv);
        // Its dedup key stays for good; its body does not, and nobody pretends.
        assert_eq!(
            accept(store.as_ref(), event("evt_first", "payment:/pi_1")).await,
            gone
        );
        assert_eq!(store.chain_head().await.unwrap(), head);
        let view = store.input_by_seq(gone).await.unwrap().unwrap();
        assert!(view.body_dropped && view.status == InputStatus::Applied);
        assert_eq!(store.input_body(gone).await.unwrap(), None);
        let found = store.explain("evt_first".into(), None, 10).await.unwrap();
        assert!(found.inputs[0].body_dropped);
        // It cannot be applied again from nothing.
        let fate = Fate::Pending {
            to: key("payment:/pi_1"),
            park: Vec::new(),
        };
        let woken = store
            .requeue(vec![(gone, fate.clone())], NOW)
            .await
            .unwrap();
        assert!(woken.is_empty());
        // A later one can.
        let newest = store.input("evt_f60".into(), None).await.unwrap();
        let (store, late) = (
            store,
            newest.first().map(|view| (view.seq, view.body_dropped)),
        );
        if let Some((seq, false)) = late {
            assert_eq!(
                store.requeue(vec![(seq, fate)], NOW).await.unwrap().len(),
                1
            );
        }
        let walked = store.audit_journal().await.unwrap();
        assert!(walked.first_record > 1 && walked.applies_dropped > 0);
        assert_eq!(
            (walked.checkpoints, walked.damage),
            (2, Vec::<String>::new())
        );
        assert_eq!(
            walked.records,
            store.chain_head().await.unwrap().0 - walked.first_record + 1
        );
        let kept = store.applied(0, 1).await.unwrap();
        assert_eq!(kept[0].position, walked.applies_dropped + 1);
        // Only an apply beside the edge may have lost the body it consumed.
        let gone = kept[0].steps[0].gone;
        assert!(gone.is_none() || gone == Some(Gone::Dropped));
        store.close().await.unwrap();
    });
}

#[test]
fn something_open_keeps_its_record_and_lets_it_go_when_it_ends() {
    run(async {
        let vfs = SimVfs::new();
        let (store, _) = open(&vfs, &MemKv::default(), &short());
        let waits = parked_event("evt_waits", "payment:/pi_9", &["customer:/cus_9"]);
        let seq = accept(store.as_ref(), waits).await;
        let mut from = 0;
        fill(store.as_ref(), &vfs, &mut from, 1).await;
        let beyond = store.chain_head().await.unwrap().0;
        // Both checkpoints cover all of the first segment: nothing else would keep it.
        while checkpoints(&vfs).len() < 2 || checkpoints(&vfs)[0] <= beyond {
            fill(store.as_ref(), &vfs, &mut from, 1).await;
            assert!(from < 3_000, "no two checkpoints cover it");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(names(&vfs, ".segment")[0], "0000000001.segment");
        assert!(store.input_body(seq).await.unwrap().is_some());
        // It is still there after a restart from a checkpoint that knows of it.
        store.close().await.unwrap();
        drop(store);
        let (store, made) = open(&vfs, &MemKv::default(), &short());
        assert!(made.restored.record.is_some());
        let page = store.inputs(InputQuery {
            status: Some(InputStatus::Parked),
            limit: 10,
            ..InputQuery::default()
        });
        assert_eq!(page.await.unwrap().items[0].seq, seq);
        assert!(store.input_body(seq).await.unwrap().is_some());
        assert!(store.dismiss(seq, "over".into(), NOW).await.unwrap());
        // Looked at again with the next checkpoint.
        while names(&vfs, "0000000001.segment").len() == 1 {
            fill(store.as_ref(), &vfs, &mut from, 1).await;
            assert!(from < 3_000, "it never went");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(store.input_by_seq(seq).await.unwrap().unwrap().body_dropped);
        store.close().await.unwrap();
    });
}

fn flipped(vfs: &SimVfs, name: &str, at: usize) -> SimVfs {
    let copy = vfs.copy();
    let path = journal_dir().join(name);
    let mut bytes = copy.bytes(&path).unwrap();
    bytes[at] ^= 1 << (at % 8);
    copy.plant(&path, &bytes);
    copy
}

#[test]
fn damage_to_checkpoints_is_told_and_the_one_before_or_the_whole_journal_is_used() {
    run(async {
        let (mut flips, mut silent, mut wrong) = (0, 0, 0);
        let vfs = SimVfs::new();
        let (digest, head, _) = shortened(&vfs).await;
        let files = names(&vfs, ".checkpoint");
        let lengths: Vec<usize> = files
            .iter()
            .map(|name| vfs.bytes(&journal_dir().join(name)).unwrap().len())
            .collect();
        let stride = lengths.iter().sum::<usize>() / cases(120).max(1) as usize + 1;
        for (name, length) in files.iter().zip(&lengths) {
            for at in (flips % stride..*length).step_by(stride) {
                let copy = flipped(&vfs, name, at);
                let (store, made) = open(&copy, &MemKv::default(), &long());
                let same = store.state_digest().await.unwrap() == digest
                    && store.chain_head().await.unwrap() == head;
                let told = made
                    .restored
                    .damaged
                    .iter()
                    .any(|text| text.contains(name.as_str()));
                let walked = store.audit_journal().await.unwrap();
                let told = told
                    || walked
                        .damage
                        .iter()
                        .any(|text| text.contains(name.as_str()));
                (flips, silent, wrong) = (
                    flips + 1,
                    silent + usize::from(!told),
                    wrong + usize::from(!same),
                );
                store.close().await.unwrap();
            }
        }
        println!("flips={flips} silent={silent} wrong={wrong}");
        assert!(flips > 50 && silent == 0 && wrong == 0);
        // Nothing suffices: it says which file and where, and serves nothing.
        let both = flipped(&flipped(&vfs, &files[0], 200), &files[1], 200);
        let refused = open_simulated_with(&both, MemKv::default(), &long());
        let Err(StoreError::Damaged { file, .. }) = refused else {
            panic!("it was opened")
        };
        assert!(file.ends_with(files[1].as_str()), "{file}");
        for name in &files {
            both.remove(&journal_dir().join(name)).unwrap();
        }
        let refused = open_simulated_with(&both, MemKv::default(), &long());
        let Err(StoreError::Damaged { kind, .. }) = refused else {
            panic!("it was opened")
        };
        assert!(kind.contains("no checkpoint"), "{kind}");
    });
}

#[test]
fn a_whole_journal_needs_no_checkpoint_and_one_of_another_layout_is_not_read() {
    run(async {
        let vfs = SimVfs::new();
        let (store, _) = open(&vfs, &MemKv::default(), &long());
        let mut from = 0;
        while checkpoints(&vfs).len() < 2 {
            fill(store.as_ref(), &vfs, &mut from, 1).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let digest = store.state_digest().await.unwrap();
        let head = store.chain_head().await.unwrap();
        store.close().await.unwrap();
        let files = names(&vfs, ".checkpoint");
        let both = flipped(&flipped(&vfs, &files[0], 200), &files[1], 200);
        let (store, made) = open(&both, &MemKv::default(), &long());
        assert_eq!((made.restored.record, made.folded), (None, head.0));
        assert_eq!(made.restored.damaged.len(), 2);
        assert_eq!(store.state_digest().await.unwrap(), digest);
        store.close().await.unwrap();
        drop(store);
        // Both are rewritten as another version's.
        let lock = crate::journal::DirLock::acquire(&vfs, Path::new("/data"), 1, Path::new("/s"));
        let arc: Arc<dyn Vfs> = Arc::new(vfs.clone());
        let (journal, _) =
            crate::journal::Journal::open(arc, &journal_dir(), &lock.unwrap(), long().journal)
                .unwrap();
        for record in checkpoints(&vfs) {
            let all = journal.checkpoints();
            let head = all.open(record).unwrap().unwrap().head();
            let mut writer = all.begin().unwrap();
            writer.piece(&[0, 99, 0, 0, 0]).unwrap();
            all.finish(writer, head).unwrap();
        }
        journal.close().unwrap();
        let (store, made) = open(&vfs, &MemKv::default(), &long());
        assert_eq!(made.restored.record, None);
        assert!(made.restored.damaged[0].contains("layout 99"), "{made:?}");
        assert_eq!(store.state_digest().await.unwrap(), digest);
        store.close().await.unwrap();
    });
}

/// Where retention dropped records, only a checkpoint can make the rows of another layout.
#[test]
fn a_checkpoint_of_an_earlier_layout_is_made_into_what_folding_makes() {
    for layout in [2, 3] {
        read_of_layout(layout);
    }
}

fn read_of_layout(layout: u8) {
    run(async {
        let vfs = SimVfs::new();
        let (store, _) = open(&vfs, &MemKv::default(), &short());
        let mut from = 0;
        while names(&vfs, "0000000001.segment").len() == 1 {
            fill(store.as_ref(), &vfs, &mut from, 1).await;
            assert!(from < 3_000, "it never went");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let digest = store.state_digest().await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let today = MemKv::default();
        let (store, made) = open(&vfs, &today, &short());
        assert!(made.restored.record.is_some(), "{made:?}");
        store.close().await.unwrap();
        drop(store);
        let lock = crate::journal::DirLock::acquire(&vfs, Path::new("/data"), 1, Path::new("/s"));
        let arc: Arc<dyn Vfs> = Arc::new(vfs.clone());
        let (journal, _) =
            crate::journal::Journal::open(arc, &journal_dir(), &lock.unwrap(), short().journal)
                .unwrap();
        let all = journal.checkpoints();
        for record in checkpoints(&vfs) {
            let checkpoint = all.open(record).unwrap().unwrap();
            let (head, pieces) = (checkpoint.head(), checkpoint.pieces());
            let pieces = pieces.collect::<Result<Vec<_>, _>>().unwrap();
            let mut writer = all.begin().unwrap();
            for piece in crate::engine::export::as_before(layout, &pieces) {
                writer.piece(&piece).unwrap();
            }
            all.finish(writer, head).unwrap();
        }
        journal.close().unwrap();
        let kv = MemKv::default();
        let (store, made) = open(&vfs, &kv, &short());
        assert!(made.restored.record.is_some(), "{made:?}");
        assert!(made.restored.damaged.is_empty(), "{made:?}");
        assert_eq!(store.state_digest().await.unwrap(), digest);
        store.close().await.unwrap();
        let rows = |kv| crate::kv::first(kv, &[2], &[0xff], usize::MAX).unwrap();
        assert!(rows(&today).len() > 200);
        assert_eq!(rows(&today), rows(&kv));
        let is_complete = crate::engine::replay::is_complete(&kv).unwrap();
        assert!(is_complete, "the rows are not what they say of themselves");
    });
}

#[test]
fn erasures_are_carried_out_again_even_if_their_records_were_dropped() {
    use bursar_domain::rows::Subject;
    run(async {
        let vfs = SimVfs::new();
        let (store, _) = open(&vfs, &MemKv::default(), &short());
        let mut item = event("evt_ann", "payment:/pi_8");
        item.subject = Subject("customer:/cus_ann".to_owned());
        let seq = accept(store.as_ref(), item).await;
        store.close().await.unwrap();
        drop(store);
        let backup: Vec<(PathBuf, Vec<u8>)> = vfs
            .list(Path::new("/data/keys"))
            .unwrap()
            .into_iter()
            .map(|name| Path::new("/data/keys").join(name))
            .map(|path| (path.clone(), vfs.bytes(&path).unwrap()))
            .collect();
        let (store, _) = open(&vfs, &MemKv::default(), &short());
        store.bury(seq, "over".into(), NOW).await.unwrap();
        store.dismiss(seq, "over".into(), NOW).await.unwrap();
        let subject = Subject("customer:/cus_ann".to_owned());
        assert_eq!(store.erase(vec![subject.clone()], NOW).await.unwrap(), 1);
        let mut from = 0;
        while names(&vfs, "0000000001.segment").len() == 1 {
            fill(store.as_ref(), &vfs, &mut from, 1).await;
            assert!(from < 3_000, "it never went");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        store.close().await.unwrap();
        drop(store);
        // Keys come back from a backup that is older than the erasure.
        for (path, bytes) in backup {
            vfs.plant(&path, &bytes);
        }
        let options = OpenOptions {
            erase_again: true,
            ..short()
        };
        let (store, _) = open(&vfs, &MemKv::default(), &options);
        assert_eq!(
            store.erase(vec![subject], NOW).await.unwrap(),
            0,
            "it was erased again"
        );
        store.close().await.unwrap();
    });
}
