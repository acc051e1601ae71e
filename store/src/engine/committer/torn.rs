//! The seeded bug M3: what a decision posts is one group of the journal, what it sends is the next.
//!
//! Not here: why anybody would want that (`bursar_domain::mutants`).

use super::{Committer, Group, State, fold};
use crate::error::StoreError;
use crate::kv::Overlay;
use crate::record::{ApplyRecord, Entry, StepRecord, encode};
use std::cell::RefCell;

thread_local! {
    /// Outbox halves that wait for the group of their other half; a committer is one thread.
    static PUT_OFF: RefCell<Vec<ApplyRecord>> = const { RefCell::new(Vec::new()) };
}

/// Takes the effects out of a decision's record.
pub(super) fn put_off(entry: Option<Entry>) -> Option<Entry> {
    let Some(Entry::Applied(mut whole)) = entry else {
        return entry;
    };
    let mut outbox = ApplyRecord {
        steps: Vec::new(),
        messages: Vec::new(),
        freed: Vec::new(),
        unfreed: Vec::new(),
        ..(*whole).clone()
    };
    for step in &mut whole.steps {
        let effects = std::mem::take(&mut step.decision.effects);
        if effects.is_empty() {
            continue;
        }
        let mut rest = StepRecord {
            looked_up: Vec::new(),
            ..step.clone()
        };
        let decision = &mut rest.decision;
        let (kind, reason) = (decision.disposition, decision.reason.clone());
        *decision = bursar_domain::decision::Decision::nothing(kind, reason);
        decision.effects = effects;
        outbox.steps.push(rest);
    }
    if !outbox.steps.is_empty() {
        PUT_OFF.with_borrow_mut(|waiting| waiting.push(outbox));
    }
    Some(Entry::Applied(whole))
}

/// Writes the outbox halves as a group of their own.
pub(super) fn write_put_off(committer: &mut Committer) -> Result<(), StoreError> {
    let waiting = PUT_OFF.take();
    if waiting.is_empty() {
        return Ok(());
    }
    let shared = std::sync::Arc::clone(&committer.shared);
    let mut state = State::new(
        Overlay::new(shared.kv.as_ref(), committer.folded.tally.clone()),
        committer.folded.counters.clone(),
    );
    let mut group = Group::default();
    for half in waiting {
        let entry = Entry::Applied(Box::new(half));
        let number = committer.folded.record + 1 + group.records.len() as u64;
        group.records.push(encode(&entry, &[])?);
        fold(&mut state, number, entry)?;
    }
    committer.make_durable(state, &mut group)
}
