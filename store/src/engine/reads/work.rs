//! What actors read: snapshots, inboxes, links, what is ready and due.

use super::{get, input_body, number_of, open};
use crate::api::{DueEffect, DueTimer, EffectStatus, InputStatus, Snapshot};
use crate::engine::fold::broken;
use crate::engine::shared::Shared;
use crate::error::StoreError;
use crate::keys::{self, Fields, Key};
use crate::kv::{end_of, first};
use crate::query::Gone;
use crate::shapes::{AggregateRow, EffectRow, InputRow};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{EffectId, Lane};
use bursar_domain::ids::Timestamp;
use bursar_domain::input::StoredInput;
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::rows::Subject;
use std::collections::BTreeSet;

/// Most items of one answer, whatever was asked for.
const ANSWER_MAX: usize = 1_000;

/// Most waiting inputs looked through for whose they are.
const AWAITED_MAX: usize = 10_000;

pub(in crate::engine) fn load(
    shared: &Shared,
    aggregate: &AggregateKey,
) -> Result<Option<Snapshot>, StoreError> {
    let Some(row) = get::<AggregateRow>(shared, &keys::aggregate(aggregate))? else {
        return Ok(None);
    };
    // Deciding from nothing would book everything twice: an erased snapshot is refused instead.
    let bytes = open(shared, row.subject.as_ref(), &row.snapshot)?
        .ok_or_else(|| StoreError::Invalid(format!("the snapshot of {aggregate} was erased")))?;
    Ok(Some(Snapshot {
        version: row.version,
        bytes,
    }))
}

pub(in crate::engine) fn holders(
    shared: &Shared,
    subject: &Subject,
    limit: usize,
) -> Result<Vec<AggregateKey>, StoreError> {
    let prefix = Key::new(keys::HOLDER).text(&subject.0);
    let limit = limit.min(ANSWER_MAX);
    let mut out = Vec::new();
    for (key, _) in first(shared.kv.as_ref(), &prefix, &end_of(&prefix), limit)? {
        let mut fields = Fields::of(&key);
        let _ = fields.text();
        out.push(aggregate_of(&mut fields)?);
    }
    Ok(out)
}

/// Those of the subjects of whom an input waits.
pub(in crate::engine) fn awaited(
    shared: &Shared,
    subjects: Vec<Subject>,
) -> Result<Vec<Subject>, StoreError> {
    let mut found = BTreeSet::new();
    for status in [InputStatus::Received, InputStatus::Parked] {
        let low = Key::new(keys::STATUS).byte(status as u8);
        let waiting = first(shared.kv.as_ref(), &low, &end_of(&low), AWAITED_MAX + 1)?;
        if waiting.len() > AWAITED_MAX {
            return Ok(subjects);
        }
        for (key, _) in waiting {
            let mut fields = Fields::of(&key);
            let _ = fields.byte();
            let Some(seq) = fields.newest() else { continue };
            let row = get::<InputRow>(shared, &keys::input(seq))?;
            found.extend(row.and_then(|row| row.subject));
        }
    }
    Ok(subjects
        .into_iter()
        .filter(|subject| found.contains(subject))
        .collect())
}

pub(in crate::engine) fn pending(
    shared: &Shared,
    aggregate: &AggregateKey,
    limit: usize,
) -> Result<Vec<StoredInput>, StoreError> {
    let prefix = keys::pending_of(aggregate);
    let limit = limit.min(ANSWER_MAX);
    let found = first(shared.kv.as_ref(), &prefix, &end_of(&prefix), limit)?;
    let mut out = Vec::with_capacity(found.len());
    for (key, _) in found {
        let seq = number_of(&key)?;
        let Some(row) = get::<InputRow>(shared, &keys::input(seq))? else {
            return Err(broken(format!("input {seq} is missing")));
        };
        let body = match input_body(shared, &row)? {
            Ok(body) => body,
            Err(Gone::Erased) => Vec::new(),
            Err(Gone::Dropped) => {
                return Err(broken(format!(
                    "the record of pending input {seq} was dropped"
                )));
            }
        };
        out.push(StoredInput {
            seq,
            source: row.source,
            kind: row.kind,
            received_at: row.received_at,
            body,
        });
    }
    Ok(out)
}

pub(in crate::engine) fn links(
    shared: &Shared,
    keys: &[LinkKey],
) -> Result<Vec<Option<LinkTarget>>, StoreError> {
    keys.iter()
        .map(|key| get(shared, &crate::keys::link(key)))
        .collect()
}

pub(in crate::engine) fn ready(
    shared: &Shared,
    cursor: Option<&AggregateKey>,
    limit: usize,
) -> Result<Vec<AggregateKey>, StoreError> {
    let low = match cursor {
        Some(cursor) => end_of(&keys::ready(cursor)),
        None => Key::new(keys::READY),
    };
    let high = end_of(&[keys::READY]);
    let found = first(shared.kv.as_ref(), &low, &high, limit.min(ANSWER_MAX))?;
    found
        .iter()
        .map(|(key, _)| aggregate_of(&mut Fields::of(key)))
        .collect()
}

fn aggregate_of(fields: &mut Fields<'_>) -> Result<AggregateKey, StoreError> {
    let text = fields.text();
    text.and_then(|text| AggregateKey::parse(&text).ok())
        .ok_or_else(|| broken("a key names no aggregate".to_owned()))
}

pub(in crate::engine) fn due_effects(
    shared: &Shared,
    lane: Lane,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<DueEffect>, StoreError> {
    let high = Key::new(keys::DUE_EFFECT)
        .byte(lane as u8)
        .time(now.plus_ms(1));
    let look = shared.due.look(lane as u8);
    if limit == 0 || look.low >= high {
        return Ok(Vec::new());
    }
    let found = first(shared.kv.as_ref(), &look.low, &high, limit.min(ANSWER_MAX))?;
    shared
        .due
        .seen(&look, found.first().map_or(&high, |(key, _)| key));
    let mut out = Vec::with_capacity(found.len());
    for (key, _) in found {
        let mut fields = Fields::of(&key);
        let _ = (fields.byte(), fields.time());
        let id = fields
            .text()
            .ok_or_else(|| broken("a due effect cannot be read".to_owned()))?;
        // It may have ended since the index was read.
        let row = get::<EffectRow>(shared, &keys::effect(&id))?;
        let Some(row) = row.filter(|row| row.status == EffectStatus::Pending) else {
            continue;
        };
        let payload = open(shared, row.subject.as_ref(), &row.payload)?;
        out.push(DueEffect {
            id: EffectId(id),
            aggregate: row.aggregate,
            lane: row.lane,
            kind: row.kind,
            attempts: row.attempts,
            decided_at: row.decided_at,
            payload,
        });
    }
    Ok(out)
}

pub(in crate::engine) fn due_timers(
    shared: &Shared,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<DueTimer>, StoreError> {
    let low = Key::new(keys::DUE_TIMER);
    let high = Key::new(keys::DUE_TIMER).time(now.plus_ms(1));
    let found = first(shared.kv.as_ref(), &low, &high, limit.min(ANSWER_MAX))?;
    let mut out = Vec::with_capacity(found.len());
    for (key, _) in found {
        let mut fields = Fields::of(&key);
        let at = fields.time();
        let aggregate = aggregate_of(&mut fields)?;
        let (Some(at), Some(name)) = (at, fields.text()) else {
            return Err(broken("a due timer cannot be read".to_owned()));
        };
        out.push(DueTimer {
            aggregate,
            name,
            at,
        });
    }
    Ok(out)
}

pub(in crate::engine) fn next_due(
    shared: &Shared,
    lane: Option<Lane>,
) -> Result<Option<Timestamp>, StoreError> {
    let (low, high) = match lane {
        Some(lane) => {
            let front = Key::new(keys::DUE_EFFECT).byte(lane as u8);
            (shared.due.look(lane as u8).low, end_of(&front))
        }
        None => (Key::new(keys::DUE_TIMER), end_of(&[keys::DUE_TIMER])),
    };
    let found = first(shared.kv.as_ref(), &low, &high, 1)?;
    let Some((key, _)) = found.first() else {
        return Ok(None);
    };
    let mut fields = Fields::of(key);
    if lane.is_some() {
        let _ = fields.byte();
    }
    Ok(fields.time())
}
