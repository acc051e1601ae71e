//! Timelines, ledger, outbox, audit and kept records.

use super::{SCAN_MAX, Span, get, number_of, page};
use crate::api::{AuditEntry, EffectStatus};
use crate::engine::fold::broken;
use crate::engine::shared::Shared;
use crate::error::StoreError;
use crate::keys::{self, Fields, Key};
use crate::kv::{end_of, first};
use crate::query::{
    AuditQuery, LedgerLine, LedgerQuery, OutboxQuery, OutboxView, Page, TimelineLine, TimelineOf,
    TimelineQuery,
};
use crate::shapes::{EffectRow, LedgerRow, LineRow, SealedRow, unpack};
use bursar_domain::decision::EffectId;

pub(super) fn line(shared: &Shared, key: &[u8]) -> Result<Option<TimelineLine>, StoreError> {
    let row: Option<LineRow> = get(shared, &keys::line(number_of(key)?))?;
    Ok(row.map(|row| TimelineLine {
        seq: row.seq,
        aggregate: row.aggregate,
        entry: row.entry,
    }))
}

pub(in crate::engine) fn timeline(
    shared: &Shared,
    query: &TimelineQuery,
) -> Result<Page<TimelineLine>, StoreError> {
    let prefix = match &query.of {
        TimelineOf::Tenant(tenant) => keys::line_index(keys::LINE_TENANT, tenant.as_str()),
        TimelineOf::Payment(payment) => keys::line_index(keys::LINE_PAYMENT, &payment.to_string()),
        TimelineOf::Installation => keys::line_index(keys::LINE_INSTALLATION, ""),
    };
    let span = Span::of(prefix);
    let after = query.after.as_deref();
    page(shared, &span, after, query.limit, |key, _| {
        line(shared, key)
    })
}

pub(in crate::engine) fn ledger(
    shared: &Shared,
    query: &LedgerQuery,
) -> Result<Page<LedgerLine>, StoreError> {
    let prefix = if let Some(payment) = &query.payment {
        keys::ledger_list(keys::LEDGER_PAYMENT, &payment.to_string())
    } else if let Some(tenant) = &query.tenant {
        keys::ledger_list(keys::LEDGER_TENANT, tenant.as_str())
    } else if let Some(account) = query.account {
        keys::ledger_list(keys::LEDGER_ACCOUNT, account.as_str())
    } else {
        keys::ledger_list(keys::LEDGER_ALL, "")
    };
    let span = Span::of(prefix);
    let after = query.after.as_deref();
    page(shared, &span, after, query.limit, |key, _| {
        let Some(row) = get::<LedgerRow>(shared, &keys::ledger(number_of(key)?))? else {
            return Ok(None);
        };
        let fits = query.account.is_none_or(|account| account == row.account)
            && (query.tenant.is_none() || query.tenant == row.tenant);
        Ok(fits.then_some(LedgerLine {
            account: row.account,
            amount: row.amount,
            source: row.source,
            at: row.at,
            tenant: row.tenant,
            payment: row.payment,
        }))
    })
}

pub(in crate::engine) fn outbox(
    shared: &Shared,
    query: &OutboxQuery,
) -> Result<Page<OutboxView>, StoreError> {
    let span = Span::of(match query.status {
        Some(status) => Key::new(keys::OUTBOX_BY).byte(status as u8),
        None => Key::new(keys::OUTBOX),
    });
    let after = query.after.as_deref();
    page(shared, &span, after, query.limit, |_, id| {
        let id = String::from_utf8(id.to_vec())
            .map_err(|_| broken("an effect's id cannot be read".to_owned()))?;
        let row: Option<EffectRow> = get(shared, &keys::effect(&id))?;
        let row = row.filter(|row| {
            query.lane.is_none_or(|lane| lane == row.lane)
                && query.status.is_none_or(|status| status == row.status)
        });
        Ok(row.map(|row| outbox_view(id, row)))
    })
}

pub(in crate::engine) fn outbox_view(id: String, row: EffectRow) -> OutboxView {
    debug_assert!(row.settled_at.is_some() != (row.status == EffectStatus::Pending));
    OutboxView {
        id: EffectId(id),
        aggregate: row.aggregate,
        lane: row.lane,
        kind: row.kind,
        status: row.status,
        attempts: row.attempts,
        note: row.note,
        decided_at: row.decided_at,
        due_at: row.due_at,
        settled_at: row.settled_at,
    }
}

pub(in crate::engine) fn audit(
    shared: &Shared,
    query: &AuditQuery,
) -> Result<Page<AuditEntry>, StoreError> {
    let span = Span::of(match &query.tenant {
        Some(tenant) => Key::new(keys::AUDIT_OF).text(tenant.as_str()),
        None => Key::new(keys::AUDIT),
    });
    let after = query.after.as_deref();
    page(shared, &span, after, query.limit, |key, _| {
        get(shared, &keys::audit(!number_of(key)?))
    })
}

pub(in crate::engine) fn kept(
    shared: &Shared,
    space: &str,
    key: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    if let Some(bytes) = shared.kv.get(&keys::keep(space, key))? {
        return Ok(Some(bytes));
    }
    match shared.kv.get(&keys::sealed_keep(space, key))? {
        Some(bytes) => opened(shared, &bytes),
        None => Ok(None),
    }
}

/// The plain bytes of a sealed record; `None`: its subject was erased.
fn opened(shared: &Shared, bytes: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let row: SealedRow = unpack(bytes)?;
    shared.keys.open(&row.subject, &row.sealed)
}

pub(in crate::engine) fn kept_all(
    shared: &Shared,
    space: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let limit = limit.min(SCAN_MAX);
    let mut out = named(shared, keys::KEEP, space, cursor, limit)?;
    // A space holds records of one sort, so that one of the two is empty.
    for (name, bytes) in named(shared, keys::SEALED_KEEP, space, cursor, limit)? {
        out.extend(opened(shared, &bytes)?.map(|plain| (name, plain)));
    }
    out.truncate(limit);
    Ok(out)
}

/// Records of one prefix and space, by key, after `cursor`.
fn named(
    shared: &Shared,
    prefix: u8,
    space: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let all = Key::new(prefix).text(space);
    let low = match cursor {
        Some(cursor) => end_of(&Key::new(prefix).text(space).text(cursor)),
        None => all,
    };
    let end = end_of(&Key::new(prefix).text(space));
    let found = first(shared.kv.as_ref(), &low, &end, limit)?;
    let mut out = Vec::with_capacity(found.len());
    for (key, value) in found {
        let mut fields = Fields::of(&key);
        let _ = fields.text();
        let name = fields
            .text()
            .ok_or_else(|| broken("a kept key cannot be read".to_owned()))?;
        out.push((name, value));
    }
    Ok(out)
}
