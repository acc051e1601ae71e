//! What the answers to an order of many pages come to.
//!
//! Invariants: every count and every line of every answer is in it once; what is only counted is said to be.
//! Not here: how a line of the list is told (each command's own).

use serde_json::{Map, Value};

/// What all the answers come to: counts by name, and a list of what was counted.
pub(super) struct Sum {
    counts: Vec<(&'static str, u64)>,
    list: &'static str,
    items: Vec<Value>,
}

impl Sum {
    /// Of answers with these counts, in the order they are told, and this list.
    pub(super) fn of(counts: &[&'static str], list: &'static str) -> Self {
        Self {
            counts: counts.iter().map(|name| (*name, 0)).collect(),
            list,
            items: Vec::new(),
        }
    }
    /// Takes an answer in; where to go on, `null` at the end.
    pub(super) fn add(&mut self, report: &Value) -> Value {
        for (name, count) in &mut self.counts {
            *count += report[*name].as_u64().unwrap_or(0);
        }
        let items = report[self.list].as_array().into_iter().flatten();
        self.items.extend(items.cloned());
        report["nextCursor"].clone()
    }
    /// One of the counts.
    pub(super) fn count(&self, wanted: &str) -> u64 {
        let found = self.counts.iter().find(|(name, _)| *name == wanted);
        found.map_or(0, |(_, count)| *count)
    }
    /// For machines.
    pub(super) fn report(self, is_dry: bool, more: bool) -> Value {
        let counts = self.counts.into_iter();
        let mut report: Map<String, Value> = counts
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect();
        report.insert("dryRun".to_owned(), is_dry.into());
        report.insert("hasMore".to_owned(), more.into());
        report.insert(self.list.to_owned(), self.items.into());
        report.into()
    }
    /// For people, under the lines.
    pub(super) fn text(&self, is_done: bool) -> String {
        let counts = self.counts.iter();
        let counts: Vec<String> = counts.map(|(name, n)| format!("{name}={n}")).collect();
        let mut text = counts.join(" ") + "\n";
        let told = u64::try_from(self.items.len()).unwrap_or(u64::MAX);
        // What stays as it is has no line.
        let untold = self
            .count("matched")
            .saturating_sub(self.count("unchanged") + told);
        if untold > 0 {
            text.push_str(&format!("{untold} of them are not listed above\n"));
        }
        if !is_done {
            text.push_str("nothing was changed; run it again with --yes to do it\n");
        }
        text
    }
}
