//! Bursts of refused deliveries: the first is told at once, the rest once a minute.
//!
//! A forger must not be able to fill the log, and an operator whose secret is wrong must not wait a
//! minute to read why.
//!
//! Invariants: every report is told exactly once, alone or in a sum; senders told apart are bounded,
//! what is beyond is counted without its address. No clock: a period is what lies between two sums.
//! Not here: counters (the edge counts each outcome), the log itself (`intake`).

use std::collections::BTreeMap;

/// Senders told apart in one sum.
const SENDERS_MAX: usize = 16;

/// Reports not told yet.
#[derive(Debug, Default)]
pub(crate) struct Bursts {
    /// A burst lasts until a period passes without a report.
    going_on: bool,
    heard: bool,
    count: u64,
    senders: BTreeMap<(String, &'static str), u64>,
}

/// What came after the first of a burst, in one period.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    /// All of them.
    pub(crate) count: u64,
    /// `address reason (count)`, comma separated; at most [`SENDERS_MAX`] of them.
    pub(crate) senders: String,
}

impl Bursts {
    /// Takes a report. `true`: it begins a burst and is to be told now; else it is in the next sum.
    pub(crate) fn on(&mut self, from: &str, reason: &'static str) -> bool {
        self.heard = true;
        if !self.going_on {
            self.going_on = true;
            return true;
        }
        self.count = self.count.saturating_add(1);
        let key = (from.to_owned(), reason);
        if self.senders.len() < SENDERS_MAX || self.senders.contains_key(&key) {
            *self.senders.entry(key).or_default() += 1;
        }
        false
    }

    /// Adds reports of which only the number is known.
    pub(crate) fn add(&mut self, unnamed: u64) {
        self.count = self.count.saturating_add(unnamed);
    }

    /// Ends a period: what it holds beyond the first, if anything.
    pub(crate) fn sum(&mut self) -> Option<Sum> {
        self.going_on = std::mem::take(&mut self.heard) || self.count > 0;
        let count = std::mem::take(&mut self.count);
        let senders = std::mem::take(&mut self.senders);
        if count == 0 {
            return None;
        }
        let senders: Vec<_> = senders
            .iter()
            .map(|((from, reason), count)| format!("{from} {reason} ({count})"))
            .collect();
        Some(Sum {
            count,
            senders: senders.join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_burst_is_told_at_once_and_the_rest_in_one_sum_a_period() {
        let mut bursts = Bursts::default();
        assert!(bursts.on("a", "no_match"));
        for _ in 0..9 {
            assert!(!bursts.on("a", "no_match"));
        }
        assert!(!bursts.on("b", "stale"));
        let sum = bursts.sum().unwrap();
        assert_eq!(sum.count, 10);
        assert_eq!(sum.senders, "a no_match (9), b stale (1)");
        assert!(!bursts.on("a", "no_match"), "the burst goes on");
        assert_eq!(bursts.sum().unwrap().count, 1);
        assert_eq!(bursts.sum(), None, "a quiet period ends it");
        assert!(bursts.on("a", "no_match"));
    }

    #[test]
    fn one_report_alone_is_told_once_and_never_summed() {
        let mut bursts = Bursts::default();
        assert!(bursts.on("a", "clock"));
        assert_eq!(bursts.sum(), None);
        assert_eq!(bursts.sum(), None);
    }

    #[test]
    fn however_many_addresses_report_the_sum_counts_all_and_names_a_few() {
        let mut bursts = Bursts::default();
        for n in 0..1_000 {
            bursts.on(&format!("192.0.2.{n}"), "no_match");
        }
        bursts.add(5);
        let sum = bursts.sum().unwrap();
        assert_eq!(sum.count, 999 + 5);
        assert_eq!(sum.senders.split(", ").count(), SENDERS_MAX);
    }
}
