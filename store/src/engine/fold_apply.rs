//! What an apply writes: the consumed inputs, links, rows, ledger, lines, effects, timers.
//!
//! Invariants: balances and nets are sums of the ledger entries written beside them, in 128 bits,
//! and a sum of zero is no row; an effect whose id exists is not written again.

use super::fold::{State, change, end_row, free, insert};
use crate::api::EffectStatus;
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::record::{ApplyRecord, StepRecord};
use crate::shapes::{AggregateRow, EffectRow, LedgerRow, LineRow, StoredRow, pack, unpack};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{EffectIntent, Movement, TimelineEntry, TimerWrite};
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::link::LinkKey;
use bursar_domain::money::Money;
use bursar_domain::rows::{Row, RowKind, RowWrite};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn fold_apply(
    state: &mut State<'_>,
    number: u64,
    apply: ApplyRecord,
) -> Result<(), StoreError> {
    for step in &apply.steps {
        fold_step(state, &apply, step)?;
    }
    file_snapshot(state, &apply)?;
    for input in apply.messages {
        insert(state, number, input)?;
    }
    free(state, &apply.freed)?;
    for link in &apply.unfreed {
        state.kv.put(keys::unfreed(link), Vec::new())?;
    }
    state.counters.next_applied = state.counters.next_applied.max(apply.number + 1);
    state
        .kv
        .put_new(keys::applied(apply.number), number.to_be_bytes().to_vec());
    Ok(())
}

fn fold_step(
    state: &mut State<'_>,
    apply: &ApplyRecord,
    step: &StepRecord,
) -> Result<(), StoreError> {
    let decision = &step.decision;
    let tenant = tenant_of(&apply.aggregate, &decision.timeline);
    let mut waited = 0;
    change(state, step.seq, |row| {
        waited = step.now.0.saturating_sub(row.received_at.0);
        end_row(row, decision.disposition, &decision.reason, step.now);
        if tenant.is_some() {
            row.tenant = tenant;
        }
    })?;
    // Negative if the clock was set back.
    let waited = Duration::from_millis(u64::try_from(waited).unwrap_or(0));
    state.waited = state.waited.max(Some(waited));
    for link in &decision.links {
        state.kv.put(keys::link(&link.key), pack(&link.target)?)?;
    }
    for row in &decision.rows {
        write_row(state, apply.version, row)?;
    }
    for movement in &decision.movements {
        post(state, movement)?;
    }
    for entry in &decision.timeline {
        add_line(state, &apply.aggregate, step.seq, entry)?;
    }
    for effect in &decision.effects {
        let is_skipped = apply.skipped_lanes.contains(&effect.lane);
        add_effect(state, &apply.aggregate, step.now, effect, is_skipped)?;
    }
    for timer in &decision.timers {
        set_timer(state, &apply.aggregate, timer)?;
    }
    Ok(())
}

fn tenant_of(aggregate: &AggregateKey, lines: &[TimelineEntry]) -> Option<TenantId> {
    match aggregate {
        AggregateKey::Tenant(tenant) => Some(tenant.clone()),
        _ => lines.iter().find_map(|line| line.tenant.clone()),
    }
}

fn file_snapshot(state: &mut State<'_>, apply: &ApplyRecord) -> Result<(), StoreError> {
    let key = keys::aggregate(&apply.aggregate);
    let mut row = match state.kv.get(&key)? {
        Some(bytes) => unpack(&bytes)?,
        None => AggregateRow {
            version: 0,
            subject: None,
            snapshot: Vec::new(),
        },
    };
    row.version = apply.version;
    let newest = apply.steps.iter().rev().find_map(|step| {
        let decision = &step.decision;
        let bytes = decision.snapshot.as_ref()?;
        Some((bytes, &decision.snapshot_subject))
    });
    if let Some((bytes, subject)) = newest {
        if row.subject != *subject {
            if let Some(old) = &row.subject {
                state.kv.delete(keys::holder(&old.0, &apply.aggregate))?;
            }
            if let Some(new) = subject {
                let holder = keys::holder(&new.0, &apply.aggregate);
                state.kv.put(holder, Vec::new())?;
            }
        }
        row.subject.clone_from(subject);
        row.snapshot.clone_from(bytes);
    }
    state.kv.put(key, pack(&row)?)
}

fn list_keys(
    kind: RowKind,
    scope: &Scope,
    id: &str,
    tenant: Option<&TenantId>,
    created_at: Option<Timestamp>,
) -> Vec<Key> {
    let key = |of: Option<&TenantId>| {
        keys::row_list(kind as u8, of)
            .created(created_at)
            .text(id)
            .text(scope.as_str())
    };
    let mut out = vec![key(None)];
    out.extend(tenant.map(|tenant| key(Some(tenant))));
    out
}

fn write_row(state: &mut State<'_>, version: u64, write: &RowWrite) -> Result<(), StoreError> {
    match write {
        RowWrite::Put(row) => {
            remove_row(state, row.kind, &row.scope, &row.id)?;
            put_row(state, version, row)
        }
        RowWrite::Delete { kind, scope, id } => remove_row(state, *kind, scope, id),
        RowWrite::Alias {
            kind,
            scope,
            alias,
            id,
        } => state.kv.put(
            keys::alias(*kind as u8, alias, scope),
            id.clone().into_bytes(),
        ),
    }
}

fn put_row(state: &mut State<'_>, version: u64, row: &Row) -> Result<(), StoreError> {
    let stored = StoredRow {
        tenant: row.tenant.clone(),
        created_at: row.created_at,
        status: row.status.clone(),
        hidden: row.hidden,
        version,
        value: row.value.clone(),
        personal: row
            .personal
            .as_ref()
            .map(|personal| (personal.subject.clone(), personal.fields.clone())),
    };
    let mut listed = vec![u8::from(row.hidden)];
    listed.extend_from_slice(row.status.as_bytes());
    let tenant = row.tenant.as_ref();
    for key in list_keys(row.kind, &row.scope, &row.id, tenant, row.created_at) {
        state.kv.put(key, listed.clone())?;
    }
    let slot = (row.kind as u8, row.status.clone());
    *state.counters.rows.entry(slot).or_default() += 1;
    let key = keys::row(row.kind as u8, &row.id, &row.scope);
    state.kv.put(key, pack(&stored)?)
}

fn remove_row(
    state: &mut State<'_>,
    kind: RowKind,
    scope: &Scope,
    id: &str,
) -> Result<(), StoreError> {
    let key = keys::row(kind as u8, id, scope);
    let Some(bytes) = state.kv.get(&key)? else {
        return Ok(());
    };
    let old: StoredRow = unpack(&bytes)?;
    for listed in list_keys(kind, scope, id, old.tenant.as_ref(), old.created_at) {
        state.kv.delete(listed)?;
    }
    let slot = (kind as u8, old.status);
    if let Some(count) = state.counters.rows.get_mut(&slot) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            state.counters.rows.remove(&slot);
        }
    }
    state.kv.delete(key).map(|_| ())
}

fn post(state: &mut State<'_>, movement: &Movement) -> Result<(), StoreError> {
    let payment = movement.payment.as_ref().map(LinkKey::to_string);
    for entry in &movement.entries {
        let number = state.counters.next_ledger;
        state.counters.next_ledger += 1;
        let row = LedgerRow {
            account: entry.account,
            amount: Money::new(entry.amount_minor, entry.currency),
            source: movement.source.clone(),
            at: movement.at,
            tenant: movement.tenant.clone(),
            payment: movement.payment.clone(),
        };
        state.kv.put_new(keys::ledger(number), pack(&row)?);
        let account = entry.account.as_str();
        let tenant = movement.tenant.as_ref().map(TenantId::as_str);
        let lists = [
            (keys::LEDGER_ALL, Some("")),
            (keys::LEDGER_TENANT, tenant),
            (keys::LEDGER_PAYMENT, payment.as_deref()),
            (keys::LEDGER_ACCOUNT, Some(account)),
        ];
        for (by, whose) in lists {
            let Some(whose) = whose else { continue };
            let key = keys::ledger_list(by, whose)
                .time(movement.at)
                .number(number);
            state.kv.put_new(key, Vec::new());
        }
        let amount = i128::from(entry.amount_minor);
        let account = entry.account as u8;
        let balance = keys::balance(movement.tenant.as_ref(), account, entry.currency);
        add(state, balance, amount)?;
        let net = Key::new(keys::NET)
            .text(&movement.source)
            .text(tenant.unwrap_or_default())
            .text(payment.as_deref().unwrap_or_default())
            .byte(account)
            .currency(entry.currency);
        add(state, net, amount)?;
    }
    Ok(())
}

/// Adds to a stored sum; zero is no row.
fn add(state: &mut State<'_>, key: Key, amount: i128) -> Result<(), StoreError> {
    let before = match state.kv.get(&key)? {
        Some(bytes) => sum_of(&bytes)?,
        None => 0,
    };
    match before.checked_add(amount) {
        Some(0) => state.kv.delete(key).map(|_| ()),
        Some(sum) => state.kv.put(key, sum.to_be_bytes().to_vec()),
        None => Err(super::fold::broken("a sum is out of range".to_owned())),
    }
}

/// Reads a stored sum.
pub(super) fn sum_of(bytes: &[u8]) -> Result<i128, StoreError> {
    bytes
        .try_into()
        .map(i128::from_be_bytes)
        .map_err(|_| super::fold::broken("a sum cannot be read".to_owned()))
}

fn add_line(
    state: &mut State<'_>,
    aggregate: &AggregateKey,
    seq: u64,
    entry: &TimelineEntry,
) -> Result<(), StoreError> {
    let number = state.counters.next_line;
    state.counters.next_line += 1;
    let row = LineRow {
        seq,
        aggregate: aggregate.clone(),
        entry: entry.clone(),
    };
    state.kv.put_new(keys::line(number), pack(&row)?);
    let payment = entry.payment.as_ref().map(LinkKey::to_string);
    let mut places: BTreeSet<(u8, &str)> = BTreeSet::new();
    if let Some(tenant) = &entry.tenant {
        places.insert((keys::LINE_TENANT, tenant.as_str()));
    }
    if let Some(payment) = &payment {
        places.insert((keys::LINE_PAYMENT, payment));
    }
    if places.is_empty() {
        places.insert((keys::LINE_INSTALLATION, ""));
    }
    let ids = entry.ids.iter().map(String::as_str);
    for id in ids.chain([entry.object_id.as_str(), entry.source_id.as_str()]) {
        if !id.is_empty() && id.len() <= keys::INDEXED_ID_BYTES_MAX {
            places.insert((keys::LINE_ID, id));
        }
    }
    for (of, whose) in places {
        let key = keys::line_index(of, whose).time(entry.at).number(number);
        state.kv.put_new(key, Vec::new());
    }
    Ok(())
}

pub(super) fn add_effect(
    state: &mut State<'_>,
    aggregate: &AggregateKey,
    now: Timestamp,
    effect: &EffectIntent,
    is_skipped: bool,
) -> Result<(), StoreError> {
    let id = &effect.id.0;
    if state.kv.has(&keys::effect(id))? {
        return Ok(());
    }
    let number = state.counters.next_effect;
    state.counters.next_effect += 1;
    let lane = effect.lane as u8;
    let row = EffectRow {
        number,
        aggregate: aggregate.clone(),
        lane: effect.lane,
        kind: effect.kind.clone(),
        status: EffectStatus::Pending,
        attempts: 0,
        note: String::new(),
        decided_at: now,
        due_at: effect.due_at,
        settled_at: None,
        subject: effect.subject.clone(),
        payload: effect.payload.clone(),
    };
    let row = if is_skipped { skipped(row) } else { row };
    let by = keys::outbox_by(row.status as u8, number);
    state.kv.put_new(by, id.clone().into_bytes());
    let outbox = keys::outbox(number);
    state.kv.put_new(outbox, id.clone().into_bytes());
    if !is_skipped {
        *state.counters.outbox.entry(lane).or_default() += 1;
        let due = keys::due_effect(lane, effect.due_at, id);
        state.kv.put_new(due, Vec::new());
    }
    state.kv.put_new(keys::effect(id), pack(&row)?);
    Ok(())
}

/// The row of an effect nobody performs, as a settle would have left it.
fn skipped(row: EffectRow) -> EffectRow {
    EffectRow {
        status: EffectStatus::Skipped,
        note: "no performer in this build".to_owned(),
        settled_at: Some(row.decided_at),
        subject: None,
        payload: Vec::new(),
        ..row
    }
}

fn set_timer(
    state: &mut State<'_>,
    of: &AggregateKey,
    timer: &TimerWrite,
) -> Result<(), StoreError> {
    let key = keys::timer(of, &timer.name);
    if let Some(bytes) = state.kv.get(&key)? {
        let at: Timestamp = unpack(&bytes)?;
        state.kv.delete(keys::due_timer(at, of, &timer.name))?;
    }
    match timer.at {
        Some(at) => {
            let due = keys::due_timer(at, of, &timer.name);
            state.kv.put(due, Vec::new())?;
            state.kv.put(key, pack(&at)?)
        }
        None => state.kv.delete(key).map(|_| ()),
    }
}
