//! ENOSPC, EROFS, EIO and EMFILE at numbered operations of the disk.

use crate::load::{Load, Running};
use crate::server::{Refused, Server};
use crate::{Random, mounted, number};
use bursar_disk::{Errno, Plan, PowerDisk};
use std::path::Path;
use std::time::{Duration, Instant};

const ERRNOS: [Errno; 4] = [Errno::Enospc, Errno::Erofs, Errno::Eio, Errno::Emfile];
const OPERATIONS: u64 = 200;
const OPENING: u64 = 25;
/// How long the load goes on when nothing on the disk wants to fail.
const WAITED_MAX: Duration = Duration::from_secs(3);
/// Patience with a process that was given 25 seconds to end.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What became of faults.
#[derive(Debug, Default)]
struct Seen {
    fired: u64,
    refused_to_start: u64,
    ended: u64,
    loud: u64,
    healed: u64,
    restarted: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_loses_nothing_acknowledged_and_is_told() {
    let faults = number("BURSAR_IO_FAULTS", 24);
    let mut random = Random::from_env();
    let (folder, disk) = mounted();
    let load = Load::default();
    let mut seen = Seen::default();
    for fault in 0..faults {
        let while_opening = fault % 3 == 2;
        let within = if while_opening { OPENING } else { OPERATIONS };
        let plan = Plan::Fail {
            at: 1 + random.below(within),
            errno: ERRNOS[(fault % 4) as usize],
            lasting: fault / 4 % 2 == 0,
        };
        let before = load.refused();
        one(folder.path(), &disk, &load, plan, while_opening, &mut seen).await;
        println!(
            "{fault}: {plan:?} opening={while_opening} refused={}",
            load.refused() - before
        );
    }
    let mut server = Server::start(folder.path()).await.expect("it opens");
    let counted = load.count(&server).await;
    println!(
        "io_faults={faults} fired={} refused_to_start={} ended={} loud={} healed={} restarted={} acked={} lost={} double={}",
        seen.fired,
        seen.refused_to_start,
        seen.ended,
        seen.loud,
        seen.healed,
        seen.restarted,
        load.acked(),
        counted.lost,
        counted.double
    );
    assert_eq!((counted.lost, counted.double), (0, 0));
    assert_eq!(load.odd(), Vec::<u16>::new(), "2xx or 503, nothing else");
    assert!(seen.fired * 2 > faults, "faults happened: {seen:?}");
    assert_eq!(server.terminate(), Some(0), "a clean stop after it all");
}

async fn one(
    folder: &Path,
    disk: &PowerDisk,
    load: &Load,
    plan: Plan,
    while_opening: bool,
    seen: &mut Seen,
) {
    if while_opening {
        disk.plan(Some(plan));
    }
    let mut server = match Server::start(folder).await {
        Ok(server) => server,
        Err(refused) => {
            assert_eq!(wrong(disk, &refused), None, "{plan:?}: {refused:?}");
            (seen.fired, seen.refused_to_start) = (seen.fired + 1, seen.refused_to_start + 1);
            disk.plan(None);
            return;
        }
    };
    if !while_opening {
        disk.plan(Some(plan));
    }
    let running = load.run(&server);
    let fired = until_failed(disk).await;
    seen.fired += u64::from(fired);
    if fired {
        tell(&mut server, plan, load, seen).await;
    }
    disk.plan(None);
    back_to_work(&mut server, running, load, seen).await;
    server.kill();
}

/// What is wrong about a refused start: one that failed for the disk ends with a code of its own and a sentence, and
/// not with a panic.
pub(crate) fn wrong(disk: &PowerDisk, refused: &Refused) -> Option<&'static str> {
    if disk.failed() == 0 {
        return Some("refused for nothing");
    }
    if !matches!(refused.code, Some(65 | 70 | 73 | 74)) {
        return Some("no code of its own");
    }
    if refused.told.contains("panicked") {
        return Some("a panic");
    }
    (!refused.told.contains("bursar: ")).then_some("it does not say why")
}

async fn until_failed(disk: &PowerDisk) -> bool {
    let started = Instant::now();
    while disk.failed() == 0 {
        if started.elapsed() > WAITED_MAX {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    true
}

/// A process that refuses deliveries says so everywhere, or ends with a word; one that refuses none has nothing to say.
async fn tell(server: &mut Server, plan: Plan, load: &Load, seen: &mut Seen) {
    let before = load.refused();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let ready = server.status("/readyz").await;
    let live = server.status("/livez").await;
    let metrics = server.metrics().await;
    if live.is_none() {
        ends(server, plan).await;
        seen.ended += 1;
        return;
    }
    if load.refused() == before || ready == Some(200) {
        // It refused nothing, or it was over before it could be asked.
        return;
    }
    assert_eq!((ready, live), (Some(503), Some(200)), "{plan:?}");
    assert!(!metrics.contains("bursar_ready 1"), "{plan:?}: {metrics}");
    assert!(says_why(server), "{plan:?}: {}", server.told());
    seen.loud += 1;
}

/// It gave up its store: it ends by itself, and says why.
async fn ends(server: &mut Server, plan: Plan) {
    let started = Instant::now();
    while server.ended().is_none() {
        assert!(
            started.elapsed() < ENDS_WITHIN,
            "{plan:?}: neither serves nor ends"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(says_why(server), "{plan:?}: {}", server.told());
}

fn says_why(server: &Server) -> bool {
    let told = server.told();
    told.contains("ERROR") || told.contains("bursar: ")
}

/// The cause is gone: it takes deliveries again by itself, or ended so that it is started again.
async fn back_to_work(server: &mut Server, running: Running, load: &Load, seen: &mut Seen) {
    let before = load.acked();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        if load.acked() > before + 3 {
            seen.healed += 1;
            running.stop().await;
            return;
        }
        if let Some(code) = server.ended() {
            assert!(
                matches!(code, Some(1..)),
                "ended as if all were well: {code:?}"
            );
            seen.restarted += 1;
            running.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
    panic!(
        "it neither takes deliveries again nor ends: {}",
        server.told()
    );
}
