//! Ends at the numbered steps of an order, in the real binary with real sockets to a sandbox.
//!
//! Goal: at each of them the order has one effect at Stripe under one key, and ends for its client. Method: this build's
//! binary with nothing in hand is started with `BURSAR_CRASH_AT=POINT:PASS` and given one order again and again under its
//! `Idempotency-Key` until it has aborted itself; it is started without, and the client repeats until its answer is final.
//! `BURSAR_STEP_PASSES` ends per point (1); each time it is another kind of order.

use super::Rng;
use super::child::Server;
use super::env_number;
use super::orders::{Case, Figures, KINDS, Lane};
use std::time::{Duration, Instant};

/// Points of an order's way: the caller's, and those of its effect.
const POINTS: [&str; 10] = [
    "KC0", "KC1", "KC2", "KC3", "KC4", "KC5", "KW10", "KW12", "KW13", "KW14",
];
/// Starts until one has nothing left in hand that passes the point.
const STARTS_MAX: usize = 10;
/// How long a point may take to be reached.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_order_has_one_effect_whatever_numbered_step_of_it_we_end_at() {
    let seed = env_number("BURSAR_SEED", 1);
    println!("numbered steps of orders: seed={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(walk(Rng(seed | 1)));
}

async fn walk(mut rng: Rng) {
    let mut lane = Lane::start().await;
    lane.settings = lane.settings.own_binary();
    let rounds = env_number("BURSAR_STEP_PASSES", 1);
    let (mut ends, mut total) = (0, Figures::default());
    for round in 0..rounds {
        for (n, point) in (0..).zip(POINTS) {
            let kind = KINDS[((round + n) % KINDS.len() as u64) as usize];
            let name = format!("s{round}-{n}");
            let case = lane.prepare(kind, &name).await;
            // Every answer passes KC5, those to questions about readiness too: that many come before the order's own.
            let pass = match point {
                "KC5" => 200 + rng.below(20),
                _ => 1,
            };
            if end_at(&mut lane, &case, &name, (point, pass)).await {
                ends += 1;
            } else {
                println!("{point}:{pass} was not reached by {kind:?}");
            }
            lane.begin().await;
            let mut figures = Figures {
                cases: 1,
                ..Figures::default()
            };
            let began = Instant::now();
            let is_over = lane
                .ask_until_final(kind, &case, &name, began, &mut figures)
                .await;
            figures.unresolved = u64::from(!is_over);
            figures.side_effects_max = lane.side_effects(kind, &case);
            let command = lane.last_command(&name).await;
            figures.keys_max = lane.keys(command["id"].as_str().unwrap_or("no command"));
            if (figures.side_effects_max, figures.keys_max, is_over) != (1, 1, true) {
                println!("{point}:{pass} {kind:?}: {figures:?} {command}");
            }
            figures.none = u64::from(figures.side_effects_max == 0);
            total.add(&figures);
        }
    }
    println!(
        "order_ends points={} ends={ends} side_effects_max={} none={} keys_max={} false_failures={} unresolved={}",
        POINTS.len(),
        total.side_effects_max,
        total.none,
        total.keys_max,
        total.false_failures,
        total.unresolved
    );
    assert_eq!(
        ends,
        rounds * POINTS.len() as u64,
        "a point was not reached"
    );
    let found = (total.side_effects_max, total.none, total.keys_max);
    assert_eq!(found, (1, 0, 1), "one effect under one key");
    assert_eq!((total.false_failures, total.unresolved), (0, 0));
}

/// Gives the order to a process that ends itself at this pass of a point; says whether it did.
async fn end_at(lane: &mut Lane, case: &Case, key: &str, (point, pass): (&str, u64)) -> bool {
    let stopped = lane.server.take().expect("it runs").terminate();
    assert_eq!(stopped, Some(0), "a clean stop");
    let settings = lane.settings.clone().crash_at(point, pass);
    for _ in 0..STARTS_MAX {
        let mut server = Server::start(&settings);
        if !is_quiet(&mut server).await {
            // The end was one of what had been left in hand, and is not the order's.
            continue;
        }
        lane.server = Some(server);
        break;
    }
    let began = Instant::now();
    while runs(lane) && began.elapsed() < PATIENCE {
        let answer = lane.place(case, key);
        let _ = tokio::time::timeout(Duration::from_secs(5), answer).await;
    }
    let has_ended = lane.server.is_some() && !runs(lane);
    if let Some(mut server) = lane.server.take().filter(|_| !has_ended) {
        server.kill();
    }
    has_ended
}

/// Waits until the process is ready and has had a moment for what was left; says whether it still runs.
async fn is_quiet(server: &mut Server) -> bool {
    let url = format!("{}/readyz", server.url());
    let client = reqwest::Client::new();
    while server.runs() {
        let asked = client.get(&url).send().await;
        if asked.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.runs()
}

fn runs(lane: &mut Lane) -> bool {
    lane.server.as_mut().is_some_and(Server::runs)
}
