//! Whatever happens to the machine: what was answered is there, and the rows are the records' fold.

use super::auditor::{audit, dump};
use super::random::{Answered, Dice, act, cases};
use super::world::*;
use crate::api::{InputStatus, Store};
use crate::kv::MemKv;
use crate::open::{OpenOptions, open_simulated, open_simulated_with};
use crate::vfs::SimVfs;
use bursar_domain::ids::{AccountId, Scope};

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

/// What was answered is there.
pub(super) async fn check(store: &dyn Store, known: &Answered) {
    for (name, body) in &known.events {
        let (scope, id) = name.split_once('/').unwrap();
        let scope = Scope(AccountId::parse(scope).ok());
        let found = store
            .input(id.to_owned(), Some(scope.clone()))
            .await
            .unwrap();
        assert_eq!(found.len(), 1, "{name} was answered");
        match store.input_body(found[0].seq).await.unwrap() {
            Some(stored) => assert!(stored == *body, "{name} has another body"),
            None if known.erased => (),
            // Retention works beside this check, and its step may have come after the look above.
            None => {
                let look = store.input(id.to_owned(), Some(scope)).await.unwrap();
                let (status, dropped) = (look[0].status, look[0].body_dropped);
                let may_go = matches!(status, InputStatus::Applied | InputStatus::Ignored);
                assert!(may_go && dropped, "{name} lost its body: {status:?}");
            }
        }
    }
    for (aggregate, version) in &known.versions {
        if let Ok(loaded) = store.load(key(aggregate)).await {
            assert!(loaded.unwrap().version >= *version, "{aggregate} went back");
        }
    }
    for (name, value) in &known.keeps {
        let kept = store.kept("things", name.clone()).await.unwrap();
        assert!(kept.is_some(), "{name} was answered");
        assert!(kept.unwrap() == *value, "{name} has an older value");
    }
    for id in &known.settled {
        let due = store.due_effects(bursar_domain::decision::Lane::Mail, at(999), 1_000);
        let due = due.await.unwrap();
        assert!(
            due.iter().all(|effect| effect.id.0 != *id),
            "{id} acts again"
        );
    }
}

#[test]
fn rows_folded_again_are_the_rows_folded_live_byte_for_byte() {
    for seed in 0..cases(12) {
        println!("seed {seed}");
        let (vfs, live) = (SimVfs::new(), MemKv::default());
        let known = run(async {
            let store = open_simulated(&vfs, live.clone()).unwrap();
            let (mut dice, mut known) = (Dice(seed), Answered::default());
            for _ in 0..150 {
                act(store.as_ref(), &mut dice, &mut known).await.unwrap();
            }
            store.close().await.unwrap();
            known
        });
        audit(&live);
        let again = MemKv::default();
        run(async {
            let store = open_simulated(&vfs, again.clone()).unwrap();
            let (live, again) = (dump(&live), dump(&again));
            for (old, new) in live.iter().zip(&again) {
                assert_eq!(old, new, "seed {seed}");
            }
            assert_eq!(live.len(), again.len());
            check(store.as_ref(), &known).await;
            store.close().await.unwrap();
        });
    }
}

#[test]
fn commits_of_many_at_once_are_folded_like_any_others() {
    for seed in 0..cases(4) {
        println!("seed {seed}");
        let (vfs, live) = (SimVfs::new(), MemKv::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let known = runtime.block_on(async {
            let store = open_simulated(&vfs, live.clone()).unwrap();
            let tasks = (0..24).map(|n| {
                let store = std::sync::Arc::clone(&store);
                tokio::spawn(async move {
                    let mut dice = Dice(seed * 1_000 + n);
                    let mut known = Answered::default();
                    for _ in 0..40 {
                        act(store.as_ref(), &mut dice, &mut known).await.unwrap();
                    }
                    known
                })
            });
            let mut all = Vec::new();
            for task in tasks.collect::<Vec<_>>() {
                all.push(task.await.unwrap());
            }
            let (records, _) = store.chain_head().await.unwrap();
            let groups = store.commits().look();
            println!("records={records} groups={groups}");
            assert!(groups < records, "nobody shared a sync with anybody");
            store.close().await.unwrap();
            all
        });
        audit(&live);
        let again = MemKv::default();
        run(async {
            let store = open_simulated(&vfs, again.clone()).unwrap();
            assert!(dump(&live) == dump(&again), "seed {seed}");
            let erased = known.iter().any(|one| one.erased);
            for mut one in known {
                one.erased = erased;
                // Others wrote these later.
                one.keeps.clear();
                check(store.as_ref(), &one).await;
            }
            store.close().await.unwrap();
        });
    }
}

#[test]
fn nothing_answered_is_lost_when_the_power_goes() {
    let mut answered = 0;
    for seed in 0..cases(40) {
        println!("seed {seed}");
        let vfs = SimVfs::new();
        let mut dice = Dice(seed);
        let mut known = Answered::default();
        for life in 0..3 {
            let kv = MemKv::default();
            let steps = dice.below(60);
            run(async {
                let store = open_simulated(&vfs, kv.clone()).unwrap();
                check(store.as_ref(), &known).await;
                audit(&kv);
                for _ in 0..steps {
                    act(store.as_ref(), &mut dice, &mut known).await.unwrap();
                }
                // Some commits are under way when it happens; nobody heard of them.
                let late = (0..4).map(|n| event(&format!("evt_late_{life}_{n}"), "payment:/pi_1"));
                let mut late: Vec<_> = late.map(|item| store.accept(vec![item])).collect();
                let poke = std::future::poll_fn(|context| {
                    for one in &mut late {
                        let _ = one.as_mut().poll(context);
                    }
                    std::task::Poll::Ready(())
                });
                poke.await;
                vfs.power_cut(seed * 10 + life);
            });
        }
        answered += known.events.len();
        let kv = MemKv::default();
        run(async {
            let store = open_simulated(&vfs, kv.clone()).unwrap();
            check(store.as_ref(), &known).await;
            store.close().await.unwrap();
        });
        audit(&kv);
    }
    assert!(answered > 0);
    println!("answered={answered} lost=0");
}

#[test]
fn a_failed_sync_poisons_the_store_and_answers_nobody_with_success() {
    use crate::error::ErrorClass;
    use crate::vfs::{Errno, Fault};
    // Room that is made ahead in quiet moments could take the fault, and a write of it that fails is no failure.
    let mut options = OpenOptions::small();
    options.journal.room_ahead_bytes = 0;
    for after in 0..6 {
        let vfs = SimVfs::new();
        let kv = MemKv::default();
        run(async {
            let (store, _) = open_simulated_with(&vfs, kv.clone(), &options).unwrap();
            accept(store.as_ref(), event("evt_1", "payment:/pi_1")).await;
            vfs.fail(Fault {
                at: vfs.operations() + after,
                errno: Errno::Eio,
                lasting: after % 2 == 0,
            });
            let mut failed = None;
            let mut known = Vec::new();
            for n in 0..10 {
                let id = format!("evt_f{n}");
                match store.accept(vec![event(&id, "payment:/pi_1")]).await {
                    Ok(_) if failed.is_none() => known.push(id),
                    Ok(_) => panic!("a success after a failure"),
                    Err(error) => failed = Some(error),
                }
            }
            let error = failed.expect("the disk failed");
            assert_eq!(error.class(), ErrorClass::Fatal, "{error}");
            assert!(store.load(key("payment:/pi_1")).await.is_err());
            drop(store);
            vfs.heal();
            vfs.power_cut(after);
            let kv = MemKv::default();
            let store = open_simulated(&vfs, kv.clone()).unwrap();
            for id in known {
                assert_eq!(store.input(id, None).await.unwrap().len(), 1);
            }
            store.close().await.unwrap();
            audit(&kv);
        });
    }
}
