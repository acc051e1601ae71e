//! Reads: plain functions over what is stored.
//!
//! Invariants: at most [`SCAN_MAX`] index rows are looked at for one page; an index row whose row
//! is gone meanwhile is skipped; a page's cursor is the last index key looked at.

pub(super) mod books;
pub(super) mod inputs;
pub(super) mod rows;
pub(super) mod whole;
pub(super) mod work;

use super::fold::broken;
use super::places;
use super::shared::Shared;
use crate::error::StoreError;
use crate::keys::Key;
use crate::kv::{self, end_of};
use crate::query::{Gone, Page};
use crate::record::body_of;
use crate::shapes::{InputRow, unpack};
use bursar_domain::rows::Subject;
use serde::de::DeserializeOwned;
use std::ops::ControlFlow;

/// Most index rows looked at for one page.
const SCAN_MAX: usize = 1_000;

/// One value.
fn get<T: DeserializeOwned>(shared: &Shared, key: &[u8]) -> Result<Option<T>, StoreError> {
    shared.kv.get(key)?.map(|bytes| unpack(&bytes)).transpose()
}

/// The range of a page: where it may start and end.
struct Span {
    low: Key,
    high: Key,
}

impl Span {
    /// Everything with a prefix.
    fn of(prefix: Key) -> Self {
        Self {
            high: end_of(&prefix),
            low: prefix,
        }
    }
}

/// Walks an index from the cursor on; `item` says what an index row comes to, if anything.
fn page<T>(
    shared: &Shared,
    span: &Span,
    after: Option<&[u8]>,
    limit: usize,
    item: impl FnMut(&[u8], &[u8]) -> Result<Option<T>, StoreError>,
) -> Result<Page<T>, StoreError> {
    page_towards(shared, span, false, after, limit, item)
}

/// As [`page`], from the end of the index to its beginning if `backwards`.
fn page_towards<T>(
    shared: &Shared,
    span: &Span,
    backwards: bool,
    after: Option<&[u8]>,
    limit: usize,
    mut item: impl FnMut(&[u8], &[u8]) -> Result<Option<T>, StoreError>,
) -> Result<Page<T>, StoreError> {
    if limit == 0 {
        return Err(StoreError::Invalid("a page of no items".to_owned()));
    }
    let (mut low, mut high) = (span.low.clone(), span.high.clone());
    if let Some(after) = after {
        if after < &*span.low || after >= &*span.high {
            return Err(StoreError::Invalid(
                "the cursor belongs to another list".to_owned(),
            ));
        }
        if backwards {
            high = after.into();
        } else {
            low = kv::after(after);
        }
    }
    let mut out = Page {
        items: Vec::new(),
        next: None,
    };
    let mut looked = 0;
    let mut last: Option<Vec<u8>> = None;
    let mut failed = None;
    shared.kv.range(&low, &high, backwards, &mut |key, value| {
        if looked == SCAN_MAX {
            out.next = last.take();
            return ControlFlow::Break(());
        }
        looked += 1;
        match item(key, value) {
            Ok(None) => {}
            Ok(Some(_)) if out.items.len() == limit => {
                out.next = last.take();
                return ControlFlow::Break(());
            }
            Ok(Some(found)) => out.items.push(found),
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        last = Some(key.to_vec());
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(out), Err)
}

/// The number at the end of an index key.
fn number_of(key: &[u8]) -> Result<u64, StoreError> {
    key.last_chunk::<8>()
        .map(|number| u64::from_be_bytes(*number))
        .ok_or_else(|| broken("an index key is too short".to_owned()))
}

/// The record of this number; `None`: retention dropped it.
fn record(shared: &Shared, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let place = places::find(shared.kv.as_ref(), number)?
        .ok_or_else(|| broken(format!("the place of record {number} is missing")))?;
    shared.records.read(&place)
}

/// Why a body cannot be read any more, or the body.
type BodyOrGone = Result<Vec<u8>, Gone>;

/// The body of an input as it came.
fn input_body(shared: &Shared, row: &InputRow) -> Result<BodyOrGone, StoreError> {
    if row.body.len == 0 {
        return Ok(Ok(Vec::new()));
    }
    let Some(bytes) = record(shared, row.record)? else {
        return Ok(Err(Gone::Dropped));
    };
    let body = body_of(&bytes, row.body)?;
    Ok(open(shared, row.subject.as_ref(), body)?.ok_or(Gone::Erased))
}

/// What was stored for a subject; `None`: erased.
fn open(
    shared: &Shared,
    subject: Option<&Subject>,
    stored: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    match subject {
        Some(subject) => shared.keys.open(subject, stored),
        None => Ok(Some(stored.to_vec())),
    }
}
