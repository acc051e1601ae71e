//! The smaller commits: settle, postpone, fire, bury, dismiss, requeue, administer.

use super::accept::{first_of, resolve};
use super::commit::{Answer, Plan, SealedSettle, Tail, new_input};
use super::fold::State;
use crate::api::{Administer, DueTimer, EffectStatus, Fate, InputStatus, Settled};
use crate::error::StoreError;
use crate::keys;
use crate::record::{Body, Entry, Fired, KeepRecord, NewFate, NewInput};
use crate::shapes::pack;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::EffectId;
use bursar_domain::ids::Timestamp;
use bursar_domain::input::InputSource;
use std::collections::BTreeSet;

pub(super) fn settle(state: &State<'_>, settle: SealedSettle) -> Result<Plan, StoreError> {
    let row = state.effect(&settle.id)?;
    let row = row.ok_or_else(|| StoreError::Invalid(format!("no effect {}", settle.id.0)))?;
    if row.status != EffectStatus::Pending {
        return Ok(Plan::nothing(Answer::Settled(Settled::AlreadySettled)));
    }
    let mut tail = Tail::default();
    let mut result = None;
    let mut woken = None;
    if let Some(arrival) = settle.result {
        let known = first_of(state, &arrival.inbound.source.dedup_text())?.is_some();
        if !known {
            let fate = resolve(state, arrival.inbound.fate.clone(), &BTreeSet::new())?;
            woken = fate.inbox().cloned();
            let seq = state.counters.next_seq.max(1);
            result = Some(Box::new(new_input(seq, fate, arrival, &mut tail)?));
        }
    }
    Ok(Plan {
        entry: Some(Entry::Settled {
            id: settle.id,
            status: settle.status,
            note: settle.note,
            at: settle.at,
            result,
        }),
        bodies: tail.finish(),
        answer: Answer::Settled(Settled::Settled { woken }),
    })
}

pub(super) fn postpone(
    state: &State<'_>,
    id: EffectId,
    attempted: bool,
    due_at: Timestamp,
    error: String,
) -> Result<Plan, StoreError> {
    let row = state.effect(&id)?;
    let row = row.ok_or_else(|| StoreError::Invalid(format!("no effect {}", id.0)))?;
    if row.status != EffectStatus::Pending {
        return Ok(Plan::nothing(Answer::Done));
    }
    let entry = Entry::Postponed {
        id,
        attempted,
        due_at,
        error,
    };
    Ok(Plan::write(entry, Answer::Done))
}

pub(super) fn fire(
    state: &State<'_>,
    timers: Vec<DueTimer>,
    now: Timestamp,
) -> Result<Plan, StoreError> {
    let mut fired: Vec<Fired> = Vec::new();
    let mut woken = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for timer in timers {
        let stored = state.kv.get(&keys::timer(&timer.aggregate, &timer.name))?;
        let stands = stored == Some(pack(&timer.at)?);
        if !stands || !seen.insert((timer.aggregate.clone(), timer.name.clone())) {
            continue;
        }
        woken.insert(timer.aggregate.clone());
        fired.push(Fired {
            name: timer.name.clone(),
            at: timer.at,
            input: NewInput {
                seq: state.counters.next_seq.max(1) + fired.len() as u64,
                source: InputSource::Timer(timer.aggregate.clone(), timer.name.clone(), timer.at),
                kind: timer.name,
                fate: NewFate::Pending {
                    to: timer.aggregate,
                },
                object_ids: Vec::new(),
                created_at: None,
                received_at: now,
                subject: None,
                tenant: None,
                body: Body::default(),
            },
        });
    }
    let answer = Answer::Woken(woken.into_iter().collect());
    if fired.is_empty() {
        return Ok(Plan::nothing(answer));
    }
    Ok(Plan::write(Entry::Fired(fired), answer))
}

pub(super) fn bury(
    state: &State<'_>,
    seq: u64,
    reason: String,
    at: Timestamp,
) -> Result<Plan, StoreError> {
    let row = state.input_if_any(seq)?;
    if row.is_none_or(|row| row.status != InputStatus::Received) {
        return Ok(Plan::nothing(Answer::Flag(false)));
    }
    let entry = Entry::Buried { seq, reason, at };
    Ok(Plan::write(entry, Answer::Flag(true)))
}

pub(super) fn dismiss(
    state: &State<'_>,
    seq: u64,
    reason: String,
    at: Timestamp,
) -> Result<Plan, StoreError> {
    let row = state.input_if_any(seq)?;
    if row.is_none_or(|row| !matches!(row.status, InputStatus::Dead | InputStatus::Parked)) {
        return Ok(Plan::nothing(Answer::Flag(false)));
    }
    let entry = Entry::Dismissed { seq, reason, at };
    Ok(Plan::write(entry, Answer::Flag(true)))
}

pub(super) fn requeue(
    state: &State<'_>,
    items: Vec<(u64, Fate)>,
    at: Timestamp,
) -> Result<Plan, StoreError> {
    let mut changed = Vec::new();
    let mut woken: BTreeSet<AggregateKey> = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let kept_from = super::keeper::kept_from(&state.kv)?;
    for (seq, fate) in items {
        let row = state.input_if_any(seq)?;
        // What retention dropped can never be applied again.
        let ended = row.is_some_and(|row| {
            row.status != InputStatus::Received && (row.body.len == 0 || row.record >= kept_from)
        });
        if !ended || !seen.insert(seq) {
            continue;
        }
        let fate = resolve(state, fate, &BTreeSet::new())?;
        woken.extend(fate.inbox().cloned());
        changed.push((seq, fate));
    }
    let answer = Answer::Woken(woken.into_iter().collect());
    if changed.is_empty() {
        return Ok(Plan::nothing(answer));
    }
    let items = changed;
    Ok(Plan::write(Entry::Requeued { items, at }, answer))
}

pub(super) fn administer(state: &State<'_>, write: Administer) -> Result<Plan, StoreError> {
    for (space, key) in &write.must_be_absent {
        if state.kv.has(&keys::keep(space, key))? {
            return Ok(Plan::nothing(Answer::Flag(false)));
        }
    }
    if write.keeps.is_empty() && write.audit.is_empty() {
        return Ok(Plan::nothing(Answer::Flag(true)));
    }
    let keeps = write.keeps.into_iter().map(|keep| KeepRecord {
        space: keep.space.to_owned(),
        key: keep.key,
        value: keep.value,
    });
    let entry = Entry::Administered {
        keeps: keeps.collect(),
        audit: write.audit,
    };
    Ok(Plan::write(entry, Answer::Flag(true)))
}
