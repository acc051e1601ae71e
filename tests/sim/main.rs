//! The whole product in one thread, by a clock that stands still between events, ended at numbered steps.
//!
//! `BURSAR_SIM_SEEDS` sets how many seeds (24), `BURSAR_SIM_SEED` the first one (0). A failure prints the one command
//! that repeats it.

#![allow(clippy::unwrap_used, reason = "a failed call is a failed test")]

mod model;
mod run;

use run::{Counts, Outcome, points, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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
    for point in points() {
        let (passes, ends) = sums.counts.get(point).copied().unwrap_or_default();
        println!("point {point} passes={passes} ends={ends}");
    }
    let failed = failed.into_inner().unwrap();
    println!(
        "sim seeds={seeds} virtual_hours={} crashes={} events={} answers={} violations={}",
        sums.virtual_ms / 3_600_000,
        sums.ends,
        sums.events,
        sums.answered,
        failed.len()
    );
    assert!(failed.is_empty(), "seeds {failed:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let traces = [0, 1, 2].map(|seed| run(seed).trace);
    for (seed, trace) in (0..).zip(&traces) {
        assert_eq!(run(seed).trace, *trace, "{}", command(seed));
    }
    assert!(traces[0] != traces[1] && traces[1] != traces[2]);
}
