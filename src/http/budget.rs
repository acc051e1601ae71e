//! A bounded number of units shared by all connections: bytes of bodies, places for long polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Units left. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<AtomicUsize>,
}

/// Units taken; given back when dropped.
#[derive(Debug)]
pub struct Taken {
    left: Arc<AtomicUsize>,
    units: usize,
}

impl Budget {
    /// A budget of this many units.
    pub fn new(units: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(units)),
        }
    }
    /// Takes units, if there are that many.
    pub fn take(&self, units: usize) -> Option<Taken> {
        self.left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(units)
            })
            .ok()?;
        Some(Taken {
            left: Arc::clone(&self.left),
            units,
        })
    }
}

impl Taken {
    /// Takes more of the same budget.
    pub fn grow(&mut self, units: usize) -> bool {
        let taken = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(units)
            });
        if taken.is_ok() {
            self.units += units;
        }
        taken.is_ok()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.left.fetch_add(self.units, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_come_back_when_their_holder_is_gone() {
        let budget = Budget::new(10);
        let mut first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        assert!(first.grow(4) && !first.grow(1));
        drop(first);
        assert!(budget.take(10).is_some());
    }
}
