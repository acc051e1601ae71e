//! What came in during the last hour, minute by minute, and how circuits turned: enough for a picture at a glance.
//!
//! Invariants: bounded in memory, lost with the process, never part of a decision; times are those of the product's
//! clock. Prometheus has the same for long.
//! Not here: drawing (`chart`).

use crate::http::edge::Edge;
use bursar_domain::ids::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

/// Minutes kept.
pub const MINUTES: usize = 60;
/// Turns of circuits kept.
const TURNS_MAX: usize = 200;
/// Between two looks at the circuits.
const LOOK: Duration = Duration::from_secs(5);
const MINUTE_MS: i64 = 60_000;
/// Upper bounds of the latencies counted, in microseconds; one more for all above.
const BOUNDS_US: [u64; 12] = [
    500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
];

/// One minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Since the epoch.
    minute: i64,
    /// Deliveries acknowledged.
    pub events: u64,
    counts: [u64; BOUNDS_US.len() + 1],
}

impl Minute {
    /// `10:05`.
    pub fn label(&self) -> String {
        let of_day = self.minute.rem_euclid(24 * 60);
        format!("{:02}:{:02}", of_day / 60, of_day % 60)
    }
    /// The bound half of the acknowledgements stayed below.
    pub fn p50_us(&self) -> u64 {
        self.quantile(50)
    }
    /// The bound 99 of 100 stayed below.
    pub fn p99_us(&self) -> u64 {
        self.quantile(99)
    }
    fn quantile(&self, percent: u64) -> u64 {
        let wanted = (self.events * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if wanted > 0 && seen >= wanted {
                return BOUNDS_US.get(index).copied().unwrap_or(BOUNDS_US[11] * 2);
            }
        }
        0
    }
}

/// A circuit that turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// When it was seen.
    pub at: Timestamp,
    /// Which.
    pub name: String,
    /// Into what.
    pub state: &'static str,
}

#[derive(Default)]
struct Kept {
    minutes: VecDeque<Minute>,
    turns: VecDeque<Turn>,
    circuits: BTreeMap<String, &'static str>,
}

/// What is remembered.
#[derive(Default)]
pub struct Pulse(Mutex<Kept>);

impl Pulse {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A delivery was acknowledged.
    pub fn acknowledged(&self, now: Timestamp, took: Duration) {
        let (minute, mut kept) = (now.0.div_euclid(MINUTE_MS), self.kept());
        // A clock that went back counts for the newest minute there is.
        if kept
            .minutes
            .back()
            .is_none_or(|newest| newest.minute < minute)
        {
            kept.minutes.push_back(Minute {
                minute,
                ..Minute::default()
            });
            if kept.minutes.len() > MINUTES {
                kept.minutes.pop_front();
            }
        }
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.iter().position(|bound| us <= *bound);
        if let Some(newest) = kept.minutes.back_mut() {
            newest.events += 1;
            newest.counts[place.unwrap_or(BOUNDS_US.len())] += 1;
        }
    }
    /// The last hour, oldest first, quiet minutes too.
    pub fn minutes(&self, now: Timestamp) -> Vec<Minute> {
        let kept = self.kept();
        let newest = now.0.div_euclid(MINUTE_MS);
        let hour = i64::try_from(MINUTES).unwrap_or(60);
        let each = (newest - hour + 1..=newest).map(|minute| {
            let found = kept.minutes.iter().find(|one| one.minute == minute);
            found.cloned().unwrap_or(Minute {
                minute,
                ..Minute::default()
            })
        });
        each.collect()
    }
    /// How circuits turned, oldest first.
    pub fn turns(&self) -> Vec<Turn> {
        self.kept().turns.iter().cloned().collect()
    }
    fn look(&self, now: Timestamp, circuits: &[crate::http::edge::Circuit]) {
        let mut kept = self.kept();
        for circuit in circuits {
            let before = kept.circuits.insert(circuit.name.clone(), circuit.state);
            // A circuit that is met closed did not turn.
            let is_news = before.unwrap_or("closed") != circuit.state;
            if is_news {
                kept.turns.push_back(Turn {
                    at: circuit.since.unwrap_or(now),
                    name: circuit.name.clone(),
                    state: circuit.state,
                });
            }
        }
        let known: Vec<&str> = circuits.iter().map(|one| one.name.as_str()).collect();
        kept.circuits
            .retain(|name, _| known.contains(&name.as_str()));
        while kept.turns.len() > TURNS_MAX {
            kept.turns.pop_front();
        }
    }
}

/// Looks at the circuits until the edge is gone.
pub async fn watch(edge: Weak<Edge>) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let Some(edge) = edge.upgrade() else {
            return;
        };
        let circuits = edge.health.circuits();
        edge.pulse.look(edge.now(), &circuits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::edge::Circuit;

    #[test]
    fn minutes_are_counted_where_they_belong_and_old_ones_fall_out() {
        let pulse = Pulse::default();
        for second in 0..200 {
            let now = Timestamp(second * 60_000);
            pulse.acknowledged(now, Duration::from_micros(700));
            pulse.acknowledged(now, Duration::from_millis(40));
        }
        let minutes = pulse.minutes(Timestamp(199 * 60_000));
        assert_eq!(minutes.len(), MINUTES);
        assert!(minutes.iter().all(|minute| minute.events == 2));
        let newest = &minutes[MINUTES - 1];
        assert_eq!((newest.p50_us(), newest.p99_us()), (1_000, 50_000));
        assert_eq!(newest.label(), "03:19");
        let later = pulse.minutes(Timestamp(10_000 * 60_000));
        assert!(later.iter().all(|minute| minute.events == 0));
        assert_eq!(later[0].p99_us(), 0);
    }

    #[test]
    fn a_circuit_that_turns_is_noted_once_and_one_that_stays_is_not() {
        let pulse = Pulse::default();
        let circuit = |state| Circuit {
            name: "stripe".to_owned(),
            state,
            since: None,
        };
        for (at, state) in [(1, "closed"), (2, "open"), (3, "open"), (4, "closed")] {
            pulse.look(Timestamp(at), &[circuit(state)]);
        }
        let turns: Vec<_> = pulse.turns().iter().map(|t| (t.at.0, t.state)).collect();
        assert_eq!(turns, [(2, "open"), (4, "closed")]);
    }
}
