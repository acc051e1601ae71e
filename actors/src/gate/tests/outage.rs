//! What Stripe sees of us when it fails: calls beyond the first tries, over an hour of simulated time.

use super::*;
use std::collections::VecDeque;

struct Seen {
    firsts: u64,
    calls: u64,
    retries: u64,
}

/// A thousand first tries a minute for an hour; `fails(n)` says whether the nth call fails; what failed or was refused
/// a retry is tried again every half second, which is far more than any lane does.
fn hour(per_second: u32, fails: impl Fn(u64) -> bool) -> (World, Seen) {
    let world = World::new(per_second);
    let mut waiting: VecDeque<()> = VecDeque::new();
    let mut seen = Seen {
        firsts: 0,
        calls: 0,
        retries: 0,
    };
    for tick in 0..60_000_u64 {
        world.sleep(60);
        seen.firsts += 1;
        let mut tries = vec![false];
        if tick % 8 == 0 {
            tries.extend(waiting.drain(..).map(|()| true));
        }
        for is_retry in tries {
            let Ok(pass) = world.gate.enter(&Scope::PLATFORM, Lane::Stripe, is_retry) else {
                if waiting.len() < 200 {
                    waiting.push_back(());
                }
                continue;
            };
            seen.calls += 1;
            seen.retries += u64::from(is_retry);
            let is_failed = fails(seen.calls);
            pass.end(if is_failed { failed() } else { FarSide::Worked });
            if is_failed && waiting.len() < 200 {
                waiting.push_back(());
            }
        }
    }
    (world, seen)
}

/// In thousandths, as no figure here is a fraction.
fn milli(part: u64, whole: u64) -> u64 {
    part * 1_000 / whole
}

#[test]
fn a_total_outage_of_an_hour_costs_probes_and_hardly_a_call_more() {
    let (world, seen) = hour(100, |_| true);
    let amplification = milli(seen.calls, seen.firsts);
    println!(
        "breaker outage first_tries={} calls={} amplification=0.{amplification:03}",
        seen.firsts, seen.calls
    );
    // Ten to open it, then at most one probe each 48 s and those before the waits are that long.
    assert!((60..=100).contains(&seen.calls), "{} calls", seen.calls);
    assert!(seen.calls * 10 <= seen.firsts * 11 + 1_000);
    assert_eq!(world.state("stripe"), Circuit::Open);
}

#[test]
fn a_brownout_that_opens_no_circuit_costs_a_tenth_more_at_most() {
    // Two of five calls fail for good: below the half that opens the circuit.
    let (world, seen) = hour(100, |n| n % 5 < 2);
    assert_eq!(world.state("stripe"), Circuit::Closed);
    assert_eq!(
        seen.calls,
        seen.firsts + seen.retries,
        "every first try went out"
    );
    let amplification = milli(seen.calls, seen.firsts);
    println!(
        "retry budget first_tries={} retries={} amplification=1.{:03}",
        seen.firsts,
        seen.retries,
        amplification - 1_000
    );
    assert!(
        seen.retries <= seen.firsts / 10 + 10 * 61,
        "{} retries",
        seen.retries
    );
    assert!(
        seen.retries >= seen.firsts / 12,
        "retries are made, not only refused"
    );
}
