//! Medians and ratios of a bench run, as a table or as JSON. Integers only: ratios in thousandths.

use super::load::Outcome;
use super::target::{ByThread, Target};
use std::collections::BTreeMap;
use std::fmt::Write;

/// p50 and p99, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// Half of the answers came within this.
    pub p50_us: u64,
    /// All but one in a hundred did.
    pub p99_us: u64,
}

impl Latency {
    /// Of a run.
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            p50_us: outcome.quantile_us(500),
            p99_us: outcome.quantile_us(990),
        }
    }
}

/// One target in one round.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Events of the saturated part.
    pub events: u64,
    /// Their rate.
    pub per_second: u64,
    /// Their latencies.
    pub saturated: Latency,
    /// CPU the server used for them, in microseconds.
    pub cpu_us: u64,
    /// Acknowledged per second while such events are applied.
    pub beside_per_second: u64,
    /// Latencies then.
    pub beside: Latency,
    /// From the first request until the last event was applied, per second.
    pub applied_per_second: u64,
    /// CPU the server used until then, in microseconds.
    pub cpu_applied_us: u64,
    /// The CPU of the saturated part by thread.
    pub cpu: ByThread,
    /// The CPU until all is applied, by thread.
    pub cpu_applied: ByThread,
    /// Journal syncs they needed.
    pub syncs: u64,
    /// The same events sent again, per second.
    pub duplicates_per_second: u64,
    /// Bodies in the shape Stripe sends them.
    pub as_sent_per_second: u64,
    /// CPU of all of them.
    pub as_sent_cpu_us: u64,
    /// One connection.
    pub one: Latency,
    /// Paced at 1,000 events/s right after a burst.
    pub paced_after: Latency,
    /// CPU of an event at 1,000 a second, in microseconds, with all it leads to.
    pub cpu_steady_us: u64,
    /// Paced at 1,000 events/s.
    pub paced_1000: Latency,
    /// Paced at 5,000 events/s.
    pub paced_5000: Latency,
    /// 10,000 events at once over 256 connections.
    pub burst: Latency,
    /// Resident memory afterwards.
    pub rss_kib: u64,
}

impl Row {
    /// The saturated part of a row.
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            per_second: outcome.per_second(),
            saturated: Latency::of(outcome),
            ..Self::default()
        }
    }
}

/// All rounds.
#[derive(Debug)]
pub struct Report {
    fsync_before: u64,
    /// F after the run, in microseconds.
    pub fsync_after: u64,
    /// Resident memory of a fresh, empty server.
    pub rss_start_kib: u64,
    rows: BTreeMap<&'static str, Vec<Row>>,
}

fn milli(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1_000) / whole.max(1)
}

/// Thousandths as a decimal.
pub(super) fn thousandths(value: u64) -> String {
    format!("{}.{:03}", value / 1_000, value % 1_000)
}

impl Report {
    /// An empty report; F was measured before.
    pub fn new(fsync_before: u64) -> Self {
        Self {
            fsync_before,
            fsync_after: 0,
            rss_start_kib: 0,
            rows: BTreeMap::new(),
        }
    }

    /// One more round of a target.
    pub fn add(&mut self, target: Target, row: Row) {
        self.rows.entry(target.as_str()).or_default().push(row);
    }

    fn median(&self, target: Target, pick: impl Fn(&Row) -> u64) -> u64 {
        let mut values: Vec<u64> = self
            .rows
            .get(target.as_str())
            .into_iter()
            .flatten()
            .map(pick)
            .collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    }

    /// A ratio taken inside each round, in thousandths.
    fn ratios(&self, other: Target, pick: impl Fn(&Row) -> u64) -> Vec<u64> {
        let of = |target: Target| self.rows.get(target.as_str()).into_iter().flatten();
        let pairs = of(Target::Bursar).zip(of(other));
        pairs.map(|(a, b)| milli(pick(a), pick(b))).collect()
    }

    /// Its median.
    fn ratio(&self, other: Target, pick: impl Fn(&Row) -> u64) -> u64 {
        let mut values = self.ratios(other, pick);
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    }

    fn cpu_per_event_ns(row: &Row) -> u64 {
        row.cpu_us.saturating_mul(1_000) / row.events.max(1)
    }

    fn as_sent_ns(row: &Row) -> u64 {
        row.as_sent_cpu_us.saturating_mul(1_000) / row.events.max(1)
    }

    fn lines(&self) -> Vec<(&'static str, &'static str, u64)> {
        let ours = |pick: fn(&Row) -> u64| self.median(Target::Bursar, pick);
        let fsync = u64::midpoint(self.fsync_before, self.fsync_after).max(1);
        vec![
            (
                "1",
                "intake over bare hyper",
                self.ratio(Target::Bare, |r| r.per_second),
            ),
            (
                "1a",
                "intake over verify only",
                self.ratio(Target::Verify, |r| r.per_second),
            ),
            (
                "1b",
                "CPU per event over bare",
                self.ratio(Target::Bare, Self::cpu_per_event_ns),
            ),
            (
                "",
                "1a with bodies as Stripe sends them",
                self.ratio(Target::Verify, |r| r.as_sent_per_second),
            ),
            (
                "",
                "1b with bodies as Stripe sends them",
                self.ratio(Target::Bare, Self::as_sent_ns),
            ),
            ("", "CPU us per event of those", ours(Self::as_sent_ns)),
            (
                "",
                "CPU us per event, applied",
                ours(|r| r.cpu_applied_us.saturating_mul(1_000) / r.events.max(1)),
            ),
            (
                "2",
                "p50 at 1 connection, in F",
                milli(ours(|r| r.one.p50_us), fsync),
            ),
            (
                "2",
                "p99 at 1 connection, in F",
                milli(ours(|r| r.one.p99_us), fsync),
            ),
            (
                "2b",
                "p99 at 1,000/s, in F",
                milli(ours(|r| r.paced_1000.p99_us), fsync),
            ),
            (
                "",
                "CPU us per event at 1,000/s, all it leads to",
                ours(|r| r.cpu_steady_us).saturating_mul(1_000),
            ),
            (
                "2b",
                "p99 at 5,000/s, in F",
                milli(ours(|r| r.paced_5000.p99_us), fsync),
            ),
            (
                "",
                "p99 at 1,000/s right after a burst, in F",
                milli(ours(|r| r.paced_after.p99_us), fsync),
            ),
            (
                "",
                "acknowledged per second beside applies",
                ours(|r| r.beside_per_second).saturating_mul(1_000),
            ),
            ("", "p99 beside applies, ms", ours(|r| r.beside.p99_us)),
            (
                "",
                "applied per second",
                ours(|r| r.applied_per_second).saturating_mul(1_000),
            ),
            (
                "3",
                "applied over bare hyper",
                milli(
                    ours(|r| r.applied_per_second),
                    self.median(Target::Bare, |r| r.per_second),
                ),
            ),
            (
                "8",
                "burst of 10,000 over 256: p99, ms",
                ours(|r| r.burst.p99_us),
            ),
            (
                "11",
                "duplicates over fresh",
                milli(ours(|r| r.duplicates_per_second), ours(|r| r.per_second)),
            ),
            (
                "",
                "fsyncs per event",
                milli(ours(|r| r.syncs), ours(|r| r.events)),
            ),
        ]
    }

    /// Where the CPU per event went, by thread: for intake alone and until applied, in microseconds.
    fn threads(&self) -> String {
        let rows = self.rows.get(Target::Bursar.as_str());
        let names = rows
            .into_iter()
            .flatten()
            .flat_map(|row| row.cpu.keys().chain(row.cpu_applied.keys()));
        let mut text = String::from("\ncpu us/event by thread      intake   applied\n");
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            let of = |pick: fn(&Row) -> &ByThread| {
                self.median(Target::Bursar, |row| {
                    let used = pick(row).get(name).copied().unwrap_or(0);
                    used.saturating_mul(1_000) / row.events.max(1)
                })
            };
            let (alone, applied) = (of(|row| &row.cpu), of(|row| &row.cpu_applied));
            if alone.max(applied) >= 500 {
                let (alone, applied) = (thousandths(alone), thousandths(applied));
                let _ = writeln!(text, "  {name:<22}{alone:>10}{applied:>10}");
            }
        }
        text.push('\n');
        text
    }

    /// Rows 1a and 1b of each round, in thousandths.
    pub fn gated(&self) -> Vec<(u64, u64)> {
        let over_verify = self.ratios(Target::Verify, |r| r.per_second);
        let cpu_over_bare = self.ratios(Target::Bare, Self::cpu_per_event_ns);
        over_verify.into_iter().zip(cpu_over_bare).collect()
    }

    /// What the gate looks at, round by round.
    pub fn by_round(&self) -> String {
        let cost = |target: Target| {
            let rows = self.rows.get(target.as_str()).into_iter().flatten();
            rows.map(|row| thousandths(Self::cpu_per_event_ns(row)))
        };
        let costs = cost(Target::Bare).zip(cost(Target::Verify));
        let rounds = costs.zip(cost(Target::Bursar)).zip(self.gated());
        let mut text = String::from("\nround  bare us  verify us  bursar us      1a      1b\n");
        for (round, (((bare, verify), ours), (over_verify, cpu_over_bare))) in rounds.enumerate() {
            let (a, b) = (thousandths(over_verify), thousandths(cpu_over_bare));
            let _ = writeln!(
                text,
                "{round:>5}{bare:>9}{verify:>11}{ours:>11}{a:>8}{b:>8}"
            );
        }
        text
    }

    /// Rounds of a target.
    pub fn rounds(&self) -> usize {
        self.rows.get(Target::Bursar.as_str()).map_or(0, Vec::len)
    }

    /// For people.
    pub fn table(&self, connections: usize, events: usize) -> String {
        let mut text = format!(
            "intake: {connections} connections, {events} events of {} bytes, F = {} us before, {} us after\n\n\
             target          events/s    p50 us    p99 us  cpu us/event\n",
            super::events::BODY_BYTES,
            self.fsync_before,
            self.fsync_after
        );
        for target in [Target::Bare, Target::Verify, Target::Bursar] {
            let cpu = thousandths(self.median(target, Self::cpu_per_event_ns));
            let (rate, p50) = (
                self.median(target, |r| r.per_second),
                self.median(target, |r| r.saturated.p50_us),
            );
            let p99 = self.median(target, |r| r.saturated.p99_us);
            let _ = writeln!(
                text,
                "{:<14}{rate:>10}{p50:>10}{p99:>10}{cpu:>14}",
                target.as_str()
            );
        }
        text.push('\n');
        for (row, name, value) in self.lines() {
            let _ = writeln!(text, "{row:<4}{name:<44}{:>10}", thousandths(value));
        }
        text.push_str(&self.threads());
        let rss = self.median(Target::Bursar, |r| r.rss_kib);
        let _ = writeln!(
            text,
            "12  resident memory, KiB                        {} at start, {rss} after the load",
            self.rss_start_kib
        );
        text
    }

    /// For machines: the same figures; ratios in thousandths.
    pub fn json(&self) -> serde_json::Value {
        let lines = self.lines().into_iter();
        let ratios: Vec<_> = lines
            .map(|(row, name, milli)| serde_json::json!({"row": row, "name": name, "milli": milli}))
            .collect();
        let targets: serde_json::Map<_, _> = [Target::Bare, Target::Verify, Target::Bursar]
            .into_iter()
            .map(|t| {
                let figures = serde_json::json!({
                    "eventsPerSecond": self.median(t, |r| r.per_second),
                    "p50Us": self.median(t, |r| r.saturated.p50_us),
                    "p99Us": self.median(t, |r| r.saturated.p99_us),
                    "cpuNsPerEvent": self.median(t, Self::cpu_per_event_ns),
                });
                (t.as_str().to_owned(), figures)
            })
            .collect();
        serde_json::json!({
            "fsyncUs": [self.fsync_before, self.fsync_after], "targets": targets, "ratios": ratios,
            "rssKib": {"start": self.rss_start_kib, "afterLoad": self.median(Target::Bursar, |r| r.rss_kib)},
        })
    }
}
