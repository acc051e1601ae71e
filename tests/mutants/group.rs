//! Several who come to the store at one moment: who wakes the committer, and what their common group knows.
//!
//! Time stands still here unless somebody waits, so waiting for what should have been there at once is seen.
//! Not here: the same under drawn orders of threads (`store`, `engine::schedules_tests`).

use crate::Dice;
use crate::power::{delivery, words};
use bursar_store::api::Accepted;
use bursar_store::testing::open_in_runtime;
use bursar_store::vfs::SimVfs;
use tokio::time::Instant;

/// P2, P9: of deliveries of one event at one moment one is stored, and all are answered without a wait.
pub(crate) fn one_of_many_is_new_at_once(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (disk, mut dice) = (SimVfs::new(), Dice(seed));
        let (store, _) = open_in_runtime(&disk, 1 << 20).map_err(words)?;
        for n in 0..4 {
            // Whoever has nothing to do waits; what comes now must wake it.
            tokio::time::sleep(std::time::Duration::from_millis(dice.below(3_000))).await;
            let began = Instant::now();
            let deliveries = (0..2 + dice.below(4)).map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.accept(vec![delivery(n)]).await })
            });
            let deliveries: Vec<_> = deliveries.collect();
            let (mut new, many) = (0, deliveries.len());
            for one in deliveries {
                let accepted = one.await.expect("no delivery panics").map_err(words)?;
                new += accepted
                    .iter()
                    .filter(|one| matches!(one, Accepted::New { .. }))
                    .count();
            }
            if new != 1 {
                return Err(format!(
                    "evt_{n} came {many} times at once and was new {new} times"
                ));
            }
            if began.elapsed().as_millis() > 0 {
                return Err(format!("evt_{n} waited {} ms", began.elapsed().as_millis()));
            }
        }
        store.close().await.map_err(words)
    })
}
