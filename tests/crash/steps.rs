//! Ends at numbered steps in the real binary on a real disk: the same names as in the simulation.
//!
//! Method: this build's binary is started with `BURSAR_CRASH_AT=POINT:PASS` and aborts itself there while signed
//! charges arrive; it is started again on the same folder for the next point. At the end everything acknowledged is
//! looked up and the ledger is held against what is stored. `BURSAR_STEP_PASSES` ends per point (1).

use super::child::{Server, Settings};
use super::{
    CHARGED_MINOR, Rng, SENDERS, TENANTS, env_number, sender, settle_and_count, stripe_balance,
};
use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Points that deliveries pass; one of the start, once there is something to start from; and three of what somebody asks
/// for in the middle of deliveries.
const POINTS: [&str; 14] = [
    "KW0", "KW1", "KW2", "KW3", "KW4", "KW5", "KW6", "KW7", "KW8", "KW9", "KS1", "KS3", "KS5",
    "KS6",
];
/// How long a point may take to be reached.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_acknowledged_is_lost_at_any_numbered_step() {
    let seed = env_number("BURSAR_SEED", 1);
    println!("numbered steps: seed={seed}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(walk(Rng(seed | 1)));
}

async fn walk(mut rng: Rng) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::in_folder(folder.path()).own_binary();
    let next = Arc::new(AtomicU64::new(0));
    let acked = Arc::new(Mutex::new(BTreeSet::new()));
    let mut server = Server::start(&settings);
    server.wait_ready().await;
    for n in 0..TENANTS {
        server.create_tenant(&format!("tenant-{n}")).await;
    }
    assert_eq!(server.terminate(), Some(0));
    let rounds = env_number("BURSAR_STEP_PASSES", 1);
    let mut ends = 0;
    for _ in 0..rounds {
        for point in POINTS {
            // Senders keep their connections; a start has little to fold.
            let most = match point {
                "KW0" | "KS1" => 3,
                "KS3" | "KS5" | "KS6" => 1,
                _ => 60,
            };
            let pass = 1 + rng.below(most);
            let settings = settings.clone().crash_at(point, pass);
            let has_ended = match point {
                "KS1" => ends_at_the_start(&settings),
                _ => load_until_it_ends(&settings, point, &next, &acked, &mut rng).await,
            };
            if has_ended {
                ends += 1;
            } else {
                println!("{point}:{pass} was not reached");
            }
        }
    }
    let mut server = Server::start(&settings);
    server.wait_ready().await;
    let acked = acked.lock().unwrap().clone();
    let (lost, stored) = settle_and_count(&server, &acked, next.load(Ordering::Relaxed)).await;
    let charged = stripe_balance(&server).await;
    let double = charged - i64::try_from(stored).unwrap() * CHARGED_MINOR;
    println!(
        "steps points={} ends={ends} acked={} stored={stored} lost={lost} double={double}",
        POINTS.len(),
        acked.len()
    );
    assert!(!acked.is_empty(), "the load did not run");
    assert_eq!(
        ends,
        rounds * POINTS.len() as u64,
        "a point was not reached"
    );
    assert_eq!((lost, double), (0, 0), "every acknowledged event once");
    assert_eq!(server.terminate(), Some(0), "a clean stop after it all");
}

/// Starts a process that must end before it serves; says whether it did.
fn ends_at_the_start(settings: &Settings) -> bool {
    let mut command = settings.command();
    command
        .arg("serve")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if child.try_wait().expect("it can be asked").is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("the child runs");
    child.wait().expect("the child ends");
    false
}

/// Asks for what passes the points that no delivery does.
fn ask_for(point: &str, server: &Server, settings: &Settings) {
    match point {
        "KS3" => server.send_terminate(),
        "KS6" => server.signal("-HUP"),
        "KS5" => {
            let mut backup = settings.command();
            backup.env_remove("BURSAR_CRASH_AT").arg("backup");
            let to = settings.folder().join(format!("{}.backup", server.pid()));
            backup.arg(to).stdout(Stdio::null()).stderr(Stdio::null());
            // What becomes of it is the server's end.
            let _ = backup.status();
        }
        _ => {}
    }
}

/// Sends events until the process has ended itself; says whether it did.
async fn load_until_it_ends(
    settings: &Settings,
    point: &str,
    next: &Arc<AtomicU64>,
    acked: &Arc<Mutex<BTreeSet<u64>>>,
    rng: &mut Rng,
) -> bool {
    let mut server = Server::start(settings);
    let stop = Arc::new(AtomicBool::new(false));
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let url = format!("{}/webhook", server.url());
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let one = sender(
                client.clone(),
                url.clone(),
                Arc::clone(next),
                Arc::clone(acked),
                Arc::clone(&stop),
                Rng(rng.next() | 1),
            );
            tokio::spawn(one)
        })
        .collect();
    let began = Instant::now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    if server.runs() {
        ask_for(point, &server, settings);
    }
    while server.runs() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // An abort has no exit code; a stop that was asked for and came to its end has.
    let has_ended = !server.runs() && server.exit_code().is_none();
    if server.runs() {
        server.kill();
    }
    stop.store(true, Ordering::Relaxed);
    for task in senders {
        task.await.unwrap();
    }
    has_ended
}
