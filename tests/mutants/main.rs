//! Seeded bugs: each check passes on the code as it is and must fail with its bug switched on.
//!
//! Invariants: every bug of `bursar_domain::mutants::ALL` has a check; a bug that lives through
//! `SEEDS_MAX` seeds fails the test, and so does a check that fails without one. A check is a function of
//! its seed; what only a clock can tell (nothing happens any more) has patience far beyond any delay.
//! Not here: the bugs themselves, one line each where `mutant!` stands. How to add one: CONTRIBUTING.md.

mod group;
mod orders;
mod power;
#[allow(dead_code, unused_imports, reason = "its figures are for tests/sim")]
#[path = "../sim/run/mod.rs"]
mod run;
mod tree;

use bursar_domain::mutants::{ALL, select};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Seeds a bug may live through.
const SEEDS_MAX: u64 = 200;

type Check = fn(u64) -> Result<(), String>;

/// The checks, with the bugs each must catch and the seeds it must pass without one.
const CHECKS: [(&str, Check, &[&str], u64); 7] = [
    (
        "what was answered is there after a power cut",
        power::answered_deliveries_survive,
        &["M1", "M2"],
        SEEDS_MAX,
    ),
    (
        "of many deliveries of one event at one moment one is new, at once",
        group::one_of_many_is_new_at_once,
        &["M17", "M18"],
        SEEDS_MAX / 5,
    ),
    (
        "what a decision posts and what it sends survive together",
        power::ledger_and_outbox_survive_together,
        &["M3"],
        SEEDS_MAX,
    ),
    (
        "what was accepted is applied or dead after a restart, and each once",
        tree::nothing_accepted_vanishes,
        &["M6", "M10"],
        // Two starts of the whole tree each.
        SEEDS_MAX / 2,
    ),
    (
        "any order with any repetition is one true state",
        orders::any_order_ends_in_the_truth,
        &["M7", "M7b", "M8", "M13"],
        SEEDS_MAX,
    ),
    (
        "a decision over a state that has passed is refused",
        power::what_was_decided_over_the_past_is_refused,
        &["M9"],
        SEEDS_MAX,
    ),
    (
        "a simulated day of the whole service ends well",
        simulated_day,
        &["M4", "M5", "M11", "M12", "M14", "M15", "M16"],
        // Most of them are run by `tests/sim`.
        2,
    ),
];

/// SplitMix64: a seed is a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n as u64 + 1) as usize);
        }
    }
}

/// One run of `tests/sim`.
fn simulated_day(seed: u64) -> Result<(), String> {
    match run::run(seed).wrongs.as_slice() {
        [] => Ok(()),
        wrongs => Err(wrongs.join("; ")),
    }
}

/// Runs a future as a process of its own would: dropped with everything it started.
fn process<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(life)
}

/// A panic of the product under a seeded bug is a way to be caught.
fn try_seed(check: Check, seed: u64) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| check(seed)))
        .unwrap_or_else(|_| Err("it panicked, see above".to_owned()))
}

/// The first seed at which the check fails with the bug on, and how.
fn caught_at(check: Check, id: &str) -> Option<(u64, String)> {
    select(Some(id));
    let caught = (0..SEEDS_MAX).find_map(|seed| Some((seed, try_seed(check, seed).err()?)));
    select(None);
    caught
}

#[test]
fn every_seeded_bug_is_caught_and_nothing_else_is() {
    select(None);
    for (name, check, _, seeds) in CHECKS {
        let began = Instant::now();
        for seed in 0..seeds {
            if let Err(why) = try_seed(check, seed) {
                panic!("{name}: seed {seed}, no bug switched on: {why}");
            }
        }
        let took = began.elapsed().as_millis();
        println!("check passed={seeds} ms={took} {name}");
    }
    let (mut caught, mut worst_seed, mut alive) = (0, 0, Vec::new());
    for mutant in ALL {
        let watching = CHECKS
            .iter()
            .find(|(_, _, ids, _)| ids.contains(&mutant.id));
        let found = watching.and_then(|(name, check, ..)| {
            let (seed, why) = caught_at(*check, mutant.id)?;
            Some((seed, name, why))
        });
        let Some((seed, name, why)) = found else {
            println!("mutant {} ALIVE: {}", mutant.id, mutant.bug);
            alive.push(mutant.id);
            continue;
        };
        println!("mutant {} caught seed={seed}: {}", mutant.id, mutant.bug);
        println!(
            "    by: {name}\n    {}",
            why.lines().next().unwrap_or_default()
        );
        caught += 1;
        worst_seed = worst_seed.max(seed);
    }
    println!(
        "mutants caught={caught}/{} worst_seed={worst_seed}",
        ALL.len()
    );
    assert!(alive.is_empty(), "not caught: {alive:?}");
}
