//! Rows of earlier layouts, as checkpoints hold them, made into today's.
//!
//! | layout | what was different |
//! |---|---|
//! | 2, 3 | dedup rows by a hash of the dedup text, and the id of every input that has one among the named; the place of each record in a row of its own; tallies by FNV-1a |
//! | 2 | an index of deliveries |

use super::fold::is_deduplicated;
use super::places;
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::kv::{Batch, Kv, Overlay, Pair, Tally, after, first};
use crate::shapes::{InputRow, unpack};

/// The oldest layout whose rows are read here.
pub(super) const OLDEST_READ: u32 = 2;

const DEDUP_BEFORE: u8 = 0x03;
const DELIVERIES: u8 = 0x0a;
const PLACE: u8 = 0x3a;

/// Rows looked at for one batch. Few in tests, so that a batch ends within a row of places.
const AT_ONCE: usize = if cfg!(test) { 7 } else { 1_000 };

/// Makes rows of a layout before 4 into today's.
pub(super) fn bring_up(kv: &dyn Kv) -> Result<(), StoreError> {
    each_page(kv, keys::INPUT, &mut |rows| know_by_id(kv, rows))?;
    each_page(kv, PLACE, &mut |rows| place_together(kv, rows))?;
    for gone in [DEDUP_BEFORE, DELIVERIES, PLACE] {
        remove(kv, &[gone], &[gone + 1])?;
    }
    Ok(())
}

/// Removes the rows from `low` to `high`.
pub(super) fn remove(kv: &dyn Kv, low: &[u8], high: &[u8]) -> Result<(), StoreError> {
    each_page_between(kv, low, high, &mut |rows| {
        let batch = rows.into_iter().map(|(key, _)| (key, None)).collect();
        kv.apply_batch(&batch)
    })
}

type EachPage<'a> = dyn FnMut(Vec<Pair>) -> Result<(), StoreError> + 'a;

fn each_page(kv: &dyn Kv, prefix: u8, each: &mut EachPage<'_>) -> Result<(), StoreError> {
    each_page_between(kv, &[prefix], &[prefix + 1], each)
}

fn each_page_between(
    kv: &dyn Kv,
    low: &[u8],
    high: &[u8],
    each: &mut EachPage<'_>,
) -> Result<(), StoreError> {
    let mut low = Key::from(low);
    loop {
        let found = first(kv, &low, high, AT_ONCE)?;
        let Some((last, _)) = found.last() else {
            return Ok(());
        };
        // From there on: what is removed already would be walked over again.
        low = after(last);
        each(found)?;
    }
}

fn know_by_id(kv: &dyn Kv, rows: Vec<Pair>) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    for (key, value) in rows {
        let row: InputRow = unpack(&value)?;
        let seq = key[1..].try_into().map_or(0, u64::from_be_bytes);
        if !is_deduplicated(&row.source) {
            continue;
        }
        let mut value = seq.to_be_bytes().to_vec();
        value.extend_from_slice(&row.body.print.short());
        batch.insert(keys::dedup(&row.source), Some(value));
        let id = row.source.public_id();
        if !row.object_ids.contains(&id) {
            batch.insert(keys::named(&id, seq), None);
        }
    }
    kv.apply_batch(&batch)
}

fn place_together(kv: &dyn Kv, rows: Vec<Pair>) -> Result<(), StoreError> {
    let first = rows.first().map(|(key, _)| &key[1..]);
    let first = first.map_or(0, |key| key.try_into().map_or(0, u64::from_be_bytes));
    let places: Vec<_> = rows.into_iter().map(|(_, place)| place).collect();
    let mut overlay = Overlay::new(kv, Tally::default());
    places::put(&mut overlay, first, &places)?;
    kv.apply_batch(&overlay.finish().0)
}

/// What an earlier layout made of today's rows.
#[cfg(test)]
pub(super) fn as_before(layout: u32, rows: Batch) -> (Vec<Pair>, Tally) {
    let today = crate::kv::MemKv::default();
    today.apply_batch(&rows).unwrap();
    let mut before = std::collections::BTreeMap::new();
    let mut record = 1;
    while let Some(place) = places::find(&today, record).unwrap() {
        before.insert(Key::new(PLACE).number(record), place);
        record += 1;
    }
    for (key, value) in rows {
        let value = value.unwrap();
        match key[0] {
            keys::DEDUP | keys::PLACES => continue,
            keys::INPUT => {
                let row: InputRow = unpack(&value).unwrap();
                let seq = u64::from_be_bytes(key[1..].try_into().unwrap());
                if is_deduplicated(&row.source) {
                    let mut of = Key::new(DEDUP_BEFORE);
                    of.extend(&keys::short_hash(row.source.dedup_text().as_bytes()));
                    let print = row.body.print.short();
                    before.insert(of, [&seq.to_be_bytes()[..], &print].concat());
                    before.insert(keys::named(&row.source.public_id(), seq), Vec::new());
                }
                if layout < 3 {
                    before.insert(Key::new(DELIVERIES).newest(seq), Vec::new());
                }
            }
            _ => {}
        }
        before.insert(key, value);
    }
    let mut tally = Tally::default();
    for (key, value) in &before {
        tally.add_as_before(key, value);
    }
    (before.into_iter().collect(), tally)
}
