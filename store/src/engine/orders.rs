//! The smaller commits: settle, postpone, revive, fire, bury, dismiss, requeue, administer.

use super::accept::{first_of, resolve};
use super::commit::{Answer, Plan, SealedAdminister, SealedSettle, Tail, new_input};
use super::fold::{State, revived};
use super::reads::books::outbox_view;
use crate::api::{DueTimer, EffectStatus, Fate, InputStatus, Revive, Revived, Settled};
use crate::error::StoreError;
use crate::keys;
use crate::record::{Body, Entry, Fired, KeptRecord, NewFate, NewInput};
use crate::shapes::{SealedRow, pack, unpack};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::EffectId;
use bursar_domain::ids::Timestamp;
use bursar_domain::input::InputSource;
use sha2::{Digest, Sha256};
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
        let known = first_of(state, &keys::dedup(&arrival.inbound.source))?.is_some();
        if !known {
            let seq = state.counters.next_seq.max(1);
            let fate = |fate| resolve(state, fate, &BTreeSet::new());
            let input = new_input(seq, arrival, &mut tail, fate)?;
            woken = input.fate.inbox().cloned();
            result = Some(Box::new(input));
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

pub(super) fn revive(state: &State<'_>, revive: Revive) -> Result<Plan, StoreError> {
    let Some(row) = state.effect(&revive.id)? else {
        return Ok(Plan::nothing(Answer::Revived(Revived::Unknown)));
    };
    let has_failed = matches!(row.status, EffectStatus::Failed | EffectStatus::Dead);
    if !has_failed || !revive.lanes.contains(&row.lane) {
        return Ok(Plan::nothing(Answer::Revived(Revived::Refused)));
    }
    let revive_id = revive.id.0.clone();
    let entry = Entry::Revived {
        id: revive.id,
        at: revive.at,
        audit: revive.audit,
    };
    let shown = outbox_view(revive_id, revived(row, revive.at));
    let answer = Answer::Revived(Revived::Pending(Box::new(shown)));
    Ok(Plan::write(entry, answer))
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

pub(super) fn administer(state: &State<'_>, write: SealedAdminister) -> Result<Plan, StoreError> {
    let refused = Ok(Plan::nothing(Answer::Flag(false)));
    for (space, key) in &write.must_be_absent {
        if kept_sha256(state, space, key)?.is_some() {
            return refused;
        }
    }
    for (space, key, sha256) in &write.must_be_unchanged {
        if kept_sha256(state, space, key)? != Some(*sha256) {
            return refused;
        }
    }
    let KeptRecord {
        keeps,
        sealed,
        effects,
        audit,
        at: _,
    } = &write.record;
    let is_plain = sealed.is_empty() && effects.is_empty();
    if is_plain && keeps.is_empty() && audit.is_empty() {
        return Ok(Plan::nothing(Answer::Flag(true)));
    }
    let entry = if is_plain {
        Entry::Administered {
            keeps: write.record.keeps,
            audit: write.record.audit,
        }
    } else {
        Entry::Kept(Box::new(write.record))
    };
    Ok(Plan::write(entry, Answer::Flag(true)))
}

/// SHA-256 of a kept record's plain bytes; `None`: there is none.
fn kept_sha256(state: &State<'_>, space: &str, key: &str) -> Result<Option<[u8; 32]>, StoreError> {
    if let Some(bytes) = state.kv.get(&keys::keep(space, key))? {
        return Ok(Some(Sha256::digest(bytes).into()));
    }
    match state.kv.get(&keys::sealed_keep(space, key))? {
        Some(bytes) => Ok(Some(unpack::<SealedRow>(&bytes)?.sha256)),
        None => Ok(None),
    }
}
