//! Power cuts at numbered operations of the disk.

use crate::load::Load;
use crate::server::Server;
use crate::{Random, mounted, number};
use bursar_disk::Plan;
use std::time::Duration;

/// Cuts lie within so many operations of the start of load.
const OPERATIONS: u64 = 400;
/// A store that is there already is opened in about so many.
const OPENING: u64 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_power_cuts() {
    let cuts = number("BURSAR_CUTS", 12);
    let mut random = Random::from_env();
    let (folder, mut disk) = mounted();
    let load = Load::default();
    let (mut torn, mut opening) = (0, 0);
    for cut in 0..cuts {
        // Every fourth cut comes while the store is being opened.
        let while_opening = cut % 4 == 3;
        let within = if while_opening { OPENING } else { OPERATIONS };
        let plan = Plan::Cut {
            at: 1 + random.below(within),
            tear: cut % 4 != 0,
            seed: random.next(),
        };
        if while_opening {
            disk.plan(Some(plan));
        }
        match Server::start(folder.path()).await {
            Ok(mut server) => {
                if !while_opening {
                    disk.plan(Some(plan));
                }
                let running = load.run(&server);
                while !disk.is_cut() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // A moment for answers that rest on nothing any more.
                tokio::time::sleep(Duration::from_millis(20)).await;
                server.kill();
                running.stop().await;
            }
            Err(refused) => {
                assert!(disk.is_cut(), "cut {cut}: it does not open: {refused:?}");
                opening += 1;
            }
        }
        disk.cut(true, cut);
        torn += u64::from(disk.power_on().unwrap() > 0);
    }
    let mut server = Server::start(folder.path()).await.expect("it opens");
    let counted = load.count(&server).await;
    println!(
        "power_cuts={cuts} while_opening={opening} acked={} stored={} lost={} double={} torn={torn}",
        load.acked(),
        counted.stored,
        counted.lost,
        counted.double
    );
    assert!(load.acked() as u64 >= cuts, "the load ran");
    assert_eq!((counted.lost, counted.double), (0, 0));
    assert_eq!(server.terminate(), Some(0), "a clean stop after it all");
}
