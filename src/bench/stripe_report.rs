//! Medians of `bench stripe` and what ours adds, as a table or as JSON. Integers only: F in thousandths.

use super::report::{Latency, thousandths};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One side of one round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Half {
    pub(super) orders: u64,
    pub(super) latency: Latency,
    pub(super) per_second: u64,
    /// Of the asking process, in microseconds.
    pub(super) cpu_us: u64,
    pub(super) syncs: u64,
}

impl Half {
    const fn cpu_ns_per_order(&self) -> u64 {
        self.cpu_us.saturating_mul(1_000) / self.orders
    }
}

/// All rounds.
#[derive(Debug)]
pub(super) struct Report {
    /// F before, between and after the rounds: on a shared disk one probe may be off by far.
    fsync_us: Vec<u64>,
    /// By how many were in flight: bare and ours of each round.
    rounds: BTreeMap<usize, Vec<(Half, Half)>>,
}

/// The figures of so many in flight.
struct Figures {
    bare: Medians,
    ours: Medians,
    syncs_milli: u64,
}

struct Medians {
    latency: Latency,
    per_second: u64,
    cpu_ns: u64,
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn medians(halves: &[Half]) -> Medians {
    let of = |pick: fn(&Half) -> u64| median(halves.iter().map(pick).collect());
    Medians {
        latency: Latency {
            p50_us: of(|half| half.latency.p50_us),
            p99_us: of(|half| half.latency.p99_us),
        },
        per_second: of(|half| half.per_second),
        cpu_ns: of(Half::cpu_ns_per_order),
    }
}

impl Figures {
    fn of(rounds: &[(Half, Half)]) -> Self {
        let (bare, ours): (Vec<_>, Vec<_>) = rounds.iter().copied().unzip();
        let syncs = ours.iter().map(|half| half.syncs * 1_000 / half.orders);
        Self {
            bare: medians(&bare),
            ours: medians(&ours),
            syncs_milli: median(syncs.collect()),
        }
    }

    const fn added_p50_us(&self) -> u64 {
        let (bare, ours) = (self.bare.latency.p50_us, self.ours.latency.p50_us);
        ours.saturating_sub(bare)
    }

    const fn added_cpu_ns(&self) -> u64 {
        self.ours.cpu_ns.saturating_sub(self.bare.cpu_ns)
    }
}

impl Report {
    /// An empty report; F was measured before.
    pub(super) fn new(fsync_us: u64) -> Self {
        Self {
            fsync_us: vec![fsync_us],
            rounds: BTreeMap::new(),
        }
    }

    /// F, measured once more.
    pub(super) fn add_fsync(&mut self, us: u64) {
        self.fsync_us.push(us);
    }

    fn f_us(&self) -> u64 {
        median(self.fsync_us.clone()).max(1)
    }

    /// One more round of so many in flight.
    pub(super) fn add(&mut self, in_flight: usize, bare: Half, ours: Half) {
        let rounds = self.rounds.entry(in_flight).or_default();
        rounds.push((bare, ours));
    }

    /// Time in F, in thousandths.
    fn in_f_milli(&self, us: u64) -> u64 {
        us.saturating_mul(1_000) / self.f_us()
    }

    /// For people.
    pub(super) fn table(&self, orders: usize, rounds: usize) -> String {
        let mut text = format!(
            "stripe: {orders} orders with one in flight, {} with several, {rounds} rounds, F = {} us ({:?})\n",
            orders * 4,
            self.f_us(),
            self.fsync_us
        );
        for (in_flight, rounds) in &self.rounds {
            let figures = Figures::of(rounds);
            let _ = writeln!(
                text,
                "\n{:<16}{:>10}{:>10}{:>10}{:>14}",
                format!("{in_flight} in flight"),
                "orders/s",
                "p50 us",
                "p99 us",
                "cpu us/order"
            );
            for (name, side) in [("bare reqwest", &figures.bare), ("bursar", &figures.ours)] {
                let _ = writeln!(
                    text,
                    "{name:<16}{:>10}{:>10}{:>10}{:>14}",
                    side.per_second,
                    side.latency.p50_us,
                    side.latency.p99_us,
                    thousandths(side.cpu_ns)
                );
            }
            let added = figures.added_p50_us();
            for (row, name, milli) in [
                ("7", "added p50, us", added.saturating_mul(1_000)),
                ("7", "added p50, in F", self.in_f_milli(added)),
                ("7", "added CPU an order, us", figures.added_cpu_ns()),
                ("", "fsyncs an order", figures.syncs_milli),
            ] {
                let _ = writeln!(text, "{row:<4}{name:<44}{:>10}", thousandths(milli));
            }
        }
        text
    }

    /// For machines: the same figures.
    pub(super) fn json(&self) -> serde_json::Value {
        let side = |side: &Medians| {
            serde_json::json!({
                "ordersPerSecond": side.per_second, "p50Us": side.latency.p50_us,
                "p99Us": side.latency.p99_us, "cpuNsPerOrder": side.cpu_ns,
            })
        };
        let parts = self.rounds.iter().map(|(in_flight, rounds)| {
            let figures = Figures::of(rounds);
            let added = figures.added_p50_us();
            serde_json::json!({
                "inFlight": in_flight, "bare": side(&figures.bare), "bursar": side(&figures.ours),
                "addedP50Us": added, "addedP50FMilli": self.in_f_milli(added),
                "addedCpuNsPerOrder": figures.added_cpu_ns(), "syncsPerOrderMilli": figures.syncs_milli,
            })
        });
        serde_json::json!({
            "fsyncUs": self.f_us(), "fsyncProbesUs": self.fsync_us, "parts": parts.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(p50_us: u64, cpu_us: u64, syncs: u64) -> Half {
        let latency = Latency { p50_us, p99_us: 0 };
        Half {
            orders: 10,
            latency,
            cpu_us,
            syncs,
            per_second: 1,
        }
    }

    #[test]
    fn what_is_added_is_the_difference_of_medians() {
        let mut report = Report::new(4_000);
        for us in [100, 90] {
            report.add_fsync(us);
        }
        for (bare, ours) in [(80, 500), (90, 600), (1_000, 490)] {
            report.add(1, half(bare, 100, 0), half(ours, 900, 35));
        }
        let json = report.json();
        let part = &json["parts"][0];
        assert_eq!(part["addedP50Us"], 410);
        assert_eq!(part["addedP50FMilli"], 4_100);
        assert_eq!(part["addedCpuNsPerOrder"], 80_000);
        assert_eq!(part["syncsPerOrderMilli"], 3_500);
        let table = report.table(10, 3);
        assert!(
            table.contains("4.100") && table.contains("80.000"),
            "{table}"
        );
    }
}
