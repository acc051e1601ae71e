//! Lists of rows: one, by id in any account, and pages newest first.

use super::{Span, get, open, page};
use crate::engine::fold::broken;
use crate::engine::shared::Shared;
use crate::error::StoreError;
use crate::keys::{self, Fields, Key};
use crate::kv::{end_of, first};
use crate::query::{Page, RowQuery, RowView};
use crate::shapes::{StoredRow, unpack};
use bursar_domain::ids::{AccountId, Scope};
use bursar_domain::rows::RowKind;
use serde_json::{Map, Value};

/// Most accounts in which one id is looked for.
const SCOPES_MAX: usize = 8;

pub(in crate::engine) fn row(
    shared: &Shared,
    kind: RowKind,
    scope: &Scope,
    id: &str,
) -> Result<Option<RowView>, StoreError> {
    if let Some(stored) = get::<StoredRow>(shared, &keys::row(kind as u8, id, scope))? {
        return view(shared, kind, scope.clone(), id.to_owned(), stored).map(Some);
    }
    let Some(named) = shared.kv.get(&keys::alias(kind as u8, id, scope))? else {
        return Ok(None);
    };
    let id = String::from_utf8(named).map_err(|_| unreadable())?;
    match get::<StoredRow>(shared, &keys::row(kind as u8, &id, scope))? {
        Some(stored) => view(shared, kind, scope.clone(), id, stored).map(Some),
        None => Ok(None),
    }
}

fn unreadable() -> StoreError {
    broken("a row's key cannot be read".to_owned())
}

fn scope_of(text: &str) -> Result<Scope, StoreError> {
    if text.is_empty() {
        return Ok(Scope::PLATFORM);
    }
    let account = AccountId::parse(text).map_err(|_| unreadable())?;
    Ok(Scope(Some(account)))
}

pub(in crate::engine) fn rows_by_id(
    shared: &Shared,
    kind: RowKind,
    id: &str,
) -> Result<Vec<RowView>, StoreError> {
    let mut out = Vec::new();
    for prefix in [keys::ROW, keys::ALIAS] {
        let low = Key::new(prefix).byte(kind as u8).text(id);
        for (key, _) in first(shared.kv.as_ref(), &low, &end_of(&low), SCOPES_MAX)? {
            let mut fields = Fields::of(&key);
            let _ = (fields.byte(), fields.text());
            let scope = scope_of(&fields.text().ok_or_else(unreadable)?)?;
            let known = |view: &RowView| view.scope == scope;
            if out.iter().any(known) || out.len() == SCOPES_MAX {
                continue;
            }
            out.extend(row(shared, kind, &scope, id)?);
        }
    }
    Ok(out)
}

pub(in crate::engine) fn rows(
    shared: &Shared,
    query: &RowQuery,
) -> Result<Page<RowView>, StoreError> {
    let list = || keys::row_list(query.kind as u8, query.tenant.as_ref());
    let mut span = Span::of(list());
    // Newest first: the later bound is where the walk starts. A row without `created` is in no span
    // of time.
    if let Some(before) = query.created_before {
        span.low = list().created(Some(before.plus_ms(-1)));
    }
    if let Some(after) = query.created_after {
        span.high = end_of(&list().created(Some(after)));
    } else if query.created_before.is_some() {
        span.high = list().created(None);
    }
    let after = query.after.as_deref();
    page(shared, &span, after, query.limit, |key, listed| {
        let Some((hidden, status)) = listed.split_first() else {
            return Err(unreadable());
        };
        let wanted = query.status.as_ref();
        let fits = wanted.is_none_or(|wanted| wanted.as_bytes() == status);
        if !fits || (*hidden != 0 && !query.hidden) {
            return Ok(None);
        }
        let mut fields = Fields::of(key);
        let _ = fields.byte();
        if query.tenant.is_some() {
            let _ = fields.text();
        }
        let _ = fields.created();
        let (Some(id), Some(scope)) = (fields.text(), fields.text()) else {
            return Err(unreadable());
        };
        let scope = scope_of(&scope)?;
        match shared.kv.get(&keys::row(query.kind as u8, &id, &scope))? {
            Some(bytes) => view(shared, query.kind, scope, id, unpack(&bytes)?).map(Some),
            None => Ok(None),
        }
    })
}

/// The row with its personal fields, if they may still be read.
fn view(
    shared: &Shared,
    kind: RowKind,
    scope: Scope,
    id: String,
    stored: StoredRow,
) -> Result<RowView, StoreError> {
    let (mut value, mut erased) = (stored.value, false);
    if let Some((subject, sealed)) = &stored.personal {
        match open(shared, Some(subject), sealed)? {
            Some(fields) => value = merged(&value, &fields)?,
            None => erased = true,
        }
    }
    Ok(RowView {
        kind,
        scope,
        id,
        tenant: stored.tenant,
        created_at: stored.created_at,
        status: stored.status,
        version: stored.version,
        value,
        erased,
    })
}

/// One JSON object with the fields of both.
fn merged(value: &[u8], fields: &[u8]) -> Result<Vec<u8>, StoreError> {
    let object = |bytes: &[u8]| -> Result<Map<String, Value>, StoreError> {
        serde_json::from_slice(bytes).map_err(|_| broken("a row is no JSON object".to_owned()))
    };
    let mut out = object(value)?;
    out.extend(object(fields)?);
    serde_json::to_vec(&out).map_err(|_| broken("a row cannot be written".to_owned()))
}
