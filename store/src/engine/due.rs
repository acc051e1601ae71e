//! From where on due effects are looked for.
//!
//! Effects of a lane are filed by when they are due and leave once they ended, mostly from the front. What left is
//! still in the tables over the rows for a while, as deletions, and a look from the very front would walk over all
//! of them, each time. So the first that was found is remembered.
//!
//! Invariants: no due effect of a lane is filed before its mark. A look may raise the mark only if nothing was filed
//! since it began, because it may not have seen it; whoever files lowers it, after the rows are readable and before
//! anybody is told of them.

use crate::keys::{self, Key};
use crate::kv::Batch;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The marks of all lanes.
#[derive(Default)]
pub(super) struct DueFrom {
    lanes: Mutex<BTreeMap<u8, Mark>>,
}

#[derive(Default)]
struct Mark {
    from: Key,
    /// How often something was filed.
    filings: u64,
}

/// A look that has begun.
pub(super) struct Look {
    lane: u8,
    filings: u64,
    /// Where it starts.
    pub(super) low: Key,
}

/// The first key a group files in each lane.
pub(super) type Filed = BTreeMap<u8, Key>;

/// What a group files; read before the rows are handed on.
pub(super) fn filed(batch: &Batch) -> Filed {
    let mut first = Filed::new();
    let (low, high) = ([keys::DUE_EFFECT], [keys::DUE_EFFECT + 1]);
    let range = (
        Bound::Included(low.as_slice()),
        Bound::Excluded(high.as_slice()),
    );
    for (key, value) in batch.range::<[u8], _>(range) {
        if let (Some(lane), Some(_)) = (key.get(1), value) {
            first.entry(*lane).or_insert_with(|| key.clone());
        }
    }
    first
}

impl DueFrom {
    fn lanes(&self) -> MutexGuard<'_, BTreeMap<u8, Mark>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a look at a lane.
    pub(super) fn look(&self, lane: u8) -> Look {
        let mut lanes = self.lanes();
        let mark = lanes.entry(lane).or_default();
        let front = Key::new(keys::DUE_EFFECT).byte(lane);
        Look {
            lane,
            filings: mark.filings,
            low: mark.from.clone().max(front),
        }
    }

    /// Ends it: nothing is filed before this key.
    pub(super) fn seen(&self, look: &Look, first: &[u8]) {
        let mut lanes = self.lanes();
        let mark = lanes.entry(look.lane).or_default();
        if mark.filings == look.filings && *mark.from < *first {
            mark.from = first.into();
        }
    }

    /// Notes what was filed.
    pub(super) fn filed(&self, filed: Filed) {
        if filed.is_empty() {
            return;
        }
        let mut lanes = self.lanes();
        for (lane, key) in filed {
            let mark = lanes.entry(lane).or_default();
            mark.filings += 1;
            if key < mark.from {
                mark.from = key;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::ids::Timestamp;

    fn key(at: i64) -> keys::Key {
        keys::due_effect(3, Timestamp(at), "eff_1")
    }

    fn batch(at: i64, value: Option<Vec<u8>>) -> Filed {
        filed(&Batch::from([
            (key(at), value),
            ([keys::EFFECT, 1].into(), Some(Vec::new())),
        ]))
    }

    #[test]
    fn a_look_starts_at_the_first_that_was_found() {
        let due = DueFrom::default();
        let look = due.look(3);
        assert!(look.low < key(i64::MIN), "at first from the very front");
        due.seen(&look, &key(50));
        assert_eq!(due.look(3).low, key(50));
        assert!(
            due.look(4).low < key(50) || due.look(4).low > key(i64::MAX),
            "another lane's"
        );
    }

    #[test]
    fn what_is_filed_earlier_lowers_the_mark_and_a_deletion_does_not() {
        let due = DueFrom::default();
        due.seen(&due.look(3), &key(50));
        due.filed(batch(20, None));
        assert_eq!(due.look(3).low, key(50));
        due.filed(batch(20, Some(Vec::new())));
        assert_eq!(due.look(3).low, key(20));
        due.filed(batch(70, Some(Vec::new())));
        assert_eq!(due.look(3).low, key(20));
    }

    #[test]
    fn a_look_during_which_something_was_filed_raises_nothing() {
        let due = DueFrom::default();
        let look = due.look(3);
        due.filed(batch(20, Some(Vec::new())));
        due.seen(&look, &key(50));
        assert!(
            due.look(3).low < key(20),
            "it may not have seen the one at 20"
        );
        due.seen(&due.look(3), &key(20));
        assert_eq!(due.look(3).low, key(20));
    }
}
