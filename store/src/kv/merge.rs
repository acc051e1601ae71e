//! Changes in memory over rows below: one walk that shows what both come to.
//!
//! Invariants: a change hides the row below it, a deletion shows nothing; pairs come in the order
//! asked for and the walk below ends as soon as the caller has enough.

use super::{Batch, Each, Kv};
use crate::error::StoreError;
use std::ops::{Bound, ControlFlow};

/// Walks `low <= key < high` of `below` with `changes` over it.
pub(super) fn merged(
    below: &dyn Kv,
    changes: &Batch,
    (low, high): (&[u8], &[u8]),
    reverse: bool,
    each: &mut Each<'_>,
) -> Result<(), StoreError> {
    if low >= high {
        return Ok(());
    }
    let mut range = changes.range::<[u8], _>((Bound::Included(low), Bound::Excluded(high)));
    let own = std::iter::from_fn(|| {
        if reverse {
            range.next_back()
        } else {
            range.next()
        }
    });
    let mut own = own.peekable();
    let is_before = |a: &[u8], b: &[u8]| if reverse { a > b } else { a < b };
    let mut has_enough = false;
    below.range(low, high, reverse, &mut |key, value| {
        while let Some((changed, to)) = own.next_if(|(own, _)| is_before(own, key)) {
            if show(each, changed, to.as_deref()).is_break() {
                has_enough = true;
                return ControlFlow::Break(());
            }
        }
        let shown = match own.next_if(|(own, _)| ***own == *key) {
            Some((changed, to)) => show(each, changed, to.as_deref()),
            None => each(key, value),
        };
        has_enough = shown.is_break();
        shown
    })?;
    if !has_enough {
        for (changed, to) in own {
            if show(each, changed, to.as_deref()).is_break() {
                break;
            }
        }
    }
    Ok(())
}

fn show(each: &mut Each<'_>, key: &[u8], value: Option<&[u8]>) -> ControlFlow<()> {
    match value {
        Some(value) => each(key, value),
        None => ControlFlow::Continue(()),
    }
}
