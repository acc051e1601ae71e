//! Counts every row in the background, while commits go on.
//!
//! sled may lose rows in silence. What should be there is known (`Tally`); whether it is there is
//! found by walking all rows once after each start, a slice at a time between groups. Writes to the
//! part already walked are counted as they happen (`Overlay`), so the two sums must be equal at the
//! end, whatever was committed meanwhile. A checkpoint is such a walk that writes down what it sees
//! (`keeper`).
//!
//! Failure: a difference means that rows are gone or changed. The store is poisoned, and the next
//! opening folds the rows again (`open`).

use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::kv::{Kv, Tally, after, end_of};
use std::ops::ControlFlow;

/// Rows looked at in one slice: well under a millisecond. Few in tests, so that walks overlap with
/// writes.
const SLICE_ROWS: usize = if cfg!(test) { 7 } else { 64 };

/// A walk under way.
pub(crate) struct Recount {
    /// Rows before this key were seen.
    pub(crate) walked_to: Key,
    /// What was seen, with all later writes to it.
    pub(crate) seen: Tally,
}

impl Recount {
    pub(crate) fn start() -> Self {
        Self {
            walked_to: Key::new(keys::META + 1),
            seen: Tally::default(),
        }
    }

    /// Looks at the next rows and shows them; says whether there were none left.
    pub(crate) fn slice(
        &mut self,
        kv: &dyn Kv,
        show: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<bool, StoreError> {
        let mut looked = 0;
        let mut last = None;
        let (seen, low) = (&mut self.seen, &*self.walked_to);
        kv.range(low, &end_of(&[0xfe]), false, &mut |key, value| {
            seen.add(key, value);
            show(key, value);
            looked += 1;
            if looked < SLICE_ROWS {
                return ControlFlow::Continue(());
            }
            last = Some(after(key));
            ControlFlow::Break(())
        })?;
        match last {
            Some(key) => {
                self.walked_to = key;
                Ok(false)
            }
            None => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Store;
    use crate::conformance::world::*;
    use crate::engine::port::{Log, MemKeys, MemLog, Place};
    use crate::engine::{Engine, Parts, replay};
    use crate::kv::{Batch, MemKv, Overlay};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_count_beside_writes_comes_to_the_same_sums() {
        let kv = MemKv::default();
        let mut tally = Tally::default();
        let mut recount = None;
        let mut random = 1_u64;
        let mut through = 0;
        for round in 0..400_u64 {
            let mut group = Overlay::new(&kv, tally).with_recount(recount.take());
            for _ in 0..3 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(round);
                let key = Key::from([2 + (random >> 60) as u8, (random >> 50) as u8 % 16]);
                if random >> 63 == 0 {
                    group.put(key, vec![random as u8]).unwrap();
                } else {
                    group.delete(key).unwrap();
                }
            }
            let (batch, after, walk) = group.finish_with_recount();
            kv.apply_batch(&batch).unwrap();
            tally = after;
            let mut walk = walk.unwrap_or_else(Recount::start);
            if walk.slice(&kv, &mut |_, _| {}).unwrap() {
                assert_eq!(walk.seen, tally, "round {round}");
                through += 1;
            } else {
                recount = Some(walk);
            }
        }
        assert!(through > 3);
    }

    fn start(kv: &MemKv, log: &MemLog, doubted: &Arc<AtomicBool>) -> Engine {
        let doubted = Arc::clone(doubted);
        start_doubting(kv, log, move || doubted.store(true, Ordering::Release))
    }

    fn start_doubting(kv: &MemKv, log: &MemLog, doubt: impl FnOnce() + Send + 'static) -> Engine {
        Engine::start(parts(kv, log, doubt)).unwrap()
    }

    fn parts(kv: &MemKv, log: &MemLog, doubt: impl FnOnce() + Send + 'static) -> Parts {
        let keys = Arc::new(MemKeys::default());
        Parts {
            count_rows: true,
            doubt: Some(Box::new(doubt)),
            ..Parts::of(kv.clone(), log.clone(), log.clone(), keys)
        }
    }

    /// Rows and journal of a store that took this many events and was closed.
    async fn closed_after(events: u32) -> (KvAndLog, Arc<AtomicBool>) {
        let (kv, log) = (MemKv::default(), MemLog::default());
        let doubted = Arc::new(AtomicBool::new(false));
        let store = start(&kv, &log, &doubted);
        for n in 0..events {
            accept(&store, event(&format!("evt_{n}"), "payment:/pi_1")).await;
        }
        store.close().await.unwrap();
        drop(store);
        assert!(!doubted.load(Ordering::Acquire));
        assert!(replay::is_complete(&kv).unwrap());
        ((kv, log), doubted)
    }

    type KvAndLog = (MemKv, MemLog);

    /// Runs a test; one that hangs fails.
    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let patience = std::time::Duration::from_secs(60);
        let ended = runtime.block_on(async { tokio::time::timeout(patience, test).await });
        ended.expect("nobody waits for ever");
    }

    fn lose(kv: &MemKv, key: Key) {
        kv.apply_batch(&Batch::from([(key, None)])).unwrap();
    }

    #[test]
    fn a_row_lost_in_silence_stops_the_store_and_is_remembered() {
        run(async {
            let ((kv, log), doubted) = closed_after(20).await;
            lose(&kv, keys::input(7));
            let store = start(&kv, &log, &doubted);
            while store.probe().await.is_ok() {}
            assert!(doubted.load(Ordering::Acquire));
            assert!(store.load(key("payment:/pi_1")).await.is_err());
        });
    }

    #[test]
    fn a_committer_that_panics_lets_nobody_wait() {
        run(async {
            let ((kv, log), _) = closed_after(1).await;
            lose(&kv, keys::input(1));
            let store = start_doubting(&kv, &log, || panic!("the doubt cannot be written down"));
            while store.probe().await.is_ok() {}
            assert!(store.load(key("payment:/pi_1")).await.is_err());
        });
    }

    /// A journal without room for the first groups.
    struct Full(MemLog, u32);
    impl Log for Full {
        fn append(&mut self, records: &[Vec<u8>]) -> Result<Vec<Place>, StoreError> {
            match self.1.checked_sub(1) {
                Some(left) => self.1 = left,
                None => return self.0.append(records),
            }
            Err(StoreError::Full { free_bytes: 0 })
        }
    }

    #[test]
    fn a_refused_group_does_not_end_the_count() {
        run(async {
            let ((kv, log), doubted) = closed_after(300).await;
            // Far behind in the walk.
            let rows = crate::kv::first(&kv, &[0], &[0xfe], usize::MAX).unwrap();
            lose(&kv, rows.last().unwrap().0.clone());
            let doubting = Arc::clone(&doubted);
            let store = Engine::start(Parts {
                log: Box::new(Full(log.clone(), 3)),
                ..parts(&kv, &log, move || {
                    doubting.store(true, Ordering::Release);
                })
            })
            .unwrap();
            while !doubted.load(Ordering::Acquire) {
                let _ = store.probe().await;
            }
        });
    }
}
