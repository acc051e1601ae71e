//! The store as a whole: the fold again, the digest, the figures.

use super::{get, input_body, open, record};
use crate::engine::fold::broken;
use crate::engine::fold_apply::sum_of;
use crate::engine::shared::{Shared, Wants};
use crate::error::StoreError;
use crate::keys::{self, Fields};
use crate::kv::{end_of, first};
use crate::query::{JournalAudit, Stats, VerifyItem, VerifyStep};
use crate::record::{ApplyRecord, Entry, StepRecord, decode};
use crate::shapes::{EffectRow, InputRow, StoredRow, unpack};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Lane;
use bursar_domain::ids::Timestamp;
use bursar_domain::input::StoredInput;
use bursar_domain::rows::RowKind;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Effects of a lane that are looked at for the oldest.
const OLDEST_AMONG: usize = 64;

/// Most applies of one answer.
const APPLIED_MAX: usize = 256;

pub(in crate::engine) fn applied(
    shared: &Shared,
    cursor: u64,
    limit: usize,
) -> Result<Vec<VerifyItem>, StoreError> {
    let first_kept = cursor.saturating_add(1).max(first_applied(shared)?);
    let low = keys::applied(first_kept);
    let high = end_of(&[keys::APPLIED]);
    let found = first(shared.kv.as_ref(), &low, &high, limit.min(APPLIED_MAX))?;
    let mut out = Vec::with_capacity(found.len());
    for (_, number) in found {
        let number = record_of(&number)?;
        // Dropped since we looked where to begin.
        let Some(bytes) = record(shared, number)? else {
            continue;
        };
        let (Entry::Applied(apply), _) = decode(&bytes)? else {
            return Err(broken(format!("record {number} is no apply")));
        };
        out.push(verify_item(shared, *apply)?);
    }
    Ok(out)
}

fn record_of(applied: &[u8]) -> Result<u64, StoreError> {
    applied
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| broken("an applied row cannot be read".to_owned()))
}

/// The number of the first apply whose record is kept. Applies are numbered in the order of their records.
fn first_applied(shared: &Shared) -> Result<u64, StoreError> {
    let kept_from = shared.records.first();
    let (mut low, mut high) = (1, shared.counters().next_applied.max(1));
    if kept_from == 1 {
        return Ok(1);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        let record = shared.kv.get(&keys::applied(middle))?;
        let record = record.ok_or_else(|| broken(format!("apply {middle} is missing")))?;
        if record_of(&record)? < kept_from {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

pub(in crate::engine) fn audit_journal(shared: &Shared) -> Result<JournalAudit, StoreError> {
    let walked = shared.records.audit()?;
    Ok(JournalAudit {
        first_record: shared.records.first(),
        records: walked.records,
        checkpoints: walked.checkpoints,
        applies_dropped: first_applied(shared)? - 1,
        damage: walked.damage,
    })
}

fn verify_item(shared: &Shared, apply: ApplyRecord) -> Result<VerifyItem, StoreError> {
    let (steps, aggregate) = (apply.steps.into_iter(), apply.aggregate);
    Ok(VerifyItem {
        position: apply.number,
        version: apply.version,
        reducer_rev: apply.reducer_rev,
        settings: apply.settings,
        steps: steps
            .map(|step| verify_step(shared, &aggregate, step))
            .collect::<Result<_, _>>()?,
        aggregate,
    })
}

fn verify_step(
    shared: &Shared,
    aggregate: &AggregateKey,
    step: StepRecord,
) -> Result<VerifyStep, StoreError> {
    let row: Option<InputRow> = get(shared, &keys::input(step.seq))?;
    let row = row.ok_or_else(|| broken(format!("input {} is missing", step.seq)))?;
    let body = input_body(shared, &row)?;
    let decision = step.decision;
    let snapshot = match &decision.snapshot {
        Some(stored) => open(shared, decision.snapshot_subject.as_ref(), stored)?,
        None => None,
    };
    Ok(VerifyStep {
        input: StoredInput {
            seq: step.seq,
            source: row.source,
            kind: row.kind,
            received_at: row.received_at,
            body: body.clone().unwrap_or_default(),
        },
        gone: body.err(),
        now: step.now,
        looked_up: step.looked_up,
        decision_sha256: hex::encode(step.decision_sha256),
        snapshot,
        rewrote_own_row: aggregate.rewrites_own_row(&decision.rows),
    })
}

/// A digest of fields that cannot run into each other.
struct Canon(Sha256);

impl Canon {
    fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }
}

/// Calls `each` for every pair under a prefix; its first error ends the walk.
fn walk(
    shared: &Shared,
    prefix: u8,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut failed = Ok(());
    let low = [prefix];
    shared
        .kv
        .range(&low, &end_of(&low), false, &mut |key, value| {
            failed = each(key, value);
            match failed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
    failed
}

pub(in crate::engine) fn state_digest(shared: &Shared) -> Result<String, StoreError> {
    let mut canon = Canon(Sha256::new());
    canon.field(b"bursar state 1");
    let commands = RowKind::Command as u8;
    walk(shared, keys::ROW, |key, bytes| {
        // How an order of ours went is no part of what is true of a tenant.
        if key.get(1) == Some(&commands) {
            return Ok(());
        }
        let row: StoredRow = unpack(bytes)?;
        canon.field(key);
        canon.field(row.tenant.as_ref().map_or("", |t| t.as_str()).as_bytes());
        let created = row.created_at.map(|at| at.0.to_be_bytes());
        canon.field(created.as_ref().map_or(&[], |bytes| bytes.as_slice()));
        canon.field(row.status.as_bytes());
        canon.field(&[u8::from(row.hidden)]);
        canon.field(&canonical(&row.value)?);
        match &row.personal {
            Some((subject, sealed)) => match open(shared, Some(subject), sealed)? {
                Some(fields) => canon.field(&canonical(&fields)?),
                None => canon.field(b"erased"),
            },
            None => canon.field(b""),
        }
        Ok(())
    })?;
    for prefix in [keys::ALIAS, keys::NET, keys::BALANCE] {
        walk(shared, prefix, |key, value| {
            canon.field(key);
            canon.field(value);
            if prefix != keys::ALIAS && sum_of(value)? == 0 {
                return Err(broken("a sum of zero is stored".to_owned()));
            }
            Ok(())
        })?;
    }
    Ok(hex::encode(canon.0.finalize()))
}

/// A JSON object with sorted keys and without its `version`, which counts commits and not facts.
fn canonical(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|_| broken("a row is no JSON object".to_owned()))?;
    object.remove("version");
    object.sort_keys();
    serde_json::to_vec(&object).map_err(|_| broken("a row cannot be written".to_owned()))
}

pub(in crate::engine) fn stats(shared: &Shared) -> Result<Stats, StoreError> {
    let counters = shared.counters();
    let lane = |lane: Lane| (lane, counters.outbox.get(&(lane as u8)).copied());
    let outbox = Lane::ALL.iter().map(|one| lane(*one));
    let kind = |byte: u8| RowKind::ALL.into_iter().find(|kind| *kind as u8 == byte);
    let rows = counters.rows.iter().filter_map(|((byte, status), count)| {
        kind(*byte).map(|kind| (kind, status.clone(), *count))
    });
    let (disk_free_bytes, disk_total_bytes) = shared.room();
    Ok(Stats {
        inputs: counters.inputs,
        pending: counters.pending,
        oldest_pending_at: oldest_pending(shared)?,
        parked: counters.parked,
        dead: counters.dead,
        outbox: outbox.map(|(lane, n)| (lane, n.unwrap_or(0))).collect(),
        outbox_oldest: oldest_effects(shared, &counters.outbox)?,
        rows: rows.collect(),
        queue_depth: shared.queue.len() as u64,
        disk_bytes: shared.disk_bytes(),
        disk_free_bytes,
        disk_total_bytes,
        blob_files: shared.kv.stray_files(),
        intake_refused: shared.refuses(Wants::Delivery),
        rebuilding: false,
    })
}

/// When the oldest effect of each lane was decided, among the next that are due or will be: what is tried
/// again stands behind what was decided later, so the first alone says little.
fn oldest_effects(
    shared: &Shared,
    pending: &BTreeMap<u8, u64>,
) -> Result<Vec<(Lane, Timestamp)>, StoreError> {
    let mut all = Vec::new();
    for lane in Lane::ALL {
        if pending.get(&(lane as u8)).is_none_or(|count| *count == 0) {
            continue;
        }
        let high = end_of(&[keys::DUE_EFFECT, lane as u8]);
        let low = shared.due.look(lane as u8).low;
        let mut oldest = None;
        for (key, _) in first(shared.kv.as_ref(), &low, &high, OLDEST_AMONG)? {
            let mut fields = Fields::of(&key);
            let _ = (fields.byte(), fields.time());
            let Some(id) = fields.text() else { continue };
            let row: Option<EffectRow> = get(shared, &keys::effect(&id))?;
            let decided_at = row.map(|row| row.decided_at);
            oldest = match (oldest, decided_at) {
                (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
                (one, other) => one.or(other),
            };
        }
        all.extend(oldest.map(|at| (lane, at)));
    }
    Ok(all)
}

fn oldest_pending(shared: &Shared) -> Result<Option<bursar_domain::ids::Timestamp>, StoreError> {
    let status = crate::api::InputStatus::Received as u8;
    let low = keys::Key::new(keys::STATUS).byte(status);
    let mut oldest = None;
    shared.kv.range(&low, &end_of(&low), true, &mut |key, _| {
        let mut fields = Fields::of(key);
        let _ = fields.byte();
        oldest = fields.newest();
        ControlFlow::Break(())
    })?;
    match oldest {
        Some(seq) => {
            let row: Option<InputRow> = get(shared, &keys::input(seq))?;
            Ok(row.map(|row| row.received_at))
        }
        None => Ok(None),
    }
}
