//! Series on the hot path, looked up once: finding a series by its name and labels costs as much as
//! what is measured.
//!
//! Invariants: before the process has its recorder ([`is_there`]), and without one, each use looks its series up
//! anew, so that nothing is ever counted into a recorder that was there before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

static HAS_RECORDER: AtomicBool = AtomicBool::new(false);

/// The process's recorder was installed; there can be no other.
pub fn is_there() {
    HAS_RECORDER.store(true, Ordering::Release);
}

/// One series (or a set of them that belong together).
pub struct Kept<T>(OnceLock<T>);

impl<T> Kept<T> {
    /// Not looked up yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Moves the series that `find` finds.
    pub fn with(&self, find: impl FnOnce() -> T, change: impl FnOnce(&T)) {
        if HAS_RECORDER.load(Ordering::Acquire) {
            change(self.0.get_or_init(find));
        } else {
            change(&find());
        }
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Series by their labels, which are closed sets.
pub struct KeptBy<K, T>(RwLock<BTreeMap<K, T>>);

impl<K: Ord, T: Clone> KeptBy<K, T> {
    /// None looked up yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }

    /// Moves the series of these labels, which `find` finds.
    pub fn with(&self, labels: K, find: impl FnOnce() -> T, change: impl FnOnce(&T)) {
        if !HAS_RECORDER.load(Ordering::Acquire) {
            return change(&find());
        }
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = kept.get(&labels) {
            return change(series);
        }
        drop(kept);
        let series = find();
        change(&series);
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.insert(labels, series);
    }
}

impl<K: Ord, T: Clone> Default for KeptBy<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_series_is_looked_up_once_and_only_when_the_recorder_is_there() {
        let (kept, found, sum) = (Kept::new(), Cell::new(0), Cell::new(0));
        let count = || {
            let find = || {
                found.set(found.get() + 1);
                found.get()
            };
            kept.with(find, |which| sum.set(sum.get() + which));
        };
        count();
        count();
        assert_eq!(found.get(), 2);
        is_there();
        count();
        count();
        assert_eq!((found.get(), sum.get()), (3, 1 + 2 + 3 + 3));
        let by: KeptBy<&str, String> = KeptBy::new();
        for (label, expected) in [("a", "a"), ("b", "b"), ("a", "a")] {
            by.with(
                label,
                || label.to_owned(),
                |series| assert_eq!(series, expected),
            );
        }
        by.with(
            "a",
            || unreachable!("it is kept"),
            |series| assert_eq!(series, "a"),
        );
    }
}
