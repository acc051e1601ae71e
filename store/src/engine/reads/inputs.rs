//! Inputs: by id, by number, in lists, and everything that names an id.

use super::{SCAN_MAX, Span, get, input_body, number_of, page_towards};
use crate::engine::fold::{broken, is_delivery};
use crate::engine::shared::Shared;
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::kv::{after, end_of, first};
use crate::query::{Explained, InputQuery, InputView, Page};
use crate::shapes::InputRow;
use bursar_domain::ids::{Scope, TenantId};
use bursar_domain::input::InputSource;
use std::collections::BTreeSet;

/// Pages of [`SCAN_MAX`] index rows looked through for what one tenant may see of an id that many share.
const EXPLAIN_PAGES_MAX: usize = 100;

fn view(shared: &Shared, seq: u64, row: InputRow) -> InputView {
    InputView {
        body_dropped: row.body.len > 0 && row.record < shared.records.first(),
        seq,
        source: row.source,
        kind: row.kind,
        to: row.to,
        status: row.status,
        disposition: row.disposition,
        reason: row.reason,
        parked_on: row.parked_on,
        created_at: row.created_at,
        received_at: row.received_at,
        ended_at: row.ended_at,
        tenant: row.tenant,
        object_ids: row.object_ids,
        body_bytes: row.body.plain_bytes,
    }
}

fn row(shared: &Shared, seq: u64) -> Result<Option<InputRow>, StoreError> {
    get(shared, &keys::input(seq))
}

pub(in crate::engine) fn by_seq(
    shared: &Shared,
    seq: u64,
) -> Result<Option<InputView>, StoreError> {
    Ok(row(shared, seq)?.map(|row| view(shared, seq, row)))
}

pub(in crate::engine) fn body(shared: &Shared, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
    match row(shared, seq)? {
        Some(row) => Ok(input_body(shared, &row)?.ok()),
        None => Ok(None),
    }
}

/// Numbers of the inputs known by an id, rising.
fn known_as(shared: &Shared, id: &str) -> Result<BTreeSet<u64>, StoreError> {
    let prefix = keys::known_as(id);
    let found = first(shared.kv.as_ref(), &prefix, &end_of(&prefix), SCAN_MAX)?;
    let numbers = found.iter().map(|(_, value)| {
        let seq = value.first_chunk::<8>();
        seq.map(|seq| u64::from_be_bytes(*seq))
            .ok_or_else(|| broken("a dedup row cannot be read".to_owned()))
    });
    numbers.collect()
}

pub(in crate::engine) fn input(
    shared: &Shared,
    public_id: &str,
    scope: Option<&Scope>,
) -> Result<Vec<InputView>, StoreError> {
    let mut found = known_as(shared, public_id)?;
    if found.is_empty() {
        // Messages and timers cannot come twice and have no such row; those that died are named.
        let prefix = Key::new(keys::NAMED).text(public_id);
        let named = first(shared.kv.as_ref(), &prefix, &end_of(&prefix), SCAN_MAX)?;
        found = named
            .iter()
            .map(|(key, _)| number_of(key))
            .collect::<Result<_, _>>()?;
    }
    let mut out = Vec::new();
    for seq in found {
        let Some(row) = row(shared, seq)? else {
            continue;
        };
        let in_scope = match (&row.source, scope) {
            (InputSource::Event(of, _), Some(scope)) => of == scope,
            _ => true,
        };
        if in_scope && row.source.public_id() == public_id {
            out.push(view(shared, seq, row));
        }
    }
    Ok(out)
}

pub(in crate::engine) fn inputs(
    shared: &Shared,
    query: &InputQuery,
) -> Result<Page<InputView>, StoreError> {
    use crate::api::InputStatus;
    // The narrowest index that holds all of the answer, each newest first. All inputs, and all deliveries, have none of
    // their own: a row more for every webhook would save a page a few rows.
    let listed = query
        .status
        .filter(|status| *status != InputStatus::Applied);
    let span = Span::of(match (&query.tenant, listed) {
        (_, Some(status)) => Key::new(keys::STATUS).byte(status as u8),
        (Some(tenant), None) => Key::new(keys::OF_TENANT).text(tenant.as_str()),
        (None, None) => {
            let (span, after) = (Span::of(Key::new(keys::INPUT)), query.after.as_deref());
            let backwards = !query.oldest_first;
            return page_towards(shared, &span, backwards, after, query.limit, |key, _| {
                matching(shared, query, number_of(key)?)
            });
        }
    });
    let (backwards, after) = (query.oldest_first, query.after.as_deref());
    page_towards(shared, &span, backwards, after, query.limit, |key, _| {
        matching(shared, query, !number_of(key)?)
    })
}

fn matching(
    shared: &Shared,
    query: &InputQuery,
    seq: u64,
) -> Result<Option<InputView>, StoreError> {
    let found = row(shared, seq)?.filter(|row| fits(query, row));
    Ok(found.map(|row| view(shared, seq, row)))
}

fn fits(query: &InputQuery, row: &InputRow) -> bool {
    let names = |tenant: &TenantId| {
        row.tenant.as_ref() == Some(tenant) || row.object_ids.iter().any(|id| id == tenant.as_str())
    };
    query.status.is_none_or(|status| status == row.status)
        && (!query.deliveries_only || is_delivery(&row.source))
        && query.tenant.as_ref().is_none_or(names)
        && query.received_after.is_none_or(|at| row.received_at >= at)
        && query.received_before.is_none_or(|at| row.received_at < at)
        && (query.kinds.is_empty() || query.kinds.contains(&row.kind))
}

/// What is named under a prefix and is wanted, in order, so much at most; whether there is more of it.
fn named<T>(
    shared: &Shared,
    prefix: &[u8],
    limit: usize,
    wanted: impl Fn(&[u8]) -> Result<Option<T>, StoreError>,
) -> Result<(Vec<T>, bool), StoreError> {
    let (mut low, high) = (Key::from(prefix), end_of(prefix));
    let mut out = Vec::new();
    for _ in 0..EXPLAIN_PAGES_MAX {
        let page = first(shared.kv.as_ref(), &low, &high, SCAN_MAX)?;
        for (key, _) in &page {
            if let Some(one) = wanted(key)? {
                if out.len() == limit {
                    return Ok((out, true));
                }
                out.push(one);
            }
        }
        match page.into_iter().next_back() {
            Some((last, _)) if *low != *last => low = after(&last),
            _ => return Ok((out, false)),
        }
    }
    Ok((out, true))
}

pub(in crate::engine) fn explain(
    shared: &Shared,
    id: &str,
    of: Option<&TenantId>,
    limit: usize,
) -> Result<Explained, StoreError> {
    let limit = limit.min(SCAN_MAX);
    let covers = |tenant: Option<&TenantId>| of.is_none() || tenant == of;
    let own = known_as(shared, id)?;
    let shown = |seq| {
        let view = by_seq(shared, seq)?;
        Ok(view.filter(|view| covers(view.tenant.as_ref())))
    };
    let mut inputs = Vec::new();
    for seq in &own {
        inputs.extend(shown(*seq)?);
    }
    let prefix = Key::new(keys::NAMED).text(id);
    let (others, mut more_inputs) = named(shared, &prefix, limit, |key| {
        let seq = number_of(key)?;
        if own.contains(&seq) {
            Ok(None)
        } else {
            shown(seq)
        }
    })?;
    inputs.extend(others);
    inputs.sort_by_key(|view| view.seq);
    more_inputs |= inputs.len() > limit;
    inputs.truncate(limit);
    let prefix = keys::line_index(keys::LINE_ID, id);
    let (mut lines, more_lines) = named(shared, &prefix, limit, |key| {
        let number = number_of(key)?;
        let line = super::books::line(shared, key)?;
        let line = line.filter(|line| covers(line.entry.tenant.as_ref()));
        Ok(line.map(|line| (line.entry.at.seconds(), number, line)))
    })?;
    // Stripe's clock tells seconds and ours milliseconds: within a second, as it was done.
    lines.sort_by_key(|(second, number, _)| (*second, *number));
    Ok(Explained {
        inputs,
        lines: lines.into_iter().map(|(_, _, line)| line).collect(),
        truncated: more_inputs || more_lines,
    })
}
