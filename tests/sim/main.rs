//! The whole product in one thread, by a clock that stands still between events, ended at numbered steps.
//!
//! `BURSAR_SIM_SEEDS` sets how many seeds (24), `BURSAR_SIM_SEED` the first one (0). A failure prints the one command
//! that repeats its day, to the last line of what crossed a border: `the_same_seed_is_the_same_day`, which says what is not
//! the seed's. `BURSAR_SIM_REPEATS` sets how many seeds are run twice for that (10).

#![allow(clippy::unwrap_used, reason = "a failed call is a failed test")]

mod model;
mod run;

use run::{Counts, Outcome, plan, points, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a point must be passed at least.
const HITS_MIN: u64 = 50;
/// From how many seeds on that is asked for.
const SEEDS_THAT_REACH_ALL: u64 = 100;

fn env_number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// The command that repeats a seed.
fn command(seed: u64) -> String {
    format!(
        "BURSAR_SIM_SEED={seed} BURSAR_SIM_SEEDS=1 cargo test --features mutants --test sim simulated -- --nocapture"
    )
}

#[derive(Default)]
struct Sums {
    virtual_ms: u64,
    ends: u64,
    events: u64,
    answered: u64,
    counts: Counts,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome) {
        self.virtual_ms += outcome.virtual_ms;
        self.ends += outcome.ends;
        self.events += outcome.events;
        self.answered += outcome.answered;
        for (point, (passes, ends)) in &outcome.counts {
            let sum = self.counts.entry(point).or_default();
            sum.0 += passes;
            sum.1 += ends;
        }
    }
}

#[test]
fn a_simulated_day_ends_well_wherever_processes_end() {
    let (first, seeds) = (
        env_number("BURSAR_SIM_SEED", 0),
        env_number("BURSAR_SIM_SEEDS", 24),
    );
    let (sums, next, failed) = (
        Mutex::new(Sums::default()),
        AtomicU64::new(first),
        Mutex::new(Vec::new()),
    );
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(seeds as usize);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let outcome = run(seed);
                    sums.lock().unwrap().add(&outcome);
                    if !outcome.wrongs.is_empty() {
                        failed.lock().unwrap().push(seed);
                        println!("seed={seed} {}", outcome.wrongs.join("\n    "));
                        println!("    again: {}", command(seed));
                    }
                    if seeds == 1 {
                        println!(
                            "seed={seed} ends={} virtual_s={} events={} answered={} trace={}",
                            outcome.ends,
                            outcome.virtual_ms / 1_000,
                            outcome.events,
                            outcome.answered,
                            outcome.trace
                        );
                    }
                }
            });
        }
    });
    let sums = sums.into_inner().unwrap();
    let (mut hit, mut min_hits, mut min_ends) = (0, u64::MAX, u64::MAX);
    for point in points() {
        let (hits, ends) = sums.counts.get(point).copied().unwrap_or_default();
        println!("point {point} hits={hits} ends={ends}");
        hit += u64::from(hits >= HITS_MIN);
        (min_hits, min_ends) = (min_hits.min(hits), min_ends.min(ends));
    }
    let failed = failed.into_inner().unwrap();
    let all = points().count() as u64;
    println!(
        "sim seeds={seeds} first_seed={first} virtual_hours={} crashes={} points={hit}/{all} min_hits={min_hits} min_ends={min_ends} \
         events={} answers={} violations={}",
        sums.virtual_ms / 3_600_000,
        sums.ends,
        sums.events,
        sums.answered,
        failed.len()
    );
    assert!(failed.is_empty(), "seeds {failed:?}");
    assert!(
        seeds < SEEDS_THAT_REACH_ALL || hit == all && min_ends > 0,
        "a point was hit fewer than {HITS_MIN} times, or no process ended there"
    );
}

/// The hash of all that crossed a border on a seed's day, with its virtual times, is the same twice, to the last line.
///
/// Left to chance, and in no line of the trace so far: bytes that are sealed or name the installation (keys and nonces are
/// the system's); the order in which tokio's `watch` wakes several who wait for one thing (it spreads them over eight lists
/// by a generator that only `tokio_unstable` lets be seeded), as connections that are told of a drain, and callers that wait
/// for an actor to come back; the order in which ractor stops the children of an actor (its map hashes at random). What waits
/// for commits does without `watch` (`bursar_store::progress`). Our own maps that hash at random are asked by key alone.
#[test]
fn the_same_seed_is_the_same_day() {
    let plans = [0, 1, 2].map(plan);
    assert!(plans[0] != plans[1] && plans[1] != plans[2]);
    let (first, seeds) = (
        env_number("BURSAR_SIM_SEED", 0),
        env_number("BURSAR_SIM_REPEATS", 10),
    );
    let differ: Vec<u64> = (first..first + seeds)
        .filter(|seed| {
            // Beside each other: neither the thread nor what ran before on it may matter.
            let other = std::thread::spawn({
                let seed = *seed;
                move || run(seed).trace
            });
            let here = run(*seed).trace;
            here != other.join().unwrap()
        })
        .collect();
    println!(
        "repeats seeds={seeds} first_seed={first} differ={}",
        differ.len()
    );
    assert!(
        differ.is_empty(),
        "not the same day twice: {differ:?}; BURSAR_SIM_TRACE writes one down: {}",
        command(differ[0])
    );
}
